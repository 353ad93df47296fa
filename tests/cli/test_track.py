"""``sam2track track``: what it prints, how it fails, and that Ctrl-C loses nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from sam2track import job, pictures
from sam2track.cli.main import main
from sam2track.errors import OutputError, UsageError
from sam2track.export.videos import VideoWriter
from sam2track.frames.video import VideoFile
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.project import Project
from tests.made import disk, write_folder, write_project

REPOSITORY = Path(__file__).parent.parent.parent
FRAMES, HEIGHT, WIDTH = 9, 48, 64
BOX = "1:4,6,24,26"


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip, weights of a small model that knows nothing, and files that are wrong."""
    folder = tmp_path_factory.mktemp("things")
    random = np.random.default_rng(0)
    with VideoWriter(folder / "clip.mp4", height=HEIGHT, width=WIDTH, threads=1) as video:
        for t in range(FRAMES):
            frame = random.integers(0, 80, (HEIGHT, WIDTH, 3), np.uint8)
            frame[6:26, 4 + 2 * t : 24 + 2 * t] = (230, 50, 40)
            video.write(frame)
    torch.manual_seed(0)
    save_file(build(ARCHITECTURES["nano"]).state_dict(), folder / "tiny.safetensors")

    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    Image.fromarray(mask).save(folder / "blank.png")
    mask[6:26, 4:24] = 2
    mask[30:40, 4:24] = 9
    Image.fromarray(mask).save(folder / "labels.png")
    Image.fromarray(mask[:40]).save(folder / "small.png")
    Image.fromarray(np.dstack([mask] * 3)).save(folder / "colour.png")
    entry = {"frame": 0, "box": [4, 6, 24, 26]}
    said = {"version": 1, "objects": [{"id": 1, "name": "red", "prompts": [entry]}]}
    (folder / "said.json").write_text(json.dumps(said))
    entry["boxes"] = entry.pop("box")
    (folder / "broken.json").write_text(json.dumps(said))
    (folder / "text.json").write_text("{'version': 1}")
    (folder / "nothing.json").write_text('{"version": 1, "objects": []}')
    (folder / "unsaid.json").write_text('{"version": 1, "objects": [{"id": 5, "prompts": []}]}')
    (folder / "binary.json").write_bytes(bytes(range(256)))
    whole = (folder / "clip.mp4").read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(random.bytes(5000))
    (folder / "cut.mp4").write_bytes(whole[:900])
    (folder / "no pictures").mkdir()
    (folder / "no pictures" / "readme.txt").write_text("none")
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights but the embedded ones, and no way to get others."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SAM2TRACK_MODELS", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["track", *map(str, arguments)], prog_name="sam2track")


def small(things: Path, *arguments: object) -> Result:
    """Track the clip with the small model."""
    model = ("--model", things / "tiny.safetensors", "--image-size", 64)
    return invoke(things / "clip.mp4", *model, *arguments)


# -- what comes out ---------------------------------------------------------------------


