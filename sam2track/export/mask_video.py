"""Lossless videos of label maps: the grey of a pixel is its object's id, or its colour says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError, UsageError
from sam2track.export.label_videos import NEUTRAL, LabelVideoWriter
from sam2track.export.reading import Reading, by_label
from sam2track.export.sequence import Sequenced
from sam2track.export.video_file import usual_rate
from sam2track.frames.bounds import check_size
from sam2track.palette import PALETTE, rows_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["read", "write"]

_GREY = ("gray", "gray16le", "yuv444p", "yuvj444p")
_COLOURED = ("bgr0", "gbrp")  # what FFV1 and H.264 give back of RGB


def write(path: Path, sequence: Sequenced) -> None:
    """Write FFV1 or H.264, grey or in the palette's colours, with the times of the source.

    Grey FFV1 has 16 bits where ids pass 255.
    """
    mp4 = sequence.suffix == ".mp4"
    if not mp4 and sequence.suffix in (".avi", ".mov", ".webm"):
        raise UsageError(
            f"masks-video is written as Matroska or MP4, not {sequence.suffix}; let its name end "
            f"in .mkv, or .mp4 for H.264"
        )
    options = sequence.options
    bits = sequence.label_type("masks-video").itemsize * 8
    played = sequence.played
    with LabelVideoWriter(
        path,
        height=sequence.height,
        width=sequence.width,
        bits=8 if bits == 8 else 16,
        rate=usual_rate(played[sequence.span.start : sequence.span.stop]),
        threads=1,
        codec=options.codec or ("h264" if mp4 else "ffv1"),
        palette=bool(options.palette),
        container="mp4" if mp4 else "matroska",
    ) as video:
        for shot in sequence.shots():
            video.write(shot.labels, float(played[shot.frame] - played[sequence.span.start]))
    sequence.lose("masks-video", lineage=True)


def read(path: Path, kind: str) -> Reading:
    """Read such a video; one that was compressed with loss has no labels."""
    import av

    from sam2track.frames.containers import open_container

    try:
        with open_container(path) as container:
            stream = container.streams.video[0]
            height, width, pixels = stream.height, stream.width, str(stream.pix_fmt)
            count = sum(packet.size > 0 for packet in container.demux(video=0))
    except SourceError:
        raise
    except (av.FFmpegError, IndexError) as error:
        raise SourceError(f"cannot read {path} as a video: {error}") from error
    check_size(str(path), height, width)
    if pixels not in _GREY + _COLOURED:
        raise SourceError(
            f"{path} has {pixels} pixels; a video of labels is lossless, grey of 8 or 16 bits or "
            f"in the palette's colours, as the export to masks-video writes it"
        )

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        try:
            with open_container(path) as container:
                for frame, picture in enumerate(container.decode(video=0)):
                    yield frame, by_label(_labels(path, frame, picture))
        except av.FFmpegError as error:
            raise SourceError(f"cannot read {path} as a video: {error}") from error

    return Reading(path, kind, height, width, range(count), shots)


def _labels(path: Path, frame: int, picture: VideoFrame) -> npt.NDArray[Any]:
    """Ids of the pixels of a frame, (H, W)."""
    values: npt.NDArray[Any]
    if picture.format.name in _COLOURED:
        values = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
        ids = rows_of(values)
        if (PALETTE[ids] != values).any():
            raise SourceError(f"frame {frame} of {path} has colours that no object has")
        return ids
    values = picture.to_ndarray()
    if values.ndim == 2:
        return values
    if (values[1:] != NEUTRAL).any():
        raise SourceError(f"frame {frame} of {path} is not grey")
    return np.asarray(values[0])
