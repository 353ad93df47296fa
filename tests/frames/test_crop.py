"""A part of each picture in place of the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import sam2track
from sam2track.batch.manifest import read_manifest
from sam2track.errors import UsageError
from sam2track.export.videos import VideoWriter
from sam2track.frames.opening import open_source, reopen_source
from sam2track.frames.source import FrameSource

from .conftest import scene

CROP = (10, 8, 50, 40)
SAID = {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "box": [4, 4, 30, 28]}]}]}


def write_video(path: Path, pictures: np.ndarray) -> Path:
    height, width = pictures.shape[1:3]
    with VideoWriter(path, height=height, width=width, threads=1) as video:
        for picture in pictures:
            video.write(picture)
    return path


def write_folder(path: Path, pictures: np.ndarray) -> Path:
    path.mkdir()
    for number, picture in enumerate(pictures):
        tifffile.imwrite(path / f"{number}.tif", picture)
    return path


def write_stack(path: Path, pictures: np.ndarray) -> Path:
    np.save(path, pictures[..., 0].astype(np.uint16) * 50)
    return path


@pytest.mark.parametrize(
    ("name", "make"),
    [("a.mp4", write_video), ("folder", write_folder), ("a.npy", write_stack)],
)
def test_frames_are_parts_of_those_of_the_source(tmp_path: Path, name: str, make: Any) -> None:
    path = make(tmp_path / name, np.stack(scene(5)))
    whole, part = open_source(path), open_source(path, crop=CROP)
    assert isinstance(part, FrameSource)
    assert (len(part), part.height, part.width) == (5, 32, 40)
    expected = [whole.read(frame)[8:40, 10:50] for frame in range(5)]
    np.testing.assert_array_equal([part.read(frame) for frame in range(5)], expected)
    np.testing.assert_array_equal(list(part.frames(1, 4)), expected[1:4])
    np.testing.assert_array_equal(list(part.frames(1, 4, backward=True)), expected[3:0:-1])
    np.testing.assert_array_equal(part.times, whole.times)
    assert part.fingerprint() == whole.fingerprint()
    assert part.options == {**whole.options, "crop": list(CROP)}  # type: ignore[attr-defined]
    assert hasattr(part, "values") == hasattr(whole, "values")
    if name == "a.npy":  # as measured, and scaled as the whole is
        measured = part.values(2)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(measured, whole.values(2)[8:40, 10:50])  # type: ignore[attr-defined]
        assert part.channel_names == whole.channel_names  # type: ignore[attr-defined]
    again = reopen_source({"source": str(path), "reading": part.options}, fps=25)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(again.read(3), expected[3])
    for source in (whole, part, again):
        source.close()


@pytest.mark.parametrize(
    ("crop", "told"),
    [
        ((0, 0, 65, 10), "0,0,65,10 goes beyond the frames of .*, which are 64 x 48"),
        ((0, 0, 10, 49), "goes beyond"),
        ((-1, 0, 10, 10), "x0 and y0 are at least 0"),
        ((5, 0, 5, 10), "x1 and y1 beyond them"),
        ((0, 0, 10), "give four whole numbers"),
        ("0,0,9,9", "give four whole numbers"),
        (7, "give four whole numbers"),
        ((0, 0, 1.5, 10), "crop 1.5"),
    ],
)
def test_parts_that_cannot_be(crop: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_source(np.stack(scene(2)), crop=crop)
    with pytest.raises(UsageError, match=r"crop .* is not for a source that is open already"):
        open_source(open_source(np.stack(scene(2))), crop=CROP)


def test_masks_are_those_of_pictures_that_were_cut(tmp_path: Path) -> None:
    pictures = np.stack(scene(4))
    one = sam2track.track(pictures, SAID, output=tmp_path / "one", crop=CROP, write=["table"])
    cut = np.ascontiguousarray(pictures[:, 8:40, 10:50])
    two = sam2track.track(cut, SAID, output=tmp_path / "two", write=["table"])
    assert one.meta["reading"]["crop"] == list(CROP)
    for frame in range(4):
        assert one.labels(frame).shape == (32, 40) and one.labels(frame).any()
        np.testing.assert_array_equal(one.labels(frame), two.labels(frame))
    tables = [(tmp_path / name / "tracks.csv").read_text() for name in ("one", "two")]
    assert tables[0] == tables[1]
    one.close()
    with pytest.raises(UsageError, match=r"made with crop \[10, 8, 50, 40\], now it is \[0, 0, 9"):
        sam2track.track(pictures, output=tmp_path / "one", crop=(0, 0, 9, 9), resume=True)
    again = sam2track.track(pictures, output=tmp_path / "one", resume=True, write=["table"])
    assert (again.height, again.width) == (32, 40)


def test_manifests_say_a_part_as_a_list_or_as_a_text(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(SAID))
    for said in ([*CROP], "10,8,50,40"):
        row = {"source": "a.mp4", "prompts": "p.json", "output": "o", "options": {"crop": said}}
        (tmp_path / "m.jsonl").write_text(json.dumps(row))
        (video,) = read_manifest(tmp_path / "m.jsonl")
        assert tuple(video.options["crop"]) == CROP
