"""Pictures in, files out: one or many, each by itself."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam2track.arguments import check_flag, check_path
from sam2track.detections import Detections, chosen, opened
from sam2track.errors import OutputError, PromptError, Sam2TrackError, UsageError
from sam2track.frames.still import list_pictures, read_picture
from sam2track.image.cutting import read_ground
from sam2track.image.everything import Settings
from sam2track.image.outputs import (
    WRITTEN,
    Drawing,
    check_free,
    of_everything,
    of_result,
    wanted_files,
    write,
)
from sam2track.image.segmenter import ImageSegmenter
from sam2track.models.loading import load_model
from sam2track.models.model import Model
from sam2track.outputs import Progress
from sam2track.prompts import Prompts, merged

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["EVERY_PICTURE", "ImageOutcome", "run"]

EVERY_PICTURE = -1
"""Frame of prompts that are meant for all pictures."""


@dataclass
class ImageOutcome:
    """What came of some pictures, as ``--json`` prints it."""

    model: str
    device: str
    precision: str
    status: str = "done"
    seconds: float = 0.0
    images: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    version: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        content = asdict(self)
        return {"version": content.pop("version"), **content}


def run(
    images: Sequence[str | os.PathLike[str]],
    prompts: Prompts | None = None,
    *,
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | SAM2Base | Model = "auto",
    device: str = "auto",
    precision: str = "auto",
    image_size: int | None = None,
    multimask: bool | None = None,
    everything: Mapping[str, Any] | None = None,
    write: Iterable[str] = ("mask", "overlay", "json"),
    all_candidates: bool = False,
    background: str | os.PathLike[str] = "white",
    overwrite: bool = False,
    detections: Any = None,
    min_score: float | None = None,
    classes: Collection[str] | None = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ImageOutcome:
    """Segment pictures, and write what is asked for of each.

    Parameters
    ----------
    images : sequence of paths
        Picture files, and folders of them.
    prompts : Prompts, optional
        Frames are places among the pictures, from 0; ``EVERY_PICTURE`` for all of them.
    output : path
        Folder.
    multimask : bool, optional
        As ``ImageSegmenter.segment``.
    everything : dict, optional
        Find all that can be told apart, as these ``everything.Settings`` say.
    write : iterable of str
        Some of ``outputs.WRITTEN``.
    all_candidates : bool
        Write each candidate's mask, too.
    background : str or path
        Colour or picture behind the objects of ``background-removed``.
    overwrite : bool
        Replace files that are there.
    detections, min_score, classes, class_names
        Boxes of a detector, as ``detections.chosen``.

    Returns
    -------
    ImageOutcome
        Pictures that could not be done are in ``failed``; a lone one raises. What else is worth
        knowing is in ``warnings``, a line each.

    Raises
    ------
    Sam2TrackError
        Where nothing can be done, and before anything is.
    """
    began = time.monotonic()
    wanted = wanted_files(write)
    if not (wanted or all_candidates):
        raise UsageError(f"nothing to write; name some of {', '.join(WRITTEN)}")
    if everything is not None and (multimask is not None or all_candidates):
        raise UsageError(
            "everything takes each point's candidates that are good enough; leave out how many "
            "there are (multimask, all_candidates; --multimask, --single, --all-candidates)"
        )
    if everything is not None:
        Settings(**everything)  # refused at once: with each of many pictures it would be said again
    paths, left_out = _listed(images)
    ground = read_ground(background)
    said = prompts or Prompts()
    _check(said, paths, everything is not None, detections)
    folder, overwrite = check_path("output", output), check_flag("overwrite", overwrite)
    check_free(folder, paths, wanted, candidates=all_candidates, overwrite=overwrite)
    # What all pictures have in common; a file is read once, and before the model.
    boxes: dict[str, Any] = {
        "total": len(paths),
        "stems": [path.stem for path in paths],
        "min_score": min_score,
        "classes": classes,
        "class_names": class_names,
    }
    boxes["given"] = opened(detections, **boxes)
    loaded = load_model(model, device=device, precision=precision, image_size=image_size)
    work = _Work(loaded, paths, said, everything, multimask, boxes)
    outcome = ImageOutcome(loaded.name, str(loaded.device), loaded.precision, warnings=left_out)
    counts: Counter[str] = Counter()
    for place, path in enumerate(paths):
        try:
            picture, drawing = work.done(place)
        except Sam2TrackError as error:
            if len(paths) == 1:
                raise
            outcome.failed.append(str(error) if str(path) in str(error) else f"{path}: {error}")
        else:
            outcome.images.append(
                _written(folder, path, picture, drawing, wanted, ground, all_candidates, loaded)
            )
            counts.update(item["name"] for item in drawing.objects)
            outcome.warnings += [
                f"{path}: object {item['id']} has an empty mask; say more of it (another point, a "
                "box), or take a larger model"
                for item in drawing.objects
                if not item["area_px"]
            ]
            if everything is not None and not drawing.objects:
                outcome.warnings.append(
                    f"{path}: no mask was good enough; lower min_iou and min_stability "
                    "(--min-iou, --min-stability), of nano to 0.7 and 0.8"
                )
        if progress is not None:
            progress(Progress("images", place + 1, len(paths), time.monotonic() - began))
    outcome.counts = dict(sorted(counts.items()))
    outcome.status = "failed" if outcome.failed else "done"
    outcome.seconds = round(time.monotonic() - began, 3)
    return outcome


def _listed(images: Sequence[str | os.PathLike[str]]) -> tuple[list[Path], list[str]]:
    """All pictures, and what of the folders is left out."""
    paths: list[Path] = []
    warnings: list[str] = []
    for image in images:
        path = Path(image)
        is_folder = path.is_dir() and path.suffix.lower() != ".zarr"
        found, left_out = list_pictures(path) if is_folder else ([path], [])
        paths += found
        warnings += left_out
    if not paths:
        raise UsageError("no pictures; name a file or a folder")
    return paths, warnings


def _check(said: Prompts, paths: Sequence[Path], everything: bool, detections: Any) -> None:
    """Refuse what cannot be, before the model is loaded."""
    said.check_said()  # else it would be left out without a word
    if everything and (len(said) or detections is not None):
        raise UsageError("everything is found without prompts; leave out the one or the other")
    if not everything and not len(said) and detections is None:
        raise PromptError(
            "nothing to look for: give a point, a box, a mask, a prompts file, detections, or "
            "ask for everything (--everything)"
        )
    largest = max(said.by_object, default=0)
    if largest > 65535:
        raise PromptError(
            f"object {largest} does not fit the 16 bits of label pictures; take ids up to 65535"
        )
    for object_id, place, prompt in said:
        if place >= len(paths):
            raise PromptError(
                f"object {object_id} is prompted on picture {place}, which does not exist; "
                f"there are {len(paths)}, counted from 0"
            )
        if prompt.absent:
            raise PromptError(
                f"object {object_id} is absent, which says nothing of a single picture; "
                f"leave it out"
            )


@dataclass
class _Work:
    """What is to be done with each picture."""

    model: Model
    paths: Sequence[Path]
    said: Prompts
    everything: Mapping[str, Any] | None
    multimask: bool | None
    detections: Mapping[str, Any]

    def done(self, place: int) -> tuple[Any, Drawing]:
        """Read one picture, and find what is wanted there."""
        picture = read_picture(self.paths[place])
        height, width = picture.shape[:2]
        grid = self.model.image_size // 4
        segmenter = ImageSegmenter(picture, self.model)
        if self.everything is not None:
            return picture, of_everything(
                segmenter.everything(**self.everything), height, width, grid
            )
        prompts = self._prompts(place, height, width)
        if not len(prompts):  # a detector may find nothing
            if self.detections["given"] is None:
                raise PromptError(f"{self.paths[place]} has no prompt; give one for each picture")
            return picture, of_result(None, height, width, grid)
        for object_id, _, prompt in prompts:
            if not prompt.shows:
                raise PromptError(
                    f"object {object_id} has points of the background alone; say where it is, or "
                    "give the points to the object that they are beside"
                )
        result = segmenter.segment(prompts, multimask=self.multimask)
        return picture, of_result(result, height, width, grid)

    def _prompts(self, place: int, height: int, width: int) -> Prompts:
        """What is said of one picture, as of a frame 0."""
        found = Prompts(names=dict(self.said.names))
        for object_id, frames in self.said.by_object.items():
            here = [frames[at] for at in (EVERY_PICTURE, place) if at in frames]
            if here:
                both = merged(here[0], here[1]) if len(here) == 2 else here[0]
                found.add(object_id, 0, both)
        if self.detections["given"] is not None:
            boxes = self._boxes(place, height, width)
            first = max(self.said.by_object, default=0) + 1
            more = boxes.prompts(first_id=first)
            found.by_object |= more.by_object
            found.names |= more.names
        return found

    def _boxes(self, place: int, height: int, width: int) -> Detections:
        # Files that name no picture are meant for the first.
        found = chosen(
            **self.detections,
            frames=[place],
            sizes=[(height, width)],
            anywhere=0,
        )
        return found.get(place, Detections(np.zeros((0, 4))))


def _written(
    folder: Path,
    path: Path,
    picture: Any,
    drawing: Drawing,
    wanted: Sequence[str],
    ground: Any,
    all_candidates: bool,
    model: Model,
) -> dict[str, Any]:
    info = {
        "description": f"masks of {path.name} by sam2track",
        "model": model.name,
        "precision": model.precision,
        "image_size": model.image_size,
    }
    try:
        files = write(
            folder,
            path,
            picture,
            drawing,
            wanted,
            ground=ground,
            all_candidates=all_candidates,
            info=info,
        )
    except OSError as error:
        if isinstance(error, Sam2TrackError):
            raise
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return {
        "source": str(path),
        "height": picture.shape[0],
        "width": picture.shape[1],
        "objects": drawing.objects,
        "outputs": files,
    }
