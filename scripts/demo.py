"""Track the objects of a sample clip with the embedded model: what ``make demo`` runs.

    python scripts/demo.py [SAMPLE]

Writes into ``demo_output/`` in the repository, over what an earlier demo left there.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

BEGAN = time.monotonic()  # before the heavy imports: they are part of what a person waits for
OUTPUT = Path(__file__).resolve().parent.parent / "demo_output"


def main() -> None:
    # Only now, so that the clock of the whole command runs while they load.
    from sam2track.errors import Sam2TrackError
    from sam2track.samples import sample_names

    parser = argparse.ArgumentParser(description="Track the objects of a sample clip.")
    parser.add_argument("sample", nargs="?", default="nuclei", choices=sample_names())
    try:
        demonstrate(parser.parse_args().sample)
    except Sam2TrackError as error:
        sys.exit(f"demo: {error}")


def demonstrate(name: str) -> None:
    print("demo: loading torch and the model", file=sys.stderr)
    import numpy as np

    from sam2track.export.pngs import read_label_png
    from sam2track.job import run
    from sam2track.metrics import mean_jaccard
    from sam2track.outputs import Progress
    from sam2track.project import Project
    from sam2track.samples import sample_folder

    sample = sample_folder() / name
    tracking = 0.0

    def show(progress: Progress) -> None:
        nonlocal tracking
        if progress.stage == "tracking":
            tracking = progress.seconds
        last = progress.done == progress.total
        if sys.stderr.isatty() or last:
            text = f"demo: {progress.stage} frame {progress.done} of {progress.total}"
            print(f"\r{text}", end="\n" if last else "", file=sys.stderr, flush=True)

    outcome = run(
        sample / "video.mp4",
        sample / "prompts.json",
        output=OUTPUT,
        model="nano",
        overwrite=True,
        progress=show,
    )

    paths = sorted((sample / "truth").glob("*.png"))
    truth = np.stack([read_label_png(path) for path in paths])
    with Project.open(outcome.outputs["project"]) as project:
        names = project.names
        found = np.stack([project.labels(frame) for frame in range(len(truth))])
    print(f"overlay: {outcome.outputs['overlay']}")
    print(f"mean J:  {mean_jaccard(truth, found, list(names)):.3f} against the ground truth")
    for number, called in names.items():
        print(f"  object {number} ({called}): {mean_jaccard(truth, found, [number]):.3f}")
    whole = time.monotonic() - BEGAN
    frames = outcome.frames_computed
    print(
        f"speed:   {frames / tracking:.1f} frames a second tracking {len(names)} objects on "
        f"{outcome.device}; {frames / whole:.1f} with loading and writing, {whole:.1f} s in all"
    )


if __name__ == "__main__":
    main()
