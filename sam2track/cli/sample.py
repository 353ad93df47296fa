"""``sam2track sample``: write a sample clip anywhere."""

from __future__ import annotations

from pathlib import Path

import click

from sam2track.cli.paths import PATH
from sam2track.errors import UsageError
from sam2track.samples import copy_sample, sample_names

__all__ = ["command"]


@click.command("sample")
@click.argument("name", required=False)
@click.option("-o", "--output", type=PATH, help="Folder to make; NAME by default.")
def command(name: str | None, output: Path | None) -> None:
    """Write sample NAME: a clip, its prompts and its ground truth.

    Without NAME the samples are listed.
    """
    if name is None:
        if output is not None:
            raise UsageError(f"a folder {output}, but no sample for it; name one")
        for known in sample_names():
            click.echo(known)
        return
    for path in copy_sample(name, output or Path(name)):
        if path.suffix != ".png":
            click.echo(str(path))
