"""The whole job: a source and prompts in, a project and its outputs out."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sam2track.errors import OutputError, ProjectError, ProjectExistsError, PromptError, UsageError
from sam2track.export.pngs import MaskSequence
from sam2track.export.videos import VideoWriter
from sam2track.frames.opening import open_source
from sam2track.frames.source import FrameSource
from sam2track.models.loading import Model, load_model
from sam2track.project import Project, WriterLock
from sam2track.prompts import Prompts, load_prompts
from sam2track.render import colour_map, overlay
from sam2track.table import TableWriter
from sam2track.tracking.tracker import Direction, Tracker

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = [
    "OUTPUTS",
    "Interrupted",
    "Outcome",
    "Progress",
    "read_labels",
    "read_mask",
    "run",
    "track",
]

_log = logging.getLogger(__name__)

# What can be written, and under which name in the output folder.
OUTPUTS = {
    "masks": "masks",
    "mask-video": "masks.mp4",
    "overlay": "overlay.mp4",
    "table": "tracks.csv",
}


@dataclass(frozen=True)
class Progress:
    """How far a job is: ``done`` of ``total`` frames of a stage, and seconds it took so far."""

    stage: str
    done: int
    total: int
    seconds: float


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
        write : iterable of {"masks", "mask-video", "overlay", "table"}
            What to write beside the project; all by default.
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
    write: Iterable[str] = tuple(OUTPUTS),
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
    wanted = _wanted(write)
    if resume and overwrite:
        raise UsageError("resume and overwrite exclude each other")
    opened = open_source(source, fps=fps)
    try:
        low, high = _range(opened, start, stop)
        said = None if prompts is None else load_prompts(prompts, read_mask=read_mask)
        if said is not None:
            _check_prompts(said, opened, wanted)
        folder = Path(output)
        _check_apart(opened, folder)
        exists = _exists(folder, overwrite)
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


def _wanted(write: Iterable[str]) -> list[str]:
    wanted = [write] if isinstance(write, str) else list(write)
    for name in wanted:
        if name not in OUTPUTS:
            raise UsageError(f"cannot write {name!r}; allowed are {', '.join(OUTPUTS)}")
    return [name for name in OUTPUTS if name in wanted]


def _exists(folder: Path, overwrite: bool) -> bool:
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


def _check_apart(source: FrameSource, folder: Path) -> None:
    """Refuse to write over what is read."""
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
    if _exists(folder, overwrite) and not overwrite:
        if resume:
            return _resumed(path, source, model, prompts, lock)
        raise ProjectExistsError(f"{folder} holds a project that another job made just now")
    try:
        _remove_outputs(folder)
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
    path: Path, source: FrameSource, model: Model, prompts: Prompts | None, lock: WriterLock
) -> Project:
    project = Project.open(path, writable=True, lock=lock)
    try:
        if prompts is not None:
            difference = project.prompts.difference(prompts)
            if difference:
                raise UsageError(
                    f"{path} was made with other prompts: {difference}; "
                    f"leave the prompts out to go on with the stored ones"
                )
        for key, value in _meta(source, model).items():
            if key == "fingerprint" and project.meta.get(key) != value:
                raise ProjectError(
                    f"{path} was made from other pictures than {source.name} holds now; "
                    f"give what it was made from, or another output folder"
                )
            if key not in ("source", "device") and project.meta.get(key) != value:
                raise ProjectError(
                    f"{path} was made with {key} {project.meta.get(key)!r}, now it is {value!r}"
                )
    except BaseException:
        project.close()
        raise
    return project


def _remove_outputs(folder: Path) -> None:
    """Remove what an earlier job wrote, and nothing else."""
    if not (folder / "project.s2t").exists():
        return
    for name in ("project.s2t", "project.s2t-wal", "project.s2t-shm", *OUTPUTS.values()):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            for picture in path.glob("[0-9]*.png"):
                if picture.stem.isdecimal() and len(picture.stem) >= 5:
                    picture.unlink()
            if not any(path.iterdir()):
                shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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
        try:
            tracker = Tracker(self.model, self.source, history=self.project)
            self._track(tracker, low, high, direction)
            self._warn_of_idle(low, high, direction)
            self.project.set_meta(carried=sorted(getattr(self.source, "carried", ())))
            outputs = {"project": str(folder / "project.s2t")}
            self._write(low, high, folder, wanted)
            outputs |= {name: str(folder / OUTPUTS[name]) for name in wanted}
        except KeyboardInterrupt as error:
            outputs = {"project": str(folder / "project.s2t")}
            raise Interrupted(self._outcome("interrupted", high - low, outputs)) from error
        return self._outcome("done", high - low, outputs)

    def _track(self, tracker: Tracker, low: int, high: int, direction: Direction) -> None:
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

    def _write(self, low: int, high: int, folder: Path, wanted: list[str]) -> None:
        project, source = self.project, self.source
        pictures = [name for name in wanted if name != "table"]
        began = time.monotonic()
        if pictures:
            bits: Literal[8, 16] = 16 if max(project.objects) > 255 else 8
            paths = {name: folder / OUTPUTS[name] for name in wanted}
            sequence = MaskSequence(paths["masks"], bits=bits) if "masks" in wanted else None
            videos = {
                name: VideoWriter(paths[name], height=source.height, width=source.width)
                for name in ("mask-video", "overlay")
                if name in wanted
            }
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
                    if picture is not None:
                        videos["overlay"].write(overlay(picture, labels, names=names), seconds)
                    self._report("writing", frame - low + 1, high - low, began)
                for video in videos.values():
                    video.close()
            except BaseException:
                for video in videos.values():
                    video.abort()
                raise
        if "table" in wanted:
            with TableWriter(folder / OUTPUTS["table"]) as table:
                for row in project.rows():
                    table.write(row)

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


def read_labels(path: str | os.PathLike[str]) -> npt.NDArray[np.int64]:
    """Read a label image, (H, W): palette PNGs as indices, grey pictures as their values.

    Raises
    ------
    PromptError
        Where it cannot be read as a picture, or has colours in place of labels.
    """
    pixels = _pixels(path)
    if pixels.ndim != 2:
        raise PromptError(f"{path} is a colour picture; give a palette or grey image of labels")
    if pixels.dtype.kind == "f":
        raise PromptError(f"{path} holds fractions; give a picture of whole numbers")
    return pixels.astype(np.int64)


def read_mask(path: str | os.PathLike[str]) -> npt.NDArray[np.bool_]:
    """Read a mask file, (H, W) bool: nonzero is the object; palette PNGs are read as indices.

    Raises
    ------
    PromptError
        Where it cannot be read as a picture.
    """
    pixels = _pixels(path)
    if pixels.ndim == 2:
        return np.asarray(pixels != 0, np.bool_)
    # Of colour and opacity only colour counts.
    return np.asarray(pixels[..., : 3 if pixels.shape[2] > 2 else 1].any(axis=2))


def _pixels(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except (
        OSError,
        SyntaxError,  # what Pillow raises on damaged chunks
        ValueError,  # a null character in the path; sizes that cannot be
        EOFError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
    ) as error:
        why = getattr(error, "strerror", None) or "it is no picture that can be read"
        raise PromptError(f"mask {path} cannot be read: {why}") from error
