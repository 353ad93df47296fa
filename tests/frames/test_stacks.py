"""Stacks, written by the libraries that people write them with, and read back plane by plane."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import psutil
import pytest
import tifffile
import xarray
import zarr
from hypothesis import given
from hypothesis import strategies as st

from sam2track.errors import SourceError, UsageError
from sam2track.frames.array import ArraySource
from sam2track.frames.files import ends_of_file
from sam2track.frames.opening import open_source, reopen_source
from sam2track.frames.source import FrameSource
from sam2track.frames.stack import StackSource, read_axes
from sam2track.frames.zarr_files import _fingerprint

SIZES = {"T": 5, "Z": 2, "C": 2, "Y": 6, "X": 8}


def numbers(axes: str, dtype: Any = np.uint16) -> np.ndarray:
    """An array in which every value tells its place."""
    shape = tuple(SIZES[a] for a in axes)
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write_tiff(path: Path, array: np.ndarray, axes: str) -> Path:
    tifffile.imwrite(path, array, metadata={"axes": axes}, photometric="minisblack")
    return path


def write_ome(path: Path, array: np.ndarray, axes: str) -> Path:
    path = path.with_suffix(".ome.tif")
    tifffile.imwrite(path, array, metadata={"axes": axes}, compression="zlib")
    return path


def write_imagej(path: Path, array: np.ndarray, axes: str) -> Path:
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": axes})
    return path


def write_zarr(version: int) -> Callable[[Path, np.ndarray, str], Path]:
    def write(path: Path, array: np.ndarray, axes: str) -> Path:
        path = path.with_suffix(".zarr")
        options: dict[str, Any] = {"dimension_names": list(axes.lower())} if version == 3 else {}
        made = zarr.create_array(str(path), data=array, zarr_format=version, **options)
        if version == 2:
            made.attrs["_ARRAY_DIMENSIONS"] = list(axes.lower())
        return path

    return write


def write_ome_zarr(path: Path, array: np.ndarray, axes: str) -> Path:
    path = path.with_suffix(".ome.zarr")
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    group.create_array("0", data=array)
    group.create_array("1", data=array[..., ::2, ::2])
    kinds = {"T": "time", "Z": "space", "C": "channel", "Y": "space", "X": "space"}
    units = {"T": {"unit": "minute"}} | {a: {"unit": "micrometer"} for a in "ZYX"}
    steps = {"T": 2.0, "Z": 1.0, "C": 1.0, "Y": 0.5, "X": 0.25}
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": a.lower(), "type": kinds[a], **units.get(a, {})} for a in axes],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [steps[a] for a in axes]}
                        ],
                    },
                    {"path": "1", "coordinateTransformations": []},
                ],
            }
        ],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]},
    }
    return path


WRITERS = {
    "ome": write_ome,
    "imagej": write_imagej,
    "tiff": write_tiff,
    "zarr 2": write_zarr(2),
    "zarr 3": write_zarr(3),
    "ome-zarr": write_ome_zarr,
}
RANGE = (0, 65_535 / 257)  # values are small: a byte tells each


@pytest.mark.parametrize("axes", ["TYX", "ZYX", "TCYX", "TZYX", "TZCYX"])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_plane_is_the_right_one(kind: str, axes: str, tmp_path: Path) -> None:
    array = numbers(axes)
    path = WRITERS[kind](tmp_path / "a.tif", array, axes)
    for z, channel in itertools.product([0, 1, "max"], [0, 1]):
        named = None if kind != "tiff" else axes
        source = open_source(
            path,
            axes=named,
            z=z if "Z" in axes and "T" in axes else None,
            channel=channel if "C" in axes else None,
        )
        assert isinstance(source, FrameSource)
        assert (len(source), source.height, source.width) == (SIZES[axes[0]], 6, 8)
        for frame in range(len(source)):
            plane = array[frame]
            if "Z" in axes and "T" in axes:
                plane = plane.max(0) if z == "max" else plane[z]
            if "C" in axes:
                plane = plane[channel]
            np.testing.assert_array_equal(source.values(frame)[..., 0], plane)
        again = [source.values(f)[..., 0] for f in range(len(source))]
        assert len(list(source.frames(0, len(source), backward=True))) == len(again)
        source.close()


@pytest.mark.parametrize("kind", ["ome", "ome-zarr"])
def test_what_files_say_of_themselves(kind: str, tmp_path: Path) -> None:
    array = numbers("TCYX")
    if kind == "ome":
        path = tmp_path / "a.ome.tif"
        told: dict[str, Any] = {
            "axes": "TCYX",
            "PhysicalSizeX": 250,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeYUnit": "µm",
            "TimeIncrement": 2,
            "TimeIncrementUnit": "min",
            "Channel": {"Name": ["DAPI", "GFP"]},
        }
        tifffile.imwrite(path, array, metadata=told)
    else:
        path = write_ome_zarr(tmp_path / "a", array, "TCYX")
    source = open_source(path, channel="GFP")
    assert source.about == {
        "axes": "TCYX",
        "channels": ["DAPI", "GFP"],
        "pixel_size_um": (0.5, 0.25),
        "frame_interval_s": 120.0,
    }
    np.testing.assert_array_equal(source.values(1)[..., 0], array[1, 1])


@pytest.mark.parametrize("shards", [None, (4, 200, 200)])
def test_chunks_that_cannot_be_compressed_are_read(shards: Any, tmp_path: Path) -> None:
    """However large they may be at most: a shard holds many of them."""
    array = np.random.default_rng(0).random((4, 200, 200))
    zarr.create_array(str(tmp_path / "a.zarr"), data=array, chunks=(1, 200, 200), shards=shards)
    source = open_source(tmp_path / "a.zarr")
    for frame, plane in enumerate(array):
        np.testing.assert_array_equal(source.values(frame)[..., 0], plane)


def test_bytes_of_chunks_are_counted_not_their_numbers(tmp_path: Path) -> None:
    path, chunk = tmp_path / "a.zarr", (700, 1000, 1000)
    zarr.create_array(str(path), shape=chunk, chunks=chunk, dtype="float64")
    with pytest.raises(SourceError, match="has chunks of 5,600,000,000 bytes"):
        open_source(path)


def test_axes_of_ome_zarr_may_be_letters_alone(tmp_path: Path) -> None:
    """As its version 0.3 has them."""
    path = write_ome_zarr(tmp_path / "a", numbers("TCYX"), "TCYX")
    group = zarr.open_group(str(path))
    told = group.attrs["ome"]
    group.attrs["ome"] = {
        "multiscales": [told["multiscales"][0] | {"axes": ["T", "C", "Y", "X"]}],
    }
    assert open_source(path).about == {"axes": "TCYX"}  # lengths have no units
    assert open_source(path, axes="ZCYX").about == {"axes": "ZCYX"}
    change = {"type": "translation", "translation": [9.0, 9.0, 9.0, 9.0]}
    scale = told["multiscales"][0]
    sets = [scale["datasets"][0] | {"coordinateTransformations": [change]}]
    group.attrs["ome"] = {"multiscales": [scale | {"datasets": sets}]}
    assert open_source(path).about == {"axes": "TCYX"}  # where it lies is not how large it is
    axes = [axis | {"name": axis["name"].upper()} for axis in scale["axes"]]
    group.attrs["ome"] = {"multiscales": [scale | {"axes": axes}]}
    about = open_source(path).about
    assert (about["pixel_size_um"], about["frame_interval_s"]) == ((0.5, 0.25), 120)


def test_ome_zarr_scales_its_whole_pyramid_too(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "a", numbers("TCYX"), "TCYX")
    group = zarr.open_group(str(path))
    told = group.attrs["ome"]
    more = [{"type": "scale", "scale": [0.5, 1.0, 3.0, 2.0]}]
    scales = [told["multiscales"][0] | {"coordinateTransformations": more}]
    group.attrs["ome"] = told | {"multiscales": scales}
    about = open_source(path).about
    assert about["pixel_size_um"] == (1.5, 0.5)
    assert about["frame_interval_s"] == 60.0


@pytest.mark.parametrize("kind", ["ome", "ome-zarr", "czi"])
def test_a_channel_without_a_name_leaves_the_others_theirs(kind: str, tmp_path: Path) -> None:
    array = numbers("TCYX")
    if kind == "ome":
        path = tmp_path / "a.ome.tif"
        told = {"axes": "TCYX", "Channel": {"Name": ["nameless", "GFP"]}}
        tifffile.imwrite(path, array, metadata=told)
        path.write_bytes(path.read_bytes().replace(b'Name="nameless"', b" " * 15))
    elif kind == "ome-zarr":
        path = write_ome_zarr(tmp_path / "a", array, "TCYX")
        group = zarr.open_group(str(path))
        group.attrs["ome"] = group.attrs["ome"] | {"omero": {"channels": [{}, {"label": "GFP"}]}}
    else:
        czi = pytest.importorskip("pylibCZIrw.czi")
        path = tmp_path / "a.czi"
        with czi.create_czi(str(path)) as file:
            for t, c in itertools.product(range(5), range(2)):
                file.write(array[t, c][..., None], plane={"T": t, "C": c})
            file.write_metadata("a", channel_names={1: "GFP"})
    source = open_source(path, channel="GFP")
    assert source.about["channels"] == ["0", "GFP"]
    np.testing.assert_array_equal(source.values(1)[..., 0], array[1, 1])
    source.close()


@pytest.mark.parametrize(
    ("interval", "wanted"), [({"finterval": 30.0}, 30), ({"finterval": 2.0, "tunit": "min"}, 120)]
)
def test_what_imagej_says(tmp_path: Path, interval: dict[str, Any], wanted: float) -> None:
    path = tmp_path / "a.tif"
    told = {"axes": "TYX", "unit": "um", **interval}
    tifffile.imwrite(path, numbers("TYX"), imagej=True, metadata=told, resolution=(4, 2))
    about = open_source(path).about
    assert about["pixel_size_um"] == pytest.approx((0.5, 0.25))
    assert about["frame_interval_s"] == wanted


@pytest.mark.parametrize("compression", ["lzw", "lzw without codecs", "deflate", None])
@pytest.mark.parametrize("colour", [False, True])
def test_compressed_pages(
    compression: str | None, colour: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    def missing(*_: object, **__: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    if compression == "lzw without codecs":
        monkeypatch.setattr(tifffile.TiffPage, "asarray", missing)
    random = np.random.default_rng(0)
    pages = random.integers(0, 2000, (4, 20, 30, *([3] if colour else []))).astype(np.uint16)
    path = tmp_path / "a.tif"
    # tifffile does not write it without a package of codecs.
    if compression and "lzw" in compression:
        assert cv2.imwritemulti(
            str(path),
            [p[..., ::-1] if colour else p for p in pages],
            [cv2.IMWRITE_TIFF_COMPRESSION, 5],
        )
    else:
        photometric = "rgb" if colour else "minisblack"
        tifffile.imwrite(path, pages, compression=compression, photometric=photometric)
    source = open_source(path)
    assert len(source) == 4
    for frame in range(4):
        expected = pages[frame] if colour else pages[frame][..., None]
        np.testing.assert_array_equal(source.values(frame), expected)


def test_compressions_that_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    def missing(*_: object, **__: object) -> None:
        raise ValueError("requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", missing)
    pages = np.random.default_rng(0).integers(0, 255, (1, 20, 30, 4), np.uint8)
    pages[..., 3] = 255  # opaque: OpenCV mixes what is not with black
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb", extrasamples=["unassalpha"])
    source = open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(source.read(0), pages[0, ..., :3])
    monkeypatch.setattr(cv2, "imreadmulti", lambda *_, **__: (False, ()))
    with pytest.raises(SourceError, match="not known here; install imagecodecs to read it"):
        source.read(0)
    source.close()


def test_planes_that_ome_tiff_leaves_out_are_empty(tmp_path: Path) -> None:
    array = numbers("TYX")[:2] + 1
    place = '<TiffData FirstT="{}" IFD="{}" PlaneCount="1"/>'
    told = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        'SizeX="8" SizeY="6" SizeZ="1" SizeC="1" SizeT="4">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1" Name="GFP"/>'
        f"{place.format(0, 0)}{place.format(2, 1)}</Pixels></Image></OME>"
    )
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for number, page in enumerate(array):
            file.write(
                page,
                description=told if number == 0 else None,
                metadata=None,
                contiguous=False,
                photometric="minisblack",
            )
    source = open_source(tmp_path / "a.ome.tif")
    assert source.about == {"axes": "TYX", "channels": ["GFP"]}
    for frame, plane in enumerate([array[0], array[0] * 0, array[1], array[0] * 0]):
        np.testing.assert_array_equal(source.values(frame)[..., 0], plane)
    source.close()


@pytest.mark.parametrize(
    ("unit", "resolution", "size"),
    [
        ("CENTIMETER", (20_000, 10_000), (1.0, 0.5)),
        ("INCH", (25_400, 12_700), (2.0, 1.0)),
        ("INCH", (72, 72), None),  # of a screen, not of what is seen
        ("INCH", (96, 96), None),
        ("CENTIMETER", (28.35, 28.35), None),
        ("INCH", (72, 300), (25_400 / 300, 25_400 / 72)),
        ("INCH", (1200, 1200), (25_400 / 1200,) * 2),  # of a scanner
        ("NONE", (1, 1), None),
        ("CENTIMETER", (0, 10_000), None),
    ],
)
def test_sizes_of_pixels_that_plain_tiff_has(
    unit: str, resolution: tuple[float, float], size: tuple[float, float] | None, tmp_path: Path
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        numbers("TYX"),
        photometric="minisblack",
        resolution=resolution,
        resolutionunit=unit,
    )
    about = open_source(tmp_path / "a.tif", axes="TYX").about
    assert about.get("pixel_size_um") == (size and pytest.approx(size))


@pytest.mark.parametrize("told", [1e300, 1e13, 1e-320, 0])
def test_sizes_and_times_that_cannot_be_are_none(told: float, tmp_path: Path) -> None:
    """With which the pictures were refused, or what is worked out of them was no number."""
    metadata = {f"PhysicalSize{axis}": told for axis in "XY"} | {"TimeIncrement": told}
    tifffile.imwrite(tmp_path / "a.ome.tif", numbers("TYX"), metadata={"axes": "TYX", **metadata})
    about = open_source(tmp_path / "a.ome.tif").about
    assert "pixel_size_um" not in about and "frame_interval_s" not in about


@pytest.mark.parametrize("changed", ["SizeC", "SizeZ", "SizeT"])
def test_ome_tiff_that_claims_very_many_planes(changed: str, tmp_path: Path) -> None:
    from sam2track.frames.tiff import _check_ome

    told = '<OME><Pixels SizeC="2" SizeZ="2" SizeT="2"/></OME>'
    _check_ome(tmp_path, told)
    with pytest.raises(SourceError, match="claims 8388608 planes; at most 4194304 are read"):
        _check_ome(tmp_path, told.replace(f'{changed}="2"', f'{changed}="{2**21}"'))


def test_what_tifffile_says_is_said_once_and_not_on_stderr(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    logger = logging.getLogger("tifffile")
    handlers, propagate = list(logger.handlers), logger.propagate
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in numbers("TYX"):
            file.write(page, contiguous=False, photometric="minisblack", software="maker")
    with tifffile.TiffFile(path) as file:
        places = [page.tags["Software"].offset for page in file.pages]
    data = bytearray(path.read_bytes())
    for place in places:
        data[place + 8 : place + 12] = (2**31).to_bytes(4, "little")  # where its text would lie
    path.write_bytes(data)
    source = open_source(path)
    assert len(source) == 5
    said = [line for line in source.warnings if "invalid value offset" in line]
    assert said and all(line.startswith("TIFF: ") for line in said)
    assert len(set(said)) == len(said)
    source.read(4)
    source.close()
    assert not caplog.records
    assert (logger.handlers, logger.propagate) == (handlers, propagate)


def test_channels_are_colours_with_limits_of_their_own() -> None:
    random = np.random.default_rng(0)
    array = random.integers(0, 100, (4, 2, 50, 60)).astype(np.uint16)
    array[:, 1] *= 300
    source = ArraySource(array, axes="TCYX")
    assert "red and green" in source.warnings[0]
    limits = source.limits
    assert limits is not None and limits[0][1] < 100 < 20_000 < limits[1][1]
    shown = source.read(2)
    assert abs(int(shown[..., 0].mean()) - int(shown[..., 1].mean())) < 10
    assert shown[..., 2].max() == 0
    swapped = ArraySource(array, axes="TCYX", channel=[1, 0])
    np.testing.assert_array_equal(swapped.read(2)[..., 0], shown[..., 1])
    assert not swapped.warnings
    one = ArraySource(array, axes="TCYX", channel="1").read(2)
    np.testing.assert_array_equal(one, np.repeat(shown[..., 1:2], 3, axis=2))
    given = ArraySource(array, axes="TCYX", limits=[(0, 100), (0, 30_000)])
    np.testing.assert_array_equal(given.read(0)[..., 1], np.rint(array[0, 1] / 30_000 * 255))
    alike = ArraySource(array, axes="TCYX", limits=(0, 30_000)).read(0)
    np.testing.assert_array_equal(alike[..., 1], given.read(0)[..., 1])
    np.testing.assert_array_equal(alike[..., 0], np.rint(array[0, 0] / 30_000 * 255))


def test_limits_of_each_frame() -> None:
    array = np.random.default_rng(0).normal(100, 10, (3, 40, 40))
    array[2] = array[0] * 7 + 1000
    array[0, 0, 0] = np.nan
    source = ArraySource(array, limits="per-frame")
    assert source.limits is None
    shown = source.read(0).astype(int) - source.read(2)
    assert np.abs(shown.reshape(-1, 3)[1:]).max() <= 1
    assert source.read(2).std() > 20
    assert source.read(0)[0, 0].max() == 0
    assert source.options["limits"] == "per-frame"


@pytest.mark.parametrize("wrap", [dask.array.from_array, lambda a: xarray.DataArray(a, dims=DIMS)])
def test_arrays_of_other_libraries(wrap: Callable[[np.ndarray], Any]) -> None:
    array = numbers("TZCYX")
    made = wrap(array)
    source = open_source(made, axes=None if hasattr(made, "dims") else "TZCYX", z=1, channel=[1])
    np.testing.assert_array_equal(source.values(2)[..., 0], array[2, 1, 1])


DIMS = ("time", "depth", "channel", "row", "column")


def test_an_interval_is_one_of_times_alone() -> None:
    for axes, wanted in (("TYX", 2.0), ("ZYX", None)):
        about = ArraySource(numbers(axes), axes=axes, frame_interval_s=2.0).about
        assert about.get("frame_interval_s") == wanted


def test_maximum_ignores_nan() -> None:
    array = numbers("TZYX", np.float32)
    array[0, 1, 2, 3] = np.nan
    source = ArraySource(array, axes="TZYX", z="max")
    assert source.values(0)[2, 3, 0] == array[0, 0, 2, 3]
    assert source.values(1)[2, 3, 0] == array[1, 1, 2, 3]


def test_one_frame_is_read_at_a_time(tmp_path: Path) -> None:
    """200 MB on disk; a few frames are all that is ever in memory."""
    frames, side = 200, 724
    tiff, npy = tmp_path / "a.tif", tmp_path / "a.npy"
    made = np.lib.format.open_memmap(npy, "w+", np.uint16, (frames, side, side))
    folder = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=made.shape, dtype=made.dtype, chunks=(1, side, side)
    )
    with tifffile.TiffWriter(tiff) as writer:
        for number in range(frames):
            plane = np.full((side, side), number + 1, np.uint16)
            made[number] = plane
            folder[number] = plane
            writer.write(plane, contiguous=False)
    del made
    process = psutil.Process()
    for path, axes in ((tiff, None), (npy, "TYX"), (tmp_path / "a.zarr", "TYX")):
        source = open_source(path, axes=axes, limits=(0, 255))
        source.read(0)
        before = process.memory_info().rss
        for number in range(frames):
            assert source.read(number)[5, 5, 0] == number + 1
        assert process.memory_info().rss - before < 40 << 20, path
        source.close()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_source_is_opened_again_as_it_was(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path / "a.tif", numbers("TZCYX"), "TZCYX")
    source = open_source(path, z=1, channel=1, axes="TZCYX" if kind == "tiff" else None)
    reading = {key: value for key, value in source.options.items() if value is not None}
    again = reopen_source({"source": source.name, "reading": reading}, fps=25, folder=None)
    assert again.fingerprint() == source.fingerprint()
    assert again.options == source.options
    other = open_source(path, z=0, channel=1, axes="TZCYX" if kind == "tiff" else None)
    assert other.fingerprint() != source.fingerprint()
    for frame in range(3):
        np.testing.assert_array_equal(again.read(frame), source.read(frame))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_copy_of_zarr_is_the_same(zarr_format: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (100, 8, 8), np.uint8)
    array = zarr.create_array(
        tmp_path / "a.zarr",
        data=values,
        chunks=(1, 8, 8),
        compressors=None,
        zarr_format=zarr_format,
        dimension_names=["t", "y", "x"] if zarr_format == 3 else None,
    )
    told = [open_source(tmp_path / "a.zarr", axes="TYX", limits=(0, 255)).fingerprint]
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr", copy_function=shutil.copyfile)
    told.append(open_source(tmp_path / "b.zarr", axes="TYX", limits=(0, 255)).fingerprint)
    first = told[0]()
    assert told[1]() == first
    # What file managers leave is none of it.
    (tmp_path / "b.zarr" / ".DS_Store").write_bytes(b"\0")
    assert told[1]() == first
    array.attrs["made"] = "later"
    second = told[0]()
    array[:] = 255 - values  # of the same size
    third = told[0]()
    (tmp_path / "a.zarr" / os.fsdecode(b"\xff")).touch()
    assert len({first, second, third, told[0]()}) == 4


def test_a_fingerprint_of_zarr_looks_at_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a.zarr"
    array = zarr.create_array(
        folder, data=np.arange(640, dtype=np.uint8).reshape(10, 8, 8), chunks=(1, 4, 4)
    )
    (folder / "nowhere").symlink_to("missing")
    (folder / "round").symlink_to("round")
    (folder / "below").symlink_to("zarr.json/missing")
    (folder / "linked").symlink_to(tmp_path)  # which would never end
    fingerprint = partial(_fingerprint, folder)
    expected, chunks = hashlib.sha256(), []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix().encode()
        expected.update(b"%b\0%d\0" % (name, file.stat().st_size))
        if file.name == "zarr.json":
            expected.update(file.read_bytes())
        else:
            chunks.append(file)
    for file in chunks:
        expected.update(ends_of_file(file).encode())
    looked: list[str] = []
    usual = os.stat
    monkeypatch.setattr(os, "stat", lambda at, **how: looked.append(at) or usual(at, **how))
    assert fingerprint() == expected.hexdigest()
    assert array.nchunks == len(chunks)
    asked = Counter(os.fspath(path) for path in looked if "a.zarr" in os.fspath(path))
    assert all(asked[str(file)] == 1 for file in chunks)


def test_zarr_whose_sizes_stay_the_same_is_told_apart(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (9, 8, 8), np.uint8)
    array = zarr.create_array(
        tmp_path / "a.zarr", data=values, chunks=(1, 8, 8), attributes={"made": "early"}
    )
    source = open_source(tmp_path / "a.zarr", axes="TYX", limits=(0, 255))
    told = [source.fingerprint()]
    array.attrs["made"] = "after"
    told.append(source.fingerprint())
    chunks = tmp_path / "a.zarr" / "c"
    (chunks / "8").rename(chunks / "9")  # the last frame is empty now
    told.append(source.fingerprint())
    for chunk in chunks.rglob("0"):
        if chunk.is_file():
            chunk.unlink()
    told.append(source.fingerprint())  # of no chunk at all
    assert len(set(told)) == 4


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_either_order(order: Any, tmp_path: Path) -> None:
    array = numbers("TYX")
    np.save(tmp_path / "a.npy", np.asarray(array, order=order))
    source = open_source(tmp_path / "a.npy", axes="TYX")
    for frame, plane in enumerate(array):
        np.testing.assert_array_equal(source.values(frame)[..., 0], plane)


# -- what cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "options", "message"),
    [
        ("TZYX", {}, "axes T 5, Z 2, Y 6, X 8; choose one of Z"),
        ("TZYX", {"z": 2}, "z 2; .* below 2"),
        ("TZYX", {"z": -1}, "z -1"),
        ("TYX", {"z": 0}, "no Z; leave it out"),
        ("TCYX", {"channel": 2}, "no channel 2"),
        ("TCYX", {"channel": 5000 * "2"}, "no channel '22"),
        ("TCYX", {"channel": "GFP"}, "no channel 'GFP'"),
        ("TCYX", {"channel": [0, 0]}, "one to three different"),
        ("TCYX", {"limits": [(0, 1)] * 3}, "3 pairs of limits for 2 channels"),
        ("TCYX", {"limits": (3, 2)}, "first must lie below"),
        ("TCYX", {"limits": (0, float("nan"))}, "finite"),
        ("TCYX", {"limits": "all"}, "'per-frame'"),
    ],
)
def test_options_that_cannot_be(axes: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        ArraySource(numbers(axes), axes=axes, **options)
    assert "\n" not in str(caught.value)


def test_of_coloured_channels_one_is_shown() -> None:
    array = np.arange(120, dtype=np.uint8).reshape(1, 2, 4, 5, 3)
    with pytest.raises(UsageError, match="of coloured channels only one can be shown"):
        ArraySource(array, axes="TCYXS", channel=[0, 1])
    shown = ArraySource(array, axes="TCYXS", channel=1).read(0)
    np.testing.assert_array_equal(shown, array[0, 1])


def test_more_than_three_channels_have_to_be_chosen() -> None:
    array = np.zeros((2, 5, 4, 4), np.uint16)
    with pytest.raises(UsageError, match=r"C 5.*choose up to three"):
        ArraySource(array, axes="TCYX")
    assert len(ArraySource(array, axes="TCYX", channel=[4, 0, 2])) == 2


@pytest.mark.parametrize("axes", ["TY", "TTYX", "TZCX", "ABYX", "", "TZCYXS", "?ZYX"])
def test_axes_that_do_not_fit(axes: str) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        ArraySource(numbers("TZYX"), axes=axes)


@given(st.lists(st.text(max_size=4), max_size=6), st.lists(st.integers(1, 5), max_size=6))
def test_any_axes_are_read_or_refused(axes: list[str], shape: list[int]) -> None:
    try:
        letters = read_axes(axes, tuple(shape), "it")
    except UsageError:
        return
    assert len(letters) == len(shape)
    assert letters.count("Y") == letters.count("X") == 1


def test_files_that_cannot_be(tmp_path: Path) -> None:
    def refused(path: Path, error: type, message: str, **options: Any) -> None:
        with pytest.raises(error, match=message) as caught:
            source = open_source(path, **options)
            source.read(len(source) - 1)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)

    whole = tmp_path / "a.tif"
    tifffile.imwrite(whole, numbers("TYX"), metadata={"axes": "TYX"}, compression="deflate")
    data = whole.read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[:60])
    refused(tmp_path / "cut.tif", SourceError, "no TIFF|does not give|cut short")
    (tmp_path / "junk.tif").write_bytes(b"II*\0" + bytes(range(200)))
    refused(tmp_path / "junk.tif", SourceError, "no TIFF")
    tifffile.imwrite(tmp_path / "j.tif", np.zeros((9, 30, 30), np.uint16), imagej=True)
    (tmp_path / "half.tif").write_bytes((tmp_path / "j.tif").read_bytes()[:4000])
    refused(tmp_path / "half.tif", SourceError, "says that it holds 9 pictures, and 1 can be read")
    refused(tmp_path / "j.tif", UsageError, r"where they are frames, name the axes TYX \(--axes")
    with tifffile.TiffWriter(tmp_path / "pages.tif") as pages:
        for plane in np.random.default_rng(0).integers(0, 255, (9, 30, 30), np.uint8):
            pages.write(plane, contiguous=False, compression="deflate", photometric="minisblack")
    (tmp_path / "half.tif").write_bytes((tmp_path / "pages.tif").read_bytes()[:5000])
    half = open_source(tmp_path / "half.tif")
    assert 1 < len(half) < 9
    assert (
        half.warnings[0]
        == f"it is cut short: its first {len(half)} of {len(half) + 1} pages are read"
    )
    assert half.read(len(half) - 1).any()
    half.close()
    # Without further word tifffile takes three or four planes for colours, and says so in the file.
    tifffile.imwrite(tmp_path / "few.tif", np.zeros((4, 30, 30), np.uint8), photometric="rgb")
    few = open_source(tmp_path / "few.tif")
    assert len(few) == 1 and "axes TYX say so (--axes)" in few.warnings[0]
    few.close()
    few = open_source(tmp_path / "few.tif", axes="TYX")
    assert len(few) == 4 and not few.warnings
    few.close()
    few = open_source(tmp_path / "few.tif", axes="SYX")
    assert len(few) == 1 and not few.warnings  # who says so need not be told
    few.close()
    (tmp_path / "none.zarr").mkdir()
    refused(tmp_path / "none.zarr", SourceError, "no zarr that can be read")
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    refused(tmp_path / "o.npy", SourceError, "Python objects")
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01\0")
    refused(tmp_path / "b.npy", SourceError, "no array that can be read")
    np.savez(tmp_path / "two.npz", images=numbers("TYX"), labels=numbers("TYX"))
    refused(tmp_path / "two.npz", UsageError, "images, labels; name one")
    refused(tmp_path / "two.npz", UsageError, "no array 'x'", key="x")
    np.savez(tmp_path / "day.npz", **{"1": numbers("TYX"), "2": numbers("TYX") + 50})
    source = open_source(tmp_path / "day.npz", key=2)  # a name that is a number
    assert isinstance(source, StackSource)
    np.testing.assert_array_equal(source.values(0)[..., 0], numbers("TYX")[0] + 50)
    source.close()
    refused(tmp_path / "a.tif", UsageError, "no 'x' among its series of pictures; give", key="x")
    zarr.open_group(str(tmp_path / "e.zarr"), mode="w")
    refused(tmp_path / "e.zarr", SourceError, "without arrays")
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    for name in ("one", "two"):
        group.create_array(name, data=numbers("TYX"))
    refused(tmp_path / "g.zarr", UsageError, "arrays one, two; name one of them as key")
    made = write_zarr(3)(tmp_path / "c", numbers("TYX"), "TYX")
    (made / "zarr.json").write_text("{")
    refused(made, SourceError, "no zarr that can be read")
    refused(whole, UsageError, "stream 1 is not for the stack", stream=1)
    for name in ("x.nd2", "x.czi"):
        (tmp_path / name).write_bytes(b"\1no such thing" * 9)
        refused(tmp_path / name, SourceError, "file that can be read")


def test_an_npz_that_there_is_no_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros((9, 100, 100)))
    monkeypatch.setattr("sam2track.frames.numpy_files.free_memory", lambda: 700_000)
    with pytest.raises(SourceError, match="720,128 bytes for a, and there is room for 700,000"):
        open_source(tmp_path / "a.npz")


def test_options_in_the_types_of_numpy() -> None:
    array = numbers("TCYX")
    source = ArraySource(array, axes="TCYX", channel=np.int64(1), limits=np.array([0, 4000]))
    assert source.limits == ((0, 4000),)
    np.testing.assert_array_equal(source.values(2)[..., 0], array[2, 1])
    with pytest.raises(UsageError, match="axes 5"):
        ArraySource(array, axes=5)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_flipped_bytes_of_tiff(
    compression: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every byte of the headers, and some of the rest: read, or refused in one line."""
    path = tmp_path / "a.tif"
    array = np.random.default_rng(0).integers(0, 999, (3, 20, 30)).astype(np.uint16)
    tifffile.imwrite(path, array, compression=compression, photometric="minisblack")
    data = path.read_bytes()
    read = 0
    for position in [*range(300), *range(300, len(data), 97)]:
        bad = bytearray(data)
        bad[position] ^= 0xFF
        path.write_bytes(bad)
        try:
            source = open_source(path)
            assert source.read(len(source) - 1).shape == (source.height, source.width, 3)
            source.close()
            read += 1
        except (SourceError, UsageError) as error:
            assert "\n" not in str(error)
            assert str(path) in str(error)
    assert read > 50
    assert capfd.readouterr().err == ""


