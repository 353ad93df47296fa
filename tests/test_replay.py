"""A journal done again gives the same project; what a project holds is told."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from click.testing import CliRunner

from sam2track import Project, Prompt, Tracker, load_model
from sam2track import masks as rle
from sam2track.cli.main import main
from sam2track.errors import ProjectError, ProjectExistsError, UsageError
from sam2track.export.pngs import read_label_png
from sam2track.frames.array import ArraySource
from sam2track.job import run
from sam2track.replaying import replay
from tests.parity.oracle import SIZE, clip, predictor

PROMPTS: dict[str, Any] = {
    "version": 1,
    "objects": [
        {"id": 1, "name": "cell", "prompts": [{"frame": 2, "box": [30, 30, 70, 80]}]},
        {"id": 2, "prompts": [{"frame": 0, "points": [[90, 90]]}]},
    ],
}


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return clip(40)[:12]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, frames: np.ndarray) -> Path:
    """Make a project by a job, and go on with it as a person does, in two sittings."""
    folder = tmp_path_factory.mktemp("worked") / "out"
    model = load_model(predictor("nano", True))
    run(frames, PROMPTS, output=folder, model=model, write=[])
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    painted = (rows - 60) ** 2 + (columns - 50) ** 2 < 400
    with Project.open(folder / "project.s2t", writable=True) as project:
        tracker = Tracker(model, ArraySource(frames), history=project)
        tracker.prompt(1, 7, points=[(20, 90), (100, 20)], labels=[1, 0])
        whole = tracker.propagate()
        list(islice(whole, 2))
        tracker.edit(2, 5, painted)  # while a run is under way, which goes on
        list(whole)
        tracker.undo()
        list(tracker.propagate(3, 9, "backward"))
        list(islice(tracker.propagate(objects=[2]), 2))
    with Project.open(folder / "project.s2t", writable=True) as project:
        tracker = Tracker(model, ArraySource(frames), history=project)
        list(tracker.propagate())
        tracker.swap_from(1, 2, 8)
        tracker.divide(2, 10, {3: painted, 4: ~painted})
        list(tracker.propagate(direction="both", until_prompted=True))
        tracker.undo()
        tracker.redo()
    return folder


def everything(path: Path) -> list[Any]:
    with Project.open(path) as project:
        found: list[Any] = [project.objects, project.names, project.lineage, project.summary()]
        found.append([vars(life) | {"since": 0} for life in project.lives()])
        for frame in project.frames:
            for object_id, mask in project.masks(frame).items():
                record = project.get(object_id, frame)
                assert record is not None
                bits = mask.tobytes() + record.logits.tobytes() + record.pointer.tobytes()
                digest = hashlib.sha256(bits).hexdigest()
                found.append((frame, object_id, record.source, record.score, digest))
        return found


def test_a_replay_gives_equal_masks(worked: Path, frames: np.ndarray, tmp_path: Path) -> None:
    model = load_model(predictor("nano", True))
    seen = []
    outcome = replay(
        worked,
        output=tmp_path / "again",
        source=frames,
        model=model,
        write=["masks"],
        progress=lambda now: seen.append(now.stage),
    )
    assert outcome.status == "done" and outcome.frames_computed > 12
    assert everything(tmp_path / "again" / "project.s2t") == everything(worked / "project.s2t")
    with (
        Project.open(tmp_path / "again" / "project.s2t") as new,
        Project.open(worked / "project.s2t") as old,
    ):
        assert [s["action"] for s in new.journal()] == [s["action"] for s in old.journal()]
    assert len(list((tmp_path / "again" / "masks").glob("*.png"))) == 12
    assert {"tracking", "writing"} == set(seen)


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("mask", b"\0", "1 bytes are too few"),
        ("mask", rle.encode(np.zeros((3, 3), bool)), "not of the size of the frames"),
        ("mask", rle.encode(np.ones((SIZE, SIZE), bool)), "not the area that it had"),
        ("codes", b"\0", "its logits cannot be read"),
    ],
)
def test_what_is_damaged_is_named_and_a_replay_makes_it_anew(
    column: str, value: bytes, why: str, worked: Path, frames: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "p.s2t"
    shutil.copy(worked / "project.s2t", path)
    with Project.open(path) as project:
        project.check()
    checked = CliRunner().invoke(main, ["info", str(path), "--check"])
    assert checked.exit_code == 0
    assert re.search(r"all \d\d results can be read", checked.output)
    with closing(sqlite3.connect(path)) as db:
        which = "id = (SELECT id FROM results WHERE object = 2 AND frame = 7)"
        db.execute(f"UPDATE all_results SET {column} = ? WHERE {which}", (value,))
        db.commit()
    said = f"p.s2t is damaged at object 2 on frame 7: .*{why}.*sam2track replay"
    with Project.open(path) as project, pytest.raises(ProjectError, match=said):
        project.check()
    checked = CliRunner().invoke(main, ["info", str(path), "--check"])
    assert checked.exit_code == 1 and "damaged at object 2 on frame 7" in checked.stderr
    model = load_model(predictor("nano", True))
    replay(path, output=tmp_path / "again", source=frames, model=model, write=[])
    assert everything(tmp_path / "again" / "project.s2t") == everything(worked / "project.s2t")


def test_a_replay_has_as_many_threads_as_there_were(frames: np.ndarray, tmp_path: Path) -> None:
    """Sums on a CPU end on another last digit with another number of them."""
    import torch

    usual, some = torch.get_num_threads(), min(2, os.cpu_count() or 1)
    model = load_model(predictor("nano", True))
    try:
        torch.set_num_threads(1)
        run(frames, PROMPTS, output=tmp_path / "out", model=model, write=[])
        torch.set_num_threads(some)
        with Project.open(tmp_path / "out" / "project.s2t", writable=True) as project:
            tracker = Tracker(model, ArraySource(frames), history=project)
            tracker.prompt(1, 7, points=[(20, 90)])
            list(tracker.propagate())
            journal = project.journal()
        torch.set_num_threads(1)
        again = tmp_path / "again"
        replay(tmp_path / "out", output=again, source=frames, model=model, write=[])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(usual)
    with Project.open(again / "project.s2t") as project:
        replayed = project.journal()
    assert everything(again / "project.s2t") == everything(tmp_path / "out" / "project.s2t")
    # The first two prompts were stored before there was a tracker.
    assert [s.get("threads") for s in journal] == [None, None, 1, some, some]
    assert [s.get("threads") for s in replayed][2:] == [1, some, some]


def test_a_number_of_threads_that_is_none(worked: Path, frames: np.ndarray, tmp_path: Path) -> None:
    from sam2track.tracking.actions import repeat

    with Project.open(worked / "project.s2t") as project:
        steps, meta = project.journal(), dict(project.meta)
    for number, said in enumerate((-1, "many", [2], None, 10**30)):
        steps[0]["threads"] = said
        path = tmp_path / f"{number}.s2t"
        with Project.create(path, meta=meta, times=np.arange(12.0)) as new:
            tracker = Tracker(load_model(predictor("nano", True)), ArraySource(frames), history=new)
            repeated = repeat(tracker, steps[:1])
            if said == 10**30:  # no more than there are cores
                assert next(repeated) is None
                continue
            with pytest.raises(ProjectError, match="damaged"):
                next(repeated)


def test_a_tracker_shows_the_label_maps_of_its_project(
    frames: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose masks it takes from there as they are: the logits say whose a pixel is."""
    model = load_model(predictor("nano", True))
    # Of random weights, logits of two objects differ more where candidates are chosen from.
    decoder = model.module.sam_mask_decoder
    monkeypatch.setattr(decoder, "dynamic_multimask_via_stability", True)
    run(frames, PROMPTS, output=tmp_path, model=model, write=[])
    with Project.open(tmp_path / "project.s2t", writable=True) as project:
        tracker = Tracker(model, ArraySource(frames), history=project)
        tracker.prompt(2, 4, box=(20, 20, 110, 110))
        list(tracker.propagate())
        shared = wrong = higher = 0
        for frame in project.frames:
            result = tracker.result(frame)
            both = result.masks.all(axis=0) & (len(result.masks) == 2)
            labels = project.labels(frame)
            np.testing.assert_array_equal(result.labels[~both], labels[~both])
            shared += np.count_nonzero(both)
            wrong += np.count_nonzero(result.labels != labels)
            higher += np.count_nonzero(labels[both] == 2)
        assert shared > 1000 and min(higher, shared - higher) > 100
        assert wrong < 0.1 * shared  # logits of these two hardly differ


