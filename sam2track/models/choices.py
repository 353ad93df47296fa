"""What may be asked of a model: checked without torch, before work begins."""

from __future__ import annotations

import os
import re

from sam2track.arguments import check_choice, whole_number
from sam2track.errors import UsageError
from sam2track.models.zoo import resolve

__all__ = [
    "PRECISIONS",
    "check_device",
    "check_image_size",
    "check_model",
    "check_precision",
    "is_there",
]

PRECISIONS = ("fp32", "bf16", "fp16")


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file or folder; none is where no name can be so long."""
    return os.path.exists(path)  # noqa: PTH110  Path's own raises for such a name


def check_device(device: object) -> None:
    """Check what a device is called; whether there is one is another matter.

    Raises
    ------
    UsageError
        Where no device is called so.
    """
    # Of three digits torch would take what is left of a byte: cuda:256 for cuda:0.
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:(0|[1-9]\d?))?", str(device)):
        raise UsageError(f"device {device!r}; allowed are auto, cpu, cuda, cuda:N, mps")


def check_model(name: str) -> None:
    """Check a model's name, where it cannot be that of a file, a folder or a repository.

    Raises
    ------
    UnknownModelError
        With the nearest name and the list of all.
    """
    path = re.search(r"[/\\]|^[.~]|\.(pt|pth|safetensors)$", name) or is_there(name)
    if not path and name != "auto":
        resolve(name)


def check_precision(precision: object) -> None:
    """Check a precision; UsageError where there is none of that name."""
    check_choice("precision", precision, ("auto", *PRECISIONS))


def check_image_size(image_size: object) -> int | None:
    """Return the side of a model's square, or None where none is asked for.

    Raises
    ------
    UsageError
        Where it is no multiple of 64 that a model may have.
    """
    size = None if image_size is None else whole_number("image size", image_size)
    if size is not None and (size < 64 or size % 64 or size > 4096):
        raise UsageError(f"image size {size}; allowed are multiples of 64 between 64 and 4096")
    return size
