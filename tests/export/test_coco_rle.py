"""COCO's run-length code against pycocotools."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from sam2track.errors import SourceError
from sam2track.export.coco_rle import decode, encode

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@settings(max_examples=200)
@given(MASKS)
def test_the_code_is_that_of_pycocotools(mask):
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode(mask) == theirs["counts"].decode()
    assert np.array_equal(decode({"size": list(mask.shape), "counts": encode(mask)}), mask)
    assert np.array_equal(decode(theirs), mask)


def test_large_runs():
    mask = np.zeros((3000, 2000), bool)
    mask[5:2990, 700:1300] = True
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode(mask) == theirs["counts"].decode()
    assert np.array_equal(decode(theirs), mask)


def test_runs_as_a_list():
    mask = decode({"size": [2, 3], "counts": [1, 2, 3]})
    assert mask.tolist() == [[False, True, False], [True, False, False]]


@settings(max_examples=300)
@given(st.text(max_size=20), st.integers(-1, 30), st.integers(-1, 30))
def test_any_text_is_a_mask_or_an_error(text, height, width):
    try:
        mask = decode({"size": [height, width], "counts": text})
    except SourceError:
        return
    assert mask.shape == (height, width)


@pytest.mark.parametrize(
    "rle",
    [
        {},
        {"size": [2, 2]},
        {"size": [2], "counts": "4"},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": [-1, 5]},
        {"size": [2, 2], "counts": None},
        {"size": [2**20, 2**20], "counts": [2**40]},
        {"size": [2, 2], "counts": "P" * 9},
    ],
)
def test_what_is_no_code(rle):
    with pytest.raises(SourceError):
        decode(rle)


def test_a_small_mask_in_a_large_frame_costs_its_part() -> None:
    mask = np.zeros((4000, 4000), np.bool_)
    mask[1000:1020, 3000:3030] = mask[-1, 2998] = mask[0, -960] = True
    tracemalloc.start()
    try:
        counts = encode(mask)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < mask.size / 10
    assert np.array_equal(decode({"size": [4000, 4000], "counts": counts}), mask)
