"""HDF5 files as stacks: those of ilastik, Fiji, h5py, MATLAB, BigDataViewer and Imaris."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sam2track.errors import SourceError, UsageError
from sam2track.frames.array import array_stack
from sam2track.frames.choice import choose, listed
from sam2track.frames.hdf5_access import names_in, node_at, open_hdf5, said, text
from sam2track.frames.hdf5_arrays import Guarded, Series, dataset_at, datasets_of
from sam2track.frames.microscopes import unreadable
from sam2track.frames.stack import Stack
from sam2track.frames.units import micrometres, seconds

__all__ = ["hdf5_stack"]

_IMARIS = "DataSet/ResolutionLevel 0"
_NO_NAME = "(name not specified)"  # as Imaris calls a channel without one
_VIEWS = re.compile(r"t\d{5,}")
_SETUPS = re.compile(r"s\d{2,}")


def hdf5_stack(path: Path, axes: str | None = None, key: str | None = None) -> Stack:
    """Open a dataset of an HDF5 file, or all of one by Imaris or BigDataViewer, at full size.

    It is told apart from others by its values, as these files are written to again and again, also
    in places where nobody looks.

    Parameters
    ----------
    path : Path
    axes : str, optional
        A letter for each axis.
    key : str, optional
        Which dataset: its name, before which those of its groups stand, with slashes, or its number
        from 0; not needed where there is one alone. Of BigDataViewer which setup.

    Raises
    ------
    SourceError
        Where it is damaged, cut short, holds no such dataset, or one of values that lie in other
        files, are no numbers, or are compressed in a way that is not here.
    UsageError
        Where h5py is not installed, it holds several datasets and none is named, or the axes do
        not fit.
    """
    with ExitStack() as opened:
        try:
            file = opened.enter_context(open_hdf5(path))
            array: Guarded | Series
            if node_at(file, _IMARIS) is not None:
                array, about = _imaris(file, path, key)
            elif views := _views(file):
                array, about = _big(file, path, views, key)
            else:
                array, about = _dataset(file, path, key, axes)
            if axes is not None:
                about["axes"] = axes
            stack = array_stack(array, name=str(path), **about)
        except (SourceError, UsageError):
            raise
        except Exception as error:  # h5py has no tree of its own, and damaged files end in anything
            raise unreadable(path, "HDF5", error) from error
        opened.callback(stack.close)
        close = opened.pop_all().close
    return replace(stack, close=close)


def _dataset(
    file: Any, path: Path, key: str | None, axes: str | None
) -> tuple[Guarded, dict[str, Any]]:
    """The dataset of a name, or the only one, and what it says of itself."""
    names = datasets_of(file, path)
    if not names:
        raise SourceError(
            f"{path} holds no array of numbers with 2 to 6 axes of its own; links, also to other "
            "files, are not followed"
        )
    if key is None and len(names) > 1:
        raise UsageError(
            f"{path} holds {len(names)} datasets{listed(names)}; name one by key (--key), such as "
            f"{names[0]}"
        )
    number = 0 if key is None else choose(path, "datasets", names, key.lstrip("/")).number
    name = names[number]
    array = dataset_at(file, name, path)
    node = node_at(file, name)
    about: dict[str, Any] = {"key": name, **_vigra(node)}
    size = said(node, "element_size_um")  # along Z, Y and X, as Fiji's plugins write it
    if getattr(size, "shape", None) == (3,):
        about["pixel_size_um"] = _pixel(size[1], size[2], "um", "um")
    # Not by ``dims``: what the library makes of an attribute of another kind ends the process.
    labels = [text(label) for label in _listed(said(node, "DIMENSION_LABELS"))]
    if "axes" not in about and labels and all(labels):
        about["axes"] = labels
    if "axes" not in about and axes is None and said(node, "MATLAB_class") is not None:
        about["axes"] = _axes_of_matlab(array.shape, path)
    return array, about


def _vigra(node: Any) -> dict[str, Any]:
    """Axes as ilastik writes them, and their steps where it says in what units these are."""
    units = _json(said(node, "axis_units"))
    tags = _json(said(node, "axistags")).get("axes")
    if not tags or not isinstance(tags, list) or not all(isinstance(tag, Mapping) for tag in tags):
        return {}
    keys = [str(tag.get("key")) for tag in tags]
    steps = {key: tag.get("resolution") for key, tag in zip(keys, tags, strict=True)}
    return {
        "axes": keys,
        "pixel_size_um": _pixel(steps.get("y"), steps.get("x"), units.get("y"), units.get("x")),
        "frame_interval_s": seconds(steps.get("t"), units.get("t")),
    }


def _listed(value: Any) -> list[Any]:
    return value.tolist() if getattr(value, "ndim", 0) == 1 else []


def _json(value: Any) -> Mapping[str, Any]:
    """What an attribute of JSON says; nothing where it is none."""
    try:
        told = json.loads(text(value))
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, Mapping) else {}


def _axes_of_matlab(shape: Sequence[int], path: Path) -> str:
    """Axes of an array (rows, columns, colours, frames) of MATLAB, which lie in the file backwards.

    Raises
    ------
    UsageError
        Where they may be one thing or another.
    """
    if len(shape) == 2:
        return "XY"
    if len(shape) == 3 and not (shape[0] in (3, 4) and min(shape[1:]) > 16):
        return "TXY"
    if len(shape) == 4 and shape[1] in (1, 3, 4):
        return "TSXY"
    raise UsageError(
        f"{path} holds an array of MATLAB of {'x'.join(map(str, reversed(shape)))}; name its axes "
        f"(--axes) in the order of the file, which is the other way round: {tuple(shape)}, such as "
        "TZXY, or SXY for one colour picture"
    )


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
    series = Series(find, times, channels, tuple(size))
    return series, {
        "axes": series.axes,
        "channels": tuple(names) if len(named) == channels else (),
        "pixel_size_um": _pixel(height, width, unit, unit),
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


def _views(file: Any) -> list[str]:
    """Names of the times of a file of BigDataViewer; none of others."""
    held = names_in(file)
    setups = filter(_SETUPS.fullmatch, held)
    if not any(node_at(file, f"{setup}/resolutions") is not None for setup in setups):
        return []
    return sorted(filter(_VIEWS.fullmatch, held), key=lambda name: int(name[1:]))


def _big(
    file: Any, path: Path, views: Sequence[str], key: str | None
) -> tuple[Series, dict[str, Any]]:
    """Times of a file of BigDataViewer; setups of the same size are channels."""
    first = node_at(file, views[0])
    setups = sorted(filter(_SETUPS.fullmatch, names_in(first)), key=lambda name: int(name[1:]))
    if not setups:
        raise SourceError(
            f"{path} holds no setup of its own in {views[0]}; links to other files are not followed"
        )
    sizes = {dataset_at(first, f"{setup}/0/cells", path).shape for setup in setups}
    about: dict[str, Any] = {}
    if key is not None or len(sizes) > 1:
        choice = choose(path, "setups of different sizes" if key is None else "setups", setups, key)
        setups = [setups[choice.number]]
        about = {"key": setups[0], "warnings": tuple(choice.warnings)}

    def find(time: int, channel: int) -> Guarded:
        return dataset_at(file, f"{views[time]}/{setups[channel]}/0/cells", path)

    size = find(0, 0).shape
    # It writes numbers of 16 bits without a sign as such with one.
    series = Series(find, len(views), len(setups), size, unsigned=True)
    return series, {"axes": series.axes, **about}


def _pixel(
    height: object, width: object, unit: object, unit_of_width: object
) -> tuple[float, float] | None:
    sides = micrometres(height, unit), micrometres(width, unit_of_width)
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def _number(told: str) -> float:
    try:
        return float(told)
    except ValueError:
        return float("nan")