def test_a_chunk_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = write_zarr(3)(tmp_path / "a", numbers("TYX"), "TYX")
    for chunk in (path / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"junk")
    with pytest.raises(SourceError, match="does not give frame 0"):
        open_source(path).read(0)


def test_planes_that_claim_too_much_are_not_read() -> None:
    class Huge:
        def __init__(self, *shape: int, dtype: type = np.uint16) -> None:
            self.shape, self.dtype = shape, np.dtype(dtype)

        def __getitem__(self, index: object) -> Any:
            raise AssertionError("must not be read")

    with pytest.raises(SourceError, match="at most 268435456 are read"):
        ArraySource(Huge(3, 60_000, 60_000))
    with pytest.raises(SourceError, match="larger than 2 GiB"):
        ArraySource(Huge(3, 16_000, 16_000, 3, dtype=np.float32))
    with pytest.raises(SourceError, match="at most 33554432 are read"):
        ArraySource(Huge(2**31, 16, 16))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = write_zarr(3)(tmp_path / "a", numbers("TYX"), "TYX")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(
        UsageError, match=r"zarr is not installed; pip install 'sam2track\[stacks\]'"
    ):
        open_source(path)


def test_photometric_interpretations_are_honoured(tmp_path: Path) -> None:
    values = np.arange(5 * 20 * 30, dtype=np.uint8).reshape(5, 20, 30)
    colormap = np.zeros((3, 256), np.uint16)
    colormap[0], colormap[1] = 65_535, np.arange(256) << 8  # as some programs scale bytes
    tifffile.imwrite(tmp_path / "p.tif", values, photometric="palette", colormap=colormap)
    source = open_source(tmp_path / "p.tif")
    assert source.read(2)[3, 4].tolist() == [255, values[2, 3, 4], 0]
    eight = colormap >> 8  # as other programs write it
    tifffile.imwrite(tmp_path / "8.tif", values, photometric="palette", colormap=eight)
    source = open_source(tmp_path / "8.tif")
    assert source.read(2)[3, 4].tolist() == [255, values[2, 3, 4], 0]
    for kind, black in ((np.bool_, False), (np.float32, 0)):
        array = np.zeros((5, 20, 30), kind)
        array[2, 3, 4] = 1
        tifffile.imwrite(tmp_path / "k.tif", array, photometric="miniswhite")
        source = open_source(tmp_path / "k.tif")
        # Of floating numbers nobody knows what white is.
        assert source.values(2)[3, 4, 0] == (black if kind is np.bool_ else 1)
        source.close()
    tifffile.imwrite(tmp_path / "w.tif", values, photometric="miniswhite")
    source = open_source(tmp_path / "w.tif")
    assert source.read(2)[3, 4].tolist() == [255 - values[2, 3, 4]] * 3
    cmyk = np.zeros((3, 20, 30, 4), np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", cmyk, photometric="separated")
    with pytest.raises(SourceError, match="CMYK"):
        open_source(tmp_path / "c.tif")


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.float64])
def test_folders_of_deep_tiff(tmp_path: Path, dtype: Any) -> None:
    values = (np.random.default_rng(0).random((4, 20, 30)) * 5000).astype(dtype)
    for number, picture in enumerate(values):
        tifffile.imwrite(tmp_path / f"{number}.tif", picture)
    source = open_source(tmp_path)
    expected = ArraySource(values)
    for number in range(4):
        assert np.abs(source.read(number).astype(int) - expected.read(number)).max() <= 1
    assert not source.warnings


