"""What is said, and that a refusal is the last thing that is."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks
from PIL import Image
from qtpy.QtGui import QColor, QPalette
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel

from napari_sam2track import memory
from napari_sam2track.axes import guess_axes
from napari_sam2track.line import Line
from napari_sam2track.opening import Choice, free_or_of, source_of
from napari_sam2track.session import Session
from napari_sam2track.view import Said
from sam2track.errors import PromptError
from sam2track.frames.opening import open_source
from sam2track.project import Project, WriterLock
from sam2track.prompts import Prompt
from tests.napari.conftest import FRAMES, HEIGHT, WIDTH, centre, pictures
from tests.napari.hands import click, press, refused, stack

pytestmark = pytest.mark.viewer


def test_a_range_that_ends_before_it_begins(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.range_low.setValue(6)
    widget.range_high.setValue(2)
    widget.range_button.click()
    assert widget.wait()
    refused(widget, "begins with frame 6 and ends with frame 2")
    assert widget.view.confidence(1).keys() == {0}
    widget.range_low.setValue(2)
    widget.range_high.setValue(3)
    widget.range_button.click()
    assert widget.wait()
    assert widget.view.confidence(1).keys() >= {0, 2, 3}
    widget.range_low.setValue(4)
    widget.range_high.setValue(4)
    widget.range_button.click()
    assert widget.wait()
    refused(widget, "tracked 1 frame in")
    widget.begin()
    assert widget.wait()
    refused(widget, "is open again with 1 object;")


def test_a_refusal_is_the_last_thing_said(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    gate = threading.Event()
    widget.change("slow", lambda s: gate.wait(20), "it was slow")
    widget.layers.clicks.add(np.array([0, -30, 500]))
    refused(widget, "beside the picture")
    gate.set()
    assert widget.wait()
    said = widget.message.text().splitlines()
    assert said[0] == "it was slow" and "beside the picture" in said[-1]
    widget.track()
    widget.merge()
    assert widget.wait()
    said = widget.message.text().splitlines()
    assert "tracked 8 frames" in said[0] and "select two objects" in said[-1]
    # What is asked for afterwards is said as ever.
    widget.go(0)
    widget.confirm()
    assert widget.wait()
    assert widget.message.text() == "object 1 is right on frame 0, and stays so"


def test_that_the_model_is_being_loaded_is_said(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    from napari_sam2track.widget import TrackWidget

    viewer = make_napari_viewer_proxy()
    viewer.add_image(pictures(), rgb=True)
    widget = TrackWidget(viewer)
    try:
        widget.form.project_edit.setText(str(tmp_path / "a.s2t"))
        widget.form.model_box.setCurrentText("nano")
        gate = threading.Event()
        widget._worker.do("slow", lambda: gate.wait(20))
        viewer.dims.ndisplay = 3
        widget.begin()
        refused(widget, "the view was 3-D")
        refused(widget, "the model is being loaded")
        for ask in (widget.begin, widget.track, widget.undo, lambda: widget.export_to(tmp_path)):
            widget.show_message("", calm=True)
            ask()
            refused(widget, "the model is being loaded")
        gate.set()
        assert widget.wait()
        refused(widget, "click on an object")
        refused(widget, "the view was 3-D")
    finally:
        gate.set()
        widget.shut()
        widget.close()


# In a process of its own: napari's application is made once, and tests have made theirs.
OPENED = """
import json, sys
import napari
from qtpy.QtWidgets import QApplication
from napari_sam2track.launch import launch

def run():
    viewer = napari.current_viewer()
    (dock,) = viewer.window.dock_widgets.values()
    assert dock.wait(100)
    QApplication.processEvents()
    now = viewer.camera.zoom, *viewer.camera.center
    viewer.reset_view()
    layer, project = viewer.layers[0], str(dock.session.path)
    about = layer.name, list(layer.data.shape), type(layer.data).__name__, project
    print(json.dumps([now, (viewer.camera.zoom, *viewer.camera.center), about]))
    dock.shut()
    viewer.close()

