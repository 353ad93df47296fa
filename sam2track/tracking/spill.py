"""A history that ends with its tracker."""

from __future__ import annotations

import sqlite3
import tempfile
import weakref
from collections.abc import Collection
from pathlib import Path

from sam2track.errors import ProjectError
from sam2track.tracking.ledger import Ledger
from sam2track.tracking.steps import SCHEMA

__all__ = ["SpillFile"]


class SpillFile(Ledger):
    """A history in a temporary file, for trackers without a project.

    The file is SQLite's own and goes when it is closed or the program ends.

    Parameters
    ----------
    budget : int
        Logits are kept as they are, so that memories can be made again exactly, until there are
        this many bytes of them; from then on what twelve bits hold of them.
    """

    def __init__(self, budget: int = 2**30) -> None:
        connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(SCHEMA)
        weakref.finalize(self, connection.close)  # Python 3.13 warns of what is let go of open
        super().__init__(connection, name="the temporary file", masks=False, exact_budget=budget)

    def drop_before(self, frame: int, but: Collection[tuple[int, int]]) -> None:
        """Drop what is kept of frames before one, so that the file of a stream does not grow.

        Parameters
        ----------
        but : collection of (int, int)
            Objects and frames that are kept, as what was said there is looked at still.
        """
        kept = (
            f"AND (object, frame) NOT IN (VALUES {', '.join('(?, ?)' for _ in but)})" if but else ""
        )
        values = [frame, *(number for pair in but for number in pair)]
        with self.transaction() as db:
            for table in ("all_results", "all_prompts"):
                db.execute(f"DELETE FROM {table} WHERE frame < ? {kept}", values)

    def _misused(self, error: sqlite3.ProgrammingError) -> ProjectError:
        if "closed" in str(error):
            return ProjectError("this tracker is closed, and what it held is gone; make a new one")
        return super()._misused(error)

    @property
    def folder(self) -> Path | None:
        """Where temporary files are made."""
        try:
            return Path(tempfile.gettempdir())
        except FileNotFoundError:  # nowhere that can be written to
            return None
