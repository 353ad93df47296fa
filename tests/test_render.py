"""Overlays and the palette: which pixels change, and to what."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam2track import palette, render
from sam2track.errors import UsageError

LABELS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]),
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=30),
    elements=st.integers(0, 3),
)


def scene(height=120, width=160):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[height // 4 : height // 2, width // 4 : width // 2] = 1
    labels[height // 4 : height // 2, width // 2 : 3 * width // 4] = 2
    return frame, labels


def test_palette_is_the_one_of_davis():
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        4: (0, 0, 128),
        7: (128, 128, 128),
        8: (64, 0, 0),
        20: (0, 64, 128),
        21: (128, 64, 128),
        64: (32, 0, 0),
        255: (224, 224, 192),
    }
    for object_id, rgb in known.items():
        assert palette.colour(object_id) == rgb
        assert tuple(palette.PALETTE[object_id]) == rgb
    assert palette.PALETTE.shape == (256, 3)
    assert palette.PALETTE.dtype == np.uint8
    assert len({tuple(rgb) for rgb in palette.PALETTE.tolist()}) == 256
    with pytest.raises(ValueError, match="read-only"):
        palette.PALETTE[0] = 1


def test_ids_above_255_wrap_onto_the_colours_of_objects():
    assert palette.colour(256) == palette.colour(1)
    assert palette.colour(510) == palette.colour(255)
    assert palette.colour(511) == palette.colour(1)
    with pytest.raises(UsageError):
        palette.colour(-1)
    with pytest.raises(AttributeError):
        _ = palette.NOTHING
    for top in (300, 70_000):
        labels = np.array([[0, 1, 255, 256, top]])
        expected = [[palette.colour(int(v)) for v in labels[0]]]
        assert np.array_equal(palette.PALETTE[palette.wrapped(labels)], expected)


@settings(max_examples=80)
@given(LABELS, st.sampled_from([1, 200, 70_000]))
def test_colour_map_equals_the_palette(labels, factor):
    labels = labels.astype(np.int64) * factor
    expected = [[palette.colour(int(v)) for v in line] for line in labels]
    assert np.array_equal(render.colour_map(labels), expected)


@settings(max_examples=80)
@given(LABELS, st.floats(0, 1))
def test_fill_equals_the_naive_one(labels, alpha):
    frame = np.random.default_rng(1).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    before = frame.copy()
    picture = render.overlay(frame, labels, alpha=alpha, outline=False, tags=False)
    colours = palette.PALETTE[labels].astype(float)
    expected = np.where((labels > 0)[..., None], frame * (1 - alpha) + colours * alpha, frame)
    assert np.abs(picture - expected).max() <= 1
    assert np.array_equal(picture[labels == 0], frame[labels == 0])
    assert np.array_equal(frame, before)


@settings(max_examples=80)
@given(LABELS, st.sampled_from([1, 200, 65_536, 70_000]))
def test_outline_equals_the_naive_one(labels, factor):
    labels = labels.astype(np.int64) * factor
    frame = np.full((*labels.shape, 3), 7, dtype=np.uint8)
    picture = render.overlay(frame, labels, alpha=0, tags=False)
    changed = (picture != frame).any(axis=2)
    padded = np.pad(labels, 1, mode="edge")
    height, width = labels.shape
    other = np.zeros(labels.shape, dtype=np.bool_)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        other |= padded[y : y + height, x : x + width] != labels
    assert np.array_equal(changed, other & (labels > 0))


def test_neighbours_each_have_their_line():
    frame, labels = scene()
    frame[:] = 0
    picture = render.overlay(frame, labels, tags=False)
    assert picture[40, 79].tolist() == [255, 0, 0]
    assert picture[40, 80].tolist() == [0, 255, 0]
    assert picture[40, 60].tolist() == [64, 0, 0]


def test_tags_are_written_on_their_objects_and_within_the_frame():
    frame, labels = scene(480, 640)
    plain = render.overlay(frame, labels, tags=False)
    tagged = render.overlay(frame, labels)
    ys, xs = np.nonzero((plain != tagged).any(axis=2))
    assert len(ys) > 50
    assert set(labels[ys, xs]) == {1, 2}
    assert (tagged > 250).all(axis=2).any()
    named = render.overlay(frame, labels, names={2: "dog"})
    assert (named != tagged).any(axis=2).sum() > 50
    corner = np.zeros_like(labels)
    corner[-3:, -3:] = 12345 % 256
    assert (render.overlay(frame, corner, names={57: "x" * 200}) != frame).any()


def test_tags_at_the_rim_are_whole():
    frame, letters = np.zeros((240, 320, 3), dtype=np.uint8), []
    for y, x in ((120, 160), (0, 160), (239, 160), (120, 0), (120, 319), (0, 0), (239, 319)):
        labels = np.zeros((240, 320), dtype=np.uint8)
        labels[y, x] = 1
        tagged = render.overlay(frame, labels, alpha=0, outline=False, names={1: "dog"})
        letters.append(int(tagged.any(axis=2).sum()))  # to the palest of their pixels
    assert letters[0] > 20 and set(letters) == {letters[0]}


def test_a_stamp_is_cut_off_below():
    picture = np.zeros((12, 90, 3), dtype=np.uint8)
    render.stamp(picture, "0:01.500")
    assert picture[3:6].any()  # where letters begin


def test_a_tag_does_not_hide_a_small_object():
    frame = np.zeros((240, 320, 3), dtype=np.uint8)
    labels = np.zeros((240, 320), dtype=np.uint8)
    labels[100:106, 100:106] = 5
    plain = render.overlay(frame, labels, tags=False)
    tagged = render.overlay(frame, labels)
    assert np.array_equal(plain[labels > 0], tagged[labels > 0])
    assert (tagged[:100] > 200).all(axis=2).any()


@pytest.mark.parametrize("seed", range(4))
def test_texts_of_objects_that_are_close_do_not_cover_each_other(seed):
    random = np.random.default_rng(seed)
    labels = np.zeros((240, 320), np.uint8)
    for i in range(1, 9):
        y, x = random.integers(80, 160), random.integers(110, 200)
        labels[y : y + 9, x : x + 9] = i
    black = np.zeros((240, 320, 3), np.uint8)
    together = black.copy()
    render.tag(together, labels, lambda i: f"{i} cell")
    alone = 0
    for i in np.unique(labels[labels > 0]):
        picture = black.copy()
        render.tag(picture, labels, lambda j, i=i: f"{i} cell" if j == i else "")
        alone += int(picture.sum())
    assert int(together.sum()) == alone  # what lies on another is darkened or lost


def test_texts_that_have_no_room_are_written_all_the_same():
    labels = np.arange(1, 26, dtype=np.uint8).reshape(5, 5).repeat(6, 0).repeat(6, 1)
    picture = np.zeros((30, 30, 3), np.uint8)
    render.tag(picture, labels, lambda i: f"object {i}")
    assert picture.any()


def test_a_tag_lies_on_a_ring_not_in_its_middle():
    yy, xx = np.mgrid[:400, :400]
    distance = np.hypot(yy - 200, xx - 200)
    labels = ((distance < 150) & (distance > 100)).astype(np.int32)
    place = render._places(labels)[1]
    assert labels[place.y, place.x] == 1
    assert place.box == (51, 51, 350, 350)


@settings(max_examples=80)
@given(LABELS)
def test_places_equal_the_naive_ones(labels):
    places = render._places(labels)
    assert sorted(places) == [v for v in np.unique(labels) if v]
    for object_id, (x, y, box) in places.items():
        ys, xs = np.nonzero(labels == object_id)
        assert box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert labels[y, x] == object_id
        away = (xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2
        assert (x - xs.mean()) ** 2 + (y - ys.mean()) ** 2 <= away.min() + 1.0


@settings(max_examples=40)
@given(LABELS)
def test_any_labels_can_be_shown(labels):
    frame = np.zeros((*labels.shape, 3), dtype=np.uint8)
    assert render.overlay(frame, labels, names={1: "ü" * 9}).shape == frame.shape


def test_strided_frames():
    frame, labels = scene()
    expected = render.overlay(np.ascontiguousarray(frame[::2, ::-2]), labels[::2, ::-2])
    assert np.array_equal(render.overlay(frame[::2, ::-2], labels[::2, ::-2]), expected)


def test_refusals():
    frame, labels = scene()
    for bad in (
        lambda: render.overlay(frame[:-1], labels),
        lambda: render.overlay(frame.astype(np.float32), labels),
        lambda: render.overlay(frame, labels, alpha=1.5),
        lambda: render.overlay(frame, labels.astype(np.float32)),
        lambda: render.colour_map(frame),
    ):
        with pytest.raises(UsageError):
            bad()


def test_720p_takes_milliseconds():
    frame, labels = scene(720, 1280)
    render.overlay(frame, labels)
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        times = []
        for _ in range(10):
            start = time.perf_counter()
            render.overlay(frame, labels)
            times.append(time.perf_counter() - start)
    finally:
        cv2.setNumThreads(before)
    assert min(times) < 0.03  # about 0.004 on an idle core
