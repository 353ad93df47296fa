"""A clip of disks that move, a model, and sessions on them; no viewer yet."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sam2track.session import Session
from sam2track.export.videos import VideoWriter
from sam2track.frames.opening import open_source
from sam2track.models.loading import load_model
from sam2track.models.model import Model

FRAMES, HEIGHT, WIDTH = 8, 96, 128


def centre(which: int, frame: int) -> tuple[int, int]:
    """(x, y) of a disk."""
    return ((30 + 3 * frame, 30), (96 - 2 * frame, 66))[which]


def pictures() -> np.ndarray:
    """(T, H, W, 3) uint8: a red and a green disk on grey."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    clip = np.full((FRAMES, HEIGHT, WIDTH, 3), 60, np.uint8)
    for frame in range(FRAMES):
        for which, colour in enumerate(((230, 60, 50), (60, 210, 80))):
            x, y = centre(which, frame)
            clip[frame][(columns - x) ** 2 + (rows - y) ** 2 < 17**2] = colour
    return clip


def true(which: int, frame: int) -> np.ndarray:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    x, y = centre(which, frame)
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < 17**2)


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / max(1, (one | two).sum()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests of the viewer out where there is none, and napari's warnings to napari."""
    missing = os.environ.get("SAM2TRACK_NO_VIEWER")
    for item in items:
        if item.get_closest_marker("viewer") is None:
            continue
        for kind in ("DeprecationWarning", "FutureWarning", "UserWarning"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore::{kind}"))
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(autouse=True)
def _old_is_not_searched() -> None:
    """Let collections of garbage, of which napari asks for many, skip what is there already.

    What napari keeps of each viewer would be searched in all tests that follow.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let what was frozen be freed, of which libraries would say that it leaks."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def model() -> Model:
    return load_model("nano", device="cpu")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "disks.mp4"
    with VideoWriter(path, height=HEIGHT, width=WIDTH, crf=8, threads=1) as writer:
        for picture in pictures():
            writer.write(picture)
    return path


@pytest.fixture
def session(video: Path, model: Model) -> Iterator[Session]:
    made = Session(open_source(video), model, video.with_suffix(".s2t"))
    yield made
    made.project.close()


@pytest.fixture
def opened(make_napari_viewer_proxy: Any, video: Path) -> Iterator[Any]:
    """A widget on the clip of two disks, begun."""
    from napari_sam2track.files import get_video_reader
    from napari_sam2track.widget import TrackWidget

    viewer = make_napari_viewer_proxy()
    reader = get_video_reader(str(video))
    assert reader is not None
    ((data, about, _),) = reader(str(video))
    viewer.add_image(data, **about)
    viewer.layers[0].metadata["sam2track"]["project"] = str(video.with_suffix(".s2t"))
    widget = TrackWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.form.reset_choices()
    widget.form.project_edit.setText(str(video.with_suffix(".s2t")))
    widget.form.model_box.setCurrentText("nano")
    widget.begin()
    assert widget.wait()
    widget.go(0)
    yield widget
    widget.shut()
    assert not any(thread.name == "sam2track" for thread in threading.enumerate())
