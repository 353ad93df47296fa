"""Objects as tracks, for napari's layer of that name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_sam2track.view import Sure
    from sam2track.table import TrackRow

__all__ = ["Tracks", "as_tracks"]

_HIGHEST = 2**20  # napari takes eight bytes for each number up to the highest: 16 GB at most


@dataclass(frozen=True)
class Tracks:
    """Objects as tracks: rows of (id, frame, y, x), mothers by daughter, features, confidence."""

    data: npt.NDArray[np.float64]
    graph: dict[int, list[int]]
    features: dict[str, npt.NDArray[np.float64]]
    sure: Sure


def as_tracks(rows: list[TrackRow], lineage: Mapping[int, int], sure: Sure) -> Tracks:
    """Turn rows of the table, mothers by daughter and confidence into tracks.

    Rows without a centroid are left out, and objects with numbers above 2**20.
    """
    rows = [row for row in rows if row.centroid and row.object_id <= _HIGHEST]
    rows.sort(key=lambda row: (row.object_id, row.frame))
    data = np.array(
        [(r.object_id, r.frame, r.centroid[1], r.centroid[0]) for r in rows if r.centroid],
        np.float64,
    ).reshape(-1, 4)
    speed = np.zeros(len(data))
    if len(data) > 1:
        steps = np.diff(data, axis=0)
        same = steps[:, 0] == 0
        moved = np.hypot(steps[:, 2], steps[:, 3]) / np.maximum(steps[:, 1], 1)
        speed[1:] = np.where(same, moved, 0)
    features = {
        "area": np.array([float(r.area) for r in rows]),
        "score": np.array([r.object_score or 0.0 for r in rows]),
        "confidence": np.array([sure[r.object_id][r.frame][0] for r in rows]),
        "speed": speed,
    }
    there = set(data[:, 0].astype(int).tolist())
    graph = {
        daughter: [mother]
        for daughter, mother in lineage.items()
        if daughter in there and mother in there
    }
    return Tracks(data, graph, features, sure)
