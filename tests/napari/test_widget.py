"""The widget in a viewer: real layers, clicks, keys, paint; nothing leaks, bad input is said."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.napari.conftest import FRAMES, HEIGHT, WIDTH, centre, overlap, pictures, true

pytestmark = [
    pytest.mark.viewer,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

if os.environ.get("SAM2TRACK_NO_VIEWER"):
    pytest.skip(os.environ["SAM2TRACK_NO_VIEWER"], allow_module_level=True)


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


def click(widget: Any, which: int, frame: int) -> None:
    x, y = centre(which, frame)
    widget.layers.clicks.add(np.array([frame, y, x]))
    assert widget.wait()


def press(widget: Any, key: str) -> None:
    """What napari does when a key is pressed while a layer of ours is active."""
    from napari.utils.key_bindings import coerce_keybinding

    layer = widget.layers.clicks
    layer.keymap[coerce_keybinding(key)](layer)
    assert widget.wait()


def test_the_way_a_user_goes(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    assert overlap(widget.layers.masks.data[0] == 1, true(0, 0)) > 0.8
    press(widget, "n")
    click(widget, 1, 0)
    assert overlap(widget.layers.masks.data[0] == 2, true(1, 0)) > 0.8
    assert list(widget.layers.clicks.features["object"]) == [1, 2]
    widget.track()
    assert widget.wait()
    assert overlap(widget.layers.masks.data[6] == 1, true(0, 6)) > 0.8
    assert [row.state for row in widget.view.rows()] == ["tracked", "tracked"]
    assert widget.layers.tracks is not None
    assert set(widget.layers.tracks.data[:, 0]) == {1, 2}

    # A stroke of the brush is an edit; only that object runs again, from there on.
    widget.go(4)
    widget.layers.masks.selected_label = 1
    widget.layers.masks.brush_size = 10
    x, y = centre(0, 4)
    widget.layers.masks.paint((4, y + 17, x), 1)
    widget.layers.masks._commit_staged_history()
    widget.layers.masks.events.paint(value=[])
    assert widget.wait()
    assert widget.view.prompted(1) == [0, 4]
    assert [row.state for row in widget.view.rows()] == ["to track", "tracked"]
    widget.track_to_next()
    assert widget.wait()
    press(widget, "Control-z")
    press(widget, "Control-z")
    assert widget.view.prompted(1) == [0]
    press(widget, "Control-Shift-z")
    assert widget.view.prompted(1) == [0, 4]


def test_moving_and_deleting_a_click_changes_the_mask(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    clicks = widget.layers.clicks
    x, y = centre(1, 0)
    moved = clicks.data.copy()
    moved[0, 1:] = y, x
    clicks.data = moved
    assert widget.wait()
    assert overlap(widget.layers.masks.data[0] == 1, true(1, 0)) > 0.8
    clicks.selected_data = {0}
    clicks.remove_selected()
    assert widget.wait()
    assert widget.view.rows() == [] and not widget.layers.masks.data[0].any()
    press(widget, "Control-z")
    assert len(clicks.data) == 1 and widget.layers.masks.data[0].any()


def test_clicks_of_both_kinds_are_told_apart(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    press(widget, "g")
    click(widget, 1, 0)
    clicks = widget.layers.clicks
    assert list(clicks.features["kind"]) == ["object", "background"]
    assert [str(symbol) for symbol in clicks.symbol] == ["disc", "cross"]
    assert not np.allclose(clicks.face_color[0], clicks.face_color[1])
    said = widget.session.prompt_on(1, 0)
    assert said.labels == (1, 0)


def test_a_box_and_geometry(opened: Any) -> None:
    widget = opened
    x, y = centre(1, 2)
    box = [[2, y - 17, x - 17], [2, y - 17, x + 17], [2, y + 17, x + 17], [2, y + 17, x - 17]]
    widget.layers.boxes.add_rectangles([np.array(box)])
    assert widget.wait()
    assert widget.session.prompt_on(1, 2).box == (x - 16.5, y - 16.5, x + 17.5, y + 17.5)
    assert overlap(widget.layers.masks.data[2] == 1, true(1, 2)) > 0.8
    for layer in widget.layers.own:
        assert tuple(layer.axis_labels) == ("t", "y", "x")


def test_closed_and_opened_again(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    press(widget, "n")
    click(widget, 1, 3)
    widget.change("rename", lambda s: s.tracker.rename(2, "green"))
    widget.track()
    assert widget.wait()
    before = np.asarray(widget.layers.masks.data)
    said = widget.layers.prompts()
    widget.end()
    assert widget.wait()
    assert len(widget.viewer.layers) == 1
    widget.begin()
    assert widget.wait()
    assert widget.layers.prompts() == said
    assert np.array_equal(np.asarray(widget.layers.masks.data), before)
    assert widget._object == 2
    assert [row.name for row in widget.view.rows()] == ["", "green"]
    press(widget, "Control-z")  # history too
    assert len(widget.view._project.frames) == 2


def test_division_with_buttons(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.track()
    assert widget.wait()
    for which in (0, 1):
        widget.next_object()
        click(widget, which, 4)
    widget.select(1)
    widget.go(4)
    widget.identity_actions["divide"].trigger()
    assert widget.wait()
    assert [row.mother for row in widget.view.rows()] == [None, 1, 1]
    widget.track()
    assert widget.wait()
    assert widget.layers.tracks.graph == {2: [1], 3: [1]}
    widget.table.select(2, {3})
    widget._object = 2
    widget.identity_actions["swap"].trigger()
    assert widget.wait()


def test_the_command_line_repeats_what_was_done(opened: Any, video: Path, tmp_path: Path) -> None:
    """What was clicked, tracked, undone and divided in the viewer replays to equal masks."""
    from click.testing import CliRunner

    from sam2track import Project
    from sam2track.cli.main import main

    widget = opened
    click(widget, 0, 0)
    widget.track()
    click(widget, 0, 3)  # between two frames, it may be
    widget.undo()
    widget.next_object()
    click(widget, 1, 4)
    widget.select(1)
    widget.go(4)
    widget.divide()
    widget.track()
    assert widget.wait()
    expected = np.asarray(widget.layers.masks.data)
    assert set(np.unique(expected)) == {0, 1, 2}
    widget.end()
    assert widget.wait()
    project = str(video.with_suffix(".s2t"))
    done = CliRunner().invoke(
        main, ["replay", project, "-o", str(tmp_path / "again"), "--write", "table"]
    )
    assert done.exit_code == 0, done.output
    with Project.open(tmp_path / "again" / "project.s2t") as again:
        assert all(np.array_equal(again.labels(t), expected[t]) for t in range(FRAMES))


def test_going_to_frames(opened: Any) -> None:
    widget = opened
    click(widget, 0, 1)
    click(widget, 0, 5)
    widget.track()
    assert widget.wait()
    widget.go(0)
    press(widget, "k")
    assert widget.frame == 1
    press(widget, "k")
    assert widget.frame == 5
    press(widget, "Shift-k")
    assert widget.frame == 1
    press(widget, "j")
    assert widget.frame == widget.view.least_sure(1)
    widget.timeline.resize(160, 56)
    widget.timeline.chosen.emit(widget.timeline.frame_at(159))
    assert widget.frame == FRAMES - 1


def test_the_keys_are_free_in_napari() -> None:
    from napari.layers import Image, Labels, Points, Shapes
    from napari.utils.key_bindings import coerce_keybinding

    from napari_sam2track.keys import KEYS

    mine = {str(coerce_keybinding(key)) for key in KEYS if "Control" not in key}
    for kind in (Image, Labels, Points, Shapes):
        assert not mine & {str(key) for key in kind.class_keymap}


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
    widget.begin()
    assert widget.wait()
    yield widget
    widget.shut()
    widget.close()


@pytest.mark.parametrize(
    ("data", "about", "says"),
    [
        (np.zeros((20, 30), np.uint8), {}, "time, rows and columns"),
        (np.zeros((1, 20, 30), np.uint8), {}, "single frame"),
        (np.zeros((5, 20, 30, 3), np.uint8), {"rgb": False}, "colours were taken for columns"),
    ],
    ids=["plane", "one-frame", "colours"],
)
def test_what_cannot_be_tracked_is_said(
    make_napari_viewer_proxy: Any, tmp_path: Path, data: Any, about: Any, says: str
) -> None:
    with stack(make_napari_viewer_proxy, tmp_path, data, **about) as widget:
        refused(widget, says)
        assert widget.session is None


def test_a_float_stack_with_depth(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    """(T, Z, Y, X) with NaN, at one plane: masks lie on that plane."""
    grey = pictures().mean(-1).astype(np.float32)
    data = np.stack([np.zeros_like(grey), grey], axis=1)
    data[0, 1, 0, 0] = np.nan
    with stack(
        make_napari_viewer_proxy,
        tmp_path,
        data,
        axis_labels=("t", "z", "y", "x"),
        scale=(1, 2, 0.5, 0.5),
        contrast_limits=(0, 200),
    ) as widget:
        assert widget.layers.axes.fixed == ((1, 1),) or widget.layers.axes.fixed == ((1, 0),)
        widget.form.axis_boxes[0][1].setValue(1)
        widget.begin()
        assert widget.wait()
        assert tuple(widget.layers.masks.scale) == (1, 2, 0.5, 0.5)
        x, y = centre(0, 0)
        widget.layers.clicks.add(np.array([0, 0, y, x]))
        assert widget.wait()
        refused(widget, "not tracked")
        assert not len(widget.layers.clicks.data)
        widget.layers.clicks.add(np.array([0, 1, y, x]))
        assert widget.wait()
        assert overlap(widget.layers.masks.data[0, 1] == 1, true(0, 0)) > 0.6
        assert not widget.layers.masks.data[0, 0].any()
        assert widget.view.meta["viewer"]["axes"]["fixed"] == [[1, 1]]


def test_the_viewer_goes_on_after_bad_input(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.layers.clicks.add(np.array([0, -30, 500]))
    assert widget.wait()
    refused(widget, "beside the picture")
    assert len(widget.layers.clicks.data) == 1
    widget.merge()
    refused(widget, "select two objects")
    widget.confirm()
    assert widget.wait()
    widget.go(5)
    widget.confirm()
    assert widget.wait()
    refused(widget, "track it there first")

    def no_memory(session: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    widget.change("say", no_memory)
    assert widget.wait()
    refused(widget, "smaller model")
    widget.change("lock", lambda s: s.tracker.lock(1))
    assert widget.wait()
    widget.layers.clicks.add(np.array([1, 30, 30]))
    assert widget.wait()
    refused(widget, "locked")
    assert 1 not in widget.layers.clicks.data[:, 0]  # what could not be done is not shown
    widget.viewer.dims.ndisplay = 3
    refused(widget, "2-D")
    widget.viewer.dims.ndisplay = 2
    widget.layers.image.name = "renamed"
    widget.form.reset_choices()
    assert widget.form.image_box.currentText() == "renamed"


def test_removing_the_image_while_tracking_is_safe(opened: Any, video: Path) -> None:
    from sam2track import Project

    widget = opened
    click(widget, 0, 0)
    widget.track()
    widget.viewer.layers.remove(widget.layers.image)
    assert widget.wait()
    refused(widget, "saved")
    assert widget.session is None and len(widget.viewer.layers) == 0
    widget.track()
    refused(widget, "nothing is open")
    with Project.open(video.with_suffix(".s2t")) as project:
        assert project.objects == (1,)


def test_a_project_of_other_pictures_is_refused(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.end()
    assert widget.wait()
    path = widget.form.project_edit.text()
    widget.viewer.layers.clear()
    widget.viewer.add_image(np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8))
    widget.form.project_edit.setText(path)
    widget.begin()
    assert widget.wait()
    refused(widget, "other pictures")
    assert widget.session is None


def test_missing_weights_are_said(opened: Any) -> None:
    widget = opened
    widget.form.model_box.setCurrentText("/no/where.pt")
    widget.begin()
    assert widget.wait()
    assert widget.session is None
    refused(widget, "/no/where.pt")


def test_every_control_says_what_it_does(opened: Any) -> None:
    from qtpy.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QSpinBox

    widget = opened
    for kind in (QAbstractButton, QComboBox, QSpinBox):
        for control in widget.findChildren(kind):
            inside = isinstance(control.parent(), (QLineEdit, QComboBox)) or (
                control.parent() in widget.table.findChildren(object) or control.text() == ""
                if isinstance(control, QAbstractButton)
                else False
            )
            assert inside or control.toolTip(), control
    assert widget.minimumSizeHint().height() < 700
