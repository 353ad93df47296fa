"""GEFF, the graph exchange format of cell trackers: a node for each object and frame.

The folder is a zarr group of two: ``tracks``, the graph, and beside it ``segmentation``, the label
image in which its nodes lie. The specification is that of the package ``geff-spec``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export import omezarr
from sam2track.export.extras import needed
from sam2track.export.graphs import Families, Tracks, seen
from sam2track.export.reading import Reading, by_label
from sam2track.export.sequence import Sequenced

__all__ = ["read", "write"]

_VERSION = "1.3"
_PART = 1 << 16  # nodes or edges that are held, and that a chunk has

_PROPERTIES: dict[str, tuple[type, str, str | None]] = {
    "t": (np.int64, "frame of the label image, from 0", "frame"),
    "y": (np.float64, "centroid, down from the centre of the first pixel", "pixel"),
    "x": (np.float64, "centroid, to the right", "pixel"),
    "seg_id": (np.int64, "the object: its value in the label image", None),
    "area": (np.int64, "of the object's mask, also where others cover it", "pixel"),
    "object_score": (np.float64, "logit of being there; NaN where no model said so", None),
    "predicted_iou": (np.float64, "by the model; NaN where none said so", None),
    "tracklet": (np.int64, "the object that begins the path without branches", None),
    "lineage": (np.int64, "the object that begins the family", None),
}


def write(folder: Path, sequence: Sequenced) -> None:
    """Write the label image and the graph; frames count from the first that is written."""
    zarr = needed("zarr", "geff")
    root = zarr.open_group(str(folder), mode="a", zarr_format=3)
    omezarr.write_labels(root.create_group("segmentation"), sequence, "geff")
    families = Families.of(sequence)
    graph = root.create_group("tracks")
    nodes, edges = graph.create_group("nodes"), graph.create_group("edges")
    ids, links = _Column(nodes, "ids", np.uint64), _Column(edges, "ids", np.uint64, width=2)
    edges.create_group("props")
    columns = {
        name: _Column(nodes.create_group(f"props/{name}"), "values", kind)
        for name, (kind, *_) in _PROPERTIES.items()
    }
    last: dict[int, int] = {}  # node of each object
    node = 0
    for frame, here in seen(sequence):
        for object_id, row in here.items():
            before = last.get(object_id, last.get(families.mothers.get(object_id, 0)))
            if before is not None:
                links.put((before, node))
            x, y = row.centroid
            at = frame - sequence.span.start
            scores = (np.nan if s is None else s for s in (row.object_score, row.predicted_iou))
            values = (at, y, x, object_id, row.area, *scores, *families.paths[object_id])
            for column, value in zip(columns.values(), values, strict=True):
                column.put(value)
            ids.put(node)
            last[object_id] = node
            node += 1
    for column in (ids, links, *columns.values()):
        column.close()
    graph.attrs["geff"] = _about(sequence, families.bounds)
    families.lose("geff", sequence)
    sequence.lose("geff")


class _Column:
    """Values that come one by one; they are written a chunk at a time.

    Parameters
    ----------
    group : zarr.Group
    name : str
    kind : type
        Of a value.
    width : int, optional
        How many there are in a row, where it is an array of rows.
    """

    def __init__(self, group: Any, name: str, kind: type, *, width: int | None = None) -> None:
        row = () if width is None else (width,)
        self._array = group.create_array(
            name, shape=(0, *row), chunks=(_PART, *row), dtype=np.dtype(kind)
        )
        self._waiting: list[Any] = []

    def put(self, value: Any) -> None:
        self._waiting.append(value)
        if len(self._waiting) == _PART:
            self.close()

    def close(self) -> None:
        """Write what waits to be written."""
        if self._waiting:
            self._array.append(np.array(self._waiting, self._array.dtype))
            self._waiting = []


def _about(sequence: Sequenced, bounds: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """The metadata of the graph."""
    height, width = sequence.pixel_size or (None, None)
    space = omezarr.UNITS[sequence.unit]
    scales = {"t": (sequence.interval, "second"), "y": (height, space), "x": (width, space)}
    axes = []
    for name, (scale, unit) in scales.items():
        axis: dict[str, Any] = {
            "name": name,
            "type": "time" if name == "t" else "space",
            "unit": _PROPERTIES[name][2],
        }
        if name in bounds:
            axis["min"], axis["max"] = bounds[name]
        if scale is not None:
            axis |= {"scale": scale, "scaled_unit": unit}
        axes.append(axis)
    properties = {
        name: {"identifier": name, "dtype": np.dtype(kind).name, "description": what, "unit": unit}
        for name, (kind, what, unit) in _PROPERTIES.items()
    }
    return {
        "geff_version": _VERSION,
        "directed": True,
        "axes": axes,
        "node_props_metadata": properties,
        "edge_props_metadata": {},
        "track_node_props": {"tracklet": "tracklet", "lineage": "lineage"},
        # Of the same property: as it is called from version 1.2.1 on, and as it was before.
        "related_objects": [
            {
                "type": "labels",
                "path": "../segmentation/0",
                "node_prop": "seg_id",
                "label_prop": "seg_id",
            }
        ],
        "display_hints": {
            "display_horizontal": "x",
            "display_vertical": "y",
            "display_time": "t",
        },
        "extra": {
            "sam2track": {
                "name": sequence.name,
                "first_frame": sequence.span.start,
                "names": {str(i): name for i, name in sorted(sequence.names.items()) if name},
            }
        },
    }


def read(path: Path, kind: str) -> Reading:
    """Read a graph and the label image that it names.

    An object is a path without branches. It has the number of its first label, where no other
    begins with that; else objects are numbered in the order in which they begin.
    """
    zarr = needed("zarr", "geff")
    place = _graph_at(path, zarr)
    graph = zarr.open_group(str(place), mode="r")
    about = dict(graph.attrs["geff"])
    warnings: list[str] = []
    labels, key = _label_image(place, about, warnings, zarr)
    nodes = _tracks(graph, about, key, warnings, path)
    count = labels.shape[0]
    height, width = labels.shape[-2:]
    within = (nodes.frame >= 0) & (nodes.frame < count)
    if not within.all():
        warnings.append(f"nodes of other frames than the {count} of the labels are left out")
    bare = "nodes of whose label there is no pixel on their frame are left out"
    if (within & (nodes.label <= 0)).any():
        warnings.append(bare)
    objects, mothers = nodes.objects()
    said = about.get("extra", {}).get("sam2track", {}).get("names", {})
    names = {int(i): str(name) for i, name in said.items()} if nodes.kept else {}

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame in range(count):
            here = (nodes.frame == frame) & (nodes.label > 0)
            given = dict(zip(nodes.label[here].tolist(), objects[here].tolist(), strict=True))
            image: npt.NDArray[Any] = np.asarray(labels[frame]).reshape(height, width)
            there, places = np.unique(image, return_inverse=True)
            ids = [given.get(int(i), 0) for i in there]
            stray = "labels that no node has are left out"
            if stray not in warnings and any(i > 0 and int(i) not in given for i in there):
                warnings.append(stray)
            if bare not in warnings and not given.keys() <= set(there.tolist()):
                warnings.append(bare)
            yield frame, by_label(np.array(ids, np.int64)[places].reshape(image.shape))

    return Reading(path, kind, height, width, range(count), shots, names, mothers, warnings)


def _graph_at(path: Path, zarr: Any) -> Path:
    """Where the graph lies: in the folder, or in one of the groups below it."""
    below = sorted(p for p in path.iterdir() if p.is_dir())
    found = [
        place
        for place in (path, *below)
        if any((place / name).is_file() for name in ("zarr.json", ".zgroup"))
        and "geff" in getattr(zarr.open(str(place), mode="r"), "attrs", {})
    ]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(place.name for place in found)
        raise SourceError(f"{path} holds several graphs ({several}); name one of them")
    raise SourceError(f"{path} holds no graph: neither it nor a group below it says geff")


def _label_image(
    place: Path, about: Mapping[str, Any], warnings: list[str], zarr: Any
) -> tuple[Any, str]:
    """The array of labels, (T, Y, X), and the property of nodes that says which is theirs."""
    images = [
        (related, key)
        for related in about.get("related_objects") or ()
        if related.get("type") == "labels"
        and (key := related.get("node_prop") or related.get("label_prop"))
    ]
    if not images:
        raise SourceError(
            f"{place} names no label image with a property of its nodes (related_objects); "
            "without one it holds points, and no masks"
        )
    related, key = images[0]
    if len(images) > 1:
        several = ", ".join(str(of["path"]) for of, _ in images)
        warnings.append(f"of several label images ({several}) the first is read")
    where = Path(os.path.normpath(place / str(related["path"])))
    if where.is_file():
        raise SourceError(
            f"{place} names the label image {related['path']}, which is a file; label images in "
            "zarr are read"
        )
    if not where.is_dir():
        raise SourceError(f"{place} names the label image {related['path']}, which is not there")
    found = zarr.open(str(where), mode="r")
    labels = found if hasattr(found, "shape") else omezarr.finest(found)
    shape: tuple[int, ...] = labels.shape
    # Channels and slices may be axes where there is one: converters write (T, C, Z, Y, X).
    flat = len(shape) > 2 and all(side == 1 for side in shape[1:-2])
    if not flat or labels.dtype.kind not in "bui":
        raise SourceError(
            f"{where} holds {labels.dtype} of shape {shape}; label images are (T, Y, X) integers"
        )
    return labels, str(key)


def _tracks(
    graph: Any, about: Mapping[str, Any], key: str, warnings: list[str], path: Path
) -> Tracks:
    """The nodes, with the labels that are theirs, and the edges."""
    times = [axis["name"] for axis in about.get("axes") or () if axis.get("type") == "time"]
    if len(times) != 1:
        raise SourceError(
            f"{path} names {len(times)} axes of type time; a graph of tracks has one, the "
            "property of its nodes that is their frame"
        )
    properties = graph["nodes/props"]
    for name in (times[0], key):
        if name not in properties:
            there = ", ".join(sorted(properties)) or "none"
            raise SourceError(
                f"{path}: nodes have no property {name}, which the metadata "
                f"names; there are {there}"
            )
    frame = np.asarray(properties[f"{times[0]}/values"][:])
    label = np.asarray(properties[f"{key}/values"][:])
    for name, values in ((times[0], frame), (key, label)):
        if (
            values.ndim != 1
            or values.dtype.kind not in "buif"
            or (values != np.floor(values)).any()
        ):
            raise SourceError(f"{path}: property {name} is not in whole numbers")
    frame, label = frame.astype(np.int64), label.astype(np.int64)
    if f"{key}/missing" in properties:
        label = np.where(properties[f"{key}/missing"][:], 0, label)
    ids, ends = (np.asarray(graph[f"{what}/ids"][:]) for what in ("nodes", "edges"))
    directed = bool(about.get("directed", True))
    return Tracks.of(ids, frame, label, ends, warnings, path, directed=directed)
