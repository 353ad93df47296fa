"""Single TIFF files of label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.frames.pages import check_pages

__all__ = ["read_tiff", "write_tiff"]


def write_tiff(path: Path, labels: npt.NDArray[np.uint16]) -> None:
    """Write one label map, (H, W) uint16, deflated."""
    import tifffile

    tifffile.imwrite(path, labels, compression="zlib", photometric="minisblack")


def read_tiff(path: Path) -> npt.NDArray[Any]:
    """Read one label map, (H, W) integers.

    Raises
    ------
    SourceError
        Where it is no such file.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            check_pages(path, file)
            labels = file.asarray()
    except SourceError:
        raise
    except Exception as error:  # damaged headers end in anything, assertions for one
        raise SourceError(f"cannot read {path} as TIFF: {error}") from error
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        raise SourceError(
            f"{path} holds {labels.dtype} of shape {labels.shape}; label maps are (H, W) integers"
        )
    return np.asarray(labels)
