"""Work on a batch of objects that a device was given, maybe before its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sam2track.tracking.conditioning import Reading
from sam2track.tracking.fetching import Fetch
from sam2track.tracking.memory import Memory
from sam2track.tracking.objects import Tracked

__all__ = ["Launch"]


@dataclass
class Launch:
    """One batch of one frame.

    Attributes
    ----------
    frame : int
    backward : bool
        Direction of tracking.
    items : list of Tracked
        The objects.
    readings : list of Reading
        What each looks at.
    memories : list of Memory
        What each will remember of the frame.
    fetch : Fetch
        Logits, (B, 1, 4h, 4w), scores and predicted IoU, (B,), and pointers, (B, C).
    """

    frame: int
    backward: bool
    items: list[Tracked]
    readings: list[Reading]
    memories: list[Memory]
    fetch: Fetch

    def is_for(
        self,
        frame: int,
        items: Sequence[Tracked],
        readings: Sequence[Reading],
        *,
        backward: bool,
    ) -> bool:
        """Whether this is what is asked for.

        That is the same frame of the same objects, looking at the very same memories: whatever was
        said of them meanwhile, then nothing else would come of it.
        """
        return (
            (self.frame, self.backward) == (frame, backward)
            and len(self.items) == len(items)
            and all(one is other for one, other in zip(self.items, items, strict=True))
            and all(map(Reading.is_same, self.readings, readings))
        )
