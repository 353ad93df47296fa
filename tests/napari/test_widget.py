"""The widget in a viewer: real layers, clicks, keys, paint; nothing leaks."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_sam2track.axis_boxes import ChannelBox
from napari_sam2track.form import Form
from napari_sam2track.view import View
from napari_sam2track.words import lasting
from sam2track.errors import ProjectError, UsageError
from sam2track.importing import import_masks
from sam2track.project import Project
from sam2track.tracking.ledger import Ledger
from tests.napari.conftest import FRAMES, HEIGHT, WIDTH, centre, overlap, pictures, true
from tests.napari.hands import click, paint, press, refused, stack

pytestmark = pytest.mark.viewer


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


@pytest.mark.parametrize(
    ("button", "held", "kind"),
    [(1, (), "object"), (2, (), "background"), (1, ("Control",), "background")],
)
def test_the_right_button_and_control_click_on_background(
    opened: Any, button: int, held: tuple[str, ...], kind: str
) -> None:
    clicks, (x, y) = opened.layers.clicks, centre(0, 0)
    for what, callbacks in (("press", mouse_press_callbacks), ("release", mouse_release_callbacks)):
        event = read_only_mouse_event(
            type=f"mouse_{what}",
            button=button,
            modifiers=held,
            pos=np.zeros(2),
            position=(0, y, x),
            dims_displayed=(1, 2),
            view_direction=None,
        )
        callbacks(clicks, event)
    assert opened.wait()
    assert list(clicks.features["kind"]) == [kind]


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


def test_boxes_are_shown_while_there_are_any_or_one_is_drawn(opened: Any) -> None:
    """Even an empty layer of shapes is costly to draw."""
    widget = opened
    boxes, selection = widget.layers.boxes, widget.viewer.layers.selection
    assert not boxes.visible
    selection.active = boxes
    assert boxes.visible
    selection.active = widget.layers.clicks
    assert not boxes.visible
    x, y = centre(1, 2)
    corners = [[2, y - 17, x - 17], [2, y - 17, x + 17], [2, y + 17, x + 17], [2, y + 17, x - 17]]
    boxes.add_rectangles([np.array(corners)])
    assert widget.wait()
    assert boxes.visible
    press(widget, "Control-z")
    assert not len(boxes.data) and not boxes.visible


def test_frames_that_come_are_drawn_in_a_small_part_of_the_time(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget, now, shown = opened, [100.0], []
    monkeypatch.setattr("napari_sam2track.showing.time.monotonic", lambda: now[0])

    def slow(frames: Any = None, read: bool = True) -> None:
        shown.append(frames)
        now[0] += 0.2

    monkeypatch.setattr(widget.layers, "show_masks", slow)
    widget._stale = {0}
    widget._refresh()
    now[0] += 9  # none while one is drawn
    widget._stale = {1}
    widget._refresh()
    assert shown == [[0]]
    now[0] -= 9
    QTest.qWait(100)
    assert not widget.drawing
    for late, drawn in ((3.9, 1), (4.1, 2)):  # of which 0.2 s are 5 %
        now[0] = 100.2 + late
        widget._stale = {1}
        widget._refresh()
        assert len(shown) == drawn
    QTest.qWait(100)
    widget._drawn(60.0)  # of which another plugin may have taken most
    now[0] += 5.1
    widget._stale = {2}
    widget._refresh()
    assert len(shown) == 3
    QTest.qWait(100)
    widget._stale = set()


@pytest.mark.parametrize("begun_by", ["both_button", "range_button"])
def test_keys_go_to_the_canvas_once_a_button_began_tracking(opened: Any, begun_by: str) -> None:
    """Qt gives them to the field beside a button that is off, which takes letters for itself."""
    from napari_sam2track.canvas import _canvases

    widget, window = opened, opened.viewer.window.main_menu.window()
    click(widget, 0, 0)
    widget.range_low.setFocus()
    button = getattr(widget, begun_by)
    button.setFocus()
    assert window.focusWidget() is button
    button.click()
    assert window.focusWidget() is _canvases(widget.viewer)[0]
    assert widget.wait()


def test_what_is_left_does_not_count_a_pause(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_sam2track.commands import Run

    now = [100.0]
    monkeypatch.setattr("napari_sam2track.showing.time.monotonic", lambda: now[0])
    opened._at = Run("export", began=100.0, done=2, total=4)
    now[0] = 110.0
    press(opened, "q")
    refused(opened, "the export is paused; Q, or the button Go on, lets it go on")
    now[0] = 150.0
    press(opened, "q")
    refused(opened, "the export goes on")
    opened._show_progress()
    assert opened.progress.format() == "2 of 4, 10 s left"
    opened._at = None


def test_what_takes_long_is_told_in_minutes_and_hours() -> None:
    told = [lasting(seconds) for seconds in (0.4, 99, 100, 2405, 5990, 7140)]
    assert told == ["0 s", "99 s", "2 min", "40 min", "1 h 40 min", "1 h 59 min"]


def test_a_run_that_is_paused_ends_where_a_step_is_taken_back(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.track("forward")
    widget.pause()
    widget.redo()  # of nothing
    QTest.qWait(100)
    assert widget._at.paused
    widget.undo()
    assert widget.wait()
    assert widget._at is None and widget.both_button.isEnabled()
    refused(widget, "a step was taken back or put back, which ended tracking")
    widget.redo()
    assert widget.wait()
    widget.track("forward")
    widget.redo()  # of nothing
    assert widget.wait()
    refused(widget, "tracked")
    assert len(widget.view.confidence(1)) == FRAMES


def test_a_run_that_is_paused_says_so_at_once(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.track("forward")
    widget._draw_after = time.monotonic() + 60
    ended = time.monotonic() + 40
    while widget._at.done < 1 and time.monotonic() < ended:
        QTest.qWait(5)
    widget.pause()
    while time.monotonic() < ended and not (
        widget.progress.format() == f"{widget._at.done} of {widget._at.total}, paused"
        and widget.frame == widget._at.done - 1  # which is drawn, too
    ):
        QTest.qWait(10)
    assert time.monotonic() < ended
    widget.pause()
    assert widget.wait()
    assert widget.frame == FRAMES - 1


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


def test_begun_again_while_a_session_is_open(
    make_napari_viewer_proxy: Any, video: Path, tmp_path: Path
) -> None:
    """Layers that go let go of their programs in the canvas's own context; else drawing crashes."""
    from qtpy.QtGui import QOpenGLContext
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    from napari_sam2track.widget import TrackWidget

    def look() -> None:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    viewer = make_napari_viewer_proxy(show=True)
    viewer.open(str(video), plugin="sam2track")
    widget = TrackWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.form.model_box.setCurrentText("nano")
    look()
    assert widget.wait()
    (canvas,) = viewer.window.main_menu.window().findChildren(QOpenGLWidget)
    current = []
    viewer.layers.events.removed.connect(
        lambda: current.append(QOpenGLContext.currentContext() == canvas.context())
    )
    click(widget, 0, 0)
    for count in range(2):
        widget.form.project_edit.setText(str(tmp_path / f"{count}.s2t"))
        widget.begin()
        assert widget.wait()
        look()
        assert widget.session.path.stem == str(count)
        assert widget.view.rows() == [] and len(viewer.layers) == 4
    viewer.layers.remove(widget.layers.clicks)  # a person's own doing
    look()
    assert widget.session is None and len(viewer.layers) == 1
    assert len(current) == 9 and all(current)
    widget.shut()


