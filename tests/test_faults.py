"""Disks that are full, memory that is short, sources that change, odd places and clocks."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sam2track.cli.main import main
from sam2track.database import refusal
from sam2track.errors import OutputError, ProjectError, Sam2TrackError
from sam2track.export.videos import VideoWriter
from sam2track.faults import is_out_of_memory
from sam2track.job import run
from sam2track.outputs import Progress
from sam2track.project import Project, WriterLock
from tests import kills
from tests.faults import file_limit
from tests.made import half_written

REPOSITORY = Path(__file__).parents[1]
RED = [3, 5, 23, 25]
ONE = {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "box": RED}]}]}


@pytest.fixture(scope="module")
def module() -> Any:
    import torch

    state, threads = torch.get_rng_state(), torch.get_num_threads()
    built = kills.model()
    torch.set_rng_state(state)
    torch.set_num_threads(threads)
    return built


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "video.mp4"
    kills.clip(path)
    return path


@pytest.fixture(scope="module")
def whole(module: Any, video: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    kills.job(video, out, module, resume=False)
    return kills.contents(out)


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


# -- disks ------------------------------------------------------------------------------


def test_a_disk_that_is_full_at_any_write(
    module: Any, video: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """No file may grow past a limit; then the limit goes, and the job goes on."""
    failed = 0
    for limit in (500, 3000, 20_000, 60_000, 90_000, 140_000, 400_000):
        out = tmp_path / str(limit)
        try:
            with file_limit(limit):
                kills.job(video, out, module, resume=False)
        except Sam2TrackError as error:
            failed += 1
            assert "\n" not in str(error)
            assert isinstance(error, OutputError), error
        left = names(out) if out.exists() else set()
        assert not any(Path(name).name.startswith(".") for name in left), left
        for name in left - {"project.s2t", "project.s2t-wal", "project.s2t-shm"}:
            assert name in whole, f"{name} is left of a job that did not reach its end"
        kills.job(video, out, module, resume=True)
        assert kills.contents(out) == whole, limit
    assert failed > 3


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs root")
def test_a_small_disk_that_is_full_and_then_freed(
    module: Any, video: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        refused = 0
        for free in (20, 100, 200, 300, 400):
            shutil.rmtree(disk / "out", ignore_errors=True)
            (disk / "ballast").write_bytes(bytes(4090 - free << 10))
            try:
                kills.job(video, disk / "out", module, resume=False)
            except OutputError as error:
                refused += 1
                assert "\n" not in str(error)
            assert not [n for n in names(disk) if Path(n).name.startswith(".")]
            (disk / "ballast").unlink()
            kills.job(video, disk / "out", module, resume=True)
            assert kills.contents(disk / "out") == whole, free
        assert refused >= 2
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- memory -----------------------------------------------------------------------------

SHORT = """
import resource, sys
from pathlib import Path
from tests import kills
source, out, room = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
import sam2track.job, sam2track.frames.video
module = kills.model()
kills.job(source, out.with_name("warm"), module, resume=False)
from sam2track.cli.main import main
from sam2track import job
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, -1))
said = []
try:
    kills.job(source, out, module, resume=False)
except (Exception, MemoryError) as error:
    from sam2track.errors import Sam2TrackError
    from sam2track.faults import explained
    known = error if isinstance(error, Sam2TrackError) else explained(error)
    said = [type(error).__name__, known is not None, str(error)[:300]]
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
if not said:
    print("enough")
    sys.exit(0)
