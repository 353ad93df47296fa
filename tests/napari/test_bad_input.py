"""What cannot be is said in the viewer, which goes on, and nothing that was done is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEventLoop, QTimer

from sam2track.errors import OutputError
from tests.napari.conftest import FRAMES, HEIGHT, WIDTH, centre, overlap, pictures, true
from tests.napari.hands import click, paint, press, refused, stack

pytestmark = pytest.mark.viewer


@pytest.mark.parametrize(
    ("data", "about", "says"),
    [
        (np.zeros((20, 30), np.uint8), {}, "time, rows and columns"),
        (np.zeros((1, 20, 30), np.uint8), {}, "single frame"),
        (np.zeros((1, 20, 30, 3), np.uint8), {"rgb": True}, "single frame"),
        (np.zeros((5, 20, 30, 3), np.uint8), {"rgb": False}, "colours were taken for columns"),
        (np.zeros((5, 1, 1), np.uint8), {}, "as 8 x 8 are needed"),
    ],
    ids=["plane", "one-frame", "one-frame-in-colour", "colours", "tiny"],
)
def test_what_cannot_be_tracked_is_said(
    make_napari_viewer_proxy: Any, tmp_path: Path, data: Any, about: Any, says: str
) -> None:
    with stack(make_napari_viewer_proxy, tmp_path, data, **about) as widget:
        refused(widget, says)
        assert widget.session is None


def test_axes_of_one_frame_are_no_choice(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    """(T, Z, Y, X) with a single T: Z is followed, and the session begins by itself."""
    grey = pictures().mean(-1).astype(np.uint8)[None]
    labels = ("t", "z", "y", "x")
    with stack(make_napari_viewer_proxy, tmp_path, grey, axis_labels=labels) as widget:
        form = widget.form
        assert [form.time_box.itemText(i) for i in range(form.time_box.count())] == ["z (8)"]
        assert not form.axis_boxes
        assert widget.layers.axes.time == 1 and widget.layers.axes.fixed == ((0, 0),)
        x, y = centre(0, 3)
        widget.go(3)
        widget.layers.clicks.add(np.array([0, 3, y, x]))
        assert widget.wait()
        assert overlap(widget.layers.masks.data[0, 3] == 1, true(0, 3)) > 0.6
        widget.end()
        begun = []
        widget.begin = lambda: begun.append(True)
        widget.begin_if_plain()
        assert begun
        # What cannot be read at all offers no axis of another layer.
        widget.viewer.add_image(np.zeros((1, 20, 30), np.uint8))
        form.image_box.setCurrentIndex(1)
        refused(widget, "two frames or more")
        assert not form.time_box.count()


def test_the_plane_that_is_shown_is_taken_beside_layers_of_more_axes(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    data = np.zeros((4, 6, 20, 30), np.uint8)
    labels = ("t", "z", "y", "x")
    with stack(
        make_napari_viewer_proxy, tmp_path, data, axis_labels=labels, scale=(1, 2, 1, 1)
    ) as widget:
        widget.viewer.add_image(np.zeros((2, 4, 6, 20, 30), np.uint8), scale=(1, 1, 2, 1, 1))
        widget.viewer.dims.set_point(range(3), (0, 1, 8))
        assert widget.form.guess(widget.viewer.layers[0]).fixed == ((1, 4),)


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
        widget.viewer.dims.set_point((0, 1), (0, 0))
        widget.layers.masks.events.paint(value=[])
        assert widget.wait()
        refused(widget, "this plane is not tracked; go back to index 1 of axis")
        steps = widget.session.project.position
        for command in (widget.confirm, widget.absent, widget.clear, widget.split):
            widget.tell("")
            command()
            assert widget.wait()
            refused(widget, "this plane is not tracked; go back to index 1 of axis")
        assert widget.session.project.position == steps
        assert widget.view.meta["viewer"]["axes"]["fixed"] == [[1, 1]]
        widget.track()
        assert widget.wait()
        rows = widget.layers.tracks.data
        assert rows.shape[1] == 5 and set(rows[:, 2]) == {1.0}
        assert tuple(widget.layers.tracks.scale) == (1, 2, 0.5, 0.5)


def test_prompts_of_the_brightest_plane_lie_where_one_looks(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    grey = pictures().mean(-1)
    data = np.stack([grey * 0, grey, grey * 0], axis=1)
    labels = ("t", "z", "y", "x")
    with stack(make_napari_viewer_proxy, tmp_path, data, axis_labels=labels) as widget:
        widget.form.axis_boxes[0][1].setValue(-1)
        widget.begin()
        assert widget.wait()
        widget.viewer.dims.set_point((0, 1), (0, 2))
        x, y = centre(0, 0)
        clicks, boxes = widget.layers.clicks, widget.layers.boxes
        clicks.add(np.array([0, 2, y, x]))
        corners = ((y - 9, x - 9), (y - 9, x + 9), (y + 9, x + 9), (y + 9, x - 9))
        boxes.add_rectangles([np.array([(0, 2, *corner) for corner in corners])])
        assert widget.wait()
        widget.undo()
        assert widget.wait()
        widget.redo()
        assert widget.wait()
        assert clicks.data[:, 1].tolist() == [2] and boxes.data[0][:, 1].tolist() == [2] * 4


def test_the_form_shows_how_a_project_reads_its_pictures(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    grey = pictures().mean(-1)
    data = np.stack([grey, grey], axis=1)
    labels = ("t", "z", "y", "x")
    with stack(make_napari_viewer_proxy, tmp_path, data, axis_labels=labels) as widget:
        widget.form.axis_boxes[0][1].setValue(1)
        widget.begin()
        assert widget.wait()
        x, y = centre(0, 0)
        widget.layers.clicks.add(np.array([0, 1, y, x]))
        assert widget.wait()
        widget.form.axis_boxes[0][1].setValue(0)
        widget.form.values_box.setCurrentText("percentiles")
        widget.begin()
        assert widget.wait()
        assert widget.layers.axes.fixed == ((1, 1),)
        assert widget.form.axis_boxes[0][1].value() == 1
        assert widget.form.values_box.currentText() == "contrast limits"
        assert "axes and values are read as when it was made" in widget.message.text()


def test_an_axis_of_channels_is_not_taken_for_time_unasked(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    from qtpy.QtWidgets import QApplication

    from napari_sam2track.widget import TrackWidget

    viewer = make_napari_viewer_proxy()
    viewer.add_image(pictures()[:3].mean(-1), axis_labels=("c", "y", "x"))
    widget = TrackWidget(viewer)
    viewer.window.add_dock_widget(widget)
    QApplication.processEvents()
    assert widget.wait() and widget.session is None
    assert "axis c holds channels" in widget.message.text()
    widget.shut()


def test_a_video_that_is_opened_beside_the_panel_begins(
    make_napari_viewer_proxy: Any, video: Path
) -> None:
    from qtpy.QtWidgets import QApplication

    from napari_sam2track.widget import TrackWidget

    viewer = make_napari_viewer_proxy()
    widget = TrackWidget(viewer)
    viewer.window.add_dock_widget(widget)
    QApplication.processEvents()
    viewer.open(str(video), plugin="sam2track")
    QApplication.processEvents()
    assert widget.wait() and widget.session is not None
    assert widget.session.path == video.with_suffix(".s2t")
    widget.shut()


def test_a_place_that_cannot_be_written_is_said(opened: Any, tmp_path: Path) -> None:
    widget = opened
    (tmp_path / "file").touch()
    widget.form.project_edit.setText(str(tmp_path / "file" / "below" / "p.s2t"))
    widget.begin()
    assert widget.wait() and widget.session is not None
    refused(widget, "p.s2t: Not a directory")
    refused(widget, "disks.s2t stays open")
    refused(widget, "choose another place under Project")


def test_a_project_in_a_folder_that_cannot_be_written_says_how_to_go_on_with_it(
    opened: Any, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk of others; another place alone would begin an empty one."""
    widget = opened
    click(widget, 0, 0)
    widget.end()
    assert widget.wait()

    def refuse(path: Path) -> None:
        raise OutputError(f"{path.parent} cannot be written; give another folder")

    monkeypatch.setattr("napari_sam2track.opening.WriterLock", refuse)
    widget.begin()
    assert widget.wait() and widget.session is None
    refused(widget, "to go on with disks.s2t, copy it into a folder that can be written; choose an")


