"""One way to open whatever pictures come from."""

from __future__ import annotations

import os
from pathlib import Path

from sam2track.errors import UsageError
from sam2track.frames.source import FrameSource

__all__ = ["open_source"]


def open_source(
    source: object,
    *,
    fps: float = 25.0,
    stream: int | None = None,
    hwaccel: str | None = None,
) -> FrameSource:
    """Open a video file, a folder of pictures or an array.

    Parameters
    ----------
    source : FrameSource, str, PathLike or array
        A source is returned as it is. A path is a folder of pictures or a video file. An array
        is (T, H, W) or (T, H, W, 1, 3 or 4); anything with ``shape`` and ``[]`` will do.
    fps : float
        Frames per second of folders and arrays; a video file has times of its own.
    stream, hwaccel : optional
        As ``VideoFile`` takes them.

    Raises
    ------
    UsageError
        Where ``source`` is none of these.
    SourceError
        Where it cannot be read.
    """
    # Readers are imported here alone, so that only those needed are loaded.
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
        if path.is_dir():
            from sam2track.frames.folder import ImageFolder

            return ImageFolder(path, fps=fps)
        from sam2track.frames.video import VideoFile

        return VideoFile(path, stream=stream, hwaccel=hwaccel)
    if isinstance(source, FrameSource):
        return source
    if hasattr(source, "shape") and hasattr(source, "__getitem__"):
        from sam2track.frames.array import ArraySource

        return ArraySource(source, fps=fps)
    raise UsageError(
        f"cannot take frames from {type(source).__name__}; give a video file, a folder of pictures "
        "or an array of (T, H, W) or (T, H, W, 3)"
    )
