"""What buttons and keys call: each has something done by the session, or shows another frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QMessageBox

from napari_sam2track.canvas import focus
from napari_sam2track.keys import told_keys
from napari_sam2track.panel import Panel
from napari_sam2track.session import Session
from napari_sam2track.strokes import Action
from napari_sam2track.sync import Layers
from napari_sam2track.view import Sure, View
from napari_sam2track.words import turned
from napari_sam2track.worker import Worker
from sam2track.prompts import check_object_id

if TYPE_CHECKING:
    import napari

__all__ = [
    "LOADING",
    "OF_THE_LIST",
    "STOPPED",
    "Commands",
    "Outcome",
    "Run",
]

OF_THE_LIST = ("recolour", "rename")  # what leaves masks and prompts as they are
STOPPED = "the export was stopped; nothing is left of it"
LOADING = "the model is being loaded; then a click on an object gives its mask"


@dataclass(frozen=True)
class Outcome:
    """What came of something that the session was asked for.

    Attributes
    ----------
    value : object
    sure : Sure or None
        All scores, where they may have changed.
    said : str
        What a person is told; nothing where empty.
    asked : int
        How much had been refused when it was asked for.
    labels : dict of int to (H, W) int32 array
        Label maps of frames that may have changed and are shown, where they were read.
    """

    value: Any
    sure: Sure | None
    said: str
    asked: int = 0
    labels: dict[int, npt.NDArray[np.int32]] = field(default_factory=dict)


@dataclass
class Run:
    """Something long that is under way: ``track`` or ``export``.

    Attributes
    ----------
    what : str
    began : float
        By ``time.monotonic``; later by the time for which it was paused.
    done, total : int
        Frames.
    paused : bool
    since : float
        When it was paused.
    said : str
        What a person is told at the end of an export.
    written : bool
        Whether all of an export is there.
    asked : int
        How much had been refused when it was asked for.
    turned : bool
        Whether a step was taken back or put back meanwhile, which ends tracking.
    altered : bool
        Whether whole objects were changed meanwhile, which may end tracking.
    within : str
        Which frames tracking was held to, in words.
    """

    what: str
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 1
    paused: bool = False
    since: float = 0.0
    said: str = ""
    written: bool = False
    asked: int = 0
    turned: bool = False
    altered: bool = False
    within: str = ""


class Commands(Panel):
    """The panel with all that a person can do to a session that is open."""

    viewer: napari.viewer.Viewer
    session: Session | None
    view: View | None
    layers: Layers | None
    background: bool
    _worker: Worker
    _object: int
    _highest: int  # number of an object that may be on its way
    _at: Run | None
    _cancelled: bool
    _refusals: list[str]
    _saying: int  # clicks and boxes that are on their way
    _opening: bool
    _show_timeline: Callable[[], None]

    def change(
        self,
        what: str,
        work: Callable[[Session], Any],
        said: str | Callable[[Any], str] = "",
        *,
        scores: bool = True,
        asked: int | None = None,
    ) -> None:
        """Have something done to the session, then show what came of it.

        Parameters
        ----------
        what : str
            What is done, for messages where it fails.
        work : callable
            Takes the session; called in the worker's thread.
        said : str or callable
            What to tell where it succeeds; a callable takes what ``work`` gave.
        scores : bool
            Whether scores may be others afterwards.
        asked : int, optional
            How much had been refused when it was asked for; all until now where not given.
        """
        session = self._open_session()
        if session is None:
            return
        self._saying += what == "say"
        known = len(self._refusals) if asked is None else asked
        frame = self.frame

        def run() -> Outcome:
            value = work(session)
            told = said if isinstance(said, str) else said(value)
            sure = session.sure() if scores else None
            # Here: the viewer would stand still while masks of hundreds of objects are read.
            labels = {} if what in OF_THE_LIST else session.labels(frame)
            return Outcome(value, sure, told, known, labels)

        self._worker.do(what, run)

    def _open_session(self) -> Session | None:
        """The session; where there is none, why not is said."""
        if self.session is None and self._opening:
            self.tell(LOADING, calm=True)
        elif self.session is None:
            self.tell("nothing is open; choose a layer and press Begin")
        return self.session

    def tell(self, message: str, *, calm: bool = False) -> None:
        """Say something to a person: in the panel, and as a notice where it is a refusal."""
        self.show_message(message, calm=calm)
        if not calm:
            self._refusals.append(message)
            show_warning(message)

    def report(self, message: str, asked: int) -> None:
        """Say what came of something; a refusal since it was asked for stays the last thing said.

        Parameters
        ----------
        message : str
        asked : int
            How much had been refused then.
        """
        if asked < len(self._refusals):
            self.show_message(f"{message}\n{self._refusals[-1]}", calm=False)
        else:
            self.tell(message, calm=True)

    # -- prompts ------------------------------------------------------------------------

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return 0 if self.layers is None else self.layers.frame

    def _here(self) -> int | None:
        """The frame that is shown; where none is that can be spoken of, why not is said."""
        if self.layers is not None and (why := self.layers.astray):
            self.tell(why)
            return None
        return self.frame

    def go(self, frame: int | None) -> None:
        """Show a frame, on the plane that is tracked; none is none."""
        if frame is not None and self.layers is not None:
            self.layers.go(frame)
            self.layers.show_plane()

    def _seek(self, frame: int | None, none: str, found: str = "") -> None:
        """Show a frame and say which it is; where there is none, say so."""
        if self._open_session() is None:
            return
        if frame is None:
            self.tell(none, calm=True)
        elif found:
            self.tell(f"frame {frame}: {found}", calm=True)
        self.go(frame)

    def select(self, object_id: int) -> None:
        """Let clicks belong to this object from now on.

        Raises
        ------
        PromptError
            Where no object can have this number.
        """
        check_object_id(object_id)
        self._object = object_id
        if self.session is not None:
            self.session.selected = object_id
        if self.layers is not None:
            self.layers.select(object_id, self.background)
        self.table.select(object_id)
        self._show_timeline()

    def next_object(self) -> None:
        """Begin the next object."""
        self.select_new()
        self.tell(f"click on object {self._object}", calm=True)

    def select_new(self) -> None:
        """Let clicks belong to an object that is not there yet."""
        if self.view is not None:
            self.select(self.view.next_id(self._on_its_way()))

    def _on_its_way(self) -> int:
        """The highest number that an object may be about to have, 0 where none is."""
        # A click may be on its way that begins the object that is selected now, or another.
        return 0 if self._worker.idle else max(self._object, self._highest)

    def toggle_background(self) -> None:
        """Switch between clicks on the object and on background."""
        self.background = not self.background
        self.background_button.setChecked(self.background)
        self.select(self._object)
        kind = "what does not belong to the object" if self.background else "the object"
        self.tell(f"clicks say {kind} from now on; G changes that", calm=True)

    def confirm(self) -> None:
        """The mask that is shown is right."""
        one, frame = self._object, self._here()
        if frame is None:
            return
        self.change(
            "confirm",
            lambda s: s.tracker.confirm(one, frame, alone=True),
            f"object {one} is right on frame {frame}, and stays so",
        )

    def absent(self) -> None:
        """The object is not on this frame."""
        one, frame = self._object, self._here()
        if frame is None:
            return
        self.change(
            "absent",
            lambda s: s.absent(one, frame),
            f"object {one} is not on frame {frame}",
        )

    def clear(self) -> None:
        """Take back all that was said of the object on this frame."""
        one, frame = self._object, self._here()
        if frame is None:
            return
        cleared = f"nothing is said of object {one} on frame {frame} any more"

        def told(gone: bool) -> str:
            return (
                f"{cleared}, and it was said of no other: the object is gone" if gone else cleared
            )

        self.change("clear", lambda s: s.forget(one, frame), told)

    def undo(self) -> None:
        """Take back the last step; a run that is under way ends with it."""
        self._turn("undo", lambda s: s.undo(), "took back")
        if self._at is not None and self._at.what == "track" and self._at.paused:
            self.pause()  # it ends where it goes on

    def redo(self) -> None:
        """Put it back."""
        self._turn("redo", lambda s: s.redo(), "put back")

    def _turn(self, what: str, turn: Callable[[Session], Sequence[Action]], how: str) -> None:
        at = self._at

        def told(done: Sequence[Action]) -> str:
            if at is not None and done:
                at.turned = True
            return turned(how, done)

        self.change(what, turn, told)

    # -- tracking -----------------------------------------------------------------------

    def track(self, direction: str = "both") -> None:
        """Track what has changed; while something is under way, pause it or go on."""
        if self._at is not None:
            self.pause()
            return
        self._start(lambda s: s.track(direction), direction)  # type: ignore[arg-type]

    def track_to_next(self) -> None:
        """Track what has changed, no further than to the next frame that a person fixed."""
        self._start(lambda s: s.track("next"), "both")

    def track_range(self) -> None:
        """Track what has changed within the range that is chosen."""
        low, high = self.range_low.value(), self.range_high.value()
        if low > high:
            self.tell(
                f"the range begins with frame {low} and ends with frame {high}, before it begins; "
                f"let the first of its two frames be the earlier one"
            )
            return
        self._start(lambda s: s.track("both", low, high + 1), "both", low, high + 1)

    def _start(self, run: Callable[[Session], Iterator[Any]], direction: str, *span: int) -> None:
        session = self._open_session()
        if session is None or self._busy():
            return
        at = self._under_way(
            "track", "tracking; a click meanwhile is answered after the frame that it is at"
        )

        if span:
            at.within = f" within frames {span[0]} to {span[1] - 1}"

        def begin() -> Iterator[Any]:
            at.total, at.began = session.frames_to_run(direction, *span), time.monotonic()
            return run(session)

        self._worker.run("track", begin)

    def _busy(self) -> bool:
        """Whether something long is under way, which is said."""
        if self._at is None:
            return False
        what = "tracking" if self._at.what == "track" else "an export"
        self.tell(f"{what} is under way; wait for it, or stop it first")
        return True

    def _under_way(self, what: str, said: str) -> Run:
        """Show that something long begins."""
        self._at = Run(what, asked=len(self._refusals))
        self._cancelled = False
        focused = self.window().focusWidget()
        ours = focused is not None and self.isAncestorOf(focused)
        self.show_tracking(True)
        if ours:  # else what comes after a button that is off has it: a field, which swallows keys
            focus(self.viewer)
        self.tell(said, calm=True)
        return self._at

    def pause(self) -> None:
        """Hold what is under way after the frame that it is at, or go on."""
        if self._at is None:
            return
        now = time.monotonic()
        if self._at.paused:
            self._at.began += now - self._at.since
        self._at.paused, self._at.since = not self._at.paused, now
        self._worker.pause(self._at.paused)
        self.pause_button.setText("Go on" if self._at.paused else "Pause")
        what = "tracking" if self._at.what == "track" else "the export"
        held = "is paused; Q, or the button Go on, lets it go on"
        self.tell(f"{what} {held if self._at.paused else 'goes on'}", calm=True)

    def cancel(self) -> None:
        """End what is under way; frames that are tracked are kept, half an export is not."""
        self._cancelled = True
        self._worker.cancel()

    # -- looking ------------------------------------------------------------------------

    def go_least_sure(self) -> None:
        """Go to the least sure frame of the object that is selected."""
        found = None if self.view is None else self.view.least_sure(self._object)
        told = f"the least sure one of object {self._object}{self._sure(found)}"
        self._seek(found, self._none_unsure(), told)

    def _sure(self, frame: int | None) -> str:
        """How sure tracking is of the object that is selected, in words."""
        if frame is None or self.view is None:
            return ""
        return f", {self.view.confidence(self._object)[frame]:.0%} sure"

    def _none_unsure(self) -> str:
        """Why no frame of the object that is selected is less sure than others."""
        rows = [] if self.view is None else self.view.rows()
        if any(row.object_id == self._object and "to track" not in row.state for row in rows):
            return f"all masks of object {self._object} are imported or fixed, and count as sure"
        return f"nothing is tracked of object {self._object} yet"

    def go_next_least_sure(self) -> None:
        """Go to the frame that is the next least sure after this one."""
        found = None if self.view is None else self.view.least_sure(self._object, self.frame)
        none = self._none_unsure()
        if self.view is not None and self.view.least_sure(self._object) is not None:
            none = f"no frame of object {self._object} is less sure but those before it"
        told = f"the next least sure one of object {self._object}{self._sure(found)}"
        self._seek(found, none, told)

    def go_next_prompted(self) -> None:
        """Go to the next frame that a person said something of."""
        frames = [] if self.view is None else self.view.prompted(self._object)
        found = next((f for f in frames if f > self.frame), None)
        none = f"nothing was said of object {self._object} after this frame"
        self._seek(found, none, f"something was said of object {self._object} here")

    def go_previous_prompted(self) -> None:
        """Go to the one before."""
        frames = [] if self.view is None else self.view.prompted(self._object)
        found = next((f for f in reversed(frames) if f < self.frame), None)
        none = f"nothing was said of object {self._object} before this frame"
        self._seek(found, none, f"something was said of object {self._object} here")

    # -- the rest -----------------------------------------------------------------------

    def show_keys(self) -> None:
        """Show all keys."""
        box = QMessageBox(self)
        box.setWindowTitle("SAM 2 Track: keys")
        box.setText(told_keys())
        box.setModal(False)
        box.show()
