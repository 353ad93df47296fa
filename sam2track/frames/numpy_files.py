"""numpy's own files, npy and npz, as stacks."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sam2track.errors import SourceError, UsageError
from sam2track.frames.array import array_stack
from sam2track.frames.files import Mapped, ends_of_file
from sam2track.frames.headers import kind_of_file
from sam2track.frames.stack import Stack
from sam2track.machine import free_memory

__all__ = ["numpy_stack"]

_LARGEST = 2**34  # bytes that an array of an npz may claim: it has to be inflated whole


def numpy_stack(path: Path, axes: str | None = None, key: str | None = None) -> Stack:
    """Open an npy file, mapped into memory, or an array of an npz file, which is read whole.

    Parameters
    ----------
    path : Path
    axes : str, optional
    key : str, optional
        Name of the array in an npz file; not needed where there is one alone.

    Raises
    ------
    SourceError
        Where the file is damaged, cut short, or holds Python objects.
    UsageError
        Where it holds several arrays and none is named, or the axes do not fit.
    """
    try:
        if zipfile.is_zipfile(path):
            array, key = _chosen(path, key)
        elif key is not None:
            raise UsageError(
                f"{path} holds one array without a name; leave key {key!r} (--key) out"
            )
        else:
            array = _mapped(path)
    except (SourceError, UsageError):
        raise
    except Exception as error:  # numpy reads headers as Python, and damaged ones end in anything
        raise SourceError(
            f"{path} is no array that can be read ({str(error)[:200]}); save it again with numpy"
        ) from error
    return array_stack(
        array,
        axes=axes,
        name=str(path),
        key=key,
        fingerprint=partial(ends_of_file, path.absolute()),
    )


def _mapped(path: Path) -> Any:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            kind = kind_of_file(path)
            raise SourceError(
                f"{path} is {kind or 'no npy file'}, whatever its name says; name it as what it "
                "is, or save it again with numpy"
            )
    # No pickles: they can run code.
    found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    order = "F" if np.isfortran(found) else "C"
    return Mapped(path, found.dtype, found.offset, found.shape, order)


def _chosen(path: Path, key: str | None) -> tuple[Any, str]:
    with np.load(path, allow_pickle=False) as archive:
        held = archive.zip.namelist()
        names = [name.removesuffix(".npy") for name in held if name.endswith(".npy")]
        if key is None and len(names) != 1:
            if not names:
                raise SourceError(f"{path} holds no array; save one with numpy.savez")
            raise UsageError(
                f"{path} holds the arrays {', '.join(names)}; name one by key (--key), such as "
                f"{names[0]}"
            )
        name = names[0] if key is None else key
        if name not in names:
            raise UsageError(f"{path} has no array {key!r}; it holds {', '.join(names)}")
        with zipfile.ZipFile(path) as whole:
            claimed = whole.getinfo(f"{name}.npy").file_size
        # It is inflated whole, and a few bytes may claim to become very many.
        free = free_memory()
        room = _LARGEST if free is None else min(_LARGEST, free)
        if claimed > room:
            raise SourceError(
                f"{path} claims {claimed:,} bytes for {name}, and there is room for {room:,}; save "
                "it as npy"
            )
        return archive[name], name
