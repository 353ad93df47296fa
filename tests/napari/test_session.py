"""What a person does, without a viewer: the session, its view, and the worker that drives it."""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from napari_sam2track.session import Session
from napari_sam2track.view import Said, View
from napari_sam2track.worker import Event, Worker
from sam2track import masks
from sam2track.confidence import at_most, confidences
from sam2track.errors import OutputError, PromptError, UsageError
from sam2track.export.pngs import read_label_png
from sam2track.frames.opening import open_source
from sam2track.models.model import Model
from sam2track.project import Project
from sam2track.review import worst
from sam2track.table import TrackRow
from sam2track.tracking.book import Book
from sam2track.tracking.ledger import Ledger
from tests.napari.conftest import FRAMES, HEIGHT, WIDTH, centre, overlap, true


def click(which: int, frame: int) -> Said:
    return Said((centre(which, frame),), (1,))


def test_no_viewer_is_needed() -> None:
    program = (
        "import napari_sam2track.session, napari_sam2track.worker, napari_sam2track.opening, "
        "napari_sam2track.arrays, sys, json; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"napari", "qtpy", "PySide6", "PyQt6", "pandas"}


def test_click_track_correct_undo(session: Session) -> None:
    session.say(1, 0, click(0, 0))
    session.say(2, 0, click(1, 0))
    view = View(session.path)
    view.refresh(session.sure())
    assert overlap(view.labels(0) == 1, true(0, 0)) > 0.8
    assert session.frames_to_run("both") == FRAMES
    assert len(list(session.track())) == FRAMES
    assert overlap(view.labels(5) == 2, true(1, 5)) > 0.8
    assert [row.state for row in view.rows()] == ["tracked", "tracked"]

    before = view.labels(4)
    assert session.paint({4: (before, np.where(before == 1, np.roll(before, 3, 1), before))}) == {
        4: [1]
    }
    view.refresh(session.sure())
    assert [row.state for row in view.rows()] == ["to track", "tracked"]
    # Only what was corrected is run, from there on.
    results = list(session.track())
    assert {(r.object_ids) for r in results} == {(1,)}
    assert min(r.frame for r in results) >= 4
    painted = view.labels(4) == 1
    session.tracker.undo()
    session.tracker.undo()
    view.refresh()
    assert view.prompted(1) == [0]
    session.tracker.redo()
    assert np.array_equal(view.labels(4) == 1, painted)
    view.close()


def test_clicks_and_runs_have_all_threads(session: Session) -> None:
    """Else features that a click made would not be those of a run, to the last digit."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        session.say(1, 0, click(0, 0))
        assert {torch.get_num_threads() for _ in session.track()} == {3}
    finally:
        torch.set_num_threads(before)
    with Project.open(session.path) as project:
        assert [step["threads"] for step in project.journal()] == [3, 3]


def test_saying_nothing_takes_back_and_paint_is_refined(session: Session) -> None:
    session.say(1, 0, click(0, 0))
    assert session.say(1, 0, Said()) is None
    assert session.tracker.object_ids == ()
    assert session.say(1, 0, Said()) is None
    after = np.where(true(0, 0), 1, 0)
    assert session.paint({0: (np.zeros_like(after), after)}) == {0: [1]}
    session.say(1, 0, click(0, 0))
    prompt = session.prompt_on(1, 0)
    assert prompt is not None and prompt.mask is not None and len(prompt.points) == 1
    session.say(1, 0, Said())  # the click goes, the paint stays
    prompt = session.prompt_on(1, 0)
    assert prompt is not None and prompt.is_mask_alone
    session.forget(1, 0)
    assert session.tracker.object_ids == ()


def test_painting_over_a_locked_object_changes_nothing(session: Session) -> None:
    session.say(1, 0, click(0, 0))
    session.say(2, 0, click(1, 0))
    session.tracker.lock(1)
    before = session.project.labels(0)
    steps = session.project.position
    with pytest.raises(PromptError, match="unlock"):
        session.paint({0: (before, np.full((HEIGHT, WIDTH), 2))})
    assert session.project.position == steps


def test_division_and_tracks(session: Session) -> None:
    session.say(1, 0, click(0, 0))
    list(session.track("forward"))
    with pytest.raises(PromptError, match="daughters"):
        session.divide(1, 4, session.born_on(4))
    session.say(2, 4, click(0, 4))
    session.say(3, 4, click(1, 4))
    assert session.divide(1, 4, session.born_on(4)) == (2, 3)
    list(session.track("forward"))
    *waits, tracks = session.tracks()
    assert tracks is not None and not any(waits)
    assert tracks.graph == {2: [1], 3: [1]}
    assert max(tracks.data[tracks.data[:, 0] == 1][:, 1]) == 3
    assert set(tracks.features) == {"area", "score", "confidence", "speed"}
    assert len(tracks.features["speed"]) == len(tracks.data)


def test_what_keeps_a_mother_from_dividing_is_told_before_daughters_are_asked_for(
    session: Session,
) -> None:
    session.say(1, 0, click(0, 0))
    with pytest.raises(PromptError, match="click the daughters of object 1 on frame 4 first"):
        session.divide(1, 4, session.born_on(4))
    session.tracker.lock(1)
    with pytest.raises(PromptError, match=r"object 1 is locked.*unlock it first"):
        session.divide(1, 4, session.born_on(4))
    with pytest.raises(PromptError, match=r"there is no object 2.*prompt it first"):
        session.divide(2, 4, session.born_on(4))


def test_least_sure_frames(session: Session) -> None:
    session.say(1, 0, click(0, 0))
    list(session.track())
    view = View(session.path)
    view.refresh(session.sure())
    sure = view.confidence(1)
    assert sure[0] == 1.0 and len(sure) == FRAMES
    worst = view.least_sure(1)
    assert worst == min(sure, key=lambda f: sure[f])
    following = view.least_sure(1, after=worst)
    assert following is not None and sure[following] > sure[worst]
    still = {f: (0.5 if f in (2, 4, 5) else 0.9, "forward") for f in range(7)}
    view.refresh({1: {**still, 3: (0.1, "edited")}})  # where nothing moves, frames are alike
    order = [view.least_sure(1)]
    while order[-1] is not None:
        order.append(view.least_sure(1, after=order[-1]))
    assert order == [2, 4, 5, 0, 1, 6, None]
    assert view.least_sure(1, after=3) is None  # that is right, so no other is less sure
    assert view.least_sure(1, after=8) == 2  # nothing is there
    view.refresh({1: {0: (0.5, "prompted"), 1: (1.0, "forward")}})  # sure that it is not there
    assert view.least_sure(1) == 1
    view.close()


def test_the_least_sure_frame_follows_what_comes(session: Session) -> None:
    view, rng = View(session.path), np.random.default_rng(0)
    known: dict[int, float] = {}
    mask = np.ones((1, 2, 2), bool)
    for _ in range(300):
        frame, score = int(rng.integers(12)), float(rng.integers(-4, 4))
        how = "edited" if rng.random() < 0.2 else "forward"
        result = SimpleNamespace(
            frame=frame,
            object_ids=(1,),
            sources=(how,),
            mask=lambda _: mask[0],
            object_scores=np.array([score]),
            ious=np.array([0.5]),
        )
        view.saw(result)  # type: ignore[arg-type]
        known.pop(frame, None)
        if how == "forward":
            known[frame] = at_most(score, 0.5, there=True)
        lowest = min(((value, f) for f, value in known.items()), default=(None, None))
        assert view.least_sure(1) == lowest[1]
    view.refresh({1: {5: (0.25, "forward")}})
    assert view.least_sure(1) == 5
    view.close()


def test_painted_masks_are_not_read_to_show_clicks(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds of them the viewer stood still after each click, and kept them in memory."""
    session.say(1, 0, click(0, 0))
    session.tracker.edit(1, 3, true(0, 3))
    session.say(2, 2, click(1, 2))
    session.tracker.prompt(2, 4, mask=true(1, 4))
    refused = property(lambda _: pytest.fail("masks are read"))
    monkeypatch.setattr(Project, "prompts", refused)
    monkeypatch.setattr(Project, "each_prompt", refused)
    view = View(session.path)
    session.tracker.edit(1, 5, true(0, 5))
    parsed: list[str] = []
    made = Project._prompt
    monkeypatch.setattr(Project, "_prompt", lambda *given: parsed.append(given[3]) or made(*given))
    assert view.said() == {(1, 0): click(0, 0), (2, 2): click(1, 2)}
    assert len(parsed) == 4 == len(set(parsed))  # two clicks, masks and edits
    session.tracker.clear(1, 5)
    view.refresh()
    assert (view.prompted(1), view.prompted(2)) == ([0, 3], [2, 4])
    session.say(2, 4, click(1, 4))  # refines the mask that is there
    prompt = session.prompt_on(2, 4)
    assert prompt is not None and prompt.mask is not None
    view.refresh()
    assert view.said()[2, 4] == click(1, 4)
    view.close()


def test_a_click_makes_no_masks_of_other_objects(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of hundreds of cells on a large frame they are gigabytes."""
    for other in range(2, 8):
        session.say(other, 0, click(1, 0))
    view = View(session.path)
    list(session.track())
    session.tracker.edit(2, 3, true(1, 3))
    decoded: list[bytes] = []
    keep = masks.decode
    monkeypatch.setattr(masks, "decode", lambda code: decoded.append(code) or keep(code))
    made = session.say(1, 3, click(0, 3))
    assert made is not None
    view.saw(made, fixed=True)
    assert decoded == [] and "masks" not in made.__dict__
    assert view.confidence(1)[3] == view.confidence(2)[3] == 1.0
    session.tracker.confirm(3, 3)
    assert len(decoded) == 1
    assert set(made.given) >= {3, 4, 5} and 99 not in made.given
    assert np.array_equal(made.given[4], session.project.masks(3)[4])
    view.close()


def test_the_viewer_is_as_sure_as_tables_and_reviews(session: Session) -> None:
    """Once masks were read; what was fixed is passed over."""
    session.say(1, 0, click(0, 0))
    session.say(2, 0, click(1, 0))
    view = View(session.path)
    for result in session.track():
        view.saw(result)
    at_once = {i: view.confidence(i) for i in (1, 2)}
    *_, tracks = session.tracks()
    assert tracks is not None
    view.refresh(tracks.sure)
    with Project.open(session.path) as project:
        wanted = confidences(project)
        looks = [look for look in worst(project, count=99, gap=1) if look.frame]
    for i, known in wanted.items():
        sure = dict(zip(known.frames.tolist(), known.values.tolist(), strict=True))
        assert view.confidence(i) == {**sure, 0: 1.0}
        assert all(at_once[i][frame] >= value - 1e-6 for frame, value in sure.items() if frame)
        assert view.least_sure(i) == next(x.frame for x in looks if x.object_id == i)
    places = tracks.data[:, :2].astype(int).tolist()
    told = tracks.features["confidence"].tolist()
    assert told == [wanted[i].at(frame)[0] for i, frame in places]
    before = view.confidence(2)
    view.saw(session.tracker.prompt(1, 5, points=[centre(0, 5)]), fixed=True)
    assert view.confidence(1)[5] == 1.0 and view.confidence(2) == before
    view.close()


def test_masks_are_read_anew_of_frames_that_changed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.say(1, 0, click(0, 0))
    list(session.track())
    list(session.tracks())
    read: list[int] = []
    whole = session.project.observations

    def observations(frames: Any = None) -> Any:
        read.extend(frames)
        return whole(frames)

    monkeypatch.setattr(session.project, "observations", observations)
    session.paint({5: (session.project.labels(5), np.zeros((HEIGHT, WIDTH), np.int32))})
    list(session.tracks())
    assert read == [5]


def test_of_all_rows_those_of_a_frame_are_held(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For tens of thousands Python's collector went through all there is, and the viewer stood."""
    for one in range(1, 4):
        session.say(one, 0, click(0, 0))
    list(session.track())
    held, rows = [], session.project.rows

    def counted() -> Iterator[TrackRow]:
        for row in rows():
            held.append(sum(isinstance(one, TrackRow) for one in gc.get_objects()))
            yield row

    monkeypatch.setattr(session.project, "rows", counted)
    assert session.sure().keys() == {1, 2, 3}
    *_, tracks = session.tracks()
    assert tracks is not None and len(tracks.data) == 3 * FRAMES
    assert len(held) == 2 * 3 * FRAMES and max(held) <= 4 * 3 < 3 * FRAMES


def test_something_else_is_done_between_hundreds_of_masks(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A click waited for those of sixteen frames, however many there are on each."""
    for one in range(1, 5):
        session.say(one, 0, click(0, 0))
    list(session.track())
    monkeypatch.setattr("napari_sam2track.session._AT_ONCE", 4)
    read, rows = [], session.project.rows
    monkeypatch.setattr(session.project, "rows", lambda: read.append(0) or rows())
    *waits, last = session.tracks()
    assert waits == [None] * FRAMES and last is not None
    assert len(read) == 2
    session.tracker.rename(1, "cell")
    assert [one is None for one in session.tracks()] == [False]  # nothing is to be read
    assert len(read) == 3


def test_rows_are_read_once_for_a_change_and_its_tracks(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 500 objects on 50 frames they took 0.2 s a time, while the viewer waited for its turn."""
    session.say(1, 0, click(0, 0))
    list(session.track())
    list(session.tracks())
    read, rows = [], session.project.rows
    monkeypatch.setattr(session.project, "rows", lambda: read.append(0) or rows())
    sure = session.sure()
    (tracks,) = session.tracks()
    assert tracks is not None and tracks.sure == sure and len(read) == 1
    (again,) = session.tracks()  # what was found is held no longer
    assert again is not None and again.sure == sure and len(read) == 2
    session.sure()
    session.tracker.edit(1, 5, true(0, 3))  # elsewhere, after they were read
    *_, tracks = session.tracks()
    assert tracks is not None and tracks.sure[1][5] == (1.0, "edited") and len(read) == 5
    (place,) = tracks.data[tracks.data[:, 1] == 5, 2:]
    assert np.allclose(place, np.argwhere(true(0, 3)).mean(0))
    session.sure()
    session.undo()
    *_, tracks = session.tracks()
    assert tracks is not None and tracks.sure[1][5][1] == "forward"


def test_what_masks_say_stays_known_where_something_was_done_while_they_were_read(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam2track.session._AT_ONCE", 2 * FRAMES - 2)
    for one in (1, 2):
        session.say(one, 0, click(0, 0))
    list(session.track())
    bounds = session.sure()
    tracks = session.tracks()
    assert next(tracks) is None
    session.tracker.lock(2)
    session.sure()
    read = next(tracks)  # the last masks, before the viewer heard of the lock
    *_, after = session.tracks()
    assert read is not None and after is not None and after.sure == read.sure != bounds


def test_a_project_is_gone_on_with_and_an_untouched_one_removed(video, model) -> None:
    path = video.with_suffix(".s2t")
    Session(open_source(video), model, path).close()
    assert not path.exists()
    first = Session(open_source(video), model, path, viewer={"limits": None})
    first.say(3, 2, click(0, 2))
    first.selected = 3
    first.close()
    again = Session(open_source(video), model, path)
    assert again.tracker.object_ids == (3,)
    assert again.project.meta["selected"] == 3
    assert again.project.meta["viewer"] == {"limits": None}
    again.close()


def events(worker_events: list[Event]) -> list[tuple[str, str]]:
    return [(event.kind, event.what) for event in worker_events]


def test_a_worker_is_waited_for_no_longer_than_asked() -> None:
    worker, go = Worker(lambda event: None), threading.Event()
    worker.do("wait", go.wait)
    worker.settle(0.05)
    assert not worker.idle
    threading.Timer(0.1, go.set).start()
    began = time.monotonic()
    worker.settle(30)
    assert worker.idle and time.monotonic() - began < 20
    worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
def test_the_viewer_goes_first() -> None:
    """Also before the threads that compute."""
    worker, found = Worker(lambda event: None), []

    def look() -> None:
        started = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
        started.start()
        started.join()

    worker.do("look", look)
    worker.close()
    assert found == [os.getpriority(os.PRIO_PROCESS, 0) + 3]


def until_idle(worker: Worker) -> None:
    end = time.monotonic() + 20
    while not worker.idle:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_is_asked_comes_between_two_items_of_a_run() -> None:
    seen: list[Event] = []
    worker = Worker(seen.append)
    gate = threading.Event()

    def items():
        yield 1
        gate.wait(10)
        yield 2
        yield 3

    worker.run("run", items)
    while not any(e.kind == "item" for e in seen):
        time.sleep(0.001)
    worker.do("click", lambda: "mask")
    gate.set()
    until_idle(worker)
    worker.close()
    assert events(seen)[1:] == [
        ("item", "run"),
        ("item", "run"),
        ("done", "click"),
        ("item", "run"),
        ("ended", "run"),
    ]


@pytest.mark.parametrize("error", [RuntimeError, TypeError, AttributeError])
def test_a_worker_whose_listener_is_gone_still_closes(error: type[Exception]) -> None:
    """PySide6 and PyQt6 raise errors of these kinds for signals of widgets that are gone."""

    def gone(_: Event) -> None:
        raise error("it is gone")

    worker, done = Worker(gone), []
    worker.do("first", lambda: done.append("first"))
    worker.close(lambda: done.append("last"))
    assert done == ["first", "last"]


def test_a_worker_pauses_cancels_and_survives_errors() -> None:
    seen: list[Event] = []
    worker = Worker(seen.append)
    closed = []

    def endless():
        try:
            while True:
                time.sleep(0.001)
                yield 0
        finally:
            closed.append(True)

    worker.run("run", endless)
    worker.do("bad", lambda: 1 // 0)
    worker.pause()
    time.sleep(0.05)
    count = len(seen)
    time.sleep(0.05)
    assert len(seen) == count
    worker.pause(False)
    time.sleep(0.05)
    assert len(seen) > count
    worker.cancel()
    until_idle(worker)
    assert closed == [True]
    assert ("failed", "bad") in events(seen)
    done: list[int] = []
    worker.close(lambda: done.append(1))
    worker.close()
    assert done == [1]
    assert not any(thread.name == "sam2track" for thread in threading.enumerate())


def test_a_run_that_is_held_waits_after_its_next_item() -> None:
    seen: list[Event] = []
    worker = Worker(seen.append)
    gates = [threading.Event() for _ in range(3)]

    def items():
        for number, gate in enumerate(gates):
            gate.wait(10)
            yield number

    def came(count: int) -> list[tuple[Any, bool]]:
        end = time.monotonic() + 10
        while len(items := [e for e in seen if e.kind == "item"]) < count:
            assert time.monotonic() < end
            time.sleep(0.001)
        return [(event.value, event.held) for event in items]

    worker.run("run", items)
    gates[0].set()
    assert came(1) == [(0, False)]
    worker.hold()
    gates[1].set()
    gates[2].set()
    assert came(2) == [(0, False), (1, True)]
    worker.do("click", lambda: "mask")
    while ("done", "click") not in events(seen):
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(came(2)) == 2 and not worker.idle
    worker.let_go()
    assert came(3)[2:] == [(2, False)]
    until_idle(worker)
    # One that is held can be cancelled; the next one is not held by what held the last.
    worker.run("run", lambda: iter(range(3)))
    worker.hold()
    worker.cancel()
    until_idle(worker)
    before = len([e for e in seen if e.kind == "item"])
    worker.run("run", lambda: iter(range(3)))
    until_idle(worker)
    worker.close()
    assert len([e for e in seen if e.kind == "item"]) == before + 3


def test_holding_at_any_moment_loses_no_item() -> None:
    """Who lets go where an event says that the run waits need not know when it was held."""
    values: list[int] = []
    pauses = itertools.cycle([0.0, 0.0001, 0.0007, 0.002])

    def told(event: Event) -> None:
        if event.kind == "item":
            values.append(event.value)
        if event.held:
            threading.Thread(target=worker.let_go).start()

    worker = Worker(told)
    try:
        worker.run("run", lambda: iter(range(80)))
        end = time.monotonic() + 60
        while not worker.idle:
            assert time.monotonic() < end, f"it stands still after {len(values)} items"
            worker.hold()
            time.sleep(next(pauses))  # else the worker hardly comes to its lock
    finally:
        worker.let_go()
        worker.close()
    assert values == list(range(80))


def test_a_call_is_ended_paused_and_interrupted_as_a_run_is() -> None:
    seen: list[Event] = []
    worker = Worker(seen.append)
    ended: list[bool] = []

    def endless(passed):
        try:
            while True:
                time.sleep(0.001)
                passed(0)
        finally:
            ended.append(True)

    worker.call("call", endless)
    worker.do("click", lambda: "mask")
    while ("done", "click") not in events(seen):
        time.sleep(0.001)
    worker.pause()
    time.sleep(0.05)
    count = len(seen)
    worker.do("click", lambda: "another")  # also while it is held
    time.sleep(0.05)
    assert len(seen) == count + 1 and not worker.idle and not ended
    worker.pause(False)
    time.sleep(0.05)
    assert len(seen) > count + 1
    worker.cancel()
    until_idle(worker)
    assert ended == [True] and ("ended", "call") in events(seen)
    worker.call("short", lambda passed: passed(1))
    worker.call("bad", lambda passed: 1 // 0)
    until_idle(worker)
    assert [e for e in events(seen) if e[1] in ("short", "bad") and e[0] != "done"] == [
        ("item", "short"),
        ("ended", "short"),
        ("failed", "bad"),
    ]
    worker.call("call", endless)
    worker.close()
    assert not any(thread.name == "sam2track" for thread in threading.enumerate())


def test_a_click_while_tracking_keeps_the_masks_of_a_replay(session, video, model, tmp_path):
    """What the worker interleaves is in the journal, and replays to equal masks."""
    from sam2track.replaying import replay

    session.say(1, 0, click(0, 0))
    worker = Worker(lambda event: None)
    worker.run("track", session.track)
    worker.do("say", lambda: session.say(2, 1, click(1, 1)))
    until_idle(worker)
    worker.run("track", session.track)
    until_idle(worker)
    worker.close()
    expected = {t: session.project.labels(t) for t in session.project.frames}
    session.project.close()
    replay(session.path, output=tmp_path / "again", model=model, write=())
    from sam2track import Project

    with Project.open(tmp_path / "again" / "project.s2t") as again:
        assert again.frames == tuple(expected)
        assert all(np.array_equal(again.labels(t), expected[t]) for t in again.frames)


def test_what_comes_after_a_lock_covers_nothing_of_it(session, video, model, tmp_path):
    """Nor in a replay, whose label maps are equal."""
    from sam2track.replaying import replay

    session.say(1, 0, click(0, 0))
    list(session.track("forward"))
    masks = {t: session.project.masks(t)[1] for t in range(FRAMES)}
    session.tracker.lock(1)
    session.tracker.prompt(2, 0, mask=np.ones((HEIGHT, WIDTH), np.bool_))
    list(session.track("forward"))
    view, project = View(session.path), session.project
    assert any((project.masks(t)[2] & masks[t]).sum() > 100 for t in range(1, FRAMES))
    for t, mask in masks.items():
        assert (view.labels(t)[mask] == 1).all()
        assert (session.tracker.result(t).labels[mask] == 1).all()
    expected = {t: view.labels(t) for t in masks}
    (tmp_path / "out").mkdir()
    list(session.export(tmp_path / "out"))
    assert all(
        np.array_equal(read_label_png(tmp_path / "out" / "masks" / f"{t:05d}.png"), labels)
        for t, labels in expected.items()
    )
    session.tracker.lock(1, locked=False)
    assert (view.labels(0) == 2).all()
    session.undo()
    assert all(np.array_equal(view.labels(t), labels) for t, labels in expected.items())
    view.close()
    project.close()
    replay(session.path, output=tmp_path / "again", model=model, write=["masks"])
    with Project.open(tmp_path / "again" / "project.s2t") as again:
        for t, labels in expected.items():
            assert np.array_equal(again.labels(t), labels)
            written = read_label_png(tmp_path / "again" / "masks" / f"{t:05d}.png")
            assert np.array_equal(written, labels)


def test_a_stroke_over_two_objects_is_one_step(session: Session) -> None:
    session.say(1, 0, click(0, 0))
    session.say(2, 0, click(1, 0))
    before = session.project.labels(0)
    after = np.roll(before, 2, 1)
    assert session.paint({0: (before, after)}) == {0: [1, 2]}
    assert np.array_equal(session.project.labels(0), after)
    assert [(a["action"], a["object"]) for a in session.undo()] == [("edit", 1), ("edit", 2)]
    assert np.array_equal(session.project.labels(0), before)
    assert [(a["action"], a["object"]) for a in session.redo()] == [("edit", 1), ("edit", 2)]
    assert np.array_equal(session.project.labels(0), after)
    session.undo()
    (action,) = session.undo()  # the one before is a step of its own
    assert (action["action"], action["object"]) == ("prompt", 2)
    assert set(np.unique(session.project.labels(0))) == {0, 1}
    session.redo()
    session.redo()
    assert np.array_equal(session.project.labels(0), after)
    for _ in range(3):
        session.undo()
    assert session.undo() == []


def test_no_object_that_is_gone_begins_where_it_is_painted_over(session: Session) -> None:
    """It was still shown where it was deleted, or taken back, a moment before."""
    session.say(1, 0, click(0, 0))
    session.say(2, 0, click(1, 0))
    before = session.project.labels(0)
    after = np.where(np.roll(before, 9, 0) == 2, 1, before)
    session.delete([2])
    assert session.paint({0: (before, after)}) == {0: [1]}
    assert session.tracker.object_ids == (1,)
    assert np.array_equal(session.project.labels(0) == 1, after == 1)
    assert session.paint({0: (before, np.where(before == 2, 0, before))}) == {0: []}  # erased
    assert session.paint({0: (np.zeros_like(before), before)}) == {0: [1, 2]}  # painted with it


def test_what_is_said_of_several_at_once_is_one_step_or_none(session: Session) -> None:
    session.say(1, 0, click(0, 0))
    at_once = {(1, 2): click(0, 2), (2, 2): click(1, 2)}
    assert session.say_all(at_once) is None
    assert [session.prompt_on(i, 2) is not None for i in (1, 2)] == [True, True]
    assert [a["object"] for a in session.undo()] == [1, 2]
    assert session.tracker.object_ids == (1,) and session.prompt_on(1, 2) is None
    assert [a["object"] for a in session.redo()] == [1, 2]
    session.say_all({(1, 2): Said(), (2, 2): Said(), (2, 4): Said()})  # of the last nothing was
    assert [a["action"] for a in session.undo()] == ["clear", "clear"]
    assert session.tracker.object_ids == (1, 2)

    session.tracker.lock(2)
    position = session.project.position
    with pytest.raises(PromptError, match="object 2 is locked, and nothing is said"):
        session.say_all({(1, 4): click(0, 4), (2, 4): click(1, 4)})
    assert session.project.position == position and session.prompt_on(1, 4) is None


def test_what_is_said_of_some_reads_no_others(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasting 500 clicks made 500 results of 500 objects, for 13 s."""
    for one in range(1, 6):
        session.say(one, 0, click(one % 2, 0))
    list(session.track())
    before = session.project.labels(4)
    painted = np.where(true(0, 4), 1, before)
    read: set[int] = set()
    get = Ledger.get
    monkeypatch.setattr(Ledger, "get", lambda *given: (read.add(given[1]), get(*given))[1])
    session.say_all({(1, 3): click(0, 3), (2, 3): click(1, 3)})
    assert session.paint({4: (before, painted)}) == {4: [1, 2]}
    session.absent(2, 6)
    session.say(2, 3, Said())
    session.forget(2, 6)
    assert read == {1, 2}


def test_where_one_of_several_fails_none_is_said(session: Session) -> None:
    session.say_all({(1, 0): click(0, 0), (2, 0): click(1, 0)})
    session.tracker.end_at(2, 3)
    before = session.project.labels(5)
    with pytest.raises(PromptError, match="object 2 ends before frame 3"):
        session.say_all({(1, 5): click(0, 5), (2, 5): click(1, 5)})
    assert session.prompt_on(1, 5) is None
    assert np.array_equal(session.project.labels(5), before)
    assert [a["action"] for a in session.undo()] == ["end"]


def test_objects_are_read_once_for_a_step_of_many(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds deleted at once all were read for each: undo took five seconds."""
    for one in range(1, 6):
        session.say(one, 0, click(0, 0))
    session.delete(range(2, 6))
    read, load = [], Book.load
    monkeypatch.setattr(Book, "load", lambda book: (read.append(0), load(book)))
    assert [step["object"] for step in session.undo()] == [2, 3, 4, 5]
    assert session.tracker.object_ids == (1, 2, 3, 4, 5)
    assert [step["object"] for step in session.redo()] == [2, 3, 4, 5]
    assert session.tracker.object_ids == (1,)
    assert len(read) == 2
    session.undo()
    session.tracker._book.objects[4].locked = True  # unlike the project: refused in the middle
    with pytest.raises(PromptError, match="locked"):
        session._strokes.one(session.tracker, map(session.tracker.remove, range(1, 6)))
    assert session.tracker.object_ids == (1, 2, 3, 4, 5)
    assert len(read) == 4
    assert [step["object"] for step in session.undo()] == [5]  # as it was clicked
    assert session.tracker.undo_while(lambda: True)[-1]["object"] == 1
    assert session.undo() == [] and len(read) == 6


def test_what_is_done_at_once_waits_for_the_disk_once(session: Session) -> None:
    """Deleting 500 objects did for each, most of three seconds."""
    for one in range(1, 6):
        session.say(one, 0, click(0, 0))
    ran: list[str] = []
    session.project._db.set_trace_callback(ran.append)
    session.delete(range(1, 6))
    session.project._db.set_trace_callback(None)
    kept = [one for one in ran if one.startswith(("PRAGMA", "COMMIT"))]
    assert kept == ["PRAGMA synchronous = FULL", "COMMIT", "PRAGMA synchronous = NORMAL"]
    assert len(session.undo()) == 5


def test_a_stroke_through_frames_is_one_step_also_tomorrow(session: Session, model: Model) -> None:
    session.say(1, 0, click(0, 0))
    list(session.track("both"))
    before = [session.project.labels(frame) for frame in range(FRAMES)]
    after = {frame: np.roll(before[frame], 3, 0) for frame in (1, 2, 5)}
    painted = {frame: (before[frame], labels) for frame, labels in after.items()}
    assert session.paint(painted) == {1: [1], 2: [1], 5: [1]}
    session.project.close()
    again = Session(session.source, model, session.path)
    assert all(np.array_equal(again.project.labels(f), labels) for f, labels in after.items())
    assert [(a["action"], a["frame"]) for a in again.undo()] == [("edit", f) for f in (1, 2, 5)]
    assert all(np.array_equal(again.project.labels(f), b) for f, b in enumerate(before))
    again.redo()
    assert all(np.array_equal(again.project.labels(f), labels) for f, labels in after.items())
    again.close()


def test_what_rests_waits_and_the_latest_of_a_name_is_done() -> None:
    seen: list[Event] = []
    worker = Worker(seen.append)
    gate = threading.Event()
    worker.do("click", lambda: gate.wait(10))
    worker.rest("tracks", lambda: 1)
    worker.rest("tracks", lambda: 2)
    worker.rest("prepare", lambda: 3)
    gate.set()
    end = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < end:
        time.sleep(0.002)
    gate.clear()
    worker.do("click", lambda: gate.wait(10))
    worker.rest("never", lambda: 4)
    worker.drop_rest()
    gate.set()
    until_idle(worker)
    worker.close()
    told = [(event.what, event.value) for event in seen]
    assert told[3:] == [("click", True)]
    assert told[:3] == [("click", True), ("tracks", 2), ("prepare", 3)]


def test_an_export_that_is_stopped_leaves_nothing(session: Session, tmp_path: Path) -> None:
    session.say(1, 0, click(0, 0))
    list(session.track())
    seen: list[Event] = []
    worker = Worker(seen.append)
    at_work, go_on = threading.Event(), threading.Event()
    out = tmp_path / "out"
    out.mkdir()

    def writing():
        for count, at in enumerate(session.export(out)):
            yield at
            if count == 2:
                at_work.set()
                go_on.wait(10)

    worker.run("export", writing)
    assert at_work.wait(20)
    worker.cancel()
    go_on.set()
    until_idle(worker)
    assert list(out.iterdir()) == []
    worker.run("export", lambda: session.export(out))
    until_idle(worker)
    worker.close()
    assert seen[-2].value.stage == "written"
    names = ["masks", "masks.mp4", "overlay.mp4", "tracks.csv"]
    assert sorted(path.name for path in out.iterdir()) == names
    with pytest.raises(UsageError, match="holds masks already"):
        next(session.export(out))


def test_an_export_is_of_what_was_there_when_it_began(session: Session, tmp_path: Path) -> None:
    session.say(1, 0, click(0, 0))
    list(session.track())
    expected = session.project.labels(FRAMES - 1)
    out = tmp_path / "out"
    out.mkdir()
    writing = session.export(out)
    next(writing)
    session.tracker.remove(1)  # between two frames
    *_, last = writing
    assert (last.stage, last.done) == ("written", FRAMES)
    assert np.array_equal(read_label_png(out / "masks" / f"{FRAMES - 1:05}.png"), expected)
    assert expected.any() and not session.project.labels(FRAMES - 1).any()


def test_a_project_whose_file_is_taken_away_is_written_anew(
    session: Session, model: Model, tmp_path: Path
) -> None:
    """Removed or replaced, in the middle of a run too; nothing of it is lost."""
    path, view = session.path, View(session.path)
    session.say(1, 0, click(0, 0))
    assert session.keep() == ""
    path.unlink()
    running = session.track("forward")
    seen = [next(running).frame for _ in range(3)]
    assert "written anew" in session.keep() and session.path == path
    view.reopen(session.path)
    path.unlink()
    path.write_bytes(b"another's")
    told = session.keep()
    assert "replaced by another file" in told and "disks-2.s2t" in told
    seen += [result.frame for result in running]
    assert sorted(seen) == list(range(FRAMES))  # none is lost, none run twice
    view.close()
    expected = [session.project.labels(frame) for frame in range(FRAMES)]
    assert session.undo() is not None and session.redo() is not None
    session.path.unlink()
    assert "written anew" in session.close()
    assert path.read_bytes() == b"another's"
    again = Session(session.source, model, path.with_name("disks-2.s2t"))
    again.project.check()
    assert all(np.array_equal(again.project.labels(f), e) for f, e in enumerate(expected))
    again.close()
    assert {p.name for p in tmp_path.iterdir()} == {"disks.mp4", "disks.s2t", "disks-2.s2t"}


def test_a_file_in_place_of_an_untouched_project_is_not_removed(session: Session) -> None:
    session.path.unlink()
    session.path.write_bytes(b"another's")
    session.close()
    assert session.path.read_bytes() == b"another's"


def test_where_a_project_cannot_be_written_anew_it_stays_open(session: Session) -> None:
    session.say(1, 0, click(0, 0))
    session.path.unlink()
    place = session.path
    session.path = place.with_name("disks.mp4") / "p.s2t"  # below a file
    with pytest.raises(OutputError, match="cannot write"):
        session.keep()
    session.say(2, 0, click(1, 0))
    session.path = place
    assert session.keep() and session.project.objects == (1, 2)
