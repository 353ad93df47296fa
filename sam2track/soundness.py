"""Whether what a project holds fits together: rows that are gone, or are of nothing.

Each rule is one that everything written here keeps, so that a sound project is never blamed.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from sam2track.tracking.history import SOURCES
from sam2track.tracking.steps import TABLES

__all__ = ["Fault", "faults", "odd_pointers"]

_RUNS = "('propagate', 'continue')"

# A run follows an object from frame to frame. What it passed over had a result already, and what
# was dropped afterwards is still there as past, unless it is older than the past that is kept.
_MISSING = f"""
SELECT r.object, r.frame - :way FROM all_results AS r
JOIN journal AS j ON j.step = r.since AND j.kind IN {_RUNS}, head
WHERE r.since <= position AND position < r.until AND r.since > floor AND r.source = :source
AND NOT EXISTS (
    SELECT 1 FROM all_results AS p WHERE p.object = r.object AND p.frame = r.frame - :way
) AND EXISTS (
    SELECT 1 FROM all_results AS b WHERE b.object = r.object AND b.since = r.since
    AND b.source = r.source AND (b.frame - r.frame) * :way < 0
) ORDER BY 2, 1 LIMIT 1
"""


class Fault(NamedTuple):
    """What is wrong and where; whether doing the journal again mends it."""

    where: str
    why: str
    replays: bool = True


def faults(db: sqlite3.Connection, meta: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not fit together in the database of a project with such settings.

    No mask, no logits and no pointer is read: of 60,000 results it takes a third of a second.
    """
    frames = int(meta["frames"])
    yield from _journal(db)
    yield from _times(db, frames)
    yield from _states(db)
    for table in ("prompts", "results"):
        for object_id, frame in db.execute(
            f"SELECT object, frame FROM {table} WHERE object NOT IN (SELECT id FROM objects) "
            "ORDER BY frame, object LIMIT 1"
        ):
            yield Fault(f"object {object_id} on frame {frame}", f"its {table} are of no object")
    for (object_id,) in db.execute(
        "SELECT id FROM objects WHERE id NOT IN (SELECT object FROM prompts) LIMIT 1"
    ):
        yield Fault(f"object {object_id}", "nothing is said of it on any frame")
    for source, way in ((SOURCES.index("forward"), 1), (SOURCES.index("backward"), -1)):
        for object_id, frame in db.execute(_MISSING, {"source": source, "way": way}):
            yield _gone(object_id, frame)
    yield from _unrun(db, frames)
    if meta.get("fingerprint") == "pipe":
        yield from _unpiped(db, frames)


def _journal(db: sqlite3.Connection) -> Iterator[Fault]:
    for column, table in (("position", "head"), *(("since", table) for table in TABLES)):
        for (step,) in db.execute(
            f"SELECT {column} FROM {table} "
            f"WHERE {column} != 0 AND {column} NOT IN (SELECT step FROM journal) LIMIT 1"
        ):
            yield Fault(f"step {step}", "the journal does not hold it", replays=False)
    for position, step in db.execute(
        "SELECT position, step FROM journal, head WHERE kind NOT IN ('undo', 'redo') "
        "AND (undone = 0 AND step > position OR undone = 1 AND step <= position) LIMIT 1"
    ):
        yield Fault(f"step {step}", f"it does not go with step {position}, which is in force")


def _times(db: sqlite3.Connection, frames: int) -> Iterator[Fault]:
    count, known = db.execute(
        "SELECT count(*), sum(frame BETWEEN 0 AND ? - 1) FROM times", (frames,)
    ).fetchone()
    if count != frames or (known or 0) != frames:
        yield Fault("its times", f"there are {count}, of {frames} frames")


def _states(db: sqlite3.Connection) -> Iterator[Fault]:
    """Each run keeps where it stands, as long as it is not taken back for good."""
    for (step,) in db.execute(
        f"SELECT step FROM journal WHERE kind IN {_RUNS} AND undone != 2 "
        f"AND step = (SELECT max(step) FROM journal WHERE kind IN {_RUNS}) "
        "AND step NOT IN (SELECT step FROM states)"
    ):
        yield Fault(f"step {step}", "where tracking stood after it is gone")


