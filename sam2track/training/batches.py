"""Batches of synthetic clips and of objects to follow in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sam2track.training.scenes import TRAINING, draw_clip
from sam2track.training.textures import Rng, TexturePool

__all__ = ["Batch", "draw_batch"]

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
    names = list(TRAINING)
    images: list[npt.NDArray[np.float32]] = []
    labels: list[npt.NDArray[np.uint8]] = []
    masks: list[npt.NDArray[np.bool_]] = []
    owner: list[int] = []
    while len(images) < clips:
        family = TRAINING[str(rng.choice(names))]
        clip = draw_clip(family, rng, size=size, times=times, pool=pool)
        chosen = _choose(rng, clip.labels, objects)
        if not chosen:
            continue
        masks += [clip.labels == number for number in chosen]
        owner += [len(images)] * objects
        pixels = (clip.frames.astype(np.float32) - _MEAN) / _STD
        images.append(pixels.transpose(0, 3, 1, 2))
        labels.append(clip.labels)
    return Batch(
        images=torch.from_numpy(np.stack(images)),
        labels=torch.from_numpy(np.stack(labels)),
        masks=torch.from_numpy(np.stack(masks)),
        clip=torch.tensor(owner),
        frame_numbers=numbers,
    )
