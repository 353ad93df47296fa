"""Features are kept within their budget, and are not encoded again while they are."""

from __future__ import annotations

import mmap
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam2track import Tracker
from sam2track.errors import PromptError
from sam2track.prompts import Prompt
from sam2track.tracking.encoder import Features
from sam2track.tracking.features import FeatureStore, default_budget, new_store
from sam2track.tracking.overflow import Overflow, disk_budget
from tests.parity.oracle import clip, predictor

BOX = Prompt(box=(30, 30, 70, 80))


def features(size: int) -> Features:
    return Features(None, None, torch.zeros(1, size, dtype=torch.uint8))


def block(size: int, value: int = 0) -> mmap.mmap:
    made = mmap.mmap(-1, size)
    made.write(bytes([value] * size))
    return made


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


def test_features_of_other_threads_are_not_taken() -> None:
    """Sums depend on how many there are: results would, on what was held."""
    tracker = Tracker(predictor("nano", True), clip(3))
    tracker.prepare(0)
    held = torch.get_num_threads()
    torch.set_num_threads(held + 1)
    try:
        for _ in range(2):
            tracker.prepare(0)
            assert tracker._engine.encoder.encoded == 2
    finally:
        torch.set_num_threads(held)


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


def test_the_default_is_bounded(tmp_path: Path) -> None:
    assert 0 < default_budget(torch.device("cpu")) <= 512 * 2**20
    assert 0 < disk_budget(tmp_path) <= min(8 * 2**30, shutil.disk_usage(tmp_path).free // 7)
    assert disk_budget(tmp_path / "none") == 0


def marked(frame: int, *, strange: bool = False) -> Features:
    """Features that tell their frame, in several types, with gaps and in channels-last order."""
    fine = torch.full((1, 4, 8, 8), float(frame)).to(memory_format=torch.channels_last)
    middle = torch.arange(2 * 16 * 2.0).view(1, 2, 16, 2)[:, :, ::4] + frame
    top = torch.full((1, 3 + strange), frame, dtype=torch.bfloat16)
    return Features(fine, middle, top)


@given(
    frames=st.lists(st.tuples(st.booleans(), st.integers(0, 11)), max_size=60),
    held=st.integers(1, 3),
    slots=st.integers(0, 5),
)
def test_what_leaves_memory_comes_back_from_the_disk(
    frames: list[tuple[bool, int]], held: int, slots: int
) -> None:
    size = sum(part.numel() * part.element_size() for part in marked(0) if part is not None)
    overflow = Overflow(Path(tempfile.gettempdir()), slots * size)
    store = FeatureStore(held * size, overflow)
    seen = set()
    for put, frame in frames:
        if put:
            store.put(frame, marked(frame))
            seen.add(frame)
        there = frame in store
        found = store.get(frame)
        assert (found is not None) == there
        if found is not None:
            for one, other in zip(found, marked(frame), strict=True):
                assert one is not None and other is not None
                assert one.dtype == other.dtype and torch.equal(one, other)
            # How they lie decides which kernels run.
            assert found.fine is not None
            assert found.fine.is_contiguous(memory_format=torch.channels_last)
        assert len(store) <= held and store.held <= held * size
        assert len(overflow) <= slots
    # Nothing is lost while there is room; what was read from the disk stays there, too.
    assert len(seen) > max(held, slots) or all(frame in store for frame in seen)
    store.clear()
    assert store.held == 0 and not any(frame in store for frame in range(12))


def test_what_was_read_from_the_disk_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    overflow = Overflow(Path(tempfile.gettempdir()), 2**20)
    store, reads = FeatureStore(1, overflow), []
    read = overflow.get
    monkeypatch.setattr(overflow, "get", lambda *given: bool(reads.append(1)) or read(*given))
    for frame in (0, 1):
        store.put(frame, marked(frame))
    for _ in range(3):
        assert store.get(0) is not None
    assert len(reads) == 1


def test_features_of_another_form_do_not_go_to_the_disk() -> None:
    """As many bytes may be of another shape."""
    store = FeatureStore(1, Overflow(Path(tempfile.gettempdir()), 2**20))
    for frame, shape in enumerate([(1, 6), (2, 3), (1, 6), (1, 6)]):
        store.put(frame, Features(None, None, torch.full(shape, float(frame))))
    assert [frame for frame in range(4) if frame in store] == [0, 2, 3]
    found = store.get(0)
    assert found is not None and torch.equal(found.top, torch.zeros(1, 6))


def test_features_on_a_device_are_counted_and_do_not_go_to_the_disk() -> None:
    """Of which the meta device is one, that holds nothing."""
    overflow = Overflow(Path(tempfile.gettempdir()), 2**20)
    store = FeatureStore(30, overflow)
    for frame in range(3):
        store.put(frame, Features(None, None, torch.ones(1, 3, device="meta")))
        assert store.held == 12 * min(2, frame + 1)
    assert len(overflow) == 0


def test_features_move_to_another_device() -> None:
    store = FeatureStore(2**20)
    store.put(0, marked(0))
    store.put(1, Features(None, None, torch.ones(1, 3)))
    store.move(torch.device("meta"))
    for frame in (0, 1):
        found = store.get(frame)
        assert found is not None
        assert all(part is None or part.device.type == "meta" for part in found)


def test_the_farthest_frame_makes_room_on_the_disk(tmp_path: Path) -> None:
    overflow = Overflow(tmp_path, 30)
    for frame in (0, 1, 9, 8):
        assert overflow.put(frame, [block(10, frame)])
    assert [frame for frame in range(10) if frame in overflow] == [1, 8, 9]
    assert not overflow.put(5, [block(9)])  # of another size
    part = block(10)
    assert overflow.get(8, [part]) and bytes(part) == bytes([8] * 10)
    assert not overflow.get(0, [part])
    assert overflow.put(2, [block(10, 2)])
    assert [frame for frame in range(10) if frame in overflow] == [1, 2, 8]
    assert overflow.put(8, [block(10, 3)]) and len(overflow) == 3  # once more, in its own place
    assert overflow.get(8, [part]) and bytes(part) == bytes([3] * 10)
    assert not list(tmp_path.iterdir())  # the file has no name


def test_a_place_that_a_write_left_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come between the frame that made room and the one that it was made for."""
    overflow = Overflow(tmp_path, 20)
    for frame in (0, 1):
        assert overflow.put(frame, [block(10, frame)])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(overflow, "_file", _Interrupted())
        overflow.put(9, [block(10, 9)])
    assert [frame for frame in range(10) if frame in overflow] == [1]
    for frame in (5, 6):
        assert overflow.put(frame, [block(10, frame)])
    for frame in (5, 6):
        part = block(10)
        assert overflow.get(frame, [part]) == (frame in overflow)
        assert bytes(part) == bytes([frame * (frame in overflow)] * 10)
    assert len(overflow) == 2


class _Interrupted:
    def seek(self, _: int) -> None:
        raise KeyboardInterrupt


def test_the_disk_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**30 + 25)
    overflow = Overflow(tmp_path, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert overflow.put(0, [block(20)])
    usage = usage._replace(free=2**30 + 5)
    assert overflow.put(1, [block(20)])  # in the place of the other
    assert [frame for frame in range(2) if frame in overflow] == [1]
    usage = usage._replace(free=2**40)
    assert overflow.put(2, [block(20)])  # nor does it grow later
    assert len(overflow) == 1
    assert disk_budget(tmp_path) == 8 * 2**30


def test_a_disk_that_fails_is_told_once_and_frames_are_encoded_again(tmp_path: Path) -> None:
    overflow = Overflow(tmp_path / "none", 2**30)
    tracker = Tracker(predictor("nano", True), clip(6), features_budget=1)
    tracker._engine.store = FeatureStore(1, overflow)
    with pytest.warns(RuntimeWarning, match=r"no longer kept on the disk.*No such file") as told:
        tracker.add(1, 0, BOX)
        list(tracker.propagate())
        list(tracker.propagate(start=0))
    assert len(told) == 1
    assert tracker._engine.encoder.encoded > 6


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_disk_that_fills_up_is_told_and_nothing_else_fails(tmp_path: Path) -> None:
    import resource

    overflow = Overflow(tmp_path, 2**30)
    assert overflow.put(0, [block(3000, 1)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
        with pytest.warns(RuntimeWarning, match="no longer kept on the disk"):
            assert not overflow.put(1, [block(3000, 2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(overflow) == 0
    assert not overflow.put(2, [block(3000, 3)]) and not overflow.get(0, [block(3000)])


def test_a_second_pass_reads_from_the_disk_and_gives_the_same() -> None:
    logits = []
    for most in (0, None):
        tracker = Tracker(
            predictor("nano", True), clip(12), features_budget=1, features_on_disk=most
        )
        tracker.add(1, 0, BOX)
        list(tracker.propagate())
        tracker.add(1, 3, BOX)
        logits.append([result.logits for result in tracker.propagate()])
        assert (tracker._engine.encoder.encoded == 12) == (most is None)
    for one, other in zip(*logits, strict=True):
        assert (one == other).all()


def test_little_memory_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2track.tracking.features.free_memory", lambda: 160 * 2**20)
    with pytest.warns(RuntimeWarning, match="little memory that is free: 20 MiB of it") as told:
        store = new_store(torch.device("cpu"), None, on_disk=0, folder=None)
    assert store.budget == 20 * 2**20 and len(told) == 1


def test_what_is_moved_counts_as_it_is_held_there() -> None:
    store = FeatureStore(10**6)
    for frame in range(3):
        store.put(frame, features(frame + 1))
    held = store.held
    store.held = 7  # as of another device, on which parts take other room
    store.move(torch.device("cpu"))
    assert store.held == held
