"""Masks of a file that has them in any order, frame by frame; JSON that is read item by item."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sam2track.errors import OutputError, SourceError

__all__ = ["Spool", "items", "spread"]

_DEEPEST = 64  # lists and objects of JSON within each other; of masks there are six


class Spool:
    """What is said of the mask of each object on each frame, in a temporary file.

    What is held in memory does not grow with what is put there.
    """

    def __init__(self) -> None:
        # No name: SQLite makes a file of its own where memory does not do, and removes it.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(
            "CREATE TABLE said (frame INTEGER, object INTEGER, mask TEXT, "
            "PRIMARY KEY (frame, object)) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")

    def put(self, frame: int, object_id: int, mask: str) -> bool:
        """Keep a mask; False where there is one of that object and frame already.

        Raises
        ------
        OutputError
            Where there is no room for the temporary file.
        """
        try:
            found = self._db.execute(
                "INSERT OR IGNORE INTO said VALUES (?, ?, ?)", (frame, object_id, mask)
            )
        except sqlite3.OperationalError as error:  # else it would be one of what is read
            raise OutputError(
                f"cannot write a temporary file: {error}; free space or name another folder for "
                "it (SQLITE_TMPDIR)"
            ) from error
        return found.rowcount == 1

    def frames(self) -> Iterator[int]:
        """Yield the frames that have masks, ascending."""
        for (frame,) in self._db.execute("SELECT DISTINCT frame FROM said ORDER BY frame"):
            yield frame

    def masks(self, frame: int) -> dict[int, str]:
        """What is said on a frame, by object, ascending."""
        rows = self._db.execute(
            "SELECT object, mask FROM said WHERE frame = ? ORDER BY object", (frame,)
        )
        return dict(rows)

    def mask(self, frame: int, object_id: int) -> str | None:
        """What is said of one object on a frame."""
        row = self._db.execute(
            "SELECT mask FROM said WHERE frame = ? AND object = ?", (frame, object_id)
        ).fetchone()
        return None if row is None else str(row[0])

    def __del__(self) -> None:
        self._db.close()


def items(path: Path, prefix: str) -> Iterator[Any]:
    """Yield values of a JSON file one by one.

    Parameters
    ----------
    path : Path
    prefix : str
        Where they are, as ijson says it: ``images.item`` are those of the list ``images``.

    Raises
    ------
    SourceError
        Where it is no JSON.
    """
    import ijson

    with _opened(path) as file:
        yield from ijson.items(file, prefix, use_float=True)


def spread(path: Path, prefix: str, name: str) -> Iterator[tuple[int, str, Any]]:
    """Yield what objects of a JSON file have, the values of one list one by one.

    Parameters
    ----------
    path : Path
    prefix : str
        Where the objects are, as of `items`.
    name : str
        Key of a list of theirs, which may be long.

    Yields
    ------
    (int, str, object)
        Number of the object, from 0; key; value. Of `name` one for each value, in order; other
        lists and objects are left out.

    Raises
    ------
    SourceError
        Where it is no JSON.
    """
    import ijson

    number, item = -1, f"{prefix}.{name}.item"
    value = None  # one that is being put together
    with _opened(path) as file:
        for where, event, said in ijson.parse(file, use_float=True):
            starts = event in ("start_map", "start_array")
            if value is not None or (starts and where == item):
                value = value or ijson.ObjectBuilder()
                value.event(event, said)
                if where == item and event in ("end_map", "end_array"):
                    value.containers.clear()  # it refers to itself, and would stay for a while
                    yield number, name, value.value
                    value = None
            elif where == prefix:
                number += event == "start_map"
            elif where == item:
                yield number, name, said
            elif where.startswith(prefix) and event in ("string", "number", "boolean", "null"):
                parent, _, key = where.rpartition(".")
                if parent == prefix:
                    yield number, key, said


class _Shallow:
    """A file of JSON that is read up to where lists lie too deep in each other.

    ijson holds the names of all that something lies in, for each of these: of 100 kB of brackets
    tens of gigabytes.
    """

    _BESIDE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+', re.DOTALL)

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._depth = 0
        self._string = b""  # how one begins that goes on with what is read next

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises
        ------
        SourceError
            Where there are lists too deep in each other among them.
        """
        block = self._file.read(size)
        text = self._string + block
        brackets, self._string, _ = self._BESIDE.sub(b"", text).partition(b'"')
        if self._string and (len(text) - len(text.rstrip(b"\\"))) % 2:
            self._string += b"\\"
        for one in brackets:
            self._depth += 1 if one in b"[{" else -1
            if self._depth > _DEEPEST:
                raise SourceError(
                    f"cannot read {self._path}: lists lie in more than {_DEEPEST} others; such a "
                    "file has no masks"
                )
        return block


@contextmanager
def _opened(path: Path) -> Iterator[_Shallow]:
    import ijson

    try:
        with path.open("rb") as file:
            yield _Shallow(path, file)
    except ijson.JSONError as error:
        why = " ".join(str(error).split())
        raise SourceError(f"cannot read {path} as JSON: {why:.100}") from error
