"""Commands that read a project: what they print and write, and how they fail."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from sam2track.cli.main import main
from sam2track.confidence import confidences
from sam2track.errors import SourceError
from sam2track.frames.folder import ImageFolder
from sam2track.project import Project
from sam2track.table import COLUMNS
from tests.made import HEIGHT, WIDTH, disk, write_folder, write_project

REPOSITORY = Path(__file__).parents[2]

COMMANDS = {
    "measure": [],
    "count": [],
    "review": [],
    "render": ["-o", "o.mp4"],
    "report": ["-o", "o.html"],
}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    source = write_folder(folder / "frames", 6)
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    one = {t: disk(10 + 10 * t, 30, 6) for t in range(6)}
    two = {t: disk(40, 40, 6) if t > 1 else nothing for t in range(6)}
    names = {1: "car", 2: "\x1b[31m<b>"}
    (folder / "out").mkdir()
    write_project(folder / "out/project.s2t", {1: one, 2: two}, source=source, names=names)
    write_project(folder / "empty.s2t", {1: {}})
    (folder / "noise.s2t").write_bytes(b"SQLite format 3\0 noise")
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def invoke(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)], prog_name="sam2track")


def done(command: str, *arguments: object) -> Result:
    result = invoke(command, *arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(result: Result, status: int, message: str) -> None:
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"count"}))
@pytest.mark.parametrize("kind", ["missing", "noise", "shorter"])
def test_pictures_that_are_named_and_cannot_be_used(
    command: str, kind: str, things: Path, tmp_path: Path
) -> None:
    """Those that the project remembers, and that are gone, are a warning."""
    if kind == "noise":
        (tmp_path / "noise").write_bytes(b"no video")
    elif kind == "shorter":
        write_folder(tmp_path / "shorter", 3)
    before = sorted(tmp_path.iterdir())
    refused(invoke(command, things / "out", "--source", kind, *COMMANDS[command]), 1, kind)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("options", [["info"], ["info", "--json"], ["--help"]])
def test_standard_output_that_is_full(things: Path, options: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        found = subprocess.run(
            [sys.executable, "-m", "sam2track", *options, str(things / "out")],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (found.returncode, found.stderr) == (
        1,
        "sam2track: cannot write standard output: No space left on device; write it elsewhere\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_wrong_usage_that_cannot_be_told_is_wrong_usage() -> None:
    with Path("/dev/full").open("wb") as full:
        found = subprocess.run(
            [sys.executable, "-m", "sam2track", "info", "--nothing"],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stderr=full, timeout=60, check=False,
        )  # fmt: skip
    assert found.returncode == 2


def test_standard_output_that_nobody_reads(things: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run(
        [sys.executable, "-m", "sam2track", "info", str(things / "out"), "--json"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (found.returncode, found.stderr) == (1, "")


def test_measure(things: Path) -> None:
    found = done("measure", things / "out", "-o", "t.csv", "--objects", "o.csv", "--json")
    objects = json.loads(found.stdout)
    assert objects["version"] == 1 and len(objects["objects"]) == 2
    assert objects["objects"][0]["path_length_px"] == pytest.approx(50)
    rows = read("t.csv")
    assert list(rows[0])[: len(COLUMNS)] == list(COLUMNS)
    assert len(rows) == 12 and rows[0]["intensity_mean_r"] and rows[1]["perimeter_px"] == ""
    assert [row["object"] for row in read("o.csv")] == ["1", "2"]
    with Project.open(things / "out/project.s2t") as project:
        sure = confidences(project)
    for row in rows:
        wanted = sure[int(row["object"])].at(int(row["frame"]))[0]
        assert float(row["confidence"]) == pytest.approx(wanted, abs=1e-4)
    done("measure", things / "out", "-o", "u.csv", "--no-intensity", "--pixel-size", "0.5")
    assert read("u.csv")[0]["area_um2"] and "intensity_mean_r" not in read("u.csv")[0]
    assert "\x1b" not in done("measure", things / "out").stdout


def test_count(things: Path) -> None:
    line, region = "mid=35,0,35,60", "40,20,60,60"
    options = ("--line", line, "--region", region)
    found = done("count", things / "out", *options, "-o", "c.csv", "--events", "e.csv", "--json")
    content = json.loads(found.stdout)
    assert content["frames"] == 6
    cars = next(row for row in content["classes"] if row["class"] == "car")
    assert cars == {"class": "car", "objects": 1, "most_on_a_frame": 1, "mean_per_frame": 1.0}
    events = {(e["where"], e["event"], e["class"]): e["count"] for e in content["events"]}
    assert events["mid", "right to left", "car"] == 1
    assert events["mid", "left to right", "car"] == 0
    assert events[region, "entry", "car"] == events[region, "exit", "car"] == 1
    assert len(read("c.csv")) == 12
    assert next((row["frame"], row["event"]) for row in read("e.csv")) == ("3", "right to left")
    assert "most on a frame" in done("count", things / "out").stdout


def test_of_what_is_counted_no_mask_is_read(things: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("decode", "decode_part"):
        monkeypatch.setattr(f"sam2track.masks.{name}", lambda _: pytest.fail("a mask was read"))
    assert "most on a frame" in done("count", things / "out").stdout
    done("export", things / "out", "-o", "boxes.txt", "-f", "mot")
    assert Path("boxes.txt").read_text().startswith("1,1,")


def test_counts_of_each_frame_and_class(tmp_path: Path) -> None:
    here, away = disk(30, 30, 6), np.zeros((HEIGHT, WIDTH), bool)
    tracks = {1: (away, here, here), 2: (away, away, here), 3: (here, here, away)}
    names = {1: "car", 2: "car", 3: "dog"}
    path = tmp_path / "p.s2t"
    write_project(path, {i: dict(enumerate(track)) for i, track in tracks.items()}, names=names)
    means = json.loads(done("count", path, "-o", "c.csv", "--json").stdout)["classes"]
    assert {row["class"]: row["mean_per_frame"] for row in means} == {"car": 1.0, "dog": 0.6667}
    counts = {(row["class"], row["frame"]): row["count"] for row in read("c.csv")}
    assert [counts["car", t] for t in "012"] == ["0", "1", "2"]
    assert [counts["dog", t] for t in "012"] == ["1", "1", "0"]


def test_review(things: Path) -> None:
    found = done("review", things / "out", "-n", "3", "--sheet", "s.png", "-o", "r.csv", "--json")
    looks = json.loads(found.stdout)["looks"]
    assert len(looks) == 3
    assert [int(row["frame"]) for row in read("r.csv")] == [look["frame"] for look in looks]
    with Image.open("s.png") as sheet:
        assert sheet.size == (3 * 208, 246)
    assert done("review", things / "out").stdout.startswith("rank")


def test_render_and_report(things: Path) -> None:
    found = done("render", things / "out", "-o", "o.mp4", "--stop", "500")
    assert "6 frames of 80 x 60" in found.stdout
    assert found.stderr.startswith("warning: stop 500 lies past the end; ")
    Image.new("RGB", (4, 4)).save("b.png")
    done("render", things / "out", "-o", "b", "--background", "b.png", "--objects", "2,1")
    options = ("--follow", "1", "--crop", "32x20", "--time", "--scores", "--style", "trails")
    assert "32 x 20" in done("render", things / "out", "-o", "f.gif", *options).stdout
    assert "MB" in done("report", things / "out", "-o", "o.html").stdout
    assert Path("o.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("source", ["gone.mp4", "gone\udcff.mp4", "\ud800.mp4"])
def test_names_that_are_no_text(tmp_path: Path, source: str) -> None:
    """Bytes that are no UTF-8 in a folder's name, half of a pair in what a project says."""
    folder = tmp_path / os.fsdecode(b"o\xff")
    folder.mkdir()
    write_project(folder / "project.s2t", {1: {0: disk(10, 30, 6)}})
    with closing(sqlite3.connect(folder / "project.s2t")) as db, db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'source'", (json.dumps(source),))
    said = str(folder)
    for arguments in (
        ["info", said],
        ["info", said, "--json"],
        ["export", said, "--format", "coco", "-o", said + ".coco"],
        ["measure", said, "-o", said + ".csv"],
        ["report", said, "-o", said + ".html", "--no-video"],
        ["report", said, "-o", "r.html"],
    ):
        done = CliRunner().invoke(main, arguments, prog_name="sam2track")
        assert done.exception is None or isinstance(done.exception, SystemExit), arguments
        assert done.exit_code == 0, done.output


