"""Videos, GIFs and folders of pictures that show a project's objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sam2track.arguments import check_path
from sam2track.errors import SourceError, UsageError
from sam2track.export.video_file import usual_rate
from sam2track.footage import needed_footage
from sam2track.frames.bounds import asked_span
from sam2track.masks import Box
from sam2track.project import Project
from sam2track.regular import check_regular
from sam2track.render import stamp, tag
from sam2track.styles import Style, Trails, checked, fitted, styled
from sam2track.table import TrackRow
from sam2track.writers import has_alpha, writer_for

__all__ = ["Film", "render"]

Picture = npt.NDArray[np.uint8]

_AROUND = 1.6  # a following crop's side over the largest of the object
_MARGIN = 4  # pixels beyond an object that keep their colour where they are transparent
_EASE = 0.25  # of the way to the object a crop goes each frame


@dataclass
class Film:
    """What `render` wrote.

    Attributes
    ----------
    path : Path
    frames : int
    height, width : int
    warnings : list of str
    """

    path: Path
    frames: int
    height: int
    width: int
    warnings: list[str] = field(default_factory=list)


def render(
    project: Project,
    output: str | os.PathLike[str],
    *,
    source: Any = None,
    style: str = "overlay",
    background: str | os.PathLike[str] | None = None,
    objects: Collection[int] | None = None,
    start: int | None = None,
    stop: int | None = None,
    ids: bool = True,
    names: bool = True,
    scores: bool = False,
    clock: bool = False,
    follow: int | None = None,
    crop: tuple[int, int] | None = None,
    trail: int | None = None,
    codec: str | None = None,
    quality: int | None = None,
    pictures: Literal["png", "jpg"] | None = None,
    size: int | None = None,
    every: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Film:
    """Show a project's objects as a video, a GIF or a folder of pictures.

    Frames keep their times; one is held at a time.

    Parameters
    ----------
    project : Project
    output : path
        ``.mp4``, ``.webm``, ``.gif``, or of style ``cutout`` ``.mov`` (ProRes 4444); without an
        ending, a folder of pictures named by frame.
    source : path, array or FrameSource, optional
        Where the pictures are, if no longer where the project says.
    style : str
        One of `styles.Style`. Of ``cutout``, PNGs, ``.mov`` and ``.webm`` with VP9 are transparent
        around the objects, and nothing is written on them.
    background : path, optional
        The picture behind the objects of style ``background``, scaled to cover the frame.
    objects : collection of int, optional
        Those to show; all, if not given.
    start, stop : int, optional
        Frames [start, stop); those that hold results, if not given.
    ids, names, scores : bool
        What is written on each object; the score is the predicted IoU.
    clock : bool
        Whether the time is written into each frame.
    follow : int, optional
        Show the surroundings of this object alone.
    crop : (int, int), optional
        Width and height of these surroundings; fits the object, if not given.
    trail : int, optional
        Frames that a trail of style ``trails`` goes back; 50, if not given.
    codec : {"h264", "hevc", "vp9", "av1"}, optional
        H.264 in ``.mp4`` and VP9 in ``.webm``, if not given.
    quality : int, optional
        Of videos the constant rate factor, 0 best; of JPEG 1 to 100.
    pictures : {"png", "jpg"}, optional
        What a folder holds; PNG, if not given.
    size : int, optional
        Longest side of what is written, in pixels; nothing is made larger.
    every : int
        Only every so manieth frame.
    progress : callable, optional
        Called with each frame that was written.

    Raises
    ------
    UsageError
        Where an option is out of its range, or does not go with the others.
    SourceError
        Where the pictures cannot be had.
    OutputError
        Where it cannot be written; no half of it is left.
    """
    look = checked(style)
    if (look == "background") != (background is not None):
        raise UsageError("style background and a background picture go together; give both")
    if crop is not None and follow is None:
        raise UsageError("a crop is the size of what follows an object; name it (follow, --follow)")
    if trail is not None and look != "trails":
        raise UsageError(f"style {style} has no trails; leave them out, or take style trails")
    if every < 1 or (size is not None and size < 16):
        raise UsageError(f"every {every} and size {size}; allowed are 1 and 16 or more")
    low, high, past = _range(project, start, stop)
    if follow is not None and follow not in project.objects:
        raise UsageError(f"object {follow} to follow is not in the project")
    transparent = look == "cutout" and has_alpha(check_path("output", output), codec, pictures)
    if transparent and (scores or clock):
        raise UsageError(
            "nothing is written on what is transparent; leave scores and time out, or write an .mp4"
        )
    pictured, problem = needed_footage(project, source)
    with ExitStack() as opened:
        if pictured is not source:
            opened.callback(pictured.close)
        made = Film(check_path("output", output), 0, 0, 0, [*past, *filter(None, [problem])])
        window = None if follow is None else _Window(project, follow, crop, low)
        height, width = window.size if window else (pictured.height, pictured.width)
        scale = min(1.0, size / max(height, width)) if size else 1.0
        made.height, made.width = max(1, round(height * scale)), max(1, round(width * scale))
        drawing = _Drawing(
            project=project,
            found=_by_frame(project, low, high),
            look=look,
            behind=_picture(background, pictured.height, pictured.width) if background else None,
            trails=Trails(50 if trail is None else trail),
            window=window,
            objects=objects,
            size=(made.height, made.width),
            ids=ids,
            names=project.names if names else {},
            scores=scores,
            clock=clock,
            transparent=transparent,
            # Videos code colour in coarser fields than alpha: edges would be dark.
            margin=_MARGIN if transparent and made.path.suffix else 0,
        )
        writer = writer_for(
            made.path,
            height=made.height,
            width=made.width,
            rate=usual_rate(project.times[low:high:every]),
            transparent=transparent,
            codec=codec,
            quality=quality,
            pictures=pictures,
            first=low,
            step=every,
        )
        try:
            for frame, picture in zip(range(low, high), pictured.frames(low, high), strict=False):
                drawing.go_to(frame)
                if (frame - low) % every:
                    continue
                seconds = float(pictured.times[frame]) - float(pictured.times[low])
                writer.write(drawing.of(picture), seconds)
                made.frames += 1
                if progress is not None:
                    progress(frame)
            writer.close()
        except BaseException:
            writer.abort()
            raise
    return made


def _range(project: Project, start: int | None, stop: int | None) -> tuple[int, int, list[str]]:
    frames, count = project.frames, int(project.meta["frames"])
    first, last = (frames[0], frames[-1] + 1) if frames else (0, count)
    start, stop = first if start is None else start, last if stop is None else stop
    return asked_span("the project", start, stop, count)


@dataclass(kw_only=True)
class _Drawing:
    """Draws frames of a project, which are gone through in order."""

    project: Project
    found: Iterator[Mapping[int, TrackRow]]
    look: Style
    behind: Picture | None
    trails: Trails
    window: _Window | None
    objects: Collection[int] | None
    size: tuple[int, int]
    ids: bool
    names: Mapping[int, str]
    scores: bool
    clock: bool
    transparent: bool
    margin: int = 0
    frame: int = 0
    rows: Mapping[int, TrackRow] = field(default_factory=dict)

    def go_to(self, frame: int) -> None:
        """Look where objects are on the next frame, whether it is drawn or not."""
        self.frame = frame
        if not (self.scores or self.look == "trails" or self.window):
            return
        rows = next(self.found)
        if self.window is not None:  # it may follow an object that is not shown
            self.window.move(rows.get(self.window.object_id))
        self.rows = {i: r for i, r in rows.items() if self.objects is None or i in self.objects}
        self.trails.add(frame, {i: r.centroid for i, r in self.rows.items() if r.centroid})

    def of(self, picture: Picture) -> Picture:
        """Return the frame as it is shown, from its (H, W, 3) picture; with alpha (h, w, 4)."""
        labels = self.project.labels(self.frame, self.objects)
        shown = picture
        if not self.transparent:
            shown = styled(self.look, shown, labels, background=self.behind, trails=self.trails)
        if self.window is not None:
            shown, labels = self.window.of(shown), self.window.of(labels)
        if shown.shape[:2] != self.size:
            shown, labels = _smaller(shown, labels, *self.size)
        if self.transparent:  # cut out last: made smaller, its edges would be mixed with the ground
            shape = _with_margin(labels, self.margin) if self.margin else labels
            alpha = np.where(labels > 0, 255, 0).astype(np.uint8)
            return np.dstack((styled(self.look, shown, shape), alpha))
        tag(shown, labels, self._text)
        if self.clock:
            stamp(shown, _clock(self.project.time(self.frame)))
        return shown

    def _text(self, object_id: int) -> str:
        row = self.rows.get(object_id) if self.scores else None
        iou = None if row is None else row.predicted_iou
        parts = (str(object_id) if self.ids else "", str(self.names.get(object_id, "")))
        return " ".join(filter(None, (*parts, "" if iou is None else f"{iou:.2f}")))


def _clock(seconds: float) -> str:
    """Minutes, seconds and thousandths."""
    minutes, rest = divmod(round(1000 * seconds), 60_000)
    return f"{minutes}:{rest // 1000:02}.{rest % 1000:03}"


def _with_margin(labels: npt.NDArray[np.int32], pixels: int) -> npt.NDArray[np.uint8]:
    import cv2

    around = np.ones((2 * pixels + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate((labels > 0).astype(np.uint8), around), np.uint8)


def _picture(path: str | os.PathLike[str], height: int, width: int) -> Picture:
    from PIL import Image

    from sam2track.frames.still import picture_of

    try:
        check_regular(path)
        with Image.open(path) as image:
            return fitted(picture_of(image), height, width)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or "it is no picture that can be read"
        raise SourceError(f"background {path} cannot be read: {why}") from error


def _smaller(
    shown: Picture, labels: npt.NDArray[np.int32], height: int, width: int
) -> tuple[Picture, npt.NDArray[np.int32]]:
    import cv2

    smaller = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA)
    few = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(smaller, np.uint8), np.asarray(few, np.int32)


class _Window:
    """A crop that follows an object smoothly, and stays where it was lost."""

    def __init__(
        self, project: Project, object_id: int, crop: tuple[int, int] | None, low: int = 0
    ) -> None:
        self.object_id = object_id
        self._frame = project.height, project.width
        # It begins where the object is on the frame `low`, or comes next, or else was last.
        first, side = None, 0
        for row in (row for row in project.rows() if row.object_id == object_id):
            if row.centroid is not None and (first is None or first.frame < low):
                first = row
            x0, y0, x1, y1 = row.box or (0, 0, 0, 0)
            side = max(side, x1 - x0, y1 - y0)
            if crop is not None and first is not None and first.frame >= low:
                break
        if first is None or first.centroid is None:
            raise UsageError(f"object {object_id} to follow is on no frame")
        self._at = first.centroid
        wide, high = crop or (max(64, round(_AROUND * side)),) * 2
        if wide < 16 or high < 16:
            raise UsageError(f"a crop of {wide} x {high}; it has at least 16 x 16")
        self.size = min(high, project.height), min(wide, project.width)

    def move(self, row: TrackRow | None) -> None:
        """Go towards where the object is."""
        if row is not None and row.centroid is not None:
            high, wide = self.size
            x, y = (
                # However fast it is, it stays in the middle half.
                min(max(at + _EASE * (to - at), to - side / 4), to + side / 4)
                for at, to, side in zip(self._at, row.centroid, (wide, high), strict=True)
            )
            self._at = x, y

    def of(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what is seen of a picture."""
        x0, y0, x1, y1 = self._box()
        return np.ascontiguousarray(picture[y0:y1, x0:x1])

    def _box(self) -> Box:
        (high, wide), (height, width) = self.size, self._frame
        x0 = min(max(0, round(self._at[0] - wide / 2)), width - wide)
        y0 = min(max(0, round(self._at[1] - high / 2)), height - high)
        return x0, y0, x0 + wide, y0 + high


def _by_frame(project: Project, low: int, high: int) -> Iterator[Mapping[int, TrackRow]]:
    """Yield where objects are on each of the frames [low, high): stored, so no mask is read."""
    groups = groupby(project.rows(low, high), key=lambda row: row.frame)
    at = next(groups, None)
    for frame in range(low, high):
        rows = {row.object_id: row for row in at[1]} if at and at[0] == frame else {}
        if rows:
            at = next(groups, None)
        yield rows
