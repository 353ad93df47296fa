"""What is to be shown of a project, read through a connection of its own; no napari, no Qt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam2track.confidence import at_most
from sam2track.project import Project

if TYPE_CHECKING:
    from sam2track.prompts import Prompt
    from sam2track.tracking.result import FrameResult

__all__ = ["UNFINISHED", "Row", "Said", "Sure", "View"]

UNFINISHED = "locked, to track"  # the state of an object that was locked before it was tracked
_FIXED = ("prompted", "edited")  # whence masks are that a person fixed

Sure = dict[int, dict[int, tuple[float, str]]]
"""By object and frame: confidence, as in docs/measurements.md, and whence the mask is."""


@dataclass(frozen=True)
class Said:
    """Clicks and a box of one object on one frame, as layers show them."""

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is said."""
        return not self.points and self.box is None

    def joined(self, other: Said) -> Said:
        """Add all of another, whose box is taken in place of this one's."""
        clicks = self._clicks() | other._clicks()
        return Said(tuple(clicks), tuple(clicks.values()), other.box or self.box)

    def changed(self, before: Said, after: Said) -> Said:
        """Change what one became that turned into another; what else is said by now stays."""
        if self == before:
            return after
        was, now = before._clicks(), after._clicks()
        clicks = {at: label for at, label in self._clicks().items() if at in now or at not in was}
        clicks |= {at: label for at, label in now.items() if was.get(at) != label}
        box = self.box if after.box == before.box else after.box
        return Said(tuple(clicks), tuple(clicks.values()), box)

    def _clicks(self) -> dict[tuple[float, float], int]:
        return dict(zip(self.points, self.labels, strict=True))


@dataclass(frozen=True)
class Row:
    """One object, for the list of objects."""

    object_id: int
    name: str
    locked: bool
    mother: int | None
    end: int | None
    state: str
    worst: float | None
    worst_frame: int | None


@dataclass
class View:
    """What is to be shown of a project, read through a connection of its own.

    Parameters
    ----------
    path : Path
    """

    path: Path
    _sure: Sure = field(default_factory=dict)
    _clicked: list[tuple[int, int, Prompt | None]] | None = None
    # By object, once it was asked for: its lowest confidence, and where; None without a frame.
    _lowest: dict[int, tuple[float, int] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._project = Project.open(self.path)
        self._closed = False

    def close(self) -> None:
        """Let go of the project; masks are read all the same, of layers that outlive a session."""
        self._closed = True
        self._project.close()

    @contextmanager
    def _reading(self) -> Iterator[Project]:
        """The project, opened for the moment where it was let go of."""
        if not self._closed:
            yield self._project
            return
        with Project.open(self.path) as project:
            yield project

    def reopen(self, path: Path) -> None:
        """Read another file from now on, which holds the same."""
        self._project.close()
        self.path = path
        self._project = Project.open(path)

    @property
    def meta(self) -> dict[str, Any]:
        """Source, model and settings."""
        return self._project.meta

    def labels(self, frame: int) -> npt.NDArray[np.int32]:
        """Label map of a frame, (H, W) int32."""
        with self._reading() as project:
            return project.labels(frame)

    def said(self) -> dict[tuple[int, int], Said]:
        """Clicks and boxes by object and frame."""
        found = {}
        for object_id, frame, prompt in self._prompts():
            if prompt is not None:
                found[object_id, frame] = Said(prompt.points, prompt.labels, prompt.box)
        return found

    def prompted(self, object_id: int) -> list[int]:
        """Frames on which a person said something of an object, ascending."""
        return sorted(f for i, f, _ in self._prompts() if i == object_id)

    def _prompts(self) -> list[tuple[int, int, Prompt | None]]:
        """What was clicked, of all prompts: their masks would fill the memory."""
        if self._clicked is None:
            self._clicked = list(self._project.clicked())
        return self._clicked

    def refresh(self, sure: Sure | None = None) -> None:
        """Read prompts anew, and take these scores where there are new ones."""
        self._clicked = None
        if sure is not None:
            self._sure = sure
            self._lowest.clear()

    def saw(self, result: FrameResult, *, fixed: bool = False) -> None:
        """Take the scores of a frame that was just run, or only of what a person fixed there.

        They are bounds from above, until all masks are read.
        """
        for index, object_id in enumerate(result.object_ids):
            how = result.sources[index]
            if how in _FIXED or not fixed:
                sure = 1.0  # whatever the mask: those of hundreds would be made for it
                if how not in _FIXED:
                    score, iou = float(result.object_scores[index]), float(result.ious[index])
                    sure = at_most(score, iou, there=bool(result.mask(object_id).any()))
                self._sure.setdefault(object_id, {})[result.frame] = sure, how
                self._lower(object_id, result.frame, sure, how)

    def _lower(self, object_id: int, frame: int, sure: float, how: str) -> None:
        """Keep the lowest confidence true: to look for it takes long where frames are many."""
        lowest = self._lowest.get(object_id)
        if how not in _FIXED and lowest is not None and (sure, frame) <= lowest:
            self._lowest[object_id] = sure, frame
        elif lowest is None or lowest[1] == frame:
            self._lowest.pop(object_id, None)

    def _lowest_of(self, object_id: int) -> tuple[float, int] | None:
        if object_id not in self._lowest:
            pairs = ((c, f) for f, c in self._tracked(object_id).items())
            self._lowest[object_id] = min(pairs, default=None)
        return self._lowest[object_id]

    def confidence(self, object_id: int) -> dict[int, float]:
        """By frame, how sure tracking is; where a person fixed the mask, entirely."""
        found = self._sure.get(object_id, {})
        return {f: 1.0 if how in _FIXED else c for f, (c, how) in found.items()}

    def least_sure(self, object_id: int, after: int | None = None) -> int | None:
        """The least sure frame of an object, of those not fixed; given a frame, the next after it.

        Of frames that are equally sure the first comes first.
        """
        if after is None or after not in (known := self.confidence(object_id)):
            lowest = self._lowest_of(object_id)
        else:
            at = known[after], after
            pairs = ((c, f) for f, c in self._tracked(object_id).items() if (c, f) > at)
            lowest = min(pairs, default=None)
        return None if lowest is None else lowest[1]

    def _tracked(self, object_id: int) -> dict[int, float]:
        found = self._sure.get(object_id, {})
        return {f: c for f, (c, how) in found.items() if how not in _FIXED}

    def rows(self) -> list[Row]:
        """All objects, by id."""
        found = []
        for life in self._project.lives():
            worst, worst_frame = self._lowest_of(life.object_id) or (None, None)
            unfinished = life.forward is not None or life.backward is not None
            state = "to track" if unfinished else "tracked"
            if life.locked:
                state = UNFINISHED if unfinished else "locked"
            found.append(
                Row(
                    life.object_id,
                    life.name,
                    life.locked,
                    life.mother,
                    life.end,
                    state,
                    worst,
                    worst_frame,
                )
            )
        return found

    def next_id(self, above: int = 0) -> int:
        """The lowest number above one that no object has or had."""
        return self._project.next_id(above)

    def highest_id(self) -> int:
        """The highest number of an object, 0 where there is none."""
        with self._reading() as project:
            return max((life.object_id for life in project.lives()), default=0)
