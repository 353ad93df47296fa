"""HDF5 files, written by h5py as ilastik, Fiji, MATLAB, BigDataViewer and Imaris lay them out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sam2track.cli.main import main
from sam2track.errors import SourceError, UsageError
from sam2track.frames import hdf5_arrays
from sam2track.frames.blocks import Blocks
from sam2track.frames.opening import open_source
from sam2track.frames.stack import StackSource
from sam2track.frames.still import read_picture
from sam2track.project import Project

from .test_stacks import numbers

SIZES = {"T": 5, "Z": 2, "C": 2, "Y": 6, "X": 8}


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[StackSource]:
    source = open_source(path, **options)
    assert isinstance(source, StackSource)
    try:
        yield source
    finally:
        source.close()


def write(path: Path, arrays: dict[str, np.ndarray], **options: Any) -> Path:
    with h5py.File(path, "w", userblock_size=options.pop("userblock_size", 0)) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **options)
    return path


def tags(axes: str, **steps: float) -> str:
    """What ilastik writes of axes, as vigra says it."""
    kinds = {"c": 1, "t": 8}
    told = [
        {
            "key": axis,
            "typeFlags": kinds.get(axis, 2),
            "resolution": steps.get(axis, 0),
            "description": "",
        }
        for axis in axes
    ]
    return json.dumps({"axes": told})


def write_ilastik(path: Path, array: np.ndarray, axes: str, **said: Any) -> Path:
    with h5py.File(path, "w") as file:
        made = file.create_dataset("exported_data", data=array, chunks=True, compression="gzip")
        made.attrs["axistags"] = tags(axes, **said)
    return path


def letters(text: object) -> np.ndarray:
    """As Imaris writes text: an array of single characters."""
    return np.frombuffer(str(text).encode() or b"\0", "S1")


def write_imaris(
    path: Path,
    array: np.ndarray,
    *,
    size: tuple[float, float, float] = (30, 12, 16),
    names: tuple[str, ...] = (),
    times: tuple[str, ...] = (),
    unit: str = "um",
) -> Path:
    """A file of (T, C, Z, Y, X), in chunks of (2, 4, 4) that are filled up, and a smaller level."""
    with h5py.File(path, "w") as file:
        file.attrs["ImarisVersion"] = letters("5.5.0")
        for level in range(2):
            values = array[..., :: 1 + level, :: 1 + level]
            for t, c in np.ndindex(*array.shape[:2]):
                place = f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}"
                group = file.create_group(place)
                for axis, places in zip("ZYX", values.shape[2:], strict=True):
                    group.attrs[f"ImageSize{axis}"] = letters(places)
                fill = [(0, -n % m) for n, m in zip(values.shape[2:], (2, 4, 4), strict=True)]
                whole = np.pad(values[t, c], fill, constant_values=77)
                group.create_dataset("Data", data=whole, chunks=(2, 4, 4), compression="gzip")
                group.create_dataset("Histogram", data=np.zeros(256, np.uint64))
        image = file.create_group("DataSetInfo/Image")
        image.attrs["Unit"] = letters(unit)
        for number, axis in enumerate("XYZ"):
            image.attrs[axis] = letters(array.shape[4 - number])
            image.attrs[f"ExtMin{number}"] = letters("-1.5")
            image.attrs[f"ExtMax{number}"] = letters(size[2 - number] - 1.5)
        for number, name in enumerate(names):
            file.create_group(f"DataSetInfo/Channel {number}").attrs["Name"] = letters(name)
        told = file.create_group("DataSetInfo/TimeInfo")
        for number, time in enumerate(times):
            told.attrs[f"TimePoint{number + 1}"] = letters(time)
    return path


def write_big(path: Path, setups: list[np.ndarray], kind: str = "<i2") -> Path:
    """A file of BigDataViewer: each setup (T, Z, Y, X) of numbers without a sign, kept with one."""
    with h5py.File(path, "w") as file:
        for number, setup in enumerate(setups):
            file[f"s{number:02}/resolutions"] = np.ones((2, 3))
            file[f"s{number:02}/subdivisions"] = np.full((2, 3), 4, np.int32)
            for t, volume in enumerate(setup):
                for level in range(2):
                    cells = volume[:, :: 1 + level, :: 1 + level].astype(kind)
                    file.create_dataset(
                        f"t{t:05}/s{number:02}/{level}/cells",
                        data=cells,
                        chunks=(1, 3, 4),
                        compression="gzip",
                    )
    return path


def write_fiji(path: Path, array: np.ndarray, size: tuple[float, float, float] = (1, 1, 1)) -> Path:
    """A file of Fiji's plugin for HDF5: (T, C, Z, Y, X), one plane without its axis."""
    with h5py.File(path, "w") as file:
        for t, c in np.ndindex(*array.shape[:2]):
            volume = array[t, c] if array.shape[2] > 1 else array[t, c, 0]
            made = file.create_dataset(f"t{t}/channel{c}", data=volume, compression="gzip")
            made.attrs["element_size_um"] = np.array(size, np.float32)
    return path


# -- arrays of h5py, ilastik and MATLAB ------------------------------------------------


