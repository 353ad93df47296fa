"""How fast the napari plugin answers: a click, the event loop while tracking, the worker's price.

Run under a display: ``xvfb-run python -m benchmarks.viewer``. Figures stand for the load that the
machine has at the time, which is printed with them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from sam2track import Project, Tracker, load_model
from sam2track.founding import open_project
from sam2track.frames.opening import open_source
from sam2track.samples import sample_folder

SPOTS = ((0, 60, 60), (0, 120, 200), (0, 200, 100))  # frame, y, x


def plain(video: Path, folder: Path) -> float:
    """Milliseconds a frame without a viewer."""
    source, model = open_source(video), load_model("nano", device="cpu")
    project: Project = open_project(folder / "plain.s2t", source, model)
    tracker = Tracker(model, source, history=project)
    for number, (frame, y, x) in enumerate(SPOTS, start=1):
        tracker.prompt(number, frame, points=[(x, y)])
    began = time.perf_counter()
    frames = sum(1 for _ in tracker.propagate())
    took = (time.perf_counter() - began) / frames * 1000
    project.close()
    return took


def main() -> None:
    import napari
    from qtpy.QtWidgets import QApplication

    folder = Path(tempfile.mkdtemp())
    video = folder / "nuclei.mp4"
    shutil.copy(sample_folder() / "nuclei" / "video.mp4", video)
    alone = [plain(video, folder / f"{n}") for n in range(2) if (folder / f"{n}").mkdir() is None]

    viewer = napari.Viewer()
    viewer.open(str(video), plugin="sam2track")
    _, widget = viewer.window.add_plugin_dock_widget("sam2track", "SAM 2 Track")
    widget.form.model_box.setCurrentText("nano")
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.05)
    widget.wait()
    widget.go(0)
    for _ in range(40):  # features of the frame come meanwhile
        QApplication.processEvents()
        time.sleep(0.05)
    clicks = []
    for number, spot in enumerate(SPOTS, start=1):
        widget.select(number)
        began = time.perf_counter()
        widget.layers.clicks.add(np.array(spot, float))
        while not (np.asarray(widget.layers.masks.data[0]) == number).any():
            QApplication.processEvents()
            if time.perf_counter() - began > 10:
                break
        clicks.append((time.perf_counter() - began) * 1000)
    widget.wait()
    longest, began = 0.0, time.perf_counter()
    widget.track()
    while not widget._worker.idle or widget._tracking is not None:
        one = time.perf_counter()
        QApplication.processEvents()
        longest = max(longest, time.perf_counter() - one)
        time.sleep(0.002)
        if widget._tracking is None:
            break
    frames = len(widget.view._project.frames)
    inside = (time.perf_counter() - began) / frames * 1000
    widget.wait()
    widget.shut()
    viewer.close()
    print(
        json.dumps(
            {
                "load": [round(value, 1) for value in os.getloadavg()],
                "threads": os.environ.get("OMP_NUM_THREADS"),
                "click_ms": round(median(clicks), 1),
                "longest_blocked_ms": round(longest * 1000, 1),
                "frame_ms_alone": round(min(alone), 1),
                "frame_ms_in_viewer": round(inside, 1),
                "slowdown_percent": round((inside / min(alone) - 1) * 100, 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
