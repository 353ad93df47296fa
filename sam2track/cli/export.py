"""``sam2track export``: a project in formats that other tools read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import interrupt_on_sigterm
from sam2track.cli.reading import print_json
from sam2track.cli.telling import warn
from sam2track.errors import UsageError

__all__ = ["command"]


@click.command("export")
@click.argument("project", type=PATH)
@click.option("--format", "-f", "formats", multiple=True, required=True, metavar="F", help="Which.")
@click.option(
    "-o", "--output", "outputs", multiple=True, required=True, type=PATH,
    help="File or folder; one for each --format, in order.",
)  # fmt: skip
@click.option("--start", type=click.IntRange(min=0), help="First frame; 0 if unsaid.")
@click.option("--stop", type=click.IntRange(min=0), help="Frame after the last.")
@click.option("--name", help="Of the sequence; the source's if unsaid.")
@click.option("--pixel-size", type=float, help="Side of a pixel, in --unit.")
@click.option(
    "--unit", type=click.Choice(["nm", "um", "mm", "m"]), show_default="um",
    help="Of --pixel-size.",
)  # fmt: skip
@click.option("--frame-interval", type=float, help="Seconds; the source's if unsaid.")
@click.option("--images/--no-images", default=None, help="Write the source's frames, too.")
@click.option("--source", type=PATH, help="The video, if it was moved.")
@click.option(
    "--val-share", type=float, show_default="0.2",
    help="Part of the frames for validation, of yolo-seg.",
)  # fmt: skip
@click.option(
    "--codec", type=click.Choice(["ffv1", "h264"]),
    help="Of masks-video; h264 for .mp4, else ffv1, if unsaid.",
)  # fmt: skip
@click.option(
    "--palette", is_flag=True, default=None, help="Colours in place of grey, of masks-video."
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    project: Path,
    formats: tuple[str, ...],
    outputs: tuple[Path, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Write PROJECT, a .s2t file or the folder that holds one, in a format F.

    \b
    To a folder: davis, ytvos, ctc, ome-zarr, geff, yolo-seg, sav
    To a file:   coco, ytvis, mots, mot, labels-tiff, ome-tiff, trackmate,
                 tracks-csv, npz, parquet, csv, masks-video (.mkv, .mp4)

    --format and -o may be given several times, in pairs.
    """  # noqa: D301
    interrupt_on_sigterm()
    if len(formats) != len(outputs):
        raise UsageError(f"{len(formats)} formats and {len(outputs)} outputs; give one for each")
    if len({path.absolute() for path in outputs}) < len(outputs):
        raise UsageError("two formats have the same output; give each its own")
    if options["unit"] and options["pixel_size"] is None:
        raise UsageError(f"unit {options['unit']} is that of a pixel's side; give --pixel-size")
    given = _shared_out(formats, {k: v for k, v in options.items() if v is not None})
    from sam2track.export.exporting import check_target
    from sam2track.project import Project

    done = []
    with Project.open(project) as opened:
        warn(opened.warning)
        asked = list(zip(formats, outputs, given, strict=True))
        for name, output, own in asked[1:]:  # before the first is written, which may take long
            check_target(name, output, images=own.get("images"), overwrite=own["overwrite"])
        for name, output, own in asked:
            one = opened.export(output, format=name, **own)
            done.append(one)
            warn(*one.warnings)
            if not as_json:
                click.echo(f"{one.format:<12} {one.path}")
    if as_json:
        rows = [
            {"format": one.format, "path": str(one.path), "warnings": list(one.warnings)}
            for one in done
        ]
        print_json({"exports": rows})


def _shared_out(formats: Sequence[str], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what of the options each format takes.

    Raises
    ------
    UsageError
        Where a format cannot be, or an option is of other formats alone, and something would be
        missed.
    """
    from sam2track.export.exporting import TAKEN_BY, check_formats

    check_formats(formats)  # of all, before the first is written, which may take long
    for option, takers in TAKEN_BY.items():
        # Of these two nobody would miss anything in what is written.
        idle = option not in ("source", "name") and not {*formats} & {*takers}
        if idle and given.get(option):
            raise UsageError(
                f"--{option.replace('_', '-')} says nothing of {', '.join(formats)}; leave it "
                f"out, it is for {', '.join(takers)}"
            )
    return [
        {k: v for k, v in given.items() if k not in TAKEN_BY or name in TAKEN_BY[k]}
        for name in formats
    ]
