"""Videos that come through a pipe: read once and forward, and never sought in."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from sam2track.arguments import is_number
from sam2track.errors import SourceError, UsageError
from sam2track.frames.bounds import USUAL_FPS
from sam2track.frames.packets import coded_packets
from sam2track.frames.pixels import Upright
from sam2track.frames.source import Frame
from sam2track.frames.video_input import VideoInput, moving_pictures

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["PipeVideo"]


class PipeVideo:
    """A video that comes through a pipe, as upright RGB frames.

    Any container will do that FFmpeg can read without seeking: Matroska, WebM, MPEG-TS, NUT, Y4M,
    FLV, fragmented MP4. What is held in memory does not grow with what came. Frames are those that
    `VideoFile` gives of the same video saved to a file, but for those that cannot be decoded, which
    are left out here.

    Parameters
    ----------
    pipe : object with ``fileno``
        Such as ``sys.stdin`` or the ``stdout`` of a process; bytes that were read ahead into a
        buffer of its own are not seen.
    timeout : float
        Seconds without a byte after which the pipe counts as stalled, and is read no more.
    stream, hwaccel : optional
        As `VideoFile` takes them.

    Attributes
    ----------
    name : str
        "-".
    height, width : int
        Size in pixels of the upright frame.
    warnings : list of str
        What was odd, one line each; grows as frames are read.
    problem : str
        Once frames have ended: why they did before the video ended, one line; empty where it ended.

    Raises
    ------
    UsageError
        Where this is no pipe, or an option cannot be.
    SourceError
        Where no frame comes, or what comes cannot be read from a pipe.
    """

    name = "-"

    def __init__(
        self,
        pipe: Any,
        *,
        timeout: float = 60.0,
        stream: int | None = None,
        hwaccel: str | None = None,
    ) -> None:
        self._bytes = _Bytes(_descriptor(pipe), timeout)
        self.warnings: list[str] = []
        self.problem = ""
        self._undecoded = 0
        video = VideoInput(Path(self.name), stream, hwaccel, self._bytes)
        try:
            self._container, self._stream = video.open()
        except SourceError as error:
            self._bytes.check()
            raise self._nothing(str(error)) from error
        try:
            self._bytes.check()
            count = len(moving_pictures(self._container))
            if count > 1 and stream is None:
                self.warnings.append(
                    f"it holds {count} video streams: number 0 of them, counted from 0, is taken "
                    "unless another is named"
                )
            # Slices only: what comes of damage is then no matter of which thread was first.
            self._stream.codec_context.thread_type = "SLICE"
            self._pictures = self._decoded()
            self._first = next(self._pictures, None)
            if self._first is None:
                raise self._nothing(self.problem or "- ended before its first frame")
            self._develop = Upright(self._first)
            self.height, self.width = self._develop.height, self._develop.width
        except BaseException:
            self.close()
            raise

    def frames(self) -> Iterator[tuple[float, Frame]]:
        """Yield times in seconds, the first 0 and rising, and pictures, (H, W, 3) uint8; once."""
        picture, self._first = self._first, None
        start: float | None = None
        last, step = -1.0, 1 / float(self._stream.guessed_rate or USUAL_FPS)
        scaled = False
        while picture is not None:
            said = None if picture.time is None else float(picture.time)
            start = said if start is None else start
            time = last + step if last >= 0 else 0.0
            if said is not None and start is not None and said - start > last:
                time = said - start
            last = time
            if not scaled and not self._develop.fits(picture):
                scaled = True
                self.warnings.append(
                    f"the size changes along the way: all is scaled to {self.width}x{self.height}"
                )
            yield time, self._develop(picture)
            picture = next(self._pictures, None)

    def close(self) -> None:
        """Read no more; the pipe itself is left open."""
        self._container.close()

    def _nothing(self, why: str) -> SourceError:
        return SourceError(
            f"{self._bytes.problem or why}; what is piped must be readable without seeking: "
            "Matroska, MPEG-TS, NUT, Y4M or fragmented MP4"
        )

    def _decoded(self) -> Iterator[VideoFrame]:
        """Yield pictures as they are shown, and at the end note what ended them."""
        codec = self._stream.codec_context
        packets = coded_packets(self._container, self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                packet = None
                self.problem = f"{self.name} broke off: {error.strerror}"
            self._bytes.check()
            try:
                pictures = codec.decode(packet)
            except av.FFmpegError:
                self._skip()
                pictures = []
            yield from pictures
            if packet is None:
                self.problem = self._bytes.problem or self.problem
                return

    def _skip(self) -> None:
        """Note a packet that cannot be decoded; one line of the warnings tells of all of them."""
        line = "{} packets cannot be decoded: their frames are left out"
        old = line.format(self._undecoded)
        if old in self.warnings:
            self.warnings.remove(old)
        self._undecoded += 1
        self.warnings.append(line.format(self._undecoded))


class _Bytes:
    """Bytes as they come; none any more once the pipe stalls, breaks, or Ctrl-C comes.

    FFmpeg asks for them in the middle of its work, where no exception can pass.
    """

    def __init__(self, descriptor: int, timeout: float) -> None:
        if not is_number(timeout) or not 0 < timeout <= 1e6:
            raise UsageError(
                f"a time-out of {timeout!r:.60} s; allowed are 0 to 1,000,000, without 0"
            )
        if not hasattr(select, "poll"):
            raise UsageError("a pipe cannot be read on this system; save the video to a file")
        self._descriptor = descriptor
        self._timeout = timeout
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._interruption: BaseException | None = None
        self._came = False
        self.problem = ""

    def read(self, size: int) -> bytes:
        """Return what is there, up to `size` bytes."""
        if self.problem or self._interruption is not None:
            return b""
        try:
            if not self._poll.poll(self._timeout * 1000):
                self.problem = f"- stalled: nothing came for {self._timeout:g} s"
                return b""
            data = os.read(self._descriptor, size)
            self._came = self._came or bool(data)
            if not self._came:
                self.problem = "- is empty: it ended before anything came"
            return data
        except OSError as error:
            self.problem = f"- broke off: {error.strerror}"
        except BaseException as error:
            self._interruption = error
        return b""

    def check(self) -> None:
        """Raise what came while FFmpeg was reading."""
        error, self._interruption = self._interruption, None
        if error is not None:
            raise error


def _descriptor(pipe: Any) -> int:
    if pipe is None:
        raise UsageError("there is no standard input; pipe a video in, or name a file")
    try:
        number = int(pipe.fileno())
    except (OSError, ValueError) as error:
        raise UsageError(f"{pipe!r} is no pipe that can be read: {error}") from error
    if os.isatty(number):
        raise UsageError("standard input is a terminal; pipe a video in, or name a file")
    return number
