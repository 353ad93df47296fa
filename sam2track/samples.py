"""Small clips that come with the package, each with prompts and ground truth."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sam2track.errors import OutputError, SourceError, UsageError

__all__ = ["copy_sample", "sample_folder", "sample_names"]


def sample_folder() -> Path:
    """Return the folder that holds one folder per sample.

    It lies inside an installed package, and beside the package in a source tree.

    Raises
    ------
    SourceError
        Where neither is there.
    """
    package = Path(__file__).parent
    for folder in (package / "sample_videos", package.parent / "sample_videos"):
        if folder.is_dir():
            return folder
    raise SourceError(f"no sample_videos folder in or beside {package}; install sam2track again")


def sample_names() -> list[str]:
    """Return the names of the samples, sorted."""
    return sorted(video.parent.name for video in sample_folder().glob("*/video.mp4"))


def copy_sample(name: str, to: str | Path) -> list[Path]:
    """Copy a sample to a folder of its own.

    Parameters
    ----------
    name : str
        One of :func:`sample_names`.
    to : str or Path
        The folder to make: it will hold ``video.mp4``, ``prompts.json`` and the rest.

    Returns
    -------
    list of Path
        The files written, sorted.

    Raises
    ------
    UsageError
        Where there is no sample of that name.
    OutputError
        Where the folder is there already, or cannot be written; then nothing is left behind.
    """
    names = sample_names()
    if name not in names:
        raise UsageError(f"no sample named {name!r}; there are: {', '.join(names) or 'none'}")
    target = Path(to)
    if target.exists():
        raise OutputError(f"{target} exists already; name a folder that does not")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".sample-") as scratch:
            whole = Path(scratch) / name
            whole.mkdir()
            sample = sample_folder() / name
            # One by one: copytree goes on after an error, and tells of all files in one text.
            for path in sorted(sample.rglob("*")):
                copied = whole / path.relative_to(sample)
                if path.is_dir():
                    copied.mkdir()
                else:
                    shutil.copy2(path, copied)
            whole.rename(target)
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"cannot write {target}: {why}; write to another folder") from error
    return sorted(path for path in target.rglob("*") if path.is_file())
