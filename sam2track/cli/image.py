"""``sam2track image``: single pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from sam2track.arguments import said_names
from sam2track.cli.paths import PATH
from sam2track.cli.progress import Bar, auto_model, interrupt_on_sigterm, many
from sam2track.cli.prompting import (
    collect,
    detection_options,
    is_point,
    prompt_options,
    wanted_detections,
)
from sam2track.cli.telling import tell, warn
from sam2track.errors import UsageError
from sam2track.terminal import one_line

__all__ = ["command"]


@click.command("image")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-o", "--output", required=True, type=PATH, help="Folder.")
@prompt_options
@detection_options
@click.option("--everything", is_flag=True, help="All that can be told apart, without prompts.")
@click.option("--points-per-side", type=int, help="Of the grid for everything; 32.")
@click.option("--min-iou", type=float, help="Least predicted IoU for everything; 0.8.")
@click.option("--min-stability", type=float, help="Least stability for everything; 0.95.")
@click.option("--crop-layers", type=int, help="Look at 4, 16, … crops for everything; 0.")
@click.option("--refine", is_flag=True, help="Decode each mask of everything once more.")
@click.option("--min-region-area", type=int, help="Fill holes, remove patches up to this; 0.")
@click.option("--multimask/--single", default=None, help="Three candidates, or one mask.")
@click.option("--all-candidates", is_flag=True, help="Write the masks of all candidates, too.")
@click.option("--model", default="auto", show_default=True, help="Name or checkpoint.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or mps.")
@click.option("--precision", default="auto", show_default=True, help="fp32, bf16 or fp16.")
@click.option("--image-size", type=int, help="Side of the model's input; less is faster.")
@click.option(
    "--write",
    default="mask,overlay,json",
    show_default=True,
    help="Of mask, overlay, cutout, background-removed, labels, json.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    images: tuple[str, ...],
    output: Path,
    everything: bool,
    points_per_side: int | None,
    min_iou: float | None,
    min_stability: float | None,
    crop_layers: int | None,
    refine: bool,
    min_region_area: int | None,
    multimask: bool | None,
    all_candidates: bool,
    model: str,
    device: str,
    precision: str,
    image_size: int | None,
    write: str,
    overwrite: bool,
    as_json: bool,
    **said: Any,
) -> None:
    """Find objects in pictures: files, or folders of them.

    Prompts are those of `track`; T is a picture's place among all, from 0, and a prompt without
    it is meant for every picture. A mask alone is refined as that of an earlier round.
    --background also takes a colour or a picture, which then lies behind the objects of
    background-removed.
    """
    if not all(images):
        raise UsageError("an IMAGE is empty; name files or folders")
    interrupt_on_sigterm()
    settings = {
        "points_per_side": points_per_side,
        "min_iou": min_iou,
        "min_stability": min_stability,
        "crop_layers": crop_layers,
        "refine": refine or None,
        "min_region_area": min_region_area,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    if given and not everything:
        name = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{name} is a setting of --everything; give that, too")
    grounds = [text for text in said["background"] if not is_point(text)]
    if len(grounds) > 1:
        raise UsageError(f"two backgrounds, {grounds[0]} and {grounds[1]}; give one")
    names = said_names(write)
    if grounds and "background-removed" not in names:
        names.append("background-removed")
    said["background"] = [text for text in said["background"] if is_point(text)]
    from sam2track.image.job import EVERY_PICTURE, run

    prompts = collect(EVERY_PICTURE, said)
    wanted = wanted_detections(said)
    model, chosen = auto_model(model, device)
    bar = Bar(chosen)
    try:
        outcome = run(
            images,
            prompts,
            output=output,
            model=model,
            device=device,
            precision=precision,
            image_size=image_size,
            multimask=multimask,
            everything=given if everything else None,
            write=names,
            all_candidates=all_candidates,
            background=grounds[0] if grounds else "white",
            overwrite=overwrite,
            progress=bar.update,
            **wanted,
        )
    finally:
        bar.close()
    warn(*outcome.warnings)
    for line in outcome.failed:
        tell(f"sam2track: {one_line(line)}")
    if as_json:
        click.echo(json.dumps(outcome.to_dict(), indent=2))
    else:
        _print(outcome.to_dict())
    if outcome.failed:
        sys.exit(1)


def _print(outcome: dict[str, Any]) -> None:
    for image in outcome["images"]:
        objects = image["objects"]
        click.echo(f"{image['source']}: {many(len(objects), 'object')}")
        for item in objects[:20]:
            name = f" {item['name']}" if item["name"] else ""
            click.echo(
                f"  {item['id']}{name}: {item['area_px']} px, predicted IoU "
                f"{item['predicted_iou']:.2f}"
            )
        if len(objects) > 20:
            click.echo(f"  and {len(objects) - 20} more")
        for name, path in image["outputs"].items():
            click.echo(f"  {name:<10}  {path}")
    counts = outcome["counts"]
    named = ", ".join(f"{count} {name or 'unnamed'}" for name, count in counts.items())
    failed = f", {len(outcome['failed'])} failed" if outcome["failed"] else ""
    click.echo(
        f"{outcome['status']}: {many(len(outcome['images']), 'picture')}, "
        f"{many(sum(counts.values()), 'object')}{f' ({named})' if any(counts) else ''}{failed}, "
        f"{outcome['model']} on {outcome['device']} in {outcome['precision']}, "
        f"{outcome['seconds']:.1f} s"
    )