@given(
    st.permutations("TZCYX").flatmap(
        lambda axes: st.integers(2, 5).map(
            lambda count: [a for a in axes if a in "YX" or a in axes[:count]]
        )
    ),
    st.sampled_from(["u1", ">u2", "<i4", "f4", "?", ">f8"]),
    st.integers(0, 2),
    st.booleans(),
)
def test_every_plane_is_the_right_one_whatever_the_order_of_axes(
    tmp_path_factory: pytest.TempPathFactory, axes: list[str], kind: str, chunks: int, tagged: bool
) -> None:
    array = numbers("".join(axes), kind)
    path = tmp_path_factory.mktemp("orders") / "a.h5"
    with h5py.File(path, "w") as file:
        size = {0: None, 1: True, 2: tuple(min(2, n) for n in array.shape)}[chunks]
        made = file.create_dataset("data", data=array, chunks=size)
        if tagged:
            made.attrs["axistags"] = tags("".join(axes).lower())
        else:
            for number, axis in enumerate(axes):
                made.dims[number].label = axis
    options: dict[str, Any] = {"z": 1} if {"Z", "T"} <= set(axes) else {}
    options |= {"channel": 1} if "C" in axes else {}
    with opened(path, **options) as source:
        assert source.about["axes"] == "".join(axes)
        along = "T" if "T" in axes else "Z" if "Z" in axes else None
        assert len(source) == (SIZES[along] if along else 1)
        for frame in range(len(source)):
            at = {"Z": 1, "C": 1} | ({along: frame} if along else {})
            expected = array[tuple(at.get(a, slice(None)) for a in axes)]
            if axes.index("X") < axes.index("Y"):
                expected = expected.T
            values = source.values(frame)[..., 0]
            np.testing.assert_array_equal(values, expected)
            assert values.dtype == expected.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((7, 9), "YX"), ((4, 7, 9), "TYX"), ((4, 7, 9, 3), "TYXS"), ((4, 7, 9, 1), "TYXS")],
)
def test_axes_without_names_are_those_of_arrays(
    shape: tuple[int, ...], axes: str, tmp_path: Path
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    with opened(write(tmp_path / "a.h5", {"data": array})) as source:
        assert source.about["axes"] == axes
        last = array if len(shape) == 2 else array[-1]
        expected = last[..., None] if last.ndim == 2 else last
        np.testing.assert_array_equal(source.values(len(source) - 1), expected)


def test_axes_that_are_named_come_first(tmp_path: Path) -> None:
    array = numbers("ZTYX")
    path = write_ilastik(tmp_path / "a.h5", array, "tzyx")
    with opened(path, axes="ZTYX", z=1) as source:
        np.testing.assert_array_equal(source.values(3)[..., 0], array[1, 3])
    with h5py.File(path, "r+") as file:
        file["exported_data"].attrs["axistags"] = tags("tyx")
    with pytest.raises(UsageError, match="do not fit; name each axis once"):
        open_source(path)
    plain = write(tmp_path / "b.h5", {"data": array})
    with pytest.raises(UsageError, match=r"without further word it must be \(T, H, W\).*--axes"):
        open_source(plain)


@pytest.mark.parametrize(
    "said", ["{", "[" * 100_000, "7", '{"axes": [7]}', '{"axes": 1}', 7, b"\xff"]
)
def test_odd_tags_are_no_reason_to_refuse_pictures(said: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"data": numbers("TYX")})
    with h5py.File(path, "r+", libver="latest") as file:
        file["data"].attrs["axistags"] = said
        file["data"].attrs["element_size_um"] = "wide"
    with opened(path) as source:
        assert source.about == {"axes": "TYX"}


@pytest.mark.parametrize(
    "said", [np.arange(1, 4), np.ones((3, 3)), 7, "tyx", ["t", "y"], ["t", "", "x"], [b"\xff"] * 3]
)
def test_odd_labels_of_axes(said: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"data": numbers("TYX")})
    with h5py.File(path, "r+", libver="latest") as file:
        file["data"].attrs["DIMENSION_LABELS"] = said
    if isinstance(said, list) and "" not in said:
        with pytest.raises(UsageError, match="do not fit; name each axis once"):
            open_source(path)
    with opened(path, **({"axes": "TYX"} if isinstance(said, list) else {})) as source:
        assert source.about == {"axes": "TYX"}


def test_an_axis_that_vigra_does_not_know_is_named(tmp_path: Path) -> None:
    """Or is one place long; of a longer one the first frame alone was read."""
    path = write_ilastik(tmp_path / "a.h5", numbers("TYX"), "?yx")
    with pytest.raises(UsageError, match=r"axes '\?yx' do not fit; name each axis once"):
        open_source(path)
    with opened(path, axes="TYX") as source:
        assert len(source) == SIZES["T"]
    with opened(write_ilastik(path, numbers("TYX")[..., None], "tyx?")) as source:
        assert len(source) == SIZES["T"]


def test_arrays_that_are_only_called_like_those_of_big_data_viewer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {f"t{n:05}": numbers("TYX") + n for n in range(3)})
    with opened(path, key="t00002") as source:
        np.testing.assert_array_equal(source.values(0)[..., 0], numbers("TYX")[0] + 2)


def test_sizes_of_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"data": numbers("TYX")})
    with opened(path) as source:
        assert "pixel_size_um" not in source.about
    for size, expected in (((2.0, 0.5, 0.25), [0.5, 0.25]), ((2.0, 0.0, 0.25), None)):
        with h5py.File(path, "r+") as file:
            file["data"].attrs["element_size_um"] = np.array(size)
        with opened(path) as source:
            told = source.about.get("pixel_size_um")
            assert told is None if expected is None else list(told) == expected


