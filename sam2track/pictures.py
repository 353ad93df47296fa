"""Masks and label maps from picture files."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError
from sam2track.regular import check_regular

__all__ = ["read_labels", "read_mask"]


def read_labels(path: str | os.PathLike[str]) -> npt.NDArray[np.int64]:
    """Read a label image, (H, W): palette PNGs as indices, grey pictures as their values.

    Raises
    ------
    PromptError
        Where it cannot be read as a picture, or has colours in place of labels.
    """
    pixels = _pixels(path)
    if pixels.ndim != 2:
        raise PromptError(f"{path} is a colour picture; give a palette or grey image of labels")
    if pixels.dtype.kind == "f":
        raise PromptError(f"{path} holds fractions; give a picture of whole numbers")
    return pixels.astype(np.int64)


def read_mask(path: str | os.PathLike[str]) -> npt.NDArray[np.bool_]:
    """Read a mask file, (H, W) bool: nonzero is the object; palette PNGs are read as indices.

    Raises
    ------
    PromptError
        Where it cannot be read as a picture, or holds other than whole numbers.
    """
    pixels = _pixels(path)
    if pixels.dtype.kind not in "bui":
        # Of logits and probabilities hardly one is 0.
        raise PromptError(
            f"mask {path} holds {pixels.dtype}; it must hold whole numbers, nonzero where the "
            "object is"
        )
    if pixels.ndim == 2:
        return np.asarray(pixels != 0, np.bool_)
    # Of colour and opacity only colour counts.
    return np.asarray(pixels[..., : 3 if pixels.shape[2] > 2 else 1].any(axis=2))


def _pixels(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    from PIL import Image

    try:
        check_regular(path)
        with warnings.catch_warnings():
            # Frames may be as large as what Pillow warns of; what it refuses is twice as large.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return np.asarray(image)
    except Image.DecompressionBombError as error:
        raise PromptError(
            f"mask {path} claims more than 178 million pixels, which no mask file may; give one of "
            "the frame's size"
        ) from error
    except Exception as error:  # Pillow raises any kind on damaged files
        why = getattr(error, "strerror", None) or "it is no picture that can be read"
        raise PromptError(f"mask {path} cannot be read: {why}") from error
