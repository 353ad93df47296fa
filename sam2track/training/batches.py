"""Batches of synthetic clips and of objects to follow in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from sam2track.training.footage import Footage, Source
from sam2track.training.textures import Rng

if TYPE_CHECKING:
    from sam2track.training.unroll import Carried

__all__ = ["Batch", "Stream", "draw_batch"]

_MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
_STD = [0.229 * 255, 0.224 * 255, 0.225 * 255]
_SMALLEST = 0.004  # of the frame's area: what is prompted is at least this large


@dataclass
class Batch:
    """Clips and the objects to follow in them.

    Attributes
    ----------
    images : (C, T, 3, S, S) float32 tensor
        Normalised frames of C clips.
    labels : (C, T, S, S) uint8 tensor
        Label maps.
    masks : (B, T, S, S) bool tensor
        Visible masks of the B objects that are followed.
    clip : (B,) int64 tensor
        Clip of each object.
    frame_numbers : list of int
        What the model is told of each frame's time.
    """

    images: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor
    clip: torch.Tensor
    frame_numbers: list[int]


def _choose(rng: Rng, areas: npt.NDArray[np.int64], count: int) -> list[int]:
    fit = np.flatnonzero(areas[0] >= _SMALLEST * areas[0].sum())
    fit = fit[fit > 0]
    if not len(fit):
        return []
    # Those that are still seen later teach more than those that are gone at once.
    stay = (areas[:, fit] > 0).mean(axis=0)
    weights = (0.15 + stay) / (0.15 + stay).sum()
    return [int(n) for n in rng.choice(fit, count, replace=len(fit) < count, p=weights)]


def draw_batch(
    rng: Rng, source: Source, *, clips: int, frames: int, objects: int, size: int
) -> Batch:
    """Draw clips of random families with random gaps between frames.

    The first frame is the prompted one; the model may be told that it lies further back
    than it does, so that it learns to use a prompt from long ago.
    """
    step = float(rng.choice([0.7, 1.0, 1.0, 2.0, 3.0]))
    times = np.arange(frames) * step
    numbers = list(range(frames))
    if frames > 2 and rng.random() < 0.5:
        times[1:] += step * rng.uniform(0, 6)
        jump = int(rng.integers(1, 60))
        numbers = [0] + [n + jump for n in numbers[1:]]
    chosen = _take(rng, source, clips=clips, objects=objects, size=size, times=times)
    return _as_batch(chosen, list(range(frames)), numbers)


_Chosen = list[tuple[Footage, list[int]]]  # clips, each with the things to follow in it


def _take(
    rng: Rng,
    source: Source,
    *,
    clips: int,
    objects: int,
    size: int,
    times: npt.NDArray[np.floating],
) -> _Chosen:
    found: _Chosen = []
    while len(found) < clips:
        clip = source.take(rng, size, times)
        chosen = _choose(rng, clip.areas, objects)
        if chosen:
            found.append((clip, chosen))
    return found


def _as_batch(found: _Chosen, frames: list[int], numbers: list[int]) -> Batch:
    pictures = torch.stack([clip.frames[frames] for clip, _ in found])
    labels = torch.stack([clip.labels[frames] for clip, _ in found])
    device = labels.device
    owner = [index for index, (_, chosen) in enumerate(found) for _ in chosen]
    clip = torch.tensor(owner, device=device)
    number = torch.tensor([n for _, chosen in found for n in chosen], device=device)
    images = (pictures.float() - torch.tensor(_MEAN, device=device)) / torch.tensor(
        _STD, device=device
    )
    return Batch(
        images=images.permute(0, 1, 4, 2, 3).contiguous(),
        labels=labels,
        masks=labels[clip] == number[:, None, None, None],
        clip=clip,
        frame_numbers=numbers,
    )


class Stream:
    """Long clips that are gone through in short stretches, each with the first frame before it.

    What the model did on one stretch is carried to the next, without gradient, so it learns to
    go on from its own mistakes as far from the prompt as it will be used.

    Parameters
    ----------
    length : int
        Frames of each clip.
    stretch : int
        Frames of each stretch, the first frame not counted.
    """

    def __init__(
        self,
        rng: Rng,
        source: Source,
        *,
        clips: int,
        objects: int,
        size: int,
        length: int,
        stretch: int,
    ) -> None:
        times = np.arange(length) * float(rng.choice([0.5, 1.0, 1.0, 1.0, 2.0]))
        self._found = _take(rng, source, clips=clips, objects=objects, size=size, times=times)
        self._at = 1
        self._length, self._stretch = length, stretch
        self.clicks = float(rng.choice([0.0, 0.0, 0.2]))
        self.carried: Carried | None = None

    @property
    def ended(self) -> bool:
        """Whether the clips have been gone through."""
        return self._at >= self._length

    def next(self) -> Batch:
        """Return the next stretch."""
        stop = min(self._at + self._stretch, self._length)
        numbers = [0, *range(self._at, stop)]
        self._at = stop
        return _as_batch(self._found, numbers, numbers)
