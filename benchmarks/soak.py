"""A long stream through a pipe: memory, open files and threads of the process that tracks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.memory import machine

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, SIDE = 96, 128, 20
SAMPLES = 400
BOUND = 128  # bytes of growth for each frame; the index of an MP4 takes some of them
CURVES = (("rss_mb", "resident set, MB"), ("files", "open files"), ("threads", "threads"))


def drawn(frame: int) -> npt.NDArray[np.uint8]:
    """Two squares that go around over noise, as the planes of a Y4M frame."""
    noise = np.random.default_rng(frame).integers(90, 110, (HEIGHT, WIDTH), np.uint8)
    for number, level in ((0, 220), (1, 30)):
        angle = 2 * np.pi * (frame / 250 + number / 2)
        x = int(WIDTH / 2 + 36 * np.cos(angle)) - SIDE // 2
        y = int(HEIGHT / 2 + 26 * np.sin(angle)) - SIDE // 2
        noise[y : y + SIDE, x : x + SIDE] = level
    grey = np.full(HEIGHT * WIDTH // 2, 128, np.uint8)
    return np.concatenate([noise.ravel(), grey])


def measure(frames: int, image_size: int) -> dict[str, Any]:
    """Write frames into the pipe of a job, and look at it now and then."""
    import psutil

    boxes = ["--box=1:90,34,118,62", "--box=2:10,34,38,62"]
    every = max(1, frames // SAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [
            *(sys.executable, "-m", "sam2track", "track", "-", "-o", str(out), *boxes),
            *("--model", "nano", "--device", "cpu", "--image-size", str(image_size)),
            *("--write", "overlay,table", "--json"),
        ]
        quiet = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        began = time.monotonic()
        job = subprocess.Popen(
            command, cwd=ROOT, env=quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        watched = psutil.Process(job.pid)
        samples: list[dict[str, float]] = []
        with job.stdin as pipe:  # type: ignore[union-attr]
            pipe.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C420jpeg\n".encode())
            for frame in range(frames):
                _write(pipe, drawn(frame))
                if frame % every == 0 and frame:
                    samples.append(
                        {
                            "frame": frame,
                            "seconds": round(time.monotonic() - began, 1),
                            "rss_mb": round(watched.memory_info().rss / 1e6, 2),
                            "files": watched.num_fds(),
                            "threads": watched.num_threads(),
                        }
                    )
                    click.echo(json.dumps(samples[-1]), err=True)
        with job.stdout as said:  # type: ignore[union-attr]
            told = json.loads(said.read())
        job.wait()
        size = (out / "project.s2t").stat().st_size
        with (out / "tracks.csv").open(encoding="utf-8") as table:
            rows = sum(1 for _ in table) - 1
    if job.returncode or told["frames"] != frames:
        raise click.ClickException(f"the job ended with {job.returncode} after {told['frames']}")
    return {
        "machine": machine(),
        "frames": frames,
        "image_size": image_size,
        "seconds": round(time.monotonic() - began, 1),
        "project_bytes": size,
        "rows": rows,
        "samples": samples,
    }


def _write(pipe: IO[bytes], planes: npt.NDArray[np.uint8]) -> None:
    pipe.write(b"FRAME\n")
    pipe.write(planes.tobytes())


def growth(results: dict[str, Any]) -> float:
    """Bytes of memory for each frame: a line through all samples after the first tenth."""
    later = [s for s in results["samples"] if s["frame"] >= results["frames"] / 10]
    slope, _ = np.polyfit([s["frame"] for s in later], [s["rss_mb"] * 1e6 for s in later], 1)
    return float(slope)


def table(results: dict[str, Any]) -> str:
    """Render results as Markdown."""
    here, samples = results["machine"], results["samples"]
    later = [s for s in samples if s["frame"] >= results["frames"] / 10]
    lines = [
        "# A long stream through a pipe",
        "",
        f"`sam2track track -` with `nano` at {results['image_size']} pixels on the CPU, two "
        f"objects, {results['frames']:,} frames of {WIDTH} x {HEIGHT} written into its standard "
        "input as Y4M; the overlay and the table are written. Looked at from outside, "
        f"{len(samples)} times.",
        "",
        "![Memory, open files and threads over frames](soak.png)",
        "",
        "| | after a tenth | at the end | least | most |",
        "|---|---:|---:|---:|---:|",
    ]
    for key, label in CURVES:
        values = [s[key] for s in later]
        ends = f"{values[0]:,.0f} | {values[-1]:,.0f}"
        lines.append(f"| {label} | {ends} | {min(values):,.0f} | {max(values):,.0f} |")
    per_object = results["project_bytes"] / results["frames"] / 2
    lines += [
        "",
        f"- Growth: {growth(results):,.1f} bytes a frame, of a line through the samples after "
        f"the first tenth. Bound: {BOUND}.",
        f"- The project: {results['project_bytes'] / 1e6:,.0f} MB, {per_object:,.0f} bytes for "
        f"each object and frame. The table: {results['rows']:,} rows.",
        f"- {here['cpu']}, {here['cores']} cores, {here['ram_gb']} GB RAM, {here['system']}, "
        f"Python {here['python']}, torch {here['torch']}, sam2 {here['sam2']}, "
        f"sam2track {here['sam2track']}; one thread. It took {results['seconds'] / 60:,.0f} "
        "minutes on a machine that was not idle: this is no measurement of speed.",
        "",
    ]
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(7, 5.2), sharex=True, layout="constrained")
    frames = [s["frame"] for s in results["samples"]]
    for axis, (key, label) in zip(axes, CURVES, strict=True):
        axis.plot(frames, [s[key] for s in results["samples"]], linewidth=1)
        axis.set_ylim(0, 1.25 * max(s[key] for s in results["samples"]))
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("frames")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


@click.command()
@click.option("--frames", type=click.IntRange(min=20), default=100_000, show_default=True)
@click.option("--image-size", type=int, default=64, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="results")
def soak(frames: int, image_size: int, out: Path) -> None:
    """Track a long stream, and look whether memory, files and threads stay as they are."""
    results = measure(frames, image_size)
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps(results) + "\n")
    draw(results, out / "soak.png")
    (out / "soak.md").write_text(table(results))
    click.echo(table(results))
    if frames >= 10_000 and growth(results) > BOUND:
        raise click.ClickException(f"memory grows by {growth(results):,.0f} bytes a frame")
