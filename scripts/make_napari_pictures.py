"""Go through docs/napari.md in a real viewer and take its pictures; needs a display."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from sam2track.samples import sample_folder

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
SAMPLE = sample_folder() / "nuclei"
TRUTH = sorted((SAMPLE / "truth").glob("*.png"))


def truth(frame: int) -> np.ndarray:
    return np.asarray(Image.open(TRUTH[frame]))


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    video = folder / "nuclei.mp4"
    shutil.copy(SAMPLE / "video.mp4", video)
    viewer = napari.Viewer()
    viewer.window.resize(1150, 790)
    viewer.open(str(video), plugin="sam2track")
    _, widget = viewer.window.add_plugin_dock_widget("sam2track", "SAM 2 Track")

    def pump(seconds: float = 0.5) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)

    def picture(name: str) -> None:
        pump()
        shot = viewer.screenshot(canvas_only=False, flash=False)
        small = Image.fromarray(shot[..., :3]).quantize(128)
        small.save(OUT / f"napari-{name}.png", optimize=True)

    def click(object_id: int, frame: int) -> None:
        y, x = np.argwhere(truth(frame) == object_id).mean(0)
        widget.layers.clicks.add(np.array([frame, y, x]))
        widget.wait()

    pump(1)
    widget.form.model_box.setCurrentText("nano")
    widget.wait()
    widget.go(0)
    click(1, 0)
    picture("1-click")
    widget.next_object()
    click(2, 0)
    widget.next_object()
    click(3, 0)
    widget.track()
    pump(1.5)
    picture("2-tracking")
    widget.wait(120)
    widget.go_least_sure()
    picture("3-least-sure")
    frame = widget.frame
    # As with the brush: what is drawn in the layer of masks is an edit.
    masks = widget.layers.masks
    before = np.asarray(masks.data[frame])
    masks.data[frame] = np.where(truth(frame) == 3, 3, np.where(before == 3, 0, before))
    masks.events.paint(value=[])
    widget.wait()
    widget.track_to_next()
    widget.wait(120)
    widget.go(frame)
    picture("4-corrected")
    for t in (0, frame, len(TRUTH) - 1):
        ious = []
        labels = widget.view.labels(t)
        for i in (1, 2, 3):
            ours, real = labels == i, truth(t) == i
            ious.append(round(float((ours & real).sum() / max(1, (ours | real).sum())), 2))
        print(f"frame {t}: IoU with the truth {ious}")
    widget.shut()
    viewer.close()


if __name__ == "__main__":
    main()
