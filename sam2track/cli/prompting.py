"""The options by which commands are told where objects are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sam2track.arguments import said_names
from sam2track.cli.grammar import (
    parse_absent,
    parse_box,
    parse_point,
    parse_tagged,
    split_frame,
)
from sam2track.cli.paths import PATH
from sam2track.errors import PromptError
from sam2track.prompt_files import load_prompts
from sam2track.prompts import Prompt, Prompts, merged
from sam2track.regular import check_regular

__all__ = ["collect", "detection_options", "is_point", "prompt_options", "wanted_detections"]

Command = TypeVar("Command", bound=Callable[..., Any])

_PROMPTS = (
    click.option("--point", "points", multiple=True, metavar="OBJ:X,Y[@T]", help="On the object."),
    click.option("--background", multiple=True, metavar="OBJ:X,Y[@T]", help="Beside the object."),
    click.option("--box", "boxes", multiple=True, metavar="OBJ:X0,Y0,X1,Y1[@T]", help="Around it."),
    click.option("--mask", "masks", multiple=True, metavar="OBJ:FILE[@T]", help="Nonzero: object."),
    click.option("--masks", "labels", multiple=True, metavar="LABELIMAGE[@T]", help="All objects."),
    click.option("--absent", multiple=True, metavar="OBJ@T", help="Not on that frame."),
    click.option("--prompts", "file", type=PATH, help="Prompts as JSON."),
)

_DETECTIONS = (
    click.option(
        "--detections",
        type=PATH,
        help="Boxes of a detector: YOLO or MOT .txt, COCO .json, .csv, or a YOLO folder; of a "
        "video also label maps of a segmenter: a folder, .tif, .npy, .zarr.",
    ),
    click.option("--min-score", type=float, help="Least score of a detection."),
    click.option("--classes", metavar="NAME,…", help="Only detections of these classes."),
    click.option(
        "--class-names", metavar="NAME,…|FILE", help="Names of class numbers 0, 1, …; a line each."
    ),
)


def _with(options: tuple[Any, ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def prompt_options(command: Command) -> Command:
    """Add points, boxes, masks and the prompts file; ``collect`` reads them."""
    return _with(_PROMPTS, command)


def detection_options(command: Command) -> Command:
    """Add a detector's boxes and which of them; ``wanted_detections`` reads them."""
    return _with(_DETECTIONS, command)


def is_point(text: str) -> bool:
    """Whether a value is OBJ:X,Y, and not a colour or a picture."""
    head, colon, _ = text.partition(":")
    return bool(colon) and head.strip().isdecimal()


def collect(default_frame: int, said: dict[str, Any]) -> Prompts:
    """Prompts of all options together.

    Parameters
    ----------
    default_frame : int
        Frame of prompts that name none.
    said : dict
        The values of ``prompt_options``.

    Raises
    ------
    PromptError
        Where one of them cannot be, or two say the same twice.
    """
    prompts = _Collected(default_frame)
    for text in said["points"]:
        prompts.point(text, 1)
    for text in said["background"]:
        prompts.point(text, 0)
    for text in said["boxes"]:
        prompts.box(text)
    for text in said["masks"]:
        prompts.mask(text)
    for text in said["labels"]:
        prompts.labels(text)
    for text in said["absent"]:
        prompts.absent(text)
    return prompts.with_file(said["file"])


def wanted_detections(said: dict[str, Any]) -> dict[str, Any]:
    """What jobs take of the values of ``detection_options``."""
    if said["detections"] is None:
        for name in ("min_score", "classes", "class_names"):
            if said[name] is not None:
                raise PromptError(
                    f"--{name.replace('_', '-')} says which detections are taken; "
                    f"give a file of them (--detections)"
                )
        return {"detections": None}
    classes, names = said["classes"], said["class_names"]
    return {
        "detections": said["detections"],
        "min_score": said["min_score"],
        "classes": classes,
        "class_names": None if names is None else _names(names),
    }


def _names(text: str) -> list[str]:
    path = Path(text)
    try:
        check_regular(path)  # the name of a pipe is that of no class
        if path.is_dir():
            raise PromptError(
                f"class names {path} is a folder; give a file of names, or the names themselves, "
                "with a comma behind one that is alone"
            )
        is_file = path.is_file()
        names = path.read_text(encoding="utf-8").splitlines() if is_file else said_names(text)
        if not any(name.strip() for name in names):
            raise PromptError(f"class names {text!r} hold no name; give one for each number")
        return names
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise PromptError(f"class names {path} cannot be read: {why}") from error


class _Collected:
    """Adds up the options' prompts."""

    def __init__(self, default_frame: int) -> None:
        self.default_frame = default_frame
        self.prompts = Prompts()

    def _add(self, text: str, object_id: int, frame: int, **said: Any) -> None:
        frames = self.prompts.by_object.setdefault(object_id, {})
        try:
            frames[frame] = merged(frames.get(frame), Prompt(**said))
        except PromptError as error:
            raise PromptError(f"{text!r}: {error}") from error

    def point(self, text: str, label: int) -> None:
        object_id, point, frame = parse_point(text, default_frame=self.default_frame)
        self._add(text, object_id, frame, points=(point,), labels=(label,))

    def box(self, text: str) -> None:
        object_id, box, frame = parse_box(text, default_frame=self.default_frame)
        self._add(text, object_id, frame, box=box)

    def mask(self, text: str) -> None:
        from sam2track.pictures import read_mask

        object_id, path, frame = parse_tagged(text, default_frame=self.default_frame)
        self._add(text, object_id, frame, mask=read_mask(path))

    def labels(self, text: str) -> None:
        import numpy as np

        from sam2track.pictures import read_labels

        path, frame = split_frame(text, default_frame=self.default_frame)
        picture = read_labels(path)
        ids = np.unique(picture)
        if not ids.any():
            raise PromptError(f"{text!r} holds no object: all of it is 0")
        for object_id in ids[ids > 0]:
            self._add(text, int(object_id), frame, mask=picture == object_id)

    def absent(self, text: str) -> None:
        object_id, frame = parse_absent(text)
        self._add(text, object_id, frame, absent=True)

    def with_file(self, path: Path | None) -> Prompts:
        if path is None:
            return self.prompts
        from sam2track.pictures import read_mask

        read = load_prompts(path, read_mask=read_mask)
        for object_id, frame, prompt in self.prompts:
            if frame in read.by_object.get(object_id, {}):
                raise PromptError(
                    f"object {object_id} on frame {frame} is prompted both in {path} and by an "
                    f"option; give one"
                )
            # Not by add: of pictures a frame may stand for every one of them.
            read.by_object.setdefault(object_id, {})[frame] = prompt
        return read
