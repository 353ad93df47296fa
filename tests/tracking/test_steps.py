"""Editing, confirming, locking, running up to what is right; and taking all of it back."""

from __future__ import annotations

import itertools
import sqlite3
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from sam2track import Tracker
from sam2track.errors import PromptError, UsageError
from sam2track.tracking import book
from sam2track.tracking.history import Life
from sam2track.tracking.ledger import Ledger
from sam2track.tracking.steps import NOW, SCHEMA
from tests.parity.oracle import clip
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
    mask,
    masks,
    module,
    of,
    ran,
    tracker,
)

Action = Callable[[Tracker], object]


def refused(made: Tracker, action: Action, message: str, error: type = PromptError) -> None:
    """The action is an error that says so, and nothing whatever is changed by it."""
    before, journal = dump(made), made.history.journal()
    with pytest.raises(error, match=message):
        action(made)
    assert dump(made) == before
    assert made.history.journal() == journal


def source(made: Tracker, object_id: int, frame: int) -> str:
    result = made.result(frame)
    return result.sources[result.object_ids.index(object_id)]


# -- edit and confirm -----------------------------------------------------------------------


def test_an_edit_is_reported_as_given_and_no_run_overwrites_it() -> None:
    made = ran()
    painted = disk(LOW, 7)
    shown = made.edit(1, 4, painted)
    assert np.array_equal(shown.masks[shown.object_ids.index(1)], painted)
    for start, direction in ((None, "forward"), (0, "forward"), (0, "backward"), (0, "both")):
        list(made.propagate(start, None, direction))
        assert np.array_equal(mask(made, 1, 4), painted), direction
        assert source(made, 1, 4) == "edited"


def test_an_edit_conditions_later_frames_and_is_what_is_run_from() -> None:
    made = ran()
    was, others = frames(made, 1), [of(made, i) for i in (2, 3)]
    made.edit(1, 4, disk(LOW, 7))
    assert [(r.frame, r.object_ids) for r in made.propagate()] == [(f, (1,)) for f in (4, 5, 6, 7)]
    now = frames(made, 1)
    assert all(now[f] == was[f] for f in range(4))
    assert all(now[f] != was[f] for f in range(4, FRAMES))
    assert [of(made, i) for i in (2, 3)] == others


def test_an_empty_edit_says_that_the_object_is_not_there() -> None:
    made = ran()
    shown = made.edit(1, 4, np.zeros_like(disk(LEFT)))
    at = shown.object_ids.index(1)
    assert not shown.masks[at].any()
    assert shown.object_scores[at] < 0
    assert shown.sources[at] == "edited"
    assert made.history.said(1, 4).prompt.absent


def test_an_edit_of_an_edit_replaces_it() -> None:
    made, once = ran(), ran()
    made.edit(1, 4, disk(LOW, 7))
    made.edit(1, 4, disk(RIGHT, 7))
    once.edit(1, 4, disk(RIGHT, 7))
    assert made.prompted(1) == (0, 4)
    assert frames(made, 1) == frames(once, 1)


def test_a_confirmed_mask_is_as_it_was_shown() -> None:
    made = ran()
    was = mask(made, 1, 4)
    made.confirm(1, 4)
    assert np.array_equal(mask(made, 1, 4), was)
    assert source(made, 1, 4) == "edited"
    assert made.prompted(1) == (0, 4)


@pytest.mark.parametrize("frame", [0, 4])
def test_confirming_what_a_person_said_does_nothing(frame: int) -> None:
    made = ran()
    made.edit(1, 4, disk(LOW))
    before, journal = dump(made), made.history.journal()
    made.confirm(1, frame)
    assert dump(made) == before
    assert made.history.journal() == journal


def test_what_is_not_there_is_not_confirmed() -> None:
    made = ran()
    made.prompt(4, 5, mask=disk(LOW))
    refused(made, lambda made: made.confirm(4, 3), "object 4 has no mask on frame 3")


