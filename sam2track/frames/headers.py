"""What the bytes of a file tell without decoding it."""

from __future__ import annotations

import os
import struct
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["NO_VIDEOS", "is_whole", "kind_of", "kind_of_file", "stored_size", "wrong_with"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SHORT = 3  # the type of a number of 16 bits in TIFF
# Frame headers of JPEG: all of C0 to CF but tables (C4), extensions (C8) and conditioning (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
_HDF5 = b"\x89HDF\r\n\x1a\n"

_RIFF = {b"AVI ": "AVI", b"WAVE": "WAV", b"WEBP": "WebP"}
# What a file begins with, from where on, and what it is then.
_KINDS = (
    (0, _PNG, "PNG"),
    (0, _JPEG + b"\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    *((0, head, "TIFF") for head in _TIFFS),
    (0, b"\xda\xce\xbe\n", "ND2"),
    (0, b"ZISRAWFILE", "CZI"),
    (0, b"\x93NUMPY", "npy"),
    (0, _HDF5, "HDF5"),
    (0, b"MATLAB 5.0 MAT-file", "MATLAB before -v7.3"),
    (0, b"SQLite format 3\0", "SQLite"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"%PDF-", "PDF"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (4, b"ftyp", "MP4 or MOV"),
    (4, b"moov", "MP4 or MOV"),
)
_HEAD = 512
_PICTURES = frozenset({"APNG", "BMP", "JPEG", "PNG", "TIFF", "WebP"})

NO_VIDEOS = frozenset(
    {
        *("AVIF", "CZI", "HDF5", "HEIC", "HTML", "LIF", "ND2", "PDF", "SQLite", "TIFF", "WAV"),
        *("MATLAB before -v7.3", "gzip", "npy", "zip"),
    }
)
"""Kinds of which FFmpeg reads no video, though it may take some for one."""


def kind_of(head: bytes) -> str | None:
    """Name what a file is, by its first bytes and whatever its name says.

    Parameters
    ----------
    head : bytes
        The beginning of the file, 512 bytes or more.

    Returns
    -------
    str or None
        A word such as ``PNG``, ``ND2`` or ``text``; None where they tell nothing. An animated PNG
        is ``APNG``.
    """
    for at, start, kind in _KINDS:
        if head.startswith(start, at):
            return "APNG" if kind == "PNG" and b"acTL" in head else kind
    if head.startswith(b"p\0\0\0") and head[8:9] == b"*":  # also Leica's files of one image
        return "LIF"
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "BMP"
    # A character may be cut in two at the end.
    text = head[:_HEAD].decode("utf-8", "ignore")
    if len(text.encode()) < len(head[:_HEAD]) - 3 or not text.strip():
        return None
    if any(unicodedata.category(c)[0] == "C" and c not in "\t\r\n\ufeff" for c in text):
        return None
    begun = text.lstrip("\ufeff \t\r\n").lower()
    return "HTML" if begun.startswith(("<!doctype html", "<html")) else "text"


def wrong_with(data: bytes) -> str:
    """Say what a file is that cannot be read as a picture, in words that follow "it is"."""
    kind = kind_of(data)
    if not data or kind is None:
        return "cut short, damaged or of another kind" if data else "empty"
    return "cut short or damaged" if kind in _PICTURES else kind


def kind_of_file(path: Path) -> str | None:
    """As ``kind_of``, of a file; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(_HEAD))
            return "HDF5" if kind in (None, "text") and _begins_later(file) else kind
    except (OSError, ValueError):
        return None


def _begins_later(file: BinaryIO) -> bool:
    """Whether a file is HDF5 behind bytes of any kind; MATLAB writes 512 of them."""
    size, place = file.seek(0, os.SEEK_END), _HEAD
    while place + len(_HDF5) <= size:
        file.seek(place)
        if file.read(len(_HDF5)) == _HDF5:
            return True
        place *= 2
    return False


def stored_size(head: bytes) -> tuple[int, int] | None:
    """Return (height, width) in pixels as stored, before any EXIF rotation.

    Parameters
    ----------
    head : bytes
        The file, or its beginning.

    Returns
    -------
    tuple of int, or None
        Of PNG, JPEG, BMP, WebP and TIFF. None where it is none of these, or the beginning does
        not reach so far: in TIFF the size may stand at the end.
    """
    if head.startswith(_PNG) and len(head) >= 24:
        return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")
    if head.startswith(b"BM") and len(head) >= 26:
        if int.from_bytes(head[14:18], "little") == 12:  # of OS/2
            return int.from_bytes(head[20:22], "little"), int.from_bytes(head[18:20], "little")
        height = int.from_bytes(head[22:26], "little", signed=True)
        return abs(height), int.from_bytes(head[18:22], "little", signed=True)
    if head.startswith(_JPEG):
        return _jpeg_size(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp_size(head)
    if head[:4] in _TIFFS:
        return _tiff_size(head)
    return None


def is_whole(data: bytes) -> bool:
    """Whether a file has the end that its format asks for.

    Decoders fill up a PNG or JPEG that is cut short, and say nothing.
    """
    if data.startswith(_PNG):
        return b"IEND" in data[-4096:]
    if data.startswith(_JPEG):
        # A thumbnail has an end too, but that lies before the scan of the picture; what is behind
        # the picture, such as a phone's film, may hold any bytes.
        marks = _jpeg_marks(data)
        scan = next((at for mark, at in marks if mark == _JPEG_SCAN), data.rfind(b"\xff\xda"))
        return scan >= 0 and data.find(b"\xff\xd9", scan) >= 0
    if data.startswith(b"BM"):
        return len(data) >= int.from_bytes(data[2:6], "little")
    if data.startswith(b"RIFF"):
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return True


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return height, width
    if kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 " and len(head) >= 30:
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return height, width
    return None


def _tiff_size(head: bytes) -> tuple[int, int] | None:
    """Size of the first page, by its tags 256 and 257."""
    order = "<" if head.startswith(b"II") else ">"
    big = b"+" in head[:4]
    # A count, then entries of tag, type, count and value.
    start, count, entry, at = ("Q", "Q", "HHQQ", 8) if big else ("I", "H", "HHII", 4)
    try:
        (offset,) = struct.unpack_from(order + start, head, at)
        (entries,) = struct.unpack_from(order + count, head, offset)
        found: dict[int, int] = {}
        offset += struct.calcsize("=" + count)
        size = struct.calcsize("=" + entry)
        for place in range(offset, offset + min(entries, 4096) * size, size):
            tag, kind, _, value = struct.unpack_from(order + entry, head, place)
            if tag in (256, 257):
                if kind == _SHORT:
                    (value,) = struct.unpack_from(order + "H", head, place + (12 if big else 8))
                found[tag] = value
    except (struct.error, OverflowError):  # it points behind the end, or behind all numbers
        return None
    return (found[257], found[256]) if len(found) == 2 else None


def _jpeg_marks(data: bytes) -> Iterator[tuple[int, int]]:
    """Markers up to the first scan, and where each stands."""
    at, mark = 2, 0
    while mark != _JPEG_SCAN and at + 4 <= len(data) and data[at] == 0xFF:
        mark = data[at + 1]
        if mark == 0xFF:  # padding
            at += 1
            continue
        yield mark, at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    for mark, at in _jpeg_marks(head):
        if mark in _JPEG_FRAMES and at + 9 <= len(head):
            return (
                int.from_bytes(head[at + 5 : at + 7], "big"),
                int.from_bytes(head[at + 7 : at + 9], "big"),
            )
    return None
