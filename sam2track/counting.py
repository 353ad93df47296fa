"""How many there are, and how often they cross lines and enter or leave regions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sam2track.errors import UsageError
from sam2track.table import TrackRow

__all__ = [
    "EVENT_COLUMNS",
    "Counts",
    "Event",
    "Line",
    "Region",
    "count",
    "parse_line",
    "parse_region",
]

Point = tuple[float, float]

EVENT_COLUMNS = ("frame", "time_s", "object", "name", "where", "event")
"""The columns of the table of events."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Line:
    """A line that is counted over, from its start to its end.

    Parameters
    ----------
    name : str
    start, end : (float, float)
        (x, y) in pixels; they differ.

    Raises
    ------
    UsageError
        Where they do not, or are no numbers.
    """

    name: str
    start: Point
    end: Point

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.start, *self.end))):
            raise UsageError(
                f"line {self.name!r} from {self.start} to {self.end}; give finite numbers"
            )
        if self.start == self.end:
            raise UsageError(f"line {self.name!r} has two ends that differ, not {self.start} twice")

    def side(self, at: Point) -> float:
        """Above 0 to the right of who goes from start to end, below 0 to the left, else 0."""
        (xa, ya), (xb, yb) = self.start, self.end
        return (xb - xa) * (at[1] - ya) - (yb - ya) * (at[0] - xa)

    def met(self, before: Point, after: Point) -> bool:
        """Whether the way between two points on different sides leads over the line itself."""
        there, here = self.side(before), self.side(after)
        if there == here:
            return False
        part = there / (there - here)
        x = before[0] + part * (after[0] - before[0])
        y = before[1] + part * (after[1] - before[1])
        (xa, ya), (xb, yb) = self.start, self.end
        along = (x - xa) * (xb - xa) + (y - ya) * (yb - ya)
        return 0 <= along <= (xb - xa) ** 2 + (yb - ya) ** 2


@dataclass(frozen=True)
class Region:
    """A part of the frame: a polygon, even-odd where it crosses itself.

    Parameters
    ----------
    name : str
    corners : sequence of (float, float)
        At least three, (x, y) in pixels.

    Raises
    ------
    UsageError
        Where there are fewer, or they are no numbers.
    """

    name: str
    corners: tuple[Point, ...]

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for corner in self.corners for v in corner):
            raise UsageError(f"region {self.name!r} of {self.corners}; give finite numbers")
        if len(set(self.corners)) < 3:
            raise UsageError(f"region {self.name!r} has at least three corners that differ")

    def holds(self, at: Point) -> bool:
        """Whether a point is inside; of the border, the upper and left part is."""
        inside = False
        x, y = at
        for (xa, ya), (xb, yb) in zip(
            self.corners, (*self.corners[1:], self.corners[0]), strict=True
        ):
            if (ya > y) != (yb > y) and x < xa + (y - ya) * (xb - xa) / (yb - ya):
                inside = not inside
        return inside


class Event(NamedTuple):
    """A crossing, an entry or an exit.

    Attributes
    ----------
    frame : int
        The first on the other side.
    time : float
        Seconds.
    object_id : int
    name : str
        The object's class.
    where : str
        The line's or region's name.
    what : {"left to right", "right to left", "entry", "exit"}
        Left and right as seen by who goes from a line's start to its end.
    """

    frame: int
    time: float
    object_id: int
    name: str
    where: str
    what: Literal["left to right", "right to left", "entry", "exit"]


@dataclass
class Counts:
    """What was counted.

    Attributes
    ----------
    frames : int
        That hold results.
    most, total : dict of str to int
        By class: most objects on one frame; objects seen at all.
    mean : dict of str to float
        By class: objects a frame.
    events : dict of (str, str, str) to int
        By place, kind and class.
    """

    frames: int = 0
    most: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    events: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def mean(self) -> dict[str, float]:
        """Objects a frame, by class."""
        return {name: self.sums[name] / self.frames for name in self.total}


