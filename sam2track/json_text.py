"""JSON from anywhere, and in one line what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["parsed"]


def parsed(text: str) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    ValueError
        Where it is none, is nested too deeply or holds a number of thousands of digits. The
        message is for people: Python's own tell how to read such a thing all the same.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    except ValueError as error:
        raise ValueError("its JSON holds a number of thousands of digits") from error
