"""What a detector found becomes prompts: of the objects that it lies on, or of new ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.detections import Detections, as_detections, match, match_masks
from sam2track.errors import UsageError
from sam2track.masks import Box, Part
from sam2track.tracking.actions import said_of
from sam2track.tracking.book import Book
from sam2track.tracking.result import FrameResult
from sam2track.tracking.saying import say

__all__ = ["checked", "place_of", "take"]


def take(book: Book, frame: int, detections: Any, min_iou: float) -> FrameResult:
    """Prompt objects on a frame with the boxes or masks that lie on them, and begin others.

    The same twice change nothing: what was said of an object on the frame stays.
    """
    given = checked(detections, min_iou)
    frame = book.check_frame(frame)
    given = given.clipped(book.source.height, book.source.width)
    result = book.result(frame)
    if not len(given):
        return result
    names = {i: item.name for i, item in book.objects.items()}
    if given.masks is None:
        found = match(given, _boxes(book, result), names, min_iou=min_iou)
    else:
        found = match_masks(given, _masks(book, result), names, min_share=min_iou)
    last = max(book.objects, default=0)
    for index, (known, name) in enumerate(zip(found, given.names, strict=True)):
        if known is None:
            object_id = last = book.history.next_id(last)
        elif frame in book.objects[known].prompted or book.objects[known].locked:
            continue
        else:
            object_id = known
        prompt = given.prompt(index)
        said = said_of(object_id, frame, prompt, name if known is None else "")
        say(book, "prompt", said, object_id, frame, prompt)
    return book.result(frame)


def _boxes(book: Book, result: FrameResult) -> dict[int, tuple[float, ...]]:
    """Where objects are on a frame."""
    places: dict[int, tuple[float, ...]] = {}
    for object_id in result.object_ids:
        # What is prompted by a box is where that is, whatever mask came of it.
        answer = book.history.said(object_id, result.frame)
        box = None if answer is None else answer.prompt.box
        box = box or place_of(result.mask(object_id))
        if box is not None:
            places[object_id] = box
    return places


def _masks(book: Book, result: FrameResult) -> list[dict[int, Part]]:
    """Masks of objects on a frame, on the one before, and where what is lost was said to be last.

    Small things are easily lost; where a person, or these masks, said something on the frame itself
    that alone counts.
    """
    frame = result.frame
    here = {i: Part.of(result.mask(i)) for i in result.object_ids}
    moved: dict[int, Part] = {}
    if frame:
        before = book.result(frame - 1)
        moved = {i: Part.of(before.mask(i)) for i in before.object_ids if _is_open(book, i, frame)}
    lost = [i for i, part in here.items() if not part.part.size and _is_open(book, i, frame)]
    said: dict[int, list[int]] = {}
    for i in lost:
        if earlier := [f for f in book.objects[i].prompted if f < frame]:
            said.setdefault(max(earlier), []).append(i)
    last: dict[int, Part] = {}
    for at, ids in said.items():
        then = book.result(at)
        last |= {i: Part.of(then.mask(i)) for i in ids if i in then.object_ids}
    return [here, moved, last]


def _is_open(book: Book, object_id: int, frame: int) -> bool:
    """Whether an object is there, and nothing is said of it on the frame yet."""
    item = book.objects[object_id]
    return (item.end is None or frame < item.end) and frame not in item.prompted


def checked(detections: Any, min_iou: float) -> Detections:
    """What can be said of boxes before there is a frame for them; PromptError, UsageError."""
    if not isinstance(min_iou, (int, float, np.number)) or not 0 < min_iou <= 1:
        raise UsageError(f"min_iou {min_iou!r}; allowed are numbers above 0 and up to 1")
    return as_detections(detections)


def place_of(mask: npt.NDArray[np.bool_]) -> Box | None:
    """The box of a mask's largest part: specks elsewhere would make it cover half the frame."""
    import cv2

    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if len(stats) < 2:  # nothing but the background
        return None
    x, y, width, height, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()].tolist()
    return x, y, x + width, y + height
