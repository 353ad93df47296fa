"""The project file: prompts, journal, masks, scores and settings of one video, in SQLite.

The schema is documented in docs/project-file.md. While a project is open for writing it is in
write-ahead mode, so that others may read it; a clean close leaves one file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from sam2track import masks as rle
from sam2track.errors import OutputError, ProjectError, ProjectExistsError, Sam2TrackError
from sam2track.prompts import Prompt, Prompts
from sam2track.table import Source, TrackRow, row
from sam2track.tracking.history import SOURCES, Record, dequantise, quantise
from sam2track.tracking.result import FrameResult
from sam2track.tracking.state import State

__all__ = ["VERSION", "Project"]

VERSION = 1
_APPLICATION = 0x73327400  # "s2t", in the header of the file
_MOST_CODES = 2**24  # decoders' grids are far smaller: a limit for damaged files

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE times (frame INTEGER PRIMARY KEY, seconds REAL NOT NULL);
CREATE TABLE objects (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE prompts (
    object INTEGER NOT NULL, frame INTEGER NOT NULL,
    said TEXT NOT NULL, mask BLOB,
    PRIMARY KEY (object, frame)
) WITHOUT ROWID;
CREATE TABLE results (
    frame INTEGER NOT NULL, object INTEGER NOT NULL,
    source INTEGER NOT NULL, score REAL NOT NULL, iou REAL NOT NULL,
    mask BLOB NOT NULL, pointer BLOB NOT NULL, codes BLOB NOT NULL, side INTEGER NOT NULL,
    PRIMARY KEY (frame, object)
);
CREATE INDEX results_by_object ON results (object, frame);
CREATE TABLE states (
    id INTEGER PRIMARY KEY, backward INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE TABLE journal (step INTEGER PRIMARY KEY, action TEXT NOT NULL);
"""


