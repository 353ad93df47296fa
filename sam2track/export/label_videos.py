"""Lossless videos of label maps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.export import cannot_write
from sam2track.export.video_file import TICKS, VideoFileWriter

if TYPE_CHECKING:
    from av.video.stream import VideoStream

__all__ = ["LabelVideoWriter"]

_FULL = 2  # FFmpeg's number of the range 0..255


class LabelVideoWriter(VideoFileWriter):
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
        small: Any = labels.astype(np.uint8 if self._most == 255 else np.uint16)
        import av

        self._append(lambda: av.VideoFrame.from_ndarray(small, format=self._format), time)

    def _opened(self, threads: int) -> VideoStream:
        import av

        try:
            self._container = av.open(str(self.partial), "w", format="matroska")
            # Slices with checksums and small groups are what archives take: damage stays local.
            options = {"level": "3", "slicecrc": "1", "g": "1"}
            stream = self._container.add_stream("ffv1", rate=self.rate, options=options)
            stream.height, stream.width = self.height, self.width
            stream.pix_fmt = self._format
            stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
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
