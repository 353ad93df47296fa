"""The whole job: a source and prompts in, a project and its outputs out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sam2track.arguments import DIRECTIONS, Direction, check_choice, check_flag, check_path
from sam2track.asked import (
    check_ids,
    check_prompts,
    check_together,
    detection_frames,
    with_boxes,
)
from sam2track.detections import Detections, chosen
from sam2track.errors import ProjectExistsError, PromptError, UsageError
from sam2track.founding import other_names, project_for, resumed_precision, resumed_reading
from sam2track.frames.bounds import asked_span
from sam2track.frames.opening import open_source
from sam2track.frames.source import stems_of
from sam2track.models.loading import load_model
from sam2track.models.model import Model
from sam2track.outcome import Outcome
from sam2track.outputs import (
    USUAL,
    Progress,
    check_apart,
    holds_project,
    wanted_outputs,
)
from sam2track.pictures import read_mask
from sam2track.piped import is_pipe, refuse_of_pipe, run_pipe
from sam2track.project import Project, WriterLock
from sam2track.prompt_files import load_prompts
from sam2track.prompts import Prompts
from sam2track.segmented import holds_masks, segmented
from sam2track.work import Work

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["run", "track"]


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
    source : path, array, FrameSource or open file
        The video. "-" is a pipe, standard input; so is anything with ``fileno`` and ``read``, such
        as the ``stdout`` of a process: it is read once, forward (docs/batch.md).
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
        axes, channel, z, limits, key, stream, hwaccel, crop
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
            What a detector or a segmenter found, as ``run``.

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
    direction: Direction | None = None,
    fps: float | None = None,
    axes: str | Sequence[str] | None = None,
    channel: Sequence[int | str] | int | str | None = None,
    z: int | Literal["max"] | None = None,
    limits: object = None,
    key: int | str | None = None,
    stream: int | None = None,
    hwaccel: str | None = None,
    crop: Sequence[int] | None = None,
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
    timeout: float | None = None,
) -> Outcome:
    """As ``track``, but return what the command line prints.

    Parameters
    ----------
    start, stop : int, optional
        Frames [start, stop) of the source.
    direction : {"both", "forward", "backward"}, optional
        As ``Tracker.propagate``; both by default, of a pipe forward.
    fps : float, optional
        Frames a second of folders, stacks and arrays, 25 by default; not for videos, which have
        times of their own.
    axes, channel, z, limits, key, stream, hwaccel, crop : optional
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
        What a detector or segmenter found: a file of boxes, or label maps in any format that
        ``import`` reads; by frame; or of one frame. Each is an object named by its class.
    detections_frame : int, optional
        The frame whose detections are taken; the first by default.
    detections_every : int, optional
        Take those of every so many frames, from the first on: one that lies on a tracked object
        refreshes it, any other begins a new one, as ``Tracker.detect``.
    min_score, classes, class_names
        Which boxes are taken, and the names of class numbers.
    timeout : float, optional
        Seconds without a byte after which a pipe counts as stalled, 60 by default.

    Raises
    ------
    Interrupted
        At Ctrl-C, once what was done is safe.
    CutShort
        Where a pipe stalled or broke, once what came is safe.
    """
    began = time.monotonic()
    wanted = wanted_outputs(write)
    resume, overwrite = check_flag("resume", resume), check_flag("overwrite", overwrite)
    if resume and overwrite:
        raise UsageError("resume and overwrite exclude each other")
    check_together(
        start=start,
        stop=stop,
        direction=direction,
        write=wanted,
        table=table,
        detections=detections,
        detections_frame=detections_frame,
        detections_every=detections_every,
        min_score=min_score,
        classes=classes,
        class_names=class_names,
    )
    folder = check_path("output", output)
    if folder.suffix == ".s2t" and folder.is_file():
        raise UsageError(
            f"{folder} is a project, not a folder for outputs; move it to FOLDER/project.s2t and "
            "give FOLDER (-o FOLDER --resume)"
        )
    reading: dict[str, Any] = {
        "fps": fps,
        "axes": axes,
        "channel": channel,
        "z": z,
        "limits": limits,
        "key": key,
        "stream": stream,
        "crop": crop,
    }
    if is_pipe(source):
        refuse_of_pipe(
            reading
            | {"resume": resume, "direction": direction, "detections": detections}
            | {"detections_frame": detections_frame, "detections_every": detections_every}
        )
        return run_pipe(
            source,
            prompts,
            folder=folder,
            model=model,
            device=device,
            precision=precision,
            image_size=image_size,
            span=(start, stop),
            stream=stream,
            hwaccel=hwaccel,
            wanted=wanted,
            full_table=table == "full",
            overwrite=overwrite,
            progress=progress,
            timeout=timeout,
        )
    if timeout is not None:
        raise UsageError(f"a time-out of {timeout!r:.60} s is for a pipe (-); leave it out")
    direction = "both" if direction is None else direction
    check_choice("direction", direction, DIRECTIONS)
    if resume:
        reading = resumed_reading(folder, source, reading)
        if not isinstance(model, Model):  # which has a precision of its own
            precision = resumed_precision(folder, precision)
    opened = open_source(source, hwaccel=hwaccel, **reading)
    try:
        low, high, past = asked_span(opened.name, start, stop, len(opened))
        said = None if prompts is None else load_prompts(prompts, read_mask=read_mask)
        boxes: dict[int, Detections] | None = None
        odd: list[str] = []
        if detections is not None:
            frames = detection_frames(opened, (low, high), detections_frame, detections_every)
            if holds_masks(detections):
                if min_score is not None or class_names is not None:
                    raise UsageError(
                        "label maps have no scores and no numbers of classes; leave min_score "
                        "(--min-score) and class_names (--class-names) out"
                    )
                detections, odd = segmented(detections, frames, opened)
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
        if said is not None and (said.by_object or boxes is None):
            check_prompts(said, opened, wanted, len(opened))
        check_apart(opened.name, folder)
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
            check_ids(project.objects, wanted)  # an earlier run may have written other things
            job = Work(
                opened,
                project,
                loaded,
                progress,
                began,
                full_table=table == "full",
                warnings=[
                    *(*past, *odd),
                    *filter(None, [project.warning]),
                    *other_names(project, said),
                ],
            )
            return job.run(low, high, direction, folder, wanted)
    finally:
        if opened is not source:
            opened.close()