def test_folders_of_deep_tiff_with_colours_and_opacity(tmp_path: Path) -> None:
    values = (np.random.default_rng(0).random((20, 30, 3)) * 5000).astype(np.float32)
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "rgb": (values, {"photometric": "rgb"}),
        "planes": (np.moveaxis(values, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        "grey": (values[..., 0], {"photometric": "minisblack"}),
        "opacity": (values[..., :2], {"photometric": "minisblack", "extrasamples": [2]}),
    }
    read = {}
    for name, (picture, how) in kinds.items():
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", picture, **how)
        read[name] = open_source(tmp_path / name).read(0)
        assert read[name].shape == (20, 30, 3)
    np.testing.assert_array_equal(read["planes"], read["rgb"])
    np.testing.assert_array_equal(read["opacity"], read["grey"])
    assert len(np.unique(read["rgb"], axis=None)) > 100


def test_a_folder_of_several_pages_each_says_so(tmp_path: Path) -> None:
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", numbers("TYX"), photometric="minisblack")
    source = open_source(tmp_path)
    assert len(source) == 2
    assert "a.tif holds 5 pages" in source.warnings[0]


def test_axes_of_one_place_may_be_named(tmp_path: Path) -> None:
    array = numbers("TCYX")
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "TCYX"})
    for axes in ("TCYX", "TZCYX"):
        source = open_source(tmp_path / "a.tif", axes=axes, channel=1)
        np.testing.assert_array_equal(source.values(2)[..., 0], array[2, 1])


