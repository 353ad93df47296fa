"""Synthetic clips with ground truth: textured shapes and cells that move among others.

A scene is a ground, a camera and a few things in front of one another; a thing is one to
four parts, each a closed outline with a surface. Everything moves along smooth curves of
continuous time, so a clip can be drawn at any times and with any gaps between frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from sam2track.training.textures import Image, Rng, TexturePool, fractal

__all__ = ["FAMILIES", "HELD_OUT", "TRAINING", "Clip", "Family", "draw_clip"]

_ANGLES = np.linspace(0, 2 * np.pi, 49)[:-1]


@dataclass(frozen=True)
class Clip:
    """A drawn clip.

    Attributes
    ----------
    frames : (T, H, W, 3) uint8 array
        RGB pictures.
    labels : (T, H, W) uint8 array
        Number of the thing that is seen at each pixel, 0 for the ground.
    """

    frames: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Family:
    """One kind of scene.

    Parameters
    ----------
    ground, surface : tuple of str
        Kinds of textures for the ground and for the things.
    shapes : tuple of str
        Kinds of outlines: ``blob``, ``polygon``, ``star``, ``rod``, ``spline``.
    look : {"natural", "fluorescence", "phase"}
        How a thing is lit: opaque; bright on dark; a dark body in a bright halo.
    count : (int, int)
        Fewest and most things.
    radius : (float, float)
        Smallest and largest radius, in parts of the frame's side.
    parts : int
        Most parts of one thing.
    colour : float
        Probability that the clip is in colour.
    twins : float
        Probability that a thing looks like the one before it.
    camera, speed : float
        Strength of the camera's and of the things' motion.
    """

    ground: tuple[str, ...]
    surface: tuple[str, ...]
    shapes: tuple[str, ...]
    look: str = "natural"
    count: tuple[int, int] = (2, 8)
    radius: tuple[float, float] = (0.06, 0.25)
    parts: int = 3
    colour: float = 0.85
    twins: float = 0.3
    camera: float = 1.0
    speed: float = 1.0


TRAINING: dict[str, Family] = {
    "leaves": Family(
        ground=("leaves", "blobs"),
        surface=("leaves", "blobs", "plain", "fractal"),
        shapes=("blob", "polygon", "rod"),
        parts=4,
    ),
    "clouds": Family(
        ground=("fractal", "speckle"),
        surface=("fractal", "speckle", "plain", "leaves"),
        shapes=("blob", "star", "polygon"),
        parts=4,
    ),
    "signs": Family(
        ground=("waves", "plain", "leaves", "fractal"),
        surface=("waves", "plain", "blobs"),
        shapes=("polygon", "star", "rod", "blob"),
        parts=2,
    ),
    "nuclei": Family(
        ground=("plain", "fractal"),
        surface=("fractal", "speckle"),
        shapes=("blob",),
        look="fluorescence",
        count=(4, 16),
        radius=(0.04, 0.13),
        parts=1,
        colour=0.1,
        twins=0.9,
        camera=0.25,
        speed=0.6,
    ),
    "cells": Family(
        ground=("fractal", "speckle", "plain"),
        surface=("fractal", "speckle"),
        shapes=("blob", "star"),
        look="phase",
        count=(3, 12),
        radius=(0.05, 0.17),
        parts=1,
        colour=0.1,
        twins=0.9,
        camera=0.25,
        speed=0.6,
    ),
    "yeast": Family(
        ground=("fractal", "speckle", "plain"),
        surface=("plain", "speckle", "fractal"),
        shapes=("rod", "blob"),
        look="phase",
        count=(6, 14),
        radius=(0.05, 0.14),
        parts=1,
        colour=0.0,
        twins=1.0,
        camera=0.25,
        speed=0.6,
    ),
}

HELD_OUT: dict[str, Family] = {
    "bacteria": Family(
        ground=("speckle", "fractal"),
        surface=("plain", "speckle"),
        shapes=("capsule",),
        look="phase",
        count=(6, 14),
        radius=(0.07, 0.13),
        parts=1,
        colour=0.0,
        twins=1.0,
        camera=0.25,
        speed=0.6,
    ),
    "tiles": Family(
        ground=("mosaic",),
        surface=("mosaic",),
        shapes=("spline",),
        radius=(0.1, 0.25),
        parts=2,
    ),
    "veins": Family(
        ground=("marble", "fractal"),
        surface=("marble",),
        shapes=("spline", "capsule"),
        radius=(0.1, 0.25),
        parts=2,
    ),
}

FAMILIES: dict[str, Family] = TRAINING | HELD_OUT


@dataclass
class _Wander:
    """A smooth random function of time: a constant, a drift and two waves."""

    start: float
    drift: float
    waves: npt.NDArray[np.float64]  # (2, 3): amplitude, angular frequency, phase

    @classmethod
    def draw(cls, rng: Rng, start: float, drift: float, sway: float) -> _Wander:
        waves = np.stack(
            [rng.normal(0, sway, 2), rng.uniform(0.02, 0.25, 2), rng.uniform(0, 2 * np.pi, 2)],
            axis=1,
        )
        waves[1, 0] *= 0.4
        return cls(start, rng.normal(0, drift) if drift else 0.0, waves)

    def __call__(self, time: float) -> float:
        amplitude, rate, phase = self.waves.T
        sway = amplitude * (np.sin(rate * time + phase) - np.sin(phase))
        return float(self.start + self.drift * time + sway.sum())


@dataclass
class _Part:
    radii: npt.NDArray[np.float64]  # outline in polar form, one value per angle
    wobble: npt.NDArray[np.float64]  # (harmonics, 4): order, amplitude, rate, phase
    stretch: float
    surface: Image
    corner: tuple[float, float]
    offset: tuple[float, float]
    swing: _Wander

    def outline(self, time: float) -> npt.NDArray[np.float64]:
        order, amplitude, rate, phase = self.wobble.T
        waves = amplitude[:, None] * np.sin(
            order[:, None] * _ANGLES + (rate * time + phase)[:, None]
        )
        radii = self.radii * (1 + waves.sum(axis=0))
        points = np.stack([radii * np.cos(_ANGLES), radii * np.sin(_ANGLES)], axis=1)
        return points * (self.stretch, 1 / self.stretch)


@dataclass
class _Thing:
    x: _Wander
    y: _Wander
    angle: _Wander
    size: _Wander  # logarithm of the radius in parts of the frame's side
    bright: _Wander
    parts: list[_Part] = field(default_factory=list)
    labelled: bool = True
    bounce: float = 1.0


def _radii(rng: Rng, shape: str) -> tuple[npt.NDArray[np.float64], float]:
    """Outline in polar form with mean radius about 1, and how much longer it is than wide."""
    if shape == "blob":
        radii = np.ones_like(_ANGLES)
        for order in range(2, 7):
            amplitude = rng.normal(0, 0.25 / order)
            radii += amplitude * np.cos(order * _ANGLES + rng.uniform(0, 6.3))
        return np.clip(radii, 0.3, 2), float(rng.uniform(1, 1.4))
    if shape == "rod":
        return np.ones_like(_ANGLES), float(rng.uniform(1.5, 2.4))
    if shape == "capsule":
        # A stadium: a segment of half-length ``half`` swept by a disc of radius 0.45.
        half, thick = rng.uniform(0.5, 1.1), 0.45
        cos, sin = np.abs(np.cos(_ANGLES)), np.abs(np.sin(_ANGLES))
        side = thick / np.maximum(sin, 1e-6)
        cap = half * cos + np.sqrt(np.maximum(thick**2 - (half * sin) ** 2, 0))
        return np.where(side * cos <= half, side, cap), 1.0
    if shape == "star":
        tips, depth = int(rng.integers(3, 9)), rng.uniform(0.15, 0.4)
        wave = 2 * np.abs(((_ANGLES * tips / (2 * np.pi)) % 1) - 0.5)
        return 1 - depth + 2 * depth * wave, float(rng.uniform(1, 1.3))
    if shape == "spline":
        knots = rng.uniform(0.45, 1.35, int(rng.integers(5, 9)))
        wrapped = np.concatenate([knots, knots[:1]])
        smooth = np.interp(_ANGLES, np.linspace(0, 2 * np.pi, len(wrapped)), wrapped)
        kernel = np.hanning(9) / np.hanning(9).sum()
        return np.convolve(np.concatenate([smooth[-4:], smooth, smooth[:4]]), kernel, "valid"), 1.0
    # A polygon: the distance to the nearest of a few straight sides.
    sides = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    sides = np.concatenate([sides, np.linspace(0, 2 * np.pi, 4)[:-1] + rng.uniform(0, 2)])
    cosine = np.maximum(np.cos(_ANGLES[:, None] - sides), 1e-3)
    return np.minimum((rng.uniform(0.6, 1.0, len(sides)) / cosine).min(axis=1), 1.6), float(
        rng.uniform(1, 1.5)
    )


def _draw_thing(
    rng: Rng, family: Family, pool: TexturePool, twin: _Thing | None, *, occluder: bool
) -> _Thing:
    low, high = np.log(family.radius[0]), np.log(family.radius[1])
    speed = family.speed
    leaves = rng.random() < 0.35
    thing = _Thing(
        x=_Wander.draw(rng, rng.uniform(0.05, 0.95), 0.006 * speed, 0.08 * speed),
        y=_Wander.draw(rng, rng.uniform(0.05, 0.95), 0.006 * speed, 0.08 * speed),
        angle=_Wander.draw(rng, rng.uniform(0, 6.3), 0.015 * speed, 0.3 * speed),
        size=_Wander.draw(rng, rng.uniform(low, high), 0.002, 0.1),
        bright=_Wander.draw(rng, 1.0, 0.0, 0.08),
        labelled=not occluder,
        bounce=1.35 if leaves else 1.0,
    )
    if twin is not None:
        thing.size.start = twin.size.start + rng.normal(0, 0.12)
    count = 1 if rng.random() < 0.5 else int(rng.integers(1, family.parts + 1))
    for index in range(count):
        if twin is not None and index < len(twin.parts) and rng.random() < 0.6:
            like = twin.parts[index]
            radii, stretch, surface = like.radii, like.stretch, like.surface
        else:
            radii, stretch = _radii(rng, str(rng.choice(family.shapes)))
            same = thing.parts[0] if thing.parts else (twin.parts[0] if twin else None)
            surface = (
                same.surface
                if same is not None and (twin is not None or rng.random() < 0.4)
                else pool.get(rng, str(rng.choice(family.surface)))
            )
        order = np.arange(2, 6)
        wobble = np.stack(
            [order, rng.normal(0, 0.16, 4) / order, rng.normal(0, 0.12, 4), rng.uniform(0, 6.3, 4)],
            axis=1,
        )
        if "capsule" in family.shapes:
            wobble[:, 1] *= 0.2
        reach = 0.0 if index == 0 else rng.uniform(0.5, 1.0)
        direction = rng.uniform(0, 2 * np.pi)
        scale = 1.0 if index == 0 else rng.uniform(0.35, 0.8)
        thing.parts.append(
            _Part(
                radii=radii * scale,
                wobble=wobble,
                stretch=stretch,
                surface=surface,
                corner=(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)),
                offset=(reach * np.cos(direction), reach * np.sin(direction)),
                swing=_Wander.draw(rng, 0.0, 0.0, 0.4),
            )
        )
    return thing


def _fold(value: float, reach: float) -> float:
    """Reflect a coordinate so that it stays within (1 - reach, reach)."""
    span = 2 * reach - 1
    offset = (value - (1 - reach)) % (2 * span)
    return (1 - reach) + (offset if offset <= span else 2 * span - offset)


def _rotation(angle: float) -> npt.NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _paint(
    frame: Image,
    labels: npt.NDArray[np.uint8],
    number: int,
    thing: _Thing,
    time: float,
    camera: npt.NDArray[np.float64],
    look: str,
) -> None:
    height, width = labels.shape
    side = min(height, width)
    centre = np.array([_fold(thing.x(time), thing.bounce), _fold(thing.y(time), thing.bounce)])
    radius = np.exp(np.clip(thing.size(time), np.log(0.02), np.log(0.4)))
    turn = _rotation(thing.angle(time))
    bright = np.float32(np.clip(thing.bright(time), 0.6, 1.4))
    # Further parts lie behind the first: limbs behind a body.
    for part in reversed(thing.parts):
        local = _rotation(part.swing(time))
        linear = turn @ local * radius
        shift = centre + turn @ np.array(part.offset) * radius
        linear = camera[:, :2] @ linear
        shift = camera[:, :2] @ (shift - 0.5) + camera[:, 2]
        to_pixels = np.array([width, height])
        points = (part.outline(time) @ linear.T + shift) * to_pixels
        pad = 4 if look != "natural" else 1
        x0, y0 = np.maximum(np.floor(points.min(axis=0)).astype(int) - pad, 0)
        x1, y1 = np.minimum(np.ceil(points.max(axis=0)).astype(int) + pad + 1, (width, height))
        if x1 - x0 < 2 or y1 - y0 < 2:
            continue
        alpha = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fixed = np.round((points - (x0, y0) - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(alpha, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
        seen = alpha > 127
        # Surface pixels are found by going back from the frame to the part's own axes.
        surface_side = part.surface.shape[0]
        back = np.linalg.inv(linear * to_pixels[:, None]) * (surface_side * 0.28)
        origin = np.array(part.corner) * surface_side - back @ (shift * to_pixels - (x0, y0))
        surface = cv2.warpAffine(
            part.surface,
            np.concatenate([back, origin[:, None]], axis=1),
            (int(x1 - x0), int(y1 - y0)),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        area = frame[y0:y1, x0:x1]
        opacity = alpha.astype(np.float32)[..., None] / 255
        if look == "natural":
            area += (surface * bright - area) * opacity
        else:
            depth = np.asarray(cv2.distanceTransform(alpha, cv2.DIST_L2, 3), np.float32)
            depth /= max(float(depth.max()), 1.0)
            if look == "fluorescence":
                glow = cv2.GaussianBlur(opacity, (0, 0), 0.8 + 0.01 * side)[..., None]
                body = 0.35 + 0.65 * np.sqrt(depth)[..., None]
                level = (0.35 + 0.65 * surface) * body * bright
                area += np.maximum(level - area, 0) * np.maximum(opacity, 0.35 * glow)
            else:
                grown = cv2.dilate(alpha, np.ones((5, 5), np.uint8)).astype(np.float32)
                halo = cv2.GaussianBlur(grown, (0, 0), 1.5)[..., None] / 255 * (1 - opacity)
                area += 0.25 * halo
                body = area * (0.55 + 0.35 * (surface - 0.5)) + 0.12 * depth[..., None] * surface
                area += (body * bright - area) * opacity
        labels[y0:y1, x0:x1][seen] = number


def draw_clip(
    family: Family,
    rng: Rng,
    *,
    size: int | tuple[int, int],
    times: npt.ArrayLike,
    pool: TexturePool | None = None,
) -> Clip:
    """Draw a clip.

    Parameters
    ----------
    family : Family
        What kind of scene.
    rng : numpy.random.Generator
        Where all chance comes from: the same state gives the same clip.
    size : int or (height, width)
        Size of the frames in pixels.
    times : sequence of float
        When each frame is taken; 1 is one frame of ordinary video.
    pool : TexturePool, optional
        Where surfaces come from; without it each is made anew.

    Returns
    -------
    Clip
        Frames and labels; numbers of things begin at 1.
    """
    height, width = (size, size) if isinstance(size, int) else size
    side = max(height, width)
    pool = pool or TexturePool(max(160, side), depth=0)
    times = np.asarray(times, np.float64)
    grey = rng.random() >= family.colour

    ground = pool.get(rng, str(rng.choice(family.ground)))
    if family.look == "fluorescence":
        ground = ground * np.float32(rng.uniform(0.02, 0.25))
    elif family.look == "phase":
        ground = np.float32(rng.uniform(0.35, 0.6)) + (ground - 0.5) * np.float32(
            rng.uniform(0.05, 0.35)
        )
    sway = family.camera * rng.choice([0.0, 0.3, 1.0])
    camera_x = _Wander.draw(rng, 0.5, 0.003 * sway, 0.05 * sway)
    camera_y = _Wander.draw(rng, 0.5, 0.003 * sway, 0.05 * sway)
    camera_angle = _Wander.draw(rng, 0.0, 0.001 * sway, 0.06 * sway)
    camera_zoom = _Wander.draw(rng, 0.0, 0.001 * sway, 0.06 * sway)

    count = int(rng.integers(family.count[0], family.count[1] + 1))
    things: list[_Thing] = []
    for _ in range(count):
        twin = things[-1] if things and rng.random() < family.twins else None
        things.append(_draw_thing(rng, family, pool, twin, occluder=False))
    if family.look == "natural" and rng.random() < 0.4:
        things.append(_draw_thing(rng, family, pool, None, occluder=True))

    # A film's own faults: slow ones first, then what changes from frame to frame.
    light = fractal(rng, 16, slope=1.5, channels=1)
    bright = cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    light = np.asarray(1 + (bright - 0.5) * rng.choice([0.0, 0.2, 0.6]), np.float32)
    bleach = rng.choice([0.0, 0.002, 0.01]) if family.look == "fluorescence" else 0.0
    exposure = _Wander.draw(rng, 1.0, 0.0, 0.04)
    blur = float(rng.choice([0.0, 0.0, 0.6, 1.2])) * side / 256
    noise = float(rng.choice([0.0, 0.01, 0.03, 0.07]))
    gamma = float(rng.uniform(0.7, 1.4))
    invert = family.look == "phase" and rng.random() < 0.4

    frames = np.empty((len(times), height, width, 3), np.uint8)
    labels = np.zeros((len(times), height, width), np.uint8)
    ground_side = ground.shape[0]
    for index, time in enumerate(times):
        zoom = np.exp(np.clip(camera_zoom(time), -0.4, 0.4))
        linear = _rotation(camera_angle(time)) * zoom
        at = np.array([camera_x(time), camera_y(time)])
        camera = np.concatenate([linear, (linear @ (0.5 - at) + 0.5)[:, None]], axis=1)
        back = np.linalg.inv(linear) * ground_side / side
        origin = ground_side * at - back @ np.array([width / 2, height / 2])
        warped = cv2.warpAffine(
            ground,
            np.concatenate([back, origin[:, None]], axis=1),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        frame: Image = np.ascontiguousarray(warped, np.float32)
        for number, thing in enumerate(things, start=1):
            _paint(
                frame,
                labels[index],
                number if thing.labelled else 0,
                thing,
                float(time),
                camera,
                family.look,
            )
        frame *= light * np.float32(exposure(time) * np.exp(-bleach * time))
        if blur > 0.2:
            frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), blur), np.float32)
        np.clip(frame, 0, 1, out=frame)
        if grey:
            frame = frame.mean(axis=2, keepdims=True).repeat(3, axis=2)
        if gamma > 1.1 or gamma < 0.9:
            frame = np.asarray(cv2.pow(frame, gamma), np.float32)
        if invert:
            frame = 1 - frame
        if noise:
            grain = rng.standard_normal((height, width, 1 if grey else 3), np.float32)
            frame = frame + grain * np.float32(noise)
        frames[index] = np.clip(frame * 255 + 0.5, 0, 255).astype(np.uint8)
    return Clip(frames, labels)
