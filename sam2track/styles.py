"""Ways to show a frame with its objects."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.palette import colour
from sam2track.render import overlay

__all__ = ["Style", "Trails", "checked", "fitted", "styled"]

Style = Literal["overlay", "outline", "cutout", "blur-background", "background", "trails"]
"""What is drawn: objects in colour, their outlines alone, objects alone, objects before a blurred
ground or before another picture, objects with the way they came."""

Picture = npt.NDArray[np.uint8]


def checked(style: str) -> Style:
    """Return a style of that name.

    Raises
    ------
    UsageError
        Where there is none.
    """
    if style not in get_args(Style):
        raise UsageError(f"style {style!r}; allowed are {', '.join(get_args(Style))}")
    return style  # type: ignore[return-value]


def fitted(picture: Picture, height: int, width: int) -> Picture:
    """Return a picture scaled to cover a size, its middle kept.

    Parameters
    ----------
    picture : (h, w, 3) uint8 array

    Returns
    -------
    (height, width, 3) uint8 array
    """
    import cv2

    scale = max(height / picture.shape[0], width / picture.shape[1])
    size = (
        max(width, round(picture.shape[1] * scale)),
        max(height, round(picture.shape[0] * scale)),
    )
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    large = cv2.resize(picture, size, interpolation=how)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(large[top : top + height, left : left + width], np.uint8)


def styled(
    style: Style,
    picture: Picture,
    labels: npt.NDArray[Any],
    *,
    background: Picture | None = None,
    trails: Trails | None = None,
) -> Picture:
    """Return a frame in a style, without any text.

    Parameters
    ----------
    style : Style
    picture : (H, W, 3) uint8 RGB array
        Not changed.
    labels : (H, W) array of integers
    background : (H, W, 3) uint8 RGB array
        What `background` shows behind the objects.
    trails : Trails
        What `trails` draws.

    Returns
    -------
    (H, W, 3) uint8 RGB array
    """
    if style == "overlay":
        return overlay(picture, labels, tags=False)
    if style == "outline":
        return overlay(picture, labels, alpha=0.0, tags=False)
    if style == "trails":
        shown = overlay(picture, labels, alpha=0.25, tags=False)
        if trails is not None:
            trails.draw(shown)
        return shown
    if style == "cutout":
        behind = np.zeros_like(picture)
    elif style == "blur-background":
        import cv2

        sigma = max(2.0, min(picture.shape[:2]) / 40)
        behind = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    elif background is not None:
        behind = background
    else:
        raise UsageError("style background needs a picture; give one (--background)")
    return np.where((labels > 0)[..., None], picture, behind)


class Trails:
    """Where objects were on the last frames.

    Parameters
    ----------
    length : int
        Frames that are kept of each object, at least 1.
    """

    def __init__(self, length: int = 50) -> None:
        if length < 1:
            raise UsageError(f"trails of {length} frames; they have at least 1")
        self._length = length
        self._ways: dict[int, deque[tuple[int, tuple[float, float]]]] = {}

    def add(self, frame: int, places: Mapping[int, tuple[float, float]]) -> None:
        """Add the centroids of a frame by object, and forget what lies too far back."""
        for object_id, place in places.items():
            self._ways.setdefault(object_id, deque()).append((frame, place))
        for object_id, way in list(self._ways.items()):
            while way and way[0][0] <= frame - self._length:
                way.popleft()
            if not way:
                del self._ways[object_id]

    def draw(self, picture: Picture) -> None:
        """Draw them into a picture, brighter where they are newer; a gap is a gap."""
        import cv2

        width = max(1, round(min(picture.shape[:2]) / 240))
        for object_id, way in self._ways.items():
            tone = np.array(colour(object_id), float)
            tone *= 255 / max(1.0, tone.max())
            last = way[-1][0]
            for (t0, start), (t1, end) in zip(way, list(way)[1:], strict=False):
                if t1 != t0 + 1:
                    continue
                fresh = 1 - (last - t1) / self._length
                points = [tuple(round(16 * v) for v in point) for point in (start, end)]
                rgb = tuple(float(v) for v in tone * (0.35 + 0.65 * fresh))
                cv2.line(picture, points[0], points[1], rgb, width, cv2.LINE_AA, 4)
