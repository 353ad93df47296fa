"""The grammar of prompts on the command line: ``OBJ:VALUE[@T]``."""

from __future__ import annotations

import math

from sam2track.errors import PromptError
from sam2track.prompts import Prompt, check_object_id

__all__ = ["parse_absent", "parse_box", "parse_point", "parse_tagged", "split_frame"]


def parse_tagged(text: str, *, default_frame: int) -> tuple[int, str, int]:
    """Split ``OBJ:VALUE[@T]`` into object, value and frame.

    OBJ ends at the first ``:``; T is the digits after the last ``@``.
    """
    head, colon, rest = text.partition(":")
    if not colon or not _is_whole(head.strip()):
        raise PromptError(f"{text!r}; expected OBJ:VALUE with a whole number before the ':'")
    value, frame = split_frame(rest, default_frame=default_frame)
    if not value:
        raise PromptError(f"{text!r} says nothing after the ':'")
    return check_object_id(int(head)), value, frame


def split_frame(text: str, *, default_frame: int) -> tuple[str, int]:
    """Split ``VALUE[@T]``; an ``@`` without digits behind it belongs to the value."""
    value, at, digits = text.rpartition("@")
    if at and digits.isascii() and digits.isdecimal():
        if not _is_whole(digits):
            raise PromptError(f"{text!r}; the frame behind the '@' is too large")
        return value, int(digits)
    return text, default_frame


def _is_whole(text: str) -> bool:
    # Python refuses to read numbers of thousands of digits.
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _numbers(value: str, text: str, count: int, shape: str) -> list[float]:
    parts = value.split(",")
    if len(parts) != count:
        raise PromptError(f"{text!r} has {len(parts)} numbers; expected {shape}")
    try:
        numbers = [float(part) for part in parts]
        # Python reads an underscore as part of a number, and nan and inf as numbers.
        if "_" in value or not all(map(math.isfinite, numbers)):
            raise ValueError
        return numbers
    except ValueError:
        raise PromptError(f"{text!r} is not in numbers; expected {shape}") from None


def parse_point(text: str, *, default_frame: int) -> tuple[int, tuple[float, float], int]:
    """Read ``OBJ:X,Y[@T]`` into (object, (x, y), frame)."""
    object_id, value, frame = parse_tagged(text, default_frame=default_frame)
    x, y = _numbers(value, text, 2, "OBJ:X,Y[@T]")
    return object_id, (x, y), frame


def parse_box(
    text: str, *, default_frame: int
) -> tuple[int, tuple[float, float, float, float], int]:
    """Read ``OBJ:X0,Y0,X1,Y1[@T]`` into (object, box, frame)."""
    object_id, value, frame = parse_tagged(text, default_frame=default_frame)
    x0, y0, x1, y1 = _numbers(value, text, 4, "OBJ:X0,Y0,X1,Y1[@T]")
    Prompt(box=(x0, y0, x1, y1))  # which says what is wrong with it
    return object_id, (x0, y0, x1, y1), frame


def parse_absent(text: str) -> tuple[int, int]:
    """Read ``OBJ@T`` into (object, frame)."""
    head, at, digits = text.partition("@")
    if not at or not _is_whole(head) or not _is_whole(digits):
        raise PromptError(f"{text!r}; expected OBJ@T")
    return check_object_id(int(head)), int(digits)