def test_a_project_is_opened_with_the_model_it_was_made_with(
    make_napari_viewer_proxy: Any, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name, precision and size, whatever ``auto`` would take now."""
    from napari_sam2track.session import Session
    from napari_sam2track.widget import TrackWidget
    from sam2track import load_model
    from sam2track.frames.opening import open_source
    from sam2track.models import loading

    path = video.with_suffix(".s2t")
    made_with = load_model("nano", device="cpu", precision="bf16", image_size=192)
    made = Session(open_source(video), made_with, path)
    made.tracker.prompt(1, 0, points=[centre(0, 0)])
    made.close()
    monkeypatch.setattr(loading, "choose_auto", lambda device: "sam2.1-large")
    viewer = make_napari_viewer_proxy()
    viewer.open(str(video), plugin="sam2track")
    widget = TrackWidget(viewer)
    assert widget.form.model_box.currentText() == "auto"
    widget.begin()
    assert widget.wait()
    model = widget.session.tracker.model
    assert (model.name, model.precision, model.image_size) == ("nano", "bf16", 192)
    assert [row.object_id for row in widget.view.rows()] == [1]
    widget.shut()
    widget.close()


def test_an_export_can_be_stopped(opened: Any, tmp_path: Path) -> None:
    widget = opened
    folder = tmp_path / "out"
    folder.mkdir()
    widget.export_to(folder)
    refused(widget, "nothing to write yet")
    click(widget, 0, 0)
    widget.track()
    widget.export_to(folder)
    refused(widget, "tracking is under way")
    assert widget.wait()
    export = widget.session.export

    def stopped_at_the_third(to: Path) -> Any:
        for count, at in enumerate(export(to)):
            yield at
            if count == 2:
                widget._worker.cancel()

    widget.session.export = stopped_at_the_third
    widget.export_to(folder)
    assert widget.cancel_button.isEnabled() and not widget.both_button.isEnabled()
    widget.track_to_next()
    refused(widget, "an export is under way")
    assert widget.wait()
    refused(widget, "was stopped; nothing is left")
    assert list(folder.iterdir()) == [] and not widget.cancel_button.isEnabled()
    widget.session.export = export
    widget.export_to(folder)
    assert widget.wait()
    assert f"are in {folder}" in widget.message.text()
    names = ["masks", "masks.mp4", "overlay.mp4", "tracks.csv"]
    assert sorted(path.name for path in folder.iterdir()) == names
    widget.export_to(folder)
    assert widget.wait()
    refused(widget, "holds masks already")


def test_a_format_of_other_tools_is_written_and_can_be_stopped(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QFileDialog

    from sam2track.export.exporting import FORMATS

    widget, asked = opened, []
    click(widget, 0, 0)
    widget.track()
    assert widget.wait()

    def chosen(_: Any, title: str, place: str) -> tuple[str, str]:
        asked.append((title, Path(place).name))
        return place, ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", chosen)
    assert list(widget.format_actions) == list(FORMATS)
    widget.format_actions["coco"].trigger()
    assert not widget.both_button.isEnabled()  # it is under way
    assert widget.wait()
    assert asked == [("A file for coco", "disks-coco.json")]
    written = tmp_path / "disks-coco.json"
    assert f"{written} is written: {FRAMES} frames" in widget.message.text()
    assert written.stat().st_size and not widget.cancel_button.isEnabled()
    tell = widget._worker._tell

    def stopped(event: Any) -> None:
        tell(event)
        if event.kind == "item" and event.value.done == 3:
            widget._worker.cancel()

    monkeypatch.setattr(widget._worker, "_tell", stopped)
    widget.export_as("ctc", tmp_path / "ctc")
    assert widget.wait()
    refused(widget, "was stopped; nothing is left of it")
    assert not (tmp_path / "ctc").exists()
    monkeypatch.undo()
    widget.export_as("coco", tmp_path / "disks.mp4")
    assert widget.wait()
    refused(widget, "is what is exported from")


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


def test_objects_begin_from_the_labels_of_another_layer(opened: Any) -> None:
    """As another plugin has segmented one frame, or all of them."""
    widget = opened
    one = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint16)
    one[4][true(0, 4)], one[4][true(1, 4)] = 7, 3
    layer = widget.viewer.add_labels(one, name="cellpose")
    widget.go(0)
    widget.identity_actions["begin_from_labels"].trigger()
    refused(widget, "cellpose holds no label on frame 0")
    widget.go(4)
    widget.identity_actions["begin_from_labels"].trigger()
    assert widget.wait()
    told = widget.message.text()
    assert "objects 3 and 7 begin on frame 4 from cellpose, which is hidden now; Track" in told
    assert not layer.visible and widget.viewer.layers.selection.active.name == "clicks"
    assert widget._object == 3 and [row.object_id for row in widget.view.rows()] == [3, 7]
    for which, object_id in ((0, 7), (1, 3)):
        assert overlap(widget.session.project.labels(4) == object_id, true(which, 4)) > 0.98
    widget.track()
    assert widget.wait()
    assert overlap(widget.session.project.labels(0) == 7, true(0, 0)) > 0.8
    # More of them, of one flat picture, with other numbers, as one is taken.
    widget.go(4)
    flat = np.zeros((HEIGHT, WIDTH), np.int32)
    flat[2:12, 100:120], flat[80:90, 5:15] = 1, 3
    widget.viewer.add_labels(flat, name="by hand")
    widget.viewer.layers.selection = {widget.layers.clicks}  # by hand is the one that is seen
    widget.begin_from_labels()
    assert widget.wait()
    assert [row.object_id for row in widget.view.rows()] == [1, 2, 3, 7]
    assert np.array_equal(widget.session.project.masks(4)[1], flat == 1)
    widget.undo()
    assert widget.wait()
    assert [row.object_id for row in widget.view.rows()] == [3, 7]
    widget.redo()
    assert widget.wait()
    assert [row.object_id for row in widget.view.rows()] == [1, 2, 3, 7]


def test_labels_that_lie_on_objects_begin_none(opened: Any) -> None:
    """What is tracked already is not begun again where more is segmented later."""
    widget = opened
    click(widget, 0, 0)
    widget.track()
    assert widget.wait()
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[true(0, 5)], labels[true(1, 5)] = 4, 9
    widget.go(5)
    layer = widget.viewer.add_labels(labels, name="cellpose")
    widget.begin_from_labels()
    assert widget.wait()
    assert [row.object_id for row in widget.view.rows()] == [1, 9]
    told = widget.message.text()
    assert "object 9 begins on frame 5 from cellpose" in told
    assert "1 label of it lies on an object that is there, and begins none" in told
    layer.visible, widget.viewer.layers.selection = True, {layer}
    widget.begin_from_labels()
    refused(widget, "all labels of cellpose on frame 5 lie on objects; none begins")
    assert widget.wait() and len(widget.view.rows()) == 2


def test_labels_that_do_not_fit_begin_nothing(opened: Any) -> None:
    widget, viewer = opened, opened.viewer
    widget.begin_from_labels()
    refused(widget, "no layer of labels but the session's own")
    small = viewer.add_labels(np.ones((HEIGHT, WIDTH - 1), np.uint8), name="small")
    widget.begin_from_labels()
    refused(widget, "small has 96 x 127 pixels and the picture 96 x 128")
    viewer.layers.remove(small)
    moved = viewer.add_labels(np.ones((HEIGHT, WIDTH), np.uint8), name="moved", translate=(3, 0))
    widget.begin_from_labels()
    refused(widget, "moved does not lie on disks")
    moved.translate, moved.scale = (0, WIDTH - 1), (1, -1)  # a mirror image
    widget.begin_from_labels()
    refused(widget, "moved does not lie on disks")
    moved.translate, moved.scale, moved.visible = (0, 0), (1, 1), False
    viewer.layers.selection = {widget.layers.clicks}
    widget.begin_from_labels()
    refused(widget, "the layer of labels moved is hidden; show it")
    moved.visible = True
    short = viewer.add_labels(np.ones((3, HEIGHT, WIDTH), np.uint8), name="short")
    viewer.layers.selection = {widget.layers.clicks}
    widget.go(5)
    widget.begin_from_labels()
    refused(widget, r"several layers of labels (moved, short); select the one")
    viewer.layers.selection = {short}
    widget.begin_from_labels()
    refused(widget, "short has nothing on the frame that is shown")
    assert widget.wait() and not widget.view.rows()


def test_names_and_colours_leave_masks_as_they_were_read(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds of objects on the frame the viewer stands still while they are read."""
    click(opened, 0, 0)
    read: list[Any] = []
    monkeypatch.setattr(opened.layers, "show_masks", lambda *given, **_: read.append(given))
    opened.rename(1, "cell")
    assert opened.wait()
    opened.recolour(1, (1.0, 0.0, 0.0, 1.0), False)
    assert opened.wait()
    assert read == []
    assert opened.view.rows()[0].name == opened.table.item(0, 2).text() == "cell"
    assert opened.layers.hidden == {1}
    opened.lock(1)  # which gives it pixels of others
    assert opened.wait()
    assert read == [()]


def test_masks_that_changed_are_read_in_the_thread(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of 500 objects took 0.2 s, for which the viewer stood still after each change."""
    click(opened, 0, 0)
    opened.track()
    assert opened.wait()
    opened.go(4)
    opened.select(2)
    readers: list[str] = []
    lists: list[View] = []
    read, rows = Project.labels, View.rows

    def labels(project: Project, *given: Any) -> Any:
        readers.append(threading.current_thread().name)
        return read(project, *given)

    monkeypatch.setattr(Project, "labels", labels)
    monkeypatch.setattr(View, "rows", lambda view: lists.append(view) or rows(view))

    def changed(objects: set[int]) -> None:
        assert {*readers} == {"sam2track"}
        assert np.array_equal(opened.layers.data.frame(4), read(opened.session.project, 4))
        assert {*np.unique(opened.layers.masks._slice.image.raw).tolist()} == objects
        del readers[:], lists[:]

    click(opened, 1, 4)
    changed({0, 1, 2})
    opened.undo()
    assert opened.wait()
    changed({0, 1})
    opened.redo()
    assert opened.wait()
    changed({0, 1, 2})
    paint(opened, 0, 4, 2)
    changed({0, 1, 2})
    opened.select(1)
    got: set[int] = set()
    get = Ledger.get
    monkeypatch.setattr(Ledger, "get", lambda *given: (got.add(given[1]), get(*given))[1])
    opened.confirm()
    assert opened.wait()
    assert got == {1}
    changed({0, 1, 2})
    opened.lock(1)
    assert opened.wait()
    assert len(lists) == 1
    changed({0, 1, 2})
    with pytest.raises(ValueError, match="int32"):
        opened.layers.masks.selected_label = 2**40


def test_masks_that_cannot_be_read_are_left_to_who_shows_them(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    click(opened, 0, 0)
    read = Project.labels

    def labels(project: Project, *given: Any) -> Any:
        if threading.current_thread().name == "sam2track":
            raise ProjectError("damaged")
        return read(project, *given)

    monkeypatch.setattr(Project, "labels", labels)
    click(opened, 1, 0)
    assert "the mask is given a score" in opened.message.text()
    assert overlap(np.asarray(opened.layers.masks.data[0] == 1), true(0, 0)) > 0.5


def test_the_number_of_a_deleted_object_is_given_to_no_other(opened: Any) -> None:
    widget = opened
    for which in (0, 1):
        widget.select(which + 1)
        click(widget, which, 0)
    widget.identity_actions["delete"].trigger()
    assert widget.wait()
    assert widget._object == 3
    click(widget, 1, 2)  # of another object, whatever N is pressed or not
    assert [row.object_id for row in widget.view.rows()] == [1, 3]
    press(widget, "n")
    assert widget._object == 4
    press(widget, "Control-z")
    press(widget, "Control-z")
    assert [row.object_id for row in widget.view.rows()] == [1, 2]
    assert widget._object == 2  # which came back
    press(widget, "Control-Shift-z")
    assert widget._object == 3
    press(widget, "Control-z")
    assert widget._object == 2
    assert overlap(widget.layers.masks.data[0] == 2, true(1, 0)) > 0.8


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
    least = widget.view.least_sure(1)
    assert widget.frame == least
    sure = widget.view.confidence(1)
    told = f"frame {least}: the least sure one of object 1, {sure[least]:.0%} sure"
    assert widget.message.text() == told
    press(widget, "Shift-j")
    assert widget.frame != least
    told = f"frame {widget.frame}: the next least sure one of object 1, {sure[widget.frame]:.0%}"
    assert widget.message.text() == f"{told} sure"
    widget.timeline.resize(160, 56)
    widget.timeline.chosen.emit(widget.timeline.frame_at(159))
    assert widget.frame == FRAMES - 1


def test_the_keys_are_free_in_napari() -> None:
    from napari.layers import Image, Labels, Points, Shapes, Tracks
    from napari.utils.key_bindings import coerce_keybinding

    from napari_sam2track.keys import KEYS

    mine = {str(coerce_keybinding(key)) for key in KEYS if "Control" not in key}
    for kind in (Image, Labels, Points, Shapes, Tracks):
        assert not mine & {str(key) for key in kind.class_keymap}


def test_keys_do_the_same_whichever_layer_of_the_session_is_active(opened: Any) -> None:
    widget, image = opened, opened.layers.image
    image.bind_key("k", lambda _: None, overwrite=True)
    widget.end()
    assert len(image.keymap) == 1  # that of a person alone is left
    widget.begin()
    assert widget.wait()
    click(widget, 0, 0)
    press(widget, "q")
    assert widget.layers.tracks is not None
    held = widget.layers
    for layer in (image, held.clicks, held.boxes, held.masks, held.tracks):
        before = widget.background
        press(widget, "g", layer)
        assert widget.background is not before
    before = widget.frame
    press(widget, "k", image)
    assert widget.frame == before  # a key that a person has bound on the layer stays theirs


@pytest.mark.parametrize("selected", [(), ("clicks", "masks"), ("other",)])
def test_undo_without_a_layer_of_the_session_says_which_to_select(
    opened: Any, selected: tuple[str, ...]
) -> None:
    from napari.utils.key_bindings import KeymapHandler

    widget, viewer = opened, opened.viewer
    click(widget, 0, 0)
    viewer.add_points(None, ndim=3, name="other")
    viewer.layers.selection = {viewer.layers[name] for name in selected}
    active = viewer.layers.selection.active
    keys = KeymapHandler()
    keys.keymap_providers = [viewer] if active is None else [active, viewer]
    for key in ("Control-Z", "Control-Shift-Z"):
        widget.show_message("", calm=True)
        keys.press_key(key)
        assert widget.wait()
        refused(widget, "select one layer in the list, and that alone, for undo and redo: one of")
        refused(widget, "clicks")
    assert widget.view.said().keys() == {(1, 0)}
    widget.end()
    assert widget.wait()
    widget.show_message("", calm=True)
    assert not viewer.keymap and widget.message.text() == ""


def test_the_key_for_a_new_label_begins_the_next_object(opened: Any) -> None:
    from napari.utils.key_bindings import KeymapHandler

    widget = opened
    click(widget, 0, 0)
    keys = KeymapHandler()
    keys.keymap_providers = [widget.layers.masks]
    keys.press_key("M")  # ours comes before that of all layers of labels
    assert widget.wait()
    assert widget._object == 2 and widget.layers.masks.selected_label == 2
    paint(widget, 1, 0, widget.layers.masks.selected_label)
    assert [row.object_id for row in widget.view.rows()] == [1, 2]
    widget.show_keys()
    (box,) = widget.findChildren(QMessageBox)
    assert "<b>M</b>" in box.text()
    box.close()


def test_a_click_says_its_score_and_undo_what_it_took_back(opened: Any) -> None:
    widget = opened
    click(widget, 0, 2)
    assert "object 1, frame 2" in widget.message.text() and "score of 0." in widget.message.text()
    press(widget, "Control-z")
    assert widget.message.text() == "took back: click or box of object 1 on frame 2"
    press(widget, "Control-z")
    assert widget.message.text() == "there is nothing to be taken back"
    press(widget, "Control-Shift-z")
    widget.track()
    assert widget.wait()
    assert f"tracked {FRAMES} frames" in widget.message.text()
    widget.track()
    assert widget.wait()
    assert "nothing has changed" in widget.message.text()
    assert "nano on cpu" in widget.form.state.text() and "GB" in widget.form.state.text()
    widget.select(2)
    paint(widget, 1, 3, 2)
    press(widget, "Control-z")
    assert widget.message.text() == "took back: mask of object 2 on frame 3"
    press(widget, "Control-Shift-z")
    assert widget.message.text() == "put back: mask of object 2 on frame 3"
    click(widget, 1, 3)
    widget.layers.clicks.selected_data = {1}
    widget.layers.clicks.remove_selected()
    assert widget.wait() and len(widget.layers.clicks.data) == 1
    for key, how in (("Control-z", "took back"), ("Control-Shift-z", "put back")):
        press(widget, key)
        assert widget.message.text() == f"{how}: click or box of object 2 on frame 3"
    widget.select(1)
    widget.absent()
    assert widget.wait()
    press(widget, "Control-z")
    assert "took back: not here of object 1 on frame" in widget.message.text()
    for does, told in (
        (widget.delete, "delete"),
        (lambda: widget.lock(1), "lock"),
        (lambda: widget.lock(1, locked=False), "unlock"),
    ):
        does()
        assert widget.wait()
        press(widget, "Control-z")
        assert widget.message.text() == f"took back: {told} of object 1"
        if told == "lock":
            widget.lock(1)
            assert widget.wait()


def test_the_preview_shows_what_the_model_sees(opened: Any) -> None:
    widget = opened
    widget.preview()
    widget.go(3)
    assert widget.wait()
    picture = widget._preview.picture.pixmap().toImage()
    assert picture.width() >= 100 and "frame 3 of 8" in widget._preview.told.text()
    x, y = (value * picture.width() / WIDTH for value in centre(0, 3))
    colour = picture.pixelColor(int(x), int(y))
    assert colour.red() > 180 and colour.green() < 120
    QApplication.processEvents()
    assert widget._preview.picture.height() >= picture.height()  # all of it is seen


def test_the_preview_is_of_the_image_that_is_chosen(opened: Any) -> None:
    """Also while another one is open: it is looked at before it is begun."""
    widget = opened
    blue = np.zeros((4, 64, 64, 3), np.uint8)
    blue[..., 2] = 200
    widget.viewer.add_image(blue, name="blue")
    widget.form.image_box.setCurrentText("blue")
    widget.preview()
    assert widget.wait()
    colour = widget._preview.picture.pixmap().toImage().pixelColor(50, 50)
    assert (colour.red(), colour.blue()) == (0, 200)
    assert "of 4" in widget._preview.told.text()


def test_why_there_is_nothing_to_preview_is_said_once(opened: Any) -> None:
    widget = opened
    widget.preview()
    box = ChannelBox("c", 3, 0)
    box.setCurrentText("c green")
    widget.form.axis_boxes.append((0, box))
    told = len(widget._refusals)
    for frame in (3, 4, 5):
        widget.go(frame)
    assert len(widget._refusals) == told + 1 and "'green' of axis c" in widget._refusals[-1]
    widget.preview()  # asked for again
    assert len(widget._refusals) == told + 2
    widget.form.axis_boxes.clear()


def test_channels_are_offered_as_layers_of_them_come(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    form = Form(viewer)
    clip = pictures()[..., 0]
    for channel in range(2):
        form.reset_choices()
        assert not form.channels_box.isEnabled()
        viewer.add_image(clip, name=f"channel {channel}")
    form.reset_choices()
    form.channels_box.setChecked(True)
    assert form.channels_box.isEnabled() and len(form.chosen().arrays) == 2
    viewer.layers[1].visible = False
    with pytest.raises(UsageError, match="channel 0 alone is visible; show the others"):
        form.chosen()
    viewer.layers.pop(1)
    form.reset_choices()
    assert not form.channels_box.isEnabled() and len(form.chosen().arrays) == 1


def test_an_imported_stack_is_gone_on_with_in_its_layer(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    from napari_sam2track.widget import TrackWidget

    path = tmp_path / "cells.tif"
    labels = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    labels[:, 20:40, 20:40] = 3
    tifffile.imwrite(path, pictures()[..., 0], metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "labels.tif", labels, metadata={"axes": "TYX"})
    import_masks(tmp_path / "labels.tif", tmp_path / "p.s2t", source=path, model="nano")
    viewer = make_napari_viewer_proxy()
    viewer.open(path, plugin="napari")
    widget = TrackWidget(viewer)
    try:
        widget.form.project_edit.setText(str(tmp_path / "p.s2t"))
        widget.begin()
        assert widget.wait() and widget.session is not None, widget.message.text()
        assert "p.s2t is open again with 1 object" in widget.message.text()
        assert np.array_equal(widget.layers.masks.data[2], labels[2])
        press(widget, "j")
        told = "all masks of object 3 are imported or fixed, and count as sure"
        assert widget.message.text() == told
        press(widget, "Shift-j")
        assert widget.message.text() == told
    finally:
        widget.shut()
        widget.close()


def test_layers_as_channels(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    from napari_sam2track.widget import TrackWidget

    clip = pictures().astype(np.uint16) * 16
    viewer = make_napari_viewer_proxy()
    for channel in range(2):
        viewer.add_image(clip[..., channel], contrast_limits=(0, 4080), axis_labels="tyx")
    widget = TrackWidget(viewer)
    widget.form.project_edit.setText(str(tmp_path / "channels.s2t"))
    widget.form.model_box.setCurrentText("nano")
    widget.form.channels_box.setChecked(True)
    assert len(widget.form.chosen().arrays) == 2
    widget.begin()
    assert widget.wait()
    seen = widget.session.source.read(0)
    (x, y), (u, v) = centre(0, 0), centre(1, 0)
    assert not np.array_equal(seen[y, x], seen[v, u])  # red and green are told apart
    click(widget, 0, 0)
    assert overlap(widget.layers.masks.data[0] == 1, true(0, 0)) > 0.7
    widget.end()
    widget.form.channels_box.setChecked(False)
    widget.begin()
    assert widget.wait()
    refused(widget, "2 channels, now there are 1")
    widget.shut()


def test_an_axis_as_channels(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    clip = np.moveaxis(pictures(), -1, 1).astype(np.uint16) * 16  # (T, C, Y, X)
    clip = np.concatenate([clip[:, :1] * 0, clip], axis=1)
    labels = ("t", "c", "y", "x")
    with stack(
        make_napari_viewer_proxy, tmp_path, clip, axis_labels=labels, contrast_limits=(0, 4080)
    ) as widget:
        ((_, box),) = widget.form.axis_boxes
        assert box.currentText() == "c 1" or box.currentText() == "c 0"
        for wrong, said in (
            ("c 9", "allowed are 0 to 3"),
            ("c 1 1", "two or three"),
            ("c q", "'q'"),
        ):
            box.setCurrentText(wrong)
            widget.begin()
            refused(widget, said)
        box.setCurrentText("1, 2 3")  # as one may write it
        widget.begin()
        assert widget.wait()
        assert np.abs(widget.session.source.read(0).astype(int) - pictures()[0]).max() <= 1
        x, y = centre(0, 0)
        widget.layers.clicks.add(np.array([0, 2, y, x]))
        assert widget.wait()
        masks = widget.layers.masks.data
        assert overlap(masks[0, 0] == 1, true(0, 0)) > 0.8
        assert np.array_equal(masks[0, 0], masks[0, 3])
        widget.export_as("yolo-seg", tmp_path / "yolo")  # whose pictures only the layer has
        assert widget.wait()
        assert "no pictures" not in widget.message.text(), widget.message.text()
        pictures_there = {p.name for p in (tmp_path / "yolo" / "images").rglob("*.jpg")}
        assert pictures_there == {f"stack_{t:05d}.jpg" for t in range(FRAMES)}
        widget.form.axis_boxes[0][1].setCurrentText("c max")
        widget.begin()  # read as when it was made
        assert widget.wait()
        assert widget.form.axis_boxes[0][1].currentText() == "c 1 2 3"
        assert widget.layers.axes.channels == (1, (1, 2, 3))
        assert [row.object_id for row in widget.view.rows()] == [1]


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
