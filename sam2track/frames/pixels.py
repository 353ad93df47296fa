"""From a decoded picture to upright RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from sam2track.frames.source import Frame

__all__ = ["Orientation", "Upright"]


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to hold a picture: first transposed, then mirrored.

    Attributes
    ----------
    transpose : bool
        Swap rows and columns.
    flip_x, flip_y : bool
        Mirror left to right, top to bottom.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """Read the display matrix of a frame; one that is askew counts as the nearest upright."""
        side_data: Any = frame.side_data  # its stub knows motion vectors only
        entry = side_data.get(SideDataType.DISPLAYMATRIX)
        if entry is None:
            return cls()
        # Rows of [a b u; c d v; x y w]: the point (x, y) is shown at (ax + cy, bx + dy).
        a, b, _, c, d = np.frombuffer(bytes(entry), np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def apply(self, picture: Frame) -> Frame:
        """Return the picture upright, as a view where nothing else is needed."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


class Upright:
    """Turns decoded pictures of one stream into upright RGB of one size.

    Colour range and matrix are those of the picture; an unsaid matrix is that of BT.601, as in
    all of FFmpeg. Deeper pictures come down to 8 bit, transparency is dropped.

    Parameters
    ----------
    pattern : VideoFrame
        Sets size and orientation for all.

    Attributes
    ----------
    height, width : int
        Size in pixels once upright.
    nbytes : int
        Bytes of the undeveloped picture.
    """

    def __init__(self, pattern: VideoFrame) -> None:
        self._coded = pattern.width, pattern.height
        self._orientation = Orientation.of(pattern)
        swap = self._orientation.transpose
        self.height, self.width = self._coded if swap else self._coded[::-1]
        self.nbytes = sum(plane.buffer_size for plane in pattern.planes)

    def fits(self, frame: VideoFrame) -> bool:
        """Whether a picture has the size of the pattern, so that none is scaled."""
        return (frame.width, frame.height) == self._coded

    def __call__(self, frame: VideoFrame) -> Frame:
        """Return a picture as (H, W, 3) uint8 RGB of its own memory."""
        width, height = self._coded
        # A reformatter keeps buffers for what it saw last; a shared one would tie readers that
        # run in different threads, and a new one costs microseconds.
        rgb = VideoReformatter().reformat(frame, width, height, "rgb24", threads=1)
        picture: Frame = self._orientation.apply(rgb.to_ndarray())  # type: ignore[arg-type]
        # Where nothing was converted, this is the decoder's memory, which it still reads.
        return picture.copy() if rgb is frame else np.ascontiguousarray(picture)
