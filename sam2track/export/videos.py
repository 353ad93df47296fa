"""Videos, written frame by frame: H.264 that plays in browsers, and lossless label maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.export import cannot_write, partial_path

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["LabelVideoWriter", "VideoWriter"]

_TICKS = 90_000  # a second; the customary clock of video, and a multiple of all usual rates
_LONGEST = 3600  # seconds between two frames: MP4 has 31 bits for several such gaps together
_BT709 = 1  # the number of its primaries, transfer and matrix alike, in ISO/IEC 23091-2
_LIMITED, _FULL = 1, 2  # FFmpeg's numbers of the ranges 16..235 and 0..255
_KEY_EVERY = 60  # frames, so that a jump within the video is shown at once


class _Writer:
    """A video file that bears a temporary name until it is closed.

    As a context manager it is closed where all went well, and aborted where not: half a video is
    never left, nor is one that was there before lost. Memory does not grow with the number of
    frames.
    """

    def __init__(
        self, path: str | Path, *, height: int, width: int, rate: float | Fraction, threads: int
    ) -> None:
        if height < 1 or width < 1 or not 1 / _LONGEST <= rate <= _TICKS or threads < 1:
            raise UsageError(
                f"a video needs a size of at least 1 x 1, a rate from 1/{_LONGEST} to {_TICKS} "
                f"and a thread, not {height} x {width}, {rate}, {threads}"
            )
        self.path = Path(path)
        self.height, self.width = height, width
        self.rate = _simple(rate)
        self.frames = 0
        self._last = -1  # presentation time of the last frame in ticks
        # FFmpeg takes what stands before a colon for a protocol, unless the path is absolute.
        self._partial = partial_path(self.path.absolute())
        self._container: OutputContainer | None = None
        self._stream: VideoStream

    def _append(self, picture: Callable[[], VideoFrame], time: float | None) -> None:
        """Encode a picture, to be shown at a time or one step after the one before."""
        step = max(1, round(_TICKS / self.rate))
        tick = self._tick(time, step)
        import av

        if self._container is None:
            raise UsageError(f"{self.path.name} is closed")
        try:
            frame = picture()
            frame.pts, frame.time_base = tick, Fraction(1, _TICKS)
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
            self._partial.replace(self.path)
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
        elif math.isfinite(time) and time >= 0 and round(time * _TICKS) >= self._last:
            tick = max(round(time * _TICKS), self._last + 1)
        else:
            tick = -1
        if tick < 0 or (self.frames and tick - self._last > _LONGEST * _TICKS):
            raise UsageError(
                f"frames of {self.path.name} come later and later from 0 s on, at most "
                f"{_LONGEST} s apart; {time} s cannot follow "
                f"{max(self._last, 0) / _TICKS:.6f} s"
            )
        return tick


class VideoWriter(_Writer):
    """An MP4 file of H.264 (yuv420p, BT.709) whose index stands in front.

    Until it is closed the file bears a temporary name beside its own. As a context manager it
    is closed where all went well, and aborted where not: half a video is never left, nor is one
    that was there before lost. Memory does not grow with the number of frames.

    Odd sizes, which yuv420p does not have, are padded by their last row or column.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced on `close`.
    height, width : int
        Size of the frames in pixels.
    rate : float or Fraction
        Frames per second: the times of frames that are written without one, and what a player
        is told to expect.
    crf : int
        Constant rate factor of x264, 0 (lossless) to 51; 18 is hard to tell from the source.
    preset : str
        x264's trade of time for size.
    threads : int
        Threads of the encoder.

    Raises
    ------
    UsageError
        Where an option is out of its range.
    OutputError
        Where the file cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        height: int,
        width: int,
        rate: float | Fraction = 25,
        crf: int = 19,
        preset: str = "veryfast",
        threads: int = 2,
    ) -> None:
        if not 0 <= crf <= 51:
            raise UsageError(f"a crf lies from 0 to 51, not at {crf}")
        super().__init__(path, height=height, width=width, rate=rate, threads=threads)
        self._stream = self._opened({"crf": str(crf), "preset": preset}, threads)

    def write(self, rgb: npt.NDArray[np.uint8], time: float | None = None) -> None:
        """Append a frame.

        Parameters
        ----------
        rgb : (H, W, 3) uint8 array
        time : float, optional
            When it is shown, in seconds from 0 on; kept to 1/90000 s. Later than the frame
            before, by an hour at most; of two that fall on one tick the second is moved to the
            next. Without one, a frame follows the one before at `rate`.

        Raises
        ------
        UsageError
            Where shape, type or time is wrong, or the video is closed.
        OutputError
            Where the encoder fails or the disk is full; the video is aborted then.
        """
        self._check(rgb, np.uint8, (self.height, self.width, 3))
        self._append(lambda: _bt709(rgb), time)

    def _opened(self, options: dict[str, str], threads: int) -> VideoStream:
        import av

        try:
            # faststart: the index is moved to the front, so that a browser need not have it all.
            self._container = av.open(
                str(self._partial), "w", format="mp4", options={"movflags": "+faststart"}
            )
            stream = self._container.add_stream("libx264", rate=self.rate, options=options)
            stream.height, stream.width = self.height + self.height % 2, self.width + self.width % 2
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
            stream.thread_count = threads
            stream.gop_size = _KEY_EVERY
            stream.color_primaries = stream.color_trc = stream.colorspace = _BT709
            stream.color_range = _LIMITED
            self._container.start_encoding()
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        except av.FFmpegError as error:
            self.abort()
            size = f"{self.width} x {self.height}"
            raise cannot_write(
                self.path, f"the H.264 encoder refuses {size} pixels with {options}"
            ) from error
        return stream


