"""Objects cut out of their picture, with soft edges, and put before another ground."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.frames.still import read_picture
from sam2track.styles import fitted

__all__ = ["cutout", "opacity", "placed", "read_ground"]

Picture = npt.NDArray[np.uint8]


def opacity(mask: npt.NDArray[np.bool_], *, grid: int) -> Picture:
    """How much of each pixel belongs to the objects, (H, W) uint8.

    A Gaussian over a quarter of a cell of the model's grid, at most 8 pixels: nothing finer is
    known of the edge.

    Parameters
    ----------
    mask : (H, W) bool array
    grid : int
        Side of the decoder's grid.
    """
    import cv2

    sigma = min(8.0, max(0.6, max(mask.shape) / grid / 4))
    full = mask.astype(np.uint8) * np.uint8(255)
    # Beyond the rim an object goes on, so that it is not faded out there.
    soft = cv2.GaussianBlur(full, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft, np.uint8)


def cutout(picture: Picture, alpha: Picture) -> Picture:
    """Return the objects alone, (H, W, 4) uint8 RGBA; what is wholly transparent is black."""
    shown = np.where(alpha[..., None] > 0, picture, np.uint8(0))
    return np.dstack([shown, alpha])


def placed(picture: Picture, alpha: Picture, ground: Any) -> Picture:
    """Return the objects before another ground, (H, W, 3) uint8.

    Parameters
    ----------
    ground : (3,) or (h, w, 3) uint8 array
        A colour, or a picture that is enlarged to cover and cut at its sides.
    """
    height, width = picture.shape[:2]
    behind = np.asarray(ground, np.uint8)
    if behind.ndim == 3:
        behind = fitted(behind, height, width)
    part = alpha[..., None].astype(np.uint16)
    mixed = picture * part + behind * (255 - part)
    return ((mixed + 127) // 255).astype(np.uint8)


def read_ground(text: str | os.PathLike[str]) -> Picture:
    """Read a colour, as ``white``, ``#00ff00`` or ``rgb(0,255,0)``, or a picture file.

    Raises
    ------
    UsageError
        Where it is neither.
    """
    from PIL import ImageColor

    colour = None
    with suppress(ValueError):  # it is a file, then
        colour = ImageColor.getrgb(str(text))[:3]
    # Pillow takes rgb(300,0,0), too.
    if colour is not None and min(colour) >= 0 and max(colour) <= 255:
        return np.array(colour, np.uint8)
    try:
        is_file = Path(text).exists()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise UsageError(
            f"background {str(text)!r}: no such colour and no such file; give a picture, or a "
            f"colour such as white or #00ff00"
        )
    return read_picture(text)
