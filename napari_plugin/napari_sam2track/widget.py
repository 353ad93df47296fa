"""The dock widget: wires controls, layers and keys to a session in its worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_sam2track.axes import Axes, guess_axes
from napari_sam2track.commands import KEYS, Commands
from napari_sam2track.opening import project_path, source_of
from napari_sam2track.session import Said, Session, View
from napari_sam2track.sync import Layers
from napari_sam2track.worker import Event, Worker
from sam2track.errors import Sam2TrackError, UsageError

if TYPE_CHECKING:
    import napari

__all__ = ["TrackWidget"]


class TrackWidget(Commands):
    """Prompt, track and correct objects of a video or stack with SAM 2.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    _told = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session: Session | None = None
        self.view: View | None = None
        self.layers: Layers | None = None
        self.axes: Axes | None = None
        self.background = False
        self._object = 1
        self._stale: set[int] = set()
        self._tracking: tuple[float, int, int] | None = None  # began, done, of
        self._paused = False
        self._wanted = -1
        self._opening = False
        # Told in the worker's thread; Qt queues it for this one.
        tell = self._told.emit
        self._heard = 0  # events
        self._worker = Worker(lambda event: _tell(tell, event))
        self._told.connect(self._on_event)
        self._timer = QTimer(self)
        self._timer.setInterval(100)  # at most ten refreshes a second
        self._timer.timeout.connect(self._refresh)
        self._timer.start()
        self._wire()
        viewer.layers.events.inserted.connect(self.reset_choices)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.current_step.connect(self._on_step)
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)
        closing = _Closing(self._worker, self)
        self.destroyed.connect(closing)
        self._closing = closing
        self.reset_choices()
        # Once the viewer is drawn; a timer of its own, so that it goes with the widget.
        soon = QTimer(self)
        soon.setSingleShot(True)
        soon.timeout.connect(self.begin_if_plain)
        soon.start(0)

    def _wire(self) -> None:
        self.begin_button.clicked.connect(self.begin)
        self.project_button.clicked.connect(self.choose_project)
        self.image_box.currentIndexChanged.connect(self._propose)
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
        self.export_button.clicked.connect(self.export)
        self.timeline.chosen.connect(self.go)
        self.table.chosen.connect(self.select)
        self.table.renamed.connect(
            lambda i, name: self.change("rename", lambda s: s.tracker.rename(i, name))
        )
        self.table.locked.connect(
            lambda i, locked: self.change("lock", lambda s: s.tracker.lock(i, locked=locked))
        )
        self.table.recoloured.connect(self._recolour)
        for name, action in self.identity_actions.items():
            action.triggered.connect(getattr(self, name))

    # -- beginning and ending -----------------------------------------------------------

    @property
    def image(self) -> Image | None:
        """The layer that is chosen, if it is still there."""
        found = self.image_box.currentData()
        return found if found in self.viewer.layers else None

    def reset_choices(self, _: Any = None) -> None:
        """List the image layers."""
        images = [layer for layer in self.viewer.layers if isinstance(layer, Image)]
        self.list_images([(layer.name, layer) for layer in images])

    def begin_if_plain(self) -> None:
        """Begin at once where there is an image that can only be read in one way."""
        image = self.image
        if self.session is not None or self._opening or image is None:
            return
        try:
            axes = self._guess(image)
        except Sam2TrackError as error:
            self.tell(str(error))
            return
        if not axes.fixed or image.metadata.get("sam2track"):
            self.begin()

    def _guess(self, image: Image) -> Axes:
        data = image.data[0] if image.multiscale else image.data
        labels = [str(label) for label in image.axis_labels]
        return guess_axes(data.shape, labels, rgb=image.rgb, at=self.viewer.dims.current_step)

    def _propose(self, _: Any = None) -> None:
        """Show how a layer's axes are read, and where its project goes."""
        image = self.image
        if image is None:
            return
        try:
            axes = self._guess(image)
        except Sam2TrackError as error:
            self.tell(str(error))
            return
        given = (image.metadata.get("sam2track") or {}).get("project") or image.source.path
        self.propose(axes, [str(label) for label in image.axis_labels])
        self.project_edit.setText(str(project_path(given, image.name)))

    def choose_project(self) -> None:
        """Ask where the project is to be kept, or which one to go on with."""
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Project",
            self.project_edit.text(),
            "sam2track projects (*.s2t)",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            self.project_edit.setText(name if name.endswith(".s2t") else f"{name}.s2t")

    def begin(self) -> None:
        """Open the layer, the model and the project; what was open before is closed."""
        image = self.image
        if self._opening:
            return
        if image is None:
            self.tell("there is no image layer; open a video or a stack first")
            return
        if self.viewer.dims.ndisplay == 3:
            self.viewer.dims.ndisplay = 2
            self.tell("the view was 3-D; tracking is done in 2-D, so it was switched")
        try:
            data = image.data[0] if image.multiscale else image.data
            axes = self.chosen_axes() or self._guess(image)
            limits = None if image.rgb else tuple(float(x) for x in image.contrast_limits)
            path = Path(self.project_edit.text() or project_path(image.source.path, image.name))
            # One to which nothing was said yet is made anew.
            own = self.view is not None and self.view.path == path
            old = {} if own and self.view is not None and self.view.untouched else self._meta(path)
            if old.get("viewer"):
                known = Axes.of(old["viewer"]["axes"])
                if (known.shape, known.rgb) != (axes.shape, axes.rgb):
                    raise UsageError(
                        f"{path.name} was made from other pictures, {_named(known)}; this layer "
                        f"is {_named(axes)}: choose another project file, or its own layer"
                    )
                axes = known
                limits = old["viewer"]["limits"]
            source = source_of(data, axes, limits)
        except (Sam2TrackError, OSError) as error:
            self.tell(str(error))
            return
        self.end()
        self.axes = axes
        self.model_memory.setText("loading …")
        model, device = self.model_box.currentText(), self.device_box.currentText()
        settings = {"viewer": {"axes": axes.to_dict(), "limits": limits}}

        def opened() -> tuple[Session, Image]:
            from sam2track.models.loading import load_model, stored_model

            path.parent.mkdir(parents=True, exist_ok=True)
            name = stored_model(old["model"]) if model == "auto" and "model" in old else model
            loaded = load_model(name, device=device)
            return Session(source, loaded, path, **settings), image

        self._opening = True
        self._worker.do("begin", opened)

    def _meta(self, path: Path) -> dict[str, Any]:
        """What a project says of itself; nothing where there is none yet."""
        if not path.exists():
            return {}
        view = View(path)
        try:
            return dict(view.meta)
        finally:
            view.close()

    def end(self) -> None:
        """Close what is open; all of it is saved."""
        session, view, layers = self.session, self.view, self.layers
        self.session = self.view = self.layers = None
        self._tracking, self._stale = None, set()
        self.show_tracking(False)
        if layers is not None:
            layers.remove()
        if view is not None:
            view.close()
        if session is not None:
            self._worker.cancel()
            self._worker.do("close", session.close)

    def _begun(self, session: Session, image: Image) -> None:
        if image not in self.viewer.layers or self.axes is None:
            self._worker.do("close", session.close)
            self.tell("the layer was removed while its project was opened; choose another one")
            return
        self.session, self.view = session, View(session.path)
        self.view.refresh()
        self.layers = Layers(
            self.viewer,
            image,
            self.axes,
            self.view.labels,
            self._on_said,
            self._on_painted,
            self._on_refused,
        )
        self._restore_colours()
        self.layers.show_prompts(self.view.said())
        for layer in (self.layers.clicks, self.layers.boxes, self.layers.masks):
            self._bind(layer)
        self.layers.clicks.mouse_drag_callbacks.insert(0, self._on_press)
        model = session.tracker.model
        self.model_memory.setText(f"{model.name} on {model.device}, {model.image_size} px")
        self.begun(self.axes.frames)
        rows = self.view.rows()
        self.select(int(self.view.meta.get("selected") or (rows[0].object_id if rows else 1)))
        self.viewer.layers.selection.active = self.layers.clicks
        self.layers.clicks.mode = "add"
        self.tell(
            "click on an object: its mask appears at once. N begins the next object, "
            "Q tracks, Shift+H shows all keys",
            calm=True,
        )
        self._show_all()
        self._prepare()

    def _bind(self, layer: Any) -> None:
        # On layers, whose keys come before those of the viewer.
        for key, (name, _) in KEYS.items():
            method = getattr(self, name)
            layer.bind_key(key, lambda _, method=method: method(), overwrite=True)

    def _on_press(self, layer: Any, event: Any) -> None:
        """A click with Control held is one on background."""
        if self.layers is not None:
            background = self.background != ("Control" in event.modifiers)
            self.layers.select(self._object, background)

    # -- what the worker tells ----------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        self._heard += 1
        if event.what == "begin":
            self._opening = False
        if event.kind == "failed":
            self._failed(event.what, event.value)
        elif event.what == "begin":
            self._begun(*event.value)
        elif event.what in ("close", "rest") or self.view is None or self.layers is None:
            return
        elif event.kind == "item":
            self.view.saw(event.value)
            self._stale.add(event.value.frame)
            if self._tracking is not None:
                began, done, total = self._tracking
                self._tracking = began, done + 1, max(total, done + 1)
        elif event.what == "tracks":
            self.layers.show_tracks(event.value)
        elif event.what == "track":
            if event.kind == "ended":
                self._ended()
        else:
            self._changed(event)

    def _changed(self, event: Event) -> None:
        assert self.view is not None and self.layers is not None
        if event.what in ("undo", "redo"):
            said = f"{event.what}: {event.value['action']}" if event.value else "nothing to do"
            self.tell(said, calm=True)
        self.view.refresh()
        narrow = event.what in ("say", "paint") and isinstance(event.value, (tuple, list))
        if event.what == "say" and narrow and event.value:
            self.layers.show_masks(list(event.value))
        else:
            self.layers.show_masks()
        if event.what != "say":
            self.layers.show_prompts(self.view.said())
        self._show_all()
        self._prepare()

    def _failed(self, what: str, error: Exception) -> None:
        message = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, (Sam2TrackError, OSError)):
            memory = isinstance(error, MemoryError) or "out of memory" in message.lower()
            message = (
                f"out of memory while doing '{what}'; what was done is kept: choose a smaller "
                f"model or close other programs, and go on"
                if memory
                else f"'{what}' failed: {type(error).__name__}: {message}; what was done is kept"
            )
        if what == "begin":
            self.model_memory.setText("not open")
        if what == "track":
            self._ended()
        self.tell(message)
        if self.view is not None and self.layers is not None:
            # What layers show that could not be done is taken back.
            self.view.refresh()
            self.layers.show_masks()
            self.layers.show_prompts(self.view.said())
            self._show_all()

    # -- what layers say, and what is shown ---------------------------------------------

    def _ended(self) -> None:
        self._tracking, self._paused = None, False
        self.show_tracking(False)
        if self.view is None or self.layers is None:
            return
        self.view.refresh()
        self.layers.show_masks()
        self._show_all()
        self.change("tracks", lambda s: s.tracks())

    def _refresh(self) -> None:
        """Show frames that came since the last time."""
        if self._tracking is not None:
            began, done, total = self._tracking
            self.show_progress(done, total, time.monotonic() - began, self._paused)
        if not self._stale or self.layers is None:
            return
        frames, self._stale = self._stale, set()
        self.layers.show_masks(sorted(frames))
        if self.follow_box.isChecked() and self._tracking is not None:
            self.go(max(frames) if self.frame <= max(frames) else min(frames))
        self._show_timeline()

    def _on_step(self, _: Any = None) -> None:
        self.timeline.show_frame(self.frame)
        self._prepare()

    def _on_ndisplay(self, _: Any = None) -> None:
        if self.session is not None and self.viewer.dims.ndisplay == 3:
            self.tell("prompts and paint belong to flat frames; go back to the 2-D view for them")

    def _prepare(self) -> None:
        """Have this frame and its neighbours encoded while nothing else is to do."""
        session, frame = self.session, self.frame
        if session is None or self.axes is None:
            return
        last = self.axes.frames - 1
        self._wanted = frame  # which the worker may read; the viewer it may not
        waiting = [frame, min(frame + 1, last), max(frame - 1, 0)]

        def prepare() -> None:
            session.tracker.prepare(waiting.pop(0))
            if waiting and self._wanted == frame:
                self._worker.rest(prepare)

        self._worker.rest(prepare)

    def _on_removed(self, event: Any) -> None:
        self.reset_choices()
        if self.layers is None:
            return
        gone = event.value
        if gone == self.layers.image:
            self.end()
            self.tell("the layer that was tracked is gone; its project is saved")
        elif gone in (self.layers.clicks, self.layers.boxes, self.layers.masks):
            self.end()
            self.tell("a layer of the session was removed; press Begin to go on where you were")

    def _show_all(self) -> None:
        if self.view is None:
            return
        rows = self.view.rows()
        colours = (
            {}
            if self.layers is None
            else {row.object_id: self.layers.colour(row.object_id) for row in rows}
        )
        self.table.show_rows(rows, colours, self._object)
        self._show_timeline()

    def _show_timeline(self) -> None:
        if self.view is None or self.axes is None:
            return
        self.timeline.show_object(
            self.view.confidence(self._object),
            self.view.prompted(self._object),
            self.axes.frames,
        )

    def _restore_colours(self) -> None:
        if self.view is not None and self.layers is not None:
            kept = self.view.meta.get("colours") or {}
            self.layers.recolour({int(i): tuple(c) for i, c in kept.items()})

    def _on_said(self, object_id: int, frame: int, said: Said) -> None:
        self.change("say", lambda session: session.say(object_id, frame, said))

    def _on_refused(self, message: str) -> None:
        self.tell(message)
        # Not from within the layer's own event: what cannot be taken goes once that is over.
        self.change("refused", lambda session: None)

    def _on_painted(self) -> None:
        if self.layers is None or self.view is None:
            return
        for frame, after in self.layers.data.take_painted().items():
            before = self.view.labels(frame)
            self.change(
                "paint",
                lambda s, f=frame, b=before, a=after: s.paint(f, b, a),  # type: ignore[misc]
            )

    def wait(self, seconds: float = 30.0) -> bool:
        """Wait until all is done that was asked for, for scripts; whether it is."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            # In this order: what was heard of may have asked for more.
            if self._worker.told == self._heard and self._worker.idle:
                self._refresh()
                return True
            time.sleep(0.005)
        return False

    def shut(self) -> None:
        """End tracking, close the project and the thread; what was done is saved."""
        self._timer.stop()
        self.layers = None
        self._closing()


class _Closing:
    """Closes what a widget holds, also when Qt has destroyed it already."""

    def __init__(self, worker: Worker, widget: TrackWidget) -> None:
        self._worker, self._held = worker, widget.__dict__

    def __call__(self, *_: Any) -> None:
        session, view = self._held.get("session"), self._held.get("view")
        self._held["session"] = self._held["view"] = None
        if view is not None:
            view.close()
        self._worker.close(None if session is None else session.close)


def _named(axes: Axes) -> str:
    return f"{'x'.join(map(str, axes.shape))} in {'colour' if axes.rgb else 'grey'}"


def _tell(emit: Callable[[Event], None], event: Event) -> None:
    with suppress(RuntimeError):  # the widget is gone; the worker ends
        emit(event)
