"""What windows are shown on, on Linux, where Qt ends the process if there is nothing."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

__all__ = ["display", "named"]

_PATIENCE = 3.0  # seconds, for an X server at the other end of a network
_X11 = re.compile(r"(?:unix|(?P<host>[^/]*)):(?P<number>\d+)(?:\.\d+)?")
_TCP = 6000  # port of display 0


def named() -> list[str]:
    """Displays that the environment names, whether they answer or not."""
    drawn = os.environ.get("QT_QPA_PLATFORM", "").partition(":")[0]
    if drawn and not drawn.startswith(("xcb", "wayland")):
        return [drawn]  # such as offscreen, which wants none
    given = (os.environ.get(name) for name in ("WAYLAND_DISPLAY", "DISPLAY"))
    return [name for name in given if name]


def display() -> str | None:
    """Return what windows are shown on; None where nothing answers, and Qt would abort.

    A name alone says little: a terminal that was kept over a login, or a container, often has
    one of a display that is not there.
    """
    return next((name for name in named() if _answers(name)), None)


def _answers(name: str) -> bool:
    x11 = _X11.fullmatch(name)
    if x11 is None:
        if name != os.environ.get("WAYLAND_DISPLAY"):
            return True  # of a kind that only Qt knows
        return _connects(Path(os.environ.get("XDG_RUNTIME_DIR", ""), name))
    number = int(x11["number"])
    if x11["host"]:
        try:
            with socket.create_connection((x11["host"], _TCP + number), _PATIENCE):
                return True
        except (OSError, OverflowError, UnicodeError):  # the last of names that no host can have
            return False
    place = f"/tmp/.X11-unix/X{number}"
    # Servers in another container are met by a name without a file.
    return _connects(Path(place)) or _connects(Path("\0" + place))


def _connects(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
        there.settimeout(_PATIENCE)
        try:
            there.connect(str(place))
        except (OSError, ValueError):
            return False
    return True
