"""What is drawn and painted in the layers of a session, also while other things are under way."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers._layer_actions import _convert
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from sam2track.errors import OutputError
from tests.napari.conftest import FRAMES, HEIGHT, WIDTH, centre, overlap, pictures, true
from tests.napari.hands import busy, click, paint, press, refused, stack, stroke

pytestmark = pytest.mark.viewer

# Commands that say something of the frame that is shown.
OF_A_FRAME = ["absent", "confirm", "clear", "split", "end_here", "divide", "swap", "paste_prompts"]


def box(frame: int, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Corners of a rectangle, in the layer's pixels."""
    corners = ((y0, x0), (y0, x1), (y1, x1), (y1, x0))
    return np.array([[frame, y, x] for y, x in corners], float)


def test_boxes_that_cannot_be_are_taken_away_and_nothing_else(opened: Any) -> None:
    widget, boxes = opened, opened.layers.boxes
    x, y = centre(0, 0)
    good = box(0, x - 17, y - 17, x + 17, y + 17)
    boxes.add_rectangles([good])
    assert widget.wait()
    said = widget.layers.prompts()
    mask = widget.layers.masks.data[0].copy()
    for bad, why in (
        (box(0, 50, 50, 51.2, 70), "1.2 x 20.0 pixels on the picture, and needs 2 each way"),
        (box(0, WIDTH + 5, 5, WIDTH + 30, 30), "beside the picture"),
        (box(0, 5, -40, 30, -10), "beside the picture"),
    ):
        boxes.add_rectangles([bad])
        assert widget.wait()
        refused(widget, why)
        assert len(boxes.data) == 1 and widget.layers.prompts() == said
    # One that was there is moved out: it is put back.
    boxes.data = [good + np.array([0, 0, 500.0])]
    assert widget.wait()
    refused(widget, "beside the picture")
    assert np.allclose(boxes.data[0], good) and widget.layers.prompts() == said
    assert np.array_equal(widget.layers.masks.data[0], mask) and mask.any()


def test_clicks_that_cannot_be_are_taken_away_and_nothing_else(opened: Any) -> None:
    widget, clicks = opened, opened.layers.clicks
    click(widget, 0, 0)
    there = clicks.data.copy()
    clicks.data = there + np.array([0, 0, 500.0])  # moved out
    assert widget.wait()
    refused(widget, f"beside the picture, at (530, 30) where it has {WIDTH} x {HEIGHT} pixels")
    assert np.allclose(clicks.data, there) and widget.layers.masks.data[0].any()
    # A good one that follows at once is taken, and stays to be seen.
    x, y = centre(0, 0)
    clicks.add(np.array([0, -30, 500]))
    clicks.add(np.array([0, y + 8, x]))
    assert widget.wait()
    expected = [[0, y, x], [0, y + 8, x]]
    assert np.allclose(clicks.data, expected)
    clicks.add(np.array([0, y - 8, x]))
    assert widget.wait()
    assert len(widget.session.prompt_on(1, 0).points) == 3


def test_a_click_on_its_way_stays_to_be_seen(opened: Any) -> None:
    """Though something that was asked for before it comes back first, with what was said then."""
    widget = opened
    click(widget, 0, 0)
    gate = threading.Event()
    widget.change("slow", lambda s: gate.wait(20))
    x, y = centre(0, 0)
    widget.layers.clicks.add(np.array([0, y + 8, x]))
    gate.set()
    assert widget.wait()
    assert len(widget.layers.clicks.data) == 2
    assert widget.layers.prompts() == widget.view.said()


def test_clicks_and_boxes_of_others_at_the_edge_are_shown(opened: Any) -> None:
    """The command line takes what no hand would draw; it is shown, and does not go round."""
    widget = opened

    def said(session: Any) -> None:
        session.tracker.prompt(1, 0, points=[(WIDTH, HEIGHT)], labels=[1])
        session.tracker.prompt(2, 0, box=(10.0, 10.0, 11.5, 11.5))

    widget.change("elsewhere", said)
    assert widget.wait()
    click(widget, 0, 3)
    assert widget.view.said().keys() == {(1, 0), (2, 0), (1, 3)}
    assert widget.layers.prompts().keys() == {(1, 0), (2, 0), (1, 3)}
    assert "score of" in widget.message.text()


def test_boxes_are_drawn_at_once_where_their_layer_is_chosen(opened: Any) -> None:
    widget, selection = opened, opened.viewer.layers.selection
    assert widget.layers.boxes.mode == "pan_zoom"
    selection.active = widget.layers.boxes
    assert widget.layers.boxes.mode == "add_rectangle"
    x, y = centre(0, 0)
    widget.layers.boxes.add_rectangles([box(0, x - 17, y - 17, x + 17, y + 17)])
    assert widget.wait()
    assert widget.layers.boxes.mode == "add_rectangle"  # for the next one
    widget.layers.boxes.mode = "select"
    selection.active = widget.layers.clicks
    selection.active = widget.layers.boxes
    assert widget.layers.boxes.mode == "select"  # as a person left it


