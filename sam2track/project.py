"""The project file: prompts, journal, masks, scores and settings of one video, in SQLite.

The schema is documented in docs/project-file.md. While a project is open for writing it is in
write-ahead mode, so that others may read it; a clean close leaves one file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy.typing as npt

from sam2track import masks as rle
from sam2track.arguments import check_flag, check_path
from sam2track.database import (
    LONGEST_NAME,
    companions,
    connected,
    copied,
    identity,
    refusal,
    remove_companions,
    settle,
)
from sam2track.entries import Entries
from sam2track.errors import (
    OutputError,
    ProjectError,
    ProjectExistsError,
    Sam2TrackError,
    UsageError,
)
from sam2track.export import output_errors
from sam2track.export.exporting import Exported, export_results
from sam2track.export.sequence import Options
from sam2track.export.staging import Staged
from sam2track.locks import WriterLock
from sam2track.project_file import Place, connect, leave_no_log, left_open, make
from sam2track.table import COLUMNS
from sam2track.values import check_meta, check_new, check_rows

if TYPE_CHECKING:
    import pandas

__all__ = ["Project", "WriterLock"]


class Project(Entries):
    """A project file; also a History for a tracker.

    Use ``Project.create`` for a new one and ``Project.open`` for one that is there.

    Attributes
    ----------
    path : Path
        The file, absolute.
    meta : dict of str to JSON value
        Source, its size and fingerprint, model and settings.
    warning : str
        What a person is told of how it was found; empty where all is well.
    """

    warning = ""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        writable: bool,
        lock: WriterLock | None = None,
    ) -> None:
        super().__init__(connection, name=str(path), masks=True)
        self.path = path.absolute()  # whatever the current folder is later
        self._place = Place(self.path, identity(path), lock)
        self._writable = writable
        with self._errors():
            # All at once: a query that is left half read would hold the file where this fails.
            rows = self._db.execute("SELECT key, value FROM meta").fetchall()
            self.meta: dict[str, Any] = {key: json.loads(value) for key, value in rows}
            if self._db.execute("SELECT count(*) FROM head").fetchone()[0] != 1:
                raise ValueError("it does not say which step is in force")
            self._db.execute("SELECT 1 FROM journal LIMIT 1")
            check_meta(self.meta)
            check_rows(self._db)
            height, width = self.meta["height"], self.meta["width"]
            if height * width > rle.MAX_PIXELS:
                raise ValueError(f"its frames have {height} x {width} pixels, more than a mask may")
        # Of a script that ends without closing it; a kill leaves the log.
        self._unclosed = weakref.finalize(
            self, left_open, connection, self._place, os.getpid(), writable=writable
        )

    # -- opening and closing ------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        meta: dict[str, Any],
        times: npt.ArrayLike,
        lock: WriterLock | None = None,
    ) -> Self:
        """Make a new project.

        Parameters
        ----------
        path : path
            A file that is not there yet.
        meta : dict
            JSON values; ``height``, ``width`` and ``frames`` of the source are needed.
        times : (T,) array
            Seconds of each frame of the source; finite, and they rise.
        lock : WriterLock, optional
            One that is held already; otherwise the project holds its own until it is closed.

        Raises
        ------
        ProjectExistsError
            Where there is a file already.
        UsageError
            Where ``meta`` or ``times`` are none that can be opened again.
        OutputError
            Where it cannot be written.
        """
        path = check_path("path", path)
        _check_free(path)  # before it is locked: it may be in use
        seconds = check_new(meta, times)
        own = WriterLock(path) if lock is None else None
        # Under its own name it is whole, whenever the program may be killed.
        made, db = False, None
        try:
            _check_free(path)  # another may have made it just now, and be done with it
            with Staged(path) as whole:
                remove_companions(whole.partial)
                make(whole.partial, meta, seconds)
                remove_companions(path)
            made = True
            db = connected(path, "rw")
            db.execute("PRAGMA journal_mode = WAL")
            return cls(path, db, writable=True, lock=own)
        except BaseException as error:
            if db is not None:
                db.close()
            if made:  # and nothing is in it yet
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    remove_companions(path)
            if own is not None:
                own.release()
            if isinstance(error, Sam2TrackError):  # of which some are OSErrors, too
                raise
            if isinstance(error, OSError | sqlite3.Error):
                raise OutputError(f"{path} cannot be written: {error}") from error
            raise

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
        path, writable = check_path("path", path), check_flag("writable", writable)
        try:
            if path.is_dir():
                path = path / "project.s2t"
                if not path.is_file():
                    raise ProjectError(f"there is no project at {path}: {path.parent} is a folder")
            if not path.is_file():
                raise ProjectError(f"there is no project at {path}")
        except OSError as error:  # in a folder that may not be looked into, most of all
            raise ProjectError(f"{path} cannot be read: {error.strerror}") from error
        own = WriterLock(path) if writable and lock is None else None
        db = None
        try:
            if writable and not os.access(path, os.W_OK):
                raise OutputError(f"{path} cannot be written: it is read-only")
            # SQLite's files lie beside what a link leads to.
            place = path.resolve() if path.is_symlink() else path
            warning = settle(place)
            db = connect(path, "rw" if writable else "ro")
            if writable:
                db.execute("PRAGMA journal_mode = WAL")
            project = cls(path, db, writable=writable, lock=own)
            project.warning = warning
            return project
        except BaseException as error:
            if db is not None:
                db.close()
            if own is not None:
                own.release()
            if isinstance(error, Sam2TrackError):  # of which some are OSErrors, too
                raise
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):
                place = path.resolve() if path.is_symlink() else path
                raise ProjectError(refusal(place, error)) from error
            if isinstance(error, OSError):  # of a name that SQLite's files beside it cannot have
                raise ProjectError(f"{path} cannot be read: {error.strerror or error}") from error
            raise

    @property
    def folder(self) -> Path:
        """The folder that holds the file."""
        return self.path.parent

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

        A tracker that works on it keeps where it stands first. In a fork nothing happens: file and
        lock are its parent's.
        """
        if self._is_fork:
            return
        self._unclosed.detach()
        try:
            try:
                with suppress(sqlite3.Error):
                    self._part()
            finally:  # also where a tracker cannot keep where it stands: no log is missing then
                if self._writable:
                    leave_no_log(self._db, self._place)
        finally:
            super().close()
            if self._place.lock is not None:
                self._place.lock.release()

    @property
    def in_place(self) -> bool:
        """Whether the file at its path is still the one that is open, not removed or replaced."""
        return identity(self.path) == self._place.file

    def written_anew(self, path: str | os.PathLike[str]) -> Self:
        """Write all that it holds to another file, close it, and open that one for writing.

        Raises
        ------
        OutputError
            Where that cannot be written; this one stays open then.
        ProjectInUseError
            Where another writes there; this one stays open then.
        UsageError
            Within a step or what is done together: neither kept nor taken back yet.
        """
        path = check_path("path", path)
        self._check_thread()
        # SQLite's copy would wait for the end of a step for ever.
        if self._writable and self._writing is not None:
            raise UsageError(
                f"{self.path} is in the middle of a step; write it anew once that is done"
            )
        self._part()  # a tracker keeps where it stands first
        lock = self._place.lock
        own = path.absolute() == self.path and (lock is None or lock.is_there())
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with nullcontext() if own else WriterLock(path), Staged(path) as whole:
                    remove_companions(whole.partial)
                    copied(self._db, whole.partial)
                    remove_companions(path)
            except sqlite3.ProgrammingError as error:
                raise self._misused(error) from error
            except sqlite3.Error as error:
                raise OutputError(f"{path} cannot be written: {error}") from error
        own = self._place.is_own
        self.close()
        if own:  # empty now; a log would be taken for that of another file
            remove_companions(self.path)
        return type(self).open(path, writable=True)

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Within, read the project as it is now, whatever another connection writes meanwhile."""
        # Of one that writes no other may write, and what is written within is kept; and within
        # itself it is unchanging already.
        if self._writable or self._db.in_transaction:
            yield
            return
        try:
            with self._errors():
                self._db.execute("BEGIN")
                self._writing = threading.get_ident()
                self._db.execute("SELECT count(*) FROM head").fetchone()  # from here on
            yield
        finally:
            self._writing = None
            with suppress(sqlite3.Error):  # closed within, or never begun
                self._db.execute("ROLLBACK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- tables and exports -------------------------------------------------------------

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

    def export(
        self,
        output: str | os.PathLike[str],
        *,
        format: str,
        passed: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Exported:
        """Write what it holds in a format that other tools read (docs/export.md).

        Parameters
        ----------
        output : path
            A file, or for formats of many files a folder that is not there yet.
        format : str
            One of ``sam2track.export.exporting.FORMATS``: ``davis``, ``coco``, ``ctc``, ...
        passed : callable, optional
            Called with the frames that are written and their number; what it raises ends it.
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
        known = [field.name for field in fields(Options)]
        for name in options:
            if name not in known:
                raise UsageError(f"export has no option {name!r}; it has {', '.join(known)}")
        return export_results(
            self,
            format,
            output,
            meta=self.meta,
            columns=COLUMNS,
            options=Options(**options),
            keep=(self.path, *companions(self.path)),
            passed=passed,
        )


def _check_free(path: Path) -> None:
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OutputError(
            f"{path} cannot be written: a project's name has up to {LONGEST_NAME} bytes; give a "
            "shorter one"
        )
    with output_errors(path):
        if path.exists():
            raise ProjectExistsError(f"{path} is there already; resume or overwrite it")
