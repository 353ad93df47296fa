"""Clips with things to track, for measurements of what does not depend on accuracy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIZE = 256
OBJECTS = 3

Boxes = dict[int, tuple[int, int, int, int]]


def drawn(
    family: str, frames: int, size: int | tuple[int, int] = SIZE, seed: int = 1
) -> tuple[npt.NDArray[np.uint8], Boxes]:
    """Draw a clip and box the things that are largest on its first frame.

    Returns
    -------
    (T, H, W, 3) uint8 array
    dict of int to (x0, y0, x1, y1)
        Half-open, by objects from 1 on.
    """
    from sam2track.training.scenes import FAMILIES, draw_clip

    rng = np.random.default_rng([2024, seed])
    clip = draw_clip(FAMILIES[family], rng, size=size, times=range(frames))
    ids, areas = np.unique(clip.labels[0], return_counts=True)
    largest = [i for i in ids[np.argsort(-areas, kind="stable")] if i][:OBJECTS]
    return clip.frames, {n: _box(clip.labels[0] == i) for n, i in enumerate(largest, start=1)}


def _box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
