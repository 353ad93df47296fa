"""A part of each picture in place of the whole: what is small is seen larger by the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.arguments import whole_number
from sam2track.errors import UsageError
from sam2track.frames.source import Frame, FrameSource

__all__ = ["Cropped", "check_crop"]


class Cropped:
    """A rectangle of a source's frames, as a source.

    All coordinates count from its corner.

    Parameters
    ----------
    source : FrameSource
        Closed with this.
    crop : (int, int, int, int)
        x0, y0, x1, y1 in pixels of the upright frame, half-open.

    Raises
    ------
    UsageError
        Where the rectangle is none, or does not lie within the frame.
    """

    def __init__(self, source: FrameSource, crop: object) -> None:
        x0, y0, x1, y1 = check_crop(crop)
        if x1 > source.width or y1 > source.height:
            raise UsageError(
                f"crop {x0},{y0},{x1},{y1} goes beyond the frames of {source.name}, which are "
                f"{source.width} x {source.height}"
            )
        self._source = source
        self.whole = source.height, source.width
        self._part = slice(y0, y1), slice(x0, x1)
        self.crop = x0, y0, x1, y1
        self.name, self.times, self.warnings = source.name, source.times, source.warnings
        self.height, self.width = y1 - y0, x1 - x0

    def __getattr__(self, name: str) -> Any:
        """What some sources have and others have not."""
        if name.startswith("_"):  # as before there is a source
            raise AttributeError(name)
        found = getattr(self._source, name)
        return (lambda frame: self._cut(found(frame))) if name == "values" else found

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._source)

    @property
    def options(self) -> dict[str, Any]:
        """What is shown, in values for JSON."""
        return {**getattr(self._source, "options", {}), "crop": list(self.crop)}

    def read(self, frame: int) -> Frame:
        """Return the part of one frame; errors are those of the source."""
        return self._cut(self._source.read(frame))

    def frames(self, start: int, stop: int, *, backward: bool = False) -> Iterator[Frame]:
        """Yield the parts of the frames of [start, stop), forward or backward."""
        return map(self._cut, self._source.frames(start, stop, backward=backward))

    def fingerprint(self) -> str:
        """Return that of the source."""
        return self._source.fingerprint()

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _cut(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(picture[self._part])


def check_crop(crop: object) -> list[int]:
    """Return a rectangle's x0, y0, x1, y1; UsageError where it is none."""
    given = [] if isinstance(crop, str) or not isinstance(crop, Iterable) else [*crop]
    if len(given) != 4:
        raise UsageError(f"crop {crop!r:.60}; give four whole numbers, x0, y0, x1, y1")
    x0, y0, x1, y1 = part = [whole_number("crop", value) for value in given]
    if not (0 <= x0 < x1 and 0 <= y0 < y1):
        raise UsageError(
            f"crop {x0},{y0},{x1},{y1}; x0 and y0 are at least 0, x1 and y1 beyond them"
        )
    return part
