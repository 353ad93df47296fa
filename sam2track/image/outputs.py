"""The files that are written of one picture."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track import masks as rle
from sam2track.arguments import some_of
from sam2track.errors import OutputError, UsageError
from sam2track.export import output_errors, shortened
from sam2track.export.pngs import write_label_png
from sam2track.export.staging import write_bytes
from sam2track.image.coco import dataset
from sam2track.image.cutting import cutout, opacity, placed
from sam2track.image.everything import Found, label_image
from sam2track.image.segmenter import ImageResult
from sam2track.render import overlay

__all__ = [
    "WRITTEN",
    "Drawing",
    "check_free",
    "of_everything",
    "of_result",
    "wanted_files",
    "write",
]

# What can be written, and how the file's name ends.
WRITTEN = {
    "mask": "mask.png",
    "overlay": "overlay.png",
    "cutout": "cutout.png",
    "background-removed": "background-removed.png",
    "labels": "labels.png",
    "json": "json",
}
_MOST_TAGS = 40  # more would hide what they name


@dataclass
class Drawing:
    """What was found in one picture.

    Attributes
    ----------
    labels : (H, W) array of integers
        Which object is where.
    objects : list of dict
        ``id``, ``name``, ``area_px``, ``box``, ``centroid`` and scores of each.
    codes : list of bytes
        Run-length codes of their masks.
    grid : int
        Side of the decoder's grid.
    candidates : dict of int to list of bytes
        Codes of all candidates, best first, by object.
    """

    labels: npt.NDArray[Any]
    objects: list[dict[str, Any]]
    codes: list[bytes]
    grid: int
    candidates: dict[int, list[bytes]] = field(default_factory=dict)

    def masks(self) -> Iterator[npt.NDArray[np.bool_]]:
        """Masks, one at a time."""
        return (rle.decode(code) for code in self.codes)


def of_result(result: ImageResult | None, height: int, width: int, grid: int) -> Drawing:
    """From what prompts gave; None where there was none."""
    if result is None:
        return Drawing(np.zeros((height, width), np.uint8), [], [], grid)
    objects, codes, candidates = [], [], {}
    for index, object_id in enumerate(result.object_ids):
        mask = result.masks[index]
        size = rle.measure(mask)
        tried = [rle.encode(candidate) for candidate in result.candidate_masks(object_id)]
        objects.append(
            {
                "id": object_id,
                "name": result.names.get(object_id, ""),
                "area_px": size.area,
                "box": size.box,
                "centroid": size.centroid,
                "predicted_iou": _rounded(result.ious[index]),
                "object_score": _rounded(result.object_scores[index]),
                "candidates": [_rounded(iou) for iou in result.candidate_ious[index]],
            }
        )
        codes.append(rle.encode(mask))
        candidates[object_id] = tried
    return Drawing(result.labels, objects, codes, grid, candidates)


def of_everything(found: Sequence[Found], height: int, width: int, grid: int) -> Drawing:
    """From all that could be told apart."""
    objects = [
        {
            "id": number,
            "name": "",
            "area_px": item.area,
            "box": item.box if item.area else None,
            "predicted_iou": _rounded(item.predicted_iou),
            # JSON has no NaN, which a mask has that is empty at both thresholds.
            "stability_score": None if math.isnan(item.stability) else _rounded(item.stability),
            "point_coords": [[_rounded(value) for value in item.point]],
            "crop_box": [*item.crop[:2], item.crop[2] - item.crop[0], item.crop[3] - item.crop[1]],
        }
        for number, item in enumerate(found, start=1)
    ]
    labels = label_image(found, height, width)
    return Drawing(labels, objects, [item.code for item in found], grid)


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def wanted_files(write: Iterable[str]) -> list[str]:
    """Check names of outputs; return them in order."""
    return some_of(write, WRITTEN)


def check_free(
    folder: Path,
    pictures: Sequence[Path],
    wanted: Sequence[str],
    *,
    candidates: bool,
    overwrite: bool,
) -> None:
    """UsageError where files would be lost: of one another, of what is there, of what is read."""
    # Cases are one on macOS and Windows, and folders move between systems.
    by_stem: dict[str, Path] = {}
    for picture in pictures:
        other = by_stem.setdefault(shortened(picture.stem).casefold(), picture)
        if other is not picture:
            raise UsageError(
                f"{other} and {picture} would be written under the same name; "
                f"give them different output folders"
            )
    try:
        there = sorted(folder.iterdir()) if folder.is_dir() else []
        if not folder.is_dir() and folder.exists():
            raise OutputError(f"{folder} is a file; give a folder to write to")
        read = {os.path.realpath(path).casefold() for path in pictures}
        for stem in by_stem:
            names = {f"{stem}.{WRITTEN[name]}" for name in wanted}
            for path in there:
                name = path.name.casefold()
                is_candidate = candidates and name.startswith(f"{stem}.candidate-")
                if name not in names and not is_candidate:
                    continue
                if os.path.realpath(path).casefold() in read:
                    raise UsageError(
                        f"{path} is to be read and would be written over; give another folder"
                    )
                if not overwrite:
                    raise UsageError(
                        f"{path} is there already; replace it (--overwrite) or give another folder"
                    )
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def write(
    folder: Path,
    source: Path,
    picture: npt.NDArray[np.uint8],
    drawing: Drawing,
    wanted: Sequence[str],
    *,
    ground: Any,
    all_candidates: bool,
    info: Mapping[str, Any],
) -> dict[str, str]:
    """Write what is asked for, and return the paths by name."""
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    stem = shortened(source.stem)
    paths = {name: folder / f"{stem}.{WRITTEN[name]}" for name in wanted}
    lone = len(drawing.objects) < 2
    if "mask" in wanted:
        if lone:
            _write_mask(paths["mask"], next(drawing.masks(), drawing.labels > 0))
        else:
            write_label_png(paths["mask"], drawing.labels)
    if "labels" in wanted:
        write_label_png(paths["labels"], drawing.labels)
    if "overlay" in wanted:
        names = {o["id"]: f"{o['name']} {o['predicted_iou']:.2f}" for o in drawing.objects}
        tags = len(names) <= _MOST_TAGS
        painted = overlay(picture, drawing.labels, names=names, tags=tags)
        _write_picture(paths["overlay"], painted)
    if "cutout" in wanted or "background-removed" in wanted:
        union = np.zeros(drawing.labels.shape, np.bool_)
        for mask in drawing.masks():
            union |= mask
        alpha = opacity(union, grid=drawing.grid)
        if "cutout" in wanted:
            _write_picture(paths["cutout"], cutout(picture, alpha))
        if "background-removed" in wanted:
            _write_picture(paths["background-removed"], placed(picture, alpha, ground))
    if "json" in wanted:
        height, width = drawing.labels.shape
        shapes = list(zip(drawing.masks(), drawing.objects, strict=True))
        content = dataset(source.name, height, width, shapes, info)
        write_bytes(paths["json"], json.dumps(content, indent=1).encode())
    if all_candidates:
        for object_id, codes in drawing.candidates.items():
            for number, code in enumerate(codes, start=1):
                name = f"candidate-{object_id}-{number}"
                paths[name] = folder / f"{stem}.{name}.png"
                _write_mask(paths[name], rle.decode(code))
    return {name: str(path) for name, path in paths.items()}


def _write_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    _write_picture(path, mask.astype(np.uint8) * np.uint8(255))


def _write_picture(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    import cv2

    if picture.ndim == 3:
        code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
        picture = np.asarray(cv2.cvtColor(picture, code), np.uint8)
    whole, data = cv2.imencode(".png", picture)
    if not whole:
        raise OutputError(f"{path} cannot be written: the picture cannot be coded as PNG")
    write_bytes(path, data.tobytes())
