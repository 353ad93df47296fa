"""Single pictures: files and arrays as upright RGB."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from sam2track.errors import SourceError, UsageError
from sam2track.frames.array import ArraySource
from sam2track.frames.coded import decoded
from sam2track.frames.folder import pictures_in
from sam2track.frames.headers import wrong_with
from sam2track.frames.opening import STACKS
from sam2track.frames.source import Frame
from sam2track.frames.zarr_files import is_zarr
from sam2track.regular import check_regular

__all__ = ["list_pictures", "picture_of", "read_picture"]

_STACKS = frozenset({*STACKS, ".zarr"})
_HINT = "`sam2track track` follows objects through it"


def list_pictures(folder: str | os.PathLike[str]) -> tuple[list[Path], list[str]]:
    """As ``pictures_in``; UsageError where the folder is a stack."""
    path = Path(folder)
    if is_zarr(path):
        raise UsageError(f"{path} is a stack, not a folder of pictures; {_HINT}")
    return pictures_in(path)


def picture_of(image: Any) -> Frame:
    """Return a picture as (H, W, 3) uint8 RGB.

    Parameters
    ----------
    image : path, array or PIL image
        An array is (H, W), or (H, W, C) of 1 (grey), 3 (RGB) or 4 (RGBA; its alpha is dropped)
        channels. What is not uint8 or bool is scaled by its 0.1 and 99.9 percentiles.

    Raises
    ------
    UsageError
        Where it is no picture, or a stack of many.
    SourceError
        Where a file cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        return read_picture(image)
    if hasattr(image, "getexif"):
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(image)
        # To RGB Pillow would cut off what is above 255.
        image = np.asarray(upright if upright.mode[0] in "IF" else upright.convert("RGB"))
    if not hasattr(image, "shape"):
        raise UsageError(
            f"cannot take a picture from {type(image).__name__}; give a file or an array (H, W), "
            f"(H, W, 3)"
        )
    array = np.asarray(image)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise UsageError(
            f"an array of shape {array.shape} is no single picture, which is (H, W) or (H, W, 3); "
            f"for a stack make a Tracker, or call track()"
        )
    return ArraySource(array[None]).read(0)


def read_picture(path: str | os.PathLike[str]) -> Frame:
    """Read a picture file as upright (H, W, 3) uint8 RGB.

    EXIF rotation is applied, transparency is dropped. Pictures of more than 8 bits are scaled by
    their 0.1 and 99.9 percentiles.

    Raises
    ------
    UsageError
        Where the file is a stack or a video.
    SourceError
        Where it is no picture that can be read.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in _STACKS:
        what = "a folder" if path.is_dir() and path.suffix.lower() not in _STACKS else "a stack"
        raise UsageError(f"{path} is {what}, not a single picture; {_HINT}")
    try:
        check_regular(path)
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:  # a null character in the name
        raise SourceError(f"{str(path)!r} cannot be read: {error}") from error
    picture = decoded(path, data)
    _refuse_pages(path, data)
    if picture is None:
        _refuse_video(path)
        raise SourceError(
            f"{path} is no picture that can be read: it is {wrong_with(data)}; give PNG, JPEG, "
            "BMP, TIFF or WebP"
        )
    return picture if picture.dtype == np.uint8 else ArraySource(picture[None]).read(0)


def _refuse_pages(path: Path, data: bytes) -> None:
    """UsageError where a file holds several pages or frames; a phone's extra JPEGs are none."""
    import io

    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            # Not all formats know of pages; MPO is a JPEG with previews behind it.
            pages = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    except Exception:  # Pillow raises any kind on damaged files
        return  # decoding says what is wrong
    if pages > 1:
        raise UsageError(f"{path} holds {pages} pictures, not one; {_HINT}")


def _refuse_video(path: Path) -> None:
    """UsageError where a file that is no picture is a video."""
    from sam2track.frames.containers import open_container

    try:
        with open_container(path) as container:
            # FFmpeg takes pictures and text for videos, too.
            names = container.format.name
            guessed = names in ("image2", "tty") or names.endswith("_pipe")
            moving = bool(container.streams.video) and not guessed
    except (OSError, ValueError):  # av's own errors are among these
        return
    if moving:
        raise UsageError(f"{path} is a video, not a picture; {_HINT}")
