"""What is read of an HDF5 file, and what a file of a stranger's is kept from."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sam2track.frames.extras import needs

__all__ = ["names_in", "node_at", "open_hdf5", "said", "text"]

_MOST_SAID = 2**20  # values of an attribute, and bytes of texts that lie together
_BELOW = 64  # nodes of chunks below one


class _Checked(io.FileIO):
    """A file as HDF5's library reads it, but for what that would follow without end.

    Where texts of any length lie each says how far it is to the next, in a damaged file none at
    all. Nodes of the trees by which chunks, and what is in a group, are found say where those below
    lie, which may be themselves. What is read from within Python is not locked either: a lock
    cannot be had where a writer holds one, or on many file systems of networks, and here nothing is
    written. And the library opens no other file for a virtual dataset.
    """

    length = 8  # bytes of a number that is a size
    address = 8  # bytes of a number that is a place
    begin = 0  # place from which places count

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._levels: dict[int, int] = {}  # of nodes of trees, above their leaves, by place

    def readinto(self, buffer: Any, /) -> int:
        view, start, done = memoryview(buffer).cast("B"), self.tell(), 0
        while done < len(view):
            if not (count := super().readinto(view[done:])):
                raise OSError(f"it ends before its byte {start + len(view)}")
            done += count
        if bytes(view[:4]) == b"GCOL":
            end = self.tell()
            self._check_texts(start)
            self.seek(end)
        elif bytes(view[:4]) == b"TREE":
            self._check_tree(start - self.begin, bytes(view))
        return done

    def _check_texts(self, place: int) -> None:
        self.seek(place)
        claimed = self._size(self.read(8 + self.length))
        if claimed > _MOST_SAID:
            raise OSError(f"its texts claim {claimed:,} bytes")
        stop, step = place + claimed, _eights(8 + self.length)
        place += step
        while place + step <= stop:
            self.seek(place)
            head = self.read(8 + self.length)
            # What is free has the number 0, and counts its head as a part of itself.
            free = head[:2] == b"\0\0"
            place += self._size(head) if free else step + _eights(self._size(head))
            if place > stop or (free and not self._size(head)):
                raise OSError("its texts do not lie one behind the other")

    def _check_tree(self, place: int, node: bytes) -> None:
        """Check that a node's level is one below that of the node that leads to it.

        As in "Disk Format: Level 1A1" of the HDF5 File Format Specification: between the places of
        the nodes below stand keys. Those of a group are sizes; those of chunks are as large as the
        node leaves room for, which has 64 nodes below it unless its writer was told otherwise.
        """
        head, level, count = 8 + 2 * self.address, node[5], int.from_bytes(node[6:8], "little")
        key = (len(node) - head - _BELOW * self.address) // (_BELOW + 1) if node[4] else self.length
        told, step = [(place, level)], key + self.address
        if level and key > 0:
            for at in range(head + key, min(head + key + count * step, len(node)), step):
                told.append((int.from_bytes(node[at : at + self.address], "little"), level - 1))
        if any(self._levels.setdefault(*each) != each[1] for each in told):
            raise OSError("its trees lead back to themselves")

    def _size(self, head: bytes) -> int:
        return int.from_bytes(head[8:], "little")


def _eights(size: int) -> int:
    return -(-size // 8) * 8


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file for reading, also one that another program writes to, as an ``h5py.File``.

    Raises
    ------
    OSError
        Where it is damaged, or cut short.
    UsageError
        Where h5py is not installed.
    """
    with needs("h5py", "stacks", f"{path} is HDF5"):
        import h5py
    with _Checked(path) as data, h5py.File(data, "r") as file:
        made = file.id.get_create_plist()
        data.address, data.length = made.get_sizes()
        data.begin = made.get_userblock()
        yield file


def node_at(group: Any, path: str) -> Any:
    """Return the group or dataset of a path, None where there is none in this very file.

    Links by name are not followed: they may lead to other files, or in a circle.
    """
    import h5py

    for name in path.split("/"):
        if not isinstance(group, h5py.Group):
            return None
        try:
            kind = group.id.links.get_info(name.encode()).type
        except (KeyError, RuntimeError, ValueError):  # none of that name
            return None
        if kind != h5py.h5l.TYPE_HARD:
            return None
        group = group[name]
    return group


def names_in(node: Any) -> list[str]:
    """Names of what lies in a group; of a dataset, which would be read for them, none."""
    import h5py

    return list(node) if isinstance(node, h5py.Group) else []


def said(node: Any, name: str) -> Any:
    """Return an attribute, None where there is none that can be read or it is very large.

    Odd metadata are no reason to refuse the pictures.
    """
    try:
        if math.prod(node.attrs.get_id(name).shape or ()) > _MOST_SAID:
            return None
        return node.attrs[name]
    except Exception:  # whatever h5py makes of types that it does not know, and of damaged ones
        return None


def text(value: Any) -> str:
    """Return an attribute as text, which may lie in an array of single letters; none is empty."""
    if isinstance(value, np.ndarray):
        value = value.tobytes() if value.dtype.kind == "S" else value.item(0) if value.size else ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip("\0 ") if isinstance(value, str) else ""
