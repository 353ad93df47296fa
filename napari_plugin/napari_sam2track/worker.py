"""The one file of the plugin that starts a thread.

The contract:

- A Worker has one thread, and all that it is given runs there, one thing at a time. A session's
  tracker and its project's connection for writing are used there alone, so nothing needs a lock.
- ``do`` is for what a person did: it runs in the order in which it came, and before the next frame
  of a run. ``run`` takes an iterator and pulls one item after another; what is put in by ``do``
  meanwhile comes in between two of them. ``rest`` is what is done when nothing else is to do; a
  new one replaces the old one of its name.
- ``call`` is for long work that is no iterator: it hands each item on by calling what it is given,
  and what is put in by ``do`` meanwhile is done before that returns.
- Everything is told through ``tell``, which is called in the thread: it must hand events on to
  another thread, as Qt's signals do, and touch no layer, no viewer and no widget itself. What it
  raises is passed over.
- ``hold`` has a run wait after its next item until ``let_go``, so that who is told of the item can
  show it without the two computing at once; what is put in by ``do`` is done all the same. The
  event says that the run waits: who is told of one must let go.
- ``cancel`` ends a run after the frame that it is at, and a call by ``Stopped`` where it hands an
  item on. ``close`` does so too, and waits for it. An error ends what it happened in and is told;
  the thread goes on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["Event", "Worker"]

# How much nicer than the viewer the thread is: with 3 the longest block while tracking on two cores
# was 88 ms in six runs, 124 without, and frames took as long; with 8 they took a little longer.
_NICER = 3


@dataclass(frozen=True)
class Event:
    """What a worker tells.

    Attributes
    ----------
    kind : str
        ``done`` and ``failed`` for one thing; ``item``, ``ended`` and ``failed`` for a run.
    what : str
        The name that it was given.
    value : object
        The result, the item, or the error.
    held : bool
        Whether the run waits after this item.
    """

    kind: str
    what: str
    value: Any = None
    held: bool = False


class Stopped(Exception):
    """Ends a call from within."""


class Worker:
    """Runs what it is given in a thread of its own; see the contract above.

    Parameters
    ----------
    tell : callable
        Called in the thread with each Event.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._wake = threading.Condition()
        # What is to be done, each with whether it begins a run or a call.
        self._todo: deque[tuple[str, Callable[[], Any], bool]] = deque()
        self._run: tuple[str, Iterator[Any]] | None = None
        self._rest: dict[str, Callable[[], Any]] = {}
        self._paused = self._cancelled = self._closed = False
        self._holds = self._held = False  # after the next item; now
        self._busy = False
        self.told = 0  # events, so that who waits can tell whether it has heard of all
        self._thread = threading.Thread(target=self._loop, name="sam2track", daemon=True)
        self._thread.start()

    def do(self, what: str, work: Callable[[], Any]) -> None:
        """Do this as soon as can be."""
        with self._wake:
            self._todo.append((what, work, False))
            self._wake.notify_all()

    def run(self, what: str, begin: Callable[[], Iterator[Any]]) -> None:
        """Begin a run, and pull all that it gives; one that is under way ends."""

        def start() -> None:
            self._end_run()
            self._run = what, begin()

        with self._wake:
            self._paused = self._cancelled = self._holds = self._held = False
            self._todo.append((what, start, True))
            self._wake.notify_all()

    def call(self, what: str, work: Callable[[Callable[[Any], None]], Any]) -> None:
        """Begin work that calls what it is given with each item; a run that is under way ends."""

        def start() -> None:
            self._end_run()
            try:
                event = Event("ended", what, work(lambda item: self._between(what, item)))
            except Stopped:
                event = Event("ended", what)
            except Exception as error:
                event = Event("failed", what, error)
            self._say(event)

        with self._wake:
            self._paused = self._cancelled = False
            self._todo.append((what, start, True))
            self._wake.notify_all()

    def rest(self, what: str, work: Callable[[], Any]) -> None:
        """Do this when nothing else is to do."""
        with self._wake:
            self._rest[what] = work
            self._wake.notify_all()

    def drop_rest(self) -> None:
        """Forget what was to be done when nothing else is."""
        with self._wake:
            self._rest.clear()

    def pause(self, paused: bool = True) -> None:
        """Hold a run between two frames, or let it go on."""
        with self._wake:
            self._paused = paused
            self._wake.notify_all()

    def hold(self) -> None:
        """Have a run wait after the next item that it tells."""
        with self._wake:
            self._holds = True

    def let_go(self) -> None:
        """Let a run go on that waits, or not wait where it was to."""
        with self._wake:
            self._holds = self._held = False
            self._wake.notify_all()

    def cancel(self) -> None:
        """End a run after the frame that it is at."""
        with self._wake:
            self._cancelled = True
            self._wake.notify_all()

    @property
    def idle(self) -> bool:
        """Whether nothing that a person asked for is under way or waiting."""
        with self._wake:
            return self._is_idle()

    def settle(self, seconds: float) -> None:
        """Wait until it is idle, no longer than this.

        Who waits lets the thread compute alone: two that want Python's lock by turns take several
        times as long.
        """
        with self._wake:
            self._wake.wait_for(self._is_idle, seconds)

    def _is_idle(self) -> bool:
        return not (self._busy or self._todo or self._run)

    def close(self, last: Callable[[], Any] | None = None) -> None:
        """End the run, do what is waiting and then ``last``, and end the thread."""
        with self._wake:
            if self._closed:
                return
            self._closed = True
            if last is not None:
                self._todo.append(("close", last, False))
            self._wake.notify_all()
        self._thread.join()

    # -- in the thread ------------------------------------------------------------------

    def _next(self) -> str:
        with self._wake:
            while True:
                self._busy = False
                self._wake.notify_all()
                if self._run is not None and (self._cancelled or self._closed):
                    found = "cancel"
                elif self._todo:
                    found = "do"
                elif self._closed:
                    return "stop"
                elif self._run is not None and not (self._paused or self._held):
                    found = "item"
                elif self._rest:
                    found = "rest"
                else:
                    self._wake.wait()
                    continue
                self._busy = found != "rest"
                return found

    def _loop(self) -> None:
        _let_others_first()
        while (found := self._next()) != "stop":
            if found == "do":
                with self._wake:
                    what, work, _ = self._todo.popleft()
                self._try("done", what, work)
            elif found == "item":
                self._pull()
            elif found == "cancel":
                self._cancelled = False
                self._end_run()
            else:
                with self._wake:
                    what = next(iter(self._rest), "")
                    rest = self._rest.pop(what, None)
                if rest is not None:
                    self._try("done", what, rest)

    def _say(self, event: Event) -> None:
        self.told += 1
        # Who is told may be gone, which PySide6 and PyQt6 say by errors of several kinds: the
        # thread goes on, and closes what is open.
        with suppress(Exception):
            self._tell(event)

    def _try(self, kind: str, what: str, work: Callable[[], Any]) -> None:
        try:
            event = Event(kind, what, work())
        except Exception as error:  # whatever it is, a person is told and the viewer goes on
            event = Event("failed", what, error)
        self._say(event)

    def _pull(self) -> None:
        if self._run is None:
            return
        what, items = self._run
        try:
            item = next(items)
            with self._wake:
                self._held, self._holds = self._holds, False
            event = Event("item", what, item, self._held)
        except StopIteration:
            self._run, event = None, Event("ended", what)
        except Exception as error:
            self._run, event = None, Event("failed", what, error)
        self._say(event)

    def _between(self, what: str, item: Any) -> None:
        """Tell an item of a call, and do what has come meanwhile."""
        self._say(Event("item", what, item))
        while True:
            with self._wake:
                if self._cancelled or self._closed or (self._todo and self._todo[0][2]):
                    raise Stopped
                if not self._todo and self._paused:
                    self._wake.wait()
                    continue
                if not self._todo:
                    return
                name, work, _ = self._todo.popleft()
            self._try("done", name, work)

    def _end_run(self) -> None:
        if self._run is None:
            return
        what, items = self._run
        self._run = None
        close = getattr(items, "close", None)
        self._try("ended", what, close or (lambda: None))


def _let_others_first() -> None:
    """Let the viewer's thread go before this one, and before those that it starts to compute.

    On Linux each thread has a niceness of its own, which the threads that it starts inherit.
    """
    if sys.platform != "linux":
        return
    one = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, one, os.getpriority(os.PRIO_PROCESS, one) + _NICER)
