"""Masks of one picture as a COCO data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.export.coco_rle import encode

__all__ = ["dataset"]


def dataset(
    file_name: str,
    height: int,
    width: int,
    shapes: Sequence[tuple[npt.NDArray[np.bool_], Mapping[str, Any]]],
    info: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a COCO data set of one image.

    Parameters
    ----------
    shapes : sequence of ((H, W) bool array, dict)
        Each mask with what is known of it: ``id``, ``name``, ``area_px``, ``box``, and scores,
        which go into the annotation as they are.
    """
    names = sorted({str(known["name"]) or "object" for _, known in shapes}) or ["object"]
    annotations = []
    for mask, known in shapes:
        x0, y0, x1, y1 = known["box"] or (0, 0, 0, 0)
        rest = {k: v for k, v in known.items() if k not in ("id", "name", "area_px", "box")}
        annotations.append(
            {
                "id": known["id"],
                "image_id": 1,
                "category_id": names.index(str(known["name"]) or "object") + 1,
                "segmentation": {"size": [height, width], "counts": encode(mask)},
                "area": known["area_px"],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                **rest,
            }
        )
    return {
        "info": dict(info) | {"count": len(shapes)},
        "images": [{"id": 1, "file_name": file_name, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
    }
