"""Moving pictures as GIFs and as folders of pictures, written frame by frame."""

from __future__ import annotations

import shutil
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from sam2track.errors import OutputError, UsageError
from sam2track.export import cannot_write, fresh_partial, output_errors, partial_path, publish

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.filter import Graph
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["GifWriter", "PictureFolder", "PictureWriter"]

_TICKS = 100  # a second: what GIF counts in


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


class _Managed:
    """Closed where all went well, thrown away where not."""

    def close(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class GifWriter(_Managed):
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

    def __init__(self, path: str | Path, *, height: int, width: int) -> None:
        import av

        self.path = Path(path)
        with output_errors(self.path):
            self._partial = fresh_partial(self.path.absolute())
        self._last = -1
        self._step = 4
        self._container: OutputContainer | None = None
        try:
            self._container = av.open(str(self._partial), "w", format="gif")
            stream = self._container.add_stream("gif", rate=Fraction(_TICKS, 4))
            stream.height, stream.width, stream.pix_fmt = height, width, "pal8"
            stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        self._stream: VideoStream = stream
        self._graph = _palettes(height, width)

    def write(self, rgb: npt.NDArray[np.uint8], time: float) -> None:
        """Append a frame.

        Raises
        ------
        UsageError
            Where the GIF is closed.
        OutputError
            Where it cannot be written; it is aborted then.
        """
        import av

        if self._container is None:
            raise UsageError(f"{self.path.name} is closed")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        tick = max(round(time * _TICKS), self._last + 1)
        picture.pts, picture.time_base = tick, Fraction(1, _TICKS)
        try:
            self._graph.push(picture)
            found = cast("VideoFrame", self._graph.pull())
            found.pts, found.time_base = tick, Fraction(1, _TICKS)
            self._container.mux(self._stream.encode(found))
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        self._last = tick

    def close(self) -> None:
        """Finish the file and give it its name; does nothing where it is closed already.

        Raises
        ------
        OutputError
            Where that cannot be done, or no frame was written.
        """
        import av

        if self._container is None:
            return
        if self._last < 0:
            self.abort()
            raise cannot_write(self.path, "a GIF needs at least one frame")
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            publish(self._partial, self.path)
        except (av.FFmpegError, OSError) as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Throw away what was written; does nothing where the file is closed already."""
        import av

        container, self._container = self._container, None
        if container is not None:
            with suppress(av.FFmpegError, OSError):  # it is thrown away in any case
                container.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)


class PictureFolder(_Managed):
    """A folder of pictures, numbered as asked for: ``00012.png``.

    Until it is closed it bears a hidden temporary name beside its own.

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
        self.path = Path(path)
        self._kind = kind
        quality = 92 if quality is None else quality
        if kind not in ("png", "jpg") or not 1 <= quality <= 100:
            raise UsageError(f"pictures are png or jpg of quality 1 to 100, not {kind} {quality}")
        self._options: dict[str, Any] = {"quality": quality} if kind == "jpg" else {}
        self._next, self._step = first, step
        self._partial = partial_path(self.path.absolute())
        with output_errors(self.path):
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise OutputError(f"{self.path} is there already; give a folder that is not")
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir(parents=True)

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
        try:
            picture = Image.fromarray(np.ascontiguousarray(rgb))
            picture.save(self._partial / f"{self._next:05d}.{self._kind}", **self._options)
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        self._next += self._step

    def close(self) -> None:
        """Give the folder its name; does nothing where it is closed already.

        Raises
        ------
        OutputError
            Where that cannot be done.
        """
        if not self._partial.exists():
            return
        try:
            self._partial.replace(self.path)
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error

    def abort(self) -> None:
        """Throw away what was written."""
        shutil.rmtree(self._partial, ignore_errors=True)


def _palettes(height: int, width: int) -> Graph:
    """Return a graph that gives each frame the 256 colours that fit it best."""
    import av.filter
    from av.video.format import VideoFormat

    graph = av.filter.Graph()
    start = graph.add_buffer(
        width=width, height=height, format=VideoFormat("rgb24"), time_base=Fraction(1, _TICKS)
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
