"""What a job writes beside its project: mask pictures, videos, the table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

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
    "PictureOutputs",
    "Progress",
    "check_apart",
    "holds_project",
    "remove_outputs",
    "wanted_outputs",
    "write_outputs",
    "write_table",
    "writing_outputs",
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
    """How far a job is: ``done`` of ``total`` frames of a stage, and seconds it took so far.

    ``total`` is 0 where it is not known how many will come.
    """

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


def check_apart(source: str, folder: Path) -> None:
    """Refuse to write over what is read, or to where a link in the folder leads."""
    if (folder / OUTPUTS["masks"]).is_symlink():
        raise UsageError(
            f"{folder / OUTPUTS['masks']} is a link, and nothing is written to where it leads; "
            "remove it, or give another output folder"
        )
    path = Path(source)
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


class PictureOutputs:
    """What is written of each frame: label maps, and videos that have their names once closed.

    Each is written in a thread of its own, at most one frame behind.

    Parameters
    ----------
    folder : Path
    wanted : collection of str
        Some of ``OUTPUTS``; the table is none of these.
    height, width : int
        Size of the frames in pixels.
    bits : 8 or 16
        Of label maps.
    names : mapping of int to str
        Of objects, for the overlay.
    """

    def __init__(
        self,
        folder: Path,
        wanted: Collection[str],
        *,
        height: int,
        width: int,
        bits: Literal[8, 16],
        names: Mapping[int, str],
    ) -> None:
        self._first: float | None = None
        self._files: list[VideoWriter | LabelVideoWriter] = []
        self._works: dict[str, _Work] = {}
        self._pending: dict[str, Future[object]] = {}
        for name in (name for name in OUTPUTS if name in wanted and name != "table"):
            path = folder / OUTPUTS[name]
            if name == "masks":
                self._works[name] = _pictures(MaskSequence(path, bits=bits))
            elif name == "label-video":
                labelled = LabelVideoWriter(path, height=height, width=width, bits=bits)
                self._files.append(labelled)
                self._works[name] = _labels(labelled)
            else:
                video = VideoWriter(path, height=height, width=width)
                self._files.append(video)
                self._works[name] = _colours(video) if name == "mask-video" else _over(video, names)
        self._pool = ThreadPoolExecutor(max(1, len(self._works)))

    def write(
        self,
        frame: int,
        labels: npt.NDArray[np.int32],
        picture: npt.NDArray[np.uint8] | None,
        time: float,
    ) -> None:
        """Append a frame that is shown at a time in seconds; the picture is for the overlay.

        What fails is raised here or at one of the next frames, at the latest on leaving.
        """
        self._first = time if self._first is None else self._first
        for name, work in self._works.items():
            self._wait(name)
            self._pending[name] = self._pool.submit(
                work, frame, labels, picture, time - self._first
            )

    def _wait(self, name: str) -> None:
        if name in self._pending:
            self._pending.pop(name).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the videos, or throw them away where something failed."""
        try:
            if kind is None:
                for name in self._works:
                    self._wait(name)
            self._pool.shutdown()
            if kind is None:
                for video in self._files:
                    video.close()
        finally:
            self._pool.shutdown()
            for video in self._files:
                video.abort()  # does nothing to one that is closed


_Work = Callable[
    [int, npt.NDArray[np.int32], "npt.NDArray[np.uint8] | None", float],
    object,
]


def _pictures(sequence: MaskSequence) -> _Work:
    return lambda frame, labels, _picture, _seconds: sequence.write(frame, labels)


def _labels(video: LabelVideoWriter) -> _Work:
    return lambda _frame, labels, _picture, seconds: video.write(labels, seconds)


def _colours(video: VideoWriter) -> _Work:
    return lambda _frame, labels, _picture, seconds: video.write(colour_map(labels), seconds)


def _over(video: VideoWriter, names: Mapping[int, str]) -> _Work:
    def work(
        _frame: int,
        labels: npt.NDArray[np.int32],
        picture: npt.NDArray[np.uint8] | None,
        seconds: float,
    ) -> None:
        if picture is not None:
            video.write(overlay(picture, labels, names=names), seconds)

    return work


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
    for at in writing_outputs(project, source, span, folder, wanted, full=full):
        if progress is not None:
            progress(at)
    return {name: str(folder / OUTPUTS[name]) for name in wanted}


def writing_outputs(
    project: Project,
    source: FrameSource,
    span: tuple[int, int],
    folder: Path,
    wanted: Sequence[str],
    *,
    full: bool = False,
) -> Iterator[Progress]:
    """Write as ``write_outputs`` does, and say after each frame how far it is."""
    low, high = span
    began, times = time.monotonic(), project.times
    if any(name != "table" for name in wanted):
        with PictureOutputs(
            folder,
            wanted,
            height=source.height,
            width=source.width,
            bits=16 if max(project.objects) > 255 else 8,
            names=project.names,
        ) as outputs:
            frames: Iterable[npt.NDArray[np.uint8] | None] = (
                source.frames(low, high) if "overlay" in wanted else [None] * (high - low)
            )
            for frame, picture in zip(range(low, high), frames, strict=True):
                outputs.write(frame, project.labels(frame), picture, float(times[frame]))
                seconds = time.monotonic() - began
                yield Progress("writing", frame - low + 1, high - low, seconds)
    if "table" in wanted:
        write_table(project, folder, source=source, full=full)


def write_table(
    project: Project, folder: Path, *, source: FrameSource | None = None, full: bool = False
) -> None:
    """Write the table; a `full` one has all measurements, intensities where there is a source."""
    if full:
        made = measured(project, source=source)
        with TableWriter(folder / OUTPUTS["table"], made.columns) as table:
            for measurements in made.rows:
                table.write_cells(cells(measurements, made.columns))
        return
    with TableWriter(folder / OUTPUTS["table"]) as table:
        for row in project.rows():
            table.write(row)
