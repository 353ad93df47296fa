"""Files that end: a pipe in place of one would be waited for, and a device read for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["check_regular", "is_odd"]


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse a pipe, a socket or a device; what is not there, or a folder, says so when opened.

    Raises
    ------
    OSError
        Where it is one, with what to do as its ``strerror``.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is no regular file; save it to one", os.fspath(path))


def is_odd(path: Path) -> bool:
    """Whether there is something that would be waited for, or that leads elsewhere, as a link."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False