def test_steps_of_ilastik_are_lengths_and_times_where_it_says_in_what(tmp_path: Path) -> None:
    path = write_ilastik(tmp_path / "a.h5", numbers("TYX"), "tyx", t=2.0, y=500.0, x=0.25)
    with opened(path) as source:
        assert source.about == {"axes": "TYX"}
    with h5py.File(path, "r+") as file:
        units = json.dumps({"t": "min", "y": "nm", "x": "um"})
        file["exported_data"].attrs["axis_units"] = units
    with opened(path) as source:
        assert source.about["pixel_size_um"] == pytest.approx((0.5, 0.25))
        assert source.about["frame_interval_s"] == pytest.approx(120)


def test_arrays_of_matlab_lie_backwards(tmp_path: Path) -> None:
    frames = numbers("TYX", np.float64)  # in MATLAB (rows, columns, frames)
    path = write(tmp_path / "a.mat", {"stack": frames.swapaxes(1, 2)}, userblock_size=512)
    with h5py.File(path, "r+") as file:
        file["stack"].attrs["MATLAB_class"] = np.bytes_("double")
        word = file.create_dataset("title", data=np.frombuffer(b"t\0e\0x\0t\0", "u2")[:, None])
        word.attrs["MATLAB_class"] = np.bytes_("char")
        file["#refs#/a"] = np.zeros((9, 9))
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM"
    with path.open("r+b") as raw:
        raw.write(text)
    with opened(path) as source:
        assert source.about["axes"] == "TXY" and source.options["key"] == "stack"
        assert (source.height, source.width) == frames.shape[1:]
        np.testing.assert_array_equal(source.values(2)[..., 0], frames[2])


