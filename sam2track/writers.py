"""Moving pictures as GIFs, transparent videos and folders of pictures, written frame by frame."""

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
from sam2track.export.videos import BT709, CODECS, LIMITED, VideoWriter

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = [
    "AlphaWriter",
    "GifWriter",
    "PictureFolder",
    "PictureWriter",
    "has_alpha",
    "writer_for",
]

_VIDEOS = {".mp4": "h264", ".m4v": "h264", ".webm": "vp9"}


class PictureWriter(Protocol):
    """What takes frames one by one: a video, a GIF, a folder."""

    def write(self, picture: npt.NDArray[np.uint8], time: float, /) -> None:
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

        self._stream = self._begin("gif", "gif", {}, settle)
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


class AlphaWriter(VideoFileWriter):
    """A video with an alpha channel: ProRes 4444 in a ``.mov``, or VP9 in a ``.webm``.

    Of ProRes alpha is exact; of VP9 it is coded as a picture is, and some levels off.

    Parameters
    ----------
    path : str or Path
        A file that is there is replaced on `close`.
    height, width : int
        Size of the frames in pixels.
    rate : float or Fraction
        Frames per second that a player is told to expect.
    crf : int, optional
        Constant rate factor of VP9, 0 (best) to 63.

    Raises
    ------
    UsageError
        Where `crf` is out of its range, or given for ProRes.
    OutputError
        Where the file cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        height: int,
        width: int,
        rate: float | Fraction,
        crf: int | None = None,
    ) -> None:
        vp9 = CODECS["vp9"]
        encoder, container, self._format = "prores_ks", "mov", "yuva444p10le"
        options = {"profile": "4444", "alpha_bits": "8"}
        if Path(path).suffix.lower() == ".webm":
            encoder, container, self._format = vp9.encoder, "webm", "yuva420p"
            options = vp9.options | {"crf": str(vp9.usual if crf is None else crf)}
        elif crf is not None:
            raise UsageError(
                "ProRes has no quality to choose, all but nothing of a picture is lost; leave it "
                "out, or write a .webm"
            )
        if crf is not None and not 0 <= crf <= vp9.most:
            raise UsageError(f"a crf of vp9 lies from 0 to {vp9.most}, not at {crf}")
        super().__init__(path, height=height, width=width, rate=rate, threads=2)

        def settle(stream: VideoStream) -> None:
            stream.pix_fmt = self._format
            stream.color_primaries = stream.color_trc = stream.colorspace = BT709
            stream.color_range = LIMITED

        self._stream = self._begin(encoder, container, options, settle)

    def write(self, rgba: npt.NDArray[np.uint8], time: float) -> None:
        """Append a frame, (H, W, 4) uint8, whose colour is not multiplied by alpha.

        Raises
        ------
        UsageError
            Where shape, type or time is wrong, or the video is closed.
        OutputError
            Where the encoder fails or the disk is full; the video is aborted then.
        """
        self._check(rgba, np.uint8, (self.height, self.width, 4))
        self._append(lambda: self._coloured(rgba), time)

    def _coloured(self, rgba: npt.NDArray[np.uint8]) -> VideoFrame:
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba), format="rgba")
        # Of rows that are no multiple of 16 wide swscale writes the first pixels of the next one,
        # too: with several threads where that is done already.
        return frame.reformat(
            format=self._format, dst_colorspace=BT709, dst_color_range=LIMITED, threads=1
        )


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


def has_alpha(path: Path, codec: str | None, pictures: str | None) -> bool:
    """Whether what is written to a path can be transparent."""
    ending = path.suffix.lower()
    return (
        ending == ".mov"
        or (ending == ".webm" and codec in (None, "vp9"))
        or (not ending and pictures != "jpg")
    )


def writer_for(
    path: Path,
    *,
    height: int,
    width: int,
    rate: Fraction,
    transparent: bool,
    codec: str | None,
    quality: int | None,
    pictures: Literal["png", "jpg"] | None,
    first: int,
    step: int,
) -> PictureWriter:
    """Return what writes pictures to a path, by its ending: a video, a GIF; without one a folder.

    Parameters
    ----------
    path : Path
    height, width : int
        Of a picture in pixels.
    rate : Fraction
        Frames per second that a player is told to expect.
    transparent : bool
        Whether pictures are (H, W, 4), as `has_alpha` says that they may be.
    codec, quality, pictures : optional
        As of `films.render`.
    first, step : int
        Number of the first picture of a folder, and from one to the next.

    Raises
    ------
    UsageError
        Where the ending is of nothing, or an option does not go with it.
    OutputError
        Where it cannot be made.
    """
    ending = path.suffix.lower()
    if ending and pictures is not None:
        raise UsageError(f"{pictures} pictures for {path.name}; only a folder has them")
    if ending == ".mov" and not transparent:
        raise UsageError(f"{path.name}; a .mov is for style cutout, write an .mp4")
    if transparent and ending:
        if ending == ".mov" and codec is not None:
            raise UsageError(f"codec {codec} for {path.name}; a .mov has ProRes, leave it out")
        return AlphaWriter(path, height=height, width=width, rate=rate, crf=quality)
    if ending in _VIDEOS:
        codec = codec or _VIDEOS[ending]
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the name of a video")
        if codec not in CODECS:
            raise UsageError(f"codec {codec!r}; allowed are {', '.join(CODECS)}")
        return VideoWriter(
            path,
            height=height,
            width=width,
            rate=rate,
            crf=quality,
            codec=codec,  # type: ignore[arg-type]
        )
    if codec is not None:
        raise UsageError(f"codec {codec} for {path.name}; only .mp4 and .webm have one")
    if ending == ".gif":
        if quality is not None:
            raise UsageError("a GIF has no quality; leave it out")
        return GifWriter(path, height=height, width=width)
    if ending:
        raise UsageError(
            f"{path.name}; allowed are .mp4, .webm, .gif, of style cutout .mov, or no ending "
            "for a folder"
        )
    kind = pictures or "png"
    if kind == "png" and quality is not None:
        raise UsageError(
            "PNGs have no quality, all of a picture is kept; leave it out, or take jpg"
        )
    return PictureFolder(path, first=first, step=step, kind=kind, quality=quality)


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
