"""Steps of a project's journal that a person did as one, and takes back as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam2track.project import Project
    from sam2track.tracking.tracker import Tracker

__all__ = ["Action", "Strokes"]

Action = dict[str, Any]
"""A step of the journal: its kind under ``action``, and what belongs to it."""


class Strokes:
    """Which steps of a project belong together; kept in the project, for the next time.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        # Last step by first. Numbers of steps are never used again.
        self._ends = {int(a): int(b) for a, b in project.meta.get("strokes") or ()}

    def one(self, tracker: Tracker, doing: Iterable[Any]) -> None:
        """Let what an iterator does be one, a step with each item; where it fails, nothing stays.

        Parameters
        ----------
        tracker : Tracker
            On this project.
        doing : iterable
            Does something before each item that it gives.
        """
        steps, position, ends = [], self._project.position, self._ends
        with tracker.together():
            for _ in doing:
                before, position = position, self._project.position
                steps += [position] if position != before else []
            if len(steps) > 1:
                ends = {**self._ends, steps[0]: steps[-1]}
                self._project.set_meta(strokes=list(ends.items()))
        self._ends = ends

    def undo(self, tracker: Tracker) -> list[Action]:
        """Take back what was done last; its actions, none where there is nothing."""
        first = 0

        def more() -> bool:
            nonlocal first
            step = self._project.position + 1
            first = first or next((a for a, b in self._ends.items() if a < step == b), step)
            return self._project.position >= first

        return tracker.undo_while(more)[::-1]

    def redo(self, tracker: Tracker) -> list[Action]:
        """Put it back; its actions, none where there is nothing."""
        last: int | None = None

        def more() -> bool:
            nonlocal last
            if last is None:
                last = self._ends.get(self._project.position, 0)
            return self._project.position < last

        return tracker.redo_while(more)
