"""Video files, frame by frame and exact."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.frames.bounds import check_frame, check_span
from sam2track.frames.decoding import Damage, Decoder
from sam2track.frames.files import ends_of_file
from sam2track.frames.headers import NO_VIDEOS, kind_of
from sam2track.frames.pixels import Upright
from sam2track.frames.source import Frame
from sam2track.frames.video_input import VideoInput

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["VideoFile"]

_HELD_BYTES = 128 << 20
_HELD_FRAMES = 8
_NAMED = 5


class VideoFile:
    """A video file as a sequence of upright RGB frames.

    Opening reads all packets and decodes one frame: the number of frames and their times come
    from what is in the file, not from its header. A frame is the same, bit for bit, however it is
    reached; only what the decoder makes up for damaged parts may vary with the way there. One that
    cannot be decoded repeats the one before it, or the next at the very beginning.

    Parameters
    ----------
    path : str or PathLike
        The file.
    stream : int, optional
        Which of its video streams, counted from 0 without cover pictures; unless said the first,
        with a warning where there are several.
    hwaccel : str, optional
        FFmpeg's name of the hardware that is to decode, such as ``cuda``. Colours may then differ
        by a step or two from those of the processor.

    Attributes
    ----------
    name : str
        The path as given.
    height, width : int
        Size in pixels of the upright frame.
    pixel_aspect : Fraction
        Width of a pixel by its height, upright; 1 where the file says nothing. Frames are not
        stretched.
    times : (T,) float64 array
        Seconds from the first frame.
    warnings : list of str
        What was odd, one line each; grows as frames are read.
    carried : set of int
        Frames read so far that could not be decoded and repeat another.
    frames_apart : bool
        True: what ``frames`` gives may be read in a thread of its own.

    Raises
    ------
    SourceError
        Where the file cannot be opened, holds no video or no frame that can be decoded.
    UsageError
        Where there is no such stream, or no such hardware.
    """

    frames_apart = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        stream: int | None = None,
        hwaccel: str | None = None,
    ) -> None:
        self.name = os.fspath(path)
        _check_file(Path(path))
        self._path = Path(path).absolute()  # the current folder may be another when it is read
        self._video = VideoInput(self._path, stream, hwaccel)
        found = self._video.read()
        self._video, self._index = found.video, found.index
        if not len(self._index):
            claim = f", though its header claims {found.claimed}" if found.claimed else ""
            raise SourceError(
                f"{self.name} holds no frame{claim}: it is incomplete; fetch or export it again"
            )
        self.times: npt.NDArray[np.float64] = self._index.times
        self.warnings: list[str] = list(self._index.warnings)
        if found.streams > 1 and stream is None:
            self.warnings.append(
                f"it holds {found.streams} video streams: number {self._video.stream} of them, "
                "counted from 0, is taken unless another is named"
            )
        self.carried: set[int] = set()
        self._damage = Damage()
        self._scaled = False
        self._lock = threading.RLock()
        self._decoder: Decoder | None = Decoder(self._video, self._index, self._damage)
        # What read() gave last, and what follows it.
        self._last: tuple[int, VideoFrame] | None = None
        self._onward: Iterator[tuple[int, VideoFrame]] | None = None
        try:
            self._develop = Upright(self._picture(0))
        except SourceError:
            self.close()
            raise
        self.height, self.width = self._develop.height, self._develop.width
        self.pixel_aspect = 1 / found.aspect if self._develop.is_turned else found.aspect
        if self.pixel_aspect != 1:
            self.warnings.append(
                f"its pixels are {self.pixel_aspect} as wide as high; nothing is stretched, and "
                "masks are those of the stored pixels"
            )

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._index)

    def read(self, frame: int) -> Frame:
        """Return one frame, (H, W, 3) uint8 RGB.

        Raises
        ------
        SourceError
            Where there is no such frame, or the file can no longer be read.
        """
        number = check_frame(self.name, frame, len(self))
        with self._lock:
            return self._rgb(self._picture(number))

    def frames(self, start: int, stop: int, *, backward: bool = False) -> Iterator[Frame]:
        """Yield the frames of [start, stop), each (H, W, 3) uint8 RGB, forward or backward.

        Opens the file anew, so that several of these and ``read`` do not disturb each other.
        Backward holds up to 128 MB of pictures as they were decoded, or eight if that is more.

        Raises
        ------
        SourceError
            Where there are no such frames, or the file can no longer be read.
        """
        first, end = check_span(self.name, start, stop, len(self))
        return self._backward(first, end) if backward else self._forward(first, end)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits made of the file's size, both its ends and its length.

        Raises
        ------
        SourceError
            Where the file can no longer be read.
        """
        try:
            told = f"{ends_of_file(self._path)} {len(self)} {self._video.stream}"
        except OSError as error:
            raise SourceError(f"{self.name} can no longer be read: {error.strerror}") from error
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def options(self) -> dict[str, Any]:
        """What is read, in values for JSON."""
        return {"stream": self._video.stream}

    def close(self) -> None:
        """Release the file; iterators in use keep theirs until they end."""
        with self._lock:
            self._last = self._onward = None
            if self._decoder is not None:
                self._decoder.close()
                self._decoder = None

    def _forward(self, start: int, stop: int) -> Iterator[Frame]:
        if start == stop:
            return
        decoder = Decoder(self._video, self._index, self._damage)
        try:
            for number, picture in self._walk(decoder, start):
                yield self._rgb(picture)
                if number == stop - 1:
                    return
        finally:
            decoder.close()

    def _backward(self, start: int, stop: int) -> Iterator[Frame]:
        if start == stop:
            return
        limit = max(_HELD_FRAMES, _HELD_BYTES // self._develop.nbytes)
        decoder = Decoder(self._video, self._index, self._damage)
        try:
            while stop > start:
                # Beginning at a keyframe leaves nothing to be decoded twice.
                low = self._index.first_anchored(max(start, stop - limit), stop)
                held: list[VideoFrame] = []
                for number, picture in self._walk(decoder, low):
                    held.append(picture)
                    if number == stop - 1:
                        break
                while held:
                    yield self._rgb(held.pop())
                stop = low
        finally:
            decoder.close()

    def _picture(self, frame: int) -> VideoFrame:
        """Return one decoded frame, going on from the last one where that is the shorter way."""
        if self._decoder is None:
            raise SourceError(f"{self.name} is closed")
        if self._last is not None and self._last[0] == frame:
            return self._last[1]
        if not self._is_ahead(frame):
            self._onward = self._walk(self._decoder, frame)
        assert self._onward is not None
        for number, picture in self._onward:
            self._last = number, picture
            if number == frame:
                return picture
        raise self._unreadable()

    def _is_ahead(self, frame: int) -> bool:
        """Whether ``frame`` lies ahead with no keyframe between that could be sought instead."""
        if self._onward is None or self._last is None or frame <= self._last[0]:
            return False
        return self._index.anchor(frame) <= self._index.anchor(self._last[0] + 1)

    def _walk(self, decoder: Decoder, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """Yield every frame from ``start`` to the end, filling in for those that are missing."""
        wanted = start
        before: VideoFrame | None = None
        for number, picture in decoder.outputs(start):
            for missing in range(wanted, number):
                self._carry(missing)
                yield missing, picture if before is None else before
            before = picture
            if number >= start:
                yield number, picture
                wanted = number + 1
        if before is None:
            raise self._unreadable()
        for missing in range(wanted, len(self)):
            self._carry(missing)
            yield missing, before

    def _rgb(self, picture: VideoFrame) -> Frame:
        if not self._scaled and not self._develop.fits(picture):
            self._scaled = True
            self.warnings.append(
                f"the size changes along the way: all is scaled to {self.width}x{self.height}"
            )
        return self._develop(picture)

    def _carry(self, frame: int) -> None:
        """Note a frame that cannot be decoded; one line of the warnings tells of all of them."""
        with self._lock:
            if frame in self.carried:
                return
            old = self._carried_line()
            self.carried.add(frame)
            if old in self.warnings:
                self.warnings[self.warnings.index(old)] = self._carried_line()
            else:
                self.warnings.append(self._carried_line())

    def _carried_line(self) -> str:
        numbers = sorted(self.carried)
        named = ", ".join(map(str, numbers[:_NAMED])) + ", …" * (len(numbers) > _NAMED)
        return (
            f"{len(numbers)} of {len(self)} frames cannot be decoded and repeat the one before "
            f"(or the next at the beginning): {named}"
        )

    def _unreadable(self) -> SourceError:
        why = "it is encrypted" if self._index.encrypted else "it is damaged or encrypted"
        return SourceError(
            f"{self.name}: none of its {len(self)} frames can be decoded: {why}; see whether a "
            "player shows it, or fetch it again"
        )


def _check_file(path: Path) -> None:
    """Refuse what is no readable file, in words plainer than FFmpeg's."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise SourceError(f"{path} is a folder, not a video file; give the file")
        if not stat.S_ISREG(found.st_mode):
            raise SourceError(
                f"{path} is no regular file; save the video to one, or pipe it in and name it -"
            )
        with path.open("rb") as file:
            head = file.read(512)
    except SourceError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist; check the path") from error
    except PermissionError as error:
        raise SourceError(f"{path} may not be read; check its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise SourceError(f"{path} cannot be read: {error}; check the path") from error
    if not head:
        raise SourceError(f"{path} is empty; fetch or export it again")
    if head.startswith(b"version https://git-lfs"):
        raise SourceError(f"{path} only points to a file in Git LFS; run 'git lfs pull' there")
    if (kind := kind_of(head)) in NO_VIDEOS:
        raise SourceError(
            f"{path} is {kind}, not a video; give a video, a stack or a folder of pictures"
        )
