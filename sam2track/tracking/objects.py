"""What a tracker knows of one object."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from sam2track.tracking.history import Life
from sam2track.tracking.memory import Memory, Recent

__all__ = ["Anchor", "Tracked"]


@dataclass
class Anchor:
    """What is held in memory of a prompted frame; all else is in the history.

    Attributes
    ----------
    memory : Memory
        The spatial part may be dropped, and is made again when it is looked at.
    score : (1, 1) tensor
        Object score logit.
    iou : float
        Predicted IoU.
    source : str
        ``prompted`` or ``edited``.
    """

    memory: Memory
    score: torch.Tensor
    iou: float
    source: str


@dataclass
class Tracked:
    """All that is known of one object besides its history."""

    object_id: int
    prompted: dict[int, Anchor] = field(default_factory=dict)
    recent: dict[bool, Recent] = field(default_factory=dict)  # by backward
    # Where tracking goes on in each direction; absent where nothing has to be run.
    pending: dict[bool, int] = field(default_factory=dict)
    name: str = ""
    birth: int | None = None
    end: int | None = None
    mother: int | None = None
    locked: bool = False

    @classmethod
    def of(cls, life: Life) -> Tracked:
        """From what a history keeps, without prompted frames."""
        pending = {False: life.forward, True: life.backward}
        return cls(
            life.object_id,
            pending={way: frame for way, frame in pending.items() if frame is not None},
            name=life.name,
            birth=life.birth,
            end=life.end,
            mother=life.mother,
            locked=life.locked,
        )

    @property
    def life(self) -> Life:
        """What a history keeps."""
        return Life(
            self.object_id,
            self.name,
            self.birth,
            self.end,
            self.mother,
            self.locked,
            self.pending.get(False),
            self.pending.get(True),
        )

    @property
    def first(self) -> int:
        """First prompted frame."""
        return min(self.prompted)

    @property
    def last(self) -> int:
        """Last prompted frame."""
        return max(self.prompted)

    def span(self, low: int, high: int) -> tuple[int, int]:
        """What of the frames [low, high) lies within the object's life."""
        return (
            low if self.birth is None else max(low, self.birth),
            high if self.end is None else min(high, self.end),
        )

    def begun(self, frame: int, *, backward: bool) -> bool:
        """Whether tracking in that direction has reached the object on a frame."""
        return frame <= self.last if backward else frame >= self.first

    def say(self, frame: int, anchor: Anchor) -> None:
        """Have a prompted frame; what was said last comes last, as a history gives it back."""
        self.prompted.pop(frame, None)
        self.prompted[frame] = anchor

    def changed(self, frame: int) -> None:
        """Mark what has to be run after what is said of a frame changed."""
        forward = min(self.pending.get(False, frame), frame)
        back = max(self.pending.get(True, frame), frame)
        self.pending = {False: max(forward, self.first), True: min(back, self.last)}

    def copied_recent(self) -> dict[bool, Recent]:
        """Memories of recent frames, which stay where the object's go on."""
        return {
            backward: replace(recent, kept={f: replace(held) for f, held in recent.kept.items()})
            for backward, recent in self.recent.items()
        }

    def remember(self, frame: int, memory: Memory, *, backward: bool) -> None:
        """Remember a frame that was tracked; what the other direction found there is replaced."""
        self.recent[backward].add(frame, memory)
        if (other := self.recent.get(not backward)) is not None:
            other.kept.pop(frame, None)

    def forget_recent(self, frame: int | None = None) -> None:
        """Drop memories of recent frames; given a frame, only those made after it."""
        if frame is None:
            self.recent.clear()
            return
        for backward, recent in self.recent.items():
            recent.kept = {
                f: m for f, m in recent.kept.items() if (f > frame if backward else f < frame)
            }

    def advance(self, frame: int, stop: int, *, backward: bool) -> None:
        """Note that a frame has been run; at ``stop`` nothing is left to run.

        In a run of a range that leaves frames out, what is unfinished stays so. Nor is anything
        left at the object's end, which may have come in between.
        """
        if self.pending.get(backward) != frame:
            return
        following = frame - 1 if backward else frame + 1
        if following == stop or (not backward and following == self.end):
            del self.pending[backward]
        else:
            self.pending[backward] = following

    def skip_to(self, frame: int, *, backward: bool) -> None:
        """Note that frames before this one, in order of tracking, need not be run."""
        waiting = self.pending.get(backward)
        if waiting is None or (waiting <= frame if backward else waiting >= frame):
            return
        if frame < (self.birth or 0):
            del self.pending[backward]
        else:
            self.pending[backward] = frame

    def next_anchor(self, frame: int, *, backward: bool) -> int | None:
        """The prompted frame that comes after a frame in order of tracking."""
        if backward:
            return max((f for f in self.prompted if f < frame), default=None)
        return min((f for f in self.prompted if f > frame), default=None)
