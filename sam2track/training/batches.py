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

_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
_SMALLEST = 0.004  # of the frame's area: what is prompted is at least this large


@dataclass
class Batch:
    """Clips and the objects to follow in them, as many in each.

    Attributes
    ----------
    pictures : (C, T, S, S, 3) uint8 tensor
        RGB frames of C clips; the first of each is the prompted one.
    labels : (C, T, S, S) uint8 tensor
        Label maps.
    things : (C, N) uint8 tensor
        Numbers of the N objects that are followed in each clip.
    ago : () int64 tensor
        How many frames before the second frame the prompted one lies, as the model is told.
    """

    pictures: torch.Tensor
    labels: torch.Tensor
    things: torch.Tensor
    ago: torch.Tensor

    @property
    def images(self) -> torch.Tensor:
        """Normalised frames, (C, T, 3, S, S) float32."""
        channels = self.pictures.float().unbind(4)
        # No tensor of constants, which would be copied to a GPU at each step.
        parts = zip(channels, _MEAN, _STD, strict=True)
        return torch.stack([(channel - mean) / std for channel, mean, std in parts], dim=2)

    @property
    def masks(self) -> torch.Tensor:
        """Visible masks of the objects, clip by clip, (C * N, T, S, S) bool."""
        return (self.labels[:, None] == self.things[:, :, None, None, None]).flatten(0, 1)


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
    ago = 1
    if frames > 2 and rng.random() < 0.5:
        times[1:] += step * rng.uniform(0, 6)
        ago += int(rng.integers(1, 60))
    return _drawn(rng, source, clips=clips, objects=objects, size=size, times=times, ago=ago)


def _drawn(
    rng: Rng,
    source: Source,
    *,
    clips: int,
    objects: int,
    size: int,
    times: npt.NDArray[np.floating],
    ago: int = 1,
) -> Batch:
    found: list[tuple[Footage, list[int]]] = []
    while len(found) < clips:
        clip = source.take(rng, size, times)
        chosen = _choose(rng, clip.areas, objects)
        if chosen:
            found.append((clip, chosen))
    labels = torch.stack([clip.labels for clip, _ in found])
    device = labels.device
    things = torch.tensor([chosen for _, chosen in found], dtype=torch.uint8, device=device)
    pictures = torch.stack([clip.frames for clip, _ in found])
    return Batch(pictures, labels, things, torch.full((), ago, device=device))


class Stream:
    """Long clips that are gone through in short stretches, each with the first frame before it.

    What the model did on one stretch is carried to the next, without gradient, so it learns to
    go on from its own mistakes as far from the prompt as it will be used.

    Parameters
    ----------
    stretch : int
        Frames of each stretch, the first frame not counted.
    stretches : int
        How many there are.
    """

    def __init__(
        self,
        rng: Rng,
        source: Source,
        *,
        clips: int,
        objects: int,
        size: int,
        stretch: int,
        stretches: int,
    ) -> None:
        times = np.arange(1 + stretch * stretches) * float(rng.choice([0.5, 1.0, 1.0, 1.0, 2.0]))
        self._whole = _drawn(rng, source, clips=clips, objects=objects, size=size, times=times)
        self._at = 1
        self._stretch = stretch
        self.clicks = float(rng.choice([0.0, 0.0, 0.2]))
        self.carried: Carried | None = None

    @property
    def ended(self) -> bool:
        """Whether the clips have been gone through."""
        return self._at >= self._whole.labels.shape[1]

    def end(self) -> None:
        """Leave the rest of the clips."""
        self._at = self._whole.labels.shape[1]

    def next(self) -> Batch:
        """Return the next stretch."""
        begin, self._at = self._at, self._at + self._stretch
        pictures, labels = (
            torch.cat([whole[:, :1], whole[:, begin : self._at]], dim=1)
            for whole in (self._whole.pictures, self._whole.labels)
        )
        ago = torch.full((), begin, device=labels.device)
        return Batch(pictures, labels, self._whole.things, ago)
