"""Many videos: retries, skipping, what is told of each, and that Ctrl-C loses nothing."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sam2track.batch import attempts, running
from sam2track.batch.attempts import Attempt, task_of
from sam2track.batch.manifest import read_manifest
from sam2track.batch.record import read_record, stamp
from sam2track.batch.running import BatchInterrupted, track_many
from sam2track.batch.summary import Summary
from sam2track.cli.main import main
from sam2track.errors import OutputError, UsageError

from .conftest import manifest, tries


def statuses(found: Any) -> dict[str, tuple[str, int]]:
    return {Path(line.source).stem: (line.status, line.attempts) for line in found.lines}


def test_each_fault_is_tried_again_where_that_may_help(pretending: Path) -> None:
    names = ("good", "oncekilled", "killed", "crash", "usage", "full", "oncefull", "good2")
    seen: list[tuple[str, int]] = []
    found = track_many(
        manifest(pretending, *names),
        workers=3,
        progress=lambda line, left: seen.append((line.status, left)),
    )
    assert statuses(found) == {
        "good": ("done", 1),
        "oncekilled": ("done", 2),
        "killed": ("failed", 3),
        "crash": ("failed", 3),
        "usage": ("failed", 1),
        "full": ("failed", 3),
        "oncefull": ("done", 2),
        "good2": ("done", 1),
    }
    assert {name: tries(pretending, name) for name in names} == {
        name: count for name, (_, count) in statuses(found).items()
    }
    reasons = {Path(line.source).stem: line.reason for line in found.failed}
    assert "SIGKILL" in reasons["killed"] and "out of memory" in reasons["killed"]
    assert "ended with status 3; see batch.log" in reasons["crash"]
    assert reasons["usage"] == "no such thing" and reasons["full"] == "disk full"
    assert sorted(left for _, left in seen) == list(range(8))
    with (pretending / "m.summary.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [row["status"] for row in rows] == [line.status for line in found.lines]
    assert rows[0]["frames"] == "7" and rows[2]["reason"] == reasons["killed"]


def test_retries_can_be_fewer(pretending: Path) -> None:
    found = track_many(manifest(pretending, "full"), retries=0)
    assert statuses(found) == {"full": ("failed", 1)}
    with pytest.raises(UsageError, match="retries 3"):
        track_many(manifest(pretending, "full"), retries=3)


@pytest.mark.parametrize("name", ["retries", "workers"])
@pytest.mark.parametrize("value", ["1", 1.0, True])
def test_counts_are_whole_numbers(pretending: Path, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name} .*; give a whole number"):
        track_many(manifest(pretending, "good"), **{name: value})
    assert not (pretending / "out").exists()


def test_the_summary_says_after_each_video_what_came_of_it(pretending: Path) -> None:
    path = manifest(pretending, "good1", "usage", "good2")
    seen = []

    def look(line: Any, left: int) -> None:
        with path.with_suffix(".summary.csv").open(encoding="utf-8", newline="") as table:
            seen.append((left, sorted(row["status"] for row in csv.DictReader(table))))

    track_many(path, progress=look)
    assert [left for left, _ in seen] == [2, 1, 0]
    assert [told.count("waiting") for _, told in seen] == [2, 1, 0]
    assert seen[-1][1] == ["done", "done", "failed"]


def test_what_is_finished_is_skipped(pretending: Path) -> None:
    path = manifest(pretending, "good", "usage")
    track_many(path)
    found = track_many(path)
    assert statuses(found) == {"good": ("skipped", 0), "usage": ("failed", 1)}
    assert found.lines[0].frames == 7
    assert (tries(pretending, "good"), tries(pretending, "usage")) == (1, 2)
    (pretending / "out/good/project.s2t").unlink()
    assert statuses(track_many(path))["good"] == ("done", 1)


def test_what_is_ruined_is_not_skipped(pretending: Path) -> None:
    path = manifest(pretending, "good")
    out = pretending / "out/good"
    track_many(path)
    ruins = ((out / "tracks.csv").unlink, lambda: (out / "project.s2t").write_bytes(b""))
    for count, ruin in enumerate(ruins, start=2):
        ruin()
        assert statuses(track_many(path)) == {"good": ("done", 1)}
        assert tries(pretending, "good") == count
        assert statuses(track_many(path)) == {"good": ("skipped", 0)}


@pytest.mark.parametrize(
    "odd",
    [
        {"objects": 5},
        {"outputs": [1]},
        {"outputs": {"\ud800": "x"}},
        {"outputs": {"table": 1}},
        {"frames": "7"},
        {"seconds": None},
        {"model": 1},
        {"warnings": 1},
    ],
)
def test_an_odd_record_is_no_record(pretending: Path, odd: dict[str, Any]) -> None:
    path, kept = manifest(pretending, "good"), pretending / "out/good/batch.json"
    track_many(path)
    record = json.loads(kept.read_text())
    kept.write_text(json.dumps({**record, "outcome": {**record["outcome"], **odd}}))
    assert statuses(track_many(path)) == {"good": ("done", 1)}
    kept.write_text(json.dumps({**record, "outcome": [1]}))
    assert statuses(track_many(path)) == {"good": ("done", 1)}


def test_what_changed_is_done_again(pretending: Path) -> None:
    path = manifest(pretending, "good")
    (pretending / "good.mp4").write_bytes(b"one")
    (pretending / "m.png").write_bytes(b"mask")
    prompts = {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "mask": "m.png"}]}]}
    track_many(path)
    changes = [
        lambda: (pretending / "good.mp4").write_bytes(b"two!"),
        lambda: (pretending / "p.json").write_text(json.dumps(prompts)),
        lambda: (pretending / "m.png").write_bytes(b"other mask"),
    ]
    for count, change in enumerate(changes, start=2):
        change()
        assert statuses(track_many(path)) == {"good": ("done", 1)}
        assert tries(pretending, "good") == count
        assert statuses(track_many(path)) == {"good": ("skipped", 0)}
    assert statuses(track_many(path, device="cpu")) == {"good": ("done", 1)}


def test_a_stamp_sees_the_files_of_a_folder(tmp_path: Path) -> None:
    path = manifest(tmp_path, "good")
    (tmp_path / "good.mp4").mkdir()
    before = stamp(read_manifest(path)[0])
    (tmp_path / "good.mp4/1.png").write_bytes(b"x")
    assert stamp(read_manifest(path)[0]) != before


def test_a_stamp_sees_sizes_and_times_and_not_the_order_of_options(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a.mp4", "boxes.txt")}
    for file in files.values():
        file.write_bytes(b"one")
        os.utime(file, ns=(0, 10**9))
    told = {"detections": "boxes.txt", "stop": 3}
    row = {"source": "a.mp4", "output": "o", "options": told}

    def stamped() -> str:
        (tmp_path / "m.jsonl").write_text(json.dumps(row))
        return stamp(read_manifest(tmp_path / "m.jsonl")[0])

    before = stamped()
    row["options"] = dict(reversed(told.items()))
    assert stamped() == before
    for file in files.values():
        for content, changed in ((b"two", 2 * 10**9), (b"more", 10**9)):
            file.write_bytes(content)
            os.utime(file, ns=(0, changed))
            assert stamped() != before
        file.write_bytes(b"one")
        os.utime(file, ns=(0, 10**9))
        assert stamped() == before


def test_a_stamp_reads_no_more_than_masks_beside_the_prompts(
    pretending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["/", "..", ".", "m", "../m.png", "fifo", "x" * 300, "\ud800.png", "\0", "m.png"]
    prompts = [{"frame": t, "mask": name} for t, name in enumerate(names)]
    inner = pretending / "inner"
    (inner / "m").mkdir(parents=True)
    for picture in (inner / "m/1.png", inner / "m.png", pretending / "m.png"):
        picture.write_bytes(b"x")
    os.mkfifo(inner / "fifo")
    said = json.dumps({"version": 1, "objects": [{"id": 1, "prompts": prompts}]})
    (inner / "p.json").write_text(said)
    row = {"source": "good.mp4", "prompts": "inner/p.json", "output": "out/good"}
    (pretending / "m.jsonl").write_text(json.dumps(row))
    (video,) = read_manifest(pretending / "m.jsonl")
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("walks a folder"))
    before = stamp(video)
    (pretending / "m.png").write_bytes(b"other")
    assert stamp(video) == before
    (inner / "m.png").write_bytes(b"other")
    assert stamp(video) != before


def test_what_cannot_be_begun_does_not_stop_the_others(
    pretending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def task_of(video: Any) -> Any:
        if "bad" in video.source:
            raise MemoryError("no room")
        return of(video)

    of = running.task_of
    monkeypatch.setattr(running, "task_of", task_of)
    found = track_many(manifest(pretending, "bad", "good"))
    assert statuses(found) == {"bad": ("failed", 3), "good": ("done", 1)}
    assert found.failed[0].reason == "no process can be begun: no room"


def test_a_name_that_is_too_long_does_not_stop_the_others(pretending: Path) -> None:
    (pretending / "out").mkdir()
    found = track_many(manifest(pretending, "x" * 256, "good"), retries=0)
    assert [line.status for line in found.lines] == ["failed", "done"]


def test_the_command_names_what_failed(pretending: Path) -> None:
    path = str(manifest(pretending, "good", "usage"))
    done = CliRunner().invoke(main, ["batch", path], prog_name="sam2track")
    assert done.exit_code == 1
    assert f"sam2track: {pretending}/usage.mp4 (line 2): no such thing" in done.stderr
    assert "1 of 2 videos failed" in done.stderr
    header, *rows = done.stdout.splitlines()
    columns = ["line", "source", "status", "attempts", "frames", "objects", "seconds"]
    assert header.split() == columns
    assert rows[0].split() == ["1", f"{pretending}/good.mp4", "done", "1", "7", "1", "0.5"]
    told = CliRunner().invoke(main, ["batch", path, "--json"], prog_name="sam2track")
    assert json.loads(told.stdout)["counts"] == {"skipped": 1, "failed": 1}
    fine = CliRunner().invoke(main, ["batch", str(manifest(pretending, "good"))])
    assert fine.exit_code == 0


def test_what_a_video_warns_of_and_which_model_was_taken_are_told(pretending: Path) -> None:
    path = manifest(pretending, "telling", "telling2")
    done = CliRunner().invoke(main, ["batch", str(path)])
    assert done.exit_code == 0, done.output
    source = pretending / "telling.mp4"
    assert f"done: {source} (line 1): 7 frames by nano in 0.5 s" in done.stderr
    assert f"warning: {source} (line 1): a frame was odd" in done.stderr
    with (pretending / "m.summary.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [(row["model"], row["warnings"]) for row in rows] == [("nano", "a frame was odd")] * 2


def test_a_model_that_was_not_named_is_told_once(
    pretending: Path, caplog: pytest.LogCaptureFixture
) -> None:
    track_many(manifest(pretending, "telling", "telling2"))
    assert caplog.messages == ["model: nano, why"]


def test_a_link_in_place_of_the_log_is_not_followed(pretending: Path) -> None:
    out, mine = pretending / "out/good", pretending / "mine"
    out.mkdir(parents=True)
    mine.write_text("mine")
    (out / "batch.log").symlink_to(mine)
    assert not track_many(manifest(pretending, "good")).failed
    assert mine.read_text() == "mine"
    assert not (out / "batch.log").is_symlink() and (out / "batch.log").is_file()


def test_a_record_that_never_ends_is_no_record(
    pretending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe without a writer would be waited for, and a device without end read for ever."""
    os.mkfifo(pretending / "batch.json")
    (pretending / "odd").mkdir()
    (pretending / "odd/batch.json").symlink_to("/dev/zero")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"reads {path}"))
    assert read_record(str(pretending)) is None
    assert read_record(str(pretending / "odd")) is None


