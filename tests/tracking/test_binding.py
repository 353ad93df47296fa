"""A tracker goes on with a project of the same pictures and model alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sam2track import Tracker
from sam2track.errors import ProjectError, UsageError
from sam2track.founding import open_project, project_meta
from sam2track.frames.array import ArraySource
from sam2track.frames.opening import open_source
from sam2track.models.loading import load_model
from sam2track.project import Project
from sam2track.prompts import Prompt
from sam2track.tracking.actions import repeat

FRAMES = 8


def pictures(count: int = FRAMES, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    clip = np.random.default_rng(seed).integers(0, 60, (count, height, width, 3)).astype(np.uint8)
    for frame in range(count):
        clip[frame][(columns - 16 - 2 * frame) ** 2 + (rows - 16) ** 2 < 64] = 220
    return clip


def model(image_size: int = 64) -> Any:
    return load_model("nano", device="cpu", image_size=image_size)


def made(path: Path) -> Project:
    source = ArraySource(pictures())
    return Project.create(path, meta=project_meta(source, model()), times=source.times)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda p: Tracker(model(), pictures(seed=1), history=p), "made from other pictures"),
        (lambda p: Tracker(model(), pictures(height=40), history=p), "made with height 48, now"),
        (lambda p: Tracker(model(), pictures(12), history=p), "made with frames 8, now it is 12"),
        (lambda p: Tracker(model(128), pictures(), history=p), "made with image_size 64, now"),
    ],
)
def test_another_source_or_model_is_refused(
    tmp_path: Path, other: Callable[[Project], Tracker], message: str
) -> None:
    with made(tmp_path / "p.s2t") as project:
        tracker = Tracker(model(), pictures(), history=project)
        tracker.prompt(1, 0, box=(7, 7, 24, 24))
        list(tracker.propagate())
        journal = project.journal()
        with pytest.raises(ProjectError, match=message):
            other(project)
        assert project.journal() == journal
        tracker.prompt(1, 4, points=[(24, 16)])  # goes on with the one that it served


def test_a_stack_does_not_go_on_where_a_video_was(tmp_path: Path) -> None:
    for frame, picture in enumerate(pictures()):
        cv2.imwrite(str(tmp_path / f"{frame}.png"), picture)
    images = open_source(tmp_path)
    meta = project_meta(images, model())
    path = tmp_path / "p.s2t"
    with Project.create(path, meta=meta, times=images.times) as project:
        Tracker(model(), images, history=project).prompt(1, 0, box=(7, 7, 24, 24))
    wrong = "made from a video or images, now it is a stack with axes TYXS; give what it was"
    with pytest.raises(ProjectError, match=wrong):
        open_project(path, ArraySource(pictures()), model())


def test_a_project_for_reading_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "p.s2t").close()
    with (
        Project.open(tmp_path / "p.s2t") as project,
        pytest.raises(ProjectError, match="writable=True"),
    ):
        Tracker(model(), pictures(), history=project)


def test_a_run_that_is_open_when_its_project_is_closed_is_kept(tmp_path: Path) -> None:
    project = made(tmp_path / "p.s2t")
    tracker = Tracker(model(), pictures(), history=project)
    tracker.prompt(1, 0, box=(7, 7, 24, 24))
    run = tracker.propagate()
    for _ in range(5):
        next(run)
    project.close()
    with pytest.raises(UsageError, match="was closed"):
        next(run)
    with Project.open(tmp_path / "p.s2t", writable=True) as project:
        assert project.frames == (0, 1, 2, 3, 4)
        assert project.journal()[-1]["done"] == 5
        masks = [project.masks(frame)[1] for frame in project.frames]
        with made(tmp_path / "again.s2t") as again:
            for _ in repeat(Tracker(model(), pictures(), history=again), project.journal()):
                pass
            assert again.frames == project.frames
            for frame, mask in enumerate(masks):
                assert np.array_equal(again.masks(frame)[1], mask)
        tracker = Tracker(model(), pictures(), history=project)
        assert [r.frame for r in tracker.propagate()] == [5, 6, 7]


def of_a_stream(path: Path, height: int = 48, width: int = 64) -> Project:
    return Project.create(path, meta={"height": height, "width": width, "frames": 0}, times=[])


def test_prompts_that_waited_are_taken_back_and_put_back_as_they_were_said(tmp_path: Path) -> None:
    def said(project: Project) -> list[Any]:
        return [(i, frame, prompt.box) for i, frame, prompt in project.prompts]

    with made(tmp_path / "p.s2t") as project:
        steps = []
        for object_id, left in ((1, 7), (1, 30), (2, 40), (3, 50)):
            project.add_prompt(object_id, 0, Prompt(box=(left, 7, left + 12, 24)))
            steps.append(said(project))
        tracker = Tracker(model(), pictures(), history=project)
        list(tracker.propagate())
        tracker.undo()
        assert said(project) == steps[-1]
        for turn, expected in [
            *((tracker.undo, step) for step in steps[-2::-1]),
            *((tracker.redo, step) for step in steps[1:]),
        ]:
            turn()
            assert said(project) == expected
            assert tracker.result(0).object_ids == tuple(i for i, *_ in expected)
            project.check()


def test_a_prompt_that_waited_and_was_taken_back_is_not_in_force(tmp_path: Path) -> None:
    with made(tmp_path / "p.s2t") as project:
        for frame in (0, 3):
            project.add_prompt(1, frame, Prompt(box=(7, 7, 19, 24)))
        project.undo()
        tracker = Tracker(model(), pictures(), history=project)
        assert tracker.prompted(1) == (0,)
        tracker.redo()
        assert tracker.prompted(1) == (0, 3)


def test_the_answer_of_a_prompt_that_waited_takes_the_place_of_what_was_tracked(
    tmp_path: Path,
) -> None:
    with made(tmp_path / "p.s2t") as project:
        tracker = Tracker(model(), pictures(), history=project)
        tracker.prompt(1, 0, box=(7, 7, 24, 24))
        for _ in range(2):
            list(tracker.propagate(0))
        project.add_prompt(1, 4, Prompt(box=(15, 7, 32, 24)))
        list(tracker.propagate(0))  # of a tracker that does not know of it
        tracker = Tracker(model(), pictures(), history=project)
        found = []
        for _ in range(5):
            found.append([row.source for row in project.rows(4, 5)])
            tracker.undo()
        assert found == [["prompted"], ["prompted"], ["forward"], ["forward"], []]


@pytest.mark.parametrize("run", [False, True])
def test_the_journal_answers_prompts_that_waited_as_they_were_answered(
    run: bool, tmp_path: Path
) -> None:
    """On what was tracked, out of order, and where one or its neighbour was said anew meanwhile."""
    click = Prompt(points=((30, 16),))
    with made(tmp_path / "p.s2t") as project, made(tmp_path / "q.s2t") as other:
        tracker = Tracker(model(), pictures(), history=project)
        tracker.prompt(1, 0, box=(7, 7, 24, 24))
        tracker.prompt(1, 6, box=(20, 7, 36, 24))
        if run:
            list(tracker.propagate())
        for frame, prompt in [
            (4, click),
            (2, Prompt(points=((20, 16), (40, 30)), labels=(1, 0))),
            (6, click),
            (4, Prompt(box=(15, 7, 32, 24))),
            (0, click),
        ]:
            project.add_prompt(1, frame, prompt)
        tracker = Tracker(model(), pictures(), history=project)
        found = [tracker.result(frame) for frame in range(FRAMES)]
        again = Tracker(model(), pictures(), history=other)
        for _ in repeat(again, project.journal()):
            pass
        for frame in (0, 2, 4, 6):
            assert np.array_equal(again.result(frame).logits, found[frame].logits)
        for _ in range(5):
            tracker.undo()
        for _ in range(5):
            tracker.redo()
        for frame in (0, 2, 4, 6):
            assert np.array_equal(tracker.result(frame).logits, found[frame].logits)


@pytest.mark.parametrize("said", [(6, 0, 4), (6, 0, 4, 6), (0, 4, 6, 4)])
def test_a_tracker_that_opens_a_project_goes_on_with_the_same_digits(
    said: tuple[int, ...], tmp_path: Path
) -> None:
    """The order of sums is that of what was said, there, too."""
    with made(tmp_path / "p.s2t") as project, made(tmp_path / "q.s2t") as other:
        trackers = [Tracker(model(), pictures(), history=h) for h in (project, other)]
        for number, frame in enumerate(said):
            for tracker in trackers:
                left = 7 + 2 * frame + number
                tracker.prompt(1, frame, box=(left, 7, left + 16, 24))
        trackers[0] = Tracker(model(), pictures(), history=project)
        found = [[r.logits for r in tracker.propagate()] for tracker in trackers]
        assert all(np.array_equal(one, two) for one, two in zip(*found, strict=True))


def test_prompts_that_waited_are_read_once_where_nothing_was_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else opening a project with one on each of thousands of frames would take their square."""
    read, anchors = [], Project.anchors
    monkeypatch.setattr(
        Project, "anchors", lambda *given: (read.append(given[1]), anchors(*given))[1]
    )
    with made(tmp_path / "p.s2t") as project:
        for frame in range(FRAMES):
            project.add_prompt(1, frame, Prompt(box=(7, 7, 24, 24)))
        tracker = Tracker(model(), pictures(), history=project)
        assert tracker.prompted(1) == tuple(range(FRAMES)) and read == [1]