def test_axes_of_tiff_may_be_words(tmp_path: Path) -> None:
    array = numbers("TCYX")
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "TCYX"})
    for axes in (["time", "channel", "row", "column"], ("t", "depth", "c", "y", "x")):
        source = open_source(tmp_path / "a.tif", axes=axes, channel=1)
        np.testing.assert_array_equal(source.values(2)[..., 0], array[2, 1])
    with pytest.raises(UsageError, match="axes 5; give a letter for each axis"):
        open_source(tmp_path / "a.tif", axes=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("axes", [None, "TYX", "TZYX"])
def test_pages_that_were_each_written_as_a_stack_of_one(tmp_path: Path, axes: str | None) -> None:
    array = numbers("TYX")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in array:
            file.write(page[None], contiguous=False, photometric="minisblack")
    source = open_source(tmp_path / "a.tif", axes=axes)
    np.testing.assert_array_equal(source.values(3)[..., 0], array[3])


@pytest.mark.parametrize(("height", "width"), [(1, 8), (6, 1), (1, 1)])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_of_one_row_or_column(
    height: int, width: int, compression: str | None, tmp_path: Path
) -> None:
    array = numbers("TYX")[:, :height, :width]
    told = {"axes": "TYX"}
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="minisblack", metadata=told, compression=compression
    )
    for axes in (None, "TYX"):
        source = open_source(tmp_path / "a.tif", axes=axes)
        assert (len(source), source.height, source.width) == (5, height, width)
        np.testing.assert_array_equal(source.values(3)[..., 0], array[3])


