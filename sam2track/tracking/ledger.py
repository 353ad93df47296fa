"""A history in SQLite: objects, prompts and frames, kept in steps."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track import masks as rle
from sam2track.errors import ProjectError, PromptError
from sam2track.prompts import Prompt
from sam2track.tracking.codes import dequantise, inflated, pack, unpack
from sam2track.tracking.history import SOURCES, Answer, Life, Record, Unanswered
from sam2track.tracking.result import FrameResult
from sam2track.tracking.states import States
from sam2track.tracking.steps import HOLDS, NOW

__all__ = ["Ledger", "how"]

_RECORD = "id, object, frame, source, score, iou, mask, pointer, codes, side, exact"
# All of a result but which object it is of, on which frame, and when it holds.
_FOUND = "source, score, iou, mask, pointer, codes, side, exact, area, x, y, x0, y0, x1, y1"
_NEW_RESULT = (
    f"INSERT INTO all_results (frame, object, {_FOUND}, since, until) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Ledger(States):
    """A History in an SQLite database that has the tables of ``SCHEMA``.

    Parameters
    ----------
    connection : sqlite3.Connection
        With ``isolation_level`` None.
    name : str
        What error messages call it.
    masks : bool
        Whether masks are kept at the size of the frames.
    exact_budget : int
        Bytes of logits that are kept as they are, so that memories can be made again exactly;
        from then on what twelve bits hold of them.
    past_budget : int
        Bytes of results that have been replaced and are kept for taking steps back.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        name: str,
        masks: bool,
        exact_budget: int = 0,
        past_budget: int = 2**30,
    ) -> None:
        super().__init__(connection, name=name, past_budget=past_budget)
        self._masks = masks
        self._exact_left = exact_budget

    def extend(self, frame: int, height: int, width: int) -> None:
        """Know of a stream's next frame; there is nothing to know without a source."""

    @property
    def folder(self) -> Path | None:
        """A folder on the disk where it lies, None where there is none."""
        return None

    # -- objects ------------------------------------------------------------------------

    def lives(self, object_id: int | None = None) -> list[Life]:
        """Return all objects, by id; of one alone that one, if it is there."""
        where, values = ("", ()) if object_id is None else ("WHERE id = ?", (object_id,))
        with self._errors():
            rows = self._db.execute(
                "SELECT id, name, birth, ending, mother, locked, forward, backward, since "
                f"FROM objects {where} ORDER BY id",
                values,
            ).fetchall()
            return [
                Life(int(i), str(name), birth, end, mother, bool(locked), ahead, back, int(since))
                for i, name, birth, end, mother, locked, ahead, back, since in rows
            ]

    def keep_life(self, life: Life) -> None:
        """Keep an object, in place of what was kept of it."""
        with self.transaction() as db:
            self._close(db, "all_objects", "id = ?", (life.object_id,))
            db.execute(
                "INSERT INTO all_objects (id, name, birth, ending, mother, locked, forward, "
                "backward, since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    life.object_id,
                    life.name,
                    life.birth,
                    life.end,
                    life.mother,
                    life.locked,
                    life.forward,
                    life.backward,
                    self.position,
                ),
            )

    def drop_life(self, object_id: int) -> None:
        """Forget an object with its prompts and frames."""
        with self.transaction() as db:
            self._close(db, "all_objects", "id = ?", (object_id,))
            self._close(db, "all_prompts", "object = ?", (object_id,))
            self._close(db, "all_results", "object = ?", (object_id,))

    # -- prompts ------------------------------------------------------------------------

    def say(
        self,
        object_id: int,
        frame: int,
        prompt: Prompt,
        logits: npt.NDArray[np.float32] | None = None,
        tracked: Record | None = None,
    ) -> None:
        """Keep a prompt, with the exact logits that answer it; without them it waits."""
        with self.transaction() as db:
            self._close(db, "all_prompts", "object = ? AND frame = ?", (object_id, frame))
            db.execute(
                "INSERT INTO all_prompts (object, frame, said, mask, logits, tracked, since) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    object_id,
                    frame,
                    json.dumps(prompt.to_dict()),
                    None if prompt.mask is None else rle.encode(prompt.mask),
                    None if logits is None else _exact(logits),
                    None if tracked is None else tracked.key,
                    self.position,
                ),
            )

    def unsay(self, object_id: int, frame: int) -> None:
        """Drop a prompt."""
        with self.transaction() as db:
            self._close(db, "all_prompts", "object = ? AND frame = ?", (object_id, frame))

    def said(self, object_id: int, frame: int) -> Answer | None:
        """Return a prompt and what came of it; None where there is none or it waits."""
        with self._errors():
            found = self._db.execute(
                "SELECT said, mask, logits, tracked FROM prompts WHERE object = ? AND frame = ?",
                (object_id, frame),
            ).fetchone()
            if found is None or found[2] is None:
                return None
            said, mask, logits, tracked = found
            record = self.get(object_id, frame)
            if record is None:
                raise ValueError(f"no result of the prompt of object {object_id} on {frame}")
            side = record.logits.shape[0]
            with self._logits_of(object_id, frame):
                exact = np.frombuffer(inflated(logits, 4 * side * side), "<f4")
            return Answer(
                self._prompt(object_id, frame, said, mask),
                replace(record, logits=exact.reshape(side, side)),
                None if tracked is None else self._by_key(tracked),
            )

    def bring_back(self, object_id: int, frame: int, key: int) -> None:
        """Let an earlier record hold again, unless it is older than what was said elsewhere.

        Else it would be taken for what followed from that.
        """
        with self.transaction() as db:
            db.execute(
                f"INSERT INTO all_results (object, frame, since, {_FOUND}) "
                f"SELECT ?, ?, position, {_FOUND} FROM all_results, head WHERE id = ? "
                "AND since >= (SELECT ifnull(max(since), 0) FROM prompts WHERE object = ?)",
                (object_id, frame, key, object_id),
            )

    def _prompt(self, object_id: int, frame: int, said: str, mask: bytes | None) -> Prompt:
        given = None if mask is None else self._part_of(object_id, frame, mask)
        try:
            return Prompt(**json.loads(said), mask=given)
        except (PromptError, TypeError, ValueError) as error:
            where = f"the prompt of object {object_id} on frame {frame}"
            raise self._damaged_at(where, str(error)) from error

    def _part_of(self, object_id: int, frame: int, data: bytes) -> rle.Part:
        """Return what of a stored mask lies in its box; where it is damaged, say whose it is."""
        try:
            return rle.decode_part(data)
        except ProjectError as error:
            raise self._damaged(object_id, frame, str(error)) from error

    def unanswered(self) -> list[Unanswered]:
        """Return the prompts that wait for a model, in the order in which they were said.

        Those in whose place another was said since are among them: what came in between may
        follow from theirs. What was taken back waits until it is put back.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT since, object, frame, said, mask, position < until FROM all_prompts, head "
                "WHERE logits IS NULL AND since <= position ORDER BY since, object, frame"
            ).fetchall()
            return [
                Unanswered(step, i, frame, self._prompt(i, frame, said, mask), bool(holds))
                for step, i, frame, said, mask, holds in rows
            ]

    def answer(self, result: FrameResult, record: Record, tracked: Record | None) -> None:
        """Keep what came of a prompt that waited, for as long as that prompt holds.

        Of the step in force it would be no part: that may be taken back, or be followed by some
        that were, in which the same prompt, or another, has an answer of its own.

        Parameters
        ----------
        tracked : Record or None
            What tracking gave there before.
        """
        place: dict[str, Any] = {"object": record.object_id, "frame": record.frame}
        there = "object = :object AND frame = :frame"
        with self.transaction() as db:
            since, until = db.execute(
                f"SELECT since, until FROM all_prompts, head WHERE {there} AND {HOLDS}", place
            ).fetchone()
            place |= {"since": since, "until": until, "logits": _exact(record.logits)}
            place["tracked"] = None if tracked is None else tracked.key
            db.execute(
                "UPDATE all_prompts SET logits = :logits, tracked = :tracked "
                f"WHERE {there} AND since = :since",
                place,
            )
            db.execute(
                f"DELETE FROM all_results WHERE {there} AND since >= :since AND since < :until",
                place,
            )
            db.execute(
                f"UPDATE all_results SET until = :since WHERE {there} AND since < :since "
                "AND until > :since",
                place,
            )
            db.executemany(
                _NEW_RESULT, [(*row, since, until) for row in self._packed(result, [record])]
            )

    def anchors(self, object_id: int) -> list[tuple[int, Record | None]]:
        """Return an object's prompted frames, those said last at the end; None: not answered yet.

        The records are without logits.
        """
        with self._errors():
            # Not of the view `results`: SQLite would read all of it for each object.
            rows = self._db.execute(
                "SELECT p.frame, p.logits IS NULL, r.score, r.iou, r.pointer, r.source "
                "FROM head, prompts AS p LEFT JOIN all_results AS r "
                "ON r.object = p.object AND r.frame = p.frame "
                "AND r.since <= head.position AND head.position < r.until "
                "WHERE p.object = ? ORDER BY p.since, p.frame",
                (object_id,),
            ).fetchall()
            none = np.zeros((0, 0), np.float32)
            return [
                (
                    int(frame),
                    None
                    if waits
                    else Record(
                        object_id,
                        int(frame),
                        none,
                        np.frombuffer(pointer, np.float32),
                        float(score),
                        float(iou),
                        how(source),
                    ),
                )
                for frame, waits, score, iou, pointer, source in rows
            ]

    # -- frames -------------------------------------------------------------------------

    def put(self, result: FrameResult, records: Sequence[Record]) -> None:
        """Keep what came of a frame; replaces what was there.

        The records are those of the result's objects, in the same order.
        """
        position = self.position
        packed = [(*row, position, NOW) for row in self._packed(result, records)]
        with self.transaction() as db:
            for record in records:
                where = (record.frame, record.object_id)
                self._close(db, "all_results", "frame = ? AND object = ?", where)
            db.executemany(_NEW_RESULT, packed)

    def _packed(self, result: FrameResult, records: Sequence[Record]) -> Iterator[tuple[Any, ...]]:
        """Yield what a row holds of each record, up to since when it does."""
        shown: Iterable[npt.NDArray[np.bool_] | None] = (
            result.each_mask() if self._masks else [None] * len(records)
        )
        for record, mask in zip(records, shown, strict=True):
            exact = self._exact_left > 0
            if exact:
                codes = record.logits.astype("<f4").tobytes()
                self._exact_left -= len(codes)
            else:
                codes = pack(record.logits, 6 if self._masks else 1)
            yield (
                record.frame,
                record.object_id,
                SOURCES.index(record.source),
                record.score,
                record.iou,
                record.mask if mask is None else rle.encode(mask),
                record.pointer.astype(np.float32).tobytes(),
                codes,
                record.logits.shape[0],
                exact,
                *_place(mask),
            )

    def get(self, object_id: int, frame: int) -> Record | None:
        """Return what is kept of an object on a frame."""
        with self._errors():
            found = self._db.execute(
                f"SELECT {_RECORD} FROM results WHERE object = ? AND frame = ?",
                (object_id, frame),
            ).fetchone()
            return None if found is None else self._record(found)

    def _by_key(self, key: int) -> Record | None:
        found = self._db.execute(f"SELECT {_RECORD} FROM all_results WHERE id = ?", (key,))
        row = found.fetchone()
        return None if row is None else self._record(row)

    def _record(self, row: tuple[Any, ...]) -> Record:
        key, object_id, frame, source, score, iou, mask, pointer, codes, side, exact = row
        with self._logits_of(object_id, frame):
            if exact:
                logits = np.frombuffer(codes, "<f4").reshape(side, side)
            else:
                logits = dequantise(unpack(codes, side))
        return Record(
            int(object_id),
            int(frame),
            logits,
            np.frombuffer(pointer, np.float32),
            float(score),
            float(iou),
            how(source),
            mask,
            int(key),
        )

    def _codes(self, object_id: int, frame: int, data: bytes, side: int) -> npt.NDArray[np.uint16]:
        """Return packed logits, (side, side); where they are damaged, say whose they are."""
        with self._logits_of(object_id, frame):
            return unpack(data, side)

    @contextmanager
    def _logits_of(self, object_id: int, frame: int) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError, zlib.error) as error:
            raise self._damaged(object_id, frame, f"its logits cannot be read: {error}") from error

    def stale(self, object_id: int, frame: int, prompted: int) -> bool:
        """Whether a frame is missing, or older than what was said of another."""
        with self._errors():
            fresh = self._db.execute(
                "SELECT 1 FROM all_results AS r, prompts AS p, head "
                "WHERE r.object = :object AND r.frame = :frame AND p.object = :object "
                "AND p.frame = :prompted AND r.since >= p.since "
                "AND r.since <= position AND position < r.until",
                {"object": object_id, "frame": frame, "prompted": prompted},
            ).fetchone()
            return fresh is None

    def frames_of(self, object_id: int) -> list[int]:
        """Return the frames on which something is kept of an object, ascending."""
        with self._errors():
            rows = self._db.execute(
                "SELECT frame FROM results WHERE object = ? ORDER BY frame", (object_id,)
            )
            return [int(frame) for (frame,) in rows]

    def forget(
        self, object_id: int, start: int = 0, stop: int | None = None, *, source: str | None = None
    ) -> None:
        """Drop an object's frames in [start, stop), or those alone that came about in one way."""
        where = "object = ? AND frame >= ? AND frame < ?"
        values: list[int] = [object_id, start, NOW if stop is None else stop]
        if source is not None:
            where, values = f"{where} AND source = ?", [*values, SOURCES.index(source)]
        with self.transaction() as db:
            self._close(db, "all_results", where, values)

    def relabel(self, ids: Mapping[int, int], start: int = 0, *, where_free: bool = False) -> None:
        """Give frames from ``start`` on, and their prompts, to other objects.

        Must come before all else that a step writes.

        Parameters
        ----------
        ids : mapping of int to int
            Which object's frames go to which.
        start : int
            First frame.
        where_free : bool
            Only frames on which the other object has nothing.
        """
        with self.transaction() as db:
            position = self.position
            moved: list[tuple[str, int, int]] = []
            for old, new in ids.items():
                for table in ("all_prompts", "all_results"):
                    free = (
                        " AND NOT EXISTS (SELECT 1 FROM results AS other "
                        f"WHERE other.object = {int(new)} AND other.frame = {table}.frame)"
                        if where_free
                        else ""
                    )
                    rows = db.execute(
                        f"SELECT rowid FROM {table} "
                        f"WHERE object = ? AND frame >= ? AND until = {NOW}{free}",
                        (old, start),
                    )
                    moved += [(table, row, new) for (row,) in rows.fetchall()]
            columns = {
                "all_prompts": "frame, said, mask, logits, tracked",
                "all_results": f"frame, {_FOUND}",
            }
            for table, row, _ in moved:
                db.execute(f"UPDATE {table} SET until = ? WHERE rowid = ?", (position, row))
            for table, row, new in moved:
                db.execute(
                    f"INSERT INTO {table} (object, since, {columns[table]}) "
                    f"SELECT ?, ?, {columns[table]} FROM {table} WHERE rowid = ?",
                    (new, position, row),
                )


def _exact(logits: npt.NDArray[np.float32]) -> bytes:
    return zlib.compress(logits.astype("<f4").tobytes(), 1)


def _place(mask: npt.NDArray[np.bool_] | None) -> tuple[float | None, ...]:
    """Area, centroid and box of a mask, so that a table need not read it."""
    if mask is None:
        return (None,) * 7
    area, centroid, box = rle.measure(mask)
    return (area, *(centroid or (None, None)), *(box or (None,) * 4))


def how(source: int) -> str:
    """How a mask came about, by its number."""
    if not 0 <= source < len(SOURCES):
        raise ValueError(f"a result of kind {source}")
    return SOURCES[source]
