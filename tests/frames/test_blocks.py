"""Arrays whose chunks hold several planes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2track.frames.array import ArraySource
from sam2track.frames.blocks import Blocks, chunks_of


class Chunked:
    """Notes what is asked of it: an index or a range for each axis."""

    def __init__(self, values: np.ndarray[Any, Any], chunks: Any) -> None:
        self.shape, self.dtype, self.chunks = values.shape, values.dtype, chunks
        self.asked: list[tuple[Any, ...]] = []
        self._values = values

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return self._values[index]


def test_chunks_are_inflated_once_where_frames_come_in_order() -> None:
    values = np.random.default_rng(0).integers(0, 255, (60, 16, 24), np.uint8)
    array = Chunked(values, (10, 8, 8))
    source = ArraySource(array)
    for frames in (range(60), range(59, -1, -1)):
        array.asked.clear()
        for frame in frames:
            assert (source.read(frame) == values[frame][..., None]).all()
        # Six blocks of chunks, and the first plane: nobody knew what would come.
        assert len(array.asked) <= 7


def test_what_is_looked_at_here_and_there_is_read_by_itself() -> None:
    array = Chunked(np.zeros((640, 8, 8), np.uint16), (64, 8, 8))
    source = ArraySource(array)
    assert source.limits is not None
    for frame in (7, 300, 500, 30):
        source.read(frame)
    assert all(isinstance(index[0], int) for index in array.asked)


def test_channels_in_chunks_of_their_own() -> None:
    values = np.random.default_rng(0).integers(0, 255, (20, 3, 8, 8), np.uint8)
    array = Chunked(values, (5, 1, 8, 8))
    source = ArraySource(array, axes="TCYX")
    for frame in range(20):
        assert (source.values(frame) == values[frame].transpose(1, 2, 0)).all()
    assert len(array.asked) <= 3 * (4 + 1)


def test_the_brightest_of_planes_in_one_chunk() -> None:
    values = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 8), np.uint8)
    array = Chunked(values, (1, 8, 8, 8))
    source = ArraySource(array, axes="TZYX", z="max")
    for frame in range(6):
        assert (source.read(frame)[..., 0] == values[frame].max(0)).all()
    assert len(array.asked) <= 6 * 2


@given(
    axes=st.permutations("TZCYXS").map("".join),
    room=st.integers(1, 20_000),
    seed=st.integers(0, 1000),
)
def test_planes_are_those_of_the_array(axes: str, room: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 6, 6))
    chunks = tuple(int(rng.integers(1, n + 1)) for n in shape)
    values = rng.integers(0, 2**16, shape, np.uint16)
    array = Chunked(values, chunks)
    blocks = Blocks(array, axes, chunks, 2, room=room)
    choosing = [axis for axis in axes if axis not in "YXS"]
    plane = 2 * np.prod([n for n, axis in zip(shape, axes, strict=True) if axis in "YXS"])
    for _ in range(40):
        at = {axis: int(rng.integers(0, shape[axes.index(axis)])) for axis in choosing}
        index = tuple(at.get(axis, slice(None)) for axis in axes)
        assert (blocks(at) == values[index]).all()
        assert values[array.asked[-1]].nbytes <= max(room, plane)
        assert sum(block.nbytes for block in blocks._kept.values()) <= max(room, plane)


def test_blocks_are_let_go_when_a_source_is_closed() -> None:
    array = Chunked(np.zeros((10, 8, 8), np.uint8), (10, 8, 8))
    source = ArraySource(array)
    source.read(0), source.read(1)
    asked = len(array.asked)
    source.read(2)
    assert len(array.asked) == asked
    source.close()
    source.read(3)
    assert len(array.asked) == asked + 1


def test_threads_share_what_is_inflated() -> None:
    array = Chunked(np.zeros((40, 8, 8), np.uint8), (40, 8, 8))
    source = ArraySource(array)
    threads = [
        threading.Thread(target=lambda: [source.read(frame) for frame in range(40)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(array.asked) <= 2


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((4, 8, 8), (4, 8, 8)),
        (((4, 4, 2), (8,), (8,)), (4, 8, 8)),
        ((100, 8, 8), (10, 8, 8)),
        (None, None),
        ((4, 8), None),
        (("x", 8, 8), None),
        ((0, 8, 8), None),
        (7, None),
    ],
)
def test_what_arrays_say_of_their_chunks(chunks: Any, expected: Any) -> None:
    array = Chunked(np.zeros((10, 8, 8), np.uint8), chunks)
    assert chunks_of(array) == expected
    assert (ArraySource(array).read(3) == 0).all()
