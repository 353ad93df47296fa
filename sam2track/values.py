"""Whether the values of a project are of the kinds that are written there.

SQLite and JSON take any value in any place; what is of another kind is refused when a project is
opened, in one place, so that nothing that reads it has to ask again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.masks import MAX_PIXELS

__all__ = [
    "check_meta",
    "check_new",
    "check_rows",
    "check_settings",
    "check_step",
]

Kind = Callable[[Any], bool]

_NEEDED = ("height", "width", "frames")

_READING = ("fps", "axes", "channel", "z", "limits", "key", "stream", "hwaccel", "crop")


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
    return (
        isinstance(value, dict)
        and all(key in _READING for key in value)
        and _or_none(_crop)(value.get("crop"))
    )


def _crop(value: Any) -> bool:
    return _list_of(_whole)(value) and len(value) == 4


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
    "detected": _list_of(_whole),
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


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raise ValueError, or KeyError, where settings are not of the kinds that they are of."""
    for key in _NEEDED:
        _ = meta[key]
    odd = _odd(meta)
    if odd is not None:
        raise ValueError(f"its {odd} is {meta[odd]!r:.100}; take a copy of it")


def _odd(meta: Mapping[str, Any]) -> str | None:
    """Which setting is not of the kind that it is of; None where all are."""
    odd = (key for key, kind in _META.items() if key in meta and not kind(meta[key]))
    return next(odd, None)


def check_settings(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are read again.

    Raises
    ------
    UsageError
        Where they are no JSON values, or not of the kinds that they are of.
    """
    try:
        read: dict[str, Any] = json.loads(json.dumps(dict(meta)))
        "".join(read).encode()  # half a surrogate pair is none that SQLite takes for a key
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"meta is not in JSON values: {error}") from error
    key = _odd(read)
    if key is not None:
        raise UsageError(
            f"meta says {key} {read[key]!r:.100}, which it cannot be; see docs/project-file.md"
        )
    for key, value in read.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError as error:  # Python reads again what it writes of these, others do not
            raise UsageError(
                f"meta is not in JSON values: {key} is {value!r:.100}; give finite numbers"
            ) from error
    return read


def check_new(meta: Mapping[str, Any], times: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the times of a new project, (T,) float64.

    Raises
    ------
    UsageError
        Where they, or its settings, are such that it would be called damaged later.
    """
    read = check_settings(meta)
    lacks = [key for key in _NEEDED if key not in read]
    if lacks:
        raise UsageError(f"meta lacks {', '.join(lacks)}; say them of the source")
    if read["height"] * read["width"] > MAX_PIXELS:
        raise UsageError(
            f"frames of {read['height']} x {read['width']} pixels; a mask may have "
            f"{MAX_PIXELS}: make them smaller"
        )
    try:
        seconds = np.asarray(times, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"times {times!r:.100}; give seconds, one for each frame") from error
    if seconds.shape != (read["frames"],):
        count = len(seconds) if seconds.ndim == 1 else f"{seconds.shape}"
        raise UsageError(f"{count} times for {read['frames']} frames; give one for each")
    if not (np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()):
        raise UsageError("times that are not finite or do not rise; give seconds from the first")
    return seconds


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
        for (value,) in db.execute(f"{query} LIMIT 1").fetchall():
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
