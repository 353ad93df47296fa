"""Zarr 2 and 3, and OME-Zarr: one chunked array of a folder, as a stack."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sam2track.errors import SourceError, UsageError
from sam2track.frames.array import array_stack
from sam2track.frames.choice import choose
from sam2track.frames.extras import needs
from sam2track.frames.files import ends_of_file
from sam2track.frames.stack import Stack
from sam2track.frames.units import channel_names, pixel_size, seconds
from sam2track.regular import check_regular

__all__ = ["is_zarr", "zarr_stack"]

_LARGEST_CHUNK = 2**32  # bytes
_LEAST_FILE = 2**16  # bytes; heads, sums and indices of small chunks
_HASHED_CHUNKS = 64
_MARKS = ("zarr.json", ".zarray", ".zgroup")
_METADATA = frozenset({*_MARKS, ".zattrs", ".zmetadata"})


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group, or should be by its name."""
    try:
        return path.suffix.lower() == ".zarr" or any((path / mark).is_file() for mark in _MARKS)
    except PermissionError:
        return False  # who lists it says that it may not be read, by its own name


def zarr_stack(path: Path, axes: str | None = None, key: str | None = None) -> Stack:
    """Open a zarr array, the largest scale of an OME-Zarr, or an array of a group.

    Parameters
    ----------
    path : Path
    axes : str, optional
        As ``open_source`` takes them.
    key : str, optional
        Which image of a plate, a well or what bioformats2raw made, the first otherwise; or which
        array of a group.

    Raises
    ------
    SourceError
        Where it is damaged or holds no array.
    UsageError
        Where zarr is not installed, it holds several arrays, the axes do not fit, or nothing is
        called like the key.
    """
    with needs("zarr", "stacks", f"{path} is zarr"):
        import zarr
    try:
        store = _guarded(path.absolute())
        node = zarr.open(store, mode="r")
        about: dict[str, Any] = {}
        image = ""
        if isinstance(node, zarr.Group) and (images := _images(node)):
            choice = choose(path, "images", images, key)
            about, image = {"key": choice.key, "warnings": choice.warnings}, images[choice.number]
            node, key = node[image], None
        if isinstance(node, zarr.Group):
            node, told = _of_group(node, path, key)
            about |= told
        elif key is not None:
            raise UsageError(f"{path} is one array; leave key {key!r} out")
        store.most = _check_chunks(node, path)
        names = about.pop("axes", None) or _dimensions(node)
        return array_stack(
            node,
            axes=axes if axes is not None else names,
            name=str(path),
            fingerprint=partial(_fingerprint, path.absolute() / image),
            **about,
        )
    except (UsageError, SourceError):
        raise
    except Exception as error:  # zarr has no tree of its own, and damaged metadata end in anything
        raise SourceError(
            f"{path} is no zarr that can be read ({type(error).__name__}: {error}); "
            "see whether it is whole"
        ) from error


def _guarded(path: Path) -> Any:
    """A folder as zarr reads it, whose files are what they should be.

    Pipes and devices would be waited for; files that hold far more than a chunk would be inflated
    to what fills the memory.
    """
    from zarr.storage import LocalStore

    class Guarded(LocalStore):
        most = _LARGEST_CHUNK  # bytes of a file

        async def get(self, key: str, *args: Any, **options: Any) -> Any:
            file = self.root / key
            check_regular(file)
            if file.exists() and file.stat().st_size > self.most:
                raise OSError(errno.EFBIG, f"{file} is larger than what it may hold; write it anew")
            return await super().get(key, *args, **options)

    return Guarded(path, read_only=True)


def _of_group(group: Any, path: Path, key: str | None) -> tuple[Any, dict[str, Any]]:
    """Return the largest scale of an image, or an array of a group, and what is said of it."""
    attributes = _attributes(group)
    scales = attributes.get("multiscales") or []
    if scales and key is not None:
        raise UsageError(f"{path} holds one image; leave key {key!r} out")
    if scales:
        return _ome(group, scales[0], attributes)
    names = sorted(name for name, _ in group.arrays())
    if not names:
        within = ", ".join(sorted(name for name, _ in group.groups()))
        held = f" (it holds {within})" if within else ""
        raise SourceError(f"{path} is a zarr group without arrays{held}; give the folder of one")
    if key is not None:
        name = names[choose(path, "arrays", names, key).number]
        return group[name], {"key": name}
    if len(names) > 1:
        raise UsageError(
            f"{path} holds the arrays {', '.join(names)}; name one of them as key (--key)"
        )
    return group[names[0]], {}


