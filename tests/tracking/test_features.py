"""Features are kept within their budget, and are not encoded again while they are."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam2track import Tracker
from sam2track.errors import PromptError
from sam2track.prompts import Prompt
from sam2track.tracking.encoder import Features
from sam2track.tracking.features import FeatureStore, default_budget
from tests.parity.oracle import clip, predictor

BOX = Prompt(box=(30, 30, 70, 80))


def features(size: int) -> Features:
    return Features(None, None, torch.zeros(1, size, dtype=torch.uint8))


@given(
    budget=st.integers(0, 100),
    sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=40),
)
def test_the_budget_holds_and_the_frames_used_last_stay(
    budget: int, sizes: list[tuple[int, int]]
) -> None:
    store = FeatureStore(budget)
    held: list[tuple[int, int]] = []  # the model: those used longest ago first
    for frame, size in sizes:
        store.put(frame, features(size))
        held = [(f, s) for f, s in held if f != frame] + [(frame, size)]
        while sum(s for _, s in held) > budget and len(held) > 1:
            held.pop(0)
        assert [f for f in range(10) if f in store] == sorted(f for f, _ in held)
        assert store.held == sum(s for _, s in held)
        if len(held) > 1:
            store.get(held[0][0])
            held.append(held.pop(0))


@pytest.mark.skipif(sys.platform != "linux", reason="the heap is told by /proc")
def test_what_is_held_does_not_split_the_room_of_what_comes_and_goes() -> None:
    """In a process of its own the heap stays as it is, where 200 frames are held."""
    code = """
import torch
from sam2track.tracking.encoder import Features
from sam2track.tracking.features import FeatureStore

def heap():
    name = ""
    for line in open("/proc/self/smaps"):
        first, *rest = line.split()
        if "-" in first:
            name = rest[-1]
        elif first == "Rss:" and name == "[heap]":
            return int(rest[0]) / 1024

torch.set_num_threads(1)
store, sizes = FeatureStore(2**29), []
for frame in range(200):
    x = torch.rand(1, 64, 64, 64)
    for k in range(6):
        x = torch.cat([x, (x * k).relu() + 1], 1)[:, 32:96].contiguous()
    store.put(frame, Features(x[:, :16], x[:, :32, ::2, ::2].contiguous(), x[:, :, ::4, ::4]))
    sizes.append(heap())
print(len(store), sizes[-1] - sizes[20])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held, grown = done.stdout.split()
    assert int(held) == 200
    assert float(grown) < 50  # MB; where tensors are held it was 500


def test_a_second_pass_and_a_correction_encode_nothing_again() -> None:
    tracker = Tracker(predictor("nano", True), clip(12))
    tracker.add(1, 6, BOX)
    list(tracker.propagate(direction="both"))
    assert tracker._engine.encoder.encoded == 12
    tracker.add(1, 3, BOX)
    tracker.add(2, 9, BOX)
    list(tracker.propagate(direction="both"))
    assert tracker._engine.encoder.encoded == 12


def test_a_frame_that_was_prepared_is_not_encoded_again_when_prompted() -> None:
    tracker = Tracker(predictor("nano", True), clip(12))
    tracker.prepare(5)
    assert tracker._engine.encoder.encoded == 1
    tracker.add(1, 5, BOX)
    assert tracker._engine.encoder.encoded == 1
    with pytest.raises(PromptError):
        tracker.prepare(12)


def test_without_a_budget_the_masks_are_the_same() -> None:
    runs = []
    for budget in (0, None):
        tracker = Tracker(predictor("nano", True), clip(12), features_budget=budget)
        tracker.add(1, 4, BOX)
        tracker.add(1, 8, BOX)
        results = [*tracker.propagate(), *tracker.propagate(direction="backward")]
        runs.append([result.logits for result in results])
        assert (tracker._engine.encoder.encoded > 12) == (budget == 0)
    for one, other in zip(*runs, strict=True):
        assert (one == other).all()


def test_the_default_is_bounded() -> None:
    assert 0 < default_budget(torch.device("cpu")) <= 512 * 2**20
