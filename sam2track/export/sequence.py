"""What an exporter is given: masks of one video, frame by frame, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sam2track.arguments import LENGTHS, check_flag, is_length
from sam2track.errors import UsageError
from sam2track.export.label_videos import LabelCodec
from sam2track.export.reading import UNNAMED, Boxed, by_label
from sam2track.frames.bounds import USUAL_FPS
from sam2track.frames.source import FrameSource

__all__ = ["UNITS", "Options", "Results", "Sequenced", "Shot"]

UNITS = ("nm", "um", "mm", "m")
"""Of a pixel's side."""

_NUMBERS = (int, float, np.integer, np.floating)

Mask = npt.NDArray[np.bool_]


class Row(Protocol):
    """What formats need of a row of the table; ``TrackRow`` is one."""

    frame: int
    object_id: int
    name: str
    area: int
    centroid: tuple[float, float] | None
    box: tuple[int, int, int, int] | None
    object_score: float | None
    predicted_iou: float | None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        ...

    def values(self) -> dict[str, Any]:
        """Return what each column holds."""
        ...


class Results(Protocol):
    """What is exported: a Project is one."""

    @property
    def folder(self) -> Path | None: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def frames(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def objects(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def names(self) -> dict[int, str]: ...  # noqa: D102
    @property
    def lineage(self) -> dict[int, int]: ...  # noqa: D102
    @property
    def times(self) -> npt.NDArray[np.float64]: ...  # noqa: D102
    def mask_makers(self, frame: int) -> Mapping[int, Callable[[], Mask]]: ...  # noqa: D102
    def labels(self, frame: int) -> npt.NDArray[np.int32]: ...  # noqa: D102
    def rows(self) -> Iterator[Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Options:
    """What a person may choose of an export.

    Attributes
    ----------
    start, stop : int, optional
        Frames [start, stop) of the source; all by default.
    name : str, optional
        Of the sequence, where a format has one; that of the source by default.
    pixel_size : float, optional
        Of one pixel's side in `unit`; what the source says by default.
    unit : str
        Of `pixel_size`, one of ``UNITS``: ``um`` by default.
    frame_interval : float, optional
        Seconds from frame to frame; what the source's times say by default.
    images : bool, optional
        Whether the source's frames are written beside the masks, where a format has a place for
        them; by default for ``yolo-seg`` alone, which is of no use without.
    source : path or FrameSource, optional
        Where the source is, if no longer where the project says; or the pictures themselves.
    val_share : float
        Of the frames, for validation (``yolo-seg``).
    codec : {"ffv1", "h264"}, optional
        Of ``masks-video``: FFV1, or H.264 in a file whose name ends in ``.mp4``, by default.
    palette : bool
        Whether ``masks-video`` has the palette's colours in place of ids as grey values.
    overwrite : bool
        Replace a file that is there.
    """

    start: int | None = None
    stop: int | None = None
    name: str | None = None
    pixel_size: float | None = None
    unit: str = "um"
    frame_interval: float | None = None
    images: bool | None = None
    source: str | Path | FrameSource | None = None
    val_share: float = 0.2
    codec: LabelCodec | None = None
    palette: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for what in ("pixel_size", "frame_interval"):
            value = getattr(self, what)
            if value is not None and not is_length(value):
                raise UsageError(f"{what} {value!r}; it must be {LENGTHS}")
        for what in ("palette", "overwrite"):
            check_flag(what, getattr(self, what))
        if self.images is not None:
            check_flag("images", self.images)
        if self.unit not in UNITS:
            raise UsageError(f"unit {self.unit!r}; allowed are {', '.join(UNITS)}")
        if not (isinstance(self.val_share, _NUMBERS) and 0 <= self.val_share < 1):
            raise UsageError(f"val_share {self.val_share!r}; allowed are 0 and more, below 1")
        if self.name is not None and (
            not isinstance(self.name, str)
            or not self.name.strip(". ")
            or {"/", "\\", "\0", "\n"} & set(self.name)
        ):
            raise UsageError(f"name {self.name!r}; give one that can be a file's")


class Shot:
    """The masks of one frame.

    Attributes
    ----------
    frame : int
        In the source.
    masks : Boxed
        By object, ascending; those that are not empty. They may overlap. What lies in their boxes
        is held, and each is made when it is asked for.
    """

    def __init__(self, owner: Sequenced, frame: int, masks: Boxed) -> None:
        self._owner = owner
        self.frame = frame
        self.masks = masks

    @cached_property
    def labels(self) -> npt.NDArray[np.int32]:
        """Label map, (H, W) int32; where masks overlap, the project says whose a pixel is."""
        owner = self._owner
        labels = np.zeros((owner.height, owner.width), np.int32)
        if self.masks.paint(labels) == np.count_nonzero(labels):
            return labels
        owner.overlapping += 1
        return owner.results.labels(self.frame)

    @property
    def apart(self) -> Mapping[int, Mask]:
        """Masks by object without overlaps, those that are not empty; each made when asked for."""
        return by_label(self.labels)


@dataclass
class Sequenced:
    """Results in the order of frames, and what an exporter has to know of them.

    Attributes
    ----------
    results : Results
    span : range
        Frames of the source that are written.
    name : str
        Of the sequence.
    options : Options
    columns : sequence of str
        Heads of the cells of a row.
    pictures : callable, optional
        Yields the frames of [start, stop), (H, W, 3) uint8; None where they are not wanted or
        not to be had.
    warnings : list of str
        What is lost, a line each.
    suffix : str
        With which the name of what is written ends, in small letters.
    passed : callable, optional
        Called with how many frames are written or being so, of how many; what it raises ends it.
    """

    results: Results
    span: range
    name: str
    options: Options
    columns: Sequence[str] = ()
    pictures: Callable[[int, int], Iterator[npt.NDArray[np.uint8]]] | None = None
    warnings: list[str] = field(default_factory=list)
    overlapping: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""
    passed: Callable[[int, int], None] = lambda done, total: None

    def __post_init__(self) -> None:
        self.height, self.width = self.results.height, self.results.width
        self.played = self.results.times
        interval = self.meta.get("frame_interval_s")
        self.times = (
            self.played if interval is None else np.arange(len(self.played)) * float(interval)
        )
        self.names: Mapping[int, str] = self.results.names
        self.objects = self.results.objects

    def shots(self) -> Iterator[Shot]:
        """Yield each frame of the span, also those without a mask; one is held at a time."""
        known = set(self.results.frames)
        for done, frame in enumerate(self.span, start=1):
            makers = self.results.mask_makers(frame) if frame in known else {}
            here = Boxed((i, makers[i]()) for i in sorted(makers))
            self.passed(done, len(self.span))  # before it: a writer may not ask for what is after
            yield Shot(self, frame, here)

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the table that lie in the span."""
        done = 0
        for row in self.results.rows():
            if row.frame in self.span:
                if row.frame - self.span.start > done:
                    done = row.frame - self.span.start
                    self.passed(done, len(self.span))
                yield row
        self.passed(len(self.span), len(self.span))

    def category(self, object_id: int) -> str:
        """Return the name of an object, or what stands for none where a format needs one."""
        return self.names.get(object_id) or UNNAMED

    @property
    def largest(self) -> int:
        """The largest id."""
        return max(self.objects, default=0)

    def label_type(self, format_name: str, *, largest: int = 65535) -> np.dtype[Any]:
        """Return uint8 or uint16 for label maps, uint32 where the format has it.

        Raises
        ------
        UsageError
            Where an id passes what the format holds.
        """
        if self.largest > largest:
            others = "ome-zarr, geff, " if self.largest < 2**31 else ""
            raise UsageError(
                f"object {self.largest} does not fit {format_name}, whose ids go up to {largest}; "
                f"take {others}coco, npz or parquet"
            )
        kinds = (np.uint8, np.uint16, np.uint32)
        return np.dtype(next(k for k in kinds if self.largest <= np.iinfo(k).max))

    def lose(self, format_name: str, *, lineage: bool = False) -> None:
        """Say in one line what the format could not hold, once all shots were taken."""
        lost = []
        if self.overlapping:
            lost.append(
                f"overlaps (on {self.overlapping} frames; a pixel went to the highest logit, "
                "of locked objects before others)"
            )
        if lineage and self.results.lineage:
            daughters = ", ".join(str(i) for i in sorted(self.results.lineage))
            lost.append(f"lineage (whose daughters {daughters} are)")
        if lost:
            self.warnings.append(f"{format_name} cannot hold {' and '.join(lost)}: lost")

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel in `unit`: as given, else as the source says."""
        if self.options.pixel_size is not None:
            return self.options.pixel_size, self.options.pixel_size
        size = self.meta.get("pixel_size_um")
        height, width = size if isinstance(size, Sequence) else (size, size)
        if is_length(height) and is_length(width):
            return float(height), float(width)
        return None

    @property
    def unit(self) -> str:
        """Unit of `pixel_size`."""
        return "um" if self.options.pixel_size is None else self.options.unit

    @property
    def _only_played(self) -> bool:
        """Whether times are those at which a stack is played that says nothing of its own."""
        told = self.meta.get("frame_interval_s") is not None or "axes" not in self.meta
        return not told and np.allclose(np.diff(self.times), 1 / USUAL_FPS)

    @property
    def interval(self) -> float | None:
        """Seconds from frame to frame, on average, where the source says something of them."""
        if self.options.frame_interval is not None:
            return self.options.frame_interval
        if len(self.times) < 2 or self._only_played:
            return None
        # Without the last digits, which are of the arithmetic: 0.04, not 0.039999999999999994.
        return round(float(self.times[-1] - self.times[0]) / (len(self.times) - 1), 9)
