"""What is drawn while frames come, and that nobody waits for it."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication

from tests.napari.conftest import centre
from tests.napari.hands import click

pytestmark = pytest.mark.viewer


class Paints(QObject):
    """Counts how often a widget is painted."""

    count = 0

    def eventFilter(self, _: QObject, event: QEvent) -> bool:
        self.count += event.type() == QEvent.Type.Paint
        return False


def test_progress_is_painted_with_all_else(opened: Any) -> None:
    bar, paints = opened.progress, Paints()
    opened.viewer.window.main_menu.window().show()
    opened.show_progress(1, 9, 1.0, False)
    QApplication.processEvents()
    bar.installEventFilter(paints)
    opened.show_progress(2, 9, 2.0, False)
    assert (bar.value(), paints.count) == (2, 0)
    QApplication.processEvents()
    assert paints.count == 1


def test_the_canvas_is_drawn_after_the_loop_has_come_round(opened: Any) -> None:
    from napari_sam2track.canvas import _canvases, draw_later

    canvases = _canvases(opened.viewer)
    assert canvases
    draw_later(opened.viewer)
    draw_later(opened.viewer)
    assert not any(canvas.updatesEnabled() for canvas in canvases)
    QApplication.processEvents()
    assert all(canvas.updatesEnabled() for canvas in canvases)


def test_a_click_waits_for_its_mask_but_not_for_tracking(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sam2track import widget
    from napari_sam2track.commands import Run

    monkeypatch.setattr(widget, "_ANSWERED", 20.0)
    answered = threading.Event()
    say = opened.session.say

    def slow(*said: Any) -> Any:
        time.sleep(0.2)
        result = say(*said)
        answered.set()
        return result

    monkeypatch.setattr(opened.session, "say", slow)
    x, y = centre(0, 0)
    opened.layers.clicks.add([0, y, x])
    assert answered.is_set()
    assert opened.wait()
    answered.clear()
    opened._at = Run("track")
    opened.layers.clicks.add([1, y, x])
    assert not answered.is_set()
    assert opened.wait()
    opened._at = None


def test_a_click_that_is_drawn_right_is_not_drawn_again(opened: Any) -> None:
    opened.toggle_background()
    restyled = []
    for name in ("symbol", "face_color", "border_color"):
        getattr(opened.layers.clicks.events, name).connect(lambda _: restyled.append(1))
    x, y = centre(0, 0)
    opened.layers.clicks.add([0, y, x])
    assert opened.wait()
    assert [str(symbol) for symbol in opened.layers.clicks.symbol] == ["cross"]
    assert np.allclose(opened.layers.clicks.border_color[0], opened.layers.colour(1))
    assert restyled == []


def test_masks_of_a_frame_that_is_left_are_not_drawn_again(opened: Any) -> None:
    click(opened, 0, 0)
    refreshed = []
    opened.layers.masks.events.reload.connect(lambda _: refreshed.append(opened.frame))
    opened.layers.masks.events.set_data.connect(lambda _: refreshed.append(opened.frame))
    opened._stale = {0, 1, 2}
    opened._draw()
    assert opened.frame == 2
    assert 0 not in refreshed and 2 in refreshed


def test_the_model_waits_while_a_frame_that_came_is_drawn(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the event of the frame until the window is painted; then tracking goes on to its end."""
    click(opened, 0, 0)
    worker, timeline = opened._worker, opened.timeline
    waits: list[bool] = []
    draw, drawn = opened._draw, opened._drawn

    def seen() -> None:
        waits.append(worker._held)
        draw()

    def seen_again(seconds: float) -> None:
        waits.append(worker._held)
        drawn(seconds)

    monkeypatch.setattr(opened, "_draw", seen)
    monkeypatch.setattr(opened, "_drawn", seen_again)
    opened.track("forward")
    ended = time.monotonic() + 20
    while not any(waits) and time.monotonic() < ended:
        QApplication.processEvents()
        time.sleep(0.002)  # else the worker hardly comes to Python's lock
    assert opened._at is not None and waits[:1] == [True]
    assert opened.wait()
    assert waits[1] is True and not worker._held
    assert timeline.updatesEnabled()
    assert opened.frame == opened.layers.axes.frames - 1
    assert len(opened.view.confidence(1)) == opened.layers.axes.frames


@pytest.mark.parametrize("closed", ["shut", "_closing"])  # by its dock; with all of the viewer
def test_what_is_half_drawn_is_not_drawn_on_a_panel_that_is_closed(
    opened: Any, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    opened._stale = {1}
    opened._draw()
    getattr(opened, closed)()
    monkeypatch.delattr(opened, "timeline")  # as where Qt has destroyed it
    opened._draw_rest(0.0)
    monkeypatch.undo()
    opened._shut = False  # let go of the viewer, too


def test_what_the_first_mask_and_track_need_is_there_when_a_project_is(opened: Any) -> None:
    assert opened.session is not None
    assert {"cv2", "scipy.spatial"} <= sys.modules.keys()


def test_bars_of_the_timeline() -> None:
    from napari_sam2track.timeline import _bars

    sure = {0: 1.0, 1: 0.5, 3: 0.0}
    bars = _bars(sure, 4, 40, 56)
    ground = bars[0, 0]
    tall = (bars != ground).any(2).sum(0)
    assert bars.shape == (56, 40, 3)
    assert tall[0:10].tolist() == [44] * 10 and tall[10:20].tolist() == [22] * 10
    assert not tall[20:30].any() and tall[30:].tolist() == [2] * 10
    red, green, _ = np.moveaxis(bars[47, [0, 15, 35]].astype(int), -1, 0)
    assert green[0] > red[0] and red[2] > green[2] and abs(red[1] - green[1]) < 10
    # Of more frames than columns each column shows the worst.
    many = _bars(dict.fromkeys(range(400), 1.0) | {123: 0.0}, 400, 40, 56)
    tall = (many != ground).any(2).sum(0)
    assert tall[12] == 2 and (np.delete(tall, 12) == 44).all()
    assert (_bars({}, 4, 40, 56) == ground).all()
    assert _bars(sure, 4, 0, 56).shape == (56, 0, 3)


def test_a_click_is_drawn_with_its_mask(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_sam2track.canvas import _canvases

    (canvas,) = _canvases(opened.viewer)
    asked: list[bool] = []
    change = opened.change

    def seen(*args: Any, **options: Any) -> None:
        asked.append(canvas.updatesEnabled())
        change(*args, **options)

    monkeypatch.setattr(opened, "change", seen)
    began = time.monotonic()
    click(opened, 0, 0)
    assert asked[0] is False
    assert canvas.updatesEnabled() or time.monotonic() - began < 0.1
