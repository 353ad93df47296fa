"""The colours of object ids: the palette of PASCAL VOC and DAVIS."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError

__all__ = ["PALETTE", "colour", "rows_of", "wrapped"]


def _palette() -> npt.NDArray[np.uint8]:
    """Spread the bits of an id over the three channels, highest bit of a colour first."""
    ids = np.arange(256)[:, None]
    colours = np.zeros((256, 3), dtype=np.int64)
    for bit in range(8):
        colours |= (ids >> (3 * bit + np.arange(3)) & 1) << (7 - bit)
    palette = colours.astype(np.uint8)
    palette.flags.writeable = False
    return palette


PALETTE = _palette()
"""(256, 3) uint8 RGB, not writable; row 0 is black, the background."""


def colour(object_id: int) -> tuple[int, int, int]:
    """Return the (r, g, b) of an object id, each 0 to 255.

    Ids above 255 begin again at the colour of 1; 0 is the background, black.

    Raises
    ------
    UsageError
        Where `object_id` is negative.
    """
    if object_id < 0:
        raise UsageError(f"object ids are not negative: {object_id}")
    red, green, blue = PALETTE[_rows(np.array(object_id))].tolist()
    return red, green, blue


def wrapped(labels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return labels as rows of the palette, of the same shape: what is above 255 wraps onto 1..255.

    Parameters
    ----------
    labels : array of integers
        Not negative. A uint8 array comes back as it is.
    """
    if labels.dtype == np.uint8:
        return labels
    top = int(labels.max(initial=0))
    if top <= 255:
        return labels.astype(np.uint8)
    if top <= 65535:  # a table costs a fraction of the division
        return _rows(np.arange(top + 1)).take(labels)
    return _rows(labels.astype(np.int64))


def rows_of(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return which row of the palette a colour is; of a colour that it has not, any.

    Parameters
    ----------
    rgb : (..., 3) uint8 array

    Returns
    -------
    (...) uint8 array
    """
    rows = np.zeros(rgb.shape[:-1], np.uint8)
    for bit in range(8):  # the inverse of _palette
        rows |= (rgb[..., bit % 3] >> (7 - bit // 3) & 1) << bit
    return rows


def _rows(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return np.where(ids > 255, (ids - 1) % 255 + 1, ids).astype(np.uint8)
