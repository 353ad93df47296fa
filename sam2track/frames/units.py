"""What files say in ways of their own: lengths, times, names of channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sam2track.arguments import is_length

__all__ = ["channel_names", "micrometres", "pixel_size", "seconds"]

_MICROMETRES = {
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "µm": 1.0,  # the micro sign
    "μm": 1.0,  # the Greek letter
    "\\u00b5m": 1.0,  # as ImageJ writes it
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "inch": 25_400.0,
}
_SECONDS = {
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}


def channel_names(told: Iterable[object], key: str) -> tuple[str, ...]:
    """Return a name for each channel, its number where it has none; no names where none has one.

    Without the number the names behind it would be those of other channels.
    """
    names = [channel.get(key) if isinstance(channel, Mapping) else None for channel in told]
    if not any(names):
        return ()
    return tuple(str(name or number) for number, name in enumerate(names))


def micrometres(value: object, unit: object) -> float | None:
    """Return a length in micrometres; None where the unit is not known or it can be no length."""
    return _converted(value, unit, _MICROMETRES)


def pixel_size(
    height: tuple[object, object], width: tuple[object, object]
) -> tuple[float, float] | None:
    """Return both in micrometres, of a value and a unit each; None where one is no length."""
    sides = micrometres(*height), micrometres(*width)
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def seconds(value: object, unit: object) -> float | None:
    """Return a time in seconds; None where the unit is not known or it can be no time."""
    return _converted(value, unit, _SECONDS)


def _converted(value: object, unit: object, table: dict[str, float]) -> float | None:
    factor = table.get(str(unit).strip().lower())
    try:
        number = float(value) * (factor or 0)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if is_length(number) else None
