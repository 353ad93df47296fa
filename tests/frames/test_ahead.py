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
from sam2track.frames.ahead import ahead
from sam2track.frames.opening import open_source
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.tracking.engine import Engine
from tests.frames.conftest import write_video


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sam2track-ahead"]


def test_all_comes_in_order() -> None:
    assert list(ahead(iter(range(50)))) == list(range(50))
    assert list(ahead(iter([None, 1, None]))) == [None, 1, None]
    assert list(ahead(iter(()))) == []
    assert not threads()


def test_no_more_is_read_than_is_held() -> None:
    read = []

    def items() -> Iterator[int]:
        for number in range(50):
            read.append(number)
            yield number

    early = ahead(items(), depth=3)
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

    early = ahead(items())
    assert next(early) == 0
    early.close()
    assert where[-1] == "closed" and set(where[:-1]) == {"sam2track-ahead"}


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), StopAsyncIteration()])
def test_errors_come_in_their_place(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield from range(4)
        raise error

    got = []
    with pytest.raises(type(error)) as caught:
        for number in ahead(items()):
            got.append(number)
    assert got == [0, 1, 2, 3] and caught.value is error
    assert not threads()


def test_a_run_that_reads_ahead_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = build(ARCHITECTURES["nano"], image_size=64)
    source = open_source(write_video(tmp_path / "clip.mp4", 9))

    def run() -> list[np.ndarray]:
        tracker = Tracker(module, source)
        tracker.prompt(1, 4, box=(4, 4, 30, 30))
        found = []
        for result in tracker.propagate(direction="both"):
            found.append(result.masks)
            if len(found) == 2:  # something else is read and asked meanwhile
                tracker.prompt(2, 8, box=(2, 2, 20, 20))
        return found

    expected = run()
    seen: list[int] = []

    def reads_ahead(_: Engine) -> bool:
        return bool(seen.append(len(threads())) or True)

    monkeypatch.setattr(Engine, "reads_ahead", property(reads_ahead))
    got = run()
    assert seen and len(got) == len(expected) == 9
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
    tracker = Tracker(module, source)
    tracker.prompt(1, 0, box=(4, 4, 30, 30))
    left = tracker.propagate()
    next(left)
    assert len(threads()) == 1
    left.close()
    assert not threads()
