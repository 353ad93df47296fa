"""TIFF: multi-page, OME-TIFF and ImageJ stacks, page by page."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError, UsageError
from sam2track.frames.choice import Choice, choose
from sam2track.frames.files import Mapped, ends_of_file
from sam2track.frames.pages import MOST_PLANES, check_pages
from sam2track.frames.stack import Read, Stack, read_axes
from sam2track.frames.tiff_metadata import about

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

__all__ = ["tiff_stack"]

_LARGEST_RATIO = 1100  # no deflated byte comes to more than 1,032
_WHITE_IS_ZERO, _PALETTE, _CMYK = 0, 3, 5  # of the tag PhotometricInterpretation


def tiff_stack(
    path: Path, axes: str | Sequence[str] | None = None, key: str | None = None
) -> Stack:
    """Open a TIFF file as a stack; its first series where it holds several.

    Parameters
    ----------
    path : Path
    axes : str or sequence of str, optional
        In place of those that the file names.
    key : str, optional
        Which series, by its name or its number from 0.

    Raises
    ------
    SourceError
        Where it is damaged or holds no pictures.
    UsageError
        Where no series is called so, or the axes do not fit.
    """
    import tifffile

    with _said() as said:
        try:
            file = tifffile.TiffFile(path)
        except Exception as error:  # damaged headers end in anything, assertions for one
            raise _unreadable(path, error) from error
        try:
            return _stack(path, file, axes, key, said)
        except (SourceError, UsageError):
            file.close()
            raise
        except Exception as error:
            file.close()
            raise _unreadable(path, error) from error


def _stack(
    path: Path,
    file: TiffFile,
    axes: str | Sequence[str] | None,
    key: str | None,
    said: list[str],
) -> Stack:
    check_pages(path, file)
    if file.is_ome:
        _check_ome(path, file.ome_metadata or "")
    series, choice = _series(path, file, key)
    first, warnings = series[0], choice.warnings
    told = _axes_and_sizes(first)
    whole = [(a, n) for a, n in told if n > 1 or a != "S"]
    if len(series) > 1:
        whole.insert(0, ("T", len(series)))
    if isinstance(axes, Sequence) and len(axes) == len(whole):
        # A person may name axes of one place, too, or leave them out.
        named = read_axes(axes, tuple(n for _, n in whole), str(path))
        axes = "".join(a for a, (_, n) in zip(named, whole, strict=True) if n > 1 or a in "YX")
    kept = [(a, n) for a, n in whole if n > 1 or a in "YX"]
    pages = first.pages if len(series) == 1 else [one.pages[0] for one in series]
    end = path.stat().st_size
    frames = _frames_there(path, file, first, kept[0][1])
    there = len(pages)
    if frames is not None:
        warnings.append(f"it is cut short: its first {frames} of {kept[0][1]} frames are read")
        pages, kept[0] = pages[:1], (kept[0][0], frames)
    else:
        while there > 1 and not _lies_in(pages[there - 1], end):
            there -= 1
    if there < len(pages) == kept[0][1] and kept[0][0] not in "YXS":
        warnings.append(f"it is cut short: its first {there} of {len(pages)} pages are read")
        pages, kept[0] = pages[:there], (kept[0][0], there)
    sizes = tuple(n for _, n in kept)
    letters = read_axes("".join(a for a, _ in kept) if axes is None else axes, sizes, str(path))
    said, more = _checked_whole(path, file, math.prod(n for a, n in kept if a not in "YXS"), said)
    warnings += more if frames is None else []
    if axes is None and letters == "SYX":
        warnings.append(
            f"its {sizes[0]} planes are the colours of one picture, as it says; where they are "
            "frames, axes TYX say so (--axes)"
        )
    planes = _Pages(path, file, first, pages, letters, sizes)
    read: Read = planes.read
    dtype = np.dtype(first.dtype)
    photometric = int(first.keyframe.photometric)
    if photometric == _CMYK:
        raise SourceError(f"{path} holds colours of print (CMYK); convert it to RGB")
    if photometric == _PALETTE and first.keyframe.colormap is not None:
        read, dtype = _painted(planes.read, first.keyframe.colormap), np.dtype(np.uint8)
        letters, sizes = letters + "S", (*sizes, 3)
    elif photometric == _WHITE_IS_ZERO and dtype.kind in "bu":
        read = _inverted(planes.read)
    return Stack(
        name=str(path),
        axes=letters,
        shape=sizes,
        dtype=dtype,
        read=read,
        warnings=(*warnings, *(f"TIFF: {line}" for line in said)),
        key=choice.key,
        fingerprint=partial(ends_of_file, path.absolute()),
        close=file.close,
        **about(file, first, choice.number),
    )


def _check_ome(path: Path, told: str) -> None:
    """Refuse what OME's metadata claim or name before tifffile takes it for granted.

    It makes a list of all planes, and opens other files by the names that stand there.
    """
    for pixels in re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", told):
        planes = math.prod(
            int(size) for size in re.findall(r"\bSize[TZC]\s*=\s*[\"']\s*(\d{1,20})", pixels)
        )
        if planes > MOST_PLANES:
            raise SourceError(f"{path} claims {planes} planes; at most {MOST_PLANES} are read")
    for name in re.findall(r"\bFileName\s*=\s*[\"']([^\"']*)", told):
        if Path(name.replace("\\", "/")).name != name:
            raise SourceError(
                f"{path} names {name[:100]!r} as a part of it, which does not lie in its folder"
            )


def _series(path: Path, file: TiffFile, key: str | None) -> tuple[list[TiffPageSeries], Choice]:
    """Return the series that make the stack, and how they were chosen."""
    every: Any = file.series
    found = list(every(squeeze=False) if callable(every) else every)
    first = found[0]
    # Written page by page each page may be a series of its own.
    alike = not file.is_ome and all(
        len(s.pages) == 1 and (s.shape, s.dtype, s.axes) == (first.shape, first.dtype, first.axes)
        for s in found
    )
    if alike and key is None:
        return found, Choice(0, None, [])
    names = [str(s.name or "") if file.is_ome else "" for s in found]
    choice = choose(path, "series of pictures", names, key)
    if alike:  # the first, too, is another than what comes of none
        choice = choice._replace(key=str(choice.number))
    return [found[choice.number]], choice


def _axes_and_sizes(series: Any) -> list[tuple[str, int]]:
    """Return all axes of a series with their sizes, those of one place among them."""
    if hasattr(series, "get_shape"):  # tifffile before 2026.5
        axes, shape = series.get_axes(False), series.get_shape(False)
    else:
        axes, shape = series.axes, series.shape
    return [(axis, int(size)) for axis, size in zip(axes, shape, strict=True)]


def _frames_there(path: Path, file: TiffFile, series: TiffPageSeries, frames: int) -> int | None:
    """Return how many frames are there of planes whose pages a cut took; None where it took none.

    tifffile writes planes one after the other, the first page before and all others behind them.

    Raises
    ------
    SourceError
        Where not one is left.
    """
    if series.dataoffset is None or len(file.pages) >= len(series.pages):
        return None
    there = (path.stat().st_size - series.dataoffset) * frames // series.nbytes
    if there < 1:
        raise SourceError(f"{path} is cut short; fetch or export it again")
    return min(there, frames)


def _checked_whole(
    path: Path, file: TiffFile, planes: int, said: list[str]
) -> tuple[list[str], list[str]]:
    """Return what else tifffile said, and a line on what is missing of a file that is cut short.

    Raises
    ------
    SourceError
        Where an ImageJ file says that it holds more planes than can be read: its axes, and where
        all planes lie, are told at its end.
    """
    claimed = (file.imagej_metadata or {}).get("images", 0) if file.is_imagej else 0
    if isinstance(claimed, int) and claimed > planes:
        raise SourceError(
            f"{path} is cut short: it says that it holds {claimed} pictures, and {planes} can be "
            "read; fetch or export it again"
        )
    if not any(re.search("invalid (page offset|offset to page)", line) for line in said):
        return said, []
    return [], [f"it is cut short or damaged: its first {len(file.pages)} pages are read"]


def _painted(read: Read, colormap: npt.NDArray[np.uint16]) -> Read:
    """Colours in place of indices."""
    # Some programs write 8 bits in place of 16; libtiff reads those so, too.
    unused = 8 if np.max(colormap, initial=0) > 255 else 0
    table = (np.asarray(colormap).T >> unused).astype(np.uint8)
    return lambda at: table[read(at)]


def _inverted(read: Read) -> Read:
    """For files in which white is zero."""
    return lambda at: ~read(at)


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(
        f"{path} is no TIFF file that can be read ({error}); see whether ImageJ opens it, or fetch "
        "it again"
    )


class _Pages:
    """Reads planes of a series, by page or where they lie in the file."""

    def __init__(
        self,
        path: Path,
        file: TiffFile,
        first: TiffPageSeries,
        pages: Sequence[TiffPage | TiffFrame | None],
        axes: str,
        shape: tuple[int, ...],
    ) -> None:
        self._path, self._shape, self._axes = path.absolute(), shape, axes
        self._lock = threading.Lock()
        self._bytes = path.stat().st_size
        self._mapped: Mapped | None = None
        self._dtype = np.dtype(first.dtype)
        self._pages = pages
        page = [n for n in first.keyframe.shape if n > 1] if first.keyframe else []
        # Axes that a page holds by itself are the last ones, one row or column among them.
        large = [place for place, n in enumerate(shape) if n > 1]
        inner = len(page)
        while inner and [shape[place] for place in large[-inner:]] != page[-inner:]:
            inner -= 1
        self._outer = large[-inner] if inner else len(shape)
        while self._outer and shape[self._outer - 1] == 1:
            self._outer -= 1
        count = math.prod(shape[: self._outer])
        if len(self._pages) == count:
            return
        if first.dataoffset is None:
            raise SourceError(
                f"{path} has {len(self._pages)} pages for {count} planes; it is cut short or "
                "damaged: fetch or export it again"
            )
        # ImageJ writes one page and lets all planes follow it.
        if first.dataoffset + math.prod(shape) * self._dtype.itemsize > self._bytes:
            raise SourceError(f"{path} is cut short; fetch or export it again")
        dtype = self._dtype.newbyteorder(file.byteorder)
        self._mapped = Mapped(path, dtype, first.dataoffset, shape)

    def read(self, at: Mapping[str, int]) -> npt.NDArray[Any]:
        index = tuple(at.get(a, 0) if a not in "YXS" else slice(None) for a in self._axes)
        if self._mapped is not None:
            return self._mapped[index]
        outer = self._shape[: self._outer]
        places = [at.get(axis, 0) for axis in self._axes[: self._outer]]
        number = int(np.ravel_multi_index(places, outer)) if outer else 0
        with self._lock:
            page = self._pages[number]
            if page is None:  # OME-TIFF may leave planes out
                whole: npt.NDArray[Any] = np.zeros(self._shape[self._outer :], self._dtype)
            else:
                whole = self._decoded(page).reshape(self._shape[self._outer :])
        return whole[index[self._outer :]]

    def _decoded(self, page: TiffPage | TiffFrame) -> npt.NDArray[Any]:
        if not _lies_in(page, self._bytes):
            raise SourceError("the file is cut short before it")
        if page.nbytes > _LARGEST_RATIO * sum(page.databytecounts) + 2**20:
            raise SourceError(f"it claims {page.nbytes:,} bytes, far more than it can hold")
        try:
            with _said():
                return np.asarray(page.asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
        # Compressions that tifffile knows only with a package of codecs OpenCV mostly reads.
        import cv2

        found, pictures = cv2.imreadmulti(
            str(self._path), page.index, 1, flags=cv2.IMREAD_UNCHANGED
        )
        if not found:
            raise SourceError("its compression is not known here; install imagecodecs to read it")
        picture = np.asarray(pictures[0])
        if picture.ndim == 3:
            picture = picture[..., [2, 1, 0, 3][: picture.shape[2]]]
        return picture


def _lies_in(page: TiffPage | TiffFrame | None, size: int) -> bool:
    """Whether all of a page's bytes are in a file of that size."""
    if page is None:
        return True
    ends = zip(page.dataoffsets, page.databytecounts, strict=False)
    return all(offset + count <= size for offset, count in ends)


@contextmanager
def _said() -> Iterator[list[str]]:
    """Collect what tifffile logs, which it does where others raise."""
    said: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = " ".join(record.getMessage().split())
            if text not in said:
                said.append(text)

    logger, handler = logging.getLogger("tifffile"), Collect(logging.WARNING)
    kept = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = kept
