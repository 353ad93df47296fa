"""Frames that are read ahead: the same, in order, a few of them, and none once nobody asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2track import Tracker
from sam2track.errors import SourceError
from sam2track.frames.ahead import Ahead
from sam2track.frames.opening import open_source
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.tracking.engine import Engine
from tests.frames.conftest import write_video

BOTH = pytest.mark.parametrize("apart", [True, False])


def peeked(early: Ahead[int]) -> int | None:
    """What is seen once a thread has had time to read it."""
    deadline = time.monotonic() + 5
    while (seen := early.peek()) is None and threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    return seen


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sam2track-ahead"]


@BOTH
def test_all_comes_in_order(apart: bool) -> None:
    assert list(Ahead(iter(range(50)), apart=apart)) == list(range(50))
    assert list(Ahead(iter([None, 1, None]), apart=apart)) == [None, 1, None]
    ended = Ahead(iter(()), apart=apart)
    assert list(ended) == [] == list(ended) and ended.peek() is None
    assert not threads()


@BOTH
def test_the_next_one_is_seen_before_its_turn(apart: bool) -> None:
    early = Ahead(iter(range(1, 40)), apart=apart)
    for number in early:
        for _ in range(2):
            seen = peeked(early)
            assert seen == (number + 1 if number < 39 else None)
    assert peeked(early) is None and list(early) == []


def test_nothing_is_waited_for_to_be_seen() -> None:
    go = threading.Event()

    def items() -> Iterator[int]:
        go.wait(5)
        yield 1

    early = Ahead(items(), apart=True)
    assert early.peek() is None
    go.set()
    assert next(early) == 1
    early.close()


def test_without_a_thread_nothing_is_read_but_what_is_asked_for() -> None:
    read = []

    def items() -> Iterator[int]:
        for number in range(9):
            read.append(number)
            yield number

    early = Ahead(items(), apart=False)
    assert read == [] and next(early) == 0 and read == [0]
    assert early.peek() == 1 == early.peek() and read == [0, 1]
    early.close()
    assert list(early) == [] and early.peek() is None and read == [0, 1]


def test_no_more_is_read_than_is_held() -> None:
    read = []

    def items() -> Iterator[int]:
        for number in range(50):
            read.append(number)
            yield number

    early = Ahead(items(), apart=True, depth=3)
    assert next(early) == 0
    time.sleep(0.2)
    assert len(read) == 5  # one was taken, three wait, one is being handed over
    assert next(early) == 1
    early.close()
    assert len(read) <= 7 and not threads()


def test_what_is_left_is_closed_in_its_thread() -> None:
    where: list[Any] = []

    def items() -> Iterator[int]:
        try:
            for number in range(50):
                where.append(threading.current_thread().name)
                yield number
        finally:
            where.append("closed")

    early = Ahead(items(), apart=True)
    assert next(early) == 0
    early.close()
    assert where[-1] == "closed" and set(where[:-1]) == {"sam2track-ahead"}


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), StopAsyncIteration()])
@BOTH
def test_errors_come_in_their_place(error: BaseException, apart: bool) -> None:
    def items() -> Iterator[int]:
        yield from range(4)
        raise error

    got = []
    with pytest.raises(type(error)) as caught:
        for number in (early := Ahead(items(), apart=apart)):
            got.append(number)
            if isinstance(error, Exception):
                early.peek()
    assert got == [0, 1, 2, 3] and caught.value is error
    assert not threads()


@pytest.fixture
def reads_ahead(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Read and encode ahead on the CPU too; how many threads read when that was asked."""
    seen: list[int] = []

    def asked(_: Engine) -> bool:
        return bool(seen.append(len(threads())) or True)

    monkeypatch.setattr(Engine, "reads_ahead", property(asked))
    return seen


def module() -> Any:
    torch.manual_seed(0)
    return build(ARCHITECTURES["nano"], image_size=64)


@pytest.mark.parametrize("kind", ["video", "array"])
def test_a_run_that_reads_ahead_gives_the_same(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made = module()
    video = open_source(write_video(tmp_path / "clip.mp4", 9))
    source = video if kind == "video" else np.stack(list(video.frames(0, 9)))

    def run() -> tuple[list[np.ndarray], int]:
        tracker = Tracker(made, source, max_batch=1)
        tracker.prompt(1, 4, box=(4, 4, 30, 30))
        tracker.prompt(3, 4, box=(9, 4, 30, 40))
        found = []
        for result in tracker.propagate(direction="both"):
            found.append(result.masks)
            if len(found) == 2:  # something else is read and asked meanwhile
                tracker.prompt(2, 8, box=(2, 2, 20, 20))
        again = [result.masks for result in tracker.propagate(2, 7)]
        return found + again, tracker._engine.encoder.encoded

    expected, encoded = run()
    asked = request.getfixturevalue("reads_ahead")
    got, early = run()
    assert asked and len(got) == len(expected) == 12
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
    assert early == encoded  # none twice
    assert not threads()


def test_frames_are_encoded_one_ahead(reads_ahead: list[int]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), np.uint8)
    tracker = Tracker(module(), frames)
    tracker.prompt(1, 0, box=(4, 4, 30, 30))
    held = [max(f for f in range(9) if f in tracker._engine.store) for _ in tracker.propagate()]
    assert held == [0, *range(2, 9), 8]  # on the first, which is prompted, nothing is waited for


def test_memory_that_ran_out_is_not_spent_on_the_next_frame(reads_ahead: list[int]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), np.uint8)
    tracker = Tracker(module(), frames)
    tracker.prompt(1, 0, box=(4, 4, 30, 30))
    tracker._engine.room.batch = 1
    for result in tracker.propagate():
        assert result.frame + 1 not in tracker._engine.store


def test_a_run_that_is_left_reads_no_more(tmp_path: Path, reads_ahead: list[int]) -> None:
    tracker = Tracker(module(), write_video(tmp_path / "clip.mp4", 9))
    tracker.prompt(1, 0, box=(4, 4, 30, 30))
    left = tracker.propagate()
    next(left)
    assert len(threads()) == 1
    left.close()
    assert not threads()


def test_a_frame_is_kept_where_the_next_cannot_be_read(reads_ahead: list[int]) -> None:
    class Broken:
        shape, dtype = (9, 64, 64, 3), np.dtype(np.uint8)
        ndim = 4

        def __getitem__(self, frame: int) -> np.ndarray:
            if frame == 5:
                raise OSError("the disk is gone")
            return np.full((64, 64, 3), 20 * frame, np.uint8)

    tracker = Tracker(module(), Broken())
    tracker.prompt(1, 0, box=(4, 4, 30, 30))
    got = []
    with pytest.raises((OSError, SourceError), match="disk is gone"):
        for result in tracker.propagate():
            got.append(result.frame)
    assert got == [0, 1, 2, 3, 4]
    assert tracker.result(4).object_ids == (1,)
