"""Which label is which object, where a segmenter numbers them anew on each picture.

Drawn clips: the labels of every so many frames are what a segmenter found, in a random order, and
some are left out, as segmenters miss things. ``nano`` tracks between them, and
``Tracker.detect`` says which object each label is. Right is a label that is the object which the
same thing was last; what is counted beside it is how many objects come of how many things.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from benchmarks.memory import RESULTS

FAMILIES = ("nuclei", "cells", "yeast", "bacteria")
LENGTH = 48
MISSED = 0.05
SMALLEST = 20  # pixels


def linked(family: str, seed: int, every: int) -> tuple[int, int, int, int]:
    """Return how many labels are right, of how many, and how many objects came of how many."""
    from sam2track import Tracker
    from sam2track.detections import Detections
    from sam2track.training.scenes import HELD_OUT, TRAINING, draw_clip

    rng = np.random.default_rng([404, seed])
    clip = draw_clip({**TRAINING, **HELD_OUT}[family], rng, size=256, times=range(LENGTH))
    right = count = 0
    last: dict[int, int] = {}
    with Tracker("nano", clip.frames) as tracker:
        for frame in range(0, LENGTH, every):
            labels = clip.labels[frame]
            things = [int(i) for i in np.unique(labels) if i and (labels == i).sum() > SMALLEST]
            things = [i for i in rng.permutation(things).tolist() if rng.random() >= MISSED]
            if not things:
                continue
            if tracker.object_ids:
                for _ in tracker.propagate(0, frame + 1, unfinished=True):
                    pass
            found = [labels == thing for thing in things]
            result = tracker.detect(frame, Detections(masks=found))
            masks = {i: result.mask(i) for i in result.object_ids}
            for thing, mask in zip(things, found, strict=True):
                objects = [i for i, one in masks.items() if np.array_equal(one, mask)]
                if thing in last:
                    count += 1
                    right += objects == [last[thing]]
                if objects:
                    last[thing] = objects[0]
        return right, count, len(tracker.object_ids), len(last)


@click.command()
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="(results)")
def linking(seeds: int, out: Path) -> None:
    """Measure which label is which object, of labels that are numbered anew on each picture."""
    rows = []
    for every in (1, 4, 8):
        for family in FAMILIES:
            sums = np.sum([linked(family, seed, every) for seed in range(seeds)], axis=0).tolist()
            rows.append(dict(zip(("right", "labels", "objects", "things"), sums, strict=True)))
            rows[-1] |= {"every": every, "family": family}
            click.echo(str(rows[-1]))
    out.mkdir(parents=True, exist_ok=True)
    (out / "linking.json").write_text(json.dumps(rows, indent=1) + "\n")
    heads = ("every", "family", "right", "labels", "objects", "things")
    lines = [heads, ["---"] * len(heads), *([row[head] for head in heads] for row in rows)]
    text = "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
    (out / "linking.md").write_text(text)
