"""Steps in SQLite: rows that say from which step to which they hold.

A row holds from the step ``since`` until the step ``until``, and ``head.position`` is the step
that is in force. Taking a step back only moves the position; nothing is computed or copied. What
comes after the position is dropped when something new is done.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from sam2track.errors import OutputError, ProjectError, Sam2TrackError
from sam2track.faults import maybe_full
from sam2track.values import check_step

__all__ = ["HOLDS", "NOW", "SCHEMA", "TABLES", "Steps"]

NOW = 2**62  # ``until`` of what still holds
HOLDS = "since <= position AND position < until"

SCHEMA = f"""
CREATE TABLE head (position INTEGER NOT NULL, floor INTEGER NOT NULL);
INSERT INTO head VALUES (0, 0);
CREATE TABLE journal (
    step INTEGER PRIMARY KEY, kind TEXT NOT NULL, action TEXT NOT NULL,
    done INTEGER, undone INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE all_objects (
    id INTEGER NOT NULL, name TEXT NOT NULL, birth INTEGER, ending INTEGER, mother INTEGER,
    locked INTEGER NOT NULL, forward INTEGER, backward INTEGER,
    since INTEGER NOT NULL, until INTEGER NOT NULL DEFAULT {NOW},
    PRIMARY KEY (id, since)
) WITHOUT ROWID;
CREATE TABLE all_prompts (
    object INTEGER NOT NULL, frame INTEGER NOT NULL, said TEXT NOT NULL,
    mask BLOB, logits BLOB, tracked INTEGER,
    since INTEGER NOT NULL, until INTEGER NOT NULL DEFAULT {NOW},
    PRIMARY KEY (object, frame, since)
);
CREATE TABLE all_results (
    id INTEGER PRIMARY KEY, frame INTEGER NOT NULL, object INTEGER NOT NULL,
    source INTEGER NOT NULL, score REAL NOT NULL, iou REAL NOT NULL,
    area INTEGER, x REAL, y REAL, x0 INTEGER, y0 INTEGER, x1 INTEGER, y1 INTEGER,
    mask BLOB, pointer BLOB NOT NULL, codes BLOB NOT NULL, side INTEGER NOT NULL,
    exact INTEGER NOT NULL,
    since INTEGER NOT NULL, until INTEGER NOT NULL DEFAULT {NOW}
);
CREATE UNIQUE INDEX results_by_frame ON all_results (frame, object, since, until);
CREATE INDEX results_by_object ON all_results (object, frame, since, until);
CREATE INDEX results_past ON all_results (until) WHERE until < {NOW};
CREATE VIEW objects AS
    SELECT id, name, birth, ending, mother, locked, forward, backward, since
    FROM all_objects, head WHERE {HOLDS};
CREATE VIEW prompts AS
    SELECT object, frame, said, mask, logits, tracked, since
    FROM all_prompts, head WHERE {HOLDS};
CREATE VIEW results AS
    SELECT id, frame, object, source, score, iou, mask, pointer, codes, side, exact,
        area, x, y, x0, y0, x1, y1
    FROM all_results, head WHERE {HOLDS};
CREATE TABLE states (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, done INTEGER NOT NULL, data BLOB NOT NULL
);
"""

TABLES = ("all_objects", "all_prompts", "all_results")


class Steps:
    """A database that has the tables of ``SCHEMA``, written in steps that can be taken back.

    Parameters
    ----------
    connection : sqlite3.Connection
        With ``isolation_level`` None.
    name : str
        What error messages call it.
    past_budget : int
        Bytes of results that have been replaced and are kept for taking steps back.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, name: str, past_budget: int = 2**30
    ) -> None:
        self.name = name
        self._db = connection
        self._process = os.getpid()
        self._writing: int | None = None  # the thread whose transaction is open
        self._lock = threading.RLock()
        self._past_budget = past_budget
        self._leave: weakref.WeakMethod[Callable[[], None]] | None = None

    def bind(self, leave: Callable[[], None], made_with: Mapping[str, Any]) -> None:
        """Serve a tracker; the one before leaves."""
        self._part()
        self._leave = weakref.WeakMethod(leave)

    def _part(self) -> None:
        """Let the tracker that is served keep where it stands, and do no more."""
        leave = None if self._leave is None else self._leave()
        self._leave = None
        if leave is not None:
            leave()

    def close(self) -> None:
        """Let go of the database, once the tracker that it serves has kept where it stands."""
        self._db.close()

    @property
    def _is_fork(self) -> bool:
        """Whether this is a fork of the process that opened it."""
        return self._process != os.getpid()

    def _check_process(self) -> None:
        """Locks do not pass to a fork: its parent's files would be written beside its parent."""
        if self._is_fork:
            raise ProjectError(
                f"{self.name} was opened in the process that this one was forked from; open it "
                "again here, or start processes anew (spawn)"
            )

    def _check_thread(self) -> None:
        """What one thread writes within the transaction of another would go with that one's."""
        if self._writing not in (None, threading.get_ident()):
            raise ProjectError(
                f"{self.name} is being written by another thread; a tracker and its history are "
                "for one thread at a time: use a lock, or open it again"
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other thread write within; may be nested.

        Of two that begin at once one waits for the other: SQLite cannot be asked whose transaction
        it is, and what it says of an error is of whatever thread called it last.
        """
        self._check_process()
        self._check_thread()
        with self._lock:
            yield

    @contextmanager
    def _errors(self) -> Iterator[None]:
        self._check_process()
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ProjectError(f"{self.name}: {error}") from error
        except sqlite3.ProgrammingError as error:
            raise self._misused(error) from error
        except Sam2TrackError:
            raise
        except KeyError as error:
            raise ProjectError(f"{self.name} is damaged: it lacks {error}") from error
        except (
            # What reading values of another type or shape than those written ends in.
            sqlite3.DatabaseError,
            zlib.error,
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise ProjectError(f"{self.name} is damaged: {error}") from error

    def _damaged(self, object_id: int, frame: int, why: str) -> ProjectError:
        return self._damaged_at(f"object {object_id} on frame {frame}", why)

    def _damaged_at(self, where: str, why: str, *, replays: bool = True) -> ProjectError:
        anew = ", or do anew what was done in it with `sam2track replay`" if replays else ""
        return ProjectError(f"{self.name} is damaged at {where}: {why}; take a copy of it{anew}")

    # -- steps --------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Keep all that is written within, or nothing of it; may be nested."""
        try:
            with self._alone():
                if self._db.in_transaction:
                    yield self._db
                    return
                try:
                    self._db.execute("BEGIN IMMEDIATE")
                    self._writing = threading.get_ident()
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    # Also where Ctrl-C comes as it begins, or a commit fails: what is written later
                    # would be part of a transaction that nobody ends. On a full disk SQLite has
                    # rolled back already.
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
                finally:
                    self._writing = None
        except sqlite3.ProgrammingError as error:
            raise self._misused(error) from error
        except sqlite3.Error as error:
            if "readonly" in str(error):
                raise ProjectError(
                    f"{self.name} is open for reading alone; open it with writable=True"
                ) from error
            raise OutputError(
                f"{self.name} cannot be written: {error}{maybe_full(error)}; what was kept before "
                "is kept"
            ) from error

    def _misused(self, error: sqlite3.ProgrammingError) -> ProjectError:
        if "closed" in str(error):
            return ProjectError(f"{self.name} is closed; open it again")
        return ProjectError(f"{self.name} cannot be used: {error}")

    @property
    def position(self) -> int:
        """The last step that is in force, 0 before the first."""
        with self._errors():
            return int(self._db.execute("SELECT position FROM head").fetchone()[0])

    @property
    def changes(self) -> int:
        """How many rows were written since it was opened: what was read holds while it is so."""
        with self._errors():
            return self._db.total_changes

    @contextmanager
    def as_of(self, step: int) -> Iterator[None]:
        """Read all within as it was after an earlier step; what is written is of that step."""
        with self.transaction() as db:
            position = self.position
            db.execute("UPDATE head SET position = ?", (step,))
            try:
                yield
            finally:
                if db.in_transaction:  # else SQLite has rolled back all of it
                    db.execute("UPDATE head SET position = ?", (position,))

    @contextmanager
    def step(self, kind: str, action: Mapping[str, Any]) -> Iterator[int]:
        """Begin a step and keep all that is written within, or nothing of it."""
        with self.transaction() as db, self._apart(db):
            self._drop_undone(db)
            number = db.execute(
                "INSERT INTO journal (kind, action) VALUES (?, ?)", (kind, json.dumps(action))
            ).lastrowid
            db.execute("UPDATE head SET position = ?", (number,))
            if kind == "propagate":  # what costs most to look through comes from these
                self._prune(db)
            yield int(number or 0)

    @contextmanager
    def _apart(self, db: sqlite3.Connection) -> Iterator[None]:
        """Take back what is written within where it fails, and no more of the transaction.

        Who does steps together may catch the error of one and go on.
        """
        db.execute("SAVEPOINT step")
        try:
            yield
        except BaseException:
            if db.in_transaction:  # else SQLite has rolled back all of it
                db.execute("ROLLBACK TO step")
            raise
        finally:
            if db.in_transaction:
                db.execute("RELEASE step")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep all steps that are done within, or none of them; may be nested."""
        with self.transaction() as db, self._apart(db):
            yield

    def _drop_undone(self, db: sqlite3.Connection) -> None:
        """Drop what was taken back; it can be put back no longer."""
        position = self.position
        # Of the steps behind this one alone: all others' actions, with masks, would be read.
        undone = db.execute("SELECT 1 FROM journal WHERE step > ? AND undone = 1", (position,))
        if not undone.fetchone():
            return
        for table in TABLES:
            # By keys that an index finds: a row says it behind its masks, which would be read.
            key = "(id, since)" if table == "all_objects" else "rowid"
            found = f"SELECT {key.strip('()')} FROM {table} WHERE since > ?"
            db.execute(f"DELETE FROM {table} WHERE {key} IN ({found})", (position,))
            db.execute(
                f"UPDATE {table} SET until = {NOW} WHERE until > ? AND until < {NOW}",
                (position,),
            )
        db.execute("DELETE FROM states WHERE step > ?", (position,))
        db.execute("UPDATE journal SET undone = 2 WHERE step > ? AND undone = 1", (position,))

    def _prune(self, db: sqlite3.Connection) -> None:
        """Drop what was replaced longest ago where there is too much of it."""
        total = 0
        rows = db.execute(
            "SELECT until, sum(ifnull(length(mask), 0) + length(pointer) + length(codes)) "
            f"FROM all_results WHERE until < {NOW} GROUP BY until ORDER BY until DESC"
        )
        for until, size in rows.fetchall():
            total += size
            if total > self._past_budget:
                db.execute(
                    f"DELETE FROM all_results WHERE until <= ? AND until < {NOW} "  # for its index
                    "AND id NOT IN (SELECT tracked FROM all_prompts WHERE tracked IS NOT NULL)",
                    (until,),
                )
                db.execute("DELETE FROM all_prompts WHERE until <= ?", (until,))
                db.execute(
                    "DELETE FROM all_objects WHERE until <= ? AND since < (SELECT max(since) "
                    "FROM all_objects AS other WHERE other.id = all_objects.id)",  # see next_id
                    (until,),
                )
                db.execute("UPDATE head SET floor = max(floor, ?)", (until,))
                return

    def next_id(self, above: int = 0) -> int:
        """Return the lowest number above one that no object has or had, unless taken back."""
        with self._errors():
            rows = self._db.execute(
                "SELECT DISTINCT id FROM all_objects, head WHERE id > ? AND since <= position",
                (above,),
            )
            taken = {int(number) for (number,) in rows}
        return next(number for number in count(above + 1) if number not in taken)

    def undo(self) -> dict[str, Any] | None:
        """Take back the last step; return its action, None where there is none to take back."""
        with self._errors(), self.transaction() as db:
            # In a join SQLite would copy the whole journal first, with the masks of its actions.
            found = db.execute(
                "SELECT step, kind, action FROM journal WHERE step <= (SELECT position FROM head) "
                "AND step > (SELECT floor FROM head) AND undone = 0 "
                "AND kind NOT IN ('undo', 'redo') ORDER BY step DESC LIMIT 1"
            ).fetchone()
            if found is None:
                return None
            step, kind, action = found
            db.execute("UPDATE journal SET undone = 1 WHERE step = ?", (step,))
            db.execute("UPDATE head SET position = ?", (step - 1,))
            db.execute("INSERT INTO journal (kind, action) VALUES ('undo', '{}')")
            return {"action": kind, **json.loads(action)}

    def redo(self) -> dict[str, Any] | None:
        """Put back the step that was taken back last; return its action, None without one."""
        with self._errors(), self.transaction() as db:
            found = db.execute(
                "SELECT step, kind, action FROM journal WHERE step > (SELECT position FROM head) "
                "AND undone = 1 ORDER BY step LIMIT 1"
            ).fetchone()
            if found is None:
                return None
            step, kind, action = found
            db.execute("UPDATE journal SET undone = 0 WHERE step = ?", (step,))
            db.execute("UPDATE head SET position = ?", (step,))
            db.execute("INSERT INTO journal (kind, action) VALUES ('redo', '{}')")
            return {"action": kind, **json.loads(action)}

    def set_done(self, step: int, frames: int) -> None:
        """Note how many frames a step has run."""
        with self.transaction() as db:
            db.execute("UPDATE journal SET done = ? WHERE step = ?", (frames, step))

    def journal(self) -> list[dict[str, Any]]:
        """What was done, in order: step, action and its details, frames done, undone or not."""
        with self._errors():
            rows = self._db.execute(
                "SELECT step, kind, action, done, undone FROM journal ORDER BY step"
            ).fetchall()
            steps = [(*row[:2], json.loads(row[2]), *row[3:]) for row in rows]
            for step, _, action, done, _ in steps:
                check_step(step, action, done)
            return [
                {"step": step, "action": kind, **action}
                | ({} if done is None else {"done": done})
                | ({"undone": True} if undone else {})
                for step, kind, action, done, undone in steps
            ]

    def _close(self, db: sqlite3.Connection, table: str, where: str, values: Sequence[Any]) -> None:
        """End what holds: rows of this step go, older ones hold until this step."""
        position = self.position
        db.execute(f"DELETE FROM {table} WHERE {where} AND since = ?", (*values, position))
        db.execute(
            f"UPDATE {table} SET until = ? WHERE {where} AND until = {NOW}", (position, *values)
        )
