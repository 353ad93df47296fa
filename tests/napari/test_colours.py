"""Objects have their colours, whatever their numbers; no viewer yet."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from napari_sam2track.colours import colours_of
from sam2track.palette import colour

HIGH = (300, 65_534, 65_535, 65_536, 70_000, 2**31 - 1)


@pytest.fixture
def layer() -> Labels:
    table = {None: (1.0, 1.0, 1.0, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
    for number in (*range(1, 256), *HIGH):
        table[number] = (*(part / 255 for part in colour(number)), 1.0)
    table[70_000] = (0.123, 0.4, 0.5, 1.0)  # one that a person chose
    data = np.zeros((8, 9), np.int32)
    data[: len(HIGH), 2] = HIGH
    data[7, 7], data[7, 8] = 5, 90_000
    made = Labels(data)
    made.colormap = colours_of(table)
    return made


def test_each_number_is_drawn_in_its_colour(layer: Labels) -> None:
    drawn = layer.colormap.map(layer.data)
    for line, number in enumerate(HIGH):
        expected = layer.get_color(number)
        assert np.allclose(drawn[line, 2], expected) and not np.allclose(expected[:3], 1)
    assert np.allclose(layer.get_color(70_000), (0.123, 0.4, 0.5, 1))
    assert np.allclose(drawn[7, 7, :3], np.array(colour(5)) / 255)
    assert np.allclose(drawn[7, 8], 1) and not drawn[0, 0].any()
    # What goes to the canvas tells them apart in the same way.
    sent = layer._slice.image.view
    assert sent.dtype == np.uint16 or sent.dtype == np.uint8
    assert len({int(sent[line, 2]) for line in range(len(HIGH))} | {0}) == len(
        {tuple(layer.get_color(number)) for number in HIGH} | {(0, 0, 0, 0)}
    )


def test_one_number_alone_can_be_shown(layer: Labels) -> None:
    layer.selected_label = 70_000
    layer.show_selected_label = True
    layer.refresh()
    drawn = layer.colormap.map(layer.data)
    assert np.allclose(layer.get_color(70_000), (0.123, 0.4, 0.5, 1))
    assert drawn[..., 3].sum() == 1 == np.count_nonzero(layer._slice.image.view)
