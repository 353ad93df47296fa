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
        steps, position = [], self._project.position
        try:
            for _ in doing:
                before, position = position, self._project.position
                steps += [position] if position != before else []
        except BaseException:
            for _ in steps:
                tracker.undo()
            raise
        if len(steps) > 1:
            self._ends[steps[0]] = steps[-1]
            self._project.set_meta(strokes=list(self._ends.items()))

    def undo(self, tracker: Tracker) -> list[Action]:
        """Take back what was done last; its actions, none where there is nothing."""
        action = tracker.undo()
        if action is None:
            return []
        done, step = [action], self._project.position + 1
        first = next((a for a, b in self._ends.items() if a < step == b), step)
        while self._project.position >= first and (action := tracker.undo()) is not None:
            done.insert(0, action)
        return done

    def redo(self, tracker: Tracker) -> list[Action]:
        """Put it back; its actions, none where there is nothing."""
        action = tracker.redo()
        if action is None:
            return []
        done, last = [action], self._ends.get(self._project.position, 0)
        while self._project.position < last and (action := tracker.redo()) is not None:
            done.append(action)
        return done
