"""COCO instances with run-length masks; one image for each frame, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.coco_rle import encode, mask_of
from sam2track.export.images import write_jpegs
from sam2track.export.reading import Reading, name_of
from sam2track.export.sequence import Sequenced
from sam2track.export.spool import Spool, items
from sam2track.frames.bounds import check_size
from sam2track.lazy import Masks
from sam2track.masks import measure

__all__ = ["read", "write"]


def write(path: Path, sequence: Sequenced) -> None:
    """Write a file; with pictures a folder with ``annotations.json`` and ``images/``.

    Objects of one name share a category; those without are of the category ``object``. Each
    annotation has the object's id as ``track_id``, each image the frame as ``frame_id``. The file
    is streamed.
    """
    if path.is_dir():
        write_jpegs(path / "images", sequence)
        path = path / "annotations.json"
    kinds = sorted({sequence.category(i) for i in sequence.objects})
    category = {kind: number for number, kind in enumerate(kinds, start=1)}
    size = {"height": sequence.height, "width": sequence.width}
    number = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": ')
        file.write(json.dumps({"description": sequence.name, "version": "1.0"}))
        file.write(',\n"images": [')
        for frame in sequence.span:
            image = {"id": frame + 1, "file_name": f"{frame:05d}.jpg", **size, "frame_id": frame}
            comma = "" if frame == sequence.span.start else ","
            file.write(f"{comma}\n{json.dumps(image)}")
        file.write('],\n"annotations": [')
        for shot in sequence.shots():
            for object_id, mask in shot.masks.items():
                number += 1
                area, _, box = measure(mask)
                x0, y0, x1, y1 = box or (0, 0, 0, 0)
                annotation: dict[str, Any] = {
                    "id": number,
                    "image_id": shot.frame + 1,
                    "category_id": category[sequence.category(object_id)],
                    "segmentation": {
                        "size": [sequence.height, sequence.width],
                        "counts": encode(mask),
                    },
                    "area": area,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                    "track_id": object_id,
                }
                file.write(f"{',' if number > 1 else ''}\n{json.dumps(annotation)}")
        file.write('],\n"categories": ')
        file.write(json.dumps([{"id": n, "name": kind} for kind, n in category.items()]))
        file.write("}\n")
    sequence.lose("coco", lineage=True)


def read(path: Path, kind: str) -> Reading:
    """Read instances; the object is ``track_id``, or else the category where it is there once."""
    file = path / "annotations.json" if path.is_dir() else path
    sizes: set[tuple[int, int]] = set()
    order: list[tuple[Any, Any]] = []  # a frame's number, or what it is sorted by, and its id
    numbered = True
    for image in items(file, "images.item"):
        sizes.add((int(image["height"]), int(image["width"])))
        numbered &= "frame_id" in image
        order.append((image.get("frame_id", image["id"]), image["id"]))
    if not order:
        raise SourceError(f"{file} is no COCO file: it has no images")
    if len(sizes) != 1:
        raise SourceError(f"{file} holds pictures of several sizes: {sorted(sizes)[:5]}")
    ((height, width),) = sizes
    check_size(str(file), height, width)
    order.sort()
    frames = {
        image_id: int(number) if numbered else place
        for place, (number, image_id) in enumerate(order)
    }
    kinds = {c["id"]: name_of(c.get("name")) for c in items(file, "categories.item")}
    names: dict[int, str] = {}
    spool = Spool()
    for annotation in items(file, "annotations.item"):
        if annotation["image_id"] not in frames:
            raise SourceError(f"{file}: annotation {annotation.get('id')} is of no image")
        object_id = int(annotation.get("track_id", annotation["category_id"]))
        frame = frames[annotation["image_id"]]
        if not spool.put(frame, object_id, json.dumps(annotation["segmentation"])):
            raise SourceError(
                f"{file} has object {object_id} twice on image {annotation['image_id']}; "
                f"annotations of a video need a track_id"
            )
        names[object_id] = kinds.get(annotation["category_id"], "")
    there = sorted(frames.values())
    double = next((one for one, other in pairwise(there) if one == other), None)
    if double is not None:
        raise SourceError(f"{file} has two images of frame {double}; give those of one video")

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame in there:
            said = spool.masks(frame)
            yield frame, Masks({i: partial(mask_of, said[i], height, width) for i in said})

    return Reading(path, kind, height, width, there, shots, names)
