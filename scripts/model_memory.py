"""Measure the main memory that each published size takes: one object, float32, random weights."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np

from sam2track.models.architecture import ARCHITECTURES, build

SIZES = ("nano", "sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large")
FRAMES = 3


def measure(name: str) -> None:
    from sam2track import Tracker, load_model

    model = load_model(build(ARCHITECTURES[name]), precision="fp32")
    frames = np.random.default_rng(0).integers(0, 255, (FRAMES, 480, 640, 3), np.uint8)
    tracker = Tracker(model, frames)
    tracker.prompt(1, frame=0, points=[(320, 240)])
    for _ in tracker.propagate():
        pass
    print(f"{name} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.1f} GB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        for size in SIZES:
            subprocess.run([sys.executable, __file__, size], check=True)
