"""From any numbers to eight bits, by the same limits in every frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.frames.source import Frame

__all__ = ["LOOKED_AT", "Limits", "check_limits", "found_limits", "looked_at", "sample", "scaled"]

Limits = tuple[float, float]

LOOKED_AT = 32
"""Frames, spread over the whole of a sequence, from which limits are found."""

_SAMPLES = 1 << 22
_PERCENTILES = (0.1, 99.9)
_STRIP = 1 << 16  # values that are scaled at once: as floats they stay in the processor's cache
# Differences of anything larger would leave the range of floats.
_LARGEST = 1e300


def check_limits(limits: object) -> tuple[Limits, ...] | Literal["per-frame"] | None:
    """Return limits as pairs.

    Parameters
    ----------
    limits : None, "per-frame", (low, high) or a sequence of such pairs
        Values that become 0 and 255; pairs, one for each channel shown.

    Raises
    ------
    UsageError
        Where they are nothing of that, not finite, or the first does not lie below the second.
    """
    if limits is None:
        return None
    if isinstance(limits, str) and limits == "per-frame":
        return "per-frame"
    try:
        table = np.array(limits, np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise UsageError(f"limits {limits!r}; give two numbers or 'per-frame'") from error
    with np.errstate(invalid="ignore", over="ignore"):
        if not len(table) or not (np.isfinite(table[:, 1] - table[:, 0])).all():
            raise UsageError(f"limits {limits!r}; give two finite numbers")
    if not (table[:, 0] < table[:, 1]).all():
        raise UsageError(f"limits {limits!r}; the first must lie below the second")
    return tuple((float(low), float(high)) for low, high in table)


def looked_at(count: int) -> list[int]:
    """Return up to ``LOOKED_AT`` frame numbers spread over ``count``."""
    return [int(f) for f in np.linspace(0, count - 1, min(LOOKED_AT, count)).round()]


def sample(picture: npt.NDArray[Any], count: int) -> npt.NDArray[np.float64]:
    """Return what of one of ``count`` pictures is looked at; NaN and infinite values apart."""
    step = max(1, count * picture.size // _SAMPLES)
    step += step % 3 == 0  # lest it meets one colour only
    values = picture.ravel()[::step]
    finite = np.asarray(values[np.isfinite(values)], np.float64)
    return finite.clip(-_LARGEST, _LARGEST)


def found_limits(samples: Sequence[npt.NDArray[np.float64]]) -> Limits:
    """Return the 0.1 and 99.9 percentiles of samples."""
    values = np.concatenate(samples)
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, _PERCENTILES).tolist()
    if low == high:  # nearly all is background: the rest is what matters
        low, high = float(values.min()), float(values.max())
    return low, high if high > low else max(low + 1, math.nextafter(low, math.inf))


def scaled(values: npt.NDArray[Any], limits: Limits) -> Frame:
    """Return values as bytes: the lower limit is 0, the upper 255, NaN 0."""
    low, high = limits
    picture = np.empty(values.shape, np.uint8)
    step = max(1, _STRIP // max(1, math.prod(values.shape[1:])))
    for start in range(0, len(values), step):
        unit = values[start : start + step].astype(np.float64)
        np.clip(unit, low, high, out=unit)
        unit -= low
        unit /= high - low
        np.nan_to_num(unit, copy=False)
        unit *= 255
        picture[start : start + step] = np.rint(unit, out=unit)
    return picture
