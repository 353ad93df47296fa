"""Writers of the manifest: layers of masks as a video, and for the Cell Tracking Challenge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_sam2track.arrays import MaskArray
from sam2track.errors import OutputError, UsageError

__all__ = ["write_ctc", "write_mask_video"]

Labels = npt.NDArray[Any]


class _Masks:
    """A layer of masks as results to export, read a frame at a time.

    Parameters
    ----------
    data : (T, H, W) array of int
        Or the masks of a session, whatever their axes.
    lineage : mapping of int to int
        Mothers by daughter.
    """

    def __init__(self, data: Any, lineage: dict[int, int]) -> None:
        if isinstance(data, MaskArray):
            count, self.height, self.width = data.axes.frames, data.axes.height, data.axes.width
            self._read: Callable[[int], Labels] = data.frame
        elif data.ndim != 3:
            raise UsageError(f"masks are written of (T, Y, X), not of {data.ndim} axes")
        else:
            count, self.height, self.width = data.shape
            self._read = lambda frame: np.asarray(data[frame])
        self.frames = tuple(range(count))
        self.times = np.arange(count, dtype=np.float64)
        self.names: dict[int, str] = {}
        self.folder: Path | None = None
        self.lineage = lineage
        found: set[int] = set()
        for frame in self.frames:
            found.update(int(i) for i in np.unique(self.labels(frame)))
        if min(found, default=0) < 0:
            raise UsageError(f"the layer holds the label {min(found)}; labels are 0 and above")
        self.objects = tuple(sorted(found - {0}))

    def labels(self, frame: int) -> Labels:
        """Label map of a frame, (H, W)."""
        return self._read(frame)

    def mask_makers(self, frame: int) -> dict[int, Callable[[], npt.NDArray[np.bool_]]]:
        """What makes each mask of a frame, by label."""
        labels = self.labels(frame)
        return {int(i): partial(np.equal, labels, int(i)) for i in np.unique(labels) if i}

    def rows(self) -> Iterator[Any]:
        """No table."""
        return iter(())


@contextmanager
def _told() -> Iterator[None]:
    """Let napari tell what is wrong: it passes over a writer that raises a ValueError."""
    try:
        yield
    except UsageError as error:
        raise OutputError(str(error)) from error


@_told()
def write_mask_video(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a layer of masks: ``.mkv`` lossless with ids as grey values, ``.mp4`` in colours."""
    to = Path(path)
    for name in map(Path, getattr(data, "made_from", ())):
        if to.exists() and name.exists() and to.samefile(name):
            raise UsageError(f"{path} is what these masks were made from; name another file")
    masks = _Masks(data, {})
    if path.lower().endswith(".mkv"):  # napari calls for .MKV, too
        from sam2track.export.label_videos import LabelVideoWriter

        bits: Literal[8, 16] = 8 if max(masks.objects, default=0) < 256 else 16
        with LabelVideoWriter(path, height=masks.height, width=masks.width, bits=bits) as video:
            for frame in masks.frames:
                video.write(masks.labels(frame))
        return [path]
    from sam2track.export.videos import VideoWriter
    from sam2track.render import colour_map

    with VideoWriter(path, height=masks.height, width=masks.width) as video_of_colours:
        for frame in masks.frames:
            video_of_colours.write(colour_map(masks.labels(frame)))
    return [path]


@_told()
def write_ctc(path: str, layers: list[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """Write masks as a result folder of the Cell Tracking Challenge.

    ``01_RES.ctc`` gives the folder ``01_RES``. Mothers are those of a layer of tracks that is
    saved with them; without one, nobody has a mother.
    """
    from sam2track.export.exporting import export_results

    (data,) = [data for data, _, kind in layers if kind == "labels"]
    graph = next((about.get("graph") or {} for _, about, kind in layers if kind == "tracks"), {})
    lineage = {int(daughter): int(np.atleast_1d(mothers)[0]) for daughter, mothers in graph.items()}
    folder = Path(path).with_suffix("")
    masks = _Masks(data, lineage)
    if not masks.objects:
        raise UsageError("the layer holds no masks; there is nothing to write")
    export_results(masks, "ctc", folder, meta={"source": folder.name}, columns=())
    return [str(folder)]
