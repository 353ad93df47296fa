"""How a session begins and ends: from what is chosen to layers, and back to an empty panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QTimer

from napari_sam2track import keys
from napari_sam2track.axes import is_channel
from napari_sam2track.commands import LOADING
from napari_sam2track.marks import Key
from napari_sam2track.opening import Choice, stored_meta
from napari_sam2track.session import Session
from napari_sam2track.sync import Layers
from napari_sam2track.view import Said, View
from napari_sam2track.watching import Watching
from napari_sam2track.words import counted
from sam2track.errors import Sam2TrackError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sam2track.models.model import Model

__all__ = ["Beginning"]

_HELD = 50  # milliseconds until it is asked again whether a mouse button is up


class Beginning(Watching):
    """The panel that opens and closes sessions.

    The model is loaded and the project looked at first, while what was open stays so: what cannot
    be had closes nothing. The project is opened for writing afterwards, since it may be the same
    one, which has one writer at a time.
    """

    _opened: Session | None
    _ended_early: bool
    _begin_asked: int
    _begin_data: Any
    _as_before: bool
    _end_keys: list[Callable[[], None]]
    _on_said: Callable[[Mapping[Key, Said], Mapping[Key, Said]], None]
    _on_painted: Callable[[], None]
    _on_refused: Callable[[str], None]
    _on_press: Callable[[Any, Any], None]

    def _begin_soon(self) -> None:
        self._soon(self.begin_if_plain)  # once the viewer is drawn

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
            self.tell(f"{error}{self._stays()}")
            return
        if not flat:
            self.viewer.dims.ndisplay = 2
            self.tell("the view was 3-D; tracking is done in 2-D, so it was switched")
        image = self.form.image
        self._begin_data = None if image is None else image.data
        held = None if self.session is None else self.session.path
        self.report(self._loading(choice), self._begin_asked)

        def loaded() -> Callable[[], None]:
            # Here: at the first mask and the first track the viewer would wait for these.
            import cv2  # noqa: F401
            import scipy.spatial  # noqa: F401

            model = choice.load(source, before, held)
            return lambda: self._open(choice, model, source, image)

        self._opening, self._ended_early = True, False
        self._show_state()
        self._worker.do("load", loaded)

    def _open(self, choice: Choice, model: Model, source: Any, image: Any) -> None:
        """Close what is open, and open the project with a model that is there."""
        if self._shut:
            return
        if self._held_down:  # else a stroke would be lost that is being made
            QTimer.singleShot(_HELD, lambda: self._open(choice, model, source, image))
            return
        was = self.session
        if why := self._undone(image):
            self._opening = False
            self._show_state()
            self.tell(why)
            return
        self._closed_for_it = f"; {was.path.name} was closed for it, and is saved" if was else ""
        if was is not None and self._at is not None and self._at.what == "track":
            self.tell(f"tracking in {was.path.name} was stopped; what was tracked is kept there")
        self.end()
        self._show_state()  # still being opened

        def opened() -> tuple[Session, Choice, Any]:
            session = choice.session(source, model)
            self._opened = session
            return session, choice, image

        self._ended_early = False
        self._worker.do("begin", opened)

    def _loading(self, choice: Choice) -> str:
        """What is told while a model is loaded."""
        if self.session is None:
            return LOADING
        return (
            f"the model is being loaded, then {choice.path.name} is opened; what is done until "
            f"then is saved in {self.session.path.name}"
        )

    def _undone(self, image: Any) -> str:
        """Why what was to be opened is not, after what was done meanwhile; empty where it is."""
        if self._ended_early:
            return "what was being opened is closed again"
        if image not in self.viewer.layers:
            return "the layer was removed while its project was opened; choose another one"
        if image.data is not self._begin_data:
            return "the layer was given other data while its project was opened; press Begin again"
        return ""

    def end(self, why: str = "") -> None:
        """Close what is open; all of it is saved, and an export that is under way stops.

        Parameters
        ----------
        why : str
            What a person is told of the reason, which has to be said where it was not asked for.
            Without one, what is being opened meanwhile is closed too.
        """
        if self._at is not None and self._at.what == "export":
            self._left = self._at, why  # what comes of it is said once that is known
        self._ended_early = self._opening and not why
        if self.layers is not None:
            self.layers.take_painted()
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
        self._opened = None
        if why := self._undone(image):
            self._worker.do("close", session.close)
            self._show_state()
            self.tell(why)
            return
        self._held, self._highest = {}, 0
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
        if over := self.layers.over:
            hint = f"{over} lies over {image.name}: hide it with its eye, to see what is tracked"
        self.change(
            "open",
            lambda s: None,
            f"{session.path.name} is open again with {counted(len(rows), 'object')}; {hint}"
            if rows
            else f"click on an object: its mask appears at once. {hint}",
            asked=self._begin_asked,
        )
