"""Files of microscopes' makers: ND2 (Nikon) and CZI (Zeiss), as stacks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.frames.bounds import check_size
from sam2track.frames.choice import choose
from sam2track.frames.extras import needs
from sam2track.frames.files import ends_of_file, reading_errors
from sam2track.frames.stack import Stack, read_axes
from sam2track.frames.units import channel_names, pixel_size, seconds

__all__ = ["czi_stack", "nd2_stack"]

_KINDS: dict[str, np.dtype[Any]] = {  # of numbers, by the names that CZI has for kinds of pixels
    "Gray8": np.dtype(np.uint8),
    "Bgr24": np.dtype(np.uint8),
    "Gray16": np.dtype(np.uint16),
    "Bgr48": np.dtype(np.uint16),
    "Gray32Float": np.dtype(np.float32),
    "Bgr96Float": np.dtype(np.float32),
}


def nd2_stack(path: Path, axes: str | None = None, key: str | None = None) -> Stack:
    """Open an ND2 file; of several positions the one that `key` says, the first if unsaid.

    Raises
    ------
    SourceError
        Where it is damaged.
    UsageError
        Where the package nd2 is not installed, no position is called so, or the axes do not fit.
    """
    with needs("nd2", "microscopes", f"{path} is ND2"):
        import nd2
    with ExitStack() as opened, reading_errors(path, "ND2"):
        file = nd2.ND2File(path)
        opened.callback(file.close)
        sizes = dict(file.sizes)
        choice = choose(path, "positions", _positions(file, sizes.get("P", 1)), key)
        array = file.to_dask(wrapper=False, copy=True)
        pixel, channels, interval = _pixel(file), _channels_of(file), _interval(file)
        kept = {axis: int(size) for axis, size in sizes.items() if axis != "P"}
        shape, dtype = tuple(kept.values()), np.dtype(file.dtype)
        letters = read_axes(axes or "".join(kept), shape, str(path))
        close = opened.pop_all().close
    place = list(sizes).index("P") if "P" in sizes else None

    def read(at: Mapping[str, int]) -> npt.NDArray[Any]:
        index: list[Any] = [at.get(a, 0) if a not in "YXS" else slice(None) for a in letters]
        if place is not None:
            index.insert(place, choice.number)
        return np.asarray(array[tuple(index)])

    return Stack(
        str(path),
        letters,
        shape,
        dtype,
        read,
        channels=channels,
        pixel_size_um=pixel,
        frame_interval_s=interval,
        warnings=tuple(choice.warnings),
        key=choice.key,
        fingerprint=partial(ends_of_file, path.absolute()),
        close=close,
    )


def czi_stack(path: Path, axes: str | None = None, key: str | None = None) -> Stack:
    """Open a CZI file; its tiles are put together.

    Of several scenes it takes the one that `key` says, the first if unsaid.

    Raises
    ------
    SourceError
        Where it is damaged.
    UsageError
        Where the package pylibCZIrw is not installed, no scene is called so, or the axes do not
        fit.
    """
    with needs("pylibCZIrw", "microscopes", f"{path} is CZI"):
        from pylibCZIrw import czi
    with ExitStack() as opened, reading_errors(path, "CZI"):
        file = czi.CziReader(str(path))
        opened.callback(file.close)
        box, scenes = file.total_bounding_box, file.scenes_bounding_rectangle
        told = file.metadata.get("ImageDocument", {}).get("Metadata", {})
        numbers = sorted(scenes) or [0]
        choice = choose(path, "scenes", _czi_scenes(told, numbers), key)
        scene = {"scene": numbers[choice.number]} if scenes else {}
        place = scenes[scene["scene"]] if scenes else file.total_bounding_rectangle
        check_size(str(path), place.h, place.w)  # all of it is put together at once
        outer = {a: box[a][1] - box[a][0] for a in "TZC" if a in box}
        first = file.read(plane=dict.fromkeys(outer, 0), **scene)
        kinds = {_KINDS.get(kind, first.dtype) for kind in file.pixel_types.values()}
        colour = {"S": first.shape[2]} if first.shape[2] > 1 else {}
        sizes = outer | {"Y": first.shape[0], "X": first.shape[1]} | colour
        shape = tuple(int(size) for size in sizes.values())
        letters = read_axes(axes or "".join(sizes), shape, str(path))
        warnings = choice.warnings + _further_axes(told)
        channels, pixel = _czi_channels(told), _czi_pixel(told)
        close = opened.pop_all().close
    if len(kinds) > 1:
        warnings.append("its channels hold numbers of several kinds")
    dtype = np.result_type(first.dtype, *kinds)  # one that holds all of them
    planes = [(name, a) for name, a in zip(sizes, letters, strict=True) if name in "TZC"]
    lock = threading.Lock()

    def read(at: Mapping[str, int]) -> npt.NDArray[Any]:
        plane = {name: at.get(a, 0) for name, a in planes}
        with lock:
            picture = np.asarray(file.read(plane=plane, **scene))
        if picture.shape[2] == 1:
            return picture[..., 0]
        return picture[..., ::-1]  # libCZI gives blue first

    return Stack(
        str(path),
        letters,
        shape,
        dtype,
        read,
        channels=channels,
        pixel_size_um=pixel,
        warnings=tuple(warnings),
        key=choice.key,
        fingerprint=partial(ends_of_file, path.absolute()),
        close=close,
    )


def _positions(file: Any, count: int) -> list[str]:
    """A name for each position, empty where it has none."""
    for loop in file.experiment:
        points = getattr(loop.parameters, "points", None) or []
        if loop.type == "XYPosLoop" and len(points) == count:
            return [str(getattr(point, "name", None) or "") for point in points]
    return [""] * count


def _channels_of(file: Any) -> tuple[str, ...]:
    found = getattr(file.metadata, "channels", None) or []
    return tuple(str(c.channel.name) for c in found)


def _pixel(file: Any) -> tuple[float, float] | None:
    """Return height and width of a pixel; the package says 1 where there is no calibration."""
    found = getattr(file.metadata, "channels", None) or []
    if not found or not all(found[0].volume.axesCalibrated[:2]):
        return None
    voxel = file.voxel_size()
    return float(voxel.y), float(voxel.x)


def _interval(file: Any) -> float | None:
    """Return seconds between frames: as they came, else as they were asked for."""
    for loop in file.experiment:
        if loop.type == "TimeLoop":
            came = getattr(loop.parameters.periodDiff, "avg", None) or 0
            return seconds(came if came > 0 else loop.parameters.periodMs, "ms")
    return None


def _further_axes(told: Mapping[str, Any]) -> list[str]:
    """Say of which further axes, phases and views for instance, one place alone is given."""
    image = _within(told, "Information", "Image") or {}
    sizes = {axis: str(image.get(f"Size{axis}")) for axis in "HIRVB"}
    return [
        f"its axis {axis} has {size} places, of which one is shown"
        for axis, size in sizes.items()
        if size.isdecimal() and int(size) > 1
    ]


def _czi_channels(told: Mapping[str, Any]) -> tuple[str, ...]:
    found = _within(told, "Information", "Image", "Dimensions", "Channels", "Channel") or []
    return channel_names(found if isinstance(found, list) else [found], "@Name")


def _czi_scenes(told: Mapping[str, Any], numbers: Sequence[int]) -> list[str]:
    """A name for each scene, empty where it has none."""
    found = _within(told, "Information", "Image", "Dimensions", "S", "Scenes", "Scene") or []
    found = found if isinstance(found, list) else [found]
    names = {str(one.get("@Index")): str(one.get("@Name") or "") for one in found}
    return [names.get(str(number), "") for number in numbers]


def _czi_pixel(told: Mapping[str, Any]) -> tuple[float, float] | None:
    found = _within(told, "Scaling", "Items", "Distance") or []
    found = found if isinstance(found, list) else [found]
    sides = {d.get("@Id"): d.get("Value") for d in found}
    return pixel_size((sides.get("Y"), "m"), (sides.get("X"), "m"))


def _within(told: Any, *keys: str) -> Any:
    for key in keys:
        told = told.get(key) if isinstance(told, Mapping) else None
    return told
