"""What is of another kind than asked for is told at once, by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2track import Project, Tracker, track
from sam2track.arguments import check_path
from sam2track.errors import UsageError
from sam2track.evaluation import evaluate
from sam2track.importing import import_masks
from sam2track.replaying import replay

NO_PATHS = (None, 5, b"out", "", "a\0b", "\ud800", ["out"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    track(frames, PROMPTS, output=folder, model="nano", write=()).close()
    return folder


PROMPTS = {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "points": [[9, 9]]}]}]}


@pytest.mark.parametrize("given", NO_PATHS)
def test_what_is_no_path_is_refused(given: Any, made: Path, tmp_path: Path) -> None:
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    project = Project.open(made)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("path", lambda: Project.open(given)),
        ("path", lambda: Project.create(given, meta={}, times=())),
        ("output", lambda: project.export(given, format="csv")),
        ("output", lambda: track(frames, PROMPTS, output=given, model="nano")),
        ("output", lambda: replay(made, output=given)),
        ("output", lambda: import_masks(made, given, source=frames)),
        ("pred", lambda: evaluate(given, made)),
        ("truth", lambda: evaluate(made, given)),
    ]
    before = sorted(Path.cwd().iterdir())
    for name, call in calls:
        told = "(give a path|empty; name|null|no file)"
        with pytest.raises(UsageError, match=f"^{name} (is|has) .*{told}"):
            call()
    assert sorted(Path.cwd().iterdir()) == before
    project.close()


def test_arrays_in_place_of_something_else_are_told_in_one_line() -> None:
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    labels = np.zeros((4, 32, 32), np.int32)
    tracker = Tracker("nano", frames)
    tracker.prompt(1, 0, points=[(9, 9)])
    half = np.arange(32 * 32).reshape(32, 32) % 32 < 16
    calls: list[Callable[[], object]] = [
        lambda: tracker.divide(1, 2, [half, ~half]),  # type: ignore[list-item]
        lambda: tracker.end_at(half, 2),  # type: ignore[arg-type]
        lambda: tracker.prompt(1, half, points=[(9, 9)]),  # type: ignore[arg-type]
        lambda: tracker.propagate(start=half),  # type: ignore[arg-type]
        lambda: import_masks(labels, "x.s2t", source=frames),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(UsageError) as caught:
            call()
        assert "array(" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UsageError, match=r"^object array.*; ids are positive integers"):
        calls[0]()


def test_paths_are_taken_as_they_are() -> None:
    assert check_path("output", ".") == Path()
    with pytest.raises(UsageError, match=r"output is s3://b/c, an address; only"):
        check_path("output", "s3://b/c")
    assert check_path("output", Path("é b")) == Path("é b")
    of_bytes = os.fsdecode(b"\xff")  # a name that is no text
    assert check_path("output", of_bytes) == Path(of_bytes)


def test_a_word_is_no_truth(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="writable 'no'; give True or False"):
        Project.open(made, writable="no")  # type: ignore[arg-type]
    with Project.open(made) as project:
        with pytest.raises(UsageError, match="intensities 'no'"):
            project.table(intensities="no")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="frames 1; give their numbers"):
            list(project.observations(1))  # type: ignore[arg-type]
    for call in (replay, lambda *a, **k: import_masks(*a, source=made, **k)):
        with pytest.raises(UsageError, match="overwrite 'no'"):
            call(made, output=tmp_path / "out", overwrite="no")
