"""Bytes from bytes: what a careless or hostile writer makes of a good file."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["mutated"]

_NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
_WORDS = (
    *(b"", b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"99999999999999999999"),
    *(b"[]", b"{}", b'""', b"..", b"../../etc/passwd", b"\x00", b"\xff\xfe", b"\xed\xa0\x80"),
    *(b"'", b'"', b",", b":", b"@", b"\n", b"\r", "é\u202e".encode(), b"9" * 5000, b"[" * 3000),
)


def mutated(seed: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return a seed with one to eight changes."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8))):
        _change(data, others, chance)
    return bytes(data)


def _change(data: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    # Headers are at the beginning, and at the end.
    size = len(data)
    reach = chance.choice((16, 64, 512, size, size))
    at = chance.randrange(min(reach, size) + 1) if chance.random() < 0.9 else size
    kind = chance.randrange(9)
    if kind == 0 and at < size:
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1 and at < size:
        data[at] = chance.randrange(256)
    elif kind == 2:
        width = chance.choice((1, 2, 4, 8))
        number = chance.choice(_NUMBERS) + chance.choice((-1, 0, 0, 1))
        order = chance.choice(("little", "big"))
        data[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, order)
    elif kind == 3:
        del data[at : at + chance.choice((1, 2, 4, 16, size))]
    elif kind == 4:
        data[at:at] = data[at : at + chance.choice((1, 4, 64, 512))]
    elif kind == 5:
        data[at:at] = chance.choice(_WORDS)
    elif kind == 6:
        word = chance.choice(_WORDS)
        data[at : at + len(word)] = word
    elif kind == 7:
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        piece = other[start : start + chance.choice((4, 32, 256))]
        data[at : at + len(piece)] = piece
    else:
        data[at : at + chance.choice((1, 4, 64))] = bytes(chance.choice((0, 1, 8, 64)))
