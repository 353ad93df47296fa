"""Draw the README's picture from the demo's overlay: run ``make demo`` first."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sam2track.frames.video import VideoFile

ROOT = Path(__file__).parent.parent
COUNT = 5


def main() -> None:
    video = VideoFile(ROOT / "demo_output" / "overlay.mp4")
    chosen = np.linspace(0, len(video) - 1, COUNT).round().astype(int)
    gap = np.full((video.height, 6, 3), 255, np.uint8)
    parts = [part for frame in chosen for part in (video.read(int(frame)), gap)][:-1]
    out = ROOT / "docs" / "images" / "filmstrip.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    strip = np.concatenate(parts, axis=1)
    cv2.imwrite(str(out), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
    print(f"{out}: frames {', '.join(str(int(frame)) for frame in chosen)}")


if __name__ == "__main__":
    main()
