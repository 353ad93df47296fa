"""Frames of the source beside exported masks, and files numbered by frame."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sam2track.errors import SourceError
from sam2track.export import output_errors
from sam2track.export.sequence import Sequenced

__all__ = ["numbered", "write_jpegs", "write_jpegs_at"]

_QUALITY = 95


def write_jpegs(folder: Path, sequence: Sequenced) -> None:
    """Write the frames as ``00000.jpg`` and so on, where they are wanted and there."""
    write_jpegs_at(sequence, lambda frame: folder / f"{frame:05d}.jpg")


def write_jpegs_at(sequence: Sequenced, place: Callable[[int], Path]) -> None:
    """As `write_jpegs`, each where `place` says."""
    if sequence.pictures is None:
        return
    from PIL import Image

    span = sequence.span
    for frame, picture in zip(span, sequence.pictures(span.start, span.stop), strict=True):
        path = place(frame)
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, "JPEG", quality=_QUALITY)


def numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """Files by the last number in their names, ascending.

    Raises
    ------
    SourceError
        Where there are none, one has no number, or two have the same.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(pattern)):
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise SourceError(f"{path} has no number in its name; frames are named by number")
        frame = int(digits[-1])
        if frame in found:
            raise SourceError(f"{found[frame].name} and {path.name} in {folder} are one frame")
        found[frame] = path
    if not found:
        raise SourceError(f"{folder} holds no {pattern}")
    return dict(sorted(found.items()))
