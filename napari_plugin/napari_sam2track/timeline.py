"""How sure tracking is of an object, frame by frame, in a strip that can be clicked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["Timeline"]


class Timeline(QWidget):
    """Bars of confidence over all frames: high and green is sure, low and red is not.

    Ticks at the bottom are frames on which a person said something. A click goes to its frame.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
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
        return min(self._frames - 1, max(0, int(x / max(1, self.width()) * self._frames)))

    def mousePressEvent(self, event: Any) -> None:
        """Go to the frame."""
        self.chosen.emit(self.frame_at(event.position().x()))

    mouseMoveEvent = mousePressEvent

    def paintEvent(self, _: Any) -> None:
        """Draw: columns of pixels, each with the worst of its frames."""
        painter = QPainter(self)
        width, height = self.width(), self.height()
        painter.fillRect(self.rect(), QColor(38, 41, 48))
        worst: dict[int, float] = {}
        step = max(1.0, width / self._frames)
        for frame, value in self._sure.items():
            column = int(frame * width / self._frames)
            worst[column] = min(value, worst.get(column, 1.0))
        top, base = 4, height - 8
        for column, value in worst.items():
            tall = max(2.0, value * (base - top))
            painter.fillRect(
                QRectF(column, base - tall, step + 1, tall),
                QColor.fromHsvF(value * 0.33, 0.75, 0.85),
            )
        painter.setPen(QPen(Qt.GlobalColor.white, 2))
        for frame in self._prompted:
            x = (frame + 0.5) * width / self._frames
            painter.drawLine(QPointF(x, base + 1), QPointF(x, height))
        x = (self._now + 0.5) * width / self._frames
        painter.setPen(QPen(QColor(255, 215, 0), 1))
        painter.drawLine(QPointF(x, 0), QPointF(x, height))
        painter.end()
