"""``sam2track replay``: a project's journal done again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import Bar, interrupt_on_sigterm, print_outcome
from sam2track.cli.telling import tell

__all__ = ["command"]


@click.command("replay")
@click.argument("project", type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="Folder.")
@click.option("--source", help="The video, if no longer where the project says.")
@click.option("--model", help="The same model's name or checkpoint, if not to be found by name.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or mps.")
@click.option(
    "--write",
    default="masks,mask-video,overlay,table",
    show_default=True,
    help="What to write; label-video too: masks.mkv, whose grey values are the ids, lossless.",
)
@click.option("--overwrite", is_flag=True, help="Replace the project in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    project: Path,
    output: Path,
    source: str | None,
    model: str | None,
    device: str,
    write: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Do all again that was done in PROJECT, a .s2t file or the folder that holds one.

    Prompts, corrections, edits, changes of identity and runs are repeated in their order; the
    masks of the new project equal those of the old one.
    """
    interrupt_on_sigterm()
    from sam2track.arguments import said_names
    from sam2track.outcome import Interrupted
    from sam2track.replaying import replay

    bar = Bar()
    try:
        outcome = replay(
            project,
            output=output,
            source=source,
            model=model,
            device=device,
            write=said_names(write),
            overwrite=overwrite,
            progress=bar.update,
        )
    except Interrupted as interrupted:
        bar.close()
        print_outcome(interrupted.outcome, as_json)
        tell("interrupted; begin again with --overwrite")
        sys.exit(130)
    finally:
        bar.close()
    print_outcome(outcome, as_json)
