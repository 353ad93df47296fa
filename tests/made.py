"""Projects that are made without a model: their masks are those that a test says."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam2track.frames.opening import open_source
from sam2track.project import Project
from sam2track.prompts import Prompt
from sam2track.tracking.history import Record
from sam2track.tracking.result import FrameResult

HEIGHT, WIDTH, SIDE = 60, 80, 16

Tracks = Mapping[int, Mapping[int, np.ndarray]]


def disk(x: float, y: float, radius: float, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return (xx - x) ** 2 + (yy - y) ** 2 <= radius**2


def write_folder(folder: Path, count: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """Write noisy pictures, without loss."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    for t in range(count):
        picture = random.integers(0, 255, (*shape, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"{t:04d}.png")
    return folder


def write_project(
    path: Path,
    tracks: Tracks,
    *,
    source: Path | None = None,
    channel: str | None = None,
    count: int = 0,
    names: Mapping[int, str] | None = None,
    said: Mapping[tuple[int, int], tuple[float, float]] | None = None,
    origins: Mapping[tuple[int, int], str] | None = None,
    logits: float = 8.0,
    **meta: Any,
) -> Path:
    """Write a project: by object and frame its mask, (score, iou), and what it comes from."""
    shapes = {mask.shape for track in tracks.values() for mask in track.values()}
    (height, width) = shapes.pop() if shapes else (HEIGHT, WIDTH)
    times = np.arange(count or 1 + max((max(t) for t in tracks.values() if t), default=0)) / 25
    about: dict[str, Any] = {"source": "gone.mp4", "model": "none", "precision": "fp32"}
    if source is not None:
        opened = open_source(source, channel=channel)
        times = opened.times
        about |= getattr(opened, "about", {})
        about["reading"] = {k: v for k, v in opened.options.items() if v is not None}
        about |= {"source": opened.name, "fingerprint": opened.fingerprint()}
        opened.close()
    about |= {"height": height, "width": width, "frames": len(times), **meta}
    with Project.create(path, meta=about, times=times) as project:
        for object_id, track in tracks.items():
            first = min(track, default=0)
            box = (0, 0, width, height)
            project.add_prompt(object_id, first, Prompt(box=box))
            # Also such as the package itself would refuse: a project may be a stranger's.
            (life,) = project.lives(object_id)
            project.keep_life(replace(life, name=(names or {}).get(object_id, "")))
        for frame in sorted({t for track in tracks.values() for t in track}):
            ids = tuple(sorted(i for i, track in tracks.items() if frame in track))
            scores = [(said or {}).get((i, frame), (9.0, 0.9)) for i in ids]
            sources = [(origins or {}).get((i, frame), "forward") for i in ids]
            grids = np.full((len(ids), SIDE, SIDE), -logits, np.float32)
            grids[:, 4:12, 4:12] = logits
            result = FrameResult(
                frame=frame,
                object_ids=ids,
                logits=grids,
                object_scores=np.array([s for s, _ in scores], np.float32),
                ious=np.array([q for _, q in scores], np.float32),
                height=height,
                width=width,
                sources=tuple(sources),
                given={i: tracks[i][frame] for i in ids},
            )
            records = [
                Record(i, frame, grid, np.zeros(8, np.float32), score, iou, origin)
                for i, grid, (score, iou), origin in zip(ids, grids, scores, sources, strict=True)
            ]
            project.put(result, records)
    return path


def half_written(path: Path, to: Path) -> None:
    """Copy a project as a kill leaves it in a transaction of a rollback journal."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA cache_size = 1")  # so that pages are written before the end
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE meta SET value = '\"" + "x" * 100_000 + "\"'")
        db.execute("DELETE FROM times")
        for name in (path.name, path.name + "-journal"):
            shutil.copy(path.with_name(name), to)
