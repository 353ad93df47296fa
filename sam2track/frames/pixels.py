"""From a decoded picture to upright RGB."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from sam2track.frames.source import Frame

__all__ = ["Orientation", "Upright"]

_PQ = 16  # the number of its transfer in ISO/IEC 23091-2


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
        try:
            side_data: Any = frame.side_data  # its stub knows motion vectors only
            entry = side_data.get(SideDataType.DISPLAYMATRIX)
        except ValueError:
            # PyAV 18 fails on kinds that it does not know, EXIF for one; this knows no mirrors.
            return _TURNED.get(frame.rotation % 360, cls())
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


# By degrees counterclockwise.
_TURNED = {
    90: Orientation(True, False, True),
    180: Orientation(False, True, True),
    270: Orientation(True, True, False),
}


class Upright:
    """Turns decoded pictures of one stream into upright RGB of one size.

    Colour range and matrix are those of the picture; an unsaid matrix is that of BT.601, as in
    all of FFmpeg. Deeper pictures come down to 8 bit, transparency is dropped. Pictures of high
    dynamic range in PQ are brought into the usual range (``_from_pq``); those in HLG, whose signal
    is made to be shown as it is, and all others are taken as coded. Primaries are left alone.

    Parameters
    ----------
    pattern : VideoFrame
        Sets size and orientation for all.

    Attributes
    ----------
    height, width : int
        Size in pixels once upright.
    is_turned : bool
        Whether rows of the coded picture are columns of the upright one.
    nbytes : int
        Bytes of the undeveloped picture.
    """

    def __init__(self, pattern: VideoFrame) -> None:
        self._coded = pattern.width, pattern.height
        self._orientation = Orientation.of(pattern)
        self.is_turned = self._orientation.transpose
        self.height, self.width = self._coded if self.is_turned else self._coded[::-1]
        self.nbytes = sum(plane.buffer_size for plane in pattern.planes)

    def fits(self, frame: VideoFrame) -> bool:
        """Whether a picture has the size of the pattern, so that none is scaled."""
        return (frame.width, frame.height) == self._coded

    def __call__(self, frame: VideoFrame) -> Frame:
        """Return a picture as (H, W, 3) uint8 RGB of its own memory."""
        width, height = self._coded
        # A reformatter keeps buffers for what it saw last; a shared one would tie readers that
        # run in different threads, and a new one costs microseconds.
        form = "rgb48le" if frame.color_trc == _PQ else "rgb24"
        rgb = VideoReformatter().reformat(frame, width, height, form, threads=1)
        coded: Any = rgb.to_ndarray()
        if frame.color_trc == _PQ:
            coded = _from_pq()[coded]
        picture: Frame = self._orientation.apply(coded)
        # Where nothing was converted, this is the decoder's memory, which it still reads.
        return picture.copy() if rgb is frame else np.ascontiguousarray(picture)


@cache
def _from_pq() -> Frame:
    """Eight-bit values of all 16-bit values in PQ, (65536,) uint8.

    Each channel goes through the EOTF of SMPTE ST 2084 to light, of which 203 cd/m2 are white in
    usual pictures (ITU-R BT.2408); Reinhard's curve brings what is up to 1,000 cd/m2 into the
    range, and a gamma of 2.2 makes it a picture again.
    """
    signal = np.linspace(0, 1, 2**16) ** (32 / 2523)
    base = np.maximum(signal - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * signal)
    relative = base ** (8192 / 1305) * 10_000 / 203  # to white
    peak = 1_000 / 203
    shown = np.minimum(relative * (1 + relative / peak**2) / (1 + relative), 1)
    return np.asarray(np.rint(shown ** (1 / 2.2) * 255), np.uint8)
