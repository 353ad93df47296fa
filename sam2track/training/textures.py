"""Surfaces for synthetic clips: what grounds and objects look like up close.

Each maker takes a random generator and a side in pixels and returns a float32 array
(side, side, 3) in [0, 1]. Fractal noise and dead leaves share second-order statistics
with photographs (Lee, Mumford and Huang, "Occlusion models for natural images", 2001),
so a model trained on them has something to hold on to in real footage.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["TEXTURES", "Image", "TexturePool", "fractal"]

Image = npt.NDArray[np.float32]
Rng = np.random.Generator


def _stretch(image: Image) -> Image:
    low, high = float(image.min()), float(image.max())
    return (image - low) / max(high - low, 1e-6)


def _clip(image: npt.NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(image, 0, 1), np.float32)


def fractal(rng: Rng, side: int, slope: float | None = None, channels: int = 3) -> Image:
    """Noise whose octaves fall off as a power of frequency."""
    slope = rng.uniform(0.5, 1.3) if slope is None else slope
    total = np.zeros((side, side, channels), np.float32)
    cells, weight = 2, 1.0
    while cells <= side:
        octave = rng.standard_normal((cells, cells, channels)).astype(np.float32)
        total += weight * cv2.resize(octave, (side, side), interpolation=cv2.INTER_CUBIC).reshape(
            side, side, channels
        )
        cells, weight = cells * 2, weight * 2.0**-slope
    return _stretch(total)


def leaves(rng: Rng, side: int) -> Image:
    """Dead leaves: opaque discs and slabs, sizes by a power law."""
    image = np.full((side, side, 3), rng.random(3), np.float32)
    palette = rng.random((int(rng.integers(3, 12)), 3))
    for _ in range(int(rng.integers(60, 220))):
        radius = 3.0 / max(rng.random(), 3.0 / (side / 3)) ** 0.7
        centre = tuple(int(v) for v in rng.integers(-5, side + 5, 2))
        axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.3, 1.0))))
        colour = palette[rng.integers(len(palette))] + rng.normal(0, 0.05, 3)
        cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, colour.tolist(), -1)
    return _clip(image)


def waves(rng: Rng, side: int) -> Image:
    """Stripes and crossed gratings."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    total = np.zeros((side, side, 3), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 40)
        phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period
        wave = np.sin(phase + rng.uniform(0, 6.3))
        if rng.random() < 0.4:
            wave = np.sign(wave)
        total += wave[..., None] * rng.uniform(-1, 1, 3).astype(np.float32)
    return _stretch(total)


def speckle(rng: Rng, side: int) -> Image:
    """Grain of one size."""
    noise = rng.standard_normal((side, side, 3)).astype(np.float32)
    if rng.random() < 0.6:
        noise = noise[..., :1].repeat(3, axis=2)
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.6, 3.5)), np.float32)
    strength = np.float32(rng.uniform(0.08, 0.2) / max(float(noise.std()), 1e-6))
    return _clip(np.float32(0.5) + noise * strength)


def plain(rng: Rng, side: int) -> Image:
    """One colour, shading slowly into another."""
    ends = rng.random((2, 3)).astype(np.float32)
    ends[1] = ends[0] + (ends[1] - ends[0]) * rng.uniform(0, 0.6)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    ramp = _stretch((x * np.cos(angle) + y * np.sin(angle))[..., None])
    return np.asarray(ends[0] * (1 - ramp) + ends[1] * ramp, np.float32)


def blobs(rng: Rng, side: int) -> Image:
    """Fractal noise cut into a few tones, like camouflage."""
    tones = fractal(rng, side, slope=rng.uniform(0.9, 1.6), channels=1)[..., 0]
    count = int(rng.integers(2, 6))
    palette = rng.random((count, 3)).astype(np.float32)
    levels = np.quantile(tones, np.linspace(0, 1, count + 1)[1:-1])
    return palette[np.digitize(tones, levels)]


def mosaic(rng: Rng, side: int) -> Image:
    """Voronoi tiles with grout (held out of training)."""
    count = int(rng.integers(30, 160))
    seeds = np.full((side, side), 255, np.uint8)
    at = rng.integers(0, side, (count, 2))
    seeds[at[:, 1], at[:, 0]] = 0
    distance, nearest = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    palette = rng.random((int(nearest.max()) + 1, 3)).astype(np.float32)
    palette = palette * rng.uniform(0.3, 1.0) + rng.random(3).astype(np.float32) * 0.3
    tiles = palette[nearest]
    edges = cv2.morphologyEx(nearest.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    tiles[edges > 0] *= rng.uniform(0.2, 0.9)
    shade = _stretch(np.asarray(distance, np.float32))[..., None]
    return _clip(tiles * (1 - np.float32(0.2) * shade))


def marble(rng: Rng, side: int) -> Image:
    """Veins: a wave whose phase fractal noise bends (held out of training)."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    bend = fractal(rng, side, slope=1.0, channels=2)
    angle = rng.uniform(0, np.pi)
    phase = (x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(10, 40) + bend[..., 0] * 25
    vein = np.abs(np.sin(phase))[..., None] ** rng.uniform(0.4, 2.0)
    ends = rng.random((2, 3)).astype(np.float32)
    return _clip(ends[0] * vein + ends[1] * (1 - vein) + 0.1 * bend[..., 1:])


TEXTURES: dict[str, Callable[[Rng, int], Image]] = {
    "fractal": fractal,
    "leaves": leaves,
    "waves": waves,
    "speckle": speckle,
    "plain": plain,
    "blobs": blobs,
    "mosaic": mosaic,
    "marble": marble,
}


class TexturePool:
    """Textures ready to use, replaced little by little, since making one is slow.

    Parameters
    ----------
    side : int
        Side of each texture in pixels.
    depth : int
        How many of each kind are kept; 0 makes a new one at every request, so that
        what is drawn depends on the generator's state alone.
    """

    def __init__(self, side: int, depth: int) -> None:
        self.side = side
        self.depth = depth
        self._kept: dict[str, list[Image]] = {}

    def get(self, rng: Rng, kind: str) -> Image:
        """Return a texture of that kind in random colours, (side, side, 3)."""
        make = TEXTURES[kind]
        if self.depth == 0:
            texture = make(rng, self.side)
        else:
            kept = self._kept.setdefault(kind, [])
            if len(kept) < self.depth:
                kept.append(make(rng, self.side))
            elif rng.random() < 0.1:
                kept[int(rng.integers(len(kept)))] = make(rng, self.side)
            texture = kept[int(rng.integers(len(kept)))]
        mix = rng.dirichlet(np.ones(3) * 0.7, 3).astype(np.float32)
        contrast = np.float32(rng.uniform(0.3, 1.0))
        offset = rng.random(3).astype(np.float32) * (1 - contrast)
        return _clip(texture @ mix.T * contrast + offset)
