"""Folders of pictures."""

from __future__ import annotations

import errno
import os
import string
import struct
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sam2track
from sam2track.errors import SourceError, UsageError
from sam2track.frames.array import ArraySource
from sam2track.frames.folder import ImageFolder, natural_key
from sam2track.frames.headers import is_whole, stored_size
from sam2track.frames.opening import open_source, reopen_source
from sam2track.frames.series import matching, pattern_of_one
from sam2track.frames.source import Frame, FrameSource

from .conftest import scene


def write(path: Path, picture: Frame, *options: int) -> Path:
    """Write RGB or grey by Python, as OpenCV cannot open every name."""
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix.lower(), picture, list(options))
    assert done
    path.write_bytes(data.tobytes())
    return path


def with_segment(jpeg: bytes, content: bytes) -> bytes:
    """A JPEG with metadata in front."""
    segment = b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
    return jpeg[:2] + segment + jpeg[2:]


def test_pictures_come_in_natural_order(tmp_path: Path) -> None:
    pictures = scene(12)
    for number, picture in enumerate(pictures):
        write(tmp_path / f"Bild ü{number}{'.PNG' if number % 2 else '.png'}", picture)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._Bild ü1.png").write_bytes(b"left by macOS")
    (tmp_path / "sub.png").mkdir()
    source = ImageFolder(tmp_path, fps=10)
    assert isinstance(source, FrameSource)
    assert (len(source), source.height, source.width) == (12, 48, 64)
    np.testing.assert_array_equal(source.times, np.arange(12) / 10)
    np.testing.assert_array_equal(list(source.frames(0, 12)), pictures)
    np.testing.assert_array_equal(list(source.frames(3, 7, backward=True)), pictures[6:2:-1])
    np.testing.assert_array_equal(source.read(11), pictures[11])
    left_out = f"left out of {tmp_path}, being no PNG, JPEG, BMP, TIFF or WebP: "
    assert source.warnings == [f"{left_out}notes.txt"]
    for name in ("a.gif", "b.gif", "labels.csv"):
        (tmp_path / name).touch()
    assert ImageFolder(tmp_path).warnings == [f"{left_out}a.gif, b.gif, labels.csv and 1 more"]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".JPEG"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    colour, grey = scene(1)[0], scene(1, seed=1)[0][..., 0]
    lossless = (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ()
    write(tmp_path / f"0{suffix}", colour, *lossless)
    write(tmp_path / f"1{suffix}", grey, *lossless)
    source = ImageFolder(tmp_path)
    close = 3 if suffix.lower() in {".jpg", ".jpeg"} else 0
    assert np.abs(source.read(0).astype(int) - colour).mean() <= close
    assert np.abs(source.read(1).astype(int) - grey[..., None]).mean() <= close
    assert source.read(1).shape == (48, 64, 3)


def test_palettes_become_their_colours(tmp_path: Path) -> None:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return len(data).to_bytes(4, "big") + kind + data + crc.to_bytes(4, "big")

    header = b"".join(n.to_bytes(4, "big") for n in (2, 1)) + bytes([8, 3, 0, 0, 0])
    palette = bytes([10, 20, 30, 200, 100, 50])
    (tmp_path / "p.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", palette)
        + chunk(b"IDAT", zlib.compress(bytes([0, 1, 0])))
        + chunk(b"IEND", b"")
    )
    assert ImageFolder(tmp_path).read(0).tolist() == [[[200, 100, 50], [10, 20, 30]]]


