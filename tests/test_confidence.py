"""Confidence: the formula by hand, where doubts go, and that they fade."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2track.confidence import (
    EXPONENTS,
    REASONS,
    Signals,
    at_most,
    confidences,
    signals,
    weigh,
)
from sam2track.project import Project
from sam2track.watch import Watch
from tests.made import disk, write_project


def found(path: Path, tracks, **options):
    with Project.open(write_project(path / "p.s2t", tracks, **options)) as project:
        return confidences(project)


def signal(count: int, **changes) -> Signals:
    """Steady signals, with some entries changed: name to (index, value)…."""
    parts = {
        "own": np.full((count, 4), 1, np.float32),
        "area": np.full(count, 100, np.float32),
        "centroid": np.full((count, 2), 50, np.float32),
        "backward": np.zeros(count, bool),
        "anchored": np.arange(count) == 0,
    }
    for name, entries in changes.items():
        for index, value in entries:
            parts[name][index] = value
    return Signals(frames=np.arange(count), **parts)


def test_the_formula_by_hand(tmp_path: Path) -> None:
    one = {0: disk(20, 20, 8), 1: disk(20, 20, 8), 2: disk(22, 20, 8)}
    two = {0: disk(60, 40, 8), 2: disk(34, 20, 8)}
    made = found(
        tmp_path,
        {1: one, 2: two},
        said={(1, 2): (1.5, 0.8)},
        logits=0.5,  # so that nothing is surely in: stability 0
    )
    shared = np.count_nonzero(one[2] & two[2]) / np.count_nonzero(one[2])
    assert 0 < shared < 1
    sure = 1 / (1 + math.exp(-1.5))
    stable = 1e-6**EXPONENTS.stability
    wanted = sure**EXPONENTS.score * 0.8**EXPONENTS.iou * stable
    wanted *= (1 - shared) ** EXPONENTS.overlap
    jump = 2 / math.sqrt(np.count_nonzero(one[0]))
    wanted *= math.exp((0.1 - jump) / 0.3) ** EXPONENTS.jump
    assert made[1].values[2] == pytest.approx(wanted, rel=1e-4)
    assert made[1].at(2) == (pytest.approx(wanted, rel=1e-4), "stability")


def test_a_jump_leaves_a_doubt_that_fades() -> None:
    known = weigh(signal(200, centroid=[(slice(100, None), (80, 50))]))
    values = known.values
    assert (values[:100] == 1).all()
    assert values[100] < 0.3
    assert (np.diff(values[100:]) > 0).all() and values[101] < 0.35
    assert known.at(150)[1] == "jump"
    trust, after = float(values[120]), float(values[121])
    assert after == pytest.approx(trust + 0.005 * (1 - trust), rel=1e-5)


def test_a_doubt_goes_the_way_of_tracking() -> None:
    backward = weigh(
        signal(
            100,
            anchored=[(0, False), (99, True)],
            backward=[(slice(0, 99), True)],
            area=[(slice(0, 40), 10)],
        )
    )
    assert (backward.values[40:] == 1).all()
    assert backward.values[39] < 0.5 and (backward.values[:39] < 0.6).all()
    assert backward.values[0] > backward.values[35]
    assert backward.at(10)[1] == "area"


def test_what_a_person_said_is_trusted_again() -> None:
    known = weigh(signal(30, centroid=[(slice(10, None), (90, 50))], anchored=[(20, True)]))
    assert known.values[19] < 0.5
    assert (known.values[20:] == 1).all()


def test_steady_motion_is_no_jump() -> None:
    path = np.stack((np.arange(40) * 9.0, np.zeros(40)), axis=1)
    known = weigh(signal(40, centroid=[(slice(None), path)]))
    assert (known.values == 1).all()


def test_an_empty_mask_is_as_sure_as_the_score_is_low(tmp_path: Path) -> None:
    nothing = np.zeros_like(disk(0, 0, 1))
    track = {t: disk(20, 20, 8) if t < 2 else nothing for t in range(5)}
    sure = found(tmp_path, {1: track}, said={(1, 2): (-9.0, 0.1), (1, 3): (9.0, 0.1)})
    assert sure[1].values[2] > 0.1 > sure[1].values[3]


def test_edits_are_a_persons(tmp_path: Path) -> None:
    track = {0: disk(20, 20, 8), 1: disk(60, 40, 3)}
    sure = found(tmp_path, {1: track}, said={(1, 1): (-5.0, 0.0)}, origins={(1, 1): "edited"})
    assert sure[1].values[1] == 1


def test_where_a_mask_comes_from(tmp_path: Path) -> None:
    sources = ("backward", "prompted", "forward", "edited")
    track = {t: disk(20, 20, 8) for t in range(4)}
    origins = {(1, t): source for t, source in enumerate(sources)}
    with Project.open(write_project(tmp_path / "p.s2t", {1: track}, origins=origins)) as project:
        known = signals(project)[1]
    assert known.backward.tolist() == [True, False, False, False]
    assert known.anchored.tolist() == [False, True, False, True]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_any_signals_give_numbers_from_0_to_1(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    area = random.integers(0, 400, count) * (random.random(count) < 0.8)
    centroid = random.normal(50, 30, (count, 2))
    centroid[area == 0] = np.nan
    known = weigh(
        Signals(
            np.sort(random.choice(1000, count, replace=False)),
            random.random((count, 4)).astype(np.float32),
            area.astype(np.float32),
            centroid.astype(np.float32),
            random.random(count) < 0.5,
            random.random(count) < 0.1,
        )
    )
    assert ((known.values >= 0) & (known.values <= 1)).all()
    assert (known.reasons < len(REASONS)).all()


def test_of_a_project_that_changes_masks_are_read_of_frames_that_changed(tmp_path: Path) -> None:
    """Until then their masks are taken to be stable and apart from others."""
    one = {t: disk(20 + t, 20, 8) for t in range(6)}
    two = {t: disk(34, 20, 8) for t in range(1, 6)}
    watch = Watch()
    said = {(1, 3): (-1.0, 0.4)}
    both = {0: [1]} | {t: [1, 2] for t in range(1, 6)}
    for name, unseen in (("before", both), ("after", {4: [1, 2]}), ("renamed", {})):
        options = {"logits": 0.5, "said": said, "names": {1: name}}
        with Project.open(write_project(tmp_path / name, {1: one, 2: two}, **options)) as project:
            wanted, most = confidences(project), watch.confidences(project.rows())
            assert watch.unseen == unseen
            for i, known in wanted.items():
                assert (known.values <= most[i].values).all()
                assert np.array_equal(known.values, most[i].values) == (not unseen)
            for frame, found in project.observations(unseen):
                watch.see(frame, found)
            for i, known in watch.confidences(project.rows()).items():
                assert np.array_equal(known.frames, wanted[i].frames)
                assert np.array_equal(known.values, wanted[i].values)
                assert np.array_equal(known.reasons, wanted[i].reasons)
            assert watch.unseen == {}
        one[4] = disk(24, 23, 8)
    assert at_most(1.5, 0.8, there=True) == pytest.approx(0.8 / (1 + math.exp(-1.5)))
    assert at_most(-50, 0.1, there=False) > 0.99 > 0.01 > at_most(-50, 1, there=True)


def test_of_a_frame_masks_are_read_of_what_changed_and_of_what_is_beside_it(tmp_path: Path) -> None:
    """One of 500 objects was deleted, and the masks of all were read on all frames."""
    row = {i: {t: disk(8 * i, 20 + t, 5) for t in range(2)} for i in range(1, 9)}
    gone = {i: track for i, track in row.items() if i != 4}
    down = row | {4: {0: row[4][0], 1: disk(32, 26, 5)}}
    watch = Watch()
    for name, tracks, unseen in (
        ("all", row, {t: [*range(1, 9)] for t in range(2)}),
        ("gone", gone, {t: [2, 3, 5, 6] for t in range(2)}),
        ("back", row, {t: [2, 3, 4, 5, 6] for t in range(2)}),
        ("down", down, {1: [2, 3, 4, 5, 6]}),
    ):
        path = write_project(tmp_path / name, tracks, logits=0.5)
        with Project.open(path) as project:
            watch.confidences(project.rows())
            assert watch.unseen == unseen
            for frame, found in project.observations(watch.unseen):
                assert [one.row.object_id for one in found] == unseen[frame]
                watch.see(frame, found)
            known, whole = watch.confidences(project.rows()), confidences(project)
            assert watch.unseen == {} and known.keys() == whole.keys()
            assert all(np.array_equal(known[i].values, whole[i].values) for i in whole)


def test_objects_that_changed_are_weighed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {i: {t: disk(9 * i, 20 + t, 4) for t in range(3)} for i in range(1, 7)}
    weighed: list[int] = []
    monkeypatch.setattr("sam2track.watch.weigh", lambda one: weighed.append(0) or weigh(one))
    watch = Watch()
    changed = {**row, 3: {**row[3], 2: disk(29, 22, 4)}}
    for name, tracks, count in (("all", row, 6), ("one", changed, 1), ("gone", row, 1)):
        with Project.open(write_project(tmp_path / name, tracks)) as project:
            weighed.clear()
            known = watch.confidences(project.rows())
            assert len(weighed) == count
            assert all(np.array_equal(known[i].frames, range(3)) for i in tracks)
            for i, wanted in Watch().confidences(project.rows()).items():
                assert np.array_equal(known[i].values, wanted.values)


def test_what_changes_while_masks_are_read_is_read_anew(tmp_path: Path) -> None:
    one, two, far = disk(20, 20, 8), disk(30, 20, 8), disk(70, 20, 8)
    watch = Watch()
    with Project.open(write_project(tmp_path / "a", {1: {0: one}, 3: {0: far}})) as project:
        watch.confidences(project.rows())
        assert watch.unseen == {0: [1, 3]}
    tracks = {1: {0: one}, 2: {0: two}, 3: {0: far}}
    with Project.open(write_project(tmp_path / "b", tracks)) as project:
        for frame, found in project.observations({0: [1, 3]}):
            watch.see(frame, found)
        watch.confidences(project.rows())
        assert watch.unseen == {0: [1, 2]}  # the third is alone as before
        for frame, found in project.observations({0: [1, 2]}):
            watch.see(frame, found)
        known, whole = watch.confidences(project.rows()), confidences(project)
        assert all(np.array_equal(known[i].values, whole[i].values) for i in whole)