def test_a_replay_says_where_masks_are_others(frames: np.ndarray, tmp_path: Path) -> None:
    """A process that is killed in a run has kept frames of which its journal knows nothing."""
    model = load_model(predictor("nano", True))
    alive = tmp_path / "alive" / "project.s2t"
    killed = tmp_path / "killed" / "project.s2t"
    killed.parent.mkdir()
    run(frames, PROMPTS, output=alive.parent, model=model, write=[], stop=3)
    with Project.open(alive, writable=True) as project:
        whole = Tracker(model, ArraySource(frames), history=project).propagate()
        list(islice(whole, 6))
        for name in ("project.s2t", "project.s2t-wal"):
            shutil.copy(alive.with_name(name), killed.with_name(name))
        list(whole)
    assert not replay(
        alive, output=tmp_path / "same", source=frames, model=model, write=[]
    ).warnings
    with Project.open(killed, writable=True) as project:
        tracker = Tracker(model, ArraySource(frames), history=project)
        tracker.prompt(2, 8, points=[(60, 60)])  # of what was run until then
        list(tracker.propagate())
    (warning,) = replay(
        killed, output=tmp_path / "other", source=frames, model=model, write=[]
    ).warnings
    assert re.match(f"[0-9]+ masks are others than in {killed}, from object 2 on frame", warning)


