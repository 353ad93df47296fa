"""What callers give for the parts of a prompt, as it holds them; PromptError where it cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError
from sam2track.masks import Part

__all__ = ["box_of", "flag_of", "labels_of", "mask_values", "part_of", "points_of"]


def _number(value: object, what: str) -> float:
    if isinstance(value, (str, bytes, bool, np.bool_)):
        raise PromptError(f"{what} is {value!r}, not a number")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor of several
        raise PromptError(f"{what} is {value!r}, not a number") from None
    except OverflowError:
        raise PromptError(f"{what} is too large") from None
    if not math.isfinite(number):
        raise PromptError(f"{what} is {number}, not a finite number")
    return number


def flag_of(name: str, value: object) -> bool:
    """One of Python's own, which JSON can hold."""
    if not isinstance(value, (bool, np.bool_)):  # "no" would say yes
        raise PromptError(f"{name} {value!r:.60}; give True or False")
    return bool(value)


def points_of(given: Any) -> tuple[tuple[float, float], ...]:
    """Clicks (x, y)."""
    points = []
    for point in _sequence(given, "points"):
        pair = _sequence(point, "a point")
        if len(pair) != 2:
            raise PromptError(f"a point has {len(pair)} values; give x and y")
        points.append((_number(pair[0], "a point's x"), _number(pair[1], "a point's y")))
    return tuple(points)


def labels_of(given: Any, count: int) -> tuple[int, ...]:
    """A label for each of `count` points; 1 for all where none is given."""
    values = _sequence(given, "labels")
    if not len(values):
        return (1,) * count
    if len(values) != count:
        raise PromptError(f"{count} points but {len(values)} labels; give one for each point")
    for value in values:
        try:
            fits = not isinstance(value, (Sequence, np.ndarray)) and value in (0, 1)
        except (TypeError, ValueError, RuntimeError):  # as of pandas.NA, or a tensor of several
            fits = False
        if not fits:
            raise PromptError(f"label {value!r}; allowed are 1 (object) and 0 (background)")
    return tuple(int(value) for value in values)


def _sequence(given: Any, what: str) -> Sequence[Any]:
    if hasattr(given, "__array__"):  # numpy's, and tensors
        return list(np.atleast_1d(_array(given, what)))
    # What has no order, or yields keys, would give numbers in a place that nobody meant.
    unordered = isinstance(given, (str, bytes, Mapping, Set))
    if unordered or not isinstance(given, Iterable):
        raise PromptError(f"{what} is {given!r}, not a list")
    return tuple(given)


def _array(given: Any, what: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged; of a GPU; with a gradient
        raise PromptError(f"{what} cannot be taken as an array: {error}") from None


def box_of(given: Any) -> tuple[float, float, float, float]:
    """A box (x0, y0, x1, y1) that has an area."""
    values = _sequence(given, "a box")
    if len(values) != 4:
        raise PromptError(f"a box has {len(values)} values; give x0, y0, x1, y1")
    x0, y0, x1, y1 = (_number(value, "a box's side") for value in values)
    if not (x0 < x1 and y0 < y1):
        raise PromptError(
            f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) has no area; give x0 < x1 and y0 < y1"
        )
    return x0, y0, x1, y1


def mask_values(given: Any) -> npt.NDArray[Any]:
    """A mask's values: of logits and probabilities hardly one is 0, all would be the object."""
    values = _array(given, "the mask")
    if values.dtype.kind not in "bui":
        raise PromptError(
            f"the mask holds {values.dtype}; it must be bool, or whole numbers, "
            f"as logits > 0 and probabilities > 0.5 are"
        )
    return values


def part_of(given: Any) -> Part:
    """What of a mask lies in its box."""
    if isinstance(given, Part):
        part = given
    else:
        mask = mask_values(given)
        if mask.ndim != 2:
            raise PromptError(f"a mask has shape {mask.shape}; give (height, width)")
        part = Part.of(mask)
    if not part.part.size:
        raise PromptError("the mask is empty; to say that the object is not there use absent")
    return part
