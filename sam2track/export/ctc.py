"""The Cell Tracking Challenge: ``mask000.tif`` and so on, and ``res_track.txt``.

A track there has no holes: one that vanishes ends, and what comes again is a new label whose
parent is the old one. Where a parent has one child alone, evaluation takes both for one cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError, UsageError
from sam2track.export.graphs import lost_mothers
from sam2track.export.numbering import numbered
from sam2track.export.reading import Reading, by_label
from sam2track.export.sequence import Sequenced
from sam2track.export.staging import write_bytes
from sam2track.export.tiffs import read_tiff, write_tiff

__all__ = ["Track", "Tracks", "read", "write"]

_MOST = 65535


@dataclass
class Track:
    """One line of ``res_track.txt``: label, first and last frame, parent or 0."""

    label: int
    begin: int
    end: int
    parent: int = 0


class Tracks:
    """Gives out labels frame by frame, in constant memory but for one line for each track.

    Parameters
    ----------
    mothers : mapping of int to int
        Mother of each daughter.
    largest : int
        Labels of objects that come again are above this.
    most : int, optional
        The largest label that there may be.
    """

    def __init__(self, mothers: dict[int, int], largest: int, *, most: int | None = _MOST) -> None:
        self.lines: list[Track] = []
        self.unlinked: set[int] = set()
        self._mothers = mothers
        self._most = most
        self._next = largest + 1
        self._last: dict[int, Track] = {}

    def label(self, objects: list[int], frame: int) -> dict[int, int]:
        """Return the label of each object that is there on a frame.

        Raises
        ------
        UsageError
            Where labels pass the largest that there may be.
        """
        found: dict[int, int] = {}
        for object_id in objects:
            track = self._last.get(object_id)
            if track is None or track.end < frame - 1:
                track = self._new(object_id, frame, track, objects)
            found[object_id] = track.label
        for object_id in objects:
            self._last[object_id].end = frame
        return found

    def _new(self, object_id: int, frame: int, before: Track | None, here: list[int]) -> Track:
        label = object_id
        parent = 0
        if before is not None:
            label, parent = self._next, before.label
            self._next += 1
        elif object_id in self._mothers:
            mother_id = self._mothers[object_id]
            mother = self._last.get(mother_id)
            if mother is not None and mother_id not in here:
                parent = mother.label
            else:
                self.unlinked.add(object_id)
        if self._most is not None and label > self._most:
            raise UsageError(
                f"label {label} does not fit ctc, whose labels go up to {self._most}; "
                f"take ome-zarr, geff, coco, npz or parquet"
            )
        track = self._last[object_id] = Track(label, frame, frame, parent)
        self.lines.append(track)
        return track


def write(folder: Path, sequence: Sequenced) -> None:
    """Write a result folder; frames count from the first that is written."""
    sequence.label_type("ctc")
    digits = max(3, len(str(len(sequence.span) - 1)))
    tracks = Tracks(sequence.results.lineage, sequence.largest)
    for place, shot in enumerate(sequence.shots()):
        here = np.unique(shot.labels)  # with what is no object's, mostly
        given = tracks.label([int(i) for i in here if i], place)
        new = np.array([given.get(int(i), 0) for i in here], np.uint16)
        labels = new[np.searchsorted(here, shot.labels)]
        write_tiff(folder / f"mask{place:0{digits}d}.tif", labels)
    lines = sorted(tracks.lines, key=lambda track: track.label)
    text = "".join(f"{t.label} {t.begin} {t.end} {t.parent}\n" for t in lines)
    write_bytes(folder / "res_track.txt", text.encode())
    children = Counter(line.parent for line in lines if line.parent)
    alone = {t.label for t in lines if children[t.parent] == 1} & sequence.results.lineage.keys()
    sequence.warnings += lost_mothers("ctc", tracks.unlinked, alone)
    sequence.lose("ctc")


def read(path: Path, kind: str) -> Reading:
    """Read a result folder, or the ``TRA`` folder of a ground truth.

    Labels whose parent has no other child are the same object as that.
    """
    folder = path / "TRA" if (path / "TRA").is_dir() else path
    files = numbered(folder.glob("*.tif"))
    if not files:
        raise SourceError(f"{folder} holds no .tif files, as the challenge's are")
    lines = _lines(folder)
    children = Counter(line.parent for line in lines.values() if line.parent)
    names: dict[int, int] = {}
    lineage: dict[int, int] = {}
    for line in sorted(lines.values(), key=lambda line: line.begin):
        names[line.label] = line.label
        if line.parent:
            if line.parent not in lines:
                raise SourceError(
                    f"{folder}: track {line.label} is said to come of {line.parent}, and there is "
                    f"no track {line.parent}; 0 says that it comes of none"
                )
            if lines[line.parent].end >= line.begin:
                raise SourceError(
                    f"{folder}: track {line.label} begins before its parent {line.parent} ends"
                )
            if children[line.parent] == 1:
                names[line.label] = names[line.parent]
            else:
                lineage[line.label] = names[line.parent]
    height, width = read_tiff(next(iter(files.values()))).shape
    warnings: list[str] = []

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame, file in files.items():
            labels = read_tiff(file)
            if labels.shape != (height, width):
                raise SourceError(f"{file} is {labels.shape}; the first is {(height, width)}")
            here = by_label(labels, warnings)
            for label in here:
                if lines and label not in names:
                    raise SourceError(f"{file} holds label {label}, of which there is no track")
            if any(names.get(label, label) != label for label in here):
                there, places = np.unique(labels, return_inverse=True)
                ids = [names.get(i, i) if i > 0 else 0 for i in there.tolist()]
                here = by_label(np.array(ids, np.int64)[places].reshape(labels.shape))
            yield frame, here

    return Reading(path, kind, height, width, list(files), shots, {}, lineage, warnings)


def _lines(folder: Path) -> dict[int, Track]:
    """The tracks by label; none where there is no such file."""
    for name in ("res_track.txt", "man_track.txt"):
        file = folder / name
        if not file.is_file():
            continue
        found: dict[int, Track] = {}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                track = Track(*(int(cell) for cell in line.split()))
            except (TypeError, ValueError):
                track = Track(0, 0, 0)
            if track.label < 1 or not 0 <= track.begin <= track.end or track.parent < 0:
                raise SourceError(
                    f"{file}, line {number} is {line!r}; it holds the label of a track, its first "
                    f"and last frame, and the label of its parent or 0"
                )
            if track.label in found:
                raise SourceError(f"{file}, line {number}: track {track.label} is there already")
            found[track.label] = track
        return found
    return {}
