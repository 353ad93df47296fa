"""An object's past: what is kept of objects, prompts and frames, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError
from sam2track.prompts import Prompt
from sam2track.tracking.result import FrameResult
from sam2track.tracking.state import State

__all__ = ["SOURCES", "Answer", "History", "Life", "Record", "Unanswered"]

SOURCES = ("prompted", "forward", "backward", "carried", "edited")


@dataclass(frozen=True, eq=False)
class Record:
    """One object on one frame.

    Attributes
    ----------
    object_id, frame : int
    logits : (4h, 4w) float32 array
        Before hole filling. A history may give back what twelve bits hold of them.
    pointer : (C,) float32 array
        Object pointer.
    score, iou : float
        Object score logit and predicted IoU.
    source : str
        One of ``SOURCES``: how the mask came about.
    mask : bytes, optional
        Run lengths of the mask as it was shown, where the history holds them.
    key : int, optional
        By which the history finds it again, also when it has been replaced.
    """

    object_id: int
    frame: int
    logits: npt.NDArray[np.float32]
    pointer: npt.NDArray[np.float32]
    score: float
    iou: float
    source: str
    mask: bytes | None = None
    key: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """A prompt and what came of it.

    Attributes
    ----------
    prompt : Prompt
    record : Record
        The frame's mask; its logits are exact.
    tracked : Record, optional
        What tracking gave on the frame before anything was said of it.
    """

    prompt: Prompt
    record: Record
    tracked: Record | None


@dataclass(frozen=True, eq=False)
class Unanswered:
    """A prompt that was stored without a model, and waits for one.

    Attributes
    ----------
    step : int
        By which it was said.
    object_id, frame : int
    prompt : Prompt
    holds : bool
        Whether it is what is said now; else another has taken its place.
    """

    step: int
    object_id: int
    frame: int
    prompt: Prompt
    holds: bool


@dataclass(frozen=True)
class Life:
    """What is known of an object besides its frames.

    Attributes
    ----------
    object_id : int
    name : str
        Empty where a person gave none.
    birth, end : int, optional
        It is on frames [birth, end) alone; no limit where None.
    mother : int, optional
        The object of which it is a daughter since its birth.
    locked : bool
        Nothing of it may change, and no other that is not takes its pixels in label maps.
    forward, backward : int, optional
        The frame that comes next in each direction; None where nothing has to be run.
    since : int
        The step that changed it last.
    """

    object_id: int
    name: str = ""
    birth: int | None = None
    end: int | None = None
    mother: int | None = None
    locked: bool = False
    forward: int | None = None
    backward: int | None = None
    since: int = 0

    def check_alive(self, frame: int) -> None:
        """PromptError where the object is not there yet, or no longer."""
        if self.birth is not None and frame < self.birth:
            raise PromptError(
                f"object {self.object_id} begins on frame {self.birth}, as a daughter or a part "
                f"that was split off; frame {frame} lies before that"
            )
        if self.end is not None and frame >= self.end:
            raise PromptError(
                f"object {self.object_id} ends before frame {self.end}; to say something of frame "
                f"{frame}, let it end later or not at all"
            )


class History(Protocol):
    """Where a tracker keeps the past of its objects.

    Everything is written in steps, one for each thing that a person does. What a step replaced
    stays, so that the step can be taken back.
    """

    @property
    def folder(self) -> Path | None:
        """A folder on the disk where it lies, None where there is none."""
        ...

    @property
    def position(self) -> int:
        """The last step that is in force."""
        ...

    def bind(self, leave: Callable[[], None], made_with: Mapping[str, Any]) -> None:
        """Serve a tracker, which one at a time may do; the one before is told to leave.

        Parameters
        ----------
        leave : method
            Called before another tracker is served, and before the history is closed.
        made_with : mapping of str to JSON value or callable
            Source, model and settings, as a project's ``meta``.

        Raises
        ------
        ProjectError
            Where it was made with others.
        """
        ...

    def extend(self, frame: int, height: int, width: int) -> None:
        """Know of a stream's next frame, (height, width), before anything is kept of it.

        Raises
        ------
        ProjectError
            Where frames are of another size.
        """
        ...

    def step(self, kind: str, action: Mapping[str, Any]) -> AbstractContextManager[int]:
        """Begin a step and keep all that is written within, or nothing of it."""
        ...

    def transaction(self) -> AbstractContextManager[object]:
        """Keep all that is written within, or nothing of it."""
        ...

    def together(self) -> AbstractContextManager[object]:
        """Keep all steps that are done within, or none of them."""
        ...

    def undo(self) -> dict[str, Any] | None:
        """Take back the last step; None where there is none."""
        ...

    def redo(self) -> dict[str, Any] | None:
        """Put back the step that was taken back last; None where there is none."""
        ...

    def set_done(self, step: int, frames: int) -> None:
        """Note how many frames a step has run."""
        ...

    def lives(self) -> list[Life]:
        """Return all objects."""
        ...

    def next_id(self, above: int = 0) -> int:
        """Return the lowest number above one that no object has or had."""
        ...

    def keep_life(self, life: Life) -> None:
        """Keep an object."""
        ...

    def drop_life(self, object_id: int) -> None:
        """Forget an object with its prompts and frames."""
        ...

    def say(
        self,
        object_id: int,
        frame: int,
        prompt: Prompt,
        logits: npt.NDArray[np.float32] | None,
        tracked: Record | None,
    ) -> None:
        """Keep a prompt, with the exact logits that answer it."""
        ...

    def unsay(self, object_id: int, frame: int) -> None:
        """Drop a prompt."""
        ...

    def said(self, object_id: int, frame: int) -> Answer | None:
        """Return a prompt and what came of it."""
        ...

    def bring_back(self, object_id: int, frame: int, key: int) -> None:
        """Let an earlier record hold again, unless it is older than what was said elsewhere."""
        ...

    def unanswered(self) -> list[Unanswered]:
        """Return the prompts that wait for a model, in the order in which they were said."""
        ...

    def as_of(self, step: int) -> AbstractContextManager[None]:
        """Read all within as it was after an earlier step."""
        ...

    def answer(self, result: FrameResult, record: Record, tracked: Record | None) -> None:
        """Keep what came of a prompt that waited, for as long as that prompt holds."""
        ...

    def anchors(self, object_id: int) -> list[tuple[int, Record | None]]:
        """Return an object's prompted frames, those said last at the end; None: not answered yet.

        The records are without logits.
        """
        ...

    def put(self, result: FrameResult, records: Sequence[Record]) -> None:
        """Keep what came of a frame; replaces what was there.

        The records are those of the result's objects, in the same order.
        """
        ...

    def get(self, object_id: int, frame: int) -> Record | None:
        """Return what is kept of an object on a frame."""
        ...

    def stale(self, object_id: int, frame: int, prompted: int) -> bool:
        """Whether a frame is missing, or older than what was said of another."""
        ...

    def frames_of(self, object_id: int) -> list[int]:
        """Return the frames on which something is kept of an object, ascending."""
        ...

    def forget(
        self, object_id: int, start: int = 0, stop: int | None = None, *, source: str | None = None
    ) -> None:
        """Drop an object's frames in [start, stop), or those alone that came about in one way."""
        ...

    def relabel(self, ids: Mapping[int, int], start: int = 0, *, where_free: bool = False) -> None:
        """Give frames from ``start`` on and their prompts to other objects."""
        ...

    def save_state(self, state: State, step: int, done: int) -> None:
        """Keep where tracking stands after so many frames of a step."""
        ...

    def last_state(self) -> tuple[State, int, int] | None:
        """Return the last state that holds, its step, and how many frames that had run."""
        ...

    def close(self) -> None:
        """Release files."""
        ...
