"""Options that say how a source is read; shared by the commands that take one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sam2track.errors import UsageError

__all__ = ["read_reading", "reading_options"]


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; ``read_reading`` makes of them what ``run`` takes."""
    for option in reversed(
        (
            click.option("--axes", metavar="TZCYX", help="Of a stack: a letter for each axis."),
            click.option(
                "--channel", multiple=True, metavar="N[,N]", help="Of a stack: one to three."
            ),
            click.option("--z", metavar="N|max", help="Of a stack: a plane, or the brightest."),
            click.option(
                "--limits", metavar="LO,HI|per-frame", help="Values that become black and white."
            ),
            click.option(
                "--key", help="Image, position, scene or array of a file; names in a folder."
            ),
            click.option("--crop", metavar="X0,Y0,X1,Y1", help="Only this part of each picture."),
            click.option("--stream", type=click.IntRange(min=0), help="Which video of a file."),
            click.option("--hwaccel", metavar="NAME", help="Decode by hardware, such as cuda."),
        )
    ):
        command = option(command)
    return command


def read_reading(said: dict[str, Any]) -> dict[str, Any]:
    """Take the options out of what a command was given; return arguments for ``open_source``.

    Raises
    ------
    UsageError
        Where ``z``, ``limits`` or ``crop`` are nothing that can be.
    """
    from sam2track.arguments import said_crop, said_limits, said_names, said_plane

    axes, key, stream, hwaccel = (said.pop(n) for n in ("axes", "key", "stream", "hwaccel"))
    crop = said.pop("crop")
    channel, z, limits = (said.pop(name) for name in ("channel", "z", "limits"))
    channels = [name for text in channel for name in said_names(text)]
    if channel and not channels:
        raise UsageError(f"channel {channel[0]!r}; give numbers from 0, or names")
    return {
        "axes": axes,
        "channel": channels or None,
        "z": None if z is None else said_plane(z),
        "limits": None if limits is None else said_limits(limits),
        "key": key,
        "stream": stream,
        "hwaccel": hwaccel,
        "crop": None if crop is None else said_crop(crop),
    }
