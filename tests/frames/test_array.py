"""Arrays, and what opens what."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam2track.errors import SourceError, UsageError
from sam2track.frames.array import ArraySource
from sam2track.frames.intensity import sample
from sam2track.frames.opening import open_source, reopen_source
from sam2track.frames.source import FrameSource
from sam2track.frames.video import VideoFile

from .test_folder import write


class Lazy:
    """Gives one frame at a time, as dask and zarr do, and notes which."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.shape, self.dtype, self.asked = values.shape, values.dtype, []
        self._values = values

    asked: list[int]

    def __getitem__(self, frame: object) -> Any:
        assert isinstance(frame, int)
        self.asked.append(frame)
        return self._values[frame].tolist() if self.dtype == bool else self._values[frame]


SHAPES = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 4])),
)


@given(hnp.arrays(np.uint8, SHAPES))
def test_bytes_stay_as_they_are(array: np.ndarray[Any, Any]) -> None:
    source = ArraySource(array)
    assert isinstance(source, FrameSource)
    expected = array[..., None] if array.ndim == 3 else array
    expected = np.broadcast_to(expected[..., :3], (*array.shape[:3], 3))
    assert (len(source), source.height, source.width) == array.shape[:3]
    got = np.array(list(source.frames(0, len(source))))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(
        list(source.frames(0, len(source), backward=True)), expected[::-1]
    )
    np.testing.assert_array_equal(source.read(0), expected[0])


@given(hnp.arrays(st.sampled_from([np.uint16, np.int32, np.float32, np.float64, np.int8]), SHAPES))
def test_limits_are_one_for_all_frames_and_keep_order(array: np.ndarray[Any, Any]) -> None:
    source = ArraySource(array)
    got = np.array(list(source.frames(0, len(source))))
    assert got.shape == (*array.shape[:3], 3)
    values = (array[..., None] if array.ndim == 3 else array)[..., :3]
    flat, shown = np.broadcast_to(values, got.shape).ravel(), got.ravel()
    real = np.isfinite(flat)
    order = np.argsort(flat[real], kind="stable")
    assert (np.diff(shown[real][order].astype(int)) >= 0).all()
    assert (shown[np.isnan(flat)] == 0).all()


