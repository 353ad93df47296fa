"""``sam2track render``: pictures for people."""

from __future__ import annotations

from pathlib import Path

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import interrupt_on_sigterm, many
from sam2track.cli.reading import check_apart, counted, ids, results_of
from sam2track.cli.telling import warn
from sam2track.errors import UsageError

__all__ = ["command"]

_STYLES = ("overlay", "outline", "cutout", "blur-background", "background", "trails")


@click.command("render")
@click.argument("project", type=PATH)
@click.option(
    "-o",
    "--output",
    required=True,
    type=PATH,
    help=".mp4, .webm, .gif or, of cutouts, .mov; without an ending, a folder of pictures.",
)
@click.option(
    "--style",
    type=click.Choice(_STYLES),
    default="overlay",
    show_default=True,
    help="How objects are shown; with --background that of this name.",
)
@click.option("--background", type=PATH, help="Picture behind the objects.")
@click.option("--source", help="The video, if no longer where the project says.")
@click.option("--objects", metavar="ID,ID…", help="Those to show.  [default: all]")
@click.option("--start", type=click.IntRange(min=0), help="First frame.")
@click.option("--stop", type=click.IntRange(min=0), help="Frame after the last.")
@click.option("--every", type=click.IntRange(min=1), default=1, help="Only every N-th frame.")
@click.option("--ids/--no-ids", "with_ids", default=True, help="Write ids.  [default: yes]")
@click.option("--names/--no-names", default=True, help="Write names.  [default: yes]")
@click.option("--scores", is_flag=True, help="Write the predicted IoU.")
@click.option("--time", "clock", is_flag=True, help="Write the time.")
@click.option("--follow", type=int, metavar="ID", help="A crop that follows this object.")
@click.option("--crop", metavar="WxH", help="Size of that crop.  [default: fits the object]")
@click.option(
    "--trail", type=click.IntRange(min=1), help="Of style trails, in frames.  [default: 50]"
)
@click.option(
    "--codec",
    type=click.Choice(["h264", "hevc", "vp9", "av1"]),
    help="Of videos.  [default: h264; vp9 in .webm]",
)
@click.option("--quality", type=int, help="Videos: crf, 0 is best. JPEG: 1 to 100.")
@click.option("--pictures", type=click.Choice(["png", "jpg"]), help="In a folder.  [default: png]")
@click.option("--size", type=click.IntRange(min=16), help="Longest side of what is written.")
def command(
    project: Path,
    output: Path,
    style: str,
    background: Path | None,
    source: str | None,
    objects: str | None,
    start: int | None,
    stop: int | None,
    every: int,
    with_ids: bool,
    names: bool,
    scores: bool,
    clock: bool,
    follow: int | None,
    crop: str | None,
    trail: int | None,
    codec: str | None,
    quality: int | None,
    pictures: str | None,
    size: int | None,
) -> None:
    """Show the objects of PROJECT, a .s2t file or the folder that holds one.

    Frames keep their times. PNGs, .mov (ProRes 4444) and .webm (VP9) of style cutout are
    transparent around the objects.
    """
    interrupt_on_sigterm()
    if style == "background" and background is None:
        raise UsageError("style background needs a picture; give one (--background)")
    if background is not None and style == "overlay":
        style = "background"
    with results_of(project) as results:
        from sam2track.films import render

        check_apart(output, results.path, source or str(results.meta.get("source")), background)
        low = results.frames[0] if start is None else start
        high = results.frames[-1] + 1 if stop is None else min(stop, int(results.meta["frames"]))
        with counted("rendering", max(1, -(-(high - low) // every))) as step:
            made = render(
                results,
                output,
                source=source,
                style=style,
                background=background,
                objects=ids(objects, results.objects),
                start=start,
                stop=stop,
                every=every,
                ids=with_ids,
                names=names,
                scores=scores,
                clock=clock,
                follow=follow,
                crop=_size(crop),
                trail=trail,
                codec=codec,
                quality=quality,
                pictures=pictures,  # type: ignore[arg-type]
                size=size,
                progress=step,
            )
    warn(*made.warnings)
    click.echo(f"{made.path}  {many(made.frames, 'frame')} of {made.width} x {made.height}")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    wide, _, high = text.lower().partition("x")
    if not (wide.isdecimal() and high.isdecimal() and max(len(wide), len(high)) < 6):
        raise UsageError(f"crop {text!r}; allowed is WxH in pixels, such as 200x150")
    return int(wide), int(high)
