"""A label whose text may be of any length, and of whatever names people give to files."""

from __future__ import annotations

import re

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget

__all__ = ["Line"]

_LONG = re.compile(r"\S{16,}")
_MAY_BREAK = "\u200b"  # a space of no width


class Line(QLabel):
    """Plain text that is broken within long words, too.

    Else one long name of a file widens the dock, and the window with it; neither goes back.
    """

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)  # whatever signs a name has
        self.setText(text)

    def setText(self, text: str) -> None:
        """Show this."""
        self._said = text
        super().setText(_LONG.sub(lambda word: _MAY_BREAK.join(word[0]), text))

    def text(self) -> str:
        """What was to be shown."""
        return self._said
