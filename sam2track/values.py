"""Whether the values of a project are of the kinds that are written there.

SQLite and JSON take any value in any place; what is of another kind is refused when a project is
opened, in one place, so that nothing that reads it has to ask again.
"""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sam2track.errors import UsageError

__all__ = ["check_meta", "check_rows", "check_step", "whole_number"]

Kind = Callable[[Any], bool]

_READING = ("fps", "axes", "channel", "z", "limits", "key", "stream", "hwaccel")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _length(value: Any) -> bool:
    """Of time or space: what is told by it stays finite, whatever the frame or the pixel."""
    return _number(value) and abs(value) <= 1e12


def _pixel(value: Any) -> bool:
    return _length(value) or (_list_of(_length)(value) and len(value) == 2)


def _whole(value: Any) -> bool:
    return type(value) is int


def _or_none(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


def _list_of(kind: Kind) -> Kind:
    return lambda value: isinstance(value, list) and all(map(kind, value))


def _name(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _reading(value: Any) -> bool:
    return isinstance(value, dict) and all(key in _READING for key in value)


def _detections(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(frames := value.get("frames"), dict)
        and all(key.isdecimal() and _boxes(of) for key, of in frames.items())
        and _list_of(lambda pair: _list_of(_whole)(pair) and len(pair) == 2)(value.get("by_hand"))
    )


def _boxes(value: Any) -> bool:
    return _list_of(lambda part: isinstance(part, list))(value) and len(value) == 3


_META: dict[str, Kind] = {
    "height": lambda value: _whole(value) and value > 0,
    "width": lambda value: _whole(value) and value > 0,
    "frames": lambda value: _whole(value) and value >= 0,
    "source": _name,
    "source_path": _name,
    "precision": _or_none(_name),
    "image_size": _or_none(_whole),
    "reading": _reading,
    "detections": _detections,
    "carried": _list_of(_whole),
    "hidden": _list_of(_whole),
    "frame_interval_s": _or_none(_length),
    "pixel_size_um": _or_none(_pixel),
}

_STEP: dict[str, Kind] = {
    "said": lambda value: isinstance(value, dict),
    "daughters": lambda value: isinstance(value, dict),
    "start": _or_none(_whole),
    "stop": _or_none(_whole),
    "objects": _or_none(_list_of(_whole)),
    "of": _whole,
}

# By an index the largest of a column is at hand, and texts and blobs are larger than numbers.
_ROWS = (
    ("id of an object", "SELECT max(id) FROM all_objects"),
    ("object of a prompt", "SELECT max(object) FROM all_prompts"),
    ("frame of a prompt", "SELECT max(frame) FROM all_prompts"),
    ("object of a result", "SELECT max(object) FROM all_results"),
    ("frame of a result", "SELECT max(frame) FROM all_results"),
    *(
        (f"{name} of an object", f"SELECT max({name}) FROM all_objects")
        for name in ("birth", "ending", "mother", "locked", "forward", "backward")
    ),
)


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
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{what} {value!r}; give a whole number") from None


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raise ValueError, or KeyError, where settings are not of the kinds that they are of."""
    for key in ("height", "width", "frames"):
        _ = meta[key]
    for key, kind in _META.items():
        if key in meta and not kind(meta[key]):
            raise ValueError(f"its {key} is {meta[key]!r:.100}; take a copy of it")


def check_rows(db: sqlite3.Connection) -> None:
    """Raise ValueError where numbers and names are none."""
    for what, query in _ROWS:
        (most,) = db.execute(query).fetchone()
        if most is not None and not isinstance(most, int):
            raise ValueError(f"the {what} is {most!r:.100}; take a copy of it")
    for what, query in (
        # Compared with each row: a blob of megabytes would be read as often.
        (
            "step in force",
            "SELECT typeof(position) FROM head WHERE typeof(position) != 'integer'",
        ),
        ("name of an object", "SELECT name FROM all_objects WHERE typeof(name) != 'text'"),
        (
            "time of a frame",
            "SELECT seconds FROM times WHERE typeof(seconds) != 'real' OR abs(seconds) = 9e999",
        ),
    ):
        for (value,) in db.execute(f"{query} LIMIT 1"):
            raise ValueError(f"the {what} is {value!r:.100}; take a copy of it")


def check_step(step: int, action: Any, done: Any) -> None:
    """Raise ValueError where what a step of the journal says is of other kinds."""
    if not isinstance(action, dict) or {"step", "action"} & action.keys():
        raise ValueError(f"step {step} of its journal is {action!r:.100}; take a copy of it")
    for key, kind in _STEP.items():
        if key in action and not kind(action[key]):
            raise ValueError(
                f"step {step} of its journal says {key} {action[key]!r:.100}; take a copy of it"
            )
    if not _or_none(_whole)(done):
        raise ValueError(f"step {step} of its journal ran {done!r:.100}; take a copy of it")
