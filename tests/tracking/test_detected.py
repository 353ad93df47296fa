"""What a detector or segmenter found, in a tracker: on a video, and on a stream."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sam2track import Tracker
from sam2track.detections import Detections
from sam2track.errors import PromptError, UsageError
from sam2track.tracking.detected import place_of
from tests.parity.oracle import SIZE, clip
from tests.tracking.known import module, tracker

ONE, TWO = (10, 10, 60, 50), (70, 60, 120, 120)


def places(result: Any) -> dict[int, tuple[int, int, int, int] | None]:
    return {i: place_of(mask) for i, mask in zip(result.object_ids, result.masks, strict=True)}


def said(made: Tracker, object_id: int) -> dict[int, Any]:
    return {f: made.history.said(object_id, f).prompt.box for f in made.prompted(object_id)}


def test_every_box_begins_an_object_named_by_its_class() -> None:
    made = tracker()
    result = made.detect(1, Detections([ONE, TWO, (-9, -9, -1, -1)], None, ("cell", "", "cell")))
    assert result.frame == 1 and result.object_ids == (1, 2)
    assert made.names == {1: "cell"}
    assert said(made, 1) == {1: ONE} and said(made, 2) == {1: TWO}


def test_the_mask_is_that_of_the_same_box_as_a_prompt() -> None:
    made, other = tracker(), tracker()
    by_box = other.prompt(1, 0, box=ONE)
    assert np.array_equal(made.detect(0, [ONE]).logits, by_box.logits)


def test_a_box_on_an_object_refreshes_it_and_any_other_begins_one() -> None:
    made = tracker()
    made.detect(0, Detections([ONE], None, ("cell",)))
    list(made.propagate(0, 5))
    box = places(made.result(4))[1]
    assert box is not None
    far = (0, 0, 2, 2)
    result = made.detect(4, Detections([far, box], None, ("dust", "cell")))
    assert result.object_ids == (1, 2)
    assert said(made, 1) == {0: ONE, 4: box} and said(made, 2) == {4: far}
    assert made.names == {1: "cell", 2: "dust"}
    assert made.life(1).forward == 4  # what lies behind is to be run again


def test_the_same_boxes_twice_change_nothing() -> None:
    made = tracker()
    made.detect(2, [ONE, TWO])
    position = made.history.position
    for least in (0.5, 1):
        assert made.detect(2, [TWO, ONE], min_iou=least).object_ids == (1, 2)
        assert made.history.position == position


def test_the_number_of_an_object_that_is_gone_is_given_to_no_other() -> None:
    """What was written of it, a table for one, would be taken for the other's."""
    made = tracker()
    made.detect(0, [ONE])
    made.prompt(4, 0, box=TWO)
    made.remove(4)
    made.detect(2, [TWO, (0, 0, 5, 5)])
    assert made.object_ids == (1, 2, 3)
    made.detect(3, [(0, 120, 5, 125), (120, 0, 125, 5)])
    assert made.object_ids == (1, 2, 3, 5, 6)
    for _ in range(2):
        made.undo()
    made.detect(3, [(0, 120, 5, 125)])
    assert made.object_ids == (1, 2, 3, 5)  # the number was never given


def test_what_a_person_said_on_the_frame_stays() -> None:
    made = tracker()
    made.prompt(5, 0, box=ONE)
    made.detect(0, [(11, 10, 60, 50), TWO])
    assert said(made, 5) == {0: ONE} and said(made, 6) == {0: TWO}


def test_locked_objects_stay() -> None:
    made = tracker()
    made.prompt(1, 0, box=ONE)
    list(made.propagate(0, 3))
    box = places(made.result(2))[1]
    made.lock(1)
    assert made.detect(2, [box]).object_ids == (1,)
    assert made.prompted(1) == (0,)


def test_each_is_a_step_that_can_be_taken_back() -> None:
    made = tracker()
    made.detect(0, [ONE, TWO])
    made.undo()
    assert made.object_ids == (1,)


