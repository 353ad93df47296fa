"""From a layer to what a session needs: pictures, a model and a place for the project."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam2track.arrays import VideoArray
from napari_sam2track.axes import Axes, Frames
from sam2track.errors import ProjectError, UsageError
from sam2track.frames.opening import open_source

if TYPE_CHECKING:
    from sam2track.frames.source import FrameSource

__all__ = ["project_path", "source_of", "source_of_project"]


def source_of(data: Any, axes: Axes, limits: Sequence[float] | None = None) -> FrameSource:
    """Open what a layer shows, for a thread of its own.

    Parameters
    ----------
    data : array
        The layer's; of a video that was opened by this plugin the file is read, as the command
        line does.
    axes : Axes
    limits : (float, float), optional
        Values that become black and white; percentiles where not given.

    Raises
    ------
    UsageError, SourceError
    """
    if isinstance(data, VideoArray):
        return open_source(data.source.name)
    from sam2track.frames.array import ArraySource

    if axes.rgb or limits is None or not limits[0] < limits[1]:
        limits = None
    if axes.height < 8 or axes.width < 8:
        raise UsageError(
            f"frames of {axes.width} x {axes.height} pixels are too small to track anything; "
            f"check which axis is time, or whether colours were taken for columns"
        )
    return ArraySource(
        Frames(data, axes), limits=None if limits is None else (limits[0], limits[1])
    )


def project_path(path: str | Path | None, name: str) -> Path:
    """Where a layer's project is kept unless a person chooses: beside its file, or at home."""
    if path is not None and str(path):
        path = Path(path)
        if path.suffix == ".s2t":
            return path
        return path.with_name(f"{path.stem}.s2t")
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "untitled"
    return Path.home() / "sam2track" / f"{plain}.s2t"


def source_of_project(project: Path) -> FrameSource:
    """Open the video of a project, where it was or beside the project.

    Raises
    ------
    ProjectError
        Where it is at neither place.
    """
    from sam2track.project import Project

    with Project.open(project) as opened:
        given = Path(str(opened.meta["source"]))
    for place in (given, project.parent / given, project.parent / given.name):
        if place.exists():
            return open_source(place)
    raise ProjectError(
        f"{project.name} was made from {given}, which is not there any more; open the video or "
        f"stack itself, and choose this project under Project in the SAM 2 Track panel"
    )
