"""``sam2track export``, ``import`` and ``eval``: what they print and how they fail."""

from __future__ import annotations

import json
import subprocess
import sys

import av
import numpy as np
import pytest
from click.testing import CliRunner

from sam2track.cli.main import main
from sam2track.export.pngs import MaskSequence
from sam2track.export.reading import open_masks
from tests.export.known import FRAMES, HEIGHT, WIDTH, masks, project
from tests.made import disk, write_project


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return project(tmp_path_factory.mktemp("out") / "project.s2t")


def run(*args, code=0):
    done = CliRunner().invoke(main, [str(a) for a in args])
    assert done.exit_code == code, done.output
    if code:
        assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, done.output
    return done


def test_several_formats_at_once(path, tmp_path):
    done = run(
        *("export", path.parent, "--format", "davis", "-o", tmp_path / "davis"),
        *("--format", "coco", "-o", tmp_path / "deep/a.json"),
    )
    assert done.stdout.splitlines() == [
        f"davis        {tmp_path / 'davis'}",
        f"coco         {tmp_path / 'deep/a.json'}",
    ]
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["warning"] * 2
    assert "davis cannot hold overlaps" in done.stderr
    assert len(list((tmp_path / "davis").iterdir())) == FRAMES
    found = dict(open_masks(tmp_path / "deep/a.json").shots())
    assert np.array_equal(found[2][2], masks()[2][2])


def test_options_go_to_the_formats_that_take_them(path, tmp_path):
    run(
        *("export", path, "-f", "davis", "-o", tmp_path / "davis", "--codec", "h264"),
        *("-f", "masks-video", "-o", tmp_path / "a.mkv", "--no-images"),
    )
    with av.open(str(tmp_path / "a.mkv")) as video:
        assert video.streams.video[0].codec_context.name == "h264"


def test_export_as_json(path, tmp_path):
    done = run("export", path, "-f", "ctc", "-o", tmp_path / "ctc", "--json")
    said = json.loads(done.stdout)
    assert said["exports"][0]["format"] == "ctc"
    assert len(said["exports"][0]["warnings"]) == 1


