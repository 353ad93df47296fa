"""Masks: what is coded comes back, what is damaged says so, and the fast ways equal the plain."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from sam2track import masks
from sam2track.errors import ProjectError, UsageError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40)
MASKS = hnp.arrays(np.bool_, SHAPES)
quick = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def header(height: int, width: int, *, packing: int = 0, version: int = 1) -> bytes:
    return struct.pack("<BBII", version, packing, height, width)


@quick
@given(MASKS)
def test_code_round_trip(mask):
    back = masks.decode(masks.encode(mask))
    assert back.dtype == np.bool_
    assert back.shape == mask.shape
    assert np.array_equal(back, mask)


@quick
@given(MASKS)
def test_a_part_of_a_code_is_what_lies_in_the_box(mask):
    size, place, part = masks.decode_part(masks.encode(mask))
    assert size == mask.shape
    x0, y0, x1, y1 = masks.bounding_box(mask) or (0, 0, 0, 0)
    assert place == (slice(y0, y1), slice(x0, x1))
    assert part.dtype == np.bool_
    assert np.array_equal(part, mask[place])


@pytest.mark.parametrize("density", [0.0, 0.001, 0.5, 0.999, 1.0])
def test_code_round_trip_of_many_chunks(density, monkeypatch):
    monkeypatch.setattr(masks, "_CHUNK", 64)
    mask = np.random.default_rng(0).random((311, 523)) < density
    assert np.array_equal(masks.decode(masks.encode(mask)), mask)
    _, place, part = masks.decode_part(masks.encode(mask))
    assert np.array_equal(part, mask[place])
    assert part.sum() == mask.sum()


def test_a_part_takes_no_memory_for_the_frame():
    mask = np.zeros((4000, 4000), dtype=np.bool_)
    mask[2000:2030, 1000:1030] = True
    code = masks.encode(mask)
    tracemalloc.start()
    _, _, part = masks.decode_part(code)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert part.all()
    assert most < 100_000


def test_code_of_long_runs_and_odd_inputs():
    mask = np.zeros((3000, 3000), dtype=np.bool_)
    mask[-1, -1] = True
    code = masks.encode(mask)
    assert len(code) < 20
    assert np.array_equal(masks.decode(memoryview(code)), mask)
    assert masks.encode(mask.astype(np.int32) * 7) == code
    assert masks.encode(np.asfortranarray(mask)) == code
    with pytest.raises(UsageError, match="two axes"):
        masks.encode(np.zeros((2, 3, 4), dtype=np.bool_))
    with pytest.raises(UsageError, match="too large"):
        masks.encode(np.broadcast_to(np.zeros(1, dtype=np.bool_), (2**15, 2**14)))


@settings(max_examples=600)
@given(MASKS, st.data())
def test_mutated_codes_decode_or_raise_project_error(mask, data):
    code = bytearray(masks.encode(mask))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(code)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "cut":
            del code[at:]
        elif kind == "insert":
            code[at:at] = data.draw(st.binary(min_size=1, max_size=6))
        elif at < len(code):
            code[at] = data.draw(st.integers(0, 255))
    try:
        back = masks.decode(bytes(code))
    except ProjectError as error:
        assert "\n" not in str(error)
    else:
        assert back.dtype == np.bool_


@settings(max_examples=600)
@given(st.integers(0, 9), st.integers(0, 9), st.binary(max_size=40), st.booleans())
def test_any_body_decodes_or_raises_project_error(height, width, body, deflate):
    data = header(height, width, packing=int(deflate)) + (zlib.compress(body) if deflate else body)
    try:
        back = masks.decode(data)
    except ProjectError:
        return
    assert np.array_equal(masks.decode(masks.encode(back)), back)


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_any_bytes_decode_or_raise_project_error(data):
    for read in (masks.decode, masks.decode_part):
        with contextlib.suppress(ProjectError):
            read(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "not bytes"),
        ("text", "not bytes"),
        (b"", "too few"),
        (header(2, 3, version=9) + b"\x06", "version is 9"),
        (header(2, 3, packing=7) + b"\x06", "packing is 7"),
        (header(2**31, 2**31) + b"\x06", "claims"),
        (header(2**14 + 1, 2**14) + b"\x06", "claims"),
        (header(2, 3), "cover 0 of the 6"),
        (header(0, 0), "cover 0 of the 0"),
        (header(2, 3) + b"\x05", "cover 5 of the 6"),
        (header(2, 3) + b"\x07", "pass the 6"),
        (header(2, 3) + b"\xff\xff\xff\xff\x7f", "pass the 6"),
        (header(2, 3) + b"\x06\x00", "empty run"),
        (header(2, 3) + b"\x86\x00", "too many bytes"),
        (header(2, 3) + b"\x03\x83", "cut off"),
        (header(2, 3) + b"\x80\x80\x80\x80\x80\x01", "too many bytes"),
        (header(2, 3) + b"\x01" * 8, "more runs than pixels"),
        (header(2, 3, packing=1) + b"\x06\x06", "cannot be inflated"),
        (header(2, 3, packing=1) + zlib.compress(b"\x06")[:-1], "cut off"),
        (header(2, 3, packing=1) + zlib.compress(b"\x06") + b"x", "followed by"),
        (header(2, 3, packing=1) + zlib.compress(bytes(10**6)), "more runs than pixels"),
    ],
)
def test_damage_is_named(data, message):
    for read in (masks.decode, masks.decode_part):
        with pytest.raises(ProjectError, match=message):
            read(data)


def test_a_bomb_takes_no_memory():
    small = header(100, 100, packing=1) + zlib.compress(bytes(2**26))
    huge = header(2**32 - 1, 2**32 - 1) + b"\x01"
    tracemalloc.start()
    for data in (small, huge):
        with pytest.raises(ProjectError):
            masks.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    ("ids", "dtype"),
    [([], "u1"), ([255], "u1"), ([3, 256], "u2"), ([65536], "i4"), ([2**31 - 1], "i4")],
)
def test_label_dtype(ids, dtype):
    assert masks.label_dtype(ids) == np.dtype(dtype)


@pytest.mark.parametrize("ids", [[0], [-1], [2, 2], [2**31]])
def test_label_dtype_refuses(ids):
    with pytest.raises(UsageError):
        masks.label_dtype(ids)


def naive_fill(logits, max_area, value):
    filled = logits.copy()
    for plane in filled:
        patches, count = ndimage.label(plane <= 0, structure=np.ones((3, 3)))
        for patch in range(1, count + 1):
            if (patches == patch).sum() <= max_area:
                plane[patches == patch] = value
    return filled


@quick
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12),
        elements=st.sampled_from([-3.0, -0.5, 0.0, 0.5, 4.0, np.nan]),
    ),
    st.integers(0, 9),
)
def test_fill_holes_equals_the_naive_one(logits, max_area):
    before = logits.copy()
    filled = masks.fill_holes(logits, max_area=max_area)
    expected = naive_fill(logits, max_area, np.float32(0.1))
    assert filled.dtype == np.float32
    assert np.array_equal(filled, expected, equal_nan=True)
    assert np.array_equal(logits, before, equal_nan=True)
    assert (filled is logits) == np.array_equal(expected, before, equal_nan=True)


def test_fill_holes_on_blobs_equals_the_naive_one():
    noise = np.random.default_rng(3).normal(size=(3, 128, 128)).astype(np.float32)
    logits = ndimage.gaussian_filter(noise, (0, 1.2, 1.2))
    assert np.array_equal(
        masks.fill_holes(logits, max_area=8), naive_fill(logits, 8, np.float32(0.1))
    )


def test_fill_holes_refuses():
    with pytest.raises(UsageError):
        masks.fill_holes(np.zeros((4, 4), dtype=np.float32), max_area=8)
    with pytest.raises(UsageError):
        masks.fill_holes(np.zeros((1, 4, 4), dtype=np.float32), max_area=-1)


@quick
@given(MASKS)
def test_measure_equals_the_naive_one(mask):
    area, centroid, box = masks.measure(mask)
    ys, xs = np.nonzero(mask)
    assert area == len(xs)
    assert box == masks.bounding_box(mask)
    if not area:
        assert centroid is None
        assert box is None
        return
    assert centroid == pytest.approx((xs.mean(), ys.mean()))
    assert box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert all(type(value) is int for value in (area, *box))


def test_a_large_mask_is_measured_as_a_small_one():
    mask = np.zeros((700, 600), dtype=np.bool_)
    mask[50:650, 30:551] = True
    assert masks.measure(mask) == (600 * 521, (290.0, 349.5), (30, 50, 551, 650))
    assert masks.measure(mask.astype(np.uint8) * 7) == masks.measure(mask)  # as files have them


def test_centroid_is_in_pixel_indices():
    mask = np.zeros((9, 9), dtype=np.bool_)
    mask[5, 3] = True
    assert masks.measure(mask) == (1, (3.0, 5.0), (3, 5, 4, 6))
