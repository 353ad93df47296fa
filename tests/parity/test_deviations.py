"""Where we depart from the official predictor on purpose, each by name.

Everything else is held to it by test_parity.py; corrections have tests of their own.
"""

from __future__ import annotations

import numpy as np
import pytest

from sam2track import Tracker
from sam2track.prompts import Prompt
from tests.parity.oracle import SIZE, clip, official_run, predictor
from tests.parity.test_parity import MANY, ONE, differences, our_run

BOX = Prompt(box=(30, 30, 70, 80))
POINT = Prompt(points=((64, 60),))
OTHER = Prompt(points=((20, 90), (100, 20)), labels=(1, 0))


def results(tracker: Tracker, **options: object) -> dict[tuple[int, int], np.ndarray]:
    return {
        (object_id, result.frame): result.logits[index]
        for result in tracker.propagate(**options)
        for index, object_id in enumerate(result.object_ids)
    }


def test_a_every_prompted_frame_conditions_also_the_first_prompted_again() -> None:
    module, frames = predictor("nano", True), clip(12)
    tracker = Tracker(module, frames)
    tracker.add(1, 0, BOX)
    list(tracker.propagate())
    tracker.add(1, 0, OTHER)
    again = results(tracker)
    fresh = Tracker(module, frames)
    fresh.add(1, 0, OTHER)
    expected = results(fresh)
    assert again.keys() == expected.keys()
    assert all(np.array_equal(again[key], expected[key]) for key in expected)


def test_a_a_correction_conditions_and_is_not_overwritten() -> None:
    tracker = Tracker(predictor("nano", True), clip(16))
    tracker.add(1, 0, BOX)
    before = results(tracker)
    shown = tracker.add(1, 8, OTHER)
    after = results(tracker)
    assert np.array_equal(after[1, 8], shown.logits[0])
    assert np.abs(after[1, 8] - before[1, 8]).max() > 0.01
    assert np.abs(after[1, 12] - before[1, 12]).max() > 1e-3, "later frames do not look at it"


@pytest.mark.parametrize("backward", [False, True])
def test_b_no_result_and_no_memory_before_the_first_prompt(backward: bool) -> None:
    module, frames = predictor("nano", True), clip(16)
    prompts = {1: {2: BOX}, 2: {7: POINT}, 3: {11: OTHER}}
    ours = our_run(module, frames, prompts, backward=backward)
    for object_id, by_frame in prompts.items():
        seen = [frame for i, frame in ours if i == object_id]
        first = next(iter(by_frame))
        whole = range(first + 1) if backward else range(first, 16)
        assert sorted(seen) == list(whole)
    theirs = official_run(module, frames, prompts, backward=backward)
    assert max(differences(ours, theirs)[:3]) <= MANY


def test_c_a_cleared_prompt_leaves_no_memory() -> None:
    module, frames = predictor("nano", True), clip(16)
    tracker = Tracker(module, frames)
    tracker.add(1, 0, BOX)
    tracker.add(1, 6, OTHER)
    tracker.clear(1, 6)
    cleared = results(tracker)
    never = Tracker(module, frames)
    never.add(1, 0, BOX)
    expected = results(never)
    assert all(np.array_equal(cleared[key], expected[key]) for key in expected)


def test_d_a_prompted_mask_does_not_depend_on_earlier_clicks() -> None:
    module, frames = predictor("tiny", True), clip(12)
    at_once, one_by_one = Tracker(module, frames), Tracker(module, frames)
    both = at_once.prompt(1, 0, points=[(50, 60), (90, 30)], labels=[1, 0])
    one_by_one.prompt(1, 0, points=[(50, 60)])
    clicked = one_by_one.prompt(1, 0, points=[(50, 60), (90, 30)], labels=[1, 0])
    assert np.array_equal(both.logits, clicked.logits)


def test_d_on_a_tracked_frame_neither() -> None:
    module, frames = predictor("tiny", True), clip(12)

    def corrected(*clicks: Prompt) -> np.ndarray:
        tracker = Tracker(module, frames)
        tracker.add(1, 0, BOX)
        list(tracker.propagate())
        for click in clicks:
            shown = tracker.add(1, 5, click)
        return shown.logits

    assert np.array_equal(corrected(OTHER), corrected(POINT, OTHER))


def test_e_a_backward_pass_sees_prompts_and_its_own_memories_only() -> None:
    module, frames = predictor("nano", True), clip(16)
    both = Tracker(module, frames)
    both.add(1, 9, BOX)
    found = results(both, direction="both")
    theirs = official_run(module, frames, {1: {9: BOX}}, backward=True)
    for (object_id, frame), seen in theirs.items():
        assert np.abs(found[object_id, frame] - seen.logits).max() <= ONE
    assert sorted(frame for _, frame in found) == list(range(16)), "each frame once"


def test_the_given_mask_is_the_reported_one() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((SIZE, SIZE)) > 0.5
    tracker = Tracker(predictor("nano", True), clip(5))
    assert np.array_equal(tracker.prompt(1, 0, mask=mask).masks[0], mask)
    first = next(iter(tracker.propagate()))
    assert np.array_equal(first.masks[0], mask)
    assert np.array_equal(first.labels == 1, mask)
