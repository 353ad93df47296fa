"""What the engine asks of anything that pictures come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.frames.bounds import check_span

__all__ = ["ByFrame", "Frame", "FrameSource", "check_picture", "stems_of"]

Frame = npt.NDArray[np.uint8]


@runtime_checkable
class FrameSource(Protocol):
    """A sequence of RGB pictures of one size.

    Attributes
    ----------
    name : str
        Where the pictures come from, for messages and the project.
    height, width : int
        Size in pixels of the upright frame.
    times : (T,) float64 array
        Presentation time of each frame in seconds; the first is 0, and they rise.
    warnings : list of str
        What was odd about the source and how it was dealt with, one line each.

    One may also have ``values``, a method that gives the (H, W, C) numbers of a frame as they were
    measured, for intensities in place of those of ``read``, and ``channel_names``, a name for each
    C; and ``frames_apart``, True where what ``frames`` gives may be read in a thread of its own,
    whatever else is read meanwhile; a GPU need not wait for the next frame then.
    """

    name: str
    height: int
    width: int
    times: npt.NDArray[np.float64]
    warnings: list[str]

    def __len__(self) -> int:
        """Number of frames, in order of presentation."""
        ...

    def read(self, frame: int) -> Frame:
        """Return one frame, (H, W, 3) uint8 RGB.

        Raises
        ------
        SourceError
            Where the frame does not exist or cannot be read.
        """
        ...

    def frames(self, start: int, stop: int, *, backward: bool = False) -> Iterator[Frame]:
        """Yield the frames of [start, stop) in order, or from ``stop - 1`` down to ``start``.

        Each is read once, without seeking where the order allows, and what is held in memory
        does not grow with the range.
        """
        ...

    def fingerprint(self) -> str:
        """Return a short text that changes when the source's content does."""
        ...

    def close(self) -> None:
        """Release files."""
        ...


class ByFrame(ABC):
    """A source of which each frame is read by itself, whatever was read before."""

    name: str

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def read(self, frame: int) -> Frame:
        """Return one frame, (H, W, 3) uint8 RGB."""

    def frames(self, start: int, stop: int, *, backward: bool = False) -> Iterator[Frame]:
        """Yield the frames of [start, stop), each (H, W, 3) uint8 RGB, forward or backward.

        Raises
        ------
        SourceError
            As ``read``.
        """
        first, end = check_span(self.name, start, stop, len(self))
        numbers = range(end - 1, first - 1, -1) if backward else range(first, end)
        return (self.read(number) for number in numbers)


def stems_of(source: FrameSource) -> list[str] | None:
    """Names of a source's pictures, where it consists of files."""
    paths = getattr(source, "paths", None)
    return None if paths is None else [Path(path).stem for path in paths]


class _Promised(Protocol):
    name: str
    height: int
    width: int

    def __len__(self) -> int: ...


def check_picture(source: _Promised, frame: int, picture: object) -> Frame:
    """Return what a source gave for a frame.

    Raises
    ------
    SourceError
        Where it is not what was promised, as of sources that people write: floats, or a picture of
        another size, would be tracked to masks that are wrong.
    """
    shape = (source.height, source.width, 3)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape == shape:
        return picture
    if isinstance(picture, np.ndarray):
        given = f"{picture.dtype} {picture.shape}"
    else:
        given = "nothing" if picture is None else type(picture).__name__
    raise SourceError(
        f"{source.name} gives {given} for frame {frame}; a source gives arrays, uint8 {shape}, one "
        f"for each of its {len(source)} frames"
    )
