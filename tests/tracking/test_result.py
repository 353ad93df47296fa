"""Masks of a frame: made of parts, equal to those of whole enlarged logits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from sam2track.errors import PromptError
from sam2track.tracking import result as module
from sam2track.tracking.result import FrameResult

SIDES = st.integers(1, 90)


def result(logits: np.ndarray, height: int, width: int, painted: dict[int, np.ndarray]):
    count = len(logits)
    scores = np.zeros(count, np.float32)
    ids = tuple(range(3, 3 + count))
    return FrameResult(0, ids, logits, scores, scores, height, width, ("forward",) * count, painted)


@given(height=SIDES, width=SIDES, grid=st.sampled_from([8, 32, 64]), seed=st.integers(0, 2**20))
def test_masks_and_labels_are_those_of_enlarged_logits(
    height: int, width: int, grid: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:grid, :grid]
    places, sizes = rng.uniform(0, grid, (5, 2)), rng.uniform(0.3, grid, 5)
    logits = np.stack(
        [
            size - np.hypot(y - place[0], x - place[1]) + rng.normal(0, 0.5, (grid, grid))
            for place, size in zip(places, sizes, strict=True)
        ]
    ).astype(np.float32)
    logits[1] = -1024  # absent
    painted = {6: rng.random((height, width)) > 0.5, 7: np.zeros((height, width), np.bool_)}
    found = result(logits, height, width, painted)

    large = interpolate(torch.from_numpy(logits)[None], (height, width), mode="bilinear")[0].numpy()
    large[3] = np.where(painted[6], np.maximum(large[3], 1.5e-4), -10)
    large[4] = -10
    clear = np.abs(large) > 1e-4  # the rest is a matter of the last digit
    np.testing.assert_array_equal(found.masks[clear], (large > 0)[clear])
    highest = np.sort(large, axis=0)
    clear = clear.all(axis=0) & (highest[-1] - highest[-2] > 1e-4)
    labels = np.where(large.max(axis=0) > 0, large.argmax(axis=0) + 3, 0)
    np.testing.assert_array_equal(found.labels[clear], labels[clear])


def test_logits_may_lie_in_any_way(recwarn: pytest.WarningsRecorder) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.float32)
    expected = result(logits, 20, 30, {}).masks
    upside_down = np.ascontiguousarray(logits[:, ::-1])[:, ::-1]
    upside_down.flags.writeable = False
    assert np.array_equal(result(upside_down, 20, 30, {}).masks, expected)
    assert not list(recwarn)


def test_locked_objects_come_before_others() -> None:
    logits = np.array([2, 9, 1, 3], np.float32)[:, None, None] * np.ones((1, 8, 8), np.float32)
    logits[3, :, 4:] = -1
    found = result(logits, 8, 8, {})
    assert {*found.labels.flat} == {4}
    locked = replace(found, locked=frozenset({3, 6, 50})).labels
    assert {*locked[:, :4].flat} == {6} and {*locked[:, 4:].flat} == {3}
    assert np.array_equal(replace(found, locked=frozenset({3, 6})).masks, found.masks)
    some = replace(found, locked=frozenset({5, 6})).only([1, 2])
    assert {*some.labels.flat} == {5}


def test_masks_of_many_objects_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    painted = {4: np.eye(20, 30) > 0}
    whole = result(logits, 20, 30, painted)
    monkeypatch.setattr(module, "_AT_ONCE", 5 * 20 * 30 - 1)
    many = result(logits, 20, 30, painted)
    assert all(map(np.array_equal, many.each_mask(), whole.masks))
    for object_id, mask in zip(whole.object_ids, whole.masks, strict=True):
        assert np.array_equal(many.mask(object_id), mask)
    assert "masks" not in vars(many)
    monkeypatch.setattr(module, "_AT_ONCE", 5 * 20 * 30)
    few = result(logits, 20, 30, painted)
    assert all(map(np.array_equal, few.each_mask(), whole.masks))
    assert np.shares_memory(few.mask(3), few.masks)
    with pytest.raises(PromptError, match="object 9 has no mask on frame 0"):
        few.mask(9)
