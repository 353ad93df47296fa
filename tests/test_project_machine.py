"""Anything in any order, with a project: closed and opened, killed, added to without a model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sam2track import Project, Tracker
from sam2track.errors import PromptError
from sam2track.prompts import Prompt
from tests.parity.oracle import SIZE, clip
from tests.tracking.test_machine import FRAMES, Machine, all_of, frames, ids, prompts

META = {"height": SIZE, "width": SIZE, "frames": FRAMES}


class _Given(Exception):
    """Ends what is done together."""


class OnDisk(Machine):
    """The same things, and what may become of a project between them."""

    folder: Path | None = None

    def fresh(self) -> Tracker:
        self.budget = 0  # a project keeps twelve bits of what was tracked
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp())
            self.opened: list[Project] = []
        path = self.folder / f"{len(self.opened)}.s2t"
        return self.tracking(Project.create(path, meta=META, times=range(FRAMES)))

    def tracking(self, project: Project) -> Tracker:
        self.opened.append(project)
        return Tracker(self.module, clip(40)[:FRAMES], history=project)

    @property
    def project(self) -> Project:
        project = self.tracker.history
        assert isinstance(project, Project)
        return project

    def reopen(self, path: Path) -> None:
        self.tracker = self.tracking(Project.open(path, writable=True))

    def copied(self) -> Path:
        """What a kill would leave."""
        assert self.folder is not None
        there = self.folder / f"after {len(self.opened)}"
        there.mkdir()
        path = self.project.path
        for name in (path.name, f"{path.name}-wal"):
            if path.with_name(name).exists():
                shutil.copy(path.with_name(name), there)
        return there / path.name

    @rule()
    def another_tracker(self) -> None:
        here = all_of(self.tracker)
        self.tracker = self.tracking(self.project)
        assert all_of(self.tracker) == here

    @rule(killed=st.booleans())
    def again(self, killed: bool) -> None:
        here = all_of(self.tracker)
        path = self.copied() if killed else self.project.path
        self.project.close()
        self.reopen(path)
        assert all_of(self.tracker) == here

    @precondition(lambda self: self.tracker.object_ids)
    @rule(
        direction=st.sampled_from(["forward", "backward", "both"]),
        most=st.integers(1, FRAMES),
        killed=st.booleans(),
    )
    def cut_short(self, direction: Any, most: int, killed: bool) -> None:
        """A run that never ends: the project is closed, or the program killed."""
        before, step = all_of(self.tracker), self.project.position
        run = self.tracker.propagate(direction=direction)
        for _, _ in zip(range(most), run, strict=False):
            pass
        here, moved = all_of(self.tracker), self.project.position != step
        path = self.copied() if killed else self.project.path
        self.project.close()
        self.reopen(path)
        lives, *rest = all_of(self.tracker)
        assert rest == list(here[1:])
        if killed:  # how far the run was is kept with a state, now and then
            assert {i: life[:5] for i, life in lives.items()} == {
                i: life[:5] for i, life in here[0].items()
            }
        else:
            assert lives == here[0]
        if moved:
            self.past.append(before)
            self.future.clear()
        if killed:  # frames behind the last state are not in the journal until they are run again
            run = self.tracker.propagate(direction=direction)
            self.do(lambda: list(run), *self.tracker.object_ids)

    @rule(
        said=st.lists(st.tuples(st.integers(1, 5), frames, prompts), min_size=1, max_size=3),
        closed=st.booleans(),
    )
    def without_a_model(self, said: list[tuple[int, int, Prompt]], closed: bool) -> None:
        before = all_of(self.tracker)
        if closed:
            self.project.close()
            self.opened.append(Project.open(self.project.path, writable=True))
        project, steps = self.opened[-1] if closed else self.project, 0
        for object_id, frame, prompt in said:
            position = project.position
            try:
                project.add_prompt(object_id, frame, prompt)
            except PromptError:
                assert project.position == position
            else:
                steps += 1
        self.tracker = self.tracking(project)
        # What there was between them is known once they are taken back.
        stack = [all_of(self.tracker)]
        for _ in range(steps):
            assert self.tracker.undo() is not None
            stack.append(all_of(self.tracker))
        assert stack[-1] == before
        for expected in stack[-2::-1]:
            assert self.tracker.redo() is not None
            assert all_of(self.tracker) == expected
        if steps:
            self.past += stack[:0:-1]
            self.future.clear()

    @rule(
        things=st.lists(st.tuples(st.integers(0, 5), ids, ids, frames, prompts), max_size=3),
        caught=st.booleans(),
        fails=st.booleans(),
    )
    def together(
        self, things: list[tuple[int, int, int, int, Prompt]], caught: bool, fails: bool
    ) -> None:
        before, past = all_of(self.tracker), []
        try:
            with self.tracker.together():
                for kind, one, other, frame, said in things:
                    here, step = all_of(self.tracker), self.project.position
                    try:
                        self.one_of_all(kind, self.pick(one), self.pick(other), frame, said)
                    except PromptError:
                        assert all_of(self.tracker) == here
                        if not caught:
                            raise
                    if self.project.position != step:
                        past.append(here)
                if fails:
                    raise _Given
        except (_Given, PromptError):
            assert all_of(self.tracker) == before
        else:
            self.past += past
            if past:
                self.future.clear()

    def one_of_all(self, kind: int, one: int, other: int, frame: int, said: Prompt) -> None:
        tracker = self.tracker
        new = max(tracker.object_ids, default=0) + 1
        if kind == 0:
            tracker.add(1 + one % 5, frame, said)
        elif kind == 1:
            tracker.remove(one)
        elif kind == 2:
            tracker.swap_from(one, other, frame)
        elif kind == 3:
            tracker.split_from(one, frame, new)
        elif kind == 4:
            tracker.end_at(one, frame)
        else:
            tracker.merge(one, other)

    def teardown(self) -> None:
        try:
            super().teardown()
            if hasattr(self, "tracker"):
                self.project.check_whole()
        finally:
            for project in getattr(self, "opened", ()):
                project.close()
            if self.folder is not None:
                shutil.rmtree(self.folder)


OnDisk.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=10,
    derandomize=True,
    phases=[Phase.generate],  # to find the shortest way to a failure takes minutes
    suppress_health_check=list(HealthCheck),
)
TestAProjectInAnyOrder = OnDisk.TestCase
