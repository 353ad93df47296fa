"""What files are, whatever their names say."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sam2track.errors import SourceError
from sam2track.export.videos import VideoWriter
from sam2track.frames.headers import NO_VIDEOS, is_whole, kind_of, kind_of_file, wrong_with
from sam2track.frames.opening import open_source
from sam2track.frames.still import read_picture

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)


def coded(suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, PICTURE)[1])


def npy() -> bytes:
    np.save(held := io.BytesIO(), PICTURE[..., 0][None])
    return held.getvalue()


def zipped() -> bytes:
    with zipfile.ZipFile(held := io.BytesIO(), "w") as archive:
        archive.writestr("a.png", coded(".png"))
    return held.getvalue()


def animated() -> bytes:
    pictures = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    pictures[0].save(held := io.BytesIO(), "PNG", save_all=True, append_images=pictures[1:])
    return held.getvalue()


def tiff() -> bytes:
    tifffile.imwrite(held := io.BytesIO(), np.zeros((5, 8, 9), np.uint8), photometric="minisblack")
    return held.getvalue()


KINDS = {
    "PNG": coded(".png"),
    "APNG": animated(),
    "JPEG": coded(".jpg"),
    "BMP": coded(".bmp"),
    "WebP": coded(".webp"),
    "TIFF": tiff(),
    "npy": npy(),
    "zip": zipped(),
    "gzip": gzip.compress(b"a video, perhaps"),
    "PDF": b"%PDF-1.7\n" + bytes(600),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "MATLAB before -v7.3": b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM",
    "HTML": b"\n<!DOCTYPE html><title>404: not found</title>",
    "text": "Größe: keine\n".encode() * 60,
    "LIF": struct.pack("<IIBI", 0x70, 605, 0x2A, 300) + bytes(600),
    "ND2": b"\xda\xce\xbe\x0a" + bytes(600),
    "CZI": b"ZISRAWFILE" + bytes(600),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(KINDS[kind])
    assert kind_of_file(tmp_path / "a") == kind
    assert kind_of_file(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("before", "kind"), [(512, "HDF5"), (1024, "HDF5"), (4096, "HDF5"), (500, None), (1536, "text")]
)
def test_hdf5_begins_at_some_places_alone(before: int, kind: str | None, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"MATLAB 7.3 MAT-file".ljust(before) + KINDS["HDF5"])
    assert kind_of_file(tmp_path / "a") == kind
    (tmp_path / "a").write_bytes(KINDS["PDF"].ljust(before, b"\0") + KINDS["HDF5"])
    assert kind_of_file(tmp_path / "a") == "PDF"


@pytest.mark.parametrize(
    "kind", sorted({*KINDS} - {"APNG", "CZI", "HDF5", "LIF", "ND2", "TIFF", "npy"})
)
@pytest.mark.parametrize("suffix", [".mp4", ".tif", ".npy", ".nd2", ".png"])
def test_another_kind_under_any_name_is_told(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(KINDS[kind])
    # A zip archive under the name of an array may hold one.
    told = "holds no array" if kind == "zip" and suffix == ".npy" else f"a{suffix} is {kind}, "
    with pytest.raises(SourceError, match=told):
        open_source(path)


def test_what_can_be_read_is_under_any_name(tmp_path: Path) -> None:
    frames = {"APNG": 2, "TIFF": 5, "npy": 1}
    for kind, count in frames.items():
        for suffix in (".mp4", ".tif", ".npy", ".nd2", ".czi"):
            if kind == "APNG" and suffix not in (".mp4", ".tif"):
                continue
            path = tmp_path / f"{kind}{suffix}"
            path.write_bytes(KINDS[kind])
            source = open_source(path)
            assert len(source) == count, path
            source.close()


def test_videos_are_told_from_pictures(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", height=20, width=24, threads=1) as video:
        video.write(PICTURE)
    data = (tmp_path / "a.mp4").read_bytes()
    assert kind_of(data) == "MP4 or MOV" and kind_of(data) not in NO_VIDEOS
    (tmp_path / "a.nd2").write_bytes(data)
    with pytest.raises(SourceError, match="is MP4 or MOV, whatever its name says, not ND2"):
        open_source(tmp_path / "a.nd2")
    for kind in ("PDF", "text", "HTML"):
        (tmp_path / "b.png").write_bytes(KINDS[kind])
        with pytest.raises(SourceError, match=f"no picture that can be read: it is {kind};"):
            read_picture(tmp_path / "b.png")


def test_what_is_wrong_with_a_picture() -> None:
    assert wrong_with(b"") == "empty"
    assert wrong_with(KINDS["PNG"][:40]) == "cut short or damaged"
    assert wrong_with(b"\1\2\3") == "cut short, damaged or of another kind"


@given(st.binary(max_size=600))
def test_any_bytes(data: bytes) -> None:
    kind = kind_of(data)
    assert kind is None or kind.isprintable()


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1))
def test_any_text(text: str) -> None:
    # The first bytes may end within a character.
    assert not text.strip() or kind_of((text * 500).encode()) in {"text", "HTML", "PDF", "GIF"}


def test_a_jpeg_with_more_behind_its_end_is_whole() -> None:
    data = KINDS["JPEG"]
    # Phones put a film there, in which both marks may come by chance.
    behind = b"\0\0\0\x18ftypmp42" + bytes(200) + b"\xff\xda" + b"tail"
    assert is_whole(data + behind)
    assert is_whole(data + data[:-2])
    assert not is_whole(data[: len(data) // 2])
    assert not is_whole(data[:200]) and not is_whole(data[:-2])


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture() -> None:
    exif = Image.Exif()
    exif[0x010E] = "\xff\xd9 and \xff\xda"
    Image.fromarray(PICTURE).save(held := io.BytesIO(), "JPEG", exif=exif, progressive=True)
    data = held.getvalue()
    thumbnail = b"\xff\xe2" + (2 + len(KINDS["JPEG"])).to_bytes(2, "big") + KINDS["JPEG"]
    for jpeg in (data, data[:2] + thumbnail + data[2:]):
        assert is_whole(jpeg)
        assert not is_whole(jpeg[:-2]) and not is_whole(jpeg[: jpeg.rindex(b"\xff\xda")])
