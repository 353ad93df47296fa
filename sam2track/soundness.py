"""Whether what a project holds fits together: rows that are gone, or are of nothing.

Each rule is one that everything written here keeps, so that a sound project is never blamed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from sam2track.tracking.history import SOURCES
from sam2track.tracking.steps import TABLES

__all__ = ["Fault", "faults"]

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


def faults(db: sqlite3.Connection, frames: int) -> Iterator[Fault]:
    """Yield what does not fit together in the database of a project of so many frames."""
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
            yield Fault(f"object {object_id} on frame {frame}", "its result is gone")
    yield from _pointers(db)


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


def _pointers(db: sqlite3.Connection) -> Iterator[Fault]:
    # Masks that were imported have none: no model has seen them.
    own = f"NOT (source = {SOURCES.index('edited')} AND length(pointer) = 0)"
    usual = db.execute(
        f"SELECT length(pointer) FROM results WHERE {own} GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    ).fetchone()
    for object_id, frame in db.execute(
        f"SELECT object, frame FROM results WHERE {own} AND (length(pointer) != ? "
        "OR length(pointer) % 4 OR typeof(pointer) != 'blob') ORDER BY frame, object LIMIT 1",
        usual or (0,),
    ):
        yield Fault(f"object {object_id} on frame {frame}", "its pointer is of another length")