SAID_ALONE: dict[str, Callable[[Tracker, bool], Any]] = {
    "prompt": lambda made, alone: made.prompt(1, 4, points=[(20, 20)], alone=alone),
    "edit": lambda made, alone: made.edit(1, 4, disk(LOW), alone=alone),
    "confirm": lambda made, alone: made.confirm(1, 4, alone=alone),
    "clear": lambda made, alone: made.clear(1, 0, alone=alone),
    "forget": lambda made, alone: made.clear(3, 0, alone=alone),
}


@pytest.mark.parametrize("do", SAID_ALONE.values(), ids=SAID_ALONE)
def test_a_result_of_one_object_alone_reads_no_other(
    do: Callable[[Tracker, bool], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 500 on the frame each took 26 ms, and 13 s where 500 were prompted at once."""

    def made() -> Tracker:
        one = tracker()
        for object_id, where in ((1, LEFT), (2, RIGHT), (3, LOW)):
            one.prompt(object_id, 0, mask=disk(where))
        one.prompt(1, 2, mask=disk(LEFT))
        list(one.propagate())
        return one

    whole = do(made(), False)
    then = made()
    read: list[int] = []
    get = Ledger.get
    monkeypatch.setattr(Ledger, "get", lambda *given: (read.append(given[1]), get(*given))[1])
    alone = do(then, True)
    assert len({*read}) <= 1 and whole.frame == alone.frame and 2 in whole.object_ids
    monkeypatch.undo()
    own = [index for index, i in enumerate(whole.object_ids) if i in read]
    assert alone.object_ids == tuple(whole.object_ids[index] for index in own)
    for name in ("masks", "logits", "object_scores", "ious"):
        assert np.array_equal(getattr(alone, name), getattr(whole, name)[own])
    assert alone.sources == tuple(whole.sources[index] for index in own)


# -- lock and rename ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        lambda made: made.prompt(1, 4, box=(1, 1, 9, 9)),
        lambda made: made.edit(1, 4, disk(LOW)),
        lambda made: made.confirm(1, 4),
        lambda made: made.confirm(1, 0),
        lambda made: made.clear(1, 0),
        lambda made: made.remove(1),
        lambda made: made.rename(1, "one"),
        lambda made: made.end_at(1, 4),
        lambda made: made.propagate(objects=[1]),
    ],
)
def test_nothing_changes_a_locked_object(action: Action) -> None:
    made = ran()
    made.lock(1)
    refused(made, action, "object 1 is locked; unlock it first")


def test_a_run_leaves_out_what_is_locked() -> None:
    made = ran()
    made.lock(1)
    was = of(made, 1)
    assert {r.object_ids for r in made.propagate(0, FRAMES, "both")} == {(2, 3)}
    assert of(made, 1) == was
    made.lock(1, locked=False)
    assert {r.object_ids for r in made.propagate(0, FRAMES)} == {(1, 2, 3)}


def test_a_lock_holds_in_a_run_that_is_under_way() -> None:
    made = tracker()
    for object_id, centre in ((1, LEFT), (2, RIGHT)):
        made.prompt(object_id, 0, mask=disk(centre))
    run = made.propagate()
    list(itertools.islice(run, 3))
    made.lock(1)
    assert {r.object_ids for r in run} == {(2,)}
    assert max(frames(made, 1)) == 2
    made.lock(1, locked=False)
    assert [r.frame for r in made.propagate()] == list(range(3, FRAMES))


def test_nothing_is_left_of_an_object_that_ends_in_a_run_that_is_under_way() -> None:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    run = made.propagate()
    list(itertools.islice(run, 3))
    made.end_at(1, 5)
    assert [r.frame for r in run] == [3, 4]
    assert marked(made) == {1: (None, 0)}
    made.end_at(1, None)
    assert [r.frame for r in made.propagate()] == [5, 6, 7]


def test_what_is_as_it_is_said_to_be_makes_no_step() -> None:
    made = ran()
    before, journal = dump(made), len(made.history.journal())
    actions: list[Action] = [
        lambda made: made.end_at(1, 5),
        lambda made: made.end_at(1, None),
        lambda made: made.rename(1, "cell"),
    ]
    for count, action in enumerate(actions, start=1):
        action(made)
        once = dump(made)
        action(made)
        assert (dump(made), len(made.history.journal())) == (once, journal + count)
    for _ in actions:
        made.undo()
    assert dump(made) == before


def test_locking_twice_is_one_step_and_what_came_before_it_can_be_undone() -> None:
    made = ran()
    before = dump(made)
    made.edit(1, 4, disk(LOW))
    made.lock(1)
    made.lock(1)
    assert made.undo()["action"] == "lock"
    made.redo()
    assert made.life(1).locked
    assert [made.undo()["action"] for _ in range(2)] == ["lock", "edit"]
    assert dump(made) == before


def test_a_name_is_kept() -> None:
    made = ran()
    made.rename(1, "one")
    assert (made.life(1).name, made.life(2).name) == ("one", "")
    made.undo()
    assert made.life(1).name == ""


# -- up to the next prompt ------------------------------------------------------------------


def test_a_run_forward_stops_before_the_next_prompted_frame() -> None:
    made = ran((1, 6))
    was = frames(made, 1)
    made.edit(1, 3, disk(LOW, 7))
    run = [r.frame for r in made.propagate(until_prompted=True)]
    assert run == [3, 4, 5]
    now = frames(made, 1)
    assert {f for f in range(FRAMES) if now[f] != was[f]} == {3, 4, 5}
    assert made.life(1).forward is None
    assert list(made.propagate()) == []


def test_a_run_backward_stops_before_the_next_prompted_frame() -> None:
    made = ran((1, 6))
    list(made.propagate(direction="backward"))
    made.edit(1, 4, disk(LOW, 7))
    list(made.propagate(until_prompted=True))
    was = frames(made, 1)
    made.edit(1, 4, disk(RIGHT, 7))
    run = [r.frame for r in made.propagate(direction="backward", until_prompted=True)]
    assert run == [4, 3, 2, 1]
    now = frames(made, 1)
    assert {f for f in range(FRAMES) if now[f] != was[f]} == {1, 2, 3, 4}
    assert made.life(1).backward is None


def test_a_run_both_ways_mends_what_lies_between_two_prompts() -> None:
    made = ran((1, 1), (1, 6))
    list(made.propagate(direction="backward"))
    was, others = frames(made, 1), [of(made, i) for i in (2, 3)]
    made.edit(1, 4, disk(LOW, 7))
    run = [r.frame for r in made.propagate(direction="both", until_prompted=True)]
    assert run == [4, 5, 4, 3, 2]
    now = frames(made, 1)
    assert {f for f in range(FRAMES) if now[f] != was[f]} == {2, 3, 4, 5}
    assert marked(made) == {}
    assert [of(made, i) for i in (2, 3)] == others


@pytest.mark.parametrize("backward", [False, True])
def test_a_prompt_that_was_not_followed_up_is_still_to_be_run(backward: bool) -> None:
    made = ran()
    first, following = (6, 2) if backward else (2, 6)
    made.edit(1, first, disk(LOW, 7))
    made.edit(1, following, disk(LOW, 6))
    way = "backward" if backward else "forward"

    def run() -> list[int]:
        found = made.propagate(direction=way, objects=[1], until_prompted=True)
        return [r.frame for r in found]

    assert run() == ([6, 5, 4, 3] if backward else [2, 3, 4, 5])
    assert (made.life(1).backward if backward else made.life(1).forward) == following
    assert run() == ([2, 1] if backward else [6, 7])
    assert (made.life(1).backward if backward else made.life(1).forward) is None
    made.edit(1, first, disk(LOW, 8))
    assert run() == ([6, 5, 4, 3] if backward else [2, 3, 4, 5])
    assert (made.life(1).backward if backward else made.life(1).forward) is None


@pytest.mark.parametrize("backward", [False, True])
def test_a_prompt_ahead_of_such_a_run_ends_it(backward: bool) -> None:
    made = ran((1, 7)) if backward else ran()
    made.edit(1, 7 if backward else 0, disk(LOW, 7))
    way = "backward" if backward else "forward"
    run = made.propagate(direction=way, objects=[1], until_prompted=True)
    seen = [next(run).frame, next(run).frame]
    made.edit(1, 3, disk(LOW, 6))
    seen += [r.frame for r in run]
    assert seen == ([7, 6, 5, 4] if backward else [0, 1, 2])
    assert (made.life(1).backward if backward else made.life(1).forward) == 3


def test_without_a_later_prompt_such_a_run_goes_to_the_end() -> None:
    made = ran()
    made.edit(1, 4, disk(LOW, 7))
    assert [r.frame for r in made.propagate(until_prompted=True)] == [4, 5, 6, 7]


# -- what fails -----------------------------------------------------------------------------

SAID: dict[str, tuple[Action, int]] = {
    "prompt": (lambda made: made.prompt(2, 3, mask=disk(LOW)), 1),
    "begin": (lambda made: made.prompt(6, 3, mask=disk(LOW)), 1),
    "edit": (lambda made: made.edit(2, 4, disk(LOW, 7)), 1),
    "clear": (lambda made: made.clear(2, 5), 1),
    "remove": (lambda made: made.remove(1), 3),
    "clear all": (lambda made: made.clear(1, 0), 3),
    "lock": (lambda made: made.lock(1), 1),
    "rename": (lambda made: made.rename(1, "one"), 1),
}


@pytest.mark.parametrize("kind", SAID)
def test_of_a_step_that_fails_nothing_is_kept_and_what_it_may_change_is_copied(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds of objects copies of all took most of the time of deleting them."""
    made = ran((2, 5))
    made.divide(1, 4, {4: disk(LEFT, 9), 5: disk(RIGHT, 9)})
    action, touched = SAID[kind]
    copied: list[int] = []
    copy, keep = book._copy, made.history.keep_life
    monkeypatch.setattr(book, "_copy", lambda item: copied.append(item.object_id) or copy(item))

    def fail(life: Life) -> None:
        keep(life)
        raise MemoryError("full")

    monkeypatch.setattr(made.history, "keep_life", fail)
    refused(made, action, "full", MemoryError)
    assert len(copied) == touched
    monkeypatch.setattr(made.history, "keep_life", keep)
    action(made)
    assert dump(Tracker(module(), made.source, history=made.history)) == dump(made)


def test_what_is_done_together_is_kept_or_nothing_of_it() -> None:
    made = ran((2, 5))
    run = made.propagate(0, FRAMES, "backward")
    next(run)
    made.rename(3, "three")
    made.undo()  # can be put back for as long as nothing else is done

    def several(made: Tracker, ids: Iterable[int]) -> None:
        with made.together():
            made.prompt(7, 1, mask=disk(LOW))
            for object_id in ids:
                made.remove(object_id)

    refused(made, lambda made: several(made, (1, 3, 9)), "no object 9")
    assert made.object_ids == (1, 2, 3) and made.redo()["action"] == "rename"
    steps = len(made.history.journal())
    several(made, (1, 3))
    assert made.object_ids == (2, 7) and len(made.history.journal()) == steps + 3
    for _ in range(3):
        made.undo()
    assert made.object_ids == (1, 2, 3)


def test_a_step_that_is_refused_among_those_done_together_leaves_nothing() -> None:
    made = ran()
    made.divide(1, 4, {4: disk(LEFT, 9), 5: disk(RIGHT, 9)})
    made.lock(4)
    with made.together():
        made.rename(2, "two")
        with pytest.raises(PromptError, match="object 4 is locked"):
            made.remove(1)
    assert made.history.journal()[-1]["action"] == "rename"
    assert dump(Tracker(module(), made.source, history=made.history)) == dump(made)


def test_what_is_done_together_among_more_is_kept_or_nothing_of_it() -> None:
    made = ran()
    with made.together():
        made.rename(3, "three")
        with pytest.raises(PromptError, match="no object 9"), made.together():
            made.rename(1, "one")
            made.rename(2, "two")
            made.remove(9)
    assert [made.life(i).name for i in made.object_ids] == ["", "", "three"]
    assert dump(Tracker(module(), made.source, history=made.history)) == dump(made)


@pytest.mark.parametrize(
    "action",
    [
        lambda made, run: next(run),
        lambda made, run: list(made.propagate(0, FRAMES)),
        lambda made, run: made.undo(),
        lambda made, run: made.swap_from(1, 2, 4),
    ],
    ids=["run", "new run", "undo", "swap"],
)
def test_whatever_is_done_before_something_fails_is_taken_back(action: Any) -> None:
    made = ran((2, 5))
    made.rename(3, "three")
    run = made.propagate(0, FRAMES, "backward")
    next(run)

    def several(made: Tracker) -> None:
        with made.together():
            action(made, run)
            made.remove(9)

    made._settle()
    refused(made, several, "no object 9")
    assert dump(Tracker(module(), made.source, history=made.history)) == dump(made)


def test_a_run_goes_on_where_nothing_was_done_together() -> None:
    made = ran((2, 5))
    run = made.propagate(0, FRAMES)
    next(run)
    with pytest.raises(PromptError), made.together():
        made.remove(9)
    assert len(list(run)) == FRAMES - 1


# -- undo and redo --------------------------------------------------------------------------

STEPS: dict[str, Action] = {
    "prompt": lambda made: made.prompt(4, 3, mask=disk(LOW)),
    "edit": lambda made: made.edit(1, 4, disk(LOW, 7)),
    "confirm": lambda made: made.confirm(1, 4),
    "clear": lambda made: made.clear(2, 5),
    "remove": lambda made: made.remove(1),
    "lock": lambda made: made.lock(1),
    "rename": lambda made: made.rename(1, "one"),
    "merge": lambda made: made.merge(1, 2),
    "split": lambda made: made.split_from(1, 4),
    "swap": lambda made: made.swap_from(1, 2, 4),
    "end": lambda made: made.end_at(1, 4),
    "divide": lambda made: made.divide(1, 4, {4: disk(LEFT, 9), 5: disk(RIGHT, 9)}),
    "propagate": lambda made: list(made.propagate(0, FRAMES, "backward")),
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_is_taken_back_and_put_back_to_the_bit_and_nothing_is_computed(kind: str) -> None:
    made = ran((2, 5))
    before = dump(made)
    STEPS[kind](made)
    after = dump(made)
    assert after != before
    encoded = made._engine.encoder.encoded
    with computed() as calls:
        for _ in range(2):
            undone = made.undo()
            assert undone["action"] == kind
            assert dump(made) == before
            assert made.redo() == undone
            assert dump(made) == after
    assert calls == []
    assert made._engine.encoder.encoded == encoded
    assert made.redo() is None


def test_calls_of_the_module_are_seen_where_there_are_some() -> None:
    with computed() as calls:
        made = tracker()
        made.prompt(1, 0, mask=disk(LEFT))
        list(made.propagate(0, 2))
    assert {"encoder", "attention", "decoder", "memory"} <= set(calls)


def test_all_steps_are_taken_back_one_by_one_down_to_nothing() -> None:
    made = tracker()
    states = [dump(made)]
    for action in (
        lambda made: made.prompt(1, 0, mask=disk(LEFT)),
        lambda made: made.prompt(2, 2, mask=disk(RIGHT)),
        lambda made: list(made.propagate()),
        lambda made: made.swap_from(1, 2, 4),
        lambda made: list(made.propagate()),
    ):
        action(made)
        states.append(dump(made))
    for state in states[-2::-1]:
        assert made.undo() is not None
        assert dump(made) == state
    assert made.undo() is None
    assert made.object_ids == ()
    for state in states[1:]:
        assert made.redo() is not None
        assert dump(made) == state
    assert made.redo() is None


def test_a_new_step_drops_what_was_undone() -> None:
    made = ran()
    before = dump(made)
    made.edit(1, 4, disk(LOW, 7))
    made.undo()
    made.rename(2, "two")
    assert made.redo() is None
    assert made.prompted(1) == (0,)
    undone = made.undo() or {}
    assert undone.pop("threads", 1) > 0
    assert undone == {"action": "rename", "object": 2, "name": "two"}
    assert {i: dump(made)[i] for i in (1, 2, 3)} == {i: before[i] for i in (1, 2, 3)}


def test_what_is_run_after_an_undo_is_as_if_nothing_had_been() -> None:
    made, plain = ran(), ran()
    made.edit(1, 3, disk(LOW, 7))
    list(made.propagate())
    made.undo()
    made.undo()
    for one in (made, plain):
        one.edit(1, 5, disk(RIGHT, 7))
        list(one.propagate())
    assert frames(made, 1) == frames(plain, 1)


def under_way() -> tuple[Tracker, Any]:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    run = made.propagate()
    assert [r.frame for r in itertools.islice(run, 3)] == [0, 1, 2]
    return made, run


def test_nothing_goes_on_from_where_a_run_stood_that_was_dropped() -> None:
    made = tracker()
    for object_id, centre in ((1, LEFT), (2, RIGHT)):
        made.prompt(object_id, 0, mask=disk(centre))
    list(itertools.islice(made.propagate(), 3))
    made.undo()
    made.rename(2, "two")
    again = Tracker(module(), made.source, history=made.history)
    list(again.propagate())
    assert list(frames(again, 1)) == list(range(FRAMES))


def test_where_a_run_stood_is_kept_where_what_came_after_it_is_dropped() -> None:
    made, run = under_way()
    run.close()
    stood = made.history.last_state()[1:]
    made.edit(1, 1, disk(LOW, 7))
    made.undo()
    made.rename(1, "one")
    assert made.history.last_state()[1:] == stood


def test_an_undo_ends_a_run_that_is_under_way_and_takes_it_back() -> None:
    made, run = under_way()
    assert made.undo()["action"] == "propagate"
    assert list(frames(made, 1)) == [0]
    assert list(run) == []
    assert list(frames(made, 1)) == [0]
    assert made.life(1).forward == 0
    made.redo()
    assert list(frames(made, 1)) == [0, 1, 2]
    assert [r.frame for r in made.propagate()] == list(range(3, FRAMES))


def test_a_prompt_in_the_middle_of_a_run_is_a_step_between_two() -> None:
    made, run = under_way()
    states = [None, dump(made)]
    made.prompt(2, 1, mask=disk(RIGHT))
    made.result(1)
    states.append(dump(made))
    assert [r.frame for r in run] == list(range(3, FRAMES))
    assert max(frames(made, 1)) == FRAMES - 1
    assert made.undo()["action"] == "continue"
    assert list(frames(made, 1)) == [0, 1, 2]
    assert masks(made, 2) == states[2][2][1][-1]
    assert made.undo()["action"] == "prompt"
    assert (made.object_ids, list(frames(made, 1))) == ((1,), [0, 1, 2])
    assert made.undo()["action"] == "propagate"
    assert list(frames(made, 1)) == [0]
    assert made.undo()["action"] == "prompt"
    assert made.undo() is None


def small(past_budget: int, exact_budget: int = 0) -> Tracker:
    connection = sqlite3.connect("", isolation_level=None)
    connection.executescript(SCHEMA)
    history = Ledger(
        connection, name="it", masks=False, past_budget=past_budget, exact_budget=exact_budget
    )
    weakref.finalize(history, connection.close)
    return Tracker(module(), clip(FRAMES), history=history)


def test_logits_are_kept_exactly_within_their_budget_alone() -> None:
    sizes = [small(2**30, budget) for budget in (2**30, 1)]
    for made in sizes:
        made.prompt(1, 0, mask=disk(LEFT))
        list(made.propagate())
    counts = [
        made.history._db.execute("SELECT count(*) FROM results WHERE exact").fetchone()[0]
        for made in sizes
    ]
    assert counts == [FRAMES, 1]


def test_the_past_is_kept_up_to_its_budget() -> None:
    def made_of(budget: int) -> tuple[int, int]:
        made = small(budget)
        made.prompt(1, 0, mask=disk(LEFT))
        for _ in range(4):
            list(made.propagate(0, FRAMES))
        undone = 0
        size = "length(pointer) + length(codes)"
        (past,) = made.history._db.execute(
            f"SELECT sum({size}) FROM all_results WHERE until < {NOW}"
        ).fetchone()
        while made.undo() is not None:
            undone += 1
        return past, undone

    past, undone = made_of(2**30)
    assert undone == 5
    held = past * 2 // 3  # what the last of three runs replaced is looked at in the next step
    assert made_of(held) == (past, 5)
    assert made_of(held - 1) == (held, 2)


@pytest.mark.parametrize(("budget", "left"), [(2**30, 5), (1, 1)])
def test_what_exceeds_the_budget_of_the_past_cannot_be_undone(budget: int, left: int) -> None:
    made = small(budget)
    made.prompt(1, 0, mask=disk(LEFT))
    for _ in range(4):
        list(made.propagate(0, FRAMES))
    oldest: Any = None
    for _ in range(left):
        assert made.undo() is not None
        oldest = dump(made)
    assert made.undo() is None
    assert dump(made) == oldest
    if budget == 1:
        assert sorted(frames(made, 1)) == list(range(FRAMES))
    made.prompt(1, 0, mask=disk(RIGHT))
    assert len(list(made.propagate())) == FRAMES


def test_what_tracking_gave_is_not_back_where_something_was_said_since() -> None:
    made = ran()
    for frame in (4, 6):
        made.edit(1, frame, disk(LOW, 7))
    made.clear(1, 4)
    assert 4 not in frames(made, 1)
    made.clear(1, 6)
    assert 6 in frames(made, 1)


def test_what_tracking_gave_before_a_prompt_is_kept_beyond_the_budget() -> None:
    made = small(1)
    for object_id, centre in ((1, LEFT), (2, RIGHT)):
        made.prompt(object_id, 0, mask=disk(centre))
    list(made.propagate())
    was = frames(made, 1)[4]
    made.edit(1, 4, disk(LOW, 7))
    list(made.propagate(0, FRAMES, objects=[2]))
    made.clear(1, 4)
    assert frames(made, 1)[4] == was


@pytest.mark.parametrize("budget", [2**30, 1])
def test_the_number_of_an_object_that_is_gone_is_given_to_no_other(budget: int) -> None:
    made = small(budget)
    for object_id in (1, 2):
        made.prompt(object_id, 0, mask=disk(LEFT))
    made.undo()
    assert made.history.next_id() == 2  # it was never there
    made.redo()
    made.remove(2)
    assert made.history.next_id() == 3
    made.undo()
    assert made.object_ids == (1, 2) and made.history.next_id() == 3
    made.redo()
    for _ in range(3):  # which drops what lies further back than the budget
        list(made.propagate(0, FRAMES))
    assert made.split_from(1, 4) == 3


@pytest.mark.parametrize("kind", STEPS)
def test_another_tracker_on_the_same_history_knows_the_same(kind: str) -> None:
    made = ran((2, 5))
    STEPS[kind](made)
    known, waiting = dump(made), marked(made)
    other = tracker(history=made.history)
    assert dump(other) == known
    assert marked(other) == waiting
    other.undo()
    known = dump(other)
    assert dump(tracker(history=made.history)) == known


def test_one_tracker_at_a_time_works_on_a_history() -> None:
    made = ran()
    run = made.propagate(0, 6)
    next(run)
    other = tracker(history=made.history)
    with pytest.raises(UsageError, match="used by another tracker"):
        next(run)
    for action in (
        lambda: made.prompt(5, 0, mask=disk(LOW)),
        lambda: made.undo(),
        lambda: made.propagate(),
        lambda: made.lock(1),
    ):
        with pytest.raises(UsageError, match="used by another tracker"):
            action()
    other.prompt(5, 0, mask=disk(LOW))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda made: made.rename(1, None), "name None; a name is text"),
        (lambda made: made.rename(1, "\ud800"), "a name is text"),
        (lambda made: made.rename(1, "two\nlines"), "one line of up to 200"),
        (lambda made: made.rename(1, "x" * 201), "one line of up to 200"),
        (lambda made: made.lock(1, locked="no"), "locked 'no'; give True or False"),
        (lambda made: made.edit(1, 0, np.full_like(disk(LOW), np.nan, float)), "holds float64"),
        (lambda made: made.propagate(objects=5), "objects 5; give a list"),
        (lambda made: made.propagate(100, 200), r"range \[100, 200\) holds no frame"),
        (lambda made: made.divide(1, 3, 5), "daughters 5; give their numbers"),
    ],
)
def test_arguments_that_cannot_be(action: Action, message: str) -> None:
    refused(ran(), action, message, UsageError)


