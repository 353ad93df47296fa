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


@pytest.mark.parametrize("before", [True, False])
def test_a_dock_that_is_closed_while_its_project_is_opened_leaves_nothing(
    opened: Any, video: Path, before: bool
) -> None:
    """Nor where there is no project yet."""
    widget, viewer = opened, opened.viewer
    if before:
        click(widget, 0, 0)
    widget.begin()
    while widget._opened is None:  # it is there, and not yet shown
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
