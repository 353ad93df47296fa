"""What a person did, as JSON values, and doing it again."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam2track import masks as rle
from sam2track.errors import ProjectError, Sam2TrackError
from sam2track.prompts import Prompt

if TYPE_CHECKING:
    from sam2track.tracking.result import FrameResult
    from sam2track.tracking.tracker import Tracker

__all__ = ["pack_mask", "pack_prompt", "repeat", "said_of"]


_NOT_SAID = {"step", "action", "done", "undone", "of"}  # of a step, by itself


def pack_mask(mask: npt.NDArray[np.bool_]) -> str:
    """Run lengths in base64."""
    return base64.b64encode(rle.encode(mask)).decode("ascii")


def pack_prompt(prompt: Prompt) -> dict[str, Any]:
    """All of a prompt as JSON values."""
    mask = None if prompt.mask is None else pack_mask(prompt.mask)
    return prompt.to_dict() | {"mask": mask}


def said_of(object_id: int, frame: int, prompt: Prompt, name: str = "") -> dict[str, Any]:
    """The action that says a prompt, and names the object where a name is given."""
    said = {"object": object_id, "frame": frame, "said": pack_prompt(prompt)}
    return said | ({"name": name} if name else {})


def _mask(text: str) -> npt.NDArray[np.bool_]:
    return rle.decode(base64.b64decode(text, validate=True))


def _prompt(packed: Mapping[str, Any]) -> Prompt:
    mask = packed["mask"]
    return Prompt(**{**packed, "mask": None if mask is None else _mask(mask)})


def repeat(tracker: Tracker, journal: Iterable[Mapping[str, Any]]) -> Iterator[FrameResult | None]:
    """Do again what a journal says, in a tracker that nothing was said to.

    What was taken back is done and taken back, so that what follows stands on the same memories;
    torch has as many threads as it had then, so that its sums come out the same.

    Yields
    ------
    FrameResult or None
        Each frame that was tracked; None after each other step.

    Raises
    ------
    ProjectError
        Where the journal cannot be followed.
    """
    import torch  # not above: projects are read without it

    steps = list(journal)
    going_on = {step.get("of") for step in steps if step["action"] == "continue"}
    runs: dict[int, Iterator[FrameResult]] = {}
    usual = threads = torch.get_num_threads()
    for step in steps:
        try:
            threads = _threads(step) or threads  # an undo says none, and computes with as many
            torch.set_num_threads(threads)
            if step["action"] in ("propagate", "continue"):
                before = tracker.history.position
                first = step["of"] if step["action"] == "continue" else step["step"]
                if first not in runs:
                    runs[first] = tracker.propagate(
                        step["start"],
                        step["stop"],
                        step["direction"],
                        step["objects"],
                        unfinished=step["unfinished"],
                        until_prompted=step["until_prompted"],
                    )
                frames = step.get("done") or 0
                for _ in range(frames):
                    result = next(runs[first], None)
                    if result is None:
                        raise ProjectError(
                            f"step {step['step']} of the journal ran {frames} frames, "
                            f"which cannot be run again"
                        )
                    yield result
                last = max((s["step"] for s in steps if s.get("of") == first), default=first)
                if first not in going_on or step["step"] == last:
                    with suppress(AttributeError):
                        runs[first].close()  # type: ignore[attr-defined]
                if tracker.history.position == before and not frames:
                    # A process was killed before the run's first state: nothing of it is known,
                    # and yet it is a step that may be taken back.
                    _note_empty(tracker, "propagate", step)
            else:
                before = tracker.history.position
                _do(tracker, step)
                if tracker.history.position == before and step["action"] not in ("undo", "redo"):
                    # In older journals that is a step, too, and may be taken back.
                    _note_empty(tracker, step["action"], step)
                yield None
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            if isinstance(error, Sam2TrackError):
                raise
            raise ProjectError(f"the journal is damaged: {step!r:.200}") from error
        finally:
            torch.set_num_threads(usual)


def _note_empty(tracker: Tracker, kind: str, step: Mapping[str, Any]) -> None:
    """Note a step that changed nothing."""
    action = {key: value for key, value in step.items() if key not in _NOT_SAID}
    with tracker.together(), tracker.history.step(kind, action) as number:  # a run is kept first
        if kind == "propagate":
            tracker.history.set_done(number, 0)


def _threads(step: Mapping[str, Any]) -> int:
    """How many threads torch had; none is said of other devices, and in older projects."""
    said = int(step.get("threads", 0))
    if said < 0:
        raise ValueError(said)
    return min(said, os.cpu_count() or 1)


def _do(tracker: Tracker, step: Mapping[str, Any]) -> None:
    """Repeat one step that runs no frames."""
    kind = step["action"]
    if kind == "prompt":
        said, name = _prompt(step["said"]), step.get("name", "")
        tracker.add(step["object"], step["frame"], said, name=name, alone=True)
    elif kind == "edit":
        painted, name = Prompt.painted(_mask(step["mask"])), step.get("name", "")
        tracker.add(step["object"], step["frame"], painted, name=name, alone=True)
    elif kind == "confirm":
        tracker.confirm(step["object"], step["frame"], alone=True)
    elif kind == "clear":
        tracker.clear(step["object"], step["frame"], alone=True)
    elif kind == "remove":
        tracker.remove(step["object"])
    elif kind == "lock":
        tracker.lock(step["object"], locked=step["locked"])
    elif kind == "rename":
        tracker.rename(step["object"], step["name"])
    elif kind == "merge":
        tracker.merge(step["object"], step["other"])
    elif kind == "split":
        tracker.split_from(step["object"], step["frame"], step["new"])
    elif kind == "swap":
        tracker.swap_from(step["object"], step["other"], step["frame"])
    elif kind == "end":
        tracker.end_at(step["object"], step["frame"])
    elif kind == "divide":
        daughters = {
            int(i): None if mask is None else _mask(mask) for i, mask in step["daughters"].items()
        }
        tracker.divide(step["object"], step["frame"], daughters)
    elif kind == "undo":
        tracker.undo()
    elif kind == "redo":
        tracker.redo()
    else:
        raise ProjectError(f"the journal holds {kind!r}, which this program does not know")
