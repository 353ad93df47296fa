"""Many frames, objects and prompts, and large pictures: time, memory, size of the project."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.discs import Discs
from benchmarks.memory import RESULTS, machine

HEIGHT, WIDTH, OBJECTS, SIDE = 1080, 1920, 20, 256
MASKS_MS, TABLE_S = 20.0, 2.0  # bounds
COPIED = 20  # frames that are made; the others repeat them


def stored(frames: int) -> dict[str, Any]:
    """Read from a project of 1080p that was made without a model."""
    from sam2track import Project
    from sam2track.prompts import Prompt
    from sam2track.tracking.history import Record
    from sam2track.tracking.result import FrameResult
    from sam2track.writing import write_table

    discs = Discs(frames, OBJECTS, HEIGHT, WIDTH)
    ids = tuple(range(1, OBJECTS + 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "project.s2t"
        meta = {"height": HEIGHT, "width": WIDTH, "frames": frames, "source": "none"}
        with Project.create(path, meta=meta, times=np.arange(frames) / 25) as project:
            for i in ids:
                project.add_prompt(i, 0, Prompt(box=discs.box(i - 1, 0)))
            for frame in range(COPIED):
                logits = [discs.distance(i - 1, frame, SIDE) / 4 for i in ids]
                result = FrameResult(
                    frame=frame,
                    object_ids=ids,
                    logits=np.stack(logits),
                    object_scores=np.full(OBJECTS, 9, np.float32),
                    ious=np.full(OBJECTS, 0.9, np.float32),
                    height=HEIGHT,
                    width=WIDTH,
                    sources=("forward",) * OBJECTS,
                    given={i: discs.distance(i - 1, frame) > 0 for i in ids},
                )
                pointer = np.random.default_rng(frame).normal(size=128).astype(np.float32)
                project.put(
                    result,
                    [
                        Record(i, frame, logit, pointer, 9.0, 0.9, "forward")
                        for i, logit in zip(ids, logits, strict=True)
                    ],
                )
            _repeat(project, frames)
        size = path.stat().st_size
        with Project.open(path) as project:
            order = np.random.default_rng(1).integers(0, frames, 200)
            masks = [_ms(lambda t=int(t): project.masks(t)) for t in order]
            labels = [_ms(lambda t=int(t): project.labels(t)) for t in order[:50]]
            rows = _ms(lambda: sum(1 for _ in project.rows())) / 1e3
            csv = _ms(lambda: write_table(project, Path(folder))) / 1e3
    return {
        "frames": frames,
        "objects": OBJECTS,
        "rows": frames * OBJECTS,
        "bytes_per_result": size / frames / OBJECTS,
        "masks_ms": [float(np.median(masks)), float(np.quantile(masks, 0.95))],
        "labels_ms": [float(np.median(labels)), float(np.quantile(labels, 0.95))],
        "rows_s": rows,
        "csv_s": csv,
    }


def _repeat(project: Any, frames: int) -> None:
    """Copy the frames that were made until there are enough."""
    with project.transaction() as db:
        columns = "object, source, score, iou, mask, pointer, codes, side, exact, "
        columns += "area, x, y, x0, y0, x1, y1, since"
        for start in range(COPIED, frames, COPIED):
            db.execute(
                f"INSERT INTO all_results (frame, {columns}) SELECT frame + ?, {columns} "
                "FROM all_results WHERE frame < ? ORDER BY frame, object",
                (start, min(COPIED, frames - start)),
            )


def _ms(what: Callable[[], object]) -> float:
    began = time.process_time()
    what()
    return 1e3 * (time.process_time() - began)


def tracked(
    frames: int,
    count: int,
    size: int | None,
    prompts: int,
    lasts: int | None = None,
    kept: Path | None = None,
    minutes: float = 0,
) -> dict[str, Any]:
    """Track discs in 1080p with ``nano``; further prompts are spread over the objects.

    Discs that last for some frames only end where they go. A project that is kept is gone on with
    the next time, where the minutes were not enough.
    """
    from sam2track import load_model
    from sam2track.frames.opening import open_source

    model = load_model("nano", device="cpu", image_size=size)
    discs = Discs(frames, count, HEIGHT, WIDTH, lasts=lasts)
    with ExitStack() as stack:
        if kept is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = kept
            folder.mkdir(parents=True, exist_ok=True)
        record = folder / "record.json"
        told = json.loads(record.read_text()) if record.exists() else {}
        if not told:
            told = _prompted(discs, model, folder / "project.s2t", prompts)
        until = None if kept is None else time.monotonic() + 60 * minutes
        told = _run(discs, model, folder / "project.s2t", told, until)
        record.write_text(json.dumps(told))
        source, path = open_source(discs), folder / "project.s2t"
        opened = _ms(lambda: _reopened(model, source, path))
        size_now = path.stat().st_size
    asked, tenth = told["asked"], max(1, prompts // 10)
    return {
        "of": frames,
        "frames": told["done"],
        "objects": count,
        "results": told["results"],
        "prompts": prompts,
        "image_size": model.image_size,
        "seconds_per_frame": told["seconds"] / max(1, told["done"]),
        "prompt_ms": [float(np.median(asked[:tenth])), float(np.median(asked[-tenth:]))],
        "open_ms": opened,
        "bytes_per_result": size_now / max(1, told["results"]),
        "rss_mb": told["rss_mb"],
    }


def _prompted(discs: Discs, model: Any, path: Path, prompts: int) -> dict[str, Any]:
    """Begin a project, and say where the discs are."""
    from sam2track import Project, Tracker
    from sam2track.founding import project_meta
    from sam2track.frames.opening import open_source

    source, (frames, count) = open_source(discs), (discs.shape[0], discs.count)
    asked = []
    with Project.create(path, meta=project_meta(source, model), times=source.times) as project:
        tracker = Tracker(model, source, history=project)
        for n in range(prompts):
            k = n % count
            first, stop = discs.span(k)
            frame = first + n // count
            box = discs.box(k, frame)
            asked.append(
                _ms(lambda k=k, frame=frame, box=box: tracker.prompt(k + 1, frame, box=box))
            )
            if stop < frames:
                tracker.end_at(k + 1, stop)
    return {"asked": asked, "done": 0, "results": 0, "seconds": 0.0, "rss_mb": []}


def _run(
    discs: Discs, model: Any, path: Path, told: dict[str, Any], until: float | None
) -> dict[str, Any]:
    """Track what is left, or for some time; memory is looked at ten times."""
    from psutil import Process

    from sam2track import Project, Tracker
    from sam2track.frames.opening import open_source

    tenth = max(1, discs.shape[0] // 10)
    with Project.open(path, writable=True) as project:
        tracker = Tracker(model, open_source(discs), history=project)
        began = time.process_time()
        for result in tracker.propagate():
            told["done"] += 1
            told["results"] += len(result.object_ids)
            if told["done"] % tenth == 0:
                told["rss_mb"].append(Process().memory_info().rss / 2**20)
            if until is not None and time.monotonic() > until:
                break
        told["seconds"] += time.process_time() - began
    return told


def _reopened(model: Any, source: Any, path: Path) -> None:
    from sam2track import Project, Tracker

    with Project.open(path, writable=True) as project:
        Tracker(model, source, history=project)


def large(side: int) -> dict[str, Any]:
    """Track one object through a 16-bit stack of large pictures."""
    import tifffile

    import sam2track

    frames = 4
    discs = Discs(frames, 4, side, side, "u2")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.tif"
        with tifffile.TiffWriter(path, bigtiff=True) as file:
            for frame in range(frames):
                file.write(discs[frame], contiguous=True)
        box = [float(value) for value in discs.box(0, 0)]
        said = {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]}
        began = time.process_time()
        project = sam2track.track(
            path,
            said,
            output=Path(folder) / "out",
            model="nano",
            device="cpu",
            write=["masks", "table"],
            image_size=256,
            limits=(0, 65535),
        )
        seconds = time.process_time() - began
        last = project.masks(frames - 1)[1]
        project.close()
        true = discs.distance(0, frames - 1) > 0
    overlap = float((last & true).sum() / (last | true).sum())
    return {"side": side, "frames": frames, "seconds": seconds, "iou": overlap}


def _measured(what: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> dict[str, Any]:
    found = what(*arguments)
    return found | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def table(results: dict[str, Any]) -> str:
    """Render results as Markdown."""
    here, r = results["machine"], results
    s, lines = r["stored"], ["# Load", ""]
    lines += [
        f"A project of {s['frames']:,} frames of {WIDTH} x {HEIGHT} with {s['objects']} objects, "
        f"{s['rows']:,} results, made without a model ({COPIED} frames that repeat):",
        "",
        "| | median | 95 % | bound |",
        "|---|---:|---:|---:|",
        f"| `Project.masks` of a frame at random, ms | {s['masks_ms'][0]:.1f} "
        f"| {s['masks_ms'][1]:.1f} | {MASKS_MS:g} |",
        f"| `Project.labels` of a frame at random, ms | {s['labels_ms'][0]:.1f} "
        f"| {s['labels_ms'][1]:.1f} | |",
        f"| `Project.rows`, all, s | {s['rows_s']:.2f} | | {TABLE_S:g} |",
        f"| `tracks.csv`, s | {s['csv_s']:.2f} | | {TABLE_S:g} |",
        "",
        f"It takes {s['bytes_per_result']:,.0f} bytes for each object and frame; reading it, the "
        f"process had at most {s['peak_mb']:,.0f} MB.",
        "",
        f"Tracked with `nano` on the CPU, one thread, {WIDTH} x {HEIGHT}:",
        "",
        "| objects | prompts | frames | model's input | s a frame | a prompt, first and last "
        "tenth, ms | opening, ms | bytes for each object and frame | peak, MB |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in ("many frames", "many prompts", "many objects", "come and go"):
        t = r[name]
        lines.append(
            f"| {t['objects']}{', 20 frames each' * (name == 'come and go')} | {t['prompts']:,} "
            f"| {t['frames']:,} of {t['of']:,} | {t['image_size']} "
            f"| {t['seconds_per_frame']:.2f} | {t['prompt_ms'][0]:.0f}, {t['prompt_ms'][1]:.0f} "
            f"| {t['open_ms']:.0f} | {t['bytes_per_result']:,.0f} | {t['peak_mb']:,.0f} |"
        )
    rss = ", ".join(f"{value:,.0f}" for value in r["many frames"]["rss_mb"])
    lines += ["", f"Memory of the first of these after each tenth of its frames, MB: {rss}."]
    big = r["large"]
    lines += [
        "",
        f"A 16-bit stack of {big['frames']} pictures of {big['side']:,} x {big['side']:,}: "
        f"{big['seconds']:.0f} s with masks and table, at most {big['peak_mb']:,.0f} MB, IoU of "
        f"the last frame {big['iou']:.3f}.",
        "",
        f"- {here['cpu']}, {here['cores']} cores, {here['ram_gb']} GB RAM, {here['system']}, "
        f"Python {here['python']}, torch {here['torch']}, sam2 {here['sam2']}, "
        f"sam2track {here['sam2track']}.",
        "- Times are those of the processor, of one thread, so that other work on the machine "
        "counts little.",
        "",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--frames", type=click.IntRange(min=COPIED), default=10_000, show_default=True)
@click.option(
    "--tracked",
    "run",
    type=click.IntRange(min=2),
    default=10_000,
    show_default=True,
    help="Frames that are tracked with 20 objects.",
)
@click.option("--prompts", type=click.IntRange(min=20), default=2000, show_default=True)
@click.option("--objects", type=click.IntRange(min=1), default=500, show_default=True)
@click.option("--side", type=click.IntRange(min=64), default=8192, show_default=True)
@click.option("--minutes", type=float, default=600, show_default=True, help="For those frames.")
@click.option("--only", multiple=True, help="Some of the parts; the others stay as they are.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="results")
def load(
    frames: int,
    run: int,
    prompts: int,
    objects: int,
    side: int,
    minutes: float,
    only: tuple[str, ...],
    out: Path,
) -> None:
    """Measure many frames, objects and prompts, and large pictures.

    Frames that are tracked are kept in build/load; where the minutes were not enough the next time
    goes on with them.
    """
    kept = Path("build/load") / str(run)
    tasks: dict[str, tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]] = {
        "stored": (stored, (frames,)),
        "many prompts": (tracked, (-(-prompts // OBJECTS), OBJECTS, 128, prompts)),
        "many objects": (tracked, (4, objects, 256, objects)),
        "come and go": (tracked, (300, 150, 128, 150, 20)),
        "large": (large, (side,)),
        "many frames": (tracked, (run, OBJECTS, None, OBJECTS, None, kept, minutes)),
    }
    if odd := [name for name in only if name not in tasks]:
        raise click.UsageError(f"there is no part {odd[0]!r}; there are {', '.join(tasks)}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "load.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() and only else {}
    results["machine"] = machine()
    # A process for each, so that the peak of its memory is its own.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in only or tasks:
            results[name] = pool.submit(_measured, *tasks[name]).result()
            click.echo(f"{name}: {json.dumps(results[name])}", err=True)
            path.write_text(json.dumps(results) + "\n")
    if missing := [name for name in tasks if name not in results]:
        click.echo(f"not measured yet: {', '.join(missing)}")
        return
    (out / "load.md").write_text(table(results))
    click.echo(table(results))
    found = results["stored"]
    if found["masks_ms"][0] > MASKS_MS or max(found["rows_s"], found["csv_s"]) > TABLE_S:
        raise click.ClickException("reading is slower than its bounds")
