"""The same masks as the official predictor, frame by frame."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.clips import drawn as drawn_clip
from sam2track import Tracker, load_model
from sam2track.prompts import Prompt
from tests.parity import oracle
from tests.parity.oracle import Seen, clip, official_run, predictor
from tests.parity.scenarios import Scenario, every, pairwise

ONE, MANY = 1e-4, 3e-4  # bounds of |difference| for one object and in a batch


def our_run(
    module: object,
    frames: np.ndarray,
    prompts: dict[int, dict[int, Prompt]],
    *,
    backward: bool = False,
) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray, float]]:
    tracker = Tracker(module, frames)
    for object_id, by_frame in prompts.items():
        for frame, prompt in by_frame.items():
            tracker.add(object_id, frame, prompt)
    found = {}
    for result in tracker.propagate(direction="backward" if backward else "forward"):
        for index, object_id in enumerate(result.object_ids):
            record = tracker.history.get(object_id, result.frame)
            found[object_id, result.frame] = (
                result.logits[index],
                record.pointer,
                float(result.object_scores[index]),
            )
    return found


def differences(ours: dict, theirs: dict) -> tuple[float, float, float, int]:
    """Largest differences of logits, pointers and scores, and how many were not compared."""
    worst = [0.0, 0.0, 0.0]
    close = 0
    assert ours.keys() == theirs.keys()
    for key, seen in theirs.items():
        if seen.close:
            close += 1
            continue
        logits, pointer, score = ours[key]
        worst[0] = max(worst[0], float(np.abs(logits - seen.logits).max()))
        worst[1] = max(worst[1], float(np.abs(pointer - seen.pointer).max()))
        worst[2] = max(worst[2], abs(score - seen.score))
    return worst[0], worst[1], worst[2], close


@lru_cache(maxsize=1)
def expected(scenario: Scenario) -> dict[tuple[int, int], Seen]:
    module = predictor(scenario.model, scenario.postprocessing)
    return official_run(
        module, clip(scenario.length), scenario.prompts(), backward=scenario.backward
    )


def compare(
    scenario: Scenario, wrong: AbstractContextManager[object] | None = None
) -> tuple[float, float, float, int]:
    """Run both; our engine within a context that may make it wrong."""
    module = predictor(scenario.model, scenario.postprocessing)
    frames, prompts = clip(scenario.length), scenario.prompts()
    theirs = expected(scenario)
    foreground = np.mean([(seen.logits > 0).mean() for seen in theirs.values()])
    assert 0.02 < foreground < 0.98, "the random module gives trivial masks"
    with wrong or nullcontext():
        ours = our_run(module, frames, prompts, backward=scenario.backward)
    found = differences(ours, theirs)
    table = os.environ.get("SAM2TRACK_PARITY_TABLE")
    if table:
        with Path(table).open("a", encoding="utf-8") as out:
            out.write(json.dumps([str(scenario), len(theirs), *found]) + "\n")
    return found


def check(scenario: Scenario) -> None:
    logits, pointers, scores, close = compare(scenario)
    bound = ONE if scenario.objects == 1 else MANY
    assert max(logits, pointers, scores) <= bound
    frames = scenario.length * scenario.objects
    assert close <= 0.05 * frames, "too many frames on the edge of a decision"


@pytest.mark.parametrize("scenario", pairwise(), ids=str)
def test_masks_equal_the_official_ones(scenario: Scenario) -> None:
    check(scenario)


@pytest.mark.parametrize("threads", [1, 2])
def test_trained_objects_of_a_batch_equal_the_official_ones(threads: int) -> None:
    """Weights that were trained make a last digit of one frame large on others."""
    frames, boxes = drawn_clip("cells", 40, size=oracle.SIZE)
    prompts = {n: {0: Prompt(box=box)} for n, box in boxes.items()}
    assert len(prompts) == 3
    held = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        theirs = official_run(oracle.trained(), frames, prompts)
        ours = our_run(oracle.trained(), frames, prompts)
        bound = MANY if oracle.batches_are_exact() else 0.2
    finally:
        torch.set_num_threads(held)
    *found, close = differences(ours, theirs)
    assert max(found) <= bound and close <= 6
    assert max(np.abs(seen.logits).max() for seen in theirs.values()) > 5


@pytest.mark.slow
@pytest.mark.parametrize("scenario", every(), ids=str)
def test_masks_equal_the_official_ones_in_all_combinations(scenario: Scenario) -> None:
    check(scenario)


@pytest.mark.parametrize(
    ("name", "objects"),
    [("nano", 1), *(pytest.param("tiny", n, marks=pytest.mark.slow) for n in (1, 2))],
)
def test_large_squares(name: str, objects: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 512 on sums are taken in another order; the bounds are the same."""
    monkeypatch.setattr(oracle, "SIZE", 512)
    module, frames = predictor.__wrapped__(name, True), clip.__wrapped__(4)
    said = {
        i + 1: {0: Prompt(points=((200 + 100 * i, 240), (80, 80)), labels=(1, 0))}
        for i in range(objects)
    }
    theirs = official_run(module, frames, said)
    assert min(float(np.ptp(seen.logits)) for seen in theirs.values()) > 1
    model = load_model(module, precision="fp32")  # else bfloat16, where a processor is fast at it
    logits, pointers, scores, close = differences(our_run(model, frames, said), theirs)
    bound = ONE if objects == 1 else MANY
    assert max(logits, pointers, scores) <= bound
    assert close == 0
