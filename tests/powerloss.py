"""Power that fails: a database's files as a disk may hold them then.

``Recorder`` runs SQL in SQLite on a file system that writes down each write, and each demand that
what was written be on the disk (fsync). ``crashed`` gives files as they may be found after the
power has failed behind one of these: what was asked to be on the disk is there, of all
later writes each 512 bytes are there or not, at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

_SECTOR = 512


@dataclass(frozen=True)
class Done:
    """One thing that was done to a file: write, cut, sync or remove."""

    what: str
    name: str
    at: int = 0
    data: bytes = b""


@dataclass
class Recorder:
    """Runs statements on a file, and keeps all that was done to it and the files beside it.

    Attributes
    ----------
    log : list of Done
    marks : list of int
        Length of the log after each statement.
    """

    path: Path
    log: list[Done] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)

    def run(self, statements: Iterable[str]) -> None:
        """Run statements, each by itself."""
        vfs = _Vfs(self.log)
        db = apsw.Connection(str(self.path), vfs="recorded")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # this file system has no shared memory
        for statement in statements:
            db.execute(statement)
            self.marks.append(len(self.log))
        db.close()
        vfs.unregister()


def crashed(first: bytes, log: list[Done], chance: random.Random) -> dict[str, bytes]:
    """Return the files by their ending, "" for the database, after what a log says."""
    safe: dict[str, bytearray] = {"": bytearray(first)}
    loose: dict[str, list[Done]] = {}
    for done in log:
        if done.what == "sync":
            for late in loose.pop(done.name, ()):
                _apply(safe.setdefault(done.name, bytearray()), late, None)
        elif done.what == "remove":
            safe.pop(done.name, None)
            loose.pop(done.name, None)
        else:
            loose.setdefault(done.name, []).append(done)
    for name, late in loose.items():
        # A disk may have kept all, nothing, or whatever came to it first.
        share = chance.choice((0.0, 0.5, 0.9, 1.0))
        for done in late:
            file = safe.setdefault(name, bytearray())
            _apply(file, done, lambda part=share: chance.random() < part)
    return {name: bytes(data) for name, data in safe.items()}


def _apply(file: bytearray, done: Done, kept: Any) -> None:
    if done.what == "cut":
        if kept is None or kept():
            del file[done.at :]
        return
    start, data = done.at, done.data
    while data:
        size = _SECTOR - start % _SECTOR
        piece, data = data[:size], data[size:]
        if kept is None or kept():
            if len(file) < start:
                file.extend(bytes(start - len(file)))
            file[start : start + len(piece)] = piece
        start += len(piece)


class _Vfs(apsw.VFS):
    def __init__(self, log: list[Done]) -> None:
        self._log = log
        super().__init__("recorded", "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _File(name, flags, self._log)

    def xDelete(self, name: str, syncdir: bool) -> None:
        super().xDelete(name, syncdir)
        self._log.append(Done("remove", _ending(name)))


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], log: list[Done]) -> None:
        super().__init__("", name, flags)
        self._log = log
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = _ending(text)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._log.append(Done("write", self._name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._log.append(Done("cut", self._name, size))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._log.append(Done("sync", self._name))


def _ending(name: str | None) -> str:
    for ending in ("-wal", "-journal", "-shm"):
        if name is not None and name.endswith(ending):
            return ending
    return ""