def test_the_journal_takes_back_a_run_that_was_killed_at_its_beginning(tmp_path: Path) -> None:
    """Of its frames none is known; the step before it must not go in its place."""
    with made(tmp_path / "p.s2t") as project:
        tracker = Tracker(model(), pictures(), history=project)
        for object_id in (1, 2):
            tracker.prompt(object_id, 0, box=(7, 7, 24, 24))
        run = tracker.propagate()
        next(run)
        (tmp_path / "killed").mkdir()
        for path in tmp_path.glob("p.s2t*"):
            shutil.copy(path, tmp_path / "killed")
    with (
        Project.open(tmp_path / "killed/p.s2t", writable=True) as project,
        made(tmp_path / "q.s2t") as other,
    ):
        tracker = Tracker(model(), pictures(), history=project)
        undone = tracker.undo()
        assert undone is not None and undone["action"] == "propagate"
        again = Tracker(model(), pictures(), history=other)
        for _ in repeat(again, project.journal()):
            pass
        assert again.object_ids == tracker.object_ids == (1, 2)
        tracker.redo()
        tracker.undo()
        tracker.undo()
        assert tracker.object_ids == (1,)


def test_what_tracking_gave_is_there_again_once_a_prompt_that_waited_is_cleared(
    tmp_path: Path,
) -> None:
    with made(tmp_path / "p.s2t") as project:
        tracker = Tracker(model(), pictures(), history=project)
        tracker.prompt(1, 0, box=(7, 7, 24, 24))
        list(tracker.propagate())
        before = tracker.result(4).logits
        for left in (15, 17):
            project.add_prompt(1, 4, Prompt(box=(left, 7, 32, 24)))
        tracker = Tracker(model(), pictures(), history=project)
        tracker.clear(1, 4)
        assert tracker.result(4).sources == ("forward",)
        assert np.array_equal(tracker.result(4).logits, before)


