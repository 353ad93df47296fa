"""Seconds of each frame, and of its parts."""

from __future__ import annotations

import contextlib
import math
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
    counted : int, optional
        After so many frames one is not timed: its operations are counted.

    Attributes
    ----------
    frames : list of dict
        Seconds of each frame, ``all``, and of its parts.
    flops : int
        Operations in products of matrices, convolutions and attention of the counted frame, by
        ``torch.utils.flop_counter``: two for a product and its sum.
    """

    def __init__(
        self,
        synchronise: Callable[[], None] | None = None,
        *,
        parts: bool,
        counted: int | None = None,
    ) -> None:
        self._synchronise = synchronise
        self._timed = parts
        self._last = counted
        self._counter: Any = None
        self.flops = 0
        self._shares: dict[str, float] = defaultdict(float)
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
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.flops, self._counter = self._counter.get_total_flops(), None
            return
        spent = now - self._begun + sum(self._shares.values())
        self.frames.append({"all": spent} | self._now | self._shares)
        if len(self.frames) == self._last:
            self._counter = _counter()
            self._counter.__enter__()
        self._now.clear()
        self._begun = self._read()

    def share(self, name: str, seconds: float) -> None:
        """Count for each frame what was spent on it before the first."""
        self._shares[name] += seconds

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

    def iterated(
        self, thing: Any, method: str, name: str
    ) -> contextlib.AbstractContextManager[Any]:
        """Let what is waited for in the iterators that a method gives count for a part."""
        plain, end = getattr(thing, method), object()

        def timed(*args: Any, **given: Any) -> Iterator[Any]:
            items = iter(plain(*args, **given))
            while True:
                with self.part(name):
                    item = next(items, end)
                if item is end:
                    return
                yield item

        return mock.patch.object(thing, method, timed)


def _counter() -> Any:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    known: dict[Any, Any] = {}
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # which the counter does not know
        known[torch.ops.mkldnn._linear_pointwise] = _of_linear
    return FlopCounterMode(display=False, custom_mapping=known)


def _of_linear(given: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return 2 * int(given[-1]) * math.prod(out_shape)
