"""Bytes of a picture file, decoded: one way for single pictures and for those of folders."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.frames.bounds import check_size
from sam2track.frames.headers import is_whole, kind_of, stored_size
from sam2track.terminal import hush

__all__ = ["decoded"]


def decoded(path: Path, data: bytes) -> npt.NDArray[Any] | None:
    """Return a picture upright as (H, W, 3) RGB, its numbers as they are stored.

    Parameters
    ----------
    path : Path
        What errors name.
    data : bytes
        The whole file.

    Returns
    -------
    (H, W, 3) array, or None
        None where it is no picture, or a damaged one.

    Raises
    ------
    SourceError
        Where it claims too many pixels, or cannot be decoded.
    """
    size = stored_size(data)
    # What is none of the formats that are taken may claim anything, and goes to no decoder.
    if size is None or not is_whole(data):
        return None
    check_size(str(path), *size)
    picture = _deep_tiff(data)
    if picture is not None:
        return picture
    # Bytes rather than the path, as OpenCV cannot open every name on every system.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    log = cv2.utils.logging  # what is odd would be written beside what is told of it
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise SourceError(f"{path} cannot be decoded: {error.err}; replace it") from error
    finally:
        log.setLogLevel(level)
    # OpenCV has blue first; its cvtColor takes no int16.
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1])


def _deep_tiff(data: bytes) -> npt.NDArray[Any] | None:
    """Return a TIFF picture of 32 bits and more, (H, W, 3); None for others, which OpenCV reads."""
    if kind_of(data) != "TIFF":
        return None
    import tifffile

    hush("tifffile")
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            if page.dtype is None or page.dtype.itemsize < 4 or page.ndim > 3:
                return None
            values, axes = np.asarray(page.asarray()), page.axes
    except Exception:  # reading it by OpenCV will say what is wrong
        return None
    if not values.size or values.ndim != len(axes):
        return None
    values = np.moveaxis(values, axes.index("S"), -1) if "S" in axes else values[..., None]
    if values.ndim != 3:
        return None
    values = values[..., : 3 if values.shape[2] > 2 else 1]  # of two the other is opacity
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
