"""Measurements: scikit-image's on every frame, and paths that are known."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image
from skimage.measure import regionprops

from sam2track.errors import SourceError, UsageError
from sam2track.frames.folder import ImageFolder
from sam2track.measure import OBJECT_COLUMNS, Scale, cells, columns, measured, summarised
from sam2track.project import Project
from sam2track.table import COLUMNS
from tests.made import HEIGHT, WIDTH, disk, write_folder, write_project


@pytest.fixture
def walked(tmp_path: Path) -> Path:
    """Two objects: one goes 3 pixels a frame and is away on frames 3 and 4, one lies at the rim."""
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    one = {t: disk(10 + 3 * t, 30, 6) if t not in (3, 4) else nothing for t in range(8)}
    two = {t: disk(0, 12, 5 + t) for t in range(2, 6)}
    source = write_folder(tmp_path / "frames", 8)
    return write_project(
        tmp_path / "p.s2t", {1: one, 2: two}, source=source, names={1: "cell", 2: "rim"}
    )


def test_observations_hold_what_of_masks_lies_in_their_boxes(walked: Path) -> None:
    """All masks of a thousand cells in a large frame would be gigabytes."""
    with Project.open(walked) as project:
        for frame, found in project.observations():
            masks = project.masks(frame)
            assert [one.row.object_id for one in found] == list(masks)
            for one, mask in zip(found, masks.values(), strict=True):
                x0, y0, x1, y1 = one.row.box or (0, 0, 0, 0)
                assert (one.row.box is None) == (not mask.any())
                np.testing.assert_array_equal(one.part.part, mask[y0:y1, x0:x1])
                np.testing.assert_array_equal(one.mask, mask)
                assert one.part.part.base is None and one.part.part.size < mask.size / 4


RGB = [f"intensity_{what}_{c}" for c in "rgb" for what in ("mean", "std", "min", "max")]


def test_each_mask_is_measured_as_scikit_image_does(walked: Path) -> None:
    with Project.open(walked) as project:
        table = project.table()
        assert list(table.columns) == list(columns(intensities=RGB, units=False))
        assert len(table) == 12
        for row in table.to_dict("records"):
            mask = project.masks(row["frame"])[row["object"]]
            if not mask.any():
                assert row["area_px"] == 0 and math.isnan(row["perimeter_px"])
                continue
            picture = np.asarray(Image.open(walked.parent / f"frames/{row['frame']:04d}.png"))
            (truth,) = regionprops(mask.astype(np.uint8), intensity_image=picture)
            y, x = truth.centroid
            y0, x0, y1, x1 = truth.bbox
            assert (row["centroid_x"], row["centroid_y"]) == pytest.approx((x, y))
            assert (row["x0"], row["y0"], row["x1"], row["y1"]) == (x0, y0, x1, y1)
            assert row["area_px"] == truth.area
            assert row["perimeter_px"] == pytest.approx(truth.perimeter)
            assert row["eccentricity"] == pytest.approx(truth.eccentricity, abs=1e-6)
            assert row["solidity"] == pytest.approx(truth.solidity)
            assert row["touches_border"] == (row["object"] == 2)
            for index, channel in enumerate("rgb"):
                found = [row[f"intensity_{w}_{channel}"] for w in ("mean", "std", "min", "max")]
                wanted = [
                    truth.intensity_mean[index],
                    truth.intensity_std[index],
                    truth.intensity_min[index],
                    truth.intensity_max[index],
                ]
                assert found == pytest.approx(wanted)


def test_a_stack_is_measured_as_it_is(tmp_path: Path) -> None:
    """Not as eight bits: 16-bit values of the channels shown, by their names."""
    import tifffile

    values = np.random.default_rng(0).integers(200, 9000, (4, 2, HEIGHT, WIDTH)).astype(np.uint16)
    told = {"axes": "TCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    for axis in "XY":
        told |= {f"PhysicalSize{axis}": 0.5, f"PhysicalSize{axis}Unit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata=told)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:20, 8:30] = True
    path = write_project(
        tmp_path / "p.s2t",
        {1: dict.fromkeys(range(4), mask)},
        source=tmp_path / "a.ome.tif",
        channel="GFP",
    )
    with Project.open(path) as project:
        table = project.table()
    assert "intensity_mean_r" not in table.columns
    for row in table.to_dict("records"):
        under = values[row["frame"], 1][mask]
        assert row["intensity_mean_GFP"] == pytest.approx(under.mean())
        assert row["intensity_max_GFP"] == under.max()
        assert row["area_um2"] == pytest.approx(mask.sum() / 4)


def test_motion_over_a_gap(walked: Path) -> None:
    with Project.open(walked) as project:
        table = project.table(intensities=False)
        one = table[table["object"] == 1].set_index("frame")
        assert math.isnan(one["displacement_px"][0])
        assert one["displacement_px"][1] == pytest.approx(3)
        assert one["speed_px_per_s"][1] == pytest.approx(75)
        assert math.isnan(one["displacement_px"][3])
        assert one["displacement_px"][5] == pytest.approx(9)
        assert one["speed_px_per_s"][5] == pytest.approx(75)
        objects = project.object_table().set_index("object")
    assert list(objects.reset_index().columns) == list(OBJECT_COLUMNS)
    first = objects.loc[1]
    assert first["name"] == "cell"
    assert (first["first_frame"], first["last_frame"], first["frames_seen"]) == (0, 7, 6)
    assert (first["gaps"], first["frames_missing"]) == (1, 2)
    assert first["path_length_px"] == pytest.approx(21)
    assert first["net_displacement_px"] == pytest.approx(21)
    assert first["mean_speed_px_per_s"] == pytest.approx(75)
    assert objects.loc[2, "first_frame"] == 2 and objects.loc[2, "gaps"] == 0


def test_an_object_on_one_frame_alone_has_no_speed(tmp_path: Path) -> None:
    path = write_project(tmp_path / "p.s2t", {1: {2: disk(20, 20, 5)}})
    with Project.open(path) as project:
        one = project.object_table().iloc[0]
    assert (one["frames_seen"], one["path_length_px"]) == (1, 0)
    assert pandas.isna(one["mean_speed_px_per_s"])


def test_pictures_of_frames_on_which_nothing_has_begun_are_passed_over(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "frames", 8)
    mask = disk(20, 20, 5)
    path = write_project(tmp_path / "p.s2t", {1: dict.fromkeys((1, 4, 7), mask)}, source=source)
    with Project.open(path) as project:
        table = project.table()
    assert table["frame"].tolist() == [1, 4, 7]
    for row in table.to_dict("records"):
        picture = np.asarray(Image.open(source / f"{row['frame']:04d}.png"))
        assert row["intensity_mean_r"] == pytest.approx(picture[mask][:, 0].mean())


def test_units(walked: Path) -> None:
    with Project.open(walked) as project:
        table = project.table(intensities=False, pixel_size_um=0.5, frame_interval_s=60.0)
        objects = project.object_table(pixel_size_um=0.5, frame_interval_s=60.0)
        row = table[(table["object"] == 1) & (table["frame"] == 1)].iloc[0]
        assert row["time_s"] == 60
        assert row["area_um2"] == row["area_px"] / 4
        assert row["centroid_x_um"] == row["centroid_x"] / 2
        assert row["perimeter_um"] == row["perimeter_px"] / 2
        assert row["displacement_um"] == pytest.approx(1.5)
        assert row["speed_um_per_s"] == pytest.approx(1.5 / 60)
        assert objects["path_length_um"][0] == pytest.approx(10.5)
        assert objects["mean_speed_um_per_s"][0] == pytest.approx(1.5 / 60)
        assert objects["mean_area_um2"][0] == objects["mean_area_px"][0] / 4
        for wrong in (0, -1, math.nan, math.inf):
            with pytest.raises(UsageError, match="above 0"):
                project.table(pixel_size_um=wrong)


def test_units_of_the_project(tmp_path: Path) -> None:
    track = {1: {0: disk(20, 20, 5), 1: disk(22, 20, 5)}}
    path = write_project(tmp_path / "p.s2t", track, pixel_size_um=2.0, frame_interval_s=10.0)
    with Project.open(path) as project:
        table = project.table(intensities=False)
        assert table["displacement_um"][1] == pytest.approx(4)
        assert table["time_s"][1] == 10
        assert project.table(intensities=False, pixel_size_um=1.0)["displacement_um"][1] == 2
    assert Scale.of({"pixel_size_um": None, "frame_interval_s": "x"}) == Scale()


def test_begins_with_the_columns_of_the_plain_table(walked: Path) -> None:
    with Project.open(walked) as project:
        made = measured(project)
        for plain, row in zip(project.rows(), made.rows, strict=True):
            assert cells(row, made.columns)[: len(COLUMNS)] == plain.cells()
        assert made.columns[: len(COLUMNS)] == COLUMNS


@pytest.mark.parametrize(("how", "message"), [("moved", "cannot be read"), ("changed", "other")])
def test_pictures_that_moved_or_changed(walked: Path, how: str, message: str) -> None:
    frames = walked.parent / "frames"
    if how == "moved":
        frames.rename(walked.parent / "elsewhere")
    else:
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(frames / "0003.png")
    with Project.open(walked) as project:
        with pytest.warns(UserWarning, match=message):
            table = project.table()
        assert list(table.columns) == list(columns(intensities=(), units=False))
        if how == "moved":
            found = project.table(source=walked.parent / "elsewhere")
            assert found["intensity_mean_r"].notna().any()
        else:
            with pytest.warns(UserWarning, match="other pictures"):
                assert "intensity_mean_r" in project.table(source=frames).columns


def test_pictures_are_let_go_of(walked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[ImageFolder] = []
    monkeypatch.setattr(ImageFolder, "close", lambda self: closed.append(self))
    with Project.open(walked) as project:
        project.table()
        assert len(closed) == 1
        project.table(source=ImageFolder(walked.parent / "frames"))  # it is its owner's
        assert len(closed) == 1


def test_pictures_of_another_length(walked: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "short", 3)
    with Project.open(walked, writable=True) as project:
        with pytest.raises(SourceError, match=r"has 3 frames of 80 x .*; name others, or none"):
            project.table(source=other)
        project.set_meta(source=str(other))
        with pytest.warns(UserWarning, match="has 3 frames of 80 x"):
            assert "intensity_mean_r" not in project.table().columns


def test_pictures_that_break_midway(walked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sam2track.frames.folder import ImageFolder

    whole = ImageFolder.frames

    def broken(self, start, stop, *, backward=False):
        yield from whole(self, start, 3)
        raise SourceError("frame 3 is gone")

    monkeypatch.setattr(ImageFolder, "frames", broken)
    with Project.open(walked) as project, pytest.warns(UserWarning, match="frame 3 is gone"):
        table = project.table()
    seen = table[table["area_px"] > 0]
    assert seen["intensity_mean_r"].notna().tolist() == (seen["frame"] < 3).tolist()


def test_a_project_without_results(tmp_path: Path) -> None:
    path = write_project(tmp_path / "p.s2t", {1: {}})
    with Project.open(path) as project, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = project.table()
        assert isinstance(table, pandas.DataFrame) and table.empty
        assert project.object_table().empty
    names, rows = summarised([])
    assert names == OBJECT_COLUMNS and rows == []


@pytest.mark.parametrize("size", ["a", True, [1, 2], 0, float("nan"), 1e308, 1e-320])
def test_a_scale_that_is_none(size: Any) -> None:
    with pytest.raises(UsageError, match=r"pixel size .*; it must be a number above 0"):
        Scale(pixel_size_um=size)
