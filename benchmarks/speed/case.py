"""What is measured: one system, one model, one clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FULL", "SYSTEMS", "Case", "boxes", "clicks", "clip"]

SYSTEMS = {
    "ours": "sam2track",
    "official": "SAM2VideoPredictor",
    "official-compiled": "SAM2VideoPredictorVOS (vos_optimized)",
    "transformers": "Transformers Sam2VideoModel",
}

FULL = 7  # frames after which an object's memory is full: a prompted one and six


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes
    ----------
    system : str
        One of ``SYSTEMS``.
    model : str
        Name in the zoo; random weights where none are on this disk.
    image_size : int
        Side of the model's square, in pixels.
    objects : int
    precision : {"fp32", "bf16"}
        bf16 is autocast, as each system's users have it.
    device : str
    frames : int
        Frames that are timed, the warm-up included. One more is tracked, to count its operations.
    warm_up : int
        Frames that are not counted.
    video : str or None
        A file in place of the drawn clip; reading it, and writing its masks, is measured too.
    parts : bool
        Whether encoder, tracker and the rest are timed apart.
    again : bool
        Whether a second pass is measured, after a click on frame 0.
    """

    system: str
    model: str = "sam2.1-tiny"
    image_size: int = 1024
    objects: int = 1
    precision: str = "fp32"
    device: str = "cpu"
    frames: int = 12
    warm_up: int = 8
    video: str | None = None
    parts: bool = True
    again: bool = False

    def of(self, system: str, precision: str) -> Case:
        """The same for another system."""
        return Case(**{**vars(self), "system": system, "precision": precision})


def clip(case: Case) -> npt.NDArray[np.uint8]:
    """Frames of a case, (T, H, W, 3) uint8: of its video, or textured discs that wander."""
    import cv2

    count = case.frames + 1
    if case.video is not None:
        return _read(case.video, count)
    size = case.image_size
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    ground = cv2.GaussianBlur(noise, (0, 0), size / 85).astype(np.float64)
    ground = np.clip(2 * (ground - 127) + 90, 0, 255).astype(np.uint8)
    frames = np.repeat(ground[None], count, axis=0)
    for number in range(case.objects):
        colour = [int(c) for c in rng.integers(100, 256, 3)]
        for t in range(count):
            x, y, radius = _disc(case, number, t)
            cv2.circle(frames[t], (round(x), round(y)), round(radius), colour, -1)
    return frames


def _disc(case: Case, number: int, t: int) -> tuple[float, float, float]:
    """Centre and radius of a disc; each in a cell of a grid of its own."""
    side = int(np.ceil(np.sqrt(case.objects)))
    cell = case.image_size / side
    sway = 0.1 * cell * np.sin(0.2 * t + number)
    return (
        (number % side + 0.5) * cell + sway,
        (number // side + 0.5) * cell - sway,
        0.25 * cell,
    )


def boxes(
    case: Case, shape: tuple[int, int] | None = None
) -> dict[int, tuple[float, float, float, float]]:
    """Boxes of the objects on frame 0, by object id; on a video, within cells of a grid.

    ``shape`` is (H, W) of the frames, where they are not the model's square.
    """
    height, width = shape or (case.image_size, case.image_size)
    down, across = height / case.image_size, width / case.image_size
    found = {}
    for number in range(case.objects):
        x, y, radius = _disc(case, number, 0)
        found[number + 1] = (
            (x - radius) * across,
            (y - radius) * down,
            (x + radius) * across,
            (y + radius) * down,
        )
    return found


def clicks(case: Case, shape: tuple[int, int]) -> dict[int, tuple[float, float]]:
    """A point within each object on frame 0, off its middle, by object id."""
    return {
        number: (0.6 * x0 + 0.4 * x1, 0.6 * y0 + 0.4 * y1)
        for number, (x0, y0, x1, y1) in boxes(case, shape).items()
    }


def _read(video: str, frames: int) -> npt.NDArray[np.uint8]:
    import cv2

    capture, found = cv2.VideoCapture(video), []
    while len(found) < frames:
        read, picture = capture.read()
        if not read:
            raise SystemExit(f"{video} has {len(found)} frames that OpenCV reads, not {frames}")
        found.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return np.stack(found).astype(np.uint8, copy=False)
