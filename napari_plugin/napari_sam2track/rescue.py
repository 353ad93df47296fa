"""Where a project goes whose file was taken away while it was open."""

from __future__ import annotations

import itertools
from pathlib import Path

from sam2track.project import Project

__all__ = ["written_anew"]


def written_anew(project: Project, gone: Path) -> tuple[Project, Path, str]:
    """Write a project where its file was, or beside another file that lies there now.

    Returns
    -------
    tuple of Project, Path and str
        The one that is written, which is open in place of the one before, where it lies, and what
        a person is told.

    Raises
    ------
    OutputError
        As ``Project.written_anew``.
    """
    path = _free(gone)
    project = project.written_anew(path)
    told = (
        f"{gone.name} was removed or moved while it was open; it is written anew with all that "
        f"was done, and goes on in {gone.parent}"
        if path == gone
        else f"{gone.name} was replaced by another file while it was open; all that was done is "
        f"kept in {path.name} beside it, and goes on there"
    )
    return project, path, told


def _free(path: Path) -> Path:
    """A path at which nothing lies: this one, or one with a number."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())