@pytest.mark.parametrize("turned", [0, 1])
def test_exif_rotation_is_applied(tmp_path: Path, turned: int) -> None:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = [220, 0, 0]
    path = write(tmp_path / f"{turned}.jpg", picture)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    path.write_bytes(with_segment(path.read_bytes(), exif))
    write(tmp_path / f"{1 - turned}.jpg", np.rot90(picture, -1))
    source = ImageFolder(tmp_path)
    assert (source.height, source.width) == (64, 32)
    assert np.abs(source.read(0).astype(int) - np.rot90(picture, -1))[::8, ::8].max() < 40
    assert np.abs(source.read(0).astype(int) - source.read(1)).max() < 40


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_mixed_sizes_are_refused_when_opened(tmp_path: Path, suffix: str) -> None:
    for number, size in enumerate([(48, 64), (48, 64), (50, 64), (10, 10)]):
        write(tmp_path / f"{number}{suffix}", scene(1, *size)[0])
    with pytest.raises(SourceError, match=rf"2{suffix} is 64x50, but 0{suffix} is 64x48"):
        ImageFolder(tmp_path)


def test_mixed_sizes_are_seen_behind_long_metadata(tmp_path: Path) -> None:
    for number, size in enumerate([(48, 64), (50, 64)]):
        path = write(tmp_path / f"{number}.jpg", scene(1, *size)[0])
        path.write_bytes(with_segment(path.read_bytes(), b"thumbnail" + bytes(50_000)))
    with pytest.raises(SourceError, match=r"1\.jpg is 64x50, but 0\.jpg is 64x48"):
        ImageFolder(tmp_path)


def test_a_tiff_of_one_page_is_nothing_to_be_said(tmp_path: Path) -> None:
    write(tmp_path / "0.tif", scene(1)[0])
    assert ImageFolder(tmp_path).warnings == []


@pytest.mark.parametrize(
    ("suffix", "size"), [(".tif", (50, 64)), (".webp", (50, 64)), (".png", (64, 48))]
)
def test_mixed_sizes_are_refused_by_opening_or_reading(
    tmp_path: Path, suffix: str, size: tuple[int, int]
) -> None:
    write(tmp_path / f"0{suffix}", scene(1)[0])
    write(tmp_path / f"1{suffix}", scene(1, *size)[0])
    with pytest.raises(SourceError, match=f"1{suffix} is {size[1]}x{size[0]}"):
        ImageFolder(tmp_path).read(1)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_pictures_cut_short(tmp_path: Path, suffix: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    path = write(tmp_path / f"1{suffix}", noise)
    write(tmp_path / f"0{suffix}", noise)
    data = path.read_bytes()
    assert is_whole(data)
    # TIFF has no end to look for; some releases of OpenCV fill up the others and say nothing.
    assert suffix == ".tif" or not keep or not is_whole(data[: int(len(data) * keep)])
    source = ImageFolder(tmp_path)
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(SourceError, match=f"1{suffix} is no picture"):
        source.read(1)
    (tmp_path / f"0{suffix}").unlink()
    with pytest.raises(SourceError, match=f"1{suffix} is no picture"):
        ImageFolder(tmp_path)


def test_of_a_damaged_picture_nothing_is_told_but_the_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """OpenCV's TIFF reader writes lines of its own to standard error."""
    path = write(tmp_path / "a.tif", scene(1)[0])
    path.write_bytes(path.read_bytes().replace(struct.pack("<HHI", 257, 3, 1), b"\1\1\4\0\1\0\0\0"))
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", 257, 4, 1))
    data[at + 8 : at + 12] = struct.pack("<I", 6000)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.tif is no picture that can be read"):
        ImageFolder(tmp_path)
    assert capfd.readouterr().err == ""


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no pictures; it takes PNG, .* and WebP$"):
        ImageFolder(tmp_path)
    for name in ("480p", "1080p"):
        (tmp_path / name).mkdir()
    with pytest.raises(SourceError, match=r"name one of the folders in it \(480p, 1080p\)"):
        ImageFolder(tmp_path)
    with pytest.raises(SourceError, match="cannot be listed"):
        ImageFolder(tmp_path / "missing")
    path = tmp_path / "only.png"
    write(path, scene(1)[0])
    for fps in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="fps"):
            ImageFolder(tmp_path, fps=fps)
    source = ImageFolder(tmp_path)
    with pytest.raises(SourceError, match="no frame 1"):
        source.read(1)
    path.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        source.read(0)
    with pytest.raises(SourceError, match="cannot be read"):
        source.fingerprint()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_pictures_have_common_limits(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).integers(900, 1100, (5, 20, 30)).astype(np.uint16)
    values[4] += 1000
    for number, picture in enumerate(values):
        assert cv2.imwrite(str(tmp_path / f"{number}{suffix}"), picture)
    source = ImageFolder(tmp_path)
    array = ArraySource(values)
    np.testing.assert_allclose(source.limits, array.limits[0], atol=1)
    fixed = ImageFolder(tmp_path, limits=(1000, 2000))
    assert fixed.options == {"limits": (1000, 2000), "key": None}
    for number in range(5):
        near = source.read(number).astype(int) - array.read(number)
        assert np.abs(near).max() <= 1
        unit = (np.clip(values[number], 1000, 2000) - 1000) / 1000
        np.testing.assert_array_equal(fixed.read(number)[..., 1], np.rint(unit * 255))
    each = ImageFolder(tmp_path, limits="per-frame")
    assert each.limits is None and each.options["limits"] == "per-frame"
    assert abs(each.read(0).mean() - each.read(4).mean()) < 10 < source.read(4).mean() - 100
    with pytest.raises(UsageError, match="one pair"):
        ImageFolder(tmp_path, limits=[(0, 1), (0, 1)])


