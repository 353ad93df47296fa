"""Datasets of HDF5 as arrays, none of which leads elsewhere or becomes more than it may."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.frames.hdf5_access import node_at, said, text

__all__ = ["Guarded", "Series", "dataset_at", "datasets_of"]

_LARGEST_CHUNK = 2**32  # bytes
_LEAST_CHUNK = 2**16  # bytes; heads and sums of small ones
_MOST_CHUNKS = 2**18  # of a plane: each takes memory of its own, also where there is nothing of it
_MOST_OBJECTS = 10_000  # that are looked at for arrays
_HELD = 8  # datasets of a series that are kept, one for each channel and reader
_DEEPEST = 64  # groups within each other: the library goes down into them by calling itself
# Shuffle, Fletcher's sums, n-bit and scale-offset: what they give is no larger than values are.
_NO_CODERS = frozenset({2, 3, 5, 6})
_VALUES = "buif"


def datasets_of(file: Any, path: Path) -> list[str]:
    """Names of arrays of numbers that may be pictures, with slashes behind those of groups.

    They have 2 to 6 axes, of which two or more are not of one place.

    Raises
    ------
    SourceError
        Where the file holds very many things, or one very deep within others.
    """
    import h5py

    names: list[str] = []
    seen = 0

    def look(name: bytes, told: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if told.type == h5py.h5o.TYPE_DATASET:
            with suppress(UnicodeDecodeError):
                names.append(name.decode())
        return True if seen > _MOST_OBJECTS or name.count(b"/") > _DEEPEST else None

    # By hard links alone, and each once.
    if h5py.h5o.visit(file.id, look, info=True):
        raise SourceError(
            f"{path} holds more than {_MOST_OBJECTS:,} groups and datasets, or more than "
            f"{_DEEPEST} groups within each other; copy the dataset that is wanted to another file"
        )
    # Under # MATLAB keeps what its cells refer to.
    return [name for name in names if name[0] != "#" and _is_stack(file[name])]


def _is_stack(dataset: Any) -> bool:
    try:
        numbers = dataset.dtype.kind in _VALUES
    except (TypeError, ValueError):  # of a type that numpy has not
        return False
    if not numbers or text(said(dataset, "MATLAB_class")) == "char":
        return False
    shape = dataset.shape or ()
    # To MATLAB a number is a matrix, too, and a list of times a row.
    return 2 <= len(shape) <= 6 and sum(size != 1 for size in shape) > 1


def dataset_at(group: Any, path: str, file: Path) -> Guarded:
    """Return a dataset of numbers that lies in this very file.

    Raises
    ------
    SourceError
        Where there is none, it is not to be read, or the file is closed.
    """
    import h5py

    if not group:
        raise SourceError(f"{file} is closed")
    found = node_at(group, path)
    if not isinstance(found, h5py.Dataset):
        raise SourceError(
            f"{file} has no dataset {path} of its own; links, such as to other files, are not "
            "followed"
        )
    return Guarded(found, f"{file}, {path},")


class Guarded:
    """A dataset as an array that is read by parts, in the byte order of this machine.

    It may be read in several threads, of which h5py lets one go on at a time.

    Parameters
    ----------
    dataset : h5py.Dataset
    name : str
        For messages.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
        bool, integer or floating.
    chunks : tuple of int, optional

    Raises
    ------
    SourceError
        Where its values lie in other files, are no numbers, or lie in chunks that cannot be
        inflated, or that become too large.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        import h5py

        about = dataset.id.get_create_plist()
        if about.get_layout() == h5py.h5d.VIRTUAL or about.get_external_count():
            raise SourceError(
                f"{name} holds values of other files, which are not followed; write them into one "
                "file (h5repack does)"
            )
        try:
            kind = dataset.dtype
        except (TypeError, ValueError) as error:
            raise SourceError(f"{name} is of a type that numpy has not: {error}") from error
        if kind.kind not in _VALUES:
            raise SourceError(f"{name} holds {kind}; it must be bool, integer or floating")
        self._dataset = dataset
        self.dtype: np.dtype[Any] = np.dtype(kind.newbyteorder("=").str)
        if text(said(dataset, "MATLAB_class")) == "logical":  # which it keeps as bytes of 0 and 1
            self.dtype = np.dtype(bool)
        self.shape: tuple[int, ...] = dataset.shape
        self.chunks: tuple[int, ...] | None = dataset.chunks
        self._most: int | None = None  # bytes of a chunk as it is stored, until they are looked at
        if self.chunks is not None:
            claimed = math.prod(self.chunks) * kind.itemsize
            if claimed > _LARGEST_CHUNK:
                raise SourceError(
                    f"{name} has chunks of {claimed:,} bytes; write it anew with smaller ones"
                )
            if _check_filters(about, name):
                self._most = 2 * claimed + _LEAST_CHUNK

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        """Return a part, by numbers and slices; OSError where it cannot be read."""
        if not self._dataset:
            raise OSError("it is closed")
        if self.chunks is not None:
            self._check_chunks(index if isinstance(index, tuple) else (index,))
        return np.asarray(self._dataset[index], self.dtype)

    def _check_chunks(self, index: tuple[Any, ...]) -> None:
        """Refuse chunks that are too many, or hold so much that they would fill the memory."""
        places = []
        for axis, (size, chunk) in enumerate(zip(self.shape, self.chunks or (), strict=True)):
            part = index[axis] if axis < len(index) else slice(None)
            start, stop, _ = part.indices(size) if isinstance(part, slice) else (part, part + 1, 1)
            places.append(range(start - start % chunk, stop, chunk))
        if (count := math.prod(map(len, places))) > _MOST_CHUNKS:
            raise OSError(f"it lies in {count:,} chunks; write it anew with larger ones")
        if (most := self._most) is not None:
            # All of them, once: the library goes through all to look for one.
            if self._dataset.id.chunk_iter(lambda chunk: chunk.size > most or None):
                raise OSError("a chunk is larger than what it may hold; write it anew")
            self._most = None


