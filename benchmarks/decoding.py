"""Reading videos: speed, memory, damage: ``python -m benchmarks decoding``.

Speed: every frame in order as RGB, each system in a process of its own, by turns; the median of
several rounds. Memory: resident set size while a long video is read. Damage: one byte flipped in
each of many copies of a small video.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.clips import drawn
from benchmarks.memory import RESULTS, machine

ENOUGH = 0.9  # of the speed of PyAV's own loop
THREADS = min(4, os.cpu_count() or 1)


def _ours(path: str) -> int:
    from sam2track.frames.video import VideoFile

    source = VideoFile(path)
    return sum(1 for _ in source.frames(0, len(source)))


def _pyav(path: str) -> int:
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "AUTO", THREADS
        return sum(1 for f in container.decode(stream) if f.to_ndarray(format="rgb24") is not None)


def _opencv(path: str) -> int:
    import cv2

    capture, count = cv2.VideoCapture(path), 0
    while True:
        read, picture = capture.read()
        if not read:
            return count
        cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        count += 1


def _torchcodec(path: str) -> int:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=THREADS, dimension_order="NHWC")
    return sum(1 for frame in decoder if frame.numpy() is not None)


SYSTEMS: dict[str, tuple[str, Callable[[str], int]]] = {
    "ours": ("sam2track", _ours),
    "pyav": ("PyAV's loop", _pyav),
    "opencv": ("OpenCV", _opencv),
    "torchcodec": ("torchcodec", _torchcodec),
}


def _timed(system: str, path: str) -> tuple[int, float] | str:
    """Frames and seconds, opening included; or why it does not run here."""
    run = SYSTEMS[system][1]
    try:
        run(path)  # what is imported and in the cache is the same for all
    except (ImportError, OSError, RuntimeError) as error:
        return type(error).__name__
    began = time.perf_counter()
    count = run(path)
    return count, time.perf_counter() - began


def speed(videos: Mapping[str, str], rounds: int) -> list[dict[str, Any]]:
    """Frames a second of each system on each video, the median of some rounds."""
    rows = []
    for name, path in videos.items():
        seen: dict[str, list[tuple[int, float]]] = {}
        failed: dict[str, str] = {}
        for _ in range(rounds):
            for system in SYSTEMS:
                if system in failed:
                    continue
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    found = pool.submit(_timed, system, path).result()
                if isinstance(found, str):
                    failed[system] = found
                else:
                    seen.setdefault(system, []).append(found)
        rates = {s: float(np.median([n / t for n, t in runs])) for s, runs in seen.items()}
        frames = {s: runs[0][0] for s, runs in seen.items()}
        rows.append({"video": name, "frames": frames, "rates": rates, "failed": failed})
        click.echo(f"{name}: {rates}", err=True)
    return rows


def _resident(path: str, every: int) -> list[tuple[int, int]]:
    import psutil

    from sam2track.frames.video import VideoFile

    source, process, rows = VideoFile(path), psutil.Process(), []
    for number, _ in enumerate(source.frames(0, len(source))):
        if number % every == 0 or number == len(source) - 1:
            gc.collect()
            rows.append((number, process.memory_info().rss))
    return rows


def memory(path: str, every: int = 500) -> dict[str, Any]:
    """Resident set size while all frames of a video are read, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        rows = pool.submit(_resident, path, every).result()
    frames, sizes = np.array(rows, float).T
    settled = frames >= frames[-1] / 10
    slope = float(np.polyfit(frames[settled], sizes[settled], 1)[0])
    return {"frames": int(frames[-1]) + 1, "slope": slope, "rows": rows}


def flips(path: Path, count: int) -> dict[str, Any]:
    """Flip one byte in each of many copies and read all frames of each."""
    from sam2track.errors import SourceError
    from sam2track.frames.video import VideoFile

    whole = VideoFile(path)
    expected = [f.tobytes() for f in whole.frames(0, len(whole))]
    data, chance = path.read_bytes(), np.random.default_rng(5)
    bad = path.with_stem("bad")
    done = {"whole": 0, "other frames": 0, "carried": 0, "refused": 0, "failed": 0}
    slowest = 0.0
    for position in chance.integers(len(data), size=count):
        flipped = bytearray(data)
        flipped[position] ^= int(chance.integers(1, 256))
        bad.write_bytes(flipped)
        began = time.perf_counter()
        try:
            source = VideoFile(bad)
            frames = [f.tobytes() for f in source.frames(0, len(source))]
            if source.carried:
                done["carried"] += 1
            else:
                done["whole" if frames == expected else "other frames"] += 1
        except SourceError:
            done["refused"] += 1
        except Exception as error:
            click.echo(f"byte {position}: {error!r}", err=True)
            done["failed"] += 1
        slowest = max(slowest, time.perf_counter() - began)
    bad.unlink()
    return {"count": count, "done": done, "slowest": slowest}


