"""The whole job: a source and prompts in, a project and its outputs out."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sam2track.asked import (
    check_prompts,
    detection_frames,
    frame_range,
    stems_of,
    with_boxes,
)
from sam2track.detections import Detections, chosen, unpacked
from sam2track.errors import ProjectError, ProjectExistsError, PromptError, UsageError
from sam2track.founding import check_same, project_for, resumed_reading
from sam2track.frames.bounds import rate_of
from sam2track.frames.opening import open_source, reopen_source
from sam2track.frames.source import FrameSource
from sam2track.models.loading import Model, load_model
from sam2track.outputs import (
    USUAL,
    Progress,
    check_apart,
    holds_project,
    wanted_outputs,
    write_outputs,
)
from sam2track.pictures import read_mask
from sam2track.project import Project, WriterLock
from sam2track.prompts import Prompts, load_prompts
from sam2track.tracking.actions import repeat
from sam2track.tracking.tracker import Direction, Tracker

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["Interrupted", "Outcome", "replay", "run", "track"]


@dataclass
class Outcome:
    """What came of a job, as ``--json`` prints it."""

    status: str
    source: str
    model: str
    device: str
    precision: str
    frames: int
    frames_computed: int
    seconds: float
    objects: list[dict[str, Any]]
    counts: dict[str, int]
    outputs: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    version: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        content = asdict(self)
        return {"version": content.pop("version"), **content}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came; what was done is kept.

    Attributes
    ----------
    outcome : Outcome
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def track(
    source: Any,
    prompts: str | os.PathLike[str] | Mapping[str, Any] | Prompts | None = None,
    *,
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | SAM2Base | Model = "auto",
    **options: Any,
) -> Project:
    """Track objects through a video and write what came of it.

    Parameters
    ----------
    source : path, array or FrameSource
        The video.
    prompts : path, dict or Prompts
        What a person says of the objects; may be left out with ``resume``.
    output : path
        Folder for the project and the outputs.
    model : str, path, SAM2Base or Model
        What to track with.
    **options
        device, precision : str
            As ``load_model``.
        image_size : int
            As ``load_model``.
        start, stop : int
            Frames [start, stop) of the source.
        direction : {"both", "forward", "backward"}
            Where to go from the prompts; unlike ``Tracker.propagate``, both by default.
        fps : float
            Frames a second of folders, stacks and arrays, 25 by default; not for videos.
        axes, channel, z, limits, key, stream, hwaccel
            How the source is read, as ``open_source``; what is left out when a project is gone
            on with is as it was.
        write : iterable of {"masks", "mask-video", "label-video", "overlay", "table"}
            What to write beside the project; by default all but ``label-video``.
        table : {"plain", "full"}
            Whether the table has all measurements.
        resume, overwrite : bool
            Go on with the project in the output folder, or replace it.
        progress : callable
            Called with a Progress (stage, done, total, seconds) now and then.
        detections, detections_frame, detections_every, min_score, classes, class_names
            Boxes of a detector, as ``run``.

    Returns
    -------
    Project
        Open for reading.

    Raises
    ------
    Sam2TrackError
        Of the kind that fits.
    """
    outcome = run(source, prompts, output=output, model=model, **options)
    return Project.open(outcome.outputs["project"])


def run(
    source: Any,
    prompts: str | os.PathLike[str] | Mapping[str, Any] | Prompts | None = None,
    *,
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | SAM2Base | Model = "auto",
    device: str = "auto",
    precision: str = "auto",
    image_size: int | None = None,
    start: int | None = None,
    stop: int | None = None,
    direction: Direction = "both",
    fps: float | None = None,
    axes: str | Sequence[str] | None = None,
    channel: Sequence[int | str] | int | str | None = None,
    z: int | Literal["max"] | None = None,
    limits: object = None,
    key: str | None = None,
    stream: int | None = None,
    hwaccel: str | None = None,
    write: Iterable[str] = USUAL,
    table: Literal["plain", "full"] = "plain",
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    detections: Any = None,
    detections_frame: int | None = None,
    detections_every: int | None = None,
    min_score: float | None = None,
    classes: Collection[str] | None = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
) -> Outcome:
    """As ``track``, but return what the command line prints.

    Parameters
    ----------
    start, stop : int, optional
        Frames [start, stop) of the source.
    direction : {"both", "forward", "backward"}
        As ``Tracker.propagate``.
    fps : float, optional
        Frames a second of folders, stacks and arrays, 25 by default; not for videos, which have
        times of their own.
    axes, channel, z, limits, key, stream, hwaccel : optional
        How the source is read, as ``open_source``; what is left out with ``resume`` is as it was.
    write : iterable of str
        Some of ``OUTPUTS``.
    table : {"plain", "full"}
        Whether the table has all measurements (docs/measurements.md).
    resume : bool
        Go on with the project in the output folder.
    overwrite : bool
        Replace it.
    progress : callable, optional
        Called with a Progress now and then.
    detections : path, dict, Detections, supervision.Detections or (N, 4) array, optional
        Boxes of a detector: a file, by frame, or those of one frame. Each is an object named by
        its class.
    detections_frame : int, optional
        The frame whose boxes are taken; the first by default.
    detections_every : int, optional
        Take the boxes of every so many frames, from the first on: one that lies on a tracked
        object refreshes it, any other begins a new one.
    min_score, classes, class_names
        Which boxes are taken, and the names of class numbers.

    Raises
    ------
    Interrupted
        At Ctrl-C, once what was done is safe.
    """
    began = time.monotonic()
    wanted = wanted_outputs(write)
    if resume and overwrite:
        raise UsageError("resume and overwrite exclude each other")
    if table not in ("plain", "full"):
        raise UsageError(f"table {table!r}; allowed are plain and full")
    folder = Path(output)
    reading: dict[str, Any] = {
        "fps": fps,
        "axes": axes,
        "channel": channel,
        "z": z,
        "limits": limits,
        "key": key,
        "stream": stream,
    }
    if resume:
        reading = resumed_reading(folder, source, reading)
    opened = open_source(source, hwaccel=hwaccel, **reading)
    try:
        low, high = frame_range(opened, start, stop)
        said = None if prompts is None else load_prompts(prompts, read_mask=read_mask)
        boxes: dict[int, Detections] | None = None
        if detections is not None:
            if detections_every is not None and direction == "backward":
                raise UsageError("detections of every so many frames are taken forward, or both")
            frames = detection_frames(opened, (low, high), detections_frame, detections_every)
            boxes = chosen(
                detections,
                frames,
                [(opened.height, opened.width)] * len(frames),
                total=len(opened),
                stems=stems_of(opened),
                min_score=min_score,
                classes=classes,
                class_names=class_names,
            )
            if not boxes:
                where = f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} frames"
                raise PromptError(
                    f"there are no detections on {where} that are wanted; name a frame that has "
                    "some (--detections-frame), or take more of them (--min-score, --classes)"
                )
            if detections_every is None:
                said, boxes = with_boxes(said, boxes), None
        elif detections_frame is not None or detections_every is not None:
            raise UsageError("a frame of detections was named, but no detections; give them, too")
        if said is not None:
            check_prompts(said, opened, wanted)
        check_apart(opened, folder)
        exists = holds_project(folder, overwrite)
        if exists and not (resume or overwrite):
            raise ProjectExistsError(
                f"{folder} holds a project already; go on with it (--resume), "
                f"replace it (--overwrite) or give another folder"
            )
        if said is None and boxes is None and not (exists and resume):
            none = f"there is no project in {folder} to go on with; " if resume else ""
            raise PromptError(
                f"{none}nothing to track: give a point, a box, a mask, a prompts file or detections"
            )
        loaded = load_model(model, device=device, precision=precision, image_size=image_size)
        with (
            WriterLock(folder / "project.s2t") as lock,
            project_for(folder, opened, loaded, said, resume, overwrite, lock, boxes) as project,
        ):
            job = _Job(opened, project, loaded, progress, began, full_table=table == "full")
            return job.run(low, high, direction, folder, wanted)
    finally:
        if opened is not source:
            opened.close()


def replay(
    project: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    source: Any = None,
    model: str | os.PathLike[str] | SAM2Base | Model | None = None,
    device: str = "auto",
    write: Iterable[str] = USUAL,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Do again all that a project's journal says, into a new project with equal masks.

    Parameters
    ----------
    project : path
        A project file, or the folder that holds ``project.s2t``.
    output : path
        Folder for the new project and the outputs.
    source : path, array or FrameSource, optional
        Where the pictures are, if no longer where the project says.
    model : str, path, SAM2Base or Model, optional
        The same model, if not to be had under the name that the project says.
    device, write, overwrite, progress
        As ``run``.

    Raises
    ------
    ProjectError
        Where source or model are not those that the project was made with, or the journal
        cannot be followed.
    Interrupted
        At Ctrl-C.
    """
    began = time.monotonic()
    wanted = wanted_outputs(write)
    path, folder = Path(project), Path(output)
    path = path / "project.s2t" if path.is_dir() else path
    with Project.open(path) as old:
        if (folder / "project.s2t").exists() and path.samefile(folder / "project.s2t"):
            raise UsageError(f"{path} would be replaced by its own replay; give another folder")
        meta, times = old.meta, old.times
        if lacking := [
            key for key in ("source", "model", "precision", "image_size") if key not in meta
        ]:
            raise ProjectError(
                f"{path} does not say its {', '.join(lacking)}; it cannot be replayed"
            )
        opened = reopen_source(meta, source, fps=rate_of(times))
        try:
            check_apart(opened, folder)
            if holds_project(folder, overwrite) and not overwrite:
                raise ProjectExistsError(
                    f"{folder} holds a project already; replace it (--overwrite) "
                    f"or give another folder"
                )
            loaded = load_model(
                meta["model"] if model is None else model,
                device=device,
                precision=meta["precision"],
                image_size=meta["image_size"],
            )
            check_same(old, opened, loaded)
            journal = old.journal()
            low, high = _replayed_range(journal, len(opened))
            total = max(1, sum(step.get("done") or 0 for step in journal))
            with (
                WriterLock(folder / "project.s2t") as lock,
                project_for(folder, opened, loaded, None, False, overwrite, lock) as new,
            ):
                job = _Job(opened, new, loaded, progress, began)
                return job.finish(low, high, folder, wanted, lambda: job.repeat(journal, total))
        finally:
            if opened is not source:
                opened.close()