assert said[1], said
kills.job(source, out, module, resume=True)
assert kills.contents(out) == kills.contents(out.with_name("warm"))
print("short", said)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_main_memory_that_is_short(video: Path, tmp_path: Path) -> None:
    """Under a limit of memory the job says so in our words, and goes on without the limit."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(video), str(tmp_path / "out"), "0"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("short"), done.stdout


def test_threads_of_writers_that_find_no_memory(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was tracked is kept, no half file is left, and the job goes on afterwards."""
    out, box = tmp_path / "out", ("--box", "1:3,5,23,25")
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name.startswith("ThreadPoolExecutor"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", refused)
        done = CliRunner().invoke(main, ["track", str(video), *TRACK, *box, "-o", str(out)])
    assert done.exit_code == 1
    *_, line = done.stderr.splitlines()
    assert line.startswith("sam2track: out of memory: can't start new thread; ")
    assert names(out) == {"project.s2t"}
    with Project.open(out) as project:
        assert project.frames[:1] == (0,)
    said("track", video, *TRACK, "-o", out, "--resume")
    said("track", video, *TRACK, *box, "-o", tmp_path / "whole")
    assert kills.contents(out) == kills.contents(tmp_path / "whole")


# -- sources ----------------------------------------------------------------------------


def at_frame(number: int, what: Any) -> Any:
    """Call something once, when so many frames are tracked."""

    def told(now: Progress) -> None:
        if now.stage == "tracking" and now.done == number:
            what()

    return told


def test_a_video_that_is_cut_while_it_is_read(module: Any, video: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "v.mp4", tmp_path / "out"
    noise = np.random.default_rng(0).integers(0, 255, (60, 96, 128, 3), np.uint8)
    with VideoWriter(path, height=96, width=128, threads=1) as writer:
        for picture in noise:
            writer.write(picture)
    size = path.stat().st_size
    cut = at_frame(5, lambda: os.truncate(path, size * 6 // 10))
    outcome = run(path, ONE, output=out, model=module, progress=cut, write=["masks"])
    assert any("changed while it was read" in line for line in outcome.warnings)
    assert any("cannot be decoded" in line for line in outcome.warnings)
    with Project.open(out / "project.s2t") as project:
        assert len(project.frames) == 60
        carried = project.meta["carried"]
        assert carried and carried == list(range(carried[0], 60))
        assert {row.frame for row in project.rows() if row.source == "carried"} == set(carried)
    with pytest.raises(Sam2TrackError):
        run(path, ONE, output=out, model=module, resume=True)


def test_a_video_that_grows_while_it_is_read(module: Any, video: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "v.mp4", tmp_path / "out"
    shutil.copy(video, path)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(bytes(5000))

    outcome = run(path, ONE, output=out, model=module, progress=at_frame(5, grow), write=["masks"])
    assert any("changed while it was read" in line for line in outcome.warnings)
    with Project.open(out / "project.s2t") as project:
        assert len(project.frames) == kills.FRAMES
        assert project.meta["carried"] == []
    with pytest.raises(ProjectError, match="other pictures"):
        run(path, None, output=out, model=module, resume=True)


def test_a_video_that_is_replaced_while_it_is_read(
    module: Any, video: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "v.mp4", tmp_path / "out"
    shutil.copy(video, path)
    other = tmp_path / "other.mp4"
    with VideoWriter(other, height=48, width=64, threads=1) as writer:
        for value in range(9):
            writer.write(np.full((48, 64, 3), 9 * value, np.uint8))
    outcome = run(
        path, ONE, output=out, model=module, progress=at_frame(5, lambda: other.replace(path)),
        write=["masks"],
    )  # fmt: skip
    assert any("changed while it was read" in line for line in outcome.warnings)
    with pytest.raises(ProjectError, match=r"was made (from other pictures|with frames)"):
        run(path, None, output=out, model=module, resume=True)


def test_a_video_that_is_removed_while_it_is_read(module: Any, video: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "v.mp4", tmp_path / "out"
    shutil.copy(video, path)
    outcome = run(
        path, ONE, output=out, model=module, progress=at_frame(5, path.unlink), write=["masks"]
    )
    assert any("was moved or removed while it was read" in line for line in outcome.warnings)
    with Project.open(out / "project.s2t") as project:
        assert len(project.frames) == kills.FRAMES
    with pytest.raises(Sam2TrackError, match="does not exist"):
        run(path, None, output=out, model=module, resume=True)
    shutil.copy(video, path)
    assert run(path, None, output=out, model=module, resume=True).frames_computed == 0


def test_pictures_that_are_replaced_or_vanish(module: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for t in range(8):
        Image.fromarray(np.full((48, 64, 3), 20 * t, np.uint8)).save(folder / f"{t}.png")

    def replace() -> None:
        Image.fromarray(np.full((48, 64, 3), 255, np.uint8)).save(folder / "6.png")

    outcome = run(
        folder, ONE, output=out, model=module, progress=at_frame(3, replace), write=["masks"]
    )
    assert any("changed while it was read" in line for line in outcome.warnings)
    with pytest.raises(ProjectError, match="other pictures"):
        run(folder, None, output=out, model=module, resume=True)
    gone = tmp_path / "gone"
    with pytest.raises(Sam2TrackError, match=r"7\.png cannot be read"):
        run(
            folder, ONE, output=gone, model=module,
            progress=at_frame(3, (folder / "7.png").unlink),
        )  # fmt: skip
    with Project.open(gone / "project.s2t") as project:
        assert project.frames == tuple(range(7))


# -- two at once ------------------------------------------------------------------------


def test_the_lock_is_held_by_one_alone(tmp_path: Path) -> None:
    """Whoever has it removes its file: nobody may get one on a file that is gone."""
    inside, most, got = [], [], []

    def grab() -> None:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                lock = WriterLock(tmp_path / "p.s2t")
            except ProjectError:
                continue
            inside.append(1)
            most.append(len(inside))
            got.append(1)
            time.sleep(0.0005)
            inside.pop()
            lock.release()

    threads = [threading.Thread(target=grab) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) > 20
    assert max(most) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_let_go_where_its_file_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    held = WriterLock(tmp_path / "p.s2t")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        held.release()
    WriterLock(tmp_path / "p.s2t").release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="what is open is not removed there")
def test_a_lock_is_held_until_its_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another would have it, and a third one a new file of its name."""
    held, unlink = WriterLock(tmp_path / "p.s2t"), Path.unlink

    def looked_at(path: Path, **how: bool) -> None:
        with pytest.raises(ProjectError, match="in use"):
            WriterLock(tmp_path / "p.s2t")
        unlink(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", looked_at)
        held.release()
    assert list(tmp_path.iterdir()) == []


HOLDER = """
import sys
from sam2track.project import Project
with Project.open(sys.argv[1], writable=True):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_two_processes_on_one_project(
    module: Any, video: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """Who comes second is told so and may read; a writer that is killed holds nothing."""
    out = tmp_path / "out"
    kills.job(video, out, module, resume=False)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out / "project.s2t")],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(ProjectError, match="in use by another"):
                run(video, ONE, output=out, model=module, **how)
        with pytest.raises(ProjectError, match="in use by another"):
            Project.open(out, writable=True)
        assert kills.contents(out) == whole
        said("export", out, "-f", "csv", "-o", tmp_path / "t.csv")
    finally:
        holder.kill()
        holder.communicate()
    kills.job(video, out, module, resume=True)
    assert kills.contents(out) == whole


# -- places, names, clocks --------------------------------------------------------------


def test_a_clock_that_is_set_back(
    module: Any, video: Path, whole: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    monkeypatch.setattr(time, "time_ns", lambda: next(ticks) * 10**9)
    kills.job(video, tmp_path / "out", module, resume=False)
    assert kills.contents(tmp_path / "out") == whole


def said(*arguments: object) -> None:
    """Run a command, which has to go well."""
    done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="sam2track")
    assert done.exit_code == 0, done.output


TRACK = ("--model", "nano", "--image-size", "64", "--device", "cpu", "--stop", "3")


def test_odd_names(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, letters of all kinds, a leading dash, and names as long as they may be."""
    folder = tmp_path / "a b\u00e4\u4e2d\U0001f40c"
    folder.mkdir()
    monkeypatch.chdir(folder)
    longest = "-" + "v" * 250 + ".mp4"
    assert len(longest) == 255
    shutil.copy(video, folder / longest)
    out = "-" + "o" * 254
    said("track", *TRACK, "--box", "1:3,5,23,25", "-o", f"./{out}", "--", longest)
    wanted = ["masks", "masks.mp4", "overlay.mp4", "project.s2t", "tracks.csv"]
    assert sorted(p.name for p in Path(out).iterdir()) == wanted
    for number, kind in enumerate(("yolo-seg", "sav", "ytvos", "csv")):
        ending = ".csv" if kind == "csv" else ""
        target = f"{number}{'e' * (254 - len(ending))}{ending}"
        said("export", f"./{out}", "-f", kind, "-o", target)
        assert Path(target).exists()
    picture = "p" * 251 + ".png"
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(picture)
    said("image", picture, "-o", "found", "--point", "1:9,9", *TRACK[:6], "--write", "mask,json")
    assert len(list(Path("found").iterdir())) == 2


def as_anyone() -> list[str]:
    """What a command begins with to be held to the permissions of files, as root is not."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may write everywhere here")
    return ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]


def test_a_current_folder_that_cannot_be_written(video: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir(mode=0o555)
    done = subprocess.run(
        [
            *as_anyone(), sys.executable, "-m", "sam2track", "track", str(video), *TRACK,
            "--box", "1:3,5,23,25", "-o", str(tmp_path / "out"),
        ],
        cwd=here,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(here.iterdir()) == []


def told_to_anyone(project: Path) -> subprocess.CompletedProcess[str]:
    """What ``info`` says to somebody who may not write where it lies."""
    return subprocess.run(
        [*as_anyone(), sys.executable, "-m", "sam2track", "info", str(project)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_log_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """SQLite makes an index beside a log to read it; what a kill left was "unable to open"."""
    here, away = tmp_path / "here", tmp_path / "away"
    here.mkdir()
    away.mkdir()
    with Project.create(
        tmp_path / "p.s2t", meta={"height": 4, "width": 4, "frames": 1}, times=np.zeros(1)
    ):
        for name in ("p.s2t", "p.s2t-wal"):
            shutil.copy(tmp_path / name, here)
            shutil.copy(tmp_path / name, away)
    here.chmod(0o555)
    done = told_to_anyone(here / "p.s2t")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "lies in p.s2t-wal" in done.stderr and "; copy both files to one that" in done.stderr
    Project.open(away / "p.s2t").close()


def test_a_project_whose_log_was_left_behind_in_a_folder_that_cannot_be_written(
    tmp_path: Path,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    meta = {"height": 4, "width": 4, "frames": 1}
    with Project.create(tmp_path / "p.s2t", meta=meta, times=np.zeros(1)):
        shutil.copy(tmp_path / "p.s2t", here)
    here.chmod(0o555)
    done = told_to_anyone(here / "p.s2t")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "was not closed by what wrote it" in done.stderr and "p.s2t-wal" in done.stderr


def test_a_project_whose_log_was_left_behind_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / "p.s2t"
    meta = {"height": 4, "width": 4, "frames": 1}
    with Project.create(tmp_path / "p.s2t", meta=meta, times=np.zeros(1)) as whole:
        whole.set_meta(more=1)
        shutil.copy(tmp_path / "p.s2t", path)
        with Project.open(tmp_path / "p.s2t") as reading:
            assert reading.warning == ""
    done = CliRunner().invoke(main, ["info", str(path)])
    assert done.exit_code == 0 and "p.s2t-wal is not beside it" in done.stderr
    with Project.open(path, writable=True) as project:
        assert "more" not in project.meta
    assert not CliRunner().invoke(main, ["info", str(path)]).stderr


def test_a_journal_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    path = tmp_path / "p.s2t"
    Project.create(path, meta={"height": 4, "width": 4, "frames": 1}, times=np.zeros(1)).close()
    half_written(path, here)
    here.chmod(0o555)
    done = told_to_anyone(here / "p.s2t")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "lies in p.s2t-journal" in done.stderr, done.stderr
    assert sorted(p.name for p in here.iterdir()) == ["p.s2t", "p.s2t-journal"]


COMMA = """
import locale, sys
locale.setlocale(locale.LC_ALL, "")
assert locale.localeconv()["decimal_point"] == ",", locale.localeconv()
from sam2track.cli.main import main
main(sys.argv[1:], prog_name="sam2track")
"""


def test_a_decimal_comma(video: Path, tmp_path: Path) -> None:
    """A process in which somebody, such as Qt, has called setlocale."""
    if not shutil.which("localedef"):
        pytest.skip("no locale can be made here")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")],
        capture_output=True,
        check=False,
    )
    if not (tmp_path / "de_DE.UTF-8").is_dir():
        pytest.skip(f"no locale can be made here: {made.stderr!r}")
    done = subprocess.run(
        [
            sys.executable, "-c", COMMA, "track", str(video), *TRACK,
            "--box", "1:3.5,5.25,23,25", "-o", str(tmp_path / "comma"),
        ],
        env={
            **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY),
            "LOCPATH": str(tmp_path), "LC_ALL": "de_DE.UTF-8",
        },
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said("track", video, *TRACK, "--box", "1:3.5,5.25,23,25", "-o", tmp_path / "dot")
    comma, dot = (
        # x264 writes its own settings into videos, with a comma; nothing reads them.
        {name: d for name, d in kills.contents(tmp_path / out).items() if "mp4" not in name}
        for out in ("comma", "dot")
    )
    assert comma == dot
    assert "tracks.csv" in dot


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (RuntimeError("could not create a primitive"), True),
        (cv2.error("OpenCV(4.13.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed"), True),
        (cv2.error("OpenCV(4.13.0) :-1: error: (-4) in function 'f'\n> std::bad_alloc\n"), True),
        (ImportError("libx.so: failed to map segment from shared object"), True),
        (
            ImportError("x.so: failed to map segment from shared object: Operation not permitted"),
            False,  # a disk from which nothing may be run
        ),
        (cv2.error("OpenCV(4.13.0) resize.cpp:1: error: (-215:Assertion failed)"), False),
    ],
)
def test_memory_that_is_short_in_libraries(
    error: Exception, short: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert is_out_of_memory(error) is short

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sam2track.project.Project.open", fail)
    done = CliRunner().invoke(main, ["info", str(tmp_path)], prog_name="sam2track")
    assert ("what was done is kept" in done.output) is short
    assert isinstance(done.exception, SystemExit) is short


def test_a_project_that_a_full_disk_lets_nobody_open_says_so(tmp_path: Path) -> None:
    full = refusal(tmp_path / "a.s2t", sqlite3.OperationalError("disk I/O error"))
    assert full.endswith(
        "a.s2t cannot be opened as a project: disk I/O error; is there space left?"
    )
    other = refusal(tmp_path / "a.s2t", sqlite3.DatabaseError("file is not a database"))
    assert other.endswith("cannot be opened as a project: file is not a database")
