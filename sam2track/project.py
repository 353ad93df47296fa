"""The project file: prompts, journal, masks, scores and settings of one video, in SQLite.

The schema is documented in docs/project-file.md. While a project is open for writing it is in
write-ahead mode, so that others may read it; a clean close leaves one file.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import numpy.typing as npt
import portalocker

from sam2track import masks as rle
from sam2track.database import check_tables, companions, connected, remove_companions
from sam2track.errors import OutputError, ProjectError, ProjectExistsError, ProjectInUseError
from sam2track.export.exporting import Exported, export_results
from sam2track.export.sequence import Options
from sam2track.export.staging import Staged
from sam2track.prompts import Prompt, Prompts
from sam2track.stored import STORED, Stored
from sam2track.table import COLUMNS, Observation, Source, TrackRow, row
from sam2track.tracking.actions import pack_prompt
from sam2track.tracking.codes import unpack
from sam2track.tracking.history import Life
from sam2track.tracking.ledger import Ledger, how
from sam2track.tracking.steps import SCHEMA

if TYPE_CHECKING:
    import pandas

__all__ = ["VERSION", "Project", "WriterLock"]

VERSION = 4
_APPLICATION = 0x73327400  # "s2t", in the header of the file
_PART = 500  # frames that are read at once

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE times (frame INTEGER PRIMARY KEY, seconds REAL NOT NULL);
{SCHEMA}
"""


