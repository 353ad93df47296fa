"""Files and folders that get their name once they are whole."""

from __future__ import annotations

import os
import shutil
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sam2track.errors import OutputError, Sam2TrackError, UsageError
from sam2track.export import cannot_write, output_errors, partial_path

__all__ = ["Staged", "check_free", "staged", "write_bytes"]


def check_no_device(path: Path) -> None:
    """Refuse what is no file: a device, a pipe, or "-", which others take for standard output."""
    if path == Path("-"):
        raise UsageError(f"nothing is written to standard output ({path}); give the name of a file")
    odd = path.exists() and not (path.is_file() or path.is_dir())
    above = path.absolute().parents
    # In /dev/shm there are files as elsewhere; it is memory that is used as a disk.
    if odd or (Path("/dev") in above and Path("/dev/shm") not in above):
        raise UsageError(f"{path} is a device or a pipe; give the name of a file")


def check_free(path: Path, *, folder: bool, overwrite: bool = False) -> None:
    """Refuse a place where something is already, as ``staged`` does."""
    with output_errors(path):
        check_no_device(path)
        if path.is_dir() and not folder:
            raise UsageError(f"{path} is a folder; name a file")
        if folder and path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file; name a folder")
        if folder and path.is_dir() and any(path.iterdir()):
            raise UsageError(f"{path} holds something already; name another folder, or remove it")
        if not folder and path.exists() and not overwrite:
            raise UsageError(
                f"{path} is there already; replace it (--overwrite) or name another file"
            )


class Staged:
    """A file or folder that bears a hidden temporary name beside its own until it is closed.

    As a context manager it is closed where all went well, and aborted where not: half of it is
    never left, nor is a file that was there before lost. Who inherits says how to finish what is
    written, and how to let go of it. One at a time writes to a name; what a kill has left under the
    temporary one is removed.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced on `close`; of folders, an empty one.
    lasting : bool
        Whether a file's bytes are on the disk before it gets its name, so that even where the
        power fails no half is ever seen.
    folder : bool
        Whether it is a folder.

    Raises
    ------
    UsageError
        Where `path` is a device or a pipe, which would be replaced, too.
    OutputError
        Where a folder is at a file's place, or the temporary name cannot be had, most of all since
        another writes there now.
    """

    def __init__(self, path: str | Path, *, lasting: bool = True, folder: bool = False) -> None:
        self.path = Path(path)
        # FFmpeg takes what stands before a colon for a protocol, unless the path is absolute.
        self.partial = partial_path(self.path.absolute())
        self._lasting = lasting
        self._closed = False
        with output_errors(self.path):
            check_no_device(self.path)
            # Else it would be told once all is written, and with an error of the system's.
            if not folder and self.path.is_dir():
                raise OutputError(f"cannot write {path}: it is a folder; name a file")
            try:
                held = _claimed(self.partial, folder=folder)
            except BlockingIOError as error:
                raise OutputError(
                    f"{path} is being written by another command now; wait for it, or give "
                    "another name"
                ) from error
        self._let_go = weakref.finalize(self, os.close, held)

    def close(self) -> None:
        """Finish, and give it its name. Does nothing where it is closed already.

        Raises
        ------
        OutputError
            Where that cannot be done; nothing is left then.
        """
        if self._closed:
            return
        with self._guarded():
            self._finish()
            if not self.partial.is_dir():
                if self._lasting:
                    _sync(self.partial)
            elif self.path.is_dir():
                self.path.rmdir()
            self.partial.replace(self.path)
        self._closed = True
        self._let_go()

    def abort(self) -> None:
        """Throw away what was written. Does nothing where it is closed already."""
        if self._closed:
            return
        self._closed = True
        try:
            self._release()
        finally:
            with suppress(OSError):
                _remove(self.partial)
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _finish(self) -> None:
        """Write what is left, and let go."""

    def _release(self) -> None:
        """Let go of what is thrown away in any case; whatever that says does not count."""

    def _failures(self) -> tuple[type[Exception], ...]:
        """Errors that say that it cannot be written."""
        return (OSError,)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Abort where anything within fails.

        Raises
        ------
        OutputError
            From errors that say that it cannot be written.
        """
        try:
            yield
        except Sam2TrackError:
            self.abort()
            raise
        except self._failures() as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        except BaseException:  # Ctrl-C, most of all
            self.abort()
            raise


@contextmanager
def staged(path: Path, *, folder: bool, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name beside `path`, and rename what is there at the end.

    Where the block fails, what was written is removed and what was at `path` stays.

    Parameters
    ----------
    path : Path
        Its folder is made where it is missing.
    folder : bool
        Whether a folder is written, which is made, or a file.
    overwrite : bool
        Replace a file; a folder that holds something is never replaced.

    Raises
    ------
    UsageError
        Where there is something at `path` already.
    OutputError
        Where it cannot be written.
    """
    check_free(path, folder=folder, overwrite=overwrite)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with Staged(path, folder=folder) as whole:
            try:
                yield whole.partial
            except OutputError as error:  # of a writer that knows the temporary name alone
                raise OutputError(str(error).replace(str(whole.partial), str(path))) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or leave what was there.

    It is one of many, or small: it is not waited for until it is on the disk.

    Raises
    ------
    OutputError
        Where that cannot be done.
    """
    with output_errors(path), Staged(path, lasting=False) as whole:
        whole.partial.write_bytes(data)


def _claimed(path: Path, *, folder: bool) -> int:
    """Make a file or a folder anew, and lock it until the descriptor that is returned is closed.

    Raises
    ------
    BlockingIOError
        Where another has locked what is there.
    """
    if os.name == "nt":  # where what is open can be neither removed nor renamed
        _remove(path)
        path.mkdir() if folder else path.touch()
        return os.open(os.devnull, os.O_RDONLY)
    while True:
        with suppress(FileNotFoundError):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                path.unlink()  # a link, say, which would lead elsewhere
            elif (left := _locked(path)) is not None:  # by a kill
                try:
                    _remove(path)
                finally:
                    os.close(left)
        try:
            path.mkdir() if folder else path.touch(exist_ok=False)
        except FileExistsError:
            continue
        with suppress(FileNotFoundError):
            if (held := _locked(path)) is not None:
                return held


def _locked(path: Path) -> int | None:
    """Open and lock what lies at a path; None where something else lies there by then."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            flock(held, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            pass
        if os.path.samestat(os.fstat(held), path.lstat()):
            return held
    except BaseException:
        os.close(held)
        raise
    os.close(held)
    return None


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