@pytest.mark.parametrize(
    ("shapes", "kinds", "frames", "warned"),
    [
        ([(6, 8), (6, 8)], ["u1", "u1"], 2, []),
        (
            [(6, 8), (6, 9)],
            ["u1", "u1"],
            1,
            ["it holds 2 series of pictures; the first is taken; key (--key) chooses"],
        ),
        (
            [(6, 8), (6, 8)],
            ["u1", "u2"],
            1,
            ["it holds 2 series of pictures; the first is taken; key (--key) chooses"],
        ),
        (
            [(3, 6, 8)] * 2,
            ["u1", "u1"],
            3,
            ["it holds 2 series of pictures; the first is taken; key (--key) chooses"],
        ),
    ],
)
def test_of_several_series_the_first_is_taken_where_they_are_no_stack(
    shapes: list[tuple[int, ...]], kinds: list[str], frames: int, warned: list[str], tmp_path: Path
) -> None:
    arrays = [np.full(s, n, k) for n, (s, k) in enumerate(zip(shapes, kinds, strict=True))]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for array in arrays:
            file.write(array, contiguous=False, photometric="minisblack")
    source = open_source(tmp_path / "a.tif")
    assert (len(source), source.height, source.width) == (frames, *shapes[0][-2:])
    assert source.warnings == warned
    assert source.values(frames - 1).max() == (0 if warned else frames - 1)
    source.close()
    for number, shape in enumerate(shapes):  # by its number each can be had alone
        source = open_source(tmp_path / "a.tif", key=str(number))
        assert isinstance(source, StackSource) and source.warnings == []
        again = open_source(tmp_path / "a.tif", key=source.options["key"])  # as a project keeps it
        for one in (source, again):
            assert len(one) == (shape[0] if len(shape) == 3 else 1) and one.width == shape[-1]
            assert (one.values(0) == number).all()
            one.close()


