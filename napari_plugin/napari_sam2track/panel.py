"""How the dock widget looks: controls, tooltips, and what they show; knows no session."""

from __future__ import annotations

import html
from typing import Any

from qtpy.QtCore import QEvent
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QMenu,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_sam2track.form import Form
from napari_sam2track.line import Line
from napari_sam2track.table import ObjectTable
from napari_sam2track.timeline import Timeline
from napari_sam2track.words import lasting
from sam2track.export.exporting import FORMATS

__all__ = ["Panel"]

_ON_DARK, _ON_LIGHT = "#ffb454", "#a34700"  # of refusals, by what is behind them

# What is done with whole objects: as the menu calls it, and what it does.
_WHO = {
    "begin_from_labels": (
        "Begin one from each label of a layer",
        "Of a layer of labels, as Cellpose or a person gives it, those on this frame",
    ),
    "merge": (
        "Merge the two that are selected",
        "Both are one object, that of clicks; Ctrl+click the second in the list",
    ),
    "swap": (
        "Swap the two that are selected, from this frame on",
        "Where two were taken for each other; Ctrl+click the second in the list",
    ),
    "split": (
        "Split: a new object from this frame on",
        "What is shown from this frame on becomes an object of its own",
    ),
    "end_here": (
        "End before this frame",
        "The object is on no frame from this one on; later frames may be chosen, too",
    ),
    "divide": (
        "Divide into the objects that begin on this frame",
        "The object ends here, and is the mother of those selected, or that begin here",
    ),
    "delete": ("Delete", "Forget the object, its clicks and its masks"),
}


