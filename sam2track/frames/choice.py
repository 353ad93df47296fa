"""Which of several images a file holds is read: positions, scenes, series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sam2track.errors import UsageError

__all__ = ["Choice", "choose", "listed"]

_LISTED = 12  # that a message names


class Choice(NamedTuple):
    """One of several images.

    Attributes
    ----------
    number : int
        From 0.
    key : str or None
        What says the same again; None of the first, which nothing has to say.
    warnings : list of str
        That there are others, where nobody has chosen.
    """

    number: int
    key: str | None
    warnings: list[str]


def choose(path: Path, what: str, names: Sequence[str], key: str | None) -> Choice:
    """Choose an image by its name or number, the first where neither is given.

    Parameters
    ----------
    path : Path
        Of the file, for messages.
    what : str
        What its images are, more than one of them: ``positions``.
    names : sequence of str
        A name for each, empty where it has none. One with slashes may be said by what stands behind
        the last of them.
    key : str, optional
        A name that one alone has, or else a number from 0.

    Raises
    ------
    UsageError
        Where no image or several are called so.
    """
    if key is None:
        told = (
            f"it holds {len(names)} {what}{listed(names)}; the first is taken; key (--key) chooses"
        )
        return Choice(0, None, [told] if len(names) > 1 else [])
    found = [n for n, name in enumerate(names) if name == key]
    # Names of a plate end in numbers, too; 007 is none.
    if not found and key.isdecimal() and str(int(key)) == key and int(key) < len(names):
        found = [int(key)]
    found = found or [n for n, name in enumerate(names) if key and name.split("/")[-1] == key]
    if len(found) != 1:
        called = f"{len(found)} {what} called {key!r}" if found else f"no {key!r} among its {what}"
        numbers = f"0 to {len(names) - 1}" if len(names) > 1 else "0"
        raise UsageError(
            f"{path} holds {called}{listed(names)}; give the name of one, or its number, "
            f"{numbers}, as key (--key)"
        )
    name = names[found[0]]
    unique = bool(name) and names.count(name) == 1
    return Choice(found[0], None if not found[0] else name if unique else str(found[0]), [])


def listed(names: Sequence[str]) -> str:
    """Names in brackets, as far as there is room for them; nothing where there are none."""
    if not any(names):
        return ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f" ({', '.join(name or str(n) for n, name in enumerate(names[:_LISTED]))}{more})"