def test_what_ends_tracking_is_said(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.track()
    widget.undo()
    assert widget.wait()
    assert "which ended tracking" in widget.message.text()


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
    refused(widget, "unlock it first: its box under lock in the list")
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


def test_missing_weights_are_said(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def no_network(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", no_network)
    widget, session = opened, opened.session
    widget.form.model_box.setCurrentText("/no/where.pt")
    widget.begin()
    assert widget.wait()
    assert widget.session is session
    refused(widget, "/no/where.pt")
    widget.form.model_box.setCurrentText("sam2.1-large")  # not on this disk
    widget.begin()
    assert widget.wait()
    refused(widget, "cannot be downloaded")


def test_a_brush_takes_nothing_from_others_unasked(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    before = widget.layers.masks.data[0].copy()
    assert widget.layers.masks.preserve_labels
    paint(widget, 0, 0, 2)
    assert np.array_equal(widget.layers.masks.data[0], before)
    # A number that no object has is a new object, which is said and selected.
    widget.layers.masks.preserve_labels = False
    paint(widget, 0, 0, 7)
    assert widget._object == 7 and "object 7 is new" in widget.message.text()
    assert [row.object_id for row in widget.view.rows()] == [1, 7]
    press(widget, "Control-z")  # one stroke, though two objects changed
    assert np.array_equal(widget.layers.masks.data[0], before)


def test_other_data_in_the_layer_ends_the_session(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    image = widget.layers.image
    image.data = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    assert widget.wait()
    refused(widget, "other data")
    assert widget.session is None and list(widget.viewer.layers) == [image]
    assert widget.table.rowCount() == 0 and widget.form.state.text() == "not open"


def test_memory_that_runs_out_while_tracking_keeps_what_is_done(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    run = widget.session.track

    def failing(*args: Any) -> Iterator[Any]:
        for count, result in enumerate(run(*args)):
            if count == 3:
                raise MemoryError
            yield result

    widget.session.track = failing
    widget.track()
    assert widget.wait()
    refused(widget, "smaller model")
    widget.session.track = run
    widget.track()
    assert widget.wait()
    assert [row.state for row in widget.view.rows()] == ["tracked"]
    assert overlap(widget.layers.masks.data[6] == 1, true(0, 6)) > 0.8


def test_a_closed_dock_ends_the_session(opened: Any, video: Path) -> None:
    from sam2track import Project

    widget = opened
    click(widget, 0, 0)
    widget.viewer.window.remove_dock_widget(widget)
    assert [layer.name for layer in widget.viewer.layers] == ["disks"]
    assert not any(thread.name == "sam2track" for thread in threading.enumerate())
    with Project.open(video.with_suffix(".s2t"), writable=True) as project:
        assert project.objects == (1,)


def test_a_project_whose_video_moved_is_said_in_the_viewer(
    video: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari

    from napari_sam2track.launch import launch

    session.tracker.prompt(1, 0, points=[centre(0, 0)])
    session.project.close()
    video.rename(video.with_name("moved.mp4"))
    said = []

    def run() -> None:
        viewer = napari.current_viewer()
        (dock,) = viewer.window.dock_widgets.values()
        said.append(dock.message.text())
        dock.shut()
        viewer.close()

    monkeypatch.setattr(napari, "run", run)
    launch(session.path, show=False)
    assert "not there any more" in said[0]


def test_a_project_whose_video_is_gone_says_so_where_it_is_dropped(
    make_napari_viewer_proxy: Any, video: Path, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a script has it raised."""
    session.tracker.prompt(1, 0, points=[centre(0, 0)])
    session.project.close()
    video.rename(video.with_name("moved.mp4"))
    viewer, said = make_napari_viewer_proxy(), []
    monkeypatch.setattr("napari.utils.notifications.show_error", said.append)

    def drop() -> None:
        try:
            assert viewer.open(str(session.path), plugin=None) == []
        except Exception as error:  # which napari shows
            said.append(str(error))
        loop.quit()

    loop = QEventLoop()
    QTimer.singleShot(0, drop)
    loop.exec()
    (told,) = said
    assert told.startswith("disks.s2t was made from") and "open the video or stack itself" in told
    with pytest.raises(ValueError, match="not there any more"):
        viewer.open(str(session.path), plugin=None)


KILLED = """
import os, signal, sys
import numpy as np, napari
from napari_sam2track.worker import Worker
from tests.napari.conftest import centre
viewer = napari.Viewer(show=False)
viewer.open(sys.argv[1], plugin="sam2track")
_, widget = viewer.window.add_plugin_dock_widget("sam2track", "SAM 2 Track")
widget.form.model_box.setCurrentText("nano")
widget.wait()
for which in (0, 1):
    widget.select(which + 1)
    x, y = centre(which, 0)
    widget.layers.clicks.add(np.array([0, y, x]))
    widget.wait()
say = widget._worker._say
count = []
def counted(event):
    say(event)
    count.append(event.kind)
    if count.count("item") == 5:
        os.kill(os.getpid(), signal.SIGKILL)
widget._worker._say = counted
widget.track()
widget.wait()
"""


def test_a_viewer_that_is_killed_loses_at_most_the_last_action(video: Path, tmp_path: Path) -> None:
    """Killed in the middle of tracking: what was clicked and most frames are there; it goes on."""
    from click.testing import CliRunner

    from sam2track import Project
    from sam2track.cli.main import main

    done = subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, str(video)], check=False)
    assert done.returncode == -signal.SIGKILL
    path = video.with_suffix(".s2t")
    with Project.open(path) as project:
        assert project.objects == (1, 2)
        frames = project.frames
        assert 4 <= len(frames) < FRAMES
        kept = {frame: project.labels(frame) for frame in frames}
    assert all(overlap(kept[t] == 1, true(0, t)) > 0.8 for t in kept)
    done_again = CliRunner().invoke(
        main, ["replay", str(path), "-o", str(tmp_path / "again"), "--write", "table"]
    )
    assert done_again.exit_code == 0, done_again.output


def test_a_project_whose_file_is_removed_is_written_anew(opened: Any, video: Path) -> None:
    widget, path = opened, video.with_suffix(".s2t")
    click(widget, 0, 0)
    path.unlink()
    widget._slow_timer.timeout.emit()
    assert widget.wait()
    refused(widget, "removed or moved while it was open; it is written anew")
    path.rename(path.with_name("moved.s2t"))
    path.write_bytes(b"another's")
    widget._slow_timer.timeout.emit()
    assert widget.wait()
    refused(widget, "all that was done is kept in disks-2.s2t")
    widget.next_object()
    click(widget, 1, 0)
    assert overlap(widget.layers.masks.data[0] == 2, true(1, 0)) > 0.8
    widget.begin()  # goes on with what the panel names now
    assert widget.wait()
    assert widget.session.path.name == "disks-2.s2t"
    assert [row.object_id for row in widget.view.rows()] == [1, 2]


def test_a_project_that_is_moved_with_its_video_goes_on_once_that_is_back(
    opened: Any, video: Path, tmp_path: Path
) -> None:
    widget, path, away = opened, video.with_suffix(".s2t"), tmp_path / "away"
    click(widget, 0, 0)
    away.mkdir()
    for one in (video, path):
        one.rename(away / one.name)
    for _ in range(2):
        widget._slow_timer.timeout.emit()
        assert widget.wait()
        refused(widget, "is written anew with all that was done")
        refused(widget, "its pictures are gone, too")
        refused(widget, "put them back where they were")
    assert len(widget._refusals) == 1 and path.exists()
    click(widget, 1, 0)
    refused(widget, "put it back where it was, and this goes on: all that was done is kept in")
    assert len(widget.layers.clicks.data) == 1
    (away / video.name).rename(video)
    widget._slow_timer.timeout.emit()
    assert widget.wait()
    widget.next_object()
    click(widget, 1, 0)
    widget.track()
    assert widget.wait()
    assert overlap(widget.view.labels(5) == 2, true(1, 5)) > 0.8
    # Closed while they are away, it is whole as well.
    from sam2track.project import Project

    for one in (video, path):
        one.rename(away / one.name)
    widget.end()
    assert widget.wait()
    with Project.open(path) as project:
        assert project.objects == (1, 2) and project.labels(5).any()


def test_that_a_file_cannot_be_written_anew_is_said_once(
    opened: Any, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam2track.project import Project

    def full(project: Project, path: Path) -> None:
        raise OSError(28, "No space left on device")

    widget = opened
    click(widget, 0, 0)
    video.with_suffix(".s2t").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Project, "written_anew", full)
        for _ in range(2):
            widget._slow_timer.timeout.emit()
            assert widget.wait()
            refused(widget, "it is tried again")
        assert len(widget._refusals) == 1
    widget._slow_timer.timeout.emit()
    assert widget.wait()
    refused(widget, "written anew with all")