def count(
    frames: Iterable[tuple[int, float, Sequence[TrackRow]]],
    *,
    lines: Sequence[Line] = (),
    regions: Sequence[Region] = (),
    on_frame: Callable[[int, float, Counter[str]], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Counts:
    """Count objects by class (their name), and what their centroids do.

    An object is there where its mask is not empty. Its way from one frame to the next on which it
    is there is taken as straight, also over a gap. One that touches a line and turns back has not
    crossed it. Being inside a region on an object's first frame is no entry, vanishing inside no
    exit.

    Parameters
    ----------
    frames : iterable of (int, float, sequence of TrackRow)
        Frame, seconds and rows, ascending.
    lines, regions : sequence
    on_frame : callable, optional
        Called with frame, seconds and objects by class.
    on_event : callable, optional
        Called with each Event.
    """
    counts = Counts()
    walks: dict[int, _Walk] = {}
    for frame, time, rows in frames:
        here: Counter[str] = Counter()
        for row in rows:
            if row.centroid is None:
                continue
            here[row.name] += 1
            walk = walks.get(row.object_id)
            if walk is None:
                walk = walks[row.object_id] = _Walk()
                counts.total[row.name] += 1
            for where, what in walk.on(row.centroid, lines, regions):
                event = Event(frame, time, row.object_id, row.name, where, what)
                counts.events[where, what, row.name] += 1
                if on_event is not None:
                    on_event(event)
        counts.frames += 1
        counts.sums.update(here)
        for name, number in here.items():
            counts.most[name] = max(counts.most[name], number)
        if on_frame is not None:
            on_frame(frame, time, here)
    return counts


@dataclass
class _Walk:
    """Where an object was: on which side of each line last, and in which regions."""

    sides: dict[int, tuple[Point, Point]] = field(default_factory=dict)
    inside: dict[int, bool] = field(default_factory=dict)

    def on(
        self, at: Point, lines: Sequence[Line], regions: Sequence[Region]
    ) -> Iterator[tuple[str, Literal["left to right", "right to left", "entry", "exit"]]]:
        """Go on to a point; yield what happened."""
        for index, line in enumerate(lines):
            side = line.side(at)
            # The last point beside the line, and the last one that may lie on it.
            beside, last = self.sides.get(index, (at, at))
            # Where points on the line lie between, the way leads over it at the last of them.
            last = last if line.side(last) == 0 else beside
            if line.side(beside) * side < 0 and line.met(last, at):
                yield line.name, "left to right" if side > 0 else "right to left"
            if side:
                beside = at
            self.sides[index] = beside, at
        for index, region in enumerate(regions):
            now = region.holds(at)
            if self.inside.get(index, now) != now:
                yield region.name, "entry" if now else "exit"
            self.inside[index] = now


def parse_line(text: str) -> Line:
    """Parse ``[NAME=]X0,Y0,X1,Y1``.

    Raises
    ------
    UsageError
        Where the text is something else.
    """
    name, numbers = _parsed(text, "[NAME=]X0,Y0,X1,Y1")
    if len(numbers) != 4:
        raise UsageError(f"line {text!r}; allowed is [NAME=]X0,Y0,X1,Y1")
    return Line(name, (numbers[0], numbers[1]), (numbers[2], numbers[3]))


def parse_region(text: str) -> Region:
    """Parse ``[NAME=]X0,Y0,X1,Y1``, a box, or ``[NAME=]X0,Y0,X1,Y1,X2,Y2…``, a polygon.

    Raises
    ------
    UsageError
        Where the text is something else.
    """
    allowed = "[NAME=]X0,Y0,X1,Y1 (a box) or three or more corners X,Y"
    name, numbers = _parsed(text, allowed)
    if len(numbers) % 2 or len(numbers) < 4:
        raise UsageError(f"region {text!r}; allowed is {allowed}")
    corners = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    if len(corners) == 2:
        (xa, ya), (xb, yb) = corners
        if xa >= xb or ya >= yb:
            raise UsageError(f"region {text!r}; a box has X0 < X1 and Y0 < Y1")
        corners = ((xa, ya), (xb, ya), (xb, yb), (xa, yb))
    return Region(name, corners)


def _parsed(text: str, allowed: str) -> tuple[str, list[float]]:
    name, equals, rest = text.rpartition("=")
    parts = [part.strip() for part in rest.split(",")]  # of more than float() strips
    if (equals and not name) or not all(map(_NUMBER.fullmatch, parts)):
        raise UsageError(f"{text!r} is no line or region; allowed is {allowed}")
    return name or rest, [float(part) for part in parts]