@pytest.mark.parametrize(
    ("args", "code", "what"),
    [
        (["-f", "none", "-o", "a"], 2, "format 'none'; allowed are davis"),
        (["-f", "davis", "-f", "csv", "-o", "a"], 2, "2 formats and 1 outputs"),
        (["-f", "davis", "-o", "a", "-f", "csv", "-o", "a"], 2, "the same output"),
        (["-f", "csv", "-o", "taken"], 2, "--overwrite"),
        (["-f", "csv", "-o", "taken/a.csv"], 1, "cannot write"),
        (["-f", "coco", "-o", "a.json", "--start", "99"], 2, "frames 0 to 8"),
        (["-f", "masks-video", "-o", "a.avi"], 2, ".mkv"),
        (["-f", "masks-video", "-o", "a.mp4", "--codec", "ffv1"], 2, "does not fit MP4"),
        (["-f", "davis", "-o", "a", "--palette"], 2, "is for masks-video"),
        (["-f", "csv", "-o", "a", "--images"], 2, "is for ytvos, coco, ytvis, yolo-seg"),
        (["-f", "csv", "-f", "mot", "-o", "a", "-o", "b", "--images"], 2, "of csv, mot; leave"),
        (["-f", "csv", "-o", "a", "--pixel-size", "2"], 2, "--pixel-size says nothing of csv"),
        (["-f", "davis", "-o", "a", "--val-share", "0.2"], 2, "it is for yolo-seg"),
        (["-f", "labels-tiff", "-o", "a", "--unit", "nm"], 2, "give --pixel-size"),
    ],
)
def test_exports_that_cannot_be(path, tmp_path, monkeypatch, args, code, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    assert what in run("export", path, *args, code=code).stderr
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("last", "what"),
    [
        ("none", "format 'none'; allowed are davis"),
        ("ome-zarr", "ome-zarr wants zarr, which is not installed"),
        ("geff", "geff wants zarr, which is not installed"),
        ("parquet", "parquet wants pyarrow, which is not installed"),
    ],
)
def test_nothing_is_written_where_a_later_format_cannot_be(path, tmp_path, monkeypatch, last, what):
    for package in ("zarr", "pyarrow"):
        monkeypatch.setitem(sys.modules, package, None)
    args = ("-f", "csv", "-o", tmp_path / "a.csv", "-f", last, "-o", tmp_path / "b")
    assert what in run("export", path, *args, code=2).stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_where_there_is_something_at_a_later_target(path, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine").touch()
    args = ("-f", "csv", "-o", tmp_path / "a.csv", "-f", "ctc", "-o", tmp_path / "b")
    assert "holds something already" in run("export", path, *args, code=2).stderr
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("data", [None, b"", b"no project" * 1000])
def test_what_is_no_project(tmp_path, data):
    if data is not None:
        (tmp_path / "p.s2t").write_bytes(data)
    run("export", tmp_path / "p.s2t", "-f", "csv", "-o", tmp_path / "a.csv", code=1)


def test_a_script_may_name_the_source_for_all_formats(path, tmp_path):
    for name in ("csv", "ctc"):
        run("export", path, "-f", name, "-o", tmp_path / name, "--source", "moved", "--name", "a")
    assert (tmp_path / "csv").is_file() and (tmp_path / "ctc").is_dir()


def test_eval_prints_a_table(path, tmp_path):
    run("export", path, "-f", "npz", "-o", tmp_path / "a.npz")
    done = run("eval", tmp_path / "a.npz", path, "--worst", "2")
    lines = done.stdout.splitlines()
    assert lines[0].split() == (
        ["sequence", "object", "J&F", "J", "recall", "decay", "F", "recall", "decay", "frames"]
    )
    assert len([line for line in lines if line.startswith("project ")]) == 6 + 2
    assert lines[7].split()[:4] == ["mean", "100.0", "100.0", "100.0"]
    assert "HOTA 100.0" in done.stdout and "TRA 100.0" in done.stdout
    assert lines[-3] == "worst frames" and lines[-1].startswith("  project frame ")


def test_eval_as_json(path):
    said = json.loads(run("eval", path, path, "--json", "--metrics", "jf").stdout)
    assert said["version"] == 1 and said["mean"]["jf"] == 1
    assert said["sequences"][0]["objects"]["3"]["frames"] == FRAMES
    assert len(said["worst"]) == 10


def test_eval_says_which_frames_have_no_result(tmp_path):
    path = write_project(tmp_path / "p.s2t", {1: {0: disk(20, 20, 8)}}, count=3)
    said = run("eval", path, path, "--metrics", "jf").stderr
    assert said.startswith(f"warning: 2 of 3 frames of {path} have no result and count as empty")


@pytest.mark.parametrize(
    ("args", "code", "what"),
    [
        (["gone", "{}"], 1, "nothing at gone"),
        (["{}", "taken"], 2, "name their format"),
        (["{}", "{}", "--metrics", "best"], 2, "allowed are jf, ctc, identity"),
        (["{}", "{}", "--metrics", ","], 2, "--metrics is empty"),
        (["{}", "{}", "--metrics", "ctc", "--worst", "3"], 2, "add jf to --metrics"),
        (["{}", "taken", "--truth-format", "csv"], 2, "holds no masks"),
        (["{}", "taken", "--truth-format", "npz"], 1, "no archive of masks"),
        (["{}", "small"], 2, "5 x 4"),
    ],
)
def test_comparisons_that_cannot_be(path, tmp_path, monkeypatch, args, code, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    MaskSequence("small").write(0, np.ones((4, 5), np.uint8))
    assert what in run("eval", *(a.format(path) for a in args), code=code).stderr


def test_import_and_back(path, tmp_path, monkeypatch):
    from PIL import Image

    for t in range(FRAMES):
        (tmp_path / "clip").mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (t, 90, 30)).save(tmp_path / f"clip/{t:03d}.png")
    run("export", path, "-f", "coco", "-o", tmp_path / "a.json")
    args = ["import", tmp_path / "a.json", "--source", tmp_path / "clip", "--model", "nano"]
    done = run(*args, "-o", tmp_path / "b.s2t")
    assert done.stdout == f"{tmp_path / 'b.s2t'}: 6 objects on {FRAMES} frames, from coco\n"
    said = json.loads(run("eval", tmp_path / "b.s2t", path, "--json").stdout)
    assert said["mean"]["jf"] == 1
    assert "--overwrite" in run(*args, "-o", tmp_path / "b.s2t", code=2).stderr
    said = json.loads(run(*args, "-o", tmp_path / "b.s2t", "--overwrite", "--json").stdout)
    assert said["objects"] == [1, 2, 3, 4, 5, 7] and said["frames"] == FRAMES
    run("export", path, "-f", "davis", "-o", tmp_path / "png", "--stop", "4")
    files = sorted((tmp_path / "png").iterdir())
    some = ["--source", tmp_path / "clip", "--model", "nano", "-o", tmp_path / "c.s2t"]
    assert "not all the .png" in run("import", *files[1:], *some, code=2).stderr
    done = run("import", *files, *some)
    assert "on 4 frames, from davis" in done.stdout
    assert "warning: masks are there for 4 of the 9 frames\n" in done.stderr
    (tmp_path / "c.s2t").unlink()
    monkeypatch.setattr("sam2track.models.loading.weights_on_disk", lambda _: None)
    some[3] = "auto"
    assert "not all the .png" in run("import", *files[1:], *some, code=2).stderr
    first = run("import", *files, *some).stderr.splitlines()[0]
    assert first.startswith("model: nano") and "models download" in first
    (tmp_path / "c.s2t").unlink()
    (tmp_path / "a.json").write_text("{}")
    assert "no COCO file" in run(*args, "-o", tmp_path / "c.s2t", code=1).stderr
    assert not (tmp_path / "c.s2t").exists()


def test_a_killed_export_leaves_no_half_file(path, tmp_path):
    program = f"""
import os
from sam2track.project import Project
real = Project.mask_makers
def makers(self, frame):
    if frame == 5:
        os._exit(9)
    return real(self, frame)
Project.mask_makers = makers
Project.open({str(path)!r}).export({str(tmp_path / "a.npz")!r}, format="npz")
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=120, check=False)
    assert done.returncode == 9
    assert not (tmp_path / "a.npz").exists()
    run("export", path, "-f", "npz", "-o", tmp_path / "a.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
