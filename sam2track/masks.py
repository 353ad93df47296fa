"""Masks as arrays: run-length codes, holes, measurements.

Masks are (H, W) arrays, row by row from the top left corner; x is the column, y the row.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.errors import ProjectError, UsageError

__all__ = [
    "MAX_PIXELS",
    "Box",
    "Measure",
    "Part",
    "bounding_box",
    "decode",
    "decode_part",
    "encode",
    "fill_holes",
    "label_dtype",
    "measure",
]

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]

MAX_PIXELS = 2**28
"""Largest mask that is coded or decoded, in pixels."""

_HEADER = struct.Struct("<BBII")  # version, packing, height, width
_VERSION = 1
_RAW, _ZLIB = 0, 1
_MAX_VARINT = 5  # bytes; five sevens of bits hold MAX_PIXELS
_CHUNK = 2**20  # bytes decoded at once, so that a dense mask does not cost 8 times its size


class Measure(NamedTuple):
    """Size and place of a mask.

    Attributes
    ----------
    area : int
        Pixels.
    centroid : (float, float) or None
        Mean column index and mean row index (x, y) of the pixels: a mask that is one pixel at
        column 3 has x = 3.0, not 3.5. None where the mask is empty.
    box : (int, int, int, int) or None
        ``(x0, y0, x1, y1)``, half-open. None where the mask is empty.
    """

    area: int
    centroid: tuple[float, float] | None
    box: Box | None


class Part(NamedTuple):
    """What of a mask lies in its box.

    Attributes
    ----------
    size : (int, int)
        Height and width of the mask.
    place : (slice, slice)
        The box: rows and columns, none where the mask is empty.
    part : (h, w) bool array
    """

    size: tuple[int, int]
    place: tuple[slice, slice]
    part: Mask

    @classmethod
    def of(cls, mask: npt.NDArray[Any]) -> Part:
        """Return what of a mask, (H, W), lies in its box; of the mask nothing is held."""
        mask = _as_mask(mask)
        x0, y0, x1, y1 = bounding_box(mask) or (0, 0, 0, 0)
        place = slice(y0, y1), slice(x0, x1)
        height, width = mask.shape
        return cls((height, width), place, mask[place].copy())

    def whole(self) -> Mask:
        """Return the mask, (H, W) bool, made anew."""
        mask = np.zeros(self.size, np.bool_)
        mask[self.place] = self.part
        return mask


def encode(mask: npt.NDArray[Any]) -> bytes:
    """Return a mask as a run-length code.

    Runs go row by row, background and foreground in turn, beginning with background (the only
    run that may be 0 long). Each is a LEB128 number; together they are deflated where that is
    shorter. Ten bytes in front hold version, packing, height and width.

    Parameters
    ----------
    mask : (H, W) bool array
        Of another type, what is not 0 is foreground.

    Raises
    ------
    UsageError
        Where `mask` has not two axes or more than `MAX_PIXELS` pixels.
    """
    if mask.size > MAX_PIXELS:
        raise UsageError(f"a mask of {mask.size} pixels is too large; at most {MAX_PIXELS} fit")
    mask = _as_mask(mask)
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    edges += 1
    first = [0, 0] if flat.size and flat[0] else [0]
    runs = np.diff(np.concatenate((first, edges, [flat.size])))
    body = _varints(runs)
    packed = zlib.compress(body)
    packing, body = (_ZLIB, packed) if len(packed) < len(body) else (_RAW, body)
    return _HEADER.pack(_VERSION, packing, *mask.shape) + body


def decode(data: bytes) -> Mask:
    """Return the mask of a code that `encode` wrote.

    Safe on bytes from anywhere: what is claimed is checked before memory is taken for it.

    Returns
    -------
    (H, W) bool array

    Raises
    ------
    ProjectError
        Where `data` is not the code of a mask.
    """
    height, width, body = _opened(data)
    mask = np.zeros(height * width, dtype=np.bool_)
    for low, runs in _filled(body, len(mask)):
        mask[low : low + int(runs.sum())] = _painted(runs)
    return mask.reshape(height, width)


def decode_part(data: bytes) -> Part:
    """Return what of the mask of a code lies in its box: of a small one in a large frame, little.

    Parameters and errors are those of `decode`.
    """
    height, width, body = _opened(data)
    if len(body) > _CHUNK:  # its runs would take more than the mask
        return Part.of(decode(data))
    ((low, runs),) = _filled(body, height * width)
    if not len(runs):
        return Part((height, width), (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.bool_))
    ends = low + np.cumsum(runs)
    rows, columns = np.divmod((ends - runs)[::2], width)  # where runs of foreground begin
    last_rows, last_columns = np.divmod(ends[::2] - 1, width)
    left, right = int(columns.min()), int(last_columns.max()) + 1
    if (rows < last_rows).any():  # one goes on in the next row: the box is as wide as the frame
        left, right = 0, width
    top, bottom = int(rows[0]), int(last_rows[-1]) + 1
    part = np.zeros((bottom - top, right - left), np.bool_)
    inside = (rows - top) * (right - left) + columns - left
    runs = runs.copy()
    runs[1::2] = np.diff(inside) - runs[:-1:2]  # of background, what lies in the box
    part.reshape(-1)[inside[0] : inside[0] + int(runs.sum())] = _painted(runs)
    return Part((height, width), (slice(top, bottom), slice(left, right)), part)


def _painted(runs: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return runs as pixels, the first one of foreground."""
    return np.repeat((np.arange(1, 1 + len(runs)) & 1).astype(np.bool_), runs)


