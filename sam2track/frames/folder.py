"""Folders of pictures."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError, UsageError
from sam2track.frames.bounds import USUAL_FPS, check_frame, even_times
from sam2track.frames.coded import decoded
from sam2track.frames.files import size_and_ends
from sam2track.frames.headers import stored_size, wrong_with
from sam2track.frames.intensity import (
    Limits,
    check_limits,
    found_limits,
    looked_at,
    sample,
    scaled,
)
from sam2track.frames.pages import check_pages
from sam2track.frames.series import beside, matching, pattern_of_one
from sam2track.frames.source import ByFrame, Frame

__all__ = ["ImageFolder", "is_picture", "natural_key", "pictures_in"]

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# Metadata of cameras may push the size of a JPEG some way back.
_FIRST_BYTES = 1 << 10
_HEAD_BYTES = 128 << 10
_HASHED_BYTES = 4 << 10
_NAMED = 3


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return what to sort names by so that ``img2`` comes before ``img10``."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def is_picture(path: Path) -> bool:
    """Whether a file is taken for a picture of the folder that it lies in, by its name."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def pictures_in(folder: str | os.PathLike[str]) -> tuple[list[Path], list[str]]:
    """Return the PNG, JPEG, BMP, TIFF and WebP files of a folder, and what is left out.

    Returns
    -------
    list of Path
        In natural order of their names; files whose name begins with a dot are passed over.
    list of str
        A line that names other files, if there are any.

    Raises
    ------
    SourceError
        Where it cannot be listed or holds none.
    """
    try:
        seen = [e for e in Path(folder).iterdir() if not e.name.startswith(".")]
        seen.sort(key=lambda e: natural_key(e.name))
        entries = [e for e in seen if e.is_file()]
    except OSError as error:
        raise SourceError(
            f"{folder} cannot be listed ({error.strerror}); give a folder that may be read"
        ) from error
    found = [e for e in entries if is_picture(e)]
    others = [e.name for e in entries if not is_picture(e)]
    if not found:
        held = f", only {_listed(others)}" if others else ""
        within = [e.name for e in seen if e.is_dir()]
        deeper = f"; name one of the folders in it ({_listed(within)})" if within else ""
        raise SourceError(
            f"{folder} holds no pictures{held}; it takes PNG, JPEG, BMP, TIFF and WebP{deeper}"
        )
    if not others:
        return found, []
    left = _listed(others)
    return found, [f"left out of {folder}, being no PNG, JPEG, BMP, TIFF or WebP: {left}"]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _labels_among(pictures: list[Path]) -> list[str]:
    """Names of what a segmenter has left beside the pictures: label maps, and drawings of them."""
    there = {picture.stem for picture in pictures}
    stems = [(picture, beside(picture.stem)) for picture in pictures]
    return [path.name for path, stem in stems if stem != path.stem and stem in there]