def test_of_several_images_of_ome_the_first_is_taken(tmp_path: Path) -> None:
    """Positions, mostly: they are no frames of one place."""
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for number in range(2):
            told = dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY", "TimeIncrement"), number + 1)
            told["Name"] = ("left", "right")[number]
            file.write(np.full((6, 8), number, np.uint8), metadata={"axes": "YX", **told})
    source = open_source(tmp_path / "a.ome.tif")
    assert len(source) == 1 and source.values(0).max() == 0
    assert source.warnings == [
        "it holds 2 series of pictures (left, right); the first is taken; key (--key) chooses"
    ]
    # Without units they are micrometres and seconds.
    assert (source.about["pixel_size_um"], source.about["frame_interval_s"]) == ((1, 1), 1)
    source.close()
    source = open_source(tmp_path / "a.ome.tif", key="right")
    assert source.values(0).max() == 1 and source.warnings == []
    assert (source.about["pixel_size_um"], source.about["frame_interval_s"]) == ((2, 2), 2)
    source.close()


def test_frames_that_a_cut_lost_are_told_where_there_are_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 999, (5, 2, 60, 80)).astype(np.uint16)
    path, told = tmp_path / "a.tif", {"axes": "TCYX"}
    tifffile.imwrite(path, array, photometric="minisblack", metadata=told, compression="zlib")
    with tifffile.TiffFile(path) as file:
        last = file.pages[9].dataoffsets[0]
    path.write_bytes(path.read_bytes()[: last + 10])
    source = open_source(path, channel=0, limits=(0, 999), axes="TCYX")
    assert len(source) == 5
    np.testing.assert_array_equal(source.values(4)[..., 0], array[4, 0])
    source.close()
    source = open_source(path, channel=1, limits=(0, 999), axes="TCYX")
    with pytest.raises(SourceError, match="does not give frame 4: the file is cut short before it"):
        source.read(4)
    source.close()


