"""Turn what the parity tests found into docs/parity.md.

Run them with ``SAM2TRACK_PARITY_TABLE=FILE`` first, then this with the same FILE.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import torch

HEAD = """# Parity with the official predictor

Largest differences to `SAM2VideoPredictor` in float32 on the CPU, over all frames of each scenario:
same module instance, frames of the module's own size (128), one official state for each object.
Bounds: 1e-4 for one object, 3e-4 in a batch. *Not compared*: frames on which a decision hung by
less than 1e-4. Written by `scripts/parity_table.py`.

"""

TRAINED = """
With `nano`'s trained weights, batches of three objects against the same objects alone, which equal
official bit for bit (twelve generated clips of 40 frames of 128 pixels, three samples of 64 frames
of 256; one thread and two): 0.0 with all. That is what `tracking/apart.py` does for up to ten
objects on squares below 512 pixels on a CPU. As one batch they were up to 0.095 off, which the
random weights of the table do not show: a last digit becomes a larger one where a memory is rounded
to bfloat16.

On larger squares, on a GPU and with more objects sums are taken in another order, which is faster,
and trained weights make more of it: `nano` at 512 pixels in float32, six objects one at a time over
30 frames, against the order of official: logits up to 0.63 off (of up to 14), least IoU of masks
0.9965. The bounds above are held there with random weights.
"""


def main() -> None:
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    lines = [
        "| scenario | object-frames | logits | pointers | scores | not compared |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, count, logits, pointers, scores, close in rows:
        lines.append(
            f"| {name} | {count} | {logits:.1e} | {pointers:.1e} | {scores:.1e} | {close} |"
        )
    single = [row for row in rows if "-1obj-" in row[0]]
    exact = sum(row[2] == 0 for row in single)
    tail = (
        f"\nOf {len(single)} scenarios with one object {exact} agree bit for bit. "
        f"Largest of all: {max(row[2] for row in rows):.1e}. "
        f"torch {torch.__version__.split('+')[0]}, {platform.machine()}.\n"
    ) + TRAINED
    path = Path(__file__).parent.parent / "docs" / "parity.md"
    path.write_text(HEAD + "\n".join(lines) + "\n" + tail, encoding="utf-8")
    print(f"{path}: {len(rows)} scenarios")


if __name__ == "__main__":
    main()
