"""The samples: whole, in agreement with themselves, and found wherever the package lies."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sam2track import samples
from sam2track.cli.main import main
from sam2track.errors import OutputError, SourceError, UsageError
from sam2track.export.pngs import read_label_png
from sam2track.frames.opening import open_source
from sam2track.masks import bounding_box
from sam2track.pictures import read_mask
from sam2track.prompt_files import load_prompts

NAMES = ["bacteria", "nuclei", "shapes"]


def test_names() -> None:
    assert samples.sample_names() == NAMES


def test_all_together_are_small() -> None:
    files = [path for path in samples.sample_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_parts_agree(name: str) -> None:
    folder = samples.sample_folder() / name
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    paths = sorted((folder / "truth").iterdir())
    assert [path.name for path in paths] == [f"{t:05d}.png" for t in range(about["frames"])]
    truth = np.stack([read_label_png(path) for path in paths])

    video = open_source(folder / "video.mp4")
    try:
        assert len(video) == about["frames"] == len(truth)
        assert (video.height, video.width) == truth.shape[1:] == (about["height"], about["width"])
        np.testing.assert_allclose(np.diff(video.times), 1 / about["fps"], atol=1e-4)
        assert video.warnings == []
    finally:
        video.close()

    prompts = load_prompts(folder / "prompts.json", read_mask=read_mask)
    ids = sorted(prompts.by_object)
    assert 2 <= len(ids) <= 3
    assert ids == np.unique(truth)[1:].tolist()
    assert sorted(prompts.names) == ids
    for object_id, frame, prompt in prompts:
        assert prompt.box == bounding_box(truth[frame] == object_id)
        assert (truth == object_id).any(axis=(1, 2)).mean() > 0.9, "it is there most of the time"
    assert about["licence"] == "Apache-2.0"


def test_copy(tmp_path: Path) -> None:
    written = samples.copy_sample("nuclei", tmp_path / "deep" / "here")
    assert {path.name for path in written} >= {"video.mp4", "prompts.json", "about.json"}
    whole = samples.sample_folder() / "nuclei"
    for path in written:
        there = whole / path.relative_to(tmp_path / "deep" / "here")
        assert path.read_bytes() == there.read_bytes()
    assert len(written) == sum(path.is_file() for path in whole.rglob("*"))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["here"]


def test_copy_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no sample named 'dog'.*bacteria, nuclei, shapes"):
        samples.copy_sample("dog", tmp_path / "dog")
    (tmp_path / "full").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        samples.copy_sample("nuclei", tmp_path / "full")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot write"):
        samples.copy_sample("nuclei", tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        samples.copy_sample("nuclei", tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_found_inside_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "sam2track"
    shutil.copytree(samples.sample_folder(), package / "sample_videos")
    monkeypatch.setattr(samples, "__file__", str(package / "samples.py"))
    monkeypatch.chdir(tmp_path)
    assert samples.sample_folder() == package / "sample_videos"
    assert samples.sample_names() == NAMES
    assert samples.copy_sample("shapes", "mine")


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "hidden")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match=r"a: No space left on device; write to another folder$"):
        samples.copy_sample("shapes", tmp_path / "a")


def test_missing_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "__file__", str(tmp_path / "sam2track" / "samples.py"))
    with pytest.raises(SourceError, match="no sample_videos folder"):
        samples.sample_names()


def test_a_folder_for_no_sample_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sample", "-o", str(tmp_path / "a")])
    assert done.exit_code == 2 and "no sample for it; name one" in done.stderr
    assert done.stdout == ""