def _ome(
    group: Any, scale: Mapping[str, Any], attributes: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the array at full size, and what is said of it."""
    first = scale["datasets"][0]
    array = group[first["path"]]
    told = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in scale.get("axes", [])]
    about: dict[str, Any] = {"axes": [axis["name"] for axis in told] or None}
    units = {axis["name"].lower(): axis.get("unit") for axis in told}
    steps: dict[str, float] = {}
    # Those of the whole pyramid come after those of one scale; time often stands there alone.
    for part in (first, scale):
        for change in part.get("coordinateTransformations") or []:
            if change.get("type") == "scale":
                for name, step in zip(units, change["scale"], strict=False):
                    steps[name] = steps.get(name, 1) * step
    said = {axis: (steps.get(axis), units.get(axis)) for axis in "tyx"}
    about["pixel_size_um"] = pixel_size(said["y"], said["x"])
    about["frame_interval_s"] = seconds(*said["t"])
    about["channels"] = channel_names(attributes.get("omero", {}).get("channels", []), "label")
    return array, about


def _check_chunks(array: Any, path: Path) -> int:
    """Refuse chunks that are inflated to more than a plane may hold, or that would run code.

    Returns
    -------
    int
        How many bytes a file of them may have; what cannot be compressed becomes little more.
    """
    claimed = math.prod(array.chunks) * array.dtype.itemsize
    if claimed > _LARGEST_CHUNK:
        raise SourceError(
            f"{path} has chunks of {claimed:,} bytes; write it anew with smaller ones"
        )
    told = array.metadata
    steps = (*(getattr(told, "filters", None) or ()), getattr(told, "compressor", None))
    if any(getattr(step, "codec_id", None) == "pickle" for step in steps):
        raise SourceError(f"{path} holds pickled objects, which may run code; write it anew")
    # A file holds one of them, or many with an index.
    together = getattr(array, "shards", None) or array.chunks
    return int(2 * math.prod(together) * array.dtype.itemsize) + _LEAST_FILE


def _attributes(group: Any) -> Mapping[str, Any]:
    """What OME-Zarr says of a group, since 0.5 within an attribute of its own."""
    attributes: Mapping[str, Any] = dict(group.attrs)
    told: Mapping[str, Any] = attributes.get("ome", attributes)
    return told


def _images(group: Any) -> list[str]:
    """Paths of the images of a plate, a well, or what bioformats2raw made; none of others."""
    attributes = _attributes(group)
    if "plate" in attributes:
        wells = [well["path"].strip("/") for well in attributes["plate"]["wells"]]
        there = [well for well in wells if well in group]  # of a part of a plate not all are
        return [f"{well}/{image}" for well in there for image in _images(group[well])]
    if "well" in attributes:
        return [image["path"].strip("/") for image in attributes["well"]["images"]]
    if "bioformats2raw.layout" not in attributes:
        return []
    told = _attributes(group["OME"]).get("series") if "OME" in group else None
    numbered = sorted((name for name, _ in group.groups() if name.isdecimal()), key=int)
    return [str(name) for name in told or numbered]


def _dimensions(array: Any) -> list[str] | None:
    """Return the names of dimensions of zarr 3, or as xarray writes them into zarr 2."""
    names = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS")
    return list(names) if names and None not in names else None


def _fingerprint(path: Path) -> str:
    """Names and sizes of all files, what metadata say, and both ends of some chunks.

    Chunks are too many to be read, and a copy changes the times of all.
    """
    import hashlib

    digest = hashlib.sha256()
    chunks = []
    for name, size, file in sorted(_files(path)):
        digest.update(b"%b\0%d\0" % (name, size))
        if os.path.basename(file) in _METADATA:  # noqa: PTH119
            digest.update(Path(file).read_bytes())
        else:
            chunks.append(file)
    for file in chunks[:: -(-len(chunks) // _HASHED_CHUNKS) or 1]:
        digest.update(ends_of_file(Path(file)).encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[bytes, int, str]]:
    """Name, size and path of each file; there may be a million, so that each is looked at once."""
    within = len(str(path)) + 1
    for folder, _, names in os.walk(path):
        for name in names:
            if name.startswith(".") and name not in _METADATA:
                continue
            file = os.path.join(folder, name)  # noqa: PTH118
            try:
                about = os.stat(file)  # noqa: PTH116
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # a link to nowhere
                    continue
                raise
            if stat.S_ISREG(about.st_mode):
                told = file[within:].replace(os.sep, "/").encode("utf-8", "surrogateescape")
                yield told, about.st_size, file
