"""Cases of a target, each with its limits of time and memory."""

from __future__ import annotations

import random
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from sam2track.errors import Sam2TrackError
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS, Target

__all__ = ["CORPUS", "case", "hypothesised", "limited", "tried"]

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 20.0
ROOM = 4 << 30  # bytes beyond what the process has at first


class Hang(BaseException):
    """A case took too long."""


def case(name: str, number: int, seeds: list[bytes]) -> bytes:
    """Return a case by its number, the same each time."""
    chance = random.Random(f"{name} {number}")
    return mutated(chance.choice(seeds), seeds, chance)


def seeds_of(name: str) -> list[bytes]:
    """Good files, and those that once were findings."""
    with tempfile.TemporaryDirectory() as folder:
        found = TARGETS[name].seeds(Path(folder))
    return found + [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raise where what is within takes too much of the processor."""

    def late(*_: Any) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def little_room() -> None:
    """Let memory that is asked for beyond a limit be a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def tried(target: Target, data: bytes, folder: Path, counts: Counter[str]) -> None:
    """Read a case; only our own errors may come of it."""
    try:
        with limited():
            target.read(data, folder)
    except Sam2TrackError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                raise  # a claim that was not looked at before memory was taken for it
            cause = cause.__cause__
        counts["refused"] += 1
    else:
        counts["read"] += 1


def hypothesised(name: str, cases: int, body: Callable[[bytes], None], *, start: int = 0) -> None:
    """Hand cases that hypothesis makes of a target's grammar to a function."""
    strategy = TARGETS[name].strategy
    assert strategy is not None

    @seed(start)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(data: bytes) -> None:
        body(data)

    run()
