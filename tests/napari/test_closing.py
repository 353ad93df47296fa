"""A viewer that is closed in the middle: the project is whole, and no thread is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sam2track import Project
from tests.napari.conftest import FRAMES, overlap, true
from tests.napari.hands import click

pytestmark = pytest.mark.viewer

USUAL = ("clicking", "tracking", "exporting")
OTHERS = ("opening", "beginning", "paused")

# A process of its own, as a person has it: Qt's loop ends with the last window. One for several
# moments, since it takes longer to begin than all of them.
CLOSED = """
import json, sys, threading
from pathlib import Path
import napari, numpy as np
from qtpy.QtCore import QTimer
from tests.napari.conftest import centre

def closed(moment):
    here = Path(sys.argv[1]) / moment
    viewer = napari.Viewer()
    viewer.open(str(next(here.glob("*.mp4"))), plugin="sam2track")
    _, widget = viewer.window.add_plugin_dock_widget("sam2track", "SAM 2 Track")
    widget.form.model_box.setCurrentText("nano")

    def click(which):
        x, y = centre(which, 0)
        widget.select(which + 1)
        widget.layers.clicks.add(np.array([0, y, x]))

    def wait():
        assert widget.wait(), widget.message.text()

    if moment != "opening":
        wait()
        click(0)
        wait()
    if moment == "exporting":
        widget.track()
        wait()

    def begun():
        # Ask for it; whether it is under way.
        if moment == "opening":
            widget.begin()
        elif moment == "clicking":
            click(1)
        elif moment == "exporting":
            widget.export_to(here / "out")
        elif widget._at is None:
            widget.track()
        if moment not in ("tracking", "paused"):
            return True
        if widget._at.done < 3:
            return False
        if moment == "paused":
            widget.pause()
        return True

    def look():
        if begun():
            timer.stop()
            viewer.close()

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(1)
    napari.run()
    return [thread.name for thread in threading.enumerate()]

print(json.dumps({moment: closed(moment) for moment in sys.argv[2:]}))
"""


@pytest.mark.parametrize("moments", [USUAL, pytest.param(OTHERS, marks=pytest.mark.slow)])
def test_a_viewer_that_is_closed_in_the_middle(
    moments: tuple[str, ...], video: Path, tmp_path: Path
) -> None:
    for moment in moments:
        (tmp_path / moment / "out").mkdir(parents=True)
        shutil.copy(video, tmp_path / moment)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLOSED, str(tmp_path), *moments],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    left = json.loads(done.stdout.splitlines()[-1])
    assert left == {moment: ["MainThread"] for moment in moments}
    for moment in moments:
        _is_whole(moment, tmp_path / moment, video.name)


def _is_whole(moment: str, here: Path, name: str) -> None:
    out, path = here / "out", (here / name).with_suffix(".s2t")
    # An export is there whole, where it was done before the worker heard of it, or not at all.
    whole = {"masks", "masks.mp4", "overlay.mp4", "tracks.csv"} if moment == "exporting" else set()
    assert {p.name for p in out.iterdir()} in (set(), whole)
    assert {p.name for p in here.iterdir()} <= {name, out.name, path.name}
    if moment == "opening":
        assert not path.exists()  # nothing was ever said to it
        return
    with Project.open(path, writable=True) as project:
        assert project.objects == ((1, 2) if moment == "clicking" else (1,))
        least = {"exporting": FRAMES, "tracking": 3, "paused": 3}.get(moment, 1)
        assert least <= len(project.frames) <= FRAMES
        assert all(overlap(project.labels(t) == 1, true(0, t)) > 0.8 for t in project.frames)


def test_a_project_is_closed_where_layers_cannot_be_removed(opened: Any, video: Path) -> None:
    """A viewer that is closing removes layers by itself, in any order."""
    click(opened, 0, 0)
    layers = opened.layers

    def gone() -> None:
        raise ValueError("no such layer")

    layers.remove, remove = gone, layers.remove
    with pytest.raises(ValueError, match="no such layer"):
        opened.end()
    assert opened.wait()
    with Project.open(video.with_suffix(".s2t"), writable=True) as project:
        assert project.objects == (1,)
    remove()
