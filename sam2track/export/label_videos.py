"""Lossless videos of label maps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.export.video_file import VideoFileWriter
from sam2track.palette import PALETTE

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["NEUTRAL", "LabelCodec", "LabelVideoWriter"]

LabelCodec = Literal["ffv1", "h264"]

_FULL = 2  # FFmpeg's number of the range 0..255
NEUTRAL = 128
"""The chroma of grey."""


class _Coding(NamedTuple):
    """An encoder of FFmpeg: its options, and its pixels by bits, or of the palette."""

    encoder: str
    options: dict[str, str]
    pixels: dict[int | Literal["palette"], str]


# FFV1: slices with checksums and small groups are what archives take, damage stays local.
# H.264: a quantiser of 0 is lossless, and 4:4:4 keeps each pixel; no B-frames as in other videos.
_LOSSLESS = {"qp": "0", "preset": "veryfast", "bf": "0", "g": "60"}
_CODINGS: dict[str, tuple[_Coding, ...]] = {
    "ffv1": (
        _Coding(
            "ffv1",
            {"level": "3", "slicecrc": "1", "g": "1"},
            {8: "gray", 16: "gray16le", "palette": "bgr0"},
        ),
    ),
    "h264": (
        _Coding("libx264", _LOSSLESS, {8: "yuv444p"}),
        _Coding("libx264rgb", _LOSSLESS, {"palette": "rgb24"}),
    ),
}


class LabelVideoWriter(VideoFileWriter):
    """A lossless video of label maps: FFV1 in Matroska, or H.264 4:4:4 in Matroska or MP4.

    Written as ``VideoWriter`` is.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced on `close`.
    height, width : int
        Size of the label maps in pixels; any.
    bits : {8, 16}
        Of a pixel: ids up to 255 or 65,535; 16 of grey FFV1 alone.
    rate : float or Fraction
        Frames per second, as of ``VideoWriter``.
    threads : int
        Threads of the encoder.
    codec : {"ffv1", "h264"}
    palette : bool
        Whether a pixel has its object's colour of the DAVIS palette; otherwise its grey is the
        object's id.
    container : {"matroska", "mp4"}
        MP4 of H.264 alone.

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
        codec: LabelCodec = "ffv1",
        palette: bool = False,
        container: Literal["matroska", "mp4"] = "matroska",
    ) -> None:
        if bits not in (8, 16):
            raise UsageError(f"label maps have 8 or 16 bits, not {bits}")
        if codec not in _CODINGS:
            raise UsageError(f"codec {codec!r} of label maps; allowed are {', '.join(_CODINGS)}")
        if bits == 16 and (palette or codec != "ffv1"):
            raise UsageError(
                "ids above 255 fit grey FFV1 alone; leave codec and palette out, and let the name "
                "end in .mkv"
            )
        if container == "mp4" and codec != "h264":
            raise UsageError(f"{codec} does not fit MP4; take h264, or Matroska (.mkv)")
        super().__init__(path, height=height, width=width, rate=rate, threads=threads)
        self._palette = palette
        self._most = 2**bits - 1
        want: int | Literal["palette"] = "palette" if palette else bits
        coding = next(one for one in _CODINGS[codec] if want in one.pixels)
        self._format = coding.pixels[want]

        def settle(stream: VideoStream) -> None:
            stream.pix_fmt = self._format
            stream.color_range = _FULL

        self._stream = self._begin(coding.encoder, container, coding.options, settle)

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
        small: Any = labels.astype(np.uint8 if self._most == 255 else np.uint16)
        self._append(lambda: self._picture(small), time)

    def _picture(self, labels: npt.NDArray[Any]) -> VideoFrame:
        import av

        if self._palette:
            # Between kinds of RGB pixels nothing is computed.
            shown = av.VideoFrame.from_ndarray(PALETTE[labels], format="rgb24")
            return shown if self._format == "rgb24" else shown.reformat(format=self._format)
        if self._format == "yuv444p":
            grey = np.full_like(labels, NEUTRAL)
            labels = np.stack([labels, grey, grey])
        return av.VideoFrame.from_ndarray(labels, format=self._format)
