"""The project file: what is put in comes out, whatever happens to the program or the file."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import portalocker
import pytest
import torch

from sam2track import database
from sam2track import masks as rle
from sam2track.database import _uri, companions, copied, remove_companions, settle
from sam2track.errors import (
    OutputError,
    ProjectError,
    ProjectExistsError,
    ProjectInUseError,
    PromptError,
    Sam2TrackError,
    UsageError,
)
from sam2track.project import Project, WriterLock
from sam2track.project_file import VERSION
from sam2track.prompts import Prompt, Prompts
from sam2track.soundness import odd_pointers
from sam2track.tracking.codes import pack, quantise
from sam2track.tracking.history import SOURCES, Life, Record
from sam2track.tracking.memory import Memory
from sam2track.tracking.result import FrameResult
from sam2track.tracking.state import State
from tests.made import disk, half_written, write_project

HEIGHT, WIDTH, SIDE = 37, 53, 16
TIMES = np.arange(20) / 25
META = {"height": HEIGHT, "width": WIDTH, "frames": 20, "source": "clip.mp4"}
BOX = Prompt(box=(1, 1, 9, 9))
REPOSITORY = Path(__file__).parent.parent


def new(path: Path) -> Project:
    return Project.create(path, meta=META, times=TIMES)


def put(project: Project, frame: int, ids: tuple[int, ...] = (1, 300), source: str = "forward"):
    """Put a frame of random logits; return its result."""
    random = np.random.default_rng([frame, *ids])
    coarse = random.normal(0, 2, (len(ids), 4, 4)).astype(np.float32)
    logits = np.repeat(np.repeat(coarse, SIDE // 4, 1), SIDE // 4, 2)
    result = FrameResult(
        frame=frame,
        object_ids=ids,
        logits=logits,
        object_scores=random.normal(0, 3, len(ids)).astype(np.float32),
        ious=random.random(len(ids)).astype(np.float32),
        height=HEIGHT,
        width=WIDTH,
        sources=(source,) * len(ids),
    )
    records = [
        Record(
            object_id,
            frame,
            logits[i],
            random.normal(0, 1, 8).astype(np.float32),
            float(result.object_scores[i]),
            float(result.ious[i]),
            source,
        )
        for i, object_id in enumerate(ids)
    ]
    project.put(result, records)
    return result, records


def fill(path: Path) -> Path:
    """Make a project that has something of everything."""
    with new(path) as project:
        project.add_prompt(1, 0, Prompt(points=((1, 2), (3.5, 4)), labels=(1, 0)), name="cell")
        project.add_prompt(300, 2, Prompt(box=(1, 2, 3, 4)))
        project.add_prompt(300, 5, Prompt(mask=np.eye(HEIGHT, WIDTH, dtype=bool)))
        project.add_prompt(300, 7, Prompt(absent=True))
        for frame in range(6):
            put(project, frame, source="prompted" if frame == 0 else "forward")
        with project.step("propagate", {"start": 0, "stop": 6, "direction": "both"}) as step:
            project.set_done(step, 6)
            project.save_state(state(6), step, 6)
        project.set_meta(carried=[0, 3])  # on 0 it was prompted all the same
    return path


def state(following: int | None) -> State:
    memory = Memory(torch.ones(4, 2, dtype=torch.bfloat16), torch.arange(8.0))
    waiting = {True: 3} if following is None else {False: following, True: 3}
    return State({1: waiting, 300: {}}, {1: {False: {5: memory}}, 300: {}})


def read_all(project: Project) -> list[Any]:
    """Ask a project for all that it knows."""
    found: list[Any] = [project.meta, project.height, project.width, project.objects]
    found += [project.names, project.frames, project.summary(), project.journal()]
    found += [list(project.prompts), project.last_state(), list(project.rows())]
    for frame in (*project.frames, 0, 3):
        found += [project.time(frame), project.masks(frame), project.labels(frame)]
        for object_id in project.objects:
            found.append(project.get(object_id, frame))
    return found


# -- what is put in comes out -----------------------------------------------------------


def test_results_come_back(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        kept = {frame: put(project, frame) for frame in (3, 1, 8)}
        for again in (project, None):
            opened = again or Project.open(tmp_path / "p.s2t")
            assert opened.frames == (1, 3, 8)
            for frame, (result, records) in kept.items():
                masks = opened.masks(frame)
                assert list(masks) == [1, 300]
                np.testing.assert_array_equal(np.stack(list(masks.values())), result.masks)
                for record in records:
                    found = opened.get(record.object_id, frame)
                    assert found is not None
                    np.testing.assert_array_equal(quantise(found.logits), quantise(record.logits))
                    np.testing.assert_array_equal(found.pointer, record.pointer)
                    assert (found.score, found.iou) == (record.score, record.iou)
                    assert found.source == "forward"
            assert opened.get(1, 2) is None and opened.get(2, 3) is None
            assert opened.masks(2) == {} and not opened.labels(2).any()
            if opened is not project:
                opened.close()


def test_put_replaces(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        put(project, 4)
        result, _ = put(project, 4, source="backward")
        assert project.frames == (4,)
        assert project.get(1, 4).source == "backward"
        np.testing.assert_array_equal(project.masks(4)[300], result.masks[1])


def test_labels_agree_with_the_result(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        for frame in range(4):
            result, _ = put(project, frame, ids=(1, 2, 300))
            labels, masks = project.labels(frame), result.masks
            assert labels.dtype == np.int32
            np.testing.assert_array_equal(labels > 0, masks.any(axis=0))
            alone = masks.sum(axis=0) == 1
            assert alone.any() and (masks.sum(axis=0) > 1).any()
            np.testing.assert_array_equal(labels[alone], result.labels[alone])
            # Twelve bits tell nearly everywhere which logit is higher.
            assert (labels == result.labels).mean() > 0.999


def test_the_highest_logit_wins_between_places_of_the_grid_too(tmp_path: Path) -> None:
    """Logits are enlarged, as masks are; half way between probabilities another would win."""
    steep, even = np.full((SIDE, SIDE), -8, np.float32), np.full((SIDE, SIDE), 1, np.float32)
    steep[:, ::2] = 8.8  # half way to its neighbours 0.4, but a probability of 0.5 is 0
    flat = np.full((SIDE, SIDE), 0.2, np.float32)
    with new(tmp_path / "p.s2t") as project:
        for frame, other in enumerate((even, flat)):
            logits = np.stack([steep, other])
            scores = np.zeros(2, np.float32)
            both = ("forward", "forward")
            result = FrameResult(frame, (2, 7), logits, scores, scores, HEIGHT, WIDTH, both)
            pointer = np.zeros(8, np.float32)
            records = [
                Record(i, frame, one, pointer, 0, 0, "forward")
                for i, one in zip((2, 7), logits, strict=True)
            ]
            project.put(result, records)
            shared = result.masks.all(axis=0)
            assert {*result.labels[shared]} == {2, 7}
            # Codes are twelve bits of what is below 9: few pixels lie so near.
            assert (project.labels(frame) != result.labels).mean() < 0.02
            project.keep_life(Life(7, locked=True))
            assert {*project.labels(frame)[shared]} == {7}
            project.drop_life(7)


@pytest.mark.parametrize("logit", [3, -3])
@pytest.mark.parametrize("count", [2, 257])
def test_ties_go_to_the_lower_id(tmp_path: Path, count: int, logit: float) -> None:
    """Also of masks that were given where the logits say otherwise, and of many on a pixel."""
    with new(tmp_path / "p.s2t") as project:
        ids = tuple(range(2, 2 + count))
        logits, scores = np.full((count, SIDE, SIDE), logit, np.float32), np.zeros(count)
        given = dict.fromkeys(ids, np.ones((HEIGHT, WIDTH), np.bool_))
        ways = ("forward",) * count
        result = FrameResult(0, ids, logits, scores, scores, HEIGHT, WIDTH, ways, given)
        pointer = np.zeros(8, np.float32)
        project.put(result, [Record(i, 0, logits[0], pointer, 0, 0, "forward") for i in ids])
        assert (project.labels(0) == 2).all()


def test_no_other_takes_the_pixels_of_locked_objects(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        for object_id in (1, 2, 300):
            project.keep_life(Life(object_id))
        result, _ = put(project, 0, ids=(1, 2, 300))
        of = dict(zip(result.object_ids, result.masks, strict=True))
        usual = project.labels(0)
        two = of[1] & of[300]
        assert {*usual[of[1]]} == {*usual[of[300]]} == {1, 2, 300}
        assert {*usual[two & (usual != 2)]} == {1, 300}
        with project.step("lock", {"object": 1, "locked": True}):
            project.keep_life(Life(1, locked=True))
        once = project.labels(0)
        assert (once[of[1]] == 1).all()
        np.testing.assert_array_equal(once[~of[1]], usual[~of[1]])
        with project.step("lock", {"object": 300, "locked": True}):
            project.keep_life(Life(300, locked=True))
        twice = project.labels(0)
        assert {*twice[of[1] | of[300]]} == {1, 300}
        np.testing.assert_array_equal(twice[two & (usual != 2)], usual[two & (usual != 2)])
        assert (project.labels(0, [1, 2])[of[1]] == 1).all()
        project.undo()
        np.testing.assert_array_equal(project.labels(0), once)
        project.undo()
        np.testing.assert_array_equal(project.labels(0), usual)
        project.redo()
        np.testing.assert_array_equal(project.labels(0), once)


def test_rows(tmp_path: Path) -> None:
    with Project.open(fill(tmp_path / "p.s2t")) as project:
        rows = list(project.rows())
        assert [(r.frame, r.object_id) for r in rows] == [
            (f, o) for f in range(6) for o in (1, 300)
        ]
        for row in rows:
            mask = project.masks(row.frame)[row.object_id]
            assert row.area == mask.sum()
            assert row.time == TIMES[row.frame]
            assert row.name == {1: "cell", 300: ""}[row.object_id]
        assert [r.source for r in rows[::2]] == ["prompted", *["forward"] * 2, "carried"] + [
            "forward"
        ] * 2
        first = project.summary()[0]
        assert (first["id"], first["name"], first["first"], first["last"]) == (1, "cell", 0, 5)
        scores = [row.object_score for row in rows if row.object_id == 1]
        assert first["mean_score"] == pytest.approx(np.mean(scores))


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        put(project, 3)
        three, three_hundred = np.int64(3), np.uint16(300)
        assert project.time(three) == project.time(3)
        assert list(project.masks(three)) == [1, 300]
        np.testing.assert_array_equal(project.labels(three), project.labels(3))
        picked = project.labels(three, np.array([300]))
        np.testing.assert_array_equal(picked, project.labels(3, [300]))
        assert [frame for frame, _ in project.observations(np.arange(2, 4))] == [2, 3]
        project.add_prompt(three_hundred, three, Prompt(absent=True))
        assert [said[:2] for said in project.prompts] == [(300, 3)]
        said = project.prompt_at(three_hundred, three)
        assert said is not None and said.absent


@pytest.mark.parametrize("frame", ["3", 3.0, True, np.True_, None, np.float32(3), [3]])
def test_what_is_no_number_is_no_frame(frame: Any, tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        put(project, 3)
        for ask in (
            project.time,
            project.masks,
            project.labels,
            lambda frame: project.prompt_at(1, frame),
            lambda object_id: project.prompt_at(object_id, 3),
            lambda frame: list(project.observations([frame])),
            lambda frame: project.add_prompt(1, frame, Prompt(absent=True)),
        ):
            with pytest.raises(UsageError, match="whole number"):
                ask(frame)
        with pytest.raises(PromptError, match="positive integers"):
            project.add_prompt(frame, 3, Prompt(absent=True))
        assert not project.journal()


@pytest.mark.parametrize("objects", [1, "1", ["1"], 1.5, [None]])
def test_what_are_no_ids_is_not_called_damage(objects: Any, tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        put(project, 3)
        with pytest.raises(UsageError, match=r"^object"):
            project.labels(3, objects)


def test_prompts_and_journal_come_back(tmp_path: Path) -> None:
    with Project.open(fill(tmp_path / "p.s2t")) as project:
        expected = Prompts(names={1: "cell"})
        expected.add(1, 0, Prompt(points=((1, 2), (3.5, 4)), labels=(1, 0)))
        expected.add(300, 2, Prompt(box=(1, 2, 3, 4)))
        expected.add(300, 5, Prompt(mask=np.eye(HEIGHT, WIDTH, dtype=bool)))
        expected.add(300, 7, Prompt(absent=True))
        assert project.prompts.difference(expected) is None
        assert project.prompts.names == {1: "cell"}
        one = project.prompt_at(300, 5)
        assert one is not None and one.same(Prompt(mask=np.eye(HEIGHT, WIDTH, dtype=bool)))
        assert project.prompt_at(300, 6) is None
        assert [step["action"] for step in project.journal()] == ["prompt"] * 4 + ["propagate"]
        said = project.journal()[1]
        assert (said["step"], said["object"], said["frame"]) == (2, 300, 2)
        assert said["said"]["box"] == [1, 2, 3, 4]
        assert project.journal()[4]["done"] == 6


def test_what_was_clicked_is_read_without_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project may have more painted masks than memory holds."""
    with Project.open(fill(tmp_path / "p.s2t"), writable=True) as project:
        project.add_prompt(1, 9, Prompt(points=((5, 6),), mask=np.eye(HEIGHT, WIDTH, dtype=bool)))
        read, decode = [], rle.decode_part
        monkeypatch.setattr(rle, "decode_part", lambda data: read.append(decode(data)) or read[-1])
        clicked = {(i, f): said and said.to_dict() for i, f, said in project.clicked()}
        assert read and all(part.size == (1, 1) for part in read)
        each = project.each_prompt()
        next(each)
        assert len([part for part in read if part.size == (HEIGHT, WIDTH)]) < 2
        assert len(list(each)) == 4
    assert clicked == {
        (1, 0): Prompt(points=((1, 2), (3.5, 4)), labels=(1, 0)).to_dict(),
        (300, 2): Prompt(box=(1, 2, 3, 4)).to_dict(),
        (300, 5): None,
        (300, 7): None,
        (1, 9): Prompt(points=((5, 6),)).to_dict(),
    }


