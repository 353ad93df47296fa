"""The whole command beside tracking alone: ``python -m benchmarks whole``.

One object of a clip of 1280 x 720 is tracked with ``nano`` on the CPU, with the project alone and
with outputs, each in a process of its own and by turns. Timed from the start of the process: until
the first frame is tracked, and until all is written. Unless a video is given, shapes wander over a
blurred ground, so that the clip takes as many bits as filmed ones do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.memory import RESULTS, machine
from benchmarks.told import in_one_line

HEIGHT, WIDTH = 720, 1280
BOX = (500, 260, 700, 460)  # of the drawn clip; of a video the same part of its frame
WRITTEN = {
    "project alone": (),
    "project and table": ("table",),
    "all outputs": ("masks", "mask-video", "overlay", "table"),
}
SHARE = 1.2  # of tracking alone, which all outputs may take
FIRST = 5.0  # seconds until the first result

CHILD = """
import json, sys, time
began = float(sys.argv[1])
from sam2track.job import run
video, out = sys.argv[2:4]
box, written = json.loads(sys.argv[4]), json.loads(sys.argv[5])
first = []
def look(now):
    if not first:
        first.append(time.time() - began)
said = {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]}
run(video, said, output=out, model="nano", device="cpu", write=written, progress=look)
print(json.dumps({"first": first[0], "all": time.time() - began}))
"""


def draw(path: Path, frames: int) -> None:
    """Write the clip."""
    import cv2

    from sam2track.export.videos import VideoWriter

    rng = np.random.default_rng(1)
    wide = cv2.resize(rng.integers(40, 200, (45, 120, 3), dtype=np.uint8), (2 * WIDTH, HEIGHT))
    things = [
        (rng.integers(100, 256, 3).tolist(), rng.uniform(0, 2 * np.pi), 40 + 15 * n)
        for n in range(5)
    ]
    with VideoWriter(path, height=HEIGHT, width=WIDTH, crf=23) as video:
        for t in range(frames):
            picture = np.ascontiguousarray(wide[:, 2 * t % WIDTH :][:, :WIDTH])
            for colour, phase, radius in things:
                x = int(WIDTH / 2 + 400 * np.sin(phase + t / 60))
                y = int(HEIGHT / 2 + 220 * np.cos(1.7 * phase + t / 45))
                cv2.circle(picture, (x, y), radius, colour, -1)
            cv2.circle(picture, (600 + t // 2, 360), 100, (220, 60, 40), -1)
            grain = rng.normal(0, 2, (HEIGHT, WIDTH, 1)).astype(np.float32)
            video.write(np.clip(picture + grain, 0, 255).astype(np.uint8))


def once(video: str, box: Sequence[float], written: tuple[str, ...]) -> dict[str, float]:
    """Run a job; return seconds until its first frame and its end."""
    with tempfile.TemporaryDirectory() as folder:
        told = [video, f"{folder}/out", json.dumps(box), json.dumps(written)]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, repr(time.time()), *told],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        raise click.ClickException(f"the job failed: {last}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _told(results: dict[str, Any]) -> str:
    rows, here = results["runs"], results["machine"]
    alone = rows["project alone"]["all"]
    lines = [
        "# The whole command",
        "",
        f"One object through {results['frames']} frames of {results['size']} "
        f"({results['video']}) with `nano`, medians of "
        f"{results['rounds']} rounds, from the start of the process. Load before: "
        f"{results['load']:.1f}.",
        "",
        "| written | first frame, s | all, s | beside the project alone |",
        "|---|---:|---:|---:|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['first']:.1f} | {row['all']:.1f} | {row['all'] / alone:.2f} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"Required: {SHARE} beside tracking alone, the first frame after {FIRST:g} s.",
            "",
            f"{here['cpu']}, {here['cores']} cores, {here['ram_gb']} GB RAM, {here['system']}, "
            f"Python {here['python']}, sam2track {here['sam2track']}.",
            "",
        ]
    )


@click.command()
@click.option("--video", type=click.Path(exists=True, dir_okay=False), help="A file, not drawn.")
@click.option("--frames", type=click.IntRange(2), show_default="300", help="Of the drawn clip.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=RESULTS,
    show_default="(results)",
)
def whole(video: str | None, frames: int | None, rounds: int, out: Path) -> None:
    """Measure the whole command with all outputs beside tracking alone."""
    if video is not None and frames is not None:
        raise click.UsageError("--frames is of the drawn clip; a --video has its own")
    from sam2track.frames.opening import open_source

    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "clip.mp4"
        if video is None:
            draw(drawn, frames or 300)
        with in_one_line(), closing(open_source(video or str(drawn))) as source:
            count, high, wide = len(source), source.height, source.width
        scale = (wide / WIDTH, high / HEIGHT) * 2
        box = [round(side * by, 1) for side, by in zip(BOX, scale, strict=True)]
        load = os.getloadavg()[0]
        found: dict[str, list[dict[str, float]]] = {name: [] for name in WRITTEN}
        for _ in range(rounds):
            for name, written in WRITTEN.items():
                found[name].append(once(video or str(drawn), box, written))
                click.echo(f"{name}: {found[name][-1]}", err=True)
    results = {
        "machine": machine(),
        "frames": count,
        "size": f"{wide} x {high}",
        "rounds": rounds,
        "load": load,
        "video": "drawn" if video is None else Path(video).name,
        "runs": {
            name: {key: statistics.median(run[key] for run in runs) for key in ("first", "all")}
            for name, runs in found.items()
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "whole.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "whole.md").write_text(_told(results))
    click.echo(_told(results))
