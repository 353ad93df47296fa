"""OME-Zarr 0.5: a label image (T, Y, X), written frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.extras import needed
from sam2track.export.reading import Reading, by_label
from sam2track.export.sequence import Sequenced

__all__ = ["UNITS", "finest", "read", "write", "write_labels"]

UNITS = {"um": "micrometer", "nm": "nanometer", "mm": "millimeter", "m": "meter"}
"""As OME-Zarr calls them."""

_CHUNK = 1024  # pixels; a chunk holds one frame, or a tile of one


def write(folder: Path, sequence: Sequenced) -> None:
    """Write a multiscale of one level with ``image-label``, as napari-ome-zarr reads it."""
    zarr = needed("zarr", "ome-zarr")
    # Not "w": that makes the folder anew, and it is held against other writers.
    group = zarr.open_group(str(folder), mode="a", zarr_format=3)
    write_labels(group, sequence, "ome-zarr")
    sequence.lose("ome-zarr", lineage=True)


def write_labels(group: Any, sequence: Sequenced, format_name: str) -> None:
    """Write a label image to a zarr group, for a format that has it."""
    dtype = sequence.label_type(format_name, largest=2**31 - 1)
    height, width = sequence.height, sequence.width
    array = group.create_array(
        "0",
        shape=(len(sequence.span), height, width),
        chunks=(1, min(height, _CHUNK), min(width, _CHUNK)),
        dtype=dtype,
        dimension_names=("t", "y", "x"),
    )
    size = sequence.pixel_size
    unit = {} if size is None else {"unit": UNITS[sequence.unit]}
    second = {} if sequence.interval is None else {"unit": "second"}
    scale = [sequence.interval or 1.0, *(size or (1.0, 1.0))]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": sequence.name,
                "axes": [
                    {"name": "t", "type": "time", **second},
                    {"name": "y", "type": "space", **unit},
                    {"name": "x", "type": "space", **unit},
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": scale}],
                    }
                ],
            }
        ],
        "image-label": {
            "properties": [
                {"label-value": i, "name": sequence.names.get(i) or f"object {i}"}
                for i in sequence.objects
            ]
        },
    }
    for place, shot in enumerate(sequence.shots()):
        if shot.masks:  # empty chunks are not stored in any case
            array[place] = shot.labels.astype(dtype)


def _said(group: Any) -> dict[str, Any]:
    """What a group says of itself: under ``ome`` from 0.5 on, and plainly before."""
    attributes = dict(group.attrs)
    return dict(attributes.get("ome", attributes))


def finest(group: Any) -> Any:
    """The array of a multiscale that has the most pixels."""
    attributes = _said(group)
    if "multiscales" not in attributes:
        raise SourceError(
            f"{group.store_path} is no OME-Zarr: it is a zarr group that says no multiscales"
        )
    return group[attributes["multiscales"][0]["datasets"][0]["path"]]


def read(path: Path, kind: str) -> Reading:
    """Read the finest level of a label image, 0.4 or 0.5; also the first of ``labels/``.

    An array alone, or one named ``labels``, is taken as it is.
    """
    zarr = needed("zarr", "ome-zarr")
    group = zarr.open(str(path), mode="r")
    if isinstance(group, zarr.Group) and isinstance(group.get("labels"), zarr.Array):
        group = group["labels"]
    alone = isinstance(group, zarr.Array)
    if not alone and "labels" in group:
        listed = _said(zarr.open_group(str(path / "labels"), mode="r")).get("labels", [])
        if listed:
            group = zarr.open_group(str(path / "labels" / listed[0]), mode="r")
    array = group if alone else finest(group)
    shape: tuple[int, ...] = array.shape
    if len(shape) < 2 or any(side != 1 for side in shape[1:-2]) or array.dtype.kind not in "bui":
        raise SourceError(
            f"{path} holds {array.dtype} of shape {shape}; label images are (T, Y, X) integers"
        )
    count = shape[0] if len(shape) > 2 else 1
    names: dict[int, str] = {}
    for said in _said(group).get("image-label", {}).get("properties", []):
        name, label = str(said.get("name", "")), int(said.get("label-value", 0))
        names[label] = "" if name == f"object {label}" else name
    warnings: list[str] = []

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame in range(count):
            labels: npt.NDArray[Any] = np.asarray(array[frame] if len(shape) > 2 else array[:])
            yield frame, by_label(labels.reshape(shape[-2:]), warnings)

    return Reading(path, kind, shape[-2], shape[-1], range(count), shots, names, warnings=warnings)
