"""A time-lapse has one clock, in whatever is written of it; videos are played at a rate."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sam2track.frames.opening import open_source
from sam2track.project import Project
from sam2track.report import report
from sam2track.review import worst
from tests.made import HEIGHT, WIDTH, disk, write_project

INTERVAL, SIZE = 30.0, (0.5, 0.5)


@pytest.fixture
def lapse(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(200, 9000, (6, HEIGHT, WIDTH)).astype(np.uint16)
    told = {"axes": "TYX", "unit": "um", "finterval": INTERVAL}
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata=told, resolution=(2, 2))
    track = {t: disk(20 + 3 * t, 30, 8) for t in range(6)}
    return write_project(tmp_path / "p.s2t", {1: track}, source=tmp_path / "a.tif")


def test_tables_have_the_time_of_the_lapse(lapse: Path, tmp_path: Path) -> None:
    with Project.open(lapse) as project:
        assert project.time(5) == 5 * INTERVAL
        assert [row.time for row in project.rows()] == [t * INTERVAL for t in range(6)]
        table = project.table()
        assert table["time_s"].tolist() == [t * INTERVAL for t in range(6)]
        assert table["speed_um_per_s"][1] == pytest.approx(3 * 0.5 / INTERVAL)
        project.export(tmp_path / "t.csv", format="csv")
        assert {look.time for look in worst(project)} <= {t * INTERVAL for t in range(6)}
        # Played at 25 frames a second.
        assert project.times[1] == pytest.approx(0.04)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert [float(row["time_s"]) for row in csv.DictReader(file)][-1] == 5 * INTERVAL


@pytest.mark.parametrize("format", ["labels-tiff", "ome-tiff", "ome-zarr"])
def test_stacks_have_its_interval_and_pixel_size(lapse: Path, tmp_path: Path, format: str) -> None:
    suffix = ".ome.zarr" if format == "ome-zarr" else ".ome.tif" if "ome" in format else ".tif"
    out = tmp_path / f"out{suffix}"
    with Project.open(lapse) as project:
        project.export(out, format=format)
    source = open_source(out)
    assert source.about["frame_interval_s"] == pytest.approx(INTERVAL)
    assert source.about["pixel_size_um"] == pytest.approx(SIZE)
    source.close()
    given = out.with_name(f"given{suffix}")
    with Project.open(lapse) as project:
        project.export(given, format=format, pixel_size=2.0, frame_interval=7.0)
    source = open_source(given)
    assert source.about["frame_interval_s"] == pytest.approx(7)
    assert source.about["pixel_size_um"] == pytest.approx((2, 2))
    source.close()


def test_the_report_has_one_clock_and_plays_at_a_rate(lapse: Path, tmp_path: Path) -> None:
    with Project.open(lapse) as project:
        report(project, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    found = re.search(r"<script[^>]*application/json[^>]*>(.*?)</script>", page, re.S)
    assert found is not None
    data = json.loads(found[1])
    assert data["clock"] == [t * INTERVAL for t in range(6)]
    assert data["times"][1] == pytest.approx(0.04)
    assert "(0.000 s to 150.000 s)" in json.dumps(data["summary"])


def test_footage_that_is_gone_is_said_to_be_gone(lapse: Path) -> None:
    (lapse.parent / "a.tif").unlink()
    with Project.open(lapse) as project, pytest.warns(UserWarning, match="does not exist"):
        project.table()
