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
    assert np.abs(exact - found).max() < 1 / 4096
    assert np.array_equal(quantise(back), codes)


@given(_LOGITS, st.integers(0, 9))
def test_what_is_packed_is_unpacked(logits: np.ndarray, level: int) -> None:
    assert np.array_equal(unpack(pack(logits, level), len(logits)), quantise(logits))


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
