"""Masks that a segmenter found on each picture, as what a detector found."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from sam2track.detections import Detections
from sam2track.errors import PromptError, UsageError
from sam2track.export.numbering import LABEL_ENDINGS, tells_labels
from sam2track.export.reading import BY_SUFFIX, detect, fitted, open_masks
from sam2track.frames.series import picture_of
from sam2track.frames.source import FrameSource
from sam2track.masks import Part

__all__ = ["holds_masks", "segmented"]

_BOXES = frozenset({".csv", ".json", ".txt"})


def holds_masks(path: object) -> bool:
    """Whether detections are masks at a path: a file by its name, or a folder without boxes."""
    if not isinstance(path, str | os.PathLike):
        return False
    place = Path(path)
    if place.is_dir():
        files = [*place.iterdir()]
        texts = {file.stem for file in files if file.suffix.lower() == ".txt"}
        labels = [p for p in files if p.suffix.lower() in LABEL_ENDINGS and tells_labels(p)]
        # Cellpose saves outlines as text, microscopes what they have to say.
        boxes = texts if not labels else texts & {picture_of(path.stem) for path in labels}
        return not boxes
    return place.suffix.lower() in BY_SUFFIX.keys() - _BOXES


def segmented(
    path: str | os.PathLike[str], frames: Collection[int], source: FrameSource
) -> tuple[dict[int, Detections], list[str]]:
    """Read the masks of some frames, in any of the formats that ``import`` reads.

    Parameters
    ----------
    path : path
        Label maps, or what else holds masks; which object is which it need not know.
    frames : collection of int
    source : FrameSource
        What they are of.

    Returns
    -------
    dict of int to Detections
        By frame; frames without a mask are left out.
    list of str
        What was odd, a line each.

    Raises
    ------
    PromptError, UsageError, SourceError
        Where they cannot be read, or are of other frames than those of the source.
    """
    if Path(path).exists() and (place := Path(source.name)).is_file() and place.samefile(path):
        raise PromptError(f"{path} is the source itself; give the label maps of it")
    try:
        reading = open_masks(path, detect(Path(path)), source=source)
    except UsageError as error:
        raise PromptError(
            f"{path} holds neither boxes (YOLO's .txt) nor label maps (PNG, TIFF, .npy)"
        ) from error
    reading = fitted(reading, source)
    wanted = frozenset(frames)
    last = max(wanted, default=-1)
    found: dict[int, Detections] = {}
    for frame, masks in reading.shots():
        if frame in wanted:
            names, parts = [], []
            for object_id, mask in masks.items():
                if mask.any():
                    names.append(reading.names.get(object_id, ""))
                    parts.append(Part.of(mask))
            if parts:
                found[frame] = Detections(names=names, masks=parts)
        if frame >= last:
            break
    return found, reading.warnings