def test_pictures_that_moved(things: Path, tmp_path: Path) -> None:
    shutil.copy(things / "out/project.s2t", "p.s2t")
    with Project.open("p.s2t", writable=True) as project:
        project.set_meta(source=str(tmp_path / "nowhere"))
    found = done("measure", "p.s2t", "-o", "t.csv")
    assert "nowhere" in found.stderr and "no intensities" in found.stderr
    assert "intensity_mean_r" not in read("t.csv")[0]
    assert "masks only" in done("review", "p.s2t", "--sheet", "s.png").stderr
    assert "no pictures" in done("report", "p.s2t", "-o", "o.html").stderr
    refused(invoke("render", "p.s2t", "-o", "o.mp4"), 1, "--source")
    found = done("measure", "p.s2t", "-o", "u.csv", "--source", things / "frames")
    assert found.stderr == "" and read("u.csv")[0]["intensity_mean_r"]


def test_pictures_that_break_midway_are_told_of(
    things: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImageFolder.frames

    def broken(self, start, stop, *, backward=False):
        yield from whole(self, start, 3)
        raise SourceError("it is gone")

    monkeypatch.setattr(ImageFolder, "frames", broken)
    found = done("measure", things / "out", "-o", "t.csv")
    assert found.stderr == "warning: no intensities from frame 3 on: it is gone\n"


@pytest.mark.parametrize("command", [*COMMANDS, "export"])
def test_a_project_that_was_not_closed_is_told_of(things: Path, command: str) -> None:
    shutil.copy(things / "out/project.s2t", "whole.s2t")
    with Project.open("whole.s2t", writable=True):
        shutil.copy("whole.s2t", "p.s2t")
    options = COMMANDS.get(command, ["-f", "csv", "-o", "o.csv"])
    said = done(command, "p.s2t", *options).stderr
    assert said.startswith("warning: p.s2t was not closed by what wrote it, and p.s2t-wal is not")


def test_a_stranger_does_not_write_on_the_terminal(things: Path) -> None:
    """Click leaves control characters to a terminal, and takes them away from a file alone."""
    shutil.copy(things / "out/project.s2t", "p.s2t")
    with sqlite3.connect("p.s2t") as db:
        for key in ("source", "model"):
            db.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps("a\x1b[2J\nb"), key))
        db.execute("UPDATE journal SET action = json_set(action, '$.x', char(27) || '[2J')")
    db.close()
    for command in ("info", "render"):
        found = CliRunner().invoke(
            main, [command, "p.s2t", *COMMANDS.get(command, ())], color=True, prog_name="sam2track"
        )
        assert "\x1b" not in found.output
        assert "a?[2J b" in found.output