# -- what cannot be asked for ---------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        lambda made: made.undo(),
        lambda made: made.redo(),
        lambda made: made.together().__enter__(),
        lambda made: made.merge(1, 2),
        lambda made: made.split_from(1, 1),
        lambda made: made.swap_from(1, 2, 1),
        lambda made: made.divide(1, 1, {4: disk(LEFT)}),
    ],
)
def test_a_stream_has_no_past_to_change(action: Action) -> None:
    made = Tracker(module())
    made.update(clip(FRAMES)[0])
    for object_id, centre in ((1, LEFT), (2, RIGHT)):
        made.prompt(object_id, 0, mask=disk(centre))
    made.update(clip(FRAMES)[1])
    refused(made, action, "a stream has no past", UsageError)


BY_FRAME: dict[str, Callable[[Tracker, int, int], object]] = {
    "prompt": lambda made, i, f: made.prompt(i, f, box=(1, 1, 9, 9)),
    "edit": lambda made, i, f: made.edit(i, f, disk(LOW)),
    "confirm": lambda made, i, f: made.confirm(i, f),
    "clear": lambda made, i, f: made.clear(i, f),
}


@pytest.mark.parametrize("kind", BY_FRAME)
def test_what_is_said_of_what_is_not_there_names_it(kind: str) -> None:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    made.end_at(1, 4)
    say = BY_FRAME[kind]
    if kind != "prompt":
        refused(made, lambda made: say(made, 9, 0), "no object 9; there are")
    for frame in (-1, FRAMES):
        refused(made, lambda made, f=frame: say(made, 1, f), f"frame {frame} does not exist")
    refused(made, lambda made: say(made, 1, True), "frame True")
    refused(made, lambda made: say(made, 1, 5), "object 1 .*frame")
    made.lock(1)
    refused(made, lambda made: say(made, 1, 0), "object 1 is locked")


