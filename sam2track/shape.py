"""The shape of a mask and the intensities under it, as scikit-image defines them.

The definitions are those of ``skimage.measure.regionprops``, whose values the tests compare. They
are computed here so that what is measured needs no other library than those that track.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.masks import bounding_box

__all__ = ["Intensity", "Shape", "intensity", "shape"]

# Weights of the codes of contour pixels, which say how many neighbours lie on the contour.
_WEIGHTS = np.zeros(50)
_WEIGHTS[[5, 7, 15, 17, 25, 27]] = 1
_WEIGHTS[[21, 33]] = math.sqrt(2)
_WEIGHTS[[13, 23]] = (1 + math.sqrt(2)) / 2
_CODES = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], np.float32)


class Shape(NamedTuple):
    """The shape of a mask that is not empty; lengths in pixels.

    Attributes
    ----------
    perimeter : float
        Length of the contour (Benkrid and Crookes, "Design and FPGA Implementation of a Perimeter
        Estimator"), that of holes too.
    eccentricity : float
        Of the ellipse with the same second moments, 0 (circle) to 1.
    orientation : float
        Angle between the y axis and the long axis of that ellipse, -pi/2 to pi/2 radians,
        counter-clockwise as the picture is seen.
    solidity : float
        Share of the convex hull's pixels that are the mask's.
    touches_border : bool
        Whether it has a pixel in the first or last row or column of the frame, so that part of
        the object may be out of sight.
    """

    perimeter: float
    eccentricity: float
    orientation: float
    solidity: float
    touches_border: bool


class Intensity(NamedTuple):
    """Values under a mask by channel, each (C,) float64."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    minimum: npt.NDArray[np.float64]
    maximum: npt.NDArray[np.float64]


def shape(mask: npt.NDArray[Any]) -> Shape | None:
    """Return the shape of a mask; None where it is empty.

    Parameters
    ----------
    mask : (H, W) bool array
        In one piece or several.

    Raises
    ------
    UsageError
        Where `mask` has not two axes.
    """
    box = bounding_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    inside = np.asarray(mask[y0:y1, x0:x1] != 0)
    eccentricity, orientation = _ellipse(inside)
    height, width = mask.shape
    return Shape(
        _perimeter(inside),
        eccentricity,
        orientation,
        float(np.count_nonzero(inside)) / _convex_area(inside),
        x0 == 0 or y0 == 0 or x1 == width or y1 == height,
    )


def intensity(mask: npt.NDArray[np.bool_], picture: npt.NDArray[Any]) -> Intensity | None:
    """Return mean, standard deviation, least and greatest value under a mask; None if it is empty.

    Parameters
    ----------
    mask : (H, W) bool array
    picture : (H, W) or (H, W, C) array

    Raises
    ------
    UsageError
        Where their sizes differ.
    """
    if picture.shape[:2] != mask.shape:
        raise UsageError(f"a picture of {picture.shape[:2]} for a mask of {mask.shape}")
    values = picture[mask].astype(np.float64)
    if not len(values):
        return None
    values = values.reshape(len(values), -1)
    # Values that are none, or infinite, are measured as what comes of them; numpy need not warn.
    with np.errstate(invalid="ignore", over="ignore"):
        return Intensity(
            values.mean(axis=0), values.std(axis=0), values.min(axis=0), values.max(axis=0)
        )


def _perimeter(inside: npt.NDArray[np.bool_]) -> float:
    import cv2

    padded = np.pad(inside, 1).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    contour = padded - cv2.erode(padded, cross)
    codes = cv2.filter2D(contour.astype(np.float32), -1, _CODES, borderType=cv2.BORDER_CONSTANT)
    return float(np.bincount(codes.astype(np.int64).ravel(), minlength=50) @ _WEIGHTS)


def _ellipse(inside: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Eccentricity and orientation, from sums that are exact."""
    y, x = (axis.astype(np.int64) for axis in np.nonzero(inside))
    count = len(x)
    sum_x, sum_y = int(x.sum()), int(y.sum())
    xx = count * int((x * x).sum()) - sum_x * sum_x
    yy = count * int((y * y).sum()) - sum_y * sum_y
    xy = count * int((x * y).sum()) - sum_x * sum_y
    spread, skew = math.hypot(xx - yy, 2 * xy), xx + yy
    large, small = (skew + spread) / 2, max(0.0, (skew - spread) / 2)
    eccentricity = math.sqrt(1 - small / large) if large > 0 else 0.0
    if xx == yy:
        return eccentricity, math.pi / 4 if xy > 0 else -math.pi / 4
    return eccentricity, 0.5 * math.atan2(2 * xy, yy - xx)


def _convex_area(inside: npt.NDArray[np.bool_]) -> int:
    """Pixels whose centres lie in the convex hull of the middles of the edges of all pixels."""
    import cv2

    height, width = inside.shape
    rows = np.arange(height)
    rows = rows[inside.any(axis=1)]
    left = inside[rows].argmax(axis=1)
    right = width - 1 - inside[rows, ::-1].argmax(axis=1)
    # In half pixels, so that all is whole; the ends of a row hold all of it between them.
    x, y = np.concatenate((left, right)) * 2, np.concatenate((rows, rows)) * 2
    points = np.concatenate(
        [np.stack((x + dx, y + dy), axis=1) for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    )
    hull = cv2.convexHull(points.astype(np.int32)).reshape(-1, 2).astype(np.int64)
    after = np.roll(hull, -1, axis=0)
    line = 2 * np.arange(height)
    low, high = np.full(height, np.inf), np.full(height, -np.inf)
    for (xa, ya), (xb, yb) in zip(hull, after, strict=True):
        if ya == yb:
            continue
        met = (line >= min(ya, yb)) & (line <= max(ya, yb))
        at = xa + (line[met] - ya) * (xb - xa) / (yb - ya)
        low[met] = np.minimum(low[met], at)
        high[met] = np.maximum(high[met], at)
    met = low <= high
    first = np.ceil(low[met] / 2 - 1e-9)
    last = np.floor(high[met] / 2 + 1e-9)
    return int((last - first + 1).clip(0).sum())
