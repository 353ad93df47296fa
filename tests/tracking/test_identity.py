"""Which object is which: merging, splitting, swapping, ending and dividing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sam2track import Tracker
from sam2track.errors import PromptError
from sam2track.tracking.book import Book
from tests.tracking.known import (
    FRAMES,
    LEFT,
    LOW,
    RIGHT,
    computed,
    disk,
    dump,
    frames,
    marked,
    marked_forward,
    mask,
    masks,
    of,
    prompts,
    ran,
    tracker,
)

LAST = FRAMES - 1
Action = Callable[[Tracker], object]


def refused(made: Tracker, action: Action, message: str) -> None:
    """The action is a PromptError that says so, and nothing whatever is changed by it."""
    before, journal = dump(made), made.history.journal()
    with pytest.raises(PromptError, match=message):
        action(made)
    assert dump(made) == before
    assert made.history.journal() == journal


def from_on(found: dict[int, Any], frame: int) -> dict[int, Any]:
    return {f: value for f, value in found.items() if f >= frame}


def before(found: dict[int, Any], frame: int) -> dict[int, Any]:
    return {f: value for f, value in found.items() if f < frame}


def in_parts() -> Tracker:
    """Object 1 up to frame 3, object 2 from 5 on with a second prompt on 6, object 3 throughout."""
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    made.prompt(3, 0, mask=disk(LOW))
    made.end_at(1, 4)
    made.prompt(2, 5, mask=disk(RIGHT))
    made.prompt(2, 6, mask=disk(RIGHT, 12))
    list(made.propagate())
    list(made.propagate(direction="backward", objects=[3]))
    assert sorted(frames(made, 1)) == [0, 1, 2, 3]
    assert sorted(frames(made, 2)) == [5, 6, 7]
    return made


def divided(frame: int = 4) -> Tracker:
    """Object 1 divides into 4 and 5; all is run to the end."""
    made = ran()
    made.divide(1, frame, {4: disk(LEFT, 9), 5: disk(RIGHT, 9)})
    list(made.propagate())
    assert made.life(1).forward is None
    return made


@pytest.mark.parametrize("divides", [False, True])
def test_an_object_that_ends_where_it_stands_waits_for_nothing(divides: bool) -> None:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    list(made.propagate(0, 5))
    assert made.life(1).forward == 5
    if divides:
        made.divide(1, 5, {4: disk(LEFT, 9), 5: disk(RIGHT, 9)})
    else:
        made.end_at(1, 5)
    assert made.life(1).forward is None


# -- merge ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "gone"), [(1, 2), (2, 1)])
def test_merged_objects_have_the_frames_and_prompts_of_both_to_the_bit(
    kept: int, gone: int
) -> None:
    made = in_parts()
    frames_of_both = frames(made, 1) | frames(made, 2)
    said_of_both = prompts(made, 1) | prompts(made, 2)
    shown_of_both = masks(made, 1) | masks(made, 2)
    other = of(made, 3)
    with computed() as calls:
        made.merge(kept, gone)
        assert frames(made, kept) == frames_of_both
        assert prompts(made, kept) == said_of_both
        assert masks(made, kept) == shown_of_both
    assert calls == []
    assert made.object_ids == tuple(sorted({3, kept}))
    assert frames(made, gone) == prompts(made, gone) == {}
    assert made.prompted(kept) == (0, 5, 6)
    assert made.life(kept).end is None
    assert set(marked(made)) == {kept}
    assert of(made, 3) == other


def test_merged_objects_that_overlap_have_the_union_of_their_masks() -> None:
    made = ran((2, 5))
    other = of(made, 3)
    unions, pointers, alone = {}, {}, 0
    for frame in range(FRAMES):
        one, two = mask(made, 1, frame), mask(made, 2, frame)
        unions[frame] = one | two
        larger = 1 if one.sum() >= two.sum() else 2
        pointers[frame] = made.history.get(larger, frame).pointer
        alone += bool((one & ~two).any() and (two & ~one).any())
    assert alone > 2, "a scene in which one mask alone would pass for the union"
    made.merge(1, 2)
    for frame, union in unions.items():
        assert np.array_equal(mask(made, 1, frame), union), frame
        assert mask(made, 2, frame) is None
        if frame not in made.prompted(1):  # there it is that of the union
            assert np.array_equal(made.history.get(1, frame).pointer, pointers[frame]), frame
    assert made.prompted(1) == (0, 5)
    result = made.result(5)
    assert result.sources[result.object_ids.index(1)] == "edited"
    assert marked_forward(made) == {1: 0}
    assert of(made, 3) == other


def test_a_merged_object_takes_the_others_name_where_it_has_none() -> None:
    made = in_parts()
    made.rename(2, "two")
    made.merge(1, 2)
    assert made.life(1).name == "two"
    made = in_parts()
    made.rename(1, "one")
    made.rename(2, "two")
    made.merge(1, 2)
    assert made.life(1).name == "one"


def test_a_merged_object_goes_on_as_one() -> None:
    made = in_parts()
    made.merge(2, 1)
    with computed() as calls:
        run = list(made.propagate())
    assert calls
    assert {i for result in run for i in result.object_ids} == {2}
    assert sorted(frames(made, 2)) == list(range(FRAMES))
    assert set(marked(made)) <= {2}
    assert made.life(2).forward is None


def test_what_was_to_be_run_of_an_object_still_is_once_it_is_merged() -> None:
    made = in_parts()
    made.edit(1, 2, disk(LOW, 7))
    assert made.life(1).forward == 2
    made.merge(1, 2)
    assert (made.life(1).forward, made.life(1).backward) == (2, 6)
    made = in_parts()
    made.edit(2, 7, disk(LOW, 7))
    assert made.life(2).backward == 7
    made.merge(2, 1)
    assert (made.life(2).forward, made.life(2).backward) == (0, 7)


def test_a_merged_object_is_not_run_forward_before_its_first_prompt() -> None:
    made = tracker()
    made.prompt(1, 4, mask=disk(LEFT))
    made.prompt(2, 6, mask=disk(RIGHT))
    list(made.propagate(direction="both"))
    made.merge(1, 2)
    was = before(frames(made, 1), 4)
    assert sorted(was) == [0, 1, 2, 3]
    assert [result.frame for result in made.propagate()] == [4, 5, 6, 7]
    assert before(frames(made, 1), 4) == was


@pytest.mark.parametrize("part_first", [False, True])
def test_merging_the_parts_of_a_split_gives_one_object_without_birth_or_end(
    part_first: bool,
) -> None:
    made = ran()
    part = made.split_from(1, 4)
    pair = (part, 1) if part_first else (1, part)
    made.merge(*pair)
    life = made.life(pair[0])
    assert (life.birth, life.end, life.mother) == (None, None, None)
    assert sorted(frames(made, pair[0])) == list(range(FRAMES))


def test_an_object_is_not_merged_with_itself() -> None:
    refused(ran(), lambda made: made.merge(1, 1), "object 1 cannot be merged with itself")


@pytest.mark.parametrize("pair", [(2, 4), (4, 2)])
def test_a_daughter_is_not_merged_with_what_is_there_before_its_birth(
    pair: tuple[int, int],
) -> None:
    refused(divided(), lambda made: made.merge(*pair), "object 4 is a daughter of 1 and would")


@pytest.mark.parametrize("pair", [(4, 5), (5, 4)])
def test_two_daughters_of_one_division_may_be_one(pair: tuple[int, int]) -> None:
    """It was no division: the mother goes on as one daughter, with which she may be merged."""
    made = divided()
    made.end_at(pair[1], 6)
    made.merge(*pair)
    life = made.life(pair[0])
    assert (life.birth, life.end, life.mother) == (4, None, 1)
    assert np.array_equal(mask(made, pair[0], 4), disk(LEFT, 9) | disk(RIGHT, 9))
    assert min(frames(made, pair[0])) == 4 and frames(made, pair[1]) == {}
    list(made.propagate())
    list(made.propagate(direction="backward"))
    assert sorted(frames(made, pair[0])) == list(range(4, FRAMES))
    made.merge(1, pair[0])
    assert made.life(1).mother is None and made.life(1).end is None


@pytest.mark.parametrize("pair", [(4, 6), (6, 4)])
def test_a_daughter_and_what_begins_with_it_are_that_daughter(pair: tuple[int, int]) -> None:
    made = divided()
    made.prompt(6, 4, mask=disk(LOW, 5))
    made.merge(*pair)
    life = made.life(pair[0])
    assert (life.birth, life.mother) == (4, 1)
    assert made.life(5).mother == 1


@pytest.mark.parametrize("pair", [(4, 6), (6, 4)])
def test_daughters_of_two_mothers_are_not_merged(pair: tuple[int, int]) -> None:
    made = divided()
    made.divide(2, 4, {6: disk(LOW, 5)})
    refused(made, lambda made: made.merge(*pair), "an object has one mother")


@pytest.mark.parametrize("pair", [(1, 4), (4, 1)])
def test_a_mother_is_not_merged_with_one_of_several_daughters(pair: tuple[int, int]) -> None:
    refused(divided(), lambda made: made.merge(*pair), r"object 1 divides into \[5\]")


def test_a_mother_is_not_merged_with_what_is_there_after_its_division() -> None:
    made = ran()
    made.end_at(1, 6)  # what comes later
    made.prompt(6, 2, mask=disk(LOW, 8))
    made.prompt(6, 3, mask=disk(LOW, 8))
    made.divide(6, 5, {7: disk(LOW, 5)})
    list(made.propagate())
    refused(made, lambda made: made.merge(1, 6), "object 6 divides on frame 5 and object 1 is")
    made.end_at(1, 5)
    made.merge(1, 6)
    assert (made.life(1).end, made.life(7).mother) == (5, 1)
    list(made.propagate())
    assert max(frames(made, 1)) == 4


def test_merging_a_mother_with_her_only_daughter_undoes_the_division() -> None:
    made = ran()
    made.divide(1, 4, {4: disk(LEFT, 9)})
    made.divide(4, 7, {5: disk(LEFT, 5)})
    list(made.propagate())
    both = frames(made, 1) | frames(made, 4)
    made.merge(1, 4)
    life = made.life(1)
    assert (life.birth, life.end, life.mother) == (None, 7, None)
    assert made.life(5).mother == 1
    assert frames(made, 1) == both
    made.merge(1, 5)
    life = made.life(1)
    assert (life.birth, life.end, life.mother) == (None, None, None)
    assert sorted(frames(made, 1)) == list(range(FRAMES))


@pytest.mark.parametrize("pair", [(4, 6), (6, 4)])
def test_a_daughter_that_is_merged_with_a_later_object_keeps_its_birth(
    pair: tuple[int, int],
) -> None:
    made = divided(3)
    made.end_at(4, 5)
    made.prompt(6, 6, mask=disk(LEFT))
    list(made.propagate())
    made.merge(*pair)
    life = made.life(pair[0])
    assert (life.birth, life.end, life.mother) == (3, None, 1)
    list(made.propagate(direction="backward"))
    assert min(frames(made, pair[0])) == 3


# -- split ----------------------------------------------------------------------------------


def test_a_split_leaves_what_was_before_and_gives_the_rest_to_a_new_object() -> None:
    made = ran((1, 6))
    was, said, shown, other = frames(made, 1), prompts(made, 1), masks(made, 1), of(made, 3)
    assert made.split_from(1, 4) == 4
    assert made.object_ids == (1, 2, 3, 4)
    assert frames(made, 1) == before(was, 4)
    assert from_on(frames(made, 4), 5) == from_on(was, 5)
    assert prompts(made, 1) == before(said, 4)
    assert from_on(prompts(made, 4), 5) == from_on(said, 5)
    assert (made.prompted(1), made.prompted(4)) == ((0,), (4, 6))
    assert (made.life(1).end, made.life(4).birth, made.life(4).end) == (4, 4, None)
    # The frame itself shows what it showed, as what a person said.
    assert masks(made, 4)[4] == (shown[4][0], "edited")
    assert sorted(masks(made, 4)) == [4, 5, 6, 7]
    assert marked_forward(made) == {4: 4}
    assert of(made, 3) == other


def test_a_split_on_a_prompted_frame_moves_that_prompt_as_it_is() -> None:
    made = ran((1, 4))
    was, said = frames(made, 1), prompts(made, 1)
    assert made.split_from(1, 4, 9) == 9
    assert frames(made, 9) == from_on(was, 4)
    assert prompts(made, 9) == from_on(said, 4)


def test_what_tracking_gave_before_a_prompt_goes_with_it() -> None:
    made = ran()
    made.edit(1, 5, disk(LOW, 7))
    was = prompts(made, 1)[5]
    assert was[-1] is not None
    assert prompts(made, made.split_from(1, 3))[5] == was


def test_what_was_tracked_back_from_a_prompt_that_a_split_moved_is_to_be_run_anew() -> None:
    made = tracker()
    made.prompt(1, 2, mask=disk(LEFT))
    made.prompt(1, 6, mask=disk(RIGHT))
    for direction in ("forward", "backward"):
        list(made.propagate(direction=direction))
    made.split_from(1, 4)
    assert (made.life(1).forward, made.life(1).backward) == (None, 2)
    list(made.propagate(direction="backward", objects=[1]))
    never = tracker()
    never.prompt(1, 2, mask=disk(LEFT))
    list(never.propagate(direction="backward"))
    assert before(frames(made, 1), 3) == frames(never, 1)


def test_both_parts_of_a_split_stay_within_their_frames() -> None:
    made = ran()
    made.split_from(1, 4)
    made.edit(1, 2, disk(LEFT))
    early = of(made, 2)
    list(made.propagate())
    list(made.propagate(0, FRAMES, objects=[1, 4]))
    list(made.propagate(0, FRAMES, "backward", objects=[1, 4]))
    assert sorted(frames(made, 1)) == [0, 1, 2, 3]
    assert sorted(frames(made, 4)) == [4, 5, 6, 7]
    assert of(made, 2) == early


def test_daughters_go_with_the_later_part() -> None:
    made = divided(6)
    made.split_from(1, 3, 8)
    assert [made.life(i).mother for i in (4, 5)] == [8, 8]
    assert (made.life(1).end, made.life(8).birth, made.life(8).end) == (3, 3, 6)
    assert made.life(8).mother is None


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda made: made.split_from(1, 0), "object 1 has no prompt before frame 0"),
        (lambda made: made.split_from(2, 2), "object 2 has no prompt before frame 2"),
        (lambda made: made.split_from(1, 5), "object 1 is not seen on frame 5"),
        (lambda made: made.split_from(4, 5), "object 4 has no mask on frame 5"),
        (lambda made: made.split_from(1, 3, 2), "there is an object 2 already"),
        (lambda made: made.split_from(1, 3, 0), "positive integers"),
        (lambda made: made.split_from(1, FRAMES), f"frame {FRAMES} does not exist"),
        (lambda made: made.split_from(3, 6), "object 3 ends before frame 6"),
        (lambda made: made.split_from(7, 3), "no object 7"),
    ],
)
def test_a_split_is_refused_where_it_makes_no_two_parts(action: Action, message: str) -> None:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    made.prompt(1, 5, absent=True)
    made.prompt(2, 2, mask=disk(RIGHT))
    made.prompt(3, 0, mask=disk(LOW))
    made.end_at(3, 6)
    list(made.propagate())
    made.prompt(4, 0, mask=disk(LOW))
    refused(made, action, message)


# -- swap -----------------------------------------------------------------------------------


def test_a_swap_exchanges_frames_and_prompts_from_there_on() -> None:
    made = ran((1, 6), (2, 2))
    was = {i: (frames(made, i), prompts(made, i), masks(made, i)) for i in (1, 2)}
    other = of(made, 3)
    made.swap_from(1, 2, 4)
    for item, source in ((1, 2), (2, 1)):
        assert before(frames(made, item), 4) == before(was[item][0], 4)
        assert from_on(frames(made, item), 5) == from_on(was[source][0], 5)
        assert before(prompts(made, item), 4) == before(was[item][1], 4)
        assert from_on(prompts(made, item), 5) == from_on(was[source][1], 5)
        assert masks(made, item)[4] == (was[source][2][4][0], "edited")
    assert (made.prompted(1), made.prompted(2)) == ((0, 4), (0, 2, 4, 6))
    assert marked_forward(made) == {1: 4, 2: 4}
    assert of(made, 3) == other


def test_running_after_a_swap_changes_nothing_before_it() -> None:
    made = ran()
    made.swap_from(1, 2, 4)
    swapped = {i: frames(made, i) for i in (1, 2)}
    other = of(made, 3)
    run = list(made.propagate())
    assert [result.frame for result in run] == [4, 5, 6, 7]
    for object_id in (1, 2):
        now = frames(made, object_id)
        assert before(now, 5) == before(swapped[object_id], 5), "also the frame itself is said"
        assert all(now[f] != swapped[object_id][f] for f in range(5, FRAMES))
    assert of(made, 3) == other


def test_what_a_swap_moved_counts_as_followed_up_and_is_there_again_once_an_edit_is_cleared() -> (
    None
):
    made = ran((1, 6))
    made.swap_from(1, 2, 2)
    list(made.propagate(objects=[2], until_prompted=True))
    assert made.life(2).forward is None
    was = frames(made, 2)
    made.edit(2, 7, disk(LOW))
    made.clear(2, 7)
    assert frames(made, 2) == was


@pytest.mark.parametrize("direction", ["both", "backward"])
def test_running_after_a_swap_before_the_first_prompts_changes_nothing_before_it(
    direction: Any,
) -> None:
    made = tracker()
    made.prompt(1, 6, mask=disk(LEFT))
    made.prompt(2, 6, mask=disk(RIGHT))
    list(made.propagate(direction="both"))
    made.swap_from(1, 2, 4)
    swapped = {i: frames(made, i) for i in (1, 2)}
    list(made.propagate(direction=direction))
    for object_id in (1, 2):
        assert before(frames(made, object_id), 5) == before(swapped[object_id], 5)


def test_a_correction_behind_a_swap_is_tracked_back_to_the_swap_where_that_is_asked() -> None:
    made = tracker()
    made.prompt(1, 6, mask=disk(LEFT))
    made.prompt(2, 6, mask=disk(RIGHT))
    list(made.propagate(direction="both"))
    made.swap_from(1, 2, 2)
    made.prompt(1, 5, mask=disk(RIGHT))
    swapped = frames(made, 1)
    list(made.propagate(direction="backward", until_prompted=True))
    now = frames(made, 1)
    assert before(now, 3) == before(swapped, 3)
    assert any(now[f] != swapped[f] for f in (3, 4))
    list(made.propagate(direction="backward"))  # nothing before it is left to be run
    assert before(frames(made, 1), 3) == before(swapped, 3)


def test_what_was_to_be_run_backward_before_a_swap_still_is() -> None:
    made = tracker()
    made.prompt(1, 6, mask=disk(LEFT))
    made.prompt(2, 6, mask=disk(RIGHT))
    list(made.propagate(3, direction="backward"))
    made.swap_from(1, 2, 4)
    list(made.propagate(direction="both"))
    assert sorted(frames(made, 1)) == list(range(FRAMES))


def test_a_swap_of_an_object_that_is_not_seen_says_that_the_other_is_absent() -> None:
    made = ran()
    made.prompt(2, 4, absent=True)
    made.swap_from(1, 2, 4)
    assert not mask(made, 1, 4).any()
    assert mask(made, 2, 4).any()
    assert made.history.said(1, 4).prompt.absent


def test_ends_and_daughters_are_swapped_too() -> None:
    made = divided(6)
    made.swap_from(1, 2, 3)
    assert (made.life(1).end, made.life(2).end) == (None, 6)
    assert [made.life(i).mother for i in (4, 5)] == [2, 2]
    list(made.propagate())
    assert (max(frames(made, 1)), max(frames(made, 2))) == (LAST, 5)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda made: made.swap_from(1, 1, 3), "object 1 cannot be swapped with itself"),
        (lambda made: made.swap_from(1, 7, 3), "no object 7"),
        (lambda made: made.swap_from(1, 2, FRAMES), f"frame {FRAMES} does not exist"),
        (lambda made: made.swap_from(1, 3, 6), "object 3 ends before frame 5"),
        (lambda made: made.swap_from(1, 4, 3), "object 4 has no mask on frame 3"),
        (lambda made: made.swap_from(1, 2, 2), "neither object 1 nor 2 is seen on frame 2"),
    ],
)
def test_a_swap_is_refused_where_there_is_nothing_to_swap(action: Action, message: str) -> None:
    made = ran()
    made.end_at(3, 5)
    made.prompt(4, 5, mask=disk(LOW))
    made.prompt(1, 2, absent=True)
    made.prompt(2, 2, absent=True)
    refused(made, action, message)


# -- end ------------------------------------------------------------------------------------


def test_an_ended_object_is_on_no_later_frame_and_is_tracked_on_none() -> None:
    made = ran()
    was, other = frames(made, 1), of(made, 3)
    made.end_at(1, 5)
    assert frames(made, 1) == before(was, 5)
    assert mask(made, 1, 5) is None
    assert marked(made).get(1, (None, None))[0] is None
    list(made.propagate(0, FRAMES))
    list(made.propagate(0, FRAMES, "backward"))
    assert sorted(frames(made, 1)) == [0, 1, 2, 3, 4]
    made.edit(1, 2, disk(LEFT))
    list(made.propagate())
    assert sorted(frames(made, 1)) == [0, 1, 2, 3, 4]
    assert made.life(1).forward is None
    assert frames(made, 3).keys() == other[4].keys()


def test_an_end_that_is_taken_back_is_run_on_from_there() -> None:
    made = ran()
    made.end_at(1, 5)
    list(made.propagate())
    others = [of(made, i) for i in (2, 3)]
    made.end_at(1, None)
    assert made.life(1).end is None
    assert marked_forward(made) == {1: 5}
    assert [(r.frame, r.object_ids) for r in made.propagate()] == [(f, (1,)) for f in (5, 6, 7)]
    assert sorted(frames(made, 1)) == list(range(FRAMES))
    assert [of(made, i) for i in (2, 3)] == others


def test_an_end_that_is_put_off_is_run_up_to_there() -> None:
    # Alone, since objects that share a batch may differ in their last bits.
    made, whole = tracker(), tracker()
    for one in (made, whole):
        one.prompt(1, 0, mask=disk(LEFT))
        list(one.propagate())
    made.end_at(1, 3)
    made.end_at(1, 6)
    assert [result.frame for result in made.propagate()] == [3, 4, 5]
    assert frames(made, 1) == before(frames(whole, 1), 6)
    assert made.life(1).forward is None
    made.end_at(1, None)
    list(made.propagate())
    assert frames(made, 1) == frames(whole, 1)


@pytest.mark.parametrize("later", [6, None])
def test_another_end_is_there_for_whoever_opens_the_history(later: int | None) -> None:
    made = ran()
    made.end_at(1, 3)
    made.end_at(1, later)
    known = of(made, 1)
    assert of(tracker(history=made.history), 1) == known
    assert made.history.lives()[0].end == later


def test_a_range_ends_before_an_object_does() -> None:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    made.end_at(1, 6)
    assert [result.frame for result in made.propagate(0, 3)] == [0, 1, 2]
    assert made.life(1).forward == 3


def test_an_end_that_is_set_while_a_run_is_under_way_holds() -> None:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    made.prompt(2, 0, mask=disk(RIGHT))
    run = made.propagate()
    assert [next(run).frame for _ in range(3)] == [0, 1, 2]
    made.end_at(1, 4)
    list(run)
    assert (max(frames(made, 1)), max(frames(made, 2))) == (3, LAST)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda made: made.end_at(1, 5), "object 1 is prompted on frame 6"),
        (lambda made: made.end_at(1, 6), "object 1 is prompted on frame 6"),
        (lambda made: made.end_at(1, 0), "object 1 is prompted on frame 6"),
        (lambda made: made.end_at(1, FRAMES), f"frame {FRAMES} does not exist"),
        (lambda made: made.end_at(7, 5), "no object 7"),
        (lambda made: made.end_at(2, 3), r"object 2 ends where it divides into \[4\]"),
        (lambda made: made.end_at(2, None), r"object 2 ends where it divides into \[4\]"),
        (lambda made: made.prompt(3, 5, box=(1, 1, 9, 9)), "object 3 ends before frame 5"),
        (lambda made: made.edit(3, LAST, disk(LOW)), "object 3 ends before frame 5"),
    ],
)
def test_an_end_is_refused_behind_a_prompt_and_nothing_is_said_behind_an_end(
    action: Action, message: str
) -> None:
    made = ran((1, 6))
    made.divide(2, 4, {4: disk(RIGHT, 9)})
    made.end_at(3, 5)
    refused(made, action, message)


# -- divide ---------------------------------------------------------------------------------


def test_a_mother_ends_where_her_daughters_begin_with_the_masks_given() -> None:
    made = ran()
    was, other = frames(made, 1), of(made, 3)
    given = {4: disk(LEFT, 9), 5: disk(RIGHT, 9)}
    made.divide(1, 4, given)
    assert frames(made, 1) == before(was, 4)
    assert made.life(1).end == 4
    for object_id, expected in given.items():
        life = made.life(object_id)
        assert (life.mother, life.birth, life.end) == (1, 4, None)
        assert np.array_equal(mask(made, object_id, 4), expected)
        assert made.prompted(object_id) == (4,)
    assert marked_forward(made) == {4: 4, 5: 4}
    assert of(made, 3) == other
    run = [(r.frame, r.object_ids) for r in made.propagate()]
    assert run == [(f, (4, 5)) for f in (4, 5, 6, 7)]
    assert of(made, 3) == other


def test_an_object_may_divide_where_it_ends_and_not_later() -> None:
    made = ran()
    made.end_at(1, 4)
    was = frames(made, 1)
    refused(made, lambda made: made.divide(1, 5, {4: disk(LEFT, 9)}), "object 1 ends before frame")
    made.divide(1, 4, {4: disk(LEFT, 9)})
    assert frames(made, 1) == was
    assert (made.life(1).end, made.life(4).birth, made.life(4).mother) == (4, 4, 1)


def test_runs_backward_of_a_daughter_stop_at_its_birth() -> None:
    made = divided(3)
    made.edit(4, 6, disk(LEFT))
    others = [of(made, i) for i in (1, 2, 3, 5)]
    assert [r.frame for r in made.propagate(direction="backward", objects=[4])] == [6, 5, 4, 3]
    assert made.life(4).backward is None
    run = list(made.propagate(0, FRAMES, "backward", objects=[4]))
    assert min(r.frame for r in run) == 3
    assert min(frames(made, 4)) == 3
    assert [of(made, i) for i in (1, 2, 3, 5)] == others
    refused(made, lambda made: made.prompt(4, 2, absent=True), "object 4 begins on frame 3")


def test_objects_that_are_there_already_become_daughters_as_they_are() -> None:
    made = ran()
    made.prompt(4, 4, mask=disk(LEFT, 9))
    made.prompt(5, 5, mask=disk(RIGHT, 9))
    list(made.propagate())
    list(made.propagate(4, None, "both", objects=[4]))
    assert made.life(4).backward == 3
    was, other = {i: frames(made, i) for i in (4, 5)}, of(made, 3)
    with computed() as calls:
        made.divide(1, 4, [4, 5])
    assert calls == []
    assert {i: frames(made, i) for i in (4, 5)} == was
    assert [(made.life(i).mother, made.life(i).birth) for i in (4, 5)] == [(1, 4), (1, 4)]
    assert all(made.life(i).forward is None for i in (4, 5)), "nothing of them changed"
    assert made.life(4).backward is None, "it is on no frame before its birth"
    list(made.propagate(direction="backward"))
    assert [min(frames(made, i)) for i in (4, 5)] == [4, 4]
    assert of(made, 3)[4] == other[4]


def test_an_object_that_is_there_already_may_be_given_its_mask() -> None:
    made = ran()
    made.prompt(4, 5, mask=disk(LEFT, 9))
    list(made.propagate())
    made.divide(1, 4, {4: disk(RIGHT, 9), 2_000: disk(LEFT, 9)})
    assert np.array_equal(mask(made, 4, 4), disk(RIGHT, 9))
    assert made.prompted(4) == (4, 5)
    assert made.life(4).forward == 4


def test_daughters_of_a_mother_that_is_removed_have_none() -> None:
    made = divided()
    made.remove(1)
    assert [made.life(i).mother for i in (4, 5)] == [None, None]
    made.undo()
    assert [made.life(i).mother for i in (4, 5)] == [1, 1]


ONE = {9: disk(LEFT, 9)}


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda made: made.divide(7, 4, ONE), "no object 7"),
        (lambda made: made.divide(1, 4, [[3]]), r"object \[3\]; ids are positive integers"),
        (lambda made: made.divide(1, FRAMES, ONE), f"frame {FRAMES} does not exist"),
        (lambda made: made.divide(1, 4, {}), "without daughters"),
        (lambda made: made.divide(1, 0, ONE), "object 1 is first prompted on frame 0"),
        (lambda made: made.divide(2, 4, ONE), "object 2 is prompted on frame 6"),
        (lambda made: made.divide(4, 6, ONE), "object 4 ends before frame 4"),
        (lambda made: made.divide(3, 3, ONE), r"object 3 divides into \[5, 6\] already"),
        (lambda made: made.divide(1, 4, [1]), "object 1 cannot be its own daughter"),
        (lambda made: made.divide(1, 4, [9]), "there is no object 9"),
        (lambda made: made.divide(1, 4, [0]), "positive integers"),
        (lambda made: made.divide(1, 4, [5]), "object 5 is a daughter of 3 already"),
        (lambda made: made.divide(1, 4, [2]), "object 2 is there from frame 0 on"),
        (
            lambda made: made.divide(1, 4, {9: np.ones((3, 4), bool)}),
            "mask is 4 x 3 pixels, the frame",
        ),
        (lambda made: made.divide(1, 4, {9: disk(LEFT) * 0}), "the mask is empty"),
        (lambda made: made.divide(1, 4, ONE | {8: np.ones(3, bool)}), r"shape \(3,\)"),
        (lambda made: made.divide(1, 7, [8]), "object 8 ends before frame 7"),
    ],
)
def test_a_division_is_refused_where_lives_would_not_fit(action: Action, message: str) -> None:
    made = ran((2, 6))
    made.prompt(4, 0, mask=disk(LOW))
    made.end_at(4, 4)
    made.divide(3, 5, {5: disk(LOW, 9), 6: disk(RIGHT, 9)})
    if "object 8" in message:
        made.prompt(8, 6, mask=disk(LOW))
        made.end_at(8, 7)
        message = "object 8 (is there from|ends before) frame"
    list(made.propagate())
    refused(made, action, message)


# -- all of them ----------------------------------------------------------------------------

CHANGES: dict[str, Action] = {
    "merge": lambda made: made.merge(1, 2),
    "split": lambda made: made.split_from(1, 4),
    "swap": lambda made: made.swap_from(1, 2, 4),
    "end": lambda made: made.end_at(1, 4),
    "divide": lambda made: made.divide(1, 4, {4: disk(LEFT, 9)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_marks_and_touches_no_other_objects(change: str) -> None:
    made = ran()
    list(made.propagate(direction="backward"))
    assert marked(made) == {}
    others = {3} | ({2} if change not in ("merge", "swap") else set())
    was = {i: of(made, i) for i in others}
    CHANGES[change](made)
    assert not others & set(marked(made))
    assert {i: of(made, i) for i in others} == was
    run = list(made.propagate(direction="both"))
    assert not others & {i for result in run for i in result.object_ids}
    assert {i: of(made, i) for i in others} == was


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_of_a_change_that_fails_half_way_is_kept(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ran()
    was = dump(made)
    keep, calls = made.history.keep_life, []

    def fail(life: Any) -> None:
        keep(life)
        calls.append(life)
        raise MemoryError

    monkeypatch.setattr(made.history, "keep_life", fail)
    with pytest.raises(MemoryError):
        CHANGES[change](made)
    assert calls
    assert dump(made) == was


@pytest.mark.parametrize("change", CHANGES)
def test_a_locked_object_is_not_changed(change: str) -> None:
    made = ran()
    made.lock(1)
    refused(made, CHANGES[change], "object 1 is locked")
    made.lock(1, locked=False)
    if change in ("merge", "swap"):
        made.lock(2)
        refused(made, CHANGES[change], "object 2 is locked")


def test_a_locked_object_does_not_become_a_daughter() -> None:
    made = ran()
    made.prompt(4, 5, mask=disk(LOW))
    made.lock(4)
    refused(made, lambda made: made.divide(1, 4, [4]), "object 4 is locked")


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.remove(1),
        lambda made: made.split_from(1, 3),
        lambda made: made.merge(5, 1),
        lambda made: made.swap_from(1, 2, 3),
    ],
    ids=["remove", "split", "merge", "swap"],
)
def test_a_locked_daughter_keeps_her_mother(change: Action) -> None:
    made = ran()
    made.prompt(5, 0, mask=disk(LOW))
    list(made.propagate(stop=2, objects=[5]))
    made.end_at(5, 2)
    made.divide(1, 4, {4: disk(LEFT, 9)})
    made.lock(4)
    refused(made, change, "object 4 is locked")
    made.lock(4, locked=False)
    change(made)


class Committed:
    """A connection on which Ctrl-C comes once the first transaction is kept."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._interrupts = connection, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> Any:
        found = self._connection.execute(statement, *values)
        if statement == "COMMIT" and self._interrupts:
            self._interrupts = False
            raise KeyboardInterrupt
        return found


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "action",
    [
        lambda made: made.merge(1, 2),
        lambda made: made.split_from(1, 4),
        lambda made: made.swap_from(1, 2, 4),
        lambda made: made.end_at(1, 4),
        lambda made: made.prompt(4, 2, mask=disk(LEFT)),
        lambda made: made.remove(1),
    ],
)
def test_an_interrupt_once_a_step_is_kept_leaves_objects_as_they_are_in_the_history(
    action: Action, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ran()
    if late:  # before the objects are read again, where they are

        def interrupted(_: Book) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(Book, "load", interrupted)
    else:
        made.history._db = Committed(made.history._db)
    with contextlib.suppress(KeyboardInterrupt):
        action(made)
    monkeypatch.undo()
    found = [({**vars(made.life(i)), "since": 0}, made.prompted(i)) for i in made.object_ids]
    assert found == [
        (
            {**vars(life), "since": 0},
            tuple(sorted(f for f, _ in made.history.anchors(life.object_id))),
        )
        for life in made.history.lives()
    ]
    assert len(made.history.journal()) == 1 + len(ran().history.journal())
