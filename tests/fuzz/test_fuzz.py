"""A short run of each target, and all that once was found; at length with ``make fuzz``."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import running
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str, tmp_path: Path) -> None:
    target, counts = TARGETS[name], Counter[str]()
    seeds = running.seeds_of(name)
    target.read(seeds[0], tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, on bytes that are not what they seem
        for path in sorted((running.CORPUS / name).glob("*")):
            running.tried(target, path.read_bytes(), tmp_path, counts)
        for number in range(target.quick):
            running.tried(target, running.case(name, number, seeds), tmp_path, counts)
    assert counts["refused"] > 0
    assert counts["read"] > 0


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t.strategy is not None])
def test_grammars(name: str, tmp_path: Path) -> None:
    target, counts = TARGETS[name], Counter[str]()
    running.hypothesised(
        name, target.quick // 3, lambda data: running.tried(target, data, tmp_path, counts)
    )
    assert counts["refused"] > 0
