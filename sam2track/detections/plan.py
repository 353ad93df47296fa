"""Which boxes or masks a job takes: of one frame, or of every so many."""

from __future__ import annotations

import base64
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from sam2track.detections.boxes import Detections, as_detections, least_score, named_classes
from sam2track.detections.files import load_detections
from sam2track.detections.rows import DetectionFile
from sam2track.errors import ProjectError, PromptError
from sam2track.masks import Part, decode_part, encode

__all__ = ["chosen", "opened", "packed", "unpacked"]


def opened(
    given: Any,
    *,
    total: int,
    stems: Sequence[str] | None = None,
    min_score: float | None = None,
    classes: Collection[str] | None = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
) -> Any:
    """Read and check a file of boxes, and return what is none as it is; as ``chosen``.

    Raises
    ------
    PromptError
        Where the file cannot be, or does not fit the source.
    """
    if not isinstance(given, (str, os.PathLike)):
        return given
    wanted = None if classes is None else named_classes(classes)
    file = load_detections(given, class_names=class_names)
    file.check(frames=total, min_score=min_score, classes=wanted, stems=stems)
    return file


def chosen(
    given: Any,
    frames: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    *,
    total: int,
    stems: Sequence[str] | None = None,
    min_score: float | None = None,
    classes: Collection[str] | None = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
    anywhere: int | None = None,
) -> dict[int, Detections]:
    """Boxes of some frames, within the frame, by frame; frames without any are left out.

    Parameters
    ----------
    given : path, DetectionFile, dict, Detections, supervision.Detections or (N, 4) array
        A file, one that is ``opened`` already, boxes by frame, or the boxes of the first of
        ``frames``.
    frames : sequence of int
    sizes : sequence of (int, int)
        Height and width of each of them.
    total : int
        Frames of the source, for files that name others.
    stems : sequence of str, optional
        The names of all pictures, for files that go by those.
    min_score, classes, class_names
        As ``Detections.selected`` and ``load_detections``.
    anywhere : int, optional
        The frame of boxes that name none; the first of ``frames`` by default.

    Raises
    ------
    PromptError
        Where file or boxes cannot be, or do not fit the source.
    """
    classes = None if classes is None else named_classes(classes)
    min_score = None if min_score is None else least_score(min_score)
    found: dict[int, Detections] = {}
    unnamed = frames[0] if anywhere is None else anywhere
    given = opened(
        given,
        total=total,
        stems=stems,
        min_score=min_score,
        classes=classes,
        class_names=class_names,
    )
    if isinstance(given, DetectionFile):
        for frame, (height, width) in zip(frames, sizes, strict=True):
            stem = None if stems is None else stems[frame]
            found[frame] = given.at(
                frame, height=height, width=width, stem=stem, anywhere=frame == unnamed
            )
    elif isinstance(given, Mapping):
        _check_frames(given, total)
        found = {
            frame: as_detections(given[frame], class_names=class_names)
            for frame in frames
            if frame in given
        }
    elif unnamed in frames:
        found = {unnamed: as_detections(given, class_names=class_names)}
    fitted = {
        frame: found[frame].selected(min_score=min_score, classes=classes).clipped(*size)
        for frame, size in zip(frames, sizes, strict=True)
        if frame in found
    }
    return {frame: detections for frame, detections in fitted.items() if len(detections)}


def _check_frames(given: Mapping[Any, Any], total: int) -> None:
    """Refuse boxes by what can be no frame: nobody would see that they are not taken."""
    for frame in given:
        whole = isinstance(frame, (int, np.integer)) and not isinstance(frame, bool)
        if not whole or not 0 <= frame < total:
            raise PromptError(
                f"detections of frame {frame!r}, which does not exist; give them by frames "
                f"0 to {total - 1}"
            )


def packed(detections: Mapping[int, Detections]) -> dict[str, Any]:
    """Boxes by frame as JSON values; of masks their codes in place of boxes."""
    return {
        str(frame): [
            item.boxes.tolist()
            if item.masks is None
            else [base64.b64encode(encode(part.whole())).decode() for part in item.masks],
            item.scores.tolist(),
            list(item.names),
        ]
        for frame, item in detections.items()
    }


def unpacked(content: Mapping[str, Any]) -> dict[int, Detections]:
    """Boxes or masks by frame from JSON values; a ProjectError where a mask's code is damaged."""
    return {
        int(frame): Detections(None, scores, names, map(_mask, places))
        if places and isinstance(places[0], str)
        else Detections(places, scores, names)
        for frame, (places, scores, names) in content.items()
    }


def _mask(code: str) -> Part:
    try:
        return decode_part(base64.b64decode(code, validate=True))
    except (TypeError, ValueError) as error:
        raise ProjectError(
            f"the code of a mask among the detections is damaged: {error}"
        ) from error