def _write(path: Path, family: str, frames: int, size: tuple[int, int]) -> Path:
    from sam2track.export.videos import VideoWriter

    pictures, _ = drawn(family, min(frames, 60), size)
    with VideoWriter(path, height=size[0], width=size[1]) as video:
        for number in range(frames):  # to and fro
            at = number % (2 * len(pictures) - 2)
            video.write(pictures[min(at, 2 * len(pictures) - 2 - at)])
    return path


def _copied(path: Path, target: Path) -> Path:
    """Put the packets of a video into another container."""
    import av

    if path == target:
        return path
    with av.open(str(path)) as given, av.open(str(target), "w") as made:
        old = given.streams.video[0]
        new = made.add_stream_from_template(old)
        for packet in given.demux(old):
            if packet.dts is not None:
                packet.stream = new
                made.mux(packet)
    return target


def _told(results: Mapping[str, Any]) -> str:
    lines = [
        "# Reading videos",
        "",
        "## Speed",
        "",
        f"Every frame in order as RGB, opening included, up to {THREADS} threads each; each system "
        f"in a process of its own, by turns, the median of {results['rounds']} rounds; frames a "
        f"second. Bound: {ENOUGH} of PyAV's own loop.",
        "",
        "| video | frames | " + " | ".join(label for label, _ in SYSTEMS.values()) + " | of PyAV |",
        "|---|---:|" + "---:|" * (len(SYSTEMS) + 1),
    ]
    for row in results["speed"]:
        rates = [f"{row['rates'][s]:,.0f}" if s in row["rates"] else "not here" for s in SYSTEMS]
        part = row["rates"]["ours"] / row["rates"]["pyav"]
        lines.append(
            f"| {row['video']} | {row['frames']['ours']:,} | "
            + " | ".join(rates)
            + f" | {part:.2f} |"
        )
    if "memory" in results:
        found = results["memory"]
        mega = [size / 2**20 for _, size in found["rows"]]
        lines += [
            "",
            "## Memory",
            "",
            f"{found['frames']:,} frames of 1920 x 1080 read in order: resident set size "
            f"{mega[1]:,.0f} MiB after {found['rows'][1][0]:,} frames, {mega[-1]:,.0f} at the end, "
            f"{max(mega):,.0f} at most; slope from a tenth on {found['slope']:,.0f} bytes a frame. "
            "One frame is 6,220,800 bytes.",
        ]
    lines += [
        "",
        "## A flipped byte",
        "",
        "Frames of a copy with one byte flipped, at random places. Other frames: the decoder does "
        "not notice. Carried: in some. Failed: anything but frames or one line of error.",
        "",
        "| video | copies | unharmed | other frames | carried | refused | failed | slowest, s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in results["flips"].items():
        told = " | ".join(str(n) for n in found["done"].values())
        lines.append(f"| {name} | {found['count']} | {told} | {found['slowest']:.2f} |")
    here = results["machine"]
    lines += [
        "",
        f"{here['cpu']}, {here['cores']} cores, {here['ram_gb']} GB RAM, {here['system']}, Python "
        f"{here['python']}, sam2track {here['sam2track']}.",
        "",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--video", "videos", multiple=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--copies", default=200, show_default=True, type=click.IntRange(1))
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="(results)")
def decoding(videos: Sequence[str], rounds: int, copies: int, out: Path) -> None:
    """Measure how fast videos are read, beside others, and how much memory that takes."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        named = {
            "drawn, 720p": str(_write(scratch / "720.mp4", "leaves", 300, (720, 1280))),
            "drawn, 1080p": str(_write(scratch / "1080.mp4", "leaves", 150, (1080, 1920))),
        }
        named |= {Path(video).name: video for video in videos}
        first = _write(scratch / "small.mp4", "leaves", 60, (96, 128))
        small = {
            f"H.264 in {suffix.upper()}": _copied(first, scratch / f"small.{suffix}")
            for suffix in ("mp4", "mkv", "ts")
        }
        results: dict[str, Any] = {"machine": machine(), "rounds": rounds}
        results["flips"] = {name: flips(path, copies) for name, path in small.items()}
        results["speed"] = speed(named, rounds)
        long = os.environ.get("SAM2TRACK_TEST_DATA")
        if long:
            path = Path(long) / "odd/long/long_1080p_videoonly_lowbitrate.mp4"
            results["memory"] = memory(str(path))
    out.mkdir(parents=True, exist_ok=True)
    (out / "decoding.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "decoding.md").write_text(_told(results))
    click.echo(_told(results))
