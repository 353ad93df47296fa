"""The dock widget: wires controls, layers and keys to a session in its worker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_sam2track.beginning import Beginning
from napari_sam2track.canvas import draw_later
from napari_sam2track.commands import Run
from napari_sam2track.marks import Key
from napari_sam2track.preview import Preview
from napari_sam2track.session import Session
from napari_sam2track.sync import Layers
from napari_sam2track.view import Said, View
from napari_sam2track.words import many, numbered
from napari_sam2track.worker import Worker
from sam2track.errors import Sam2TrackError
from sam2track.tracking.result import FrameResult

if TYPE_CHECKING:
    import napari


__all__ = ["TrackWidget"]

_RIGHT = 2  # button of a mouse
_ANSWERED = 0.05  # seconds that a click may hold the viewer; its mask needs 20 ms with small models


class TrackWidget(Beginning):
    """Prompt, track and correct objects of a video or stack with SAM 2.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    _told = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(viewer, parent)
        self.viewer = viewer
        self.session: Session | None = None
        self._opened: Session | None = None  # by the worker, and not yet shown
        self.view: View | None = None
        self.layers: Layers | None = None
        self.background = False
        self._object, self._highest = 1, 0
        self._stale: set[int] = set()
        self._at: Run | None = None
        self._cancelled = self._prompts_late = self._held_down = False
        self._saying = 0
        self._refusals: list[str] = []
        self._begin_asked, self._begin_data = 0, None
        self._wanted = -1
        self._draw_after = 0.0
        self._tracks_asked = self._tracks_shown = 0
        self._opening = self._shut = self._ended_early = False
        self._left = None
        self._closed_for_it = ""  # what begin has closed, for its refusal
        self._heard = 0  # events
        self._worker = Worker(self._told.emit)  # in its thread; Qt queues it for this one
        self._told.connect(self._on_event)
        self._preview = Preview(self)
        self._unread = ""  # why what is chosen cannot be shown there
        self._timer = QTimer(self)
        self._timer.setInterval(100)  # at most ten refreshes a second
        self._timer.timeout.connect(self._refresh)
        self._timer.start()
        self._slow_timer = QTimer(self)
        self._slow_timer.setInterval(2000)
        self._slow_timer.timeout.connect(self._show_state)
        self._slow_timer.timeout.connect(self._show_late)
        self._slow_timer.timeout.connect(self.look_after_file)
        self._wire()
        self._watch()
        viewer.mouse_drag_callbacks.append(self._on_drag)
        self._as_before = False  # whether a project says how pictures are read, not the form
        closing = _Closing(self._worker, self)
        self.destroyed.connect(closing)
        self._closing = closing
        self.form.reset_choices()
        self._begin_soon()

    def _wire(self) -> None:
        self.form.refused.connect(self.tell)
        self.form.changed.connect(self._look)
        self.form.begin_button.clicked.connect(self.begin)
        self.form.preview_button.clicked.connect(self.preview)
        self.next_button.clicked.connect(self.next_object)
        self.background_button.clicked.connect(self.toggle_background)
        self.backward_button.clicked.connect(lambda: self.track("backward"))
        self.both_button.clicked.connect(lambda: self.track("both"))
        self.forward_button.clicked.connect(lambda: self.track("forward"))
        self.next_fixed_button.clicked.connect(self.track_to_next)
        self.range_button.clicked.connect(self.track_range)
        self.pause_button.clicked.connect(self.pause)
        self.cancel_button.clicked.connect(self.cancel)
        self.undo_button.clicked.connect(self.undo)
        self.redo_button.clicked.connect(self.redo)
        self.help_button.clicked.connect(self.show_keys)
        self.export_action.triggered.connect(lambda: self.export())
        for name, action in self.format_actions.items():
            action.triggered.connect(lambda _=False, name=name: self.export_format(name))
        self.timeline.chosen.connect(self.go)
        self.table.chosen.connect(self.select)
        self.table.renamed.connect(self.rename)
        self.table.locked.connect(self.lock)
        self.table.recoloured.connect(self.recolour)
        self.table.deleted.connect(self.delete)
        for name, action in self.identity_actions.items():
            action.triggered.connect(getattr(self, name))

    def _on_press(self, layer: Any, event: Any) -> None:
        """A click with Control held, or the right button, is one on background."""
        if self.layers is not None:
            # To napari a click is one whatever the button; on macOS Control makes it the right one.
            other = "Control" in event.modifiers or event.button == _RIGHT
            self.layers.select(self._object, self.background != other)

    # -- what layers say, and what is shown ---------------------------------------------

    def _on_drag(self, _: Any, event: Any) -> Iterator[None]:
        """Note that a mouse button is down, until it is up again; called before a layer is."""
        if self.layers is not None:
            self.layers.put_back()
        self._held_down = True
        try:
            yield
            while event.type == "mouse_move":
                yield
            QTimer.singleShot(0, self._end_drag)  # once the layer has heard of it, too
        finally:
            self._held_down = False
            if self._prompts_late:  # once the layer has heard of it, too
                QTimer.singleShot(0, self._show_prompts)

    def _end_drag(self) -> None:
        if self.layers is not None:
            self.layers.end_drag()

    def _on_step(self, _: Any = None) -> None:
        self.timeline.show_frame(self.frame)
        self._prepare()
        self._look()

    def preview(self) -> None:
        """Show the picture that the model sees, in a window of its own."""
        self._preview.show()
        self._unread = ""
        self._look()

    def _look(self, _: Any = None) -> None:
        """Have the picture read that the preview shows, where it is open."""
        if not self._preview.isVisible():
            return
        try:
            choice = self.form.chosen()
        except Sam2TrackError as error:
            if str(error) != self._unread:  # once, not with each frame that is gone to
                self._unread = str(error)
                self.tell(self._unread)
            return
        self._unread = ""
        layers, image, session = self.layers, self.form.image, self.session
        if layers is not None and layers.image is not image:  # another one, which is not open
            layers = session = None
        at = image.world_to_data(self.viewer.dims.point) if image is not None else ()
        frame = choice.axes.frame(at) if layers is None else layers.frame
        source = None if session is None else session.source
        read = self._preview.reader(choice, frame, source)
        if read is not None:
            self._worker.do("preview", read)

    def _on_said(self, said: Mapping[Key, Said], before: Mapping[Key, Said]) -> None:
        """Have clicks and boxes said that changed at once: one step, however many they are of."""
        ids = sorted({object_id for object_id, _ in said})
        what = numbered(ids)
        where = many(sorted({frame for _, frame in said}))
        gone: list[int] = []  # with what was said of them last

        def say(session: Session) -> FrameResult | None:
            result = session.say_all(said, before)
            gone.extend(sorted({*ids} - {*session.tracker.object_ids}))
            return result

        def told(result: FrameResult | None) -> str:
            if result is not None and ids[0] in result.object_ids:
                at = result.object_ids.index(ids[0])
                score, iou = float(result.object_scores[at]), float(result.ious[at])
                note = ", but the object seems not to be there" if score < 0 else ""
                note += _hidden(result, at)
                return f"{what}, {where}: the mask is given a score of {iou:.2f}{note}"
            if any(not one.empty for one in said.values()):
                return f"{what}, {where}: the masks are there"
            nothing = f"nothing is said of {what} on {where} any more"
            if not gone:
                return nothing
            are = "is" if len(gone) == 1 else "are"
            return f"{nothing}, nor on another: {numbered(gone)} {are} gone"

        assert self.layers is not None
        self._highest = max(self._highest, *ids)
        self._prompts_late |= self.layers.uneven
        draw_later(self.viewer, 100)  # the click with its mask: while it is drawn the model waits
        # What is said changes one frame, whose scores come with the answer; taking back, more.
        scores = len(said) > 1 or any(one.empty for one in said.values())
        self.change("say", say, told, scores=scores)
        if self._at is None and self._saying == 1:
            self._worker.settle(_ANSWERED)

    def _on_refused(self, message: str) -> None:
        self.tell(message)
        # Not from within the layer's own event: what cannot be taken goes once that is over.
        self.change("refused", lambda session: None, scores=False)

    def _on_painted(self) -> None:
        if self.layers is None or self.view is None:
            return
        known = {row.object_id for row in self.view.rows()}
        painted = self.layers.data.take_painted()
        self._highest = max([self._highest, *(int(after.max()) for _, after in painted.values())])

        def told(found: dict[int, list[int]]) -> str:
            frames = [frame for frame, ids in found.items() if ids]
            ids = sorted({i for ids in found.values() for i in ids})
            if not ids:
                return "this stroke changes nothing" if found else ""
            new = [i for i in ids if i not in known]
            if new:
                are = "is new, and begins" if len(new) == 1 else "are new, and begin"
                return f"{numbered(new)} {are} with what you painted on {many(frames)}"
            stay = "stays as you painted it" if len(ids) == 1 else "stay as you painted them"
            return f"{numbered(ids)} {stay} on {many(frames)}"

        self.change("paint", lambda s: s.paint(painted), told)

    def wait(self, seconds: float = 30.0) -> bool:
        """Wait until all is done that was asked for, for scripts; whether it is."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            # In this order: what ends in between is told before the worker is idle.
            heard = self._worker.idle and self._worker.told == self._heard
            if heard and not self._opening and self._tracks_shown == self._tracks_asked:
                if self._stale:
                    self._draw()
                elif not self.drawing:
                    return True
            time.sleep(0.005)
        return False

    def shut(self) -> None:
        """End tracking, close the project and the thread for good; what was done is saved."""
        if self._shut:
            return
        self._shut = True
        self._timer.stop()
        self._watch_no_more()
        if self._on_drag in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._on_drag)
        self.end()
        self.viewer.layers.events.removing.disconnect(self._on_removing)
        self._preview.close()
        self._closing()

    def event(self, event: QEvent) -> bool:
        """End where the dock is closed: napari takes this widget out of it, and makes a new one."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.shut()
        return bool(super().event(event))


def _hidden(result: FrameResult, at: int) -> str:
    """What is told of a mask of which more is hidden under locked objects than is seen."""
    if not result.locked:
        return ""
    seen = result.labels[result.mask(result.object_ids[at])]
    over = sorted(result.locked.intersection(np.unique(seen).tolist()))
    if not over or 2 * np.count_nonzero(seen == result.object_ids[at]) >= seen.size:
        return ""
    are = "is" if len(over) == 1 else "are"
    return f"; most of it is hidden, since {numbered(over)} {are} locked"


class _Closing:
    """Closes what a widget holds, also when Qt has destroyed it already."""

    def __init__(self, worker: Worker, widget: TrackWidget) -> None:
        self._worker, self._held = worker, widget.__dict__

    def __call__(self, *_: Any) -> None:
        self._held["_shut"] = True  # of what is still to be drawn, where Qt has destroyed it
        session, view = self._held.get("session"), self._held.get("view")
        self._held["session"] = self._held["view"] = None
        if view is not None:
            view.close()

        def last() -> None:
            # Also what was being opened meanwhile: nobody is there any more to be told of it.
            for left in (session, self._held.pop("_opened", None)):
                if left is not None:
                    left.close()

        self._worker.close(last)