napari.run = run
for path in sys.argv[1:]:
    launch(path)
"""


def test_what_is_opened_fills_the_view(video: Path) -> None:
    folder = video.with_name("day.1")
    folder.mkdir()
    for frame, picture in enumerate(pictures()):
        Image.fromarray(picture).save(folder / f"{frame:05}.png")
    stack = video.with_name("stack.tif")  # which napari's own readers would open, too
    tifffile.imwrite(stack, pictures(), photometric="rgb")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OPENED, str(video), str(folder), str(stack)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, line in zip(("disks", "day.1", "stack"), done.stdout.splitlines()[-3:], strict=True):
        found, wanted, about = json.loads(line)
        assert found == pytest.approx(wanted, rel=0.02)
        project = str(video.with_name(f"{name}.s2t"))
        assert about == [name, [FRAMES, HEIGHT, WIDTH, 3], "VideoArray", project]


INTERRUPTED = """
import sys
import napari
from napari_sam2track.launch import launch

def run():
    (dock,) = napari.current_viewer().window.dock_widgets.values()
    assert dock.wait(100) and dock.session is not None
    raise KeyboardInterrupt

napari.run = run
try:
    launch(sys.argv[1])
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_from_the_terminal_closes_the_project(video: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERRUPTED, str(video)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 130, done.stderr[-3000:]
    assert [path.name for path in video.parent.iterdir()] == [video.name]  # nothing was said to it


def test_messages_name_what_there_is_in_the_viewer(
    make_napari_viewer_proxy: Any, video: Path, model: Any
) -> None:
    """Not options of the command line."""
    path = video.with_suffix(".s2t")
    grey = pictures().mean(-1).astype(np.uint16)
    otherwise = source_of([grey], guess_axes(grey.shape), [(0.0, 100.0)])
    with stack(make_napari_viewer_proxy, video.parent, grey, contrast_limits=(0, 255)) as widget:
        widget.form.project_edit.setText(str(path))
        for source, what, hint in (
            (
                open_source(video),
                "from a video or images, now it is a",
                "choose its image and model",
            ),
            (otherwise, "with limits", "choose how they are read beside Time and Values"),
        ):
            path.unlink(missing_ok=True)
            made = Session(source, model, path)
            made.tracker.prompt(1, 0, points=[centre(0, 0)])
            made.close()
            widget.begin()
            assert widget.wait() and widget.session.path.name == "stack.s2t"
            refused(widget, f"disks.s2t was made {what}")
            refused(widget, f"here, {hint}")
            refused(widget, "or another project under Project; stack.s2t stays open")
            assert "leave it out" not in widget.message.text()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("torch.cuda.is_available", lambda: False)
            widget.form.device_box.setCurrentText("cuda")
            widget.begin()
            assert widget.wait()
        refused(widget, "here, choose the device beside Model")
        assert "--" not in widget.message.text()


def test_a_project_in_the_home_folder(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/there")
    for given, path in (("~/x.s2t", "/there/x.s2t"), ("~nobody_at_all/x", "~nobody_at_all/x")):
        opened.form.project_edit.setText(given)
        assert str(opened.form.chosen().path) == path


def test_the_units_of_a_layer_are_those_of_tables_also_once_they_are_set_later(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    grey = pictures().mean(-1).astype(np.uint8)
    with stack(make_napari_viewer_proxy, tmp_path, grey) as widget:
        click(widget, 0, 0)
        assert "frame_interval_s" not in widget.session.project.meta
        image = widget.layers.image
        image.units, image.scale = ("minute", "um", "um"), (5, 0.5, 0.5)
        widget.begin()
        assert widget.wait()
        meta = widget.session.project.meta
        assert (meta["frame_interval_s"], meta["pixel_size_um"]) == (300.0, [0.5, 0.5])
        widget.track("forward")
        assert widget.wait()
        widget.export_as("csv", tmp_path / "table.csv")
        assert widget.wait()
        rows = list(csv.DictReader((tmp_path / "table.csv").open()))
        assert [float(row["time_s"]) for row in rows] == [300.0 * t for t in range(FRAMES)]


def test_what_is_asked_of_an_object_that_has_nothing_yet(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.next_object()
    for key, says in (
        ("w", "there is no object 2; there are [1]: prompt it first"),
        ("Shift-w", "there is no object 2; there are [1]: prompt it first"),
        ("u", "there is no object 2; there are [1]: prompt it first"),
        ("j", "nothing is tracked of object 2 yet"),
        ("Shift-j", "nothing is tracked of object 2 yet"),
        ("k", "nothing was said of object 2 after this frame"),
        ("Shift-k", "nothing was said of object 2 before this frame"),
        ("g", "clicks say what does not belong to the object from now on"),
        ("g", "clicks say the object from now on"),
    ):
        press(widget, key)
        refused(widget, says)
    assert widget.frame == 0 and {row.object_id for row in widget.view.rows()} == {1}
    click(widget, 1, 3)
    press(widget, "Shift-w")  # of an object that is there it can be said of any frame
    assert {row.object_id for row in widget.view.rows()} == {1, 2}
    refused(widget, "object 2 is not on frame 0")


def test_where_keys_went_and_what_a_range_held_is_said(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.go(3)
    press(widget, "Shift-k")
    refused(widget, "frame 0: something was said of object 1 here")
    widget.go(3)
    click(widget, 0, 3)
    widget.go(0)
    press(widget, "k")
    refused(widget, "frame 3: something was said of object 1 here")
    widget.track()
    assert widget.wait()
    widget.range_low.setValue(3)
    widget.range_high.setValue(3)
    widget.track_range()
    assert widget.wait()
    refused(widget, "nothing has changed that is to be tracked within frames 3 to 3")


def test_beyond_its_end_a_person_is_told_how_to_let_it_end_later(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.go(3)
    widget.end_here()
    assert widget.wait()
    click(widget, 0, 5)
    refused(widget, "object 1 ends before frame 3")
    refused(widget, "Object, End before this frame, on a later one; or undo")
    assert len(widget.layers.clicks.data) == 1
    widget.go(7)
    widget.end_here()
    assert widget.wait()
    click(widget, 0, 5)
    assert (1, 5) in widget.view.said()


def test_a_place_where_no_project_can_be(opened: Any, tmp_path: Path) -> None:
    widget = opened
    (tmp_path / "folder.s2t").mkdir()
    (tmp_path / "junk.s2t").write_bytes(b"no project" * 99)
    places = [tmp_path / name for name in ("folder.s2t", "junk.s2t", f"{'n' * 300}.s2t")]
    for path in (*places, Path("/dev/null"), tmp_path / "used.s2t"):
        widget.end()
        assert widget.wait()
        with WriterLock(path) if path.stem == "used" else nullcontext():
            widget.form.project_edit.setText(str(path))
            widget.begin()
            assert widget.wait()
        refused(widget, "choose another place under Project")
        assert widget.session is None
        widget.show_message("", calm=True)


def test_nothing_is_asked_where_nothing_can_be_written(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> Any:
        raise AssertionError("a place was asked for")

    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", asked)
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getSaveFileName", asked)
    for export in (opened.export, lambda: opened.export_format("ctc")):
        export()
        refused(opened, "there is nothing to write yet; click on an object first")


@pytest.mark.parametrize("what", ["lock", "delete", "split", "end_here"])
def test_a_run_to_which_a_change_of_objects_left_nothing_says_so(opened: Any, what: str) -> None:
    widget = opened
    click(widget, 0, 0)
    track = widget.session.track

    def held(*asked: Any) -> Any:
        for count, result in enumerate(track(*asked), start=1):
            if count == 2:
                widget._worker.pause()
            yield result

    widget.session.track = held
    widget.track()
    while widget._at.done < 2:
        QTest.qWait(5)
    widget.go({"split": 1, "end_here": 4}.get(what, 0))
    getattr(widget, what)(*[1][: what == "lock"])
    widget._worker.pause(False)
    assert widget.wait()
    count = 4 if what == "end_here" else 2
    told = "Track goes on with what is left" if what == "split" else "nothing is left to track"
    refused(widget, f"tracked {count} frames in")
    refused(widget, f"s, until objects were changed; {told}")
    assert any(row.state == "to track" for row in widget.view.rows()) == (what == "split")


def test_axes_without_names_are_asked_for(make_napari_viewer_proxy: Any) -> None:
    from napari_sam2track.widget import TrackWidget

    viewer = make_napari_viewer_proxy()
    viewer.add_image(np.zeros((3, 4, 20, 30), np.uint8))
    widget = TrackWidget(viewer)
    widget.begin_if_plain()
    refused(widget, "choose beside Time how its axes are read, then press Begin")
    assert widget.session is None
    widget.shut()
    widget.close()


def test_a_project_whose_folder_goes_and_comes_back(opened: Any, video: Path) -> None:
    """With the video in it; a file lies there meanwhile."""
    widget, folder = opened, video.parent
    click(widget, 0, 0)
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_text("a file")
    widget.look_after_file()
    assert widget.wait()
    refused(widget, "all of it is still open")
    folder.unlink()
    away.rename(folder)
    widget.look_after_file()
    assert widget.wait()
    refused(widget, "is there again, and goes on")
    click(widget, 0, 3)
    assert set(widget.view.said()) == {(1, 0), (1, 3)}


def test_another_model_is_chosen_while_one_is_open(opened: Any) -> None:
    widget, form = opened, opened.form
    for box, name in ((form.model_box, "sam2.1-tiny"), (form.device_box, "cuda")):
        kept = box.currentText()
        box.setCurrentText(name)
        box.textActivated.emit(name)
        refused(widget, f"nano on cpu goes on; press Begin to go on with {name}")
        widget.tell("", calm=True)
        box.setCurrentText(kept)
        box.textActivated.emit(kept)
        assert not widget.message.text()


def test_a_model_that_cannot_be_had_says_how_to_go_on(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    widget, session = opened, opened.session
    click(widget, 0, 0)
    state = widget.form.state.text()
    for model, device in (("sam2.1-large", "cpu"), ("sam9", "cpu"), ("nano", "mps")):
        widget.form.model_box.setCurrentText(model)
        widget.form.device_box.setCurrentText(device)
        widget.begin()
        assert widget.wait()
        refused(widget, "disks.s2t stays open")
        if model != "sam9":  # of which those that are known are said
            refused(widget, "or choose nano on auto, and press Begin")
        assert widget.session is session and widget.form.state.text().startswith(state[:20])
        click(widget, 1, 0)  # it goes on as if nothing had been asked
        refused(widget, "the mask is given a score of")
    widget.form.model_box.setCurrentText("nano")
    widget.form.device_box.setCurrentText("cpu")
    widget.begin()
    assert widget.session is session  # until the model is there
    assert widget.wait()
    assert widget.session is not session
    refused(widget, "is open again with 1 object")
    widget.end()
    widget.form.model_box.setCurrentText("sam2.1-large")
    widget.begin()
    assert widget.wait()
    refused(widget, "or choose nano on auto, and press Begin")
    assert "stays open" not in widget.message.text()
    assert widget.form.state.text() == "not open"


def test_a_layer_that_goes_while_another_is_being_opened(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    grey = pictures().mean(-1).astype(np.uint8)
    with stack(make_napari_viewer_proxy, tmp_path, grey, name="one") as widget:
        viewer, first = widget.viewer, widget.session
        for name in ("two", "three"):
            viewer.add_image(grey[:, ::-1], name=name)
            widget.form.image_box.setCurrentText(name)
            widget.form.project_edit.setText(str(tmp_path / f"{name}.s2t"))
            gate = threading.Event()
            widget.change("slow", lambda s, gate=gate: gate.wait(20), scores=False)
            widget.begin()
            assert widget.session is first
            viewer.layers.remove({"two": "two", "three": "one"}[name])
            gate.set()
            assert widget.wait()
            if name == "two":
                refused(widget, "the layer was removed while its project was opened")
                assert widget.session is first
        # What was open went, and what was being opened is there.
        assert widget.session is not None and widget.session is not first
        assert widget.layers.image.name == "three"
        assert widget.session.path.name == "three.s2t"


def test_a_project_that_is_none_closes_nothing(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "junk.s2t").write_text("something else")
    (tmp_path / "folder").mkdir()
    places = (
        ("junk.s2t", "not a database"),
        ("folder", "folder is a folder; here"),
        ("nul\0.s2t", "no name of a file"),
    )
    for name, said in places:
        opened.form.project_edit.setText(str(tmp_path / name))
        opened.begin()
        assert opened.wait() and opened.session is not None
        refused(opened, said)
        refused(opened, "disks.s2t stays open")


def test_what_is_done_while_another_project_is_opened_is_saved_where_it_was_done(
    opened: Any, tmp_path: Path
) -> None:
    """A stroke that is being made, too: nothing is closed under a button that is down."""
    widget, viewer, session = opened, opened.viewer, opened.session
    masks = widget.layers.masks
    widget.form.project_edit.setText(str(tmp_path / "other.s2t"))
    gate = threading.Event()
    widget._worker.do("slow", lambda: gate.wait(20))
    widget.begin()
    refused(widget, "then other.s2t is opened; what is done until then is saved in disks.s2t")
    x, y = centre(0, 0)
    widget.layers.clicks.add(np.array([0, y, x]))
    mouse_press_callbacks(viewer, read_only_mouse_event(type="mouse_press"))
    gate.set()
    assert not widget.wait(1)
    assert widget.session is session and masks in viewer.layers
    x, y = centre(1, 0)
    masks.selected_label = 2
    with masks.block_history():
        masks.paint((0, y, x), 2)
    masks.events.paint(value=[])
    widget.track()
    mouse_release_callbacks(viewer, read_only_mouse_event(type="mouse_release"))
    assert widget.wait()
    assert widget.session.path == tmp_path / "other.s2t" and not widget.view.said()
    refused(widget, "tracking in disks.s2t was stopped; what was tracked is kept there")
    with Project.open(session.path) as project:
        assert {*project.prompts.by_object} == {1, 2}


def test_another_project_is_typed_while_one_is_open(opened: Any, tmp_path: Path) -> None:
    widget, edit = opened, opened.form.project_edit
    other = tmp_path / "other.s2t"
    edit.setText(str(other))
    edit.editingFinished.emit()
    refused(
        widget, "disks.s2t is still the one that is open; press Begin to go on in " + str(other)
    )
    click(widget, 0, 0)
    edit.editingFinished.emit()  # as when the field is left, some time later
    refused(widget, "is given a score of")
    edit.setText(str(widget.session.path))
    edit.editingFinished.emit()
    refused(widget, "is given a score of")
    edit.setText(str(other))
    edit.editingFinished.emit()
    refused(widget, "is still the one that is open")
    widget.begin()
    assert widget.wait()
    assert widget.session.path == other


def test_a_dock_that_is_opened_again_goes_on_in_the_same_project(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    from napari_sam2track.widget import TrackWidget

    viewer = make_napari_viewer_proxy()
    viewer.add_image(np.stack([pictures().mean(-1).astype(np.uint8)] * 2, 1), name="planes")
    for again in (False, True):
        widget = TrackWidget(viewer)
        try:
            assert (widget.form.project_edit.text() == str(tmp_path / "mine.s2t")) == again
            if not again:
                widget.form.project_edit.setText(str(tmp_path / "mine.s2t"))
                widget.form.model_box.setCurrentText("nano")
            widget.begin()
            assert widget.wait()
            if again:
                refused(widget, "mine.s2t is open again with 1 object")
            else:
                widget.layers.clicks.add(np.array([0, 0, 30, 30]))
                assert widget.wait()
        finally:
            widget.shut()
            widget.close()


def test_what_is_said_of_a_long_name_leaves_the_dock_as_it_is(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = opened
    least = widget.minimumSizeHint().width()
    name = "an_<b>experiment</b>_of_" + 15 * "condition_"
    click(widget, 0, 0)
    widget.rename(1, name)
    assert widget.wait()
    refused(widget, f"object 1 is called '{name}'")  # as it is written
    assert widget.message.toolTip().count("condition") == 15
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=1e9))
    widget.end()
    widget.form.model_box.setCurrentText("sam2.1-large")
    assert "too little: choose a smaller model" in widget.form.state.text()
    QApplication.processEvents()
    assert widget.minimumSizeHint().width() == least


@pytest.mark.parametrize(
    "whole",
    [
        "e\u0301",
        "\u0e01\u0e34",
        "\u0915\u094d\u0937",
        "\u0644\u0645\u0651\u0645",
        "\U0001f468\u200d\U0001f469",
        "\U0001f44d\U0001f3fd",
        "\U0001f1e9\U0001f1ea",
    ],
)
def test_what_is_drawn_as_one_is_not_broken(qapp: Any, whole: str) -> None:
    shown = QLabel.text(Line(f"{8 * 'a'}{whole}{8 * 'b'}"))
    assert shown == "\u200b".join([*8 * "a", whole, *8 * "b"])


def test_a_refusal_can_be_read_in_each_theme(opened: Any) -> None:
    widget = opened
    widget.tell("no")
    for theme in ("light", "dark"):
        widget.viewer.theme = theme
        QApplication.processEvents()
        text, behind = (
            _luminance(widget.message.palette().color(role))
            for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Window)
        )
        assert (max(text, behind) + 0.05) / (min(text, behind) + 0.05) > 4.5, theme


def _luminance(colour: QColor) -> float:
    """As the guidelines for accessible web pages have it, by which contrast is told."""
    parts = [(part / 12.92, ((part + 0.055) / 1.055) ** 2.4) for part in colour.getRgbF()[:3]]
    linear = [low if low <= 0.04045 / 12.92 else high for low, high in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_a_video_that_is_opened_while_another_is_says_how_to_go_on_with_it(opened: Any) -> None:
    widget, clip = opened, pictures()
    widget.viewer.add_image(clip, name="plain")
    assert "plain" not in widget.message.text()  # whatever it is for
    other = widget.viewer.add_image(clip, name="other", metadata={"sam2track": {}})
    refused(widget, "disks is still the one that is open; choose other beside Image")
    widget.viewer.layers.remove("plain")
    widget.viewer.layers["disks"].name = "first"
    widget.form.image_box.setCurrentText("first")  # as it is called now
    hidden = "other lies over first: hide it with its eye"
    for place, opacity, told in ((0, 1, True), (0, 0.5, False), (2 * WIDTH, 1, False)):
        other.translate, other.opacity = (0, 0, place), opacity
        widget.begin()
        assert widget.wait()
        assert (hidden in widget.message.text()) == told, (place, opacity)


def test_another_image_is_chosen_while_one_is_open(
    make_napari_viewer_proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = pictures().mean(-1).astype(np.uint8)
    with stack(make_napari_viewer_proxy, tmp_path, grey, name="one") as widget:
        click(widget, 0, 0)
        mine = widget.form.project_edit.text()
        widget.viewer.add_image(grey[:, ::-1], name="two")
        widget.form.image_box.setCurrentText("two")
        refused(widget, "one is still the one that is open; press Begin to go on with two")
        others = widget.form.project_edit.text()
        assert others != mine
        Path(mine).unlink()
        Path(mine).write_text("another file")
        widget.look_after_file()
        assert widget.wait()
        assert widget.form.project_edit.text() == others  # that of one is elsewhere, not of two
        mine = mine.replace("stack.s2t", "stack-2.s2t")
        widget.form.project_edit.setText(mine)
        widget.begin()
        assert widget.wait()
        refused(widget, "made from other pictures")
        refused(widget, "or another project under Project; stack-2.s2t stays open")
        session = widget.session
        assert session is not None and set(widget.view.said()) == {(1, 0)}
        taken = tmp_path / "taken.s2t"
        meta = {"height": HEIGHT, "width": WIDTH, "frames": FRAMES}
        with Project.create(taken, meta=meta, times=np.arange(FRAMES)):
            widget.form.project_edit.setText(str(taken))
            widget.begin()
            assert widget.wait()
            refused(widget, "is in use by another job or viewer")
            refused(widget, "choose another place under Project; stack-2.s2t stays open")
            assert widget.session is session
            # As where somebody began to write to it while the model was loaded.
            with monkeypatch.context() as later:
                later.setattr(Choice, "load", lambda *_: session.model)
                widget.begin()
                assert widget.wait()
            refused(widget, "stack-2.s2t was closed for it, and is saved")
            assert widget.session is None
        widget.form.project_edit.setText(mine)
        widget.form.image_box.setCurrentText("one")
        assert widget.form.project_edit.text() == mine
        widget.begin()
        assert widget.wait()
        assert set(widget.view.said()) == {(1, 0)}


def test_arrays_of_one_name_have_projects_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Image.s2t"
    axes = guess_axes((4, 64, 64))
    assert free_or_of(path, axes) == path
    made = Choice((np.zeros(axes.shape),), axes, (None,), path)
    meta = {"height": 64, "width": 64, "frames": 4, **made.settings()}
    with Project.create(path, meta=meta, times=np.arange(4)) as project:
        project.add_prompt(1, 0, Prompt(points=((3, 3),)))
    assert free_or_of(path, axes) == path
    assert free_or_of(path, guess_axes((5, 64, 64))) == tmp_path / "Image-2.s2t"
    (tmp_path / "Image-2.s2t").write_text("something else")
    assert free_or_of(path, guess_axes((5, 64, 64))) == tmp_path / "Image-3.s2t"


def test_a_plane_that_is_not_shown(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    """The viewer goes to the one that is tracked; elsewhere it is named."""
    from napari_sam2track.widget import TrackWidget

    grey = pictures().mean(-1).astype(np.uint8)
    viewer = make_napari_viewer_proxy()
    viewer.add_image(np.stack([grey] * 3, 1), axis_labels=("t", "z", "y", "x"))
    viewer.dims.set_point(1, 2)
    widget = TrackWidget(viewer)
    widget.form.project_edit.setText(str(tmp_path / "a.s2t"))
    widget.form.model_box.setCurrentText("nano")
    ((_, box),) = widget.form.axis_boxes
    box.setValue(0)
    widget.begin()
    assert widget.wait()
    try:
        assert widget.layers.axes.fixed == ((1, 0),) and viewer.dims.point[1] == 0
        x, y = centre(0, 0)
        widget.layers.clicks.add(np.array([0, 2, y, x]))
        assert widget.wait()
        refused(widget, "go back to index 0 of axis z")
        widget.go(3)
        assert viewer.dims.point[:2] == (3, 0)
    finally:
        widget.shut()
        widget.close()


def test_rolled_axes_are_not_flat(opened: Any) -> None:
    opened.viewer.dims.order = (1, 0, 2)
    refused(opened, "roll the axes back (Ctrl+E)")
    click(opened, 0, 0)
    refused(opened, "roll the axes back (Ctrl+E)")
    assert not opened.view.said() and not len(opened.layers.clicks.data)
    opened.viewer.dims.order = (0, 2, 1)  # transposed, the rows and columns of a frame are shown
    click(opened, 0, 0)
    assert set(opened.view.said()) == {(1, 0)}


def test_the_strip_begins_where_the_viewer_is_and_ends_with_the_last_frame(opened: Any) -> None:
    assert opened.timeline._now == opened.frame
    strip = opened.timeline
    strip.resize(100, strip.height())
    for frames in (8, 100, 640):
        strip.show_object({}, [], frames)
        assert [strip.frame_at(x) for x in (0, 99)] == [0, frames - 1]


def test_the_list_scrolls_to_whom_one_prompts(opened: Any) -> None:
    said = {(i, 0): Said(points=((3.0 + i, 5.0),), labels=(1,)) for i in range(1, 41)}
    opened.change("say", lambda s: s.say_all(said))
    assert opened.wait()
    table = opened.table
    for object_id in (40, 1, 35):
        opened.select(object_id)
        row = table.visualItemRect(table.item(object_id - 1, 1))
        assert table.viewport().rect().contains(row.center())


def test_progress_of_a_range_is_that_of_the_range(opened: Any) -> None:
    click(opened, 0, 4)
    frames = opened.session.frames_to_run
    assert frames("both", 3, 6) == 2 + 1 and frames("forward", 3, 6) == 2
    assert frames("both") == FRAMES and frames("backward", 0, 3) == 3


def test_what_scripts_say_wrongly(opened: Any, video: Path, tmp_path: Path) -> None:
    click(opened, 0, 0)
    with pytest.raises(PromptError, match="positive integers"):
        opened.select(-1)
    click(opened, 1, 0)
    assert set(opened.view.said()) == {(1, 0)}
    opened.export_as("nonsense", tmp_path / "a.csv")
    assert opened.wait()
    refused(opened, "format 'nonsense'; allowed are")
    for place in (tmp_path / "none", video):
        opened.export_to(place)
        assert opened.wait()
        refused(opened, f"there is no folder {place}; make it first, or choose another one")
    opened.export_to(str(tmp_path))
    assert opened.wait()
    assert (tmp_path / "tracks.csv").exists()
    opened.begin()
    opened.end()
    assert opened.wait()
    refused(opened, "what was being opened is closed again")
    assert opened.session is None and opened.layers is None


def test_an_id_that_is_none_for_pictures(opened: Any, tmp_path: Path) -> None:
    opened.select(70000)
    click(opened, 0, 0)
    opened.export_to(tmp_path)
    assert opened.wait()
    refused(opened, "object 70000 does not fit the 16 bits of the mask pictures; export it for")


def test_of_many_objects_their_number_is_said(opened: Any) -> None:
    """A message is one line, however many there are."""
    painted = np.zeros((HEIGHT, WIDTH), int)
    for number in range(1, 13):
        painted[8:40, 9 * number : 9 * number + 8] = number
    at = np.nonzero(painted)
    masks = opened.layers.masks
    with masks.block_history():
        masks.data_setitem((np.zeros(len(at[0]), int), *at), painted[at])
    QTest.qWait(300)  # until it counts as ended
    assert opened.wait()
    told = "12 objects (from 1 to 12) are new, and begin with what you painted on frame 0"
    assert opened.message.text() == told
    opened.select(40)
    press(opened, "w")
    refused(opened, "there is no object 40; there are 12, from 1 to 12: prompt it first")
    opened.table.selectAll()
    opened.delete()
    assert opened.wait()
    refused(opened, "12 objects (from 1 to 12) are gone")
    press(opened, "Control-z")
    refused(opened, "took back: delete of 12 objects (from 1 to 12)")


def test_an_object_that_goes_with_its_last_prompt_is_said_to_be_gone(opened: Any) -> None:
    click(opened, 0, 0)
    click(opened, 0, 3)
    opened.go(3)
    opened.clear()
    assert opened.wait()
    assert opened.message.text() == "nothing is said of object 1 on frame 3 any more"
    opened.go(0)
    opened.clear()
    assert opened.wait()
    assert opened.message.text().endswith("the object is gone")
    assert opened.view.rows() == []
    clicks = opened.layers.clicks
    for which in (0, 1):
        opened.select(which + 1)
        click(opened, which, 0)
    click(opened, 1, 3)
    for index, told in ((2, "nothing is said of object 2 on frame 3 any more"), (0, "is gone")):
        clicks.selected_data = {index}
        clicks.remove_selected()
        assert opened.wait() and opened.message.text().endswith(told)
    refused(opened, "of object 1 on frame 0 any more, nor on another: object 1 is gone")
    assert [row.object_id for row in opened.view.rows()] == [2]
