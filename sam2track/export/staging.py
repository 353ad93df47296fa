"""Files and folders that get their name once they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam2track.errors import OutputError, UsageError
from sam2track.export import output_errors, partial_path, publish

__all__ = ["staged"]


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
    if path.is_dir() and not folder:
        raise UsageError(f"{path} is a folder; name a file")
    if folder and path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; name a folder")
    if folder and path.is_dir() and any(path.iterdir()):
        raise UsageError(f"{path} holds something already; name another folder, or remove it")
    if not folder and path.exists() and not overwrite:
        raise UsageError(f"{path} is there already; replace it (--overwrite) or name another file")
    partial = partial_path(path.absolute())
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        try:
            if folder:
                partial.mkdir()
            yield partial
            if not folder:
                publish(partial, path)
                return
            if path.exists():
                path.rmdir()
            partial.replace(path)
        except BaseException:
            _remove(partial)
            raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