def _check_filters(about: Any, name: str) -> bool:
    """Whether chunks are stored in other bytes than their values.

    Raises
    ------
    SourceError
        Where what they are stored by is not here, or is used over and over.
    """
    import h5py

    filters = [about.get_filter(number) for number in range(about.get_nfilters())]
    for code, _, _, name_of_it in filters:
        if not h5py.h5z.filter_avail(code):
            with suppress(ImportError):  # it brings many, which are known once it is imported
                import hdf5plugin  # noqa: F401
        if not h5py.h5z.filter_avail(code):
            called = name_of_it.decode("utf-8", "replace").split(";")[0].strip("\0 ")
            raise SourceError(
                f"{name} is compressed by {called or 'a filter'} (filter {code} of HDF5), which is "
                "not here; pip install hdf5plugin brings most, or write it anew with gzip"
            )
    if sum(code not in _NO_CODERS for code, *_ in filters) > 1:
        # Each makes a thousand of one, and of that the next does.
        raise SourceError(f"{name} is compressed several times over; write it anew with gzip")
    return bool(filters)


class Series:
    """Datasets of one size, each of a time and a channel, as one array.

    Parameters
    ----------
    find : callable
        Takes the numbers of a time and of a channel and returns their dataset, (Z, Y, X) or (Y, X),
        which may have more places along each axis than are shown.
    times, channels : int
        How many there are.
    size : tuple of int, optional
        What is shown along Z, Y and X; all of the first dataset if unsaid.
    unsigned : bool
        Whether negative numbers stand for large ones.

    Attributes
    ----------
    axes : str
        Those of T, C, Z, Y and X that have several places, and Y and X.
    shape, dtype, chunks
        As ``Guarded`` has them.

    Raises
    ------
    SourceError
        Where the first dataset cannot be read, or is smaller than said.
    """

    def __init__(
        self,
        find: Callable[[int, int], Guarded],
        times: int,
        channels: int,
        *,
        size: tuple[int, ...] | None = None,
        unsigned: bool = False,
    ) -> None:
        # Planes of one dataset are read one behind the other, and it is looked at once.
        self._find = lru_cache(_HELD)(find)
        first = self._find(0, 0)
        size = size or _three(first.shape)
        self._counts, self._size = (times, channels), size
        self._stored, self.dtype = first.dtype, first.dtype
        if unsigned and first.dtype.kind == "i":
            self.dtype = np.dtype(f"u{first.dtype.itemsize}")
        self._check(first)
        sizes = dict(zip("TCZYX", (times, channels, *size), strict=True))
        chunks = dict(zip("TCZYX", (1, 1, *_three(first.chunks or (1, *size[1:]))), strict=True))
        self.axes = "".join(a for a, places in sizes.items() if a in "YX" or places != 1)
        self.shape = tuple(sizes[axis] for axis in self.axes)
        self.chunks = tuple(chunks[axis] for axis in self.axes)

    def _check(self, found: Guarded) -> Guarded:
        shape = _three(found.shape)
        large = len(found.shape) in (2, 3) and all(
            have >= shown for have, shown in zip(shape, self._size, strict=False)
        )
        if not large or found.dtype != self._stored:
            raise SourceError(
                f"a dataset of {found.shape} {found.dtype} is among those of {self._size} "
                f"{self._stored}"
            )
        return found

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        """Return a part, by numbers and slices along the first axes."""
        index = index if isinstance(index, tuple) else (index,)
        at: dict[str, Any] = dict.fromkeys("TCZYX", 0) | dict.fromkeys(self.axes, slice(None))
        at |= dict(zip(self.axes, index, strict=False))
        inner = tuple(
            slice(*at[axis].indices(size)) if isinstance(at[axis], slice) else at[axis]
            for axis, size in zip("ZYX", self._size, strict=True)
        )
        times, channels = (
            range(count)[at[axis]] if isinstance(at[axis], slice) else (at[axis],)
            for axis, count in zip("TC", self._counts, strict=True)
        )
        if len(times) == len(channels) == 1:
            whole = self._read(times[0], channels[0], inner)[None, None]
        else:
            whole = np.array([[self._read(t, c, inner) for c in channels] for t in times])
        kept = tuple(slice(None) if isinstance(at[axis], slice) else 0 for axis in "TC")
        return whole[kept].view(self.dtype)

    def _read(self, time: int, channel: int, index: tuple[Any, ...]) -> npt.NDArray[Any]:
        found = self._check(self._find(time, channel))
        return found[index[-len(found.shape) :]]


def _three(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes along Z, Y and X of what may have no Z."""
    return (1,) * (3 - len(sizes)) + sizes
