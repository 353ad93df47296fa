"""Where a layer lies in the world."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["geometry"]


def geometry(image: Any, first: int = 0) -> dict[str, Any]:
    """Where a layer lies, for layers that are to lie on it.

    Parameters
    ----------
    image : Layer
    first : int
        Axes from this one on; that others turn or shear them has no place in fewer axes.

    Returns
    -------
    dict
        Arguments for a layer of as many axes.
    """
    axes = list(range(first, image.ndim))
    here = np.ix_(axes, axes)
    return {
        "scale": image.scale[first:],
        "translate": image.translate[first:],
        "rotate": image.rotate[here],
        "shear": _matrix(image.shear, image.ndim)[here],
        "affine": image.affine.set_slice(axes),
        "units": image.units[first:],
        "axis_labels": image.axis_labels[first:],
    }


def _matrix(shear: npt.NDArray[Any], ndim: int) -> npt.NDArray[Any]:
    """As napari gives it: all of a matrix, or what of one stands above its diagonal."""
    if shear.ndim == 2:
        return shear
    whole = np.eye(ndim)
    whole[np.triu_indices(ndim, k=1)] = shear
    return whole
