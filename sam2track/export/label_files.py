"""Label maps as segmenters save them: a file for each frame, or an array of numpy's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError, SourceError
from sam2track.export.numbering import LABEL_ENDINGS, by_frame, label_files
from sam2track.export.pngs import read_label_png
from sam2track.export.reading import Reading, by_label
from sam2track.frames.source import FrameSource
from sam2track.masks import MAX_PIXELS
from sam2track.pictures import read_labels

__all__ = ["of_array", "of_files", "read"]


def read(path: Path, kind: str, source: FrameSource | None = None) -> Reading:
    """Read a folder of PNGs, TIFFs and ``.npy`` files, or an ``.npy`` of (T, Y, X) or (Y, X)."""
    if path.is_file():
        return of_array(path, kind, _saved(path))
    warnings: list[str] = []
    files = by_frame(label_files(path, LABEL_ENDINGS), source, warnings)
    return of_files(path, kind, files, {}, warnings)


def of_files(
    path: Path, kind: str, files: Mapping[int, Path], names: Mapping[int, str], warnings: list[str]
) -> Reading:
    """Read the label maps of files, by frame; names are those of objects."""
    height, width = _labels(next(iter(files.values()))).shape

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame, file in files.items():
            labels = _labels(file)
            if labels.shape != (height, width):
                raise SourceError(f"{file} is {labels.shape}; the first is {(height, width)}")
            yield frame, by_label(labels, warnings)

    return Reading(path, kind, height, width, list(files), shots, names, warnings=warnings)


def _labels(file: Path) -> npt.NDArray[Any]:
    if file.suffix.lower() == ".png":
        return read_label_png(file)
    try:
        return read_labels(file)
    except PromptError as error:
        raise SourceError(str(error)) from error


def _saved(path: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError as error:
        raise SourceError(
            f"{path} holds Python objects, as Cellpose's _seg.npy does, or is damaged; save the "
            "array of labels alone, or as a TIFF"
        ) from error


def of_array(path: Path, kind: str, stack: npt.NDArray[Any]) -> Reading:
    """Read the label maps of an array, (T, Y, X) or (Y, X)."""
    if stack.ndim > 2 and all(side == 1 for side in stack.shape[1:-2]):
        stack = stack.reshape(len(stack), *stack.shape[-2:])
    elif stack.ndim == 2:
        stack = stack[None]
    if stack.ndim != 3 or stack.dtype.kind not in "buif" or not stack.size:
        raise SourceError(
            f"{path} holds {stack.dtype} of shape {stack.shape}; label stacks are (T, Y, X) whole "
            "numbers"
        )
    count, height, width = stack.shape
    if height * width > MAX_PIXELS:
        raise SourceError(f"{path} claims frames of {height} x {width}")
    warnings: list[str] = []

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        for frame in range(count):
            yield frame, by_label(np.asarray(stack[frame]), warnings)

    return Reading(path, kind, height, width, range(count), shots, warnings=warnings)
