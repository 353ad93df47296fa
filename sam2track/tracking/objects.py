"""What a tracker knows of one object."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from sam2track.prompts import Prompt
from sam2track.tracking.history import Record
from sam2track.tracking.memory import Memory, Recent

__all__ = ["Prompted", "Tracked"]


@dataclass
class Prompted:
    """A prompt and what came of it."""

    prompt: Prompt
    logits: torch.Tensor  # (1, 1, 4h, 4w), before hole filling
    filled: torch.Tensor
    score: torch.Tensor  # (1, 1)
    iou: float
    memory: Memory  # the spatial part may be dropped, and is made again when looked at
    tracked: Record | None  # what tracking gave on the frame before anything was said of it


@dataclass
class Tracked:
    """All that is known of one object besides its history."""

    object_id: int
    prompted: dict[int, Prompted] = field(default_factory=dict)
    recent: dict[bool, Recent] = field(default_factory=dict)  # by backward
    # Where tracking goes on in each direction; absent where nothing has to be run.
    pending: dict[bool, int] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """First prompted frame."""
        return min(self.prompted)

    @property
    def last(self) -> int:
        """Last prompted frame."""
        return max(self.prompted)

    def begun(self, frame: int, *, backward: bool) -> bool:
        """Whether tracking in that direction has reached the object on a frame."""
        return frame <= self.last if backward else frame >= self.first

    def advance(self, frame: int, frames: int, *, backward: bool) -> None:
        """Note that a frame of a source of so many frames has been run.

        In a run of a range that leaves frames out, what is unfinished stays so.
        """
        if self.pending.get(backward) != frame:
            return
        following = frame - 1 if backward else frame + 1
        if 0 <= following < frames:
            self.pending[backward] = following
        else:
            del self.pending[backward]

    def skip_to(self, frame: int, *, backward: bool) -> None:
        """Note that frames before this one, in order of tracking, need not be run."""
        waiting = self.pending.get(backward)
        if waiting is None or (waiting <= frame if backward else waiting >= frame):
            return
        if frame < 0:
            del self.pending[backward]
        else:
            self.pending[backward] = frame