def _opened(data: bytes) -> tuple[int, int, bytes]:
    """Return height, width and runs of a code, whose claims are checked."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise _damaged(f"it is {type(data).__name__}, not bytes")
    data = bytes(data)
    if len(data) < _HEADER.size:
        raise _damaged(f"{len(data)} bytes are too few")
    version, packing, height, width = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise _damaged(f"its version is {version}, known is {_VERSION}")
    size = height * width
    if size > MAX_PIXELS:
        raise _damaged(f"it claims {height} x {width} pixels, at most {MAX_PIXELS} are allowed")
    # No run is shorter than its code, but for a first one of length 0.
    return height, width, _unpacked(data[_HEADER.size :], packing, limit=size + 1)


def _filled(body: bytes, size: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield where some runs begin, and them: from the first of foreground to the last."""
    done = 0
    count = 0
    for runs in _runs(body):
        if (runs[int(count == 0) :] == 0).any():
            raise _damaged("it has an empty run")
        stop = done + int(runs.sum())  # of at most 2**20 numbers below 2**35
        if stop > size:
            raise _damaged(f"its runs pass the {size} pixels it claims")
        first = 1 - count % 2
        last = first + (len(runs) - first + 1) // 2 * 2 - 1
        yield done + int(runs[:first].sum()), runs[first:last]
        done = stop
        count += len(runs)
    if done != size or count == 0:
        raise _damaged(f"its runs cover {done} of the {size} pixels it claims")


def label_dtype(ids: Iterable[int]) -> np.dtype[Any]:
    """Return the smallest of uint8, uint16 and int32 that holds all of `ids`.

    Raises
    ------
    UsageError
        Where an id is not positive, is there twice or passes 2**31 - 1.
    """
    ids = [int(i) for i in ids]
    if any(i < 1 for i in ids) or len(set(ids)) < len(ids):
        raise UsageError(f"object ids must be positive and differ, not {ids}")
    top = max(ids, default=0)
    for dtype in (np.uint8, np.uint16, np.int32):
        if top <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise UsageError(f"object id {top} is too large; at most {2**31 - 1} fits a label map")


def fill_holes(
    logits: npt.NDArray[np.float32], *, max_area: int, value: float = 0.1
) -> npt.NDArray[np.float32]:
    """Return logits whose small background patches have become foreground.

    What ``sam2.utils.misc.fill_holes_in_mask_scores`` does (Ravi et al. 2024, the official
    code), with 8-connected components: a patch of logits <= 0 of up to `max_area` pixels, one
    that touches the border too, becomes `value`.

    Parameters
    ----------
    logits : (N, h, w) float32 array
        Not changed.
    max_area : int
        Largest patch that is filled, in pixels; 0 fills none.
    value : float
        Logit of a filled pixel.

    Returns
    -------
    (N, h, w) float32 array
        `logits` itself where nothing is filled.

    Raises
    ------
    UsageError
        Where `logits` has not three axes or `max_area` is negative.
    """
    if logits.ndim != 3 or max_area < 0:
        raise UsageError(
            "fill_holes takes (N, h, w) logits and an area of at least 0, "
            f"not shape {logits.shape} and {max_area}"
        )
    if max_area == 0 or logits.size == 0:
        return logits
    import cv2

    filled = logits
    for index, plane in enumerate(logits):
        background = (plane <= 0).astype(np.uint8)
        _, patches, stats, _ = cv2.connectedComponentsWithStats(background, connectivity=8)
        small = stats[:, cv2.CC_STAT_AREA] <= max_area
        small[0] = False  # component 0 is the foreground
        if small.any():
            if filled is logits:
                filled = logits.copy()
            filled[index][small[patches]] = value
    return filled


