"""Frames read a few ahead, while something else waits for a GPU.

One thread for each run, which is the only one that touches the iterator from then on, and ends with
it: where the iterator ends, where it raises, or where the run is left.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Full, Queue
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")

_LOOK = 0.05  # seconds after which a full queue is asked whether anybody still wants it


def ahead(items: Iterator[T], depth: int = 2) -> Generator[T]:
    """Yield what an iterator gives, read by a thread that is some items ahead.

    Parameters
    ----------
    items : iterator
        Used in that thread alone; closed there, where it can be.
    depth : int
        Most items that are held beside the one that is being read.

    Raises
    ------
    Exception
        What the iterator raises, in its place in the order.
    """
    ready: Queue[tuple[T | None, BaseException | None]] = Queue(depth)
    left = threading.Event()

    def hand(item: T | None, error: BaseException | None) -> bool:
        while not left.is_set():
            try:
                ready.put((item, error), timeout=_LOOK)
            except Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not hand(item, None):
                    return
            hand(None, StopIteration())
        except BaseException as error:  # raised again where it is waited for
            hand(None, error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=read, name="sam2track-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # None only beside an error
    finally:
        left.set()
        thread.join()
