"""COCO's run lengths, read back by its own tools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from sam2track.image.coco import dataset, rle_string

# pycocotools has not followed numpy in how arrays are made.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@settings(max_examples=80)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_masks_come_back(mask: np.ndarray) -> None:
    code = {"size": list(mask.shape), "counts": rle_string(mask).encode()}
    assert np.array_equal(coco.decode(code).astype(bool), mask)
    assert coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] == code["counts"]


@settings(max_examples=10)
@given(st.integers(0, 10**5), st.integers(1, 10**5))
def test_long_runs(start: int, length: int) -> None:
    mask = np.zeros((200, 1001), np.bool_)
    mask.T.reshape(-1)[start : start + length] = True
    mask = np.ascontiguousarray(mask)
    code = {"size": list(mask.shape), "counts": rle_string(mask).encode()}
    assert coco.decode(code).sum() == mask.sum()


def test_a_picture_without_objects() -> None:
    content = dataset("a.png", 3, 4, [], {})
    assert content["annotations"] == [] and content["info"] == {"count": 0}
    assert content["categories"] == [{"id": 1, "name": "object"}]
