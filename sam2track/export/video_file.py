"""A video file on its way: temporary until it is whole, frame by frame, at times that rise."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.export import cannot_write, fresh_partial, output_errors, publish

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["LONGEST", "TICKS", "VideoFileWriter"]

TICKS = 90_000  # a second; the customary clock of video, and a multiple of all usual rates
LONGEST = 3600  # seconds between two frames: MP4 has 31 bits for several such gaps together


class VideoFileWriter:
    """A video file that bears a temporary name until it is closed.

    As a context manager it is closed where all went well, and aborted where not: half a video is
    never left, nor is one that was there before lost. Memory does not grow with the number of
    frames.
    """

    def __init__(
        self, path: str | Path, *, height: int, width: int, rate: float | Fraction, threads: int
    ) -> None:
        if height < 1 or width < 1 or not 1 / LONGEST <= rate <= TICKS or threads < 1:
            raise UsageError(
                f"a video needs a size of at least 1 x 1, a rate from 1/{LONGEST} to {TICKS} "
                f"and a thread, not {height} x {width}, {rate}, {threads}"
            )
        self.path = Path(path)
        self.height, self.width = height, width
        self.rate = _simple(rate)
        self.frames = 0
        self._last = -1  # presentation time of the last frame in ticks
        # FFmpeg takes what stands before a colon for a protocol, unless the path is absolute.
        with output_errors(self.path):
            self._partial = fresh_partial(self.path.absolute())
        self._container: OutputContainer | None = None
        self._stream: VideoStream
        from sam2track.frames.containers import silence

        silence()

    def _append(self, picture: Callable[[], VideoFrame], time: float | None) -> None:
        """Encode a picture, to be shown at a time or one step after the one before."""
        step = max(1, round(TICKS / self.rate))
        tick = self._tick(time, step)
        import av

        if self._container is None:
            raise UsageError(f"{self.path.name} is closed")
        try:
            frame = picture()
            frame.pts, frame.time_base = tick, Fraction(1, TICKS)
            # Of the last frame only is the duration kept: as long as the one before was shown.
            frame.duration = tick - self._last if self.frames else step
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise cannot_write(self.path, error) from error
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
        if self._container is None:
            return
        if not self.frames:
            self.abort()
            raise cannot_write(self.path, "a video needs at least one frame")
        import av

        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            publish(self._partial, self.path)
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        except BaseException:  # Ctrl-C while the index is moved
            self.abort()
            raise

    def abort(self) -> None:
        """Throw away what was written. Does nothing where the file is closed already."""
        import av

        container, self._container = self._container, None
        if container is not None:
            with suppress(av.FFmpegError, OSError):  # it is thrown away in any case
                container.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

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


def _simple(rate: float | Fraction) -> Fraction:
    """Return a rate in small numbers, 30000/1001 for 29.97, also where it is far below 1."""
    exact = Fraction(rate)
    if exact < 1:
        return 1 / (1 / exact).limit_denominator(1001)
    return exact.limit_denominator(1001)