@pytest.mark.parametrize(
    ("shape", "axes"), [((30, 20), "XY"), ((5, 3, 30, 20), "TSXY"), ((3, 30, 20), None)]
)
def test_axes_of_matlab(shape: tuple[int, ...], axes: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", {"a": np.zeros(shape, np.uint8)})
    with h5py.File(path, "r+") as file:
        file["a"].attrs["MATLAB_class"] = np.bytes_("uint8")
    if axes is None:
        with pytest.raises(UsageError, match=r"of MATLAB of 20x30x3; name its axes \(--axes\)"):
            open_source(path)
        axes = "SXY"
    with opened(path, **({"axes": axes} if axes == "SXY" else {})) as source:
        assert source.about["axes"] == axes and (source.height, source.width) == (20, 30)


def test_what_is_logical_in_matlab_is_black_and_white(tmp_path: Path) -> None:
    """It lies in the file as bytes of 0 and 1, which are all but the same grey."""
    cells = numbers("TYX") % 3 == 0
    path = write(tmp_path / "a.mat", {"bw": cells.swapaxes(1, 2).astype(np.uint8)})
    with h5py.File(path, "r+") as file:
        file["bw"].attrs["MATLAB_class"] = np.bytes_("logical")
        file["bw"].attrs["MATLAB_int_decode"] = np.int32(1)
    with opened(path) as source:
        for frame in range(len(source)):
            np.testing.assert_array_equal(source.read(frame)[..., 0], cells[frame] * 255)
            np.testing.assert_array_equal(source.values(frame)[..., 0], cells[frame])


def test_of_several_datasets_one_is_named(tmp_path: Path) -> None:
    first, second, third = (numbers("TYX") + 10 * n for n in range(3))
    arrays = {"day/raw": first, "day/smooth": second, "raw": third, "table": np.zeros(9)}
    path = write(tmp_path / "a.h5", arrays)
    with h5py.File(path, "r+") as file:
        file["text"] = "words"
        file["empty"] = h5py.Empty("f")
        file["rows"] = np.zeros((4, 4), [("a", "u1"), ("b", "f4")])
        file["day/again"] = h5py.SoftLink("/raw")
    with pytest.raises(
        UsageError, match=r"3 datasets \(day/raw, day/smooth, raw\); name one by key"
    ):
        open_source(path)
    keys = {"day/raw": first, "/day/raw": first, "smooth": second, "raw": third, "1": second}
    for key, array in keys.items():
        with opened(path, key=key) as source:
            np.testing.assert_array_equal(source.values(1)[..., 0], array[1])
            again = source.options["key"]  # as a project keeps it
        with opened(path, key=again) as source:
            np.testing.assert_array_equal(source.values(1)[..., 0], array[1])
    for key in ("none", "table", "rows", "day", "day/again", "/", "text"):
        with pytest.raises(UsageError, match=r"holds no '.*' among its datasets .*--key"):
            open_source(path, key=key)


def test_a_file_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no array of numbers with 2 to 6 axes"):
        open_source(write(tmp_path / "a.h5", {"line": np.zeros(9), "deep": np.zeros((1,) * 7)}))
    with pytest.raises(UsageError, match=r"b\.h5 has the shape \(0, 9, 9\); it holds no frames"):
        open_source(write(tmp_path / "b.h5", {"data": np.zeros((0, 9, 9))}))


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.ims", "a.tif", "a.mp4", "a"])
@pytest.mark.parametrize("block", [0, 512, 4096])
def test_it_is_known_by_what_is_in_it(name: str, block: int, tmp_path: Path) -> None:
    path = write(tmp_path / name, {"data": numbers("TYX")}, userblock_size=block)
    with opened(path) as source:
        assert len(source) == SIZES["T"]


@pytest.mark.parametrize("name", ["a.h5", "a.hdf", "a.hdf5", "a.ims"])
def test_it_is_no_single_picture(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, {"data": numbers("TYX")})
    with pytest.raises(UsageError, match="is a stack, not a single picture"):
        read_picture(path)


def test_what_is_no_such_file_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"data": np.zeros((9, 40, 40))})
    whole = path.read_bytes()
    for size in (9, 500, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"a\.h5 is no HDF5 file that can be read"):
            open_source(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    with pytest.raises(SourceError, match="is PNG, whatever its name says, not HDF5"):
        open_source(path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5", {"data": numbers("TYX")})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"a\.h5 is HDF5, .*pip install 'sam2track\[stacks\]'"):
        open_source(path)


def test_it_tells_when_values_are_others(tmp_path: Path) -> None:
    """Also where neither the file's size nor its ends are, as where a value is written anew."""
    array = np.zeros((3, 40, 50), np.uint8)
    path = write(
        tmp_path / "a.h5", {"pad": np.zeros(99_999), "data": array, "tail": np.ones(99_999)}
    )
    with opened(path, key="data") as source:
        before = source.fingerprint()
    with h5py.File(path, "r+") as file:
        file["more"] = np.ones(5)
    with opened(path, key="data") as source:
        assert source.fingerprint() == before
    with h5py.File(path, "r+") as file:
        file["data"][1, 20, 20] = 1
    with opened(path, key="data") as source:
        assert source.fingerprint() != before


WRITER = """
import sys, h5py
file = h5py.File(sys.argv[1], "r+", libver="latest")
file.swmr_mode = sys.argv[2] == "swmr"
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["plain", "swmr"])
def test_a_file_that_another_program_has_open_is_read(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest" if way == "swmr" else "earliest") as file:
        file["data"] = numbers("TYX")
    if way == "plain":
        command = [
            sys.executable,
            "-c",
            "import sys, fcntl\nf = open(sys.argv[1], 'r+b')\n"
            "fcntl.flock(f, fcntl.LOCK_EX)\nprint('open', flush=True)\nsys.stdin.read()",
        ]
        command = [*command, str(path)]
    else:
        command = [sys.executable, "-c", WRITER, str(path), way]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"open\n"
        with opened(path) as source:
            np.testing.assert_array_equal(source.values(4)[..., 0], numbers("TYX")[4])
    finally:
        process.communicate()


def test_planes_are_read_by_several_threads(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (40, 64, 64)).astype(np.uint8)
    path = write(tmp_path / "a.h5", {"data": array}, chunks=(3, 32, 32), compression="gzip")
    with opened(path) as source, ThreadPoolExecutor(8) as pool:

        def right(frame: int) -> bool:
            return bool(np.array_equal(source.values(frame)[..., 0], array[frame]))

        assert all(pool.map(right, [n % 40 for n in range(2000)]))


@pytest.mark.parametrize("write_it", [write, write_fiji])
def test_one_that_is_closed_says_so(write_it: Any, tmp_path: Path) -> None:
    array = numbers("TYX")
    of_it = {"data": array} if write_it is write else array[:, None, None]
    source = open_source(write_it(tmp_path / "a.h5", of_it), limits=(0, 9))
    source.read(0)
    source.close()
    source.close()
    for frame in (0, 3):
        with pytest.raises(SourceError, match=rf"does not give frame {frame}: .* is closed"):
            source.read(frame)


@pytest.mark.parametrize("chunks", [(1, 512, 512), (20, 512, 512)])
def test_memory_does_not_grow_with_frames(
    chunks: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "data", shape=(600, 512, 512), dtype="u1", chunks=chunks, fillvalue=7, compression="lzf"
        )[300] = 9
    monkeypatch.setattr("sam2track.frames.blocks._MOST", 2**24)
    with opened(path) as source:
        for frame in range(20):
            source.read(frame)
        before = psutil.Process().memory_info().rss
        seen = {int(source.read(frame).max()) for frame in range(len(source))}
        assert seen == {7, 9}
        assert psutil.Process().memory_info().rss - before < 60e6  # of 157 MB


@pytest.mark.parametrize("many", [False, True])
def test_chunks_of_several_planes_are_inflated_once(
    many: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.zeros((64, 32, 32), np.uint8)
    path = tmp_path / "a.h5"
    if many:  # in chunks of two planes
        write_imaris(path, array[None, None])
    else:
        write(path, {"data": array}, chunks=(16, 32, 32))
    reads = []
    read = hdf5_arrays.Guarded.__getitem__

    def counted(self: hdf5_arrays.Guarded, index: Any) -> np.ndarray:
        reads.append(index)
        return read(self, index)

    monkeypatch.setattr(hdf5_arrays.Guarded, "__getitem__", counted)
    with opened(path) as source:
        for frame in range(64):
            source.read(frame)
        blocks = source._stack.read
        assert isinstance(blocks, Blocks) and blocks._kept
    assert len(reads) <= (64 / 2 if many else 64 / 16) + 2
    assert not blocks._kept


class Watched:
    """A dataset, or what h5py has below it, that tells what is asked of it."""

    def __init__(self, watched: Any, asked: list[str]) -> None:
        self._watched, self._asked = watched, asked

    def __getattr__(self, name: str) -> Any:
        self._asked.append(name)
        found = getattr(self._watched, name)
        return Watched(found, self._asked) if name == "id" else found

    def __getitem__(self, index: Any) -> Any:
        return self._watched[index]


def test_chunks_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library goes through all of them for each, so that late frames took ever longer."""
    array = np.zeros((30, 3, 16, 16), np.uint8)
    one = write(tmp_path / "a.h5", {"data": array[:, 0]}, chunks=(1, 8, 8), compression="gzip")
    several = write_big(tmp_path / "b.h5", [array])
    asked: list[str] = []
    begin = hdf5_arrays.Guarded.__init__
    monkeypatch.setattr(
        hdf5_arrays.Guarded,
        "__init__",
        lambda self, dataset, name: begin(self, Watched(dataset, asked), name),
    )
    for path, datasets in ((one, 1), (several, 30)):
        asked.clear()
        with opened(path, limits=(0, 255), **({} if path == one else {"z": "max"})) as source:
            for frame in range(30):
                source.read(frame)
        assert sum("chunk_i" in name for name in asked) == datasets


# -- Imaris, BigDataViewer and Fiji ----------------------------------------------------------------


@pytest.mark.parametrize("write_it", [write_imaris, write_fiji])
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (3, 3, 4)), st.integers(2, 7), st.integers(2, 7)),
    kind=st.sampled_from([np.uint8, np.uint16, np.float32]),
)
def test_planes_of_many_datasets(
    tmp_path_factory: pytest.TempPathFactory,
    write_it: Callable[[Path, np.ndarray], Path],
    shape: tuple[int, ...],
    kind: type,
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    path = write_it(tmp_path_factory.mktemp("many") / "a.h5", array)
    times, channels, depth = shape[:3]
    for c in range(channels):
        options: dict[str, Any] = {"channel": c} if channels > 1 else {}
        options |= {"z": depth - 1} if times > 1 and depth > 1 else {}
        with opened(path, **options) as source:
            axes = "".join(a for a, n in zip("TCZ", shape, strict=False) if n > 1) + "YX"
            assert source.about["axes"] == axes and source.warnings == []
            along = times if times > 1 else depth
            assert len(source) == along
            for frame in range(along):
                expected = array[frame, c, depth - 1] if times > 1 else array[0, c, frame]
                np.testing.assert_array_equal(source.values(frame)[..., 0], expected)


def test_the_brightest_of_imaris(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (3, 2, 5, 6, 7)).astype(np.uint8)
    with opened(write_imaris(tmp_path / "a.ims", array), z="max", channel=1) as source:
        for frame in range(3):
            np.testing.assert_array_equal(source.values(frame)[..., 0], array[frame, 1].max(0))


def test_what_imaris_says(tmp_path: Path) -> None:
    array = numbers("TCYX")[:, :, None]
    path = write_imaris(
        tmp_path / "a.ims",
        array,
        size=(1, 3, 2),
        names=("DAPI", "(name not specified)"),
        times=tuple(f"2011-01-25 17:{n}:00.500" for n in range(10, 15)),
    )
    with opened(path, channel=1) as source:
        assert source.about["pixel_size_um"] == pytest.approx((3 / 6, 2 / 8))
        assert source.about["frame_interval_s"] == pytest.approx(60)
        assert "channels" not in source.about
    with h5py.File(path, "r+") as file:
        file["DataSetInfo/Channel 1"].attrs["Name"] = letters("GFP")
        file["DataSetInfo/Image"].attrs["Unit"] = letters("nm")
        file["DataSetInfo/TimeInfo"].attrs["TimePoint5"] = letters("soon")
    with opened(path, channel="GFP") as source:
        assert source.about["pixel_size_um"] == pytest.approx((3e-3 / 6, 2e-3 / 8))
        assert source.about["channels"] == ["DAPI", "GFP"]
        assert "frame_interval_s" not in source.about
        np.testing.assert_array_equal(source.values(2)[..., 0], array[2, 1, 0])
    with pytest.raises(UsageError, match="holds one stack, as Imaris writes it; leave key '1' out"):
        open_source(path, key="1")


def test_imaris_that_is_not_whole(tmp_path: Path) -> None:
    path = write_imaris(tmp_path / "a.ims", numbers("TYX")[:, None, None])
    level = "DataSet/ResolutionLevel 0"
    with h5py.File(path, "r+") as file:
        del file[f"{level}/TimePoint 3/Channel 0/Data"]
    with opened(path) as source:
        source.values(2)
        with pytest.raises(SourceError, match=r"frame 3: .*no dataset TimePoint 3/Channel 0/Data"):
            source.values(3)
    for other in (np.zeros((1, 6, 4), np.uint16), np.zeros((1, 6, 8), np.float32)):
        with h5py.File(path, "r+") as file:
            file.require_group(f"{level}/TimePoint 3/Channel 0").pop("Data", None)
            file[f"{level}/TimePoint 3/Channel 0/Data"] = other
        with (
            opened(path) as source,
            pytest.raises(SourceError, match=r"frame 3: a dataset of \(1, 6, .* is among those"),
        ):
            source.values(3)
    for change in ("many", "no"):
        with h5py.File(path, "r+") as file:
            told = file[f"{level}/TimePoint 0/Channel 0"].attrs
            told["ImageSizeX"] = letters(99)
            if change == "no":
                del told["ImageSizeX"], file["DataSetInfo/Image"].attrs["X"]
        with pytest.raises(SourceError, match=r"among those|not say how large it is along X"):
            open_source(path)


@pytest.mark.parametrize("kind", ["<i2", ">i2", "<u2"])
def test_big_data_viewer(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    setups = [rng.integers(0, 2**16, (3, 2, 7, 9)).astype(np.uint16) for _ in range(2)]
    path = write_big(tmp_path / "a.h5", setups, kind)
    with opened(path, z=1, channel=1) as source:
        assert source.about["axes"] == "TCZYX"
        for frame in range(3):
            np.testing.assert_array_equal(source.values(frame)[..., 0], setups[1][frame, 1])
    with opened(path, z=1, key="s01") as source:
        assert source.about["axes"] == "TZYX" and source.options["key"] == "s01"
        np.testing.assert_array_equal(source.values(2)[..., 0], setups[1][2, 1])


def test_setups_of_different_sizes_are_no_channels(tmp_path: Path) -> None:
    setups = [np.full((2, 1, 7, 9 + n), 5 + n, np.uint16) for n in range(2)]
    path = write_big(tmp_path / "a.h5", setups)
    with opened(path) as source:
        assert source.warnings == [
            "it holds 2 setups of different sizes (s00, s01); the first is taken; key (--key) "
            "chooses"
        ]
        assert (source.height, source.width) == (7, 9)
        again = source.options["key"]
    with opened(path, key=again) as source:
        assert source.warnings == [] and source.width == 9
    with opened(path, key="s01") as source:
        assert source.width == 10 and source.values(1).max() == 6
    with pytest.raises(UsageError, match=r"no 's02' among its setups \(s00, s01\)"):
        open_source(path, key="s02")


@pytest.mark.parametrize("write_it", [write_big, write_fiji])
def test_times_that_are_missing_are_said(write_it: Any, tmp_path: Path) -> None:
    """Frames behind them are those of other times than their numbers say."""
    array = np.stack([numbers("ZYX", np.uint16) + t for t in range(5)])
    is_big = write_it is write_big
    path = write_it(tmp_path / "a.h5", [array] if is_big else array[:, None])
    with h5py.File(path, "r+") as file:
        first, second, _, third, fourth = (f"t{n:05}" if is_big else f"t{n}" for n in range(5))
        for name in (first, fourth):
            del file[name]  # as in a part of a longer one
    with opened(path, z=0) as source:
        assert source.warnings == []
    with h5py.File(path, "r+") as file:
        del file[third.replace("3", "2")]
    with opened(path, z=0) as source:
        assert len(source) == 2
        assert source.warnings == [
            f"it holds nothing between {second} and {third}; frames count what is there"
        ]
        np.testing.assert_array_equal(source.values(1)[..., 0], array[3, 0])


def test_setups_that_begin_later_are_said(tmp_path: Path) -> None:
    array = np.stack([numbers("ZYX", np.uint16) + t for t in range(3)])
    path = write_big(tmp_path / "a.h5", [array, array, array])
    with h5py.File(path, "r+") as file:
        del file["t00000/s01"]
    with opened(path, z=0, channel=1) as source:
        (warning,) = source.warnings
        assert warning == "its first time, t00000, has no s01; what is not there is left out"
    with opened(path, z=0, key="s02") as source:
        assert source.warnings == []


def test_what_fiji_says(tmp_path: Path) -> None:
    array = np.stack([numbers("CYX") + 99 * t for t in range(12)])[:, :, None]
    path = write_fiji(tmp_path / "a.h5", array, (2, 0.5, 0.25))
    with opened(path, channel=1) as source:  # t10 comes behind t9, and not behind t1
        assert source.about == {"axes": "TCYX", "pixel_size_um": (0.5, 0.25)}
        for frame in range(12):
            np.testing.assert_array_equal(source.values(frame)[..., 0], array[frame, 1, 0])
    with opened(path, key="channel0") as source:
        assert source.about["axes"] == "TYX" and source.options["key"] == "channel0"
        np.testing.assert_array_equal(source.values(11)[..., 0], array[11, 0, 0])
    with opened(write_fiji(path, array), channel=0) as source:
        assert "pixel_size_um" not in source.about
    with h5py.File(path, "r+") as file:
        del file["t3/channel1"]
        file["t3/channel1"] = np.zeros(6 * 8, np.uint16)
    with (
        opened(path, channel=1) as source,
        pytest.raises(SourceError, match=r"frame 3: a dataset of \(48,\) uint16 is among those"),
    ):
        source.values(3)


@pytest.mark.parametrize("shape", [(48,), (1, 1, 6, 8)])
def test_what_has_no_planes_is_no_channel(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {f"t{n}/channel0": np.zeros(shape) for n in range(3)})
    with pytest.raises(SourceError, match=r"a dataset of .* is among those of"):
        open_source(path)


# -- files of strangers ----------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return write(tmp_path / "secret.h5", {"data": np.full((3, 40, 50), 42, np.uint8)})


def virtual(file: h5py.File, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((3, 40, 50), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "data", (3, 40, 50))
    file.create_virtual_dataset(name, layout)


def growing(file: h5py.File, name: str, secret: Path) -> None:
    """One that is as long as what it takes its values from."""
    layout = h5py.VirtualLayout((3, 40, 50), "u1", maxshape=(None, 40, 50))
    source = h5py.VirtualSource(str(secret), "data", (3, 40, 50), maxshape=(None, 40, 50))
    every = slice(0, h5py.h5s.UNLIMITED)
    layout[every] = source[every]
    file.create_virtual_dataset(name, layout)


def raw(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, shape=(3, 40, 50), dtype="u1", external=[(str(secret), 0, 6000)])


def external(file: h5py.File, name: str, secret: Path) -> None:
    file[name] = h5py.ExternalLink(str(secret), "/data")


def external_group(file: h5py.File, name: str, secret: Path) -> None:
    file[name.split("/")[0]] = h5py.ExternalLink(str(secret), "/")


def circle(file: h5py.File, name: str, _: Path) -> None:
    file[name] = h5py.SoftLink(f"/{name}")


@pytest.mark.parametrize("plant", [virtual, growing, raw, external, external_group, circle])
def test_hdf5_leads_nowhere_else(
    plant: Callable[[h5py.File, str, Path], None], secret: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("group/data", "t00000/s00/0/cells")):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            plant(file, name, secret)
            file.require_group("more")["up"] = file["/"]  # a circle of groups
            if number:
                file["s00/resolutions"] = np.ones((2, 3))
        with pytest.raises(SourceError, match=r"not followed"):
            open_source(path)
    path = write_imaris(tmp_path / "a.ims", numbers("TYX", np.uint8)[:, None, None])
    place = "DataSet/ResolutionLevel 0/TimePoint 1/Channel 0/Data"
    with h5py.File(path, "r+") as file:
        if plant is external_group:
            del file["DataSetInfo"]
            file["DataSetInfo"] = h5py.ExternalLink(str(secret), "/")
        else:
            del file[place]
            plant(file, place, secret)
    with opened(path) as source:
        assert "pixel_size_um" not in source.about or plant is not external_group
        if plant is not external_group:
            with pytest.raises(SourceError, match=r"frame 1: .*not followed"):
                source.read(1)


@pytest.mark.parametrize("plant", [virtual, growing, raw, external])
def test_what_hdf5_names_is_not_even_opened(
    plant: Callable[[h5py.File, str, Path], None], secret: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        plant(file, "data", secret)
    secret.unlink()
    os.mkfifo(secret)  # who opens it waits
    with pytest.raises(SourceError):
        open_source(path)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[b"ab", b"c"], [b"d", b"e"]]),
        np.zeros((4, 4), [("a", "u1")]),
        np.zeros((4, 4), np.complex64),
        np.full((4, 4), "words", h5py.string_dtype()),
    ],
)
def test_what_is_no_number_is_no_picture(array: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", {"data": array})
    with pytest.raises(SourceError, match="holds no array of numbers"):
        open_source(path)
    path = write_imaris(tmp_path / "a.ims", numbers("TYX")[:, None, None])
    place = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"
    with h5py.File(path, "r+") as file:
        del file[place]
        file.create_dataset(place, data=array)
    with pytest.raises(SourceError, match="it must be bool, integer or floating"):
        open_source(path)


def test_what_was_never_written_is_its_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "data", shape=(2**20, 40, 50), dtype="u2", chunks=(1, 40, 50), fillvalue=9
        )
    with opened(tmp_path / "a.h5") as source:
        assert len(source) == 2**20
        assert (source.values(2**20 - 1) == 9).all()


