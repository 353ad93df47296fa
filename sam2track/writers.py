"""Moving pictures as GIFs and as folders of pictures, written frame by frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from sam2track.errors import OutputError, UsageError
from sam2track.export import output_errors
from sam2track.export.staging import Staged
from sam2track.export.video_file import VideoFileWriter

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["GifWriter", "PictureFolder", "PictureWriter"]


class PictureWriter(Protocol):
    """What takes frames one by one: a video, a GIF, a folder."""

    def write(self, rgb: npt.NDArray[np.uint8], time: float) -> None:
        """Append a frame that is shown at a time in seconds."""
        ...

    def close(self) -> None:
        """Finish, and give it its name."""
        ...

    def abort(self) -> None:
        """Throw away what was written."""
        ...


class GifWriter(VideoFileWriter):
    """An animated GIF, each frame with a palette of its own; times are kept to 1/100 s.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced on `close`.
    height, width : int
        Size of the frames in pixels.

    Raises
    ------
    OutputError
        Where the file cannot be made.
    """

    _TICKS = 100

    def __init__(self, path: str | Path, *, height: int, width: int) -> None:
        super().__init__(path, height=height, width=width, rate=25, threads=1)

        def settle(stream: VideoStream) -> None:
            stream.pix_fmt = "pal8"

        self._stream = self._begin("gif", "gif", {}, 1, settle)
        self._graph = _palettes(height, width, Fraction(1, self._TICKS))

    def write(self, rgb: npt.NDArray[np.uint8], time: float) -> None:
        """Append a frame.

        Raises
        ------
        UsageError
            Where shape or type is wrong, or the GIF is closed.
        OutputError
            Where it cannot be written; it is aborted then.
        """
        self._check(rgb, np.uint8, (self.height, self.width, 3))
        self._append(lambda: self._indexed(rgb), time)

    def _indexed(self, rgb: npt.NDArray[np.uint8]) -> VideoFrame:
        import av

        self._graph.push(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"))
        return cast("VideoFrame", self._graph.pull())

    def _tick(self, time: float | None, step: int) -> int:
        # Its clock is coarse: what falls on a tick that is taken is shown on the next.
        return max(round((time or 0.0) * self._TICKS), self._last + 1)


class PictureFolder(Staged):
    """A folder of pictures, numbered as asked for: ``00012.png``.

    Parameters
    ----------
    path : str or Path
        Missing, or an empty folder.
    first, step : int
        Number of the first picture, and from one to the next.
    kind : {"png", "jpg"}
    quality : int, optional
        Of JPEG, 1 to 100.

    Raises
    ------
    UsageError
        Where `kind` or `quality` is out of range.
    OutputError
        Where the folder holds something, or cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        first: int = 0,
        step: int = 1,
        kind: Literal["png", "jpg"] = "png",
        quality: int | None = None,
    ) -> None:
        quality = 92 if quality is None else quality
        if kind not in ("png", "jpg") or not 1 <= quality <= 100:
            raise UsageError(f"pictures are png or jpg of quality 1 to 100, not {kind} {quality}")
        path = Path(path)
        with output_errors(path):
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise OutputError(f"{path} is there already; give a folder that is not")
            path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, folder=True)
        self._kind = kind
        self._options: dict[str, Any] = {"quality": quality} if kind == "jpg" else {}
        self._next, self._step = first, step

    def write(self, rgb: npt.NDArray[np.uint8], time: float = 0.0) -> None:
        """Append a picture, (H, W, 3) or, of PNGs, (H, W, 4) uint8.

        Raises
        ------
        OutputError
            Where it cannot be written; the folder is thrown away then.
        """
        from PIL import Image

        if self._kind == "jpg":
            rgb = rgb[..., :3]
        with self._guarded():
            picture = Image.fromarray(np.ascontiguousarray(rgb))
            picture.save(self.partial / f"{self._next:05d}.{self._kind}", **self._options)
        self._next += self._step


def _palettes(height: int, width: int, clock: Fraction) -> Graph:
    """Return a graph that gives each frame the 256 colours that fit it best."""
    import av.filter
    from av.video.format import VideoFormat

    graph = av.filter.Graph()
    start = graph.add_buffer(
        width=width, height=height, format=VideoFormat("rgb24"), time_base=clock
    )
    split = graph.add("split")
    generate = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1:dither=sierra2_4a")
    end = graph.add("buffersink")
    start.link_to(split)
    split.link_to(generate, 0, 0)
    split.link_to(use, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(end)
    graph.configure()
    return graph
