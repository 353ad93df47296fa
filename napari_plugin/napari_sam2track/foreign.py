"""Layers of labels that are not of the session: what another plugin, or a person, has segmented."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels

from sam2track.errors import UsageError

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["label_map", "layer_of_labels"]


def layer_of_labels(viewer: ViewerModel, own: Collection[Any]) -> Labels:
    """Return the layer of labels that is meant: the only one that is selected, or that is seen.

    Parameters
    ----------
    viewer : ViewerModel
    own : collection of Layer
        Those of the session.

    Raises
    ------
    UsageError
        Where there is none, or one of several is to be selected.
    """
    others = [one for one in viewer.layers if isinstance(one, Labels) and one not in own]
    if not others:
        raise UsageError(
            "there is no layer of labels but the session's own; add one, such as Cellpose gives"
        )
    selected = [one for one in others if one in viewer.layers.selection]
    for found in (selected, [one for one in others if one.visible]):
        if len(found) == 1:
            return found[0]
    names = ", ".join(one.name for one in others)
    if len(others) == 1:
        raise UsageError(f"the layer of labels {names} is hidden; show it, or select it")
    raise UsageError(f"there are several layers of labels ({names}); select the one to begin from")


def label_map(layer: Labels, image: Image, viewer: ViewerModel) -> npt.NDArray[np.int64]:
    """Return what a layer of labels shows over an image, (H, W), at the step that is shown.

    Raises
    ------
    UsageError
        Where its pixels are not those of the image, or it has nothing there.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    size = _size(image)
    if tuple(data.shape[-2:]) != size:
        raise UsageError(
            f"{layer.name} has {data.shape[-2]} x {data.shape[-1]} pixels and the picture "
            f"{size[0]} x {size[1]}; labels of the same size are needed"
        )
    apart = np.abs(_corners(layer, size) - _corners(image, size))
    if np.any(apart > np.abs(image.scale[-2:]) / 2):
        raise UsageError(
            f"{layer.name} does not lie on {image.name}; give it the same scale and place"
        )
    at = [round(float(place)) for place in layer.world_to_data(viewer.dims.point)[:-2]]
    if not all(0 <= place < count for place, count in zip(at, data.shape, strict=False)):
        raise UsageError(f"{layer.name} has nothing on the frame that is shown; show another one")
    return np.asarray(data[tuple(at)]).astype(np.int64)


def on_objects(labels: npt.NDArray[np.int64], shown: npt.NDArray[np.int32]) -> set[int]:
    """Return the labels that lie on an object: of one of the two half is shared, or more.

    Parameters
    ----------
    labels, shown : (H, W) arrays of int
        Labels, and the objects that are shown; 0 where there is none.
    """
    names, ranks, mine = np.unique(labels, return_inverse=True, return_counts=True)
    ids, places, theirs = np.unique(shown, return_inverse=True, return_counts=True)
    both = (labels > 0) & (shown > 0)
    pairs = ranks.reshape(labels.shape)[both] * len(ids) + places.reshape(shown.shape)[both]
    found, common = np.unique(pairs, return_counts=True)
    one, on = np.divmod(found, len(ids))
    return {*names[one[2 * common >= np.minimum(mine[one], theirs[on])]].tolist()}


def _corners(layer: Any, size: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Where three corner pixels lie in the world, (3, 2): place, scale, turns and mirrors."""
    lead = (0,) * (layer.ndim - 2)
    corners = ((0, 0), (0, size[1] - 1), (size[0] - 1, 0))
    return np.array([layer.data_to_world((*lead, *corner))[-2:] for corner in corners])


def _size(image: Image) -> tuple[int, ...]:
    data = image.data[0] if image.multiscale else image.data
    return tuple(data.shape[-3:-1] if image.rgb else data.shape[-2:])
