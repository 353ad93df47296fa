"""Boxes that a detector found on one picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam2track.arguments import is_number, said_names
from sam2track.errors import PromptError
from sam2track.prompts import Prompt, Prompts, check_name

__all__ = ["Detections", "as_detections", "by_number", "least_score", "match", "named_classes"]

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Detections:
    """N boxes with scores and class names.

    Parameters
    ----------
    boxes : (N, 4) array
        (x0, y0, x1, y1) in pixels of the upright frame, half-open, with x0 < x1 and y0 < y1.
    scores : (N,) array, optional
        1 where left out.
    names : sequence of N str, optional
        Class names; empty where left out.

    Raises
    ------
    PromptError
        Where boxes, scores and names do not fit each other, a box has no area, or a name is no
        text of one line.
    """

    boxes: Boxes
    scores: npt.NDArray[np.float64] = None  # type: ignore[assignment]
    names: Sequence[str] = None  # type: ignore[assignment]

    if TYPE_CHECKING:  # more is taken than what is held then

        def __init__(
            self,
            boxes: npt.ArrayLike,
            scores: npt.ArrayLike | None = ...,
            names: Iterable[str | None] | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        boxes = _floats(self.boxes, "boxes")
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise PromptError(f"boxes have shape {boxes.shape}; give (N, 4): x0, y0, x1, y1")
        count = len(boxes)
        scores = np.ones(count) if self.scores is None else _floats(self.scores, "scores")
        given = ("",) * count if self.names is None else self.names
        if isinstance(given, str) or not isinstance(given, Iterable):  # a text is one of letters
            raise PromptError(f"names {given!r:.60}; give a list of names, one for each box")
        names = tuple(check_name("" if name is None else str(name)) for name in given)
        if scores.shape != (count,) or len(names) != count:
            raise PromptError(
                f"{count} boxes but {scores.size} scores and {len(names)} names; give one for each"
            )
        empty = ~((boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3]))
        if empty.any():
            index = int(np.flatnonzero(empty)[0])
            x0, y0, x1, y1 = boxes[index]
            raise PromptError(
                f"box {index}, ({x0:g}, {y0:g}, {x1:g}, {y1:g}), has no area; "
                f"boxes are x0, y0, x1, y1 with x0 < x1 and y0 < y1"
            )
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "names", names)

    def __len__(self) -> int:
        return len(self.boxes)

    def only(self, keep: npt.NDArray[Any]) -> Detections:
        """Some of the boxes, by a (N,) bool array; PromptError where it is none."""
        keep = np.asarray(keep)
        if keep.dtype != np.bool_ or keep.shape != (len(self),):
            raise PromptError(
                f"{keep.dtype} {keep.shape} chooses among {len(self)} boxes; give a bool for each"
            )
        names = tuple(name for name, kept in zip(self.names, keep, strict=True) if kept)
        return Detections(self.boxes[keep], self.scores[keep], names)

    def selected(
        self, *, min_score: float | None = None, classes: Collection[str] | str | None = None
    ) -> Detections:
        """Boxes with at least a score, of some classes; a text names them between commas."""
        keep = np.ones(len(self), np.bool_)
        if min_score is not None:
            keep &= self.scores >= least_score(min_score)
        if classes is not None:
            wanted = named_classes(classes)
            keep &= np.array([name in wanted for name in self.names], np.bool_)
        return self.only(keep)

    def clipped(self, height: int, width: int) -> Detections:
        """Boxes as far as they lie within the frame; those outside are left out."""
        boxes = self.boxes.clip(0, [width, height, width, height])
        keep = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        names = tuple(name for name, kept in zip(self.names, keep, strict=True) if kept)
        return Detections(boxes[keep], self.scores[keep], names)

    def prompts(self, *, frame: int = 0, first_id: int = 1) -> Prompts:
        """Each box as an object of its own, named by its class."""
        said = Prompts()
        for object_id, (box, name) in enumerate(
            zip(self.boxes, self.names, strict=True), start=first_id
        ):
            said.add(object_id, frame, Prompt(box=tuple(box.tolist())))
            if name:
                said.names[object_id] = name
        return said


def least_score(min_score: float) -> float:
    """Return the score that boxes must have; PromptError where it is no number."""
    if not is_number(min_score) or math.isnan(min_score):
        raise PromptError(f"min_score {min_score!r:.60}; give a number")
    return min_score


def named_classes(classes: Collection[str] | str) -> Collection[str]:
    """Class names, also of a text that has them between commas, as the command line takes it."""
    if not isinstance(classes, str):
        if not isinstance(classes, Collection):
            raise PromptError(f"classes {classes!r:.60}; give a list of names")
        return classes
    return said_names(classes)


def _floats(given: Any, what: str) -> npt.NDArray[np.float64]:
    try:
        # A copy, since detectors use their buffers again.
        values = np.asarray(given, np.float64).copy()
    except (TypeError, ValueError, RuntimeError) as error:  # the last of tensors with a gradient
        raise PromptError(f"{what} are not numbers: {error}") from error
    if not np.isfinite(values).all():
        raise PromptError(f"{what} hold values that are not finite")
    return values


def by_number(
    class_names: Sequence[str] | Mapping[int, str] | None,
) -> Mapping[int, str]:
    """Return names of classes by their numbers; a sequence has them from 0 on."""
    if isinstance(class_names, str):  # a sequence, too: of letters
        raise PromptError(f"class names {class_names!r:.100}; give a list of names, or a dict")
    if class_names is None or isinstance(class_names, Mapping):
        return class_names or {}
    if not isinstance(class_names, Sequence):
        raise PromptError(f"class names {class_names!r:.100}; give a list of names, or a dict")
    return dict(enumerate(class_names))


def as_detections(
    given: Any, *, class_names: Sequence[str] | Mapping[int, str] | None = None
) -> Detections:
    """Take a detector's result.

    Parameters
    ----------
    given : Detections, supervision.Detections, or (N, 4) array
        Anything with ``xyxy`` will do; ``confidence``, ``class_id`` and
        ``data["class_name"]`` are read where they are there. Arrays and lists are
        (x0, y0, x1, y1).
    class_names : sequence or dict of str, optional
        Names of the numbers in ``class_id``, which else stand for themselves.

    Raises
    ------
    PromptError
        Where it is none of these.
    """
    if isinstance(given, Detections):
        return given
    if hasattr(given, "xyxy"):
        data = getattr(given, "data", None) or {}
        names = data.get("class_name")
        if names is None and (classes := getattr(given, "class_id", None)) is not None:
            known = by_number(class_names)
            names = [known.get(int(number), str(int(number))) for number in classes]
        scores: Any = getattr(given, "confidence", None)
        return Detections(given.xyxy, scores, names)
    if hasattr(given, "shape") or (isinstance(given, Sequence) and not isinstance(given, str)):
        return Detections(given)
    raise PromptError(
        f"cannot take boxes from {type(given).__name__}; give an (N, 4) array of x0, y0, x1, y1 "
        f"or supervision.Detections"
    )


def match(
    detections: Detections,
    tracked: Mapping[int, Sequence[float]],
    names: Mapping[int, str],
    *,
    min_iou: float,
) -> list[int | None]:
    """Say which object each box lies on: one-to-one, the highest IoU first.

    Objects of the same class come before others, so that of two things that overlap each keeps
    its own; a class that a detector mistook does not begin a second object.

    Parameters
    ----------
    tracked : mapping of int to (x0, y0, x1, y1)
        Boxes of objects.
    names : mapping of int to str
        Classes of objects.
    min_iou : float
        Least intersection over union.

    Returns
    -------
    list of int or None
        For each box the object, None where there is none.
    """
    ids = sorted(tracked)
    found: list[int | None] = [None] * len(detections)
    if not ids or not len(detections):
        return found
    overlap = _overlaps(detections.boxes, np.array([tracked[i] for i in ids], np.float64))
    alike = np.array([[name == names.get(i, "") for i in ids] for name in detections.names])
    for allowed in (alike, ~alike):
        pairs = np.argwhere(allowed & (overlap >= min_iou))
        order = np.argsort(-overlap[tuple(pairs.T)], kind="stable")
        for box, index in pairs[order].tolist():
            if found[box] is None and ids[index] not in found:
                found[box] = ids[index]
    return found


def _overlaps(some: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of (N, 4) and (M, 4) boxes, (N, M)."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (some, others)]
    together: npt.NDArray[np.float64] = areas[0][:, None] + areas[1][None] - common
    return np.asarray(common / together)
