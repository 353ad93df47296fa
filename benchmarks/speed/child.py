"""``python -m benchmarks.speed.child CASE OUT``: one run in a process of its own.

Needs torch, numpy, OpenCV and the pure wheels of ``sam2``, so that it runs on a bare GPU machine.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.speed.case import Case, clip
from benchmarks.speed.clock import Clock
from benchmarks.speed.systems import RUNS

__all__ = ["measure"]


def measure(case: Case, masks: Path) -> dict[str, Any]:
    """Run a case; write its masks, packed, to a file."""
    import torch

    cuda = case.device.startswith("cuda")
    # What is compiled cannot be counted: it would be compiled anew under the counter, and fail.
    counted = None if case.system == "official-compiled" else case.frames
    clock = Clock(torch.cuda.synchronize if cuda else None, parts=case.parts, counted=counted)
    begun = time.perf_counter()
    # Ours reads a video when it needs it, and would hold more than it does.
    frames = None if case.video is not None and case.system == "ours" else clip(case)
    if case.video is not None and frames is not None:
        clock.share("read", (time.perf_counter() - begun) / len(frames))
    begun, found = time.perf_counter(), []
    for mask in RUNS[case.system](case, frames, clock):
        found.append(np.packbits(mask, axis=None))
        if case.video is not None:
            with clock.part("write"):
                _write(mask, masks.with_suffix(".png"))
    np.savez_compressed(masks, masks=np.stack(found))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "case": vars(case),
        "frames": clock.frames[: case.frames],
        "flops": clock.flops,
        "seconds": time.perf_counter() - begun,
        "ram": peak * (1 if sys.platform == "darwin" else 1024),
        "gpu": torch.cuda.max_memory_allocated() if cuda else 0,
        "threads": torch.get_num_threads(),
    }


def _write(masks: npt.NDArray[np.bool_], path: Path) -> None:
    """Write (N, H, W) masks as one picture of labels."""
    import cv2

    labels = np.zeros(masks.shape[1:], np.uint8)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    cv2.imwrite(str(path), labels)


if __name__ == "__main__":
    print(json.dumps(measure(Case(**json.loads(sys.argv[1])), Path(sys.argv[2]))))
