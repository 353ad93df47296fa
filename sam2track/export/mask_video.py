"""Lossless videos of label maps: FFV1 in Matroska, the grey of a pixel is its object's id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.label_videos import LabelVideoWriter
from sam2track.export.reading import Reading, by_label
from sam2track.export.sequence import Sequenced
from sam2track.frames.bounds import check_size

__all__ = ["read", "write"]


def write(path: Path, sequence: Sequenced) -> None:
    """Write 8-bit grey, 16 bits where ids pass 255, with the times of the source."""
    bits = sequence.label_type("masks-video").itemsize * 8
    played = sequence.played
    with LabelVideoWriter(
        path, height=sequence.height, width=sequence.width, bits=8 if bits == 8 else 16, threads=1
    ) as video:
        for shot in sequence.shots():
            video.write(shot.labels, float(played[shot.frame] - played[sequence.span.start]))
    sequence.lose("masks-video", lineage=True)


def read(path: Path, kind: str) -> Reading:
    """Read such a video; one of colours has no labels."""
    import av

    from sam2track.frames.containers import open_container

    try:
        with open_container(path) as container:
            stream = container.streams.video[0]
            height, width, kind_of_pixel = stream.height, stream.width, stream.pix_fmt
    except SourceError:
        raise
    except (av.FFmpegError, IndexError) as error:
        raise SourceError(f"cannot read {path} as a video: {error}") from error
    check_size(str(path), height, width)
    if kind_of_pixel not in ("gray", "gray16le"):
        raise SourceError(
            f"{path} has {kind_of_pixel} pixels; a video of labels is grey, of 8 or 16 bits"
        )

    def shots() -> Iterator[tuple[int, dict[int, npt.NDArray[np.bool_]]]]:
        try:
            with open_container(path) as container:
                for frame, picture in enumerate(container.decode(video=0)):
                    yield frame, by_label(picture.to_ndarray())
        except av.FFmpegError as error:
            raise SourceError(f"cannot read {path} as a video: {error}") from error

    with open_container(path) as container:
        count = sum(packet.size > 0 for packet in container.demux(video=0))
    return Reading(path, kind, height, width, range(count), shots)
