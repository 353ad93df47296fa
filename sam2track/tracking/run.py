"""One run through a video: which frames of which objects, in which order, kept as one step."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from sam2track.arguments import DIRECTIONS, Direction, check_choice, check_flag
from sam2track.errors import PromptError, UsageError
from sam2track.frames.ahead import Ahead
from sam2track.frames.source import check_picture
from sam2track.prompts import check_object_id
from sam2track.tracking.book import Book
from sam2track.tracking.encoder import Picture
from sam2track.tracking.objects import Tracked
from sam2track.tracking.result import FrameResult
from sam2track.tracking.state import State

__all__ = ["Plan", "Run", "planned"]


_STATE_EVERY = 64  # frames
_STATE_SECONDS = 30.0  # or so much time, where frames are slow


@dataclass(frozen=True)
class Plan:
    """What was asked for, as ``Tracker.propagate`` takes it."""

    start: int | None
    stop: int | None
    direction: Direction
    objects: tuple[int, ...] | None
    unfinished: bool
    until_prompted: bool

    @property
    def everything(self) -> bool:
        """Whether frames are run that have been run before."""
        return (self.start is not None or self.stop is not None) and not self.unfinished


def planned(
    book: Book,
    start: int | None,
    stop: int | None,
    direction: Direction,
    objects: Iterable[int] | None,
    *,
    unfinished: bool,
    until_prompted: bool,
) -> Plan:
    """Return what was asked for; UsageError or PromptError where it cannot be."""
    check_choice("direction", direction, DIRECTIONS)
    if book.is_stream:
        raise UsageError("a stream has no past to run through; hand it frames by update()")
    if not book.objects:
        raise PromptError("nothing to track: prompt an object first")
    count = len(book.source)
    low = 0 if start is None else _bound("start", start)
    high = count if stop is None else _bound("stop", stop)
    if low >= min(high, count):
        raise UsageError(f"range [{low}, {high}) holds no frame; the source has {count} frames")
    if objects is not None and not isinstance(objects, Iterable):
        raise UsageError(f"objects {objects!r}; give a list of numbers")
    if objects is not None:
        objects = [book.known(i).object_id for i in sorted({*map(check_object_id, objects)})]
    return Plan(
        start=None if start is None else low,
        stop=None if stop is None else high,
        direction=direction,
        objects=None if objects is None else tuple(objects),
        unfinished=check_flag("unfinished", unfinished),
        until_prompted=check_flag("until_prompted", until_prompted),
    )


def _bound(name: str, value: int) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise UsageError(f"{name} {value!r}; it is a whole number of frames")
    if value < 0:
        raise UsageError(f"{name} {value}; frames count from 0")
    return int(value)


class _Window(NamedTuple):
    """Frames of one object: it is run from ``begin``; at ``final`` nothing is left to run."""

    begin: int
    low: int
    high: int
    final: int


class Run:
    """Frames of a plan, each kept as it comes; exact states now and then, and at the end.

    Another step may come in between, such as a prompt; what follows it is a step of its own, so
    that each can be taken back. A run ends where the objects are read from the history anew, and
    where another run begins.
    """

    def __init__(self, book: Book, plan: Plan, max_batch: int) -> None:
        self._book = book
        self._plan = plan
        free = [i for i, item in sorted(book.objects.items()) if not item.locked]
        self._ids = free if plan.objects is None else plan.objects
        self._low = plan.start or 0
        self._high = len(book.source) if plan.stop is None else min(plan.stop, len(book.source))
        self._max_batch = max_batch
        self._edition = book.edition
        self.ended = False
        self.cut = False  # it was ended while frames were left to run
        self._first: int | None = None  # step that began it
        self._step: int | None = None  # step that it writes to now
        self._done = 0
        self._unsaved = False
        self._saved_at = 0.0

    def begin(self) -> None:
        """Note what need not be run backward where both directions are: from the first prompt on.

        At once, and not when the forward part has ended, so that it does not matter where a run
        is left.
        """
        if self._plan.direction != "both" or self._plan.until_prompted:
            return
        items = [self._book.objects[object_id] for object_id in self._ids]
        ahead = [item for item in items if item.pending.get(True, -1) > item.first - 1]
        if ahead:
            self._own()
            for item in ahead:
                item.skip_to(item.first - 1, backward=True)
            self._unsaved = True
            self.save()

    def frames(self) -> Generator[FrameResult]:
        """Yield each frame once it is kept."""
        before: State | None = None
        pictures: Ahead[tuple[int, Picture]] | None = None
        try:
            for backward in (False, True):
                if self._plan.direction == ("forward" if backward else "backward"):
                    continue
                windows = self._windows(backward=backward)
                pictures = self._pictures(windows, backward=backward)
                for frame, picture in pictures:
                    if self.ended or self._book.edition != self._edition:
                        self.cut = True
                        return
                    before = self._book.standing()
                    reached = {
                        i: self._reach(i, window, backward=backward)
                        for i, window in sorted(windows.items())
                        if self._may_run(i, frame, backward=backward)
                    }
                    active = [
                        self._book.objects[i]
                        for i, window in reached.items()
                        if (
                            window.low <= frame <= window.begin
                            if backward
                            else window.begin <= frame < window.high
                        )
                    ]
                    if not active:
                        before = None
                        continue
                    self._own()
                    result = self._book.track(
                        frame,
                        picture,
                        active,
                        backward=backward,
                        max_batch=self._max_batch,
                        upcoming=pictures.peek,
                    )
                    for item in active:
                        item.advance(frame, reached[item.object_id].final, backward=backward)
                    before = None
                    self._done += 1
                    self._unsaved = True
                    if (
                        self._done % _STATE_EVERY == 0
                        or time.monotonic() - self._saved_at > _STATE_SECONDS
                    ):
                        self.save()
                    yield result
        finally:
            # Also at an interruption, and before an error goes on its way. These come in the
            # middle of a frame: what is kept is how things stood after the last whole one.
            try:
                if self._book.edition == self._edition:
                    if before is not None:
                        self._book.go_back_to(before)
                    # A run that was left stands until the interpreter ends, where nothing can be
                    # written any more: what was saved last counts, as after a kill.
                    if not sys.is_finalizing():
                        self.save()
            finally:
                if pictures is not None:
                    pictures.close()

    def _may_run(self, object_id: int, frame: int, *, backward: bool) -> bool:
        """Whether an object is still there on a frame: others may have come in between."""
        item = self._book.objects.get(object_id)
        if item is None or item.locked:
            return False
        low, high = item.span(0, len(self._book.source))
        return low <= frame < high and item.begun(frame, backward=backward)

    def save(self) -> None:
        """Keep where the run stands, if that is not kept yet."""
        if not self._unsaved or self._step is None or self._book.edition != self._edition:
            return
        history = self._book.history
        with history.transaction():
            self._own()
            for object_id in self._ids:
                if object_id in self._book.objects:
                    history.keep_life(self._book.objects[object_id].life)
            history.set_done(self._step, self._done)
            history.save_state(self._book.standing(), self._step, self._done)
        self._unsaved = False
        self._saved_at = time.monotonic()

    def _own(self) -> None:
        """Begin a step where there is none yet, or something else was done since."""
        history = self._book.history
        if self._step is not None and history.position == self._step:
            return
        action = asdict(self._plan) | self._book.threads
        action |= {} if self._first is None else {"of": self._first}
        kind = "propagate" if self._first is None else "continue"
        with history.step(kind, action) as number:
            history.set_done(number, 0)
            # From here on a run that is killed before its first state starts again.
            history.save_state(self._book.standing(), number, 0)
        self._first = number if self._first is None else self._first
        self._step, self._done, self._saved_at = number, 0, time.monotonic()

    def _windows(self, *, backward: bool) -> dict[int, _Window]:
        """What is to be run of each object in one direction."""
        found: dict[int, _Window] = {}
        for object_id in self._ids:
            item = self._book.objects.get(object_id)
            if item is None:
                continue
            window = self._back(item) if backward else self._ahead(item)
            if window is None:
                continue
            window = self._reach(object_id, window, backward=backward)
            if window.low <= window.begin < window.high:
                found[object_id] = window
        return found

    def _reach(self, object_id: int, window: _Window, *, backward: bool) -> _Window:
        """What of a window lies before the next prompted frame, where that ends a run.

        Asked on every frame: a prompt may come in between.
        """
        if not self._plan.until_prompted:
            return window
        item = self._book.objects[object_id]
        following = item.next_anchor(window.begin, backward=backward)
        if following is None:
            return window
        # What was said there may not have been followed up yet: then that is still to be run.
        final = window.final if self._book.waits(item, following, backward=backward) else following
        if backward:
            return window._replace(low=max(window.low, following + 1), final=final)
        return window._replace(high=min(window.high, following), final=final)

    def _ahead(self, item: Tracked) -> _Window | None:
        low, high = item.span(self._low, self._high)
        final = item.span(0, len(self._book.source))[1]
        if self._plan.everything:
            begin = max(low, item.first)
        elif False in item.pending:
            begin = max(low, item.pending[False])
        else:
            return None
        return _Window(begin, low, high, final)

    def _back(self, item: Tracked) -> _Window | None:
        low, high = item.span(self._low, self._high)
        final = item.span(0, len(self._book.source))[0] - 1
        top = item.last
        if self._plan.direction == "both" and not self._plan.until_prompted:
            # Frames from the first prompt on were run forward.
            top = item.first - 1
        if self._plan.everything:
            begin = min(high - 1, top)
        elif True in item.pending:
            begin = min(high - 1, item.pending[True], top)
        else:
            return None
        return _Window(begin, low, high, final)

    def _pictures(
        self, windows: dict[int, _Window], *, backward: bool
    ) -> Ahead[tuple[int, Picture]]:
        """Frames with their pictures; read and resized in a thread while a GPU is at work."""
        if not windows:
            return Ahead(iter(()), apart=False)
        source = self._book.source
        if backward:
            low = min(window.low for window in windows.values())
            top = max(window.begin for window in windows.values())
            order: Iterable[int] = range(top, low - 1, -1)
            pictures = source.frames(low, top + 1, backward=True)
        else:
            low = min(window.begin for window in windows.values())
            high = max(window.high for window in windows.values())
            order = range(low, high)
            pictures = source.frames(low, high)
        engine = self._book.engine
        apart = engine.reads_ahead and getattr(source, "frames_apart", False)

        def numbered() -> Iterator[tuple[int, Picture]]:
            coming = iter(pictures)
            for frame in order:
                picture = check_picture(source, frame, next(coming, None))
                yield frame, engine.encoder.fit(picture) if apart else picture

        return Ahead(numbered(), apart=apart)
