"""What corrections and crashes cost: ``python -m benchmarks corrections``.

Four measurements with ``nano`` on the CPU, none of them of time: how close what is rebuilt from a
project comes to the unbroken run, how large a project is, how much of a video a correction runs
again, and whether ``--resume`` after ``kill -9`` ends where the unbroken run does.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
import numpy.typing as npt

from benchmarks import kills
from benchmarks.clips import OBJECTS, SIZE, Boxes, drawn
from benchmarks.memory import machine

CLOSE = 0.99  # mean IoU of what is rebuilt from twelve bits
LARGEST = 16 * 1024  # bytes an object and frame in a project
PARTS = ("rebuilding", "size", "cost", "kills")
RESULTS = Path(__file__).parent / "results"


# -- rebuilding -------------------------------------------------------------------------


def tracked(model: Any, frames: Any, boxes: Boxes, path: Path) -> None:
    """Track a clip forward from boxes on its first frame into a project."""
    from sam2track import Project, Tracker
    from sam2track.frames.opening import open_source

    source = open_source(frames)
    meta = {"height": source.height, "width": source.width, "frames": len(source)}
    with Project.create(path, meta=meta, times=source.times) as project:
        tracker = Tracker(model, source, history=project)
        for object_id, box in boxes.items():
            tracker.prompt(object_id, 0, box=box)
        for _ in tracker.propagate():
            pass


def rebuilding(model: Any, starts: int = 20, span: int = 30) -> list[dict[str, Any]]:
    """Run parts of a finished project again, each with a new tracker, and compare the masks.

    Parameters
    ----------
    model : Model
    starts : int
        How many frames are drawn from which to run.
    span : int
        How many frames are run from each.
    """
    rows = []
    for family in ("nuclei", "bacteria", "leaves"):
        frames, boxes = drawn(family, 120)
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "whole.s2t"
            tracked(model, frames, boxes, whole)
            # No nearer to the end: of the last frames the stored state has exact memories.
            begins = np.random.default_rng(5).choice(
                np.arange(1, len(frames) - span + 1), starts, replace=False
            )
            ious: list[float] = []
            empty = 0
            for begin in sorted(int(b) for b in begins):
                for iou in _rerun(model, frames, whole, begin, begin + span):
                    if iou is None:
                        empty += 1
                    else:
                        ious.append(iou)
        rows.append(
            {
                "clip": family,
                "starts": starts,
                "masks": len(ious),
                "both_empty": empty,
                "equal": ious.count(1.0),
                "mean": float(np.mean(ious)),
                "worst": min(ious),
            }
        )
    return rows


def _rerun(
    model: Any, frames: npt.NDArray[np.uint8], whole: Path, begin: int, stop: int
) -> Iterator[float | None]:
    """Yield the IoU of each mask that is run again; None where both are empty."""
    from sam2track import Project, Tracker
    from sam2track.metrics import jaccard

    copy = whole.with_name("copy.s2t")
    shutil.copyfile(whole, copy)
    with Project.open(whole) as before, Project.open(copy, writable=True) as project:
        for result in Tracker(model, frames, history=project).propagate(begin, stop):
            expected = before.masks(result.frame)
            for object_id, mask in zip(result.object_ids, result.masks, strict=True):
                old = expected[object_id]
                yield jaccard(mask, old) if mask.any() or old.any() else None
    copy.unlink()


# -- size -------------------------------------------------------------------------------


def size(model: Any) -> list[dict[str, Any]]:
    """Bytes an object and frame of the samples and of clips at 480p."""
    from sam2track import track
    from sam2track.samples import sample_folder, sample_names

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in sample_names():
            sample, out = sample_folder() / name, Path(scratch) / name
            prompts = str(sample / "prompts.json")
            track(str(sample / "video.mp4"), prompts, output=out, model=model, write=()).close()
            rows.append({"clip": f"sample {name}", **_sizes(out / "project.s2t")})
        for family in ("nuclei", "leaves"):
            frames, boxes = drawn(family, 64, size=(480, 854))
            path = Path(scratch) / f"{family}.s2t"
            tracked(model, frames, boxes, path)
            rows.append({"clip": f"{family}, 480p", **_sizes(path)})
    return rows


def _sizes(path: Path) -> dict[str, Any]:
    from sam2track import Project

    with Project.open(path) as project:
        info = project.info()
        return {
            "size": f"{project.width} x {project.height}",
            "results": info["results"],
            "objects": len(info["objects"]),
            **info["bytes_per_result"],
            "state_bytes": info["state_bytes"],
            "file_per_result": info["file_bytes"] / info["results"],
        }


# -- what a correction costs ------------------------------------------------------------


@contextmanager
def _attention(module: Any) -> Iterator[list[int]]:
    """Note of each call of memory attention how many objects it was for."""
    attention = module.memory_attention
    forward = attention.forward
    calls: list[int] = []

    def watched(*args: Any, **given: Any) -> Any:
        current = given["curr"]
        # A list of levels where the official code calls it; (h * w, B, C) each.
        calls.append((current[0] if isinstance(current, list) else current).shape[1])
        return forward(*args, **given)

    with mock.patch.object(attention, "forward", watched):
        yield calls


def _counted(
    what: str, encoded: Callable[[], int], calls: list[int], act: Callable[[], int]
) -> dict[str, Any]:
    """Do something that returns how many frames it went through, and count what it took."""
    before, seen = encoded(), len(calls)
    frames = act()
    return {
        "what": what,
        "frames": frames,
        "encoded": encoded() - before,
        "attention_calls": len(calls) - seen,
        "objects_attended": sum(calls[seen:]),
    }


def cost(model: Any, length: int = 300, at: int = 250) -> list[dict[str, Any]]:
    """Correct one of three objects late in a clip: ours in a session, anew, and official."""
    frames, boxes = drawn("nuclei", length)
    click_at = _inside(boxes[1])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "project.s2t"
        tracked(model, frames, boxes, path)
        for system, held in (("features held", True), ("project opened anew", False)):
            found = _ours(model, frames, path, at, click_at, held=held)
            rows += [{"system": f"sam2track, {system}", **row} for row in found]
    for start in (None, at):
        name = "from its start" if start is None else f"start_frame_idx={at}"
        found = official(model.module, frames, boxes, at, click_at, start)
        rows += [{"system": f"SAM2VideoPredictor, {name}", **row} for row in found]
    return rows


def _inside(box: tuple[int, int, int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _ours(
    model: Any,
    frames: npt.NDArray[np.uint8],
    path: Path,
    at: int,
    point: tuple[float, float],
    *,
    held: bool,
) -> list[dict[str, Any]]:
    from sam2track import Project, Tracker

    copy = path.with_name("copy.s2t")
    shutil.copyfile(path, copy)
    with (
        Project.open(copy, writable=True) as project,
        _attention(model.module) as calls,
    ):
        tracker = Tracker(model, frames, history=project)
        if held:  # a session that has just been through the video
            for _ in tracker.propagate(0, len(frames)):
                pass

        def encoded() -> int:
            return int(tracker._engine.encoder.encoded)

        def prompt() -> int:
            tracker.prompt(1, at, points=[point])
            return 1

        def propagate() -> int:
            return sum(1 for _ in tracker.propagate())

        rows = [
            _counted("prompt", encoded, calls, prompt),
            _counted("propagate", encoded, calls, propagate),
        ]
    copy.unlink()
    return rows


def official(
    module: Any,
    frames: npt.NDArray[np.uint8],
    boxes: Boxes,
    at: int,
    point: tuple[float, float],
    start: int | None,
) -> list[dict[str, Any]]:
    """Correct the first object with the official predictor, after a run through the clip."""
    import torch
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    # The predictor adds settings to SAM2Base, no weights.
    plain, module.__class__ = module.__class__, SAM2VideoPredictor
    module.non_overlap_masks = False
    module.clear_non_cond_mem_around_input = False
    module.add_all_frames_to_correct_as_cond = True
    # Holes are filled by a part of sam2 that is built for CUDA only; nothing here is compared.
    module.fill_hole_area = 0
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    images -= torch.tensor((0.485, 0.456, 0.406))[:, None, None]
    images /= torch.tensor((0.229, 0.224, 0.225))[:, None, None]
    encoder = mock.Mock(wraps=module.forward_image)

    def encoded() -> int:
        return int(encoder.call_count)

    def prompt() -> int:
        module.add_new_points_or_box(state, at, 1, points=[point], labels=[1])
        return 1

    def propagate() -> int:
        return sum(1 for _ in module.propagate_in_video(state, start))

    with (
        mock.patch("sam2.sam2_video_predictor.load_video_frames", lambda **_: (images, SIZE, SIZE)),
        mock.patch("sam2.sam2_video_predictor.tqdm", lambda order, **_: order),
        mock.patch.object(module, "forward_image", encoder),
        _attention(module) as calls,
    ):
        state = module.init_state("")
        for object_id, box in boxes.items():
            module.add_new_points_or_box(state, 0, object_id, box=box)
        for _ in module.propagate_in_video(state):
            pass
        rows = [
            _counted("prompt", encoded, calls, prompt),
            _counted("propagate", encoded, calls, propagate),
        ]
    module.__class__ = plain
    return rows


# -- tables -----------------------------------------------------------------------------


def table(results: Mapping[str, Any]) -> str:
    """Render results as Markdown."""
    here = results["machine"]
    lines = ["# Corrections and crashes", "", "`nano` on the CPU, one thread.", ""]
    for part, told in (
        ("rebuilding", _told_rebuilding),
        ("size", _told_size),
        ("cost", _told_cost),
        ("kills", kills.told),
    ):
        if part in results:
            lines += [*told(results[part]), ""]
    lines += [
        f"{here['cpu']}, {here['cores']} cores, {here['ram_gb']} GB RAM, {here['system']}, "
        f"Python {here['python']}, torch {here['torch']}, sam2 {here['sam2']}, "
        f"sam2track {here['sam2track']}.",
        "",
    ]
    return "\n".join(lines)


def _told_rebuilding(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "## Rebuilt from a project",
        "",
        f"A drawn clip of 120 frames of {SIZE} x {SIZE} with {OBJECTS} objects is tracked into a "
        f"project; from {rows[0]['starts']} random frames on, a new tracker on a copy of the "
        "project runs 30 frames again. IoU of its masks with those of the unbroken run. Pairs of "
        f"empty masks do not count. Bound: mean of at least {CLOSE}.",
        "",
        "| clip | masks | both empty | exactly equal | mean IoU | worst IoU |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['clip']} | {r['masks']:,} | {r['both_empty']:,} | {r['equal']:,} "
        f"| {r['mean']:.4f} | {r['worst']:.3f} |"
        for r in rows
    ]
    return lines


def _told_size(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "## Size of a project",
        "",
        "Bytes per object and frame. The file has in addition the states from which a resumed run "
        f"goes on, prompts, times and indices. Bound: {LARGEST:,} bytes of file.",
        "",
        "| clip | size | objects | results | mask | logits | pointer | file | states, KiB in all |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['clip']} | {r['size']} | {r['objects']} | {r['results']:,} | {r['mask']:,.0f} "
        f"| {r['logits']:,.0f} | {r['pointer']:,.0f} | {r['file_per_result']:,.0f} "
        f"| {r['state_bytes'] / 1024:,.0f} |"
        for r in rows
    ]
    return lines


def _told_cost(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "## A correction on frame 250 of 300",
        "",
        f"{OBJECTS} objects were tracked from frame 0 to the end; one is corrected by a click on "
        "frame 250, then all is propagated. All figures are counted in runs, the official "
        "predictor's too (same weights, all objects in one state, "
        "`add_all_frames_to_correct_as_cond=True`). Its `propagate_in_video` begins at the "
        "earliest prompted frame unless it is told another.",
        "",
        "| | call | frames gone through | frames encoded | calls of memory attention "
        "| objects in these |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['system']} | {r['what']} | {r['frames']} | {r['encoded']} "
        f"| {r['attention_calls']} | {r['objects_attended']} |"
        for r in rows
    ]
    lines += [
        "",
        "- Features held: a session that has been through the video, which at this size fits the "
        "default budget of features. Project opened anew: nothing is held at first.",
    ]
    return lines


def failures(results: Mapping[str, Any]) -> list[str]:
    """What is outside its bound."""
    found = [
        f"{r['clip']}: mean IoU {r['mean']:.4f} below {CLOSE}"
        for r in results.get("rebuilding", ())
        if r["mean"] < CLOSE
    ]
    found += [
        f"{r['clip']}: {r['file_per_result']:,.0f} bytes a result, above {LARGEST:,}"
        for r in results.get("size", ())
        if r["file_per_result"] > LARGEST
    ]
    runs = results["kills"]["runs"] if "kills" in results else []
    for number, run in enumerate(runs, start=1):
        if not run["resumed"]:
            found.append(f"kill {number}: not resumed")
        elif run["pictures_differ"] or run["masks_differ"]:
            found.append(f"kill {number}: other masks than the unbroken run's")
        elif run["computed"] > run["missing"] + kills.SLACK:
            found.append(f"kill {number}: {run['computed']} frames computed")
    return found


def _kept(path: Path) -> dict[str, Any]:
    """Results of parts that are not measured this time."""
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@click.command()
@click.option(
    "--parts",
    default=",".join(PARTS),
    show_default=True,
    help="Some of these, by comma; of the others the earlier results stay.",
)
@click.option(
    "--trials", type=click.IntRange(min=1), default=30, show_default=True, help="Jobs killed."
)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="results")
def corrections(parts: str, trials: int, out: Path) -> None:
    """Measure what corrections and crashes cost."""
    import torch

    from sam2track import load_model

    wanted = parts.split(",")
    for name in wanted:
        if name not in PARTS:
            raise click.BadParameter(f"no part {name!r}; allowed are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    model = load_model("nano", device="cpu")
    measures: dict[str, Callable[[], Any]] = {
        "rebuilding": lambda: rebuilding(model),
        "size": lambda: size(model),
        "cost": lambda: cost(model),
        "kills": lambda: kills.measure(trials),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / "corrections.json"
    results = _kept(path) | {"machine": machine()}
    for name in wanted:
        results[name] = measures[name]()
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(table(results), encoding="utf-8")
    click.echo(table(results))
    outside = failures(results)
    if outside:
        raise click.ClickException("; ".join(outside))
