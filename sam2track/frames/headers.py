"""What the bytes of a picture tell without decoding it."""

from __future__ import annotations

__all__ = ["is_whole", "stored_size"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# Frame headers of JPEG: all of C0 to CF but tables (C4), extensions (C8) and conditioning (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def stored_size(head: bytes) -> tuple[int, int] | None:
    """Return (height, width) in pixels as stored, before any EXIF rotation.

    Parameters
    ----------
    head : bytes
        The beginning of the file.

    Returns
    -------
    tuple of int, or None
        None where the beginning does not tell, as in TIFF and WebP.
    """
    if head.startswith(_PNG) and len(head) >= 24:
        return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")
    if head.startswith(b"BM") and len(head) >= 26 and int.from_bytes(head[14:18], "little") >= 40:
        height = int.from_bytes(head[22:26], "little", signed=True)
        return abs(height), int.from_bytes(head[18:22], "little", signed=True)
    if head.startswith(_JPEG):
        return _jpeg_size(head)
    return None


def is_whole(data: bytes) -> bool:
    """Whether a file has the end that its format asks for.

    Decoders fill up a PNG or JPEG that is cut short, and say nothing.
    """
    if data.startswith(_PNG):
        return b"IEND" in data[-4096:]
    if data.startswith(_JPEG):
        # A thumbnail has an end too, but that lies before the scan of the picture.
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    if data.startswith(b"BM"):
        return len(data) >= int.from_bytes(data[2:6], "little")
    if data.startswith(b"RIFF"):
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return True


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in _JPEG_FRAMES:
            return (
                int.from_bytes(head[at + 5 : at + 7], "big"),
                int.from_bytes(head[at + 7 : at + 9], "big"),
            )
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
