"""Small videos made on the spot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sam2track.export.video_file import as_scheduled
from sam2track.frames.source import Frame


def scene(count: int, height: int = 48, width: int = 64, seed: int = 0) -> list[Frame]:
    """Pictures that differ from one to the next and from corner to corner."""
    random = np.random.default_rng(seed)
    pictures = []
    for number in range(count):
        picture = np.empty((height, width, 3), np.uint8)
        picture[:] = [(number * 11) % 256, 90, 200 - (number * 7) % 200]
        picture[: height // 2, : width // 2] = random.integers(0, 256, 3)
        pictures.append(picture)
    return pictures


def write_video(
    path: Path,
    pictures: Sequence[Frame] | int = 20,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    rate: int = 25,
    rotation: tuple[float, bool, bool] | None = None,
    mux: dict[str, str] | None = None,
    **options: object,
) -> Path:
    """Write pictures, at ``pts`` in 1/1000 s if given."""
    if isinstance(pictures, int):
        pictures = scene(pictures)
    height, width = pictures[0].shape[:2]
    settings = {key: str(value) for key, value in options.items()}
    if codec == "libx264":
        settings.setdefault("preset", "veryfast")
    with as_scheduled(), av.open(str(path), "w", options=mux or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=settings)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(*rotation)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = number if pts is None else pts[number]
            frame.time_base = Fraction(1, rate) if pts is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """Write a file with audio only."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        for number in range(20):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.rate, frame.pts = 44100, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decoded(path: Path) -> list[str]:
    """What plain decoding from the start gives, as digests."""
    with av.open(str(path)) as container:
        return [digest(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def digest(picture: Frame) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty frames of H.264 with B-frames, a keyframe every twelve."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 60, g=12, bf=2, sc_threshold=0)
