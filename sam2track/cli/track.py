"""``sam2track track``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sam2track.cli.progress import Bar, interrupt_on_sigterm, print_outcome
from sam2track.errors import PromptError, UsageError
from sam2track.prompts import (
    Prompt,
    Prompts,
    load_prompts,
    merged,
    parse_absent,
    parse_box,
    parse_point,
    parse_tagged,
    split_frame,
)

__all__ = ["command"]


@click.command("track")
@click.argument("source")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--point", "points", multiple=True, metavar="OBJ:X,Y[@T]", help="On the object.")
@click.option("--background", multiple=True, metavar="OBJ:X,Y[@T]", help="Beside the object.")
@click.option("--box", "boxes", multiple=True, metavar="OBJ:X0,Y0,X1,Y1[@T]")
@click.option("--mask", "masks", multiple=True, metavar="OBJ:FILE[@T]", help="Nonzero: object.")
@click.option("--masks", "labels", multiple=True, metavar="LABELIMAGE[@T]", help="All objects.")
@click.option("--absent", multiple=True, metavar="OBJ@T", help="Not on that frame.")
@click.option("--prompts", "file", type=click.Path(path_type=Path), help="Prompts as JSON.")
@click.option("--model", default="auto", show_default=True, help="Name or checkpoint.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or mps.")
@click.option("--precision", default="auto", show_default=True, help="fp32, bf16 or fp16.")
@click.option("--image-size", type=int, help="Side of the model's input; less is faster.")
@click.option("--start", type=click.IntRange(min=0), help="First frame.")
@click.option("--stop", type=click.IntRange(min=0), help="Frame after the last.")
@click.option(
    "--direction",
    type=click.Choice(["forward", "backward", "both"]),
    default="both",
    show_default=True,
)
@click.option("--fps", type=float, default=25.0, show_default=True, help="Of folders and stacks.")
@click.option(
    "--write",
    default="masks,mask-video,overlay,table",
    show_default=True,
    help="What to write; label-video too: masks.mkv, whose grey values are the ids, lossless.",
)
@click.option("--resume", is_flag=True, help="Go on with the project in the folder.")
@click.option("--overwrite", is_flag=True, help="Replace the project in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def command(
    source: str,
    output: Path,
    points: tuple[str, ...],
    background: tuple[str, ...],
    boxes: tuple[str, ...],
    masks: tuple[str, ...],
    labels: tuple[str, ...],
    absent: tuple[str, ...],
    file: Path | None,
    model: str,
    device: str,
    precision: str,
    image_size: int | None,
    start: int | None,
    stop: int | None,
    direction: str,
    fps: float,
    write: str,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Follow objects through SOURCE: a video file or a folder of pictures.

    Mark each object on a frame (T, the first by default) by points, a box or a mask; OBJ is a
    whole number that you choose. The folder will hold the project, label maps, a mask video,
    an overlay video and a table.
    """
    if not source or not str(output).strip("."):
        raise UsageError("SOURCE or the output folder is empty; name both")
    interrupt_on_sigterm()
    if not 0 < fps <= 1000:
        raise UsageError(f"fps {fps:g}; allowed are rates above 0 and up to 1000")
    prompts = _Collected(start or 0)
    for text in points:
        prompts.point(text, 1)
    for text in background:
        prompts.point(text, 0)
    for text in boxes:
        prompts.box(text)
    for text in masks:
        prompts.mask(text)
    for text in labels:
        prompts.labels(text)
    for text in absent:
        prompts.absent(text)
    from sam2track.job import Interrupted, run
    from sam2track.pictures import read_mask

    said = prompts.with_file(file, load_prompts(file, read_mask=read_mask) if file else None)
    from sam2track.models.loading import choose_auto, why_auto

    chosen = None
    if model == "auto":
        model = choose_auto(device)
        chosen = why_auto(model, device)
    bar = Bar(chosen)
    try:
        outcome = run(
            source,
            said if len(said) else None,
            output=output,
            model=model,
            device=device,
            precision=precision,
            image_size=image_size,
            start=start,
            stop=stop,
            direction=direction,  # type: ignore[arg-type]
            fps=fps,
            write=[name.strip() for name in write.split(",") if name.strip()],
            resume=resume,
            overwrite=overwrite,
            progress=bar.update,
        )
    except Interrupted as interrupted:
        bar.close()
        print_outcome(interrupted.outcome, as_json)
        click.echo("interrupted; what was done is kept, go on with --resume", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        bar.close()
        click.echo("interrupted before anything was done", err=True)
        sys.exit(130)
    finally:
        bar.close()
    print_outcome(outcome, as_json)


class _Collected:
    """Adds up the options' prompts."""

    def __init__(self, default_frame: int) -> None:
        self.default_frame = default_frame
        self.prompts = Prompts()

    def _add(self, text: str, object_id: int, frame: int, prompt: Prompt) -> None:
        frames = self.prompts.by_object.setdefault(object_id, {})
        try:
            frames[frame] = merged(frames.get(frame), prompt)
        except PromptError as error:
            raise PromptError(f"{text!r}: {error}") from error

    def point(self, text: str, label: int) -> None:
        object_id, point, frame = parse_point(text, default_frame=self.default_frame)
        self._add(text, object_id, frame, Prompt(points=(point,), labels=(label,)))

    def box(self, text: str) -> None:
        object_id, box, frame = parse_box(text, default_frame=self.default_frame)
        self._add(text, object_id, frame, Prompt(box=box))

    def mask(self, text: str) -> None:
        from sam2track.pictures import read_mask

        object_id, path, frame = parse_tagged(text, default_frame=self.default_frame)
        self._add(text, object_id, frame, Prompt(mask=read_mask(path)))

    def labels(self, text: str) -> None:
        import numpy as np

        from sam2track.pictures import read_labels

        path, frame = split_frame(text, default_frame=self.default_frame)
        picture = read_labels(path)
        ids = np.unique(picture)
        if not ids.any():
            raise PromptError(f"{text!r} holds no object: all of it is 0")
        for object_id in ids[ids > 0]:
            self._add(text, int(object_id), frame, Prompt(mask=picture == object_id))

    def absent(self, text: str) -> None:
        object_id, frame = parse_absent(text)
        self._add(text, object_id, frame, Prompt(absent=True))

    def with_file(self, path: Path | None, read: Prompts | None) -> Prompts:
        if read is None:
            return self.prompts
        for object_id, frame, prompt in self.prompts:
            if frame in read.by_object.get(object_id, {}):
                raise PromptError(
                    f"object {object_id} on frame {frame} is prompted both in {path} and by an "
                    f"option; give one"
                )
            read.add(object_id, frame, prompt)
        return read
