"""The outputs of a job while they are written: mask pictures, videos, the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from sam2track.export.label_videos import LabelVideoWriter
from sam2track.export.pngs import MaskSequence
from sam2track.export.video_file import usual_rate
from sam2track.export.videos import VideoWriter
from sam2track.frames.source import FrameSource
from sam2track.measure import cells, measured
from sam2track.outputs import OUTPUTS, Progress
from sam2track.project import Project
from sam2track.render import colour_map, overlay
from sam2track.table import TableWriter

__all__ = ["PictureOutputs", "Writing", "write_table", "writing_outputs"]


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
    rate : Fraction
        Frames a second that players are told to expect; the last one lasts as long.
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
        rate: Fraction = Fraction(25),
    ) -> None:
        self._first: float | None = None
        self._files: list[VideoWriter | LabelVideoWriter] = []
        self._works: dict[str, _Work] = {}
        self._pending: dict[str, Future[object]] = {}
        self._begun: dict[str, int] = {}  # the last frame of each
        size: dict[str, Any] = {"height": height, "width": width, "rate": rate}
        try:
            for name in (name for name in OUTPUTS if name in wanted and name != "table"):
                path = folder / OUTPUTS[name]
                if name == "masks":
                    self._works[name] = _pictures(MaskSequence(path, bits=bits))
                elif name == "label-video":
                    labelled = LabelVideoWriter(path, bits=bits, **size)
                    self._files.append(labelled)
                    self._works[name] = _labels(labelled)
                else:
                    video = VideoWriter(path, **size)
                    self._files.append(video)
                    colours = name == "mask-video"
                    self._works[name] = _colours(video) if colours else _over(video, names)
        except BaseException:  # one cannot be had: the others leave nothing
            for file in self._files:
                file.abort()
            raise
        self._pool = ThreadPoolExecutor(max(1, len(self._works)))

    def write(
        self,
        frame: int,
        labels: npt.NDArray[np.int32],
        picture: npt.NDArray[np.uint8] | None,
        time: float,
    ) -> None:
        """Append a frame that is shown at a time in seconds; the picture is for the overlay.

        What fails is raised here or at one of the next frames, at the latest on leaving. Where it
        was interrupted the same frame may be given again: each has it once.
        """
        self._first = time if self._first is None else self._first
        for name, work in self._works.items():
            if self._begun.get(name) == frame:
                continue
            self._wait(name)
            self._begun[name] = frame
            self._pending[name] = self._pool.submit(
                work, frame, labels, picture, time - self._first
            )

    def _wait(self, name: str) -> None:
        if name in self._pending:
            self._pending[name].result()
            del self._pending[name]  # not before: an interruption ends the waiting, not the work

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the videos, or throw them away where something failed or no frame came."""
        try:
            if kind is None:
                for name in self._works:
                    self._wait(name)
            self._pool.shutdown()
            if kind is None and self._first is not None:
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


class Writing:
    """The pictures of a project's frames [low, high), written in order once they are final.

    As a context manager: what is left is written on leaving, and what fails there is thrown away.

    Parameters
    ----------
    project : Project
    source : FrameSource
        Read anew, beside whoever reads it meanwhile.
    span : (int, int)
        The frames.
    folder : Path
    wanted : sequence of str
        Some of ``OUTPUTS``; the table is left to `write_table`.
    progress : callable, optional
        Called with a Progress now and then, of what is written on leaving.
    """

    def __init__(
        self,
        project: Project,
        source: FrameSource,
        span: tuple[int, int],
        folder: Path,
        wanted: Sequence[str],
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._project, self._source, self._folder = project, source, folder
        self._wanted = [name for name in wanted if name != "table"]
        self._low, self._high = span
        self._progress = progress
        self._steps: Generator[int] | None = None
        self._next = self._low

    def up_to(self, stop: int) -> None:
        """Write frames before `stop`, which are final, as far as they are not written yet."""
        if self._steps is None:
            self._steps = self._frames()
        while self._wanted and self._next < min(stop, self._high):
            self._next = next(self._steps) + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._wanted:
                self._write_rest()
        finally:
            if self._steps is not None:
                self._steps.close()  # throws away what is not whole

    def _write_rest(self) -> None:
        began, total = time.monotonic(), self._high - self._low
        for frame in range(self._next, self._high):
            self.up_to(frame + 1)
            if self._progress is not None:
                done = frame - self._low + 1
                self._progress(Progress("writing", done, total, time.monotonic() - began))
        for _ in self._steps or ():  # ends it, which closes the files
            pass

    def _frames(self) -> Generator[int]:
        """Yield each frame once it is on its way."""
        low, high, times = self._low, self._high, self._project.times
        with PictureOutputs(
            self._folder,
            self._wanted,
            height=self._source.height,
            width=self._source.width,
            bits=16 if max(self._project.objects, default=0) > 255 else 8,
            names=self._project.names,
            rate=usual_rate(times[low:high]),
        ) as outputs:
            pictures: Iterable[npt.NDArray[np.uint8] | None] = (
                self._source.frames(low, high)
                if "overlay" in self._wanted
                else [None] * (high - low)
            )
            for frame, picture in zip(range(low, high), pictures, strict=True):
                labels = self._project.labels(frame)
                outputs.write(frame, labels, picture, float(times[frame]))
                yield frame


def writing_outputs(
    project: Project,
    source: FrameSource,
    span: tuple[int, int],
    folder: Path,
    wanted: Sequence[str],
) -> Generator[Progress]:
    """Write what is asked for of the frames [low, high), and say after each how far it is.

    Where it is closed before its end, nothing that is not whole is left.
    """
    low, high = span
    began = time.monotonic()
    with Writing(project, source, span, folder, wanted) as writing:
        for frame in range(low, high):
            writing.up_to(frame + 1)
            yield Progress("writing", frame - low + 1, high - low, time.monotonic() - began)
    if "table" in wanted:
        write_table(project, folder)


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
        table.write_lines(project.lines())
