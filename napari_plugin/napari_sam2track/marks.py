"""What clicks and boxes say, read from the layers that they lie on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam2track.axes import Axes
from napari_sam2track.view import Said

if TYPE_CHECKING:
    from napari.layers import Points, Shapes

__all__ = ["BACKGROUND", "OBJECT", "Key", "Marks"]

OBJECT, BACKGROUND = "object", "background"  # kinds of clicks
_LEAST_BOX = 2  # pixels each way
_SAME = 0.01  # pixels

Key = tuple[int, int]  # object and frame
_Box = tuple[float, float, float, float]
_Point = tuple[float, float, int]  # x, y, and 1 on the object


class Marks:
    """Clicks and boxes of objects on frames.

    Parameters
    ----------
    clicks : Points
        With the features ``object`` and ``kind``.
    boxes : Shapes
        With the feature ``object``.
    axes : Axes
        Theirs.
    """

    def __init__(self, clicks: Points, boxes: Shapes, axes: Axes) -> None:
        self._clicks, self._boxes, self._axes = clicks, boxes, axes

    def said(self) -> dict[Key, Said]:
        """What all of them say, by object and frame."""
        return self._read(lambda *_: True, lambda *_: True)

    @property
    def plane(self) -> str:
        """What is looked at along axes that are neither time nor the frame, in words."""
        names = self._clicks.axis_labels
        fixed = [(axis, index) for axis, index in self._axes.fixed if index is not None]
        return ", ".join(f"index {index} of axis {names[axis]}" for axis, index in fixed)

    @property
    def ends(self) -> str:
        """What is told where there is no frame."""
        last = self._axes.frames - 1
        return f"beside the frames of what is tracked; go back to one of 0 to {last}"

    @property
    def uneven(self) -> bool:
        """Whether other boxes are drawn than are said.

        Of two of an object on a frame the last one counts, and of any shape the upright rectangle
        around it, as far as it lies on the picture.
        """
        kinds, shapes = self._boxes.shape_type, self._boxes.data
        said = sum(one.box is not None for one in self.said().values())
        return len(shapes) > said or any(map(self._is_uneven, kinds, shapes))

    def _is_uneven(self, kind: str, corners: Any) -> bool:
        x0, y0, x1, y1 = (value - 0.5 for value in self._box(corners))
        sides = [(corners[:, -2], (y0, y1)), (corners[:, -1], (x0, x1))]
        on = [np.abs(np.subtract.outer(at, side)).min(1) < _SAME for at, side in sides]
        return kind != "rectangle" or not np.all(on)

    def selected(self) -> dict[int, Said]:
        """What those say that are selected, by object; of all frames together."""
        clicks: Collection[int] = self._clicks.selected_data
        boxes: Collection[int] = self._boxes.selected_data
        chosen = self._read(lambda index, *_: index in clicks, lambda index, *_: index in boxes)
        found: dict[int, Said] = {}
        for (object_id, _), said in sorted(chosen.items()):
            found[object_id] = found.get(object_id, Said()).joined(said)
        return found

    def taken(self, known: Mapping[Key, Said]) -> tuple[dict[Key, Said], dict[Key, str]]:
        """What those say that can be taken, and what is wrong with the others.

        Parameters
        ----------
        known : mapping
            What they said before; a box of it stays, whoever made it.
        """
        wrong: dict[Key, str] = {}

        def click(_: int, key: Key, at: Any) -> bool:
            told = self._wrong_click(at)
            if told:
                wrong[key] = told
            return not told

        def box(_: int, key: Key, corners: Any) -> bool:
            told = self._wrong_box(corners)
            if not told or self._box(corners) == known.get(key, Said()).box:
                return True
            wrong[key] = told
            return False

        return self._read(click, box), wrong

    def _read(
        self, click: Callable[[int, Key, Any], bool], box: Callable[[int, Key, Any], bool]
    ) -> dict[Key, Said]:
        """What those say that these functions of index, key and place choose."""
        points: dict[Key, list[_Point]] = {}
        boxes: dict[Key, _Box] = {}
        # Where a program sets the data, features follow later. A kind that is none of the two, as
        # napari's table of features lets one write, takes nothing away: it is one on the object.
        features = self._clicks.features
        rows = zip(self._clicks.data, features["object"], features["kind"], strict=False)
        for index, (at, object_id, kind) in enumerate(rows):
            key = int(object_id), self._axes.frame(at)
            if click(index, key, at):
                place = max(float(at[-1]), 0.0), max(float(at[-2]), 0.0)
                points.setdefault(key, []).append((*place, int(kind != BACKGROUND)))
        owners = self._boxes.features["object"]
        for index, (corners, object_id) in enumerate(zip(self._boxes.data, owners, strict=False)):
            key = int(object_id), self._axes.frame(corners[0])
            if box(index, key, corners):
                boxes[key] = self._box(corners)
        found = {}
        for key in points.keys() | boxes.keys():
            here = points.get(key, [])
            at = tuple((x, y) for x, y, _ in here)
            found[key] = Said(at, tuple(label for *_, label in here), boxes.get(key))
        return found

    def _box(self, corners: Any) -> _Box:
        """What of a box lies on the picture."""
        low, high = corners.min(0) + 0.5, corners.max(0) + 0.5
        return (
            float(max(low[-1], 0)),
            float(max(low[-2], 0)),
            float(min(high[-1], self._axes.width)),
            float(min(high[-2], self._axes.height)),
        )

    def _wrong_click(self, at: Any) -> str:
        """Why a click cannot be taken; empty where it can."""
        y, x = float(at[-2]), float(at[-1])
        height, width = self._axes.height, self._axes.width
        if not self._axes.shows(at):
            return f"this click lies on a plane that is not tracked; go back to {self.plane}"
        if not self._axes.has(at):
            return f"this click lies {self.ends}"
        # To the end of the last pixel, and as far as a click may lie that somebody else made.
        if -0.5 <= x <= width and -0.5 <= y <= height:
            return ""
        return (
            f"this click lies beside the picture, at ({x:.0f}, {y:.0f}) where it has {width} x "
            f"{height} pixels; click on the picture"
        )

    def _wrong_box(self, corners: Any) -> str:
        """Why a box cannot be taken; empty where it can."""
        if not self._axes.shows(corners[0]):
            return f"this box lies on a plane that is not tracked; go back to {self.plane}"
        if not self._axes.has(corners[0]):
            return f"this box lies {self.ends}"
        x0, y0, x1, y1 = self._box(corners)
        if x1 - x0 >= _LEAST_BOX and y1 - y0 >= _LEAST_BOX:
            return ""
        if x1 <= x0 or y1 <= y0:
            return "this box lies beside the picture; draw it on the picture, around an object"
        return (
            f"this box has {x1 - x0:.1f} x {y1 - y0:.1f} pixels on the picture, and needs "
            f"{_LEAST_BOX} each way; drag from one corner of the object to the other"
        )
