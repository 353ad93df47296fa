"""The boxes of a file, by frame or by picture."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sam2track.detections.boxes import Detections
from sam2track.errors import PromptError
from sam2track.prompts import check_name

__all__ = ["DetectionFile", "Row"]


class Row(NamedTuple):
    """One box, as a file has it: in pixels, or relative to the frame's width and height."""

    box: tuple[float, float, float, float]
    relative: bool
    score: float
    name: str


@dataclass
class DetectionFile:
    """Boxes by frame or by picture, as a file holds them.

    Attributes
    ----------
    path : str
    by_frame : dict of int to rows
    by_stem : dict of str to rows
        By the name of the picture, without folder and ending.
    anywhere : list of rows
        Of a file that tells no frames.
    """

    path: str
    by_frame: dict[int, list[Row]] = field(default_factory=dict)
    by_stem: dict[str, list[Row]] = field(default_factory=dict)
    anywhere: list[Row] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """All class names, sorted."""
        return tuple(sorted({row.name for row in self._rows()}))

    def _rows(self) -> Iterator[Row]:
        yield from self.anywhere
        for rows in (*self.by_frame.values(), *self.by_stem.values()):
            yield from rows

    def check(
        self,
        *,
        frames: int,
        min_score: float | None = None,
        classes: Collection[str] | None,
        stems: Sequence[str] | None,
    ) -> None:
        """PromptError where a class is not in the file, no name, or a frame of it not there."""
        known = self.classes
        for name in classes or ():
            if name not in known:
                raise PromptError(
                    f"{self.path} has no class {name!r}; it has "
                    f"{', '.join(filter(None, known)) or 'none'}"
                )
        for name in known:
            if not classes or name in classes:
                try:
                    check_name(name)
                except PromptError as error:
                    raise PromptError(f"{self.path}: {error}") from error
        if self.by_stem and stems is not None:
            if not set(stems) & set(self.by_stem):
                raise PromptError(
                    f"{self.path} has no boxes for any of these pictures; it names "
                    f"{', '.join(sorted(self.by_stem)[:3])}"
                )
            return
        if self.by_stem and not self.by_frame:
            raise PromptError(
                f"{self.path} tells no frames: names such as {min(self.by_stem)!r} do not end in "
                f"a number of their own from 1; give files like video_1.txt"
            )
        wanted = [
            frame
            for frame, rows in self.by_frame.items()
            for row in rows
            if (min_score is None or row.score >= min_score)
            and (not classes or row.name in classes)
        ]
        beyond = max(wanted, default=0)
        if beyond >= frames:
            raise PromptError(
                f"{self.path} has boxes on frame {beyond} (counted from 0), but the source has "
                f"frames 0 to {frames - 1}"
            )

    def at(
        self,
        frame: int,
        *,
        height: int,
        width: int,
        stem: str | None = None,
        anywhere: bool = False,
    ) -> Detections:
        """Boxes of a frame of that size, in pixels.

        Parameters
        ----------
        stem : str, optional
            The picture's name without folder and ending, for files that go by that.
        anywhere : bool
            Whether boxes that name no frame belong here.
        """
        if stem is not None and self.by_stem:
            rows = list(self.by_stem.get(stem, ()))
        else:
            rows = list(self.by_frame.get(frame, ()))
        rows += self.anywhere if anywhere else ()
        scale = (width, height, width, height)
        boxes = [
            [value * side for value, side in zip(row.box, scale, strict=True)]
            if row.relative
            else row.box
            for row in rows
        ]
        return Detections(
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array([row.score for row in rows], np.float64),
            tuple(row.name for row in rows),
        )
