"""HDF5 files as stacks: those of ilastik, Fiji, h5py, MATLAB, BigDataViewer and Imaris."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from sam2track.errors import SourceError, UsageError
from sam2track.frames.array import array_stack
from sam2track.frames.choice import choose, listed
from sam2track.frames.files import reading_errors
from sam2track.frames.hdf5_access import node_at, open_hdf5, said, text
from sam2track.frames.hdf5_arrays import Guarded, Series, dataset_at, datasets_of
from sam2track.frames.hdf5_programs import element_size, series_of
from sam2track.frames.stack import Stack
from sam2track.frames.units import pixel_size, seconds

__all__ = ["hdf5_stack"]


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
    with ExitStack() as opened, reading_errors(path, "HDF5"):
        file = opened.enter_context(open_hdf5(path))
        array: Guarded | Series
        found = series_of(file, path, key)
        array, about = found if found is not None else _dataset(file, path, key, axes)
        if axes is not None:
            about["axes"] = axes
        stack = array_stack(array, name=str(path), **about)
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
    about["pixel_size_um"] = element_size(node) or about.get("pixel_size_um")
    # Not by ``dims``: what the library makes of an attribute of another kind ends the process.
    labels = said(node, "DIMENSION_LABELS")
    named = [text(label) for label in labels] if getattr(labels, "ndim", 0) == 1 else []
    if "axes" not in about and named and all(named):
        about["axes"] = named
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
    told = {axis: (steps.get(axis), units.get(axis)) for axis in "tyx"}
    return {
        "axes": keys,
        "pixel_size_um": pixel_size(told["y"], told["x"]),
        "frame_interval_s": seconds(*told["t"]),
    }


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
