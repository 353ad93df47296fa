"""What a project says of each object on each frame, and ``tracks.csv``."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, get_args

import numpy as np
import numpy.typing as npt

from sam2track.errors import OutputError, UsageError
from sam2track.export.staging import Staged
from sam2track.masks import Box, Part, measure
from sam2track.tracking.codes import stability

__all__ = [
    "COLUMNS",
    "Observation",
    "Results",
    "Source",
    "TableWriter",
    "TrackRow",
    "row",
    "score_text",
]

Source = Literal["prompted", "forward", "backward", "carried", "edited"]
"""What a mask comes from."""

_SOURCES: tuple[str, ...] = get_args(Source)

COLUMNS = (
    "frame",
    "time_s",
    "object",
    "name",
    "area_px",
    "centroid_x",
    "centroid_y",
    "x0",
    "y0",
    "x1",
    "y1",
    "object_score",
    "predicted_iou",
    "source",
)
"""The columns of ``tracks.csv``, in order."""


@dataclass(frozen=True, slots=True)
class TrackRow:
    """One object on one frame.

    Parameters
    ----------
    frame : int
        Counted in the source, from 0.
    time : float
        When the frame is shown, in seconds.
    object_id : int
    name : str
        What a person calls the object; may be empty.
    area : int
        Pixels of its mask.
    centroid : (float, float) or None
        ``(x, y)``, the mean column and row index of its pixels; None where the area is 0.
    box : (int, int, int, int) or None
        ``(x0, y0, x1, y1)``, half-open; None where the area is 0.
    object_score, predicted_iou : float or None
        What the model says of it: a logit, and the intersection over union it expects. None
        where no model was asked, on an edited frame for one.
    source : {"prompted", "forward", "backward", "carried", "edited"}
        What the mask comes from.

    Raises
    ------
    UsageError
        Where `source` is none of these.
    """

    frame: int
    time: float
    object_id: int
    name: str
    area: int
    centroid: tuple[float, float] | None
    box: Box | None
    object_score: float | None
    predicted_iou: float | None
    source: Source

    def __post_init__(self) -> None:
        if self.source not in _SOURCES:
            raise UsageError(f"source is one of {', '.join(_SOURCES)}, not {self.source!r}")

    def values(self) -> dict[str, Any]:
        """Return what each of `COLUMNS` holds; None where nothing is there."""
        x, y = self.centroid or (None, None)
        x0, y0, x1, y1 = self.box or (None,) * 4
        return {
            "frame": self.frame,
            "time_s": self.time,
            "object": self.object_id,
            "name": self.name,
            "area_px": self.area,
            "centroid_x": x,
            "centroid_y": y,
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
            "object_score": self.object_score,
            "predicted_iou": self.predicted_iou,
            "source": self.source,
        }

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell for each of `COLUMNS`; what is not there is blank."""
        # Written out, since tables have hundreds of thousands of rows.
        place, box = ("", ""), ("", "", "", "")
        if self.centroid is not None:
            x, y = self.centroid
            place = (f"{x:.2f}", f"{y:.2f}")
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            box = (str(x0), str(y0), str(x1), str(y1))
        return (
            str(self.frame),
            f"{self.time:.6f}",
            str(self.object_id),
            self.name,
            str(self.area),
            *place,
            *box,
            score_text(self.object_score),
            score_text(self.predicted_iou),
            self.source,
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """One object on one frame, with its mask.

    Parameters
    ----------
    row : TrackRow
    part : Part
        What of the mask lies in the row's box. All of many masks would be gigabytes.
    codes : callable
        Reads the logits as the project keeps them, on the decoder's grid.
    """

    row: TrackRow
    part: Part
    codes: Callable[[], npt.NDArray[np.uint16]]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The mask, (H, W) bool; made anew each time."""
        return self.part.whole()

    @property
    def stability(self) -> float:
        """How little the mask depends on the threshold, 0 to 1: see `codes.stability`."""
        return stability(self.codes())


class Results(Protocol):
    """What is measured: a project, in what measuring needs of it."""

    @property
    def meta(self) -> dict[str, Any]:
        """Source, its size and fingerprint, model and settings."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where it lies; pictures that were moved with it are found from there."""
        ...

    @property
    def height(self) -> int:
        """Height of the upright frame in pixels."""
        ...

    @property
    def width(self) -> int:
        """Width of the upright frame in pixels."""
        ...

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Presentation time of each frame of the source in seconds."""
        ...

    @property
    def names(self) -> dict[int, str]:
        """Names of the objects by id."""
        ...

    def time(self, frame: int) -> float:
        """When a frame is, in seconds."""
        ...

    def rows(self) -> Iterator[TrackRow]:
        """Yield what is stored of each object and frame, by frame and object; no mask is read."""
        ...

    def observations(
        self, frames: Iterable[int] | Mapping[int, Collection[int]] | None = None
    ) -> Iterator[tuple[int, list[Observation]]]:
        """Yield frames, all that hold results or those named, with their objects, ascending.

        Of a mapping of frames to objects, those objects alone.
        """
        ...


def row(
    mask: npt.NDArray[Any],
    *,
    corner: tuple[int, int] = (0, 0),
    frame: int,
    time: float,
    object_id: int,
    source: Source,
    name: str = "",
    object_score: float | None = None,
    predicted_iou: float | None = None,
) -> TrackRow:
    """Return the row of an object's mask on a frame: see `TrackRow`.

    Parameters
    ----------
    mask : (H, W) bool array
        At the size of the upright frame, or what of one lies in a part of it.
    corner : (int, int)
        Column and row of the frame at which it begins.
    frame, time, object_id, source, name, object_score, predicted_iou
        As in `TrackRow`.

    Raises
    ------
    UsageError
        Where `mask` has not two axes, or `source` is not known.
    """
    area, centroid, box = measure(mask)
    if centroid is not None and box is not None:
        (x, y), (x0, y0, x1, y1), (left, top) = centroid, box, corner
        centroid, box = (left + x, top + y), (left + x0, top + y0, left + x1, top + y1)
    return TrackRow(
        frame, time, object_id, name, area, centroid, box, object_score, predicted_iou, source
    )


class TableWriter(Staged):
    """A CSV file of `TrackRow`, or of other columns: UTF-8, comma separated, ends of lines are LF.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced on `close`.
    columns : sequence of str
        The header.

    Raises
    ------
    OutputError
        Where the file cannot be made.
    """

    def __init__(self, path: str | Path, columns: Sequence[str] = COLUMNS) -> None:
        super().__init__(path)
        self._file: TextIO | None = None
        with self._guarded():
            self._file = self.partial.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self.write_cells(columns)

    def write_cells(self, cells: Sequence[str]) -> None:
        """Append a row of text, one cell for each column.

        Raises
        ------
        UsageError
            Where the table is closed.
        OutputError
            Where it cannot be written; the table is aborted then.
        """
        self._write(lambda: self._csv.writerow(cells))

    def write_lines(self, lines: Iterable[str]) -> None:
        """Append lines that are CSV already; raises as `write_cells`, and what the lines raise."""
        self._write(lambda: self._file and self._file.writelines(lines))

    def _write(self, what: Callable[[], object]) -> None:
        if self._closed:
            raise UsageError(f"{self.path.name} is closed")
        with self._guarded():
            try:
                what()
            except UnicodeEncodeError as error:
                raise OutputError(
                    f"cannot write {self.path}: {error.object!a:.200} is no valid text"
                ) from error

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()

    def _release(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what cannot be flushed is thrown away in any case
                self._file.close()


def score_text(value: float | None) -> str:
    """Return a score as the table has it; blank where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.4f}"