def test_json(things: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = small(things, "-o", out, "--box", BOX, "--point", "3:50,40@4", "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert list(found) == [
        "version",
        "status",
        "source",
        "model",
        "device",
        "precision",
        "frames",
        "frames_computed",
        "seconds",
        "objects",
        "counts",
        "outputs",
        "warnings",
    ]
    assert found["version"] == 1 and found["status"] == "done"
    assert found["source"] == str(things / "clip.mp4")
    assert (found["model"], found["device"]) == ("tiny.safetensors", "cpu")
    assert found["precision"] == "fp32"
    assert (found["frames"], found["frames_computed"]) == (FRAMES, FRAMES + 4)
    assert found["seconds"] > 0 and found["warnings"] == []
    assert found["counts"] == {"": 2}
    assert [list(item) for item in found["objects"]] == [
        ["id", "name", "first", "last", "mean_score"]
    ] * 2
    assert [(o["id"], o["first"], o["last"]) for o in found["objects"]] == [(1, 0, 8), (3, 0, 8)]
    assert list(found["outputs"]) == ["project", "masks", "mask-video", "overlay", "table"]
    for path in found["outputs"].values():
        assert Path(path).exists() and Path(path).parent == out


def test_plain_summary(things: Path, tmp_path: Path) -> None:
    done = small(things, "-o", tmp_path, "--prompts", things / "said.json", "--write", "table")
    assert done.exit_code == 0, done.output
    first, *rest = done.stdout.splitlines()
    assert first.startswith("done: 9 frames, 1 object, tiny.safetensors on cpu in fp32, ")
    assert [line.split()[0] for line in rest] == ["counts", "project", "table"]
    assert rest[0].split()[1:] == ["1", "red"]
    with Project.open(tmp_path / "project.s2t") as project:
        assert project.names == {1: "red"}


def test_detections(things: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "det.txt"
    boxes.write_text("1,-1,4,6,20,20,0.9,1,1\n1,-1,30,6,20,20,0.2,1,1\n5,-1,40,20,20,20,0.9,2,1\n")
    options = ("--detections", boxes, "--min-score", 0.5, "--class-names", "none,ball,dog")
    one = small(things, "-o", tmp_path / "one", "--write", "", *options, "--json")
    assert one.exit_code == 0, one.output
    assert json.loads(one.stdout)["counts"] == {"ball": 1}
    every = ("--detections-every", 2)
    none = ("--prompts", things / "nothing.json")  # by hand nothing need be marked then
    more = small(things, "-o", tmp_path / "more", "--write", "", *options, *every, *none, "--json")
    assert more.exit_code == 0, more.output
    with Project.open(tmp_path / "more" / "project.s2t") as project:
        said = {(f, prompt.box) for _, f, prompt in project.prompts}
    assert said == {(0, (4, 6, 24, 26)), (4, (40, 20, 60, 40))}
    (tmp_path / "none.txt").write_text("\n")
    for names, why in (
        (tmp_path, "is a folder; give a file of names"),
        (tmp_path / "none.txt", "none.txt' hold no name"),
        (",", "',' hold no name"),
    ):
        wrong = ("-o", tmp_path / "wrong", "--detections", boxes, "--class-names", names)
        refused(small(things, *wrong), 2, why)
    boxes.write_text("1,-1,4,6,20,20\n1,2\n")
    wrong = small(things, "-o", tmp_path / "wrong", "--detections", boxes)
    assert wrong.exit_code == 2 and "det.txt, line 2: 2 columns; expected 6 to 10" in wrong.stderr
    assert not (tmp_path / "wrong").exists()


def test_options_say_what_they_say(things: Path, tmp_path: Path) -> None:
    done = small(
        things,
        *("-o", tmp_path, "--write", "", "--start", 2),
        *("--point", "1:10,10", "--point", "1:12,12", "--background", "1:60,2@2"),
        *("--box", "1:4,6,24,26@5", "--absent", "1@7"),
        *("--mask", f"4:{things / 'labels.png'}@3"),
        *("--masks", f"{things / 'labels.png'}@6"),
        *("--prompts", things / "said.json"),
    )
    assert done.exit_code == 0, done.output
    with Project.open(tmp_path / "project.s2t") as project:
        said = project.prompts.by_object
        assert sorted(said) == [1, 2, 4, 9]
        assert sorted(said[1]) == [0, 2, 5, 7]
        assert said[1][2].points == ((10, 10), (12, 12), (60, 2))
        assert said[1][2].labels == (1, 1, 0)
        assert said[1][5].box == (4, 6, 24, 26) and said[1][7].absent
        assert said[4][3].mask.sum() == 20 * 20 + 10 * 20
        assert said[2][6].mask.sum() == 20 * 20 and said[9][6].mask.sum() == 10 * 20
        assert project.frames == (0, *range(2, FRAMES))  # from --start on, and what is prompted


def test_a_full_table(things: Path, tmp_path: Path) -> None:
    for kind in ("plain", "full"):
        done = small(
            things, "-o", tmp_path / kind, "--box", BOX, "--write", "table", "--table", kind
        )
        assert done.exit_code == 0, done.output
    plain, full = (
        [line.split(",") for line in (tmp_path / k / "tracks.csv").read_text().splitlines()]
        for k in ("plain", "full")
    )
    assert [row[: len(plain[0])] for row in full] == plain
    assert {"perimeter_px", "speed_px_per_s", "confidence", "intensity_std_g"} < set(full[0])
    with pytest.raises(UsageError, match="allowed are plain, full"):
        job.run(things / "clip.mp4", output=tmp_path / "x", table="wide")


def test_a_lone_picture_is_gone_on_with_at_the_rate_that_was_given(
    things: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "in/0.png")
    what = ("--model", things / "tiny.safetensors", "--image-size", 64, "--write", "table")
    for more in ((), ("--resume",)):
        arguments = (tmp_path / "in", "-o", tmp_path / "out", "--box", BOX, "--fps", 4, *more)
        done = invoke(*arguments, *what)
        assert done.exit_code == 0, done.output


def test_folders_take_fps(things: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for t in range(3):
        Image.fromarray(np.full((HEIGHT, WIDTH), 40 * t, np.uint8)).save(tmp_path / f"in/{t}.png")
    model = ("--model", things / "tiny.safetensors", "--image-size", 64)
    out = ("-o", tmp_path / "out", "--write", "table")
    done = invoke(tmp_path / "in", *model, *out, "--box", BOX, "--fps", 4)
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "out" / "tracks.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == ["0.000000", "0.250000", "0.500000"]
    # It is kept where the project is gone on with.
    again = ("-o", tmp_path / "out", "--resume", "--write", "overlay")
    refused(invoke(tmp_path / "in", *model, *again, "--fps", 5), 2, "made with fps 4, now it is 5")
    for said in ((), ("--fps", 4)):
        done = invoke(tmp_path / "in", *model, *again, *said)
        assert done.exit_code == 0, done.output
        overlay = VideoFile(tmp_path / "out" / "overlay.mp4")
        assert overlay.times.tolist() == [0, 0.25, 0.5]
        overlay.close()


@pytest.mark.parametrize("reading", [{"stream": 0}, {"limits": None}, {"axes": "TYX"}])
def test_a_source_that_has_become_another_kind_of_thing(
    reading: dict[str, Any], things: Path, tmp_path: Path
) -> None:
    """Options that nobody gave were said not to be for it."""
    folder = write_folder(tmp_path / "source", 2)
    (tmp_path / "out").mkdir()
    path = write_project(tmp_path / "out/project.s2t", {1: {0: disk(9, 9, 4)}}, source=folder)
    with Project.open(path, writable=True) as project:
        project.set_meta(reading=reading)
    other = folder if "limits" not in reading else things / "clip.mp4"
    done = invoke(other, "-o", tmp_path / "out", "--model", things / "tiny.safetensors", "--resume")
    refused(done, 2, f"project.s2t was made from another kind of source than {other} is now")


def test_auto_says_what_it_takes(
    things: Path, tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam2track.models.loading.weights_on_disk", lambda _: None)
    done = invoke(
        *(things / "clip.mp4", "-o", tmp_path, "--box", BOX, "--image-size", 64),
        *("--write", "", "--stop", 2, "--json"),
    )
    assert done.exit_code == 0, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("model: nano") and "download" in line
    assert json.loads(done.stdout)["model"] == "nano"


# -- what is refused --------------------------------------------------------------------

# Arguments behind `SOURCE -o OUT`, {} being the folder of things; exit status; part of the line.
REFUSED: dict[str, tuple[list[str], int, str]] = {
    "no prompt": ([], 2, "nothing to track"),
    "no object": (["--point", "5,5"], 2, "expected OBJ:VALUE"),
    "object's name": (["--point", "a:5,5"], 2, "whole number"),
    "object 0": (["--point", "0:5,5"], 2, "ids are positive"),
    "one number": (["--point", "1:5"], 2, "OBJ:X,Y"),
    "no numbers": (["--box", "1:a,b,c,d"], 2, "not in numbers"),
    "endless number": (["--point", "9" * 5000 + ":5,5"], 2, "whole number"),
    "nan": (["--box", "1:0,nan,5,5"], 2, "'1:0,nan,5,5' is not in numbers"),
    "box without area": (["--box", "1:5,5,5,9"], 2, "has no area"),
    "two boxes": (["--box", BOX, "--box", BOX], 2, "second box"),
    "two masks": (["--mask", "1:{}/labels.png", "--mask", "1:{}/labels.png"], 2, "second mask"),
    "absent and there": (["--box", BOX, "--absent", "1@0"], 2, "absent and present"),
    "absent alone": (["--absent", "1@0"], 2, "absent wherever"),
    "absent without frame": (["--absent", "1"], 2, "expected OBJ@T"),
    "point outside": (["--point", "1:65,5"], 2, "outside the frame"),
    "box outside": (["--box", "1:4,6,24,49"], 2, "outside the frame"),
    "frame that is not": (["--box", f"{BOX}@9"], 2, "frames 0 to 8"),
    "mask missing": (["--mask", "1:{}/none.png"], 2, "No such file"),
    "mask blank": (["--mask", "1:{}/blank.png"], 2, "blank.png': the mask is empty"),
    "mask small": (["--mask", "1:{}/small.png"], 2, "64 x 40 pixels, the frame 64 x 48"),
    "mask no picture": (["--mask", "1:{}/text.json"], 2, "no picture"),
    "labels blank": (["--masks", "{}/blank.png"], 2, "no object"),
    "labels in colour": (["--masks", "{}/colour.png"], 2, "colour picture"),
    "file missing": (["--prompts", "{}/none.json"], 2, "No such file"),
    "file a folder": (["--prompts", "{}/no pictures"], 2, "cannot be read"),
    "file no JSON": (["--prompts", "{}/text.json"], 2, "line 1, column 2"),
    "file binary": (["--prompts", "{}/binary.json"], 2, "not UTF-8"),
    "file off schema": (["--prompts", "{}/broken.json"], 2, "objects[0].prompts[0] has unknown"),
    "file without objects": (["--prompts", "{}/nothing.json"], 2, "the prompts mark no object"),
    "file without prompts": (["--prompts", "{}/unsaid.json"], 2, "object 5 has no prompt"),
    "file and option": (["--prompts", "{}/said.json", "--box", BOX], 2, "object 1 on frame 0"),
    "unknown model": (["--box", BOX, "--model", "sam2.1-huge"], 2, "known are nano, sam2.1-tiny"),
    "missing checkpoint": (["--box", BOX, "--model", "none.pt"], 1, "no checkpoint"),
    "checkpoint that is none": (["--box", BOX, "--model", "{}/noise.pt"], 1, "cannot be read as"),
    "missing weights": (
        ["--box", BOX, "--model", "sam2.1-small"],
        1,
        "sam2.1-hiera-small/resolve/main/sam2.1_hiera_small.pt, into a folder",
    ),
    "device": (["--box", BOX, "--device", "tpu"], 2, "allowed are auto, cpu"),
    "precision": (["--box", BOX, "--precision", "int8"], 2, "allowed are auto, fp32"),
    "fp16 on cpu": (["--box", BOX, "--device", "cpu", "--precision", "fp16"], 1, "use fp32"),
    "image size": (["--box", BOX, "--image-size", "100"], 2, "multiples of 64"),
    "start": (["--box", BOX, "--start", "9"], 2, "frames 0 to 8"),
    "range": (["--box", BOX, "--start", "4", "--stop", "4"], 2, "is empty"),
    "fps": (["--box", BOX, "--fps", "0"], 2, "rates above 0"),
    "fps of a video": (["--box", BOX, "--fps", "10"], 2, "fps 10.0 is not for the video"),
    "fps nan": (["--box", BOX, "--fps", "nan"], 2, "rates above 0"),
    "outputs": (["--box", BOX, "--write", "masks,gif"], 2, "cannot write 'gif'"),
    "both at once": (["--box", BOX, "--resume", "--overwrite"], 2, "exclude each other"),
}


def refused(done: Result, status: int, message: str) -> None:
    assert done.exit_code == status, done.output
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("sam2track: ") and message in lines[0]


@pytest.mark.parametrize(
    ("arguments", "status", "message"), REFUSED.values(), ids=[*map(str, REFUSED)]
)
@pytest.mark.usefixtures("offline")
def test_refused(
    things: Path, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    (things / "noise.pt").write_bytes(b"PK noise")
    arguments = [text.replace("{}", str(things)) for text in arguments]
    out = tmp_path / "out"
    refused(invoke(things / "clip.mp4", "-o", out, *arguments), status, message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.mp4", "does not exist"),
        ("empty.mp4", "is empty"),
        ("noise.mp4", ""),
        ("cut.mp4", ""),
        ("said.json", ""),
        ("no pictures", "holds no pictures"),
    ],
)
def test_sources_that_cannot_be_read(
    things: Path, tmp_path: Path, source: str, message: str
) -> None:
    done = invoke(things / source, "-o", tmp_path / "out", "--box", BOX)
    refused(done, 1, message)
    assert source in done.stderr
    assert not (tmp_path / "out").exists()


def test_source_that_may_not_be_read(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read everything, so the refusal is made up.
    original = Path.open

    def denied(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "clip.mp4":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", denied)
    refused(invoke(things / "clip.mp4", "-o", tmp_path, "--box", BOX), 1, "may not be read")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_where_there_is_none(things: Path, tmp_path: Path) -> None:
    for model in ("nano", "auto"):
        out = ("-o", tmp_path / "out", "--box", BOX, "--model", model)
        refused(
            invoke(things / "clip.mp4", *out, "--device", "cuda"), 1, "take the device cpu or auto"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["clip.mp4"],
        ["clip.mp4", "-o"],
        ["clip.mp4", "-o", "out", "--direction", "up"],
        ["clip.mp4", "-o", "out", "--start", "-1"],
        ["clip.mp4", "-o", "out", "--stop", "x"],
        ["clip.mp4", "-o", "out", "--nonsense"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr and "Traceback" not in done.stderr


# -- outputs that cannot be written -----------------------------------------------------


def test_the_current_folder_takes_outputs(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = ["--box", BOX, "--write", "table", "--stop", "1"]
    done = small(things, "-o", "", *said)
    assert done.exit_code == 2 and "--output is empty" in done.stderr
    done = small(things, "-o", ".", *said)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path().iterdir()) == ["project.s2t", "tracks.csv"]


def test_a_file_is_in_the_way(things: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for out in ("out", "out/below"):
        refused(small(things, "-o", tmp_path / out, "--box", BOX), 1, "cannot be written")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_link_that_leads_nowhere(things: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("gone")
    refused(small(things, "-o", tmp_path / "out", "--box", BOX), 1, "leads nowhere; give another")


def test_a_current_folder_that_is_gone(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    refused(small(things, "-o", tmp_path / "out", "--box", BOX), 1, "current folder is gone")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(things: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        refused(small(things, "-o", tmp_path / "out", "--box", BOX), 1, "cannot be written")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_may_not_be_looked_into(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.exists

    def denied(self: Path, *arguments: Any, **options: Any) -> bool:
        if self.parent == tmp_path / "out":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "exists", denied)
    refused(small(things, "-o", tmp_path / "out", "--box", BOX), 1, "Permission denied")


def test_a_full_disk(things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Project.put
    frames: list[int] = []

    def full(self: Project, result: Any, records: Any) -> None:
        frames.append(result.frame)
        if result.frame == 5:
            raise OutputError(f"{self.path} cannot be written: database or disk is full")
        put(self, result, records)

    monkeypatch.setattr(Project, "put", full)
    refused(small(things, "-o", tmp_path, "--box", BOX), 1, "disk is full")
    monkeypatch.undo()
    done = small(things, "-o", tmp_path, "--resume", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["frames_computed"] == FRAMES - 5


def test_a_project_is_there(things: Path, tmp_path: Path) -> None:
    few = ("--write", "table", "--stop", 3)
    assert small(things, "-o", tmp_path, "--box", BOX, *few).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused(small(things, "-o", tmp_path, "--box", BOX, *few), 2, "--resume")
    bad = ("--box", "1:4,6,24,999", "--overwrite")
    refused(small(things, "-o", tmp_path, *bad), 2, "outside the frame")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    other = ("--box", "1:4,6,24,27", "--resume")
    nothing = ("--prompts", things / "nothing.json", "--resume")  # which is not none at all
    refused(small(things, "-o", tmp_path, *nothing, *few), 2, "the prompts mark no object")
    refused(small(things, "-o", tmp_path, *other), 2, "object 1, frame 0 is prompted differently")
    assert small(things, "-o", tmp_path, "--box", BOX, "--resume", *few).exit_code == 0
    assert small(things, "-o", tmp_path, "--box", BOX, "--overwrite", *few).exit_code == 0


def test_debug_shows_where(things: Path, tmp_path: Path) -> None:
    arguments = ["--debug", "track", str(things / "clip.mp4"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sam2track: nothing to track")


# -- interruptions ----------------------------------------------------------------------


@pytest.fixture
def interrupted_job(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    def at(frame: int) -> None:
        put = Project.put

        def stop(self: Project, result: Any, records: Any) -> None:
            if result.frame == frame:
                raise KeyboardInterrupt
            put(self, result, records)

        monkeypatch.setattr(Project, "put", stop)

    yield at


def test_interrupted(things: Path, tmp_path: Path, interrupted_job: Callable[[int], None]) -> None:
    interrupted_job(4)
    done = small(things, "-o", tmp_path, "--box", BOX, "--json")
    assert done.exit_code == 130
    assert json.loads(done.stdout)["status"] == "interrupted"
    assert json.loads(done.stdout)["frames_computed"] == 4
    assert "go on with --resume" in done.stderr


def test_interrupted_before_anything_is_done(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for where, name in ((pictures, "read_mask"), (job, "load_model")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, stop)
            done = small(things, "-o", tmp_path / "out", "--mask", f"1:{things}/labels.png")
        assert done.exit_code == 130, done.output
        assert len(done.stderr.splitlines()) == 1 and "interrupted" in done.stderr
        assert not (tmp_path / "out").exists()


SLOW = """
import sys, time
from sam2track.project import Project
put = Project.put
def slowly(self, result, records):
    put(self, result, records)
    print(result.frame, file=sys.stderr, flush=True)
    time.sleep(0.2)
Project.put = slowly
"""

MAIN = """
from sam2track.cli.main import main
main(prog_name="sam2track")
"""

TALKING = """
import sys
sys.stderr.isatty = lambda: True
"""

STOPPING = """
import os, signal
from sam2track.project import Project
put = Project.put
def once(self, result, records):
    put(self, result, records)
    if result.frame == 1:
        os.kill(os.getpid(), signal.SIGHUP)
Project.put = once
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c(things: Path, tmp_path: Path, request_to_end: signal.Signals) -> None:
    """The real thing: a signal to a process at work, and another one that goes on."""
    model = ["--model", str(things / "tiny.safetensors"), "--image-size", "64"]
    command = ["track", str(things / "clip.mp4"), *model, "-o", str(tmp_path / "out")]
    running = subprocess.Popen(
        [sys.executable, "-c", f"{SLOW}{MAIN}", *command, "--box", BOX, "--json"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stderr is not None
        for line in running.stderr:
            if line.strip() == "3":
                break
        time.sleep(0.05)
        running.send_signal(request_to_end)
        printed, said = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert json.loads(printed)["status"] == "interrupted"
    with Project.open(tmp_path / "out" / "project.s2t") as project:
        there = len(project.frames)
        assert 4 <= there < FRAMES
    # Pictures of frames that were done are whole; videos and tables come once all is done.
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"project.s2t", "masks"}
    written = sorted((tmp_path / "out" / "masks").iterdir())
    assert [path.name for path in written] == [f"{t:05d}.png" for t in range(len(written))]
    assert there - 1 <= len(written) <= there

    done = small(things, "-o", tmp_path / "out", "--resume", "--json")
    assert done.exit_code == 0, done.output
    assert 0 < json.loads(done.stdout)["frames_computed"] <= FRAMES - 3
    whole = small(things, "-o", tmp_path / "whole", "--box", BOX)
    assert whole.exit_code == 0
    for t in range(FRAMES):
        name = f"masks/{t:05d}.png"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_what_nobody_can_hear_ends_no_job(things: Path, tmp_path: Path) -> None:
    model = ["--model", str(things / "tiny.safetensors"), "--image-size", "64"]
    command = ["track", str(things / "clip.mp4"), *model, "-o", str(tmp_path / "out"), "--box", BOX]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", f"{TALKING}{MAIN}", *command, "--json"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0
    assert json.loads(done.stdout)["status"] == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_interruption_that_cannot_be_told_is_one(things: Path, tmp_path: Path) -> None:
    model = ["--model", str(things / "tiny.safetensors"), "--image-size", "64"]
    command = ["track", str(things / "clip.mp4"), *model, "-o", str(tmp_path / "out"), "--box", BOX]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", f"{STOPPING}{MAIN}", *command],
            env=environment(),
            stdout=full,
            stderr=full,
            timeout=60,
            check=False,
        )
    assert done.returncode == 130
    with Project.open(tmp_path / "out") as project:
        assert project.frames == (0, 1)


def test_as_a_module(things: Path, tmp_path: Path) -> None:
    """A real process ends with the status, and says one line."""
    done = subprocess.run(
        [sys.executable, "-m", "sam2track", "track", str(things / "none.mp4"), "-o", "out"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sam2track: ") and done.stderr.count("\n") == 1


# -- stacks -----------------------------------------------------------------------------


def test_a_stack_is_read_again_as_it_was(things: Path, tmp_path: Path) -> None:
    import tifffile

    stack = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(200, 9000, (6, 2, 2, 48, 64)).astype(np.uint16)
    tifffile.imwrite(stack, values, imagej=True, metadata={"axes": "TZCYX"})
    model = ("--model", things / "tiny.safetensors", "--image-size", 64)
    out, box = tmp_path / "out", ("--box", "1:10,10,40,40")
    refused(invoke(stack, "-o", out, *model, *box), 2, "choose one of Z")
    assert not out.exists()
    how = ("--z", "max", "--channel", "1", "--limits", "300,8000")
    done = invoke(stack, "-o", out, *model, *box, *how, "--stop", 3, "--write", "table")
    assert done.exit_code == 0, done.output
    again = invoke(stack, "-o", out, *model, "--resume", "--write", "table", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["frames_computed"] == 3
    with Project.open(out / "project.s2t") as project:
        reading = project.meta["reading"]
        masks = [project.masks(f)[1] for f in range(6)]
    assert reading == {"axes": "TZCYX", "channel": [1], "z": "max", "limits": [[300, 8000]]}
    for other, name in ((("--z", "0"), "z"), (("--channel", "0"), "channel")):
        refused(invoke(stack, "-o", out, *model, "--resume", *other), 2, f"was made with {name}")

    whole = invoke(stack, "-o", tmp_path / "whole", *model, *box, *how, "--write", "table")
    assert whole.exit_code == 0, whole.output
    with Project.open(tmp_path / "whole" / "project.s2t") as project:
        for frame in range(6):
            assert np.array_equal(project.masks(frame)[1], masks[frame])


def test_a_replay_from_another_folder(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    np.save("data/a.npy", np.random.default_rng(0).integers(0, 99, (3, 48, 64)).astype(np.uint16))
    model = ("--model", things / "tiny.safetensors", "--image-size", 64)
    done = invoke("data/a.npy", "-o", "out", *model, "--box", "1:10,10,40,40", "--write", "table")
    assert done.exit_code == 0, done.output
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = CliRunner().invoke(
        main,
        [
            "replay",
            "../out",
            "-o",
            "again",
            "--write",
            "table",
            "--model",
            str(things / "tiny.safetensors"),
        ],
    )
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--z", "low"), "z 'low'; give a whole number"),
        (("--limits", "1"), "limits '1'; give LO,HI"),
        (("--limits", "1,9"), "limits (1.0, 9.0) is not for the video"),
        (("--channel", ","), "channel ','"),
        (("--axes", "TYX"), "axes 'TYX' is not for the video"),
        (("--stream", "3"), "no video stream 3"),
        (("--hwaccel", "toaster"), "no hardware decoder 'toaster'"),
    ],
)
def test_reading_that_cannot_be(
    things: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "out"
    refused(small(things, "-o", out, "--box", BOX, *options), 2, message)
    assert not out.exists()