def _unrun(db: sqlite3.Connection, frames: int) -> Iterator[Fault]:
    """Where runs moved on what comes next of an object, each frame that they passed is kept."""
    begun = dict(db.execute("SELECT object, min(frame) FROM all_prompts GROUP BY object"))
    passed: dict[int, list[tuple[int, int]]] = defaultdict(list)
    rows = db.execute(
        "SELECT id, since, until, forward, backward, birth, ending, since > floor AND kind IS NOT "
        f"NULL, kind = 'propagate' AND instr(action, '\"until_prompted\": true') = 0 "
        f"FROM all_objects LEFT JOIN journal ON step = since AND kind IN {_RUNS}, head "
        "ORDER BY id, since"
    )
    for (last, _, until, *before, _, _, _, _), now in pairwise(rows):
        object_id, since, _, forward, backward, birth, ending, ran, whole = now
        if object_id != last or until != since or not ran:
            continue
        # Nothing is left to run: to the end, unless what was said, or done meanwhile, ended it.
        if forward is None and whole:
            forward = frames if ending is None else min(ending, frames)
        if backward is None and whole:
            backward = (birth or 0) - 1
        if before[0] is not None and forward is not None:
            passed[object_id].append((before[0], forward))
        if before[1] is not None and backward is not None:
            # Those that were run forward are passed over.
            top = min(before[1], begun.get(object_id, 0) - 1)
            passed[object_id].append((backward + 1, top + 1))
    for object_id, ranges in passed.items():
        for low, high in _joined(ranges):
            yield from _lacking(db, object_id, low, high)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges [low, high) that neither meet nor are empty, ascending."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        elif low < high:
            joined.append((low, high))
    return joined


def _unpiped(db: sqlite3.Connection, frames: int) -> Iterator[Fault]:
    """All objects are tracked on each frame that a pipe brings."""
    for object_id, first in db.execute(
        "SELECT id, min(frame) FROM objects JOIN prompts ON object = id "
        "WHERE ending IS NULL GROUP BY id"
    ).fetchall():
        yield from _lacking(db, object_id, first, frames)


def _lacking(db: sqlite3.Connection, object_id: int, low: int, high: int) -> Iterator[Fault]:
    """The first of the frames [low, high) on which nothing was ever kept of an object."""
    expected = low
    for (frame,) in db.execute(
        "SELECT DISTINCT frame FROM all_results WHERE object = ? AND frame >= ? AND frame < ? "
        "ORDER BY frame",
        (object_id, low, high),
    ):
        if frame != expected:
            break
        expected += 1
    if expected < high:
        yield _gone(object_id, expected)


def _gone(object_id: int, frame: int) -> Fault:
    return Fault(f"object {object_id} on frame {frame}", "its result is gone")


def odd_pointers(db: sqlite3.Connection, size: int | None) -> Iterator[Fault]:
    """Yield a pointer that is not of the length that those of a model of this size have.

    Parameters
    ----------
    size : int, optional
        How many numbers are in a pointer; where it is not known, as many as in most.
    """
    # Masks that were imported have none: no model has seen them.
    own = f"NOT (source = {SOURCES.index('edited')} AND length(pointer) = 0)"
    if size is None:
        usual = db.execute(
            f"SELECT length(pointer) FROM results WHERE {own} "
            "GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
        ).fetchone()
    else:
        usual = (4 * size,)
    for object_id, frame in db.execute(
        f"SELECT object, frame FROM results WHERE {own} AND (length(pointer) != ? "
        "OR length(pointer) % 4 OR typeof(pointer) != 'blob') ORDER BY frame, object LIMIT 1",
        usual or (0,),
    ):
        yield Fault(f"object {object_id} on frame {frame}", "its pointer is of another length")
