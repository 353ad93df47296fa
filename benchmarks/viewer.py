"""How fast the napari plugin answers: a click, the event loop while tracking, the worker's price.

- A click: from the press of the mouse button, sent to the canvas as Qt sends it, until the layer of
  masks shows the object's mask. Features of the frame are there, as they are after a moment on it.
- The event loop while tracking: a timer of 2 ms notes when it is called. The longest time between
  two calls is the longest for which the viewer answered nobody.
- The worker's price: milliseconds a frame of one run, in the viewer against the same prompts on the
  same clip in a process without one. Without that timer, which takes 4 % of two cores; with the
  time in which the model waits for the viewer, which is why they are means. Both processes stay,
  and run by turns of some seconds: where each run had a process of its own, it was decided by the
  minute it came in, as a shared machine is faster in one than in the next by a quarter.

Each is in a process of its own; a viewer opens another copy of the clip for each run.

Needs a display: ``xvfb-run -a python -m benchmarks viewer``. The machine must be idle; its load is
written down with the figures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median
from typing import Any

import click
import numpy as np

RESULTS = Path(__file__).parent / "results"
SAMPLE = "nuclei"
BOUNDS = {"click_ms": 150.0, "blocked_ms": 100.0, "slowdown_percent": 10.0}
FRAMES = (0, 12, 24, 36)  # clicked on

Spot = tuple[int, int, float, float]  # object, frame, y, x
Runs = Generator[list[float], str]  # takes paths of videos, the first by next()


def _truth(frame: int) -> np.ndarray:
    from sam2track.export.pngs import read_label_png
    from sam2track.samples import sample_folder

    return np.asarray(
        read_label_png(sorted((sample_folder() / SAMPLE / "truth").glob("*.png"))[frame])
    )


def spots(frame: int) -> list[Spot]:
    """Return the middle of each object on a frame."""
    labels = _truth(frame)
    return [
        (number, frame, *np.argwhere(labels == number).mean(0).tolist())
        for number in (1, 2, 3)
        if (labels == number).sum() > 50
    ]


def plain() -> Runs:
    """Give the milliseconds of each frame of runs without a viewer."""
    from sam2track import Tracker, load_model
    from sam2track.founding import open_project
    from sam2track.frames.opening import open_source

    model = load_model("nano", device="cpu")
    video = yield
    while True:
        source = open_source(video)
        project = open_project(Path(video).with_suffix(".s2t"), source, model)
        tracker = Tracker(model, source, history=project)
        for number, frame, y, x in spots(0):
            tracker.prompt(number, frame, points=[(x, y)])
        ends = [time.perf_counter()]
        ends += [time.perf_counter() for _ in tracker.propagate(direction="both")]
        project.close()
        video = yield (np.diff(ends) * 1000).tolist()


def clicks() -> Runs:
    """Give the milliseconds of each click in a viewer."""
    bench = Bench()
    video = yield
    while True:
        bench.open(video)
        video = yield [bench.press(spot) for frame in FRAMES for spot in spots(frame)]


def tracked() -> Runs:
    """Give the milliseconds of each frame of runs in a viewer."""
    return _run(100, 0)


def watched() -> Runs:
    """Give the milliseconds between beats of a timer during runs in a viewer."""
    return _run(2, 1)


def _run(interval: int, which: int) -> Runs:
    bench = Bench()
    video = yield
    while True:
        bench.open(video)
        for spot in spots(0):
            bench.press(spot)
        video = yield bench.track(interval)[which]


def serve(measure: Callable[[], Runs]) -> None:
    """Measure with each video that a line names, and print what was found as a line."""
    runs = measure()
    next(runs)
    for line in sys.stdin:
        print(json.dumps(runs.send(line.rstrip("\n"))), flush=True)


class Elsewhere:
    """A process that measures, once for each call, on a clip in a folder of its own."""

    def __init__(self, measure: Callable[[], Runs], folder: Path) -> None:
        self.name, self.folder, self.calls = measure.__name__, folder, 0
        program = f"from benchmarks.viewer import {self.name}, serve; serve({self.name})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self) -> list[float]:
        """Measure once."""
        from sam2track.samples import sample_folder

        self.calls += 1
        video = self.folder / f"{self.name}{self.calls}" / "clip.mp4"
        video.parent.mkdir()
        shutil.copy(sample_folder() / SAMPLE / "video.mp4", video)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{video}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("["):
                return list(json.loads(line))
        raise click.ClickException(f"{self.name} ended with {self.process.wait()}")

    def close(self) -> None:
        """End it, without what takes seconds at a viewer's end."""
        self.process.kill()
        self.process.wait()


