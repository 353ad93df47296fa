"""Arrays in memory, or ones that load frame by frame."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError, UsageError
from sam2track.frames.bounds import check_frame, check_span, even_times
from sam2track.frames.source import Frame

__all__ = ["ArraySource"]

_LOOKED_AT = 32
_SAMPLES = 1 << 22
_PERCENTILES = (0.1, 99.9)
# Differences of anything larger would leave the range of floats.
_LARGEST = 1e300


class ArraySource:
    """A numpy-like array as a sequence of RGB frames.

    Read one frame at a time by ``array[t]``, so that dask and zarr stay lazy. ``uint8`` is taken
    as it is and ``bool`` as 0 and 255. All else is scaled by the same limits in every frame; NaN
    becomes 0.

    Parameters
    ----------
    array : array
        (T, H, W), or (T, H, W, C) of 1 (grey), 3 (RGB) or 4 (RGBA; its alpha is dropped) channels;
        bool, integer or floating.
    fps : float
        Frames per second.
    limits : tuple of float, optional
        Values that become 0 and 255, for ``uint8`` too. Unless given, the 0.1 and 99.9 percentiles
        of up to 32 frames from the whole of the sequence, found when first needed.

    Attributes
    ----------
    name : str
        Shape and type of the array.
    height, width : int
        Size in pixels.
    times : (T,) float64 array
        Seconds from the first frame.
    warnings : list of str
        What was odd, one line each.

    Raises
    ------
    UsageError
        Where shape, type, ``fps`` or ``limits`` cannot be.
    """

    def __init__(
        self, array: Any, fps: float = 25.0, limits: tuple[float, float] | None = None
    ) -> None:
        self._array = array
        shape = tuple(int(size) for size in array.shape)
        dtype = np.dtype(getattr(array, "dtype", None) or np.asarray(array[0]).dtype)
        given = f"the array is {shape} {dtype}"
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
            raise UsageError(f"{given}; it must be (T, H, W) or (T, H, W, C) with C of 1, 3 or 4")
        if 0 in shape:
            raise UsageError(f"{given}; it holds no frames")
        if dtype.kind not in "buif":
            raise UsageError(f"{given}; it must be bool, integer or floating")
        if limits is not None:
            low, high = map(float, limits)
            if not (math.isfinite(high - low) and low < high):
                raise UsageError(f"limits are {limits}; the first must lie below the second")
            limits = low, high
        self.name = f"array {'x'.join(map(str, shape))} {dtype}"
        self.height, self.width = shape[1:3]
        self.times: npt.NDArray[np.float64] = even_times(shape[0], fps)
        self.warnings: list[str] = []
        self._shape = shape
        self._dtype = dtype
        self._limits = limits

    def __len__(self) -> int:
        """Number of frames."""
        return self._shape[0]

    @property
    def limits(self) -> tuple[float, float] | None:
        """Values that become 0 and 255; None where frames are taken as they are."""
        if self._limits is None and self._dtype != np.uint8 and self._dtype.kind != "b":
            self._limits = self._find_limits()
        return self._limits

    def read(self, frame: int) -> Frame:
        """Return one frame, (H, W, 3) uint8 RGB, of its own memory.

        Raises
        ------
        SourceError
            Where there is no such frame, or the array does not give it.
        """
        values = self._plane(check_frame(self.name, frame, len(self)))
        if self._dtype.kind == "b":
            values = values.astype(np.uint8) * np.uint8(255)
        elif self.limits is not None:
            values = _scaled(values, *self.limits)
        return np.array(np.broadcast_to(values, (self.height, self.width, 3)), np.uint8, order="C")

    def frames(self, start: int, stop: int, *, backward: bool = False) -> Iterator[Frame]:
        """Yield the frames of [start, stop), each (H, W, 3) uint8 RGB, forward or backward.

        Raises
        ------
        SourceError
            As ``read``.
        """
        first, end = check_span(self.name, start, stop, len(self))
        numbers = range(end - 1, first - 1, -1) if backward else range(first, end)
        return (self.read(number) for number in numbers)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits made of shape, type, limits and up to 32 frames.

        Raises
        ------
        SourceError
            Where the array does not give them.
        """
        digest = hashlib.sha256(f"{self.name} {self.limits}".encode())
        for frame in self._looked_at():
            digest.update(np.ascontiguousarray(self._plane(frame)).tobytes())
        return digest.hexdigest()[:16]

    def close(self) -> None:
        """Do nothing: the array belongs to the caller."""

    def _plane(self, frame: int) -> npt.NDArray[Any]:
        """Return what the array holds for a frame, (H, W, 1 or 3), without its alpha."""
        try:
            values = np.asarray(self._array[frame])
        except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
            raise SourceError(f"{self.name} does not give frame {frame}: {error}") from error
        if values.shape != self._shape[1:]:
            raise SourceError(
                f"{self.name} gives frame {frame} as {values.shape}, not {self._shape[1:]}"
            )
        return values.reshape(self.height, self.width, -1)[..., :3]

    def _looked_at(self) -> list[int]:
        count = min(_LOOKED_AT, len(self))
        return [int(frame) for frame in np.linspace(0, len(self) - 1, count).round()]

    def _find_limits(self) -> tuple[float, float]:
        frames = self._looked_at()
        step = max(1, len(frames) * math.prod(self._shape[1:]) // _SAMPLES)
        step += step % 3 == 0  # lest it meets one channel only
        samples = np.concatenate([self._plane(frame).ravel()[::step] for frame in frames])
        samples = samples[np.isfinite(samples)].astype(np.float64)
        if not samples.size:
            return 0.0, 1.0
        samples = samples.clip(-_LARGEST, _LARGEST)
        low, high = np.percentile(samples, _PERCENTILES).tolist()
        if low == high:  # nearly all is background: the rest is what matters
            low, high = float(samples.min()), float(samples.max())
        return low, high if high > low else max(low + 1, math.nextafter(low, math.inf))


def _scaled(values: npt.NDArray[Any], low: float, high: float) -> Frame:
    unit = (np.clip(values.astype(np.float64), low, high) - low) / (high - low)
    return np.rint(np.nan_to_num(unit) * 255).astype(np.uint8)
