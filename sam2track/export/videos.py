"""Videos that play in browsers, written frame by frame."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.export.video_file import VideoFileWriter

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["BT709", "CODECS", "LIMITED", "Codec", "VideoWriter"]

Codec = Literal["h264", "hevc", "vp9", "av1"]


class _Coding(NamedTuple):
    """An encoder of FFmpeg: its name, its largest and usual crf, options, and the codec's tag.

    ``least`` is the side of the smallest pictures that it takes.
    """

    encoder: str
    most: int
    usual: int
    options: dict[str, str]
    tag: str | None = None
    least: int = 0


# No B-frames: MP4 counts its length in decoding times, which with these, where frames are unevenly
# spaced, end long before the last one is shown. No macroblock tree: x264's reads memory that nobody
# wrote, so that the same frames become other files from time to time, and x265's (its cutree)
# writes past its end where pictures are less than 64 pixels wide.
CODECS: dict[str, _Coding] = {
    "h264": _Coding("libx264", 51, 19, {"preset": "veryfast", "bf": "0", "mbtree": "0"}),
    "hevc": _Coding(
        "libx265",
        51,
        22,
        {"preset": "veryfast", "x265-params": "log-level=error:bframes=0:cutree=0"},
        "hvc1",
    ),
    "vp9": _Coding(
        "libvpx-vp9",
        63,
        30,
        # In real time it makes nothing of the 25 frames that it would hold: files are as large.
        {"b": "0", "deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0"},
    ),
    # Of 24 pixels or less SVT-AV1 never comes back, or crashes.
    "av1": _Coding(
        "libsvtav1", 63, 32, {"preset": "9", "svtav1-params": "enable-stat-report=0"}, least=32
    ),
}
"""Codecs that can be written, each with what its encoder is told."""

BT709 = 1  # the number of its primaries, transfer and matrix alike, in ISO/IEC 23091-2
LIMITED = 1  # FFmpeg's number of the range 16..235
_KEY_EVERY = 60  # frames, so that a jump within the video is shown at once


class VideoWriter(VideoFileWriter):
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
        Where an option is out of its range, or the codec does not take pictures so small.
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
        if not 0 <= crf <= coding.most:
            raise UsageError(f"a crf of {codec} lies from 0 to {coding.most}, not at {crf}")
        if min(height, width) < coding.least:
            raise UsageError(
                f"{codec} of {width} x {height} pixels; allowed are {coding.least} a side and "
                "more: take larger pictures, or another codec"
            )
        super().__init__(path, height=height, width=width, rate=rate, threads=threads)
        options = coding.options | {"crf": str(crf)} | ({"preset": preset} if preset else {})
        container = "webm" if webm else "mp4"
        if coding.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors alone; it talks on stderr

        def settle(stream: VideoStream) -> None:
            if coding.tag and container == "mp4":
                stream.codec_context.codec_tag = coding.tag
            stream.height, stream.width = height + height % 2, width + width % 2
            stream.pix_fmt = "yuv420p"
            stream.gop_size = _KEY_EVERY
            stream.color_primaries = stream.color_trc = stream.colorspace = BT709
            stream.color_range = LIMITED

        self._stream = self._begin(coding.encoder, container, options, settle)

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


# Red, green and blue to luma and colour differences of limited range (ITU-R BT.709-6, section 3).
_RED, _BLUE = 0.2126, 0.0722
_LUMA = np.array([_RED, 1 - _RED - _BLUE, _BLUE])
_YUV = np.stack(
    [
        np.append(_LUMA * 219 / 255, 16),
        np.append(([0, 0, 1] - _LUMA) / (2 - 2 * _BLUE) * 224 / 255, 128),
        np.append(([1, 0, 0] - _LUMA) / (2 - 2 * _RED) * 224 / 255, 128),
    ]
)


def _bt709(rgb: npt.NDArray[np.uint8]) -> VideoFrame:
    """Return a picture as yuv420p, within one level; a quarter of the time that swscale takes."""
    import av
    import cv2

    luma, *colour = cv2.split(cv2.transform(_padded(rgb), _YUV))
    height, width = luma.shape
    half = (width // 2, height // 2)
    planes = [luma, *(cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in colour)]
    packed = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(packed, format="yuv420p")


def _padded(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(rgb)
