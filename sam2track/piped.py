"""The job on a pipe: frames are tracked, kept and written as they come, and are gone then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2track.asked import check_prompts
from sam2track.errors import OutputError, ProjectExistsError, PromptError, UsageError
from sam2track.founding import model_meta
from sam2track.frames.pipe import PipeVideo
from sam2track.frames.source import Frame
from sam2track.models.loading import load_model
from sam2track.models.model import Model
from sam2track.outcome import CutShort, Interrupted, Outcome
from sam2track.outputs import (
    Progress,
    check_apart,
    holds_project,
    paths_of,
    remove_outputs,
)
from sam2track.pictures import read_mask
from sam2track.project import Project, WriterLock
from sam2track.prompt_files import load_prompts
from sam2track.prompts import Prompt, Prompts
from sam2track.sparing import a_core_spared
from sam2track.tracking.tracker import Tracker
from sam2track.writing import PictureOutputs, write_table

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["is_pipe", "refuse_of_pipe", "run_pipe"]

_WAIT = 60.0  # seconds
_NOT = {
    "resume": "frames that went by are gone, so that nothing can be gone on with",
    "direction": "frames come once, so that it is tracked forward",
    "detections": "boxes by frame want a video file",
    "detections_frame": "boxes by frame want a video file",
    "detections_every": "boxes by frame want a video file",
}


def is_pipe(source: object) -> bool:
    """Whether a source is read as it comes: "-", or an open file."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source) == "-"
    return hasattr(source, "fileno") and hasattr(source, "read")


def refuse_of_pipe(asked: Mapping[str, Any]) -> None:
    """UsageError where something is asked of a pipe that it cannot do."""
    for name, value in asked.items():
        if value is None or value is False or name == "stream":
            continue
        if name == "direction" and value == "forward":
            continue
        why = _NOT.get(name, "it is for other sources")
        shown = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        option = f"--{name.replace('_', '-')}" + ("" if value is True else f" {shown}")
        raise UsageError(f"{option} cannot be with a pipe: {why}; leave it out, or name a file")


def run_pipe(
    source: Any,
    prompts: str | os.PathLike[str] | Mapping[str, Any] | Prompts | None,
    *,
    folder: Path,
    model: str | os.PathLike[str] | SAM2Base | Model,
    device: str,
    precision: str,
    image_size: int | None,
    span: tuple[int | None, int | None],
    stream: int | None,
    hwaccel: str | None,
    wanted: Collection[str],
    full_table: bool,
    overwrite: bool,
    progress: Callable[[Progress], None] | None,
    timeout: float | None,
) -> Outcome:
    """As ``job.run``, of a video that comes through a pipe.

    Raises
    ------
    CutShort
        Where the pipe stalled or broke, once what came is kept and written.
    Interrupted
        At Ctrl-C, as well.
    """
    began = time.monotonic()
    low, high = span[0] or 0, span[1]
    if high is not None and high <= low:
        raise UsageError(f"range [{low}, {high}) is empty; stop lies behind start")
    if prompts is None:
        raise PromptError("nothing to track: give a point, a box, a mask or a prompts file")
    said = load_prompts(prompts, read_mask=read_mask)
    _refuse_project(folder, overwrite)
    pipe = PipeVideo(
        sys.stdin if isinstance(source, str | os.PathLike) else source,
        timeout=_WAIT if timeout is None else timeout,
        stream=stream,
        hwaccel=hwaccel,
    )
    with closing(pipe):
        check_apart(pipe.name, folder)
        check_prompts(said, pipe, list(wanted), None)
        loaded = load_model(model, device=device, precision=precision, image_size=image_size)
        path = folder / "project.s2t"
        meta = {
            "source": pipe.name,
            "fingerprint": "pipe",
            "height": pipe.height,
            "width": pipe.width,
            "frames": 0,
        } | model_meta(loaded)
        with WriterLock(path) as lock:
            _refuse_project(folder, overwrite)  # another job may have made one meanwhile
            try:
                remove_outputs(folder)
            except OSError as error:
                raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
            with Project.create(path, meta=meta, times=np.zeros(0), lock=lock) as project:
                job = _Job(project, loaded, said, pipe, low, high, progress, began)
                with a_core_spared(loaded):
                    return job.run(folder, wanted, full_table=full_table)