class Project:
    """A project file; also a History for a tracker.

    Use ``Project.create`` for a new one and ``Project.open`` for one that is there.

    Attributes
    ----------
    path : Path
        The file.
    meta : dict of str to JSON value
        Source, its size and fingerprint, model and settings.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
        self.path = path
        self._db = connection
        self._writable = writable
        with self._errors():
            rows = self._db.execute("SELECT key, value FROM meta")
            self.meta: dict[str, Any] = {key: json.loads(value) for key, value in rows}
            height, width = self.meta["height"], self.meta["width"]
            if type(height) is not int or type(width) is not int or min(height, width) < 1:
                raise ValueError(f"its frames have {height!r} rows and {width!r} columns")

    # -- opening and closing ------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        meta: dict[str, Any],
        times: npt.NDArray[np.float64],
    ) -> Self:
        """Make a new project.

        Parameters
        ----------
        path : path
            A file that is not there yet.
        meta : dict
            JSON values; ``height``, ``width`` and ``frames`` of the source are needed.
        times : (T,) float64 array
            Seconds of each frame of the source.

        Raises
        ------
        ProjectExistsError
            Where there is a file already.
        OutputError
            Where it cannot be written.
        """
        path = Path(path)
        if path.exists():
            raise ProjectExistsError(f"{path} is there already; resume or overwrite it")
        db = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, isolation_level=None)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
            with db:
                db.execute("BEGIN")
                db.executemany(
                    "INSERT INTO meta VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in meta.items()],
                )
                db.executemany(
                    "INSERT INTO times VALUES (?, ?)",
                    ((frame, float(seconds)) for frame, seconds in enumerate(times)),
                )
        except BaseException as error:
            if db is not None:
                db.close()
                # Half a project would be in the way of the next attempt.
                for ending in ("", "-wal", "-shm"):
                    path.with_name(path.name + ending).unlink(missing_ok=True)
            if isinstance(error, OSError | sqlite3.Error):
                raise OutputError(f"{path} cannot be written: {error}") from error
            raise
        return cls(path, db, writable=True)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, writable: bool = False) -> Self:
        """Open a project that is there.

        Raises
        ------
        ProjectError
            Where it is missing, damaged, or made by a newer version.
        """
        path = Path(path)
        if not path.is_file():
            raise ProjectError(f"there is no project at {path}")
        mode = "rw" if writable else "ro"
        db = None
        try:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)
            db.isolation_level = None
            # What a file from a stranger could do beyond holding data is switched off.
            db.execute("PRAGMA trusted_schema = OFF")
            application = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if application != _APPLICATION:
                raise ProjectError(f"{path} is no sam2track project")
            if version > VERSION:
                raise ProjectError(
                    f"{path} is a project of version {version}, this program reads up to "
                    f"{VERSION}; update sam2track"
                )
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise ProjectError(f"{path} is damaged: {verdict}")
            if writable:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
            return cls(path, db, writable=writable)
        except BaseException as error:
            if db is not None:
                db.close()
            # SQLite's verdict quotes what it found, which may be no text at all.
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):
                raise ProjectError(f"{path} cannot be opened as a project: {error}") from error
            raise

    def close(self) -> None:
        """Leave one file without a write-ahead log."""
        try:
            if self._writable:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._db.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error:
            # Another reader holds the log; the next clean close removes it.
            pass
        finally:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ProjectError(f"{self.path}: {error}") from error
        except Sam2TrackError:
            raise
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
            raise ProjectError(f"{self.path} is damaged: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                # On a full disk SQLite has rolled back already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise OutputError(f"{self.path} cannot be written: {error}") from error

    # -- what it holds ------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Height of the upright frame in pixels."""
        return int(self.meta["height"])

    @property
    def width(self) -> int:
        """Width of the upright frame in pixels."""
        return int(self.meta["width"])

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames that hold results, ascending."""
        with self._errors():
            rows = self._db.execute("SELECT DISTINCT frame FROM results ORDER BY frame")
            return tuple(frame for (frame,) in rows)

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects, ascending."""
        with self._errors():
            return tuple(i for (i,) in self._db.execute("SELECT id FROM objects ORDER BY id"))

    @property
    def names(self) -> dict[int, str]:
        """Names of the objects by id; empty where a person gave none."""
        with self._errors():
            return dict(self._db.execute("SELECT id, name FROM objects"))

    def time(self, frame: int) -> float:
        """Presentation time of a frame in seconds."""
        with self._errors():
            found = self._db.execute("SELECT seconds FROM times WHERE frame = ?", (frame,))
            value = found.fetchone()
            if value is None:
                raise ProjectError(f"{self.path} knows no frame {frame}")
            return float(value[0])

    @property
    def prompts(self) -> Prompts:
        """What was said of the objects."""
        found = Prompts(names={i: str(name) for i, name in self.names.items() if name})
        with self._errors():
            rows = self._db.execute("SELECT object, frame, said, mask FROM prompts").fetchall()
            for object_id, frame, said, mask in rows:
                prompt = Prompt(**json.loads(said), mask=None if mask is None else rle.decode(mask))
                found.add(object_id, frame, prompt)
        return found

    def masks(self, frame: int) -> dict[int, npt.NDArray[np.bool_]]:
        """Masks on a frame by object, (H, W) bool; they may overlap.

        Raises
        ------
        ProjectError
            Where the source has no such frame.
        """
        self.time(frame)
        with self._errors():
            rows = self._db.execute(
                "SELECT object, mask FROM results WHERE frame = ? ORDER BY object", (frame,)
            ).fetchall()
            return {object_id: self._mask(mask) for object_id, mask in rows}

    def labels(self, frame: int) -> npt.NDArray[np.int32]:
        """Label map of a frame, (H, W) int32.

        Where masks overlap the highest logit wins, as far as eight bits tell; ties go to the
        lower id.
        """
        self.time(frame)  # which knows whether there is such a frame
        with self._errors():
            rows = self._db.execute(
                "SELECT object, mask, codes, side FROM results WHERE frame = ? ORDER BY object",
                (frame,),
            ).fetchall()
            return self._painted(rows)

    def _painted(self, rows: Sequence[tuple[int, bytes, bytes, int]]) -> npt.NDArray[np.int32]:
        labels = np.zeros((self.height, self.width), np.int32)
        found = [
            (object_id, self._mask(mask), codes, side) for object_id, mask, codes, side in rows
        ]
        covered = np.zeros(labels.shape, np.uint16)
        for _, mask, _, _ in found:
            covered += mask
        shared = covered > 1
        contested = bool(shared.any())
        best = np.zeros(labels.shape, np.uint8) if contested else None
        for object_id, mask, codes, side in found:
            if best is None:
                labels[mask] = object_id
                continue
            labels[mask & ~shared] = object_id
            here = mask & shared
            if not here.any():
                continue
            import cv2

            small = self._codes(codes, side)
            size = (self.width, self.height)
            large = np.maximum(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), 1)
            wins = here & (large > best)
            labels[wins] = object_id
            best[wins] = large[wins]
        return labels

    def rows(self) -> Iterator[TrackRow]:
        """Yield one row for each begun object and frame, by frame and object."""
        names = self.names
        with self._errors():
            carried = set(self.meta.get("carried", ()))
        for frame in self.frames:
            time = self.time(frame)
            with self._errors():
                found = self._db.execute(
                    "SELECT object, source, score, iou, mask FROM results "
                    "WHERE frame = ? ORDER BY object",
                    (frame,),
                ).fetchall()
            for object_id, source, score, iou, mask in found:
                with self._errors():
                    how = _how(source)
                    if frame in carried and how in ("forward", "backward"):
                        how = "carried"
                    one = row(
                        self._mask(mask),
                        frame=frame,
                        time=time,
                        object_id=object_id,
                        source=cast(Source, how),
                        name=str(names.get(object_id, "")),
                        object_score=float(score),
                        predicted_iou=float(iou),
                    )
                yield one

    def summary(self) -> list[dict[str, Any]]:
        """Each object's id, name, first and last frame, and mean object score."""
        with self._errors():
            rows = self._db.execute(
                "SELECT id, name, min(frame), max(frame), avg(score) FROM objects "
                "LEFT JOIN results ON results.object = objects.id GROUP BY id ORDER BY id"
            ).fetchall()
        keys = ("id", "name", "first", "last", "mean_score")
        return [dict(zip(keys, values, strict=True)) for values in rows]

    def journal(self) -> list[dict[str, Any]]:
        """What was done, in order."""
        with self._errors():
            rows = self._db.execute("SELECT action FROM journal ORDER BY step").fetchall()
            return [json.loads(action) for (action,) in rows]

    def has(self, object_id: int, frame: int) -> bool:
        """Whether there is a result of an object on a frame."""
        with self._errors():
            found = self._db.execute(
                "SELECT 1 FROM results WHERE object = ? AND frame = ?", (object_id, frame)
            )
            return found.fetchone() is not None

    def _mask(self, data: bytes) -> npt.NDArray[np.bool_]:
        mask = rle.decode(data)
        if mask.shape != (self.height, self.width):
            raise ProjectError(f"{self.path} is damaged: a mask of another size than the frames")
        return mask

    def _codes(self, data: bytes, side: int) -> npt.NDArray[np.uint8]:
        if not 0 < side * side <= _MOST_CODES:
            raise ProjectError(f"{self.path} is damaged: logits on a grid of {side}")
        inflater = zlib.decompressobj()
        # One byte more than there are, so that the checksum at the end is looked at.
        unpacked = inflater.decompress(data, side * side + 1)
        if not inflater.eof:
            raise ProjectError(f"{self.path} is damaged: logits that are cut off")
        return np.frombuffer(unpacked, np.uint8).reshape(side, side)

    # -- what is written ----------------------------------------------------------------

    def set_meta(self, **values: Any) -> None:
        """Store settings."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in values.items()],
            )
        self.meta.update(values)

    def add_prompt(self, object_id: int, frame: int, prompt: Prompt, *, name: str = "") -> None:
        """Store a prompt, and write it down in the journal."""
        said = {
            "points": prompt.points,
            "labels": prompt.labels,
            "box": prompt.box,
            "absent": prompt.absent,
        }
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO objects VALUES (?, ?)", (object_id, name))
            db.execute(
                "INSERT OR REPLACE INTO prompts VALUES (?, ?, ?, ?)",
                (
                    object_id,
                    frame,
                    json.dumps(said),
                    None if prompt.mask is None else rle.encode(prompt.mask),
                ),
            )
            self._note(db, {"action": "prompt", "object": object_id, "frame": frame})

    def note(self, action: dict[str, Any]) -> None:
        """Write an action down in the journal."""
        with self._transaction() as db:
            self._note(db, action)

    def save_state(self, state: State) -> None:
        """Keep where tracking stands; the last two are kept."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO states (backward, data) VALUES (?, ?)",
                (int(state.backward), state.to_bytes()),
            )
            db.execute(
                "DELETE FROM states "
                "WHERE id NOT IN (SELECT id FROM states ORDER BY id DESC LIMIT 2)"
            )

    def last_state(self) -> State | None:
        """Where tracking stood last, None where that was never kept."""
        with self._errors():
            found = self._db.execute("SELECT data FROM states ORDER BY id DESC LIMIT 1")
            data = found.fetchone()
            return None if data is None else State.from_bytes(data[0])

    @staticmethod
    def _note(db: sqlite3.Connection, action: dict[str, Any]) -> None:
        db.execute("INSERT INTO journal (action) VALUES (?)", (json.dumps(action),))

    # -- the History of a tracker -------------------------------------------------------

    def put(self, result: FrameResult, records: Sequence[Record]) -> None:
        """Keep what came of a frame, in one transaction."""
        packed = [
            (
                record.frame,
                record.object_id,
                SOURCES.index(record.source),
                record.score,
                record.iou,
                rle.encode(mask),
                record.pointer.astype(np.float32).tobytes(),
                zlib.compress(quantise(record.logits).tobytes(), 6),
                record.logits.shape[0],
            )
            for record, mask in zip(records, result.masks, strict=True)
        ]
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", packed
            )

    def get(self, object_id: int, frame: int) -> Record | None:
        """Return what is kept of an object on a frame."""
        with self._errors():
            found = self._db.execute(
                "SELECT source, score, iou, pointer, codes, side FROM results "
                "WHERE object = ? AND frame = ?",
                (object_id, frame),
            ).fetchone()
            if found is None:
                return None
            source, score, iou, pointer, codes, side = found
            return Record(
                object_id,
                frame,
                dequantise(self._codes(codes, side)),
                np.frombuffer(pointer, np.float32),
                float(score),
                float(iou),
                _how(source),
            )

    def forget(self, object_id: int, start: int = 0, stop: int | None = None) -> None:
        """Drop an object's frames in [start, stop)."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM results WHERE object = ? AND frame >= ? AND frame < ?",
                (object_id, start, 2**62 if stop is None else stop),
            )


def _how(source: int) -> str:
    """How a mask came about, by its number."""
    if not 0 <= source < len(SOURCES):
        raise ValueError(f"a result of kind {source}")
    return SOURCES[source]
