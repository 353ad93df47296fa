"""DAVIS and YouTube-VOS: a palette PNG for each frame; the latter with ``meta.json``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sam2track.errors import SourceError
from sam2track.export.images import write_jpegs
from sam2track.export.label_files import of_files
from sam2track.export.numbering import by_frame, label_files
from sam2track.export.pngs import MaskSequence
from sam2track.export.reading import Reading, name_of
from sam2track.export.sequence import Sequenced
from sam2track.export.staging import write_bytes
from sam2track.frames.source import FrameSource
from sam2track.json_text import parsed

__all__ = ["read", "write_davis", "write_ytvos"]


def write_davis(folder: Path, sequence: Sequenced) -> None:
    """Write ``00000.png`` and so on, named by frame; 16-bit grey where ids pass 255."""
    _label_maps(folder, sequence, "davis")
    sequence.lose("davis", lineage=True)


def write_ytvos(folder: Path, sequence: Sequenced) -> None:
    """Write ``Annotations/NAME/00000.png`` and ``meta.json``; pictures on request."""
    seen = _label_maps(folder / "Annotations" / sequence.name, sequence, "ytvos")
    objects = {
        str(i): {
            "category": sequence.category(i),
            "frames": [f"{frame:05d}" for frame in frames],
        }
        for i, frames in sorted(seen.items())
    }
    meta = {"videos": {sequence.name: {"objects": objects}}}
    write_bytes(folder / "meta.json", json.dumps(meta, indent=1).encode())
    write_jpegs(folder / "JPEGImages" / sequence.name, sequence)
    sequence.lose("ytvos", lineage=True)


def _label_maps(folder: Path, sequence: Sequenced, kind: str) -> dict[int, list[int]]:
    seen: dict[int, list[int]] = {}
    bits = sequence.label_type(kind).itemsize * 8
    pictures = MaskSequence(folder, bits=8 if bits == 8 else 16)
    for shot in sequence.shots():
        pictures.write(shot.frame, shot.labels)
        for object_id in np.unique(shot.labels):
            if object_id:
                seen.setdefault(int(object_id), []).append(shot.frame)
    return seen


def _holds_pngs(folder: Path) -> bool:
    return any(path.suffix.lower() == ".png" for path in folder.iterdir())


def read(path: Path, kind: str, source: FrameSource | None = None) -> Reading:
    """Read a folder of label PNGs, or one that holds a single such folder."""
    names: dict[int, str] = {}
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    if not _holds_pngs(folder):
        inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and _holds_pngs(p)]
        if len(inner) != 1:
            raise SourceError(
                f"{path} holds {len(inner)} folders of PNGs; name one sequence's folder"
            )
        folder = inner[0]
    if (path / "meta.json").is_file():
        meta = parsed((path / "meta.json").read_text(encoding="utf-8"))
        objects = meta["videos"].get(folder.name, {}).get("objects", {})
        names = {int(i): name_of(said.get("category")) for i, said in objects.items()}
    warnings: list[str] = []
    files = by_frame(label_files(folder, {".png"}), source, warnings)
    return of_files(path, kind, files, names, warnings)
