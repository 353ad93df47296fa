"""Batches of synthetic clips and of objects to follow in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from sam2track.training.scenes import TRAINING, Clip, draw_clip
from sam2track.training.textures import Rng, TexturePool

if TYPE_CHECKING:
    from sam2track.training.unroll import Carried

__all__ = ["Batch", "Stream", "draw_batch"]

_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
_STD = np.array([0.229, 0.224, 0.225], np.float32) * 255
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


def _choose(rng: Rng, labels: npt.NDArray[np.uint8], count: int) -> list[int]:
    numbers, areas = np.unique(labels[0], return_counts=True)
    fit = numbers[(numbers > 0) & (areas >= _SMALLEST * labels[0].size)]
    if not len(fit):
        return []
    # Those that are still seen later teach more than those that are gone at once.
    stay = np.array([(labels == n).any(axis=(1, 2)).mean() for n in fit])
    weights = (0.15 + stay) / (0.15 + stay).sum()
    return [int(n) for n in rng.choice(fit, count, replace=len(fit) < count, p=weights)]


def draw_batch(
    rng: Rng, pool: TexturePool, *, clips: int, frames: int, objects: int, size: int
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
    drawn = _draw_clips(rng, pool, clips=clips, objects=objects, size=size, times=times)
    return _as_batch(drawn, list(range(frames)), numbers)


_Drawn = list[tuple[Clip, list[int]]]  # clips, each with the things to follow in it


def _draw_clips(
    rng: Rng,
    pool: TexturePool,
    *,
    clips: int,
    objects: int,
    size: int,
    times: npt.NDArray[np.floating],
) -> _Drawn:
    names = list(TRAINING)
    drawn: _Drawn = []
    while len(drawn) < clips:
        family = TRAINING[str(rng.choice(names))]
        clip = draw_clip(family, rng, size=size, times=times, pool=pool)
        chosen = _choose(rng, clip.labels, objects)
        if chosen:
            drawn.append((clip, chosen))
    return drawn


def _as_batch(drawn: _Drawn, frames: list[int], numbers: list[int]) -> Batch:
    images = [
        ((clip.frames[frames].astype(np.float32) - _MEAN) / _STD).transpose(0, 3, 1, 2)
        for clip, _ in drawn
    ]
    masks = [clip.labels[frames] == number for clip, chosen in drawn for number in chosen]
    owner = [index for index, (_, chosen) in enumerate(drawn) for _ in chosen]
    return Batch(
        images=torch.from_numpy(np.stack(images)),
        labels=torch.from_numpy(np.stack([clip.labels[frames] for clip, _ in drawn])),
        masks=torch.from_numpy(np.stack(masks)),
        clip=torch.tensor(owner),
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
        pool: TexturePool,
        *,
        clips: int,
        objects: int,
        size: int,
        length: int,
        stretch: int,
    ) -> None:
        times = np.arange(length) * float(rng.choice([0.5, 1.0, 1.0, 1.0, 2.0]))
        self._drawn = _draw_clips(rng, pool, clips=clips, objects=objects, size=size, times=times)
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
        return _as_batch(self._drawn, numbers, numbers)
