"""Masks and label maps from files: pictures, and arrays that numpy has saved."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError
from sam2track.regular import check_regular
from sam2track.terminal import hush

__all__ = ["read_labels", "read_mask"]

_MOST = 2**28  # pixels
_LARGEST = 2**53  # of whole numbers in floating point all up to here are there
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and one of its values


def read_labels(path: str | os.PathLike[str]) -> npt.NDArray[np.int64]:
    """Read a label image, (H, W): palette PNGs as indices, grey pictures and arrays as values.

    Raises
    ------
    PromptError
        Where it cannot be read, or holds other than one label map.
    """
    pixels = _pixels(path)
    if pixels.ndim != 2:
        raise PromptError(f"{path} is a colour picture; give a palette or grey image of labels")
    if not _is_whole(pixels):
        raise PromptError(f"{path} holds fractions; give a picture of whole numbers")
    _check_positive(path, pixels)
    return pixels.astype(np.int64)


def read_mask(path: str | os.PathLike[str]) -> npt.NDArray[np.bool_]:
    """Read a mask file, (H, W) bool: nonzero is the object; palette PNGs are read as indices.

    Raises
    ------
    PromptError
        Where it cannot be read, or holds other than whole numbers.
    """
    pixels = _pixels(path)
    if not _is_whole(pixels):
        # Of logits and probabilities hardly one is 0.
        raise PromptError(
            f"mask {path} holds {pixels.dtype}; it must hold whole numbers, nonzero where the "
            "object is"
        )
    _check_positive(path, pixels)
    if pixels.ndim == 2:
        return np.asarray(pixels != 0, np.bool_)
    # Of colour and opacity only colour counts.
    return np.asarray(pixels[..., : 3 if pixels.shape[2] > 2 else 1].any(axis=2))


def _check_positive(path: str | os.PathLike[str], pixels: npt.NDArray[Any]) -> None:
    if pixels.dtype.kind != "b" and pixels.size and pixels.min() < 0:
        raise PromptError(f"{path} holds numbers below 0; 0 is where nothing is, objects are above")


def _is_whole(pixels: npt.NDArray[Any]) -> bool:
    """Whether all are whole numbers, also where a program has saved them as others."""
    if pixels.dtype.kind == "f":
        return bool((np.abs(pixels) <= _LARGEST).all() and (pixels == np.floor(pixels)).all())
    return pixels.dtype.kind in "bui"


def _pixels(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Return (H, W) or (H, W, C) numbers as they are stored."""
    try:
        check_regular(path)
        with Path(path).open("rb") as file:
            head = file.read(6)
        if head == b"\x93NUMPY":
            return _saved(path)
        if head[:2] in (b"II", b"MM"):
            # Pillow turns white and black round where a file says so, and knows no 64 bits.
            try:
                return _tiff(path)
            except PromptError:
                raise
            except Exception:  # for which Pillow may have a codec
                return _picture(path)
        return _picture(path)
    except PromptError:
        raise
    except Exception as error:  # Pillow raises any kind on damaged files
        why = getattr(error, "strerror", None) or "it is no picture that can be read"
        raise PromptError(f"mask {path} cannot be read: {why}") from error


def _tiff(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Return the only page of a TIFF; of one that tifffile has no codec for, Pillow may."""
    import tifffile

    hush("tifffile")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        with suppress(IndexError):
            _ = file.pages[1]  # not their number: they may go on without end
            raise _several(path)
        _check_size(path, page.size)
        array = np.asarray(page.asarray())
        return array if page.axes == "YXS" else _flat(path, array)


def _picture(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Frames may be as large as what Pillow warns of; what it refuses is twice as large.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if getattr(image, "is_animated", False):
                    raise _several(path)
                array = np.asarray(image)
                turned = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
                return ~array if turned and array.dtype in (np.bool_, np.uint8) else array
    except Image.DecompressionBombError as error:
        raise PromptError(
            f"mask {path} claims more than 178 million pixels, which no mask file may; give one of "
            "the frame's size"
        ) from error


def _saved(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Return an array that numpy has saved."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise PromptError(
            f"mask {path} cannot be read: it holds Python objects, as Cellpose's _seg.npy does, or "
            "is damaged; save the array of labels alone, or as a TIFF"
        ) from error
    return _flat(path, array)


def _flat(path: str | os.PathLike[str], array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Leave out axes of one place in front."""
    while array.ndim > 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        raise _several(path)
    _check_size(path, array.size)
    return np.array(array)


def _check_size(path: str | os.PathLike[str], pixels: int) -> None:
    if pixels > _MOST:
        raise PromptError(
            f"mask {path} claims more than {_MOST / 1e6:.0f} million pixels, which no mask file "
            "may; give one of the frame's size"
        )


def _several(path: str | os.PathLike[str]) -> PromptError:
    return PromptError(
        f"{path} holds several pictures; give the one of the frame, or all of them, as a TIFF, "
        "to `sam2track import`"
    )
