"""``sam2track open``: napari with a video, a folder of pictures, a stack or a project."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from sam2track.cli.paths import PATH
from sam2track.cli.source_options import read_reading, reading_options
from sam2track.cli.telling import warn
from sam2track.errors import DeviceError, UsageError
from sam2track.frames.headers import kind_of_file

__all__ = ["command"]


@click.command("open")
@click.argument("path", required=False, type=PATH)
@reading_options
def command(path: Path | None, **said: Any) -> None:
    """Open PATH in napari.

    It is a video, a folder of pictures, a stack, a project (.s2t) or its folder.
    """
    reading = {name: value for name, value in read_reading(said).items() if value is not None}
    if path is not None and path.is_dir() and (path / "project.s2t").is_file():
        path = path / "project.s2t"
    if path is not None and not path.exists():
        raise UsageError(
            f"there is no file at {path}; give a video, a folder of pictures, a stack or a project "
            "(.s2t)"
        )
    if path is not None and path.suffix != ".s2t" and kind_of_file(path) == "SQLite":
        raise UsageError(
            f"{path} may be a project, which the viewer knows by a name that ends in .s2t; rename "
            f"it to {path.name}.s2t"
        )
    if reading and (path is None or path.suffix == ".s2t"):
        what = "nothing" if path is None else "a project, which says it itself"
        raise UsageError(
            f"{', '.join(f'--{name}' for name in reading)} say how to read {what}; leave it out"
        )
    try:
        from qtpy import QtCore  # noqa: F401  # without a binding qtpy raises of its own

        from napari_sam2track.launch import launch
    except ImportError as error:
        raise UsageError(
            "napari or its Qt is not installed; run: pip install 'sam2track[all]'"
        ) from error
    if path is not None and path.suffix == ".s2t":
        from sam2track.project import Project

        Project.open(path).close()  # says what is wrong with it, before a window opens
    elif path is not None:
        from sam2track.frames.opening import open_source, options_of

        if reading or "stream" not in options_of(path):  # of a video it would take its time
            source = open_source(path, **reading)  # so, too, where it holds no pictures
            source.close()
            warn(*source.warnings)  # that a file holds other positions, which no window shows
    from sam2track.display import display, named

    if sys.platform.startswith("linux") and display() is None:
        for name in named():
            raise DeviceError(
                f"the display {name} does not answer; it may be of an earlier login or of another "
                "machine: set DISPLAY to one that is there (over ssh: ssh -X); all other commands "
                "do without"
            )
        raise DeviceError(
            "there is no display to open a window on; work at a desktop, or set DISPLAY (over ssh: "
            "ssh -X); all other commands do without"
        )
    launch(path, **reading)
