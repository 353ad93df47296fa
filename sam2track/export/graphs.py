"""Graphs of tracks: a node for each object and frame, edges from each to where it is next.

What formats share that hold one: which edges the results have, and what objects the nodes of others
are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.sequence import Sequenced

__all__ = ["Families", "Seen", "Tracks", "lost_mothers", "seen"]


@dataclass(frozen=True)
class Seen:
    """An object on a frame.

    Attributes
    ----------
    area : int
        Pixels of the mask.
    centroid : (float, float)
        x and y; the centre of the first pixel is (0, 0).
    object_score, predicted_iou : float or None
        None where no model said so.
    """

    area: int
    centroid: tuple[float, float]
    object_score: float | None
    predicted_iou: float | None


def seen(sequence: Sequenced) -> Iterator[tuple[int, dict[int, Seen]]]:
    """Yield frames of the source that have a row, and the objects that are there, ascending."""
    for frame, rows in groupby(sequence.rows(), key=lambda row: row.frame):
        yield (
            frame,
            {
                row.object_id: Seen(row.area, row.centroid, row.object_score, row.predicted_iou)
                for row in rows
                if row.centroid is not None
            },
        )


@dataclass
class Families:
    """Which objects are daughters of which, where that is an edge of the graph.

    Attributes
    ----------
    mothers : dict of int to int
        Of the daughters that begin behind the last node of their mother.
    unlinked : set of int
        The other daughters.
    alone : set of int
        Those of the first whose mother has no other.
    paths : dict of int to (int, int)
        Tracklet and lineage of each object, in the order in which they begin: the object that
        begins the path without branches, and the one that begins the family. An only daughter goes
        on with her mother's tracklet.
    bounds : dict of str to (float, float)
        Least and largest t, y and x; t counts from the first frame that is written.
    """

    mothers: dict[int, int] = field(default_factory=dict)
    unlinked: set[int] = field(default_factory=set)
    alone: set[int] = field(default_factory=set)
    paths: dict[int, tuple[int, int]] = field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, sequence: Sequenced) -> Families:
        """Look at all that is written once."""
        found = cls()
        lineage = sequence.results.lineage
        known: dict[int, None] = {}  # in the order in which they begin
        for frame, here in seen(sequence):
            for object_id, at in here.items():
                mother = lineage.get(object_id)
                if object_id not in known and mother is not None:
                    if mother in known and mother not in here:
                        found.mothers[object_id] = mother
                    else:
                        found.unlinked.add(object_id)
                place = (frame - sequence.span.start, *at.centroid)
                for name, value in zip("txy", place, strict=True):
                    least, most = found.bounds.get(name, (value, value))
                    found.bounds[name] = min(least, value), max(most, value)
            known |= dict.fromkeys(here)
        daughters = Counter(found.mothers.values())
        found.alone = {i for i, mother in found.mothers.items() if daughters[mother] == 1}
        for object_id in known:
            path = family = object_id
            if object_id in found.mothers:
                mother = found.mothers[object_id]
                family = found.paths[mother][1]
                path = found.paths[mother][0] if object_id in found.alone else object_id
            found.paths[object_id] = path, family
        return found

    def lose(self, format_name: str, sequence: Sequenced) -> None:
        """Say of which daughters the format could not hold that they have a mother."""
        sequence.warnings += lost_mothers(format_name, self.unlinked, self.alone)


def lost_mothers(format_name: str, unlinked: set[int], alone: set[int]) -> Iterator[str]:
    """Say what of lineage is lost where a track is all that tells of it, a line each.

    Parameters
    ----------
    format_name : str
    unlinked : set of int
        Daughters whose mother is there no frame before, or still there.
    alone : set of int
        Other daughters whose mother has no other.
    """
    if unlinked:
        yield (
            f"{format_name} cannot hold the mother of {sorted(unlinked)}, who is there no frame "
            "before or still there: lost"
        )
    if alone:
        yield (
            f"{format_name} cannot tell an only daughter from a mother who goes on: read back, "
            f"{sorted(alone)} are their mothers"
        )


@dataclass
class Tracks:
    """The nodes of a graph, and their edges by place of a node.

    Attributes
    ----------
    frame, label : (N,) int64 array
        Where each lies, and which label it has; a node without one has 0.
    links : (E, 2) int64 array
        From one node to one that is later.
    kept : bool
        Whether objects have the numbers of labels, once they are known.
    """

    frame: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    links: npt.NDArray[np.int64]
    warnings: list[str]
    kept: bool = False

    @classmethod
    def of(
        cls,
        ids: npt.NDArray[np.integer],
        frame: npt.NDArray[np.int64],
        label: npt.NDArray[np.int64],
        ends: npt.NDArray[np.integer],
        warnings: list[str],
        path: Path,
        *,
        directed: bool,
    ) -> Tracks:
        """Check what a file says.

        Parameters
        ----------
        ids : (N,) array
            Of the nodes, by which edges name them.
        frame, label : (N,) int64 array
        ends : (E, 2) array
            Ids of the nodes from and to which the edges lead.
        warnings : list of str
            Grows by what is odd.
        path : Path
            Of the file, for errors.
        directed : bool
            Whether an edge leads from its first node to its second; else it leads on in time.

        Raises
        ------
        SourceError
            Where several nodes have one id, or one label on one frame; where an edge is of a node
            that is not there, or leads back in time.
        """
        if len(np.unique(ids)) < len(ids):
            raise SourceError(f"{path} has several nodes of one id, so that edges are of either")
        order = np.argsort(ids, kind="stable")
        ends = ends.reshape(-1, 2)
        at = np.searchsorted(ids, ends, sorter=order).clip(max=max(0, len(ids) - 1))
        if len(ends) and (not len(ids) or (ids[order[at]] != ends).any()):
            raise SourceError(f"{path} has edges of nodes that it has not")
        links = order[at] if len(ends) else np.zeros((0, 2), np.int64)
        if not directed:  # which end of an edge is named first says nothing
            links = np.take_along_axis(links, np.argsort(frame[links], axis=1), axis=1)
        links = np.unique(links, axis=0)  # an edge that is there twice is no second parent
        back = frame[links[:, 0]] >= frame[links[:, 1]]
        if back.any():
            one, other = frame[links[back][0]]
            raise SourceError(f"{path}: an edge leads from frame {one} to frame {other}")
        seen = label > 0
        pairs = np.stack([frame[seen], label[seen]], axis=1)
        if len(np.unique(pairs, axis=0)) < len(pairs):
            raise SourceError(f"{path} has several nodes with one label on one frame")
        return cls(frame, label, links, warnings)

    def objects(self) -> tuple[npt.NDArray[np.int64], dict[int, int]]:
        """Return the object of each node, and the mother of each daughter.

        An object is a path without branches. It has the number of its first label, where no other
        begins with that; else objects are numbered in the order in which they begin.
        """
        after = np.bincount(self.links[:, 0], minlength=len(self.frame))
        before = np.bincount(self.links[:, 1], minlength=len(self.frame))
        first = np.arange(len(self.frame))  # node with which the path of each begins
        branches: list[tuple[int, int]] = []
        for one, other in self.links[np.argsort(self.frame[self.links[:, 1]], kind="stable")]:
            if before[other] > 1:
                continue
            if after[one] == 1:
                first[other] = first[one]
            else:
                branches.append((one, other))
        if joined := int((before > 1).sum()):
            self.warnings.append(
                f"{joined} nodes have several parents: they begin an object, without a mother"
            )
        starts = np.unique(first)
        numbers = self.label[starts]
        self.kept = bool((numbers > 0).all()) and len(np.unique(numbers)) == len(numbers)
        if not self.kept:
            order = np.lexsort((numbers, self.frame[starts]))
            numbers[order] = np.arange(1, len(starts) + 1)
        number = np.zeros(len(self.frame), np.int64)
        number[starts] = numbers
        objects = number[first]
        return objects, {int(objects[v]): int(objects[u]) for u, v in branches}
