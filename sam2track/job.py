"""The whole job: a source and prompts in, a project and its outputs out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2track.errors import OutputError, ProjectError, ProjectExistsError, PromptError, UsageError
from sam2track.frames.opening import open_source
from sam2track.frames.source import FrameSource
from sam2track.models.loading import Model, load_model
from sam2track.outputs import (
    USUAL,
    Progress,
    check_apart,
    holds_project,
    remove_outputs,
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

__all__ = ["Interrupted", "Outcome", "open_project", "replay", "run", "track"]


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
            Frames a second of folders and arrays, 25 by default.
        write : iterable of {"masks", "mask-video", "label-video", "overlay", "table"}
            What to write beside the project; by default all but ``label-video``.
        resume, overwrite : bool
            Go on with the project in the output folder, or replace it.
        progress : callable
            Called with a Progress (stage, done, total, seconds) now and then.

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
    fps: float = 25.0,
    write: Iterable[str] = USUAL,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """As ``track``, but return what the command line prints.

    Parameters
    ----------
    start, stop : int, optional
        Frames [start, stop) of the source.
    direction : {"both", "forward", "backward"}
        As ``Tracker.propagate``.
    fps : float
        Frames a second of folders and arrays.
    write : iterable of str
        Some of ``OUTPUTS``.
    resume : bool
        Go on with the project in the output folder.
    overwrite : bool
        Replace it.
    progress : callable, optional
        Called with a Progress now and then.

    Raises
    ------
    Interrupted
        At Ctrl-C, once what was done is safe.
    """
    began = time.monotonic()
    wanted = wanted_outputs(write)
    if resume and overwrite:
        raise UsageError("resume and overwrite exclude each other")
    opened = open_source(source, fps=fps)
    try:
        low, high = _range(opened, start, stop)
        said = None if prompts is None else load_prompts(prompts, read_mask=read_mask)
        if said is not None:
            _check_prompts(said, opened, wanted)
        folder = Path(output)
        check_apart(opened, folder)
        exists = holds_project(folder, overwrite)
        if exists and not (resume or overwrite):
            raise ProjectExistsError(
                f"{folder} holds a project already; go on with it (--resume), "
                f"replace it (--overwrite) or give another folder"
            )
        if said is None and not (exists and resume):
            none = f"there is no project in {folder} to go on with; " if resume else ""
            raise PromptError(
                f"{none}nothing to track: give a point, a box, a mask or a prompts file"
            )
        loaded = load_model(model, device=device, precision=precision, image_size=image_size)
        with (
            WriterLock(folder / "project.s2t") as lock,
            _project(folder, opened, loaded, said, resume, overwrite, lock) as project,
        ):
            job = _Job(opened, project, loaded, progress, began)
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
        span = float(times[-1] - times[0])
        fps = (len(times) - 1) / span if span > 0 else 25.0
        opened = open_source(meta["source"] if source is None else source, fps=fps)
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
            _check_same(old, opened, loaded)
            journal = old.journal()
            low, high = _replayed_range(journal, len(opened))
            total = max(1, sum(step.get("done") or 0 for step in journal))
            with (
                WriterLock(folder / "project.s2t") as lock,
                _project(folder, opened, loaded, None, False, overwrite, lock) as new,
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


def _range(source: FrameSource, start: int | None, stop: int | None) -> tuple[int, int]:
    count = len(source)
    low, high = start or 0, count if stop is None else min(stop, count)
    if low < 0 or low >= count:
        raise UsageError(f"start {low}; {source.name} has frames 0 to {count - 1}")
    if high <= low:
        raise UsageError(f"range [{low}, {stop}) is empty; stop lies behind start")
    return low, high


def _check_prompts(prompts: Prompts, source: FrameSource, wanted: list[str]) -> None:
    if not prompts.by_object:
        raise PromptError("nothing to track: there is no prompt")
    largest = max(prompts.by_object)
    if "masks" in wanted and largest > 65535:
        raise PromptError(
            f"object {largest} does not fit the 16 bits of the mask pictures; "
            f"take ids up to 65535, or write without masks"
        )
    for object_id, frame, prompt in prompts:
        if frame >= len(source):
            raise PromptError(
                f"object {object_id} is prompted on frame {frame}, which does not exist; "
                f"{source.name} has frames 0 to {len(source) - 1}"
            )
        try:
            prompt.check(source.height, source.width)
        except PromptError as error:
            raise PromptError(f"object {object_id}, frame {frame}: {error}") from error
    for object_id, frames in prompts.by_object.items():
        if not frames:
            raise PromptError(f"object {object_id} has no prompt; say where it is")
        if all(prompt.absent for prompt in frames.values()):
            raise PromptError(
                f"object {object_id} is absent wherever it is prompted; say where it is"
            )


def _project(
    folder: Path,
    source: FrameSource,
    model: Model,
    prompts: Prompts | None,
    resume: bool,
    overwrite: bool,
    lock: WriterLock,
) -> Project:
    path = folder / "project.s2t"
    # Asked again: another job may have made one while the model was loaded.
    if holds_project(folder, overwrite) and not overwrite:
        if not resume:
            raise ProjectExistsError(f"{folder} holds a project that another job made just now")
        project = Project.open(path, writable=True, lock=lock)
        if project.position or prompts is None:
            return _resumed(project, source, model, prompts)
        project.close()  # a job was killed before it had stored the prompts
    try:
        remove_outputs(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    project = Project.create(path, meta=_meta(source, model), times=source.times, lock=lock)
    try:
        with project.transaction():  # all of them or none
            for object_id, frame, prompt in prompts or ():
                name = prompts.names.get(object_id, "") if prompts else ""
                project.add_prompt(object_id, frame, prompt, name=name)
    except BaseException:
        # Nothing is computed yet, and with some of the prompts it could not be gone on with.
        project.close()
        path.unlink(missing_ok=True)
        raise
    return project


def open_project(
    path: str | os.PathLike[str], source: FrameSource, model: Model, **settings: Any
) -> Project:
    """Go on with the project at a path, or make a new one there; open for writing.

    Parameters
    ----------
    path : path
    source : FrameSource
    model : Model
    **settings
        JSON values that a new project holds beside what a job needs.

    Raises
    ------
    ProjectError
        Where source or model are not those that the project was made with, or it is in use.
    """
    path = Path(path)
    if path.exists():
        return _resumed(Project.open(path, writable=True), source, model, None)
    return Project.create(path, meta=_meta(source, model) | settings, times=source.times)


def _meta(source: FrameSource, model: Model) -> dict[str, Any]:
    return {
        "source": source.name,
        "fingerprint": source.fingerprint(),
        "height": source.height,
        "width": source.width,
        "frames": len(source),
        "model": model.name,
        "weights": model.fingerprint(),
        "device": str(model.device),
        "precision": model.precision,
        "image_size": model.image_size,
    }


def _resumed(
    project: Project, source: FrameSource, model: Model, prompts: Prompts | None
) -> Project:
    path = project.path
    try:
        if prompts is not None:
            difference = project.prompts.difference(prompts)
            if difference:
                raise UsageError(
                    f"{path} was made with other prompts: {difference}; "
                    f"leave the prompts out to go on with the stored ones"
                )
        _check_same(project, source, model)
    except BaseException:
        project.close()
        raise
    return project


def _check_same(project: Project, source: FrameSource, model: Model) -> None:
    """Refuse another source, model or precision than those that a project was made with."""
    for key, value in _meta(source, model).items():
        if key == "fingerprint" and project.meta.get(key) != value:
            raise ProjectError(
                f"{project.path} was made from other pictures than {source.name} holds now; "
                f"give what it was made from, or another output folder"
            )
        if key not in ("source", "device") and project.meta.get(key) != value:
            raise ProjectError(
                f"{project.path} was made with {key} {project.meta.get(key)!r}, now it is {value!r}"
            )


@dataclass
class _Job:
    source: FrameSource
    project: Project
    model: Model
    progress: Callable[[Progress], None] | None
    began: float
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
                self.project, self.source, (low, high), folder, wanted, self.progress
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
        total = _frames_to_run(tracker, low, high, direction)
        began = time.monotonic()
        # Closed at once at an interruption, so that it is kept where tracking stands.
        with closing(tracker.propagate(low, high, direction, unfinished=True)) as results:
            for done, _ in enumerate(results, start=1):
                self.computed = done
                self._report("tracking", done, max(total, done), began)

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
        return Outcome(
            status=status,
            source=self.source.name,
            model=self.model.name,
            device=str(self.model.device),
            precision=self.model.precision,
            frames=frames,
            frames_computed=self.computed,
            seconds=round(time.monotonic() - self.began, 3),
            objects=self.project.summary(),
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