class LabelVideoWriter(_Writer):
    """A Matroska file of lossless FFV1 in which the grey of a pixel is the id of its object.

    Written as ``VideoWriter`` is.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced on `close`.
    height, width : int
        Size of the label maps in pixels; any.
    bits : {8, 16}
        Of a pixel: ids up to 255 or 65,535.
    rate : float or Fraction
        Frames per second, as of ``VideoWriter``.
    threads : int
        Threads of the encoder.

    Raises
    ------
    UsageError
        Where an option is out of its range.
    OutputError
        Where the file cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        height: int,
        width: int,
        bits: Literal[8, 16] = 8,
        rate: float | Fraction = 25,
        threads: int = 2,
    ) -> None:
        if bits not in (8, 16):
            raise UsageError(f"label maps have 8 or 16 bits, not {bits}")
        super().__init__(path, height=height, width=width, rate=rate, threads=threads)
        self._format = "gray" if bits == 8 else "gray16le"
        self._most = 2**bits - 1
        self._stream = self._opened(threads)

    def write(self, labels: npt.NDArray[np.integer[Any]], time: float | None = None) -> None:
        """Append a label map.

        Parameters
        ----------
        labels : (H, W) integer array
        time : float, optional
            As for ``VideoWriter``; Matroska keeps it to 1/1000 s.

        Raises
        ------
        UsageError
            Where shape, values or time are wrong, or the video is closed.
        OutputError
            Where the encoder fails or the disk is full; the video is aborted then.
        """
        self._check(labels, labels.dtype.type, (self.height, self.width))
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= self._most:
            raise UsageError(
                f"labels of {self.path.name} lie from 0 to {self._most}, not from {labels.min()} "
                f"to {labels.max()}; 16 bits hold more"
            )
        small = labels.astype(np.uint8 if self._most == 255 else np.uint16)
        self._append(lambda: _picture(small, self._format), time)

    def _opened(self, threads: int) -> VideoStream:
        import av

        try:
            self._container = av.open(str(self._partial), "w", format="matroska")
            # Slices with checksums and small groups are what archives take: damage stays local.
            options = {"level": "3", "slicecrc": "1", "g": "1"}
            stream = self._container.add_stream("ffv1", rate=self.rate, options=options)
            stream.height, stream.width = self.height, self.width
            stream.pix_fmt = self._format
            stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
            stream.thread_count = threads
            stream.color_range = _FULL
            self._container.start_encoding()
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        except av.FFmpegError as error:
            self.abort()
            size = f"{self.width} x {self.height}"
            raise cannot_write(self.path, f"the FFV1 encoder refuses {size} pixels") from error
        return stream


def _picture(array: npt.NDArray[Any], form: str) -> VideoFrame:
    import av

    return av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=form)


def _bt709(rgb: npt.NDArray[np.uint8]) -> VideoFrame:
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    return _picture(_padded(rgb), "rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
        threads=1,
    )


def _simple(rate: float | Fraction) -> Fraction:
    """Return a rate in small numbers, 30000/1001 for 29.97, also where it is far below 1."""
    exact = Fraction(rate)
    if exact < 1:
        return 1 / (1 / exact).limit_denominator(1001)
    return exact.limit_denominator(1001)


def _padded(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(rgb)
