"""``sam2track batch``: many videos."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import interrupt_on_sigterm, many
from sam2track.cli.telling import tell
from sam2track.errors import UsageError
from sam2track.terminal import printable

if TYPE_CHECKING:
    from sam2track.batch.summary import Line, Summary

__all__ = ["command"]


@click.command("batch")
@click.argument("manifest", type=PATH)
@click.option("-o", "--output", help="Folder or address below which the outputs lie.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    show_default="1",
    help="Videos at a time; a Ray cluster takes what it has room for.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 2),
    default=2,
    show_default=True,
    help="How often a video is tried again, where that may help.",
)
@click.option("--model", help="Of videos that do not name one.")
@click.option("--device", help="Of videos that do not name one.")
@click.option("--precision", help="Of videos that do not name one.")
@click.option("--image-size", type=int, help="Of videos that do not name one.")
@click.option("--write", help="Of videos that do not say what to write.")
@click.option("--ray", metavar="ADDRESS", help="A Ray cluster that tracks them.")
@click.option("--gpus", type=float, help="With --ray: GPUs, or part of one, for each video.")
@click.option(
    "--summary",
    type=PATH,
    help="Table of what came of each; by default videos.summary.csv for videos.csv.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    manifest: Path,
    output: str | None,
    workers: int | None,
    retries: int,
    ray: str | None,
    gpus: float | None,
    summary: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Track all videos of MANIFEST, each in a process of its own.

    MANIFEST is CSV (name it so) or JSON lines: source, prompts (a file), output (a folder), and
    options, an object such as {"stop": 100}. Paths are relative to its folder. Run it again to go
    on: what is finished is skipped.
    """
    interrupt_on_sigterm()
    if output == "":
        raise UsageError("-o is empty; name a folder or an address, . for the current one")
    from sam2track.batch.running import BatchInterrupted, SummaryNotWritten, track_many

    try:
        found = track_many(
            manifest,
            output=output,
            workers=workers,
            retries=retries,
            ray=ray,
            gpus=gpus,
            summary=summary,
            progress=_tell,
            **{name: value for name, value in options.items() if value is not None},
        )
    except BatchInterrupted as interrupted:
        _print(interrupted.summary, as_json)
        tell("interrupted; what was done is kept, run it again to go on")
        sys.exit(130)
    except SummaryNotWritten as error:
        _print(error.summary, as_json)
        raise
    _print(found, as_json)
    if found.failed:
        for line in found.failed:
            said = f"sam2track: {_called(line)}: {line.reason}"
            tell(printable(said))
        tell(f"sam2track: {len(found.failed)} of {len(found.lines)} videos failed")
        sys.exit(1)


def _tell(line: Line, left: int) -> None:
    by = f" by {line.model}" if line.model else ""
    said = (
        f"{many(line.frames, 'frame')}{by} in {line.seconds:.1f} s" if line.frames else line.reason
    )
    tell(printable(f"{line.status}: {_called(line)}: {said}; {left} left"))
    for warning in line.warnings:
        said = f"warning: {_called(line)}: {' '.join(warning.split())}"
        tell(printable(said))


def _called(line: Line) -> str:
    """A video and its line: a manifest may name one several times, as for each image of a LIF."""
    return f"{line.source} (line {line.line})"


def _print(summary: Summary, as_json: bool) -> None:
    click.echo(json.dumps(summary.to_dict(), indent=2) if as_json else summary.text())
