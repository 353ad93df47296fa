"""What the worker tells, and what is shown of it: masks, prompts, scores, progress, errors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from qtpy.QtCore import QTimer

from napari_sam2track import keys
from napari_sam2track.canvas import draw_later, draw_now
from napari_sam2track.commands import OF_THE_LIST, STOPPED, Outcome, Run
from napari_sam2track.keeping import Keeping
from napari_sam2track.memory import used
from napari_sam2track.preview import Preview
from napari_sam2track.view import UNFINISHED, Row
from napari_sam2track.words import counted, lasting, numbered
from napari_sam2track.worker import Event
from sam2track.errors import DeviceError, ModelError, Sam2TrackError, SourceError
from sam2track.faults import is_out_of_memory
from sam2track.tracking.result import FrameResult

__all__ = ["Showing"]

# Where a person does what the engine asks for.
_WHERE = {
    "unlock it first": ": its box under lock in the list",
    "let it end later or not at all": ": Object, End before this frame, on a later one; or undo",
}
_LAST = 0.2  # seconds from the end until what came last is drawn: there is enough to show at once
_SHARE = 0.05  # of the time may go into drawing while frames come, for which the model waits
_LONGEST = 5.0  # seconds until it is drawn again: another plugin may have taken the time
_PAINTED = 10  # milliseconds until Qt paints what is to be painted, for which it takes 5


class Showing(Keeping):
    """The panel with all commands, and with what comes of them."""

    _preview: Preview
    _stale: set[int]
    _wanted: int
    _tracks_asked: int
    _tracks_shown: int
    _heard: int
    _draw_after: float  # by time.monotonic
    _closed_for_it: str
    _shut: bool
    _left: tuple[Run, str] | None  # an export whose session was closed, and why it was
    _held_down: bool  # whether a mouse button is, on the canvas
    _prompts_late: bool
    _begun: Callable[[Any, Any, Any], None]
    _look: Callable[[], None]

    # -- what the worker tells ----------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        self._heard += 1
        self._saying -= event.what == "say"
        if event.what == "begin" or (event.what == "load" and event.kind == "failed"):
            self._opening = False
        if event.what == "preview":
            self._preview.free()
        if event.what == "keep":
            self._keeping = False
        if event.what == "export" and self._left is not None:
            self._end_left(event)
        if event.what == "close" and isinstance(event.value, str) and event.value:
            self.tell(event.value)
        if event.kind == "failed":
            self._failed(event.what, event.value)
        elif event.what == "load":
            event.value()
        elif event.what == "begin":
            self._begun(*event.value)
        elif event.what == "preview":
            self._preview.show_picture(*event.value)
            if self._preview.missed:
                self._look()
        elif event.what in ("close", "prepare") or self.view is None or self.layers is None:
            return
        elif event.kind == "item":
            at = self._at
            if event.what == "track":
                self.view.saw(event.value)
                self._stale.add(event.value.frame)
                if at is not None:
                    at.done, at.total = at.done + 1, max(at.total, at.done + 1)
                if event.held:
                    self._draw()
            elif at is not None:
                at.done, at.total = event.value.done, event.value.total
                at.written = at.written or event.value.stage == "written"
        elif event.what == "tracks":
            if event.value is not None:
                asked, tracks = event.value
                self._tracks_shown = asked
                self.view.refresh(tracks.sure)
                self._show_all()
                self.layers.show_tracks(tracks)
                if self.layers.tracks is not None:
                    keys.bind(self.layers.tracks, self)
        elif event.kind == "ended":
            self._ended()
        elif isinstance(event.value, Outcome):
            self._changed(event.what, event.value)

    def _end_left(self, event: Event) -> None:
        """Say what came of an export whose session was closed."""
        assert self._left is not None
        left, why = self._left
        if event.kind == "item":
            left.written = left.written or event.value.stage == "written"
        elif event.kind == "ended":
            self._left = None
            self.tell("; ".join(filter(None, (why, left.said if left.written else STOPPED))))
        elif event.kind == "failed":
            self._left = None

    def _changed(self, what: str, came: Outcome) -> None:
        assert self.view is not None and self.layers is not None
        if what == "keep":
            self.kept(came.value)
        self.view.refresh(came.sure)
        if what == "say" and isinstance(came.value, FrameResult):
            self.view.saw(came.value, fixed=True)
            self.layers.show_masks([came.value.frame], known=came.labels)
            if self._prompts_late:
                self._show_prompts()
            draw_now(self.viewer)
        elif what not in OF_THE_LIST:
            self.layers.show_masks(known=came.labels)
            self._show_prompts()
        rows = self.view.rows()
        self._select_after(what, came.value, {row.object_id for row in rows})
        if came.said:
            self.report(came.said, came.asked)
        self._show_rows(rows)
        self._prepare()
        if came.sure is not None:
            self._retrack()

    def _select_after(self, what: str, came: Any, there: Collection[int]) -> None:
        """Select another object where the one that is selected went, or one came back."""
        assert self.view is not None
        steps = came if what in ("undo", "redo") else []
        if self._object in there:
            return
        back = [step["object"] for step in steps if step.get("object") in there]
        if what == "delete" or (what == "redo" and any(s["action"] == "remove" for s in steps)):
            self.select(self.view.next_id())  # else a click would begin the object that is gone
        elif back:
            self.select(back[0])

    def _show_prompts(self) -> None:
        """Show clicks and boxes; while some are drawn or on their way, once those are answered.

        napari fails where a shape goes that is being drawn.
        """
        if self.view is None or self.layers is None:
            return
        self._prompts_late = self._saying > 0 or self._held_down or self.layers.drawing
        if not self._prompts_late:
            self.layers.show_prompts(self.view.said())

    def _show_late(self) -> None:
        """Show prompts that were late, where what they waited for was given up."""
        if self._prompts_late:
            self._show_prompts()

    def _failed(self, what: str, error: Exception) -> None:
        message = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            message = (
                f"out of memory while doing '{what}'; what was done is kept: choose a smaller "
                f"model or close other programs, and go on"
            )
        elif not isinstance(error, (Sam2TrackError, OSError)):
            message = f"'{what}' failed: {type(error).__name__}: {message}; what was done is kept"
        for end, where in _WHERE.items():
            message += where if message.endswith(end) else ""
        if what in ("load", "begin"):
            self._show_state()
            message += self._closed_for_it if what == "begin" else self._stays()
            if isinstance(error, ModelError | DeviceError) and not isinstance(error, MemoryError):
                message = f"{message}; or choose nano on auto, and press Begin"
            elif isinstance(error, OSError) and not isinstance(error, SourceError | MemoryError):
                message = f"{message}; choose another place under Project"
        if what == "keep":
            self.not_kept(message, written=isinstance(error, SourceError))
            return
        if what == "tracks":
            self._tracks_shown = self._tracks_asked
        if what in ("track", "export"):
            self._ended(message)
        else:
            self.tell(message)
            if self.view is not None and self.layers is not None:
                # What layers show that could not be done is taken back.
                self.view.refresh()
                self.layers.show_masks()
                self._show_prompts()
                self._show_all()

    def _stays(self) -> str:
        """What is told of the session that is open where another one cannot be."""
        return "" if self.session is None else f"; {self.session.path.name} stays open"

    def _ended(self, failed: str = "") -> None:
        """Say how it went; what tracking gave is read anew, and what came last drawn soon."""
        self._draw_after = time.monotonic() + _LAST
        at, self._at = self._at or Run("track"), None
        self.show_tracking(False)
        if failed:
            self.tell(failed)
        if self.view is None:
            return
        took = f"{counted(at.done, 'frame')} in {lasting(time.monotonic() - at.began)}"
        if at.what == "export":
            if not failed:
                self.report(f"{at.said}: {took}" if at.written else STOPPED, at.asked)
            return
        rows = self.view.rows()
        if failed:
            told = ""
        elif self._cancelled:
            told = f"stopped after {took}, which are kept; Track goes on from there"
        elif at.turned:
            told = "a step was taken back or put back, which ended tracking; Track goes on"
        elif at.altered and at.done < at.total:
            left = any(row.state == "to track" for row in rows)
            told = f"tracked {took}, until objects were changed; " + (
                "Track goes on with what is left" if left else "nothing is left to track"
            )
        elif not at.done:
            told = f"nothing has changed that is to be tracked{at.within}"
        else:
            told = f"tracked {took}; J goes to the least sure one"
        waiting = [row.object_id for row in rows if row.state == UNFINISHED]
        if waiting and not failed:
            are = "is" if len(waiting) == 1 else "are"
            told += f"; {numbered(waiting)} {are} locked, with frames left to track"
        self.change("tracked", lambda s: None, told, asked=at.asked)

    def pause(self) -> None:
        """Hold what is under way, or let it go on, and soon show how far it is."""
        super().pause()
        if not self.drawing:
            self._draw_after = 0.0

    def _refresh(self) -> None:
        """Have frames drawn that came since the last time, and show how far it is."""
        at = self._at
        if time.monotonic() < self._draw_after:
            return
        if at is not None and at.what == "track" and not at.paused:
            # The model waits then: on the same processor each would take twice as long.
            self._worker.hold()
        elif self._stale:
            self._draw()
        else:
            self._show_progress()

    def _show_progress(self) -> None:
        at = self._at
        if at is not None:
            now = at.since if at.paused else time.monotonic()
            self.show_progress(at.done, at.total, now - at.began, at.paused)

    @property
    def drawing(self) -> bool:
        """Whether something is being drawn."""
        return self._draw_after == math.inf

    def _draw(self) -> None:
        """Show what came, in several turns of the event loop, between which others are answered."""
        began, self._draw_after = time.monotonic(), math.inf
        QTimer.singleShot(1, lambda: self._draw_rest(began))  # with 0 it were in this turn
        if not self._stale or self.layers is None:
            return
        frames, self._stale = self._stale, set()
        goes = self.frame
        # Not from under a stroke or a box: napari would draw it through the frames in between.
        if self.follow_box.isChecked() and not self._held_down:
            goes = max(frames) if goes <= max(frames) else min(frames)
        draw_later(self.viewer)
        self.timeline.setUpdatesEnabled(False)  # each change has all of the window put together
        # Where it goes elsewhere, that frame's masks are read as it comes there.
        self.layers.show_masks(sorted(frames), read=goes == self.frame)
        if goes != self.frame:
            self.go(goes)

    def _draw_rest(self, began: float) -> None:
        if self._shut:
            return  # Qt may have destroyed it since
        # When this comes back the window is painted, too.
        QTimer.singleShot(_PAINTED, lambda: self._drawn(time.monotonic() - began))
        self._show_timeline()
        self._show_progress()
        self.timeline.setUpdatesEnabled(True)

    def _drawn(self, seconds: float) -> None:
        """Let the model go on, and draw no more for some time after what took this long."""
        self._worker.let_go()
        self._draw_after = time.monotonic() + min(seconds / _SHARE, _LONGEST)

    def _show_state(self) -> None:
        told = "loading …" if self._opening else "not open"
        if self.session is not None and not self._opening:
            model = self.session.model
            told = f"{model.name} on {model.device}, {model.image_size} px, {used(model)}"
        self.form.state.setText(told)

    def _prepare(self) -> None:
        """Have this frame and its neighbours encoded while nothing else is to do."""
        session, layers = self.session, self.layers
        if session is None or layers is None:
            return
        frame, last = layers.frame, layers.axes.frames - 1
        self._wanted = frame  # which the worker may read; the viewer it may not
        waiting = [frame, min(frame + 1, last), max(frame - 1, 0)]

        def prepare() -> None:
            if not session.in_place:
                return
            session.tracker.prepare(waiting.pop(0))
            if waiting and self._wanted == frame:
                self._worker.rest("prepare", prepare)

        self._worker.rest("prepare", prepare)

    def _retrack(self) -> None:
        """Have the tracks read anew, some frames at a time, while nothing else is to do."""
        session = self.session
        if session is None:
            return
        self._tracks_asked += 1
        asked, found = self._tracks_asked, session.tracks()

        def read() -> tuple[int, Any] | None:
            tracks = next(found) if asked == self._tracks_asked else None
            if tracks is not None:
                return asked, tracks
            if asked == self._tracks_asked:
                self._worker.rest("tracks", read)
            return None

        self._worker.rest("tracks", read)

    def _show_all(self) -> None:
        if self.view is not None:
            self._show_rows(self.view.rows())

    def _show_rows(self, rows: Sequence[Row]) -> None:
        """Show these objects, and how sure tracking is of the one that is selected."""
        if self.layers is None:
            return
        self.layers.know(row.object_id for row in rows)
        colours = {row.object_id: self.layers.colour(row.object_id) for row in rows}
        self.table.show_rows(rows, colours, self._object, self.layers.hidden)
        self._show_timeline()

    def _show_timeline(self) -> None:
        if self.view is None or self.layers is None:
            return
        self.timeline.show_object(
            self.view.confidence(self._object),
            self.view.prompted(self._object),
            self.layers.axes.frames,
        )