def test_a_stream_may_be_kept_in_a_project(tmp_path: Path) -> None:
    path = tmp_path / "p.s2t"
    with of_a_stream(path) as project:
        tracker = Tracker(model(), history=project)
        for picture in pictures():
            result = tracker.update(picture)
            if result.frame == 0:
                tracker.prompt(1, 0, box=(7, 7, 24, 24))
        masks = [tracker.result(frame).masks[0] for frame in range(FRAMES)]
    with Project.open(path) as project:
        assert project.meta["frames"] == FRAMES
        assert np.allclose(project.times, np.arange(FRAMES) / 25)
        assert [row.frame for row in project.rows()] == list(project.frames) == list(range(FRAMES))
        for frame, mask in enumerate(masks):
            assert np.array_equal(project.masks(frame)[1], mask)


def test_times_of_a_stream_may_be_told_before_its_frames(tmp_path: Path) -> None:
    with of_a_stream(tmp_path / "p.s2t") as project:
        tracker = Tracker(model(), history=project)
        for frame, picture in enumerate(pictures(4)):
            if frame < 3:
                project.add_frame(frame, 10.0 * frame)
            tracker.update(picture)
        assert project.times.tolist() == [0, 10, 20, 20.04]


def test_a_stream_goes_on_after_a_transaction_that_failed(tmp_path: Path) -> None:
    with of_a_stream(tmp_path / "p.s2t") as project:
        tracker = Tracker(model(), history=project)
        clip = pictures(4)
        tracker.update(clip[0])
        with pytest.raises(KeyboardInterrupt), project.transaction():
            tracker.update(clip[1])
            project.set_meta(note="gone")
            raise KeyboardInterrupt
        assert "note" not in project.meta
        assert project.meta["frames"] == len(project.times) == 1
        assert [tracker.update(picture).frame for picture in clip[2:]] == [2, 3]
        assert project.meta["frames"] == len(project.times) == 4
    Project.open(tmp_path / "p.s2t").close()