def test_pictures_of_two_kinds_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4), np.uint8))
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((4, 4), np.uint16))
    with pytest.raises(SourceError, match=r"1\.png holds uint16, but 0\.png uint8"):
        ImageFolder(tmp_path).read(1)


def test_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "0.bmp", scene(1)[0])
    first = ImageFolder(tmp_path).fingerprint()
    assert ImageFolder(tmp_path).fingerprint() == first
    write(path, scene(1, seed=1)[0])
    second = ImageFolder(tmp_path).fingerprint()
    path.rename(tmp_path / "1.bmp")
    assert len({first, second, ImageFolder(tmp_path).fingerprint()}) == 3


@given(
    st.lists(st.integers(0, 10**6), unique=True), st.text(string.ascii_letters + "_-", max_size=5)
)
def test_natural_order_is_that_of_numbers(numbers: list[int], stem: str) -> None:
    names = [f"{stem}{number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{stem}{n}.png" for n in sorted(numbers)]


def test_natural_order_knows_no_case() -> None:
    mixed = ["B2.png", "b1.png", "A10.png", "a2.png"]
    assert sorted(mixed, key=natural_key) == ["a2.png", "A10.png", "b1.png", "B2.png"]


@given(st.lists(st.text(max_size=6)), st.randoms())
def test_natural_order_is_total(names: list[str], random: Random) -> None:
    mixed = random.sample(names, len(names))
    assert sorted(names, key=natural_key) == sorted(mixed, key=natural_key)


@given(st.binary(max_size=60), st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b""]))
def test_headers_of_any_bytes(data: bytes, start: bytes) -> None:
    size = stored_size(start + data)
    assert size is None or len(size) == 2


def test_a_folder_that_may_not_be_looked_into_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_file", denied)
    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(SourceError, match=r"^\S+/a cannot be listed \(Permission denied\)"):
        (tmp_path / "a").mkdir()
        open_source(tmp_path / "a")


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"img_t{t:02}_c{c}.png" for t in range(3) for c in range(2)], "img_t*_c0.png"),
        ([f"{c}-{t}.png" for c in ("DAPI", "GFP") for t in range(8, 12)], "DAPI-*.png"),
        ([f"[a]{w}s{s}t{t}" for w in "12" for s in "12" for t in "123"], "[[]a]1s1t*"),
        ([f"{t}.png" for t in range(4)], None),
        ([f"t{t}_{100 * t}ms.png" for t in range(4)], None),  # one goes with the other
        ([f"{t:.1f}.png" for t in (0.5, 1.0, 1.5, 2.0)], None),
        (["a1.png", "a2.png", "b1.png"], None),
        (["a1.png", "b.png", "a2.png", "b2.png"], None),
        (["a.png"], None),
    ],
)
def test_several_sequences_are_told_by_names(names: list[str], pattern: str | None) -> None:
    assert pattern_of_one(names) == pattern
    if pattern is not None:
        one = [picture.name for picture in matching("x", [Path(name) for name in names], pattern)]
        assert pattern_of_one(one) is None
        assert len(names) % len(one) == 0 < len(one) < len(names)


