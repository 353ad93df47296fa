"""Objects as tracks, for napari's layer of that name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_sam2track.view import Sure
    from sam2track.table import TrackRow

__all__ = ["Place", "Tracks", "as_tracks", "place"]

Place = tuple[int, int, float, float, int, float]
"""Object, frame, y, x, area and object score: a plain tuple, which no collector looks through."""

_HIGHEST = 2**20  # napari takes eight bytes for each number up to the highest: 16 GB at most


@dataclass(frozen=True)
class Tracks:
    """Objects as tracks: rows of (id, frame, y, x), mothers by daughter, features, confidence."""

    data: npt.NDArray[np.float64]
    graph: dict[int, list[int]]
    features: dict[str, npt.NDArray[np.float64]]
    sure: Sure


def place(row: TrackRow) -> Place | None:
    """Take from a row of the table what tracks are made of; None where nothing is seen."""
    if row.centroid is None:
        return None
    x, y = row.centroid
    return row.object_id, row.frame, y, x, row.area, row.object_score or 0.0


def as_tracks(places: Sequence[Place], lineage: Mapping[int, int], sure: Sure) -> Tracks:
    """Turn places, mothers by daughter and confidence into tracks.

    Objects with numbers above 2**20 are left out.
    """
    table = np.array(places, np.float64).reshape(-1, 6)
    table = table[table[:, 0] <= _HIGHEST]
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    data = np.ascontiguousarray(table[:, :4])
    ids_and_frames = data[:, :2].astype(int).T.tolist()
    speed = np.zeros(len(data))
    if len(data) > 1:
        steps = np.diff(data, axis=0)
        same = steps[:, 0] == 0
        moved = np.hypot(steps[:, 2], steps[:, 3]) / np.maximum(steps[:, 1], 1)
        speed[1:] = np.where(same, moved, 0)
    features = {
        "area": table[:, 4].copy(),
        "score": table[:, 5].copy(),
        "confidence": np.array([sure[i][f][0] for i, f in zip(*ids_and_frames, strict=True)]),
        "speed": speed,
    }
    there = set(data[:, 0].astype(int).tolist())
    graph = {
        daughter: [mother]
        for daughter, mother in lineage.items()
        if daughter in there and mother in there
    }
    return Tracks(data, graph, features, sure)
