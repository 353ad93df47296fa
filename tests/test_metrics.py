"""J and F against the formulas of DAVIS, written out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from sam2track.errors import UsageError
from sam2track.metrics import boundary_f, j_and_f, jaccard, mean_jaccard, statistics

PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24).flatmap(
    lambda shape: st.tuples(hnp.arrays(np.bool_, shape), hnp.arrays(np.bool_, shape))
)


def disk(height, width, y, x, radius):
    yy, xx = np.mgrid[:height, :width]
    return (yy - y) ** 2 + (xx - x) ** 2 <= radius**2


def official_contour(mask):
    """``_seg2bmap`` of davis2017-evaluation (BSD 3-clause), its definition in our words."""
    east, south, both = (np.zeros_like(mask) for _ in range(3))
    east[:, :-1] = mask[:, 1:]
    south[:-1] = mask[1:]
    both[:-1, :-1] = mask[1:, 1:]
    edge = (mask ^ east) | (mask ^ south) | (mask ^ both)
    edge[-1] = mask[-1] ^ east[-1]
    edge[:, -1] = mask[:, -1] ^ south[:, -1]
    edge[-1, -1] = False
    return edge


def official_f(found, truth, tolerance=0.008):
    radius = int(np.ceil(tolerance * np.linalg.norm(found.shape)))
    near = disk(2 * radius + 1, 2 * radius + 1, radius, radius, radius).astype(np.uint8)
    found, truth = official_contour(found), official_contour(truth)
    found_wide = cv2.dilate(found.astype(np.uint8), near)
    truth_wide = cv2.dilate(truth.astype(np.uint8), near)
    if not found.any() and truth.any():
        precision, recall = 1.0, 0.0
    elif found.any() and not truth.any():
        precision, recall = 0.0, 1.0
    elif not found.any():
        precision, recall = 1.0, 1.0
    else:
        precision = (found * truth_wide).sum() / found.sum()
        recall = (truth * found_wide).sum() / truth.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=200)
@given(PAIRS)
def test_small_masks_equal_the_formulas(pair):
    a, b = pair
    union = (a | b).sum()
    assert jaccard(a, b) == ((a & b).sum() / union if union else 1.0)
    assert boundary_f(a, b) == pytest.approx(official_f(a, b), abs=1e-12)
    assert boundary_f(a, b, tolerance=0.2) == pytest.approx(official_f(a, b, 0.2), abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_blobs_equal_the_formula(seed):
    noise = np.random.default_rng(seed).normal(size=(2, 240, 427))
    a, b = ndimage.gaussian_filter(noise, (0, 12, 12)) > 0
    assert boundary_f(a, b) == pytest.approx(official_f(a, b), abs=1e-12)
    assert 0 < boundary_f(a, b) < 1


def test_contours_are_compared_around_the_masks_alone(monkeypatch):
    """Of a cell in 2048 x 2048 pixels it would take a thousand times as long otherwise."""
    a, b = disk(600, 800, 300, 400, 6), disk(600, 800, 302, 401, 6)
    pixels, whole = [], cv2.distanceTransform

    def counted(picture, *arguments):
        pixels.append(picture.size)
        return whole(picture, *arguments)

    monkeypatch.setattr(cv2, "distanceTransform", counted)
    assert 0 < boundary_f(a, b, tolerance=1) == official_f(a, b, 1e-3) < 1
    assert len(pixels) == 2
    assert max(pixels) <= 17 * 16
    edge = disk(600, 800, 0, 799, 6)  # which no margin surrounds
    assert boundary_f(edge, edge) == 1
    assert boundary_f(edge, a) == official_f(edge, a) == 0


def test_plain_cases():
    empty, full = np.zeros((40, 50), dtype=np.bool_), np.ones((40, 50), dtype=np.bool_)
    ball = disk(40, 50, 20, 25, 8)
    assert jaccard(empty, empty) == boundary_f(empty, empty) == 1
    assert jaccard(empty, ball) == boundary_f(empty, ball) == boundary_f(ball, empty) == 0
    assert jaccard(full, ball) == ball.mean()
    assert boundary_f(ball, ball) == 1
    # A contour moved by two pixels is right within two, and not within one.
    moved = np.roll(ball, 2, axis=1)
    assert boundary_f(ball, moved, tolerance=2) == 1
    assert boundary_f(ball, moved, tolerance=1) < 1
    assert boundary_f(ball, moved, tolerance=0) < boundary_f(ball, moved, tolerance=1)
    assert boundary_f(ball, ball, tolerance=0) == 1
    assert jaccard(ball.astype(np.uint8) * 7, ball) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=255))
def test_statistics_equal_the_formula(values):
    """``db_statistics`` of davis2017-evaluation, whose indices are 8 bits wide."""
    given = np.array(values)
    ids = (np.round(np.linspace(1, len(given), 5) + 1e-10) - 1).astype(np.uint8)
    quarters = [given[ids[i] : ids[i + 1] + 1] for i in range(4)]
    found = statistics(values)
    assert found.mean == pytest.approx(np.nanmean(given))
    assert found.recall == pytest.approx(np.nanmean(given > 0.5))
    decay = np.nanmean(quarters[0]) - np.nanmean(quarters[3])
    assert found.decay == pytest.approx(decay, abs=1e-12)


def test_means_over_a_video():
    truth = np.zeros((3, 20, 30), dtype=np.uint8)
    truth[:, 2:10, 2:10] = 1
    truth[1:, 12:18, 12:28] = 5
    found = truth.copy()
    found[2][found[2] == 5] = 0
    assert mean_jaccard(truth, found, [1]) == 1
    assert mean_jaccard(truth, found, [5]) == pytest.approx(2 / 3)
    assert mean_jaccard(truth, found, [1, 5]) == pytest.approx(5 / 6)
    assert mean_jaccard(iter(truth), iter(found.astype(np.int32)), [1, 5]) == pytest.approx(5 / 6)
    assert mean_jaccard(truth, found, (i for i in (1, 5))) == pytest.approx(5 / 6)
    assert j_and_f(truth, found, iter([5])).j == pytest.approx(2 / 3)
    both = j_and_f(truth, found, [1, 5])
    assert both == pytest.approx((5 / 6, 5 / 6, 5 / 6))
    assert both.mean == pytest.approx((both.j + both.f) / 2)


def test_what_cannot_be_compared():
    one, two = np.zeros((2, 4, 5), dtype=np.uint8), np.zeros((3, 4, 5), dtype=np.uint8)
    with pytest.raises(UsageError, match="number of frames"):
        mean_jaccard(one, two, [1])
    with pytest.raises(UsageError, match="number of frames"):
        j_and_f(two, one, [1])
    with pytest.raises(UsageError, match="at least one"):
        mean_jaccard(one, one, [])
    with pytest.raises(UsageError, match="at least one"):
        mean_jaccard(one[:0], one[:0], [1])
    with pytest.raises(UsageError, match="alike"):
        jaccard(one[0], one[0].T)
    with pytest.raises(UsageError, match="alike"):
        boundary_f(one, one)
    with pytest.raises(UsageError, match="tolerance"):
        boundary_f(one[0], one[0], tolerance=-1)
