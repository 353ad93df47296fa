"""What makes a database a project: its schema, version and header. See docs/project-file.md."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.database import check_tables, connected, identity
from sam2track.errors import ProjectError
from sam2track.locks import WriterLock
from sam2track.tracking.steps import SCHEMA

__all__ = ["VERSION", "Place", "connect", "leave_no_log", "left_open", "make"]

VERSION = 4
_APPLICATION = 0x73327400  # "s2t", in the header of the file

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE times (frame INTEGER PRIMARY KEY, seconds REAL NOT NULL);
{SCHEMA}
"""


def make(path: Path, meta: Mapping[str, Any], times: npt.NDArray[np.float64]) -> None:
    """Write a project that holds nothing but settings and times."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [(key, json.dumps(value)) for key, value in meta.items()],
        )
        db.executemany(
            "INSERT INTO times VALUES (?, ?)",
            ((frame, float(seconds)) for frame, seconds in enumerate(times)),
        )
        db.execute("COMMIT")


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Connect to a file that is there, for reading (ro) or writing (rw).

    Raises
    ------
    ProjectError
        Where it is no project, one of another version, or a damaged one.
    """
    db = connected(path, mode)
    try:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if application != _APPLICATION:
            raise ProjectError(f"{path} is no sam2track project")
        if version < VERSION:
            raise ProjectError(
                f"{path} was made by a version of sam2track before its first release; track anew"
            )
        if version > VERSION:
            raise ProjectError(
                f"{path} is a project of version {version}, this program reads up to "
                f"{VERSION}; update sam2track"
            )
        check_tables(db, _SCHEMA, str(path))
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise ProjectError(f"{path} is damaged: {verdict}")
    except BaseException:
        db.close()
        raise
    return db


class Place(NamedTuple):
    """Where a project was opened: its path, which file that was, and the lock held beside it."""

    path: Path
    file: tuple[int, int] | None
    lock: WriterLock | None

    @property
    def is_own(self) -> bool:
        """Whether what lies beside the path is of this project, and not of one made there since.

        As it is where a folder was moved and another job works in one of its name.
        """
        if self.lock is not None and self.lock.is_there():
            return True
        return identity(self.path) in (None, self.file)


def leave_no_log(db: sqlite3.Connection, place: Place) -> None:
    """Leave one file, without a write-ahead log."""
    with suppress(sqlite3.Error):  # another reader holds the log; the next clean close removes it
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if place.is_own:  # SQLite removes a log by its name, whosever it is
            db.execute("PRAGMA journal_mode = DELETE")


def left_open(db: sqlite3.Connection, place: Place, process: int, *, writable: bool) -> None:
    """Close a project that nobody holds any more."""
    if process != os.getpid():
        return  # a fork: SQLite's files are its parent's
    if writable:
        leave_no_log(db, place)
    with suppress(sqlite3.Error):  # of another thread, or closed already
        db.close()
    if place.lock is not None:
        place.lock.release()