def _refuse_project(folder: Path, overwrite: bool) -> None:
    if holds_project(folder, overwrite) and not overwrite:
        raise ProjectExistsError(
            f"{folder} holds a project already; replace it (--overwrite) or give another folder"
        )


@dataclass
class _Job:
    project: Project
    model: Model
    said: Prompts
    pipe: PipeVideo
    low: int
    high: int | None
    progress: Callable[[Progress], None] | None
    began: float
    count: int = 0
    latest: tuple[int, float, Frame] | None = None
    due: dict[int, list[tuple[int, Prompt]]] = field(default_factory=dict)

    def run(self, folder: Path, wanted: Collection[str], *, full_table: bool) -> Outcome:
        for object_id, frame, prompt in self.said:
            self.due.setdefault(frame, []).append((object_id, prompt))
        interrupted = False
        with PictureOutputs(
            folder,
            [name for name in wanted if name != "table"],
            height=self.pipe.height,
            width=self.pipe.width,
            bits=16 if max(self.said.by_object) > 255 else 8,
            names=self.said.names,
        ) as pictures:
            try:
                for _ in self._tracked():
                    self._write_latest(pictures)
            except KeyboardInterrupt:
                interrupted = True
                # It may have come once a frame was kept, and before it was written.
                self.count = int(self.project.meta["frames"])
                self._write_latest(pictures)
            self._settle()
        if "table" in wanted:
            write_table(self.project, folder, full=full_table)
        early = self.count <= self.low  # there are no pictures
        outputs = {"project": str(folder / "project.s2t")}
        outputs |= paths_of(folder, [name for name in wanted if name == "table" or not early])
        if interrupted:
            raise Interrupted(self._outcome("interrupted", outputs))
        problem = self.pipe.problem
        if early and not problem:
            problem = f"{self.pipe.name} ended before frame {self.low}, where outputs begin"
        if problem:
            why = f"{problem}; the {self.count} frames that came are kept in {folder}"
            raise CutShort(why, self._outcome("cut short", outputs))
        return self._outcome("done", outputs)

    def _write_latest(self, pictures: PictureOutputs) -> None:
        """Write the latest frame, if it was kept and is wanted."""
        if self.latest is not None:
            frame, seconds, picture = self.latest
            if self.low <= frame < self.count:
                pictures.write(frame, self.project.labels(frame), picture, seconds)

    def _tracked(self) -> Iterator[None]:
        """Yield once the latest frame is tracked and kept."""
        # A budget of none holds the latest frame's features: no other can be asked for.
        tracker = Tracker(self.model, history=self.project, features_budget=0)
        for frame, (seconds, picture) in enumerate(self.pipe.frames()):
            self.latest = frame, seconds, picture
            with self.project.transaction():
                self.project.add_frame(frame, seconds)
                tracker.update(picture)
                for object_id, prompt in self.due.pop(frame, ()):
                    name = self.said.names.get(object_id, "")
                    tracker.add(object_id, frame, prompt, name=name, alone=True)
            self.count = frame + 1
            yield
            self._report()
            if self.count == self.high:  # what comes after it is not waited for
                return

    def _settle(self) -> None:
        """Note that nothing is left to be run."""
        with self.project.transaction():
            for life in self.project.lives():
                self.project.keep_life(replace(life, forward=None, backward=None))

    def _report(self) -> None:
        if self.progress is not None:
            total = 0 if self.high is None else max(self.high, self.count)
            seconds = time.monotonic() - self.began
            self.progress(Progress("tracking", self.count, total, seconds))

    def _outcome(self, status: str, outputs: dict[str, str]) -> Outcome:
        late = [
            f"object {object_id} is prompted on frame {frame}, which did not come"
            for frame, prompts in sorted(self.due.items())
            for object_id, _ in prompts
        ]
        return Outcome.of(
            status,
            self.project,
            self.model,
            source=self.pipe.name,
            frames=max(0, self.count - self.low),
            computed=self.count,
            seconds=time.monotonic() - self.began,
            outputs=outputs,
            warnings=[*self.pipe.warnings, *late],
        )
