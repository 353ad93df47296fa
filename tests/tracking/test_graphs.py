"""Recordings of a GPU's work, with a stand-in that replays on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sam2track
from sam2track import Tracker
from sam2track.tracking import graphs
from sam2track.tracking.graphs import Graphs


class _Replayed:
    """As a CUDA graph: the work sees the same tensors each time, and writes the same ones."""

    made = 0

    def __init__(self, work: Any, given: Any, pool: Any) -> None:
        type(self).made += 1
        self._given = tuple(None if t is None else t.clone() for t in given)
        self._found: Any = None
        self._work = work

    def __call__(self, given: Any) -> Any:
        for held, new in zip(self._given, given, strict=True):
            if held is not None:
                held.copy_(new)
        found = self._work(*self._given)
        if self._found is None:
            self._found = found
        for held, new in zip(self._found, found, strict=True):
            if held is not None:
                held.copy_(new)
        return tuple(None if t is None else t.clone() for t in self._found)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> type[_Replayed]:
    """Record on the CPU too."""
    _Replayed.made = 0
    monkeypatch.setattr(graphs, "_Recording", _Replayed)
    begin = Graphs.__init__

    def on(self: Graphs, device: torch.device) -> None:
        begin(self, device)
        self._on = True

    monkeypatch.setattr(Graphs, "__init__", on)
    return _Replayed


def _logits() -> dict[int, np.ndarray[Any, Any]]:
    frames = np.random.default_rng(0).integers(0, 255, (24, 64, 64, 3), dtype=np.uint8)
    tracker = Tracker(sam2track.load_model("nano", device="cpu"), frames)
    tracker.prompt(1, 0, box=(5, 5, 30, 30))
    tracker.prompt(2, 0, points=[(40, 40)])
    return {result.frame: result.logits.copy() for result in tracker.propagate()}


def test_frames_from_recordings_are_those_computed_one_by_one(
    request: pytest.FixtureRequest,
) -> None:
    expected = _logits()
    recordings = request.getfixturevalue("replayed")
    found = _logits()
    # One of the encoder, one of the tracked frames once their memories are full.
    assert recordings.made == 2
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[frame], expected[frame]) for frame in expected)


def test_work_is_recorded_once_it_came_often(replayed: type[_Replayed]) -> None:
    made, calls = Graphs(torch.device("cpu")), []

    def work(t: torch.Tensor) -> tuple[torch.Tensor]:
        calls.append(t.shape)
        return (t * 2,)

    for number in range(5):
        given = torch.full((3,), float(number))
        (found,) = made.run("double", work, given)
        assert found is not None and torch.equal(found, 2 * given)
        assert replayed.made == (1 if number >= 2 else 0)
    made.run("double", work, torch.zeros(4))
    assert replayed.made == 1


def test_no_more_than_a_few_are_kept(replayed: type[_Replayed]) -> None:
    made = Graphs(torch.device("cpu"))
    for size in range(1, 8):
        for _ in range(4):
            made.run("same", lambda t: (t,), torch.zeros(size))
    assert replayed.made == 7
    assert len(made._kept) == 4


def test_what_is_told_apart_has_recordings_of_its_own(replayed: type[_Replayed]) -> None:
    """By name, and by shapes, types and strides of what is given."""
    made = Graphs(torch.device("cpu"))
    grid = torch.arange(6.0).view(2, 3)
    givens: list[tuple[Any, ...]] = [(grid,), (grid.double(),), (grid.T.contiguous().T,)]
    for _ in range(4):
        for factor in (2, 3):
            for given in givens:
                (found,) = made.run(factor, lambda t, by=factor: (by * t,), *given)
                expected = factor * given[0]
                assert found is not None and torch.equal(found, expected)
                assert (found.dtype, found.stride()) == (expected.dtype, expected.stride())


def test_the_recording_used_longest_ago_goes_and_has_to_come_often_again(
    replayed: type[_Replayed],
) -> None:
    made = Graphs(torch.device("cpu"))

    def run(size: int, times: int) -> int:
        for _ in range(times):
            made.run("same", lambda t: (t,), torch.zeros(size))
        return replayed.made

    assert [run(size, 3) for size in range(1, 5)] == [1, 2, 3, 4]
    run(6, 2)
    assert run(1, 1) == 4
    assert run(5, 3) == 5
    assert run(1, 1) == 5
    assert run(2, 2) == run(6, 2) == 5
    assert run(2, 1) == 6


def test_what_was_stopped_holds_nothing_and_records_no_more(replayed: type[_Replayed]) -> None:
    made = Graphs(torch.device("cpu"))
    for _ in range(3):
        made.run("same", lambda t: (t,), torch.zeros(1))
    made.stop()
    assert not made._kept
    for _ in range(4):
        made.run("same", lambda t: (t,), torch.zeros(1))
    assert replayed.made == 1 and not made._kept


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("x")])
def test_work_goes_on_where_it_cannot_be_recorded(
    error: RuntimeError, replayed: type[_Replayed], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fails(work: Any, given: Any, pool: Any) -> Any:
        tried.append(given)
        raise error

    monkeypatch.setattr(graphs, "_Recording", fails)
    made, found = Graphs(torch.device("cpu")), []
    with pytest.warns() if str(error) == "x" else _quiet():
        for _ in range(4):
            found.append(made.run("double", lambda t: (2 * t,), torch.ones(2)))
    assert [t.tolist() for (t,) in found if t is not None] == [[2.0, 2.0]] * 4
    assert len(tried) == 1


def _quiet() -> Any:
    import contextlib

    return contextlib.nullcontext()