@pytest.mark.parametrize("command", COMMANDS)
def test_projects_that_cannot_be_read(things: Path, command: str) -> None:
    options = COMMANDS[command]
    refused(invoke(command, things / "empty.s2t", *options), 1, "no results yet; track first")
    refused(invoke(command, things / "none.s2t", *options), 1, "there is no project")
    refused(invoke(command, things / "noise.s2t", *options), 1, "noise.s2t")
    refused(invoke(command, things / "frames", *options), 1, "there is no project")
    assert list(Path().iterdir()) == []


def test_damage_within(things: Path) -> None:
    import sqlite3

    shutil.copy(things / "out/project.s2t", "p.s2t")
    with sqlite3.connect("p.s2t") as db:
        db.execute("UPDATE all_results SET mask = x'00' WHERE frame = 4")
    db.close()
    for command, options in COMMANDS.items():
        if command != "count":  # which reads no mask
            refused(invoke(command, "p.s2t", *options), 1, "damaged")
    assert [p.name for p in Path().iterdir()] == ["p.s2t"]


@pytest.mark.parametrize(
    "statement",
    ["codes = substr(codes, 1, 20)", "side = 100000", "side = 'x'", "codes = 5", "codes = x''"],
)
def test_damaged_logits_are_named(things: Path, statement: str) -> None:
    import sqlite3

    shutil.copy(things / "out/project.s2t", "p.s2t")
    with sqlite3.connect("p.s2t") as db:
        db.execute(f"UPDATE all_results SET {statement} WHERE frame = 4")
    db.close()
    for command in ("review", "report"):
        found = invoke(command, "p.s2t", *COMMANDS[command])
        refused(found, 1, "is damaged at object 1 on frame 4: its logits cannot be read")
        assert "sam2track replay" in found.stderr
    full = invoke("measure", "p.s2t", "-o", "t.csv")
    refused(full, 1, "is damaged at object 1 on frame 4: its logits cannot be read")
    assert [p.name for p in Path().iterdir()] == ["p.s2t"]