def test_a_summary_takes_the_place_of_nothing_that_is_needed(pretending: Path) -> None:
    path = manifest(pretending, "good")
    (pretending / "good.mp4").write_bytes(b"film")
    (pretending / "link").symlink_to(path)
    assert not track_many(path).failed
    made = ("project.s2t", "project.s2t-wal", "batch.json", "tracks.csv")
    for name in (path.name, "link", "good.mp4", "p.json", *(f"out/good/{one}" for one in made)):
        before = {p: p.read_bytes() for p in pretending.rglob("*") if p.is_file()}
        with pytest.raises(UsageError, match=r"in place of .*; name another file"):
            track_many(path, summary=pretending / name)
        assert {p: p.read_bytes() for p in pretending.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_summary_that_cannot_be_written_at_the_end_is_told_all_the_same(
    interrupted: bool, pretending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = manifest(pretending, "good", "usage")
    write, counts = Summary.write, [0]

    def full(self: Summary, table: Path) -> None:
        counts.append(len(self.failed))
        if len(counts) > 2:  # those on the way, too, which are not missed
            raise OutputError("cannot write m.summary.csv: No space left on device")
        write(self, table)

    def run(*arguments: Any) -> None:
        of(*arguments)
        if interrupted:
            raise KeyboardInterrupt

    of = running._run
    monkeypatch.setattr(running, "_run", run)
    monkeypatch.setattr(Summary, "write", full)
    done = CliRunner().invoke(main, ["batch", str(path), "--json"])
    assert done.exit_code == (130 if interrupted else 1)
    assert json.loads(done.stdout)["counts"] == {"done": 1, "failed": 1}
    assert ("No space left" in done.stderr) is not interrupted


def test_a_name_takes_one_line_of_the_terminal(pretending: Path) -> None:
    path = manifest(pretending, "good\n\x1b[2J", "usage\n\x1b[2J")
    done = CliRunner().invoke(main, ["batch", str(path)])
    assert done.exit_code == 1 and "\x1b" not in done.output
    told, table = done.stderr.splitlines(), done.stdout.splitlines()
    assert len(told) == 4 and all(line.isprintable() for line in told), told
    assert len(table) == 3 and all(line.isprintable() for line in table), table


def test_a_cluster_that_is_not_there_is_said_before_anything_is_written(
    pretending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    path = manifest(pretending, "good")
    summary = path.with_suffix(".summary.csv")
    summary.write_text("of another day")
    done = CliRunner().invoke(main, ["batch", str(path), "--ray", "local"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert "sam2track[ray]" in done.stderr
    assert summary.read_text() == "of another day"


def test_wrong_usage(pretending: Path) -> None:
    path = str(manifest(pretending, "good", "good"))
    for arguments, what in (
        ([path], "line 2: output"),
        ([path, "--gpus", "1"], "--ray"),
        ([path, "--ray", "local", "--workers", "2"], "leave workers out"),
        ([str(pretending / "none.csv")], "cannot be read"),
        ([path, "-o", path], "is a file; name a folder"),
    ):
        done = CliRunner().invoke(main, ["batch", *arguments])
        assert done.exit_code == 2 and what in done.stderr and done.stderr.count("\n") == 1
    assert not (pretending / "out").exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"table": "full", "write": ["masks"]}, "a full table is asked for"),
        ({"start": 5, "stop": 5}, r"\[5, 5\) is empty"),
        ({"stop": 0}, r"\[0, 0\) is empty"),
        ({"start": -2}, "start -2; frames count from 0"),
        ({"detections_frame": 2}, "no detections; give them"),
        ({"min_score": 0.5}, "choose among detections"),
        ({"detections": "d.json", "detections_frame": 2, "detections_every": 2}, "not both"),
        ({"detections": "d.json", "detections_every": 0}, "every 0 frames"),
        (
            {"detections": "d.json", "detections_every": 2, "direction": "backward"},
            "forward, or both",
        ),
    ],
)
def test_what_cannot_go_together_is_said_before_any_is_tracked(
    pretending: Path, options: dict[str, Any], what: str
) -> None:
    path = manifest(pretending, "good", "usage")
    with pytest.raises(UsageError, match=f"line 1: .*{what}"):
        track_many(path, **options)
    assert not (pretending / "out").exists()
    assert not path.with_suffix(".summary.csv").exists()


def test_ctrl_c_of_a_terminal_is_for_the_one_that_waits(pretending: Path) -> None:
    (video,) = read_manifest(manifest(pretending, "slow"))
    attempt = Attempt(task_of(video))
    process = attempt._process.pid
    assert os.getsid(process) == process != os.getsid(0)
    attempt.stop()
    assert attempt.wait().status == "interrupted"


def test_who_is_stopped_before_it_listens_was_interrupted(
    pretending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = "import os, sys; sys.stdin.read(); os.kill(os.getpid(), 2)"
    monkeypatch.setattr(attempts, "COMMAND", (sys.executable, "-c", died))
    (video,) = read_manifest(manifest(pretending, "good"))
    attempt = Attempt(task_of(video))
    attempt.stop()
    assert attempt.wait() == attempts.Result("interrupted", "interrupted")


def test_who_does_not_end_when_asked_is_ended_by_force(
    pretending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "COMMAND", (sys.executable, "-c", "import time; time.sleep(50)"))
    monkeypatch.setattr(attempts, "_PATIENCE", 0.1)
    (video,) = read_manifest(manifest(pretending, "good"))
    attempt = Attempt(task_of(video))
    attempt.stop()
    attempt.end()
    assert attempt._process.wait(9) < 0
    assert attempt.wait().status == "interrupted"


def test_nothing_is_begun_once_all_is_stopped(pretending: Path) -> None:
    (video,) = read_manifest(manifest(pretending, "good"))
    crew = running._Here(1)
    crew.stop()
    assert crew._try(video, 0).status == "interrupted"
    assert tries(pretending, "good") == 0


def test_ctrl_c_asks_workers_to_end_and_begins_no_more(
    pretending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = manifest(pretending, "slow", "good", "slow2", "good2")

    def interrupt() -> None:
        while not tries(pretending, "slow2"):
            time.sleep(0.02)
        os.kill(os.getpid(), 2)

    threading.Thread(target=interrupt).start()
    with pytest.raises(BatchInterrupted) as caught:
        track_many(path, workers=2)
    found = {name: status for name, (status, _) in statuses(caught.value.summary).items()}
    assert found["slow"] == found["slow2"] == "interrupted"
    assert found["good"] == "done"
    assert found["good2"] in ("waiting", "done")
    with (pretending / "m.summary.csv").open(encoding="utf-8") as table:
        assert [row["status"] for row in csv.DictReader(table)] == list(found.values())