def _replayed_range(journal: list[dict[str, Any]], frames: int) -> tuple[int, int]:
    """The frames that the runs of a journal were asked for, all together."""
    runs = [step for step in journal if step["action"] == "propagate"]
    low = min((step["start"] or 0 for step in runs), default=0)
    high = max((frames if step["stop"] is None else step["stop"] for step in runs), default=frames)
    return low, min(high, frames)


@dataclass
class _Job:
    source: FrameSource
    project: Project
    model: Model
    progress: Callable[[Progress], None] | None
    began: float
    full_table: bool = False
    computed: int = 0
    warnings: list[str] = field(default_factory=list)

    def run(
        self, low: int, high: int, direction: Direction, folder: Path, wanted: list[str]
    ) -> Outcome:
        def work() -> None:
            self._track(low, high, direction)
            self._warn_of_idle(low, high, direction)

        return self.finish(low, high, folder, wanted, work)

    def finish(
        self, low: int, high: int, folder: Path, wanted: list[str], work: Callable[[], None]
    ) -> Outcome:
        """Do the work and write the outputs; what was done before an interruption is kept."""
        outputs = {"project": str(folder / "project.s2t")}
        try:
            work()
            self.project.set_meta(carried=sorted(getattr(self.source, "carried", ())))
            outputs |= write_outputs(
                self.project,
                self.source,
                (low, high),
                folder,
                wanted,
                self.progress,
                full=self.full_table,
            )
        except KeyboardInterrupt as error:
            raise Interrupted(self._outcome("interrupted", high - low, outputs)) from error
        return self._outcome("done", high - low, outputs)

    def repeat(self, journal: list[dict[str, Any]], total: int) -> None:
        """Do what a journal says."""
        tracker = Tracker(self.model, self.source, history=self.project)
        began = time.monotonic()
        for result in repeat(tracker, journal):
            if result is not None:
                self.computed += 1
                self._report("tracking", self.computed, max(total, self.computed), began)

    def _track(self, low: int, high: int, direction: Direction) -> None:
        tracker = Tracker(self.model, self.source, history=self.project)
        began = time.monotonic()
        stored = self.project.meta.get("detections")
        # Also where a run goes on: boxes that were taken already change nothing.
        for frame, boxes in sorted(unpacked(stored["frames"] if stored else {}).items()):
            if low <= frame < high:
                if tracker.object_ids:
                    self._go(tracker, low, frame + 1, "forward", high - low, began)
                tracker.detect(frame, boxes)
        total = self.computed + _frames_to_run(tracker, low, high, direction)
        self._go(tracker, low, high, direction, total, began)

    def _go(
        self,
        tracker: Tracker,
        low: int,
        high: int,
        direction: Direction,
        total: int,
        began: float,
    ) -> None:
        # Closed at once at an interruption, so that it is kept where tracking stands.
        with closing(tracker.propagate(low, high, direction, unfinished=True)) as results:
            for _ in results:
                self.computed += 1
                self._report("tracking", self.computed, max(total, self.computed), began)

    def _warn_of_idle(self, low: int, high: int, direction: Direction) -> None:
        """Say which objects have no result in the range, and why that may be."""
        for row in self.project.summary():
            first, last = row["first"], row["last"]
            if first is None or last < low or first >= high:
                self.warnings.append(
                    f"object {row['id']} has no frame in [{low}, {high}) going {direction}; "
                    f"prompt it there or take another direction"
                )

    def _report(self, stage: str, done: int, total: int, began: float) -> None:
        if self.progress is not None:
            self.progress(Progress(stage, done, total, time.monotonic() - began))

    def _outcome(self, status: str, frames: int, outputs: dict[str, str]) -> Outcome:
        objects = self.project.summary()
        return Outcome(
            status=status,
            source=self.source.name,
            model=self.model.name,
            device=str(self.model.device),
            precision=self.model.precision,
            frames=frames,
            frames_computed=self.computed,
            seconds=round(time.monotonic() - self.began, 3),
            objects=objects,
            counts=dict(Counter(row["name"] or "" for row in objects)),
            outputs=outputs,
            warnings=[*self.source.warnings, *self.warnings],
        )


def _frames_to_run(tracker: Tracker, low: int, high: int, direction: Direction) -> int:
    """How many frames a fresh run of a range yields, for the progress bar."""
    firsts, lasts = [], []
    for first, last in tracker.spans().values():
        firsts.append(first)
        lasts.append(last)
    forward = max(0, high - max(low, min(firsts)))
    if direction == "forward":
        return forward
    if direction == "backward":
        return max(0, min(high, max(lasts) + 1) - low)
    return forward + max(0, min(high, max(firsts)) - low)