def test_a_pattern_takes_one_of_several_sequences(tmp_path: Path) -> None:
    for t in range(3):
        for c in range(2):
            write(tmp_path / f"t{t}_c{c}.png", np.full((8, 8), 100 * c + t, np.uint8))
    (told,) = ImageFolder(tmp_path).warnings
    assert "'t*_c0.png'" in told and "(t0_c0.png to t2_c1.png)" in told
    source = open_source(tmp_path, key="*_c1.png")
    assert [int(source.read(t)[0, 0, 0]) for t in range(3)] == [100, 101, 102]
    assert len(source) == 3 and not source.warnings
    assert source.options["key"] == "*_c1.png"
    assert source.fingerprint() != open_source(tmp_path, key="*_c0.png").fingerprint()
    with pytest.raises(UsageError, match=r"no picture of .* like 'c1' \(it holds t0_c0.png, "):
        open_source(tmp_path, key="c1")


def test_what_a_segmenter_has_left_beside_the_pictures(tmp_path: Path) -> None:
    left = ["_cp_masks.tif", "_cp_outlines.png", "_outlines.png", "_flows.tif", "_cp_output.png"]
    for name in (f"t{t}_c{c}{end}" for t in range(2) for c in (0, 1) for end in (".png", *left)):
        write(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    write(tmp_path / "some_flows.png", np.zeros((8, 8, 3), np.uint8))
    names = [path.name for path in ImageFolder(tmp_path).paths]
    assert names == ["some_flows.png", "t0_c0.png", "t0_c1.png", "t1_c0.png", "t1_c1.png"]
    source = ImageFolder(tmp_path, key="t*_c1*")
    assert [path.name for path in source.paths] == ["t0_c1.png", "t1_c1.png"]
    assert "left out" in source.warnings[0]
    masks = ImageFolder(tmp_path, key="t*_c1_cp_masks*").paths
    assert [path.name for path in masks] == ["t0_c1_cp_masks.tif", "t1_c1_cp_masks.tif"]


def test_a_project_keeps_which_pictures_of_a_folder_it_is_of(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for t in range(2):
        for c in range(2):
            write(folder / f"t{t}_c{c}.png", np.full((32, 32), 200 * c, np.uint8))
    said = {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "points": [[9, 9]]}]}]}
    sam2track.track(folder, said, output=tmp_path / "out", key="*_c1.png", write=["table"])
    again = sam2track.track(folder, said, output=tmp_path / "out", resume=True, write=["table"])
    assert again.meta["frames"] == 2
    source = reopen_source(again.meta, fps=25)
    assert source.read(0)[0, 0, 0] == 200
    with pytest.raises(UsageError, match=r"key '\*_c1.png', now it is '\*_c0.png'"):
        sam2track.track(folder, said, output=tmp_path / "out", key="*_c0.png", resume=True)


def test_label_maps_beside_their_pictures_are_left_out(tmp_path: Path) -> None:
    for name in ("a_1.png", "a_1_cp_masks.tif", "a_2.png", "a_2_cp_masks.tif", "x_mask.png"):
        write(tmp_path / name, scene(1)[0])
    source = ImageFolder(tmp_path)
    assert [path.name for path in source.paths] == ["a_1.png", "a_2.png", "x_mask.png"]
    (told,) = source.warnings
    assert told.endswith("drawings of these: a_1_cp_masks.tif, a_2_cp_masks.tif")
    assert len(ImageFolder(tmp_path, key="a_*")) == 2
    shown = ImageFolder(tmp_path, key="*_masks.tif")  # who asks for these alone sees them
    assert [path.name for path in shown.paths] == ["a_1_cp_masks.tif", "a_2_cp_masks.tif"]
