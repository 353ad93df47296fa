"""Keeps features of recent frames within a byte budget, so that they are not encoded again."""

from __future__ import annotations

import mmap
from collections import OrderedDict

import torch

from sam2track.machine import free_memory
from sam2track.tracking.encoder import Features

__all__ = ["FeatureStore", "default_budget"]

_MOST = 512 * 2**20
_SHARE = 8  # of the memory that is free, at most one part in so many


def default_budget() -> int:
    """Bytes for features on this machine: an eighth of what is free, 512 MiB at most.

    Where the system does not say what is free, the most is taken.
    """
    free = free_memory()
    return _MOST if free is None else min(_MOST, free // _SHARE)


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

    def move(self, device: torch.device) -> None:
        """Hold all features on another device."""
        for frame, features in self._kept.items():
            self._kept[frame] = features.to(device)

    def put(self, frame: int, features: Features) -> None:
        """Hold a frame's features."""
        if frame in self._kept:
            self.held -= _bytes(self._kept.pop(frame))
        fine, middle, top = features
        features = Features(
            None if fine is None else _apart(fine),
            None if middle is None else _apart(middle),
            _apart(top),
        )
        self._kept[frame] = features
        self.held += _bytes(features)
        while self.held > self.budget and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self.held -= _bytes(old)


def _apart(part: torch.Tensor) -> torch.Tensor:
    """Copy a tensor on the CPU, strides and all, into pages of its own.

    What is dropped then goes back to the system. From malloc's heap, where short-lived tensors
    lie between those that are held, it would not, and the process would grow for thousands of
    frames.
    """
    if part.device.type != "cpu" or not part.numel():
        return part
    pages = mmap.mmap(-1, part.numel() * part.element_size())
    flat = torch.frombuffer(pages, dtype=part.dtype)
    dense = sum((n - 1) * s for n, s in zip(part.shape, part.stride(), strict=True)) + 1
    strided = dense == part.numel()
    copy = flat.as_strided(part.shape, part.stride()) if strided else flat.view(part.shape)
    return copy.copy_(part)


def _bytes(features: Features) -> int:
    return sum(part.untyped_storage().nbytes() for part in features if part is not None)
