"""Arrays that napari reads frame by frame: a video's pictures, a project's masks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam2track.axes import Axes
from sam2track.frames.bounds import rate_of
from sam2track.frames.opening import reopen_source

if TYPE_CHECKING:
    from sam2track.frames.source import FrameSource

__all__ = ["MaskArray", "VideoArray"]

_HELD = 64  # frames of masks


class VideoArray:
    """A frame source as a (T, H, W, 3) uint8 array; a frame is read when it is asked for."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self.shape = (len(source), source.height, source.width, 3)
        self.dtype = np.dtype(np.uint8)
        self.ndim = 4
        self.size = int(np.prod(self.shape))
        self._last: tuple[int, npt.NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def _frame(self, frame: int) -> npt.NDArray[np.uint8]:
        if self._last is None or self._last[0] != frame:
            self._last = frame, self.source.read(frame)
        return self._last[1]

    def __getitem__(self, key: Any) -> npt.NDArray[np.uint8]:
        key = key if isinstance(key, tuple) else (key,)
        first, rest = key[0], key[1:]
        if isinstance(first, slice):
            numbers = range(*first.indices(len(self)))
            shape = (len(numbers), *self.shape[1:])
            whole = np.stack([self._frame(n) for n in numbers]) if numbers else np.zeros(shape)
            return np.asarray(whole[(slice(None), *rest)], np.uint8)
        frame = int(first)
        if not -len(self) <= frame < len(self):  # which ends loops over frames, too
            raise IndexError(f"there is no frame {frame}; there are {len(self)}")
        return np.asarray(self._frame(frame % len(self))[rest])

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)

    def opened_again(self) -> FrameSource:
        """The same pictures, read as they are here, for a thread of its own.

        Raises
        ------
        UsageError, SourceError
            As ``open_source``.
        """
        told = {"source": self.source.name, "reading": getattr(self.source, "options", {})}
        return reopen_source(told, fps=rate_of(self.source.times))

    def __deepcopy__(self, memo: Any) -> VideoArray:
        """The same: a duplicated layer reads the same file."""
        return self


