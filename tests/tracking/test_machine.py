"""Anything a person may do, in any order, against a simple model of what must hold."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sam2track import Tracker
from sam2track.errors import PromptError
from sam2track.prompts import Prompt
from sam2track.tracking.actions import repeat
from sam2track.tracking.spill import SpillFile
from tests.parity.oracle import SIZE, clip, predictor

FRAMES = 8
ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE]

frames = st.integers(0, FRAMES - 1)
ids = st.integers(0, 20)  # which of the objects that are there; the last is not there
discs = st.builds(
    lambda x, y, r: (ROWS - y) ** 2 + (COLUMNS - x) ** 2 < r * r,
    st.integers(20, 100),
    st.integers(20, 100),
    st.integers(8, 30),
)
prompts = st.one_of(
    st.builds(lambda x, y: Prompt(points=((x, y),)), st.integers(10, 118), st.integers(10, 118)),
    st.builds(
        lambda x, y: Prompt(box=(x, y, x + 30, y + 30)), st.integers(0, 90), st.integers(0, 90)
    ),
    st.builds(lambda mask: Prompt(mask=mask), discs),
    st.just(Prompt(absent=True)),
)

daughters = st.dictionaries(st.integers(1, 6), discs, min_size=1, max_size=2)

Key = tuple[int, int]
Row = tuple[Any, ...]


def rows_of(tracker: Tracker) -> dict[Key, Row]:
    """All frames of all objects, to the bit."""
    found: dict[Key, Row] = {}
    for object_id in tracker.object_ids:
        for frame in tracker.history.frames_of(object_id):
            record = tracker.history.get(object_id, frame)
            assert record is not None
            found[object_id, frame] = (
                hashlib.sha256(record.logits.tobytes() + record.pointer.tobytes()).hexdigest(),
                record.score,
                record.source,
            )
    return found


def all_of(tracker: Tracker) -> tuple[Any, ...]:
    """What undo must bring back."""
    lives = {i: tracker.life(i) for i in tracker.object_ids}
    plain = {
        i: (life.name, life.birth, life.end, life.mother, life.locked, life.forward, life.backward)
        for i, life in lives.items()
    }
    return plain, {i: tracker.prompted(i) for i in lives}, rows_of(tracker)


class Machine(RuleBasedStateMachine):
    """Does things to a tracker, and to a stack of what there was before each of them."""

    @initialize(eight_bits=st.booleans(), run=st.booleans())
    def begin(self, eight_bits: bool, run: bool) -> None:
        self.module = predictor("nano", True)
        self.budget = 0 if eight_bits else 2**30
        self.tracker = self.fresh()
        self.past: list[tuple[Any, ...]] = []
        self.future: list[tuple[Any, ...]] = []
        for object_id, frame in ((1, 0), (2, 0), (3, 3)):
            said = Prompt(box=(20 * object_id, 30, 20 * object_id + 40, 80))
            assert self.do(
                lambda i=object_id, f=frame, p=said: self.tracker.add(i, f, p), object_id
            )
        if run:
            self.do(lambda: list(self.tracker.propagate(direction="both")), 1, 2, 3)

    def pick(self, number: int) -> int:
        """An object that is there, most of the time."""
        there = self.tracker.object_ids
        return there[number % len(there)] if there and number < 20 else 99

    def fresh(self) -> Tracker:
        return Tracker(self.module, clip(40)[:FRAMES], history=SpillFile(budget=self.budget))

    def do(self, what: Any, *touched: int) -> bool:
        """Do one thing; where it is refused nothing may have changed."""
        before, step = all_of(self.tracker), self.tracker.history.position
        try:
            what()
        except PromptError:
            assert all_of(self.tracker) == before
            return False
        if self.tracker.history.position == step:
            assert all_of(self.tracker) == before
            return False
        self.past.append(before)
        self.future.clear()
        after = all_of(self.tracker)
        for key in before[2].keys() | after[2].keys():
            if key[0] not in touched:
                assert before[2].get(key) == after[2].get(key), f"{key} was not to be touched"
        return True

    @rule(object_id=st.integers(1, 5), frame=frames, prompt=prompts)
    def prompt(self, object_id: int, frame: int, prompt: Prompt) -> None:
        if self.do(lambda: self.tracker.add(object_id, frame, prompt), object_id):
            assert frame in self.tracker.prompted(object_id)

    @rule(object_id=ids, frame=frames, mask=discs)
    def edit(self, object_id: int, frame: int, mask: np.ndarray) -> None:
        object_id = self.pick(object_id)
        if self.do(lambda: self.tracker.edit(object_id, frame, mask), object_id):
            result = self.tracker.result(frame)
            assert np.array_equal(result.masks[result.object_ids.index(object_id)], mask)

    @rule(object_id=ids, frame=frames)
    def confirm(self, object_id: int, frame: int) -> None:
        object_id = self.pick(object_id)
        self.do(lambda: self.tracker.confirm(object_id, frame), object_id)

    @rule(object_id=ids, frame=frames)
    def clear(self, object_id: int, frame: int) -> None:
        object_id = self.pick(object_id)
        if self.do(lambda: self.tracker.clear(object_id, frame), object_id):
            result = self.tracker.result(frame)
            if object_id in result.object_ids:  # what tracking gave, and nothing else
                source = result.sources[result.object_ids.index(object_id)]
                assert source in ("forward", "backward")

    @rule(object_id=ids)
    def remove(self, object_id: int) -> None:
        object_id = self.pick(object_id)
        if self.do(lambda: self.tracker.remove(object_id), object_id):
            assert object_id not in self.tracker.object_ids

    @rule(object_id=ids, locked=st.sampled_from([True, False, False]))
    def lock(self, object_id: int, locked: bool) -> None:
        object_id = self.pick(object_id)
        self.do(lambda: self.tracker.lock(object_id, locked=locked))

    @rule(one=ids, other=ids)
    def merge(self, one: int, other: int) -> None:
        one, other = self.pick(one), self.pick(other)
        before = rows_of(self.tracker)
        if self.do(lambda: self.tracker.merge(one, other), one, other):
            after = rows_of(self.tracker)
            had = {f for i, f in before if i in (one, other)}
            assert {f for i, f in after if i == one} == had
            assert other not in self.tracker.object_ids

    @rule(object_id=ids, frame=frames)
    def split(self, object_id: int, frame: int) -> None:
        object_id = self.pick(object_id)
        before, new = rows_of(self.tracker), max(self.tracker.object_ids, default=0) + 1
        if self.do(lambda: self.tracker.split_from(object_id, frame, new), object_id, new):
            after = rows_of(self.tracker)
            for i, f in before:
                if i == object_id and f != frame:
                    assert after[object_id if f < frame else new, f] == before[i, f]

    @rule(one=ids, other=ids, frame=frames)
    def swap(self, one: int, other: int, frame: int) -> None:
        one, other = self.pick(one), self.pick(other)
        before = rows_of(self.tracker)
        if self.do(lambda: self.tracker.swap_from(one, other, frame), one, other):
            after = rows_of(self.tracker)
            for i, f in before:
                if i in (one, other) and f != frame:
                    now = {one: other, other: one}[i] if f > frame else i
                    assert after[now, f] == before[i, f]

    @rule(object_id=ids, frame=st.none() | frames)
    def end(self, object_id: int, frame: int | None) -> None:
        object_id = self.pick(object_id)
        if self.do(lambda: self.tracker.end_at(object_id, frame), object_id) and frame is not None:
            assert all(f < frame for i, f in rows_of(self.tracker) if i == object_id)

    @rule(
        mother=ids,
        frame=frames,
        masks=st.dictionaries(st.integers(1, 6), discs, min_size=1, max_size=2),
    )
    def divide(self, mother: int, frame: int, masks: dict[int, np.ndarray]) -> None:
        mother = self.pick(mother)
        if self.do(lambda: self.tracker.divide(mother, frame, masks), mother, *masks):
            assert all(self.tracker.life(i).mother == mother for i in masks)

    @precondition(lambda self: self.tracker.object_ids)
    @rule(
        span=st.none() | st.tuples(frames, st.integers(1, FRAMES)),
        direction=st.sampled_from(["forward", "backward", "both"]),
        until=st.booleans(),
        unfinished=st.booleans(),
        most=st.integers(1, 2 * FRAMES),
    )
    def propagate(
        self,
        span: tuple[int, int] | None,
        direction: Any,
        until: bool,
        unfinished: bool,
        most: int,
    ) -> None:
        start, stop = (None, None) if span is None else (span[0], span[0] + span[1])
        before, ran = rows_of(self.tracker), set()

        def run() -> None:
            results = self.tracker.propagate(
                start, stop, direction, until_prompted=until, unfinished=unfinished
            )
            for _, result in zip(range(most), results, strict=False):
                ran.update((i, result.frame) for i in result.object_ids)
                assert start is None or start <= result.frame < stop
                shown = self.tracker.result(result.frame)
                for i, logits in zip(result.object_ids, result.logits, strict=True):
                    if self.budget:
                        assert np.array_equal(shown.logits[shown.object_ids.index(i)], logits)
            results.close()

        self.do(run, *self.tracker.object_ids)
        after = rows_of(self.tracker)
        for key in before.keys() | after.keys():
            if key not in ran:
                assert before.get(key) == after.get(key), f"{key} was not yielded and changed"
            elif key[1] in self.tracker.prompted(key[0]):
                assert before[key] == after[key], f"{key} was said by a person and changed"

    @rule()
    def undo(self) -> None:
        here = all_of(self.tracker)
        action = self.tracker.undo()
        assert (action is None) == (not self.past)
        if action is not None:
            self.future.append(here)
            assert all_of(self.tracker) == self.past.pop()

    @rule()
    def redo(self) -> None:
        here = all_of(self.tracker)
        action = self.tracker.redo()
        assert (action is None) == (not self.future)
        if action is not None:
            self.past.append(here)
            assert all_of(self.tracker) == self.future.pop()

    @invariant()
    def objects_are_whole(self) -> None:
        if not hasattr(self, "tracker"):
            return
        for object_id in self.tracker.object_ids:
            life, said = self.tracker.life(object_id), self.tracker.prompted(object_id)
            assert said, "an object has a prompt"
            low, high = life.birth or 0, FRAMES if life.end is None else life.end
            kept = self.tracker.history.frames_of(object_id)
            assert set(said) <= set(kept)
            assert all(low <= f < high for f in kept)
            assert life.mother is None or self.tracker.life(life.mother).end == life.birth

    def teardown(self) -> None:
        """What was made is made again by the journal, and read again by another tracker."""
        if not hasattr(self, "tracker"):
            return
        here = all_of(self.tracker)
        assert all_of(Tracker(self.module, clip(40)[:FRAMES], history=self.tracker.history)) == here
        again = self.fresh()
        for _ in repeat(again, self.tracker.history.journal()):
            pass
        assert all_of(again) == here


Machine.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=12,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestAnythingInAnyOrder = Machine.TestCase