@pytest.mark.parametrize("min_iou", [0, -1, 1.5, float("nan")])
def test_least_overlap_is_checked(min_iou: float) -> None:
    with pytest.raises(UsageError, match="min_iou"):
        tracker().detect(0, [ONE], min_iou=min_iou)


def test_what_is_wrong_changes_nothing() -> None:
    made = tracker()
    with pytest.raises(PromptError, match="no area"):
        made.detect(0, [ONE, (5, 5, 5, 5)])
    with pytest.raises(PromptError, match="frame 99"):
        made.detect(99, [ONE])
    assert made.object_ids == ()
    assert made.detect(0, []).object_ids == ()


def test_an_object_is_where_the_largest_part_of_its_mask_is() -> None:
    mask = np.zeros((40, 60), np.bool_)
    assert place_of(mask) is None
    mask[10:20, 5:30] = True
    mask[35, 55] = mask[0, 0] = True  # specks
    assert place_of(mask) == (5, 10, 30, 20)


# -- streams ----------------------------------------------------------------------------


def test_a_stream_takes_detections_with_its_frames() -> None:
    frames = clip(8)
    made = Tracker(module())
    first = made.update(frames[0], SimpleNamespace(xyxy=np.array([ONE]), class_id=np.array([3])))
    assert first.object_ids == (1,) and made.names == {1: "3"}
    assert made.update(frames[1]).sources == ("forward",)
    alone = Tracker(module())
    for frame, boxes in ((0, [ONE]), (1, None)):
        alone.update(frames[frame], boxes)
    box = places(alone.update(frames[1]))[1]
    third = made.update(frames[1], [box, (0, 0, 2, 2)])
    assert third.object_ids == (1, 2) and third.sources == ("prompted", "prompted")
    assert made.update(frames[2], []).object_ids == (1, 2)


def refreshed(frames: np.ndarray) -> tuple[Tracker, list[np.ndarray]]:
    """A stream whose only object is refreshed on every frame."""
    made, seen = Tracker(module(), max_cond_frames=3), []
    for frame in frames:
        result = made.update(frame)
        known = places(result).get(1)
        result = made.detect(result.frame, [known or ONE])
        assert result.object_ids == (1,)
        seen.append(result.logits)
    return made, seen


