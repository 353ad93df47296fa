"""What is given up, in which order, where a device has no memory left."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from sam2track.errors import OutOfMemoryError
from sam2track.faults import explained, is_out_of_memory
from sam2track.models.model import Model
from sam2track.models.zoo import smaller
from sam2track.tracking.features import FeatureStore
from sam2track.tracking.graphs import Graphs
from sam2track.tracking.memory import Memory
from sam2track.tracking.objects import Tracked

__all__ = ["Room"]

T = TypeVar("T")


class Room:
    """Runs work again with less where memory runs out.

    First batches become smaller, down to one object; then what objects remember, and features,
    move to main memory; then an ``OutOfMemoryError`` says what would fit. What was given up
    stays so. Masks are the same, to the bounds that other batches have anyway.

    Attributes
    ----------
    batch : int or None
        Most objects in one batch; None while there is no limit but the caller's.
    home : torch.device
        Where state is kept.
    """

    def __init__(self, model: Model, store: FeatureStore, graphs: Graphs) -> None:
        self.model = model
        self.batch: int | None = None
        self.home = model.device
        self._store = store
        self._graphs = graphs

    @property
    def limited(self) -> bool:
        """Whether something was given up."""
        return self.batch is not None or self.home != self.model.device

    def attempt(self, work: Callable[[], T], items: Sequence[Tracked], batch: int = 1) -> T | None:
        """Return what comes of work, None where something was given up and it is to be tried again.

        Parameters
        ----------
        items : sequence of Tracked
            The objects at hand, whose state may move.
        batch : int
            How many of them the work is for at once.

        Raises
        ------
        OutOfMemoryError
            Where nothing is left to give up.
        """
        if self.home != self.model.device:  # given up by an earlier try, maybe for other objects
            self._move(items)
        try:
            return work()
        except (RuntimeError, MemoryError, OSError) as error:  # pages for features are the system's
            if not is_out_of_memory(error):
                if (known := explained(error)) is not None:
                    raise known from error
                raise
            said = " ".join(str(error).split())[:160]
        # Out here nothing holds the tensors of the work any more.
        self._give_up(batch, said)
        return None

    def insist(self, work: Callable[[], T], items: Sequence[Tracked]) -> T:
        """As ``attempt`` with work for one object, again until something comes of it."""
        while (found := self.attempt(work, items)) is None:
            pass
        return found

    def _give_up(self, batch: int, said: str) -> None:
        device = self.model.device
        self._graphs.stop()  # they hold memory for nothing but speed
        if batch > 1:
            if self.batch is None:
                self._say(f"{device} ran out of memory; going on with smaller batches")
            self.batch = batch // 2
        elif self.home != torch.device("cpu"):
            self._say(
                f"{device} ran out of memory with one object at a time; going on with what objects "
                f"remember in main memory, which is slower"
            )
            self.home = torch.device("cpu")
            self._store.move(self.home)
        else:
            raise OutOfMemoryError(
                f"{device} has not enough memory for {self.model.name} at image size "
                f"{self.model.image_size} ({said}); {self._advice()}; what was done is kept"
            )
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()

    def _say(self, message: str) -> None:
        warnings.warn(message, RuntimeWarning, stacklevel=2)

    def _advice(self) -> str:
        size = self.model.image_size // 2 // 64 * 64
        model = smaller(self.model.name)
        ways = [f"--image-size {size}"] if size >= 64 else []
        ways += [f"--model {model}"] if model else []
        if not ways:
            return "free some memory"
        return f"take {' or '.join(ways)}, or free some memory and go on with --resume"

    def _move(self, items: Sequence[Tracked]) -> None:
        for item in items:
            for anchor in item.prompted.values():
                self._settle(anchor.memory)
                anchor.score = anchor.score.to(self.home)
            for recent in item.recent.values():
                for memory in recent.kept.values():
                    self._settle(memory)

    def _settle(self, memory: Memory) -> None:
        memory.pointer = memory.pointer.to(self.home)
        if memory.spatial is not None:
            memory.spatial = memory.spatial.to(self.home)
