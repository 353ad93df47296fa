"""The run-length code of COCO: column by column, packed in printable characters.

The format is that of ``maskApi.c`` of the COCO API (Lin et al.), as documented there: runs of
background and object in turn, the first of background; from the third run on the difference to
the run two before; each number in groups of five bits, low ones first, with a bit that says that
more follow, and 48 added to be printable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.masks import MAX_PIXELS, bounding_box

__all__ = ["decode", "encode", "mask_of", "runs"]


def runs(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the lengths of the runs of a mask, (H, W) bool: ground and object in turn."""
    # Of its own columns and those beside them alone: to turn all of a picture over, for a small
    # object, takes a hundred times as long.
    x0, _, x1, _ = bounding_box(mask) or (0, 0, 0, 0)
    x0 = max(0, x0 - 1)
    flat = mask[:, x0 : x1 + 1].ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1 + x0 * len(mask)
    first = [0, 0] if mask.size and mask[0, 0] else [0]
    return np.diff(np.concatenate((first, edges, [mask.size])))


def encode(mask: npt.NDArray[np.bool_]) -> str:
    """Return the counts of a mask, (H, W) bool, as COCO writes them."""
    lengths = runs(mask)
    numbers = lengths.copy()
    numbers[3:] -= lengths[1:-2]
    codes: list[npt.NDArray[np.uint8]] = []
    places: list[npt.NDArray[np.int64]] = []
    index = np.arange(len(numbers))
    while len(numbers):
        low = numbers & 31
        rest = numbers >> 5
        # A number ends where what is left repeats the sign that its last bit says.
        more = np.where(low & 16 != 0, rest != -1, rest != 0)
        codes.append((low + 32 * more + 48).astype(np.uint8))
        places.append(index * 16 + len(codes))
        numbers, index = rest[more], index[more]
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(codes)[order].tobytes().decode("ascii")


def decode(rle: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Return the mask, (H, W) bool, of ``{"size": [H, W], "counts": ...}``.

    Counts may be COCO's text or a list of runs.

    Raises
    ------
    SourceError
        Where they are no code of a mask of that size.
    """
    try:
        height, width = (int(v) for v in rle["size"])
        counts = rle["counts"]
        if height < 1 or width < 1 or height * width > MAX_PIXELS:
            raise ValueError(f"a size of {height} x {width}")
        if isinstance(counts, list):
            told = np.array(counts, np.int64)
        elif isinstance(counts, str | bytes):
            told = _unpacked(counts.encode("ascii") if isinstance(counts, str) else counts)
        else:
            raise TypeError(f"counts {counts!r:.40}")
        size = height * width
        if told.ndim != 1 or (told < 0).any() or (told > size).any() or int(told.sum()) != size:
            raise ValueError(f"runs that do not cover {height} x {width} pixels")
        flat = np.repeat(np.arange(len(told)) % 2 == 1, told).reshape(width, height)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SourceError(f"a mask is no COCO run-length code: {error}") from error
    _, x0, _, x1 = bounding_box(flat) or (0, 0, 0, 0)
    mask = np.zeros((height, width), np.bool_)
    mask[:, x0:x1] = flat[x0:x1].T
    return mask


def mask_of(text: str, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return the mask that a segmentation in JSON says, (H, W) bool: run lengths or polygons.

    Raises
    ------
    SourceError
        Where it is none of a picture of that size.
    """
    said = json.loads(text)
    if isinstance(said, dict):
        mask = decode(said)
        if mask.shape != (height, width):
            raise SourceError(f"a mask is {mask.shape}, its image {(height, width)}")
        return mask
    from sam2track.export.polygons import fill

    return fill([np.reshape(polygon, (-1, 2)) for polygon in said], height, width)


def _unpacked(text: bytes) -> npt.NDArray[np.int64]:
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(codes) or (codes < 0).any() or (codes > 63).any():
        raise ValueError("characters that do not belong to one")
    ends = np.flatnonzero(codes < 32)
    if not len(ends) or ends[-1] != len(codes) - 1:
        raise ValueError("a number that is cut off")
    starts = np.concatenate(([0], ends[:-1] + 1))
    widths = ends - starts + 1
    if int(widths.max()) > 7:
        raise ValueError("a number that is too long")
    numbers = np.zeros(len(ends), np.int64)
    for group in range(int(widths.max())):
        wide = widths > group
        numbers[wide] |= (codes[starts[wide] + group] & 31) << 5 * group
    negative = codes[ends] & 16 != 0
    numbers[negative] -= np.int64(1) << 5 * widths[negative]
    # Each number from the fourth on is added to the run two before: two sums that interleave.
    lengths = numbers.copy()
    for phase in (1, 2):
        lengths[phase::2] = np.cumsum(numbers[phase::2])
    return lengths
