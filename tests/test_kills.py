"""``kill -9`` at random moments of a job; 200 of them with ``make test-kills``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def killed(trials: int, seconds: int) -> dict[str, int]:
    """Kill so often, in a process that starts no threads before it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", "--trials", str(trials)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return dict(json.loads(done.stdout))


def check(seen: dict[str, int], trials: int) -> None:
    assert seen["trials"] == trials
    assert seen["killed"] > trials // 2, "the jobs ended before they were killed"
    assert (seen["not resumed"], seen["lost"], seen["wrong"]) == (0, 0, 0)


def test_six_kills() -> None:
    check(killed(6, 280), 6)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_hundred_kills() -> None:
    check(killed(200, 7000), 200)
