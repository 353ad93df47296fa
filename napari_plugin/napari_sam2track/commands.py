"""What buttons and keys call: each has something done by the session, or shows another frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_sam2track.axes import Axes
from napari_sam2track.panel import Panel
from napari_sam2track.session import Session, View
from napari_sam2track.sync import Layers
from napari_sam2track.worker import Worker

if TYPE_CHECKING:
    import napari

__all__ = ["KEYS", "Commands"]

# Free in napari 0.9 in the viewer and in all layers; each with the method it calls.
KEYS = {
    "n": ("next_object", "begin the next object"),
    "g": ("toggle_background", "click on the object, or on background"),
    "q": ("track", "track what has changed, or pause"),
    "Shift-q": ("track_to_next", "track no further than to frames that you fixed"),
    "j": ("go_least_sure", "go to the least sure frame"),
    "Shift-j": ("go_next_least_sure", "go to the next least sure frame"),
    "k": ("go_next_prompted", "go to the next prompted frame"),
    "Shift-k": ("go_previous_prompted", "go to the previous prompted frame"),
    "w": ("confirm", "this mask is right"),
    "Shift-w": ("absent", "the object is not on this frame"),
    "u": ("clear", "take back all that was said of the object on this frame"),
    "Shift-h": ("show_keys", "show these keys"),
    "Control-z": ("undo", "undo"),
    "Control-Shift-z": ("redo", "redo"),
}


class Commands(Panel):
    """The panel with all that a person can do to a session that is open."""

    viewer: napari.viewer.Viewer
    session: Session | None
    view: View | None
    layers: Layers | None
    axes: Axes | None
    background: bool
    _worker: Worker
    _object: int
    _tracking: tuple[float, int, int] | None  # began, done, of
    _paused: bool

    def _show_timeline(self) -> None:
        raise NotImplementedError

    def change(self, what: str, work: Callable[[Session], Any]) -> None:
        """Have something done to the session, then show what came of it."""
        session = self.session
        if session is None:
            self.tell("nothing is open; choose a layer and press Begin")
            return
        self._worker.do(what, lambda: work(session))

    def tell(self, message: str, *, calm: bool = False) -> None:
        """Say something to a person: in the panel, and as a notice where it is a warning."""
        self.show_message(message, calm=calm)
        if not calm:
            show_warning(message)

    # -- prompts ------------------------------------------------------------------------

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return 0 if self.axes is None else self.axes.frame(self.viewer.dims.current_step)

    def go(self, frame: int | None) -> None:
        """Show a frame."""
        if frame is None or self.axes is None:
            self.tell("there is no such frame", calm=True)
            return
        # The layer's axes are the last of the viewer's.
        axis = self.viewer.dims.ndim - len(self.axes.shape) + self.axes.time
        self.viewer.dims.set_current_step(axis, frame)

    def select(self, object_id: int) -> None:
        """Let clicks belong to this object from now on."""
        self._object = object_id
        if self.session is not None:
            self.session.selected = object_id
        if self.layers is not None:
            self.layers.select(object_id, self.background)
        self.table.select(object_id)
        self._show_timeline()

    def next_object(self) -> None:
        """Begin the next object."""
        if self.view is not None and self._worker.idle:
            self.select(self.view.next_id())
        elif self.view is not None:
            # A click may be on its way that begins the object that is selected now.
            self.select(max(self.view.next_id(), self._object + 1))
        self.tell(f"click on object {self._object}", calm=True)

    def toggle_background(self) -> None:
        """Switch between clicks on the object and on background."""
        self.background = not self.background
        self.background_button.setChecked(self.background)
        self.select(self._object)

    def confirm(self) -> None:
        """The mask that is shown is right."""
        object_id, frame = self._object, self.frame
        self.change("confirm", lambda s: s.tracker.confirm(object_id, frame))

    def absent(self) -> None:
        """The object is not on this frame."""
        object_id, frame = self._object, self.frame
        self.change("absent", lambda s: s.tracker.prompt(object_id, frame, absent=True))

    def clear(self) -> None:
        """Take back all that was said of the object on this frame."""
        object_id, frame = self._object, self.frame
        self.change("clear", lambda s: s.forget(object_id, frame))

    def undo(self) -> None:
        """Take back the last step."""
        self.change("undo", lambda s: s.tracker.undo())

    def redo(self) -> None:
        """Put it back."""
        self.change("redo", lambda s: s.tracker.redo())

    # -- tracking -----------------------------------------------------------------------

    def track(self, direction: str = "both") -> None:
        """Track what has changed; while that is under way, pause it or go on."""
        if self._tracking is not None:
            self.pause()
            return
        self._start(lambda s: s.track(direction), direction)  # type: ignore[arg-type]

    def track_to_next(self) -> None:
        """Track what has changed, no further than to the next frame that a person fixed."""
        self._start(lambda s: s.track("next"), "both")

    def track_range(self) -> None:
        """Track what has changed within the range that is chosen."""
        low, high = self.range_low.value(), self.range_high.value()
        self._start(lambda s: s.track("both", low, high + 1), "both")

    def _start(self, run: Callable[[Session], Iterator[Any]], direction: str) -> None:
        session = self.session
        if session is None:
            self.tell("nothing is open; choose a layer and press Begin")
            return
        self._tracking, self._paused = (time.monotonic(), 0, 1), False
        self.show_tracking(True)

        def begin() -> Iterator[Any]:
            total = session.frames_to_run(direction)
            if self._tracking is not None:
                self._tracking = (time.monotonic(), 0, total)
            return run(session)

        self._worker.run("track", begin)

    def pause(self) -> None:
        """Hold tracking after the frame that it is at, or go on."""
        self._paused = not self._paused
        self._worker.pause(self._paused)
        self.pause_button.setText("Go on" if self._paused else "Pause")

    def cancel(self) -> None:
        """End tracking; frames that are done are kept."""
        self._worker.cancel()

    # -- looking ------------------------------------------------------------------------

    def go_least_sure(self) -> None:
        """Go to the least sure frame of the object that is selected."""
        self.go(None if self.view is None else self.view.least_sure(self._object))

    def go_next_least_sure(self) -> None:
        """Go to the frame that is the next least sure after this one."""
        if self.view is not None:
            here = self.view.confidence(self._object).get(self.frame, -1.0)
            self.go(self.view.least_sure(self._object, beyond=here))

    def go_next_prompted(self) -> None:
        """Go to the next frame that a person said something of."""
        frames = [] if self.view is None else self.view.prompted(self._object)
        self.go(next((f for f in frames if f > self.frame), None))

    def go_previous_prompted(self) -> None:
        """Go to the one before."""
        frames = [] if self.view is None else self.view.prompted(self._object)
        self.go(next((f for f in reversed(frames) if f < self.frame), None))

    def _recolour(self, object_id: int, rgba: object, shown: bool) -> None:
        if self.layers is None or self.view is None:
            return
        colours = dict(self.layers._colours)
        hidden = set(self.layers._hidden) - {object_id}
        if rgba is not None:
            colours[object_id] = tuple(rgba)  # type: ignore[arg-type]
        if not shown:
            hidden.add(object_id)
        self.layers.recolour(colours, hidden)
        kept = {str(i): list(c) for i, c in colours.items()}
        self.change("recolour", lambda s: s.project.set_meta(colours=kept))

    # -- identity -----------------------------------------------------------------------

    def _other(self) -> int | None:
        others = [i for i in self.table.selected() if i != self._object]
        if len(others) != 1:
            self.tell("select two objects in the list (Ctrl+click) for this")
            return None
        return others[0]

    def merge(self) -> None:
        """Let the two selected objects be one, the current one."""
        one, other = self._object, self._other()
        if other is not None:
            self.change("merge", lambda s: s.tracker.merge(one, other))

    def swap(self) -> None:
        """Exchange the two selected objects from this frame on."""
        one, other, frame = self._object, self._other(), self.frame
        if other is not None:
            self.change("swap", lambda s: s.tracker.swap_from(one, other, frame))

    def split(self) -> None:
        """Let the object be a new one from this frame on."""
        one, frame = self._object, self.frame
        self.change("split", lambda s: s.tracker.split_from(one, frame))

    def end_here(self) -> None:
        """Let the object end before this frame."""
        one, frame = self._object, self.frame
        self.change("end", lambda s: s.tracker.end_at(one, frame))

    def divide(self) -> None:
        """Let the object end here, and be the mother of those that begin on this frame."""
        mother, frame = self._object, self.frame
        chosen = [i for i in self.table.selected() if i != mother]
        self.change("divide", lambda s: s.divide(mother, frame, chosen or s.born_on(frame)))

    def delete(self) -> None:
        """Forget the object altogether."""
        one = self._object
        self.change("delete", lambda s: s.tracker.remove(one))

    # -- the rest -----------------------------------------------------------------------

    def export(self) -> None:
        """Write what the command line writes, into a folder."""
        folder = QFileDialog.getExistingDirectory(self, "Folder for masks, videos and table")
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write masks, videos and table into a folder."""

        def write(session: Session) -> str:
            from sam2track.outputs import USUAL, write_outputs

            source = session.tracker.source
            count = len(source)
            write_outputs(session.project, source, (0, count), folder, list(USUAL), None)  # type: ignore[arg-type]
            return str(folder)

        self.change("export", write)

    def show_keys(self) -> None:
        """Show all keys."""
        lines = "".join(f"<tr><td><b>{k}</b></td><td>{v}</td></tr>" for k, (_, v) in KEYS.items())
        box = QMessageBox(self)
        box.setWindowTitle("SAM 2 Track: keys")
        box.setText(
            f"<table cellpadding='3'>{lines}<tr><td><b>Control</b>+click</td>"
            f"<td>click on background</td></tr></table>"
        )
        box.setModal(False)
        box.show()
