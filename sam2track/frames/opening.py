"""One way to open whatever pictures come from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sam2track.arguments import is_address
from sam2track.errors import SourceError, UsageError
from sam2track.frames.bounds import USUAL_FPS
from sam2track.frames.crop import Cropped
from sam2track.frames.source import FrameSource

__all__ = [
    "STACKS",
    "find_source",
    "is_part",
    "open_source",
    "options_of",
    "part_told",
    "reopen_source",
]

STACKS = {
    **{".czi": "CZI", ".lif": "LIF", ".nd2": "ND2", ".npy": "npy", ".npz": "npy"},
    **dict.fromkeys((".h5", ".hdf", ".hdf5", ".ims"), "HDF5"),
}
"""Kinds of stacks by how the names of their files end."""

_KINDS = frozenset({*STACKS.values(), "TIFF"})  # which many a single picture is, too
_OF_STACKS = ("axes", "channel", "z", "limits", "key")
_OF_VIDEOS = ("stream", "hwaccel")


def open_source(
    source: object,
    *,
    fps: float | None = None,
    axes: str | Sequence[str] | None = None,
    channel: Sequence[int | str] | int | str | None = None,
    z: int | Literal["max"] | None = None,
    limits: object = None,
    key: int | str | None = None,
    stream: int | None = None,
    hwaccel: str | None = None,
    crop: Sequence[int] | None = None,
) -> FrameSource:
    """Open a video file, a folder of pictures, a stack or an array.

    Parameters
    ----------
    source : FrameSource, str, PathLike or array
        A source is returned as it is. A path is a video file, a folder of pictures, a zarr folder,
        or a TIFF, npy, npz, HDF5, Imaris, ND2, CZI or LIF file. An array is (T, H, W) or
        (T, H, W, 1, 3 or 4), or one with named axes; anything with ``shape`` and ``[]`` will do.
    fps : float, optional
        Frames per second of all but video files, which have times of their own; 25 unless given.
    axes : str or sequence of str, optional
        Of a stack or an array: a letter or name for each axis, such as "TZCYX".
    channel, z, limits : optional
        Of a stack or an array, as ``StackSource`` takes them; ``limits`` also of a folder of
        pictures that are not of 8 bits.
    key : str, optional
        Of an npz, HDF5 or zarr: which array; of a LIF, ND2, CZI, TIFF or OME-Zarr: which image,
        position, scene or series, by its name or its number from 0; of a folder of pictures: a
        pattern of names, such as ``*_c1*``.
    stream, hwaccel : optional
        Of a video file, as ``VideoFile`` takes them.
    crop : (int, int, int, int), optional
        The part x0, y0, x1, y1 of each frame, as ``Cropped`` takes it, in place of the whole.

    Raises
    ------
    UsageError
        Where ``source`` is none of these, or an option is not for it.
    SourceError
        Where it cannot be read.
    """
    given: dict[str, Any] = {
        "fps": fps,
        "axes": axes,
        "channel": channel,
        "z": z,
        "limits": limits,
        "key": None if key is None else str(key),  # a number may be one, or a name
        "stream": stream,
        "hwaccel": hwaccel,
    }
    if isinstance(source, FrameSource):
        given["crop"] = crop
        _refuse(given, tuple(given), "a source that is open already")
        return source
    opened = _found(source, given)
    try:
        return opened if crop is None else Cropped(opened, crop)
    except BaseException:
        opened.close()
        raise


def _found(source: object, given: dict[str, Any]) -> FrameSource:
    # Readers are imported here alone, so that only those needed are loaded.
    if isinstance(source, str | os.PathLike):
        name = os.fsdecode(source)
        if not name:  # the current folder, as a path
            raise UsageError("the source is empty; name a video, a folder of pictures or a stack")
        if is_address(name) and not os.path.lexists(name):
            raise UsageError(
                f"{name} is an address, and only files are read here; fetch it, or track it from a "
                "pipe, as FFmpeg gives it (docs/batch.md)"
            )
        return _opened(Path(name), given)
    if hasattr(source, "shape") and hasattr(source, "__getitem__"):
        from sam2track.frames.array import ArraySource

        _refuse(given, ("key", *_OF_VIDEOS), "an array")
        shown = {name: given[name] for name in ("limits", "axes", "channel", "z")}
        return ArraySource(source, fps=_rate(given["fps"]), **shown)
    raise UsageError(
        f"cannot take frames from {type(source).__name__}; give a video file, a folder of "
        "pictures, a stack or an array of (T, H, W) or (T, H, W, 3)"
    )


def reopen_source(
    meta: Mapping[str, Any], source: object = None, *, fps: float, folder: Path | None = None
) -> FrameSource:
    """Open the source of a project as it was opened when that was made.

    Parameters
    ----------
    meta : mapping
        The project's ``meta``.
    source : optional
        Where the pictures are, if no longer where the project says.
    fps : float
        Frames per second, of what has no times of its own.
    folder : Path, optional
        Where the project lies: pictures that were moved with it are found beside it, or beside
        its folder.

    Raises
    ------
    UsageError, SourceError
        As ``open_source``.
    """
    if isinstance(source, FrameSource):
        return source
    reading = dict(meta.get("reading", {}))
    if source is None:
        source = meta.get("source")
        if source is None:
            raise SourceError("the project does not say of which pictures it is; name them")
        if source == "-":
            raise SourceError(
                "it was made from a pipe, whose pictures are gone; name a file of them"
            )
        found = find_source(meta, folder)
        if found is None and "source_path" not in meta and "axes" in meta:
            # As stacks and arrays have them.
            raise SourceError(
                f"it was made from {source}, which does not exist; give the file where it is now "
                "(--source), or the array again (source=)"
            )
        source = found or meta.get("source_path", source)
    reading["fps"] = fps
    # Pictures that were moved may have become another kind of file on the way.
    kept = options_of(source)
    reading = {name: value for name, value in reading.items() if name in kept}
    return open_source(source, **reading)


def part_told(meta: Mapping[str, Any]) -> str:
    """Which image of its file, and which part of each picture, a project is of, in words."""
    reading = meta.get("reading", {})
    key, crop = reading.get("key"), reading.get("crop")
    told = "" if key is None else f", key {key}"
    return told if crop is None else f"{told}, crop {','.join(map(str, crop))}"


def find_source(meta: Mapping[str, Any], folder: Path | None) -> Path | None:
    """Where a project's pictures are: where they were, beside it, or in the current folder.

    Where they were comes first: others of that name may lie in the current folder. None where
    nothing is at any of these places.

    Parameters
    ----------
    meta, folder
        As ``reopen_source`` takes them.
    """
    given = Path(str(meta.get("source")))
    places = []
    if "source_path" in meta:  # of a path, and not of an array
        known = meta["source_path"]
        if given.name in ("", ".."):  # the folder it was made in: every place has one of that name
            given = Path(os.path.basename(os.path.normpath(known)))  # noqa: PTH119
        beside = [] if folder is None else [folder, folder.parent]
        places = [place / name for place in beside for name in (given, given.name)]
        places.insert(0, Path(known))
    return next(filter(os.path.exists, [*places, given]), None)


def is_part(path: Path, source: Path) -> bool:
    """Whether a file is one of those that a source is made of, or would be once it is there.

    That is any picture right in a folder of pictures, what such a one leads to where it is a link,
    and a file that is there in one of zarr.
    """
    from sam2track.frames.folder import is_picture
    from sam2track.frames.zarr_files import is_zarr

    try:
        if not source.is_dir():
            return False
        folder = Path(os.path.realpath(source))
        # The folder alone is followed: a link in it is a picture wherever it leads.
        place = Path(os.path.realpath(path.absolute().parent)) / path.name
        if is_zarr(source):
            return place.is_file() and folder in place.parents
        if place.parent == folder and is_picture(place):
            return True
        target = os.path.realpath(path)
        links = (p for p in folder.iterdir() if is_picture(p) and p.is_symlink())
        return any(os.path.realpath(link) == target for link in links)
    except (OSError, ValueError):  # of names that no file can have, or that may not be looked at
        return False


def options_of(source: object) -> Sequence[str]:
    """Which arguments of ``open_source`` are for an array, or for what lies at a path."""
    if not isinstance(source, str | os.PathLike):
        return ("fps", "axes", "channel", "z", "limits", "crop")
    kind = _kind(Path(os.fsdecode(source)))
    special = {"folder": ("fps", "limits", "key"), "video": _OF_VIDEOS}
    return (*special.get(kind, ("fps", *_OF_STACKS)), "crop")


def _rate(fps: float | None) -> float:
    return USUAL_FPS if fps is None else fps


def _opened(path: Path, given: dict[str, Any]) -> FrameSource:
    fps, kind = _rate(given["fps"]), _kind(path)
    if kind == "folder":
        from sam2track.frames.folder import ImageFolder

        _refuse(given, ("axes", "channel", "z", *_OF_VIDEOS), f"the folder {path}")
        return ImageFolder(path, fps=fps, limits=given["limits"], key=given["key"])
    if kind == "video":
        from sam2track.frames.video import VideoFile

        if path.exists():  # otherwise that is what is to be said
            _refuse(given, ("fps", *_OF_STACKS), f"the video {path}")
        return VideoFile(path, stream=given["stream"], hwaccel=given["hwaccel"])
    from sam2track.frames.stack import StackSource

    _refuse(given, _OF_VIDEOS, f"the stack {path}")
    stack = _stack(path, kind, given["axes"], given["key"])
    try:
        return StackSource(
            stack, fps=fps, channel=given["channel"], z=given["z"], limits=given["limits"]
        )
    except BaseException:
        stack.close()
        raise


def _kind(path: Path) -> str:
    """What lies at a path: a "folder" of pictures, "zarr", one of other stacks, else a "video".

    Which stack says what is in a file, else its name.
    """
    if path.is_dir():
        from sam2track.frames.zarr_files import is_zarr

        return "zarr" if is_zarr(path) else "folder"
    if not path.is_file():
        return "video"
    from sam2track.frames.headers import kind_of_file

    kind = kind_of_file(path)
    return kind if kind in _KINDS else STACKS.get(path.suffix.lower(), "video")


def _stack(path: Path, kind: str, axes: str | None, key: str | None) -> Any:
    if kind == "npy":
        from sam2track.frames.numpy_files import numpy_stack

        return numpy_stack(path, axes, key)
    if kind == "LIF":
        from sam2track.frames.leica import lif_stack

        return lif_stack(path, axes, key)
    if kind == "HDF5":
        from sam2track.frames.hdf5 import hdf5_stack

        return hdf5_stack(path, axes, key)
    if kind == "zarr":
        from sam2track.frames.zarr_files import zarr_stack

        return zarr_stack(path, axes, key)
    if kind == "TIFF":
        from sam2track.frames.tiff import tiff_stack

        return tiff_stack(path, axes, key)
    from sam2track.frames.microscopes import czi_stack, nd2_stack

    return nd2_stack(path, axes, key) if kind == "ND2" else czi_stack(path, axes, key)


def _refuse(given: dict[str, Any], names: Sequence[str], what: str) -> None:
    for name in names:
        if given[name] is not None:
            raise UsageError(f"{name} {given[name]!r} is not for {what}; leave it out")
