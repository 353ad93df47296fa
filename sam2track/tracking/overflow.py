"""Features that main memory has no room for, on a disk."""

from __future__ import annotations

import mmap
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

__all__ = ["Overflow", "disk_budget"]

_MOST = 8 * 2**30
_SHARE = 8  # of what is free on the disk, at most one part in so many
_SPARED = 2**30  # bytes that are left free: the project is on the same disk


def disk_budget(folder: Path) -> int:
    """Bytes for features on a folder's disk: an eighth of what is free there, 8 GiB at most."""
    try:
        return min(_MOST, shutil.disk_usage(folder).free // _SHARE)
    except OSError:  # not said by this file system
        return 0


class Overflow:
    """Blocks of bytes by frame, in a file without a name that goes with the process.

    All blocks have the size of the first. Where there is no more room, the frame that lies farthest
    from the new one makes room: people correct near to where they are, and a run that comes
    back finds what lies ahead of it.

    Parameters
    ----------
    folder : Path
        Where the file is made, once there is something to write.
    budget : int
        Most bytes in it. It also leaves a gibibyte of the disk free.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self._folder = folder
        self._budget = budget
        self._file: IO[bytes] | None = None
        self._closing: weakref.finalize[[], Overflow] | None = None
        self._size = 0
        self._slots: dict[int, int] = {}  # by frame
        self._made = 0  # slots that the file has

    def __contains__(self, frame: int) -> bool:
        return frame in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def clear(self) -> None:
        """Hold none, and give back the file."""
        if self._closing is not None:
            with suppress(OSError):  # of a disk that is full or gone
                self._closing()
        self._file, self._made = None, 0
        self._slots.clear()

    def put(self, frame: int, parts: list[mmap.mmap]) -> bool:
        """Write the block of a frame; whether it is held now."""
        return self._tried(lambda: self._put(frame, parts))

    def get(self, frame: int, parts: list[mmap.mmap]) -> bool:
        """Read the block of a frame into ``parts``; whether they were filled."""
        return self._tried(lambda: self._get(frame, parts))

    def _put(self, frame: int, parts: list[mmap.mmap]) -> bool:
        size = sum(map(len, parts))
        self._size = self._size or size
        if size != self._size:
            return False
        slot = self._slot(frame)
        if slot is None:
            return False
        if self._file is None:
            # Without a buffer, which would be written once more where a full disk is closed.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115
            self._closing = weakref.finalize(self, self._file.close)
        self._file.seek(slot * size)
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[self._file.write(left) :]
        self._made = max(self._made, slot + 1)
        self._slots[frame] = slot
        return True

    def _slot(self, frame: int) -> int | None:
        if frame in self._slots:
            return self._slots[frame]
        if len(self._slots) < self._made:  # of a write that was interrupted
            return min(set(range(self._made)) - set(self._slots.values()))
        grown = (self._made + 1) * self._size
        if grown <= self._budget:
            if shutil.disk_usage(self._folder).free - self._size >= _SPARED:
                return self._made
            self._budget = self._made * self._size  # it does not grow any more
        if not self._slots:
            return None
        low, high = min(self._slots), max(self._slots)
        return self._slots.pop(low if frame - low >= high - frame else high)

    def _get(self, frame: int, parts: list[mmap.mmap]) -> bool:
        slot = self._slots.get(frame)
        if slot is None or self._file is None:
            return False
        self._file.seek(slot * self._size)
        return all(self._file.readinto(part) == len(part) for part in parts)  # type: ignore[attr-defined]

    def _tried(self, work: Callable[[], bool]) -> bool:
        try:
            return work()
        except OSError as error:
            self.clear()
            self._budget = 0
            warnings.warn(
                f"features are no longer kept on the disk of {self._folder} "
                f"({error.strerror or error}); frames that are run again are encoded again",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
