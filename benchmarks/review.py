"""Whether the frames that ``review`` lists are those that are wrong: clips with made errors.

``nano`` follows the objects of a clip whose truth is known, from their true masks. On one frame its
memory is then poisoned, by telling it a mask that is wrong as tracking errors are (another object's,
one that lies beside, none, one that spills over), and it goes on by itself. Up to that frame the
masks are those of the honest run, behind it those of the poisoned one, with all that the model says
of them. A mask is wrong where its IoU with the truth is below 0.5.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

RESULTS = Path(__file__).parent / "results"
ERRORS = ("swap", "drift", "loss", "leak")
WRONG = 0.5


@dataclass
class Clip:
    name: str
    frames: np.ndarray
    labels: np.ndarray
    ids: list[int]


def samples() -> Iterator[Clip]:
    """Yield the sample clips with the objects that their prompts name."""
    from sam2track.export.pngs import read_label_png
    from sam2track.frames.opening import open_source
    from sam2track.samples import sample_folder, sample_names

    for name in sample_names():
        folder = sample_folder() / name
        said = json.loads((folder / "prompts.json").read_text())
        source = open_source(str(folder / "video.mp4"))
        frames = np.stack(list(source.frames(0, len(source))))
        labels = np.stack([read_label_png(path) for path in sorted((folder / "truth").glob("*"))])
        yield Clip(name, frames, labels, [entry["id"] for entry in said["objects"]])


def drawn(seeds: Sequence[int], length: int = 64) -> Iterator[Clip]:
    """Yield clips of the generator, to set the exponents on: others than the samples."""
    from benchmarks.nano import _visible
    from sam2track.training.scenes import HELD_OUT, draw_clip

    for name, family in HELD_OUT.items():
        for seed in seeds:
            rng = np.random.default_rng([77, seed])
            clip = draw_clip(family, rng, size=256, times=range(length))
            ids = _visible(clip.labels, 3, rng)
            if len(ids) > 1:
                yield Clip(f"{name} {seed}", clip.frames, clip.labels, ids)


def poison(kind: str, truth: np.ndarray, ids: Sequence[int], rng: Any) -> dict[int, np.ndarray]:
    """Return wrong masks of some objects on a frame whose truth is a label map."""
    import cv2

    there = [i for i in ids if (truth == i).any()]
    if not there:
        return {}
    one = int(rng.choice(there))
    mask = truth == one
    if kind == "swap":
        others = [i for i in there if i != one]
        if not others:
            return {}
        other = int(rng.choice(others))
        return {one: truth == other, other: mask}
    if kind == "loss":
        return {one: np.zeros_like(mask)}
    rows, columns = np.nonzero(mask)
    side = max(4.0, float(np.sqrt(mask.sum())))
    if kind == "drift":
        turn = rng.uniform(0, 2 * np.pi)
        dx, dy = round(0.8 * side * np.cos(turn)), round(0.8 * side * np.sin(turn))
        moved = np.zeros_like(mask)
        y, x = rows + dy, columns + dx
        fits = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
        moved[y[fits], x[fits]] = True
        return {one: moved} if moved.any() else {}
    # A leak: all within half a side to one half of the plane.
    radius = max(2, round(0.6 * side))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return {one: cv2.dilate(mask.astype(np.uint8), disk) > 0}


class Held:
    """What a project holds of a clip, as it was at some time."""

    def __init__(self, project: Any) -> None:
        self.meta, self.times, self.names = project.meta, project.times, project.names
        self.height, self.width = project.height, project.width
        self.found = list(project.observations())

    def observations(self) -> Iterator[Any]:
        yield from self.found

    def onward(self, frame: int, other: Held) -> None:
        """Take what another holds behind a frame."""
        self.found[frame + 1 :] = other.found[frame + 1 :]


def cases(clips: Iterator[Clip], times: int = 3) -> Iterator[Case]:
    """Yield the made errors of some clips."""
    from sam2track import Project, Tracker, load_model

    model = load_model("nano", device="cpu")
    for clip in clips:
        height, width = clip.labels.shape[1:]
        meta = {"height": height, "width": width, "frames": len(clip.labels), "source": clip.name}
        with (
            tempfile.TemporaryDirectory() as folder,
            Project.create(
                Path(folder) / "p.s2t", meta=meta, times=np.arange(len(clip.labels)) / 25
            ) as project,
        ):
            tracker = Tracker(model, clip.frames, history=project)
            for object_id in clip.ids:
                tracker.prompt(object_id, 0, mask=clip.labels[0] == object_id)
            for _ in tracker.propagate():
                pass
            for index, kind in enumerate(ERRORS):
                for turn in range(times):
                    rng = np.random.default_rng([turn, index])
                    frame = int(rng.integers(12, len(clip.labels) - 20))
                    wrong = poison(kind, clip.labels[frame], clip.ids, rng)
                    if not wrong:
                        continue
                    held = Held(project)
                    for object_id, mask in wrong.items():
                        said = {"mask": mask} if mask.any() else {"absent": True}
                        tracker.prompt(object_id, frame, **said)
                    for _ in tracker.propagate():
                        pass
                    held.onward(frame, Held(project))
                    for _ in range(len(wrong) + 1):
                        tracker.undo()
                    yield judged(clip, kind, held)


@dataclass
class Case:
    """A clip with one error: what is known of it, and which (object, frame) are wrong."""

    clip: str
    kind: str
    known: dict[int, Any]
    ious: dict[tuple[int, int], float]
    wrong: dict[tuple[int, int], bool]


def judged(clip: Clip, kind: str, held: Held) -> Case:
    from sam2track.confidence import signals
    from sam2track.metrics import jaccard

    found = [one for _, frame in held.observations() for one in frame if one.row.frame]
    keys = [(one.row.object_id, one.row.frame) for one in found]
    agreement = [jaccard(one.mask, clip.labels[t] == i) for one, (i, t) in zip(found, keys)]
    return Case(
        clip.name,
        kind,
        signals(held),
        {key: float(one.row.predicted_iou or 0) for key, one in zip(keys, found)},
        {key: value < WRONG for key, value in zip(keys, agreement)},
    )
