"""Twelve bits of logits."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sam2track.tracking.codes import dequantise, inflated, pack, quantise, stability, unpack

_LOGITS = st.integers(1, 9).flatmap(
    lambda side: arrays(np.float32, (side, side), elements=st.floats(-2000, 2000, width=32))
)


@given(_LOGITS)
def test_codes_keep_the_sign_and_are_close(logits: np.ndarray) -> None:
    codes = quantise(logits)
    assert np.array_equal(codes >= 2048, logits > 0)
    assert codes.max() <= 4095
    back = dequantise(codes)
    assert np.array_equal(back > 0, logits > 0)
    exact, found = (1 / (1 + np.exp(-np.clip(x.astype(float), -50, 50))) for x in (logits, back))
    assert np.abs(exact - found).max() < 1 / 8192 + 1e-6  # codes stand for the middles of levels
    assert np.array_equal(quantise(back), codes)


@given(_LOGITS, st.integers(0, 9))
def test_what_is_packed_is_unpacked(logits: np.ndarray, level: int) -> None:
    assert np.array_equal(unpack(pack(logits, level), len(logits)), quantise(logits))


def test_data_of_another_end_are_refused() -> None:
    data = pack(np.zeros((8, 8), np.float32), 6)
    for damaged in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b""):
        with pytest.raises((ValueError, zlib.error)):
            unpack(damaged, 8)


@pytest.mark.parametrize("side", [0, 4097, 2**20])
def test_grids_that_no_decoder_has_are_refused_at_once(side: int) -> None:
    with pytest.raises(ValueError, match=f"logits on a grid of {side}"):
        unpack(zlib.compress(b""), side)


def test_the_level_is_that_of_zlib() -> None:
    logits = np.zeros((32, 32), np.float32)
    stored, small = (len(pack(logits, level)) for level in (0, 9))
    assert small < 32 * 32 * 12 / 8 < stored


@given(st.binary(max_size=64), st.integers(-3, 2**40))
def test_other_data_are_refused(data: bytes, side: int) -> None:
    with pytest.raises((ValueError, zlib.error)):
        unpack(data, side)


@pytest.mark.parametrize("size", [0, 5, 7])
def test_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        inflated(zlib.compress(b"123456"), size)


def test_what_inflates_to_far_more_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(10**8), 9)
    with pytest.raises(ValueError, match="cut off"):
        unpack(bomb, 4)


@given(_LOGITS, st.sampled_from([0.5, 1.0, 2.0]))
def test_stability_is_that_of_the_logits(logits: np.ndarray, offset: float) -> None:
    found = stability(quantise(logits), offset)
    # Codes are whole: thresholds are met to one of 4096 levels.
    low, high = (4096 / (1 + np.exp(np.array([offset, -offset])))).astype(int)
    codes = quantise(logits)
    wide = (codes >= low).sum()
    assert found == (1 if not wide else (codes >= high).sum() / wide)
    clear = np.where(logits > 0, np.float32(9), np.float32(-9))
    assert stability(quantise(clear), offset) == 1


def test_stability_counts_what_lies_on_a_threshold() -> None:
    low, high = int(4096 / (1 + np.e)), int(4096 / (1 + 1 / np.e))
    assert stability(np.array([[low - 1, low], [high - 1, high]], np.uint16)) == 1 / 3
