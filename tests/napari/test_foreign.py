"""Which labels of another layer lie on objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytestmark = pytest.mark.viewer

SHAPE = (3, 4)
maps = arrays(np.int64, SHAPE, elements=st.sampled_from([0, 0, 1, 2, 7, 2**40]))


@given(maps, arrays(np.int32, SHAPE, elements=st.integers(0, 3)))
def test_labels_lie_on_objects_by_half_of_the_smaller(
    labels: np.ndarray, shown: np.ndarray
) -> None:
    from napari_sam2track.foreign import on_objects

    expected = set()
    for label in {*labels.ravel().tolist()} - {0}:
        for one in {*shown.ravel().tolist()} - {0}:
            mine, theirs = labels == label, shown == one
            if 2 * (mine & theirs).sum() >= min(mine.sum(), theirs.sum()):
                expected.add(label)
    assert on_objects(labels, shown) == expected
