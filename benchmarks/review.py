"""Whether the frames that ``review`` lists are those that are wrong: clips with made errors.

``nano`` follows the objects of a clip whose truth is known, from their true masks. On one frame
its memory is then poisoned by a mask that is wrong as tracking errors are (another object's, one
beside it, none, one that spills over), and it goes on by itself. Up to that frame the masks are
those of the honest run, behind it those of the poisoned one, with all that the model says of them.
A mask is wrong where its IoU with the truth is below 0.5.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
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


def drawn_clips(seeds: Sequence[int], length: int = 64) -> Iterator[Clip]:
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

    def observations(self, frames: Any = None) -> Iterator[Any]:
        yield from self.found

    def time(self, frame: int) -> float:
        return float(self.times[frame])

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
    held: Held
    known: dict[str, dict[int, Any]]
    wrong: dict[tuple[int, int], bool]


def judged(clip: Clip, kind: str, held: Held) -> Case:
    from sam2track.confidence import Confidence, confidences
    from sam2track.metrics import jaccard

    found = [one for _, frame in held.observations() for one in frame]
    wrong = {
        (one.row.object_id, one.row.frame): jaccard(
            one.mask, clip.labels[one.row.frame] == one.row.object_id
        )
        < WRONG
        for one in found
    }
    sure = confidences(held)
    alone = {}
    for object_id, known in sure.items():
        ious = [one.row.predicted_iou for one in found if one.row.object_id == object_id]
        alone[object_id] = Confidence(
            known.frames, np.array(ious, np.float32), np.zeros(len(ious), np.uint8)
        )
    return Case(clip.name, kind, held, {"confidence": sure, "predicted IoU": alone}, wrong)


def precision(case: Case, what: str, count: int = 10) -> float:
    """Return the share of what ``review -n 10`` lists that is wrong."""
    from sam2track.review import worst_of

    looks = worst_of(case.held, case.known[what], count=count)
    return float(np.mean([case.wrong[look.object_id, look.frame] for look in looks]))


def best_precision(case: Case, count: int = 10) -> float:
    """Return what a list that knows the truth would reach with the same gaps."""
    from sam2track.confidence import Confidence
    from sam2track.review import worst_of

    truth = {
        i: Confidence(
            known.frames,
            np.array([not case.wrong[i, int(t)] for t in known.frames], np.float32),
            known.reasons,
        )
        for i, known in case.known["confidence"].items()
    }
    looks = worst_of(case.held, truth, count=count)
    return float(np.mean([case.wrong[look.object_id, look.frame] for look in looks]))


def area_under_curve(case: Case, what: str) -> float:
    """Return how often a wrong mask is told from a right one: ROC AUC; NaN if one kind lacks."""
    from scipy.stats import rankdata

    values, bad = [], []
    for object_id, known in case.known[what].items():
        values += known.values.tolist()
        bad += [case.wrong[object_id, int(t)] for t in known.frames]
    wrong = np.array(bad)
    n, m = int(wrong.sum()), int((~wrong).sum())
    if not n or not m:
        return float("nan")
    ranks = rankdata(-np.array(values))
    return float((ranks[wrong].sum() - n * (n + 1) / 2) / (n * m))


def table(found: Sequence[Case]) -> list[dict[str, Any]]:
    """Return one row for each kind of error, and one for all."""
    rows = []
    for kind in (*ERRORS, "all"):
        mine = [case for case in found if kind in (case.kind, "all")]
        row: dict[str, Any] = {"error": kind, "clips": len(mine)}
        row["wrong"] = float(np.mean([np.mean(list(case.wrong.values())) for case in mine]))
        for what in ("confidence", "predicted IoU"):
            row[f"auc, {what}"] = float(np.nanmean([area_under_curve(c, what) for c in mine]))
            row[f"precision at 10, {what}"] = float(np.mean([precision(c, what) for c in mine]))
        row["precision at 10, best"] = float(np.mean([best_precision(c) for c in mine]))
        rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    return rows


@click.command()
@click.option("--times", default=3, show_default=True, help="Errors of each kind in each clip.")
@click.option("--drawn", default=0, help="Clips a family of those the exponents were set on.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def review(times: int, drawn: int, out: Path) -> None:
    """Say how well confidence finds errors that were made on purpose."""
    clips = drawn_clips(range(drawn)) if drawn else samples()
    rows = table(list(cases(clips, times)))
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += [
        "| "
        + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
        + " |"
        for row in rows
    ]
    print("\n".join(lines))
    if drawn:
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "review.json").write_text(json.dumps(rows, indent=2) + "\n")
    (out / "review.md").write_text("\n".join(lines) + "\n")
