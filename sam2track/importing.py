"""Masks of other tools into a project, where they can be corrected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.arguments import check_flag, check_path
from sam2track.database import remove_companions
from sam2track.errors import ProjectExistsError, PromptError, SourceError, UsageError
from sam2track.export.reading import Reading, fitted, open_masks
from sam2track.export.staging import staged
from sam2track.founding import project_meta
from sam2track.frames.opening import open_source
from sam2track.frames.source import FrameSource
from sam2track.lazy import Masks
from sam2track.masks import bounding_box
from sam2track.models.loading import load_model
from sam2track.models.model import Model
from sam2track.project import Project, WriterLock
from sam2track.prompts import Prompt, check_object_id
from sam2track.tracking.history import Life, Record
from sam2track.tracking.result import FrameResult

__all__ = ["Imported", "import_masks"]

_SURE = 10.0  # the logit of a mask that is given
_AT_ONCE = 2**22  # pixels of masks: all of a frame of a thousand cells would be gigabytes


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    path: Path
    format: str
    frames: int
    objects: tuple[int, ...]
    warnings: tuple[str, ...]


def import_masks(
    masks: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    source: Any,
    format: str | None = None,
    model: str | os.PathLike[str] | Model = "auto",
    device: str = "auto",
    precision: str = "auto",
    image_size: int | None = None,
    fps: float | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **reading: Any,
) -> Imported:
    """Make a project of masks that another tool made.

    Masks are stored as they are, as results that were ``edited``. The first mask of each object is
    its prompt, so that a correction, a prompt on any frame, is tracked on from there and replaces
    what comes after it; frames before stay as they were given.

    Parameters
    ----------
    masks : path
        In any format of ``sam2track.export.reading.READERS``.
    output : path
        The project's file.
    source : path, array or FrameSource
        The video that they are of.
    format : str, optional
        Of the masks; found from what is there where not given.
    model, device, precision, image_size
        As ``load_model``: what corrections will be tracked with.
    fps : float, optional
        Frames a second of folders, stacks and arrays, 25 by default; not for videos.
    **reading
        How the source is read, as ``open_source``.
    overwrite : bool
        Replace a project that is there.
    progress : callable, optional
        Called with frames done and their number.

    Raises
    ------
    SourceError
        Where masks or video cannot be read.
    UsageError
        Where they do not fit each other.
    ProjectExistsError
        Where there is a project already.
    """
    path, overwrite = check_path("output", output), check_flag("overwrite", overwrite)
    if path.exists() and not path.is_dir() and not overwrite:
        raise ProjectExistsError(
            f"{path} is there already; replace it (--overwrite) or name another file"
        )
    opened: FrameSource = open_source(source, fps=fps, **reading)
    try:
        found = fitted(_from_one(open_masks(masks, format, source=opened)), opened)
        loaded = load_model(model, device=device, precision=precision, image_size=image_size)
        for taken in (Path(found.path), Path(opened.name)):
            if taken.exists() and path.exists() and path.samefile(taken):
                raise UsageError(f"{path} is what is imported from; name another project")
            if _is_part(path, taken):
                raise UsageError(
                    f"{path} lies in {taken}, which is imported from, and is no project; name "
                    "another file"
                )
        with (
            WriterLock(path),
            staged(path, folder=False, overwrite=overwrite) as partial,
        ):
            meta = project_meta(opened, loaded)
            partial.unlink()  # a project is made where nothing is
            with Project.create(partial, meta=meta, times=opened.times) as project:
                first = _fill(project, found, loaded.image_size // 4, len(opened), progress)
                if not first:
                    why = "".join(f"; {warning}" for warning in found.warnings)
                    raise SourceError(f"{found.path} holds no object on any frame{why}")
            remove_companions(path)  # of a project that is replaced
        warnings = [*opened.warnings, *found.warnings]
        if found.frames is not None and len(found.frames) < len(opened):
            warnings.append(f"masks are there for {len(found.frames)} of the {len(opened)} frames")
        count = len(opened) if found.frames is None else len(found.frames)
        return Imported(path, found.format, count, tuple(sorted(first)), tuple(warnings))
    finally:
        if opened is not source:
            opened.close()


def _from_one(reading: Reading) -> Reading:
    """Number objects from 1 where a file counts them from 0, which is ground in label maps."""
    if 0 not in reading.names:
        return reading

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame, masks in reading.shots():
            yield frame, Masks({i + 1: partial(masks.__getitem__, i) for i in masks})

    reading.warnings.append(
        f"{reading.path} counts objects from 0; here each has the number after its own"
    )
    return replace(
        reading,
        shots=shots,
        names={i + 1: name for i, name in reading.names.items()},
        lineage={i + 1: mother + 1 for i, mother in reading.lineage.items()},
    )


def _fill(
    project: Project,
    reading: Reading,
    side: int,
    count: int,
    progress: Callable[[int, int], None] | None,
) -> dict[int, int]:
    """Store all masks as one step; return the first frame of each object."""
    first: dict[int, int] = {}
    none = np.zeros((reading.height, reading.width), np.bool_)
    many = max(1, _AT_ONCE // none.size)
    with project.step("import", {"masks": str(reading.path), "format": reading.format}):
        for frame, masks in reading.shots():
            if not 0 <= frame < count:
                raise UsageError(
                    f"{reading.path} has a mask of frame {frame}, the video frames 0 to {count - 1}"
                )
            some: dict[int, npt.NDArray[np.bool_]] = {}
            for object_id in sorted({*first, *masks}):
                # An object that is lost has an empty mask, as one that was tracked.
                mask = masks.get(object_id, none)
                if object_id not in first:
                    if not mask.any():
                        continue
                    try:
                        check_object_id(object_id)
                    except PromptError as error:  # 0 is ground in label maps
                        raise SourceError(
                            f"{reading.path} has an {error}: number its objects anew"
                        ) from error
                    first[object_id] = frame
                    life = Life(object_id, reading.names.get(object_id, ""))
                    if reading.lineage.get(object_id) in first:
                        life = replace(life, birth=frame, mother=reading.lineage[object_id])
                    project.keep_life(life)
                    project.say(object_id, frame, Prompt.painted(mask))
                some[object_id] = mask
                if len(some) >= many:
                    _put(project, frame, some, side)
                    some = {}
            _put(project, frame, some, side)
            if progress is not None:
                progress(frame + 1, count)
        _end_mothers(project, reading, first)
    return first


def _put(project: Project, frame: int, masks: dict[int, npt.NDArray[np.bool_]], side: int) -> None:
    ids = tuple(masks)
    if not ids:
        return
    small = np.stack([_shrunk(mask, side) for mask in masks.values()])
    logits = np.asarray(np.where(small >= 0.5, _SURE, -_SURE), np.float32)
    scores = np.array([_SURE if mask.any() else -_SURE for mask in masks.values()], np.float32)
    height, width = next(iter(masks.values())).shape
    result = FrameResult(
        frame=frame,
        object_ids=ids,
        logits=logits,
        object_scores=scores,
        ious=np.ones(len(ids), np.float32),
        height=height,
        width=width,
        sources=("edited",) * len(ids),
        given=masks,
    )
    # No model has seen them: there is no pointer, and none is looked at of an edited frame.
    none = np.zeros(0, np.float32)
    project.put(
        result,
        [
            Record(object_id, frame, logits[k], none, float(scores[k]), 1.0, "edited")
            for k, object_id in enumerate(ids)
        ],
    )


def _shrunk(mask: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.float32]:
    """Return which share of each field of a square is mask, (side, side).

    Where each field is of whole pixels, of those alone that lie around the mask: sums of pixels are
    exact whatever lies beside them. Other shares are rounded, by where a part begins, too.
    """
    import cv2

    height, width = mask.shape
    shares = np.zeros((side, side), np.float32)
    rows = columns = slice(0, side)
    if not height % side and not width % side:
        high, wide = height // side, width // side
        x0, y0, x1, y1 = bounding_box(mask) or (0, 0, 0, 0)
        rows = slice(y0 // high, -(-y1 // high))
        columns = slice(x0 // wide, -(-x1 // wide))
        mask = mask[
            rows.start * high : rows.stop * high, columns.start * wide : columns.stop * wide
        ]
    if mask.size:
        size = columns.stop - columns.start, rows.stop - rows.start
        shares[rows, columns] = cv2.resize(
            mask.astype(np.float32), size, interpolation=cv2.INTER_AREA
        )
    return shares


def _end_mothers(project: Project, reading: Reading, first: dict[int, int]) -> None:
    """A mother ends on the frame on which her daughters begin."""
    lives = {life.object_id: life for life in project.lives()}
    for mother in sorted(set(reading.lineage.values()) & set(first)):
        born = [first[i] for i, of in reading.lineage.items() if of == mother and i in first]
        if born:
            project.keep_life(replace(lives[mother], end=min(born)))
            project.forget(mother, min(born))


def _is_part(path: Path, folder: Path) -> bool:
    """Whether a file is one of what a folder is made of: there already, and no database."""
    if not path.is_file() or Path(os.path.realpath(folder)) not in path.resolve().parents:
        return False
    with path.open("rb") as file:
        return not file.read(16).startswith(b"SQLite format 3")
