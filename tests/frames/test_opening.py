"""What is opened by a relative path stays what it was, wherever the program goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import zarr

from sam2track.errors import SourceError
from sam2track.frames.opening import find_source, open_source, reopen_source
from tests.frames.conftest import scene, write_video


def folder(path: Path, pictures: list[np.ndarray]) -> None:
    path.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(path / f"{number}.png"), picture)


def compressed(path: Path, pictures: list[np.ndarray]) -> None:
    tifffile.imwrite(path, np.stack(pictures), compression="zlib", photometric="rgb")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("v.mp4", write_video),
        ("pictures", folder),
        ("a.npy", lambda path, pictures: np.save(path, np.stack(pictures))),
        ("a.npz", lambda path, pictures: np.savez(path, a=np.stack(pictures))),
        ("a.zarr", lambda path, pictures: zarr.save(str(path), np.stack(pictures))),
        ("a.tif", lambda path, pictures: tifffile.imwrite(path, np.stack(pictures))),
        ("z.tif", compressed),
    ],
)
def test_a_source_stays_itself_in_another_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    write: Callable[[Path, list[np.ndarray]], object],
) -> None:
    for seed, place in enumerate(["here", "there"]):
        (tmp_path / place).mkdir()
        write(tmp_path / place / name, scene(4, seed=seed))
    monkeypatch.chdir(tmp_path / "here")
    opened, same = open_source(name), open_source(tmp_path / "here" / name)
    monkeypatch.chdir(tmp_path / "there")  # which holds others of that name
    assert opened.name == name
    assert np.array_equal(opened.read(2), same.read(2))
    for backward in (False, True):
        pairs = zip(
            opened.frames(0, 4, backward=backward),
            same.frames(0, 4, backward=backward),
            strict=True,
        )
        assert all(np.array_equal(one, two) for one, two in pairs)
    assert opened.fingerprint() == same.fingerprint()
    opened.close()
    same.close()


@pytest.mark.parametrize("moved", ["nothing", "beside its folder", "beside it", "the pictures"])
def test_pictures_of_a_project_are_those_that_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: str
) -> None:
    for seed, place in enumerate(["here", "there"]):
        (tmp_path / place).mkdir()
        folder(tmp_path / place / "pictures", scene(4, seed=seed))
    monkeypatch.chdir(tmp_path / "here")
    meta = {"source": "pictures", "source_path": str(tmp_path / "here" / "pictures")}
    out = tmp_path / "here" / "out"
    out.mkdir()
    right = open_source("pictures").fingerprint()
    if moved == "beside its folder":
        out = (tmp_path / "here").rename(tmp_path / "elsewhere") / "out"
    elif moved == "beside it":
        Path("pictures").rename(out / "pictures")
    elif moved == "the pictures":
        Path("pictures").rename(tmp_path / "there" / "cells")
        meta["source"] = "cells"
    monkeypatch.chdir(tmp_path / "there")  # which holds others of that name
    assert find_source(meta, out) is not None
    opened = reopen_source(meta, fps=25.0, folder=out)
    assert opened.fingerprint() == right


@pytest.mark.parametrize("given", [".", "..", "out/.."])
def test_the_folder_that_a_project_was_made_in_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """Each place has one called as it was given."""
    pictures, out = tmp_path / "here" / "pictures", tmp_path / "here" / "out"
    out.mkdir(parents=True)
    folder(pictures, scene(4))
    (pictures / "out").mkdir()
    monkeypatch.chdir(pictures / "out" if given == ".." else pictures)
    opened = open_source(given)
    meta = {"source": opened.name, "source_path": str(Path(opened.name).absolute())}
    monkeypatch.chdir(tmp_path)
    found = find_source(meta, out)
    assert found is not None
    assert found.samefile(pictures)
    out = (tmp_path / "here").rename(tmp_path / "elsewhere") / "out"
    assert find_source(meta, out) == out.parent / "pictures"
    (out.parent / "pictures").rename(tmp_path / "cells")
    assert find_source(meta, out) is None


def test_a_link_to_nowhere_does_not_hide_pictures_beside_the_project(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.symlink_to(tmp_path / "gone")
    meta = {"source": "before", "source_path": str(before)}
    with pytest.raises(SourceError, match="before"):
        reopen_source(meta, fps=25.0, folder=tmp_path / "out")
    (tmp_path / "out").mkdir()
    folder(tmp_path / "out" / "before", scene(4))
    assert len(reopen_source(meta, fps=25.0, folder=tmp_path / "out")) == 4


def test_pictures_that_are_nowhere_are_told_where_they_were(tmp_path: Path) -> None:
    meta = {"source": "a.mp4", "source_path": str(tmp_path / "before" / "a.mp4")}
    assert find_source(meta, tmp_path) is None
    with pytest.raises(SourceError, match=r"before/a\.mp4"):
        reopen_source(meta, fps=25.0, folder=tmp_path)
    with pytest.raises(SourceError, match="does not say of which pictures"):
        reopen_source({}, fps=25.0, folder=tmp_path)
