"""Names are written in the list of objects; keys pressed there are real ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QColorDialog, QLineEdit

from napari_sam2track.keys import KEYS
from napari_sam2track.table import ObjectTable
from napari_sam2track.view import Row
from tests.napari.hands import click

pytestmark = pytest.mark.viewer


@pytest.fixture
def acted(opened: Any) -> Iterator[list[str]]:
    """What keys of the session did, in a list of two objects."""
    found: list[str] = []
    opened.viewer.window.show()  # nothing is written in a list that is not seen
    QApplication.processEvents()
    for which in (0, 1):
        opened.select(which + 1)
        click(opened, which, 0)
    for layer in (opened.layers.clicks, opened.layers.boxes, opened.layers.masks):
        for key, (name, _) in KEYS.items():
            layer.bind_key(key, lambda _, name=name: found.append(name), overwrite=True)
    yield found


def editor_of(table: Any, line: int) -> QLineEdit:
    """Begin to write a name, as a double-click on it does."""
    table.setFocus()
    table.editItem(table.item(line, 2))
    (editor,) = table.findChildren(QLineEdit)
    return editor


def test_a_name_is_kept_while_masks_arrive(opened: Any, acted: list[str]) -> None:
    table = opened.table
    editor = editor_of(table, 0)
    QTest.keyClicks(editor, "nq")
    opened.change("lock", lambda s: s.tracker.lock(2))  # which shows all rows anew
    assert opened.wait()
    assert editor.text() == "nq"
    QTest.keyClicks(editor, "gJ")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    QApplication.processEvents()
    assert opened.wait()
    assert acted == []
    rows = opened.view.rows()
    assert [row.name for row in rows] == ["nqgJ", ""]
    assert [table.item(line, 2).text() for line in range(2)] == ["nqgJ", ""]
    assert [table.item(line, 5).text() for line in range(2)] == ["to track", "locked, to track"]


def test_the_tabulator_goes_on_to_what_is_below_the_list(opened: Any, acted: list[str]) -> None:
    window = opened.viewer.window.main_menu.window()
    opened.table.setFocus()
    QTest.keyClick(opened.table, Qt.Key.Key_Tab)
    assert window.focusWidget() is opened.next_button
    QTest.keyClick(opened.next_button, Qt.Key.Key_Backtab)
    assert window.focusWidget() is opened.table


def test_letters_begin_no_name_and_are_keys_of_the_session(opened: Any, acted: list[str]) -> None:
    table = opened.table
    table.setCurrentCell(0, 2)
    QTest.keyClicks(table, "nq")
    assert not table.findChildren(QLineEdit)
    assert acted == ["next_object", "track"]
    QTest.keyClick(table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert acted[2:] == ["undo"]
    QTest.keyClick(table, Qt.Key.Key_Down)
    assert table.currentRow() == 1
    assert [row.name for row in opened.view.rows()] == ["", ""]


@pytest.mark.parametrize("key", [Qt.Key.Key_Delete, Qt.Key.Key_Backspace])
def test_what_deletes_in_the_list_is_of_its_rows(opened: Any, key: Any) -> None:
    """Not of the click that is still selected, which is another object's."""
    for which in (0, 1):
        opened.select(which + 1)
        click(opened, which, 0)
    clicks, table = opened.layers.clicks, opened.table
    clicks.selected_data = {1}
    opened.viewer.layers.selection.active = clicks
    table.chosen.emit(1)
    QTest.keyClick(table, key)
    assert opened.wait()
    assert opened.message.text() == "object 1 is gone; Ctrl+Z brings it back"
    assert [row.object_id for row in opened.view.rows()] == [2]


