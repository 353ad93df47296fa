"""``sam2track track``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from sam2track.arguments import said_names
from sam2track.cli.paths import PATH
from sam2track.cli.progress import Bar, auto_model, interrupt_on_sigterm, print_outcome
from sam2track.cli.prompting import (
    collect,
    detection_options,
    prompt_options,
    wanted_detections,
)
from sam2track.cli.source_options import read_reading, reading_options
from sam2track.cli.telling import tell
from sam2track.errors import UsageError

__all__ = ["command"]


@click.command("track")
@click.argument("source")
@click.option("-o", "--output", required=True, type=PATH, help="Folder.")
@prompt_options
@detection_options
@click.option("--detections-frame", type=click.IntRange(min=0), help="Whose; the first else.")
@click.option("--detections-every", type=click.IntRange(min=1), help="Of every so many frames.")
@click.option("--model", default="auto", show_default=True, help="Name or checkpoint.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or mps.")
@click.option("--precision", default="auto", show_default=True, help="fp32, bf16 or fp16.")
@click.option("--image-size", type=int, help="Side of the model's input; less is faster.")
@click.option("--start", type=click.IntRange(min=0), help="First frame.")
@click.option("--stop", type=click.IntRange(min=0), help="Frame after the last.")
@click.option(
    "--direction",
    type=click.Choice(["forward", "backward", "both"]),
    show_default="both; of a pipe forward",
)
@click.option("--fps", type=float, help="Of folders and stacks, not of videos.  [default: 25]")
@reading_options
@click.option(
    "--write",
    default="masks,mask-video,overlay,table",
    show_default=True,
    help="What to write; label-video too: masks.mkv, whose grey values are the ids, lossless.",
)
@click.option(
    "--table",
    type=click.Choice(["plain", "full"]),
    default="plain",
    show_default=True,
    help="Full: all measurements.",
)
@click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    show_default="60",
    help="Without a byte, after which a pipe has stalled.",
)
@click.option("--resume", is_flag=True, help="Go on with the project in the folder.")
@click.option("--overwrite", is_flag=True, help="Replace the project in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    source: str,
    output: Path,
    detections_frame: int | None,
    detections_every: int | None,
    model: str,
    device: str,
    precision: str,
    image_size: int | None,
    start: int | None,
    stop: int | None,
    direction: str | None,
    fps: float | None,
    write: str,
    table: str,
    timeout: float | None,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    **said: Any,
) -> None:
    """Follow objects through SOURCE: a video file, a folder of pictures, a stack, or - for a pipe.

    Mark each object on a frame (T, the first by default) by points, a box or a mask; OBJ is a
    whole number that you choose; or take the boxes of a detector, or a segmenter's label maps. The
    folder will hold the project, label maps, a mask video, an overlay video and a table.
    """
    if not source:
        raise UsageError("SOURCE is empty; name a video, a folder of pictures or a stack")
    interrupt_on_sigterm()
    if fps is not None and not 0 < fps <= 1000:
        raise UsageError(f"fps {fps:g}; allowed are rates above 0 and up to 1000")
    how = read_reading(said)
    prompts = collect(start or 0, said)
    wanted = wanted_detections(said)
    from sam2track.job import run
    from sam2track.outcome import CutShort, Interrupted

    model, chosen = auto_model(model, device)
    bar = Bar(chosen)
    try:
        outcome = run(
            source,
            # A file that marks nothing is not as none: with --resume what is stored would be taken.
            prompts if len(prompts) or said["file"] is not None else None,
            output=output,
            model=model,
            device=device,
            precision=precision,
            image_size=image_size,
            start=start,
            stop=stop,
            direction=direction,  # type: ignore[arg-type]
            fps=fps,
            **how,
            write=said_names(write),
            table=table,  # type: ignore[arg-type]
            timeout=timeout,
            resume=resume,
            overwrite=overwrite,
            progress=bar.update,
            detections_frame=detections_frame,
            detections_every=detections_every,
            **wanted,
        )
    except Interrupted as interrupted:
        bar.close()
        print_outcome(interrupted.outcome, as_json)
        on = "" if source == "-" else ", go on with --resume"
        tell(f"interrupted; what was done is kept{on}")
        sys.exit(130)
    except CutShort as cut:
        bar.close()
        print_outcome(cut.outcome, as_json)
        raise
    except KeyboardInterrupt:
        bar.close()
        tell("interrupted before anything was done")
        sys.exit(130)
    finally:
        bar.close()
    print_outcome(outcome, as_json)
