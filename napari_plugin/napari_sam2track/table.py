"""The list of objects in the dock widget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from qtpy.QtCore import QItemSelection, QItemSelectionModel, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QKeySequence, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_sam2track.view import Row

__all__ = ["ObjectTable"]

_COLUMNS = ("", "id", "name", "show", "lock", "state", "worst")
_NAME = _COLUMNS.index("name")
_DELETE = (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)
_UNHELD = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)


class _Line(NamedTuple):
    """What is shown of one object."""

    row: Row
    colour: tuple[float, ...]
    hidden: bool


class ObjectTable(QTableWidget):
    """The objects: colour, id, name, whether shown and locked, state and worst confidence."""

    chosen = Signal(int)
    renamed = Signal(int, str)
    locked = Signal(int, bool)
    recoloured = Signal(int, object, bool)
    deleted = Signal()

    def __init__(self) -> None:
        super().__init__(0, len(_COLUMNS))
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        self.verticalHeader().setVisible(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._fit(True)
        self.horizontalHeader().setMinimumSectionSize(22)
        self.setMinimumHeight(90)
        self.setTabKeyNavigation(False)  # else who has no mouse never comes to what is below
        # Letters are keys of the session, and begin no name.
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self._later: tuple[Any, ...] | None = None  # rows to show once a name is written
        self._lines: list[_Line | None] = []  # what is shown; None where a person changed it
        self.setToolTip(
            "Objects. Click one to prompt it; Ctrl+click a second to merge or swap. Double-click a "
            "name to change it, a colour to choose another; Delete forgets those that are selected."
        )
        self._quiet = False
        self.itemChanged.connect(self._on_item)
        self.itemSelectionChanged.connect(self._on_selection)
        self.cellDoubleClicked.connect(self._on_double)

    def show_rows(
        self,
        rows: Sequence[Row],
        colours: Mapping[int, tuple[float, ...]],
        selected: int,
        hidden: Collection[int] = (),
    ) -> None:
        """Show these objects; while a name is being written, once that is done."""
        if self.state() == QAbstractItemView.State.EditingState:
            self._later = rows, colours, selected, hidden
            return
        also = set(self.selected())
        self._quiet = True
        wanted = [
            _Line(row, colours.get(row.object_id, (1, 1, 1, 1)), row.object_id in hidden)
            for row in rows
        ]
        if wanted != self._lines:
            self._fit(False)  # else with each cell that is set all of them are measured
            self._let_go_and_come([row.object_id for row in rows])
            for number, line in enumerate(wanted):
                if line != self._lines[number]:
                    self._show_line(number, line)
            self._lines = list(wanted)
            self._fit(True)
        self._quiet = False
        self.select(selected, also)

    def _let_go_and_come(self, ids: Sequence[int]) -> None:
        """Have a line for each of these objects; with hundreds, setting all anew takes a second."""
        there = self._ids()
        gone, new = {*there} - {*ids}, {*ids} - {*there}
        for number in reversed(range(len(there))):
            if there[number] in gone:
                self.removeRow(number)
                del self._lines[number]
        for number, object_id in enumerate(ids):
            if object_id in new:
                self.insertRow(number)
                self._lines.insert(number, None)

    def _show_line(self, number: int, line: _Line) -> None:
        row = line.row
        # An icon: a background would not be seen where the row is selected.
        picture = QPixmap(16, 16)
        picture.fill(QColor.fromRgbF(*line.colour))
        name, about = QTableWidgetItem(row.name), QTableWidgetItem(str(row.object_id))
        if row.mother is not None:
            about.setToolTip(f"daughter of {row.mother}")
            name.setToolTip(f"daughter of {row.mother}")
        cells = [
            QTableWidgetItem(QIcon(picture), ""),
            about,
            name,
            _check(not line.hidden),
            _check(row.locked),
            QTableWidgetItem(row.state),
            QTableWidgetItem("" if row.worst is None else f"{row.worst:.2f}"),
        ]
        for column, cell in enumerate(cells):
            if column != _NAME:
                cell.setFlags(cell.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self.setItem(number, column, cell)

    def _fit(self, fitting: bool) -> None:
        """Have columns as wide as what is in them, or stay as they are."""
        modes = QHeaderView.ResizeMode
        header = self.horizontalHeader()
        header.setSectionResizeMode(modes.ResizeToContents if fitting else modes.Fixed)
        header.setSectionResizeMode(_NAME, modes.Stretch)

    def select(self, object_id: int, also: Any = ()) -> None:
        """Mark an object, and keep others that are marked."""
        model, chosen = self.model(), QItemSelection()
        for line, number in enumerate(self._ids()):
            if number == object_id:
                self.scrollToItem(self.item(line, 1))
            if number == object_id or (object_id in also and number in also):
                chosen.select(model.index(line, 0), model.index(line, self.columnCount() - 1))
        self._quiet = True
        # At once: Qt looks through what is selected for each that is added.
        how = QItemSelectionModel.SelectionFlag.ClearAndSelect
        self.selectionModel().select(chosen, how)
        self._quiet = False

    def selected(self) -> list[int]:
        """Objects that are marked."""
        ids = self._ids()
        return sorted(ids[index.row()] for index in self.selectionModel().selectedRows())

    def closeEditor(self, editor: QWidget, hint: Any) -> None:
        """Show what was to be shown while a name was written."""
        super().closeEditor(editor, hint)
        later, self._later = self._later, None
        if later is not None:
            self.show_rows(*later)

    def keyPressEvent(self, event: Any) -> None:
        """Leave letters to the session; arrows choose rows, and the space bar ticks.

        What deletes is of the rows, too: a click that is still selected in its layer would be
        deleted for it, which may be another object's.
        """
        if event.key() in _DELETE and event.modifiers() in _UNHELD:
            self.deleted.emit()
        elif event.matches(QKeySequence.StandardKey.SelectAll):
            self.selectAll()
        elif event.text() and event.key() != Qt.Key.Key_Space:
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _ids(self) -> list[int]:
        cells = [self.item(line, 1) for line in range(self.rowCount())]
        return [int(cell.text()) for cell in cells if cell is not None]

    def _on_item(self, item: Any) -> None:
        if self._quiet:
            return
        self._lines[item.row()] = None  # shown anew, where it is refused, too
        object_id = self._ids()[item.row()]
        if item.column() == _NAME:
            self.renamed.emit(object_id, item.text())
        elif item.column() == 3:
            self.recoloured.emit(object_id, None, _is_checked(item))
        elif item.column() == 4:
            self.locked.emit(object_id, _is_checked(item))

    def _on_selection(self) -> None:
        if self._quiet:
            return
        chosen = self.selected()
        if len(chosen) == 1:
            self.chosen.emit(chosen[0])

    def _on_double(self, line: int, column: int) -> None:
        if column == 0:
            # Before the dialog, during which lines may come and go.
            object_id, shown = self._ids()[line], _is_checked(self.item(line, 3))
            colour = QColorDialog.getColor(parent=self)
            if colour.isValid():
                self.recoloured.emit(object_id, colour.getRgbF(), shown)


def _is_checked(item: QTableWidgetItem) -> bool:
    return bool(item.checkState() == Qt.CheckState.Checked)


def _check(on: bool) -> QTableWidgetItem:
    item = QTableWidgetItem()
    item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
    item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
    return item
