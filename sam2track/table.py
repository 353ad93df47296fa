"""What a project says of each object on each frame, and ``tracks.csv``."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TextIO, get_args

import numpy as np
import numpy.typing as npt

from sam2track.errors import OutputError, UsageError
from sam2track.export import cannot_write, fresh_partial, output_errors, partial_path, publish
from sam2track.masks import Box, measure
from sam2track.tracking.codes import stability

__all__ = ["COLUMNS", "Observation", "Results", "Source", "TableWriter", "TrackRow", "row"]

Source = Literal["prompted", "forward", "backward", "carried", "edited"]
"""What a mask comes from."""

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
        if self.source not in get_args(Source):
            raise UsageError(f"source is one of {', '.join(get_args(Source))}, not {self.source!r}")

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell for each of `COLUMNS`; what is not there is blank."""
        x, y = ("", "") if self.centroid is None else (f"{v:.2f}" for v in self.centroid)
        box = ("",) * 4 if self.box is None else tuple(str(int(v)) for v in self.box)
        return (
            str(self.frame),
            f"{self.time:.6f}",
            str(self.object_id),
            self.name,
            str(self.area),
            x,
            y,
            *box,
            _score(self.object_score),
            _score(self.predicted_iou),
            self.source,
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """One object on one frame, with its mask.

    Parameters
    ----------
    row : TrackRow
    mask : (H, W) bool array
    codes : bytes
        Logits as the project keeps them, on a grid of `side` x `side`.
    side : int
    """

    row: TrackRow
    mask: npt.NDArray[np.bool_]
    codes: bytes
    side: int

    @property
    def stability(self) -> float:
        """How little the mask depends on the threshold, 0 to 1: see `codes.stability`."""
        return stability(self.codes, self.side)


class Results(Protocol):
    """What is measured: a project, in what measuring needs of it."""

    @property
    def meta(self) -> dict[str, Any]:
        """Source, its size and fingerprint, model and settings."""
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

    def observations(
        self, frames: Iterable[int] | None = None
    ) -> Iterator[tuple[int, list[Observation]]]:
        """Yield frames, all that hold results or those named, with their objects, ascending."""
        ...


def row(
    mask: npt.NDArray[Any],
    *,
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
        At the size of the upright frame.
    frame, time, object_id, source, name, object_score, predicted_iou
        As in `TrackRow`.

    Raises
    ------
    UsageError
        Where `mask` has not two axes, or `source` is not known.
    """
    area, centroid, box = measure(mask)
    return TrackRow(
        frame, time, object_id, name, area, centroid, box, object_score, predicted_iou, source
    )


class TableWriter:
    """A CSV file of `TrackRow`, or of other columns: UTF-8, comma separated, ends of lines are LF.

    Until it is closed the file bears a temporary name beside its own. As a context manager it
    is closed where all went well, and thrown away where not.

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
        self.path = Path(path)
        self._partial = partial_path(self.path)
        self._file: TextIO | None = None
        with output_errors(self.path):
            fresh_partial(self.path)
            self._file = self._partial.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self.write_cells(columns)

    def write(self, row: TrackRow) -> None:
        """Append a row.

        Raises
        ------
        UsageError
            Where the table is closed.
        OutputError
            Where it cannot be written; the table is aborted then.
        """
        self.write_cells(row.cells())

    def write_cells(self, cells: Sequence[str]) -> None:
        """Append a row of text, one cell for each column; raises as `write`."""
        if self._file is None:
            raise UsageError(f"{self.path.name} is closed")
        try:
            self._csv.writerow(cells)
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        except UnicodeEncodeError as error:
            self.abort()
            raise OutputError(f"cannot write {self.path}: {cells!a} is no valid text") from error

    def close(self) -> None:
        """Finish the file and give it its name. Does nothing where it is closed already.

        Raises
        ------
        OutputError
            Where that cannot be done; no file is left then.
        """
        if self._file is None:
            return
        try:
            self._file.close()
            self._file = None
            publish(self._partial, self.path)
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error

    def abort(self) -> None:
        """Throw away what was written. Does nothing where the file is closed already."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError:
            pass  # what could not be flushed is thrown away in any case
        finally:
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _score(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"
