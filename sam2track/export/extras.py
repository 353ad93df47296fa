"""Packages that only some formats want."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sam2track.errors import UsageError

__all__ = ["needed"]


def needed(module: str, what: str, extra: str = "export") -> Any:
    """Import a package.

    Raises
    ------
    UsageError
        Where it is not installed; the error names the extra that brings it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{what} wants {module.split('.')[0]}, which is not installed; "
            f"pip install 'sam2track[{extra}]'"
        ) from error
