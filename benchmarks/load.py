"""Many frames, objects and prompts, and large pictures: time, memory, size of the project."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.memory import RESULTS, machine

HEIGHT, WIDTH, OBJECTS, SIDE = 1080, 1920, 20, 256
MASKS_MS, TABLE_S = 20.0, 2.0  # bounds
COPIED = 20  # frames that are made; the others repeat them


class Discs:
    """Discs that go around, drawn when asked for; an array to ``Tracker``.

    Parameters
    ----------
    frames, count : int
        How many there are of frames, and of discs.
    height, width : int
    dtype : {"u1", "u2"}
    lasts : int, optional
        Frames for which each is there; they come one after another, as evenly as it goes. All are
        always there if not given.
    """

    def __init__(
        self,
        frames: int,
        count: int,
        height: int,
        width: int,
        dtype: str = "u1",
        lasts: int | None = None,
    ) -> None:
        self.shape = (frames, height, width)
        self.dtype = np.dtype(dtype)
        self._lasts = lasts
        columns = int(np.ceil(np.sqrt(count * width / height)))
        rows = int(np.ceil(count / columns))
        self.cell = min(width // columns, height // rows)
        self.radius = 0.3 * self.cell
        self._home = [
            ((k % columns + 0.5) * self.cell, (k // columns + 0.5) * self.cell)
            for k in range(count)
        ]

    def span(self, number: int) -> tuple[int, int]:
        """The frames [first, stop) on which a disc is there."""
        frames = self.shape[0]
        if self._lasts is None:
            return 0, frames
        first = number * (frames - self._lasts) // max(1, len(self._home) - 1)
        return first, first + self._lasts

    def centre(self, number: int, frame: int) -> tuple[float, float]:
        x, y = self._home[number]
        angle = frame / 9 + number
        return x + 0.15 * self.cell * np.cos(angle), y + 0.15 * self.cell * np.sin(angle)

    def box(self, number: int, frame: int) -> tuple[float, float, float, float]:
        x, y = self.centre(number, frame)
        return x - self.radius, y - self.radius, x + self.radius, y + self.radius

    def distance(self, number: int, frame: int, side: int | None = None) -> npt.NDArray[np.float32]:
        """How far each pixel lies within a disc, in pixels of the frame."""
        height, width = self.shape[1:] if side is None else (side, side)
        yy = (np.arange(height, dtype=np.float32) + 0.5) * (self.shape[1] / height)
        xx = (np.arange(width, dtype=np.float32) + 0.5) * (self.shape[2] / width)
        x, y = self.centre(number, frame)
        return self.radius - np.hypot(xx[None] - np.float32(x), yy[:, None] - np.float32(y))

    def __getitem__(self, frame: int) -> npt.NDArray[Any]:
        import cv2

        scale = 256 if self.dtype == np.uint16 else 1
        picture = np.full(self.shape[1:], 60 * scale, self.dtype)
        for k in range(len(self._home)):
            first, stop = self.span(k)
            if not first <= frame < stop:
                continue
            x, y = self.centre(k, frame)
            level = (110 + 23 * k % 140) * scale
            cv2.circle(picture, (round(x), round(y)), round(self.radius), level, -1)
        return picture


def stored(frames: int) -> dict[str, Any]:
    """Read from a project of 1080p that was made without a model."""
    from sam2track import Project
    from sam2track.outputs import write_table
    from sam2track.prompts import Prompt
    from sam2track.tracking.history import Record
    from sam2track.tracking.result import FrameResult

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
    frames: int, count: int, size: int | None, prompts: int, lasts: int | None = None
) -> dict[str, Any]:
    """Track discs in 1080p with ``nano``; further prompts are spread over the objects.

    Discs that last for some frames only end where they go.
    """
    from psutil import Process

    from sam2track import Project, Tracker, load_model
    from sam2track.founding import project_meta
    from sam2track.frames.opening import open_source

    model = load_model("nano", device="cpu", image_size=size)
    discs = Discs(frames, count, HEIGHT, WIDTH, lasts=lasts)
    source = open_source(discs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "project.s2t"
        with Project.create(path, meta=project_meta(source, model), times=source.times) as project:
            tracker = Tracker(model, source, history=project)
            asked = []
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
            began, done, rss = time.process_time(), 0, []
            for _ in tracker.propagate():
                done += 1
                if done in (max(1, frames // 10), frames):
                    rss.append(Process().memory_info().rss / 2**20)
            seconds = time.process_time() - began
        opened = _ms(lambda: Tracker(model, source, history=Project.open(path, writable=True)))
        size_now = path.stat().st_size
        with Project.open(path) as project:
            results = sum(1 for _ in project.rows())
    tenth = max(1, prompts // 10)
    return {
        "frames": done,
        "objects": count,
        "results": results,
        "prompts": prompts,
        "image_size": model.image_size,
        "seconds_per_frame": seconds / max(1, done),
        "prompt_ms": [float(np.median(asked[:tenth])), float(np.median(asked[-tenth:]))],
        "open_ms": opened,
        "bytes_per_result": size_now / max(1, results),
        "rss_mb": rss,
    }


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
        f"| `tracks.csv`, s | {s['csv_s']:.2f} | | |",
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
    for name in ("many frames", "many prompts", "many objects"):
        t = r[name]
        lines.append(
            f"| {t['objects']} | {t['prompts']:,} | {t['frames']:,} | {t['image_size']} "
            f"| {t['seconds_per_frame']:.2f} | {t['prompt_ms'][0]:.0f}, {t['prompt_ms'][1]:.0f} "
            f"| {t['open_ms']:.0f} | {t['bytes_per_result']:,.0f} | {t['peak_mb']:,.0f} |"
        )
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
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="results")
def load(frames: int, run: int, prompts: int, objects: int, side: int, out: Path) -> None:
    """Measure many frames, objects and prompts, and large pictures."""
    tasks: dict[str, tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]] = {
        "stored": (stored, (frames,)),
        "many frames": (tracked, (run, OBJECTS, None, OBJECTS)),
        "many prompts": (tracked, (-(-prompts // OBJECTS), OBJECTS, 128, prompts)),
        "many objects": (tracked, (4, objects, 256, objects)),
        "large": (large, (side,)),
    }
    results: dict[str, Any] = {"machine": machine()}
    out.mkdir(parents=True, exist_ok=True)
    # A process for each, so that the peak of its memory is its own.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, (what, arguments) in tasks.items():
            results[name] = pool.submit(_measured, what, arguments).result()
            click.echo(f"{name}: {json.dumps(results[name])}", err=True)
    (out / "load.json").write_text(json.dumps(results) + "\n")
    (out / "load.md").write_text(table(results))
    click.echo(table(results))
    found = results["stored"]
    if found["masks_ms"][0] > MASKS_MS or found["rows_s"] > TABLE_S:
        raise click.ClickException("reading is slower than its bounds")
