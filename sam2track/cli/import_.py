"""``sam2track import``: a project of masks that another tool made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import auto_model, interrupt_on_sigterm, many
from sam2track.cli.reading import print_json
from sam2track.cli.source_options import read_reading, reading_options
from sam2track.cli.telling import tell, warn
from sam2track.errors import UsageError

__all__ = ["command"]


@click.command("import")
@click.argument("masks", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="Project to make.")
@click.option("--source", required=True, help="The video or folder of pictures they are of.")
@click.option("--format", help="Of the masks; found from what is there if unsaid.")
@click.option("--model", default="auto", show_default=True, help="That will track corrections.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or mps.")
@click.option("--precision", default="auto", show_default=True, help="fp32, bf16 or fp16.")
@click.option("--image-size", type=int, help="Side of the model's input.")
@click.option("--fps", type=float, help="Of folders and stacks, not of videos.  [default: 25]")
@reading_options
@click.option("--overwrite", is_flag=True, help="Replace a project that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    masks: tuple[Path, ...],
    output: Path,
    source: str,
    format: str | None,
    model: str,
    device: str,
    precision: str,
    image_size: int | None,
    fps: float | None,
    overwrite: bool,
    as_json: bool,
    **said: Any,
) -> None:
    """Make a project of MASKS, so that they can be corrected and tracked on.

    MASKS are in any format that `sam2track export` writes masks to: a folder of label PNGs
    (davis) or all the PNGs in it, of the Cell Tracking Challenge (ctc), COCO instances, a TIFF or
    OME-Zarr stack, ...
    """
    interrupt_on_sigterm()
    how = read_reading(said)
    from sam2track.importing import import_masks

    model, chosen = auto_model(model, device)
    done = import_masks(
        _one(masks),
        output,
        source=source,
        format=format,
        model=model,
        device=device,
        precision=precision,
        image_size=image_size,
        fps=fps,
        overwrite=overwrite,
        **how,
    )
    if chosen is not None:  # not said of what failed
        tell(chosen)
    warn(*done.warnings)
    if as_json:
        print_json(
            {
                "project": str(done.path),
                "format": done.format,
                "frames": done.frames,
                "objects": list(done.objects),
                "warnings": list(done.warnings),
            }
        )
        return
    click.echo(
        f"{done.path}: {many(len(done.objects), 'object')} on {many(done.frames, 'frame')}, "
        f"from {done.format}"
    )


def _one(masks: tuple[Path, ...]) -> Path:
    """The folder that several files are all the pictures of."""
    if len(masks) == 1:
        return masks[0]
    folder, suffix = masks[0].parent, masks[0].suffix
    if sorted(masks) != sorted(folder.glob(f"*{suffix}")):
        raise UsageError(
            f"{len(masks)} masks that are not all the {suffix or 'files'} in {folder}; "
            f"name the folder or file that holds all"
        )
    return folder
