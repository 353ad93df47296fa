"""Keeps features of recent frames within a byte budget, so that they are not encoded again."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from sam2track.tracking.encoder import Features

__all__ = ["FeatureStore", "default_budget"]

_MOST = 512 * 2**20
_SHARE = 8  # of the memory that is free, at most one part in so many


def default_budget() -> int:
    """Bytes for features on this machine: an eighth of what is free, 512 MiB at most.

    What is free is read from the system, and from the limits of a container where there are
    any; where neither can be read, the most is taken.
    """
    free = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            free.append(int(limit) - int((group / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):
        pass  # another system, or no container
    return min([_MOST, *(max(0, value) // _SHARE for value in free)])


class FeatureStore:
    """Features by frame; those used longest ago make room for new ones.

    Parameters
    ----------
    budget : int
        Most bytes that are held. The frame put last is held whatever its size.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.held = 0
        self._kept: OrderedDict[int, Features] = OrderedDict()

    def __contains__(self, frame: int) -> bool:
        return frame in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, frame: int) -> Features | None:
        """Return a frame's features, None where they are not held."""
        features = self._kept.get(frame)
        if features is not None:
            self._kept.move_to_end(frame)
        return features

    def put(self, frame: int, features: Features) -> None:
        """Hold a frame's features."""
        if frame in self._kept:
            self.held -= _bytes(self._kept.pop(frame))
        self._kept[frame] = features
        self.held += _bytes(features)
        while self.held > self.budget and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self.held -= _bytes(old)


def _bytes(features: Features) -> int:
    return sum(part.untyped_storage().nbytes() for part in features if part is not None)
