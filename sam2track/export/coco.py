"""COCO instances with run-length masks; one image for each frame, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.coco_rle import decode, encode
from sam2track.export.images import write_jpegs
from sam2track.export.reading import Reading
from sam2track.export.sequence import Sequenced
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
    kinds = sorted({sequence.names.get(i) or "object" for i in sequence.objects})
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
                    "category_id": category[sequence.names.get(object_id) or "object"],
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
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not {"images", "annotations"} <= set(content):
        raise SourceError(f"{file} is no COCO file: it has no images or annotations")
    images = sorted(content["images"], key=lambda image: image.get("frame_id", image["id"]))
    if not images:
        raise SourceError(f"{file} holds no images")
    sizes = {(int(image["height"]), int(image["width"])) for image in images}
    if len(sizes) != 1:
        raise SourceError(f"{file} holds pictures of several sizes: {sorted(sizes)}")
    ((height, width),) = sizes
    frames = {image["id"]: int(image.get("frame_id", place)) for place, image in enumerate(images)}
    kinds = {c["id"]: str(c.get("name", "")) for c in content.get("categories", ())}
    found: dict[int, dict[int, Any]] = {frame: {} for frame in frames.values()}
    names: dict[int, str] = {}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in frames:
            raise SourceError(f"{file}: annotation {annotation.get('id')} is of no image")
        object_id = int(annotation.get("track_id", annotation["category_id"]))
        here = found[frames[annotation["image_id"]]]
        if object_id in here:
            raise SourceError(
                f"{file} has object {object_id} twice on image {annotation['image_id']}; "
                f"annotations of a video need a track_id"
            )
        here[object_id] = annotation["segmentation"]
        name = kinds.get(annotation["category_id"], "")
        names[object_id] = "" if name == "object" else name

    def shots() -> Iterator[tuple[int, dict[int, npt.NDArray[np.bool_]]]]:
        for frame, objects in sorted(found.items()):
            yield frame, {i: _mask(said, height, width) for i, said in sorted(objects.items())}

    return Reading(path, kind, height, width, sorted(found), shots, names)


def _mask(said: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    if isinstance(said, dict):
        mask = decode(said)
        if mask.shape != (height, width):
            raise SourceError(f"a mask is {mask.shape}, its image {(height, width)}")
        return mask
    from sam2track.export.polygons import fill

    return fill([np.reshape(polygon, (-1, 2)) for polygon in said], height, width)
