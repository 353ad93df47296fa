"""Keeps features within byte budgets, in memory and on disk, so that no frame is encoded twice."""

from __future__ import annotations

import math
import mmap
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple, cast

import torch

from sam2track.machine import free_memory
from sam2track.tracking.encoder import Features
from sam2track.tracking.overflow import Overflow, disk_budget

__all__ = ["FeatureStore", "default_budget", "new_store"]

_MOST = 512 * 2**20
_LITTLE = 32 * 2**20  # some four frames of a square of 1024 in bfloat16
_SHARE = 8  # of the memory that is free, at most one part in so many


def default_budget(device: torch.device) -> int:
    """Bytes for features on a device: an eighth of what is free there, 512 MiB at most.

    Where the system does not say what is free, the most is taken.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    return _MOST if free is None else min(_MOST, free // _SHARE)


def new_store(
    device: torch.device, budget: int | None, *, on_disk: int | None, folder: Path | None
) -> FeatureStore:
    """Make a store of these budgets, or of what is free where one is None.

    Parameters
    ----------
    device : torch.device
        Where features are made. Those of a GPU do not go to a disk: a frame is encoded sooner
        than read.
    budget, on_disk : int, optional
        Bytes in memory, and on the disk.
    folder : Path, optional
        Where on the disk; nowhere without one.
    """
    if budget is None:
        budget = default_budget(device)
        if budget < _LITTLE:
            warnings.warn(
                f"{device} has little memory that is free: {budget / 2**20:.0f} MiB of it hold "
                "features of frames, so that more of them are encoded again",
                RuntimeWarning,
                stacklevel=2,
            )
    if folder is None or budget == 0 or device.type != "cpu":
        return FeatureStore(budget)
    most = disk_budget(folder) if on_disk is None else on_disk
    return FeatureStore(budget, Overflow(folder, most) if most > 0 else None)


class FeatureStore:
    """Features by frame; those used longest ago make room for new ones.

    Parameters
    ----------
    budget : int
        Most bytes that are held in memory. The frame put last is held whatever its size.
    overflow : Overflow, optional
        Where those go that make room, if they lie on the CPU.
    """

    def __init__(self, budget: int, overflow: Overflow | None = None) -> None:
        self.budget = budget
        self.held = 0
        self._kept: OrderedDict[int, _Held] = OrderedDict()
        self._overflow = overflow
        self._forms: tuple[_Form | None, ...] = ()  # of what is in the overflow

    def __contains__(self, frame: int) -> bool:
        return frame in self._kept or (self._overflow is not None and frame in self._overflow)

    def __len__(self) -> int:
        """How many are held in memory."""
        return len(self._kept)

    def get(self, frame: int) -> Features | None:
        """Return a frame's features, None where they are not held."""
        held = self._kept.get(frame)
        if held is not None:
            self._kept.move_to_end(frame)
        elif self._overflow is not None and frame in self._overflow:
            blank = tuple(None if form is None else _Pages.blank(form) for form in self._forms)
            if self._overflow.get(frame, _pages(blank)):
                held = cast(_Held, blank)
                self._keep(frame, held)
        return None if held is None else _features(held)

    def move(self, device: torch.device) -> None:
        """Hold all features on another device."""
        for frame, held in self._kept.items():
            self._kept[frame] = _held(_features(held).to(device))
        self.held = sum(map(_bytes, self._kept.values()))

    def clear(self) -> None:
        """Hold none."""
        self._kept.clear()
        self.held = 0
        if self._overflow is not None:
            self._overflow.clear()

    def put(self, frame: int, features: Features) -> None:
        """Hold a frame's features."""
        self._keep(frame, _held(features))

    def _keep(self, frame: int, held: _Held) -> None:
        if frame in self._kept:
            self.held -= _bytes(self._kept.pop(frame))
        self._kept[frame] = held
        self.held += _bytes(held)
        while self.held > self.budget and len(self._kept) > 1:
            number, old = self._kept.popitem(last=False)
            self.held -= _bytes(old)
            self._spill(number, old)

    def _spill(self, frame: int, held: _Held) -> None:
        if self._overflow is None or frame in self._overflow:
            return
        if any(isinstance(part, torch.Tensor) for part in held):
            return  # on a GPU frames are encoded sooner than they are read
        forms = tuple(part.form if isinstance(part, _Pages) else None for part in held)
        self._forms = self._forms or forms
        if forms == self._forms:
            self._overflow.put(frame, _pages(held))


class _Form(NamedTuple):
    """What tells a tensor's bytes from bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Pages(NamedTuple):
    """A tensor on the CPU in pages of its own, which go back to the system when it is dropped.

    From malloc's heap, where short-lived tensors lie between those that are held, they would not.
    Nor is a tensor kept that shows them: the few bytes of its head would lie there between
    short-lived ones and split the room of these, so that the heap would grow by a megabyte a frame.
    """

    pages: mmap.mmap
    form: _Form

    @classmethod
    def of(cls, part: torch.Tensor) -> _Pages:
        """Copy a tensor, strides and all where it has no gaps."""
        dense = sum((n - 1) * s for n, s in zip(part.shape, part.stride(), strict=True)) + 1
        if dense != part.numel():
            part = part.contiguous()
        held = cls.blank(_Form(part.dtype, tuple(part.shape), part.stride()))
        held.tensor().copy_(part)
        return held

    @classmethod
    def blank(cls, form: _Form) -> _Pages:
        """Pages of zeros for a tensor."""
        return cls(mmap.mmap(-1, math.prod(form.shape) * form.dtype.itemsize), form)

    def tensor(self) -> torch.Tensor:
        """Show the pages."""
        dtype, shape, stride = self.form
        return torch.frombuffer(self.pages, dtype=dtype).as_strided(shape, stride)


_Part = _Pages | torch.Tensor
_Held = tuple[_Part | None, _Part | None, _Part]


def _held(features: Features) -> _Held:
    def kept(part: torch.Tensor) -> _Part:
        return _Pages.of(part) if part.device.type == "cpu" else part

    fine, middle, top = features
    return (
        None if fine is None else kept(fine),
        None if middle is None else kept(middle),
        kept(top),
    )


def _features(held: _Held) -> Features:
    def shown(part: _Part) -> torch.Tensor:
        return part.tensor() if isinstance(part, _Pages) else part

    fine, middle, top = held
    return Features(
        None if fine is None else shown(fine),
        None if middle is None else shown(middle),
        shown(top),
    )


def _pages(held: tuple[_Part | None, ...]) -> list[mmap.mmap]:
    return [part.pages for part in held if isinstance(part, _Pages)]


def _bytes(held: _Held) -> int:
    return sum(
        len(part.pages) if isinstance(part, _Pages) else part.untyped_storage().nbytes()
        for part in held
        if part is not None
    )
