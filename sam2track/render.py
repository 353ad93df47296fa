"""Pictures for people: a frame with its objects painted over it, and label maps in colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.masks import Box
from sam2track.palette import PALETTE, wrapped

__all__ = ["colour_map", "overlay", "stamp", "tag"]

Picture = npt.NDArray[np.uint8]


class _Place(NamedTuple):
    """Where an object is: its pixel nearest to its centroid, and its box, half-open."""

    x: int
    y: int
    box: Box


def colour_map(labels: npt.NDArray[Any]) -> Picture:
    """Return a label map in the colours of the palette, on black.

    Parameters
    ----------
    labels : (H, W) array of integers
        Object ids, 0 for the background; ids above 255 wrap onto 1..255.

    Returns
    -------
    (H, W, 3) uint8 RGB array

    Raises
    ------
    UsageError
        Where `labels` has not two axes, or is not of integers.
    """
    _check_labels(labels)
    return _painted(wrapped(labels), PALETTE)


def overlay(
    frame: Picture,
    labels: npt.NDArray[Any],
    *,
    alpha: float = 0.5,
    outline: bool = True,
    tags: bool = True,
    names: Mapping[int, str] | None = None,
) -> Picture:
    """Return a frame with its objects in colour, outlined and named.

    Parameters
    ----------
    frame : (H, W, 3) uint8 RGB array
        Not changed.
    labels : (H, W) array of integers
        Object ids, 0 for the background.
    alpha : float
        How much of an object's colour covers the frame, 0 to 1.
    outline : bool
        Whether objects get a line along the inner side of their edge, 1 to 4 pixels wide with
        the frame's size, in a brighter tone of their colour.
    tags : bool
        Whether each object gets its id (and name) written at its pixel nearest to its centroid,
        or above it where it is smaller than the text.
    names : mapping of int to str, optional
        Names to write after the ids; what OpenCV's font lacks is drawn as question marks.

    Returns
    -------
    (H, W, 3) uint8 RGB array

    Raises
    ------
    UsageError
        Where shapes or types do not fit, or `alpha` is not in 0 to 1.
    """
    _check_labels(labels)
    if frame.dtype != np.uint8 or frame.shape != (*labels.shape, 3):
        raise UsageError(
            f"a frame for labels {labels.shape} is uint8 {(*labels.shape, 3)}, "
            f"not {frame.dtype} {frame.shape}"
        )
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must be from 0 to 1, not {alpha}")
    picture = np.array(frame, order="C")
    width = _line_width(labels.shape)
    window = _window(labels, margin=width)
    if window is None:
        return picture
    import cv2

    part, inside = labels[window], picture[window]
    rows = wrapped(part)
    filled = cv2.addWeighted(inside, 1 - alpha, _painted(rows, PALETTE), alpha, 0)
    cv2.copyTo(filled, rows, inside)
    if outline:
        cv2.copyTo(_painted(rows, _bright()), _edges(part, width), inside)
    if tags:
        named = names or {}
        tag(picture, labels, lambda object_id: f"{object_id} {named.get(object_id, '')}".strip())
    return picture


def tag(picture: Picture, labels: npt.NDArray[Any], text: Callable[[int], str]) -> None:
    """Write a text on each object of a picture, which is changed; texts lie apart where they can.

    Parameters
    ----------
    picture : (H, W, 3) uint8 RGB array
    labels : (H, W) array of integers
    text : callable
        Gives an object's text by its id; nothing is written where it is empty.
    """
    taken = np.zeros((0, 4), np.int64)
    for object_id, place in _places(labels).items():
        if line := text(object_id):
            letters, shade = _lettered(line, picture.shape)
            box = _free(place, letters.shape, picture.shape, taken)
            taken = np.concatenate((taken, [box]))
            _draw(picture, letters, shade, box)


def stamp(picture: Picture, text: str) -> None:
    """Write a text in the lower left corner of a picture, which is changed."""
    letters, shade = _lettered(text, picture.shape)
    high, wide = letters.shape
    top = max(0, picture.shape[0] - high)
    _draw(picture, letters, shade, (0, top, wide, top + high))


def _check_labels(labels: npt.NDArray[Any]) -> None:
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise UsageError(f"labels are (H, W) integers, not {labels.dtype} of shape {labels.shape}")


def _line_width(shape: tuple[int, ...]) -> int:
    return min(4, max(1, round(min(shape) / 480)))


def _window(labels: npt.NDArray[Any], *, margin: int) -> tuple[slice, slice] | None:
    """Return where objects are, with a margin: most frames are mostly background."""
    rows = np.flatnonzero(labels.any(axis=1))
    if not len(rows):
        return None
    y = slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin)
    columns = np.flatnonzero(labels[y].any(axis=0))
    return y, slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin)


@cache
def _bright() -> npt.NDArray[np.uint8]:
    """Return the palette at full brightness: its own tones are lost as lines on dark frames."""
    top = np.maximum(PALETTE.max(axis=1, keepdims=True), 1).astype(np.float64)
    return np.asarray(np.round(PALETTE * (255 / top)), dtype=np.uint8)


def _painted(rows: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> Picture:
    import cv2

    # applyColorMap looks up three channels in one pass, ten times faster than indexing; it
    # leaves their order alone. An empty picture it refuses.
    if not rows.size:
        return np.zeros((*rows.shape, 3), dtype=np.uint8)
    painted = cv2.applyColorMap(np.ascontiguousarray(rows), palette[:, None])
    return np.asarray(painted, dtype=np.uint8)


def _edges(labels: npt.NDArray[Any], width: int) -> npt.NDArray[np.uint8]:
    """Return 255 where an object has another label up to `width` away; the frame's rim is none."""
    import cv2

    if labels.dtype not in (np.uint8, np.uint16):
        # OpenCV erodes no wider integers. 65025 is 255 * 255: neighbours that fall together
        # here have the same colour as well.
        if labels.max() > 65025:
            labels = np.where(labels > 0, (labels.astype(np.int64) - 1) % 65025 + 1, 0)
        labels = labels.astype(np.uint16)
    labels = np.ascontiguousarray(labels)
    shape = cv2.MORPH_CROSS if width == 1 else cv2.MORPH_ELLIPSE
    near = cv2.getStructuringElement(shape, (2 * width + 1, 2 * width + 1))
    differ = cv2.dilate(labels, near) != cv2.erode(labels, near)
    return np.asarray((differ & (labels > 0)) * np.uint8(255), dtype=np.uint8)


