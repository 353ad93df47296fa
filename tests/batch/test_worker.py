"""What the process of one video does, and whole batches with real ones that are interrupted."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from sam2track import Project
from sam2track.batch import worker
from sam2track.batch.attempts import task_of
from sam2track.batch.manifest import Video
from sam2track.batch.record import read_record, whole
from sam2track.errors import (
    OutOfMemoryError,
    OutputError,
    ProjectInUseError,
    PromptError,
    SourceError,
)
from sam2track.export.videos import VideoWriter
from sam2track.job import run
from sam2track.models.loading import load_model
from sam2track.project import WriterLock
from sam2track.tracking.tracker import Tracker

SIZE = (48, 64)
OPTIONS = {"model": "nano", "device": "cpu", "image_size": 64, "write": ["table"]}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    random = np.random.default_rng(0)
    for name, frames in (("short", 4), ("long", 240)):
        with VideoWriter(folder / f"{name}.mp4", height=SIZE[0], width=SIZE[1], threads=1) as video:
            for t in range(frames):
                picture = random.integers(0, 80, (*SIZE, 3), np.uint8)
                picture[6:26, 4 + t % 30 : 24 + t % 30] = (230, 50, 40)
                video.write(picture)
    say(folder / "p.json", [4, 6, 24, 26])
    return folder


def say(path: Path, box: list[int]) -> None:
    prompts = [{"frame": 0, "box": box}]
    path.write_text(json.dumps({"version": 1, "objects": [{"id": 1, "prompts": prompts}]}))


def task(things: Path, output: str, prompts: str = "p.json", **options: Any) -> dict[str, Any]:
    said = str(things / prompts)
    return task_of(Video(1, str(things / "short.mp4"), said, output, {**OPTIONS, **options}))


def test_what_was_made_with_other_prompts_goes(things: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert worker.perform(task(things, out))["status"] == "done"
    record = read_record(out)
    assert record is not None and record["status"] == "done"
    say(things / "q.json", [5, 7, 25, 27])
    done = worker.perform(task(things, out, "q.json", stop=3))
    assert done["status"] == "done" and done["outcome"]["frames"] == 3
    with Project.open(tmp_path / "out/project.s2t") as project:
        ((_, _, prompt),) = project.prompts
        assert prompt.box == (5, 7, 25, 27)


@pytest.mark.parametrize("wrong", ["source", "prompts", "model", "option"])
def test_what_was_made_stays_until_it_can_be_made_anew(
    wrong: str, things: Path, tmp_path: Path
) -> None:
    """A disk that is away for a while, or a slip of the pen, takes no results along."""
    out = tmp_path / "out"
    good = task(things, str(out), write=["table", "masks"])
    assert worker.perform(good)["status"] == "done"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    slip: dict[str, dict[str, Any]] = {
        "source": {"source": str(tmp_path / "away.mp4")},
        "prompts": {"prompts": str(things / "short.mp4")},
        "model": {"options": {**good["options"], "model": str(things / "p.json")}},
        "option": {"options": {**good["options"], "start": 99}},
    }
    failed = worker.perform({**good, "stamp": "another", **slip[wrong]})
    assert failed["status"] == "failed" and not failed["retry"]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_job_of_another_that_replaces_a_project_is_not_taken_for_the_batchs(
    things: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = task(things, str(out))
    assert worker.perform(done)["status"] == "done"
    say(things / "q.json", [5, 7, 25, 27])
    run(done["source"], things / "q.json", output=out, overwrite=True, **OPTIONS)
    assert read_record(str(out)) is None
    found = worker.perform(done)
    assert found["status"] == "failed" and "was made with other prompts" in found["reason"]


@pytest.mark.parametrize("boxes", [False, True])
def test_what_was_corrected_stays_and_outputs_are_made_of_it(
    things: Path, tmp_path: Path, boxes: bool
) -> None:
    """A job of the same prompts goes on with the project as it is, not with what it was."""
    out = tmp_path / "out"
    (things / "boxes.csv").write_text("frame,x0,y0,x1,y1,score,class\n0,30,30,44,44,0.9,cell\n")
    more = {"detections": str(things / "boxes.csv"), "min_score": 0.5} if boxes else {}
    job = task(things, str(out), **more)
    assert worker.perform(job)["status"] == "done"
    assert whole(str(out), read_record(str(out)) or {}) is not None
    mask = np.zeros(SIZE, np.bool_)
    mask[3:7, 5:15] = True
    with Project.open(out / "project.s2t", writable=True) as project:
        tracker = Tracker(load_model("nano", image_size=64), job["source"], history=project)
        tracker.edit(1, 2, mask)
        tracker.prompt(7, frame=3, box=(4, 6, 24, 26))
        objects = project.objects
    assert whole(str(out), read_record(str(out)) or {}) is None  # the table is of before
    again = worker.perform(job)
    assert again["status"] == "done", again["reason"]
    with Project.open(out / "project.s2t") as project:
        assert project.objects == objects and project.prompt_at(7, 3) is not None
        assert np.array_equal(project.masks(2)[1], mask)
    assert "\n2,0.080000,1,,40," in (out / "tracks.csv").read_text()
    assert whole(str(out), read_record(str(out)) or {}) is not None
    with Project.open(out / "project.s2t", writable=True) as project:
        Tracker(load_model("nano", image_size=64), job["source"], history=project).remove(1)
    assert worker.perform(job)["status"] == "done"
    with Project.open(out / "project.s2t") as project:
        assert project.objects == tuple(i for i in objects if i != 1)


def test_outputs_that_are_gone_are_made_again(things: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert worker.perform(task(things, str(out)))["status"] == "done"
    table = (out / "tracks.csv").read_bytes()
    (out / "tracks.csv").unlink()
    again = worker.perform(task(things, str(out)))
    assert again["status"] == "done" and again["outcome"]["frames_computed"] == 0
    assert (out / "tracks.csv").read_bytes() == table
    (out / "project.s2t").write_bytes(b"")
    ruined = worker.perform(task(things, str(out)))
    assert ruined["status"] == "failed" and "is no sam2track project" in ruined["reason"]
    for path in out.iterdir():
        if path.name != "batch.json":
            path.unlink()
    anew = worker.perform(task(things, str(out)))
    assert anew["status"] == "done" and (out / "tracks.csv").read_bytes() == table


def test_a_project_of_others_stays(things: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert worker.perform(task(things, str(out)))["status"] == "done"
    (out / "batch.json").unlink()
    for box in ([5, 7, 25, 27], [6, 8, 26, 28]):
        say(things / "q.json", box)
        found = worker.perform(task(things, str(out), "q.json"))
        assert found["status"] == "failed" and not found["retry"]
        assert "was made with other prompts" in found["reason"]
    with Project.open(out / "project.s2t") as project:
        ((_, _, prompt),) = project.prompts
        assert prompt.box == (4, 6, 24, 26)


def test_prompts_that_never_end_stop_one_video_alone(things: Path, tmp_path: Path) -> None:
    """A pipe without a writer, a device without end, a folder: nobody waits for them."""
    os.mkfifo(tmp_path / "pipe")
    for prompts in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        found = worker.perform(task(things, str(tmp_path / "out"), str(prompts)))
        assert found["status"] == "failed" and not found["retry"]
        assert "is no regular file; save the prompts to one" in found["reason"]
    assert not (tmp_path / "out").exists()


def test_what_others_print_is_no_part_of_the_answer() -> None:
    talks = (
        "import os; from sam2track.batch import worker;"
        "worker.perform = lambda task: (print('a'), os.write(1, b'b'), task)[-1]; worker.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", talks], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b'{"status": "done"}\n')
        process.stdin.flush()  # that it ends would stop the worker
        answer = process.stdout.read()
    assert json.loads(answer) == {"status": "done"}


def test_an_address_gets_all_at_last(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    # Of a longer run before, and of somebody else.
    for name in ("overlay.mp4", "masks/00007.png", "masks/mine.png", "notes.txt", "tracks.csv"):
        files.pipe_file(f"/bucket/one/{name}", b"old")
    files.pipe_file("/bucket/one/batch.json", b'{"status": "done"}')
    order: list[str] = []
    put = type(files).put_file

    def put_file(self: Any, source: str, target: str, **more: Any) -> None:
        # With a record there, what is half put there would be taken for whole.
        assert not files.exists("/bucket/one/batch.json")
        order.append(target.rpartition("/")[2])
        put(self, source, target, **more)

    monkeypatch.setattr(type(files), "put_file", put_file)
    found = worker.perform(task(things, "memory://bucket/one"))
    assert found["status"] == "done", found["reason"]
    assert found["outcome"]["outputs"]["table"] == "memory://bucket/one/tracks.csv"
    assert (
        sorted(order) == ["batch.json", "project.s2t", "tracks.csv"] and order[-1] == "batch.json"
    )
    record = read_record("memory://bucket/one")
    assert record is not None and record["status"] == "done"
    assert files.cat_file("/bucket/one/tracks.csv").count(b"\n") == 5
    assert not [*(tmp_path / "cache/batch").iterdir()]
    there = {name.removeprefix("/bucket/one/") for name in files.find("/bucket/one")}
    assert there == {
        "batch.json", "project.s2t", "tracks.csv", "masks/mine.png", "notes.txt",
    }  # fmt: skip


def test_a_project_in_use_is_waited_for(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = WriterLock(tmp_path / "out/project.s2t")
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            lock.release()

    monkeypatch.setattr("sam2track.batch.worker.time.sleep", sleep)
    found = worker.perform(task(things, str(tmp_path / "out")))
    assert found["status"] == "done" and waited == [1.0, 2.0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_takes_no_log_and_the_reason_is_told(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w", buffering=1) as log:
        monkeypatch.setattr("sys.stderr", log)
        found = worker.perform(task(things, str(tmp_path / "out"), "none.json"))
        monkeypatch.undo()
        with suppress(OSError):
            log.close()
    assert found["status"] == "failed"
    assert "none.json cannot be read: No such file or directory" in found["reason"]


def caused(error: Exception, number: int | None) -> Exception:
    error.__cause__ = None if number is None else OSError(number, "x")
    return error


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (OutOfMemoryError("x"), True),
        (MemoryError("x"), True),
        (ProjectInUseError("x"), True),
        (caused(OutputError("x"), errno.ENOSPC), True),
        (caused(OutputError("x"), None), True),
        (caused(OutputError("x"), errno.EACCES), False),
        (caused(OutputError("x"), errno.ENOMEM), True),
        (caused(SourceError("x"), errno.ENOMEM), True),
        (caused(SourceError("x"), errno.ESTALE), True),
        (caused(SourceError("x"), errno.ENOENT), False),
        (SourceError("x"), False),
        (PromptError("x"), False),
        (OSError(errno.EIO, "x"), True),
        (PermissionError(errno.EACCES, "x"), False),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (TypeError("x"), False),
    ],
)
def test_which_faults_may_pass(error: Exception, may: bool) -> None:
    assert worker._may_pass(error) is may


def results(project: Path) -> int:
    try:
        with closing(sqlite3.connect(f"{project.as_uri()}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM all_results").fetchone()[0])
    except sqlite3.Error:
        return 0


def until(job: subprocess.Popen[Any], project: Path, count: int) -> None:
    while results(project) < count:
        assert job.poll() is None, "it ended too early"
        time.sleep(0.02)


def test_ctrl_c_and_kill_9_lose_nothing(things: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"source,prompts,output\n{things}/long.mp4,{things}/p.json,long\n")
    command = [
        *(sys.executable, "-m", "sam2track", "batch", str(manifest), "--json"),
        *("--model", "nano", "--device", "cpu", "--image-size", "64", "--write", "table"),
    ]
    project = tmp_path / "long/project.s2t"
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    until(job, project, 10)
    job.send_signal(signal.SIGINT)
    told = json.loads(job.communicate(timeout=100)[0])
    assert job.returncode == 130
    assert told["counts"] == {"interrupted": 1}
    with Project.open(project) as kept:  # whole, and nobody writes to it
        before = len(kept.frames)
    assert 10 <= before < 240
    (long,) = told["videos"]
    assert (long["frames"], long["objects"]) == (before, 1)

    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    until(job, project, before + 10)
    (mine,) = psutil.Process(job.pid).children()
    mine.kill()
    told = json.loads(job.communicate(timeout=100)[0])
    assert job.returncode == 0
    (long,) = told["videos"]
    assert (long["status"], long["attempts"], long["frames"]) == ("done", 2, 240)
    record = read_record(str(tmp_path / "long"))
    assert record is not None and record["outcome"]["frames_computed"] < 240
    with Project.open(project) as whole:
        assert whole.frames == tuple(range(240))
