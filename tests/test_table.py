"""The table, byte by byte where it matters."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from sam2track.errors import OutputError, UsageError
from sam2track.stored import Stored
from sam2track.table import COLUMNS, TableWriter, TrackRow, row
from tests.faults import file_limit

HEADER = (
    "frame,time_s,object,name,area_px,centroid_x,centroid_y,x0,y0,x1,y1,"
    "object_score,predicted_iou,source\n"
)


def square():
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[4:8, 10:13] = True
    return mask


def test_rows_byte_by_byte(tmp_path):
    path = tmp_path / "tracks.csv"
    with TableWriter(path) as table:
        assert list(tmp_path.iterdir()) == [tmp_path / ".tracks.csv.partial"]
        table.write_cells(
            row(
                square(),
                frame=3,
                time=3 / 29.97,
                object_id=1,
                name='a "cell", größer',
                object_score=np.float32(12.34567),
                predicted_iou=np.float32(0.98768),
                source="prompted",
            ).cells()
        )
        table.write_cells(
            row(square() & False, frame=4, time=4, object_id=1, source="edited").cells()
        )
    assert path.read_bytes().decode() == (
        HEADER
        + '3,0.100100,1,"a ""cell"", größer",12,11.00,5.50,10,4,13,8,12.3457,0.9877,prompted\n'
        + "4,4.000000,1,,0,,,,,,,,,edited\n"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_any_csv_reader_gives_the_names_back(tmp_path):
    names = ["plain", "two\nlines", "semi;colon", "'", "日本", ""]
    with TableWriter(tmp_path / "t.csv") as table:
        for index, name in enumerate(names):
            table.write_cells(
                row(
                    square(), frame=index, time=0.0, object_id=2, name=name, source="forward"
                ).cells()
            )
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["name"] for r in rows] == names
    assert all(tuple(r) == COLUMNS for r in rows)


def test_rows_from_a_project_give_the_names_back_too():
    names = dict(enumerate(["plain", "two\nlines", "two\rlines", "a,b", '"'], start=1))
    found = [(0, number, 0, 1.0, 1.0, 0, *[None] * 6) for number in names]
    lines = Stored(found, names, {0: 0.0}, ()).lines()
    rows = list(csv.reader(io.StringIO(lines, newline="")))
    assert [r[3] for r in rows] == list(names.values())


def test_scores_that_are_not_numbers_are_blank():
    made = row(
        square(),
        frame=0,
        time=0.0,
        object_id=1,
        object_score=math.nan,
        predicted_iou=None,
        source="carried",
    )
    assert made.cells()[-3:] == ("", "", "carried")


def test_sources_are_known():
    for source in ("prompted", "forward", "backward", "carried", "edited"):
        row(square(), frame=0, time=0.0, object_id=1, source=source)
    with pytest.raises(UsageError, match="source is one of prompted"):
        TrackRow(0, 0.0, 1, "", 0, None, None, None, None, "guessed")


def test_an_aborted_table_leaves_the_old_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("old")
    with pytest.raises(KeyError), TableWriter(path) as table:
        table.write_cells(row(square(), frame=0, time=0.0, object_id=1, source="forward").cells())
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    table.close()
    with pytest.raises(UsageError, match="closed"):
        table.write_cells(row(square(), frame=0, time=0.0, object_id=1, source="forward").cells())


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*No such file"):
        TableWriter(tmp_path / "missing" / "t.csv")
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(OutputError, match="cannot write"), TableWriter(tmp_path / "t.csv"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_names_that_are_no_text(tmp_path):
    with (
        pytest.raises(OutputError, match="no valid text"),
        TableWriter(tmp_path / "t.csv") as table,
    ):
        table.write_cells(
            row(square(), frame=0, time=0.0, object_id=1, name="\ud800", source="forward").cells()
        )
        table.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [1, 2000])
def test_a_full_disk(tmp_path, rows):
    with (
        file_limit(100),
        pytest.raises(OutputError, match="File too large"),
        TableWriter(tmp_path / "t.csv") as table,
    ):
        for frame in range(rows):
            table.write_cells(
                row(square(), frame=frame, time=0.0, object_id=1, source="forward").cells()
            )
    assert list(tmp_path.iterdir()) == []
