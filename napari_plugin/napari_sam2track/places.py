"""Where a layer lies in the world, and how far its pixels and frames are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.arguments import is_length

__all__ = ["Steps", "follow", "geometry", "hides", "steps_of"]

_OPAQUE = ("opaque", "translucent", "translucent_no_depth")  # at full opacity

Steps = Mapping[str, float]


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


def follow(layer: Any, image: Any) -> bool:
    """Let a layer lie where an image lies now; whether it lay elsewhere.

    Parameters
    ----------
    layer : Layer
        Of the image's last axes, or of all of them; each setting of its place draws it anew.
    image : Layer
    """
    now, moved = geometry(layer), False
    for name, value in geometry(image, image.ndim - layer.ndim).items():
        if not np.array_equal(_plain(now[name]), _plain(value)):
            setattr(layer, name, value)
            moved = True
    return moved


def hides(one: Any, image: Any) -> bool:
    """Whether a layer is an image that, above another one, leaves nothing of it to be seen.

    Or of a part of it: where they lie beside each other, it hides nothing.
    """
    from napari.layers import Image  # here, since places are asked for without a viewer, too

    opaque = one.opacity == 1 and str(one.blending) in _OPAQUE
    if not (isinstance(one, Image) and one.visible and opaque):
        return False
    (low, high), (first, last) = (layer.extent.world[:, -2:] for layer in (one, image))
    return bool(np.all((low < last) & (first < high)))


def _plain(value: Any) -> Any:
    """What can be compared of a transform, or of something else."""
    return getattr(value, "affine_matrix", value)


def steps_of(image: Any) -> tuple[Steps, ...]:
    """How far one step along each of a layer's axes is, where its unit says it.

    Parameters
    ----------
    image : Layer

    Returns
    -------
    tuple of mapping
        For each axis ``{"um": micrometres}``, ``{"s": seconds}`` or, of other units, nothing:
        those that napari gives by itself are pixels.
    """
    kinds = (("um", "micrometer"), ("s", "second"))
    return tuple(
        {
            name: step
            for name, unit in kinds
            if own.is_compatible_with(unit) and (step := _in(scale, own, unit))
        }
        for scale, own in zip(image.scale, image.units, strict=True)
    )


def _in(scale: Any, own: Any, unit: str) -> float | None:
    step = float((abs(float(scale)) * own).to(unit).magnitude)  # negative where it is flipped
    return step if is_length(step) else None


def _matrix(shear: npt.NDArray[Any], ndim: int) -> npt.NDArray[Any]:
    """As napari gives it: all of a matrix, or what of one stands above its diagonal."""
    if shear.ndim == 2:
        return shear
    whole = np.eye(ndim)
    whole[np.triu_indices(ndim, k=1)] = shear
    return whole
