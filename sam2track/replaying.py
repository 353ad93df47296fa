"""Doing again what a project's journal says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2track.arguments import check_flag, check_path
from sam2track.asked import check_ids
from sam2track.errors import ProjectError, ProjectExistsError, SourceError, UsageError
from sam2track.founding import check_same, project_for
from sam2track.frames.bounds import rate_of
from sam2track.frames.opening import reopen_source
from sam2track.models.loading import load_model, stored_model
from sam2track.models.model import Model
from sam2track.outcome import Outcome
from sam2track.outputs import USUAL, Progress, check_apart, holds_project, wanted_outputs
from sam2track.project import Project, WriterLock
from sam2track.work import Work

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["replay"]


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

    Where masks are others all the same, a warning of the outcome says so.

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
    folder, overwrite = check_path("output", output), check_flag("overwrite", overwrite)
    with Project.open(project) as old:
        path = old.path
        if (folder / "project.s2t").exists() and path.samefile(folder / "project.s2t"):
            raise UsageError(f"{path} would be replaced by its own replay; give another folder")
        meta, times = old.meta, old.times
        if lacking := [
            key for key in ("source", "model", "precision", "image_size") if key not in meta
        ]:
            raise ProjectError(
                f"{path} does not say its {', '.join(lacking)}; it cannot be replayed"
            )
        try:
            opened = reopen_source(meta, source, fps=rate_of(times), folder=old.folder)
        except SourceError as error:
            if source is not None or "--source" in str(error):
                raise
            raise SourceError(f"{error}; say where the pictures are (--source)") from error
        try:
            check_apart(opened.name, folder)
            check_ids(old.objects, wanted)
            if holds_project(folder, overwrite) and not overwrite:
                raise ProjectExistsError(
                    f"{folder} holds a project already; replace it (--overwrite) "
                    f"or give another folder"
                )
            settings = {key: meta[key] for key in ("precision", "image_size")}
            if isinstance(model, Model):  # which has its own; whether they are these is asked below
                settings = {}
            named = stored_model(meta["model"]) if model is None else model
            loaded = load_model(named, device=device, **settings)
            check_same(old, opened, loaded)
            journal = old.journal()
            if not journal:
                raise ProjectError(f"{path} has no journal; it cannot be replayed")
            if any(step["action"] == "import" for step in journal):
                raise ProjectError(
                    f"{path} was made of masks of another tool, which its journal does not hold; "
                    "it cannot be replayed: import them again, or keep this project"
                )
            low, high = _replayed_range(journal, len(opened))
            total = max(1, sum(step.get("done") or 0 for step in journal))
            with (
                WriterLock(folder / "project.s2t") as lock,
                project_for(folder, opened, loaded, None, False, overwrite, lock) as new,
            ):
                job = Work(opened, new, loaded, progress, began)

                def work(_: object) -> None:
                    job.repeat(journal, total)
                    job.warnings += _other_masks(old, new)

                return job.finish(low, high, folder, wanted, work)
        finally:
            if opened is not source:
                opened.close()


def _replayed_range(journal: list[dict[str, Any]], frames: int) -> tuple[int, int]:
    """The frames that the runs of a journal were asked for, all together."""
    runs = [step for step in journal if step["action"] == "propagate"]
    low = min((step.get("start") or 0 for step in runs), default=0)
    stops = [step.get("stop") for step in runs]
    high = max((frames if stop is None else stop for stop in stops), default=frames)
    return low, min(high, frames)


def _other_masks(old: Project, new: Project) -> list[str]:
    """A warning where masks are not those of the old project, as far as these can be read."""
    others: list[tuple[int, int]] = []
    with suppress(ProjectError):
        # Prompts that no model had answered there have their masks here alone.
        waiting = {(asked.frame, asked.object_id) for asked in old.unanswered() if asked.holds}
        for frame in sorted({*old.frames, *new.frames}):
            before, after = old.packed_masks(frame), new.packed_masks(frame)
            for object_id in sorted({*before, *after}):
                if before.get(object_id) == after.get(object_id):
                    continue
                if (frame, object_id) in waiting:
                    continue
                with suppress(ProjectError):  # damaged: then it is meant to be another
                    if object_id in before and object_id in after:
                        was, now = (p.mask_makers(frame)[object_id]() for p in (old, new))
                        if np.array_equal(was, now):  # packed in another way
                            continue
                    others.append((frame, object_id))
    if not others:
        return []
    frame, object_id = others[0]
    return [
        f"{len(others)} mask{'s are others' if len(others) > 1 else ' is another'} than in "
        f"{old.path}, from object {object_id} on frame {frame} on: the journal does not know what "
        "a process that was killed had run since it last kept where it stood, and another machine "
        "may sum otherwise; keep that project"
    ]
