"""The files that are written of one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sam2track.errors import UsageError
from sam2track.image.everything import Found
from sam2track.image.outputs import Drawing, check_free, of_everything, wanted_files, write
from sam2track.masks import encode

SIDE = 200


def check(folder: Path, *names: str, overwrite: bool = False) -> None:
    check_free(folder, [Path(n) for n in names], ["mask"], candidates=True, overwrite=overwrite)


def test_names_that_differ_in_case_alone_are_one(tmp_path: Path) -> None:
    """As on macOS and Windows, so that the same call does the same everywhere."""
    with pytest.raises(UsageError, match=r"A\.png and a\.jpg would be written under the same name"):
        check(tmp_path, "A.png", "a.jpg")
    check(tmp_path, "A.png", "b.jpg")
    for there in ("a.MASK.png", "A.candidate-1.png"):
        (tmp_path / there).touch()
        with pytest.raises(UsageError, match=f"{there} is there already"):
            check(tmp_path, "a.png")
        (tmp_path / there).unlink()


def test_all_files_that_are_there_are_looked_at(tmp_path: Path) -> None:
    for there in ("A.mask.png", "a.mask.png"):
        (tmp_path / there).touch()
    with pytest.raises(UsageError, match=r"is to be read and would be written over"):
        check(tmp_path, "a.png", str(tmp_path / "A.mask.png"), overwrite=True)


def test_names_of_candidates_are_taken_only_where_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.candidate-1-1.png").touch()
    check_free(tmp_path, [Path("a.png")], ["mask"], candidates=False, overwrite=False)


def test_what_is_wanted_comes_in_one_order() -> None:
    assert wanted_files(name for name in ("json", "mask", "json")) == ["mask", "json"]
    assert wanted_files("json") == ["json"]


def drawing(*boxes: tuple[int, int, int, int]) -> Drawing:
    """What was found in a picture: masks that fill boxes, as (x0, y0, x1, y1)."""
    found = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros((SIDE, SIDE), np.bool_)
        mask[y0:y1, x0:x1] = True
        area, crop = int(mask.sum()), (10, 20, 190, 180)
        found.append(Found(encode(mask), area, (x0, y0, x1, y1), 0.9, 0.96, (x0, y0), crop))
    return of_everything(found, SIDE, SIDE, grid=64)


def written(made: Drawing, folder: Path, *wanted: str) -> dict[str, Any]:
    """Write outputs of a grey picture, and read the pictures among them."""
    picture = np.full((SIDE, SIDE, 3), 100, np.uint8)
    options: dict[str, Any] = {"ground": (0, 0, 0), "all_candidates": False, "info": {}}
    paths = write(folder, Path("a.jpg"), picture, made, wanted, **options)
    return {name: cv2.imread(path, cv2.IMREAD_UNCHANGED) for name, path in paths.items()}


def test_of_masks_of_everything_the_smaller_one_is_seen() -> None:
    made = drawing((40, 40, 60, 60), (0, 0, 100, 100), (150, 150, 160, 160))
    assert [made.labels[y, x] for y, x in ((50, 50), (10, 10), (155, 155), (199, 0))] == [
        1,
        2,
        3,
        0,
    ]
    assert made.objects[0]["crop_box"] == [10, 20, 180, 160]  # with a width and a height


def test_an_empty_mask_of_everything_is_json_too(tmp_path: Path) -> None:
    empty = encode(np.zeros((SIDE, SIDE), np.bool_))
    found = Found(empty, 0, (0, 0, 0, 0), 0.9, float("nan"), (5.0, 5.0), (0, 0, SIDE, SIDE))
    made = of_everything([found], SIDE, SIDE, grid=64)
    picture, options = np.zeros((SIDE, SIDE, 3), np.uint8), {"all_candidates": False, "info": {}}
    write(tmp_path, Path("a.jpg"), picture, made, ["json"], ground=0, **options)
    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert content["annotations"][0]["stability_score"] is None


def test_what_is_cut_out_is_all_of_the_objects(tmp_path: Path) -> None:
    alpha = written(drawing((0, 0, 50, 50), (100, 100, 150, 150)), tmp_path, "cutout")["cutout"]
    assert [alpha[y, x, 3] for y, x in ((25, 25), (125, 125), (75, 75))] == [255, 255, 0]


def test_few_objects_are_named_and_many_are_not(tmp_path: Path) -> None:
    few, many = (
        [(4 * i, 4 * j, 4 * i + 3, 4 * j + 3) for i in range(10, 10 + n) for j in range(10, 20)]
        for n in (4, 5)
    )
    shown = [written(drawing(*boxes), tmp_path, "overlay")["overlay"] for boxes in (few, many)]
    # Names lie beside such small objects, where the picture is grey without them.
    named = [bool((picture[4 * 20 + 8 :] != 100).any()) for picture in shown]
    assert named == [True, False]
