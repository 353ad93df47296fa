"""Speed and memory on a GPU, within so many seconds: ``python -m benchmarks.gpu --out FOLDER``.

Needs torch, numpy, OpenCV, PyAV and the pure wheels of ``sam2``, so that it runs on a bare GPU
machine. What matters most comes first, and the results are written after every row: a run that is
cut off has measured something.
"""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.speed import systems
from benchmarks.speed.case import SYSTEMS, Case, boxes, clip
from benchmarks.speed.clock import Clock
from benchmarks.told import check

HEIGHT, WIDTH = 1080, 1920
MANY = 16  # objects
NANO_SIZE, NANO_MANY = 256, 20
TO_COMPILE = 60.0  # seconds that have to be left

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long.

    Attributes
    ----------
    device : str
    models : sequence of str
        Names in the zoo.
    size : int
        Side of their square, in pixels.
    frames, warm_up : int
        Frames of the clip, and of them those that are not counted.
    row : float
        Seconds after which a row ends with the frames that it has.
    """

    device: str
    models: Sequence[str]
    size: int
    frames: int
    warm_up: int
    row: float

    def case(self, system: str, model: str, objects: int, precision: str = "bf16") -> Case:
        size = NANO_SIZE if model == "nano" else self.size
        return Case(
            system, model, size, objects, precision, self.device, self.frames, self.warm_up,
            parts=False,
        )  # fmt: skip

    @property
    def synchronise(self) -> Callable[[], None] | None:
        import torch

        return torch.cuda.synchronize if self.device.startswith("cuda") else None


def write_video(case: Case, path: Path) -> None:
    """Write a case's clip, stretched to 1080p, as H.264."""
    import av
    import cv2

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for square in clip(case):
            picture = cv2.resize(square, (WIDTH, HEIGHT))
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@contextlib.contextmanager
def _memory(device: str) -> Iterator[Row]:
    """Give a row with the peak of the device's memory, once through."""
    import torch

    row: Row = {}
    cuda = device.startswith("cuda")
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield row
    if cuda:
        row["gpu_bytes"] = torch.cuda.max_memory_allocated()


def _counted(clock: Clock, warm_up: int) -> Row:
    """Frames a second behind the warm-up; milliseconds of a frame and of its parts."""
    frames = clock.frames[warm_up:]
    if not frames:
        return {"frames": 0}
    seconds = np.array([frame["all"] for frame in frames])
    row: Row = {
        "frames": len(frames),
        "fps": len(frames) / float(seconds.sum()),
        "median_ms": 1000 * float(np.median(seconds)),
    }
    names = sorted({name for frame in frames for name in frame} - {"all"})
    if names:
        parts = {n: 1000 * float(np.mean([f.get(n, 0.0) for f in frames])) for n in names}
        row["parts_ms"] = parts | {"rest": 1000 * float(seconds.mean()) - sum(parts.values())}
    return row


def _boxes_in_video(plan: Plan, count: int) -> dict[int, tuple[float, float, float, float]]:
    every = boxes(plan.case("ours", plan.models[0], MANY), (HEIGHT, WIDTH))
    return {i: box for i, box in every.items() if i <= count}


def _watched(clock: Clock) -> contextlib.ExitStack:
    """Let the parts of a tracker over a file count."""
    from sam2track.frames.video import VideoFile
    from sam2track.tracking import conditioning, step
    from sam2track.tracking.encoder import Encoder
    from sam2track.tracking.ledger import Ledger

    stack = contextlib.ExitStack()
    stack.enter_context(systems.unrecorded())
    stack.enter_context(clock.iterated(VideoFile, "frames", "decode video"))
    stack.enter_context(clock.watched(Encoder, "_placed", "resize"))
    stack.enter_context(clock.watched(Encoder, "encode", "encoder"))
    stack.enter_context(clock.watched(Ledger, "put", "history"))
    for name, part in (
        ("attend", "memory attention"),
        ("decode", "mask decoder"),
        ("remember", "memory encoder"),
        ("filled", "holes"),
    ):
        stack.enter_context(clock.watched(conditioning if name == "attend" else step, name, part))
    return stack


