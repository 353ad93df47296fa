"""Where tracking stands: enough to go on exactly, as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sam2track.errors import ProjectError

# torch is imported where a state is packed or unpacked: results are read without it.
if TYPE_CHECKING:
    from sam2track.tracking.memory import Memory

__all__ = ["State"]


@dataclass(frozen=True)
class State:
    """The recent memories of all objects in both directions.

    Attributes
    ----------
    pending : dict of int to (dict of bool to int)
        By object and direction (backward or not): the frame that comes next; no entry where
        the pass is finished.
    recent : dict of int to (dict of bool to (dict of int to Memory))
        By object, direction and frame.
    """

    pending: dict[int, dict[bool, int]]
    recent: dict[int, dict[bool, dict[int, Memory]]]

    def parts(self, size: int) -> Iterator[State]:
        """Split by objects into states of about so many bytes; those of one part are itself."""
        ids: list[int] = []
        held = 0
        for object_id in sorted({*self.pending, *self.recent}):
            kept = self.recent.get(object_id, {})
            memories = [memory for frames in kept.values() for memory in frames.values()]
            more = sum(
                tensor.nbytes
                for memory in memories
                for tensor in (memory.spatial, memory.pointer)
                if tensor is not None
            )
            if ids and held + more > size:
                yield self._of(ids)
                ids, held = [], 0
            ids.append(object_id)
            held += more
        yield self._of(ids)

    def _of(self, ids: list[int]) -> State:
        return State(
            {i: self.pending[i] for i in ids if i in self.pending},
            {i: self.recent[i] for i in ids if i in self.recent},
        )

    def to_bytes(self) -> bytes:
        """Pack into safetensors; memories keep their bits."""
        import torch
        from safetensors.torch import save

        pending = [
            [object_id, waiting.get(False), waiting.get(True)]
            for object_id, waiting in sorted(self.pending.items())
        ]
        about = json.dumps(pending)
        tensors = {"about": torch.frombuffer(bytearray(about.encode()), dtype=torch.uint8)}
        for object_id, directions in self.recent.items():
            for backward, kept in directions.items():
                for frame, memory in kept.items():
                    key = f"{object_id}/{int(backward)}/{frame}"
                    tensors[f"{key}/pointer"] = memory.pointer.cpu().contiguous()
                    if memory.spatial is not None:
                        tensors[f"{key}/spatial"] = memory.spatial.cpu().contiguous()
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Unpack.

        Raises
        ------
        ProjectError
            Where the bytes are no state.
        """
        from safetensors.torch import load

        from sam2track.tracking.memory import Memory

        with _damage():
            tensors = load(data)
            pending = _pending(bytes(tensors.pop("about").numpy()))
            recent: dict[int, dict[bool, dict[int, Memory]]] = {}
            for key, tensor in tensors.items():
                object_id, backward, frame, part = key.split("/")
                kept = recent.setdefault(int(object_id), {}).setdefault(backward == "1", {})
                if part == "pointer":
                    spatial = tensors.get(f"{object_id}/{backward}/{frame}/spatial")
                    kept[int(frame)] = Memory(spatial, tensor)
            return cls(pending, recent)

    @staticmethod
    def check(data: bytes) -> int | None:
        """Return how many numbers its pointers have, None without one; needs no torch.

        Raises
        ------
        ProjectError
            As ``from_bytes``.
        """
        from safetensors import deserialize

        with _damage():
            tensors = dict(deserialize(data))  # type: ignore[no-untyped-call]
            _pending(bytes(tensors.pop("about")["data"]))
            sizes = set()
            for key, tensor in tensors.items():
                object_id, _, frame, part = key.split("/")
                int(object_id), int(frame)
                if part == "pointer":
                    sizes.add(int(tensor["shape"][-1]))
            if len(sizes) > 1:
                raise ValueError(f"its pointers have {sorted(sizes)} numbers")
            return next(iter(sizes), None)


def _pending(about: bytes) -> dict[int, dict[bool, int]]:
    return {
        int(object_id): {
            direction: int(frame)
            for direction, frame in ((False, forward), (True, back))
            if frame is not None
        }
        for object_id, forward, back in json.loads(about)
    }


@contextmanager
def _damage() -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ProjectError(f"a stored state is damaged: {error}") from error
