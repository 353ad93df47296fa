"""MOTS and MOTChallenge: text, one line for each object and frame.

Frames count from 1 there, the class is 2 (MOTS) or 1 (MOT): pedestrian, the one that the
challenges evaluate, whatever the objects are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.coco_rle import decode, encode
from sam2track.export.reading import Reading
from sam2track.export.sequence import Sequenced
from sam2track.export.spool import Spool
from sam2track.lazy import Masks

__all__ = ["read", "write_mot", "write_mots"]

_PEDESTRIAN = 2


def write_mots(path: Path, sequence: Sequenced) -> None:
    """Write lines of ``frame id class height width rle``; masks do not overlap there."""
    size = f"{sequence.height} {sequence.width}"
    with path.open("w", encoding="ascii") as file:
        for shot in sequence.shots():
            for object_id, mask in shot.apart.items():
                file.write(f"{shot.frame + 1} {object_id} {_PEDESTRIAN} {size} {encode(mask)}\n")
    sequence.lose("mots", lineage=True)


def write_mot(path: Path, sequence: Sequenced) -> None:
    """Write lines of ``frame,id,left,top,width,height,1,1,1``; pixels count from 1."""
    with path.open("w", encoding="ascii") as file:
        for row in sequence.rows():
            if row.box is not None:
                x0, y0, x1, y1 = row.box
                place = f"{x0 + 1},{y0 + 1},{x1 - x0},{y1 - y0}"
                file.write(f"{row.frame + 1},{row.object_id},{place},1,1,1\n")
    sequence.lose("mot", lineage=True)


def read(path: Path, kind: str) -> Reading:
    """Read MOTS text; regions to be ignored (class 10) are left out."""
    spool = Spool()
    size = None
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            cells = line.split()
            if not cells:
                continue
            if len(cells) != 6 or not all(cell.isdecimal() for cell in cells[:5]):
                raise SourceError(
                    f"{path}, line {number}: {line[:60]!r} is not 'frame id class height width rle'"
                )
            frame, object_id, class_id, height, width = (int(cell) for cell in cells[:5])
            if size not in (None, (height, width)):
                raise SourceError(
                    f"{path}, line {number}: {height} x {width}, before it was {size}"
                )
            size = (height, width)
            if class_id == 10:
                continue
            if frame < 1 or not spool.put(frame - 1, object_id, cells[5]):
                raise SourceError(f"{path}, line {number}: object {object_id} twice, or frame 0")
    if size is None:
        raise SourceError(f"{path} holds no object")

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame in spool.frames():
            said = spool.masks(frame)
            codes = {i: {"size": size, "counts": counts} for i, counts in said.items()}
            yield frame, Masks({i: partial(decode, code) for i, code in codes.items()})

    return Reading(path, kind, *size, None, shots)
