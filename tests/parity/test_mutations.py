"""The bounds bite: engines that are a little wrong fail."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest
import torch

from sam2track.tracking import conditioning
from sam2track.tracking.memory import Rules
from tests.parity.scenarios import Scenario
from tests.parity.test_parity import ONE, compare

# Long enough for every pointer and memory to count.
NANO = Scenario("nano", True, 1, "box", 1, 0, 40, False)
TINY = replace(NANO, model="tiny")


def seven_pointers() -> object:
    official = Rules.of.__func__  # type: ignore[attr-defined]
    return mock.patch.object(
        Rules, "of", classmethod(lambda cls, *args: replace(official(cls, *args), max_pointers=8))
    )


def five_memories() -> object:
    official = Rules.window
    return mock.patch.object(
        Rules,
        "window",
        lambda self, frame, *, backward: official(self, frame, backward=backward)[1:],
    )


def reversed_times() -> object:
    right = conditioning.attend

    def attend(model, constants, features, memories, most):  # type: ignore[no-untyped-def]
        t = memories.t_pos
        turned = memories._replace(t_pos=torch.where(t > 0, model.module.num_maskmem - t, t))
        return right(model, constants, features, turned, most)

    return mock.patch.object(conditioning, "attend", attend)


def unrounded() -> object:
    # Memories are rounded by ``.to(torch.bfloat16)`` at the end of ``remember``.
    right = torch.Tensor.to

    def to(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if args == (torch.bfloat16,):
            return self
        return right(self, *args, **kwargs)

    return mock.patch.object(torch.Tensor, "to", to)


def late_pointers() -> object:
    right = conditioning._pointer_codes
    return mock.patch.object(
        conditioning,
        "_pointer_codes",
        lambda module, distances, *rest: right(module, distances + 1, *rest),
    )


MUTATIONS = {
    "7 pointers": seven_pointers,
    "5 memories": five_memories,
    "reversed temporal codes": reversed_times,
    "no rounding to bfloat16": unrounded,
    "pointers a frame too old": late_pointers,
}


@pytest.mark.parametrize("scenario", [NANO, pytest.param(TINY, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_engine_is_noticed(name: str, scenario: Scenario) -> None:
    logits, pointers, scores, _ = compare(scenario, wrong=MUTATIONS[name]())
    assert max(logits, pointers, scores) > ONE, f"{name} passed unnoticed"