def _places(labels: npt.NDArray[Any]) -> dict[int, _Place]:
    """Find every object by way of its horizontal runs, which are far fewer than its pixels."""
    height, width = labels.shape
    starts = np.ones((height, width), dtype=np.bool_)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts[:, 1:])
    first = np.flatnonzero(starts)
    length = np.diff(first, append=labels.size)
    label = labels.ravel()[first].astype(np.int64)
    order = np.flatnonzero(label)
    order = order[np.argsort(label[order], kind="stable")]  # by object, from the top down
    if not len(order):
        return {}
    ids, groups, owner = np.unique(label[order], return_index=True, return_inverse=True)
    length = length[order]
    y, x0 = np.divmod(first[order], width)
    x1 = x0 + length

    area = np.add.reduceat(length, groups)
    mean_x = np.add.reduceat(length * (x0 + x1 - 1) / 2, groups) / area
    mean_y = np.add.reduceat(length * y, groups) / area
    near_x = np.clip(mean_x[owner], x0, x1 - 1)
    distance = (near_x - mean_x[owner]) ** 2 + (y - mean_y[owner]) ** 2
    nearest = np.lexsort((distance, owner))[groups]
    left, right = np.minimum.reduceat(x0, groups), np.maximum.reduceat(x1, groups)
    top, bottom = y[groups], y[np.append(groups[1:], len(y)) - 1] + 1
    return {
        int(ids[i]): _Place(
            round(float(near_x[nearest[i]])),
            int(y[nearest[i]]),
            (int(left[i]), int(top[i]), int(right[i]), int(bottom[i])),
        )
        for i in range(len(ids))
    }


def _lettered(
    text: str, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the letters of a text for a picture of that shape, and the shade around them."""
    import cv2

    text = " ".join(text.split())  # breaks would begin lines that have no room
    scale = max(0.4, min(shape[:2]) / 1000)
    stroke = max(1, round(1.5 * scale))
    font = cv2.FONT_HERSHEY_SIMPLEX
    (wide, high), below = cv2.getTextSize(text, font, scale, stroke)
    rim = stroke + 1

    # The rim is grown from the letters' shape: letters drawn with a thicker pen are wider as
    # well in the fonts of OpenCV 5, and would not lie behind the thin ones.
    letters = np.zeros((high + below + 2 * rim, wide + 2 * rim), dtype=np.uint8)
    cv2.putText(letters, text, (rim, rim + high), font, scale, 255, stroke, cv2.LINE_AA)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    return letters, np.asarray(cv2.dilate(letters, disk), np.uint8)


def _free(
    place: _Place, size: tuple[int, ...], shape: tuple[int, ...], taken: npt.NDArray[np.int64]
) -> Box:
    """Return where a text goes: on an object, or beside one that it would hide.

    It is the first place that no other text has, or else the one that hides least of them.

    Parameters
    ----------
    place : _Place
    size, shape : (int, int)
        Height and width of the text and of the picture.
    taken : (N, 4) int array
        Boxes of the texts that are there, as (x0, y0, x1, y1).
    """
    high, wide = size
    height, width = shape[:2]
    x0, y0, x1, y1 = place.box
    middle, centre = place.x - wide // 2, place.y - high // 2
    above, below = y0 - high, y1
    beside = [
        *([(middle, above), (middle, below)] if above >= 0 else [(middle, below)]),
        (x1, centre),
        (x0 - wide, centre),
        *((x, y) for x in (x1, x0 - wide) for y in (above, below)),
        *((middle, y) for n in (1, 2, 3) for y in (above - n * high, below + n * high)),
    ]
    large = x1 - x0 >= 1.5 * wide and y1 - y0 >= 1.5 * high
    best, least = (0, 0, wide, high), math.inf
    for x, y in [(middle, centre), *beside] if large else beside:
        left, top = max(0, min(x, width - wide)), max(0, min(y, height - high))
        box = (left, top, left + wide, top + high)
        ends = np.minimum(taken[:, 2:], box[2:]) - np.maximum(taken[:, :2], box[:2])
        hidden = float(np.prod(ends.clip(min=0), axis=1).sum())
        if hidden < least:
            best, least = box, hidden
        if not hidden:
            break
    return best


def _draw(
    picture: Picture, letters: npt.NDArray[np.uint8], shade: npt.NDArray[np.uint8], box: Box
) -> None:
    """Draw letters into a picture, as far as they lie in it."""
    part = picture[box[1] : box[3], box[0] : box[2]]
    seen = (slice(part.shape[0]), slice(part.shape[1]))
    dark = part.astype(np.uint16) * (255 - shade[seen])[..., None] // 255
    part[:] = np.maximum(dark, letters[seen][..., None])