def test_steps_of_older_journals_that_changed_nothing_are_repeated(
    frames: np.ndarray, tmp_path: Path
) -> None:
    """What is taken back after them is they, and not what was done before."""
    model = load_model(predictor("nano", True))
    path = tmp_path / "old" / "project.s2t"
    run(frames, PROMPTS, output=path.parent, model=model, write=[], stop=5)
    with Project.open(path, writable=True) as project:
        tracker = Tracker(model, ArraySource(frames), history=project)
        tracker.end_at(1, 8)
        with tracker._book.step("end", object=1, frame=8):
            pass
        tracker.undo()
        results = tracker.propagate()
        list(islice(results, 2))
        with tracker._book.step("rename", object=1, name="cell"):
            pass
        list(results)
        tracker.undo()
        tracker.undo()
        assert tracker.life(1).end == 8
    outcome = replay(path, output=tmp_path / "new", source=frames, model=model, write=[])
    assert not outcome.warnings
    assert everything(tmp_path / "new" / "project.s2t") == everything(path)
    with Project.open(path) as old, Project.open(tmp_path / "new") as new:
        now, before = ([(s["action"], s.get("done")) for s in p.journal()] for p in (new, old))
        assert now == before


def test_a_replay_answers_what_no_model_had_and_doubts_no_mask(
    frames: np.ndarray, tmp_path: Path
) -> None:
    model = load_model(predictor("nano", True))
    path = tmp_path / "out" / "project.s2t"
    run(frames, PROMPTS, output=path.parent, model=model, write=[])
    with Project.open(path, writable=True) as project:
        project.add_prompt(2, 7, Prompt(points=((60, 60),)))  # in place of what was tracked
        project.add_prompt(3, 4, Prompt(box=(10, 10, 40, 40)))
    outcome = replay(path, output=tmp_path / "again", source=frames, model=model, write=[])
    assert not outcome.warnings
    with Project.open(tmp_path / "again" / "project.s2t") as again:
        assert again.masks(4)[3].any()


def test_a_replay_in_which_no_object_is_left_writes_empty_pictures(
    frames: np.ndarray, tmp_path: Path
) -> None:
    model = load_model(predictor("nano", True))
    run(frames, PROMPTS, output=tmp_path / "old", model=model, write=[], stop=3)
    with Project.open(tmp_path / "old", writable=True) as project:
        tracker = Tracker(model, ArraySource(frames), history=project)
        tracker.remove(1), tracker.remove(2)
    out, source = tmp_path / "new", ArraySource(frames)
    with mock.patch.object(ArraySource, "close") as closed:
        assert not replay(tmp_path / "old", output=out, source=source, model=model).warnings
    assert not closed.called  # who opened it closes it
    assert {read_label_png(path).max() for path in (out / "masks").iterdir()} == {0}


def test_a_replay_without_a_step_differs(worked: Path, frames: np.ndarray, tmp_path: Path) -> None:
    """So that the test above is known to see a step that is left out."""
    from sam2track.tracking.actions import repeat

    model = load_model(predictor("nano", True))
    with Project.open(worked / "project.s2t") as project:
        journal = project.journal()
    edit = next(step["step"] for step in journal if step["action"] == "edit")
    path = tmp_path / "p.s2t"
    with Project.create(path, meta=dict(project.meta), times=np.arange(12.0)) as new:
        tracker = Tracker(model, ArraySource(frames), history=new)
        for _ in repeat(tracker, [step for step in journal if step["step"] < edit]):
            pass
        assert tracker.result(5).sources == ("forward", "forward")
    assert everything(path) != everything(worked / "project.s2t")


