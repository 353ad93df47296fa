"""The project that a job works on: a new one, or one that is gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from math import isclose
from pathlib import Path
from typing import Any

from sam2track.detections import Detections, packed
from sam2track.errors import OutputError, ProjectError, ProjectExistsError, UsageError
from sam2track.frames.bounds import rate_of
from sam2track.frames.opening import options_of
from sam2track.frames.source import FrameSource
from sam2track.models.model import Model
from sam2track.outputs import holds_project, remove_outputs
from sam2track.project import Project, WriterLock
from sam2track.prompts import Prompts

__all__ = [
    "check_same",
    "model_meta",
    "open_project",
    "other_names",
    "project_for",
    "project_meta",
    "resumed_precision",
    "resumed_reading",
]

_SCALE = ("pixel_size_um", "frame_interval_s")
_MAY_DIFFER = ("source", "source_path", "device", *_SCALE)  # no mask depends on them


def resumed_reading(folder: Path, source: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """How the source is read where a folder's project is gone on with, if there is one.

    Parameters
    ----------
    given : mapping
        Arguments for ``open_source``; those that are None are as they were.

    Raises
    ------
    UsageError
        Where frames come at another rate than before, or the source is another kind of thing.
    """
    path = folder / "project.s2t"
    if isinstance(source, FrameSource) or not holds_project(folder, overwrite=True):
        return dict(given)
    with Project.open(path) as project:
        reading = dict(project.meta.get("reading", {}))
        # Videos have times of their own, and a lone frame has no rate.
        if "stream" not in reading and len(project.times) > 1:
            reading["fps"] = rate_of(project.times)
    what = os.fspath(source) if isinstance(source, str | os.PathLike) else "an array"
    if not isinstance(source, str | os.PathLike) or os.path.lexists(source):
        kept = options_of(source)
        if any(value is not None and name not in kept for name, value in reading.items()):
            raise UsageError(
                f"{path} was made from another kind of source than {what} is now (a video, a "
                "folder of pictures, a stack); give what it was made from, or another output folder"
            )
    for name, value in given.items():
        if name == "fps" and value is not None and not isclose(value, reading.get(name, value)):
            raise UsageError(
                f"{path} was made with fps {reading[name]:g}, now it is {value:g}; leave it out "
                "to go on as before, or give another output folder"
            )
        if value is not None:
            reading[name] = value
    return reading


def resumed_precision(folder: Path, precision: str) -> str:
    """Return the precision of a folder's project, if there is one and none is asked for.

    What is automatically taken differs between machines, and equal masks need the same.
    """
    if precision != "auto" or not holds_project(folder, overwrite=True):
        return precision
    with Project.open(folder) as project:
        return str(project.meta.get("precision", precision))


def project_for(
    folder: Path,
    source: FrameSource,
    model: Model,
    prompts: Prompts | None,
    resume: bool,
    overwrite: bool,
    lock: WriterLock,
    boxes: Mapping[int, Detections] | None = None,
) -> Project:
    """Go on with the project in a folder, or make a new one that holds what was said.

    Raises
    ------
    ProjectExistsError
        Where there is one, and neither ``resume`` nor ``overwrite``.
    UsageError, ProjectError
        Where prompts, source or model are not those that it was made with.
    OutputError
        Where the folder cannot be written.
    """
    path = folder / "project.s2t"
    # Asked again: another job may have made one while the model was loaded.
    if holds_project(folder, overwrite) and not overwrite:
        if not resume:
            raise ProjectExistsError(f"{folder} holds a project that another job made just now")
        project = Project.open(path, writable=True, lock=lock)
        if project.journal() or (prompts is None and boxes is None):
            return _resumed(project, source, model, prompts, boxes)
        project.close()  # a job was killed before it had stored the prompts
    try:
        remove_outputs(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    meta = project_meta(source, model)
    if boxes is not None:
        hand = [[object_id, frame] for object_id, frame, _ in prompts or ()]
        meta["detections"] = {"frames": packed(boxes), "by_hand": hand}
    project = Project.create(path, meta=meta, times=source.times, lock=lock)
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
        return _resumed(Project.open(path, writable=True), source, model, None, None)
    return Project.create(path, meta=project_meta(source, model) | settings, times=source.times)


def project_meta(source: FrameSource, model: Model) -> dict[str, Any]:
    """What a new project says of its source and of the model it is tracked with."""
    reading = getattr(source, "options", {})
    path = Path(source.name)
    here = {"source_path": str(path.absolute())} if path.exists() else {}
    told = (
        _about(source)
        | here
        | {
            "source": source.name,
            "reading": {key: value for key, value in reading.items() if value is not None},
            "fingerprint": source.fingerprint(),
            "height": source.height,
            "width": source.width,
            "frames": len(source),
        }
        | model_meta(model)
    )
    return dict(json.loads(json.dumps(told)))  # as it is read back


def _about(source: FrameSource) -> dict[str, Any]:
    """What a source says of itself, as it is read back."""
    return dict(json.loads(json.dumps(getattr(source, "about", {}))))


def model_meta(model: Model) -> dict[str, Any]:
    """What a new project says of the model it is tracked with."""
    return {
        "model": model.name,
        "weights": model.fingerprint(),
        "device": str(model.device),
        "precision": model.precision,
        "image_size": model.image_size,
    }


def _resumed(
    project: Project,
    source: FrameSource,
    model: Model,
    prompts: Prompts | None,
    boxes: Mapping[int, Detections] | None,
) -> Project:
    path = project.path
    try:
        stored = project.meta.get("detections")
        if boxes is not None and (stored is None or stored["frames"] != packed(boxes)):
            raise UsageError(
                f"{path} was made with other detections, or none; leave them out to go on with "
                f"what is stored"
            )
        if prompts is not None:
            if stored is None:
                said = project.prompts
            else:  # those that detections led to are no difference
                by_hand = {(object_id, frame) for object_id, frame in stored["by_hand"]}
                said = Prompts()
                for object_id, frame, prompt in project.each_prompt():
                    if (object_id, frame) in by_hand:
                        said.add(object_id, frame, prompt)
            difference = said.difference(prompts)
            if difference:
                raise UsageError(
                    f"{path} was made with other prompts: {difference}; "
                    f"leave the prompts out to go on with the stored ones"
                )
        check_same(project, source, model)
        project.check_whole()  # else it is gone on with, to other masks
        _follow(project, source)
    except BaseException:
        project.close()
        raise
    return project


def _follow(project: Project, source: FrameSource) -> None:
    """Note where pictures are now, where they are no longer where the project says.

    And what they say of lengths and times now, which somebody may have told them since.
    """
    before, now = project.meta.get("source_path"), Path(source.name)
    if before is not None and not os.path.lexists(before) and now.exists():
        project.set_meta(source=source.name, source_path=str(now.absolute()))
    scale = {key: value for key, value in _about(source).items() if key in _SCALE}
    if any(project.meta.get(key) != value for key, value in scale.items()):
        project.set_meta(**scale)


def check_same(project: Project, source: FrameSource, model: Model) -> None:
    """Refuse another source, model or precision than those that a project was made with."""
    meta = project_meta(source, model)
    if ("axes" in project.meta) != ("axes" in meta):
        was, now = (
            f"a stack with axes {of['axes']}" if "axes" in of else "a video or images"
            for of in (project.meta, meta)
        )
        raise ProjectError(
            f"{project.path} was made from {was}, now it is {now}; give what it was made from, or "
            f"make another project"
        )
    for key, value in meta.items():
        if key == "reading":
            _check_reading(project, value)
        if key == "fingerprint" and project.meta.get(key) != value:
            raise ProjectError(
                f"{project.path} was made from other pictures than {source.name} holds now; "
                f"give what it was made from, or make another project"
            )
        if key not in _MAY_DIFFER and project.meta.get(key) != value:
            raise ProjectError(
                f"{project.path} was made with {key} {project.meta.get(key)!r}, now it is "
                f"{value!r}; give what it was made with, or make another project"
            )


def other_names(project: Project, said: Prompts | None) -> Iterator[str]:
    """Say which names of prompts differ from those that a project has, which stay."""
    for object_id, name in sorted(({} if said is None else said.names).items()):
        kept = project.names.get(object_id, name)
        if kept != name:
            yield (
                f"object {object_id} stays {repr(kept) if kept else 'without a name'}, and is not "
                f"called {name!r} as the prompts say; rename it in the viewer, or from Python"
            )


def _check_reading(project: Project, now: dict[str, Any]) -> None:
    before = project.meta.get("reading", {})
    # Limits that nobody gave come of the rest: what was said otherwise is named, not they.
    for key in sorted({*before, *now}, key=lambda name: (name == "limits", name)):
        if before.get(key) != now.get(key):
            unsaid = "of the first" if key == "key" and "axes" in project.meta else "unsaid"
            was, said = (unsaid if v is None else repr(v) for v in (before.get(key), now.get(key)))
            raise UsageError(
                f"{project.path} was made with {key} {was}, now it is {said}; leave it as it was "
                "to go on, or make another project"
            )
