"""In bfloat16: no further from official float32 than official bfloat16 is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sam2track
from sam2track.prompts import Prompt
from tests.parity.oracle import clip, official_run, predictor
from tests.parity.test_parity import our_run

PROMPTS = {
    "box": {1: {0: Prompt(box=(30, 30, 70, 80))}},
    "points": {1: {0: Prompt(points=((64, 60), (20, 20)), labels=(1, 0))}},
    "two objects": {
        1: {0: Prompt(box=(30, 30, 70, 80))},
        2: {0: Prompt(points=((64, 60), (20, 20)), labels=(1, 0))},
    },
}


def distance(exact: dict, found: dict) -> float:
    """1 - mean IoU of masks given as logits."""
    ious = []
    for key, seen in exact.items():
        one, other = seen.logits > 0, found[key] > 0
        ious.append((one & other).sum() / max(1, (one | other).sum()))
    return 1 - float(np.mean(ious))


# Where a processor has no instructions for bfloat16, `tiny` takes half a minute each.
@pytest.mark.parametrize("name", [pytest.param("tiny", marks=pytest.mark.slow), "nano"])
@pytest.mark.parametrize("prompts", PROMPTS)
def test_distance_to_official_float32(name: str, prompts: str) -> None:
    module, frames, said = predictor(name, True), clip(16), PROMPTS[prompts]
    exact = official_run(module, frames, said)
    with torch.autocast("cpu", torch.bfloat16):
        rough = official_run(module, frames, said)
    official = distance(exact, {key: seen.logits for key, seen in rough.items()})
    model = sam2track.load_model(module, precision="bf16")
    ours = our_run(model, frames, said)
    mine = distance(exact, {key: value[0] for key, value in ours.items()})
    assert official > 0
    assert mine <= 1.2 * official
