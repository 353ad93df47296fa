"""What a job writes beside its project: mask pictures, videos, the table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sam2track.database import remove_companions
from sam2track.errors import OutputError, ProjectExistsError, UsageError
from sam2track.export.label_videos import LabelVideoWriter
from sam2track.export.pngs import MaskSequence
from sam2track.export.videos import VideoWriter
from sam2track.frames.source import FrameSource
from sam2track.measure import cells, measured
from sam2track.project import Project
from sam2track.render import colour_map, overlay
from sam2track.table import TableWriter

__all__ = [
    "OUTPUTS",
    "USUAL",
    "Progress",
    "check_apart",
    "holds_project",
    "remove_outputs",
    "wanted_outputs",
    "write_outputs",
]

# What can be written, and under which name in the output folder.
OUTPUTS = {
    "masks": "masks",
    "mask-video": "masks.mp4",
    "label-video": "masks.mkv",
    "overlay": "overlay.mp4",
    "table": "tracks.csv",
}
# What is written unless something else is asked for.
USUAL = ("masks", "mask-video", "overlay", "table")


@dataclass(frozen=True)
class Progress:
    """How far a job is: ``done`` of ``total`` frames of a stage, and seconds it took so far."""

    stage: str
    done: int
    total: int
    seconds: float


def wanted_outputs(write: Iterable[str]) -> list[str]:
    """Check names of outputs; return them in order."""
    wanted = [write] if isinstance(write, str) else list(write)
    for name in wanted:
        if name not in OUTPUTS:
            raise UsageError(f"cannot write {name!r}; allowed are {', '.join(OUTPUTS)}")
    return [name for name in OUTPUTS if name in wanted]


def holds_project(folder: Path, overwrite: bool) -> bool:
    """Whether a folder holds a project; refuse one whose files would be lost unasked."""
    try:
        if (folder / "project.s2t").exists():
            return True
        found = [name for name in OUTPUTS.values() if (folder / name).exists()]
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    if found and not overwrite:
        raise ProjectExistsError(
            f"{folder} holds {found[0]} but no project; replace it (--overwrite) "
            f"or give another folder"
        )
    return False


def check_apart(source: FrameSource, folder: Path) -> None:
    """Refuse to write over what is read, or to where a link in the folder leads."""
    if (folder / OUTPUTS["masks"]).is_symlink():
        raise UsageError(
            f"{folder / OUTPUTS['masks']} is a link, and nothing is written to where it leads; "
            "remove it, or give another output folder"
        )
    path = Path(source.name)
    for name in ("project.s2t", *OUTPUTS.values()):
        try:
            same = (folder / name).exists() and path.exists() and path.samefile(folder / name)
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
        if same:
            raise UsageError(
                f"{path} is the source and would be replaced by the output {name}; "
                f"give another output folder"
            )


def remove_outputs(folder: Path) -> None:
    """Remove what an earlier job wrote, and nothing else."""
    if not (folder / "project.s2t").exists():
        return
    remove_companions(folder / "project.s2t")
    for name in ("project.s2t", *OUTPUTS.values()):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            for picture in path.glob("[0-9]*.png"):
                if picture.stem.isdecimal() and len(picture.stem) >= 5:
                    picture.unlink()
            if not any(path.iterdir()):
                shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_outputs(
    project: Project,
    source: FrameSource,
    span: tuple[int, int],
    folder: Path,
    wanted: Sequence[str],
    progress: Callable[[Progress], None] | None = None,
    *,
    full: bool = False,
) -> dict[str, str]:
    """Write what is asked for of the frames [low, high), and return the paths by name.

    `full` is a table with all measurements.
    """
    low, high = span
    pictures = [name for name in wanted if name != "table"]
    began = time.monotonic()
    if pictures:
        bits: Literal[8, 16] = 16 if max(project.objects) > 255 else 8
        paths = {name: folder / OUTPUTS[name] for name in wanted}
        sequence = MaskSequence(paths["masks"], bits=bits) if "masks" in wanted else None
        height, width = source.height, source.width
        videos = {
            name: VideoWriter(paths[name], height=height, width=width)
            for name in ("mask-video", "overlay")
            if name in wanted
        }
        lossless = (
            LabelVideoWriter(paths["label-video"], height=height, width=width, bits=bits)
            if "label-video" in wanted
            else None
        )
        open_files = [*videos.values(), *([] if lossless is None else [lossless])]
        names = project.names
        try:
            frames: Iterable[npt.NDArray[np.uint8] | None] = (
                source.frames(low, high) if "overlay" in wanted else [None] * (high - low)
            )
            for frame, picture in zip(range(low, high), frames, strict=True):
                labels = project.labels(frame)
                if sequence is not None:
                    sequence.write(frame, labels)
                seconds = float(source.times[frame] - source.times[low])
                if "mask-video" in videos:
                    videos["mask-video"].write(colour_map(labels), seconds)
                if lossless is not None:
                    lossless.write(labels, seconds)
                if picture is not None:
                    videos["overlay"].write(overlay(picture, labels, names=names), seconds)
                if progress is not None:
                    seconds = time.monotonic() - began
                    progress(Progress("writing", frame - low + 1, high - low, seconds))
            for video in open_files:
                video.close()
        except BaseException:
            for video in open_files:
                video.abort()
            raise
    if "table" in wanted:
        if full:
            made = measured(project, source=source)
            with TableWriter(folder / OUTPUTS["table"], made.columns) as table:
                for measurements in made.rows:
                    table.write_cells(cells(measurements, made.columns))
        else:
            with TableWriter(folder / OUTPUTS["table"]) as table:
                for row in project.rows():
                    table.write(row)
    return {name: str(folder / OUTPUTS[name]) for name in wanted}
