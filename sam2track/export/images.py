"""Frames of the source beside exported masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sam2track.export import output_errors
from sam2track.export.sequence import Sequenced

__all__ = ["write_jpegs", "write_jpegs_at"]

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
