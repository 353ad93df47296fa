"""Opening a video file and choosing its stream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.stream import Discard, Disposition

from sam2track.errors import Sam2TrackError, SourceError, UsageError
from sam2track.frames.bounds import MAX_VIDEO_PIXELS, check_size
from sam2track.frames.containers import Reader, open_container
from sam2track.frames.headers import kind_of_file
from sam2track.frames.packets import PacketIndex, index_packets

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Found", "VideoInput", "moving_pictures"]


@dataclass(frozen=True)
class VideoInput:
    """A video file, which of its streams, and what decodes it.

    Attributes
    ----------
    path : Path
        The file.
    stream : int, optional
        Counts its streams of moving pictures from 0; the first where None.
    hwaccel : str, optional
        FFmpeg's name of the hardware that decodes, such as ``cuda``; the processor where None.
    file : object with ``read``, optional
        What is read in place of the file at `path`, once and forward.
    """

    path: Path
    stream: int | None = None
    hwaccel: str | None = None
    file: Reader | None = None

    def open(self) -> tuple[InputContainer, VideoStream]:
        """Open the file and find the stream.

        Raises
        ------
        SourceError
            Where FFmpeg cannot make out a video, or none that it can decode.
        UsageError
            Where there is no such stream, or the hardware does not decode it.
        """
        container = self._container()
        try:
            stream = self._chosen(container)
        except Sam2TrackError:
            container.close()
            raise
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all  # MP4 then jumps over their bytes
        return container, stream

    def read(self) -> Found:
        """Read all packets of the stream; unless one is named, of the first that has any.

        Raises
        ------
        SourceError, UsageError
            As ``open``.
        """
        container, stream = self.open()
        with container:
            aspect = stream.sample_aspect_ratio or Fraction(1)
            found = Found(
                self if self.stream is not None else replace(self, stream=0),
                index_packets(container, stream),
                stream.frames,
                Fraction(aspect.numerator, aspect.denominator),  # PyAV 19 has its own type
                len(moving_pictures(container)),
            )
        if self.stream is None and not len(found.index):
            for number in range(1, found.streams):
                other = replace(self, stream=number).read()
                if len(other.index):
                    return other
        return found

    def _container(self) -> InputContainer:
        hardware = None if self.hwaccel is None else _hardware(self.hwaccel)
        try:
            return open_container(self.path, file=self.file, hwaccel=hardware)
        except SourceError:
            raise
        except FileNotFoundError as error:
            raise SourceError(
                f"{self.path} is not there any more; put it back where it was, and go on"
            ) from error
        except (av.FFmpegError, OSError) as error:
            if self.hwaccel is not None and self.file is None and self._opens():
                raise _not_by_hardware(self.path, self.hwaccel, error.strerror) from error
            if kind_of_file(self.path) == "text":
                raise SourceError(f"{self.path} is text, not a video; give a video file") from error
            raise SourceError(
                f"{self.path} is no video that FFmpeg can read ({error.strerror}): it is damaged, "
                "cut short or something else; see whether a player shows it, or fetch it again"
            ) from error
        except RuntimeError as error:  # what PyAV says of hardware that does not know the codec
            raise _not_by_hardware(self.path, self.hwaccel, str(error)) from error

    def _opens(self) -> bool:
        """Whether it can be opened for decoding by the processor."""
        try:
            replace(self, hwaccel=None)._container().close()
        except SourceError:
            return False
        return True

    def _chosen(self, container: InputContainer) -> VideoStream:
        kind = container.format.name
        if kind == "tty":  # so FFmpeg shows text, as the screen of a terminal
            raise SourceError(f"{self.path} is text, not a video; give a video file")
        if kind == "image2" or kind.endswith("_pipe"):
            told = kind_of_file(self.path) or "a single picture by its name"
            raise SourceError(
                f"{self.path} is {told}, not a video; give its folder for a sequence of pictures, "
                "or take `sam2track image` for single ones"
            )
        moving = moving_pictures(container)
        if not moving:
            kinds: list[str] = sorted({s.type for s in container.streams if s.type != "video"})
            held = " and ".join(["a cover picture"] * bool(container.streams.video) + kinds)
            raise SourceError(
                f"{self.path} holds no video, only {held or 'nothing'}; give a video file"
            )
        number = self.stream or 0
        if not 0 <= number < len(moving):
            raise UsageError(
                f"{self.path} has no video stream {number}; it has {len(moving)}, counted from 0"
            )
        if moving[number].codec_context is None:
            raise SourceError(
                f"{self.path} is coded in a way that this FFmpeg cannot decode; convert it to "
                "H.264 in MP4"
            )
        codec = moving[number].codec_context
        if codec.width or codec.height:  # some are only known once a picture is decoded
            check_size(str(self.path), codec.height, codec.width, MAX_VIDEO_PIXELS)
        codec.options = {"max_pixels": str(MAX_VIDEO_PIXELS)}  # also where the size changes later
        return moving[number]


@dataclass(frozen=True)
class Found:
    """What a pass over all packets of a stream found.

    Attributes
    ----------
    video : VideoInput
        With the number of the stream that was read.
    index : PacketIndex
        Its packets.
    claimed : int
        Frames by its header.
    aspect : Fraction
        Width of a pixel by its height, as stored.
    streams : int
        Streams of moving pictures in the file.
    """

    video: VideoInput
    index: PacketIndex
    claimed: int
    aspect: Fraction
    streams: int


def moving_pictures(container: InputContainer) -> list[VideoStream]:
    """Return the video streams that are no cover pictures."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _hardware(name: str) -> HWAccel:
    available = hwdevices_available()
    if name not in available:
        raise UsageError(
            f"there is no hardware decoder {name!r}; this FFmpeg knows "
            f"{', '.join(available) or 'none'}"
        )
    return HWAccel(name, allow_software_fallback=False)


def _not_by_hardware(path: Path, name: str | None, why: str | None) -> UsageError:
    return UsageError(
        f"{path} cannot be decoded by {name} here ({why}): there is no such device, or it does not "
        "know the codec; leave the hardware decoder (--hwaccel) out, or try another"
    )
