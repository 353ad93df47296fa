"""Rows of the table from what a project stores of them: no mask is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sam2track.table import Source, TrackRow, score_text
from sam2track.tracking.history import SOURCES
from sam2track.tracking.ledger import how

__all__ = ["STORED", "Stored"]

STORED = "frame, object, source, score, iou, area, x, y, x0, y0, x1, y1"
"""Columns of ``results``, in the order of ``Stored.found``."""

_TRACKED = (SOURCES.index("forward"), SOURCES.index("backward"))


@dataclass(frozen=True)
class Stored:
    """Some frames of a project. Of 200,000 rows each microsecond counts.

    Attributes
    ----------
    found : sequence of tuple
        `STORED`, by frame and object.
    names : mapping of int to str
        Of objects.
    times : mapping of int to float
        When each frame is, in seconds.
    carried : collection of int
        Frames that could not be decoded.
    """

    found: Sequence[tuple[Any, ...]]
    names: Mapping[int, str]
    times: Mapping[int, float]
    carried: Collection[int]

    def rows(self) -> Iterator[TrackRow]:
        """Yield a row for each; values of a wrong type end in a TypeError or ValueError."""
        times = {frame: float(time) for frame, time in self.times.items()}
        names = {number: str(name) for number, name in self.names.items()}
        return (
            TrackRow(
                frame,
                times[frame],
                object_id,
                names.get(object_id, ""),
                int(area),
                (float(x), float(y)) if area else None,
                (int(x0), int(y0), int(x1), int(y1)) if area else None,
                float(score),
                float(iou),
                self._source(frame, source),
            )
            for frame, object_id, source, score, iou, area, x, y, x0, y0, x1, y1 in self.found
        )

    def lines(self) -> str:
        """Return what ``TrackRow.cells`` of `rows` are in a CSV file; raises as `rows`."""
        names = {number: _quoted(name) for number, name in self.names.items()}
        heads = {frame: f"{frame:d},{time:.6f}," for frame, time in self.times.items()}
        lines = []
        for frame, object_id, source, score, iou, area, x, y, x0, y0, x1, y1 in self.found:
            place = f"{x:.2f},{y:.2f},{x0:d},{y0:d},{x1:d},{y1:d}" if area else ",,,,,"
            lines.append(
                f"{heads[frame]}{object_id:d},{names.get(object_id, '')},{area:d},{place},"
                f"{score_text(score)},{score_text(iou)},{self._source(frame, source)}\n"
            )
        return "".join(lines)

    def _source(self, frame: int, source: int) -> Source:
        if self.carried and frame in self.carried and source in _TRACKED:
            return "carried"
        return cast("Source", how(source))


def _quoted(name: str) -> str:
    """A cell as the csv module writes it among others."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow((name, ""))  # which quotes what ends a line
    return line.getvalue().removesuffix(",\r\n")