def test_only_what_was_painted_changes(opened: Any) -> None:
    """Another object's mask comes between a stroke and its being taken."""
    widget = opened
    click(widget, 0, 0)
    masks = widget.layers.masks
    x, y = centre(0, 0)
    masks.brush_size, masks.selected_label = 6, 1
    with masks.block_history():
        masks.paint((0, y + 16, x), 1)  # the brush is down …
    shown = np.asarray(masks.data[0] == 1)

    def other(session: Any) -> None:
        session.tracker.prompt(2, 0, points=[centre(1, 0)])

    widget.change("elsewhere", other)
    assert widget.wait()
    masks.events.paint(value=[])  # … and up
    assert widget.wait()
    assert overlap(masks.data[0] == 2, true(1, 0)) > 0.8
    assert np.array_equal(masks.data[0] == 1, shown)
    assert widget.session.project.prompts.by_object[2][0].points  # no edit of object 2
    assert widget.session.prompt_on(1, 0).mask is not None


def test_what_was_erased_changes_nothing_else(opened: Any) -> None:
    widget = opened
    for which in (0, 1):
        widget.select(which + 1)
        click(widget, which, 0)
    masks = widget.layers.masks
    before = masks.data[0].copy()
    x, y = centre(0, 0)
    masks.brush_size, masks.selected_label = 8, 1
    with masks.block_history():
        masks.paint((0, y, x), 0)  # as the eraser does
    masks.events.paint(value=[])
    assert widget.wait()
    after = masks.data[0]
    changed = before != after
    assert changed.any() and set(before[changed]) == {1} and set(after[changed]) == {0}
    assert widget.session.prompt_on(2, 0).mask is None


@pytest.mark.parametrize("number", [300, 65_536, 70_000, 2**31 - 1])
def test_objects_with_high_numbers_have_their_colour(opened: Any, number: int) -> None:
    widget = opened
    widget.layers.masks.preserve_labels = False
    paint(widget, 0, 0, number)
    masks = widget.layers.masks
    x, y = centre(0, 0)
    assert masks.data[0, y, x] == number == widget._object
    colour = masks.get_color(number)
    assert np.allclose(colour, widget.layers.colour(number)) and not np.allclose(colour[:3], 1)
    click(widget, 0, 1)
    assert widget.view.confidence(number).keys() == {0, 1}
    # napari takes memory for each number up to the highest track's.
    shown = set() if widget.layers.tracks is None else set(widget.layers.tracks.data[:, 0])
    assert shown == ({number} if number < 2**20 else set())


def test_a_number_is_in_its_colour_before_there_is_an_object(opened: Any) -> None:
    widget = opened
    widget.layers.masks.selected_label = 70_000
    assert np.allclose(widget.layers.masks.get_color(70_000), widget.layers.colour(70_000))


