"""Files on disk: what tells one from another, errors of damaged ones, arrays that lie in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import Sam2TrackError, SourceError
from sam2track.frames.headers import kind_of_file

__all__ = ["Mapped", "ends_of_file", "reading_errors", "size_and_ends"]

_HASHED_BYTES = 64 << 10


def ends_of_file(path: Path) -> str:
    """Return 64 hexadecimal digits made of a file's size and both its ends; OSError without it."""
    size, ends = size_and_ends(path, _HASHED_BYTES)
    return hashlib.sha256(str(size).encode() + ends).hexdigest()


def size_and_ends(path: Path, most: int) -> tuple[int, bytes]:
    """Return a file's size, and up to so many of its first and of its last bytes, together."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        first = file.read(most)
        file.seek(max(0, size - most))
        return size, first + file.read(most)


@contextmanager
def reading_errors(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a package raises of a file that it cannot read into one line that names it.

    Raises
    ------
    SourceError
        From any error within that is not one of ours.
    """
    try:
        yield
    except Sam2TrackError:
        raise
    except Exception as error:  # readers of closed formats, and of damaged files, fail in many ways
        held = kind_of_file(path)
        if held not in (kind, None):
            raise SourceError(
                f"{path} is {held}, whatever its name says, not {kind}; name it as what it is"
            ) from error
        raise SourceError(
            f"{path} is no {kind} file that can be read ({type(error).__name__}: {error}); see "
            "whether its maker's program opens it"
        ) from error


class Mapped:
    """An array that lies in a file as it is; each part is mapped into memory while it is read.

    A mapping that stays would count as this process's memory more and more.

    Parameters
    ----------
    path : Path
    dtype : dtype
    offset : int
        Byte at which it begins.
    shape : tuple of int
    order : {"C", "F"}
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        offset: int,
        shape: tuple[int, ...],
        order: Any = "C",
    ) -> None:
        # Absolute, as the current folder may be another when a part is read.
        self.path, self.offset, self.order = path.absolute(), offset, order
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        """Return a part, in memory of its own and in the byte order of this machine."""
        whole = np.memmap(
            self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape, order=self.order
        )
        return np.array(whole[index], self.dtype.newbyteorder("="))
