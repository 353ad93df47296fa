"""How well masks agree with the truth: J, F and their mean, as in DAVIS.

References
----------
Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation",
CVPR 2016 (J, F); Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation",
arXiv:1704.00675 (several objects).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.masks import bounding_box

__all__ = [
    "TOLERANCE",
    "JAndF",
    "Statistics",
    "boundary_f",
    "j_and_f",
    "jaccard",
    "mean_jaccard",
    "statistics",
]

TOLERANCE = 0.008
"""How far apart contours may lie in `boundary_f`: DAVIS's share of the image diagonal."""


class JAndF(NamedTuple):
    """Region similarity, contour accuracy and the mean of the two, each 0 to 1.

    Attributes
    ----------
    j : float
        Mean of `jaccard`.
    f : float
        Mean of `boundary_f`.
    mean : float
        DAVIS's "J&F".
    """

    j: float
    f: float
    mean: float


class Statistics(NamedTuple):
    """What DAVIS says of a measure over the frames of an object.

    Attributes
    ----------
    mean : float
    recall : float
        Share of frames above 0.5.
    decay : float
        Mean of the first quarter less that of the last; high where an object is lost over time.
    """

    mean: float
    recall: float
    decay: float


def statistics(values: Sequence[float] | npt.NDArray[Any]) -> Statistics:
    """Return mean, recall and decay of a measure over frames (Perazzi et al. 2016).

    Quarters share their border frames, as in the official ``db_statistics``.

    Raises
    ------
    UsageError
        Where there are no values.
    """
    if not len(values):
        raise UsageError("statistics need at least one frame")
    given = np.asarray(values, np.float64)
    borders = np.round(np.linspace(1, len(given), 5) + 1e-10).astype(int) - 1
    first, last = given[: borders[1] + 1], given[borders[3] :]
    recall = float((given > 0.5).mean())
    return Statistics(float(given.mean()), recall, float(first.mean() - last.mean()))


def jaccard(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the intersection over union of two masks (J); 1 where both are empty.

    Parameters
    ----------
    a, b : (H, W) bool arrays

    Raises
    ------
    UsageError
        Where their shapes differ.
    """
    a, b = _pair(a, b)
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def boundary_f(a: npt.NDArray[Any], b: npt.NDArray[Any], *, tolerance: float = TOLERANCE) -> float:
    """Return how well the contours of two masks agree (F); 1 where neither has one.

    The harmonic mean of precision and recall of contour pixels, where one is matched that has
    a pixel of the other contour within a disk (Perazzi et al. 2016; the same numbers as the
    official ``davis2017-evaluation``).

    Parameters
    ----------
    a, b : (H, W) bool arrays
    tolerance : float
        Radius of the disk: below 1 a share of the image diagonal, rounded up to pixels;
        pixels otherwise.

    Raises
    ------
    UsageError
        Where shapes differ or `tolerance` is negative.
    """
    a, b = _pair(a, b)
    if tolerance < 0:
        raise UsageError(f"a tolerance is not negative: {tolerance}")
    radius = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*a.shape))
    box = bounding_box(a | b)
    if box is None:
        return 1.0
    # All of both contours lies here: a pixel belongs to one by those to the right and below.
    x0, y0, x1, y1 = box
    around = (slice(max(0, y0 - 1), y1 + 1), slice(max(0, x0 - 1), x1 + 1))
    edge_a, edge_b = _contour(a[around]), _contour(b[around])
    if not edge_a.any() or not edge_b.any():
        return float(edge_a.any() == edge_b.any())
    precision = _share_near(edge_a, edge_b, radius)
    recall = _share_near(edge_b, edge_a, radius)
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def mean_jaccard(
    truth: Iterable[npt.NDArray[Any]], found: Iterable[npt.NDArray[Any]], ids: Iterable[int]
) -> float:
    """Return J of some objects over a video: each one's mean over frames, then their mean.

    All frames count; DAVIS leaves out the first and the last, slice them off for its numbers.

    Parameters
    ----------
    truth, found : (T, H, W) integer arrays, or iterables of T label maps
        Object ids, 0 for the background. Of an iterable one frame is held at a time.
    ids : iterable of int
        Objects that count.

    Raises
    ------
    UsageError
        Where lengths or shapes differ, or there are no frames or ids.
    """
    return _means(truth, found, ids, (jaccard,))[0]


def j_and_f(
    truth: Iterable[npt.NDArray[Any]],
    found: Iterable[npt.NDArray[Any]],
    ids: Iterable[int],
    *,
    tolerance: float = TOLERANCE,
) -> JAndF:
    """Return J, F and their mean of some objects over a video.

    Parameters
    ----------
    truth, found, ids
        As in `mean_jaccard`.
    tolerance : float
        As in `boundary_f`.

    Raises
    ------
    UsageError
        As in `mean_jaccard` and `boundary_f`.
    """
    j, f = _means(truth, found, ids, (jaccard, partial(boundary_f, tolerance=tolerance)))
    return JAndF(j, f, (j + f) / 2)


def _means(
    truth: Iterable[npt.NDArray[Any]],
    found: Iterable[npt.NDArray[Any]],
    ids: Iterable[int],
    measures: Sequence[Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]],
) -> list[float]:
    ids = tuple(ids)  # an iterator would be at its end after the first frame
    totals = [0.0] * len(measures)
    count = 0
    for true, own in zip_longest(truth, found):
        if true is None or own is None:
            raise UsageError("truth and found differ in their number of frames")
        for object_id in ids:
            count += 1
            for index, agreement in enumerate(measures):
                totals[index] += agreement(own == object_id, true == object_id)
    if not count:
        raise UsageError("a mean needs at least one frame and one object id")
    # Every object is asked on every frame, so the mean of means is the mean of all.
    return [total / count for total in totals]


def _pair(
    a: npt.NDArray[Any], b: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 2 or a.shape != b.shape:
        raise UsageError(f"masks to compare are (H, W) and alike, not {a.shape} and {b.shape}")
    a, b = (mask if mask.dtype == np.bool_ else mask != 0 for mask in (a, b))
    return a, b


def _contour(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return pixels that differ from the next one to the right, below or both, as DAVIS does."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def _share_near(edge: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], radius: float) -> float:
    """Return the share of an edge within `radius` of another."""
    import cv2

    # The exact distance says which pixels the other edge, dilated by a disk, would cover, in
    # a time that does not grow with the disk.
    away = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(np.count_nonzero(away[edge] <= radius + 1e-3) / np.count_nonzero(edge))
