"""Boxes for what is looked at along an axis that is neither time nor rows nor columns."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSpinBox

from sam2track.errors import UsageError

__all__ = ["ChannelBox", "PlaneBox"]

_MAX = -1  # the maximum along it


class PlaneBox(QSpinBox):
    """One index of an axis, or the maximum along it.

    Parameters
    ----------
    label : str
    size : int
    index : int or None
    """

    changed = Signal()

    def __init__(self, label: str, size: int, index: int | None) -> None:
        super().__init__()
        self.setRange(_MAX, size - 1)
        self.setSpecialValueText("max")
        self.setPrefix(f"{label} ")
        self.setValue(_MAX if index is None else index)
        self.setToolTip("The index that is looked at along this axis; max: the brightest of all")
        self.valueChanged.connect(lambda _: self.changed.emit())

    def chosen(self) -> int | None:
        """The index, None for the maximum."""
        return None if self.value() == _MAX else self.value()


class ChannelBox(QComboBox):
    """One index of an axis of channels, the maximum, or two or three that are seen as colours.

    Parameters
    ----------
    label : str
    size : int
    now : int, None or tuple of int
    """

    changed = Signal()

    def __init__(self, label: str, size: int, now: int | tuple[int, ...] | None) -> None:
        super().__init__()
        self._label = label
        first = tuple(range(min(size, 3)))
        for one in (*range(size), None, first):
            self.addItem(self._text(one))
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setCurrentText(self._text(now))
        self.setToolTip(
            "The channel that is looked at, max for the brightest of all, or two or three that are "
            "seen as red, green and blue: write their numbers, such as 0 2 3"
        )
        self.activated.connect(lambda _: self.changed.emit())
        self.lineEdit().editingFinished.connect(self.changed)

    def _text(self, chosen: Any) -> str:
        numbers = chosen if isinstance(chosen, tuple) else (chosen,)
        return " ".join([self._label, *("max" if i is None else str(i) for i in numbers)])

    def chosen(self) -> int | tuple[int, ...] | None:
        """The index, None for the maximum, several that are seen as colours.

        Raises
        ------
        UsageError
            Where what is written there is none of these.
        """
        text = self.currentText().removeprefix(self._label).replace(",", " ")
        if text.split() == ["max"]:
            return None
        try:
            numbers = tuple(int(part) for part in text.split())
        except ValueError:
            numbers = ()
        if not numbers:
            raise UsageError(
                f"{text.strip()!r} of axis {self._label}; choose a channel, max, or write the "
                f"numbers of two or three"
            )
        return numbers if len(numbers) > 1 else numbers[0]
