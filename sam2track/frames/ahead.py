"""Items read a few ahead, while something else waits for a GPU, and looked at before their turn.

One thread for each run, which is the only one that touches the iterator from then on, and ends with
it: where the iterator ends, where it raises, or where the run is left.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Full, Queue
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")

_LOOK = 0.05  # seconds after which a full queue is asked whether anybody still wants it


class Ahead(Iterator[T], Generic[T]):
    """What an iterator gives, in order; errors are raised in their place.

    Parameters
    ----------
    items : iterator
        Closed where this one ends or is closed, if it can be.
    apart : bool
        Whether a thread reads, some items ahead; it alone uses the iterator then.
    depth : int
        Most items that such a thread holds beside the one that it reads.
    """

    def __init__(self, items: Iterator[T], *, apart: bool, depth: int = 2) -> None:
        self._items = items
        self._next: tuple[T | None, BaseException | None] | None = None
        self._left = threading.Event()
        self._read: Queue[tuple[T | None, BaseException | None]] = Queue(depth)
        self._thread: threading.Thread | None = None
        if apart:
            self._thread = threading.Thread(target=self._run, name="sam2track-ahead", daemon=True)
            self._thread.start()

    def __next__(self) -> T:
        if self._left.is_set():
            raise StopIteration
        if self._next is None:
            self._next = self._take()
        (item, error), self._next = self._next, None
        if error is not None:
            self.close()
            raise error
        return item  # type: ignore[return-value]  # None only beside an error

    def peek(self) -> T | None:
        """The next item, None where there is none or a thread has not read it yet."""
        if self._next is None and not self._left.is_set():
            if self._thread is not None and self._read.empty():
                return None
            self._next = self._take()
        return None if self._next is None else self._next[0]

    def close(self) -> None:
        """Read no more, and give nothing that was read."""
        self._left.set()
        self._next = None
        if self._thread is None:
            self._end()
        else:
            self._thread.join()

    def _take(self) -> tuple[T | None, BaseException | None]:
        if self._thread is not None:
            return self._read.get()
        try:
            return next(self._items), None
        except Exception as error:  # raised in its place
            return None, error

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._hand(item, None):
                    return
            self._hand(None, StopIteration())
        except BaseException as error:  # raised again where it is waited for
            self._hand(None, error)
        finally:
            self._end()

    def _hand(self, item: T | None, error: BaseException | None) -> bool:
        while not self._left.is_set():
            try:
                self._read.put((item, error), timeout=_LOOK)
            except Full:
                continue
            return True
        return False

    def _end(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            close()