class WriterLock:
    """Keeps other writers away from a project, and from what a job writes beside it.

    Parameters
    ----------
    path : path
        The project, which need not be there yet; a file of its name and ``.lock`` lies beside it
        while the lock is held.

    Raises
    ------
    ProjectInUseError
        Where another holds it.
    OutputError
        Where the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        self._path = path.with_name(path.name + ".lock")
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = self._path.open("a")
            except OSError as error:
                raise OutputError(f"{path.parent} cannot be written: {error.strerror}") from error
            try:
                portalocker.lock(self._handle, portalocker.LOCK_EX | portalocker.LOCK_NB)
            except portalocker.LockException as error:
                self._handle.close()
                raise ProjectInUseError(
                    f"{path} is in use by another job or viewer; wait for it, or work elsewhere"
                ) from error
            if self._is_there():
                return
            self._handle.close()  # whoever held it before has removed it meanwhile

    def _is_there(self) -> bool:
        """Whether what is held still lies where others look for it."""
        try:
            return os.path.samestat(os.fstat(self._handle.fileno()), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Let others write."""
        # Removed while it is still held, so that nobody locks a file that is gone.
        self._path.unlink(missing_ok=True)
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Project(Ledger):
    """A project file; also a History for a tracker.

    Use ``Project.create`` for a new one and ``Project.open`` for one that is there.

    Attributes
    ----------
    path : Path
        The file.
    meta : dict of str to JSON value
        Source, its size and fingerprint, model and settings.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        writable: bool,
        lock: WriterLock | None = None,
    ) -> None:
        super().__init__(connection, name=str(path), masks=True)
        self.path = path
        self._writable = writable
        self._lock = lock
        with self._errors():
            rows = self._db.execute("SELECT key, value FROM meta")
            self.meta: dict[str, Any] = {key: json.loads(value) for key, value in rows}
            if self._db.execute("SELECT count(*) FROM head").fetchone()[0] != 1:
                raise ValueError("it does not say which step is in force")
            self._db.execute("SELECT 1 FROM journal LIMIT 1")
            height, width = self.meta["height"], self.meta["width"]
            if type(height) is not int or type(width) is not int or min(height, width) < 1:
                raise ValueError(f"its frames have {height!r} rows and {width!r} columns")
            if height * width > rle.MAX_PIXELS:
                raise ValueError(f"its frames have {height} x {width} pixels, more than a mask may")

    # -- opening and closing ------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        meta: dict[str, Any],
        times: npt.NDArray[np.float64],
        lock: WriterLock | None = None,
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
        lock : WriterLock, optional
            One that is held already; otherwise the project holds its own until it is closed.

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
        own = WriterLock(path) if lock is None else None
        # Under its own name it is whole, whenever the program may be killed.
        try:
            with Staged(path) as whole:
                remove_companions(whole.partial)
                cls._fill(whole.partial, meta, times)
                remove_companions(path)
            db = connected(path, "rw")
            db.execute("PRAGMA journal_mode = WAL")
        except BaseException as error:
            if own is not None:
                own.release()
            if isinstance(error, OSError | sqlite3.Error):
                raise OutputError(f"{path} cannot be written: {error}") from error
            raise
        return cls(path, db, writable=True, lock=own)

    @staticmethod
    def _fill(path: Path, meta: dict[str, Any], times: npt.NDArray[np.float64]) -> None:
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

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        writable: bool = False,
        lock: WriterLock | None = None,
    ) -> Self:
        """Open a project that is there.

        Parameters
        ----------
        path : path
            The file, or the folder that holds it as ``project.s2t``.
        writable : bool
            One at a time may write; any number may read meanwhile.
        lock : WriterLock, optional
            As ``create``.

        Raises
        ------
        ProjectError
            Where it is missing, damaged, or made by a newer version.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "project.s2t"
        if not path.is_file():
            raise ProjectError(f"there is no project at {path}")
        mode = "rw" if writable else "ro"
        own = WriterLock(path) if writable and lock is None else None
        db = None
        try:
            if writable and not os.access(path, os.W_OK):
                raise OutputError(f"{path} cannot be written: it is read-only")
            db = connected(path, mode)
            application = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if application != _APPLICATION:
                raise ProjectError(f"{path} is no sam2track project")
            if version < VERSION:
                raise ProjectError(
                    f"{path} was made by a version of sam2track before its first release; "
                    f"track anew"
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
            if writable:
                db.execute("PRAGMA journal_mode = WAL")
            return cls(path, db, writable=writable, lock=own)
        except BaseException as error:
            if db is not None:
                db.close()
            if own is not None:
                own.release()
            # SQLite's verdict quotes what it found, which may be no text at all.
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):
                raise ProjectError(f"{path} cannot be opened as a project: {error}") from error
            raise

    def bind(self, leave: Callable[[], None], made_with: Mapping[str, Any]) -> None:
        """Serve a tracker of the same pictures and model; the one before leaves.

        Raises
        ------
        ProjectError
            Where pictures, model or settings are not those that the project was made with, or it
            is open for reading alone.
        """
        if not self._writable:
            raise ProjectError(
                f"{self.path} is open for reading alone; open it with writable=True to track"
            )
        for key, value in made_with.items():
            if key not in self.meta:
                continue
            now = value() if callable(value) else value
            if now == self.meta[key]:
                continue
            if key == "fingerprint":
                raise ProjectError(
                    f"{self.path} was made from other pictures; give what it was made from "
                    f"({self.meta.get('source')})"
                )
            raise ProjectError(
                f"{self.path} was made with {key} {self.meta[key]!r}, now it is {now!r}; give "
                "what it was made with, or make another project"
            )
        super().bind(leave, made_with)

    def close(self) -> None:
        """Leave one file without a write-ahead log.

        A tracker that works on it keeps where it stands first.
        """
        try:
            self._part()
            if self._writable:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._db.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error:
            # Another reader holds the log; the next clean close removes it.
            pass
        finally:
            super().close()
            if self._lock is not None:
                self._lock.release()

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Within, read the project as it is now, whatever another connection writes meanwhile."""
        with self._errors():
            self._db.execute("BEGIN")
            self._db.execute("SELECT count(*) FROM head").fetchone()  # from here on
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    @property
    def lineage(self) -> dict[int, int]:
        """Mother of each object that is a daughter."""
        return {life.object_id: life.mother for life in self.lives() if life.mother is not None}

    def time(self, frame: int) -> float:
        """When a frame is, in seconds: frame times interval where the source says the interval.

        That of a time-lapse is not the rate at which its pictures are played (``times``).
        """
        interval = self.meta.get("frame_interval_s")
        with self._errors():
            found = self._db.execute("SELECT seconds FROM times WHERE frame = ?", (frame,))
            value = found.fetchone()
            if value is None:
                raise ProjectError(f"{self.path} knows no frame {frame}")
            return float(value[0]) if interval is None else frame * float(interval)

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Time at which each frame is played, in seconds, (T,) float64."""
        with self._errors():
            rows = self._db.execute("SELECT seconds FROM times ORDER BY frame").fetchall()
            return np.array([seconds for (seconds,) in rows], np.float64)

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

    def labels(self, frame: int, objects: Collection[int] | None = None) -> npt.NDArray[np.int32]:
        """Label map of a frame, (H, W) int32, of all objects or some.

        Where masks overlap the highest logit wins, as far as twelve bits tell; ties go to the
        lower id.
        """
        self.time(frame)  # which knows whether there is such a frame
        with self._errors():
            rows = self._db.execute(
                "SELECT object, mask, codes, side FROM results WHERE frame = ? ORDER BY object",
                (frame,),
            ).fetchall()
            if objects is not None:
                rows = [row for row in rows if row[0] in objects]
            return self._painted(rows)

    def _painted(self, rows: Sequence[tuple[int, bytes, bytes, int]]) -> npt.NDArray[np.int32]:
        labels = np.zeros((self.height, self.width), np.int32)
        found = [
            (object_id, self._mask(mask), codes, side) for object_id, mask, codes, side in rows
        ]
        if len(found) < 2:
            for object_id, mask, _, _ in found:
                labels[mask] = object_id
            return labels
        covered = np.zeros(labels.shape, np.uint16)
        for _, mask, _, _ in found:
            covered += mask
        shared = covered > 1
        contested = bool(shared.any())
        best = np.zeros(labels.shape, np.uint16) if contested else None
        for object_id, mask, codes, side in found:
            if best is None:
                labels[mask] = object_id
                continue
            labels[mask & ~shared] = object_id
            here = mask & shared
            if not here.any():
                continue
            import cv2

            small = unpack(codes, side)
            size = (self.width, self.height)
            large = np.maximum(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), 1)
            wins = here & (large > best)
            labels[wins] = object_id
            best[wins] = large[wins]
        return labels

    def observations(
        self, frames: Iterable[int] | None = None
    ) -> Iterator[tuple[int, list[Observation]]]:
        """Yield frames with their begun objects and masks, by object; one is held at a time.

        Parameters
        ----------
        frames : iterable of int, optional
            All that hold results, ascending, if not given.
        """
        names = self.names
        with self._errors():
            carried = set(self.meta.get("carried", ()))
        for frame in self.frames if frames is None else frames:
            time = self.time(frame)
            with self._errors():
                rows = self._db.execute(
                    "SELECT object, source, score, iou, mask, codes, side FROM results "
                    "WHERE frame = ? ORDER BY object",
                    (frame,),
                ).fetchall()
                found = []
                for object_id, source, score, iou, packed, codes, side in rows:
                    origin = how(source)
                    if frame in carried and origin in ("forward", "backward"):
                        origin = "carried"
                    mask = self._mask(packed)
                    one = row(
                        mask,
                        frame=frame,
                        time=time,
                        object_id=object_id,
                        source=cast(Source, origin),
                        name=str(names.get(object_id, "")),
                        object_score=float(score),
                        predicted_iou=float(iou),
                    )
                    found.append(Observation(one, mask, codes, side))
            yield frame, found

    def rows(self) -> Iterator[TrackRow]:
        """Yield one row for each begun object and frame, by frame and object.

        Places and areas are stored, so that no mask is read.
        """
        for part in self._stored():
            with self._errors():
                rows = part.rows()
            yield from rows

    def lines(self) -> Iterator[str]:
        """Yield the lines of ``tracks.csv``, many at once: `rows` as text."""
        for part in self._stored():
            with self._errors():
                lines = part.lines()
            yield lines

    def _stored(self) -> Iterator[Stored]:
        names, frames = self.names, self.frames
        with self._errors():
            carried = set(self.meta.get("carried", ()))
            interval = self.meta.get("frame_interval_s")
        # In parts, so that whoever stops in the middle leaves no query open.
        for at in range(0, len(frames), _PART):
            span = (frames[at], frames[min(at + _PART, len(frames)) - 1])
            with self._errors():
                times = self._db.execute(
                    "SELECT frame, seconds FROM times WHERE frame BETWEEN ? AND ?", span
                ).fetchall()
                found = self._db.execute(
                    f"SELECT {STORED} FROM results WHERE frame BETWEEN ? AND ? "
                    "ORDER BY frame, object",
                    span,
                ).fetchall()
                if interval is not None:
                    times = [(frame, frame * float(interval)) for frame, _ in times]
            yield Stored(found, names, dict(times), carried)

    def table(
        self,
        *,
        source: Any = None,
        intensities: bool = True,
        pixel_size_um: float | None = None,
        frame_interval_s: float | None = None,
    ) -> pandas.DataFrame:
        """Measure all objects on all frames: see docs/measurements.md for the columns.

        Parameters
        ----------
        source : path, array or FrameSource, optional
            Where the pictures are, if no longer where the project says.
        intensities : bool
            Whether to read the pictures.
        pixel_size_um, frame_interval_s : float, optional
            Micrometres and seconds; those of the project, if not given.

        Returns
        -------
        pandas.DataFrame
            One row for each begun object and frame. Where the pictures cannot be had, or changed,
            a UserWarning says so and there are no intensities.

        Raises
        ------
        UsageError
            Where a size or an interval is not above 0.
        """
        from sam2track.tables import frames_and_objects

        scale = (pixel_size_um, frame_interval_s)
        return frames_and_objects(self, *scale, source=source, intensities=intensities)[0]

    def object_table(
        self, *, pixel_size_um: float | None = None, frame_interval_s: float | None = None
    ) -> pandas.DataFrame:
        """Measure the path of each object, one row each; parameters as `table`."""
        from sam2track.tables import frames_and_objects

        scale = (pixel_size_um, frame_interval_s)
        return frames_and_objects(self, *scale, intensities=False)[1]

    def export(self, output: str | os.PathLike[str], *, format: str, **options: Any) -> Exported:
        """Write what it holds in a format that other tools read (docs/export.md).

        Parameters
        ----------
        output : path
            A file, or for formats of many files a folder that is not there yet.
        format : str
            One of ``sam2track.export.exporting.FORMATS``: ``davis``, ``coco``, ``ctc``, ...
        **options
            As in ``sam2track.export.sequence.Options``.

        Returns
        -------
        Exported
            With one warning for each thing that the format cannot hold.

        Raises
        ------
        UsageError
            Where the format, an option or the target cannot be.
        ProjectError
            Where there are no results.
        OutputError
            Where it cannot be written; nothing is left under its name then.
        """
        return export_results(
            self,
            format,
            os.fspath(output),
            meta=self.meta,
            columns=COLUMNS,
            options=Options(**options),
            keep=(self.path, *companions(self.path)),
        )

    def scores(self) -> Iterator[tuple[int, int, float, float, str]]:
        """Yield object, frame, object score, predicted IoU and source of all that was tracked."""
        with self._errors():
            for object_id, frame, score, iou, source in self._db.execute(
                "SELECT object, frame, score, iou, source FROM results ORDER BY object, frame"
            ):
                yield object_id, frame, float(score), float(iou), how(source)

    def summary(self) -> list[dict[str, Any]]:
        """Each object's id, name, first and last frame, and mean object score."""
        with self._errors():
            rows = self._db.execute(
                "SELECT o.id, o.name, min(r.frame), max(r.frame), avg(r.score) FROM objects AS o "
                "LEFT JOIN results AS r ON r.object = o.id GROUP BY o.id ORDER BY o.id"
            ).fetchall()
        keys = ("id", "name", "first", "last", "mean_score")
        return [dict(zip(keys, values, strict=True)) for values in rows]

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

    def info(self) -> dict[str, Any]:
        """What it holds, as JSON values: settings, objects, counts and sizes in bytes."""
        with self._errors():
            frames, results = self._db.execute(
                "SELECT count(DISTINCT frame), count(*) FROM results"
            ).fetchone()
            sizes = self._db.execute(
                "SELECT sum(length(mask)), sum(length(codes)), sum(length(pointer)) FROM results"
            ).fetchone()
            (past,) = self._db.execute(
                "SELECT count(*) FROM all_results, head "
                "WHERE NOT (since <= position AND position < until)"
            ).fetchone()
            (states,) = self._db.execute("SELECT sum(length(data)) FROM states").fetchone()
            (prompts,) = self._db.execute("SELECT count(*) FROM prompts").fetchone()
        lives = {life.object_id: life for life in self.lives()}
        objects = [
            row
            | {
                "birth": lives[row["id"]].birth,
                "end": lives[row["id"]].end,
                "mother": lives[row["id"]].mother,
                "locked": lives[row["id"]].locked,
                "to_run": {
                    "forward": lives[row["id"]].forward,
                    "backward": lives[row["id"]].backward,
                },
            }
            for row in self.summary()
        ]
        per_result = {
            name: round((size or 0) / max(1, results), 1)
            for name, size in zip(("mask", "logits", "pointer"), sizes, strict=True)
        }
        return {
            "version": 1,
            "path": str(self.path),
            "file_bytes": self.path.stat().st_size,
            "source": self.meta,
            "frames": frames,
            "results": results,
            "bytes_per_result": per_result,
            "replaced_results": past,
            "state_bytes": states or 0,
            "prompts": prompts,
            "objects": objects,
            "journal": self.journal(),
        }

    # -- what is written ----------------------------------------------------------------

    @contextmanager
    def step(self, kind: str, action: Mapping[str, Any]) -> Iterator[int]:
        """Begin a step; what a person said, and all before it, is on the disk when it ends."""
        lasting = kind != "propagate" and not self._db.in_transaction
        if lasting:
            self._db.execute("PRAGMA synchronous = FULL")
        try:
            with super().step(kind, action) as number:
                yield number
        finally:
            if lasting:
                with suppress(sqlite3.Error):
                    self._db.execute("PRAGMA synchronous = NORMAL")

    def set_meta(self, **values: Any) -> None:
        """Store settings."""
        with self.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in values.items()],
            )
        self.meta.update(values)

    def add_frame(self, frame: int, seconds: float) -> None:
        """Note that the source has one frame more, of a stream, and when it is shown."""
        with self.transaction() as db:
            db.execute("INSERT INTO times VALUES (?, ?)", (frame, seconds))
            self.set_meta(frames=frame + 1)

    def add_prompt(self, object_id: int, frame: int, prompt: Prompt, *, name: str = "") -> None:
        """Store a prompt as a step; a tracker that opens the project answers it."""
        action: dict[str, Any] = {
            "object": object_id,
            "frame": frame,
            "said": pack_prompt(prompt),
            "name": name,
        }
        known = {life.object_id: life for life in self.lives()}
        life = known.get(object_id) or Life(object_id, name, forward=frame, backward=frame)
        ahead, back = (frame if f is None else f for f in (life.forward, life.backward))
        with self.step("prompt", action):
            self.keep_life(replace(life, forward=min(ahead, frame), backward=max(back, frame)))
            self.say(object_id, frame, prompt)
