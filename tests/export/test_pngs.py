"""Label PNGs, as Pillow and OpenCV read them."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from sam2track.errors import OutputError, SourceError, UsageError
from sam2track.export.pngs import MaskSequence, read_label_png, write_label_png
from sam2track.palette import PALETTE
from tests.faults import file_limit


@settings(max_examples=60)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20),
        elements=st.integers(0, 255),
    ),
    st.sampled_from([1, 257]),
)
def test_round_trip(tmp_path_factory, labels, factor):
    labels = labels.astype(np.int64) * factor
    path = tmp_path_factory.getbasetemp() / "labels.png"
    write_label_png(path, labels)
    back = read_label_png(path)
    assert np.array_equal(back, labels)
    assert back.dtype == (np.uint8 if labels.max() < 256 else np.uint16)
    assert list(path.parent.glob(".*.partial")) == []


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_16_bits_are_read_by_others_and_small(tmp_path, seed):
    y, x = np.mgrid[:240, :320]
    labels = np.zeros((240, 320), np.int64)
    for i in range(1, 10):
        labels[(y - 24 * i) ** 2 + (x - 32 * i) ** 2 < 400] = 300 + i
    if seed is not None:
        labels = np.random.default_rng(seed).integers(0, 65536, (7, 33))
    write_label_png(tmp_path / "a.png", labels, bits=16)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), labels)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), labels)
    if seed is None:  # runs of two bytes in turn are no runs
        assert (tmp_path / "a.png").stat().st_size < 4000


def test_indexed_png_has_the_davis_palette(tmp_path):
    labels = np.arange(256, dtype=np.int32).reshape(8, 32)
    write_label_png(tmp_path / "a.png", labels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        assert image.size == (32, 8)
        assert np.array_equal(np.asarray(image), labels)
        assert np.array_equal(np.reshape(image.getpalette(), (-1, 3)), PALETTE)
    colours = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR)
    assert np.array_equal(colours[..., ::-1], PALETTE[labels])


def test_16_bits_where_ids_pass_255(tmp_path):
    labels = np.array([[0, 255, 256], [1, 4660, 65535]], dtype=np.int32)
    write_label_png(tmp_path / "a.png", labels)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), labels)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), labels)


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((2, 3, 3), dtype=np.uint8),
        np.zeros((2, 3), dtype=np.float32),
        np.zeros((0, 3), dtype=np.uint8),
        np.full((2, 3), -1),
        np.full((2, 3), 65536),
    ],
)
def test_write_refuses(tmp_path, labels):
    with pytest.raises(UsageError):
        write_label_png(tmp_path / "a.png", labels)
    assert list(tmp_path.iterdir()) == []


def raw_png(depth, kind, rows, width):
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


@pytest.mark.parametrize(
    ("depth", "row", "expected"),
    [(1, b"\x40", [0, 1]), (2, b"\x6c", [1, 2, 3, 0]), (4, b"\x1f", [1, 15])],
)
def test_grey_of_few_bits_is_read_as_it_is(tmp_path, depth, row, expected):
    path = tmp_path / "a.png"
    path.write_bytes(raw_png(depth, 0, [row], len(expected)))
    assert read_label_png(path).tolist() == [expected]


def test_palettes_of_others_are_read_as_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8)).convert("P")
    image.putpalette([9, 9, 9, 200, 0, 0, 200, 0, 0, 1, 2, 3])
    image.save(tmp_path / "a.png", bits=2)
    assert read_label_png(tmp_path / "a.png").tolist() == [[0, 1], [2, 3]]


def test_read_refuses_what_is_no_label_map(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "rgb.png")
    Image.new("L", (4, 3)).save(tmp_path / "grey.jpg")
    write_label_png(tmp_path / "good.png", np.eye(60, dtype=np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:900])
    (tmp_path / "empty.png").touch()
    for name, message in {
        "rgb.png": "RGB pixels",
        "grey.jpg": "no PNG",
        "cut.png": "cannot read",
        "empty.png": "no PNG",
        "missing.png": "No such file",
    }.items():
        with pytest.raises(SourceError, match=message):
            read_label_png(tmp_path / name)


def test_damaged_files_raise_source_errors(tmp_path):
    write_label_png(tmp_path / "good.png", np.eye(9, dtype=np.uint8))
    good = (tmp_path / "good.png").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.png"
    for _ in range(300):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad), 3):
            bad[at] = rng.integers(256)
        path.write_bytes(bad[: rng.integers(1, len(bad) + 1)])
        try:
            read_label_png(path)
        except SourceError as error:
            assert str(path) in str(error)


def test_sequence(tmp_path):
    sequence = MaskSequence(tmp_path / "new" / "masks", bits=8)
    labels = np.eye(4, dtype=np.uint8)
    assert sequence.write(7, labels) == tmp_path / "new/masks/00007.png"
    sequence.write(123456, labels)
    sequence.write(7, labels * 2)
    assert sorted(p.name for p in sequence.folder.iterdir()) == ["00007.png", "123456.png"]
    assert read_label_png(sequence.path(7)).max() == 2
    with pytest.raises(UsageError, match="8 bits"):
        sequence.write(8, labels.astype(np.int32) * 300)
    with pytest.raises(UsageError, match="count from 0"):
        sequence.write(-1, labels)


def test_sequence_keeps_its_bits(tmp_path):
    sequence = MaskSequence(tmp_path, bits=16)
    path = sequence.write(0, np.eye(4, dtype=np.uint8))
    assert read_label_png(path).dtype == np.uint16


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        MaskSequence(tmp_path / "file" / "masks")
    with pytest.raises(OutputError, match="No such file"):
        write_label_png(tmp_path / "missing" / "a.png", np.eye(4, dtype=np.uint8))
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_label_png(tmp_path / "taken.png", np.eye(4, dtype=np.uint8))
    assert not (tmp_path / ".taken.png.partial").exists()


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    write_label_png(path, np.eye(4, dtype=np.uint8))
    with file_limit(100), pytest.raises(OutputError, match="File too large"):
        write_label_png(path, np.ones((4, 4), dtype=np.uint8))
    assert np.array_equal(read_label_png(path), np.eye(4))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / ".a.png.partial").symlink_to(other)
    write_label_png(tmp_path / "a.png", np.eye(4, dtype=np.uint8))
    assert other.read_text() == "mine"
    assert np.array_equal(read_label_png(tmp_path / "a.png"), np.eye(4))
