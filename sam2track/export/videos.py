"""Videos that play in browsers, written frame by frame."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.export import cannot_write, partial_path

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

__all__ = ["CODECS", "Codec", "VideoWriter"]

Codec = Literal["h264", "hevc", "vp9", "av1"]


class _Coding(NamedTuple):
    """An encoder of FFmpeg: its name, its largest and usual crf, options, and the codec's tag."""

    encoder: str
    most: int
    usual: int
    options: dict[str, str]
    tag: str | None = None


CODECS: dict[str, _Coding] = {
    "h264": _Coding("libx264", 51, 19, {"preset": "veryfast"}),
    "hevc": _Coding(
        "libx265", 51, 22, {"preset": "veryfast", "x265-params": "log-level=error"}, "hvc1"
    ),
    "vp9": _Coding("libvpx-vp9", 63, 30, {"b": "0", "deadline": "realtime", "cpu-used": "6"}),
    "av1": _Coding("libsvtav1", 63, 32, {"preset": "9", "svtav1-params": "enable-stat-report=0"}),
}
"""Codecs that can be written, each with what its encoder is told."""

_TICKS = 90_000  # a second; the customary clock of video, and a multiple of all usual rates
_LONGEST = 3600  # seconds between two frames: MP4 has 31 bits for several such gaps together
_BT709 = 1  # the number of its primaries, transfer and matrix alike, in ISO/IEC 23091-2
_LIMITED = 1  # FFmpeg's number of the range 16..235
_KEY_EVERY = 60  # frames, so that a jump within the video is shown at once


class VideoWriter:
    """An MP4 or WebM file (yuv420p, BT.709); of MP4 the index stands in front.

    Until it is closed the file bears a temporary name beside its own. As a context manager it
    is closed where all went well, and aborted where not: half a video is never left, nor is one
    that was there before lost. Memory does not grow with the number of frames.

    Odd sizes, which yuv420p does not have, are padded by their last row or column.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced on `close`. WebM where it ends so, else MP4.
    height, width : int
        Size of the frames in pixels.
    rate : float or Fraction
        Frames per second: the times of frames that are written without one, and what a player
        is told to expect.
    crf : int, optional
        Constant rate factor of the encoder, 0 (best) to 51 (63 of VP9 and AV1). Of H.264, 0 is
        lossless and 18 hard to tell from the source.
    preset : str, optional
        x264's trade of time for size; "veryfast", if not given.
    codec : {"h264", "hevc", "vp9", "av1"}
        VP9 and AV1 alone fit WebM.
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
        crf: int | None = None,
        preset: str | None = None,
        codec: Codec = "h264",
        threads: int = 2,
    ) -> None:
        coding = CODECS.get(codec)
        webm = Path(path).suffix.lower() == ".webm"
        if coding is None or (webm and codec not in ("vp9", "av1")):
            raise UsageError(
                f"codec {codec!r} for {Path(path).name}; allowed are {', '.join(CODECS)}, and of "
                f"these vp9 and av1 in a .webm"
            )
        crf = coding.usual if crf is None else crf
        if (
            height < 1
            or width < 1
            or not 1 / _LONGEST <= rate <= _TICKS
            or not 0 <= crf <= coding.most
            or threads < 1
        ):
            raise UsageError(
                f"a video needs a size of at least 1 x 1, a rate from 1/{_LONGEST} to {_TICKS}, "
                f"a crf from 0 to {coding.most} and a thread, "
                f"not {height} x {width}, {rate}, {crf}, {threads}"
            )
        self.path = Path(path)
        self.height, self.width = height, width
        self.rate = _simple(rate)
        self.frames = 0
        self._last = -1  # presentation time of the last frame in ticks
        # FFmpeg takes what stands before a colon for a protocol, unless the path is absolute.
        self._partial = partial_path(self.path.absolute())
        self._container: OutputContainer | None = None
        options = coding.options | {"crf": str(crf)} | ({"preset": preset} if preset else {})
        self._stream = self._opened(coding, options, threads, "webm" if webm else "mp4")

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
        if self._container is None:
            raise UsageError(f"{self.path.name} is closed")
        if rgb.dtype != np.uint8 or rgb.shape != (self.height, self.width, 3):
            raise UsageError(
                f"frames of {self.path.name} are uint8 {(self.height, self.width, 3)}, "
                f"not {rgb.dtype} {rgb.shape}"
            )
        step = max(1, round(_TICKS / self.rate))
        tick = self._tick(time, step)
        import av
        from av.video.reformatter import ColorRange, Colorspace, Interpolation

        try:
            picture = av.VideoFrame.from_ndarray(_padded(rgb), format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
                threads=1,
            )
            picture.pts, picture.time_base = tick, Fraction(1, _TICKS)
            # Of the last frame only is the duration kept: as long as the one before was shown.
            picture.duration = tick - self._last if self.frames else step
            self._container.mux(self._stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        self._last = tick
        self.frames += 1

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

    def _opened(
        self, coding: _Coding, options: dict[str, str], threads: int, container: str
    ) -> VideoStream:
        import av

        try:
            # faststart: the index is moved to the front, so that a browser need not have it all.
            self._container = av.open(
                str(self._partial),
                "w",
                format=container,
                options={"movflags": "+faststart"} if container == "mp4" else {},
            )
            if coding.encoder == "libsvtav1":
                os.environ.setdefault("SVT_LOG", "1")  # errors alone; it talks on stderr
            stream = cast(
                "VideoStream",
                self._container.add_stream(coding.encoder, rate=self.rate, options=options),
            )
            if coding.tag and container == "mp4":
                stream.codec_context.codec_tag = coding.tag
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
                self.path, f"the {coding.encoder} encoder refuses {size} pixels with {options}"
            ) from error
        return stream

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
