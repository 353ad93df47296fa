"""A project whose masks are known: overlaps, a gap, a division, names, ids above 255."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sam2track.project import Project
from sam2track.prompts import Prompt
from sam2track.tracking.history import Life, Record
from sam2track.tracking.result import FrameResult

FRAMES, HEIGHT, WIDTH = 9, 41, 59  # of no size that is even


def disk(y, x, radius):
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    return (yy - y) ** 2 + (xx - x) ** 2 <= radius**2


def masks(*, overlap=True, top=7):
    """Masks by frame and object: 2 has a hole, 3 a gap, 5 and `top` are daughters of 4."""
    found = []
    for t in range(FRAMES):
        here = {1: disk(10, 8 + 3 * t, 6), 2: disk(30, 50 - 2 * t, 7) & ~disk(30, 50 - 2 * t, 2)}
        here[3] = disk(33, 10, 5) if t not in (3, 4) else np.zeros((HEIGHT, WIDTH), bool)
        if t < 5:
            here[4] = disk(8, 48, 5)
        else:
            here[5], here[top] = disk(4, 44, 3), disk(12, 54, 3)
        if overlap and t == 2:
            here[2] |= disk(10, 12, 5)
        if t == 6:
            here[1] = disk(10, 20, 4) | disk(20, 5, 1)  # of two parts
        found.append({i: here[i] for i in sorted(here)})
    return found


def project(path: Path, frames=None, *, lineage=True, top=7, names=True) -> Path:
    """Write such masks to a project, as tracking would have."""
    frames = masks(top=top) if frames is None else frames
    height, width = next(iter(frames[0].values())).shape
    meta = {"height": height, "width": width, "frames": len(frames), "source": "clip.mp4"}
    meta["fingerprint"] = "none"
    times = np.arange(len(frames)) / 20
    with Project.create(path, meta=meta, times=times) as made:
        ids = sorted(set().union(*frames))
        with made.step("propagate", {}):
            for i in ids:
                made.keep_life(Life(i, {1: 'a "cell"', 2: "wörm"}.get(i, "") if names else ""))
            if lineage:
                for i in (5, top):
                    made.keep_life(replace(Life(i), birth=5, mother=4))
            made.say(1, 0, Prompt(mask=frames[0][1]))
            for t, here in enumerate(frames):
                put(made, t, here)
    return path


def put(made: Project, t: int, here, levels=None) -> None:
    """Store a frame; `levels` are logits by object, 3 if unsaid."""
    ids = tuple(here)
    side = 16
    logits = np.full((len(ids), side, side), 3, np.float32)
    for k, i in enumerate(ids):
        logits[k] = (levels or {}).get(i, 3)
    result = FrameResult(
        frame=t,
        object_ids=ids,
        logits=logits,
        object_scores=np.full(len(ids), 2, np.float32),
        ious=np.full(len(ids), 0.75, np.float32),
        height=made.height,
        width=made.width,
        sources=("forward",) * len(ids),
        given=here,
    )
    pointer = np.zeros(4, np.float32)
    made.put(
        result,
        [Record(i, t, logits[k], pointer, 2.0, 0.75, "forward") for k, i in enumerate(ids)],
    )


def apart(here):
    """Masks without overlaps: the logits are equal, so that the lower id has a pixel."""
    taken = np.zeros((HEIGHT, WIDTH), bool)
    found = {}
    for i, mask in sorted(here.items()):
        found[i] = mask & ~taken
        taken |= mask
    return found


def label_map(here):
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    for i, mask in apart(here).items():
        labels[mask] = i
    return labels