class Bench:
    """A viewer with the widget on a clip, begun, and a hand that clicks."""

    def __init__(self) -> None:
        import napari

        self.viewer = napari.Viewer()
        self.viewer.window.resize(1150, 800)
        _, self.widget = self.viewer.window.add_plugin_dock_widget("sam2track", "SAM 2 Track")
        self.widget.form.model_box.setCurrentText("nano")

    def open(self, video: str) -> None:
        """Open a video, and begin on it."""
        self.viewer.layers.clear()
        self.pump(1)
        self.viewer.open(video, plugin="sam2track")
        self.pump(1)
        self.widget.wait(60)
        self.pump(1)

    def pump(self, seconds: float) -> None:
        """Let events be handled for a time."""
        from qtpy.QtCore import QEventLoop, QTimer

        loop = QEventLoop()
        QTimer.singleShot(round(seconds * 1000), loop.quit)
        loop.exec()

    def press(self, spot: Spot) -> float:
        """Click on an object; return the milliseconds until its mask is shown."""
        from qtpy.QtCore import QEventLoop, QPoint, Qt, QTimer
        from qtpy.QtTest import QTest

        number, frame, y, x = spot
        self.widget.go(frame)
        self.widget.select(number)
        self.pump(1.5)  # features come meanwhile
        masks = self.widget.layers.masks
        canvas = self.viewer.window._qt_viewer.canvas
        height, width = canvas.size
        zoom, middle = self.viewer.camera.zoom, self.viewer.camera.center
        at = QPoint(
            round(width / 2 + (x - middle[-1]) * zoom), round(height / 2 + (y - middle[-2]) * zoom)
        )
        QTest.mouseMove(canvas.native, at)
        self.pump(0.1)
        loop = QEventLoop()

        shown_at: list[float] = []

        def shown(_: Any = None) -> None:
            if not shown_at and (np.asarray(masks.data[frame]) == number).any():
                shown_at.append(time.perf_counter())
                loop.quit()

        masks.events.set_data.connect(shown)
        QTimer.singleShot(10_000, loop.quit)
        began = time.perf_counter()
        QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier(0), at)
        if not shown_at:
            loop.exec()
        masks.events.set_data.disconnect(shown)
        self.widget.wait()
        if not shown_at:
            raise RuntimeError(f"no mask came of the click on object {number}, frame {frame}")
        return (shown_at[0] - began) * 1000

    def track(self, interval: int) -> tuple[list[float], list[float]]:
        """Track; return the milliseconds of each frame, and between calls of a timer of this."""
        from qtpy.QtCore import QEventLoop, QTimer

        ends: list[float] = []
        beats: list[float] = []
        loop, beat = QEventLoop(), QTimer()
        beat.setInterval(interval)

        def on_beat() -> None:
            beats.append(time.perf_counter())
            if self.widget._at is None and self.widget._worker.idle:
                loop.quit()

        beat.timeout.connect(on_beat)
        session = self.widget.session
        run = session.track

        def timed(*args: Any, **options: Any) -> Any:  # in the worker's thread
            ends.append(time.perf_counter())
            for result in run(*args, **options):
                ends.append(time.perf_counter())
                yield result

        session.track = timed
        self.widget.track()
        beat.start()
        loop.exec()
        beat.stop()
        self.widget.wait()
        return (np.diff(ends) * 1000).tolist(), (np.diff(beats) * 1000).tolist()


def measure(rounds: int = 12, out: Path = RESULTS) -> dict[str, Any]:
    """Measure, print, and write ``viewer.json`` and ``viewer.md``."""
    from benchmarks.memory import machine

    load = [round(value, 2) for value in os.getloadavg()]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ending:

        def elsewhere(measure: Callable[[], Runs]) -> Elsewhere:
            process = Elsewhere(measure, Path(folder))
            ending.callback(process.close)
            return process

        clicking = elsewhere(clicks)
        clicked = clicking()
        clicking.close()
        watching = elsewhere(watched)
        gaps = [watching() for _ in range(rounds)]
        watching.close()
        inside, alone = elsewhere(tracked), elsewhere(plain)
        pairs = [(mean(inside()), mean(alone())) for _ in range(rounds)]
    frame_inside, frame_alone = map(mean, zip(*pairs, strict=True))
    found = {
        "machine": machine() | {"load_before": load, "torch_threads": _threads()},
        "clicks": [round(value, 1) for value in clicked],
        "click_ms": round(median(clicked), 1),
        "click_worst_ms": round(max(clicked), 1),
        "blocked_ms": round(max(map(max, gaps)), 1),
        "blocked_by_round_ms": [round(max(values), 1) for values in gaps],
        "frame_alone_ms": round(frame_alone, 2),
        "frame_in_viewer_ms": round(frame_inside, 2),
        "frame_by_round_ms": [[round(value, 2) for value in pair] for pair in pairs],
        "slowdown_percent": round((median(a / b for a, b in pairs) - 1) * 100, 1),
        "rounds": rounds,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "viewer.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (out / "viewer.md").write_text(_table(found), encoding="utf-8")
    print(_table(found))
    return found


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _table(found: dict[str, Any]) -> str:
    on = found["machine"]
    lines = [
        "# How fast the viewer answers",
        "",
        f"`nano` on the CPU, the sample *{SAMPLE}* (320 x 240, 64 frames), three objects, "
        f"{found['rounds']} rounds of tracking, {len(found['clicks'])} clicks.",
        "",
        "| | found | to reach |",
        "|---|--:|--:|",
        f"| click to mask, median (worst), ms | {found['click_ms']} ({found['click_worst_ms']}) "
        f"| under {BOUNDS['click_ms']:.0f} |",
        f"| longest time blocked while tracking, ms | {found['blocked_ms']} "
        f"| under {BOUNDS['blocked_ms']:.0f} |",
        f"| a frame in the viewer (alone), ms | {found['frame_in_viewer_ms']} "
        f"({found['frame_alone_ms']}) | |",
        f"| slower in the viewer by, percent | {found['slowdown_percent']} "
        f"| at most {BOUNDS['slowdown_percent']:.0f} |",
        "",
        "Machine: " + ", ".join(f"{key} {value}" for key, value in on.items()) + ".",
        "",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--rounds", default=12, show_default=True, help="Of tracking.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def viewer(rounds: int, out: Path) -> None:
    """Measure how fast the napari plugin answers; needs a display."""
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise click.UsageError("there is no display; run: xvfb-run -a python -m benchmarks viewer")
    measure(rounds, out)
