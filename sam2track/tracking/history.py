"""An object's past: what is kept of each object and frame once it has been computed."""

from __future__ import annotations

import tempfile
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sam2track.tracking.result import FrameResult

__all__ = ["SOURCES", "History", "Record", "SpillFile", "dequantise", "quantise"]

SOURCES = ("prompted", "forward", "backward", "carried", "edited")


@dataclass(frozen=True, eq=False)
class Record:
    """One object on one frame.

    Attributes
    ----------
    object_id, frame : int
    codes : (4h, 4w) uint8 array
        Sigmoid of the logits before hole filling, 128 and more where they are positive.
    pointer : (C,) float32 array
        Object pointer.
    score, iou : float
        Object score logit and predicted IoU.
    source : str
        One of ``SOURCES``: how the mask came about.
    """

    object_id: int
    frame: int
    codes: npt.NDArray[np.uint8]
    pointer: npt.NDArray[np.float32]
    score: float
    iou: float
    source: str


class History(Protocol):
    """Where a tracker keeps the past of its objects."""

    def put(self, result: FrameResult, records: Sequence[Record]) -> None:
        """Keep what came of a frame, all of it or nothing; replaces what was there.

        The records are those of the result's objects, in the same order.
        """
        ...

    def get(self, object_id: int, frame: int) -> Record | None:
        """Return what is kept of an object on a frame."""
        ...

    def forget(self, object_id: int, start: int = 0, stop: int | None = None) -> None:
        """Drop an object's frames in [start, stop)."""
        ...

    def close(self) -> None:
        """Release files."""
        ...


def quantise(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Eight-bit sigmoid of logits; 128 and more where a logit is positive, and only there."""
    codes = np.floor(256 / (1 + np.exp(-np.clip(logits, -20, 20)))).clip(0, 255)
    codes = np.where(logits > 0, codes.clip(128), codes.clip(max=127))
    return codes.astype(np.uint8)


def dequantise(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits whose signs are those of the original ones, within about 6.2."""
    probability = (codes.astype(np.float32) + np.float32(0.5)) / np.float32(256)
    return np.log(probability / (1 - probability))


class SpillFile:
    """A history in a temporary file, for trackers without a project.

    Only the places of the records are held in memory, about 200 bytes for each object and
    frame; the file is removed when it is closed or the program ends.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="sam2track-")  # noqa: SIM115
        # Few people close a tracker; the file goes with it.
        self._closing = weakref.finalize(self, self._file.close)
        self._places: dict[tuple[int, int], tuple[int, int, int, float, float, str]] = {}
        self._shape = (0, 0)
        self._end = 0

    def put(self, result: FrameResult, records: Sequence[Record]) -> None:
        """Keep records, as the protocol says."""
        for record in records:
            self._shape = record.codes.shape
            packed = zlib.compress(record.codes.tobytes(), 1)
            self._file.seek(self._end)
            self._file.write(packed)
            self._file.write(record.pointer.tobytes())
            key = record.object_id, record.frame
            self._places[key] = (
                self._end,
                len(packed),
                record.pointer.nbytes,
                record.score,
                record.iou,
                record.source,
            )
            self._end += len(packed) + record.pointer.nbytes

    def get(self, object_id: int, frame: int) -> Record | None:
        """Return a record, as the protocol says."""
        place = self._places.get((object_id, frame))
        if place is None:
            return None
        start, packed, pointer, score, iou, source = place
        self._file.seek(start)
        codes = np.frombuffer(zlib.decompress(self._file.read(packed)), np.uint8)
        return Record(
            object_id,
            frame,
            codes.reshape(self._shape),
            np.frombuffer(self._file.read(pointer), np.float32),
            score,
            iou,
            source,
        )

    def forget(self, object_id: int, start: int = 0, stop: int | None = None) -> None:
        """Drop frames, as the protocol says."""
        for key in list(self._places):
            if key[0] == object_id and key[1] >= start and (stop is None or key[1] < stop):
                del self._places[key]

    def close(self) -> None:
        """Remove the file."""
        self._closing()
        self._places.clear()
