"""Text for a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(what: object) -> str:
    """Return text without control characters: those of a name would move the terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in str(what))
