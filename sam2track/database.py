"""Project files as SQLite databases that may come from a stranger: opened with guards.

They follow "Defense Against The Dark Arts" (https://sqlite.org/security.html).
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path, PurePath

from sam2track.errors import ProjectError
from sam2track.faults import maybe_full
from sam2track.regular import is_odd

__all__ = [
    "LONGEST_NAME",
    "check_tables",
    "companions",
    "connected",
    "copied",
    "identity",
    "refusal",
    "remove_companions",
    "settle",
]

_FORMAT = slice(18, 20)  # of a database's header: 1, 1 where it has no write-ahead log
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")  # ends a journal that names a super-journal
_MOMENT = 0.1  # seconds, in which a project is opened or closed
_SUFFIXES = ("-wal", "-shm", "-journal", ".lock")
LONGEST_NAME = 255 - len("-journal")  # bytes of a project's, beside which SQLite's files lie
_LIMITS = {
    # Far above what a project needs, and far below what would fill a machine.
    sqlite3.SQLITE_LIMIT_LENGTH: 2**30 - 1,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 2**20,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 3,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 8,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
}


def connected(path: Path, mode: str) -> sqlite3.Connection:
    """Connect to a file that is there, for reading (ro) or writing (rw).

    What such a file could do beyond holding data is switched off.
    """
    db = sqlite3.connect(
        f"{_uri(path.absolute())}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,  # who drives it from several threads serialises
    )
    try:
        for limit, value in _LIMITS.items():
            db.setlimit(limit, value)
        if sys.version_info >= (3, 12):
            db.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("PRAGMA mmap_size = 0")
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:  # of a file that is no database, most of all
        db.close()
        raise
    return db


def _uri(path: PurePath) -> str:
    """A file's address as SQLite takes it, who wants no server in it."""
    uri = path.as_uri()
    shared = uri.startswith("file://") and not uri.startswith("file:///")  # a Windows share
    return f"file:////{uri.removeprefix('file://')}" if shared else uri


def settle(path: Path) -> str:
    """Look at what lies beside a project, and roll back what a writer that was killed has left.

    Projects are written by a write-ahead log, which a reader reads, but the switch to one and back
    is a transaction of the older kind, with a rollback journal: only a connection that may write
    can take it back. Where another process is in that switch, SQLite waits or leaves its journal
    alone.

    Returns
    -------
    str
        What a person is told where it was not closed and its log is not here; else nothing.

    Raises
    ------
    ProjectError
        Where a log or a journal is none of this project's: SQLite would take the log's pages in
        place of the project's, and remove the file that such a journal names.
    """
    log, index, journal = (path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))
    for beside in (log, index, journal):
        if is_odd(beside):
            raise ProjectError(
                f"{beside} is no part of a project: it is not a regular file; move it away"
            )
    if _stays(lambda: _size(log) > 0 and _bytes(path, _FORMAT) == b"\1\1"):
        raise ProjectError(
            f"{log} belongs to another project than {path}, which was closed whole; move it away "
            "to open what lies in the project"
        )
    if not journal.exists():
        if _stays(
            lambda: _bytes(path, _FORMAT) == b"\2\2" and not log.exists() and not journal.exists()
        ):
            return (
                f"{path} was not closed by what wrote it, and {log.name} is not beside it: what "
                "was done last may be missing"
            )
        return ""
    if _bytes(journal, slice(-len(_NAMES_ANOTHER), None)) == _NAMES_ANOTHER:
        raise ProjectError(
            f"{journal} is no journal of a project of sam2track's: it names another file; move it "
            "away to open what lies in the project alone"
        )
    if os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK):
        with closing(connected(path, "rw")) as db:
            db.execute("PRAGMA application_id").fetchone()
    return ""


def _stays(seen: Callable[[], bool]) -> bool:
    """Whether it is so, also a moment later: what writes may just be opening or closing it."""
    if not seen():
        return False
    time.sleep(_MOMENT)
    return seen()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _bytes(path: Path, part: slice) -> bytes:
    """Return a few bytes of a file; those that are not there are left out."""
    try:
        with path.open("rb") as file:
            start, stop, _ = part.indices(file.seek(0, os.SEEK_END))
            file.seek(start)
            return file.read(max(0, stop - start))
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ProjectError(f"{path} cannot be read: {error.strerror}") from error


def refusal(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> str:
    """Say in a line why a file cannot be opened as a project.

    SQLite's verdict quotes what it found, which may be no text at all.
    """
    lies = [log for log in companions(path) if log.suffix != ".lock" and log.exists()]
    asks_to_write = getattr(error, "sqlite_errorname", "").startswith(
        ("SQLITE_CANTOPEN", "SQLITE_READONLY")
    )
    if asks_to_write and lies and not os.access(path.absolute().parent, os.W_OK):
        # SQLite makes an index of a log, beside it, to read it, and takes a journal back.
        return (
            f"{path} was left in the middle of writing, and a part of it lies in {lies[0].name}, "
            "which cannot be read in a folder that cannot be written; copy both files to one that "
            "can, and open it there"
        )
    if asks_to_write and not os.access(path.absolute().parent, os.W_OK):
        return (
            f"{path} was not closed by what wrote it, and can only be read in a folder that can be "
            f"written; copy it to one, with {path.name}-wal if that is somewhere, and open it there"
        )
    full = maybe_full(error) if isinstance(error, sqlite3.Error) else ""
    return f"{path} cannot be opened as a project: {error}{full}"


def check_tables(db: sqlite3.Connection, schema: str, name: str) -> None:
    """Refuse a database with other tables, views or triggers than those of a schema.

    A view or a trigger of a stranger's would be run when its table is read or written.

    Raises
    ------
    ProjectError
        Where one is missing or there is another.
    """
    found, wanted = _tables(db), _tables_of(schema)
    if found != wanted:
        kind, odd = sorted({(row[0], row[1]) for row in found ^ wanted}, key=str)[0]
        raise ProjectError(f"{name} is damaged, or no project: its {kind} {odd!r} is not as made")


def companions(path: Path) -> tuple[Path, ...]:
    """Files that SQLite, and whoever writes, put beside a project; they belong to it."""
    return tuple(path.with_name(path.name + suffix) for suffix in _SUFFIXES)


def remove_companions(path: Path) -> None:
    """Remove what a project that is gone, or goes now, has left beside it.

    SQLite would take a log for that of the next file of this name. The lock stays: it is held.
    """
    for left in companions(path):
        if left.suffix != ".lock":
            left.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path, by device and number; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def copied(db: sqlite3.Connection, path: Path) -> None:
    """Write all that a database holds into one file, which is not there yet."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        db.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # else a log would lie beside it


@cache
def _tables_of(schema: str) -> frozenset[tuple[object, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(schema)
        return _tables(db)


def _tables(db: sqlite3.Connection) -> frozenset[tuple[object, ...]]:
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchmany(1000)
    return frozenset((*row[:3], " ".join(str(row[3]).split())) for row in rows)