def test_limits_are_percentiles_of_the_whole_sequence() -> None:
    array = np.linspace(1000, 5000, 100 * 20 * 20).reshape(100, 20, 20).astype(np.uint16)
    source = ArraySource(array)
    assert source.limits is not None
    np.testing.assert_allclose(source.limits[0], np.percentile(array, [0.1, 99.9]), rtol=0.01)
    assert source.read(0).max() < 5
    assert source.read(99).min() > 250
    low, high = source.limits[0]
    expected = np.rint(np.clip((array[50] - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(source.read(50)[..., 1], expected)


def test_outliers_and_gaps_do_not_set_the_limits() -> None:
    array = np.random.default_rng(0).normal(100, 10, (40, 64, 64))
    array[:, 0, 0], array[:, 1, 1], array[0, 2, 2] = 1e9, np.nan, np.inf
    source = ArraySource(array)
    assert source.limits is not None and source.limits[0][1] < 200
    frame = source.read(0)
    assert frame[0, 0].tolist() == [255] * 3
    assert frame[1, 1].tolist() == [0] * 3
    assert frame[2, 2].tolist() == [255] * 3


@pytest.mark.parametrize("value", [0, 7, np.nan])
def test_constant_arrays(value: float) -> None:
    assert ArraySource(np.full((3, 4, 5), value)).read(1).max() == 0


def test_rare_bright_spots_on_nothing_are_seen() -> None:
    array = np.zeros((5, 100, 100), np.uint16)
    array[:, 5, 5], array[:, 7, 7] = 900, 450
    frame = ArraySource(array).read(2)
    assert (frame[5, 5, 0], frame[7, 7, 0]) == (255, 128)


def test_limits_are_those_of_all_colours() -> None:
    picture = np.zeros((70, 60, 3), np.uint16)
    picture[..., 1:] = 1, 2
    for pixels in range(1, 8):  # looked at, on average one of so many
        seen = sample(picture, pixels * 2**22 // picture.size + 1)
        assert set(seen) == {0, 1, 2}


def test_numbers_whose_difference_is_none() -> None:
    values = np.linspace(-1, 1, 3)[:, None] * np.full((1, 3, 4), 1.7e308)
    assert ArraySource(values).read(0)[:, 0, 0].tolist() == [0, 128, 255]


def test_given_limits() -> None:
    array = np.array([[[0, 50, 100, 150]]])
    for kind in (np.uint8, np.int64, np.float32):
        got = ArraySource(array.astype(kind), limits=(50, 100)).read(0)
        assert got[0, :, 0].tolist() == [0, 0, 255, 255]
    for limits in [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)]:
        with pytest.raises(UsageError, match="limits"):
            ArraySource(array, limits=limits)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_large_pictures_are_scaled_in_strips(kind: type[np.generic]) -> None:
    values = np.random.default_rng(0).integers(0, 300, (1030, 1024)).astype(kind)
    source = ArraySource(values[None], limits=(20, 270))
    tracemalloc.start()
    picture = source.read(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = np.rint((values.clip(20, 270).astype(np.float64) - 20) / 250 * 255)
    assert (picture == expected[..., None]).all()
    assert peak < 2 * picture.nbytes  # floats of the whole would be eight times one colour


def test_masks_become_black_and_white() -> None:
    assert ArraySource(np.array([[[True, False]]])).read(0)[0, :, 0].tolist() == [255, 0]


def test_lazy_arrays_give_one_frame_at_a_time() -> None:
    lazy = Lazy(np.zeros((500, 4, 4), np.uint8))
    source = ArraySource(lazy)
    assert lazy.asked == []
    list(source.frames(7, 9))
    assert lazy.asked == [7, 8]
    deep = Lazy(np.zeros((500, 4, 4), np.uint16))
    ArraySource(deep).read(3)
    assert len(deep.asked) == 33
    assert {0, 499} <= set(deep.asked)
    assert ArraySource(Lazy(np.ones((2, 3, 3), bool))).read(0).min() == 255


def test_what_xarray_loads_when_it_is_asked_stays_on_disk() -> None:
    class Labelled(Lazy):
        dims = ("time", "y", "x")
        chunks = None

        @property
        def data(self) -> Any:
            raise AssertionError("all of it was read")

    values = np.zeros((5, 6, 7), np.uint8)
    array = Labelled(values)
    ArraySource(array).read(3)
    assert array.asked == [3]


def test_frames_are_copies() -> None:
    array = np.zeros((2, 4, 4, 3), np.uint8)
    ArraySource(array).read(0)[:] = 9
    assert array.max() == 0


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(4),
        np.zeros((2, 4, 4, 2)),
        np.zeros((20, 30, 3)),
        np.zeros((2, 4, 4, 5)),
        np.zeros((1, 2, 4, 4, 3)),
        np.zeros((0, 4, 4)),
        np.zeros((2, 0, 4)),
        np.zeros((2, 4, 4), complex),
        np.full((2, 4, 4), "a"),
    ],
    ids=lambda a: f"{a.shape} {a.dtype}",
)
def test_arrays_that_cannot_be(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(UsageError, match=r"array.*(axes|holds)"):
        ArraySource(array)


def test_a_plane_is_one_frame() -> None:
    plane = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    source = ArraySource(plane)
    assert (len(source), source.height, source.width) == (1, 48, 64)
    np.testing.assert_array_equal(source.read(0)[..., 0], plane)


@pytest.mark.parametrize(
    ("shape", "frames"),
    [((17, 17, 3), None), ((17, 17, 4), None), ((16, 17, 3), 16), ((3, 17, 17), 3)],
)
def test_three_axes_that_may_be_one_picture_in_colours(
    shape: tuple[int, ...], frames: int | None
) -> None:
    array = np.zeros(shape, np.uint8)
    if frames is None:
        with pytest.raises(UsageError, match="YXS for one colour picture"):
            ArraySource(array)
    else:
        assert len(ArraySource(array)) == frames


def test_arrays_that_break_their_word() -> None:
    class Broken(Lazy):
        def __getitem__(self, frame: object) -> Any:
            if frame == 1:
                raise OSError("chunk 1 is missing")
            return np.zeros((3, 3), np.uint8)

    source = ArraySource(Broken(np.zeros((4, 5, 5), np.uint8)))
    with pytest.raises(SourceError, match="chunk 1 is missing"):
        source.read(1)
    with pytest.raises(SourceError, match=r"as \(3, 3\), not \(5, 5\)"):
        source.read(0)
    with pytest.raises(SourceError, match="no frame 4"):
        source.read(4)
    with pytest.raises(SourceError, match=r"\[0, 4\)"):
        source.frames(3, 2)


def test_fingerprint_changes_with_the_content() -> None:
    array = np.zeros((3, 4, 4), np.uint8)
    changed = array.copy()
    changed[2, 3, 3] = 1
    sources = [
        ArraySource(array),
        ArraySource(changed),
        ArraySource(array.reshape(3, 2, 8)),
        ArraySource(array, limits=(0, 9)),
    ]
    assert len({s.fingerprint() for s in sources}) == 4
    assert ArraySource(array.copy()).fingerprint() == sources[0].fingerprint()


def test_open_source(clip: Path, tmp_path: Path) -> None:
    write(tmp_path / "0.png", np.zeros((4, 6, 3), np.uint8))
    write(tmp_path / "1.png", np.zeros((4, 6, 3), np.uint8))
    folder = open_source(str(tmp_path), fps=2)
    assert (type(folder).__name__, folder.times.tolist()) == ("ImageFolder", [0, 0.5])
    array = open_source(np.zeros((2, 4, 4), np.uint8), fps=4)
    assert (type(array).__name__, array.times.tolist()) == ("ArraySource", [0, 0.25])
    with pytest.raises(UsageError, match="fps 99 is not for the video"):
        open_source(clip, fps=99)
    film = open_source(clip)
    assert isinstance(film, VideoFile)
    assert film.times[1] == pytest.approx(0.04)
    assert open_source(film) is film
    for wrong in (None, 3, [1, 2], {"shape": 1}):
        with pytest.raises(UsageError, match=type(wrong).__name__):
            open_source(wrong)
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / "missing.mp4")


@pytest.mark.parametrize("module", ["sam2track.frames", "sam2track.frames.opening"])
def test_importing_stays_light(module: str) -> None:
    program = f"import {module}, sys; sys.exit(bool({{'av', 'cv2'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("fps", [0, -1, float("nan"), "10", True, None, [1]])
def test_a_rate_that_is_none(fps: Any) -> None:
    with pytest.raises(UsageError, match=r"fps is .*; give a number above 0"):
        ArraySource(np.zeros((2, 4, 4), np.uint8), fps=fps)


def test_frames_are_whole_numbers() -> None:
    source = ArraySource(np.zeros((2, 4, 4), np.uint8))
    for frame in (1.0, True, None):
        with pytest.raises(UsageError, match=r"frame .*; give a whole number"):
            source.read(frame)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"stop 2.0; give a whole number"):
        source.frames(0, 2.0)  # type: ignore[arg-type]
    assert source.read(np.int64(1)).shape == (4, 4, 3)  # type: ignore[arg-type]


BAD = [-1, 0, float("inf"), float("nan"), "x", "0.5", True, 1e13, [[1, 1], [1, 1]]]


@pytest.mark.parametrize("size", [*BAD, (0.5,), "ab", (float("nan"), 1), (1, 2, 3), ((1, 2), 3)])
def test_a_pixel_size_that_is_none(size: Any) -> None:
    with pytest.raises(UsageError, match=r"pixel_size_um.*above 0"):
        ArraySource(np.zeros((2, 4, 4), np.uint8), pixel_size_um=size)


@pytest.mark.parametrize("interval", [*BAD, (1, 1)])
def test_a_frame_interval_that_is_none(interval: Any) -> None:
    with pytest.raises(UsageError, match=r"frame_interval_s.*above 0"):
        ArraySource(np.zeros((2, 4, 4), np.uint8), frame_interval_s=interval)


@pytest.mark.parametrize("size", [np.float32(0.5), 0.5, (0.5, 0.5), np.full(2, 0.5, np.float32)])
def test_lengths_and_times_of_numpy_can_be_stored(size: Any) -> None:
    source = ArraySource(
        np.zeros((2, 4, 4), np.uint8), pixel_size_um=size, frame_interval_s=np.float32(2)
    )
    told = json.loads(json.dumps(source.about))
    assert (told["pixel_size_um"], told["frame_interval_s"]) == ([0.5, 0.5], 2.0)


def test_an_empty_path_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "0.png", np.zeros((4, 4, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the source is empty; name"):
        open_source("")


@pytest.mark.parametrize("address", ["http://x/y.mp4", "rtsp://camera/1", "s3://bucket/a.zarr"])
def test_addresses_are_told_as_such(address: str) -> None:
    with pytest.raises(UsageError, match=f"^{address} is an address.*pipe"):
        open_source(address)


def test_a_file_that_is_called_like_an_address_is_read(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ab:").mkdir()
    shutil.copy(clip, "ab:/y.mp4")
    source = open_source("ab://y.mp4")
    assert len(source)
    source.close()


def test_what_was_an_array_is_said_to_be_wanted_again() -> None:
    source = ArraySource(np.zeros((2, 4, 4), np.uint8))
    meta = source.about | {"source": source.name, "reading": source.options}
    with pytest.raises(
        SourceError, match=r"made from array 2x4x4 uint8, which does not exist; .*source="
    ):
        reopen_source(meta, fps=25, folder=None)
