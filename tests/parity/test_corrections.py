"""Corrections equal the official predictor's, with every corrected frame conditioning."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from sam2track import Tracker, load_model
from sam2track.prompts import Prompt
from sam2track.tracking.encoder import Encoder
from tests.parity.oracle import SIZE, clip, patched, predictor, seen_in
from tests.parity.test_parity import ONE

BOX = Prompt(box=(30, 30, 70, 80))
POINT = Prompt(points=((64, 60),))
CLICKS = Prompt(points=((20, 90), (100, 20)), labels=(1, 0))
ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE]
MASK = Prompt(mask=(ROWS - 60) ** 2 + (COLUMNS - 40) ** 2 < 300)


def say(module, state, frame: int, prompt: Prompt) -> None:  # type: ignore[no-untyped-def]
    if prompt.mask is not None:
        module.add_new_mask(state, frame, 1, prompt.mask)
    else:
        module.add_new_points_or_box(
            state,
            frame,
            1,
            points=prompt.points or None,
            labels=prompt.labels or None,
            box=prompt.box,
        )


def official(name: str, first: tuple[int, Prompt], rounds, *, backward: bool):  # type: ignore[no-untyped-def]
    """Frames by number after each round: prompt, run on from there, and so on."""
    module, frames = predictor(name, True), clip(40)[:24]
    encoder = Encoder(load_model(module))
    images = torch.cat([encoder.prepare(frame) for frame in frames])
    found = []
    with patched(module, images):
        state = module.init_state("")
        for frame, prompt in (first, *rounds):
            say(module, state, frame, prompt)
            # What lies behind the end of the video is not run in either.
            for _ in module.propagate_in_video(state, frame, reverse=backward):
                pass
            seen = range(frame + 1) if backward else range(frame, len(frames))
            found.append({f: seen_in(state, f) for f in seen})
    return found


ROUNDS = {
    "one click": ((0, BOX), [(12, CLICKS)]),
    "one point": ((0, BOX), [(12, POINT)]),
    "a mask": ((0, POINT), [(12, MASK)]),
    "three rounds, forward and back": ((0, BOX), [(12, CLICKS), (18, POINT), (5, MASK)]),
    "within the first memories": ((0, BOX), [(3, CLICKS), (4, POINT)]),
    "on the last frame": ((0, MASK), [(23, CLICKS), (10, BOX)]),
}
MOST = "three rounds, forward and back"


@pytest.mark.parametrize(
    ("backward", "rounds", "name"),
    [
        pytest.param(
            backward,
            rounds,
            name,
            # Of the larger model those alone that have most in them.
            marks=[pytest.mark.slow] * (name == "tiny" and (backward or rounds != MOST)),
        )
        for backward, rounds, name in product([False, True], ROUNDS, ["tiny", "nano"])
    ],
)
def test_corrections_equal_official_ones(name: str, rounds: str, backward: bool) -> None:
    first, more = ROUNDS[rounds]
    if backward:
        first, more = (23 - first[0], first[1]), [(23 - frame, said) for frame, said in more]
    expected = official(name, first, more, backward=backward)
    tracker = Tracker(predictor(name, True), clip(40)[:24])
    for (frame, said), theirs in zip((first, *more), expected, strict=True):
        shown = tracker.add(1, frame, said)
        direction = "backward" if backward else "forward"
        ours = {r.frame: r for r in tracker.propagate(direction=direction)}
        assert sorted(ours) == sorted(theirs)
        assert np.array_equal(shown.logits[0], ours[frame].logits[0])
        for number, result in ours.items():
            if theirs[number].close:
                continue
            assert np.abs(result.logits[0] - theirs[number].logits).max() <= ONE
            record = tracker.history.get(1, number)
            assert np.abs(record.pointer - theirs[number].pointer).max() <= ONE


def test_a_correction_touches_its_object_and_what_comes_after_only() -> None:
    tracker = Tracker(predictor("nano", True), clip(40)[:24])
    tracker.add(1, 0, BOX)
    tracker.add(2, 0, Prompt(points=((90, 90),)))
    before = {r.frame: r.logits for r in tracker.propagate()}
    tracker.add(1, 12, CLICKS)
    ran = {r.frame: r for r in tracker.propagate()}
    assert sorted(ran) == list(range(12, 24))
    assert all(r.object_ids == (1,) for r in ran.values())
    for frame, logits in before.items():
        now = tracker.result(frame)
        assert now.object_ids == (1, 2)
        assert np.array_equal(now.logits[1], logits[1])
        if frame < 12:
            assert np.array_equal(now.logits[0], logits[0])


def test_rebuilt_memories_are_those_that_were() -> None:
    """A run from the middle, on memories made again from the history, repeats the run."""
    module, frames = predictor("tiny", True), clip(40)[:24]
    tracker = Tracker(module, frames)
    tracker.add(1, 0, BOX)
    whole = {r.frame: r.logits[0] for r in tracker.propagate()}
    for frame in (1, 5, 13, 20):
        again = {r.frame: r.logits[0] for r in tracker.propagate(frame, 24)}
        assert all(np.array_equal(again[f], whole[f]) for f in range(frame, 24))


def test_rebuilding_from_eight_bits_is_close() -> None:
    from sam2track.tracking.spill import SpillFile

    module, frames = predictor("nano", True), clip(40)[:24]
    tracker = Tracker(module, frames, history=SpillFile(budget=0))
    tracker.add(1, 0, BOX)
    whole = {r.frame: r.masks[0] for r in tracker.propagate()}
    ious = []
    for frame in (3, 9, 13, 20):
        for result in tracker.propagate(frame, 24):
            one, other = result.masks[0], whole[result.frame]
            ious.append((one & other).sum() / max(1, (one | other).sum()))
    assert np.mean(ious) > 0.97
