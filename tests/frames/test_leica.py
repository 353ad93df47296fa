"""LIF files, written here as the format is known to be, byte by byte."""

from __future__ import annotations

import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from click.testing import CliRunner

from sam2track.cli.main import main
from sam2track.errors import SourceError, UsageError
from sam2track.frames.opening import open_source
from sam2track.frames.stack import StackSource
from sam2track.job import track
from sam2track.project import Project
from sam2track.report import report

from .test_stacks import numbers

NUMBERS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "M": 10}
UNITS = {"T": "s", "M": ""}


def opened(path: Path, **options: Any) -> StackSource:
    source = open_source(path, **options)
    assert isinstance(source, StackSource)
    return source


def described(
    array: np.ndarray, axes: str, steps: dict[str, float], names: tuple[str, ...]
) -> tuple[str, bytes]:
    """What an image's XML says of it, and its bytes: rows in planes in channels, then the rest."""
    order = [axis for axis in axes if axis not in "CYXS"] + [a for a in "CYXS" if a in axes]
    data = np.ascontiguousarray(np.transpose(array, [axes.index(axis) for axis in order]))
    strides = dict(zip(order, data.strides, strict=True))
    channels = dimensions = ""
    axis = "C" if "C" in axes else "S" if "S" in axes else ""
    count = array.shape[axes.index(axis)] if axis else 1
    kind = 'DataType="1"' if array.dtype.kind == "f" else 'DataType="0"'
    for c in range(count):
        tag = 1 + c if axis == "S" else 0
        name = names[c] if names else ""
        channels = (  # in the file they are in any order
            f'<ChannelDescription {kind} ChannelTag="{tag}" Resolution="{8 * array.itemsize}" '
            f'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName={quoteattr(name)} '
            f'IsLUTInverted="0" BytesInc="{c * strides.get(axis, 0)}" BitInc="0"/>'
        ) + channels
    for axis, number in NUMBERS.items():
        if axis in axes:
            size = array.shape[axes.index(axis)]
            dimensions += (
                f'<DimensionDescription DimID="{number}" NumberOfElements="{size}" Origin="0" '
                f'Length="{steps.get(axis, 0) * (size - 1)}" Unit="{UNITS.get(axis, "m")}" '
                f'BytesInc="{strides[axis]}" BitInc="0"/>'
            )
    text = (
        f"<Data><Image><ImageDescription><Channels>{channels}</Channels>"
        f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
    )
    return text, data.tobytes()


def write_lif(
    path: Path,
    images: dict[str, tuple[np.ndarray, str]],
    *,
    steps: dict[str, float] | None = None,
    names: tuple[str, ...] = (),
    cut: int = 0,
    before: str = "",
) -> Path:
    """A file of version 2; an image whose name has a slash lies in a folder.

    Of the first image's bytes some are cut; elements of XML may come before it.
    """
    blocks, folders = b"", before
    for number, (name, (array, axes)) in enumerate(images.items()):
        text, data = described(array, axes, steps or {}, names)
        data = data[: len(data) - (0 if number else cut)]
        told = f'<Memory Size="{len(data)}" MemoryBlockID="MemBlock_{number}"/>'
        parts = name.split("/")
        text = f"<Element Name={quoteattr(parts[-1])}>{text}{told}</Element>"
        for folder in reversed(parts[:-1]):
            folded = f'<Memory Size="0" MemoryBlockID="Folder"/><Children>{text}</Children>'
            text = f"<Element Name={quoteattr(folder)}><Data/>{folded}</Element>"
        folders += text
        block = f"MemBlock_{number}"
        blocks += struct.pack("<IIBQBI", 0x70, 0, 0x2A, len(data), 0x2A, len(block))
        blocks += block.encode("utf-16-le") + data
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="project"><Data><Experiment/></Data>'
        f"<Children>{folders}</Children></Element></LMSDataContainerHeader>"
    )
    head = struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)) + xml.encode("utf-16-le")
    path.write_bytes(head + blocks)
    return path


