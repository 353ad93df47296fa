"""How sure tracking is of an object, frame by frame, in a strip that can be clicked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["Timeline"]

_RGB = QImage.Format.Format_RGB888
_GROUND = (38, 41, 48)
_LOW, _MIDDLE, _HIGH = (np.array(c, float) for c in ((217, 54, 54), (217, 215, 54), (54, 217, 51)))


class Timeline(QWidget):
    """Bars of confidence over all frames: high and green is sure, low and red is not.

    Ticks at the bottom are frames on which a person said something. A click goes to its frame.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._sure: dict[int, float] = {}
        self._prompted: list[int] = []
        self._frames, self._now = 1, 0
        self.setFixedHeight(56)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "How sure tracking is of the selected object on each frame; ticks are frames that you "
            "prompted. Click to go to a frame; J goes to the least sure one."
        )

    def show_object(self, sure: Mapping[int, float], prompted: Any, frames: int) -> None:
        """Show these values, 0 to 1 by frame."""
        self._sure, self._prompted, self._frames = dict(sure), list(prompted), max(1, frames)
        self.update()

    def show_frame(self, frame: int) -> None:
        """Mark where the viewer is."""
        self._now = frame
        self.update()

    def frame_at(self, x: float) -> int:
        """The frame under a place."""
        # So that the last pixel is the last frame, where frames are more than pixels, too.
        share = x / max(1, self.width() - 1) if self._frames > self.width() else x / self.width()
        return min(self._frames - 1, max(0, int(share * self._frames)))

    def mousePressEvent(self, event: Any) -> None:
        """Go to the frame."""
        self.chosen.emit(self.frame_at(event.position().x()))

    mouseMoveEvent = mousePressEvent

    def paintEvent(self, _: Any) -> None:
        """Draw: columns of pixels, each with the worst of its frames."""
        painter = QPainter(self)
        width, height = self.width(), self.height()
        # One call in place of one a bar: in each the thread that tracks may come in between.
        bars = _bars(self._sure, self._frames, width, height)
        painter.drawImage(0, 0, QImage(bars.data, width, height, 3 * width, _RGB))
        painter.setPen(QPen(Qt.GlobalColor.white, 2))
        for frame in self._prompted:
            x = (frame + 0.5) * width / self._frames
            painter.drawLine(QPointF(x, height - 7), QPointF(x, height))
        x = (self._now + 0.5) * width / self._frames
        painter.setPen(QPen(QColor(255, 215, 0), 1))
        painter.drawLine(QPointF(x, 0), QPointF(x, height))
        painter.end()


def _bars(sure: Mapping[int, float], frames: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Bars of confidence, red over yellow to green, as (height, width, 3) uint8."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = _GROUND
    if not sure or not width:
        return picture
    numbers = np.fromiter(sure, int, len(sure))
    values = np.fromiter(sure.values(), float, len(sure))
    worst = np.full(width, np.inf)
    np.minimum.at(worst, np.clip(numbers * width // frames, 0, width - 1), values)
    # Where frames are wider than a pixel, each fills the columns up to the next.
    starts = np.arange(width) * frames // width * width // frames if frames < width else None
    if starts is not None:
        worst = worst[starts]
    top, base = 4, height - 8
    tall = np.maximum(2, np.where(np.isfinite(worst), worst, 0) * (base - top))
    rows = np.arange(height)[:, None]
    filled = (rows < base) & (rows >= base - tall) & np.isfinite(worst)
    share = np.clip(np.where(np.isfinite(worst), worst, 0), 0, 1)[:, None]
    colours = np.where(
        share < 0.5,
        _LOW + (_MIDDLE - _LOW) * share * 2,
        _MIDDLE + (_HIGH - _MIDDLE) * (share * 2 - 1),
    )
    picture[filled] = np.broadcast_to(colours, picture.shape)[filled]
    return picture