class Panel(QWidget):
    """All controls, each with a tooltip."""

    _calm = True  # whether what is said last is no refusal

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(4)
        self.form = Form(viewer)
        layout.addWidget(self.form)
        self.table = ObjectTable()
        layout.addWidget(self.table, 1)
        layout.addLayout(self._object_part())
        self.timeline = Timeline()
        layout.addWidget(self.timeline)
        layout.addLayout(self._track_part())
        self.message = Line("open a video or a stack, then press Begin")
        self.message.setMinimumHeight(34)
        layout.addWidget(self.message)
        self.show_tracking(False)

    def _object_part(self) -> QVBoxLayout:
        whole = QVBoxLayout()
        whole.setSpacing(4)
        self.next_button = _button("Next object", "Clicks begin a new object (N)")
        self.background_button = _button(
            "Background",
            "Clicks say what does not belong to the object (G, hold Control, or the right button)",
        )
        self.background_button.setCheckable(True)
        self.identity_button = _button(
            "Object", "Begin from labels, merge, swap, split, end, divide or delete objects"
        )
        menu = QMenu(self.identity_button)
        menu.setToolTipsVisible(True)
        self.identity_actions = {name: menu.addAction(text) for name, (text, _) in _WHO.items()}
        for name, action in self.identity_actions.items():
            action.setToolTip(_WHO[name][1])
        self.identity_button.setMenu(menu)
        whole.addLayout(_row(self.next_button, self.background_button, self.identity_button))
        self.undo_button = _button("Undo", "Take back the last step (Ctrl+Z)")
        self.redo_button = _button("Redo", "Put it back (Ctrl+Shift+Z)")
        self.export_button = _button(
            "Export", "Write masks, videos and a table, or what other tools read"
        )
        menu = QMenu(self.export_button)
        self.export_action = menu.addAction("Masks, videos and a table…")
        self.export_action.setToolTip("What `sam2track track` writes, into a folder")
        formats = menu.addMenu("For other tools")
        menu.setToolTipsVisible(True)
        formats.setToolTipsVisible(True)
        self.format_actions = {
            name: formats.addAction(f"{name}: {how.about}…") for name, how in FORMATS.items()
        }
        for name, action in self.format_actions.items():
            kind = "a new folder" if FORMATS[name].folder else f"a {FORMATS[name].suffix} file"
            action.setToolTip(f"Written as {kind}, where you choose")
        self.export_button.setMenu(menu)
        self.help_button = _button("Keys", "Show all keys (Shift+H)")
        whole.addLayout(
            _row(self.undo_button, self.redo_button, self.export_button, self.help_button)
        )
        return whole

    def _track_part(self) -> QVBoxLayout:
        whole = QVBoxLayout()
        whole.setSpacing(4)
        self.backward_button = _button("◀", "Track backward what has changed")
        self.both_button = _button("Track", "Track what has changed, both ways (Q)")
        self.forward_button = _button("▶", "Track forward what has changed")
        self.next_fixed_button = _button(
            "To fixed", "Track both ways, no further than to frames that you fixed (Shift+Q)"
        )
        whole.addLayout(
            _row(
                self.backward_button,
                self.both_button,
                self.forward_button,
                self.next_fixed_button,
            )
        )
        self.range_button = _button("Range", "Track what has changed in these frames alone")
        self.range_low, self.range_high = QSpinBox(), QSpinBox()
        self.range_low.setToolTip("The first frame of the range")
        self.range_high.setToolTip("The last frame of the range")
        self.follow_box = QCheckBox("Follow")
        self.follow_box.setChecked(True)
        self.follow_box.setToolTip("Show each frame as it is tracked")
        whole.addLayout(_row(self.range_button, self.range_low, self.range_high, self.follow_box))
        self.progress = QProgressBar()
        self.progress.setToolTip("Frames tracked or written, and the time that is left")
        self.pause_button = _button("Pause", "Hold after this frame, or go on")
        self.cancel_button = _button("Stop", "End; frames that are done are kept")
        row = _row(self.progress, self.pause_button, self.cancel_button)
        row.setStretch(0, 1)
        whole.addLayout(row)
        return whole

    # -- what it shows ------------------------------------------------------------------

    def begun(self, frames: int) -> None:
        """Set ranges for a number of frames."""
        for box in (self.range_low, self.range_high):
            box.setRange(0, frames - 1)
        self.range_low.setValue(0)
        self.range_high.setValue(frames - 1)

    def emptied(self) -> None:
        """Show that nothing is open."""
        self.table.show_rows([], {}, 0)
        self.timeline.show_object({}, [], 1)
        self.form.state.setText("not open")

    def show_tracking(self, under_way: bool) -> None:
        """Show progress and its buttons, or not."""
        for control in (self.pause_button, self.cancel_button):
            control.setEnabled(under_way)
        for control in (
            self.backward_button,
            self.both_button,
            self.forward_button,
            self.next_fixed_button,
            self.range_button,
        ):
            control.setEnabled(not under_way)
        self.pause_button.setText("Pause")
        if not under_way:
            self.progress.setRange(0, 1)
            self.progress.setValue(0)
            self.progress.setFormat("")

    def show_progress(self, done: int, total: int, seconds: float, paused: bool) -> None:
        """Show how far tracking is, and how long it will take."""
        # Qt paints a bar at once where its value is set, and with it the whole window is put
        # together; like this it is painted with all else that changed.
        self.progress.setUpdatesEnabled(False)
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        left = (total - done) * seconds / done if done else 0
        rest = "paused" if paused else f"{lasting(left)} left" if done else "…"
        self.progress.setFormat(f"{done} of {total}, {rest}")
        self.progress.setUpdatesEnabled(True)

    def show_message(self, message: str, *, calm: bool) -> None:
        """Show a line to a person."""
        self.message.setText(message)
        self.message.setToolTip(f"<qt>{html.escape(message)}</qt>")  # a small window cuts it off
        self._calm = calm
        self._colour_message()

    def _colour_message(self) -> None:
        """Let a refusal stand out, and be read on what the viewer's theme has behind it."""
        behind = self.palette().color(QPalette.ColorRole.Window)
        refused = _ON_LIGHT if behind.lightnessF() > 0.5 else _ON_DARK
        self.message.setStyleSheet("" if self._calm else f"color: {refused}")

    def changeEvent(self, event: QEvent) -> None:
        """Colour what is said anew where another theme was chosen."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self._colour_message()


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _row(*controls: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for control in controls:
        row.addWidget(control)
    return row