def test_a_stream_that_does_not_fit_a_project_is_refused(tmp_path: Path) -> None:
    with of_a_stream(tmp_path / "p.s2t") as project:
        tracker = Tracker(model(), history=project)
        with pytest.raises(
            ProjectError, match="frames of 64 x 48 pixels, the stream's have 64 x 40"
        ):
            tracker.update(pictures(1, height=40)[0])
        assert tracker.update(pictures(1)[0]).frame == 0  # what was refused was not counted
        tracker.prompt(1, 0, box=(7, 7, 24, 24))
        with pytest.raises(
            UsageError, match="holds objects already, and a stream begins with none"
        ):
            Tracker(model(), history=project)
        assert tracker.update(pictures(2)[1]).frame == 1  # goes on with the one that it served


@pytest.mark.parametrize("kept", [True, False])
def test_a_stream_that_is_closed_takes_no_frame(tmp_path: Path, kept: bool) -> None:
    project = of_a_stream(tmp_path / "p.s2t")
    tracker = Tracker(model(), history=project if kept else None)
    tracker.update(pictures(1)[0])
    (project if kept else tracker).close()
    with pytest.raises(UsageError, match="was closed"):
        tracker.update(pictures(1)[0])
    project.close()


def test_what_a_closed_tracker_held_is_told_as_gone() -> None:
    tracker = Tracker(model(), pictures())
    tracker.prompt(1, 0, box=(7, 7, 24, 24))
    tracker.close()
    with pytest.raises(ProjectError, match="this tracker is closed, and what it held is gone"):
        tracker.result(0)


@pytest.mark.parametrize("end", ["tracker", "project", "another"])
def test_a_run_does_not_end_as_if_it_were_done(tmp_path: Path, end: str) -> None:
    with made(tmp_path / "p.s2t") as project:
        tracker = Tracker(model(), pictures(), history=project)
        tracker.prompt(1, 0, box=(7, 7, 24, 24))
        run = tracker.propagate()
        assert [next(run).frame, next(run).frame] == [0, 1]
        if end == "another":
            other = Tracker(model(), pictures(), history=project)
            assert [result.frame for result in other.propagate()] == list(range(2, FRAMES))
        else:
            (tracker if end == "tracker" else project).close()
        with pytest.raises(UsageError, match="was closed, or the history is used by another"):
            next(run)


def test_a_run_that_is_done_may_be_closed_before_it_is_left() -> None:
    tracker = Tracker(model(), pictures())
    tracker.prompt(1, 0, box=(7, 7, 24, 24))
    frames = []
    for result in tracker.propagate():
        frames.append(result.frame)
        if result.frame == FRAMES - 1:
            tracker.close()
    assert frames == list(range(FRAMES))