def bounding_box(mask: npt.NDArray[Any]) -> Box | None:
    """Return the box ``(x0, y0, x1, y1)``, half-open, around a mask's pixels; None if it is empty.

    Parameters
    ----------
    mask : (H, W) bool array

    Raises
    ------
    UsageError
        Where `mask` has not two axes.
    """
    mask = _as_mask(mask)
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[y0:y1].any(axis=0))
    return int(columns[0]), y0, int(columns[-1]) + 1, y1


def measure(mask: npt.NDArray[Any]) -> Measure:
    """Return a mask's area, centroid and box.

    Parameters
    ----------
    mask : (H, W) bool array

    Raises
    ------
    UsageError
        Where `mask` has not two axes.
    """
    mask = _as_mask(mask)
    box = bounding_box(mask)
    if box is None:
        return Measure(0, None, None)
    x0, y0, x1, y1 = box
    # Sums of bytes are several times faster than sums of bools.
    inside = np.ascontiguousarray(mask[y0:y1, x0:x1]).view(np.uint8)
    per_column = inside.sum(axis=0, dtype=np.uint32).astype(np.float64)
    per_row = inside.sum(axis=1, dtype=np.uint32).astype(np.float64)
    area = per_row.sum()
    x = x0 + float(per_column @ np.arange(x1 - x0)) / area
    y = y0 + float(per_row @ np.arange(y1 - y0)) / area
    return Measure(int(area), (float(x), float(y)), box)


def _as_mask(mask: npt.NDArray[Any]) -> Mask:
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise UsageError(f"a mask has two axes (H, W), not shape {mask.shape}")
    return np.ascontiguousarray(mask if mask.dtype == np.bool_ else mask != 0)


def _varints(numbers: npt.NDArray[np.int64]) -> bytes:
    """Return numbers as LEB128: seven bits a byte, low ones first, the top bit says more."""
    widths = np.ones(len(numbers), dtype=np.int64)
    for bits in range(7, 7 * _MAX_VARINT, 7):
        widths += numbers >> bits > 0
    starts = np.cumsum(widths) - widths
    codes = np.empty(int(widths.sum()), dtype=np.uint8)
    for byte in range(int(widths.max())):
        wide = widths > byte
        more = np.where(widths[wide] > byte + 1, 0x80, 0)
        codes[starts[wide] + byte] = numbers[wide] >> 7 * byte & 0x7F | more
    return codes.tobytes()


def _runs(body: bytes) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the numbers that `_varints` wrote, some at a time; none is written longer than need."""
    codes = np.frombuffer(body, dtype=np.uint8)
    while codes.size:
        piece = codes[:_CHUNK]
        ends = np.flatnonzero(piece < 0x80)
        if not len(ends):
            raise _damaged("its last run is cut off")
        starts = np.concatenate(([0], ends[:-1] + 1))
        widths = ends - starts + 1
        widest = int(widths.max())
        if widest > _MAX_VARINT or (piece[ends[widths > 1]] == 0).any():
            raise _damaged("a run's length is written in too many bytes")
        runs = np.zeros(len(ends), dtype=np.int64)
        for byte in range(widest):
            wide = widths > byte
            low = piece[starts[wide] + byte].astype(np.int64) & 0x7F
            runs[wide] |= low << 7 * byte
        yield runs
        codes = codes[ends[-1] + 1 :]


def _unpacked(body: bytes, packing: int, *, limit: int) -> bytes:
    if packing == _ZLIB:
        inflater = zlib.decompressobj()
        try:
            body = inflater.decompress(body, limit + 1)
        except zlib.error as error:
            raise _damaged("its runs cannot be inflated") from error
        if len(body) <= limit and (not inflater.eof or inflater.unused_data):
            raise _damaged("its deflated runs are cut off or followed by other bytes")
    elif packing != _RAW:
        raise _damaged(f"its packing is {packing}, known are {_RAW} and {_ZLIB}")
    if len(body) > limit:
        raise _damaged("it has more runs than pixels")
    return body


def _damaged(why: str) -> ProjectError:
    return ProjectError(f"the code of a mask is damaged: {why}")
