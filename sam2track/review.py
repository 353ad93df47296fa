"""Which frames are most worth looking at, worst first, and pictures of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sam2track.confidence import Confidence, confidences
from sam2track.errors import SourceError, UsageError
from sam2track.frames.source import FrameSource
from sam2track.masks import Box
from sam2track.render import overlay
from sam2track.table import Observation, Results

__all__ = ["COLUMNS", "Look", "cells", "contact_sheet", "crops", "worst", "worst_of"]

COLUMNS = ("rank", "frame", "time_s", "object", "name", "confidence", "reason")
"""The columns of the table of `worst`."""

Picture = npt.NDArray[np.uint8]

_AROUND = 1.6  # sides of a crop over those of the object
_LEAST = 48  # pixels of a crop's side


@dataclass(frozen=True)
class Look:
    """An object on a frame that is worth looking at.

    Attributes
    ----------
    frame : int
    time : float
        Seconds.
    object_id : int
    name : str
    confidence : float
        0 to 1.
    reason : str
        What lowers it most: one of `confidence.REASONS`.
    """

    frame: int
    time: float
    object_id: int
    name: str
    confidence: float
    reason: str


def worst(
    results: Results,
    *,
    count: int = 20,
    gap: int = 5,
    progress: Callable[[int], None] | None = None,
) -> list[Look]:
    """Return the objects and frames of which one can be least sure, worst first.

    Parameters
    ----------
    results : Project
    count : int
        How many, at most.
    gap : int
        Frames between two of the same object, so that one mistake does not fill the list.
    progress : callable, optional
        Called with each frame that was read.

    Raises
    ------
    UsageError
        Where `count` or `gap` is below 1.
    """
    return worst_of(results, confidences(results, progress=progress), count=count, gap=gap)


def worst_of(
    results: Results, sure: Mapping[int, Confidence], *, count: int = 20, gap: int = 5
) -> list[Look]:
    """As `worst`, of confidences that are known already."""
    if count < 1 or gap < 1:
        raise UsageError(f"count {count} and gap {gap}; both are at least 1")
    names = results.names
    picked: list[Look] = []
    # Each object gives its own worst in order; these orders are merged.
    ordered = [_in_order(object_id, known, gap, count) for object_id, known in sure.items()]
    for value, frame, object_id in heapq.merge(*ordered):
        reason = sure[object_id].at(frame)[1]
        name = str(names.get(object_id, ""))
        picked.append(Look(frame, results.time(frame), object_id, name, value, reason))
        if len(picked) == count:
            break
    return picked


def _in_order(
    object_id: int, known: Confidence, gap: int, count: int
) -> Iterator[tuple[float, int, int]]:
    """Yield the worst frames of an object that are `gap` apart, worst first."""
    taken: list[int] = []
    for index in np.argsort(known.values, kind="stable"):
        frame = int(known.frames[index])
        if all(abs(frame - other) >= gap for other in taken):
            taken.append(frame)
            yield float(known.values[index]), frame, object_id
            if len(taken) == count:
                return


def crops(
    results: Results, looks: Sequence[Look], source: FrameSource | None, *, side: int = 200
) -> list[Picture]:
    """Return a square picture of each look: the object's surroundings with outlines.

    The object's outline is in its colour, those of others are grey. Where its mask is empty the
    whole frame is shown; without pictures, masks on grey.

    Parameters
    ----------
    results : Project
    looks : sequence of Look
    source : FrameSource or None
    side : int
        Of each picture, in pixels.

    Returns
    -------
    list of (side, side, 3) uint8 RGB arrays
        In the order of `looks`.
    """
    by_frame: dict[int, list[int]] = {}
    for index, look in enumerate(looks):
        by_frame.setdefault(look.frame, []).append(index)
    made: dict[int, Picture] = {}
    for frame, found in results.observations(sorted(by_frame)):
        try:
            picture = None if source is None else source.read(frame)
        except SourceError:
            picture = None
        if picture is None:
            picture = np.full((results.height, results.width, 3), 90, np.uint8)
        for index in by_frame[frame]:
            made[index] = _crop(picture, found, looks[index].object_id, side)
    return [made[index] for index in range(len(looks))]


def contact_sheet(
    looks: Sequence[Look], pictures: Iterable[Picture], *, across: int = 5
) -> Picture:
    """Return the crops of `looks` in rows, each with rank, frame, object and confidence below.

    Returns
    -------
    (H, W, 3) uint8 RGB array
    """
    import cv2

    tiles = []
    for rank, (look, picture) in enumerate(zip(looks, pictures, strict=True), start=1):
        side = picture.shape[1]
        text = np.full((38, side, 3), 255, np.uint8)
        name = " ".join(look.name.split())  # OpenCV begins a line of its own at a break
        first = f"{rank}. frame {look.frame}, {look.object_id} {name}".rstrip()
        second = f"{look.confidence:.2f} {look.reason}"
        for line, at in ((first, 14), (second, 31)):
            cv2.putText(
                text, line, (4, at), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA
            )
        tiles.append(
            np.pad(np.vstack((picture, text)), ((4, 4), (4, 4), (0, 0)), constant_values=255)
        )
    across = min(across, len(tiles))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % across)
    return np.vstack([np.hstack(tiles[i : i + across]) for i in range(0, len(tiles), across)])


def cells(rank: int, look: Look) -> tuple[str, ...]:
    """Return a look as text, one cell for each of `COLUMNS`."""
    return (
        str(rank),
        str(look.frame),
        f"{look.time:.3f}",
        str(look.object_id),
        look.name,
        f"{look.confidence:.4f}",
        look.reason,
    )


def _crop(picture: Picture, found: Sequence[Observation], object_id: int, side: int) -> Picture:
    import cv2

    height, width = picture.shape[:2]
    labels = np.zeros((height, width), np.int32)
    box: Box = (0, 0, width, height)
    own = None
    for one in found:
        if one.row.object_id == object_id:
            own = one.mask
            box = one.row.box or box
        labels[one.part.place][one.part.part] = 7  # a grey of the palette
    shown = overlay(picture, labels, alpha=0.0, tags=False)
    if own is not None:
        labels = np.where(own, np.int32(object_id), 0)
        shown = overlay(shown, labels, alpha=0.25, tags=False)
    x0, y0, x1, y1 = box
    half = max(_LEAST, round(_AROUND * max(x1 - x0, y1 - y0))) // 2
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    part = shown[max(0, y - half) : y + half, max(0, x - half) : x + half]
    scale = side / max(part.shape[:2])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    tile = np.full((side, side, 3), 40, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(part, size, interpolation=how)
    return tile
