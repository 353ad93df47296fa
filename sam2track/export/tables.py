"""Tables: CSV and Parquet, one row for each object and frame."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.coco_rle import decode, encode
from sam2track.export.extras import needed
from sam2track.export.reading import Boxed, Reading
from sam2track.export.sequence import Sequenced

__all__ = ["read", "write_csv", "write_parquet", "write_tracks_csv"]

_GROUP = 64  # frames; a group of rows is whole frames, so that one can be found and read alone


def write_csv(path: Path, sequence: Sequenced) -> None:
    """Write what ``tracks.csv`` of a job holds."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(sequence.columns)
        table.writerows(row.cells() for row in sequence.rows())


def write_tracks_csv(path: Path, sequence: Sequenced) -> None:
    """Write napari Tracks: ``track_id,t,y,x``, then area, name and parent, blank where none.

    The graph of parents is what the last column says.
    """
    mothers = sequence.results.lineage
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("track_id", "t", "y", "x", "area", "name", "parent"))
        for row in sequence.rows():
            if row.centroid is not None:
                x, y = (f"{v:.3f}" for v in row.centroid)
                cells = (row.object_id, row.frame, y, x, row.area, row.name)
                table.writerow((*cells, mothers.get(row.object_id, "")))


def write_parquet(path: Path, sequence: Sequenced) -> None:
    """Write the table with its types, and each mask as COCO run lengths in ``rle``."""
    arrow = needed("pyarrow", "parquet")
    parquet = needed("pyarrow.parquet", "parquet")
    kinds = {
        arrow.int64(): ("frame", "object", "area_px", "x0", "y0", "x1", "y1"),
        arrow.float64(): (
            "time_s",
            "centroid_x",
            "centroid_y",
            "object_score",
            "predicted_iou",
        ),
        arrow.string(): ("name", "source", "rle"),
    }
    by_name = {name: kind for kind, names in kinds.items() for name in names}
    order = (*sequence.columns, "rle")
    schema = arrow.schema(
        [(name, by_name[name]) for name in order if name in by_name],
        metadata={
            "sam2track": f"{sequence.height} {sequence.width} "
            f"{sequence.span.start} {sequence.span.stop}"
        },
    )
    # Arrow takes no name that is not UTF-8.
    with path.open("wb") as file, parquet.ParquetWriter(file, schema) as writer:
        waiting: list[dict[str, Any]] = []
        frame, masks = -1, sequence.results.mask_makers(sequence.span.start)
        for row in sequence.rows():
            if row.frame != frame:
                if row.frame // _GROUP != frame // _GROUP and waiting:
                    writer.write_table(arrow.Table.from_pylist(waiting, schema=schema))
                    waiting = []
                frame, masks = row.frame, sequence.results.mask_makers(row.frame)
            waiting.append(row.values() | {"rle": encode(masks[row.object_id]())})
        if waiting:
            writer.write_table(arrow.Table.from_pylist(waiting, schema=schema))
    sequence.lose("parquet", lineage=True)


def _groups(path: Path, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows of each group in turn."""
    parquet = needed("pyarrow.parquet", "parquet")
    with path.open("rb") as held:  # for its name, as above
        file = parquet.ParquetFile(held)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns).to_pylist()


def read(path: Path, kind: str) -> Reading:
    """Read the masks of a Parquet table that ``write_parquet`` wrote."""
    parquet = needed("pyarrow.parquet", "parquet")
    arrow = needed("pyarrow", "parquet")
    try:
        with path.open("rb") as held:
            schema = parquet.read_schema(held)
    except arrow.ArrowInvalid as error:
        raise SourceError(f"cannot read {path} as Parquet: {error}") from error
    said = (schema.metadata or {}).get(b"sam2track")
    if said is None or not {"frame", "object", "rle"} <= set(schema.names):
        raise SourceError(f"{path} is no table of masks that sam2track wrote")
    height, width, start, stop = (int(cell) for cell in said.split())
    names: dict[int, str] = {}
    for rows in _groups(path, ["object", "name"]):
        names |= {row["object"]: row["name"] or "" for row in rows}

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        following = start
        for rows in _groups(path, ["frame", "object", "rle"]):
            found: dict[int, dict[int, str]] = {}
            for row in rows:
                found.setdefault(row["frame"], {})[row["object"]] = row["rle"]
            for frame, objects in sorted(found.items()):
                while following < frame:
                    yield following, {}
                    following += 1
                size = (height, width)
                codes = ((i, {"size": size, "counts": objects[i]}) for i in sorted(objects))
                yield frame, Boxed((i, decode(code)) for i, code in codes)
                following = frame + 1
        for frame in range(following, stop):
            yield frame, {}

    return Reading(path, kind, height, width, range(start, stop), shots, names)
