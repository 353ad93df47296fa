"""Frame numbers and rates that readers accept."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sam2track.arguments import is_number, whole_number
from sam2track.errors import SourceError, UsageError
from sam2track.masks import MAX_PIXELS

__all__ = [
    "MAX_FRAMES",
    "MAX_VIDEO_PIXELS",
    "USUAL_FPS",
    "asked_span",
    "check_frame",
    "check_range",
    "check_rate",
    "check_size",
    "check_span",
    "even_times",
    "rate_of",
]

MAX_FRAMES = 2**25
"""Most frames of a source: more than two weeks at 25 a second."""

MAX_VIDEO_PIXELS = 2**27
"""Most pixels of a frame of a video, a little more than 15,360 x 8,640: decoders hold several."""

USUAL_FPS = 25.0
"""Frames a second at which pictures are played that say nothing of time."""


def asked_span(
    name: str, start: int | None, stop: int | None, count: int
) -> tuple[int, int, list[str]]:
    """Return the frames [low, high) that a person asks for, and what is to be said of that.

    All of them where nothing is asked for. A stop past the end is the end; a line says so.

    Raises
    ------
    UsageError
        Where there are no such frames, or they are no whole numbers.
    """
    low = 0 if start is None else whole_number("start", start)
    if low >= count:  # also where a stop lies before it
        raise UsageError(f"start {low}; {name} has frames 0 to {count - 1}")
    check_range(low, stop)
    high = count if stop is None else min(int(stop), count)
    if stop is None or stop <= count:
        return low, high, []
    return low, high, [f"stop {stop} lies past the end; {name} has frames 0 to {count - 1}"]


def check_range(start: int | None, stop: int | None) -> None:
    """Refuse a range of frames [start, stop) that no source has, however long it is.

    Raises
    ------
    UsageError
        Where it is empty, or a bound is no whole number.
    """
    low = 0 if start is None else whole_number("start", start)
    if low < 0:
        raise UsageError(f"start {low}; frames count from 0")
    if stop is not None and whole_number("stop", stop) <= low:
        raise UsageError(f"range of frames [{low}, {stop}) is empty; give a stop above its start")


def check_frame(name: str, frame: int, count: int) -> int:
    """Return ``frame`` as an int.

    Raises
    ------
    SourceError
        Where it is not in [0, count).
    UsageError
        Where it is no whole number.
    """
    number = whole_number("frame", frame)
    if not 0 <= number < count:
        raise SourceError(f"{name} has no frame {number}; its frames are 0 to {count - 1}")
    return number


def check_size(name: str, height: int, width: int, most: int = MAX_PIXELS) -> None:
    """Refuse a size that is none, or larger than a mask may be, before memory is taken for it.

    Parameters
    ----------
    name : str
        What claims it.
    height, width : int
    most : int
        Pixels that are allowed.

    Raises
    ------
    SourceError
        Where it is.
    """
    if min(height, width) < 1:
        raise SourceError(f"{name} claims {width} x {height} pixels: it holds no picture")
    if height * width > most:
        raise SourceError(
            f"{name} claims {width} x {height} pixels; at most {most} are read: "
            "cut it into parts, or make it smaller"
        )


def check_span(name: str, start: int, stop: int, count: int) -> tuple[int, int]:
    """Return ``start`` and ``stop`` as ints.

    Raises
    ------
    SourceError
        Where [start, stop) is not a part of [0, count).
    UsageError
        Where they are no whole numbers.
    """
    first, end = whole_number("start", start), whole_number("stop", stop)
    if not 0 <= first <= end <= count:
        raise SourceError(
            f"{name} has no frames [{first}, {end}); ask for a part of [0, {count}) in rising order"
        )
    return first, end


def even_times(count: int, fps: float) -> npt.NDArray[np.float64]:
    """Return the (count,) times in seconds of frames at a steady rate.

    Raises
    ------
    UsageError
        Where ``fps`` is not a positive number.
    SourceError
        Where there are more than `MAX_FRAMES`.
    """
    if count > MAX_FRAMES:
        raise SourceError(f"it claims {count} frames; at most {MAX_FRAMES} are read")
    check_rate(fps)
    return np.arange(count) / float(fps)


def check_rate(fps: float) -> None:
    """Raise a ``UsageError`` where a rate of frames is not a positive number."""
    if not (is_number(fps) and math.isfinite(fps) and fps > 0):
        raise UsageError(f"fps is {fps!r:.60}; give a number above 0")


def rate_of(times: npt.NDArray[np.float64]) -> float:
    """Return frames per second of times in seconds, on average; `USUAL_FPS` without two frames."""
    span = float(times[-1] - times[0]) if len(times) else 0.0
    return (len(times) - 1) / span if span > 0 else USUAL_FPS
