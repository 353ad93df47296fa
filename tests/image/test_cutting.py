"""Objects cut out of their picture."""

from __future__ import annotations

import numpy as np
import pytest

from sam2track.errors import UsageError
from sam2track.image.cutting import cutout, opacity, placed, read_ground


def test_edges_are_as_soft_as_the_grid_is_coarse() -> None:
    mask = np.zeros((16, 200), np.bool_)
    mask[:, :100] = True
    # A cell of the grid is as wide as the longer side makes it.
    alpha = opacity(mask, grid=10)
    assert alpha[0, 90] < 255 and alpha[0, 109] > 0
    assert np.array_equal(alpha[0], alpha[8])  # beyond the rim an object goes on
    assert set(opacity(np.ones((9, 9), np.bool_), grid=8).ravel()) == {255}


def test_what_is_transparent_shows_nothing() -> None:
    picture = np.full((2, 3, 3), 200, np.uint8)
    alpha = np.array([[0, 1, 255], [0, 128, 254]], np.uint8)
    found = cutout(picture, alpha)
    assert np.array_equal(found[..., 3], alpha)
    assert (found[..., :3] == np.where(alpha > 0, 200, 0)[..., None]).all()


def test_grounds_are_mixed_to_the_nearest() -> None:
    alpha = np.arange(256, dtype=np.uint8)[None]
    found = placed(np.full((1, 256, 3), 250, np.uint8), alpha, (10, 0, 255))
    part = np.arange(256)[None, :, None] / 255
    exact = part * 250 + (1 - part) * np.array([10, 0, 255])
    assert np.abs(found - exact).max() <= 0.5


def test_colours_that_cannot_be() -> None:
    assert read_ground("rgb(0,255,1)").tolist() == [0, 255, 1]
    for odd in ("rgb(300,0,0)", "rgb(0,120%,0)", "hsv(0,300%,100%)"):
        with pytest.raises(UsageError, match="no such colour and no such file"):
            read_ground(odd)
