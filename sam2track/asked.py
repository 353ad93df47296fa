"""What is asked of a job, held against itself and its source before anything is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from sam2track.arguments import whole_number
from sam2track.detections import Detections
from sam2track.errors import PromptError, UsageError
from sam2track.frames.bounds import check_range
from sam2track.frames.source import FrameSource
from sam2track.outputs import OUTPUTS, USUAL, check_table
from sam2track.prompts import Prompts

__all__ = [
    "Pictures",
    "check_ids",
    "check_prompts",
    "check_together",
    "detection_frames",
    "with_boxes",
]


class Pictures(Protocol):
    """Pictures of one size, be they in a file or yet to come."""

    name: str
    height: int
    width: int


def check_together(
    *,
    start: int | None = None,
    stop: int | None = None,
    direction: str | None = None,
    write: Iterable[str] = USUAL,
    table: str = "plain",
    detections: object = None,
    detections_frame: int | None = None,
    detections_every: int | None = None,
    min_score: float | None = None,
    classes: object = None,
    class_names: object = None,
    **_: object,
) -> None:
    """Refuse options of a job that cannot go together, whatever the source is.

    Options are those of ``job.run``; all that are not named here go with any other.

    Raises
    ------
    UsageError
        With the two that exclude each other, or the one that is missing.
    """
    check_range(start, stop)
    check_table(table, write)
    if detections is None:
        if detections_frame is not None or detections_every is not None:
            raise UsageError("a frame of detections was named, but no detections; give them, too")
        if not (min_score is None and classes is None and class_names is None):
            raise UsageError(
                "min_score, classes and class_names choose among detections; give them, too"
            )
    if detections_frame is not None and detections_every is not None:
        raise UsageError("give one frame of the detections, or every so many, not both")
    if detections_every is not None:
        if whole_number("detections of every so many frames", detections_every) < 1:
            raise UsageError(f"every {detections_every} frames; allowed are 1 and more")
        if direction == "backward":
            raise UsageError("detections of every so many frames are taken forward, or both")


def detection_frames(
    source: FrameSource, span: tuple[int, int], frame: int | None, every: int | None
) -> Sequence[int]:
    """The frames whose detections are taken; the options are known to go together."""
    if frame is not None and not 0 <= frame < len(source):
        raise UsageError(f"frame {frame} of the detections; {source.name} has {len(source)} frames")
    if every is not None:
        return range(*span, every)
    return [span[0] if frame is None else frame]


def with_boxes(said: Prompts | None, boxes: Mapping[int, Detections]) -> Prompts:
    """Return prompts, and an object more for each box; what was given stays as it is."""
    joined = Prompts()
    if said is not None:
        joined = Prompts({i: dict(frames) for i, frames in said.by_object.items()}, {**said.names})
    for frame, found in boxes.items():
        first = max(joined.by_object, default=0) + 1
        more = found.prompts(frame=frame, first_id=first)
        for object_id, at, prompt in more:
            joined.add(object_id, at, prompt)
        joined.names |= more.names
    return joined


def check_ids(ids: Iterable[int], wanted: Collection[str]) -> None:
    """Refuse objects whose numbers do not fit what is to be written, before anything is.

    Raises
    ------
    PromptError
        With the largest of them.
    """
    largest = max(ids, default=0)
    for name in ("masks", "label-video"):
        if name in wanted and largest > 65535:
            raise PromptError(
                f"object {largest} does not fit the 16 bits of {OUTPUTS[name]}; "
                f"take ids up to 65535, or write without {name}"
            )


def check_prompts(prompts: Prompts, source: Pictures, wanted: list[str], count: int | None) -> None:
    """Refuse prompts that do not fit the source of `count` frames, or what is to be written.

    The number of frames of a pipe is not known: None.
    """
    if not prompts.by_object:
        raise PromptError("nothing to track: the prompts mark no object; say where one is")
    check_ids(prompts.by_object, wanted)
    for object_id, frame, prompt in prompts:
        if count is not None and frame >= count:
            raise PromptError(
                f"object {object_id} is prompted on frame {frame}, which does not exist; "
                f"{source.name} has frames 0 to {count - 1}"
            )
        try:
            prompt.check(source.height, source.width)
        except PromptError as error:
            raise PromptError(f"object {object_id}, frame {frame}: {error}") from error
    prompts.check_said()
    for object_id, frames in prompts.by_object.items():
        if all(prompt.absent for prompt in frames.values()):
            raise PromptError(
                f"object {object_id} is absent wherever it is prompted; say where it is"
            )
        if not any(prompt.shows for prompt in frames.values()):
            raise PromptError(
                f"object {object_id} has points of the background alone; say where it is, or give "
                "the points to the object that they are beside"
            )
