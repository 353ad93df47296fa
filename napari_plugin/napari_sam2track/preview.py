"""A window with the picture that the model sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_sam2track.opening import Choice
    from sam2track.frames.source import FrameSource

__all__ = ["Preview"]

_SIDE = 384


class Preview(QDialog):
    """The frame that is shown, with the axes, values and channels that are chosen."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("What the model sees")
        layout = QVBoxLayout(self)
        self.picture = QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setMinimumSize(_SIDE, _SIDE // 2)
        self._busy = False
        self.missed = False  # whether something else was to be shown meanwhile
        self._opened: tuple[Any, FrameSource] | None = None
        self.told = QLabel()
        self.told.setWordWrap(True)
        layout.addWidget(self.picture)
        layout.addWidget(self.told)

    def reader(
        self, choice: Choice, frame: int, source: FrameSource | None
    ) -> Callable[[], tuple[npt.NDArray[np.uint8], str]] | None:
        """What a worker is to do for ``show_picture``; nothing while it is at another one.

        Parameters
        ----------
        choice : Choice
            What is read where there is no source yet.
        frame : int
        source : FrameSource, optional
            That of the session that is open.
        """
        if self._busy:
            self.missed = True
            return None
        self._busy, self.missed = True, False

        def read() -> tuple[npt.NDArray[np.uint8], str]:
            used = source
            if used is None:
                key = tuple(map(id, choice.arrays)), choice.axes, choice.limits
                if self._opened is None or self._opened[0] != key:
                    self._opened = key, choice.source()
                used = self._opened[1]
            limits = getattr(used, "limits", None)
            told = f"; {_named(limits)} become black and white" if limits is not None else ""
            return used.read(frame), f"frame {frame} of {len(used)}{told}"

        return read

    def free(self) -> None:
        """Read another one when asked to."""
        self._busy = False

    def show_picture(self, picture: npt.NDArray[np.uint8], told: str) -> None:
        """Show an (H, W, 3) picture and a line on it."""
        height, width = picture.shape[:2]
        data: Any = np.ascontiguousarray(picture)
        image = QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888)
        # A copy: the image does not hold the array.
        pixmap = QPixmap.fromImage(image.copy()).scaled(
            _SIDE,
            _SIDE,
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        self.picture.setPixmap(pixmap)
        # Else a label that was told its least size cuts off what is higher.
        self.picture.setMinimumSize(_SIDE, pixmap.height())
        self.told.setText(told)


def _named(limits: Any) -> str:
    pairs = [limits] if np.ndim(limits) == 1 else limits
    return ", ".join(f"{low:g} and {high:g}" for low, high in pairs)