def test_forget(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        for frame in range(6):
            put(project, frame)
        project.forget(1, 2, 4)
        assert project.frames_of(1) == [0, 1, 4, 5]
        project.forget(300)
        assert project.frames == (0, 1, 4, 5)
        assert project.frames_of(300) == []


def test_the_last_two_states_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    with new(path) as project:
        assert project.last_state() is None
        for done, following in enumerate((5, 6, None, None), start=1):
            project.save_state(state(following), 0, min(done, 3))  # one of them anew
        stored = project.last_state()
        assert stored is not None and stored[1:] == (0, 3)
        found = stored[0]
        assert found.pending == {1: {True: 3}, 300: {}}
        memory = found.recent[1][False][5]
        assert memory.spatial is not None and memory.spatial.dtype == torch.bfloat16
        assert torch.equal(memory.pointer, torch.arange(8.0))
    db = sqlite3.connect(path)
    assert db.execute("SELECT done FROM states").fetchall() == [(2,), (3,)]
    db.close()


def test_a_state_that_is_more_than_one_value_may_be_is_kept_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of SAM 2.1 that of some 300 objects is."""
    monkeypatch.setattr("sam2track.tracking.states._PART", 50_000)

    def many(done: int) -> State:
        memories = {i: Memory(torch.full((100, 99), i / done), torch.ones(8)) for i in range(1, 6)}
        recent = {i: {False: {done: memory}} for i, memory in memories.items()}
        return State({i: {False: done + i} for i in range(1, 7)}, recent)

    with new(tmp_path / "p.s2t") as project:
        project._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        for done in (1, 2, 3):
            project.save_state(many(done), 0, done)
        found = project._db.execute("SELECT done, count(*) FROM states GROUP BY done").fetchall()
        assert found == [(2, 5), (3, 5)]
        stored = project.last_state()
        assert project.check_states() == 8
    assert stored is not None and stored[1:] == (0, 3)
    assert stored[0].pending == many(3).pending
    for i, directions in many(3).recent.items():
        mine, theirs = stored[0].recent[i][False][3].spatial, directions[False][3].spatial
        assert mine is not None and theirs is not None and torch.equal(mine, theirs)


# -- opening and closing ----------------------------------------------------------------


def test_one_file_is_left(tmp_path: Path) -> None:
    project = new(tmp_path / "p.s2t")
    put(project, 0)
    assert (tmp_path / "p.s2t-wal").exists()
    with Project.open(tmp_path / "p.s2t") as reader:  # while it is written
        assert reader.frames == (0,)
    project.close()
    assert [path.name for path in tmp_path.iterdir()] == ["p.s2t"]
    # Nor does the header ask for a log, which no reader could make in a read-only folder.
    assert (tmp_path / "p.s2t").read_bytes()[18:20] == b"\x01\x01"
    with Project.open(tmp_path / "p.s2t", writable=True) as project:
        put(project, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["p.s2t"]


def test_the_file_alone_is_whole_where_a_reader_keeps_its_log(tmp_path: Path) -> None:
    """Somebody may copy it without what lies beside it."""
    path, copy = tmp_path / "p.s2t", tmp_path / "copy.s2t"
    project = new(path)
    put(project, 0)
    with Project.open(path):
        project.close()
        assert Path(f"{path}-wal").exists()
        copy.write_bytes(path.read_bytes())
    with Project.open(copy, writable=True) as project:
        assert project.frames == (0,)


@pytest.mark.parametrize("dropped", [True, False])
def test_one_file_is_left_where_it_is_not_closed(tmp_path: Path, dropped: bool) -> None:
    """As scripts and notebooks do; nothing is told of it then."""
    path = tmp_path / "p.s2t"
    if dropped:
        put(new(path), 0)
    else:
        code = "from pathlib import Path; from tests.test_project import new, put; import sys\n"
        code += "kept = new(Path(sys.argv[1])); put(kept, 0)"
        subprocess.run(
            [sys.executable, "-c", code, str(path)], cwd=REPOSITORY, check=True, timeout=120
        )
    assert [p.name for p in tmp_path.iterdir()] == ["p.s2t"]
    with Project.open(path, writable=True) as project:
        assert project.warning == "" and project.frames == (0,)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OutputError])
def test_one_file_is_left_where_closing_it_fails(tmp_path: Path, error: type) -> None:
    """As of a tracker that cannot keep where it stands; it was said to miss what was done last."""

    class Failing:
        def leave(self) -> None:
            raise error

    project, tracker = new(tmp_path / "p.s2t"), Failing()
    put(project, 0)
    project.bind(tracker.leave, {})
    with pytest.raises(error):
        project.close()
    assert [path.name for path in tmp_path.iterdir()] == ["p.s2t"]
    with Project.open(tmp_path / "p.s2t", writable=True) as project:
        assert project.warning == "" and project.frames == (0,)


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    with new(path), pytest.raises(ProjectError, match="in use"):
        Project.open(path, writable=True)
    with Project.open(path, writable=True):
        with pytest.raises(ProjectError, match="in use"):
            Project.open(path, writable=True)
        Project.open(path).close()
    Project.open(path, writable=True).close()
    assert [other.name for other in tmp_path.iterdir()] == ["p.s2t"]


@pytest.mark.parametrize(("look", "times"), [("_size", 1), ("_bytes", 2)])
def test_a_project_that_is_closed_while_it_is_opened_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str, times: int
) -> None:
    writer = new(tmp_path / "p.s2t")
    put(writer, 0)
    real, looks = getattr(database, look), iter(range(1, 99))

    def closed_meanwhile(*arguments: Any) -> Any:
        found = real(*arguments)
        if next(looks) == times:
            writer.close()
        return found

    monkeypatch.setattr(database, look, closed_meanwhile)
    with Project.open(tmp_path / "p.s2t") as project:
        assert project.frames == (0,) and project.warning == ""


def test_a_link_is_read_with_what_lies_beside_the_file_that_it_leads_to(tmp_path: Path) -> None:
    """SQLite's files do not lie beside the link: no log is missing there, and no journal."""
    path, link, to = tmp_path / "p.s2t", tmp_path / "links" / "p.s2t", tmp_path / "copy"
    for folder in (link.parent, to):
        folder.mkdir()
    link.symlink_to(path)
    with new(path) as writer:
        put(writer, 3)
        with Project.open(link) as project:
            assert project.frames == (3,) and project.warning == ""
    half_written(path, to)
    path.unlink()
    path.symlink_to(to / "p.s2t")
    with Project.open(link) as project:
        assert project.frames == (3,) and len(project.times) == len(TIMES)


def test_names_that_no_file_may_have_are_told(tmp_path: Path) -> None:
    """As what lies in a folder that may not be looked into, which only root may."""
    path = tmp_path / ("a" * 300)
    with pytest.raises(ProjectError, match="cannot be read: File name too long"):
        Project.open(path)
    whole = new(tmp_path / ("a" * 247))
    whole.close()
    for length in (248, 251, 300):
        path = tmp_path / ("a" * length)
        with pytest.raises(OutputError, match="up to 247 bytes; give a shorter one"):
            new(path)
        assert list(tmp_path.iterdir()) == [whole.path]
    for length in (248, 252):  # which another program may give a project
        path = whole.path.rename(tmp_path / ("a" * length))
        for writable in (False, True):
            with pytest.raises((ProjectError, OutputError), match=r"cannot be .* too long"):
                Project.open(path, writable=writable)
        whole.path = path
    assert len(list(tmp_path.iterdir())) == 1


def test_names_of_files_that_look_like_urls(tmp_path: Path) -> None:
    path = tmp_path / "50% a?b#c.s2t"
    fill(path)
    with Project.open(path) as project:
        assert project.frames == tuple(range(6))


def test_addresses_of_files() -> None:
    """A server is no part of what SQLite takes; of a Windows share it becomes one of the path."""
    assert _uri(PureWindowsPath(r"C:\a b\p.s2t")) == "file:///C:/a%20b/p.s2t"
    assert _uri(PureWindowsPath(r"\\host\share\p.s2t")) == "file:////host/share/p.s2t"
    assert _uri(PurePosixPath("/a?b/p.s2t")) == "file:///a%3Fb/p.s2t"


def test_a_file_that_may_not_be_written_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fill(tmp_path / "p.s2t")
    with monkeypatch.context() as patched:  # which the system never says to root
        patched.setattr("sam2track.project.os.access", lambda *_: False)
        with pytest.raises(OutputError, match="cannot be written: it is read-only"):
            Project.open(path, writable=True)
        Project.open(path).close()
    Project.open(path, writable=True).close()  # no lock is held


def test_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(*_: Any) -> None:
        raise portalocker.LockException(OSError(errno.ENOLCK, "No locks available"))

    monkeypatch.setattr("portalocker.lock", lock)
    with pytest.raises(OutputError, match=r"cannot be locked .*No locks available"):
        new(tmp_path / "p.s2t")
    assert list(tmp_path.iterdir()) == []


def test_create_refuses(tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    before = path.read_bytes()
    with pytest.raises(ProjectExistsError):
        new(path)
    assert path.read_bytes() == before
    with pytest.raises(OutputError):
        new(path / "below.s2t")


def test_create_does_not_replace_what_another_made_before_it_had_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.s2t"

    def late(of: Path) -> WriterLock:
        monkeypatch.undo()
        fill(path)
        return WriterLock(of)

    monkeypatch.setattr("sam2track.project.WriterLock", late)
    with pytest.raises(ProjectExistsError):
        new(path)
    with Project.open(path, writable=True) as project:  # which nothing holds any more
        assert project.objects == (1, 300)


def test_a_failed_create_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("sam2track.project.make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new(tmp_path / "p.s2t")
    assert list(tmp_path.iterdir()) == []


def test_a_create_that_fails_in_its_last_step_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def interrupted(path: Path, mode: str) -> Any:
        held.append(database.connected(path, mode))
        return Interrupted(held[0], "PRAGMA journal_mode = WAL")

    monkeypatch.setattr("sam2track.project.connected", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new(tmp_path / "p.s2t")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        held[0].execute("SELECT 1")


@pytest.mark.parametrize(
    ("meta", "times", "said"),
    [
        ({key: META[key] for key in META if key != "frames"}, TIMES, "frames"),
        (META | {"height": "37"}, TIMES, "height"),
        (META | {"height": 2**20, "width": 2**20}, TIMES, "pixels"),
        (META | {"frame_interval_s": float("nan")}, TIMES, "frame_interval_s"),
        (META | {"more": {1, 2}}, TIMES, "JSON"),
        (META | {"height": np.int64(37)}, TIMES, "JSON"),
        (META, TIMES[:-1], "19 times for 20 frames"),
        (META, TIMES[None], r"times"),
        (META, TIMES[::-1], "rise"),
        (META, np.zeros(20), "rise"),
        (META, np.append(TIMES[:-1], np.inf), "finite"),
        (META, np.append(np.nan, TIMES[1:]), "finite"),
        (META, ["a"] * 20, "times"),
    ],
)
def test_create_leaves_nothing_of_what_it_refuses(
    meta: Any, times: Any, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.s2t"
    with pytest.raises(UsageError, match=said):
        Project.create(path, meta=meta, times=times)
    assert list(tmp_path.iterdir()) == []
    new(path).close()  # no lock is held


def test_create_takes_tuples_and_lists(tmp_path: Path) -> None:
    meta = META | {"pixel_size_um": (0.5, 0.5)}
    with Project.create(tmp_path / "p.s2t", meta=meta, times=TIMES.tolist()) as project:
        assert project.meta["pixel_size_um"] == [0.5, 0.5]
    with Project.open(tmp_path / "p.s2t") as project:
        assert project.times.tolist() == TIMES.tolist()


def test_reading_does_not_write(tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    before = path.read_bytes()
    with Project.open(path) as project:
        read_all(project)
        with pytest.raises(ProjectError, match="writable=True"):
            project.set_meta(carried=[])
    assert path.read_bytes() == before


def test_a_closed_project_says_so(tmp_path: Path) -> None:
    project = Project.open(fill(tmp_path / "p.s2t"))
    project.close()
    for action in (
        lambda: project.masks(0),
        lambda: project.journal(),
        lambda: project.undo(),
        lambda: project.step("prompt", {}).__enter__(),
        lambda: project.together().__enter__(),
    ):
        with pytest.raises(ProjectError, match="is closed; open it again"):
            action()


@pytest.mark.parametrize("broken", ["DELETE FROM head", "DROP TABLE journal", "DELETE FROM meta"])
def test_what_a_project_lacks_is_noticed_when_it_is_opened(tmp_path: Path, broken: str) -> None:
    path = fill(tmp_path / "p.s2t")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(broken)
    with pytest.raises(ProjectError) as caught:
        Project.open(path)
    assert str(path) in str(caught.value)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    with pytest.raises(ProjectError, match="no project at"):
        Project.open(path)
    with pytest.raises(ProjectError, match=r"no project at .*project\.s2t: .* is a folder"):
        Project.open(tmp_path)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    db.close()
    with pytest.raises(ProjectError, match="is no sam2track project"):
        Project.open(path)
    for data in (b"", b"no database at all" * 100):
        path.write_bytes(data)
        with pytest.raises(ProjectError):
            Project.open(path)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (VERSION - 1, "made by a version of sam2track before its first release; track anew"),
        (VERSION + 1, rf"version {VERSION + 1}.*reads up to {VERSION}; update"),
    ],
)
def test_other_versions_are_refused(tmp_path: Path, version: int, message: str) -> None:
    path = fill(tmp_path / "p.s2t")
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    for writable in (False, True):
        with pytest.raises(ProjectError, match=message):
            Project.open(path, writable=writable)
    assert list(tmp_path.iterdir()) == [path]  # no lock is left


# -- what goes wrong --------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at descriptors of Linux")
@pytest.mark.parametrize(
    "broken",
    [
        "PRAGMA user_version = 9",
        "UPDATE meta SET value = '{'",
        "UPDATE all_objects SET name = x'00'",
    ],
)
def test_what_is_refused_is_not_held_open(tmp_path: Path, broken: str) -> None:
    path = fill(tmp_path / "p.s2t")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(broken)
    for writable in (False, True):
        with pytest.raises(ProjectError) as refused:
            Project.open(path, writable=writable)
        held = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        assert not [file for file in held if tmp_path in file.parents], refused


def test_full_disk(tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    with Project.open(path, writable=True) as project:
        pages = project._db.execute("PRAGMA page_count").fetchone()[0]
        project._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        whole = set(project.frames)
        with pytest.raises(OutputError, match="disk is full"):
            for frame in range(6, 20):
                put(project, frame, ids=(1, 2, 3, 300))
                whole.add(frame)
        # A frame is there with all its objects, or not at all.
        assert set(project.frames) == whole
        project._db.execute("PRAGMA max_page_count = 100000")
        put(project, 19)
    with Project.open(path) as project:
        assert set(project.frames) == whole | {19}


def test_an_interruption_within_a_transaction_takes_it_back(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        with pytest.raises(KeyboardInterrupt), project.step("prompt", {}):
            project.keep_life(Life(1, "half"))
            raise KeyboardInterrupt
        assert project.objects == ()
        project.add_prompt(2, 0, Prompt(absent=True))
        assert project.objects == (2,)


class Interrupted:
    """A connection on which Ctrl-C comes as a statement returns."""

    def __init__(self, connection: sqlite3.Connection, statement: str) -> None:
        self._connection, self._statement = connection, statement

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        found = self._connection.execute(statement, *values)
        if statement == self._statement:
            self._statement = ""
            raise KeyboardInterrupt
        return found


def test_an_interruption_as_a_transaction_begins_does_not_leave_it_open(tmp_path: Path) -> None:
    project = new(tmp_path / "p.s2t")
    connection, project._db = project._db, Interrupted(project._db, "BEGIN IMMEDIATE")
    with pytest.raises(KeyboardInterrupt):
        project.set_meta(first=1)
    assert not connection.in_transaction and "first" not in project.meta
    project.set_meta(second=2)
    project.close()
    with Project.open(tmp_path / "p.s2t") as opened:
        assert "first" not in opened.meta and opened.meta["second"] == 2


def test_a_commit_that_fails_does_not_leave_a_transaction_open(tmp_path: Path) -> None:
    """As a reader makes it fail where there is no write-ahead log, on network drives."""
    path = fill(tmp_path / "p.s2t")
    with Project.open(path, writable=True) as project:
        project._db.execute("PRAGMA journal_mode = DELETE")
        project._db.execute("PRAGMA busy_timeout = 10")
        with (
            Project.open(path) as reader,
            reader.unchanging(),
            pytest.raises(OutputError, match="cannot be written: database is locked"),
        ):
            project.set_meta(first=1)
        assert not project._db.in_transaction
        project.set_meta(second=2)
    with Project.open(path) as opened:
        assert "first" not in opened.meta and opened.meta["second"] == 2


def test_what_is_written_while_nothing_else_changes_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    with new(path) as project, project.unchanging():
        put(project, 1)
    with Project.open(path) as reader:
        reader._db = Interrupted(reader._db, "SELECT count(*) FROM head")
        with pytest.raises(KeyboardInterrupt), reader.unchanging():
            pass
        assert reader.frames == (1,) and not reader._db.in_transaction


def test_what_is_read_stays_unchanged_also_after_a_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    with new(path) as project:
        put(project, 1)
        with Project.open(path) as reader, reader.unchanging():
            with reader.unchanging():
                assert reader.frames == (1,)
            put(project, 2)
            assert reader.frames == (1,)


def test_of_what_fails_among_what_is_done_together_nothing_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    with new(path) as project:
        with project.together():
            project.add_prompt(1, 0, BOX)
            with pytest.raises(KeyError), project.together():
                project.add_prompt(2, 0, BOX)
                project.set_meta(own=1)
                project.add_frame(20, 1.0)
                raise KeyError
            project.add_prompt(3, 0, BOX)
        assert project.objects == (1, 3) and project.meta["frames"] == 20
    with Project.open(path) as reader:
        assert reader.objects == (1, 3) and reader.meta == project.meta


def test_what_threads_write_at_once_is_kept_or_refused(tmp_path: Path) -> None:
    """Nothing goes with the step of another thread that begins as one ends; each is told why."""
    kept: list[tuple[int, int]] = []
    refused: list[str] = []

    def write(object_id: int) -> None:
        for _ in range(20):
            for frame in range(20):
                try:
                    project.set_meta(own=frame)
                    project.add_prompt(object_id, frame, BOX)
                    kept.append((object_id, frame))
                except Sam2TrackError as error:
                    refused.append(str(error))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with new(tmp_path / "p.s2t") as project:
            threads = [threading.Thread(target=write, args=(k,)) for k in range(1, 5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            steps = [(step["object"], step["frame"]) for step in project.journal()]
    finally:
        sys.setswitchinterval(interval)
    assert sorted(steps) == sorted(kept)
    assert all("is being written by another thread" in why for why in refused)


def test_a_thread_that_comes_as_a_step_begins_waits_for_it(tmp_path: Path) -> None:
    """SQLite says in words of its own what cannot be within a transaction of another."""
    begun, done = threading.Event(), threading.Event()

    def write() -> None:
        with project.transaction():
            begun.set()
            done.wait(10)

    class Beginning:
        def execute(self, sql: str, *values: Any) -> Any:
            if sql == "PRAGMA synchronous = FULL":
                other.start()
                assert not begun.wait(0.2)
            return connection.execute(sql, *values)

        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

    with new(tmp_path / "p.s2t") as project:
        other, connection = threading.Thread(target=write), project._db
        project._db = Beginning()
        project.add_prompt(1, 0, BOX)
        project._db = connection
        assert begun.wait(10)
        with pytest.raises(ProjectError, match="is being written by another thread"):
            project.add_prompt(1, 1, BOX)
        done.set()
        other.join()
        assert [frame for _, frame, _ in project.prompts] == [0]


def test_settings_are_those_that_were_kept_as_ctrl_c_came(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        connection = project._db
        project._db = Interrupted(connection, "COMMIT")
        with pytest.raises(KeyboardInterrupt):
            project.add_frame(20, 1.0)
        project._db = connection
        assert project.meta["frames"] == len(project.times) == 21
        project.add_frame(21, 2.0)


def test_a_project_is_not_written_anew_amid_a_step(tmp_path: Path) -> None:
    """SQLite would wait for the step to end, without end."""
    path, there = tmp_path / "p.s2t", tmp_path / "q.s2t"
    with new(path) as project:
        with project.together():
            project.add_prompt(1, 0, BOX)
            with pytest.raises(UsageError, match="is in the middle of a step"):
                project.written_anew(there)
        assert project.objects == (1,)
    with pytest.raises(ProjectError, match=r"p\.s2t is closed"):
        project.written_anew(there)
    assert {p.name for p in tmp_path.iterdir()} == {"p.s2t"}


def test_a_project_that_is_in_use_is_not_replaced(tmp_path: Path) -> None:
    """Nor what a project that is gone has left beside where another is written."""
    path, there = tmp_path / "p.s2t", tmp_path / "q.s2t"
    with new(path) as project:
        put(project, 1)
        with new(there), pytest.raises(ProjectInUseError):
            project.written_anew(there)
        put(project, 2)
        log = Path(f"{path}-wal").read_bytes()
        there.unlink()
        Path(f"{there}-wal").write_bytes(log[: len(log) // 2])
        with project.written_anew(there) as moved:
            assert moved.frames == (1, 2) and moved.warning == ""
            there.unlink()
            with moved.written_anew(there) as again:  # whose lock it holds
                assert again.frames == (1, 2)
    assert {p.name for p in tmp_path.iterdir()} == {"p.s2t", "q.s2t"}


def test_of_a_frame_that_cannot_be_noted_nothing_is_kept(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        project._db.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON meta BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        with pytest.raises(OutputError, match="full"):
            project.add_frame(20, 1.0)
        project._db.execute("DROP TRIGGER full")
        assert len(project.times) == project.meta["frames"] == 20
        project.add_frame(20, 2.0)


@pytest.mark.parametrize("turn", ["undo", "redo"])
def test_of_a_turn_that_fails_half_way_nothing_is_kept(tmp_path: Path, turn: str) -> None:
    with Project.open(fill(tmp_path / "p.s2t"), writable=True) as project:
        project.undo()
        before = project.position, project.journal()
        project._db.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'full'); "
            "END"
        )
        with pytest.raises(OutputError, match="full"):
            getattr(project, turn)()
        assert (project.position, project.journal()) == before


def test_results_survive_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    program = f"""
        import os
        from pathlib import Path
        from sam2track.prompts import Prompt
        from tests.test_project import new, put
        project = new(Path({str(path)!r}))
        project.add_prompt(1, 0, Prompt(absent=True))
        for frame in range(9):
            put(project, frame)
        project._db.execute("BEGIN IMMEDIATE")
        project._db.execute("DELETE FROM all_results")
        os._exit(9)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=REPOSITORY, timeout=120, check=False
    )
    assert done.returncode == 9
    with Project.open(path, writable=True) as project, new(tmp_path / "other.s2t") as other:
        assert project.frames == tuple(range(9))
        for frame in range(9):
            result, _ = put(other, frame)
            np.testing.assert_array_equal(list(project.masks(frame).values()), result.masks)
        assert len(project.prompts) == 1
    assert not (tmp_path / "p.s2t-wal").exists()


def exercise(path: Path) -> list[Any] | None:
    """Read all of a damaged project; None where an error of ours says that it is damaged."""
    try:
        with Project.open(path) as project:
            return read_all(project)
    except Sam2TrackError:
        return None


def test_what_a_kill_left_in_a_rollback_journal_is_taken_back(tmp_path: Path) -> None:
    """The switch to a write-ahead log and back is such a transaction; a reader cannot undo one."""
    path, to = tmp_path / "p.s2t", tmp_path / "copy"
    to.mkdir()
    with new(path) as project:
        put(project, 3)
        expected = project.masks(3)
    half_written(path, to)
    with Project.open(to / "p.s2t") as project:
        assert project.meta["height"] == HEIGHT
        assert len(project.times) == len(TIMES)
        found = project.masks(3)
    assert {i: m.tobytes() for i, m in found.items()} == {
        i: m.tobytes() for i, m in expected.items()
    }
    assert [p.name for p in to.iterdir()] == ["p.s2t"]


def test_truncated_files(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    whole = fill(tmp_path / "whole.s2t").read_bytes()
    chance = random.Random(0)
    for size in [0, 1, 15, 16, 99, 100, 511, 4096, len(whole) - 1] + [
        chance.randrange(len(whole)) for _ in range(20)
    ]:
        path.write_bytes(whole[:size])
        assert exercise(path) is None, f"{size} of {len(whole)} bytes are read as a project"


def test_flipped_bytes(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    whole = fill(tmp_path / "whole.s2t").read_bytes()
    used = [at for at, byte in enumerate(whole) if byte]  # most of the rest is free space
    chance = random.Random(1)
    noticed = 0
    for _ in range(250):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3, 30))):
            data[chance.choice(used)] = chance.randrange(256)
        path.write_bytes(data)
        noticed += exercise(path) is None
    assert noticed > 50


def worked_on(path: Path) -> Path:
    """As ``fill``, with a run whose frames are kept as steps keep them."""
    with Project.open(fill(path), writable=True) as project:
        with project.step("propagate", {"start": 6, "stop": 12, "direction": "both"}) as step:
            project.set_done(step, 6)
            project.save_state(state(12), step, 6)
        for frame in range(6, 12):
            put(project, frame)
    return path


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM all_results WHERE frame = 9", "object 1 on frame 9: its result is gone"),
        ("DELETE FROM all_results WHERE frame = 8 AND object = 300", "object 300 on frame 8"),
        ("DELETE FROM states", "step 6: where tracking stood after it is gone"),
        ("UPDATE states SET data = substr(data, 1, 50)", "step 5: a stored state is damaged"),
        ("UPDATE states SET data = 'text'", "a stored state is damaged"),
        ("UPDATE states SET step = 'abc'", "where tracking stood after it is gone"),
        ("UPDATE all_prompts SET logits = x'0011' WHERE frame = 2", "300 on frame 2: its logits"),
        ("UPDATE all_results SET pointer = zeroblob(8) WHERE frame = 4", "its pointer is of an"),
        ("UPDATE all_results SET pointer = zeroblob(8)", "its pointer is of another length"),
        ("DELETE FROM times WHERE frame = 15", "its times: there are 19, of 20 frames"),
        ("UPDATE times SET frame = 99 WHERE frame = 19", "its times"),
        ("DELETE FROM journal", "the journal does not hold it"),
        ("DELETE FROM journal WHERE step = 3", "step 3: the journal does not hold it"),
        ("UPDATE head SET position = 99", "step 99: the journal does not hold it"),
        ("UPDATE head SET position = 4", "step 5: it does not go with step 4"),
        ("UPDATE journal SET undone = 1 WHERE step = 5", "step 5: it does not go with step 6"),
        ("UPDATE head SET position = 0", "it does not go with step 0, which is in force"),
        ("DELETE FROM all_objects WHERE id = 300", "its prompts are of no object"),
        ("DELETE FROM all_prompts WHERE object = 1", "object 1: nothing is said of it"),
    ],
)  # fmt: skip
def test_what_is_gone_is_noticed(statement: str, said: str, tmp_path: Path) -> None:
    path = worked_on(tmp_path / "p.s2t")
    with Project.open(path) as project:
        project.check()
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()
    with Project.open(path) as project, pytest.raises(ProjectError, match=said) as refused:
        project.check()
    assert "take a copy of it" in str(refused.value) and str(path) in str(refused.value)


def test_pointers_are_as_long_as_most(tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    with closing(sqlite3.connect(path)) as db:
        imported = "UPDATE all_results SET pointer = x'', source = ? WHERE frame = 2"
        db.execute(imported, (SOURCES.index("edited"),))  # no model has seen them
        assert not [*odd_pointers(db, None)]
        for length in (8, 4000):
            db.execute("UPDATE all_results SET pointer = zeroblob(?) WHERE frame = 4", (length,))
            (fault,) = odd_pointers(db, None)
            assert fault.where == "object 1 on frame 4"


def test_what_was_dropped_or_taken_back_is_not_missed(tmp_path: Path) -> None:
    path = worked_on(tmp_path / "p.s2t")
    with Project.open(path, writable=True) as project:
        with project.step("clear", {"object": 1, "frame": 8}):
            project.forget(1, 8, 9)
        project.check()
        for turn in (project.undo, project.undo, project.redo, project.redo, project.undo):
            turn()
            project.check()
        project.undo()
        project.add_prompt(1, 3, Prompt(absent=True))  # the run can be put back no longer
        project.check()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", "x"),
        ("image_size", [64]),
        ("reading", 5),
        ("reading", None),
        ("reading", {"unknown": 1}),
        ("reading", {"crop": 5}),
        ("reading", {"crop": [0, 0, 1.5, 2]}),
        ("detections", 5),
        ("detections", {"frames": {"0": [1, 2]}, "by_hand": []}),
        ("detections", {"frames": {}, "by_hand": [5]}),
        ("source", 5),
        ("source", ["a"]),
        ("source", "a\0b"),
        ("frames", "many"),
        ("height", 0),
        ("pixel_size_um", [None, None]),
        ("pixel_size_um", [1.0]),
        ("pixel_size_um", float("inf")),
        ("frame_interval_s", "x"),
        ("frame_interval_s", float("nan")),
        ("frame_interval_s", 1e308),
        ("carried", [[]]),
        ("hidden", {"1": True}),
    ],
)
def test_settings_of_another_kind_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
        db.commit()
    with pytest.raises(ProjectError, match=f"p.s2t is damaged: its {key} is .*; take a copy"):
        Project.open(path)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM meta WHERE key = 'frames'", "lacks 'frames'"),
        ("UPDATE all_objects SET id = 'abc' WHERE id = 1", "the id of an object is 'abc'"),
        ("UPDATE head SET position = zeroblob(9)", "the step in force is 'blob'"),
        ("UPDATE all_objects SET birth = 'abc'", "the birth of an object is 'abc'"),
        ("UPDATE all_objects SET name = x'00'", "the name of an object is"),
        ("UPDATE all_results SET object = 'abc' WHERE frame = 5 AND object = 1", "object of a res"),
        ("UPDATE all_prompts SET frame = 'abc' WHERE frame = 5", "frame of a prompt is 'abc'"),
        ("UPDATE times SET seconds = 9e999 WHERE frame = 3", "time of a frame is inf"),
        ("UPDATE times SET seconds = 'x' WHERE frame = 3", "time of a frame is 'x'"),
        ("UPDATE journal SET done = 'abc'", "step 1 of its journal ran 'abc'"),
        ("UPDATE journal SET action = '{\"said\": 5}'", "step 1 of its journal says said 5"),
        ("UPDATE journal SET action = '{\"action\": [1]}'", "step 1 of its journal is"),
        ('UPDATE journal SET action = \'{"stop": "abc"}\'', "journal says stop 'abc'"),
        ("UPDATE journal SET action = '{\"of\": [1]}'", "journal says of"),
        ("UPDATE journal SET action = '[]'", "step 1 of its journal is"),
    ],
)
def test_rows_of_another_kind_are_refused(statement: str, said: str, tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()
    with pytest.raises(ProjectError, match=said), Project.open(path) as project:
        project.journal()


def test_damaged_masks_and_logits_are_noticed(tmp_path: Path) -> None:
    """A mask is right or refused, never another one."""
    path = tmp_path / "p.s2t"
    whole = fill(tmp_path / "whole.s2t").read_bytes()
    with Project.open(tmp_path / "whole.s2t") as project:
        mask, logits = project.masks(4)[1], project.get(1, 4).logits
        codes = quantise(logits)
        packed = {"mask": rle.encode(mask), "codes": pack(logits, 6)}
    chance = random.Random(2)
    for kind, blob in packed.items():
        at = whole.index(blob)
        refused = 0
        for _ in range(40):
            data = bytearray(whole)
            data[at + chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
            path.write_bytes(data)
            try:
                with Project.open(path) as project:
                    if kind == "mask":
                        np.testing.assert_array_equal(project.masks(4)[1], mask)
                    else:
                        np.testing.assert_array_equal(quantise(project.get(1, 4).logits), codes)
            except ProjectError:
                refused += 1
        assert refused > 30, kind


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE all_results SET area = area + 1 WHERE frame = 4", "frame 4: its mask has not the"),
        ("UPDATE all_prompts SET logits = x'00', mask = NULL WHERE frame = 2", "300 on frame 2"),
    ],
)
def test_a_check_reads_all_that_is_stored(tmp_path: Path, statement: str, said: str) -> None:
    """Each alone may be read; they do not go with each other."""
    path = fill(tmp_path / "p.s2t")
    with Project.open(path) as project:
        project.check()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)
    with Project.open(path) as project, pytest.raises(ProjectError, match=said):
        project.check()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE all_results SET source = 99",
        "UPDATE all_results SET source = -1",
        "UPDATE all_results SET source = 'x'",
        "UPDATE all_results SET score = 'x'",
        "UPDATE all_results SET mask = 'text'",
        "UPDATE all_results SET mask = zeroblob(20)",
        "UPDATE all_results SET codes = zeroblob(20)",
        "UPDATE all_results SET codes = 3.5",
        "UPDATE all_results SET codes = substr(codes, 1, length(codes) - 1)",
        "UPDATE all_results SET side = 'x'",
        "UPDATE all_results SET side = 100000",
        "UPDATE all_results SET side = -16",
        "UPDATE all_results SET side = 15",
        "UPDATE all_results SET pointer = x'010203'",
        "UPDATE all_results SET pointer = 'abc'",
        "UPDATE meta SET value = '{' WHERE key = 'source'",
        "UPDATE meta SET value = '-3' WHERE key = 'height'",
        "UPDATE meta SET value = '\"a\"' WHERE key = 'width'",
        "UPDATE meta SET value = '7' WHERE key = 'carried'",
        "DELETE FROM meta WHERE key = 'height'",
        "DELETE FROM times",
        "UPDATE all_prompts SET said = '[]'",
        "UPDATE all_prompts SET said = '{\"pints\": 3}'",
        "UPDATE all_prompts SET mask = x'00'",
        "UPDATE all_prompts SET object = -object",
        "UPDATE journal SET action = 'x'",
        "UPDATE states SET data = 'text'",
        "UPDATE states SET data = x'00'",
        "DROP TABLE all_results",
        "DROP TABLE states",
    ],
)
def test_values_that_cannot_be(tmp_path: Path, statement: str) -> None:
    path = fill(tmp_path / "p.s2t")
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()
    with pytest.raises(Sam2TrackError), Project.open(path) as project:
        read_all(project)


@pytest.mark.parametrize("mask", [3, rle.encode(np.ones((3, 3), np.bool_))])
def test_damage_is_told_when_a_mask_is_made(mask: int | bytes, tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    db = sqlite3.connect(path)
    db.execute("UPDATE all_results SET mask = ? WHERE object = 1", (mask,))
    db.commit()
    db.close()
    with Project.open(path) as project:
        makers = project.mask_makers(4)
        for read in (makers[1], lambda: project.labels(4), lambda: [*project.observations([4])]):
            with pytest.raises(ProjectError, match="damaged"):
                read()


@pytest.mark.parametrize("said", ['{"pints": 3}', "[]", "{", '{"box": [0, 0, 0, 1]}', "{}"])
def test_a_damaged_prompt_is_named(tmp_path: Path, said: str) -> None:
    path = fill(tmp_path / "p.s2t")
    db = sqlite3.connect(path)
    object_id, frame = db.execute("SELECT object, frame FROM prompts").fetchone()
    db.execute(
        "UPDATE all_prompts SET said = ?, mask = NULL WHERE object = ? AND frame = ?",
        (said, object_id, frame),
    )
    db.commit()
    db.close()
    named = f"p.s2t is damaged at the prompt of object {object_id} on frame {frame}: .*replay"
    with Project.open(path) as project:
        with pytest.raises(ProjectError, match=named):
            _ = project.prompts
        with pytest.raises(ProjectError, match=named):
            list(project.clicked())


def test_meta_is_json(tmp_path: Path) -> None:
    with Project.open(fill(tmp_path / "p.s2t")) as project:
        assert json.loads(json.dumps(project.meta)) == {**META, "carried": [0, 3]}
        assert (project.height, project.width) == (HEIGHT, WIDTH)
        assert project.time(5) == 0.2
        for asked in (project.time, project.masks, project.packed_masks, project.labels):
            with pytest.raises(ProjectError, match="no frame 20"):
                asked(20)


def test_settings_are_held_as_they_are_read_again(tmp_path: Path) -> None:
    hidden = [1, 300]
    with Project.open(fill(tmp_path / "p.s2t"), writable=True) as project:
        project.set_meta(hidden=hidden, colours={1: (255, 0, 0)})
        hidden.append(7)
        assert project.meta["hidden"] == [1, 300]
        with Project.open(project.path) as again:
            assert project.meta == again.meta


def test_what_is_read_of_an_object_does_not_grow_with_the_others(tmp_path: Path) -> None:
    """Opening a project of many objects would otherwise take the square of their number."""

    def steps_of_sqlite(objects: int) -> int:
        path, mask = tmp_path / f"{objects}.s2t", disk(9, 9, 4)
        write_project(path, {i + 1: {0: mask, 1: mask} for i in range(objects)})
        with Project.open(path) as project:
            steps: list[int] = []
            project._db.set_progress_handler(lambda: steps.append(1), 10)
            project.anchors(1)
            project.said(1, 0)
            project.get(1, 1)
            project.frames_of(1)
            project.stale(1, 1, 0)
            return len(steps)

    assert steps_of_sqlite(120) <= steps_of_sqlite(4) + 5


def test_a_prompt_is_stored_without_reading_other_objects(tmp_path: Path) -> None:
    path = write_project(tmp_path / "p.s2t", {i: {} for i in (1, 2, 3)}, count=3)
    ran: list[str] = []
    with Project.open(path, writable=True) as project:
        project._db.set_trace_callback(ran.append)
        project.add_prompt(2, 1, Prompt(box=(1, 2, 3, 4)))
        project._db.set_trace_callback(None)
        plans = [
            plan[3]
            for statement in ran
            if not statement.startswith(("PRAGMA", "BEGIN", "COMMIT"))
            for plan in project._db.execute(f"EXPLAIN QUERY PLAN {statement}")
        ]
    assert any("all_objects" in plan for plan in plans)
    assert not any(plan.startswith("SCAN all_") for plan in plans)


@pytest.mark.parametrize("objects", [1, 3, 30])
def test_rows_are_read_in_parts_that_do_not_grow_with_the_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objects: int
) -> None:
    mask = disk(20, 20, 5)
    tracks = {i: dict.fromkeys(range(7), mask) for i in range(1, objects + 1)}
    with Project.open(write_project(tmp_path / "p.s2t", tracks)) as project:
        wanted, lines = list(project.rows()), "".join(project.lines())
        monkeypatch.setattr("sam2track.contents._PART", 7)
        assert max(len(part.found) for part in project._stored()) <= max(7, objects)
        assert (list(project.rows()), "".join(project.lines())) == (wanted, lines)
    assert len(wanted) == 7 * objects


def test_label_maps_hold_one_mask_at_a_time(tmp_path):
    """All of 1000 cells in 2048 x 2048 pixels would be gigabytes."""
    side, peaks = 512, []
    for count in (8, 8, 128):  # the first loads what all of them need
        tracks = {}
        for i in range(count):
            y, x = divmod(i, 12)
            tracks[i + 1] = {0: np.zeros((side, side), bool)}
            tracks[i + 1][0][40 * y : 40 * y + 20, 40 * x : 40 * x + 20] = True
        write_project(tmp_path / f"{len(peaks)}.s2t", tracks)
        with Project.open(tmp_path / f"{len(peaks)}.s2t") as opened:
            tracemalloc.start()
            labels = opened.labels(0)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert all((labels[mask[0]] == i).all() for i, mask in tracks.items())
    assert peaks[2] < 1.5 * peaks[1]


def test_a_project_stays_itself_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        write_project(tmp_path / place / "p.s2t", {1: {0: disk(20, 15, 6)}})
    monkeypatch.chdir(tmp_path / "here")
    project = Project.open("p.s2t", writable=True)
    monkeypatch.chdir(tmp_path / "there")  # which holds another of that name
    assert project.folder == tmp_path / "here"
    assert project.in_place
    assert project.info()["file_bytes"] == (tmp_path / "here" / "p.s2t").stat().st_size
    with pytest.raises(UsageError):  # else it would be written over
        project.export(tmp_path / "here" / "p.s2t", format="coco", overwrite=True)
    with Project.open("p.s2t", writable=True):
        project.close()  # and lets go of its own lock, not of this one's
        assert (tmp_path / "there" / "p.s2t.lock").exists()
    assert [file.name for file in (tmp_path / "here").iterdir()] == ["p.s2t"]


def test_a_project_that_is_moved_says_so_and_leaves_anothers_lock(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    new(tmp_path / "a" / "p.s2t").close()
    project = Project.open(tmp_path / "a" / "p.s2t", writable=True)
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(ProjectError, match="is not where it was opened"):
        project.info()
    (tmp_path / "a").mkdir()
    with new(tmp_path / "a" / "p.s2t"):
        project.close()
        with pytest.raises(ProjectInUseError):
            Project.open(tmp_path / "a" / "p.s2t", writable=True)


@pytest.mark.parametrize("end", ["close", "drop", "written_anew"])
def test_a_project_that_is_moved_leaves_the_log_of_another_in_its_place(
    tmp_path: Path, end: str
) -> None:
    """SQLite removes a log by its name: it held all that the other one had written."""
    (tmp_path / "a").mkdir()
    project = new(tmp_path / "a" / "p.s2t")
    put(project, 0)
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").mkdir()
    with new(tmp_path / "a" / "p.s2t") as other:
        put(other, 1)
        if end == "drop":
            del project
        elif end == "close":
            project.close()
        else:
            project.written_anew(tmp_path / "c.s2t").close()
        with Project.open(tmp_path / "a" / "p.s2t") as reader:
            assert reader.frames == (1,)
    for folder in ("a", "b"):
        with Project.open(tmp_path / folder / "p.s2t") as found:
            assert found.frames == (int(folder == "a"),) and found.warning == ""


def test_no_log_is_left_beside_a_file_that_replaced_a_project(tmp_path: Path) -> None:
    """Nobody else can have written in its place."""
    path = tmp_path / "p.s2t"
    with new(path) as project:
        put(project, 0)
        path.rename(tmp_path / "q.s2t")
        path.write_bytes(b"another's")
    assert {p.name for p in tmp_path.iterdir()} == {"p.s2t", "q.s2t"}
    with Project.open(tmp_path / "q.s2t") as found:
        assert found.frames == (0,)


def test_a_copy_is_closed_whole(tmp_path: Path) -> None:
    copy = tmp_path / "copy.s2t"
    with Project.open(fill(tmp_path / "p.s2t"), writable=True) as project:
        copied(project._db, copy)
        assert settle(copy) == "" and not any(path.exists() for path in companions(copy))


def test_what_a_project_left_beside_it_goes_but_not_the_lock(tmp_path: Path) -> None:
    for end in ("-wal", "-shm", "-journal", ".lock"):
        (tmp_path / f"p.s2t{end}").touch()
    remove_companions(tmp_path / "p.s2t")
    assert [path.name for path in tmp_path.iterdir()] == ["p.s2t.lock"]


def test_prompts_are_to_be_run_from_the_first_on_and_from_the_last_back(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project:
        for frame in (4, 3, 5):
            project.add_prompt(1, frame, BOX)
        (told,) = project.info()["objects"]
        assert told["to_run"] == {"forward": 3, "backward": 5}
        assert (told["id"], told["first"], told["mean_score"]) == (1, None, None)


def test_a_later_prompt_may_name_its_object(tmp_path: Path) -> None:
    """As in the journal, by which it is replayed, and as a tracker takes it."""
    with new(tmp_path / "p.s2t") as project:
        for frame, name in enumerate(("", "cell", "", "nucleus", "")):
            project.add_prompt(1, frame, BOX, name=name)
            assert project.names == {1: ("", "cell", "cell", "nucleus", "nucleus")[frame]}
        project.undo()
        project.undo()
        assert project.names == {1: "cell"}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.add_prompt(1, -3, BOX), "frame -3 does not exist"),
        (lambda p: p.add_prompt(1, 20, BOX), "frame 20 does not exist; .* is of 20 frames"),
        (lambda p: p.add_prompt(1, 0, Prompt(box=(0, 0, 500, 5))), "reaches outside the frame"),
        (lambda p: p.add_prompt(1, 0, Prompt(mask=np.ones((5, 5), bool))), "the mask is 5 x 5"),
        (lambda p: p.add_prompt(1, 0, None), "None is no prompt"),
        (lambda p: p.add_prompt(1, 0, BOX, name=5), "name 5; a name is text"),
        (lambda p: p.add_prompt(7, 0, BOX), "object 7 is locked"),
        (lambda p: p.add_prompt(8, 4, BOX), "object 8 begins on frame 5, .* frame 4 lies before"),
        (lambda p: p.add_prompt(8, 9, BOX), "object 8 ends before frame 9; .* let it end later"),
        (lambda p: p.set_meta(height=5), "height 5; the frames have 37, and keep it"),
        (lambda p: p.set_meta(frames=5), "frames 5; times are known of 20: note each one"),
        (lambda p: p.set_meta(width="a"), "meta says width 'a'"),
        (lambda p: p.set_meta(frame_interval_s=float("nan")), "meta says frame_interval_s nan"),
        (lambda p: p.set_meta(own=object()), "not in JSON values"),
        (lambda p: p.set_meta(own=float("nan")), "not in JSON values: own is nan; give finite"),
        (lambda p: p.set_meta(own={"a": [float("inf")]}), "own is .*inf.*; give finite"),
        (lambda p: p.set_meta(**{"\ud800": 1}), "not in JSON values"),
        (lambda p: p.add_frame(3, 1.0), "frame 3; the one that comes next is 20"),
        (lambda p: p.add_frame(20, 0.1), "at 0.1 s; give seconds, more than 0.76"),
        (lambda p: p.add_frame(20, 0.76), "at 0.76 s; give seconds, more than 0.76"),
        (lambda p: p.add_frame(20, float("nan")), "at nan s; give seconds"),
        (lambda p: p.add_frame(20, "a"), "at 'a' s; give seconds"),
        (lambda p: p.masks(10**30), r"give one below 2\*\*63"),
        (lambda p: list(p.rows("a")), "start 'a'; give a whole number"),
        (lambda p: list(p.rows(0, 1.5)), "stop 1.5; give a whole number"),
    ],
)
def test_what_would_damage_a_project_is_not_written(
    tmp_path: Path, write: Any, message: str
) -> None:
    path = tmp_path / "p.s2t"
    with new(path) as project:
        project.add_prompt(7, 1, BOX)
        with project.step("lock", {"object": 7, "locked": True}):
            project.keep_life(Life(7, locked=True))
            project.keep_life(Life(8, birth=5, end=9))
        meta, journal = dict(project.meta), project.journal()
        with pytest.raises(UsageError, match=message):
            write(project)
        assert project.meta == meta and project.journal() == journal
    with Project.open(path) as project:
        assert project.meta == meta
        assert [(i, frame) for i, frame, _ in project.prompts] == [(7, 1)]
        assert np.array_equal(project.times, TIMES)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
def test_a_fork_leaves_the_project_of_its_parent_alone(tmp_path: Path) -> None:
    """In a process of its own: torch, which is loaded here, has threads that a fork would lack."""
    program = f"""
        import os
        from sam2track.errors import ProjectError
        from sam2track.project import Project, WriterLock
        from sam2track.prompts import Prompt

        project = Project.create({str(tmp_path / "p.s2t")!r}, meta={META!r}, times=range(20))
        project.add_prompt(1, 0, Prompt(box=(1, 1, 9, 9)))
        if not (child := os.fork()):
            status = 0
            for use in (lambda: project.add_prompt(1, 1, Prompt(absent=True)), project.summary):
                try:
                    use()
                except ProjectError as error:
                    status += "that this one was forked from" in str(error)
            project.close()
            del project, use  # nor where it is let go of
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        assert project.path.with_name("p.s2t.lock").exists()
        project.add_prompt(1, 2, Prompt(absent=True))
        project.close()
        with Project.open(project.path) as project:
            assert [frame for _, frame, _ in project.prompts] == [0, 2]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_two_threads_do_not_write_into_one_transaction(tmp_path: Path) -> None:
    with new(tmp_path / "p.s2t") as project, ThreadPoolExecutor(1) as other:
        with contextlib.suppress(ZeroDivisionError), project.transaction():
            project.add_prompt(1, 0, BOX)
            # Else it would be answered as written, and be gone with what fails here.
            with pytest.raises(ProjectError, match="is being written by another thread"):
                other.submit(project.add_prompt, 2, 0, BOX).result()
            project.add_prompt(1, 1, BOX)
            raise ZeroDivisionError
        assert project.objects == ()
        other.submit(project.add_prompt, 2, 0, BOX).result()  # one after the other they may
        with project.transaction():
            project.add_prompt(1, 0, BOX)
        assert project.objects == (1, 2)
