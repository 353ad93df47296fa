"""What is measured of each object: on each frame, and over its path.

The first columns are those of ``tracks.csv``; docs/measurements.md says what each column is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.arguments import LENGTHS, is_length
from sam2track.confidence import Confidence, confidences
from sam2track.errors import SourceError, UsageError
from sam2track.frames.source import FrameSource
from sam2track.shape import intensity, shape
from sam2track.table import COLUMNS, Results, TrackRow

__all__ = [
    "OBJECT_COLUMNS",
    "Measured",
    "Scale",
    "cells",
    "columns",
    "measured",
    "object_columns",
    "summarised",
]

_SHAPE = ("perimeter_px", "eccentricity", "orientation_rad", "solidity", "touches_border")
_MOTION = ("displacement_px", "speed_px_per_s")
_RGB = ("r", "g", "b")
_STATISTICS = ("mean", "std", "min", "max")
_UNITS = (
    "area_um2",
    "centroid_x_um",
    "centroid_y_um",
    "perimeter_um",
    "displacement_um",
    "speed_um_per_s",
)

OBJECT_COLUMNS = (
    "object",
    "name",
    "first_frame",
    "last_frame",
    "frames_seen",
    "gaps",
    "frames_missing",
    "path_length_px",
    "net_displacement_px",
    "mean_speed_px_per_s",
    "mean_area_px",
    "mean_confidence",
)
"""The columns that `summarised` always gives."""

_OBJECT_UNITS = ("path_length_um", "net_displacement_um", "mean_speed_um_per_s", "mean_area_um2")

Row = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """What a pixel and a frame are in the world.

    Parameters
    ----------
    pixel_size_um : float, optional
        Side of a pixel in micrometres.
    frame_interval_s : float, optional
        Seconds from frame to frame, in place of the source's times.

    Raises
    ------
    UsageError
        Where one can be no length.
    """

    pixel_size_um: float | None = None
    frame_interval_s: float | None = None

    def __post_init__(self) -> None:
        for what, value in (
            ("pixel size", self.pixel_size_um),
            ("interval", self.frame_interval_s),
        ):
            if value is not None and not is_length(value):
                raise UsageError(f"{what} {value!r:.60}; it must be {LENGTHS}")

    @classmethod
    def of(
        cls,
        meta: Mapping[str, Any],
        *,
        pixel_size_um: float | None = None,
        frame_interval_s: float | None = None,
    ) -> Scale:
        """Return what is given, else what a project knows under the same names."""
        size = meta.get("pixel_size_um")
        if isinstance(size, Sequence) and len(size) == 2:
            # Lengths have one unit only where pixels are square.
            size = size[0] if math.isclose(size[0], size[1], rel_tol=0.01) else None
        known = [
            float(value) if is_length(value) else None
            for value in (size, meta.get("frame_interval_s"))
        ]
        return cls(
            known[0] if pixel_size_um is None else pixel_size_um,
            known[1] if frame_interval_s is None else frame_interval_s,
        )

    def time(self, row: TrackRow) -> float:
        """When a frame is, in seconds."""
        return row.time if self.frame_interval_s is None else row.frame * self.frame_interval_s


@dataclass
class Measured:
    """Rows of measurements that are made while they are read, and what went wrong meanwhile."""

    rows: Iterator[Row]
    columns: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)


def _intensities(source: FrameSource | None) -> tuple[str, ...]:
    """Return the columns of intensities: of a stack those of its channels, as measured."""
    if source is None:
        return ()
    names: Sequence[str] = getattr(source, "channel_names", _RGB)
    return tuple(f"intensity_{what}_{name}" for name in names for what in _STATISTICS)


def columns(*, intensities: Sequence[str], units: bool) -> tuple[str, ...]:
    """Return the columns of a table of measurements, in order."""
    return (
        *COLUMNS,
        *_SHAPE,
        *_MOTION,
        "confidence",
        *intensities,
        *(_UNITS if units else ()),
    )


def measured(
    results: Results,
    *,
    source: FrameSource | None = None,
    scale: Scale | None = None,
    sure: Mapping[int, Confidence] | None = None,
    shapes: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Measured:
    """Measure all objects on all frames.

    One frame is held at a time. The project is read twice, since confidence needs what comes
    behind a frame where tracking went backward.

    Parameters
    ----------
    results : Project
    source : FrameSource, optional
        The pictures, for intensities.
    scale : Scale, optional
        That of the project, if not given.
    sure : mapping of int to Confidence, optional
        What `confidences` gives, where it is known already.
    shapes : bool
        Whether shapes are measured. Without, and without pictures, no mask is read here.
    progress : callable, optional
        Called with each frame that was read; each comes twice, once where `sure` is given.

    Returns
    -------
    Measured
        Where the pictures cannot be read to the end the intensities are blank from there on, and a
        warning says so.
    """
    scale = scale or Scale.of(results.meta)
    made = Measured(
        iter(()), columns(intensities=_intensities(source), units=scale.pixel_size_um is not None)
    )
    made.rows = _rows(results, source, scale, sure, shapes, made.warnings, progress)
    return made


def cells(row: Row, names: Iterable[str]) -> tuple[str, ...]:
    """Return a row as text, one cell for each column; what is not there is blank."""
    return tuple(_cell(name, row.get(name)) for name in names)


def summarised(
    rows: Iterable[Row], *, scale: Scale | None = None
) -> tuple[tuple[str, ...], list[Row]]:
    """Return columns and one row for each object: where its path begins, ends and has gaps.

    Parameters
    ----------
    rows : iterable of dict
        Those of `measured`.
    scale : Scale, optional
        That with which they were made; adds units where it has a pixel size.
    """
    paths: dict[int, _Path] = {}
    for row in rows:
        paths.setdefault(row["object"], _Path(row["object"], row["name"])).add(row)
    side = None if scale is None else scale.pixel_size_um
    found = [paths[object_id].row() for object_id in sorted(paths)]
    if side is not None:
        for row in found:
            for name in _OBJECT_UNITS:
                value = row.get(name.replace("_um2", "_px").replace("_um", "_px"))
                row[name] = None if value is None else value * side ** (1 + name.endswith("2"))
    return object_columns(scale), found


def object_columns(scale: Scale | None = None) -> tuple[str, ...]:
    """Return the columns that `summarised` gives with a scale."""
    known = scale is not None and scale.pixel_size_um is not None
    return (*OBJECT_COLUMNS, *_OBJECT_UNITS) if known else OBJECT_COLUMNS


@dataclass
class _Path:
    object_id: int
    name: str
    begin: Row | None = None
    end: Row | None = None
    seen: int = 0
    gaps: int = 0
    length: float = 0.0
    area: int = 0
    rows: int = 0
    sure: float = 0.0

    def add(self, row: Row) -> None:
        self.rows += 1
        self.sure += row["confidence"]
        if not row["area_px"]:
            return
        if self.end is not None:
            self.gaps += row["frame"] > self.end["frame"] + 1
            self.length += row["displacement_px"]
        self.begin = self.begin or row
        self.end = row
        self.seen += 1
        self.area += row["area_px"]

    def row(self) -> Row:
        row: Row = {"object": self.object_id, "name": self.name, "frames_seen": self.seen}
        row |= {"gaps": self.gaps, "frames_missing": 0, "mean_confidence": self.sure / self.rows}
        if self.begin is None or self.end is None:
            return row
        places = [(at["centroid_x"], at["centroid_y"]) for at in (self.begin, self.end)]
        span = self.end["time_s"] - self.begin["time_s"]
        row |= {
            "first_frame": self.begin["frame"],
            "last_frame": self.end["frame"],
            "frames_missing": self.end["frame"] - self.begin["frame"] + 1 - self.seen,
            "path_length_px": self.length,
            "net_displacement_px": math.dist(*places),
            "mean_speed_px_per_s": self.length / span if span > 0 else None,
            "mean_area_px": self.area / self.seen,
        }
        return row


def _rows(
    results: Results,
    source: FrameSource | None,
    scale: Scale,
    sure: Mapping[int, Confidence] | None,
    shapes: bool,
    warnings: list[str],
    progress: Callable[[int], None] | None,
) -> Iterator[Row]:
    known = confidences(results, progress=progress) if sure is None else sure
    pictures = _Pictures(source, warnings)
    names = _intensities(source)
    before: dict[int, tuple[float, tuple[float, float]]] = {}
    for frame, found in _found(results, masks=shapes or source is not None):
        picture = pictures.at(frame)
        for plain, mask in found:
            row = _row(plain, scale, before, known[plain.object_id])
            if mask is not None:
                if shapes and (form := shape(mask)) is not None:
                    row |= dict(zip(_SHAPE, form, strict=True))
                if picture is not None and (values := intensity(mask, picture)) is not None:
                    told = np.stack(values, axis=1).ravel().tolist()
                    row |= dict(zip(names, told, strict=True))
            if scale.pixel_size_um is not None:
                _add_units(row, scale.pixel_size_um)
            yield row
        if progress is not None:
            progress(frame)


def _found(
    results: Results, *, masks: bool
) -> Iterator[tuple[int, Iterable[tuple[TrackRow, npt.NDArray[np.bool_] | None]]]]:
    """Yield frames with the rows of their objects, and their masks where they are wanted."""
    if masks:
        for frame, found in results.observations():
            yield frame, ((one.row, one.mask) for one in found)
        return
    for frame, rows in groupby(results.rows(), key=lambda row: row.frame):
        yield frame, ((row, None) for row in rows)


def _row(
    plain: TrackRow,
    scale: Scale,
    before: dict[int, tuple[float, tuple[float, float]]],
    sure: Confidence,
) -> Row:
    time = scale.time(plain)
    row: Row = plain.values() | {"time_s": time, "confidence": sure.at(plain.frame)[0]}
    if plain.centroid is not None:
        if plain.object_id in before:
            then, place = before[plain.object_id]
            row["displacement_px"] = math.dist(place, plain.centroid)
            if time > then:
                row["speed_px_per_s"] = row["displacement_px"] / (time - then)
        before[plain.object_id] = time, plain.centroid
    return row


def _add_units(row: Row, side: float) -> None:
    """Add lengths in micrometres; those of an area are squared."""
    row["area_um2"] = row["area_px"] * side**2
    for name in _UNITS[1:]:
        pixels = (
            name.removesuffix("_um") if name.startswith("centroid") else name.replace("um", "px")
        )
        value = row.get(pixels)
        row[name] = None if value is None else value * side


class _Pictures:
    """Reads a source along with rising frames, once."""

    def __init__(self, source: FrameSource | None, warnings: list[str]) -> None:
        self._source = source
        self._warnings = warnings
        self._next = 0
        self._frames: Iterator[npt.NDArray[np.uint8]] | None = None

    def at(self, frame: int) -> npt.NDArray[Any] | None:
        """Return the picture of a frame, None where there is none."""
        if self._source is None:
            return None
        try:
            if (values := getattr(self._source, "values", None)) is not None:
                return np.asarray(values(frame))  # of a stack, as measured
            if self._frames is None:
                self._next = frame
                self._frames = self._source.frames(frame, len(self._source))
            while True:
                picture = next(self._frames)
                self._next += 1
                if self._next > frame:
                    return picture
        except (SourceError, StopIteration) as error:
            self._warnings.append(f"no intensities from frame {frame} on: {error or 'no picture'}")
            self._source = None
            return None


def _cell(name: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if name == "time_s":
        return f"{value:.6f}"
    if name in ("centroid_x", "centroid_y"):
        return f"{value:.2f}"
    if name in ("object_score", "predicted_iou", "confidence"):
        return f"{value:.4f}"
    return f"{value:.7g}" if isinstance(value, float) else str(value)
