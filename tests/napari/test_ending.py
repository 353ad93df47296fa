"""Sessions that end, or begin, while layers, docks and data change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from sam2track import Project
from tests.napari.hands import click, refused

pytestmark = pytest.mark.viewer


def test_layers_that_go_together_end_the_session_once(opened: Any) -> None:
    """napari takes one after the other from a list of them."""
    widget, viewer = opened, opened.viewer
    click(widget, 0, 0)
    layers = widget.layers
    viewer.layers.selection = {layers.masks, layers.clicks, layers.boxes}
    viewer.layers.remove_selected()
    assert widget.wait()
    refused(widget, "a layer of the session was removed")
    assert widget.session is None and list(viewer.layers) == [layers.image]
    widget.begin()
    assert widget.wait()
    assert [row.object_id for row in widget.view.rows()] == [1]


def test_all_layers_that_go_end_it_with_the_place_of_the_project(opened: Any, video: Path) -> None:
    click(opened, 0, 0)
    opened.viewer.layers.select_all()
    opened.viewer.layers.remove_selected()
    assert opened.wait()
    project = video.with_suffix(".s2t")
    refused(opened, f"the layer that was tracked is gone; what was done is saved in {project}")
    assert opened.session is None and not opened.viewer.layers


@pytest.mark.parametrize("how", ["end", "remove", "close"])
def test_what_is_being_painted_as_it_ends_is_saved(opened: Any, video: Path, how: str) -> None:
    """Also by a program, of which the layer tells once the event loop comes round."""
    click(opened, 0, 0)
    opened.layers.masks.data[2, 60:70, 90:100] = 2
    if how == "end":
        opened.end()
    elif how == "remove":
        opened.viewer.layers.remove(opened.layers.image)
    else:
        opened.shut()
    assert how == "close" or opened.wait()
    assert opened.session is None
    with Project.open(video.with_suffix(".s2t")) as project:
        assert (project.labels(2) == 2).sum() == 100


@pytest.mark.parametrize("how", ["begin", "remove"])
def test_an_export_that_ends_with_its_session_is_said_to_have_stopped(
    opened: Any, tmp_path: Path, how: str
) -> None:
    click(opened, 0, 0)
    (tmp_path / "out").mkdir()
    opened.export_to(tmp_path / "out")
    assert opened._at is not None
    if how == "begin":
        opened.begin()
    else:
        opened.viewer.layers.remove(opened.layers.image)
    assert opened.wait()
    there = {path.name for path in (tmp_path / "out").iterdir()}
    if there:  # it was through before it heard of its end
        refused(opened, f"masks, videos and table are in {tmp_path / 'out'}")
        assert {"masks", "overlay.mp4", "tracks.csv"} <= there
    else:
        refused(opened, "the export was stopped; nothing is left of it")
    assert (opened.session is None) is (how == "remove")


def test_an_object_that_is_locked_while_it_is_tracked_is_said_to_be_unfinished(opened: Any) -> None:
    click(opened, 0, 0)
    opened.next_object()
    click(opened, 1, 0)
    opened.track("forward")
    opened.lock(1)
    assert opened.wait()
    refused(opened, "object 1 is locked, with frames left to track")
    assert next(row.state for row in opened.view.rows()) == "locked, to track"
    opened.track("forward")
    assert opened.wait()
    refused(opened, "object 1 is locked, with frames left to track")
    opened.lock(1, False)
    opened.track()
    assert opened.wait()
    opened.lock(1)
    assert opened.wait()
    assert {row.state for row in opened.view.rows()} == {"tracked", "locked"}


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_dock_that_is_closed_while_its_project_is_opened_leaves_nothing(
    opened: Any, video: Path, before: bool, loaded: bool
) -> None:
    """Nor where there is no project yet."""
    widget, viewer = opened, opened.viewer
    if before:
        click(widget, 0, 0)
    widget.begin()
    while loaded and widget.session is not None:  # until the model is there
        QApplication.processEvents()
    while loaded and widget._opened is None:  # it is there, and not yet shown
        time.sleep(0.01)
    widget.shut()
    QApplication.processEvents()
    assert widget.session is None and len(viewer.layers) == 1
    assert video.with_suffix(".s2t").exists() is before
    if before:
        Project.open(video.with_suffix(".s2t"), writable=True).close()


def test_data_that_are_replaced_while_a_project_is_opened_are_not_tracked(opened: Any) -> None:
    widget = opened
    image = widget.layers.image
    widget.begin()
    image.data = np.zeros((5, 50, 60, 3), np.uint8)
    assert widget.wait()
    refused(widget, "was given other data while")
    assert widget.session is None and list(widget.viewer.layers) == [image]