def test_what_cannot_be_replayed(worked: Path, frames: np.ndarray, tmp_path: Path) -> None:
    model = load_model(predictor("nano", True))
    before = (worked / "project.s2t").read_bytes()
    with pytest.raises(ProjectError, match="other pictures"):
        replay(worked, output=tmp_path / "a", source=frames[::-1], model=model)
    with pytest.raises(ProjectError, match="weights"):
        replay(worked, output=tmp_path / "a", source=frames, model=predictor("nano", True, 5.0))
    with pytest.raises(UsageError, match="its own replay"):
        replay(worked, output=worked, source=frames, model=model, overwrite=True)
    with pytest.raises(ProjectError, match="no project at"):
        replay(tmp_path / "none.s2t", output=tmp_path / "a", source=frames, model=model)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "project.s2t").write_bytes(b"something")
    with pytest.raises(ProjectExistsError):
        replay(worked, output=tmp_path / "b", source=frames, model=model)
    assert (worked / "project.s2t").read_bytes() == before
    assert not (tmp_path / "a" / "project.s2t").exists()


def test_info(worked: Path) -> None:
    runner = CliRunner()
    shown = runner.invoke(main, ["info", str(worked)])
    assert shown.exit_code == 0, shown.output
    for word in ("'cell'", "daughter of 2 since 10", "12 frames of 128 x 128", "divide"):
        assert word in shown.output
    listed = runner.invoke(main, ["info", str(worked / "project.s2t"), "--journal"])
    assert len(listed.output.splitlines()) > len(shown.output.splitlines())
    told = json.loads(runner.invoke(main, ["info", str(worked), "--json"]).output)
    assert told["frames"] == 12 and told["results"] > 12 and told["bytes_per_result"]["mask"] > 0
    assert told["state_bytes"] > 0 and told["replaced_results"] > 0
    assert [row["id"] for row in told["objects"]] == [1, 2, 3, 4]
    assert any(step.get("undone") for step in told["journal"])


def test_info_of_what_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "p.s2t").write_bytes(b"text")
    for path in (tmp_path / "p.s2t", tmp_path, tmp_path / "none"):
        shown = CliRunner().invoke(main, ["info", str(path)])
        assert shown.exit_code == 1
        assert len(shown.stderr.splitlines()) == 1


def test_replay_on_the_command_line(tmp_path: Path) -> None:
    """With a model that goes by its name: nano, on a clip of a few small frames."""
    from PIL import Image

    (tmp_path / "clip").mkdir()
    for index, frame in enumerate(clip(40)[:4]):
        Image.fromarray(frame).save(tmp_path / "clip" / f"{index}.png")
    runner = CliRunner()
    first = ["track", str(tmp_path / "clip"), "-o", str(tmp_path / "a"), "--model", "nano"]
    done = runner.invoke(main, [*first, "--box", "1:30,30,70,80@1", "--write", "table"])
    assert done.exit_code == 0, done.output
    again = ["replay", str(tmp_path / "a"), "-o", str(tmp_path / "b"), "--write", "table"]
    done = runner.invoke(main, [*again, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["frames_computed"] == 4
    table = (tmp_path / "a" / "tracks.csv").read_text()
    assert (tmp_path / "b" / "tracks.csv").read_text() == table and table.count("\n") == 5
    refused = runner.invoke(main, again)
    assert refused.exit_code == 2 and "--overwrite" in refused.stderr
    (tmp_path / "b" / "tracks.csv").unlink()
    done = runner.invoke(main, [*again, "--overwrite"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "b" / "tracks.csv").read_text() == table
    (tmp_path / "clip").rename(tmp_path / "moved")
    refused = runner.invoke(main, [*again, "--overwrite"])
    assert refused.exit_code == 1 and "say where the pictures are (--source)" in refused.stderr


def test_journals_that_say_too_little(worked: Path, frames: np.ndarray, tmp_path: Path) -> None:
    model = load_model(predictor("nano", True))
    for number, (statement, said) in enumerate(
        (
            ("DELETE FROM journal", "has no journal"),
            ("UPDATE journal SET action = '{}' WHERE kind = 'propagate'", "journal is damaged"),
        )
    ):
        path = tmp_path / f"{number}.s2t"
        shutil.copy(worked / "project.s2t", path)
        with closing(sqlite3.connect(path)) as db:
            db.execute(statement)
            db.commit()
        with pytest.raises(ProjectError, match=said):
            replay(path, output=tmp_path / f"{number}", source=frames, model=model)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM all_prompts WHERE object = 1")
        db.commit()
    with (
        Project.open(path, writable=True) as project,
        pytest.raises(ProjectError, match="nothing is said of object 1 on any frame"),
    ):
        Tracker(model, ArraySource(frames), history=project)