def test_a_stream_of_detections_keeps_a_bounded_number_of_prompts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = np.concatenate([clip(8)] * 3)
    made, seen = refreshed(frames)
    rules = made._engine.rules
    most = rules.max_cond_frames + 1 + max(rules.max_pointers, rules.spatial_reach)
    assert len(made.prompted(1)) <= most < len(frames)
    monkeypatch.setattr(made._engine.recall.__class__, "forget_prompts", lambda *_: None)
    whole, expected = refreshed(frames)
    assert len(whole.prompted(1)) == len(frames)
    assert all(np.array_equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_a_streams_frame_has_the_size_of_its_boxes() -> None:
    made = Tracker(module())
    made.update(clip(8)[0], [(100, 100, 999, 999)])
    assert said(made, 1) == {0: (100, 100, SIZE, SIZE)}


def test_a_frame_whose_boxes_cannot_be_is_not_taken() -> None:
    made, frames = Tracker(module()), clip(3)
    made.update(frames[0], [ONE])
    with pytest.raises(PromptError, match="no area"):
        made.update(frames[1], [(9, 9, 9, 9)])
    for wrong in (0, "a", None):
        with pytest.raises(UsageError, match="min_iou"):
            made.update(frames[1], [ONE], min_iou=wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="min_iou"):
            made.detect(0, [ONE], min_iou=wrong)  # type: ignore[arg-type]
    assert len(made.source) == 1
    assert made.update(frames[1], [ONE]).frame == 1


def masks(*which: np.ndarray) -> Detections:
    return Detections(masks=which)


def round_at(x: int, y: int, radius: int = 16) -> np.ndarray:
    rows, columns = np.mgrid[0:96, 0:128]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


@pytest.fixture
def followed() -> Tracker:
    """Two bright disks, which the embedded model follows to frame 4; a third is new there."""
    clip = np.full((6, 96, 128, 3), 40, np.uint8)
    for frame, picture in enumerate(clip):
        picture[round_at(30 + 2 * frame, 30)] = 220
        picture[round_at(90, 60)] = 200, 60, 60
    clip[4:][:, round_at(30, 76, 12)] = 60, 200, 60
    made = Tracker("nano", clip)
    made.prompt(1, 0, mask=round_at(30, 30))
    made.prompt(2, 0, mask=round_at(90, 60))
    list(made.propagate())
    return made


def test_masks_refresh_objects_and_begin_others(followed: Tracker) -> None:
    first, third = round_at(38, 31), round_at(30, 76, 12)
    result = followed.detect(4, masks(third, first))
    assert result.object_ids == (1, 2, 3)
    assert np.array_equal(result.mask(1), first) and np.array_equal(result.mask(3), third)
    assert followed.prompted(1) == (0, 4) and followed.prompted(2) == (0,)
    position = followed.history.position
    followed.detect(4, masks(first, third))
    assert followed.history.position == position


def test_each_label_is_one_object(followed: Tracker) -> None:
    """As of a cell that divides: the larger part is the mother, and the other one begins."""
    whole = followed.result(4).mask(2)
    most, rest = whole & (np.arange(128) < 95), whole & (np.arange(128) >= 95)
    result = followed.detect(4, masks(rest, most))
    assert result.object_ids == (1, 2, 3)
    assert np.array_equal(result.mask(2), most) and np.array_equal(result.mask(3), rest)


def test_small_parts_and_what_is_larger_are_the_object(followed: Tracker) -> None:
    whole = followed.result(4).mask(2)
    assert followed.detect(4, masks(whole & (np.arange(128) < 80))).object_ids == (1, 2)
    followed.undo()
    assert followed.detect(4, masks(whole | round_at(90, 60, 34))).object_ids == (1, 2)


def test_where_an_object_was_a_frame_before_counts(followed: Tracker) -> None:
    followed.edit(2, 3, round_at(20, 70, 6))  # where nothing is
    lies = round_at(23, 72, 6)
    assert not (lies & followed.result(4).mask(2)).any()
    assert followed.detect(4, masks(lies)).object_ids == (1, 2)
    assert followed.prompted(2) == (0, 3, 4)
    followed.undo()
    followed.end_at(2, 4)
    assert followed.detect(4, masks(lies)).object_ids == (1, 3)
    for _ in range(2):
        followed.undo()
    followed.prompt(2, 4, absent=True)
    assert followed.detect(4, masks(lies)).object_ids == (1, 2, 3)


def test_what_is_lost_is_looked_for_where_it_was_said_to_be_last() -> None:
    clip = np.full((5, 96, 128, 3), 40, np.uint8)
    for picture in clip[:2]:
        picture[round_at(90, 60)] = 200, 60, 60
    made = Tracker("nano", clip)
    made.prompt(1, 0, mask=round_at(90, 60))
    list(made.propagate())
    assert not made.result(3).masks.any() and not made.result(4).masks.any()
    result = made.detect(4, masks(round_at(30, 30), round_at(93, 62)))
    assert result.object_ids == (1, 2) and np.array_equal(result.mask(1), round_at(93, 62))
    assert made.prompted(2) == (4,)


def test_a_locked_object_keeps_what_it_covers(followed: Tracker) -> None:
    whole = followed.result(4).mask(2)
    followed.lock(2)
    assert followed.detect(4, masks(whole & (np.arange(128) < 95))).object_ids == (1, 2)
    assert followed.detect(4, masks(whole & (np.arange(128) >= 95))).object_ids == (1, 2)
    assert followed.prompted(2) == (0,)
    with pytest.raises(PromptError, match="masks of 9 x 9 pixels"):
        followed.detect(4, masks(np.ones((9, 9), np.bool_)))