@pytest.mark.parametrize(
    "action",
    [
        lambda made: made.life(9),
        lambda made: made.prompted(9),
        lambda made: made.remove(9),
        lambda made: made.lock(9),
        lambda made: made.rename(9, "nine"),
        lambda made: made.propagate(objects=[9]),
    ],
)
def test_an_object_that_is_not_there_is_named(action: Action) -> None:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    refused(made, action, r"no object 9; there are \[1\]")


@pytest.mark.parametrize("shape", [(3, 4), (128, 127), (1, 128, 128)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    made = tracker()
    made.prompt(1, 0, mask=disk(LEFT))
    given = np.ones(shape, bool)
    message = "frame" if len(shape) == 2 else "shape"
    refused(made, lambda made: made.edit(1, 2, given), message)
    refused(made, lambda made: made.prompt(1, 2, mask=given), message)


def test_undo_and_what_comes_after_it_read_no_other_steps_and_no_other_masks() -> None:
    made = tracker()
    db = made.history._db
    ran: list[str] = []
    for x in (LEFT, RIGHT, LOW):
        made.edit(1, 4, disk(x, 7)) if made.object_ids else made.prompt(1, 0, mask=disk(x, 7))
    db.set_trace_callback(ran.append)
    made.undo()
    made.redo()
    made.undo()
    made.rename(1, "left")
    db.set_trace_callback(None)
    plans = [
        plan[3]
        for statement in ran
        if statement.startswith(("SELECT step", "SELECT 1 FROM journal", "DELETE FROM all_"))
        for plan in db.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]
    assert len([plan for plan in plans if "journal" in plan]) == 4
    assert [plan for plan in plans if plan in ("SCAN journal", "SCAN all_prompts")] == []
    assert not [plan for plan in plans if plan == "SCAN all_results" or "AUTOMATIC" in plan]