@pytest.mark.parametrize("axes", ["YX", "TYX", "ZYX", "CYX", "TZYX", "TCYX", "TZCYX"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_planes_of_a_lif(tmp_path: Path, axes: str, kind: type) -> None:
    array = numbers(axes, kind)
    path = write_lif(tmp_path / "a.lif", {"one": (array, axes)})
    options: dict[str, Any] = {"z": 1} if "Z" in axes and "T" in axes else {}
    options |= {"channel": 1} if "C" in axes else {}
    source = opened(path, **options)
    assert source.about["axes"] == axes and source.warnings == []
    along = "T" if "T" in axes else "Z" if "Z" in axes else None
    sizes = dict(zip(axes, array.shape, strict=True))
    assert len(source) == (sizes[along] if along else 1)
    for frame in range(len(source)):
        at = {"Z": 1, "C": 1} | ({along: frame} if along else {})
        expected = array[tuple(at[a] for a in axes if a in "TZC")]
        np.testing.assert_array_equal(source.values(frame)[..., 0], expected)
    source.close()


def test_a_lif_of_colours(tmp_path: Path) -> None:
    array = np.arange(2 * 6 * 8 * 3, dtype=np.uint8).reshape(2, 6, 8, 3)
    names = ("Red", "Green", "Blue")
    source = opened(write_lif(tmp_path / "a.lif", {"one": (array, "TYXS")}, names=names))
    assert "channels" not in source.about
    for frame in range(2):
        np.testing.assert_array_equal(source.read(frame), array[frame])
    source.close()


def test_calibration_and_names_of_channels(tmp_path: Path) -> None:
    array = numbers("TCYX")
    path = write_lif(
        tmp_path / "a.lif",
        {"one": (array, "TCYX")},
        steps={"X": 0.25e-6, "Y": 0.5e-6, "T": 90},
        names=("Green", "Magenta"),
    )
    source = opened(path, channel="Magenta")
    assert source.about["pixel_size_um"] == pytest.approx([0.5, 0.25])
    assert source.about["frame_interval_s"] == pytest.approx(90)
    assert source.about["channels"] == ["Green", "Magenta"]
    np.testing.assert_array_equal(source.values(2)[..., 0], array[2, 1])
    source.close()


def test_without_a_calibration_there_is_none(tmp_path: Path) -> None:
    source = opened(write_lif(tmp_path / "a.lif", {"one": (numbers("TYX"), "TYX")}))
    assert not {"pixel_size_um", "frame_interval_s", "channels"} & source.about.keys()
    source.close()


def test_images_of_a_file_have_names(tmp_path: Path) -> None:
    first, second, third = (numbers("TYX") + 10 * n for n in range(3))
    named = {"one": (first, "TYX"), "day 1/two": (second, "TYX"), "day 2/two": (third, "TYX")}
    path = write_lif(tmp_path / "a.lif", named)
    source = opened(path)
    assert source.warnings == [
        "it holds 3 images (one, day 1/two, day 2/two); the first is taken; key (--key) chooses"
    ]
    np.testing.assert_array_equal(source.values(0)[..., 0], first[0])
    source.close()
    for key, array in (("one", first), ("day 1/two", second), ("2", third)):
        source = opened(path, key=key)
        assert source.warnings == [] and (source.options["key"] is None) == (key == "one")
        np.testing.assert_array_equal(source.values(1)[..., 0], array[1])
        again = opened(path, key=source.options["key"])  # as a project keeps it
        source.close()
        np.testing.assert_array_equal(again.values(1)[..., 0], array[1])
        again.close()


def test_images_of_one_name_are_chosen_by_number(tmp_path: Path) -> None:
    arrays = [numbers("TYX") + 10 * n for n in range(4)]
    named = dict(zip(("one", "two", "six", "day/two"), ((a, "TYX") for a in arrays), strict=True))
    path = write_lif(tmp_path / "a.lif", named)
    six, two = ('"six"'.encode("utf-16-le"), '"two"'.encode("utf-16-le"))
    path.write_bytes(path.read_bytes().replace(six, two))
    with pytest.raises(UsageError, match=r"holds 2 images called 'two' \(one, two, two, day/two\)"):
        open_source(path, key="two")
    for number, array in enumerate(arrays):
        source = opened(path, key=str(number))
        np.testing.assert_array_equal(source.values(1)[..., 0], array[1])
        again = opened(path, key=source.options["key"])
        source.close()
        np.testing.assert_array_equal(again.values(1)[..., 0], array[1])
        again.close()


def test_many_images_are_not_all_named(tmp_path: Path) -> None:
    images = {f"Series{n:03}": (numbers("YX"), "YX") for n in range(30)}
    source = opened(write_lif(tmp_path / "a.lif", images))
    assert "Series011 and 18 more); the first" in source.warnings[0]
    source.close()


def test_of_tiles_the_first_is_shown_unless_their_axis_is_named(tmp_path: Path) -> None:
    array = np.stack([numbers("TYX"), numbers("TYX") + 100])
    path = write_lif(tmp_path / "a.lif", {"one": (array, "MTYX")})
    source = opened(path)
    assert source.warnings == ["its axis M has 2 places, of which the first is shown"]
    np.testing.assert_array_equal(source.values(1)[..., 0], array[0, 1])
    source.close()
    source = opened(path, axes="TYX")  # as a project has kept it
    np.testing.assert_array_equal(source.values(1)[..., 0], array[0, 1])
    source.close()
    source = opened(path, axes="TZYX", z=2)
    assert len(source) == 2
    np.testing.assert_array_equal(source.values(1)[..., 0], array[1, 2])
    source.close()


def test_a_section_along_z_has_to_be_named(tmp_path: Path) -> None:
    array = numbers("TYX")
    path = write_lif(tmp_path / "a.lif", {"one": (array, "TZX")})
    with pytest.raises(UsageError, match="axes 'TZX' do not fit; name each axis once"):
        open_source(path)
    source = opened(path, axes="TYX")
    np.testing.assert_array_equal(source.values(1)[..., 0], array[1])
    source.close()
    with pytest.raises(UsageError, match="planes along X and Z; these have to be Y and X, and not"):
        open_source(path, axes="YTX")


def test_other_images_are_named_where_the_first_cannot_be_shown(tmp_path: Path) -> None:
    images = {"section": (numbers("TYX"), "TZX"), "good": (numbers("TYX"), "TYX")}
    path = write_lif(tmp_path / "a.lif", images)
    with pytest.raises(UsageError, match=r"do not fit.*it holds 2 images \(section, good\).*--key"):
        open_source(path)
    with pytest.raises(UsageError, match="do not fit") as caught:
        open_source(path, key="section")
    assert "good" not in str(caught.value)
    assert len(opened(path, key="good")) == len(numbers("TYX"))


def test_what_is_no_such_file_is_said(tmp_path: Path) -> None:
    whole = write_lif(tmp_path / "a.lif", {"one": (numbers("TYX"), "TYX")}).read_bytes()
    (tmp_path / "a.lif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    with pytest.raises(SourceError, match="is PNG, whatever its name says, not LIF"):
        open_source(tmp_path / "a.lif")
    for size in (3, 40, 400):
        (tmp_path / "a.lif").write_bytes(whole[:size])
        with pytest.raises(SourceError, match="is no LIF file that can be read"):
            open_source(tmp_path / "a.lif")
    (tmp_path / "a.lif").write_bytes(whole[:-3])
    with pytest.raises(SourceError, match=r"is cut short: one claims (\d+) bytes and has \d+"):
        open_source(tmp_path / "a.lif")


def test_no_room_is_taken_for_what_a_length_claims(tmp_path: Path) -> None:
    path = write_lif(tmp_path / "a.lif", {"one": (numbers("TYX"), "TYX")})
    data = bytearray(path.read_bytes())
    data[9:13] = (2**29).to_bytes(4, "little")  # of its XML, in letters
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(SourceError, match="is no LIF file that can be read"):
        open_source(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e7


def test_an_image_that_claims_more_than_it_has(tmp_path: Path) -> None:
    images = {"one": (numbers("TYX"), "TYX"), "two": (numbers("TYX"), "TYX")}
    path = write_lif(tmp_path / "a.lif", images, cut=10)
    with pytest.raises(SourceError, match=r"is cut short: one claims \d+ bytes and has \d+"):
        open_source(path)


def test_what_counts_photons_is_no_image(tmp_path: Path) -> None:
    counts = '<Data><SingleMoleculeDetection IsImage="true"/></Data>'
    counts = f'<Element Name="FLIM">{counts}<Memory Size="0" MemoryBlockID="None"/></Element>'
    array = numbers("TYX")
    source = opened(write_lif(tmp_path / "a.lif", {"one": (array, "TYX")}, before=counts))
    assert source.warnings == []
    np.testing.assert_array_equal(source.values(0)[..., 0], array[0])
    source.close()


def test_planes_are_read_by_several_threads(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (40, 64, 64)).astype(np.uint8)
    source = opened(write_lif(tmp_path / "a.lif", {"one": (array, "TYX")}))

    def right(frame: int) -> bool:
        return bool(np.array_equal(source.values(frame)[..., 0], array[frame]))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, [n % 40 for n in range(4000)]))
    source.close()


def test_a_file_without_images(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no image"):
        open_source(write_lif(tmp_path / "a.lif", {}))


def test_it_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    path = write_lif(tmp_path / "a.tif", {"one": (numbers("TYX"), "TYX")})
    assert len(opened(path)) == len(numbers("TYX"))


def test_it_is_tracked_and_gone_on_with_by_the_image_that_was_named(tmp_path: Path) -> None:
    shape = (3, 48, 64)
    dark, lit = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    lit[:, 10:30, 20:50] = 200
    path = write_lif(tmp_path / "a.lif", {"dark": (dark, "TYX"), "lit": (lit, "TYX")})
    box = {"frame": 0, "box": [20, 10, 50, 30]}
    prompts = {"version": 1, "objects": [{"id": 1, "prompts": [box]}]}
    common = {"model": "nano", "write": [], "key": "lit", "limits": (0, 255)}
    track(path, prompts, output=tmp_path / "out", stop=2, **common)
    with pytest.raises(UsageError, match="made with key 'lit', now it is of the first; leave"):
        track(path, None, output=tmp_path / "out", resume=True, **common | {"key": "dark"})
    track(path, None, output=tmp_path / "out", resume=True, **common)
    with Project.open(tmp_path / "out" / "project.s2t") as project:
        assert project.frames == (0, 1, 2) and project.meta["reading"]["key"] == "lit"
        assert all(project.masks(t)[1][20, 35] for t in range(3))
        report(project, tmp_path / "r.html", source=path)
    told = CliRunner().invoke(main, ["info", str(tmp_path / "out")]).output
    assert "a.lif, key lit, 3 frames of 64 x 48" in told
    assert 'a.lif, key lit"' in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("place", range(13, 13 + 60 * 97, 97))
def test_bytes_that_were_changed_end_in_no_other_error(tmp_path: Path, place: int) -> None:
    path = write_lif(tmp_path / "a.lif", {"one": (numbers("TCYX"), "TCYX")})
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 0x15
    path.write_bytes(bytes(data))
    try:
        source = open_source(path, channel=0)
        source.read(0)
        source.close()
    except (SourceError, UsageError) as error:
        assert "\n" not in str(error)