def _over_file(
    plan: Plan, model: Any, video: Path, count: int, *, parts: bool
) -> tuple[Row, int, float]:
    import sam2track

    clock = Clock(plan.synchronise if parts else None, parts=parts)
    begun = time.perf_counter()
    with _memory(plan.device) as row, contextlib.ExitStack() as stack:
        if parts:
            stack.enter_context(_watched(clock))
        tracker = sam2track.Tracker(model, str(video))
        stack.callback(tracker.source.close)
        for object_id, box in _boxes_in_video(plan, count).items():
            tracker.prompt(object_id, 0, box=box)
        clock.start()
        last = time.perf_counter() + plan.row / (2 if parts else 1)
        pixels = 0
        results = tracker.propagate()
        for result in results:
            with clock.part("masks"):
                pixels += int(np.count_nonzero(result.masks))
            clock.frame()
            if time.perf_counter() > last and len(clock.frames) > plan.warm_up:
                break
        results.close()
    return row | _counted(clock, plan.warm_up), pixels, time.perf_counter() - begun


def over_file(plan: Plan, name: str, count: int, video: Path) -> Iterator[Row]:
    """Measure a tracker from the file to masks at its size; then, apart, where time goes."""
    model = systems.load(plan.case("ours", name, count, "auto"))
    row: Row = {"what": "sam2track from a 1080p file", "model": name, "objects": count}
    row |= {"precision": model.precision, "image_size": model.image_size}
    found, pixels, seconds = _over_file(plan, model, video, count, parts=False)
    shown = pixels / (HEIGHT * WIDTH * count * (found["frames"] + plan.warm_up))
    yield row | found | {"covered": shown, "seconds": seconds}
    found, _, seconds = _over_file(plan, model, video, count, parts=True)
    row["what"] += ", each part waited for"
    yield row | found | {"seconds": seconds}


def _in_memory(plan: Plan, case: Case) -> tuple[Row, list[npt.NDArray[np.bool_]]]:
    clock = Clock(plan.synchronise, parts=False)
    begun = time.perf_counter()
    row: Row = {"what": f"{SYSTEMS[case.system]} from memory", "model": case.model}
    row |= {"objects": case.objects, "precision": case.precision, "image_size": case.image_size}
    masks = []
    with _memory(plan.device) as memory:
        run = systems.RUNS[case.system](case, clip(case), clock)
        last = None
        for found in run:
            masks.append(found)
            last = time.perf_counter() + plan.row if last is None else last
            if time.perf_counter() > last and len(masks) > plan.warm_up:
                break
        run.close()  # type: ignore[attr-defined]
    row |= memory | _counted(clock, plan.warm_up) | {"seconds": time.perf_counter() - begun}
    return row, masks


def beside_official(plan: Plan, name: str) -> Iterator[Row]:
    """Measure both on the same frames, which are in memory, and compare the masks."""
    case = replace(plan.case("ours", name, 1), frames=min(plan.frames, plan.warm_up + 40))
    ours, one = _in_memory(plan, case)
    yield ours
    official, other = _in_memory(plan, replace(case, system="official"))
    pairs = list(zip(one, other, strict=False))
    unions = [np.count_nonzero(a | b) for a, b in pairs]
    shared = [np.count_nonzero(a & b) for a, b in pairs]
    ious = [s / u if u else 1.0 for s, u in zip(shared, unions, strict=True)]
    yield official | {
        "iou_with_ours": float(np.mean(ious)),
        "least_iou_with_ours": float(np.min(ious)),
        "covered": float(np.mean([mask.mean() for mask in other])),
    }


def nano(plan: Plan, count: int) -> Iterator[Row]:
    """Measure the embedded model."""
    yield _in_memory(plan, plan.case("ours", "nano", count, "auto"))[0]


