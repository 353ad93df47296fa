"""``sam2track report``: one page on a project."""

from __future__ import annotations

from pathlib import Path

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import interrupt_on_sigterm
from sam2track.cli.reading import check_apart, counted, results_of
from sam2track.cli.telling import warn
from sam2track.errors import UsageError

__all__ = ["command"]


@click.command("report")
@click.argument("project", type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="The page, .html.")
@click.option("--source", help="The video, if no longer where the project says.")
@click.option("--title", help="[default: the source's name]")
@click.option("--no-video", is_flag=True, help="Leave the overlay out.")
@click.option(
    "--size",
    type=click.IntRange(min=16),
    show_default="640",
    help="Longest side of the overlay in pixels.",
)
@click.option(
    "-n",
    "--looks",
    type=click.IntRange(0, 200),
    default=12,
    show_default=True,
    help="Frames to look at.",
)
@click.option("--pixel-size", type=float, metavar="UM", help="Side of a pixel in micrometres.")
@click.option("--frame-interval", type=float, metavar="S", help="Seconds from frame to frame.")
def command(
    project: Path,
    output: Path,
    source: str | None,
    title: str | None,
    no_video: bool,
    size: int | None,
    looks: int,
    pixel_size: float | None,
    frame_interval: float | None,
) -> None:
    """Write one page on PROJECT that works from a file, offline, in any browser.

    PROJECT is a .s2t file or the folder that holds one.
    """
    interrupt_on_sigterm()
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}; a page ends in .html")
    if no_video and size is not None:
        raise UsageError("--size is that of the overlay, which --no-video leaves out; give one")
    with results_of(project) as results:
        from sam2track.report import report

        check_apart(output, results.path, source or str(results.meta.get("source")))
        with counted("reporting", (2 if no_video else 3) * len(results.frames)) as step:
            warnings = report(
                results,
                output,
                source=source,
                title=title,
                video=not no_video,
                size=640 if size is None else size,
                looks=looks,
                pixel_size_um=pixel_size,
                frame_interval_s=frame_interval,
                progress=step,
            )
    warn(*warnings)
    click.echo(f"{output}  {output.stat().st_size / 1e6:.1f} MB")
