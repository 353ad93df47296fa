"""Draw the clips of ``sample_videos/`` again: the same ones each time.

    python scripts/make_samples.py [NAME ...] [--to FOLDER]

Seeds and things were chosen by eye: seen well on their first frame, moving, some behind others.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sam2track.export.pngs import write_label_png
from sam2track.export.videos import VideoWriter
from sam2track.masks import bounding_box
from sam2track.training.scenes import FAMILIES, draw_clip

HEIGHT, WIDTH = 240, 320
FPS = 25
CRF = 20
WELL_VISIBLE = 0.7  # of the median area


@dataclass(frozen=True)
class Sample:
    """A clip: its family and seed, and which of its things are prompted, by name."""

    kind: str
    family: str
    seed: int
    frames: int
    things: dict[int, str]


SAMPLES = {
    "nuclei": Sample(
        kind="fluorescence microscopy: bright nuclei on a dark ground, grey",
        family="nuclei",
        seed=11,
        frames=64,
        things={7: "large", 6: "upper", 5: "small"},
    ),
    "shapes": Sample(
        kind="textured shapes of many colours before a textured ground",
        family="clouds",
        seed=3,
        frames=64,
        things={4: "blob", 6: "petal"},
    ),
    "bacteria": Sample(
        kind="phase contrast microscopy: rods with halos, grey; a family that nano has not seen",
        family="bacteria",
        seed=15,
        frames=64,
        things={4: "single", 5: "left", 10: "right"},
    ),
}


def prompt_frame(mask: npt.NDArray[np.bool_]) -> int:
    """Return the first frame of (T, H, W) on which a thing is well visible."""
    areas = mask.sum(axis=(1, 2))
    return int(np.argmax(areas >= WELL_VISIBLE * np.median(areas[areas > 0])))


def make(name: str, folder: Path) -> int:
    """Draw one sample into `folder`, replacing what is there; return its size in bytes."""
    sample = SAMPLES[name]
    clip = draw_clip(
        FAMILIES[sample.family],
        np.random.default_rng(sample.seed),
        size=(HEIGHT, WIDTH),
        times=np.arange(sample.frames),
    )
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "truth").mkdir(parents=True)

    # Of x264's presets only this one gives the same bits each time: the others weigh blocks
    # (mbtree) by way of memory that was never set.
    path, preset = folder / "video.mp4", "ultrafast"
    with VideoWriter(
        path, height=HEIGHT, width=WIDTH, rate=FPS, crf=CRF, preset=preset, threads=1
    ) as video:
        for frame in clip.frames:
            video.write(frame)

    truth = np.zeros_like(clip.labels)
    objects = []
    for number, (thing, called) in enumerate(sample.things.items(), start=1):
        mask = clip.labels == thing
        truth[mask] = number
        frame = prompt_frame(mask)
        box = bounding_box(mask[frame])
        objects.append({"id": number, "name": called, "prompts": [{"frame": frame, "box": box}]})
    for number, labels in enumerate(truth):
        write_label_png(folder / "truth" / f"{number:05d}.png", labels)

    write_json(folder / "prompts.json", {"version": 1, "objects": objects})
    about = {
        "kind": sample.kind,
        "frames": sample.frames,
        "fps": FPS,
        "height": HEIGHT,
        "width": WIDTH,
        "drawn_by": "scripts/make_samples.py with sam2track.training.scenes.draw_clip",
        "family": sample.family,
        "seed": sample.seed,
        "things": list(sample.things),
        "licence": "Apache-2.0",
    }
    write_json(folder / "about.json", about)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the sample clips again.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SAMPLES))
    parser.add_argument(
        "--to",
        type=Path,
        default=Path(__file__).resolve().parent.parent / "sample_videos",
        help="folder that will hold one folder per sample",
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(SAMPLES):
        parser.error(f"no sample {', '.join(sorted(unknown))}; there are {', '.join(SAMPLES)}")
    cv2.setNumThreads(1)
    for name in given.names or SAMPLES:
        print(f"{name}: {make(name, given.to / name) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
