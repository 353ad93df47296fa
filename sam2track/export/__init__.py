"""What is written for others: one module per format.

A file is written beside its place under a hidden temporary name, and renamed once it is whole:
under its own name nobody ever sees half of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sam2track.errors import OutputError, Sam2TrackError

__all__ = ["cannot_write", "output_errors", "partial_path", "shortened"]

_LONGEST_NAME = 200  # bytes
# What the system says of a place that no free space would make better.
_OF_PLACES = {
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
}


def partial_path(path: Path) -> Path:
    """Return the name under which a file is written until it is whole: ``.masks.mp4.partial``."""
    return path.with_name(f".{shortened(path.name)}.partial")


def shortened(name: str) -> str:
    """Return a name to which an ending may be added: most file systems take 255 bytes.

    Names that differ still do.
    """
    data = os.fsencode(name)
    if len(data) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{data[: _LONGEST_NAME - 17].decode(errors='ignore')}~{digest}"


def cannot_write(path: Path, why: object) -> OutputError:
    """Return the error that says in one line what cannot be written, and why."""
    reason = " ".join(str(getattr(why, "strerror", None) or why).split())
    if not isinstance(why, OSError):
        return OutputError(f"cannot write {path}: {reason}")
    if why.errno in (errno.EMFILE, errno.ENFILE):
        return OutputError(f"cannot write {path}: {reason}; raise that limit (ulimit -n)")
    with suppress(OSError):  # what may not be looked at is told as the system told it
        if path.is_symlink() and not path.exists():  # which to the system exists, or is no folder
            reason = "it is a link that leads nowhere"
    free = "" if why.errno in _OF_PLACES else "free space or "
    return OutputError(f"cannot write {path}: {reason}; {free}write to another folder")


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors into one that names `path`.

    Raises
    ------
    OutputError
        From any OSError within that is not one of ours.
    """
    try:
        yield
    except Sam2TrackError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
