"""Whether what a caller gave is of the kind that is asked for; what is not is told at once."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Collection, Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Literal, TypeGuard, get_args

import numpy as np

from sam2track.errors import UsageError

__all__ = [
    "DIRECTIONS",
    "LENGTHS",
    "Direction",
    "check_choice",
    "check_flag",
    "check_no_address",
    "check_path",
    "check_plane",
    "is_address",
    "is_length",
    "is_number",
    "said_crop",
    "said_limits",
    "said_names",
    "said_plane",
    "some_of",
    "whole_number",
]


Direction = Literal["forward", "backward", "both"]
_LEAST, _MOST = 1e-9, 1e12
LENGTHS = f"a number above 0, between {_LEAST:g} and {_MOST:g}"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


def whole_number(what: str, value: object) -> int:
    """Return a whole number as an int, also one of numpy: SQLite would find nothing by that.

    Raises
    ------
    UsageError
        Where it is none; ``what`` says of what it is the number.
    """
    try:
        if isinstance(value, bool | np.bool_):  # which Python takes for 0 and 1
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{what} {value!r}; give a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise UsageError(f"{what} {number}; give one below 2**63")  # as SQLite has them
    return number


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number, of numpy as well; truths are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_length(value: object) -> TypeGuard[float]:
    """Whether it can be the side of a pixel or the time between frames: `LENGTHS`.

    Squares of such, and times and speeds by them, stay numbers, and a TIFF can hold them.
    """
    return is_number(value) and _LEAST <= value <= _MOST


def check_choice(what: str, value: object, allowed: Sequence[str]) -> None:
    """Check that a value is one of some words.

    Raises
    ------
    UsageError
        Where it is none of them.
    """
    if value not in allowed:
        raise UsageError(f"{what} {value!r:.60}; allowed are {', '.join(allowed)}")


def some_of(write: Iterable[str], allowed: Collection[str]) -> list[str]:
    """Return the outputs that are to be written, in the order of all that there are.

    Raises
    ------
    UsageError
        Where one is none of these.
    """
    if not isinstance(write, Iterable):
        raise UsageError(f"cannot write {write!r}; give some of {', '.join(allowed)}, or []")
    wanted = [write] if isinstance(write, str) else list(write)
    for name in wanted:
        if name not in allowed:
            raise UsageError(f"cannot write {name!r}; allowed are {', '.join(allowed)}")
    return [name for name in allowed if name in wanted]


def check_flag(what: str, value: object) -> bool:
    """Return a truth as one of Python's own, which JSON can hold.

    Raises
    ------
    UsageError
        Where it is none: "no" would say yes.
    """
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"{what} {value!r:.60}; give True or False")
    return bool(value)


def is_address(name: str) -> bool:
    """Whether a name begins as an address does, such as ``s3://…``."""
    return bool(_ADDRESS.match(name))


def check_path(what: str, value: object) -> Path:
    """Return a path as a Path.

    Raises
    ------
    UsageError
        Where it is none that a system takes: not a text or path, empty, with a character that
        no name may have, or an address.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise UsageError(f"{what} is {value!r:.60}; give a path")
    if not os.fspath(value):
        raise UsageError(f"{what} is empty; name a file or a folder, . for the current one")
    if "\0" in os.fspath(value):
        raise UsageError(f"{what} has a null character in its name: {os.fspath(value)!r:.100}")
    check_no_address(what, os.fspath(value))
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:  # half of a pair, which JSON may hold
        raise UsageError(f"{what} is {value!r:.60}, which no file can be named") from error
    return Path(value)


def check_no_address(what: str, name: str) -> None:
    """Raise a UsageError where a name is an address: a folder ``s3:`` would be made of it."""
    if is_address(name) and not os.path.lexists(name):
        raise UsageError(
            f"{what} is {name}, an address; only outputs of `sam2track batch` may be: name a file "
            "or a folder"
        )


def check_plane(z: int | str) -> None:
    """Check that a Z is one that some stack may have: a number, or ``max``.

    Raises
    ------
    UsageError
        Where it is neither.
    """
    if z != "max" and whole_number("z", z) < 0:
        raise UsageError(f"z {z}; give a whole number from 0, or max")


def said_plane(text: str) -> int | Literal["max"]:
    """Return the Z that a text says: a number, or ``max``.

    Raises
    ------
    UsageError
        Where it says neither.
    """
    if text == "max":
        return "max"
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"z {text!r}; give a whole number from 0, or max") from error


def said_names(text: str) -> list[str]:
    """Return the names that a text has between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def said_crop(text: str) -> tuple[int, ...]:
    """Return the rectangle that a text says: ``X0,Y0,X1,Y1``, whole numbers.

    Raises
    ------
    UsageError
        Where it says none.
    """
    try:
        x0, y0, x1, y1 = map(int, text.split(","))
    except ValueError as error:
        raise UsageError(f"crop {text!r}; give X0,Y0,X1,Y1, whole numbers") from error
    return x0, y0, x1, y1


def said_limits(text: str) -> tuple[float, float] | Literal["per-frame"]:
    """Return the limits that a text says: ``LO,HI``, or ``per-frame``.

    Raises
    ------
    UsageError
        Where it says neither.
    """
    if text == "per-frame":
        return "per-frame"
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise UsageError(f"limits {text!r}; give LO,HI or per-frame") from error
    return low, high
