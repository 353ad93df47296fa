"""How sure is it: one number from 0 to 1 for each object and frame.

The number is a product of what SAM 2 says of a mask and of how much its past can be trusted::

    confidence = trust · p^a · q^b · s^c · (1 - o)^d

p    the sigmoid of the object score, or 1 minus it where the mask is empty
q    the predicted IoU, 1 where the mask is empty
s    the stability: the IoU of the masks at logits above 1 and above -1
o    the share of the mask that other objects cover, too
a…f  `EXPONENTS`

``trust`` is 1 on frames of which a person said something, and goes from frame to frame in the
direction of tracking::

    trust' = min(1, r / 0.8)^e · min(1, exp((0.1 - j) / 0.3))^f · (trust + 0.005 (1 - trust))

r   the area over the median of the five areas before, or the inverse, whichever is below 1; at
    least 0.05
j   how far the centroid lies from where it was on the last two frames, or from where going on as
    before would have taken it, whichever is nearest, over the square root of the median area; 0
    where it was on fewer than two frames

so a jump or a sudden change of area leaves a doubt that fades with the frames: what follows a
mistake is a mistake, too, however sure the model is of it. An edited mask is a person's: its p, q
and s are 1.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.table import Observation, Results, TrackRow

__all__ = [
    "EXPONENTS",
    "REASONS",
    "Columns",
    "Confidence",
    "Exponents",
    "Signals",
    "at_most",
    "confidences",
    "coverage",
    "gather",
    "gathered",
    "look",
    "signals",
    "weigh",
]

REASONS = ("object score", "predicted IoU", "stability", "overlap", "area", "jump")
"""What most of a doubt comes from."""

_RECENT = 5  # areas that a new one is compared with
_FORGET = 0.005  # of a doubt, from frame to frame
_LEAST = 1e-6

Columns = dict[int, tuple["array[int]", "array[float]"]]  # by object: frames, values of each


class Exponents(NamedTuple):
    """The weight of each part of the product: see the module."""

    score: float
    iou: float
    stability: float
    overlap: float
    area: float
    jump: float


# Set on clips of the generator with made errors, judged on others: benchmarks/review.py.
EXPONENTS = Exponents(score=1.0, iou=1.0, stability=0.5, overlap=0.2, area=0.5, jump=0.25)


@dataclass(frozen=True)
class Signals:
    """What is known of one object, an entry a frame on which it has a result.

    Attributes
    ----------
    frames : (n,) int64 array
        Ascending.
    own : (n, 4) float32 array
        The factors p, q, s and 1 - o.
    area : (n,) float32 array
        Pixels.
    centroid : (n, 2) float32 array
        (x, y); NaN where the mask is empty.
    backward, anchored : (n,) bool arrays
        Whether tracking came from later frames; whether a person said something of the frame.
    """

    frames: npt.NDArray[np.int64]
    own: npt.NDArray[np.float32]
    area: npt.NDArray[np.float32]
    centroid: npt.NDArray[np.float32]
    backward: npt.NDArray[np.bool_]
    anchored: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Confidence:
    """How sure one object's masks are.

    Attributes
    ----------
    frames : (n,) int64 array
        Ascending.
    values : (n,) float32 array
        0 to 1.
    reasons : (n,) uint8 array
        Which of `REASONS` lowers it most.
    """

    frames: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    reasons: npt.NDArray[np.uint8]

    def at(self, frame: int) -> tuple[float, str]:
        """Confidence on a frame that has a result, and what lowers it most."""
        index = int(np.searchsorted(self.frames, frame))
        return float(self.values[index]), REASONS[self.reasons[index]]


def confidences(
    results: Results, *, progress: Callable[[int], None] | None = None
) -> dict[int, Confidence]:
    """Return how sure the masks of each object are.

    Memory: some fifty bytes for each object and frame, one frame's masks at a time.

    Parameters
    ----------
    results : Project
    progress : callable, optional
        Called with each frame that was read.
    """
    return {i: weigh(found) for i, found in signals(results, progress=progress).items()}


def signals(
    results: Results, *, progress: Callable[[int], None] | None = None
) -> dict[int, Signals]:
    """Read a project once, and return what confidence is made of by object."""
    columns: Columns = {}
    for frame, found in results.observations():
        for one, covered in zip(found, coverage(found), strict=True):
            gather(columns, one.row, *look(one, covered))
        if progress is not None:
            progress(frame)
    return gathered(columns)


def at_most(score: float, iou: float, *, there: bool) -> float:
    """Return what the model says of a mask, there or empty: confidence is this at most."""
    sure, quality = _told(score, iou, there)
    return float(sure**EXPONENTS.score * quality**EXPONENTS.iou)


def weigh(found: Signals) -> Confidence:
    """Return the confidence that follows from signals."""
    own = -np.log(np.maximum(found.own, _LEAST)) * np.array(EXPONENTS[:4], np.float32)
    doubt = np.zeros((len(found.frames), 2), np.float32)
    trust = np.ones(len(found.frames), np.float32)
    for indices in _ways(found.backward):
        _follow(found, indices, trust, doubt)
    values = np.exp(-own.sum(axis=1)) * trust
    # What is left of an old jump is put down to what it was when it came.
    losses = np.concatenate((own, doubt), axis=1)
    return Confidence(
        found.frames, values.astype(np.float32), losses.argmax(axis=1).astype(np.uint8)
    )


def coverage(found: Sequence[Observation]) -> list[float]:
    """Return the share of each mask that others cover, too."""
    if len(found) < 2:
        return [0.0] * len(found)
    depth = np.zeros(found[0].part.size, np.uint16)
    for one in found:
        depth[one.part.place] += one.part.part
    shared = depth > 1
    if not shared.any():
        return [0.0] * len(found)
    common = (np.count_nonzero(shared[one.part.place] & one.part.part) for one in found)
    return [pixels / max(1, one.row.area) for pixels, one in zip(common, found, strict=True)]


def look(one: Observation, covered: float) -> tuple[float, float]:
    """Return s and 1 - o of a mask."""
    counts = one.row.area and one.row.source != "edited"
    return (one.stability if counts else 1.0), 1.0 - covered


def _told(score: float, iou: float, there: bool) -> tuple[float, float]:
    """Return p and q."""
    sure = 1 / (1 + math.exp(-min(max(score, -30.0), 30.0)))
    return (sure, min(max(iou, 0.0), 1.0)) if there else (1.0 - sure, 1.0)


def gather(columns: Columns, row: TrackRow, stable: float, alone: float) -> None:
    """Add a row, with s and 1 - o of its mask."""
    frames, values = columns.setdefault(row.object_id, (array("q"), array("f")))
    sure, quality = 1.0, 1.0
    if row.source != "edited":
        sure, quality = _told(row.object_score or 0.0, row.predicted_iou or 0.0, row.area > 0)
    frames.append(row.frame)
    values.extend((sure, quality, stable, alone, row.area))
    values.extend(row.centroid or (math.nan, math.nan))
    values.extend((row.source == "backward", row.source in ("prompted", "edited")))


def gathered(columns: Columns) -> dict[int, Signals]:
    """Return what was gathered, by object."""
    found = {}
    for object_id, (frames, values) in columns.items():
        table = np.frombuffer(values, np.float32).reshape(len(frames), -1)
        found[object_id] = Signals(
            frames=np.frombuffer(frames, np.int64),
            own=table[:, :4],
            area=table[:, 4],
            centroid=table[:, 5:7],
            backward=table[:, 7] > 0,
            anchored=table[:, 8] > 0,
        )
    return found


def _ways(backward: npt.NDArray[np.bool_]) -> Iterator[range]:
    """Yield the entries in the order in which tracking went, run by run.

    A run backward begins with the entry behind it, from which tracking came.
    """
    edges = np.flatnonzero(np.diff(backward.astype(np.int8))) + 1
    bounds = [0, *edges.tolist(), len(backward)]
    for start, stop in pairwise(bounds):
        if start < stop and backward[start]:
            yield range(min(stop, len(backward) - 1), start - 1, -1)
        elif start < stop:
            yield range(start, stop)


def _follow(
    found: Signals,
    indices: range,
    trust: npt.NDArray[np.float32],
    doubt: npt.NDArray[np.float32],
) -> None:
    """Carry trust along a run; doubt is what it lost, by area and by jump, as far as it is left."""
    # Floats and lists throughout: arrays of two numbers would take three times as long, and a
    # viewer asks after each change.
    areas: deque[float] = deque(maxlen=_RECENT)
    places: deque[tuple[float, float]] = deque(maxlen=2)
    by_area = by_jump = 0.0
    lost: list[tuple[float, float]] = []
    columns = (part[indices].tolist() for part in (found.area, found.centroid, found.anchored))
    for area, (x, y), anchored in zip(*columns, strict=True):
        if anchored:
            by_area = by_jump = 0.0
        elif areas:
            usual = median(areas)
            left = _left(by_area + by_jump)
            by_area = by_area * left - EXPONENTS.area * math.log(_steady(area, usual))
            by_jump *= left
            if area and len(places) == 2:
                jump = _jump((x, y), places) / math.sqrt(usual)
                by_jump += EXPONENTS.jump * max(0.0, jump - 0.1) / 0.3
        lost.append((by_area, by_jump))
        if area:
            areas.append(area)
            places.append((x, y))
    doubt[indices] = lost
    trust[indices] = [math.exp(-(area + jump)) for area, jump in lost]


def _left(lost: float) -> float:
    """Return the part of a loss that is left one frame later.

    What is left of it is -log(trust + forget · (1 - trust)).
    """
    if lost <= 0:
        return 1.0
    before = math.exp(-lost)
    return -math.log(before + _FORGET * (1 - before)) / lost


def _steady(area: float, usual: float) -> float:
    low, high = sorted((area, usual))
    return min(1.0, max(0.05, low / high) / 0.8)


def _jump(place: tuple[float, float], before: Sequence[tuple[float, float]]) -> float:
    (x0, y0), (x1, y1) = before
    return min(math.dist(place, at) for at in ((x0, y0), (x1, y1), (2 * x1 - x0, 2 * y1 - y0)))
