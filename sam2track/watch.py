"""Confidence of a project that changes, as it does in a viewer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.confidence import Columns, Confidence, coverage, gather, gathered, look, weigh
from sam2track.table import Observation, TrackRow

__all__ = ["Watch"]


class Watch:
    """Confidence of a project that changes: masks are read of what changed alone.

    That is of objects that changed on a frame, or of which one did whose box meets theirs: it may
    cover them. Memory: some hundred bytes for each object and frame, and half a kilobyte for each
    frame.

    Attributes
    ----------
    unseen : dict of int to list of int
        Whose masks are to be read for `see`, by frame, of the rows that `confidences` took last:
        those to be seen, and those that may cover them.
    """

    def __init__(self) -> None:
        self.unseen: dict[int, list[int]] = {}
        self._known: dict[int, _Known] = {}  # by frame
        self._asked: dict[int, set[int]] = {}  # by frame, objects that are to be seen
        self._weighed: dict[int, tuple[bytes, Confidence]] = {}  # by object, and what it is made of

    def see(self, frame: int, found: Sequence[Observation]) -> None:
        """Take what masks of a frame say, of those that are `unseen`."""
        rows, asked = [one.row for one in found], self._asked.pop(frame, None)
        if asked is None:  # of rows that were others
            return
        new = np.array([row.object_id in asked for row in rows], np.bool_)
        known = self._known.get(frame, _NONE)
        left = ~np.isin(known.ids, list(asked))
        shared = coverage(found)
        said = [look(found[index], shared[index]) for index in np.flatnonzero(new).tolist()]
        ids = np.concatenate((known.ids[left], _ids(rows)[new]))
        order = np.argsort(ids)
        self._known[frame] = _Known(
            None,
            ids[order],
            np.concatenate((known.marks[left], _marks(rows, map(_mark, rows))[new]))[order],
            np.concatenate((known.said[left], np.array(said, np.float32).reshape(-1, 2)))[order],
        )

    def confidences(self, rows: Iterable[TrackRow]) -> dict[int, Confidence]:
        """As the function of that name, of all rows; of masks not seen yet, bounds from above."""
        columns: Columns = {}
        self.unseen, self._asked = {}, {}
        for frame, found, seen in self._frames(rows):
            new = np.isnan(seen[:, 0])
            if new.any():
                read, ids = new | _meet(found)[new].any(axis=0), _ids(found)
                self.unseen[frame], self._asked[frame] = ids[read].tolist(), set(ids[new].tolist())
            stable, alone = np.nan_to_num(seen, nan=1.0).T.tolist()
            for said in zip(found, stable, alone, strict=True):
                gather(columns, *said)
        before, self._weighed = self._weighed, {}
        for i, one in gathered(columns).items():
            made_of = b"".join(part.tobytes() for part in columns[i])
            same = i in before and before[i][0] == made_of
            self._weighed[i] = before[i] if same else (made_of, weigh(one))
        return {i: one for i, (_, one) in self._weighed.items()}

    def _frames(
        self, rows: Iterable[TrackRow]
    ) -> Iterator[tuple[int, list[TrackRow], npt.NDArray[np.float32]]]:
        """Yield each frame, its rows, and s and 1 - o of these, (n, 2); NaN where not seen."""
        for frame, group in groupby(rows, key=lambda one: one.frame):
            found = list(group)
            own, known = [_mark(row) for row in found], self._known.get(frame, _NONE)
            if known.whole != (whole := hash(tuple(own))):
                ids, marks = _ids(found), _marks(found, own)
                said = np.full((len(found), 2), np.nan, np.float32)
                _, here, there = np.intersect1d(ids, known.ids, return_indices=True)
                same = marks[here] == known.marks[there]
                said[here[same]] = known.said[there[same]]
                known = _Known(whole, ids, marks, said)
                if same.sum() == len(found):  # else what is to be seen would be taken for seen
                    self._known[frame] = known
            yield frame, found, known.said


class _Known(NamedTuple):
    """What the masks of a frame said, by object, ascending.

    Attributes
    ----------
    whole : int or None
        The mark of all its rows, where these are all.
    ids, marks : (n,) int64 arrays
        A mark changes with what is said.
    said : (n, 2) float32 array
        s and 1 - o.
    """

    whole: int | None
    ids: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int64]
    said: npt.NDArray[np.float32]


_NONE = _Known(None, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.float32))


def _mark(row: TrackRow) -> int:
    """Return a number that changes with a mask, but not with its name."""
    said = row.area, row.centroid, row.box, row.object_score, row.predicted_iou, row.source
    return hash((row.object_id, *said))


def _marks(rows: Sequence[TrackRow], own: Iterable[int]) -> npt.NDArray[np.int64]:
    """Return marks of masks that change with those, too, whose boxes meet theirs."""
    each = np.fromiter(own, np.int64, len(rows))
    marks = 3 * each  # what overflows is as good
    one, other = np.nonzero(_meet(rows))
    np.add.at(marks, one, each[other])
    return marks


def _meet(rows: Sequence[TrackRow]) -> npt.NDArray[np.bool_]:
    """Return which boxes have pixels in common, (n, n); none does with itself."""
    x0, y0, x1, y1 = np.array([row.box or (0, 0, 0, 0) for row in rows]).reshape(-1, 4).T
    across, down = x0[:, None] < x1, y0[:, None] < y1
    meet = across & across.T & down & down.T
    np.fill_diagonal(meet, False)
    return np.asarray(meet, np.bool_)


def _ids(rows: Sequence[TrackRow]) -> npt.NDArray[np.int64]:
    return np.array([row.object_id for row in rows], np.int64)