@pytest.mark.parametrize(
    ("command", "arguments", "status", "message"),
    [
        ("measure", ["--pixel-size", "0"], 2, "above 0"),
        ("measure", ["--frame-interval", "nan"], 2, "above 0"),
        ("measure", ["-o", "none/t.csv"], 1, "cannot write"),
        ("measure", ["-o", "t.csv", "--objects", "./t.csv"], 2, "give each its own"),
        ("review", ["-o", "s.png", "--sheet", "s.png"], 2, "give each its own"),
        (
            "count",
            ["-o", "t.csv", "--events", "t.csv", "--line", "1,2,3,4"],
            2,
            "give each its own",
        ),
        ("count", ["--line", "1,2,3"], 2, "allowed is"),
        ("count", ["--region", "1,2"], 2, "allowed is"),
        ("count", ["--line", "a=1,2,3,4", "--region", "a=1,2,3,4"], 2, "name each"),
        ("count", ["-o", "none/t.csv"], 1, "cannot write"),
        ("count", ["--events", "e.csv"], 2, "--line, --region"),
        ("review", ["--sheet", "none/s.png"], 1, "cannot write"),
        ("review", ["--sheet", "s.jpg"], 2, "ends in .png"),
        ("render", ["-o", "o.mp4", "--objects", "7"], 2, "it holds 1, 2"),
        ("render", ["-o", "o.mp4", "--objects", "x"], 2, "it holds 1, 2"),
        ("render", ["-o", "o.mp4", "--objects", "1," + 5000 * "2"], 2, "it holds 1, 2"),
        ("render", ["-o", "o.mp4", "--crop", "9x9"], 2, "(follow, --follow)"),
        ("render", ["-o", "o.mp4", "--follow", "1", "--crop", "9"], 2, "WxH"),
        ("render", ["-o", "o.mp4", "--style", "background"], 2, "--background"),
        ("render", ["-o", "o", "--quality", "5"], 2, "PNGs have no quality"),
        ("render", ["-o", "o.xyz"], 2, "allowed are .mp4"),
        ("render", ["-o", "none/o.mp4"], 1, "cannot write"),
        ("render", ["-o", "o.mp4", "--start", "99"], 2, "the project has frames 0 to 5"),
        ("report", ["-o", "o.pdf"], 2, ".html"),
        ("report", ["-o", "o.html", "--no-video", "--size", "99"], 2, "give one"),
        ("report", ["-o", "none/o.html"], 1, "cannot write"),
    ],
)
def test_refusals(things: Path, command: str, arguments: list[str], status, message) -> None:
    refused(invoke(command, things / "out", *arguments), status, message)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("command", [*COMMANDS, "info", "replay", "export"])
