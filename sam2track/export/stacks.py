"""Label stacks (T, Y, X) in one TIFF: as ImageJ reads it, or as OME-TIFF."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.reading import Reading, by_label
from sam2track.export.sequence import Sequenced
from sam2track.frames.pages import check_pages
from sam2track.masks import MAX_PIXELS
from sam2track.terminal import hush

__all__ = ["read", "write_labels_tiff", "write_ome_tiff"]

_AT_ONCE = 2**31  # labels of a stack that is not read page by page
_IMAGEJ_MOST = 2**32 - 2**25  # bytes of pixels; its files have 32-bit offsets


def write_labels_tiff(path: Path, sequence: Sequenced) -> None:
    """Write a stack with ImageJ's metadata; from 4 GB on BigTIFF with tifffile's."""
    dtype = sequence.label_type("labels-tiff")
    shape = (len(sequence.span), sequence.height, sequence.width)
    big = int(np.prod(shape)) * dtype.itemsize > _IMAGEJ_MOST
    metadata: dict[str, Any] = {}
    if sequence.interval is not None:
        metadata["finterval"] = sequence.interval
    size = sequence.pixel_size
    if size is not None:
        metadata["unit"] = sequence.unit
    # Pixels per unit, along x first.
    resolution = None if size is None else (1 / size[1], 1 / size[0])
    _write(path, sequence, dtype, metadata, resolution, {"imagej": not big, "bigtiff": big})
    sequence.lose("labels-tiff", lineage=True)


def write_ome_tiff(path: Path, sequence: Sequenced) -> None:
    """Write a stack with OME-XML in a BigTIFF."""
    dtype = sequence.label_type("ome-tiff")
    metadata: dict[str, Any] = {"Name": sequence.name}
    if sequence.interval is not None:
        metadata |= {"TimeIncrement": sequence.interval, "TimeIncrementUnit": "s"}
    size = sequence.pixel_size
    if size is not None:
        unit = {"um": "µm"}.get(sequence.unit, sequence.unit)
        metadata |= {"PhysicalSizeX": size[1], "PhysicalSizeXUnit": unit}
        metadata |= {"PhysicalSizeY": size[0], "PhysicalSizeYUnit": unit}
    # tifffile's own says on which machine a file was made, and when: no two would be equal.
    metadata["UUID"] = str(_uuid(sequence, metadata))
    _write(path, sequence, dtype, metadata, None, {"ome": True, "bigtiff": True})
    sequence.lose("ome-tiff", lineage=True)


def _uuid(sequence: Sequenced, metadata: Mapping[str, Any]) -> UUID:
    """Return what identifies a file by what it holds."""
    about = (metadata, sequence.span, sequence.meta.get("fingerprint"))
    held = hashlib.sha256(repr(about).encode())
    for row in sequence.rows():
        held.update(repr(row.cells()).encode())
    return UUID(bytes=held.digest()[:16], version=5)


def _write(
    path: Path,
    sequence: Sequenced,
    dtype: np.dtype[Any],
    metadata: dict[str, Any],
    resolution: tuple[float, float] | None,
    kind: dict[str, Any],
) -> None:
    import tifffile

    shape: tuple[int, ...] = (len(sequence.span), sequence.height, sequence.width)
    axes = "TYX"
    if kind.get("imagej"):  # without an axis of samples it fails where a frame is a pixel wide
        shape, axes = (*shape, 1), "TYXS"
    with tifffile.TiffWriter(path, **kind) as file:
        file.write(
            (shot.labels.astype(dtype) for shot in sequence.shots()),
            shape=shape,
            dtype=dtype,
            compression="zlib",
            photometric="minisblack",
            resolution=resolution,
            metadata={"axes": axes, **metadata},
        )


def read(path: Path, kind: str) -> Reading:
    """Read a stack (T, Y, X), or (Y, X) as one frame; page by page."""
    import tifffile

    hush("tifffile")
    try:
        with tifffile.TiffFile(path) as file:
            check_pages(path, file)
            series = file.series[0]
            shape, dtype = series.shape, series.dtype
            lies_open = series.dataoffset is not None
            paged = len(series.pages) == (shape[0] if len(shape) == 3 else 1)
            ends = (
                offset + size
                for page in series.pages
                if page is not None
                for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
            told = (file.shaped_metadata or ({},))[0].get("shape", shape)
            # Of a file that is cut off tifffile would give zeros, or the pages that are left.
            if max(ends) > path.stat().st_size or np.prod(told) != np.prod(shape):
                raise SourceError(f"{path} is cut off or damaged")
    except SourceError:
        raise
    except Exception as error:  # damaged headers end in anything, assertions for one
        raise SourceError(f"cannot read {path} as TIFF: {error}") from error
    if len(shape) not in (2, 3) or dtype is None or dtype.kind not in "buif":
        raise SourceError(
            f"{path} holds {dtype} of shape {shape}; label stacks are (T, Y, X) whole numbers"
        )
    count, (height, width) = shape[0] if len(shape) == 3 else 1, shape[-2:]
    if height * width > MAX_PIXELS or not (paged or lies_open or np.prod(shape) <= _AT_ONCE):
        raise SourceError(f"{path} claims {dtype} of shape {shape}, which is more than is read")
    warnings: list[str] = []

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        with tifffile.TiffFile(path) as file:
            if paged:
                for frame, page in enumerate(file.series[0].pages):
                    if page is not None:
                        if page.shape != (height, width):  # it is said that all are alike
                            raise SourceError(f"{path} is damaged: frame {frame} is {page.shape}")
                        yield frame, by_label(page.asarray(), warnings)
            else:  # a series in one piece, or several frames to a page, as samples of it
                whole = file.series[0]
                held = tifffile.memmap(path, mode="r") if lies_open else whole.asarray()
                stack = held.reshape(count, height, width)
                for frame in range(count):
                    yield frame, by_label(np.asarray(stack[frame]), warnings)

    return Reading(path, kind, height, width, range(count), shots, warnings=warnings)
