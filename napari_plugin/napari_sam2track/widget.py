"""The dock widget: wires controls, layers and keys to a session in its worker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QEvent, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_sam2track import keys
from napari_sam2track.axes import is_channel
from napari_sam2track.canvas import draw_later
from napari_sam2track.commands import LOADING, Run, counted, many, numbered
from napari_sam2track.marks import Key
from napari_sam2track.opening import Choice, stored_meta
from napari_sam2track.preview import Preview
from napari_sam2track.session import Session
from napari_sam2track.sync import Layers
from napari_sam2track.view import Said, View
from napari_sam2track.watching import Watching
from napari_sam2track.worker import Worker
from sam2track.errors import Sam2TrackError
from sam2track.tracking.result import FrameResult

if TYPE_CHECKING:
    import napari


__all__ = ["TrackWidget"]

_ANSWERED = 0.05  # seconds that a click may hold the viewer; its mask needs 20 ms with small models


class TrackWidget(Watching):
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
        self._object = 1
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
        for name, action in self.identity_actions.items():
            action.triggered.connect(getattr(self, name))

    # -- beginning and ending -----------------------------------------------------------

    def _begin_soon(self) -> None:
        # Once the viewer is drawn; a timer of its own, so that it goes with the widget.
        soon = QTimer(self)
        soon.setSingleShot(True)
        soon.timeout.connect(self.begin_if_plain)
        soon.start(0)

    def begin_if_plain(self) -> None:
        """Begin at once where there is an image that can only be read in one way."""
        image = self.form.image
        if self.session is not None or self._opening or image is None:
            return
        try:
            axes = self.form.guess(image)
        except Sam2TrackError:  # the form has said it
            return
        choices = [axis for axis, _ in axes.fixed if axes.shape[axis] > 1]
        if is_channel(image.axis_labels[axes.time]):
            self.tell(
                f"axis {image.axis_labels[axes.time]} holds channels, and there is none of time; "
                "press Begin to follow objects along it all the same"
            )
        elif not choices or image.metadata.get("sam2track"):
            self.begin()
        elif not self._refusals:
            self.tell("choose beside Time how its axes are read, then press Begin", calm=True)

    def begin(self) -> None:
        """Open the layer, the model and the project; what was open before is closed."""
        if self._shut:
            return  # its thread has ended; the dock that is opened next has one of its own
        if self._opening:
            self.tell(LOADING, calm=True)
            return
        self._begin_asked, flat = len(self._refusals), self.viewer.dims.ndisplay == 2
        try:
            choice = self.form.chosen()
            before = stored_meta(choice.path)
            asked, choice = choice, choice.as_before(before)
            self._as_before = (asked.axes, asked.limits) != (choice.axes, choice.limits)
            source = choice.source()
        except (Sam2TrackError, OSError) as error:
            self.tell(str(error))
            return
        if not flat:
            self.viewer.dims.ndisplay = 2
            self.tell("the view was 3-D; tracking is done in 2-D, so it was switched")
        was = self.session
        self._closed_for_it = f"; {was.path.name} was closed for it, and is saved" if was else ""
        self.end()
        self.form.state.setText("loading …")
        image = self.form.image
        self._begin_data = None if image is None else image.data
        self.report(LOADING, self._begin_asked)

        def opened() -> tuple[Session, Choice, Any]:
            # Here: at the first mask and the first track the viewer would wait for these.
            import cv2  # noqa: F401
            import scipy.spatial  # noqa: F401

            session = choice.session(source, before)
            self._opened = session
            return session, choice, image

        self._opening, self._ended_early = True, False
        self._worker.do("begin", opened)

    def end(self, why: str = "") -> None:
        """Close what is open; all of it is saved, and an export that is under way stops.

        Parameters
        ----------
        why : str
            What a person is told of the reason, which has to be said where it was not asked for.
        """
        if self._at is not None and self._at.what == "export":
            self._left = self._at, why  # what comes of it is said once that is known
        self._ended_early = self._opening
        session, view, layers = self.session, self.view, self.layers
        self.session = self.view = self.layers = None
        self._at, self._stale = None, set()
        self._tracks_asked = self._tracks_shown = self._tracks_asked + 1
        self._slow_timer.stop()
        self.show_tracking(False)
        self.emptied()
        try:
            if layers is not None:
                layers.image.events.data.disconnect(self._on_replaced)
                for end in self._end_keys:
                    end()
                layers.remove()
        finally:  # a viewer that is closing may have taken layers away in the middle of it
            if view is not None:
                view.close()
            if session is not None:
                self._worker.cancel()
                self._worker.drop_rest()
                self._worker.do("close", session.close)
        if why:
            self.tell(why)

    def _begun(self, session: Session, choice: Choice, image: Image) -> None:
        if self._shut:
            return  # nobody is there any more; `_Closing` has closed it
        self._opened, why = None, ""
        if self._ended_early:
            why = "what was being opened is closed again"
        elif image not in self.viewer.layers:
            why = "the layer was removed while its project was opened; choose another one"
        elif image.data is not self._begin_data:
            why = "the layer was given other data while its project was opened; press Begin again"
        if why:
            self._worker.do("close", session.close)
            self.form.state.setText("not open")
            self.tell(why)
            return
        self._held = {}
        self.session, self.view = session, View(session.path)
        view = self.view
        self.layers = Layers(
            self.viewer,
            image,
            choice.axes,
            view.labels,
            self._on_said,
            self._on_painted,
            self.select,
            self._on_refused,
            view.highest_id,
        )
        image.events.data.connect(self._on_replaced)
        self.layers.masks.events.data.connect(self._on_masks_replaced)
        kept, hidden = view.meta.get("colours") or {}, view.meta.get("hidden") or ()
        self.layers.recolour({int(i): tuple(c) for i, c in kept.items()}, hidden)
        self.layers.show_prompts(view.said())
        for layer in (self.layers.clicks, self.layers.boxes, self.layers.masks):
            keys.bind(layer, self)
        self._end_keys = [
            keys.bind(image, self),
            keys.bind_unanswered(self.viewer, self._on_unanswered),
        ]
        self.layers.clicks.mouse_drag_callbacks.insert(0, self._on_press)
        self._show_state()
        self._slow_timer.start()
        self.begun(choice.axes.frames)
        self.layers.show_plane()
        self.timeline.show_frame(self.frame)
        rows = view.rows()
        self.select(int(view.meta.get("selected") or (rows[0].object_id if rows else 1)))
        self.viewer.layers.selection.active = self.layers.clicks
        self.layers.clicks.mode = "add"
        hint = "N begins the next object, Q tracks, Shift+H shows all keys"
        if self._as_before:
            self.form.show(choice)
            hint = "axes and values are read as when it was made: choose another project for others"
        self.change(
            "open",
            lambda s: None,
            f"{session.path.name} is open again with {counted(len(rows), 'object')}; {hint}"
            if rows
            else f"click on an object: its mask appears at once. {hint}",
            asked=self._begin_asked,
        )

    def _on_press(self, layer: Any, event: Any) -> None:
        """A click with Control held is one on background."""
        if self.layers is not None:
            background = self.background != ("Control" in event.modifiers)
            self.layers.select(self._object, background)

    # -- what layers say, and what is shown ---------------------------------------------

    def _on_drag(self, _: Any, event: Any) -> Iterator[None]:
        """Note that a mouse button is down, until it is up again."""
        self._held_down = True
        try:
            yield
            while event.type == "mouse_move":
                yield
        finally:
            self._held_down = False
            if self._prompts_late:  # once the layer has heard of it, too
                QTimer.singleShot(0, self._show_prompts)

    def _on_step(self, _: Any = None) -> None:
        self.timeline.show_frame(self.frame)
        self._prepare()
        self._look()

    def preview(self) -> None:
        """Show the picture that the model sees, in a window of its own."""
        self._preview.show()
        self._look()

    def _look(self, _: Any = None) -> None:
        """Have the picture read that the preview shows, where it is open."""
        if not self._preview.isVisible():
            return
        try:
            choice = self.form.chosen()
        except Sam2TrackError as error:
            self.tell(str(error))
            return
        layers, image, session = self.layers, self.form.image, self.session
        at = image.world_to_data(self.viewer.dims.point) if image is not None else ()
        frame = choice.axes.frame(at) if layers is None else layers.frame
        source = None if session is None else session.source
        read = self._preview.reader(choice, frame, source)
        if read is not None:
            self._worker.do("preview", read)

    def _on_said(self, said: Mapping[Key, Said]) -> None:
        """Have clicks and boxes said that changed at once: one step, however many they are of."""
        ids = sorted({object_id for object_id, _ in said})
        what = numbered(ids)
        where = many(sorted({frame for _, frame in said}))

        def told(result: FrameResult | None) -> str:
            if result is not None and ids[0] in result.object_ids:
                at = result.object_ids.index(ids[0])
                score, iou = float(result.object_scores[at]), float(result.ious[at])
                away = ", but the object seems not to be there" if score < 0 else ""
                return f"{what}, {where}: the mask is given a score of {iou:.2f}{away}"
            if any(not one.empty for one in said.values()):
                return f"{what}, {where}: the masks are there"
            return f"nothing is said of {what} on {where} any more"

        assert self.layers is not None
        self._prompts_late |= self.layers.uneven
        draw_later(self.viewer, 100)  # the click with its mask: while it is drawn the model waits
        # What is said changes one frame, whose scores come with the answer; taking back, more.
        scores = len(said) > 1 or any(one.empty for one in said.values())
        self.change("say", lambda s: s.say_all(said), told, scores=scores)
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

        def told(found: dict[int, list[int]]) -> str:
            frames = [frame for frame, ids in found.items() if ids]
            ids = sorted({i for ids in found.values() for i in ids})
            if not ids:
                return ""
            new = [i for i in ids if i not in known]
            if new:
                return f"object {new[0]} is new, and begins with what you painted on {many(frames)}"
            told = f"object {ids[0]} stays as you painted it"
            if len(ids) > 1:
                told = f"objects {' and '.join(map(str, ids))} stay as you painted them"
            return f"{told} on {many(frames)}"

        self.change("paint", lambda s: s.paint(painted), told)

    def wait(self, seconds: float = 30.0) -> bool:
        """Wait until all is done that was asked for, for scripts; whether it is."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            # In this order: what ends in between is told before the worker is idle.
            heard = self._worker.idle and self._worker.told == self._heard
            if heard and self._tracks_shown == self._tracks_asked:
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


class _Closing:
    """Closes what a widget holds, also when Qt has destroyed it already."""

    def __init__(self, worker: Worker, widget: TrackWidget) -> None:
        self._worker, self._held = worker, widget.__dict__

    def __call__(self, *_: Any) -> None:
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