class MaskArray:
    """Label maps of all frames in the shape of a layer, read from wherever they are kept.

    Holds the label maps of some frames alone. What is painted stays here, with what was there
    before, and is handed on by ``take_painted``, until the frame is forgotten.

    Parameters
    ----------
    axes : Axes
        Where time, rows and columns are; along other axes masks lie on what is looked at.
    read : callable
        Gives the (H, W) label map of a frame.
    highest : callable
        Gives the highest number of an object.
    made_from : collection of str
        Files of which they are the masks.
    """

    def __init__(
        self,
        axes: Axes,
        read: Callable[[int], npt.NDArray[Any]],
        highest: Callable[[], int] = lambda: 0,
        made_from: Collection[str] = (),
    ) -> None:
        self.axes, self._read, self._highest = axes, read, highest
        self.made_from = tuple(made_from)
        self.shape = axes.shape
        self.dtype = np.dtype(np.int32)
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))
        self._held: OrderedDict[int, npt.NDArray[np.int32]] = OrderedDict()
        self._before: dict[int, npt.NDArray[np.int32]] = {}  # of frames that are being painted
        self.written: Callable[[], None] = lambda: None  # called when something is painted

    def __len__(self) -> int:
        return self.shape[0]

    def frame(self, frame: int) -> npt.NDArray[np.int32]:
        """The label map of a frame, (H, W) int32; not to be written to."""
        found = self._held.get(frame)
        if found is None:
            found = self._hold(frame, self._read(frame))
        self._held.move_to_end(frame)
        return found

    def _hold(self, frame: int, labels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        found = self._held[frame] = np.array(labels, np.int32)  # of its own, as it is painted on
        clean = [f for f in self._held if f not in self._before and f != frame]
        for old in clean[: max(0, len(self._held) - _HELD)]:
            del self._held[old]
        return found

    def forget(
        self, frames: Any = None, known: Mapping[int, npt.NDArray[np.int32]] | None = None
    ) -> None:
        """Read these frames anew when they are asked for; all of them where none are named.

        But not those that are being painted, nor those whose label maps are given.
        """
        for frame in list(self._held) if frames is None else frames:
            if frame not in self._before:
                self._held.pop(frame, None)
        for frame, labels in (known or {}).items():
            if frame not in self._before:
                self._hold(frame, labels)

    def take_painted(self) -> dict[int, tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]:
        """Label maps before and after, of frames that were painted since this was last asked."""
        before, self._before = self._before, {}
        return {frame: (before[frame], self._held[frame].copy()) for frame in sorted(before)}

    def _planes(self, key: Any) -> tuple[list[int], tuple[Any, ...]]:
        """Frames that a key touches, and the key with each axis as a slice."""
        key = key if isinstance(key, tuple) else (key,)
        dots = [at for at, part in enumerate(key) if part is Ellipsis]
        if dots:
            at = dots[0]
            key = key[:at] + (slice(None),) * (self.ndim - len(key) + 1) + key[at + 1 :]
        key = key + (slice(None),) * (self.ndim - len(key))
        return list(range(self.shape[self.axes.time]))[_as_slice(key[self.axes.time])], key

    def __getitem__(self, key: Any) -> npt.NDArray[np.int32]:
        if _is_of_pixels(key):
            places = np.broadcast_arrays(*key)
            found = np.zeros(places[0].shape, np.int32)
            for frame, here in self._pixels(places):
                found[here] = self.frame(frame)[places[-2][here], places[-1][here]]
            return found
        frames, key = self._planes(key)
        slices = tuple(_as_slice(part) for part in key)
        sizes = [len(range(*s.indices(n))) for s, n in zip(slices, self.shape, strict=True)]
        out = np.zeros(sizes, np.int32)
        for place, frame in enumerate(frames):
            at: list[Any] = [slice(None)] * self.ndim
            at[self.axes.time] = place
            for axis, index in self.axes.fixed:
                if index is not None:
                    here = list(range(self.shape[axis]))[slices[axis]]
                    at[axis] = slice(0, 0) if index not in here else here.index(index)
            out[tuple(at)] = self.frame(frame)[slices[-2:]]
        # Axes that were given as numbers go, as with numpy.
        return out[tuple(slice(None) if isinstance(part, slice) else 0 for part in key)]

    @property
    def is_painted(self) -> bool:
        """Whether there is something for ``take_painted``."""
        return bool(self._before)

    def __setitem__(self, key: Any, values: Any) -> None:
        self.written()
        if _is_of_pixels(key):
            *places, new = np.broadcast_arrays(*key, values)
            for frame, here in self._pixels(places):
                held = self.frame(frame)
                self._before.setdefault(frame, held.copy())
                held[places[-2][here], places[-1][here]] = new[here]
            return
        frames, key = self._planes(key)
        slices = tuple(_as_slice(part) for part in key)
        whole = self[slices]
        numbers = tuple(slice(None) if isinstance(part, slice) else 0 for part in key)
        whole[numbers] = values
        for place, frame in enumerate(frames):
            at: list[Any] = [slice(None)] * self.ndim
            at[self.axes.time] = place
            for axis, index in self.axes.fixed:
                here = list(range(self.shape[axis]))[slices[axis]]
                if index is not None and index not in here:
                    break
                at[axis] = 0 if index is None else here.index(index)
            else:
                held = self.frame(frame)
                self._before.setdefault(frame, held.copy())
                held[slices[-2:]] = whole[tuple(at)]

    def _pixels(self, at: Sequence[npt.NDArray[Any]]) -> Iterator[tuple[int, Any]]:
        """Frames of single pixels, each with which of the pixels lie on it and are looked at."""
        if len(at) != self.ndim:
            raise IndexError(f"pixels of {self.ndim} axes are named by that many arrays of numbers")
        shown = np.ones(at[0].shape, np.bool_)
        for axis, index in self.axes.fixed:
            if index is not None:
                shown &= at[axis] == index
        for frame in np.unique(at[self.axes.time][shown]).tolist():
            yield frame, shown & (at[self.axes.time] == frame)

    def __deepcopy__(self, memo: Any) -> npt.NDArray[np.int32]:
        """The masks as they are now: what napari makes of a duplicated layer."""
        return np.array(self)

    def astype(self, dtype: Any) -> npt.NDArray[Any]:
        """The masks as they are now, as other numbers: napari asks for it, and so do scripts."""
        return np.array(self, dtype)

    def max(self, axis: None = None, out: None = None) -> int:
        """The highest number of an object: napari asks for it, and would read all frames."""
        return self._highest()

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        return np.asarray(self[(slice(None),) * self.ndim], dtype)


def _is_of_pixels(key: Any) -> bool:
    """Whether a key names single pixels, by an array of numbers for each axis."""
    return isinstance(key, tuple) and any(isinstance(part, list | np.ndarray) for part in key)


def _as_slice(part: Any) -> slice:
    if isinstance(part, slice):
        return part
    number = int(part)
    return slice(number, number + 1 or None)
