"""Power fails at any moment: the project opens, and each mask in it is one that was written."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from sam2track.project import Project
from sam2track.prompts import Prompt
from tests.test_project import new, put, state

apsw = pytest.importorskip("apsw")

FRAMES = 18
TRIALS = 250


def digest(project: Project) -> tuple[object, ...]:
    """All masks, prompts and steps, short."""
    masks = hashlib.sha256()
    for frame in project.frames:
        for object_id, mask in project.masks(frame).items():
            masks.update(f"{frame} {object_id}".encode() + np.packbits(mask).tobytes())
    said = tuple((o, f) for o, f, _ in project.prompts)
    return project.frames, said, len(project.journal()), masks.hexdigest()


def work(project: Project) -> list[tuple[int, tuple[object, ...]]]:
    """Click, run, correct; return what the project held after each statement count."""
    statements: list[str] = []
    # What is run before them in the tests: as it was opened.
    asked = ("journal_mode", "synchronous")
    opened = [project._db.execute(f"PRAGMA {key}").fetchone()[0] for key in asked]
    assert opened == ["wal", 1]  # NORMAL
    project._db.set_trace_callback(statements.append)
    project._db.execute("PRAGMA wal_autocheckpoint = 12")  # often, so that it is met by a crash
    held = []

    def mark() -> None:
        project._db.set_trace_callback(None)
        held.append((len(statements), digest(project)))
        project._db.set_trace_callback(statements.append)

    mark()
    project.add_prompt(1, 0, Prompt(points=((1, 2),), labels=(1,)))
    mark()
    project.add_prompt(300, 2, Prompt(box=(1, 2, 3, 4)))
    mark()
    for frame in range(FRAMES):
        if frame == FRAMES // 2:
            project.add_prompt(300, 7, Prompt(absent=True))
            mark()
        put(project, frame)
        if frame % 8 == 7:
            project.save_state(state(frame), 1, frame)
        mark()
    project._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    project._db.execute("PRAGMA journal_mode = DELETE")
    mark()
    project._db.set_trace_callback(None)
    work.statements = statements  # type: ignore[attr-defined]
    return held


def test_power_fails_at_any_moment(tmp_path: Path) -> None:
    from tests.powerloss import Recorder, crashed

    path = tmp_path / "p.s2t"
    new(path).close()
    first = path.read_bytes()
    with Project.open(path, writable=True) as project:
        held = work(project)
    statements = ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"]
    statements += work.statements  # type: ignore[attr-defined]
    replay = tmp_path / "replay.s2t"
    replay.write_bytes(first)
    recorder = Recorder(replay)
    recorder.run(statements)
    log = recorder.log
    assert sum(done.what == "sync" for done in log) > 20
    # By length of the log: what is held once so much was done.
    reached = [(recorder.marks[count + 1], content) for count, content in held]
    known = [content for _, content in reached]
    chance = random.Random(0)
    lost, behind = 0, 0
    for trial in range(TRIALS):
        at = chance.randrange(len(log) + 1)
        files = crashed(first, log[:at], chance)
        folder = tmp_path / f"t{trial}"
        folder.mkdir()
        for ending, data in files.items():
            (folder / f"p.s2t{ending}").write_bytes(data)
        with Project.open(folder / "p.s2t", writable=True) as found:
            content = digest(found)
        # What it holds is what was held at one time, never anything else.
        assert content in known, f"trial {trial}, {at} of {len(log)}"
        # Nothing is lost that was held when a log was last asked to be on the disk.
        safe = max((n for n, d in enumerate(log[:at], 1) if (d.what, d.name) == ("sync", "-wal")),
                   default=0)  # fmt: skip
        wanted = max((i for i, (end, _) in enumerate(reached) if end <= safe), default=0)
        lost += known.index(content) < wanted
        here = max((i for i, (end, _) in enumerate(reached) if end <= at), default=0)
        behind += known.index(content) < here
    assert lost == 0
    assert behind > 10, "nothing was ever dropped: the disk of this test is too good"


def test_a_click_is_on_the_disk_once_it_is_answered(tmp_path: Path) -> None:
    from tests.powerloss import Recorder, crashed

    path = tmp_path / "p.s2t"
    new(path).close()
    first = path.read_bytes()
    with Project.open(path, writable=True) as project:
        work(project)
    statements = ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"]
    statements += work.statements  # type: ignore[attr-defined]
    (tmp_path / "replay.s2t").write_bytes(first)
    recorder = Recorder(tmp_path / "replay.s2t")
    recorder.run(statements)
    clicks = [i for i, text in enumerate(statements) if "INSERT INTO journal" in text]
    assert len(clicks) == 3
    chance = random.Random(1)
    for number, click in enumerate(clicks, start=1):
        end = next(i for i in range(click, len(statements)) if statements[i].startswith("COMMIT"))
        for trial in range(20):
            files = crashed(first, recorder.log[: recorder.marks[end]], chance)
            folder = tmp_path / f"c{number}-{trial}"
            folder.mkdir()
            for ending, data in files.items():
                (folder / f"p.s2t{ending}").write_bytes(data)
            with Project.open(folder / "p.s2t", writable=True) as found:
                assert len(found.journal()) == number


def test_what_is_done_together_is_on_the_disk_once_it_is_done(tmp_path: Path) -> None:
    from tests.powerloss import Recorder, crashed

    path = tmp_path / "p.s2t"
    new(path).close()
    first = path.read_bytes()
    statements = ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"]
    with Project.open(path, writable=True) as project:
        project._db.set_trace_callback(statements.append)
        with project.together():
            for frame in (0, 2):
                project.add_prompt(1, frame, Prompt(box=(1, 2, 3, 4)))
        project._db.set_trace_callback(None)
    (tmp_path / "replay.s2t").write_bytes(first)
    recorder = Recorder(tmp_path / "replay.s2t")
    recorder.run(statements)
    chance = random.Random(1)
    for trial in range(20):
        folder = tmp_path / f"t{trial}"
        folder.mkdir()
        files = crashed(first, recorder.log[: recorder.marks[-1]], chance)
        for ending, data in files.items():
            (folder / f"p.s2t{ending}").write_bytes(data)
        with Project.open(folder / "p.s2t", writable=True) as found:
            assert len(found.journal()) == 2


def test_a_log_of_another_project_is_not_taken(tmp_path: Path) -> None:
    """A killed job leaves a log; the project is removed, and a new one made of its name."""
    old = tmp_path / "p.s2t"
    project = new(old)
    for frame in range(5):
        put(project, frame)
    log = Path(f"{old}-wal").read_bytes()
    project.close()
    old.unlink()
    Path(f"{old}-wal").write_bytes(log)
    with new(old) as made:
        assert made.frames == ()
        put(made, 1)
    with Project.open(old) as made:
        assert made.frames == (1,)
