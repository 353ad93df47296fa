"""One process at a time writes."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

import portalocker

from sam2track.errors import OutputError, ProjectInUseError
from sam2track.regular import is_odd

__all__ = ["WriterLock"]


class WriterLock:
    """Keeps other writers away from a project, and from what a job writes beside it.

    Parameters
    ----------
    path : path
        The project, which need not be there yet; a file of its name and ``.lock`` lies beside it
        while the lock is held.

    Raises
    ------
    ProjectInUseError
        Where another holds it.
    OutputError
        Where the folder cannot be written, or there is something else in place of the lock. Where
        the project is a link: who opened what it leads to would hold another lock.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        # Absolute, as the current folder may be another when it is released.
        self._path = path.with_name(path.name + ".lock").absolute()
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_symlink():
                    raise OutputError(
                        f"{path} is a link, and is not written to where it leads; name what it "
                        "leads to, or remove it"
                    )
                if is_odd(self._path):
                    raise OutputError(
                        f"{self._path} is no regular file, and nothing can be locked with it; "
                        "remove it"
                    )
                self._handle = self._path.open("a")
            except OutputError:
                raise
            except OSError as error:
                why = error.strerror
                if error.errno == errno.ENAMETOOLONG:
                    raise OutputError(
                        f"{path} cannot be written: {why}; give a shorter one"
                    ) from error
                if path.parent.is_symlink() and not path.parent.exists():
                    why = "it is a link that leads nowhere"
                raise OutputError(
                    f"{path.parent} cannot be written: {why}; give another folder"
                ) from error
            try:
                portalocker.lock(self._handle, portalocker.LOCK_EX | portalocker.LOCK_NB)
            except portalocker.AlreadyLocked as error:
                self._handle.close()
                raise ProjectInUseError(
                    f"{path} is in use by another job or viewer; wait for it, or work elsewhere"
                ) from error
            except portalocker.LockException as error:
                self.release()
                raise OutputError(
                    f"{path} cannot be locked ({error}), as a project has to be; work on another "
                    "disk"
                ) from error
            if self.is_there():
                return
            self._handle.close()  # whoever held it before has removed it meanwhile

    def is_there(self) -> bool:
        """Whether what is held still lies where others look for it."""
        try:
            return os.path.samestat(os.fstat(self._handle.fileno()), self._path.stat())
        except (OSError, ValueError):  # the latter where it was released already
            return False

    def release(self) -> None:
        """Let others write."""
        if os.name == "nt":  # where what is open is not removed
            self._handle.close()
            with suppress(OSError):  # another has it by now
                self._path.unlink()
            return
        # Removed while it is still held, so that nobody locks a file that is gone.
        # Where the folder can no longer be written, what is left locks nobody out.
        with suppress(OSError):
            if self.is_there():  # where the folder was moved another's lock may lie there
                self._path.unlink(missing_ok=True)
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
