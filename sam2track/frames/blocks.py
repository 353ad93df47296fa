"""Planes of chunked arrays, several at a time where a chunk holds several."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.machine import free_memory

__all__ = ["Blocks", "chunks_of"]

_MOST = 512 * 2**20  # bytes
_SHARE = 8  # of the memory that is free, at most one part in so many
_LATELY = 16  # planes; a few readers may each be at another place
_SHOWN = 3  # channels at most, each of which may lie in chunks of its own


def chunks_of(array: Any) -> tuple[int, ...] | None:
    """Size of an array's chunks along each axis, None where it says nothing of that.

    Dask may have several along one axis; then it is the largest.
    """
    try:
        told = [max(c) if isinstance(c, (tuple, list)) else c for c in array.chunks]
        sizes = [min(int(c), int(n)) for c, n in zip(told, array.shape, strict=True)]
    except (AttributeError, TypeError, ValueError):
        return None
    return tuple(sizes) if min(sizes, default=0) > 0 else None


class Blocks:
    """Planes of an array whose chunks hold more than one of them.

    A chunk is inflated whole, whatever is wanted of it: plane by plane, each as often as it holds
    planes. So those that lie in the same chunks are read at once, as far as there is room.

    Parameters
    ----------
    array : array
        Anything with ``shape`` and ``[]``.
    axes : str
        A letter for each axis; all but Y, X and S choose a plane.
    chunks : tuple of int
        Size of its chunks along each axis.
    itemsize : int
        Bytes of a value.
    room : int, optional
        Most bytes that are held, unless one plane has more. Otherwise 512 MiB, or an eighth of the
        memory that is free.
    """

    def __init__(
        self,
        array: Any,
        axes: str,
        chunks: tuple[int, ...],
        itemsize: int,
        *,
        room: int | None = None,
    ) -> None:
        if room is None:
            free = free_memory()
            room = _MOST if free is None else min(_MOST, free // _SHARE)
        self._array, self._axes, self._chunks, self._room = array, axes, chunks, room
        self._itemsize = itemsize
        self._at_once = [
            int(size) if axis in "YXS" else chunk
            for axis, size, chunk in zip(axes, array.shape, chunks, strict=True)
        ]
        choosing = [i for i, axis in enumerate(axes) if axis not in "YXS"]
        several = 1
        if "C" in axes:
            channel = axes.index("C")
            several = min(_SHOWN, -(-int(array.shape[channel]) // chunks[channel]))
        while math.prod(self._at_once) * itemsize * several > room:
            longest = max(choosing, key=self._at_once.__getitem__)
            if self._at_once[longest] == 1:
                break
            self._at_once[longest] = -(-self._at_once[longest] // 2)
        self._kept: OrderedDict[tuple[tuple[int, int], ...], npt.NDArray[Any]] = OrderedDict()
        self._lately: deque[tuple[int, int, int]] = deque(maxlen=_LATELY)
        # A job may read its frames in one thread, and draw over them in another.
        self._lock = threading.Lock()

    def __call__(self, at: Mapping[str, int]) -> npt.NDArray[Any]:
        """Return a plane as ``Stack.read`` does; it is not to be written to."""
        plane: list[Any] = []
        block: list[tuple[int, int]] = []
        within: list[Any] = []
        for axis, size, chunk, at_once in zip(
            self._axes, self._array.shape, self._chunks, self._at_once, strict=True
        ):
            if axis in "YXS":
                plane.append(slice(None))
                block.append((0, int(size)))
                within.append(slice(None))
                continue
            wanted = at.get(axis, 0)
            first = wanted - wanted % chunk
            start = wanted - (wanted - first) % at_once
            plane.append(wanted)
            block.append((start, min(start + at_once, first + chunk, int(size))))
            within.append(wanted - start)
        with self._lock:
            key = tuple(block)
            if not self._goes_on(at) and key not in self._kept:
                return np.asarray(self._array[tuple(plane)])
            planes: npt.NDArray[Any] = self._block(key)[tuple(within)]
        return planes

    def _goes_on(self, at: Mapping[str, int]) -> bool:
        """Whether this plane or the next one to it was asked for lately.

        Those that are looked at here and there are read by themselves, which takes less time.
        """
        now = at.get("C", 0), at.get("T", 0), at.get("Z", 0)
        goes_on = any(
            now[0] == then[0] and abs(now[1] - then[1]) <= 1 and abs(now[2] - then[2]) <= 1
            for then in self._lately
        )
        self._lately.append(now)
        return goes_on

    def _block(self, key: tuple[tuple[int, int], ...]) -> npt.NDArray[Any]:
        held = self._kept.get(key)
        if held is not None:
            self._kept.move_to_end(key)
            return held
        size = math.prod(stop - start for start, stop in key) * self._itemsize
        while self._kept and size + sum(b.nbytes for b in self._kept.values()) > self._room:
            self._kept.popitem(last=False)  # before the next one is read, not beside it
        held = np.asarray(self._array[tuple(slice(*ends) for ends in key)])
        self._kept[key] = held
        return held

    def clear(self) -> None:
        """Hold nothing."""
        with self._lock:
            self._kept.clear()