def without_cudnn(plan: Plan, name: str) -> Iterator[Row]:
    """Measure with torch's other kernels for attention: which one it takes is its own choice."""
    import torch

    kept = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        row, _ = _in_memory(plan, plan.case("ours", name, 1))
    finally:
        torch.backends.cuda.enable_cudnn_sdp(kept)
    yield row | {"what": row["what"] + ", cuDNN's attention off"}


def ways(plan: Plan, count: int) -> Iterator[Row]:
    """Measure each way in which the full memories of objects are looked at, of tiny and large."""
    import torch

    from sam2track.tracking.kernels import WAYS, timed, trials

    places, channels, width = (plan.size // 16) ** 2, 256, 64
    made = ((count, n, c) for n, c in ((places, channels), (7 * places + 64, channels)))
    queries, keys = (torch.randn(s, device=plan.device, dtype=torch.bfloat16) / 4 for s in made)
    values = torch.randn(*keys.shape[:2], width, device=plan.device, dtype=torch.bfloat16)
    took = trials(queries, keys, values, WAYS, timed)
    row: Row = {"what": "one layer's look at memories", "model": "", "objects": count}
    yield row | {"ways_ms": {way.name: 1000 * seconds for way, seconds in took.items()}}


def compiled(plan: Plan, name: str, left: Callable[[], float]) -> Iterator[Row]:
    """Measure ``vos_optimized``, in a process of its own that can be ended."""
    case = replace(
        plan.case("official-compiled", name, 1), frames=min(plan.frames, plan.warm_up + 40)
    )
    row: Row = {"what": SYSTEMS[case.system], "model": name, "objects": 1, "precision": "bf16"}
    if left() < TO_COMPILE:
        yield row | {"left_out": f"{left():.0f} s were left"}
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.speed.child", json.dumps(vars(case))]
        command.append(str(Path(folder) / "masks.npz"))
        done = subprocess.run(command, capture_output=True, text=True, timeout=left(), check=False)
    if done.returncode:
        yield row | {"error": done.stderr.strip()[-600:]}
        return
    found = json.loads(done.stdout.splitlines()[-1])
    clock = Clock(parts=False)
    clock.frames = found["frames"]
    row |= _counted(clock, plan.warm_up)
    yield row | {"gpu_bytes": found["gpu"], "seconds": found["seconds"]}


def _machine(device: str) -> Row:
    import os
    import platform

    import torch

    found: Row = {"torch": torch.__version__, "python": platform.python_version()}
    found |= {"cpus": os.cpu_count(), "torch_threads": torch.get_num_threads(), "device": device}
    if device.startswith("cuda"):
        about = torch.cuda.get_device_properties(torch.device(device))
        found |= {"gpu": about.name, "gpu_total_bytes": about.total_memory}
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return found


def _report(machine: Row, rows: Sequence[Row]) -> str:
    lines = [
        f"{machine.get('gpu', machine['device'])}, {machine['cpus']} processor cores, torch "
        f"{machine['torch']}. Random weights but nano's; holes are not filled, as the official "
        "code does that by a part that is built for CUDA only.",
        "",
        "| what | model | objects | precision | frames/s | median ms | GPU peak, GB | IoU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "ways_ms" in row:
            continue
        iou = f"{row['iou_with_ours']:.4f}" if "iou_with_ours" in row else ""
        memory = f"{row['gpu_bytes'] / 1e9:.2f}" if "gpu_bytes" in row else ""
        speed = f"{row['fps']:.1f} | {row['median_ms']:.1f}" if "fps" in row else None
        why = row.get("error") or row.get("left_out") or "no frames"
        speed = speed or f"{' '.join(why.split())[-120:].replace('|', '/')} |"
        told = [row.get(key, "") for key in ("what", "model", "objects", "precision")]
        lines.append(f"| {' | '.join(map(str, told))} | {speed} | {memory} | {iou} |")
    for row in (row for row in rows if "ways_ms" in row):
        best = sorted(row["ways_ms"].items(), key=lambda way: way[1])
        told = ", ".join(f"{name} {took:.2f}" for name, took in best)
        lines += ["", f"{row['what']}, {row['objects']} objects, ms: {told}."]
    split = [row for row in rows if "parts_ms" in row]
    if split:
        names = list(dict.fromkeys(name for row in split for name in row["parts_ms"]))
        lines += ["", "Milliseconds of a frame, each part waited for:", ""]
        lines += [f"| model | objects | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
        for row in split:
            told = [f"{row['parts_ms'].get(name, 0.0):.1f}" for name in names]
            lines.append(f"| {row['model']} | {row['objects']} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def measure(plan: Plan, seconds: float, out: Path) -> list[Row]:
    """Run what there is time for; write ``gpu.json`` and ``gpu.md`` after every row."""
    end = time.monotonic() + seconds
    out.mkdir(parents=True, exist_ok=True)
    machine, rows = _machine(plan.device), []

    def left() -> float:
        return end - time.monotonic()

    def keep(row: Row) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)
        told = json.dumps({"machine": machine, "rows": rows}, indent=2)
        (out / "gpu.json").write_text(told + "\n", encoding="utf-8")
        (out / "gpu.md").write_text(_report(machine, rows), encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "discs.mp4"
        write_video(plan.case("ours", plan.models[0], MANY), video)
        work: list[tuple[float, Callable[[], Iterator[Row]]]] = []
        for name in plan.models:
            work.append((1, partial(over_file, plan, name, 1, video)))
            work.append((1, partial(beside_official, plan, name)))
            work.append((1, partial(over_file, plan, name, MANY, video)))
        work += [(1, partial(nano, plan, count)) for count in (1, NANO_MANY)]
        if plan.device.startswith("cuda"):
            work += [(0.2, partial(ways, plan, count)) for count in (1, 4)]
            work.append((1, partial(without_cudnn, plan, plan.models[0])))
            work.append((0, partial(compiled, plan, plan.models[0], left)))
        for needed, thing in work:
            asked = [str(arg) for arg in thing.args[1:] if isinstance(arg, (str, int))]  # type: ignore[attr-defined]
            what = f"{thing.func.__name__} {' '.join(asked)}"  # type: ignore[attr-defined]
            if left() < needed * 2 * plan.row:
                keep({"what": what, "left_out": f"{left():.0f} s were left"})
                continue
            try:
                for row in thing():
                    keep(row)
            except Exception as error:  # one row that fails does not take the others along
                said = f"{type(error).__name__}: {error}"[:600]
                keep({"what": what, "error": said})
    return rows


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent / "results")
@click.option(
    "--seconds", default=150.0, show_default=True, help="A row begins while two --row are left."
)
@click.option("--device", default="cuda", show_default=True)
@click.option("--models", default="sam2.1-tiny,sam2.1-large", show_default=True)
@click.option("--size", default=1024, show_default=True, help="Side of the models' square.")
@click.option("--frames", default=150, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--warm-up",
    default=20,
    show_default=True,
    type=click.IntRange(min=0),
    help="Frames that are not counted.",
)
@click.option("--row", default=8.0, show_default=True, help="Seconds of tracking of one row.")
def gpu(
    out: Path,
    seconds: float,
    device: str,
    models: str,
    size: int,
    frames: int,
    warm_up: int,
    row: float,
) -> None:
    """Measure speed and memory on a GPU, beside the official predictor."""
    if frames <= warm_up:
        raise click.BadParameter(f"{frames} frames leave none after a warm-up of {warm_up}")
    check(device, models.split(","), size)
    rows = measure(Plan(device, models.split(","), size, frames, warm_up, row), seconds, out)
    if not any("fps" in one for one in rows):
        raise click.ClickException(f"nothing was measured; {out / 'gpu.md'} says why")


if __name__ == "__main__":
    gpu()
