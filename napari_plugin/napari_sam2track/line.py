"""A label whose text may be of any length, and of whatever names people give to files."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

__all__ = ["Line"]

_LONG = re.compile(r"\S{16,}")
_MAY_BREAK = "\u200b"  # a space of no width
_JOINER = "\u200d"  # of emoji that are drawn as one
_VIRAMA = 9  # class of the signs that bind the letters of India


class Line(QLabel):
    """Plain text that is broken within long words, too.

    Else one long name of a file widens the dock, and the window with it; neither goes back.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)  # whatever signs a name has
        self.setText(text)

    def setText(self, text: str) -> None:
        """Show this."""
        self._said = text
        super().setText(_LONG.sub(lambda word: _breakable(word[0]), text))

    def text(self) -> str:
        """What was to be shown."""
        return self._said


def _breakable(word: str) -> str:
    """Let a word be broken between its signs, but not where these are drawn as one."""
    return word[0] + "".join(
        after if _joined(before, after) else _MAY_BREAK + after for before, after in pairwise(word)
    )


def _joined(before: str, after: str) -> bool:
    """Whether two signs are drawn as one, or as letters that hang together."""
    if _JOINER in (before, after) or unicodedata.combining(before) == _VIRAMA:
        return True
    # Accents and vowels that stand on a letter, and colours of skin.
    if unicodedata.category(after)[0] == "M" or "\U0001f3fb" <= after <= "\U0001f3ff":
        return True
    flag = all("\U0001f1e6" <= sign <= "\U0001f1ff" for sign in (before, after))
    return flag or all(unicodedata.bidirectional(sign) in ("AL", "NSM") for sign in (before, after))