@pytest.mark.parametrize("imagej", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_numbers_of_either_order_of_bytes(
    imagej: bool, byteorder: str, kind: Any, tmp_path: Path
) -> None:
    array = numbers("TYX", kind)
    told = {"axes": "TYX"}
    tifffile.imwrite(
        tmp_path / "a.tif", array, imagej=imagej, byteorder=byteorder, metadata=told
    )  # fmt: skip
    source = open_source(tmp_path / "a.tif", axes="TYX")
    for frame, plane in enumerate(array):
        np.testing.assert_array_equal(source.values(frame)[..., 0], plane)
    source.close()


def test_planes_that_follow_one_page_are_all_there_or_it_is_refused(tmp_path: Path) -> None:
    path, told = tmp_path / "a.tif", {"axes": "TYX"}
    tifffile.imwrite(path, numbers("TYX"), photometric="minisblack", metadata=told)
    with tifffile.TiffFile(path) as file:
        end = file.series[0].dataoffset + file.series[0].nbytes
    data = path.read_bytes()
    for axes, cut, frames in (
        ("TYX", -100, 5),
        ("TYX", 0, 5),
        ("TYX", 1, 4),
        ("TYX", 96 * 4, 1),
        ("TCYX", 96, 4),
    ):
        array = numbers(axes)
        tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": axes})
        with tifffile.TiffFile(path) as file:
            begin = file.series[0].dataoffset
        path.write_bytes(path.read_bytes()[: begin + array.nbytes - cut])
        source = open_source(path, axes=axes, channel=0 if "C" in axes else None)
        assert len(source) == frames
        assert source.warnings == [f"it is cut short: its first {frames} of 5 frames are read"]
        plane = array[frames - 1]
        np.testing.assert_array_equal(
            source.values(frames - 1)[..., 0], plane[0] if "C" in axes else plane
        )
        source.close()
    path.write_bytes(data[: end - 5 * 96 + 50])
    with pytest.raises(SourceError, match="is cut short; fetch or export it again"):
        open_source(path)


def test_what_follows_pages_that_are_lost_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in numbers("TYX"):
            file.write(page, contiguous=False, photometric="minisblack", compression="deflate")
    with tifffile.TiffFile(path) as file:
        place = file.pages[2].offset
    data = bytearray(path.read_bytes())
    tags = int.from_bytes(data[place : place + 2], "little")
    data[place + 2 + 12 * tags : place + 6 + 12 * tags] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    source = open_source(path)
    assert len(source) == 3
    assert source.warnings == ["it is cut short or damaged: its first 3 pages are read"]
    source.close()


@pytest.mark.parametrize("kind", WRITERS)
def test_fingerprints_are_of_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planes would be read, and decoded, for them."""
    path = WRITERS[kind](tmp_path / "a.tif", numbers("TYX"), "TYX")
    source = open_source(path, axes="TYX", limits=(0, 1))
    assert isinstance(source, StackSource)
    monkeypatch.setattr(source, "_plane", None)
    assert len(source.fingerprint()) == 16
    source.close()


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_folder_of_zarr_needs_no_name_of_its_own(
    zarr_format: Any, grouped: bool, tmp_path: Path
) -> None:
    array = numbers("TYX")
    if grouped:
        group = zarr.open_group(str(tmp_path / "a"), mode="w", zarr_format=zarr_format)
        group.create_array("only", data=array)
    else:
        zarr.create_array(str(tmp_path / "a"), data=array, zarr_format=zarr_format)
    source = open_source(tmp_path / "a", axes="TYX")
    np.testing.assert_array_equal(source.values(3)[..., 0], array[3])
    (tmp_path / "b.ZARR").mkdir()
    with pytest.raises(SourceError, match="no zarr that can be read"):
        open_source(tmp_path / "b.ZARR")


def test_dimensions_of_zarr_that_are_not_all_named_are_those_of_arrays(tmp_path: Path) -> None:
    array, names = numbers("TYX"), [None, "y", "x"]
    zarr.create_array(str(tmp_path / "a.zarr"), data=array, dimension_names=names)
    assert open_source(tmp_path / "a.zarr").about == {"axes": "TYX"}


@pytest.mark.parametrize("said", [True, False])
def test_of_bioformats2raw_a_key_takes_an_image(tmp_path: Path, said: bool) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=3)
    group.attrs["bioformats2raw.layout"] = 3
    for number in range(2):
        path = write_ome_zarr(tmp_path / f"{number}.tif", numbers("TCYX") + number, "TCYX")
        path.rename(tmp_path / "a.zarr" / str(number))
    if said:
        group.create_group("OME").attrs["ome"] = {"series": [1, 0]}  # texts, by the book
    first, second = (1, 0) if said else (0, 1)
    source = open_source(tmp_path / "a.zarr", channel="GFP")
    np.testing.assert_array_equal(source.values(1)[..., 0], numbers("TCYX")[1, 1] + first)
    assert [line for line in source.warnings if line.startswith("it holds 2 images")]
    assert source.options["key"] is None
    other = open_source(tmp_path / "a.zarr", channel="GFP", key=str(second))
    np.testing.assert_array_equal(other.values(1)[..., 0], numbers("TCYX")[1, 1] + second)
    assert other.options["key"] == str(second)
    assert not [line for line in other.warnings if "images" in line]
    assert len({source.fingerprint(), other.fingerprint()}) == 2


def test_of_a_plate_a_key_takes_an_image_of_a_well(tmp_path: Path) -> None:
    plate = zarr.open_group(str(tmp_path / "p.zarr"), mode="w", zarr_format=3)
    wells = ["A/1", "B/2"]
    said = [*wells, "B/3"]  # of which a part was fetched
    plate.attrs["ome"] = {"plate": {"wells": [{"path": well} for well in said]}}
    for number, well in enumerate(wells):
        images = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
        plate.create_group(well).attrs["ome"] = images
        for image in range(2):
            array = numbers("TYX") + 10 * number + image
            path = write_ome_zarr(tmp_path / "image.tif", array, "TYX")
            path.rename(tmp_path / "p.zarr" / well / str(image))
    for opened in (
        open_source(tmp_path / "p.zarr", key="B/2/1"),
        open_source(tmp_path / "p.zarr", key=3),  # which is no name's end
        open_source(tmp_path / "p.zarr" / "B" / "2", key=1),
    ):
        np.testing.assert_array_equal(opened.values(2)[..., 0], numbers("TYX")[2] + 11)
    second = open_source(tmp_path / "p.zarr", key=1)  # and this one is, of two
    np.testing.assert_array_equal(second.values(2)[..., 0], numbers("TYX")[2] + 1)
    assert "(A/1/0, A/1/1, B/2/0, B/2/1)" in open_source(tmp_path / "p.zarr").warnings[0]
    with pytest.raises(UsageError, match="no 'C/3/0' among its images"):
        open_source(tmp_path / "p.zarr", key="C/3/0")
    with pytest.raises(SourceError, match=r"without arrays \(it holds 2\)"):
        open_source(tmp_path / "p.zarr" / "B")
    with pytest.raises(UsageError, match="one image; leave key"):
        open_source(tmp_path / "p.zarr" / "A" / "1" / "0", key=0)
    with pytest.raises(UsageError, match="one array; leave"):
        open_source(tmp_path / "p.zarr" / "A" / "1" / "0" / "0", key=0)


def test_of_a_group_of_zarr_a_key_takes_an_array(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    for number, name in enumerate(("raw", "labels")):
        group.create_array(name, data=numbers("TYX") + number)
    source = open_source(tmp_path / "g.zarr", key="raw", axes="TYX")
    np.testing.assert_array_equal(source.values(1)[..., 0], numbers("TYX")[1])
    assert source.options["key"] == "raw"
    with pytest.raises(UsageError, match="no 'x' among its arrays"):
        open_source(tmp_path / "g.zarr", key="x")


def test_arrays_of_torch_and_of_unknown_length() -> None:
    import torch

    array = numbers("TYX", np.uint8)
    np.testing.assert_array_equal(ArraySource(torch.from_numpy(array)).values(3)[..., 0], array[3])
    unknown = dask.array.from_array(array)
    unknown = unknown[unknown[:, 0, 0] >= 0]
    with pytest.raises(UsageError, match="compute_chunk_sizes"):
        open_source(unknown)


@pytest.mark.parametrize("test_data", ["microscopy/laptrack_cells/data_small.npz"], indirect=True)
def test_cells(test_data: Path, tmp_path: Path) -> None:
    shutil.copyfile(test_data, tmp_path / "a.npz")
    source = open_source(tmp_path / "a.npz", key="images")
    assert isinstance(source, StackSource)
    assert (len(source), source.height, source.width) == (10, 234, 234)
