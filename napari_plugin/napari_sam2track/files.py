"""Readers and samples of the manifest; all of them open things frame by frame."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

from napari_sam2track.arrays import VideoArray
from napari_sam2track.opening import free_or_of_image, source_of_project
from sam2track.errors import Sam2TrackError
from sam2track.frames.opening import open_source, part_told
from sam2track.samples import sample_folder

__all__ = [
    "get_project_reader",
    "get_video_reader",
    "sample_bacteria",
    "sample_nuclei",
    "sample_shapes",
    "source_layer",
]

Layer = tuple[Any, dict[str, Any], str]
_NO_LAYER: list[Any] = [(None,)]  # napari's word for a file of which nothing is to be shown


def _video_layer(source: Any, name: str, **about: Any) -> Layer:
    settings = {
        "name": name,
        "rgb": True,
        "multiscale": False,
        "axis_labels": ("t", "y", "x"),
        "metadata": {"sam2track": about},
    }
    return VideoArray(source), settings, "image"


def get_video_reader(path: str | list[str]) -> Callable[[Any], list[Layer]] | None:
    """Return a reader of video files."""
    if isinstance(path, list):
        return None
    return lambda given: [_video_layer(open_source(given), Path(str(given)).stem)]


def source_layer(path: Path, **reading: Any) -> Layer:
    """A video, a folder of pictures or a stack as one layer; its project goes beside it.

    Of a stack's several positions or images, and of each part, there is a project of its own.

    Parameters
    ----------
    path : Path
    **reading
        As ``open_source`` takes it.
    """
    source = open_source(path, **reading)
    place = Path(os.path.abspath(path))  # noqa: PTH100  # of .. the folder's own name
    name = place.name if place.is_dir() else place.stem
    reading = getattr(source, "options", {})
    if key := reading.get("key"):
        name += "-" + re.sub(r"[^\w.-]+", "-", key)
    if crop := reading.get("crop"):
        name += "-" + "-".join(map(str, crop))
    told = part_told({"reading": reading})
    project = free_or_of_image(place.with_name(f"{name}.s2t"), told)
    return _video_layer(source, project.stem, project=str(project))


def get_project_reader(path: str | list[str]) -> Callable[[Any], list[Layer]] | None:
    """Return a reader of projects: their video, for the widget to go on with.

    Where there is somebody to read it, what is wrong is shown, not raised: in front of it napari
    would say to install another plugin for such files, and of all that the first line is seen.
    """
    if isinstance(path, list):
        return None

    def read(given: Any) -> list[Layer]:
        project = Path(str(given)).absolute()
        try:
            source = source_of_project(project)
        except (Sam2TrackError, OSError) as error:
            if not _is_dropped():
                raise
            from napari.utils.notifications import show_error

            show_error(str(error))
            return _NO_LAYER
        return [_video_layer(source, project.stem, project=str(project))]

    return read


def _is_dropped() -> bool:
    """Whether something is opened by hand in a viewer, not by a script, nor before there is one."""
    from qtpy.QtCore import QThread

    return bool(QThread.currentThread().loopLevel() > 0)


def _sample(name: str) -> list[Layer]:
    """A sample's video, in a folder of its own where its project may lie."""
    cache = Path(platformdirs.user_cache_dir("sam2track", appauthor=False))  # each user has one
    folder = cache / "samples" / name
    folder.mkdir(parents=True, exist_ok=True)
    video = folder / f"{name}.mp4"
    shutil.copyfile(sample_folder() / name / "video.mp4", video)
    return [_video_layer(open_source(video), name, project=str(video.with_suffix(".s2t")))]


def sample_shapes() -> list[Layer]:
    """Two shapes that cross."""
    return _sample("shapes")


def sample_nuclei() -> list[Layer]:
    """Nuclei under a microscope."""
    return _sample("nuclei")


def sample_bacteria() -> list[Layer]:
    """Bacteria that grow."""
    return _sample("bacteria")
