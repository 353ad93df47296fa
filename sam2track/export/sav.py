"""SA-V: a folder of binary PNGs for each object, and a JSON file with masklets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.coco_rle import decode, encode
from sam2track.export.numbering import numbered
from sam2track.export.pngs import read_label_png, write_label_png
from sam2track.export.reading import Boxed, Reading
from sam2track.export.sequence import Sequenced
from sam2track.export.spool import items

__all__ = ["read", "write"]


def write(folder: Path, sequence: Sequenced) -> None:
    """Write ``001/00000.png`` and so on for each object and frame, and ``NAME_manual.json``.

    The JSON file has what SA-V's own files say of masklets and can be said here; it is streamed.
    """
    ids = list(sequence.objects)
    folders = {i: folder / f"{i:03d}" for i in ids}
    for one in folders.values():
        one.mkdir(parents=True)
    first: dict[int, int] = {}
    counts = dict.fromkeys(ids, 0)
    empty = np.zeros((sequence.height, sequence.width), np.bool_)
    with (folder / f"{sequence.name}_manual.json").open("w", encoding="utf-8") as file:
        file.write('{"masklet": [')
        for place, shot in enumerate(sequence.shots()):
            codes = []
            for object_id in ids:
                mask = shot.masks.get(object_id, empty)
                write_label_png(folders[object_id] / f"{shot.frame:05d}.png", mask, bits=8)
                size = [sequence.height, sequence.width]
                codes.append({"size": size, "counts": encode(mask)})
                if object_id in shot.masks:
                    first.setdefault(object_id, place)
                    counts[object_id] += 1
            file.write(f"{',' if place else ''}\n{json.dumps(codes)}")
        about = {
            "video_id": sequence.name,
            "video_frame_count": float(len(sequence.span)),
            "video_height": float(sequence.height),
            "video_width": float(sequence.width),
            "masklet_id": ids,
            "masklet_first_appeared_frame": [float(first.get(i, 0)) for i in ids],
            "masklet_frame_count": [counts[i] for i in ids],
            "masklet_type": ["manual"] * len(ids),
            "masklet_num": len(ids),
        }
        file.write("],\n" + json.dumps(about)[1:] + "\n")
    sequence.lose("sav", lineage=True)


def _pngs(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.png"))
    if not found:
        raise SourceError(f"{folder} holds no PNGs")
    return found


def read(path: Path, kind: str) -> Reading:
    """Read the folders of binary PNGs; an SA-V JSON file where a file is named."""
    if path.is_file():
        return _read_json(path, kind)
    folders = {int(p.name): p for p in sorted(path.iterdir()) if p.is_dir() and p.name.isdecimal()}
    if not folders:
        raise SourceError(f"{path} holds no folders 000, 001 and so on")
    files = {i: numbered(_pngs(folder)) for i, folder in sorted(folders.items())}
    # Ids are positive here; SA-V counts objects from 0.
    shift = 1 if 0 in files else 0
    frames = sorted(set().union(*files.values()))
    some = next(iter(next(iter(files.values())).values()))
    height, width = read_label_png(some).shape

    def mask(file: Path) -> npt.NDArray[np.bool_]:
        found = np.not_equal(read_label_png(file), 0)
        if found.shape != (height, width):
            raise SourceError(f"{file} is {found.shape}, not {(height, width)}")
        return found

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame in frames:
            here = ((i + shift, of[frame]) for i, of in files.items() if frame in of)
            yield frame, Boxed((i, mask(file)) for i, file in here)

    return Reading(path, kind, height, width, frames, shots)


def _read_json(path: Path, kind: str) -> Reading:
    height, width = (_only(path, f"video_{side}") for side in ("height", "width"))
    ids = [int(i) for i in items(path, "masklet_id.item")]
    shift = 1 if 0 in ids else 0
    count = sum(1 for _ in items(path, "masklet.item"))
    # SA-V's own videos have 24 frames a second, of which every fourth has masks.
    step = max(1, round(_only(path, "video_frame_count") / max(1, count)))
    frames = range(0, count * step, step)

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame, codes in zip(frames, items(path, "masklet.item"), strict=True):
            said = sorted(zip(ids, codes, strict=True), key=lambda one: one[0])
            yield frame, Boxed((i + shift, decode(code)) for i, code in said)

    return Reading(path, kind, height, width, frames, shots)


def _only(path: Path, name: str) -> int:
    for value in items(path, name):
        return int(value)
    raise SourceError(f"{path} does not say its {name}; SA-V's files do")
