"""Text for a terminal."""

from __future__ import annotations

import logging

__all__ = ["hush", "one_line", "printable"]


def printable(what: object) -> str:
    """Return text without control characters: those of a name would move the terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in str(what))


def one_line(what: object) -> str:
    """Return a message as one line without control characters, which a file's names may hold.

    Bytes of a name that are no text stay; standard error writes them as escapes.
    """
    text = " ".join(str(what).split())
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else "?" for c in text)


def hush(name: str) -> None:
    """Let what a library logs not be written beside what is told, unless somebody listens."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