def test_all_rows_are_selected_and_deleted_with_keys(opened: Any) -> None:
    """Also where clicks belong to an object that is not there yet."""
    for which in (0, 1):
        opened.select(which + 1)
        click(opened, which, 0)
    opened.next_object()
    QTest.keyClick(opened.table, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert opened.table.selected() == [1, 2]
    QTest.keyClick(opened.table, Qt.Key.Key_Delete)
    assert opened.wait()
    assert opened.view.rows() == []
    opened.undo()
    assert opened.wait()
    assert [row.object_id for row in opened.view.rows()] == [1, 2]


def test_a_hidden_object_stays_so_when_the_project_is_opened_again(opened: Any) -> None:
    for which in (0, 1):
        opened.select(which + 1)
        click(opened, which, 0)
    opened.table.item(1, 3).setCheckState(Qt.CheckState.Unchecked)
    assert opened.wait()
    opened.begin()
    assert opened.wait()
    ticks = [opened.table.item(line, 3).checkState() for line in range(2)]
    assert ticks == [Qt.CheckState.Checked, Qt.CheckState.Unchecked]
    colours = opened.layers.masks.colormap
    assert colours.map(2)[3] == 0 and colours.map(1)[3] == 1
    opened.table.item(1, 3).setCheckState(Qt.CheckState.Checked)
    assert opened.wait()
    assert opened.layers.masks.colormap.map(2)[3] == 1
    assert opened.session.project.meta["hidden"] == []


def test_a_refused_name_goes_and_lines_that_are_as_before_stay(
    opened: Any, acted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 200 objects the viewer stood still for a second after each click."""
    table = opened.table
    opened.change("lock", lambda s: s.tracker.lock(2))
    assert opened.wait()
    lines: list[int] = []
    show = table._show_line
    monkeypatch.setattr(table, "_show_line", lambda n, line: (lines.append(n), show(n, line)))
    click(opened, 0, 3)
    assert opened.wait()
    assert lines == []
    opened.change("rename", lambda s: s.tracker.rename(1, "cell"))
    assert opened.wait()
    assert lines == [0] and table.item(0, 2).text() == "cell"
    table.item(1, 2).setText("other")
    assert opened.wait()
    assert table.item(1, 2).text() == "" and lines == [0, 1]
    table.item(1, 4).setCheckState(Qt.CheckState.Unchecked)
    assert opened.wait()
    assert [row.locked for row in opened.view.rows()] == [False, False]
    assert table.item(1, 5).text() == "to track"


def test_of_hundreds_of_objects_those_are_shown_anew_that_changed(
    qapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, there = ObjectTable(), list(range(1, 301))
    rows = {i: Row(i, "", False, None, None, "tracked", 0.9, 3) for i in there}
    table.show_rows([rows[i] for i in there], {}, 1)
    shown: list[int] = []
    fits: list[bool] = []
    show, fit = table._show_line, table._fit
    monkeypatch.setattr(table, "_show_line", lambda n, line: (shown.append(n), show(n, line)))
    monkeypatch.setattr(table, "_fit", lambda on: (fits.append(on), fit(on)))
    table.selectAll()
    turns: list[Any] = []
    table.selectionModel().selectionChanged.connect(lambda *change: turns.append(change))

    def texts() -> list[str]:
        return [table.item(line, 1).text() for line in range(table.rowCount())]

    for left, came in ((there[:50] + there[51:], []), (there, [50]), (there[:9], []), ([], [])):
        del shown[:], fits[:]
        table.show_rows([rows[i] for i in left], {}, 1)
        assert texts() == [str(i) for i in left]
        assert shown == came
        assert fits == [False, True]
    table.show_rows([rows[i] for i in there], {}, 1)
    table.selectAll()
    del shown[:], fits[:], turns[:]
    rows[7] = replace(rows[7], name="cell")
    table.show_rows(list(rows.values()), {}, 1)
    assert (shown, fits) == ([6], [False, True]) and len(turns) <= 2
    assert table.selected() == there
    assert table.item(6, 2).text() == "cell"


@pytest.mark.parametrize("left", [[2], [1], []])
def test_a_colour_is_of_the_object_on_which_it_was_asked_for(
    qapp: Any, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    """Lines come and go while the dialog is open: what was asked for before is answered then."""
    table, recoloured = ObjectTable(), []
    table.recoloured.connect(lambda *given: recoloured.append(given))
    rows = {i: Row(i, "", False, None, None, "tracked", 0.9, 3) for i in (1, 2)}
    table.show_rows(list(rows.values()), {}, 1, hidden=[2])

    def choose(**_: Any) -> QColor:
        table.show_rows([rows[i] for i in left], {}, 1, hidden=[2])
        return QColor("red")

    monkeypatch.setattr(QColorDialog, "getColor", choose)
    table.cellDoubleClicked.emit(1, 0)
    assert recoloured == [(2, (1.0, 0.0, 0.0, 1.0), False)]
