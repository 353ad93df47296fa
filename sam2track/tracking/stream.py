"""Frames that are handed over one by one, and are not kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError, UsageError
from sam2track.frames.source import Frame

__all__ = ["StreamSource"]


class StreamSource:
    """A source that grows by ``taken`` and remembers its latest frame only."""

    name = "stream"

    def __init__(self) -> None:
        self.height = 0
        self.width = 0
        self.warnings: list[str] = []
        self._count = 0
        self._latest: Frame | None = None

    def checked(self, picture: npt.NDArray[np.uint8]) -> Frame:
        """Return what may come next as (H, W, 3); UsageError where it may not."""
        frame = np.asarray(picture)
        if frame.dtype != np.uint8:
            raise UsageError(f"a frame of dtype {frame.dtype}; give uint8")
        if frame.ndim == 2:
            frame = np.repeat(frame[..., None], 3, axis=2)
        if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise UsageError(f"a frame of shape {frame.shape}; give (H, W, 3) or (H, W)")
        if self._count and frame.shape[:2] != (self.height, self.width):
            raise UsageError(
                f"a frame of {frame.shape[1]} x {frame.shape[0]} pixels in a stream of "
                f"{self.width} x {self.height}; every frame has the size of the first"
            )
        return frame

    @contextmanager
    def taken(self, picture: npt.NDArray[np.uint8]) -> Iterator[tuple[int, Frame]]:
        """Take the next frame, unless what is done with it within fails.

        Yields
        ------
        (int, Frame)
            Its index, and itself as (H, W, 3).
        """
        frame = self.checked(picture)
        before = self._count, self._latest
        try:
            self.height, self.width = frame.shape[:2]
            # A copy, since cameras hand over the same buffer again and again.
            self._latest = frame.copy()
            self._count += 1
            yield self._count - 1, self._latest
        except BaseException:  # it may be handed over again
            self._count, self._latest = before
            raise

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """A stream tells no times; its frames are counted."""
        return np.arange(self._count, dtype=np.float64)

    def __len__(self) -> int:
        return self._count

    def read(self, frame: int) -> Frame:
        """Return the latest frame; earlier ones are gone, and to ask for one is a PromptError."""
        if self._latest is None or frame != self._count - 1:
            raise PromptError(
                f"frame {frame} of the stream is not kept; only the latest, {self._count - 1}, is"
            )
        return self._latest

    def frames(self, start: int, stop: int, *, backward: bool = False) -> Iterator[Frame]:
        """Yield frames; only the latest can be had."""
        for frame in range(start, stop)[:: -1 if backward else 1]:
            yield self.read(frame)

    def fingerprint(self) -> str:
        """Return a text; a stream has no content that stays."""
        return "stream"

    def close(self) -> None:
        """Let go of the latest frame."""
        self._latest = None
