"""JSON from anywhere, and in one line what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

__all__ = ["parsed"]


class _Twice(ValueError):
    """A key stands twice, of which Python's reader drops one without a word."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Twice(f"its JSON has the key {twice[:60]!r} twice in one object; keep one")
    return found


def parsed(text: str) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    ValueError
        Where it is none, is nested too deeply, has a key twice in an object or holds a number of
        thousands of digits. The message is for people: Python's own tell how to read
        such a thing all the same.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    except _Twice:
        raise
    except ValueError as error:
        raise ValueError("its JSON holds a number of thousands of digits") from error