class ImageFolder(ByFrame):
    """The PNG, JPEG, BMP, TIFF and WebP pictures of a folder, in the natural order of their names.

    What a segmenter has left beside its pictures, such as ``a_cp_masks.png``, is left out.
    Grey and palette pictures become RGB, EXIF rotation is applied, transparency is dropped.
    Pictures of more than 8 bits are scaled by the same limits, as those of stacks are.

    Parameters
    ----------
    path : str or PathLike
        The folder; folders within are not looked into.
    fps : float
        Frames per second.
    limits : (float, float) or "per-frame", optional
        Values that become 0 and 255; as ``StackSource``.
    key : str, optional
        A pattern of names, such as ``*_c1*``: only these pictures are taken.

    Attributes
    ----------
    name : str
        The path as given.
    paths : list of Path
        The picture of each frame.
    height, width : int
        Size in pixels of the upright pictures.
    times : (T,) float64 array
        Seconds from the first picture.
    warnings : list of str
        What was odd, one line each.

    Raises
    ------
    SourceError
        Where the folder holds no pictures, or pictures of several sizes, or the first cannot be
        read.
    UsageError
        Where ``fps`` is not a positive number, limits cannot be, or no name is of the pattern.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float = USUAL_FPS,
        *,
        limits: object = None,
        key: str | None = None,
    ) -> None:
        self.name = os.fspath(path)
        found, self.warnings = pictures_in(path)
        self._key = key
        if key is not None:
            found = matching(self.name, found, key)
        if labels := _labels_among(found):
            self.warnings.append(
                f"left out of {self.name}, being labels of the pictures beside them by their "
                f"names, or drawings of these: {_listed(labels)}"
            )
            found = [picture for picture in found if picture.name not in labels]
        if one := pattern_of_one([picture.name for picture in found]):
            self.warnings.append(
                f"by their names ({found[0].name} to {found[-1].name}) these are several "
                f"sequences, of which one is made; key (--key) takes some, such as {one!r}"
            )
        # The current folder may be another when they are read, and hold such names as well.
        self.paths = [picture.absolute() for picture in found]
        self.times: npt.NDArray[np.float64] = even_times(len(self.paths), fps)
        first = self._load(self.paths[0])
        self.height, self.width = first.shape[:2]
        self._dtype = first.dtype
        self._given = check_limits(limits)
        if isinstance(self._given, tuple) and len(self._given) > 1:
            raise UsageError(f"limits {limits!r}; a folder of pictures takes one pair")
        self._limits = self._given[0] if isinstance(self._given, tuple) else None
        self._check_sizes()
        if pages := _pages_of(self.paths[0]):
            self.warnings.append(
                f"{self.paths[0].name} holds {pages} pages; the first of each file is shown: give "
                "one such file for all of its pages"
            )

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.paths)

    def read(self, frame: int) -> Frame:
        """Return one picture, (H, W, 3) uint8 RGB.

        Raises
        ------
        SourceError
            Where there is no such frame, or its file cannot be read or has another size.
        """
        picture = self._values(check_frame(self.name, frame, len(self)))
        if self._given == "per-frame":
            return scaled(picture, found_limits([sample(picture, 1)]))
        if self.limits is None:
            return picture
        return scaled(picture, self.limits)

    @property
    def limits(self) -> Limits | None:
        """Values that become 0 and 255; None where pictures are taken as they are."""
        if self._limits is None and self._given is None and self._dtype != np.uint8:
            frames = looked_at(len(self))
            self._limits = found_limits([sample(self._values(f), len(frames)) for f in frames])
        return self._limits

    @property
    def options(self) -> dict[str, Any]:
        """What is shown, in values for JSON."""
        limits = "per-frame" if self._given == "per-frame" else self.limits
        return {"limits": limits, "key": self._key}

    def _values(self, frame: int) -> npt.NDArray[Any]:
        path = self.paths[frame]
        picture = self._load(path)
        self._check_size(path, picture.shape[:2])
        if picture.dtype != self._dtype:
            raise SourceError(
                f"{path} holds {picture.dtype}, but {self.paths[0].name} {self._dtype}; all "
                "pictures must hold numbers of one kind"
            )
        return picture

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits made of names, sizes and both ends of all files.

        Raises
        ------
        SourceError
            Where a file can no longer be read.
        """
        digest = hashlib.sha256()
        for path in self.paths:
            try:
                size, ends = size_and_ends(path, _HASHED_BYTES)
            except OSError as error:
                raise _unreadable(path, error) from error
            digest.update(f"{path.name}\0{size}\0".encode("utf-8", "surrogateescape") + ends)
        return digest.hexdigest()[:16]

    def close(self) -> None:
        """Do nothing: no file is kept open."""

    def _check_sizes(self) -> None:
        """Compare the sizes that headers tell, so that a long run does not fail at its end."""
        for path in self.paths[1:]:
            try:
                with path.open("rb", buffering=0) as file:
                    # Of most formats; in JPEG a thumbnail may lie before the size.
                    head = file.read(_FIRST_BYTES)
                    size = stored_size(head) or stored_size(head + file.read(_HEAD_BYTES))
            except OSError as error:
                raise _unreadable(path, error) from error
            # EXIF may swap the two; reading tells for good.
            if size is not None and sorted(size) != sorted((self.height, self.width)):
                self._check_size(path, size)

    def _check_size(self, path: Path, size: tuple[int, ...]) -> None:
        if size != (self.height, self.width):
            raise SourceError(
                f"{path} is {size[1]}x{size[0]}, but {self.paths[0].name} is "
                f"{self.width}x{self.height}; all pictures must have one size"
            )

    @staticmethod
    def _load(path: Path) -> npt.NDArray[Any]:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error
        picture = decoded(path, data)
        if picture is None:
            raise SourceError(
                f"{path} is no picture that can be read: it is {wrong_with(data)}; replace or "
                "remove it"
            )
        return picture


def _pages_of(path: Path) -> int:
    """How many pages a TIFF file has, 0 where it has one or is none."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return 0
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            check_pages(path, file)
            return len(file.pages) if len(file.pages) > 1 else 0
    except Exception:  # reading it will say what is wrong
        return 0


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(f"{path} cannot be read ({error.strerror}); check its permissions")
