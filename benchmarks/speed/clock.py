"""Seconds of each frame, and of its parts."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

__all__ = ["Clock"]


class Clock:
    """Times frames, and within them the parts that are watched.

    A part that runs within another one counts for the inner one alone.

    Parameters
    ----------
    synchronise : callable, optional
        Waits until the device is done; asked at every reading.
    parts : bool
        Whether parts are timed. On a GPU that makes the whole slower, since each part has to
        be waited for.
    """

    def __init__(self, synchronise: Callable[[], None] | None = None, *, parts: bool) -> None:
        self._synchronise = synchronise
        self._timed = parts
        self._inside: list[float] = []  # seconds spent in parts within each open one
        self._now: dict[str, float] = defaultdict(float)
        self.frames: list[dict[str, float]] = []
        self._begun = self._read()

    def _read(self) -> float:
        if self._synchronise is not None:
            self._synchronise()
        return time.perf_counter()

    def start(self) -> None:
        """Begin the first frame now."""
        self.frames.clear()
        self._now.clear()
        self._begun = self._read()

    def frame(self) -> None:
        """End a frame and begin the next."""
        now = self._read()
        self.frames.append({"all": now - self._begun} | self._now)
        self._now.clear()
        self._begun = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what runs inside for a part of the frame."""
        if not self._timed:
            yield
            return
        begun = self._read()
        self._inside.append(0.0)
        try:
            yield
        finally:
            spent = self._read() - begun
            self._now[name] += spent - self._inside.pop()
            if self._inside:
                self._inside[-1] += spent

    def watched(self, thing: Any, method: str, name: str) -> contextlib.AbstractContextManager[Any]:
        """Let calls of a method, or of a function of a module, count for a part."""
        plain = getattr(thing, method)

        def timed(*args: Any, **given: Any) -> Any:
            with self.part(name):
                return plain(*args, **given)

        return mock.patch.object(thing, method, timed)
