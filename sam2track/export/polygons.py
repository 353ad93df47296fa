"""Outlines of masks as polygons, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["fill", "outline"]


def outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return one polygon, (N, 2) x and y, that goes around all parts of a mask.

    Parts and holes are joined by a cut there and back, since what reads one polygon for each
    object knows no others. A hole is left filled.
    """
    import cv2

    # A single pixel or line has no inside; drawn again with its border it is itself.
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    parts = [contour[:, 0] for contour in sorted(contours, key=lambda c: -len(c))]
    if not parts:
        return np.zeros((0, 2), np.int32)
    joined: npt.NDArray[Any] = parts[0]
    for part in parts[1:]:
        away = ((joined[:, None] - part[None]) ** 2).sum(axis=2)
        here, there = np.unravel_index(int(away.argmin()), away.shape)
        ring = np.concatenate((part[there:], part[: there + 1]))
        joined = np.concatenate((joined[: here + 1], ring, joined[here:]))
    if len(joined) < 3:
        joined = np.resize(joined, (3, 2))
    return np.asarray(joined, np.int32)


def fill(polygons: Sequence[npt.NDArray[Any]], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return the mask of polygons, (H, W) bool, with the pixels on their borders."""
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(canvas, [np.round(polygon).astype(np.int32)], 1)
    return canvas.astype(np.bool_)
