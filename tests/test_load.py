"""Small versions of what ``make load`` and ``make soak`` measure."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load import stored
from benchmarks.soak import growth, measure
from sam2track import masks as rle
from sam2track.project import Project
from sam2track.writing import write_table

from .made import disk, write_project

NONE = np.zeros((60, 80), bool)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    tracks = {
        i: {t: disk(10 * i + t % 9, 30, 5) if t % 7 else NONE for t in range(1100)} for i in (1, 2)
    }
    return write_project(tmp_path / "p.s2t", tracks, names={2: "cell"}, carried=[3, 4])


def test_rows_are_what_the_masks_say_and_read_none(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Project.open(project) as made:
        expected = [one.row for _, found in made.observations() for one in found]
        assert len(expected) == 2200 and sum(one.area == 0 for one in expected) == 316
        assert {one.source for one in expected} == {"forward", "carried"}

        def refuse(_: bytes) -> None:
            raise AssertionError("a mask was read")

        monkeypatch.setattr(rle, "decode", refuse)
        assert list(made.rows()) == expected
        write_table(made, tmp_path)
    with (tmp_path / "tracks.csv").open(encoding="utf-8") as table:
        assert [tuple(cells) for cells in csv.reader(table)][1:] == [x.cells() for x in expected]


def test_a_table_can_be_left_in_the_middle(project: Path) -> None:
    with Project.open(project, writable=True) as made:
        rows = made.rows()
        next(rows)
        made.set_meta(note="written while rows are read")
        assert sum(1 for _ in rows) == 2199
    assert not project.with_name("p.s2t-wal").exists()


def test_load_reads_what_it_writes() -> None:
    found = stored(43)
    assert (found["rows"], found["objects"]) == (860, 20)
    assert 500 < found["bytes_per_result"] < 16_384


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_stream_leaves_nothing_behind() -> None:
    found = measure(3000, 64)
    later = [sample for sample in found["samples"] if sample["frame"] > 300]
    for key in ("files", "threads"):
        assert len({sample[key] for sample in later}) == 1
    assert growth(found) < 2000  # the first thousands of frames still fill malloc's pools
