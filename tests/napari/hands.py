"""What a person's hands do in a viewer, and what the widget says."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.napari.conftest import centre


def click(widget: Any, which: int, frame: int) -> None:
    x, y = centre(which, frame)
    widget.layers.clicks.add(np.array([frame, y, x]))
    assert widget.wait()


def press(widget: Any, key: str, layer: Any = None) -> None:
    """What napari does when a key is pressed while a layer, that of clicks if none, is active."""
    from napari.utils.key_bindings import coerce_keybinding

    layer = widget.layers.clicks if layer is None else layer
    layer.keymap[coerce_keybinding(key)](layer)
    assert widget.wait()


def paint(widget: Any, which: int, frame: int, label: int) -> None:
    """A stroke of napari's brush in the middle of a disk."""
    x, y = centre(which, frame)
    stroke(widget, (frame, y, x), label)
    assert widget.wait()


def stroke(widget: Any, at: tuple[int, ...], label: int) -> None:
    """A stroke of napari's brush, of which nothing is waited for."""
    masks = widget.layers.masks
    masks.brush_size = 8
    masks.selected_label = label
    with masks.block_history():
        masks.paint(at, label)
    masks.events.paint(value=[])


@contextlib.contextmanager
def busy(widget: Any) -> Iterator[None]:
    """Let what is asked for within be answered afterwards, as while a slow model is at work."""
    over = threading.Event()
    widget._worker.do("prepare", over.wait)
    try:
        yield
    finally:
        over.set()
    assert widget.wait()


def refused(widget: Any, contains: str) -> None:
    assert contains in widget.message.text(), widget.message.text()


@contextlib.contextmanager
def stack(make: Any, tmp_path: Path, data: Any, **about: Any) -> Iterator[Any]:
    from napari_sam2track.widget import TrackWidget

    viewer = make()
    viewer.add_image(data, **about)
    widget = TrackWidget(viewer)
    widget.form.project_edit.setText(str(tmp_path / "stack.s2t"))
    widget.form.model_box.setCurrentText("nano")
    try:
        widget.begin()
        assert widget.wait()
        yield widget
    finally:  # a thread that is left would keep a failing test from ending
        widget.shut()
        widget.close()
