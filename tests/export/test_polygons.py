"""Outlines of masks, by another algorithm for points in polygons."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sam2track.export import polygons
from sam2track.export.polygons import border, inside

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
RING = np.pad(np.zeros((1, 1), bool), 1, constant_values=True)


def pixel_by_pixel(polygon, height, width):
    """W. R. Franklin's test, as TrackMate has it: a ray to the right crosses an odd number."""
    found = np.zeros((height, width), bool)
    y, x = np.mgrid[:height, :width]
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, 1, axis=0), strict=True):
        if y0 != y1:
            beside = (y0 > y) != (y1 > y)
            with np.errstate(over="ignore"):
                found ^= beside & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return found


def signed_area(polygon):
    x, y = polygon.T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


@given(MASKS)
@example(RING)
@example(np.eye(3, dtype=bool))
@example(np.eye(3, dtype=bool)[::-1])
@example(np.pad(RING, 2) | np.pad(np.ones((1, 1), bool), 3))
def test_the_border_holds_the_mask_and_its_area(mask):
    path = border(mask)
    assert np.array_equal(pixel_by_pixel(path, *mask.shape), mask)
    assert np.array_equal(inside(path, *mask.shape), mask)
    assert (signed_area(path) if mask.any() else 0) == mask.sum()
    steps = np.abs(path - np.roll(path, 1, axis=0))
    assert (path % 1 == 0.5).all() and (steps.min(axis=1) == 0).all()  # along borders of pixels


def test_a_border_has_no_points_but_corners():
    mask = np.zeros((40, 60), bool)
    mask[3:30, 5:50] = True
    assert border(mask).tolist() == [[4.5, 2.5], [49.5, 2.5], [49.5, 29.5], [4.5, 29.5]]


def test_pixels_that_touch_at_a_corner_are_gone_around_together():
    assert len(border(np.eye(3, dtype=bool))) == 3 * 4  # two corners twice, and no line there


@given(
    arrays(float, st.tuples(st.integers(1, 9), st.just(2)), elements=st.floats(-4, 12)),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_any_polygon_is_filled_as_by_its_rule(polygon, height, width):
    found = inside(polygon, height, width)
    assert found.shape == (height, width)
    assert np.array_equal(found, pixel_by_pixel(polygon, height, width))


def test_a_polygon_is_looked_at_in_parts(monkeypatch):
    polygon = np.random.default_rng(0).normal(10, 8, (40, 2))
    whole = inside(polygon, 20, 22)
    monkeypatch.setattr(polygons, "_CROSSINGS", 60)  # three sides at once
    assert np.array_equal(inside(polygon, 20, 22), whole) and whole.any()


def test_a_small_polygon_in_a_large_picture_takes_no_memory_but_the_mask():
    polygon = np.array([[1900, 1800], [1910, 1800], [1910, 1820]]) + 0.5
    tracemalloc.start()
    found = inside(polygon, 2000, 2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(
        found[1750:1850, 1850:1950], pixel_by_pixel(polygon - [1850, 1750], 100, 100)
    )
    assert found.sum() == found[1750:1850, 1850:1950].sum() > 90
    assert peak < 1.1 * found.nbytes


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.7e308])
def test_points_that_are_no_numbers_are_refused(value):
    with pytest.raises(ValueError, match="points that are no numbers"):
        inside(np.array([[0, 0], [3, value], [2, 2]]), 4, 4)
