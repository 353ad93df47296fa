"""Boxes that a detector, or masks that a segmenter found on one picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam2track.arguments import is_number, said_names
from sam2track.errors import PromptError
from sam2track.masks import Part
from sam2track.prompt_values import part_of
from sam2track.prompts import Prompt, Prompts, check_name

__all__ = [
    "Detections",
    "as_detections",
    "by_number",
    "least_score",
    "match",
    "match_masks",
    "named_classes",
]

Boxes = npt.NDArray[np.float64]

_COLUMNS = 7  # of what detectors give as rows: boxes, scores, classes, tracks


@dataclass(frozen=True, eq=False)
class Detections:
    """N boxes or masks with scores and class names.

    Parameters
    ----------
    boxes : (N, 4) array, optional
        (x0, y0, x1, y1) in pixels of the upright frame, half-open, with x0 < x1 and y0 < y1. Those
        of the masks where there are masks.
    scores : (N,) array, optional
        1 where left out.
    names : sequence of N str, optional
        Class names; empty where left out.
    masks : (N, H, W) bool array, or N of (H, W), optional
        Nonzero is the object; of each what lies in its box is held.

    Raises
    ------
    PromptError
        Where boxes, scores and names do not fit each other, a box has no area, a mask is empty or
        of another size than the first, or a name is no text of one line.
    """

    boxes: Boxes = None  # type: ignore[assignment]
    scores: npt.NDArray[np.float64] = None  # type: ignore[assignment]
    names: Sequence[str] = None  # type: ignore[assignment]
    masks: Sequence[Part] | None = None

    if TYPE_CHECKING:  # more is taken than what is held then

        def __init__(
            self,
            boxes: npt.ArrayLike | None = ...,
            scores: npt.ArrayLike | None = ...,
            names: Iterable[str | None] | None = ...,
            masks: Iterable[npt.ArrayLike | Part] | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        if self.masks is not None:
            if self.boxes is not None:
                raise PromptError("both boxes and masks; give the masks, whose boxes are theirs")
            object.__setattr__(self, "masks", _parts(self.masks))
            object.__setattr__(self, "boxes", [_box_of(part) for part in self.masks])
        elif self.boxes is None:
            raise PromptError("neither boxes nor masks; give one of the two")
        boxes = _floats(self.boxes, "boxes")
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            pictures = boxes.ndim == 3 or (boxes.ndim == 2 and boxes.shape[1] > _COLUMNS)
            masks = "; of masks Detections(masks=masks)" if pictures else ""
            raise PromptError(f"boxes have shape {boxes.shape}; give (N, 4): x0, y0, x1, y1{masks}")
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
        return self._kept(keep, self.boxes)

    def _kept(self, keep: npt.NDArray[np.bool_], boxes: Boxes) -> Detections:
        names = tuple(name for name, kept in zip(self.names, keep, strict=True) if kept)
        if self.masks is None:
            return Detections(boxes[keep], self.scores[keep], names)
        masks = [mask for mask, kept in zip(self.masks, keep, strict=True) if kept]
        return Detections(None, self.scores[keep], names, masks)

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
        """Boxes as far as they lie within the frame; those outside are left out.

        Masks are of the frame's size, else it is a PromptError.
        """
        for mask in (self.masks or ())[:1]:
            if mask.size != (height, width):
                raise PromptError(
                    f"masks of {mask.size[1]} x {mask.size[0]} pixels; the frame has {width} x "
                    f"{height}"
                )
        boxes = self.boxes.clip(0, [width, height, width, height])
        return self._kept((boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3]), boxes)

    def prompt(self, index: int) -> Prompt:
        """What one of them says: its mask, or its box."""
        if self.masks is not None:
            return Prompt(mask=self.masks[index])
        return Prompt(box=self.boxes[index].tolist())

    def prompts(self, *, frame: int = 0, first_id: int = 1) -> Prompts:
        """Each as an object of its own, named by its class."""
        said = Prompts()
        for index, name in enumerate(self.names):
            object_id = first_id + index
            said.add(object_id, frame, self.prompt(index))
            if name:
                said.names[object_id] = name
        return said


def _parts(masks: Any) -> tuple[Part, ...]:
    if isinstance(masks, str) or not isinstance(masks, Iterable):
        raise PromptError(f"masks {masks!r:.60}; give (N, H, W) bool, or a list of (H, W)")
    parts = tuple(map(part_of, masks))
    for part in parts[1:]:
        if part.size != parts[0].size:
            raise PromptError(f"masks of {parts[0].size} and {part.size}; give all of one size")
    return parts


def _box_of(part: Part) -> tuple[int, int, int, int]:
    rows, columns = part.place
    return columns.start, rows.start, columns.stop, rows.stop


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
    boxes = np.array([tracked[i] for i in ids], np.float64).reshape(-1, 4)
    overlap = _overlaps(detections.boxes, boxes)
    return _one_to_one(detections.names, [names.get(i, "") for i in ids], ids, overlap, min_iou)


def match_masks(
    detections: Detections,
    tracked: Sequence[Mapping[int, Part]],
    names: Mapping[int, str],
    *,
    min_share: float,
) -> list[int | None]:
    """Say which object each mask lies on, as ``match``.

    A mask lies on an object where they share a part of the smaller of the two. What a model tracks
    of small things is often a part of them, or more than them, and masks that a segmenter found do
    not lie on each other, so that less is asked for than of boxes.

    Parameters
    ----------
    tracked : sequence of mappings of int to Part
        Masks of objects, several of one where it may be at several places; the closest counts.
    min_share : float
        Least part of the smaller one.
    """
    ids = sorted(set().union(*tracked))
    overlap = np.zeros((len(detections), len(ids)))
    masks = detections.masks or ()
    for places in tracked:
        columns = [index for index, object_id in enumerate(ids) if object_id in places]
        parts = [places[ids[index]] for index in columns]
        boxes = np.array([_box_of(part) for part in parts], np.float64).reshape(-1, 4)
        for row, at in np.argwhere(_overlaps(detections.boxes, boxes) > 0).tolist():
            found = _overlap(masks[row], parts[at], min_share)
            overlap[row, columns[at]] = max(overlap[row, columns[at]], found)
    return _one_to_one(detections.names, [names.get(i, "") for i in ids], ids, overlap, 0)


def _one_to_one(
    classes: Sequence[str],
    known: Sequence[str],
    ids: Sequence[int],
    overlap: npt.NDArray[np.float64],
    least: float,
) -> list[int | None]:
    """Objects by what lies on them, the largest overlap first, none that is less, or 0."""
    found: list[int | None] = [None] * len(classes)
    alike = np.array([[name == other for other in known] for name in classes], np.bool_)
    for allowed in (alike, ~alike):
        pairs = np.argwhere(allowed.reshape(overlap.shape) & (overlap >= least) & (overlap > 0))
        order = np.argsort(-overlap[tuple(pairs.T)], kind="stable")
        for at, index in pairs[order].tolist():
            if found[at] is None and ids[index] not in found:
                found[at] = ids[index]
    return found


def _overlaps(some: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of (N, 4) and (M, 4) boxes, (N, M)."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (some, others)]
    together: npt.NDArray[np.float64] = areas[0][:, None] + areas[1][None] - common
    return np.asarray(common / together)


def _overlap(one: Part, other: Part, share: float) -> float:
    """Intersection over union of two masks; 0 where they share less of the smaller one."""
    common = _common(one, other)
    areas = [int(np.count_nonzero(part.part)) for part in (one, other)]
    return common / (sum(areas) - common) if common >= share * min(areas) else 0.0


def _common(one: Part, other: Part) -> int:
    """How many pixels two masks share whose boxes overlap."""
    pairs = list(zip(one.place, other.place, strict=True))
    low = [max(a.start, b.start) for a, b in pairs]
    high = [min(a.stop, b.stop) for a, b in pairs]

    def cut(part: Part) -> npt.NDArray[np.bool_]:
        rows, columns = (
            slice(start - at.start, stop - at.start)
            for start, stop, at in zip(low, high, part.place, strict=True)
        )
        return part.part[rows, columns]

    return int(np.count_nonzero(cut(one) & cut(other)))