def test_what_may_not_be_read_is_no_wrong_usage(
    things: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Click would ask the system before we do, and end with status 2 and a line on usage."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    monkeypatch.setattr("sam2track.project.Project.open", _denied)
    more = {"replay": ["-o", "o"], "export": ["-f", "csv", "-o", "o.csv"], **COMMANDS}
    found = invoke(command, things / "out/project.s2t", *more.get(command, []))
    refused(found, 1, "Permission denied; check this path")


def _denied(path: Path, **_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


@pytest.mark.parametrize("command", [*COMMANDS, "info", "replay", "export"])
def test_an_empty_name_is_not_the_current_folder(
    things: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    shutil.copytree(things / "out", "here")
    monkeypatch.chdir("here")
    more = {"replay": ["-o", "o"], "export": ["-f", "csv", "-o", "o.csv"], **COMMANDS}
    refused(invoke(command, "", *more.get(command, [])), 2, "PROJECT is empty; name a file")
    if command in ("measure", "count", "export"):
        refused(invoke(command, ".", *more[command], "-o", ""), 2, "--output is empty; name")
    assert [path.name for path in Path().iterdir()] == ["project.s2t"]


def test_the_current_folder_is_no_file(things: Path) -> None:
    for command, option in (("measure", "-o"), ("count", "-o"), ("review", "--sheet")):
        refused(invoke(command, things / "out", option, "."), 1, "write .: it is a folder; name a")
    refused(invoke("report", things / "out", "-o", "."), 2, ".; a page ends in .html")


def test_what_is_read_is_not_written_over(things: Path) -> None:
    path = things / "out/project.s2t"
    before = path.read_bytes()
    for command in ("measure", "count"):
        refused(invoke(command, path, "-o", path), 2, "is what is read")
    refused(invoke("review", path, "--sheet", path), 2, "is what is read")
    refused(invoke("render", path, "-o", things / "frames"), 2, "is what is read")
    for command, option in (("review", "--sheet"), ("render", "-o"), ("measure", "-o")):
        refused(invoke(command, path, option, things / "frames/new.png"), 2, "a part of")
    assert path.read_bytes() == before and not (things / "frames/new.png").exists()


def test_devices_are_not_replaced(things: Path) -> None:
    os.mkfifo("pipe.html")
    for target in ("pipe.html", "/dev/new.html"):
        refused(invoke("measure", things / "out", "-o", target), 2, "give the name of a file")
    refused(invoke("report", things / "out", "-o", "pipe.html"), 2, "give the name of a file")
    assert Path("pipe.html").is_fifo()


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    found = done(command, "--help")
    assert "PROJECT" in found.stdout and max(map(len, found.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("command", "second"), [("measure", "--objects"), ("review", "--sheet")], ids=str
)
@pytest.mark.parametrize("there", [True, False])
def test_of_two_outputs_none_is_written_where_one_cannot_be(
    things: Path, tmp_path: Path, command: str, second: str, there: bool
) -> None:
    """The first was replaced, and the second found wanting once all was measured."""
    first = tmp_path / "a.csv"
    if there:
        first.write_text("mine")
    done = invoke(command, things / "out", "-o", first, second, tmp_path / "none/b.png")
    assert done.exit_code == 1 and "none/b.png" in done.stderr and not done.stdout
    assert [p.name for p in tmp_path.iterdir()] == (["a.csv"] if there else [])
    assert not there or first.read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        ["replay", "-o", "-"],
        ["export", "-f", "csv", "-o", "-"],
        ["report", "-o", "-"],
        ["measure", "-o", "-"],
    ],
)
def test_outputs_do_not_go_to_a_pipe(
    things: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *rest = words
    found = invoke(command, things / "out/project.s2t", *rest)
    refused(found, 2, "-o -: nothing is read from or written to a pipe here; name a file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["replay", "measure", "report", "import"])
def test_outputs_do_not_go_to_an_address(
    things: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    """A folder named s3: was made of it."""
    monkeypatch.chdir(tmp_path)
    found = invoke(command, things / "out/project.s2t", "-o", "s3://bucket/a.s2t")
    refused(found, 2, "is s3://bucket/a.s2t, an address; only outputs of `sam2track batch` may be")
    assert list(tmp_path.iterdir()) == []
