"""An object's past: what is kept of each object and frame once it has been computed."""

from __future__ import annotations

import struct
import tempfile
import weakref
import zlib
from array import array
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
    logits : (4h, 4w) float32 array
        Before hole filling. A history may give back what eight bits hold of them.
    pointer : (C,) float32 array
        Object pointer.
    score, iou : float
        Object score logit and predicted IoU.
    source : str
        One of ``SOURCES``: how the mask came about.
    """

    object_id: int
    frame: int
    logits: npt.NDArray[np.float32]
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

    Only the places of the records are held in memory, eight bytes for each object and frame;
    the file is removed when it is closed or the program ends.

    Parameters
    ----------
    budget : int
        Logits are kept as they are, so that memories can be made again exactly, until the
        file has this many bytes; from then on what eight bits hold of them.
    """

    # Object score, IoU, source, whether exact, side of the logits, bytes of logits and
    # pointer; these two follow.
    _HEAD = struct.Struct("<ffB?HII")

    def __init__(self, budget: int = 2**30) -> None:
        self.budget = budget
        self._file = tempfile.TemporaryFile(prefix="sam2track-")  # noqa: SIM115
        # Few people close a tracker; the file goes with it.
        self._closing = weakref.finalize(self, self._file.close)
        self._places: dict[int, array[int]] = {}  # by object: place by frame, -1 for none
        self._end = 0

    def put(self, result: FrameResult, records: Sequence[Record]) -> None:
        """Keep records, as the protocol says."""
        for record in records:
            exact = self._end < self.budget
            packed = (
                record.logits.astype(np.float32).tobytes()
                if exact
                else zlib.compress(quantise(record.logits).tobytes(), 1)
            )
            pointer = record.pointer.astype(np.float32).tobytes()
            head = self._HEAD.pack(
                record.score,
                record.iou,
                SOURCES.index(record.source),
                exact,
                record.logits.shape[0],
                len(packed),
                len(pointer),
            )
            self._file.seek(self._end)
            self._file.write(head + packed + pointer)
            places = self._places.setdefault(record.object_id, array("q"))
            places.extend([-1] * (record.frame + 1 - len(places)))
            places[record.frame] = self._end
            self._end += len(head) + len(packed) + len(pointer)

    def get(self, object_id: int, frame: int) -> Record | None:
        """Return a record, as the protocol says."""
        places = self._places.get(object_id, ())
        if not 0 <= frame < len(places) or places[frame] < 0:
            return None
        self._file.seek(places[frame])
        head = self._HEAD.unpack(self._file.read(self._HEAD.size))
        score, iou, source, exact, side, packed, pointer = head
        data = self._file.read(packed)
        if exact:
            logits = np.frombuffer(data, np.float32)
        else:
            logits = dequantise(np.frombuffer(zlib.decompress(data), np.uint8))
        return Record(
            object_id,
            frame,
            logits.reshape(side, side),
            np.frombuffer(self._file.read(pointer), np.float32),
            score,
            iou,
            SOURCES[source],
        )

    def forget(self, object_id: int, start: int = 0, stop: int | None = None) -> None:
        """Drop frames, as the protocol says."""
        places = self._places.get(object_id)
        if places is not None:
            for frame in range(start, len(places) if stop is None else min(stop, len(places))):
                places[frame] = -1

    def close(self) -> None:
        """Remove the file."""
        self._closing()
        self._places.clear()
