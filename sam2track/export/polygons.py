"""Outlines of masks as polygons, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["border", "fill", "inside", "outline"]

_CROSSINGS = 1 << 20  # of sides and rows, looked at at once
_FARTHEST_DRAWN = 1e6  # cv2 goes along what lies outside as well, and takes minutes from 1e9 on
_FARTHEST = 1e150  # so that differences and their products are numbers


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
    """Return the mask of polygons, (H, W) bool, with the pixels on their borders.

    Raises
    ------
    ValueError
        Where a point cannot be one of a picture.
    """
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        if not (np.abs(polygon) < _FARTHEST_DRAWN).all():  # NaN as well
            raise ValueError("a point of a polygon that is no place in a picture")
        if len(polygon):
            cv2.fillPoly(canvas, [np.round(polygon).astype(np.int32)], 1)
    return canvas.astype(np.bool_)


def border(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return one closed path along the borders of the pixels of a mask, (N, 2) x and y.

    Coordinates are halves, as the centre of the first pixel is (0, 0). Parts and holes are joined
    by lines there and back along borders of pixels, and holes are gone around the other way: by the
    even-odd rule, or any other, the centres of the mask's pixels alone are inside, and the area is
    that of the mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return np.zeros((0, 2))
    top, left = int(rows[0]), int(columns[0])
    rings = _rings(mask[top : rows[-1] + 1, left : columns[-1] + 1])
    out: list[npt.NDArray[np.int64]] = []  # from ring to ring, each up to where the next is near
    back: list[npt.NDArray[np.int64]] = []
    ring = rings[0]
    for following in rings[1:]:
        here = int(np.abs(ring - following[0]).sum(axis=1).argmin())
        there = int(np.abs(following - ring[here]).sum(axis=1).argmin())
        corner = np.array([[following[there, 0], ring[here, 1]]])
        out += [ring[: here + 1], corner]
        back += [ring[here:], corner]
        ring = np.concatenate((following[there:], following[: there + 1]))
    joined = np.concatenate([*out, ring, *reversed(back)])
    return np.asarray(joined + np.array([left - 0.5, top - 0.5]), np.float64)


def _rings(part: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Corners of the borders of a mask, (N, 2) x and y from the corner of the first pixel.

    Each is gone around with the mask on the right hand. Pixels that touch at a corner are one part.
    """
    wide = part.shape[1] + 1
    padded = np.pad(part, 1)
    here, above, before = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1]
    # Corners are numbered row by row. A border leads right, down, left or up: 0, 1, 2, 3.
    ahead = (1, wide, -1, -wide)
    found = (here & ~above, before & ~here, above & ~here, here & ~before)
    tails = (0, 0, 1, wide)  # where it begins, from the corner on its upper left
    start = np.concatenate(
        [np.flatnonzero(each) + tail for each, tail in zip(found, tails, strict=True)]
    )
    heading = np.repeat(np.arange(4), [np.count_nonzero(each) for each in found])
    order = np.argsort(start, kind="stable")
    start, heading = start[order], heading[order]
    end = start + np.take(ahead, heading)
    first = np.searchsorted(start, end)
    last = np.searchsorted(start, end, side="right") - 1
    # Where two parts touch two borders go on from the corner: to the left, it is one part.
    after = np.where(heading[first] == (heading - 1) % 4, first, last)
    turns = np.zeros(len(start), np.bool_)
    turns[after] = heading[after] != heading
    following, left = after.tolist(), np.ones(len(start), np.bool_)
    rings = []
    for begin in range(len(start)):
        if left[begin]:
            ring, at = [begin], following[begin]
            while at != begin:
                ring.append(at)
                at = following[at]
            left[ring] = False
            corners = start[[border for border in ring if turns[border]]]
            rings.append(np.stack([corners % wide, corners // wide], axis=1))
    return rings


def inside(polygon: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return the pixels whose centres are in a closed path by the even-odd rule, (H, W) bool.

    Parameters
    ----------
    polygon : (N, 2) float array
        x and y, as of ``border``; the last point leads to the first.
    height, width : int
        Of the mask.

    Raises
    ------
    ValueError
        Where a coordinate is no number, or one with which there is no reckoning.
    """
    if not (np.abs(polygon) < _FARTHEST).all():
        raise ValueError("a polygon has points that are no numbers")
    x, y = polygon.T
    tops = np.ceil(np.minimum(y, np.roll(y, -1))).clip(0, height).astype(np.int64)
    ends = np.ceil(np.maximum(y, np.roll(y, -1))).clip(0, height).astype(np.int64)
    found = np.zeros((height, width), np.bool_)
    if not len(x):
        return found
    # What is done grows with the box, not with the picture; a column more for what is rounded.
    top, bottom = int(tops.min()), int(ends.max())
    left, right = (int(np.clip(side, 0, width)) for side in (x.min() - 1, np.ceil(x.max()) + 1))
    crossed = np.zeros((bottom - top, right - left + 1), np.int64)
    some = max(1, _CROSSINGS // max(1, height))  # sides at once, so that no file takes all memory
    for begin in range(0, len(x), some):
        sides = np.arange(begin, min(begin + some, len(x)))
        counts = ends[sides] - tops[sides]
        side = np.repeat(sides, counts)
        row = np.arange(len(side)) - np.repeat(np.cumsum(counts) - counts - tops[sides], counts)
        to = (side + 1) % len(x)
        # The same operations as where it is asked pixel by pixel, for those that lie on a side.
        with np.errstate(over="ignore"):  # where it is as good as level
            at = (x[side] - x[to]) * (row - y[to]) / (y[side] - y[to]) + x[to]
        column = np.ceil(at).clip(left, right).astype(np.int64)
        np.add.at(crossed, (row - top, column - left), 1)
    found[top:bottom, left:right] = np.cumsum(crossed, axis=1)[:, :-1] % 2 == 1
    return found
