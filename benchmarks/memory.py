"""Memory over the length of a video: ``python -m benchmarks memory``.

One object, prompted by a box on frame 0, is tracked with ``nano`` on the CPU through a video
that is drawn frame by frame. Each system runs in a process of its own; its resident set size
is read every 100 frames after ``gc.collect()``, and a straight line is laid through the
readings. ``malloc_trim`` is not called: what the allocator holds back counts.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
import numpy.typing as npt

SIZE = 256
RADIUS = 34
BOUND = 1024  # bytes a frame, of ours
EVERY = 100
SYSTEMS = {
    "project": "sam2track, project file",
    "spill": "sam2track, temporary file",
    "official": "SAM2VideoPredictor",
}
RESULTS = Path(__file__).parent / "results"


class Disc:
    """A textured disc that wanders over a still ground; drawn when asked for, never kept.

    An array to ``Tracker``: it has ``shape`` and ``dtype``, and ``disc[t]`` is a frame.

    Parameters
    ----------
    frames : int
        How many there are.
    """

    def __init__(self, frames: int) -> None:
        import cv2

        self.shape = (frames, SIZE, SIZE, 3)
        self.dtype = np.dtype(np.uint8)
        rng = np.random.default_rng(1)

        def texture(side: int, colour: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
            noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            smooth = cv2.GaussianBlur(noise, (0, 0), 3).astype(np.float64)
            return np.clip(2 * (smooth - 127) + colour, 0, 255).astype(np.uint8)

        self._ground = texture(SIZE, (90, 90, 90))
        self._surface = texture(2 * RADIUS, (220, 120, 40))
        y, x = np.mgrid[: 2 * RADIUS, : 2 * RADIUS] + 0.5 - RADIUS
        self._inside = x**2 + y**2 < RADIUS**2

    def __len__(self) -> int:
        return self.shape[0]

    def corner(self, frame: int) -> tuple[int, int]:
        """Left and upper edge of the disc."""
        x = SIZE / 2 + 40 * np.sin(0.004 * frame)
        y = SIZE / 2 + 40 * np.sin(0.0053 * frame + 1)
        return round(x) - RADIUS, round(y) - RADIUS

    def box(self, frame: int) -> tuple[int, int, int, int]:
        """Box around the disc, half-open."""
        x, y = self.corner(frame)
        return x, y, x + 2 * RADIUS, y + 2 * RADIUS

    def __getitem__(self, frame: int) -> npt.NDArray[np.uint8]:
        x0, y0, x1, y1 = self.box(int(frame))
        picture = self._ground.copy()
        picture[y0:y1, x0:x1][self._inside] = self._surface[self._inside]
        return picture

    def iou(self, frame: int, mask: npt.NDArray[np.bool_]) -> float:
        """How well a mask covers the disc."""
        x0, y0, x1, y1 = self.box(frame)
        common = np.count_nonzero(mask[y0:y1, x0:x1] & self._inside)
        either = np.count_nonzero(mask) + np.count_nonzero(self._inside) - common
        return common / either


@dataclass
class Measured:
    """What one system held.

    Attributes
    ----------
    slope : float
        Bytes a frame by which the resident set grows while tracking.
    residual : float
        Root mean square distance of the readings from the line, in bytes.
    frames_held : float
        Bytes a frame by which opening the video lets the resident set grow.
    peak : int
        Largest resident set, in bytes.
    iou : float
        Mean overlap with the disc, over the frames at which memory was read.
    readings : list of (int, int)
        Frame and resident set size in bytes.
    """

    slope: float = 0.0
    residual: float = 0.0
    frames_held: float = 0.0
    peak: int = 0
    iou: float = 0.0
    readings: list[tuple[int, int]] = field(default_factory=list)


def measure(system: str, frames: int, first: int) -> Measured:
    """Run one system, in this process.

    Parameters
    ----------
    system : str
        One of ``SYSTEMS``.
    frames : int
        Length of the video.
    first : int
        The line is laid through the readings from this frame on.
    """
    import torch

    from sam2track import load_model

    torch.set_num_threads(1)
    model = load_model("nano", device="cpu")
    disc = Disc(frames)
    start = official if system == "official" else partial(ours, system=system)
    for _ in start(model, Disc(2)):
        pass  # imports and workspaces, which no length changes
    before = _resident()
    run = start(model, disc)
    next(run)  # the video is open
    measured = Measured(frames_held=(_resident() - before) / frames)
    overlaps = []
    for frame, mask in run:
        if frame % EVERY == 0 or frame == frames - 1:
            overlaps.append(disc.iou(frame, mask))
            measured.readings.append((frame, _resident()))
        if frame % 1000 == 0:
            told = f"{measured.readings[-1][1] / 1e6:.1f} MB, IoU {overlaps[-1]:.2f}"
            click.echo(f"{system}: frame {frame}, {told}", err=True)
    at, held = np.array([r for r in measured.readings if r[0] >= first], np.float64).T
    measured.slope, offset = np.polyfit(at, held, 1)
    measured.slope = float(measured.slope)
    measured.residual = float(np.sqrt(np.mean((held - measured.slope * at - offset) ** 2)))
    measured.iou = float(np.mean(overlaps))
    # Kilobytes, but bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    measured.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return measured


def _resident() -> int:
    import psutil

    gc.collect()
    return int(psutil.Process().memory_info().rss)


Run = Iterator[tuple[int, npt.NDArray[np.bool_]]]


def ours(model: Any, disc: Disc, system: str) -> Run:
    """Track with this package; yields (-1, no mask) once the video is open."""
    from sam2track import Project, Tracker
    from sam2track.frames.opening import open_source

    with tempfile.TemporaryDirectory() as folder:
        source = open_source(disc)
        project = None
        if system == "project":
            meta = {"height": SIZE, "width": SIZE, "frames": len(source)}
            path = Path(folder) / "project.s2t"
            project = Project.create(path, meta=meta, times=source.times)
        tracker = Tracker(model, source, history=project)
        yield -1, np.zeros((SIZE, SIZE), np.bool_)
        tracker.prompt(1, 0, box=disc.box(0))
        for result in tracker.propagate():
            yield result.frame, result.masks[0]
        tracker.history.close()


def official(model: Any, disc: Disc) -> Run:
    """Track with the official predictor; yields (-1, no mask) once the video is open."""
    import torch
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    module = model.module
    # The predictor adds settings to SAM2Base, no weights.
    module.__class__ = SAM2VideoPredictor
    module.non_overlap_masks = False
    module.clear_non_cond_mem_around_input = False
    module.add_all_frames_to_correct_as_cond = True
    module.fill_hole_area = 0  # which needs a part of sam2 that is built for CUDA only

    def load_video_frames(**_: Any) -> tuple[torch.Tensor, int, int]:
        # As sam2.utils.misc.load_video_frames_from_jpg_images.
        images = torch.zeros(len(disc), 3, SIZE, SIZE, dtype=torch.float32)
        for frame in range(len(disc)):
            images[frame] = torch.from_numpy(disc[frame]).permute(2, 0, 1) / 255.0
        images -= torch.tensor((0.485, 0.456, 0.406))[:, None, None]
        images /= torch.tensor((0.229, 0.224, 0.225))[:, None, None]
        return images, SIZE, SIZE

    with (
        mock.patch("sam2.sam2_video_predictor.load_video_frames", load_video_frames),
        mock.patch("sam2.sam2_video_predictor.tqdm", lambda order, **_: order),
    ):
        state = module.init_state("")
        yield -1, np.zeros((SIZE, SIZE), np.bool_)
        module.add_new_points_or_box(state, 0, 1, box=disc.box(0))
        for frame, _, logits in module.propagate_in_video(state):
            yield frame, (logits[0, 0] > 0).numpy()


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    import psutil

    import sam2track

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "ram_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "sam2": importlib.metadata.version("sam2"),
        "sam2track": sam2track.__version__,
    }


def table(results: dict[str, Any]) -> str:
    """Render results as Markdown."""
    frames, first, here = results["frames"], results["first"], results["machine"]
    lines = [
        "# Memory over the length of a video",
        "",
        f"`nano` on the CPU, one object prompted by a box on frame 0, {frames:,} frames of "
        f"{SIZE} x {SIZE} drawn one at a time. Growth is the slope of a line through the resident "
        f"set size, read every {EVERY} frames from frame {first:,} on after `gc.collect()`; "
        "`malloc_trim` is not called.",
        "",
        "| | growth, bytes per frame | distance from the line (RMS), KiB "
        "| frames held, bytes per frame | peak, MB | IoU with the disc |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for system, label in SYSTEMS.items():
        if system in results["systems"]:
            m = results["systems"][system]
            lines.append(
                f"| {label} | {m['slope']:,.0f} | {m['residual'] / 1024:,.0f} "
                f"| {m['frames_held']:,.0f} | {m['peak'] / 1e6:,.0f} | {m['iou']:.3f} |"
            )
    lines += [
        "",
        "- Frames held: what opening the video adds to the resident set. The official predictor "
        "keeps every frame as float32, 4 x 3 x S x S bytes, which at S = 1,024 is sixteen times "
        "as much.",
        f"- Bound: growth of sam2track under {BOUND:,} bytes a frame.",
        f"- {here['cpu']}, {here['cores']} cores, {here['ram_gb']} GB RAM, {here['system']}, "
        f"Python {here['python']}, torch {here['torch']}, sam2 {here['sam2']}, "
        f"sam2track {here['sam2track']}; one thread, each system in a process of its own.",
        "",
    ]
    return "\n".join(lines)


def _check_room(frames: int) -> None:
    import psutil

    needed = frames * 3 * SIZE * SIZE * 4 + 2e9
    free = psutil.virtual_memory().available
    if needed > free:
        raise click.ClickException(
            f"the official predictor holds all frames and needs {needed / 1e9:.1f} GB; "
            f"{free / 1e9:.1f} GB are free; give fewer --frames or other --systems"
        )


@click.command()
@click.option("--frames", type=click.IntRange(min=400), default=10_000, show_default=True)
@click.option(
    "--first",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Frame from which the line is laid.",
)
@click.option(
    "--systems", default=",".join(SYSTEMS), show_default=True, help="Some of these, by comma."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Systems run side by side.",
)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="results")
def memory(frames: int, first: int, systems: str, jobs: int, out: Path) -> None:
    """Measure how memory grows with the length of a video."""
    wanted = systems.split(",")
    for name in wanted:
        if name not in SYSTEMS:
            raise click.BadParameter(f"no system {name!r}; allowed are {', '.join(SYSTEMS)}")
    if first > frames - 2 * EVERY:
        raise click.BadParameter(f"--first {first} leaves too few of {frames} frames")
    if "official" in wanted:
        _check_room(frames)
    results: dict[str, Any] = {
        "machine": machine(),
        "frames": frames,
        "first": first,
        "systems": {},
    }
    out.mkdir(parents=True, exist_ok=True)
    context = get_context("spawn")
    run = partial(measure, frames=frames, first=first)
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        pending = {pool.submit(run, name): name for name in wanted}
        for done in as_completed(pending):
            results["systems"][pending[done]] = asdict(done.result())
            (out / "memory.json").write_text(json.dumps(results) + "\n")
            (out / "memory.md").write_text(table(results))
    click.echo(table(results))
    grown = [n for n, m in results["systems"].items() if n != "official" and m["slope"] >= BOUND]
    if grown:
        raise click.ClickException(f"above {BOUND} bytes a frame: {', '.join(grown)}")
