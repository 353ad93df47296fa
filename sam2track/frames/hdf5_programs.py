"""HDF5 files of many datasets that are one stack: those of Imaris, BigDataViewer and Fiji."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from sam2track.errors import SourceError, UsageError
from sam2track.frames.choice import choose
from sam2track.frames.hdf5_access import names_in, node_at, said, text
from sam2track.frames.hdf5_arrays import Guarded, Series, dataset_at
from sam2track.frames.units import pixel_size, seconds

__all__ = ["element_size", "series_of"]

_IMARIS = "DataSet/ResolutionLevel 0"
_NO_NAME = "(name not specified)"  # as Imaris calls a channel without one


class _Layout(NamedTuple):
    """Names of groups, of a time each, of what lies in these, of a channel each, and within."""

    times: str
    channels: str
    within: str
    what: str


_BIG = _Layout(r"t\d{5,}", r"s\d{2,}", "/0/cells", "setups")
_FIJI = _Layout(r"t\d+", r"channel\d+", "", "channels")


def series_of(file: Any, path: Path, key: str | None) -> tuple[Series, dict[str, Any]] | None:
    """Return all times and channels of a file of one of these programs, and what it says of itself.

    None of other files.

    Raises
    ------
    SourceError
        Where it is not whole, or parts of it lie in other files.
    UsageError
        Where nothing in it is called like the key.
    """
    if node_at(file, _IMARIS) is not None:
        return _imaris(file, path, key)
    held = names_in(file)
    setups = _named(held, _BIG.channels)
    if any(node_at(file, f"{setup}/resolutions") is not None for setup in setups):
        return _laid_out(file, path, key, _BIG, _named(held, _BIG.times))
    times = _named(held, _FIJI.times)
    if times and _named(names_in(node_at(file, times[0])), _FIJI.channels):
        return _laid_out(file, path, key, _FIJI, times)
    return None


def element_size(node: Any) -> tuple[float, float] | None:
    """Height and width of a pixel in micrometres, as Fiji writes them.

    Where it does not know them it says 1 along each axis.
    """
    size = said(node, "element_size_um")  # along Z, Y and X
    if getattr(size, "shape", None) != (3,) or all(size == 1):
        return None
    return pixel_size((size[1], "um"), (size[2], "um"))


def _named(names: Sequence[str], pattern: str) -> list[str]:
    """Those that are called so, in the order of their numbers."""
    found = [name for name in names if re.fullmatch(pattern, name)]
    return sorted(found, key=lambda name: int(re.sub(r"\D", "", name)))


def _laid_out(
    file: Any, path: Path, key: str | None, layout: _Layout, times: Sequence[str]
) -> tuple[Series, dict[str, Any]]:
    """Times and channels; of channels that differ in size one alone."""
    first = node_at(file, times[0]) if times else None
    channels = _named(names_in(first), layout.channels)
    if not channels:
        raise SourceError(
            f"{path} holds none of its {layout.what} itself; links to other files are not followed"
        )
    sizes = {dataset_at(first, channel + layout.within, path).shape for channel in channels}
    about: dict[str, Any] = {}
    warnings = _gaps(times)
    if key is None and (later := set(_named(names_in(file), layout.channels)) - set(channels)):
        told = ", ".join(sorted(later))
        warnings.append(f"its first time, {times[0]}, has no {told}; what is not there is left out")
    if key is not None or len(sizes) > 1:
        what = layout.what if key is not None else f"{layout.what} of different sizes"
        choice = choose(path, what, channels, key)
        channels = [channels[choice.number]]
        about["key"] = channels[0]
        warnings += choice.warnings

    def find(time: int, channel: int) -> Guarded:
        return dataset_at(file, f"{times[time]}/{channels[channel]}{layout.within}", path)

    if layout is _FIJI:
        about["pixel_size_um"] = element_size(node_at(first, channels[0]))
    # BigDataViewer writes numbers of 16 bits without a sign as such with one.
    series = Series(find, len(times), len(channels), unsigned=layout is _BIG)
    return series, {"axes": series.axes, "warnings": tuple(warnings), **about}


def _gaps(times: Sequence[str]) -> list[str]:
    """What is to be said where times are missing among others."""
    for before, after in pairwise(times):
        if int(after[1:]) > int(before[1:]) + 1:
            return [f"it holds nothing between {before} and {after}; frames count what is there"]
    return []


def _imaris(file: Any, path: Path, key: str | None) -> tuple[Series, dict[str, Any]]:
    """All times and channels of a file of Imaris 5.5 and later, without what its chunks add."""
    if key is not None:
        raise UsageError(f"{path} holds one stack, as Imaris writes it; leave key {key!r} out")
    level = node_at(file, _IMARIS)
    first = node_at(level, "TimePoint 0")
    times, channels = _count(level, "TimePoint"), _count(first, "Channel")
    channel = node_at(level, "TimePoint 0/Channel 0")
    image = node_at(file, "DataSetInfo/Image")
    size = []
    for axis in "ZYX":
        told = text(said(channel, f"ImageSize{axis}")) or text(said(image, axis))
        if not told.isdecimal():
            raise SourceError(f"{path} does not say how large it is along {axis}; write it anew")
        size.append(int(told))

    def find(time: int, channel: int) -> Guarded:
        return dataset_at(level, f"TimePoint {time}/Channel {channel}/Data", path)

    unit = text(said(image, "Unit"))
    ends = [[_number(text(said(image, f"Ext{end}{n}"))) for end in ("Min", "Max")] for n in "10"]
    height, width = (
        abs(high - low) / max(1, pixels) for (low, high), pixels in zip(ends, size[1:], strict=True)
    )
    names = [
        text(said(node_at(file, f"DataSetInfo/Channel {number}"), "Name"))
        for number in range(channels)
    ]
    named = [name for name in names if name not in ("", _NO_NAME)]
    series = Series(find, times, channels, size=tuple(size))
    return series, {
        "axes": series.axes,
        "channels": tuple(names) if len(named) == channels else (),
        "pixel_size_um": pixel_size((height, unit), (width, unit)),
        "frame_interval_s": _interval(node_at(file, "DataSetInfo/TimeInfo"), times),
    }


def _count(group: Any, name: str) -> int:
    """How many there are in a group of `name` 0, 1 and so on."""
    held = set(names_in(group))
    count = 0
    while f"{name} {count}" in held:
        count += 1
    return count


def _interval(told: Any, times: int) -> float | None:
    """Seconds between frames by when the first and the last were taken."""
    if times < 2:
        return None
    try:
        first, last = (
            datetime.fromisoformat(text(said(told, f"TimePoint{n}"))) for n in (1, times)
        )
        return seconds((last - first).total_seconds() / (times - 1), "s")
    except (TypeError, ValueError):  # of no time, or one with a time zone and one without
        return None


def _number(told: str) -> float:
    try:
        return float(told)
    except ValueError:
        return float("nan")
