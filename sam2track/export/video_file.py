"""A video file on its way: temporary until it is whole, frame by frame, at times that rise."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.export import cannot_write
from sam2track.export.staging import Staged

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["LONGEST", "TICKS", "VideoFileWriter", "as_scheduled", "usual_rate"]

TICKS = 90_000  # a second; the customary clock of video, and a multiple of all usual rates
LONGEST = 3600  # seconds between two frames: MP4 has 31 bits for several such gaps together


@contextmanager
def as_scheduled() -> Iterator[None]:
    """Leave how this thread is scheduled as it is, whatever an encoder does that begins in it.

    SVT-AV1 lets the thread that opens it run before all others for good where it may, as root in a
    container may: no other thread comes to its turn while this one computes.
    """
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != before[0]:
            with suppress(OSError):
                os.sched_setscheduler(0, *before)


class VideoFileWriter(Staged):
    """A video file; memory does not grow with the number of frames."""

    _TICKS: ClassVar[int] = TICKS  # a second, of the clock in which frames are shown

    def __init__(
        self, path: str | Path, *, height: int, width: int, rate: float | Fraction, threads: int
    ) -> None:
        if height < 1 or width < 1 or not 1 / LONGEST <= rate <= TICKS or threads < 1:
            raise UsageError(
                f"a video needs a size of at least 1 x 1, a rate from 1/{LONGEST} to {TICKS} "
                f"and a thread, not {height} x {width}, {rate}, {threads}"
            )
        super().__init__(path)
        self.height, self.width = height, width
        self.rate = _simple(rate)
        self._threads = threads
        self.frames = 0
        self._last = -1  # presentation time of the last frame in ticks
        self._container: OutputContainer | None = None
        self._stream: VideoStream

    def _begin(
        self,
        encoder: str,
        container: str,
        options: dict[str, str],
        settle: Callable[[VideoStream], None],
    ) -> VideoStream:
        """Open the file for an encoder; `settle` says what its pixels are."""
        import av

        from sam2track.frames.containers import silence

        silence()
        with self._guarded():
            try:
                # faststart: the index is moved to the front; a browser need not have it all.
                # bitexact: Matroska has no random numbers, and what is written again is equal.
                self._container = av.open(
                    str(self.partial),
                    "w",
                    format=container,
                    options={"movflags": "+faststart"}
                    if container in ("mp4", "mov")
                    else {"fflags": "+bitexact"},
                )
                stream = cast(
                    "VideoStream",
                    self._container.add_stream(encoder, rate=self.rate, options=options),
                )
                stream.height, stream.width = self.height, self.width
                stream.time_base = stream.codec_context.time_base = Fraction(1, self._TICKS)
                stream.thread_count = self._threads
                settle(stream)
                with as_scheduled():
                    self._container.start_encoding()
            except OSError:
                raise
            except av.FFmpegError as error:
                size = f"{self.width} x {self.height}"
                raise cannot_write(
                    self.path,
                    f"the {encoder} encoder refuses {size} pixels with {options}, or has too "
                    "little memory for them",
                ) from error
        return stream

    def _append(self, picture: Callable[[], VideoFrame], time: float | None) -> None:
        """Encode a picture, to be shown at a time or one step after the one before."""
        step = max(1, round(self._TICKS / self.rate))
        tick = self._tick(time, step)
        if self._container is None:
            raise UsageError(f"{self.path.name} is closed")
        with self._guarded():
            frame = picture()
            frame.pts, frame.time_base = tick, Fraction(1, self._TICKS)
            # Kept of the last frame alone, and by GIF; elsewhere that lasts as the rate says.
            frame.duration = tick - self._last if self.frames else step
            self._container.mux(self._stream.encode(frame))
        self._last = tick
        self.frames += 1

    def _check(self, array: npt.NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
        if self._container is None:
            raise UsageError(f"{self.path.name} is closed")
        if array.dtype != dtype or array.shape != shape:
            raise UsageError(
                f"frames of {self.path.name} are {np.dtype(dtype)} {shape}, "
                f"not {array.dtype} {array.shape}"
            )

    def close(self) -> None:
        """Finish the file and give it its name. Does nothing where it is closed already.

        Raises
        ------
        OutputError
            Where the encoder fails, the disk is full or no frame was written; no file is left
            then.
        """
        if not (self._closed or self.frames):
            self.abort()
            raise cannot_write(self.path, "a video needs at least one frame")
        super().close()

    def _finish(self) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None

    def _release(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with suppress(*self._failures()):
                container.close()

    def _failures(self) -> tuple[type[Exception], ...]:
        import av

        return (av.FFmpegError, OSError)

    def _tick(self, time: float | None, step: int) -> int:
        if time is None:
            tick = self._last + step if self.frames else 0
        elif math.isfinite(time) and time >= 0 and round(time * TICKS) >= self._last:
            tick = max(round(time * TICKS), self._last + 1)
        else:
            tick = -1
        if tick < 0 or (self.frames and tick - self._last > LONGEST * TICKS):
            raise UsageError(
                f"frames of {self.path.name} come later and later from 0 s on, at most "
                f"{LONGEST} s apart; {time} s cannot follow "
                f"{max(self._last, 0) / TICKS:.6f} s"
            )
        return tick


def usual_rate(times: npt.NDArray[np.float64]) -> Fraction:
    """Return the frames a second of frames at these times, by the median gap; 25 of a single one.

    Matroska tells players one rate, whatever the times.
    """
    gaps = np.diff(times)
    gap = float(np.median(gaps)) if len(gaps) else 0.0
    return _simple(min(max(1 / gap, 1 / LONGEST), TICKS)) if gap > 0 else Fraction(25)


def _simple(rate: float | Fraction) -> Fraction:
    """Return a rate in small numbers, 30000/1001 for 29.97, also where it is far below 1."""
    exact = Fraction(rate)
    if exact < 1:
        return 1 / (1 / exact).limit_denominator(1001)
    return exact.limit_denominator(1001)
