"""Shapes and intensities, held to scikit-image's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops

from sam2track.errors import UsageError
from sam2track.shape import intensity, shape

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def blob(seed: int) -> np.ndarray:
    """A mask like those that tracking gives: a bent, turned ellipse with a hole."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:90, :120] - random.uniform(30, 60, 2)[:, None, None]
    turn = random.uniform(0, math.pi)
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    long, short = random.uniform(15, 40), random.uniform(4, 15)
    mask = (u / long) ** 2 + ((v - u * u / 90) / short) ** 2 < 1
    mask[40:43, 50:55] = False
    return mask


def compare(mask: np.ndarray) -> None:
    found = shape(mask)
    if not mask.any():
        assert found is None
        return
    assert found is not None
    (truth,) = regionprops(mask.astype(np.uint8))
    assert found.perimeter == pytest.approx(truth.perimeter, rel=1e-9)
    assert found.eccentricity == pytest.approx(truth.eccentricity, abs=1e-6)
    assert found.solidity == pytest.approx(truth.solidity, rel=1e-12)
    if found.eccentricity > 1e-3:  # elsewhere an angle says nothing, and rounding decides
        turned = (found.orientation - truth.orientation + math.pi / 2) % math.pi - math.pi / 2
        assert abs(turned) < 1e-6
    assert -math.pi / 2 <= found.orientation <= math.pi / 2
    edge = mask.copy()
    edge[1:-1, 1:-1] = False
    assert found.touches_border == edge.any()


@settings(max_examples=150)
@given(MASKS)
def test_any_mask_is_measured_as_scikit_image_does(mask: np.ndarray) -> None:
    compare(mask)


@pytest.mark.parametrize("seed", range(20))
def test_blobs_are_measured_as_scikit_image_does(seed: int) -> None:
    compare(blob(seed))


def test_shapes_that_are_known() -> None:
    square = np.zeros((20, 30), bool)
    square[5:15, 5:15] = True
    found = shape(square)
    assert found is not None
    assert (found.perimeter, found.eccentricity, found.solidity) == (36, 0, 1)
    assert not found.touches_border
    upright = np.zeros((20, 30), bool)
    upright[2:18, 10:13] = True
    assert shape(upright).orientation == 0
    assert shape(upright.T[:20, :20]).touches_border is False
    rising = np.eye(12, dtype=bool)[::-1]  # from the lower left to the upper right
    assert shape(rising).orientation == pytest.approx(-math.pi / 4)
    with pytest.raises(UsageError):
        shape(np.zeros((2, 2, 2), bool))


@settings(max_examples=60)
@given(MASKS, st.sampled_from([(), (1,), (3,)]), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_intensities_are_those_of_scikit_image(mask: np.ndarray, channels, dtype) -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 200, (*mask.shape, *channels)).astype(dtype)
    found = intensity(mask, picture)
    if not mask.any():
        assert found is None
        return
    assert found is not None
    (truth,) = regionprops(mask.astype(np.uint8), intensity_image=picture)
    np.testing.assert_allclose(found.mean, np.atleast_1d(truth.intensity_mean), rtol=1e-5)
    np.testing.assert_allclose(found.std, np.atleast_1d(truth.intensity_std), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.minimum, np.atleast_1d(truth.intensity_min))
    np.testing.assert_array_equal(found.maximum, np.atleast_1d(truth.intensity_max))


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e308])
def test_values_that_are_none_are_no_reason_for_a_warning(odd: float) -> None:
    """Of numpy, which a person was shown as one of the run."""
    picture = np.full((4, 4), odd)
    picture[0] = 1
    told = intensity(np.ones((4, 4), bool), picture)
    assert told is not None
    assert not math.isfinite(told.std[0])


def test_a_picture_of_another_size() -> None:
    with pytest.raises(UsageError, match="a picture of"):
        intensity(np.ones((2, 3), bool), np.ones((3, 2)))