def test_nothing_is_taken_from_the_3d_view(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    said, before = widget.layers.prompts(), widget.layers.masks.data[0].copy()
    steps = widget.session.project.position
    widget.viewer.dims.ndisplay = 3
    refused(widget, "2-D")
    x, y = centre(1, 3)
    widget.layers.clicks.add(np.array([3, y, x]))
    assert widget.wait()
    refused(widget, "flat frames")
    widget.layers.masks.data[0, :20, :20] = 1
    widget.layers.masks.events.paint(value=[])
    assert widget.wait()
    assert widget.layers.prompts() == said
    assert np.array_equal(widget.layers.masks.data[0], before)
    assert widget.session.project.position == steps


def test_a_box_comes_back_in_the_3d_view(opened: Any) -> None:
    widget = opened
    x, y = centre(1, 3)
    widget.layers.boxes.add_rectangles([box(3, x - 17, y - 17, x + 17, y + 17)])
    assert widget.wait()
    said = widget.layers.prompts()
    widget.undo()
    assert widget.wait()
    widget.viewer.dims.ndisplay = 3
    widget.redo()
    assert widget.wait()
    assert len(widget.layers.boxes.data) == 1 and widget.layers.prompts() == said


def test_other_data_in_the_layer_of_masks_close_the_session(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    path = widget.session.path
    widget.layers.masks.data = np.zeros(widget.layers.axes.shape, np.int32)
    assert widget.wait() and widget.session is None
    assert "of which nothing is saved" in widget.message.text()
    widget.begin()
    assert widget.wait() and widget.session.path == path
    assert overlap(widget.layers.masks.data[0] == 1, true(0, 0)) > 0.8


def test_pixels_that_a_program_sets_are_painted(opened: Any) -> None:
    from qtpy.QtWidgets import QApplication

    widget = opened
    click(widget, 0, 2)
    masks = widget.layers.masks
    rows, columns = np.nonzero(true(1, 2))
    masks.data_setitem((np.full(len(rows), 2), rows, columns), 2)
    QApplication.processEvents()
    assert widget.wait()
    assert np.array_equal(widget.view.labels(2) == 2, true(1, 2))
    assert np.array_equal(masks.data[np.full(len(rows), 2), rows, columns], [2] * len(rows))
    masks.data[3, 5:9, 5:9] = 4
    QApplication.processEvents()
    assert widget.wait()
    assert (widget.view.labels(3) == 4).sum() == 16


def test_layers_can_be_duplicated(opened: Any) -> None:
    from copy import deepcopy

    widget = opened
    click(widget, 0, 0)
    copied = deepcopy(widget.layers.masks.data)
    assert np.array_equal(copied, np.asarray(widget.layers.masks.data)) and copied.any()
    copied[0] = 7
    assert 7 not in widget.layers.masks.data[0]
    picture = widget.layers.image.data
    assert np.array_equal(deepcopy(picture)[3], picture[3])


def test_masks_are_converted_as_napari_does(opened: Any) -> None:
    """The layer that comes of it is read also once the session is closed, as the menu does that."""
    widget = opened
    click(widget, 0, 0)
    masks, layers = widget.layers.masks, widget.viewer.layers
    assert masks.data.astype(np.uint8).dtype == np.uint8
    layers.selection = {masks}
    _convert(layers, "image")
    assert widget.wait()
    refused(widget, "a layer of the session was removed")
    image = layers["masks"]
    assert overlap(np.asarray(image.data[0]) == 1, true(0, 0)) > 0.8
    for frame in (3, 0):
        widget.viewer.dims.set_point(0, frame)
    layers.remove(image)


def test_a_kind_of_click_that_there_is_not_is_one_on_the_object(opened: Any) -> None:
    """As can be written into napari's table of features: each click after it was an error."""
    widget = opened
    click(widget, 0, 0)
    widget.layers.clicks.features.loc[0, "kind"] = "cell"
    widget.select(2)
    click(widget, 1, 0)
    refused(widget, "object 2, frame 0: the mask is given a score")
    assert all(said.labels == (1,) for said in widget.view.said().values())
    assert [row.object_id for row in widget.view.rows()] == [1, 2]


def test_boxes_that_a_program_takes_away_are_gone(opened: Any) -> None:
    widget, boxes = opened, opened.layers.boxes
    x, y = centre(0, 0)
    boxes.add_rectangles([box(0, x - 17, y - 17, x + 17, y + 17)])
    assert widget.wait() and widget.layers.prompts()
    boxes.data = []
    assert widget.wait()
    assert not widget.layers.prompts() and not widget.view.said()


def test_tracks_lie_on_a_layer_that_is_turned_and_whose_first_axis_is_not_time(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    grey = pictures().mean(-1).astype(np.uint8)
    data = np.stack([grey * 0, grey])
    turned = np.array([[0.8, -0.6, 5], [0.6, 0.8, 7], [0, 0, 1]])
    about = {
        "axis_labels": ("z", "t", "y", "x"),
        "scale": (2, 1, 0.5, 0.5),
        "translate": (1, 2, 3, 4),
        "rotate": 30,
        "shear": np.array([0, 0, 0, 0, 0, 0.2]),
        "affine": np.block([[np.eye(2), np.zeros((2, 3))], [np.zeros((3, 2)), turned]]),
    }
    with stack(make_napari_viewer_proxy, tmp_path, data, **about) as widget:
        widget.form.axis_boxes[0][1].setValue(1)
        widget.begin()
        assert widget.wait()
        x, y = centre(0, 0)
        widget.layers.clicks.add(np.array([1, 0, y, x]))
        assert widget.wait()
        widget.track()
        assert widget.wait()
        tracks, masks = widget.layers.tracks, widget.layers.masks
        assert tracks.ndim == 3
        for _, frame, row, column in tracks.data:
            there = masks.data_to_world((1, frame, row, column))
            assert np.allclose(tracks.data_to_world((frame, row, column)), there[1:])


def test_layers_follow_the_image_wherever_it_is_moved(opened: Any) -> None:
    """Else a click on the picture would be said at another pixel."""
    widget, layers = opened, opened.layers
    click(widget, 0, 0)
    widget.track("forward")
    assert widget.wait()
    image, mine = layers.image, layers.own
    assert layers.tracks in mine
    turned = np.array([[1, 0, 0, 0], [0, 0.8, -0.6, 5], [0, 0.6, 0.8, 7], [0, 0, 0, 1]])
    for name, value in (
        ("scale", (1, 2, 3)),
        ("translate", (0, 10, 20)),
        ("rotate", 30),
        ("shear", (0, 0, 0.5)),
        ("affine", turned),
        ("scale", (1, 1, -2)),
        ("rotate", 0),
        ("units", ("second", "um", "um")),
    ):
        setattr(image, name, value)
        for layer in mine:
            assert np.allclose(layer.data_to_world((2, 30, 40)), image.data_to_world((2, 30, 40)))
            assert layer.units == image.units
    widget.go(3)
    x, y = centre(0, 3)
    layers.clicks.add(layers.clicks.world_to_data(image.data_to_world((3, y, x))))
    assert widget.wait()
    assert np.allclose(widget.view.said()[1, 3].points, [(x, y)])
    widget.end()
    image.scale = (1, 1, 1)
    assert not np.allclose(mine[0].scale, image.scale)


@pytest.mark.parametrize("what", ["masks", "clicks", "boxes", "tracks"])
def test_a_layer_that_is_moved_alone_goes_back_onto_the_image(opened: Any, what: str) -> None:
    """Else paint and clicks would be said of other pixels than those that they are drawn on."""
    widget, layers = opened, opened.layers
    click(widget, 0, 0)
    widget.track("forward")
    assert widget.wait()
    layer = getattr(layers, what)
    for name, value in (("translate", [40, 9]), ("scale", [2, 3]), ("rotate", 20)):
        before = len(widget._refusals)
        moved = value if name == "rotate" else [*getattr(layer, name)[:-2], *value]
        setattr(layer, name, moved)
        for _ in range(100):
            QApplication.processEvents()
            time.sleep(0.01)
            if len(widget._refusals) > before:
                break
        assert widget._refusals[before:] == [
            f"{what} lies on disks: move or scale that, and what lies on it follows"
        ]
        assert widget.wait()
        there = layers.image.data_to_world((2, 30, 40))
        assert np.allclose(layer.data_to_world((2, 30, 40)), there)
    assert {*widget.view.said()} == {(1, 0)}


def test_what_is_said_right_after_a_layer_was_moved_is_said_of_the_pixel_below(
    opened: Any,
) -> None:
    """Layers lie on the image again before one of them hears of the button."""
    widget, viewer, layers = opened, opened.viewer, opened.layers
    for layer in (layers.clicks, layers.masks, layers.boxes):
        layer.translate = (0, 40, 9)
        mouse_press_callbacks(viewer, read_only_mouse_event(type="mouse_press"))
        assert np.allclose(layer.translate, layers.image.translate)
        refused(widget, f"{layer.name} lies on disks: move or scale that")
        mouse_release_callbacks(viewer, read_only_mouse_event(type="mouse_release"))
    assert widget.wait()
    said = len(widget._refusals)
    QTest.qWait(300)
    assert len(widget._refusals) == said == 3


def test_a_click_under_a_locked_object_says_why_nothing_is_seen(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    refused(widget, "is given a score of")
    assert "hidden" not in widget.message.text()
    widget.lock(1)
    assert widget.wait()
    widget.next_object()
    click(widget, 1, 0)
    assert "hidden" not in widget.message.text()
    widget.next_object()
    click(widget, 0, 0)
    assert set(widget.view.said()) == {(1, 0), (2, 0), (3, 0)}
    refused(widget, "most of it is hidden, since object 1 is locked")


def test_clicks_and_boxes_are_copied_to_another_frame(opened: Any) -> None:
    """What napari pastes, nobody is told of."""
    widget, layers = opened, opened.layers
    press(widget, "Control-v")
    assert "nothing is copied" in widget.message.text()
    click(widget, 0, 0)
    layers.select(1, background=True)
    x, y = centre(1, 0)
    layers.clicks.add(np.array([0, y, x]))
    assert widget.wait()
    widget.select(2)
    layers.boxes.add_rectangles(box(0, x - 9, y - 9, x + 9, y + 9))
    assert widget.wait()
    layers.clicks.selected_data = layers.boxes.selected_data = set()
    press(widget, "Control-c")
    assert "select clicks or boxes first" in widget.message.text()
    layers.clicks.selected_data = {0, 1}
    layers.boxes.selected_data = {0}
    press(widget, "Control-c", layers.boxes)
    assert "copied what is selected of objects 1 and 2;" in widget.message.text()
    widget.go(2)
    for _ in range(2):  # the second changes nothing
        press(widget, "Control-v")
    said = widget.view.said()
    assert set(said) == {(1, 0), (1, 2), (2, 0), (2, 2)}
    assert said[1, 2] == said[1, 0] and said[2, 2] == said[2, 0]
    assert said[1, 2].labels == (1, 0) and said[2, 2].box is not None
    assert len(layers.clicks.data) == 4 and len(layers.boxes.data) == 2
    assert overlap(layers.masks.data[2] == 1, true(0, 2)) > 0.5
    press(widget, "Control-z")
    assert "took back: click or box of objects 1 and 2 on frame 2" in widget.message.text()
    assert set(widget.view.said()) == {(1, 0), (2, 0)}
    assert len(layers.clicks.data) == 2


def test_what_is_deleted_of_two_objects_is_one_step_or_none(opened: Any) -> None:
    widget, layers = opened, opened.layers
    click(widget, 0, 0)
    widget.select(2)
    click(widget, 1, 0)
    layers.clicks.selected_data = {0, 1}
    layers.clicks.remove_selected()
    assert widget.wait() and not widget.view.rows()
    press(widget, "Control-z")
    assert set(widget.view.said()) == {(1, 0), (2, 0)} and len(layers.clicks.data) == 2
    widget.lock(2)
    layers.clicks.selected_data = {0, 1}
    layers.clicks.remove_selected()
    assert widget.wait()
    refused(widget, "object 2 is locked, and nothing is said of the others either; unlock it")
    assert set(widget.view.said()) == {(1, 0), (2, 0)} and len(layers.clicks.data) == 2
    assert set(np.unique(layers.masks.data[0])) == {0, 1, 2}


def test_a_second_box_takes_the_place_of_the_first(opened: Any) -> None:
    widget, layers = opened, opened.layers
    x, y = centre(0, 0)
    layers.boxes.add_rectangles(box(0, x - 18, y - 18, x + 18, y + 18))
    assert widget.wait()
    layers.boxes.add_rectangles(box(0, x - 6, y - 6, x + 6, y + 6))
    assert widget.wait()
    assert len(layers.boxes.data) == 1
    assert widget.view.said()[1, 0].box == pytest.approx((x - 5.5, y - 5.5, x + 6.5, y + 6.5))
    press(widget, "Control-z")
    assert len(layers.boxes.data) == 1
    assert widget.view.said()[1, 0].box == pytest.approx((x - 17.5, y - 17.5, x + 18.5, y + 18.5))


def test_what_was_copied_of_an_object_that_is_gone_is_not_said(opened: Any) -> None:
    """Its number is given to no other."""
    widget, layers = opened, opened.layers
    for which in (0, 1):
        widget.select(which + 1)
        click(widget, which, 0)
    layers.clicks.selected_data = {0, 1}
    press(widget, "Control-c")
    widget.delete()
    assert widget.wait()
    widget.go(2)
    press(widget, "Control-v")
    assert "object 2 is gone, of which this was copied" in widget._refusals[-1]
    refused(widget, "object 2 is gone, of which this was copied")  # beside the other one's score
    refused(widget, "score of")
    assert set(widget.view.said()) == {(1, 0), (1, 2)}
    widget.select(1)
    widget.delete()
    assert widget.wait()
    widget.go(3)
    press(widget, "Control-v")
    refused(widget, "objects 1 and 2 are gone, of which this was copied; bring them back")
    assert not widget.view.said() and not len(layers.clicks.data)


def test_a_click_right_after_a_deletion_is_of_another_object(opened: Any) -> None:
    widget, layers = opened, opened.layers
    click(widget, 0, 0)
    widget.select(2)
    click(widget, 1, 0)
    widget.rename(2, "old")
    assert widget.wait()
    widget.delete()
    layers.clicks.add(np.array([3, *centre(1, 3)[::-1]]))  # before it is answered
    assert widget.wait()
    assert set(widget.view.said()) == {(1, 0), (3, 3)}
    assert {row.object_id: row.name for row in widget.view.rows()} == {1: "", 3: ""}


def test_the_256th_object_begins_as_others_do(opened: Any) -> None:
    widget = opened
    widget.select(255)
    click(widget, 0, 0)
    for number in (256, 70000):
        widget.select(number)
        assert widget._object == number
        click(widget, 1, 0)
        assert (number, 0) in widget.view.said()


def test_all_that_are_selected_are_deleted_as_one_step(opened: Any) -> None:
    widget = opened
    for which in (0, 1):
        widget.select(which + 1)
        click(widget, which, 0)
    widget.table.select(2, {1, 2})
    widget.table.item(0, 1).setSelected(True)
    assert widget.table.selected() == [1, 2]
    widget.delete()
    assert widget.wait() and not widget.view.rows()
    refused(widget, "objects 1 and 2 are gone")
    press(widget, "Control-z")
    assert set(widget.view.said()) == {(1, 0), (2, 0)}
    widget.lock(1)
    widget.table.item(0, 1).setSelected(True)
    widget.table.item(1, 1).setSelected(True)
    widget.delete()
    assert widget.wait()
    refused(widget, "object 1 is locked, and nothing is deleted")
    assert len(widget.view.rows()) == 2


def test_a_lock_is_seen_at_once_and_so_is_its_undo(opened: Any) -> None:
    widget = opened
    click(widget, 0, 0)
    mask = widget.layers.data.frame(0) == 1
    whole = np.ones((HEIGHT, WIDTH), np.bool_)
    widget.change("cover", lambda s: s.tracker.prompt(2, 0, mask=whole) and None)
    assert widget.wait()

    def shown() -> set[int]:
        return {*np.asarray(widget.layers.masks._slice.image.raw)[mask].tolist()}

    assert shown() == {2}
    widget.lock(1)
    assert widget.wait() and shown() == {1}
    press(widget, "Control-z")
    assert shown() == {2}
    press(widget, "Control-Shift-z")
    assert shown() == {1}
    widget.lock(1, False)
    assert widget.wait() and shown() == {2}


def test_a_box_that_is_being_drawn_stays_whatever_is_answered(opened: Any) -> None:
    widget, layers = opened, opened.layers
    click(widget, 0, 0)
    events = {kind: read_only_mouse_event(type=f"mouse_{kind}") for kind in ("press", "release")}
    mouse_press_callbacks(widget.viewer, events["press"])
    with layers.quiet():  # as napari has it while the mouse moves
        layers.boxes.add_rectangles(box(0, 80, 50, 110, 80))
    widget.track("forward")
    assert widget.wait()
    assert len(layers.boxes.data) == 1
    mouse_release_callbacks(widget.viewer, events["release"])
    assert widget.wait()
    assert len(layers.boxes.data) == 0  # nothing was said with it


@pytest.mark.parametrize("mode", ["add_rectangle", "select"])
def test_a_box_that_is_dragged_as_another_frame_is_shown_is_said_of_its_own(
    opened: Any, mode: str
) -> None:
    """napari's tools fail there, and never end what they began."""
    widget, layers = opened, opened.layers
    click(widget, 0, 0)
    widget.viewer.layers.selection.active = layers.boxes
    layers.boxes.add_rectangles(box(0, 10, 10, 50, 50))
    assert widget.wait()
    layers.boxes.mode = mode
    acts = {"press": mouse_press_callbacks, "move": mouse_move_callbacks}
    acts["release"] = mouse_release_callbacks
    for kind, frame, at in (
        ("press", 0, 14),
        ("move", 0, 34),
        ("move", 0, 44),
        ("move", 3, 54),
        ("release", 3, 54),
    ):
        widget.go(frame)
        event = read_only_mouse_event(
            type=f"mouse_{kind}",
            is_dragging=kind == "move",
            position=(frame, at, at),
            dims_displayed=[1, 2],
            modifiers=[],
        )
        acts[kind](widget.viewer, event)
        if frame == 0:
            acts[kind](layers.boxes, event)
        else:
            with contextlib.suppress(TypeError):
                acts[kind](layers.boxes, event)
    QApplication.processEvents()
    assert widget.wait() and not layers.drawing and len(layers.boxes.data) == 1
    assert set(widget.view.said()) == {(1, 0)}
    x0, *_, y1 = widget.view.said()[1, 0].box
    assert (x0 > 12, y1 > 51) == ((True, False) if mode == "add_rectangle" else (True, True))
    press(widget, "Control-z")
    assert widget.view.said()[1, 0].box == pytest.approx((10.5, 10.5, 50.5, 50.5))
    assert len(layers.boxes.data) == 1 and np.allclose(layers.boxes.data[0].min(0), (0, 10, 10))


@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
def test_a_shape_that_is_no_upright_rectangle_becomes_the_box_that_is_said(
    opened: Any, kind: str
) -> None:
    """An ellipse, one whose corner was moved, and one that goes beyond the picture."""
    widget, boxes = opened, opened.layers.boxes
    x, y = centre(0, 0)
    drawn = box(0, x - 17, y - 17, x + 17, y + 17)
    if kind == "rectangle":
        drawn[2] += (0, 3, 5)
    boxes.add(drawn, shape_type=kind)
    assert widget.wait()
    (said,) = widget.layers.prompts().values()
    x0, y0, x1, y1 = (value - 0.5 for value in said.box)
    assert boxes.shape_type == ["rectangle"]
    assert np.allclose(boxes.data[0], box(0, x0, y0, x1, y1)) and not widget.layers.uneven
    assert x1 - x0 == pytest.approx(34 + 5 * (kind == "rectangle"))
    shown = boxes.data[0].copy()
    boxes.data = [shown - np.array([0, 0, x])]
    assert widget.wait()
    assert np.allclose(boxes.data[0].min(0), (0, y0, -0.5)) and not widget.layers.uneven


def test_nothing_is_said_beside_the_frames_of_the_image(opened: Any) -> None:
    """Where another layer has more, the viewer goes on; it was said of the last frame, unseen."""
    widget, viewer = opened, opened.viewer
    click(widget, 0, 0)
    widget.track("forward")
    assert widget.wait()
    viewer.add_image(np.zeros((3 * FRAMES, HEIGHT, WIDTH), np.uint8), name="longer", visible=False)
    viewer.dims.set_point(0, 2 * FRAMES)
    ends = f"beside the frames of what is tracked; go back to one of 0 to {FRAMES - 1}"
    before = widget.layers.prompts(), widget.session.project.labels(FRAMES - 1).copy()
    steps = widget.session.project.position
    x, y = centre(1, FRAMES - 1)
    widget.layers.clicks.add([2 * FRAMES, y, x])
    assert widget.wait()
    refused(widget, f"this click lies {ends}")
    widget.layers.boxes.add_rectangles([box(2 * FRAMES, x - 9, y - 9, x + 9, y + 9)])
    assert widget.wait()
    refused(widget, f"this box lies {ends}")
    widget.layers.clicks.selected_data = {0}
    widget.copy_prompts()
    for command in OF_A_FRAME:
        widget.tell("")
        getattr(widget, command)()
        assert widget.wait()
        refused(widget, f"the viewer is {ends}")
    assert widget.layers.prompts() == before[0] and widget.session.project.position == steps
    assert np.array_equal(widget.session.project.labels(FRAMES - 1), before[1])
    widget.go(FRAMES - 1)
    widget.confirm()
    assert widget.wait()
    assert widget.session.project.position == steps + 1


@pytest.mark.parametrize(("ndisplay", "order"), [(3, (0, 1, 2)), (2, (1, 0, 2))])
def test_nothing_is_said_of_a_frame_that_is_not_flat(
    opened: Any, ndisplay: int, order: tuple[int, ...]
) -> None:
    widget, dims = opened, opened.viewer.dims
    for which in (0, 1):
        widget.select(which + 1)
        click(widget, which, 0)
    widget.track("forward")
    assert widget.wait()
    before, steps = widget.layers.prompts(), widget.session.project.position
    widget.layers.clicks.selected_data = {0}
    widget.copy_prompts()
    widget.go(3)
    dims.ndisplay, dims.order = ndisplay, order
    for command in OF_A_FRAME:
        widget.table.selectAll()
        widget.tell("")
        getattr(widget, command)()
        assert widget.wait()
        refused(widget, "flat frames")
    assert widget.session.project.position == steps and widget.layers.prompts() == before
    dims.ndisplay, dims.order = 2, (0, 1, 2)
    widget.paste_prompts()
    assert widget.wait()
    assert set(widget.view.said()) == {(1, 0), (1, 3), (2, 0)}


@pytest.mark.parametrize("mode", ["paint", "fill", "erase"])
def test_a_stroke_beside_the_frames_of_the_image_is_refused_once(opened: Any, mode: str) -> None:
    widget, viewer, masks = opened, opened.viewer, opened.layers.masks
    click(widget, 0, 0)
    viewer.add_image(np.zeros((3 * FRAMES, HEIGHT, WIDTH), np.uint8), name="longer", visible=False)
    steps, said = widget.session.project.position, []
    widget.layers._refused = said.append
    for at in (2 * FRAMES, -1):
        viewer.dims.set_point(0, at)
        masks.mode = mode
        for kind in ("press", "move", "move", "release"):
            event = read_only_mouse_event(
                type=f"mouse_{kind}",
                is_dragging=kind == "move",
                position=(at, 40, 30 + len(kind)),
                dims_displayed=(1, 2),
                view_direction=None,
            )
            {"press": mouse_press_callbacks, "move": mouse_move_callbacks}.get(
                kind, mouse_release_callbacks
            )(masks, event)
        QTest.qWait(300)
        assert widget.wait()
    masks.paint_polygon([(FRAMES, 1, 1), (FRAMES, 9, 9), (FRAMES, 1, 9)], 1)
    QTest.qWait(300)
    ends = f"beside the frames of what is tracked; go back to one of 0 to {FRAMES - 1}"
    assert said == [f"this stroke lies {ends}"] * 3
    assert widget.session.project.position == steps
    paint(widget, 0, FRAMES - 1, 1)
    assert widget.session.project.position == steps + 1


def test_a_polygon_that_is_being_drawn_stays_where_prompts_are_shown_anew(opened: Any) -> None:
    widget, boxes = opened, opened.layers.boxes
    x, y = centre(0, 0)
    click(widget, 0, 0)
    widget.viewer.layers.selection.active = boxes
    boxes.mode = "add_polygon"
    boxes.add(box(0, x - 9, y - 9, x + 9, y + 9), shape_type="polygon")
    assert widget.wait()
    boxes._is_creating = True  # as it is between two clicks
    widget.undo()
    assert widget.wait()
    assert "took back" in widget.message.text()
    assert len(boxes.data) == 1 and widget._prompts_late
    boxes._is_creating = False
    widget._show_late()
    assert len(boxes.data) == 0 and not widget._prompts_late


def test_colours_stay_those_of_the_objects(opened: Any) -> None:
    """napari's controls shuffle colours, which the list would not know, and show what is hidden."""
    widget, masks = opened, opened.layers.masks
    click(widget, 0, 0)
    widget.recolour(1, (1.0, 0.5, 0.0, 1.0), True)
    widget.recolour(2, None, False)
    assert widget.wait()
    ours = masks.colormap.map(np.array([1, 2, 3]))
    masks.new_colormap()
    assert widget.wait()
    assert np.array_equal(masks.colormap.map(np.array([1, 2, 3])), ours)
    refused(widget, "double-click on one in the list")


def test_follow_leaves_a_stroke_where_it_is(opened: Any) -> None:
    """Under a brush that is down the frame stays; once it is up, frames are followed again."""
    widget, viewer = opened, opened.viewer
    click(widget, 0, 0)
    mouse_press_callbacks(viewer, read_only_mouse_event(type="mouse_press"))
    mouse_move_callbacks(viewer, read_only_mouse_event(type="mouse_move", is_dragging=True))
    widget.track("forward")
    assert widget.wait()
    assert widget.view.confidence(1).keys() == set(range(FRAMES)) and widget.frame == 0
    mouse_release_callbacks(viewer, read_only_mouse_event(type="mouse_release"))
    widget.undo()
    widget.track("forward")
    assert widget.wait()
    assert widget.frame == FRAMES - 1  # and it ends where tracking did


def test_masks_are_seen_where_other_images_lie_below(
    make_napari_viewer_proxy: Any, tmp_path: Path
) -> None:
    grey = pictures().mean(-1).astype(np.uint8)

    def with_another() -> Any:
        viewer = make_napari_viewer_proxy()
        viewer.add_image(grey[:, ::-1], name="another")
        return viewer

    with stack(with_another, tmp_path, grey) as widget:
        widget.viewer.window.show()
        widget.go(0)
        click(widget, 0, 0)
        masks = widget.layers.masks
        assert _reddish(widget.viewer) > 1000
        for alone in (True, False):
            masks.show_selected_label = alone
            QApplication.processEvents()
            assert _reddish(widget.viewer) > 1000, alone
        widget.select(300)  # for which napari has another texture
        assert _reddish(widget.viewer) > 1000


def _reddish(viewer: Any) -> int:
    """How many pixels of the canvas are red, as the first object is."""
    red, green, *_ = np.moveaxis(viewer.screenshot(flash=False).astype(int), -1, 0)
    return int(np.count_nonzero(red - green > 30))


@pytest.mark.parametrize("tool", ["add_rectangle", "select"])
def test_boxes_keep_their_tool_where_one_is_taken_back(opened: Any, tool: str) -> None:
    widget = opened
    boxes = widget.layers.boxes
    widget.viewer.layers.selection.active = boxes
    for object_id, corner in ((1, 5), (2, 50)):
        widget.select(object_id)
        boxes.add_rectangles([box(0, corner, 5, corner + 30, 35)])
        assert widget.wait()
    boxes.mode = tool
    press(widget, "Control-z", boxes)
    assert len(boxes.data) == 1 and str(boxes.mode) == tool
    press(widget, "Control-Shift-z", boxes)
    assert len(boxes.data) == 2 and str(boxes.mode) == tool


@pytest.mark.parametrize("by", ["confidence", "track_id", "of a person"])
def test_tracks_stay_coloured_by_what_was_chosen(
    opened: Any, recwarn: pytest.WarningsRecorder, by: str
) -> None:
    widget = opened
    click(widget, 0, 0)
    widget.track()
    assert widget.wait()
    tracks = widget.layers.tracks
    if by not in tracks.features:
        tracks.features = {**tracks.features, by: tracks.features["area"]}
    tracks.color_by = by
    widget.go(3)
    press(widget, "w")
    assert widget.layers.tracks is tracks and tracks.features["confidence"][3] == 1
    assert tracks.color_by == (by if by != "of a person" else "track_id")
    assert not [one for one in recwarn if "color_by" in str(one.message)]


def test_a_layer_of_tracks_that_was_removed_stays_away(opened: Any) -> None:
    """Also where some were on their way; the next Begin makes one again."""
    widget = opened
    click(widget, 0, 0)
    widget.track()
    assert widget.wait()
    tracks = widget.layers.tracks
    widget.viewer.layers.remove(tracks)
    QTest.qWait(50)
    refused(widget, "the layer of tracks is gone, and stays so until Begin is pressed")
    widget.viewer.layers[0].translate = (0, 5, 5)  # it follows the image no more
    assert not np.array_equal(tracks.translate, widget.layers.masks.translate)
    click(widget, 1, 0)
    widget.track()
    assert widget.wait()
    assert widget.layers.tracks is None and len(widget.viewer.layers) == 4
    widget.begin()
    assert widget.wait()
    assert widget.layers.tracks in widget.viewer.layers
    for _ in range(4):  # both runs and clicks, with which tracks go by themselves
        press(widget, "Control-z")
    assert widget.layers.tracks is None
    click(widget, 0, 0)
    widget.track()
    assert widget.wait()
    assert widget.layers.tracks in widget.viewer.layers


def test_masks_are_not_saved_over_their_video(opened: Any, video: Path, tmp_path: Path) -> None:
    widget, held = opened, video.read_bytes()
    click(widget, 0, 0)
    layers = widget.viewer.layers
    layers.selection = {widget.layers.masks}
    link = tmp_path / "link.mp4"
    link.symlink_to(video)
    for path in (video, link):
        with pytest.raises(OutputError, match="is what these masks were made from; name another"):
            layers.save(str(path), selected=True)
    assert video.read_bytes() == held
    assert layers.save(str(tmp_path / "masks.mp4"), selected=True)


@pytest.mark.parametrize("key", ["Control-z", "u"])
def test_a_click_right_after_undo_brings_nothing_back(opened: Any, key: str) -> None:
    """What is shown was taken back, and the layer has not heard of it yet."""
    widget, clicks = opened, opened.layers.clicks
    click(widget, 0, 4)
    x, y = centre(0, 0)
    clicks.add(np.array([0, y + 5.1, x]))
    assert widget.wait()
    with busy(widget):
        clicks.keymap[coerce_keybinding(key)](clicks)
        clicks.add(np.array([0, y - 5.2, x]))
    assert widget.view.said()[1, 0].points == ((x, y - 5.2),) and len(clicks.data) == 2
    clicks.data = np.array([[4, *centre(0, 4)[::-1]], [0, y - 7.3, x]])  # moved
    assert widget.wait()
    assert widget.view.said()[1, 0].points == ((x, y - 7.3),) and len(clicks.data) == 2


def test_the_next_object_is_another_than_all_that_are_on_their_way(opened: Any) -> None:
    widget, clicks = opened, opened.layers.clicks
    click(widget, 0, 0)
    with busy(widget):
        widget.next_object()
        clicks.add(np.array([0, *centre(1, 0)[::-1]]))
        widget.select(1)
        clicks.add(np.array([1, *centre(0, 1)[::-1]]))
        widget.next_object()
        clicks.add(np.array([4, *centre(1, 4)[::-1]]))
    assert set(widget.view.said()) == {(1, 0), (2, 0), (1, 1), (3, 4)}
    widget.select(1)
    widget.go(1)
    with busy(widget):
        widget.split()  # from frame 1 on that is another object
        widget.next_object()
        clicks.add(np.array([5, *centre(1, 5)[::-1]]))
    assert {row.object_id for row in widget.view.rows()} == {1, 2, 3, 4, 5}
    widget.select(1)
    with busy(widget):
        stroke(widget, (0, 48, 64), 6)
        widget.select(1)
        widget.next_object()
    assert widget._object == 7
