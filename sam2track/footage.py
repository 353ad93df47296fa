"""The pictures that a project was made from, where they can still be had."""

from __future__ import annotations

from typing import Any, NamedTuple

from sam2track.errors import Sam2TrackError, SourceError
from sam2track.frames.bounds import rate_of
from sam2track.frames.opening import reopen_source
from sam2track.frames.source import FrameSource
from sam2track.table import Results

__all__ = ["Footage", "needed_footage", "open_footage"]


class Footage(NamedTuple):
    """Pictures, and what is wrong with them.

    Attributes
    ----------
    source : FrameSource or None
        None where they cannot be used.
    problem : str
        One line; empty where all is well.
    """

    source: FrameSource | None
    problem: str


def open_footage(results: Results, source: Any = None) -> Footage:
    """Open the pictures of a project and look whether they are still the same.

    Parameters
    ----------
    results : Project
    source : path, array or FrameSource, optional
        Where the pictures are, if no longer where the project says. Pictures of the same size and
        number that are given so are taken, with a line that says that they are others; pictures
        that changed where the project says they are, are not.

    Returns
    -------
    Footage
        To be closed by the caller, unless `source` was a FrameSource.

    Raises
    ------
    SourceError
        Where `source` was given and cannot be used: who names pictures wants them.
    """
    footage = _opened(results, source)
    if footage.source is None and source is not None:
        raise SourceError(f"{footage.problem}; name others, or none")
    return footage


def _opened(results: Results, source: Any) -> Footage:
    meta = results.meta
    times = results.times
    try:
        opened = reopen_source(meta, source, fps=rate_of(times), folder=results.folder)
    except (Sam2TrackError, OSError) as error:
        return Footage(None, f"the pictures cannot be read: {error}")
    found = (opened.height, opened.width, len(opened))
    wanted = (results.height, results.width, len(times))
    if found != wanted:
        problem = (
            f"{opened.name} has {found[2]} frames of {found[1]} x {found[0]}, the project was made "
            f"from {wanted[2]} of {wanted[1]} x {wanted[0]}"
        )
    else:
        try:
            same = opened.fingerprint() == meta.get("fingerprint")
        except SourceError as error:
            return Footage(None, f"the pictures cannot be read: {error}")
        if same:
            return Footage(opened, "")
        problem = f"{opened.name} holds other pictures than when the project was made"
        if source is not None:
            return Footage(opened, problem)
    if opened is not source:
        opened.close()
    return Footage(None, problem)


def needed_footage(results: Results, source: Any = None) -> tuple[FrameSource, str]:
    """As ``open_footage``, for what cannot do without pictures.

    Raises
    ------
    SourceError
        Where they cannot be used.
    """
    footage = open_footage(results, source)
    if footage.source is None:  # the project remembers others
        told = "" if "--source" in footage.problem else "; say where they are (--source)"
        raise SourceError(f"{footage.problem}{told}")
    return footage.source, footage.problem
