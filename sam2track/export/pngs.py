"""Label maps as PNG files: indexed with the DAVIS palette, or 16-bit grey where ids pass 255."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError, UsageError
from sam2track.export import output_errors
from sam2track.export.staging import write_bytes
from sam2track.palette import PALETTE

__all__ = ["MaskSequence", "read_label_png", "write_label_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _INDEXED = 0, 3
_MAX_SIDE = 2**31 - 1

# Grey of less than 8 bits is spread over 0..255 by Pillow; labels must come back as they are.
_SPREAD = {2: 85, 4: 17}


def write_label_png(
    path: str | Path, labels: npt.NDArray[Any], *, bits: Literal[8, 16] | None = None
) -> None:
    """Write a label map: indexed 8 bits with the DAVIS palette, or 16-bit grey.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced once the new one is whole.
    labels : (H, W) array of integers, or of bool
        Object ids, 0 for the background.
    bits : 8 or 16, optional
        8 where all ids fit it, if not given.

    Raises
    ------
    UsageError
        Where `labels` has not two axes, is empty, or holds ids that do not fit.
    OutputError
        Where the file cannot be written.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "bui" or not 0 < max(labels.shape) <= _MAX_SIDE:
        raise UsageError(f"labels are (H, W) integers, not {labels.dtype} of shape {labels.shape}")
    if not labels.size:
        raise UsageError(f"a PNG has at least one pixel, not shape {labels.shape}")
    low, high = int(labels.min()), int(labels.max())
    if bits is None:
        bits = 8 if high <= 255 else 16
    if low < 0 or high >= 2**bits:
        raise UsageError(f"{Path(path).name}: ids from {low} to {high} do not fit {bits} bits")
    write_bytes(Path(path), _png(labels, bits))


def read_label_png(path: str | Path) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return the label map of a PNG file: the indices of a palette, or grey values as they are.

    Returns
    -------
    (H, W) uint8 or uint16 array
        uint16 where the file has 16 bits.

    Raises
    ------
    SourceError
        Where the file cannot be read, is no PNG, or has colours or transparency in place of
        labels.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            depth = _grey_depth(path)
            mode = image.mode
            if mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
                raise SourceError(
                    f"{path} is no label map: it has {mode} pixels; "
                    "allowed are indexed (palette) and grey PNGs"
                )
            labels = np.asarray(image)
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} is no PNG file, or a damaged one") from error
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # Pillow raises any kind on damaged files
        raise SourceError(f"cannot read {path}: {error}") from error
    if mode in ("I", "I;16", "I;16B"):
        return labels.astype(np.uint16)
    return labels.astype(np.uint8) // np.uint8(_SPREAD.get(depth, 1))


class MaskSequence:
    """A folder of label maps, one PNG a frame, named by the frame: ``00000.png``.

    Parameters
    ----------
    folder : str or Path
        Made if it is missing.
    bits : 8 or 16
        The same for all files: 8 where no object's id passes 255.

    Raises
    ------
    OutputError
        Where the folder cannot be made.
    """

    def __init__(self, folder: str | Path, *, bits: Literal[8, 16] = 8) -> None:
        self.folder = Path(folder)
        self.bits = bits
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, frame: int) -> Path:
        """Return the file of a frame, counted in the source from 0: at least five digits."""
        return self.folder / f"{frame:05d}.png"

    def write(self, frame: int, labels: npt.NDArray[Any]) -> Path:
        """Write the label map of a frame, and return its file.

        Raises
        ------
        UsageError
            Where ids do not fit the sequence's bits, or `frame` is negative.
        OutputError
            Where the file cannot be written.
        """
        if frame < 0:
            raise UsageError(f"frames count from 0, not {frame}")
        path = self.path(frame)
        write_label_png(path, labels, bits=self.bits)
        return path


def _png(labels: npt.NDArray[Any], bits: Literal[8, 16]) -> bytes:
    height, width = labels.shape
    # Each row is led by its filter. Runs of equal bytes are what label maps are made of: zlib's
    # run-length strategy is fast and small there. Of two bytes a pixel none is like the one before
    # it: those are told by what differs from the row above (filter 2), mostly runs of zeros.
    rows = np.zeros((height, 1 + width * bits // 8), dtype=np.uint8)
    if bits == 8:
        rows[:, 1:] = labels
    else:
        values = np.ascontiguousarray(labels, dtype=">u2").view(np.uint8)
        rows[:, 0], rows[:, 1:] = 2, values
        rows[1:, 1:] -= values[:-1]
    deflate = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_RLE)
    kind = _INDEXED if bits == 8 else _GREY
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    if bits == 8:
        chunks.append((b"PLTE", PALETTE.tobytes()))
    chunks += [(b"IDAT", deflate.compress(rows.tobytes()) + deflate.flush()), (b"IEND", b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _grey_depth(path: Path) -> int:
    """Return a grey PNG's bits per pixel, 8 for any other."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24] if len(head) == 26 and head[25] == _GREY else 8
