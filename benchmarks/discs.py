"""Discs that go around, as a source of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Discs"]


class Discs:
    """Discs that go around, drawn when asked for; an array to ``Tracker``.

    Parameters
    ----------
    frames, count : int
        How many there are of frames, and of discs.
    height, width : int
    dtype : {"u1", "u2"}
    lasts : int, optional
        Frames for which each is there; they come one after another, as evenly as it goes. All are
        always there if not given.
    """

    def __init__(
        self,
        frames: int,
        count: int,
        height: int,
        width: int,
        dtype: str = "u1",
        lasts: int | None = None,
    ) -> None:
        self.shape = (frames, height, width)
        self.dtype = np.dtype(dtype)
        self.count, self._lasts = count, lasts
        columns = int(np.ceil(np.sqrt(count * width / height)))
        rows = int(np.ceil(count / columns))
        self.cell = min(width // columns, height // rows)
        self.radius = 0.3 * self.cell
        self._home = [
            ((k % columns + 0.5) * self.cell, (k // columns + 0.5) * self.cell)
            for k in range(count)
        ]

    def span(self, number: int) -> tuple[int, int]:
        """The frames [first, stop) on which a disc is there."""
        frames = self.shape[0]
        if self._lasts is None:
            return 0, frames
        first = number * (frames - self._lasts) // max(1, len(self._home) - 1)
        return first, first + self._lasts

    def centre(self, number: int, frame: int) -> tuple[float, float]:
        x, y = self._home[number]
        angle = frame / 9 + number
        return x + 0.15 * self.cell * np.cos(angle), y + 0.15 * self.cell * np.sin(angle)

    def box(self, number: int, frame: int) -> tuple[float, float, float, float]:
        x, y = self.centre(number, frame)
        return x - self.radius, y - self.radius, x + self.radius, y + self.radius

    def distance(self, number: int, frame: int, side: int | None = None) -> npt.NDArray[np.float32]:
        """How far each pixel lies within a disc, in pixels of the frame."""
        height, width = self.shape[1:] if side is None else (side, side)
        yy = (np.arange(height, dtype=np.float32) + 0.5) * (self.shape[1] / height)
        xx = (np.arange(width, dtype=np.float32) + 0.5) * (self.shape[2] / width)
        x, y = self.centre(number, frame)
        return self.radius - np.hypot(xx[None] - np.float32(x), yy[:, None] - np.float32(y))

    def __getitem__(self, frame: int) -> npt.NDArray[Any]:
        import cv2

        scale = 256 if self.dtype == np.uint16 else 1
        picture = np.full(self.shape[1:], 60 * scale, self.dtype)
        for k in range(len(self._home)):
            first, stop = self.span(k)
            if not first <= frame < stop:
                continue
            x, y = self.centre(k, frame)
            level = (110 + 23 * k % 140) * scale
            cv2.circle(picture, (round(x), round(y)), round(self.radius), level, -1)
        return picture
