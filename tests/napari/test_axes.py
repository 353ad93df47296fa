"""Which axis is time, and what the model sees; masks that are read when they are asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam2track.arrays import MaskArray
from napari_sam2track.axes import Axes, Channels, Frames, guess_axes
from napari_sam2track.opening import Choice, project_path, source_of
from napari_sam2track.places import steps_of
from sam2track.errors import UsageError


@pytest.mark.parametrize(
    ("shape", "labels", "rgb", "time", "fixed"),
    [
        ((9, 20, 30), (), False, 0, ()),
        ((9, 20, 30, 3), ("t", "y", "x"), True, 0, ()),
        ((5, 9, 20, 30), ("z", "t", "y", "x"), False, 1, ((0, 2),)),
        ((9, 5, 20, 30), ("T", "Z", "Y", "X"), False, 0, ((1, 2),)),
        ((7, 20, 30), ("z", "y", "x"), False, 0, ()),
        ((2, 9, 20, 30), ("c", "time", "y", "x"), False, 1, ((0, 1),)),
        # An axis of size 1 is not time, whatever its name.
        ((1, 9, 20, 30), (), False, 1, ((0, 0),)),
        ((1, 9, 20, 30), ("t", "z", "y", "x"), False, 1, ((0, 0),)),
        ((1, 9, 20, 30, 3), ("t", "z", "y", "x"), True, 1, ((0, 0),)),
        ((9, 1, 20, 30), ("q", "z", "y", "x"), False, 0, ((1, 0),)),
        ((9, 1, 1, 20, 30), ("t", "c", "z", "y", "x"), False, 0, ((1, 0), (2, 0))),
    ],
)
def test_axes_are_read_from_labels(shape, labels, rgb, time, fixed) -> None:
    axes = guess_axes(shape, labels, rgb=rgb)
    assert (axes.time, axes.fixed) == (time, fixed)
    assert Axes.of(axes.to_dict()) == axes


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((20, 30), "time, rows and columns"),
        ((1, 20, 30), "single frame.*two frames or more"),
        ((1, 1, 20, 30), "single frame.*two frames or more"),
    ],
)
def test_what_has_no_frames_is_refused(shape, says) -> None:
    with pytest.raises(UsageError, match=says):
        guess_axes(shape)


@pytest.mark.parametrize("labels", [("y", "x", "t"), ("time", "y", "x", "Channel")])
def test_labels_that_say_that_rows_and_columns_lie_elsewhere_are_heeded(
    labels: tuple[str, ...],
) -> None:
    with pytest.raises(UsageError, match=f"axis {labels[-1].lower()} of .*transpose"):
        guess_axes((20, 30, 40, 50)[: len(labels)], labels)


def test_colours_taken_for_columns_are_refused() -> None:
    axes = guess_axes((9, 20, 30, 3))
    with pytest.raises(UsageError, match="colours were taken for columns"):
        source_of([np.zeros((9, 20, 30, 3), np.uint8)], axes, [None])


def test_a_plane_or_the_maximum_of_planes_is_seen() -> None:
    data = np.arange(4 * 3 * 8 * 9).reshape(4, 3, 8, 9)
    plane = Frames(data, Axes(data.shape, False, 0, ((1, 2),)))
    assert plane.shape == (4, 8, 9)
    assert np.array_equal(plane[1], data[1, 2])
    most = Frames(data, Axes(data.shape, False, 0, ((1, None),)))
    assert np.array_equal(most[1], data[1].max(0))
    turned = Frames(data, Axes(data.shape, False, 1, ((0, None),)))
    assert np.array_equal(turned[2], data[:, 2].max(0))


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16])
def test_deep_and_broken_values_become_pictures(dtype) -> None:
    data = np.linspace(0, 1000, 3 * 16 * 16).reshape(3, 16, 16).astype(dtype)
    if dtype == np.float32:
        data[0, 0, 0] = np.nan
    source = source_of([data], guess_axes(data.shape), [(0.0, 1000.0)])
    picture = source.read(2)
    assert picture.dtype == np.uint8 and picture.max() > 250


class Counted:
    """An array that notes which pixels are asked for."""

    def __init__(self, data: np.ndarray) -> None:
        self.data_within, self.asked = data, []
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def __getitem__(self, key: object) -> np.ndarray:
        found = self.data_within[key]
        self.asked.append(found.size)
        return found


def lazy(kind: str, data: np.ndarray, folder) -> object:
    if kind == "dask":
        return pytest.importorskip("dask.array").from_array(data, chunks=(1, 2, 16, 16))
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        made = zarr.open(str(folder / "a.zarr"), mode="w", shape=data.shape, dtype=data.dtype)
        made[:] = data
        return made
    if kind == "xarray":
        return pytest.importorskip("xarray").DataArray(data, dims=("t", "z", "y", "x"))
    return Counted(data)


@pytest.mark.parametrize("kind", ["counted", "dask", "zarr", "xarray"])
def test_lazy_layers_are_read_frame_by_frame(kind, tmp_path) -> None:
    data = np.random.default_rng(0).integers(0, 1000, (6, 3, 16, 16)).astype(np.uint16)
    layer = lazy(kind, data, tmp_path)
    frames = Frames(layer, Axes(data.shape, False, 0, ((1, 2),)))
    assert np.array_equal(frames[4], data[4, 2])
    source = source_of([layer], Axes(data.shape, False, 0, ((1, None),)), [(0.0, 1000.0)])
    expected = source_of([data], Axes(data.shape, False, 0, ((1, None),)), [(0.0, 1000.0)])
    assert np.array_equal(source.read(5), expected.read(5))
    if isinstance(layer, Counted):
        source.fingerprint()
        assert max(layer.asked) == 3 * 16 * 16


def test_layers_are_the_channels_of_one_picture() -> None:
    one, two = np.zeros((4, 16, 16), np.uint16), np.zeros((4, 16, 16), np.float32)
    one[2, :8], two[2, :, :8] = 1000, 1.0
    axes = guess_axes(one.shape)
    assert Channels([Frames(one, axes), Frames(two, axes)])[2, 1].shape == (16, 16)
    picture = source_of([one, two], axes, [(0.0, 1000.0), (0.0, 1.0)]).read(2)
    assert picture.shape == (16, 16, 3)
    assert len({tuple(picture[y, x]) for y in (0, 15) for x in (0, 15)}) == 4


def test_channels_along_an_axis_are_those_of_one_picture() -> None:
    data = np.random.default_rng(0).integers(0, 1000, (4, 5, 16, 16)).astype(np.uint16)
    axes = Axes(data.shape, False, 0, ((1, None),), (1, (3, 0)))
    assert Axes.of(json.loads(json.dumps(axes.to_dict()))) == axes
    layers = [data[:, 3], data[:, 0]]
    expected = source_of(layers, guess_axes(layers[0].shape), [(0.0, 900.0)] * 2)
    got = source_of([data], axes, [(0.0, 900.0)])
    assert np.array_equal(got.read(2), expected.read(2))
    assert got.options == expected.options
    for channels in ((1, (0,)), (1, (0, 0)), (1, (0, 5)), (1, (0, 1, 2, 3)), (1, (-1, 0))):
        with pytest.raises(UsageError, match="two or three different ones from 0 to 4"):
            Axes(data.shape, False, 0, ((1, None),), channels)
    with pytest.raises(UsageError, match="axis 0 cannot"):
        Axes(data.shape, False, 0, ((1, None),), (0, (0, 1)))


def test_units_of_a_layer_are_the_size_of_pixels_and_the_time_between_frames() -> None:
    Image = pytest.importorskip("napari.layers").Image
    data = np.zeros((4, 3, 16, 16), np.uint8)
    axes = Axes(data.shape, False, 0, ((1, 0),))
    layer = Image(data, scale=(2, 5, 650, 650), units=("min", "um", "nm", "nm"))
    about = source_of([data], axes, [None], steps_of(layer)).about
    assert about["frame_interval_s"] == pytest.approx(120)
    assert about["pixel_size_um"] == pytest.approx((0.65, 0.65))
    layer.scale = (2, 5, -650, 650)  # upside down
    flipped = source_of([data], axes, [None], steps_of(layer)).about
    assert flipped["pixel_size_um"] == pytest.approx((0.65, 0.65))
    # Depth followed as time is no time; pixels, napari's own unit, are no length.
    along = Axes(data.shape, False, 1, ((0, 0),))
    assert "frame_interval_s" not in source_of([data], along, [None], steps_of(layer)).about
    plain = Image(data, scale=(2, 5, 650, 650))
    assert not {"frame_interval_s", "pixel_size_um"} & {
        *source_of([data], axes, [None], steps_of(plain)).about
    }
    mixed = Image(data, scale=(1, 1, 0.5, 1), units=("s", "um", "um", "pixel"))
    assert source_of([data], axes, [None], steps_of(mixed)).about.keys() == {
        "axes",
        "frame_interval_s",
    }


def test_a_project_is_read_as_it_was_made(tmp_path) -> None:
    axes = Axes((4, 3, 16, 16), False, 0, ((1, 2),))
    data = np.zeros(axes.shape)
    made = Choice((data,), axes, ((0.0, 5.0),), tmp_path / "a.s2t", "nano")
    meta = {"model": "nano", **json.loads(json.dumps(made.settings()))}
    now = Choice((data,), Axes(axes.shape, False, 0, ((1, None),)), (None,), tmp_path / "a.s2t")
    again = now.as_before(meta)
    assert (again.axes, again.limits) == (axes, ((0.0, 5.0),))
    with pytest.raises(UsageError, match="1 channels, now there are 2"):
        Choice((data, data), axes, (None, None), tmp_path / "a.s2t").as_before(meta)
    with pytest.raises(UsageError, match="other pictures"):
        Choice((data,), guess_axes((9, 16, 16)), (None,), tmp_path / "a.s2t").as_before(meta)
    assert now.as_before({}).axes == now.axes


def test_a_project_lies_beside_the_data() -> None:
    assert str(project_path("/data/a.b.tif", "x")) == "/data/a.b.s2t"
    assert project_path(None, "my cells!").name == "my-cells.s2t"


SHAPE = (5, 3, 8, 9)


@given(st.data(), st.sampled_from([None, 0, 2]))
def test_a_mask_array_indexes_as_numpy_does(data, plane) -> None:
    axes = Axes(SHAPE, False, 0, ((1, plane),))
    frames = np.random.default_rng(0).integers(0, 9, (5, 8, 9)).astype(np.int32)
    whole = np.zeros(SHAPE, np.int32)
    whole[:, slice(None) if plane is None else plane] = frames[:, None] if plane is None else frames
    key = tuple(
        data.draw(
            st.one_of(
                st.integers(0, size - 1),
                st.builds(slice, st.integers(0, size), st.integers(0, size)),
            )
        )
        for size in SHAPE[: data.draw(st.integers(1, 4))]
    )
    got = MaskArray(axes, lambda t: frames[t])[key]
    assert np.array_equal(got, whole[key])


def test_what_is_painted_stays_until_it_is_taken() -> None:
    axes = guess_axes((4, 8, 9))
    tracked = np.zeros((8, 9), np.int32)
    array = MaskArray(axes, lambda t: tracked)
    array[2, 1:3, 4:6] = 7
    tracked[5:] = 3  # a mask comes while a brush is down
    array.forget()
    assert array[2].sum() == 4 * 7
    array[2, 1:3, 6:8] = 7
    (frame, (before, painted)), *others = array.take_painted().items()
    assert (frame, before.sum(), painted.sum(), others) == (2, 0, 8 * 7, [])
    array.forget()
    assert np.array_equal(array[2], tracked) and not array.take_painted()
    array[2, 1:3] = 5
    array.forget(None, {2: tracked, 3: tracked})  # read elsewhere, before the stroke was taken
    assert (array[2, 1:3] == 5).all() and np.array_equal(array[3], tracked)
    array[3] = 6
    assert not np.array_equal(array[3], tracked) and not (tracked == 6).any()


def test_few_frames_are_held() -> None:
    array = MaskArray(guess_axes((500, 8, 9)), lambda t: np.full((8, 9), t, np.int32))
    assert all(array[t].max() == t for t in range(500))
    assert len(array._held) <= 65


def test_the_highest_number_is_known_without_reading() -> None:
    def read(frame: int) -> np.ndarray:
        raise AssertionError("read")

    assert np.max(MaskArray(guess_axes((500, 8, 9)), read, lambda: 7)) == 7