@pytest.mark.parametrize(
    ("shape", "chunks", "message"),
    [
        ((2, 2**16, 2**16), (1, 2**10, 2**10), "claims 65536 x 65536 pixels"),
        ((2**31, 20, 20), (1, 20, 20), "at most 33554432 are read"),
        ((2**32, 20, 20), (2**23, 20, 20), "chunks of 6,710,886,400 bytes|not a valid chunk"),
        ((2, 2**14, 2**14), (1, 2, 2), "it lies in 67,108,864 chunks; write it anew"),
    ],
)
def test_what_hdf5_claims_is_not_believed(
    shape: tuple[int, ...], chunks: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        try:
            file.create_dataset("data", shape=shape, dtype="u2", chunks=chunks)
        except ValueError:  # older libraries write no chunks of gigabytes
            pytest.skip("this HDF5 makes no such chunks")
    with pytest.raises(SourceError, match=message), opened(tmp_path / "a.h5") as source:
        source.read(0)


def test_chunks_of_hdf5_that_inflate_to_gigabytes(tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()
    assert len(bomb) > 2**17
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset(
            "data", (2, 32, 32), "u1", chunks=(1, 32, 32), compression="gzip"
        )
        made.id.write_direct_chunk((0, 0, 0), bomb)
    with (
        opened(tmp_path / "a.h5", limits=(0, 255)) as source,
        pytest.raises(SourceError, match="a chunk is larger than what it may hold"),
    ):
        source.read(0)


def test_chunks_that_are_compressed_over_and_over(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((1, 32, 32))
        how.set_deflate(9)
        how.set_filter(h5py.h5z.FILTER_LZF, 0, ())
        space = h5py.h5s.create_simple((2, 32, 32))
        h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT8, space, how)
    with pytest.raises(SourceError, match="is compressed several times over; write it anew"):
        open_source(tmp_path / "a.h5")


def unknown_filter(path: Path) -> Path:
    write(path, {"data": numbers("TYX", np.uint8)}, compression="lzf")
    lzf, blosc = ((32000 + n).to_bytes(2, "little") for n in (0, 1))
    data = path.read_bytes()
    assert data.count(lzf + b"\x08\0") == 1
    path.write_bytes(data.replace(lzf + b"\x08\0", blosc + b"\x08\0").replace(b"lzf\0", b"bl;\0"))
    return path


def test_a_filter_that_is_not_here_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = unknown_filter(tmp_path / "a.h5")
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(SourceError, match=r"data, is compressed by bl \(filter 32001 .*hdf5plugin"):
        open_source(path)
    # Once it is here nobody has to import it.
    monkeypatch.setattr(h5py.h5z, "filter_avail", h5py.h5z.filter_avail)
    brings = "import h5py\nh5py.h5z.filter_avail = lambda code: True\n"
    (tmp_path / "hdf5plugin.py").write_text(brings)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hdf5plugin")
    with opened(path) as source:
        assert len(source) == SIZES["T"]


def test_very_many_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.h5", {f"g{n % 7}/{n:03}": np.zeros((2, 2)) for n in range(300)})
    with pytest.raises(UsageError, match=r"300 datasets \(.* and 288 more\); name one by key"):
        open_source(path)
    monkeypatch.setattr(hdf5_arrays, "_MOST_OBJECTS", 200)
    with pytest.raises(
        SourceError, match=r"more than 200 groups and datasets, .*; copy the dataset"
    ):
        open_source(path)


def test_groups_that_are_very_deep(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file
        for _ in range(9000):
            group = group.create_group("a")
        group["data"] = numbers("TYX")
    with pytest.raises(SourceError, match="more than 64 groups within each other"):
        open_source(tmp_path / "a.h5")


def test_what_is_no_group_is_not_read_for_names(tmp_path: Path) -> None:
    for name in ("t00000", "DataSet/ResolutionLevel 0"):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["s00/resolutions"] = np.ones((2, 3))
            file.create_dataset(name, (2**20, 2**20), "f8", chunks=(2**10, 2**10))
        with pytest.raises(SourceError, match=r"none of its setups itself|not say how large"):
            open_source(tmp_path / "a.h5")


def test_texts_that_would_be_followed_without_end(tmp_path: Path) -> None:
    path = write_ilastik(tmp_path / "a.h5", numbers("TYX"), "tyx")
    data = path.read_bytes()
    place = data.index(b"GCOL") + 16
    free = place + 16 + -(-int.from_bytes(data[place + 8 : place + 16], "little") // 8) * 8
    for head in (bytes(16), b"\1" + bytes(7) + b"\xf0" + 7 * b"\xff", bytes(8) + 8 * b"\xff"):
        path.write_bytes(data[:free] + head + data[free + 16 :])
        with opened(path) as source:  # without what its texts say
            assert source.about == {"axes": "TYX"}
    # Texts of which there are very many, behind the end of the file.
    claimed, far = (b"\0" * n + b"\1" + b"\0" * (7 - n) for n in (6, 5))
    parts = data[: place - 8], claimed, data[place:free], bytes(8), far, data[free + 16 :]
    path.write_bytes(b"".join(parts))
    with opened(path) as source:
        assert source.about == {"axes": "TYX"}


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("kind", ["groups", "chunks"])
def test_trees_that_lead_back_to_themselves(tmp_path: Path, kind: str, userblock: int) -> None:
    """The library goes down into them by calling itself, until its process ends."""
    array, path = np.arange(200 * 32 * 32, dtype=np.uint32).reshape(200, 32, 32), tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest", userblock_size=userblock) as file:
        file.create_dataset("data", data=array, chunks=(1, 16, 16), compression="gzip")
        for number in range(300):
            file.create_group(str(number))
    with opened(path, axes="TYX") as source:
        np.testing.assert_array_equal(source.values(150)[..., 0], array[150])
    data, node = bytearray(path.read_bytes()), -1
    of_chunks = kind == "chunks"
    while data[node + 4 : node + 6] != bytes((of_chunks, 1)):
        node = data.index(b"TREE", node + 1)
    child = node + 24 + (8 * (2 + array.ndim) if of_chunks else 8)
    data[child : child + 8] = (node - userblock).to_bytes(8, "little")
    path.write_bytes(data)
    refused = (
        open_source if kind == "groups" else lambda path: open_source(path, axes="TYX").read(0)
    )
    with pytest.raises(SourceError, match="lead back to themselves"):
        refused(path)


def test_numbers_and_rows_are_no_pictures(tmp_path: Path) -> None:
    movie, times = numbers("TYX"), np.arange(4.0)[None]
    path = write(tmp_path / "a.h5", {"dt": np.array([[0.5]]), "movie": movie, "times": times})
    with opened(path, axes="TYX") as source:
        np.testing.assert_array_equal(source.values(1)[..., 0], movie[1])
        assert source.options["key"] == "movie"


# -- the whole way -----------------------------------------------------------------------------


def test_it_is_tracked_and_gone_on_with(tmp_path: Path) -> None:
    lit = np.zeros((3, 48, 64), np.uint8)
    lit[:, 10:30, 20:50] = 200
    path = write(tmp_path / "a.h5", {"dark": np.zeros_like(lit), "days/lit": lit})
    track = ["track", str(path), "-o", str(tmp_path / "out"), "--key", "/days/lit"]
    track += ["--model", "nano", "--limits", "0,255", "--write", "table", "--box", "1:20,10,50,30"]
    done = CliRunner().invoke(main, [*track, "--stop", "2"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, [*track[:-2], "--resume"])
    assert done.exit_code == 0, done.output
    with Project.open(tmp_path / "out" / "project.s2t") as project:
        assert project.frames == (0, 1, 2) and project.meta["reading"]["key"] == "days/lit"
        assert all(project.masks(t)[1][20, 35] for t in range(3))
    told = CliRunner().invoke(main, ["info", str(tmp_path / "out")]).output
    assert "a.h5, key days/lit, 3 frames of 64 x 48" in told
