"""How the dock widget looks: controls, tooltips, and what they show; knows no session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction, QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam2track.axes import Axes
from napari_sam2track.session import Row
from napari_sam2track.timeline import Timeline

__all__ = ["ObjectTable", "Panel"]

_MODELS = ("auto", "nano", "sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large")
_COLUMNS = ("", "id", "name", "shown", "lock", "state", "worst")


class ObjectTable(QTableWidget):
    """The objects: colour, id, name, whether shown and locked, state and worst confidence."""

    chosen = Signal(int)
    renamed = Signal(int, str)
    locked = Signal(int, bool)
    recoloured = Signal(int, object, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        self.verticalHeader().setVisible(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(22)
        self.setMinimumHeight(90)
        self.setToolTip(
            "Objects. Click one to prompt it; Ctrl+click a second to merge or swap. Double-click a "
            "name to change it, a colour to choose another."
        )
        self._quiet = False
        self.itemChanged.connect(self._on_item)
        self.itemSelectionChanged.connect(self._on_selection)
        self.cellDoubleClicked.connect(self._on_double)

    def show_rows(
        self, rows: Sequence[Row], colours: Mapping[int, tuple[float, ...]], selected: int
    ) -> None:
        """Show these objects."""
        hidden = {i for i in self._ids() if not self._checked(i, 3)}
        also = set(self.selected())
        self._quiet = True
        self.setRowCount(len(rows))
        for line, row in enumerate(rows):
            # An icon: a background would not be seen where the row is selected.
            picture = QPixmap(16, 16)
            picture.fill(QColor.fromRgbF(*colours.get(row.object_id, (1, 1, 1, 1))))
            swatch = QTableWidgetItem(QIcon(picture), "")
            name = QTableWidgetItem(row.name)
            number = QTableWidgetItem(str(row.object_id))
            if row.mother is not None:
                number.setToolTip(f"daughter of {row.mother}")
                name.setToolTip(f"daughter of {row.mother}")
            worst = "" if row.worst is None else f"{row.worst:.2f}"
            cells = [
                swatch,
                number,
                name,
                _check(row.object_id not in hidden),
                _check(row.locked),
                QTableWidgetItem(row.state),
                QTableWidgetItem(worst),
            ]
            for column, cell in enumerate(cells):
                if column != 2:
                    cell.setFlags(cell.flags() & ~Qt.ItemFlag.ItemIsEditable)
                self.setItem(line, column, cell)
        self._quiet = False
        self.select(selected, also)

    def select(self, object_id: int, also: Any = ()) -> None:
        """Mark an object, and keep others that are marked."""
        self._quiet = True
        self.clearSelection()
        for line, number in enumerate(self._ids()):
            if number == object_id or (object_id in also and number in also):
                for column in range(self.columnCount()):
                    item = self.item(line, column)
                    if item is not None:
                        item.setSelected(True)
        self._quiet = False

    def selected(self) -> list[int]:
        """Objects that are marked."""
        ids = self._ids()
        return sorted({ids[item.row()] for item in self.selectedItems()})

    def _ids(self) -> list[int]:
        cells = [self.item(line, 1) for line in range(self.rowCount())]
        return [int(cell.text()) for cell in cells if cell is not None]

    def _checked(self, object_id: int, column: int) -> bool:
        item = self.item(self._ids().index(object_id), column)
        return item is None or item.checkState() == Qt.CheckState.Checked

    def _on_item(self, item: Any) -> None:
        if self._quiet:
            return
        object_id = self._ids()[item.row()]
        if item.column() == 2:
            self.renamed.emit(object_id, item.text())
        elif item.column() == 3:
            self.recoloured.emit(object_id, None, self._checked(object_id, 3))
        elif item.column() == 4:
            self.locked.emit(object_id, self._checked(object_id, 4))

    def _on_selection(self) -> None:
        chosen = self.selected()
        if not self._quiet and len(chosen) == 1:
            self.chosen.emit(chosen[0])

    def _on_double(self, line: int, column: int) -> None:
        if column == 0:
            colour = QColorDialog.getColor(parent=self)
            if colour.isValid():
                object_id = self._ids()[line]
                self.recoloured.emit(object_id, colour.getRgbF(), self._checked(object_id, 3))


class Panel(QWidget):
    """All controls, each with a tooltip."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(4)
        self._axis_boxes: list[tuple[int, QSpinBox]] = []
        self._axes: Axes | None = None
        layout.addLayout(self._source_part())
        self.table = ObjectTable()
        layout.addWidget(self.table, 1)
        layout.addLayout(self._object_part())
        self.timeline = Timeline()
        layout.addWidget(self.timeline)
        layout.addLayout(self._track_part())
        self.message = QLabel("open a video or a stack, then press Begin")
        self.message.setWordWrap(True)
        self.message.setMinimumHeight(34)
        layout.addWidget(self.message)
        self.show_tracking(False)

    def _source_part(self) -> QFormLayout:
        form = QFormLayout()
        form.setSpacing(4)
        self.image_box = QComboBox()
        self.image_box.setToolTip("The image layer to track in")
        self.image_box.setMinimumContentsLength(12)
        form.addRow("Image", self.image_box)
        self._axis_row = QHBoxLayout()
        self.time_box = QComboBox()
        self.time_box.setToolTip("The axis along which objects are followed")
        self.time_box.currentIndexChanged.connect(self._show_axes)
        self._axis_row.addWidget(self.time_box)
        form.addRow("Time", self._axis_row)
        row = QHBoxLayout()
        self.model_box = QComboBox()
        self.model_box.addItems(list(_MODELS))
        self.model_box.setEditable(True)
        self.model_box.setToolTip(
            "auto: the best SAM 2.1 on this disk that the device carries, else nano, which is "
            "always here. A checkpoint's path will do too."
        )
        self.device_box = QComboBox()
        self.device_box.addItems(["auto", "cpu", "cuda", "mps"])
        self.device_box.setToolTip("Where the model runs")
        row.addWidget(self.model_box, 1)
        row.addWidget(self.device_box)
        form.addRow("Model", row)
        row = QHBoxLayout()
        self.project_edit = QLineEdit()
        self.project_edit.setToolTip(
            "The project file: everything is saved there as you go. One that is there is gone on "
            "with; the command line reads it too."
        )
        self.project_button = _button("…", "Choose another project file")
        self.project_button.setMaximumWidth(28)
        row.addWidget(self.project_edit, 1)
        row.addWidget(self.project_button)
        form.addRow("Project", row)
        row = QHBoxLayout()
        self.begin_button = _button("Begin", "Open the image with this model and project")
        self.model_memory = QLabel("not open")
        self.model_memory.setToolTip("The model that is loaded and where it runs")
        self.help_button = _button("Keys", "Show all keys (Shift+H)")
        row.addWidget(self.begin_button)
        row.addWidget(self.model_memory, 1)
        row.addWidget(self.help_button)
        form.addRow(row)
        return form

    def _object_part(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.next_button = _button("Next object", "Clicks begin a new object (N)")
        self.background_button = _button(
            "Background", "Clicks say what does not belong to the object (G, or hold Control)"
        )
        self.background_button.setCheckable(True)
        self.undo_button = _button("Undo", "Take back the last step (Ctrl+Z)")
        self.redo_button = _button("Redo", "Put it back (Ctrl+Shift+Z)")
        self.identity_button = QToolButton()
        self.identity_button.setText("Object")
        self.identity_button.setToolTip("Merge, swap, split, end, divide or delete objects")
        self.identity_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.identity_button)
        self.identity_actions = {
            "merge": QAction("Merge the two that are selected", menu),
            "swap": QAction("Swap the two that are selected, from this frame on", menu),
            "split": QAction("Split: a new object from this frame on", menu),
            "end_here": QAction("End before this frame", menu),
            "divide": QAction("Divide into the objects that begin on this frame", menu),
            "delete": QAction("Delete", menu),
        }
        for action in self.identity_actions.values():
            menu.addAction(action)
        self.identity_button.setMenu(menu)
        for control in (
            self.next_button,
            self.background_button,
            self.identity_button,
            self.undo_button,
            self.redo_button,
        ):
            row.addWidget(control)
        return row

    def _track_part(self) -> QVBoxLayout:
        whole = QVBoxLayout()
        whole.setSpacing(4)
        row = QHBoxLayout()
        self.backward_button = _button("◀ Track", "Track backward what has changed")
        self.both_button = _button("Track", "Track what has changed, both ways (Q)")
        self.forward_button = _button("Track ▶", "Track forward what has changed")
        self.next_fixed_button = _button(
            "To fixed", "Track both ways, no further than to frames that you fixed (Shift+Q)"
        )
        for control in (
            self.backward_button,
            self.both_button,
            self.forward_button,
            self.next_fixed_button,
        ):
            row.addWidget(control)
        whole.addLayout(row)
        row = QHBoxLayout()
        self.range_button = _button("Track range", "Track what has changed in these frames alone")
        self.range_low, self.range_high = QSpinBox(), QSpinBox()
        self.range_low.setToolTip("The first frame of the range")
        self.range_high.setToolTip("The last frame of the range")
        self.follow_box = QCheckBox("Follow")
        self.follow_box.setChecked(True)
        self.follow_box.setToolTip("Show each frame as it is tracked")
        self.export_button = _button("Export…", "Write masks, videos and a table into a folder")
        for part in (
            self.range_button,
            self.range_low,
            self.range_high,
            self.follow_box,
            self.export_button,
        ):
            row.addWidget(part)
        whole.addLayout(row)
        row = QHBoxLayout()
        self.progress = QProgressBar()
        self.progress.setToolTip("Frames tracked, and the time that is left")
        self.pause_button = _button("Pause", "Hold after this frame, or go on")
        self.cancel_button = _button("Stop", "End; frames that are done are kept")
        row.addWidget(self.progress, 1)
        row.addWidget(self.pause_button)
        row.addWidget(self.cancel_button)
        whole.addLayout(row)
        return whole

    # -- what it shows ------------------------------------------------------------------

    def list_images(self, images: Sequence[tuple[str, Any]]) -> None:
        """Offer these layers; the chosen one stays chosen where it still is there."""
        chosen = self.image_box.currentData()
        self.image_box.blockSignals(True)
        self.image_box.clear()
        for name, layer in images:
            self.image_box.addItem(name, layer)
        layers = [layer for _, layer in images]
        self.image_box.setCurrentIndex(
            layers.index(chosen) if chosen in layers else len(layers) - 1
        )
        self.image_box.blockSignals(False)
        if self.image_box.currentData() is not chosen:
            self.image_box.currentIndexChanged.emit(self.image_box.currentIndex())

    def propose(self, axes: Axes, labels: Sequence[str]) -> None:
        """Offer ways to read these axes, beginning with this one."""
        self._axes = axes
        self._labels = [*labels, *[f"axis {i}" for i in range(len(labels), len(axes.shape))]]
        self.time_box.blockSignals(True)
        self.time_box.clear()
        for axis in range(len(axes.shape) - 2):
            self.time_box.addItem(f"{self._labels[axis]} ({axes.shape[axis]})", axis)
        self.time_box.setCurrentIndex(axes.time)
        self.time_box.blockSignals(False)
        self._show_axes()

    def _show_axes(self, _: Any = None) -> None:
        for _, box in self._axis_boxes:
            self._axis_row.removeWidget(box)
            box.deleteLater()
        self._axis_boxes = []
        if self._axes is None:
            return
        known = dict(self._axes.fixed)
        for axis in range(len(self._axes.shape) - 2):
            if axis == self.time_box.currentData():
                continue
            box = QSpinBox()
            box.setRange(-1, self._axes.shape[axis] - 1)
            box.setSpecialValueText("max")
            box.setPrefix(f"{self._labels[axis]} ")
            index = known.get(axis, 0)
            box.setValue(-1 if index is None else index)
            box.setToolTip("The index that is looked at along this axis; max: the brightest of all")
            self._axis_row.addWidget(box)
            self._axis_boxes.append((axis, box))

    def chosen_axes(self) -> Axes | None:
        """How axes are to be read, as chosen.

        Raises
        ------
        UsageError
            Where they cannot be read so.
        """
        if self._axes is None:
            return None
        fixed = tuple(
            (axis, None if box.value() < 0 else box.value()) for axis, box in self._axis_boxes
        )
        return Axes(self._axes.shape, self._axes.rgb, int(self.time_box.currentData()), fixed)

    def begun(self, frames: int) -> None:
        """Set ranges for a number of frames."""
        for box in (self.range_low, self.range_high):
            box.setRange(0, frames - 1)
        self.range_low.setValue(0)
        self.range_high.setValue(frames - 1)

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
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        left = (total - done) * seconds / done if done else 0
        rest = "paused" if paused else f"{left:.0f} s left" if done else "…"
        self.progress.setFormat(f"{done} of {total}, {rest}")

    def show_message(self, message: str, *, calm: bool) -> None:
        """Show a line to a person."""
        self.message.setText(message)
        self.message.setStyleSheet("" if calm else "color: #ffb454")


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _check(on: bool) -> QTableWidgetItem:
    item = QTableWidgetItem()
    item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
    item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
    return item
