"""Masks of other tools, whatever they lie in, frame by frame."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sam2track.arguments import check_path
from sam2track.errors import Sam2TrackError, SourceError, UsageError
from sam2track.export.numbering import LABEL_ENDINGS, tells_labels
from sam2track.frames.source import FrameSource
from sam2track.lazy import Masks
from sam2track.masks import Part
from sam2track.regular import check_regular

__all__ = [
    "BY_SUFFIX",
    "READERS",
    "UNNAMED",
    "Boxed",
    "Reading",
    "by_label",
    "detect",
    "fitted",
    "name_of",
    "open_masks",
]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """Masks of one sequence.

    Attributes
    ----------
    path : Path
    format : str
    height, width : int
        Of a frame in pixels.
    frames : sequence of int or None
        Which frames there are, ascending; None where the format does not say, so that a frame
        without a mask is one without objects.
    shots : callable
        Yields each frame and its masks by object, ascending; one is held at a time. Those of a
        label map are made one by one, as they are asked for.
    names : mapping of int to str
    lineage : mapping of int to int
        Mother of each daughter.
    warnings : list of str
        What was odd, one line each; grows as masks are read.
    """

    path: Path
    format: str
    height: int
    width: int
    frames: Sequence[int] | None
    shots: Callable[[], Iterator[tuple[int, Mapping[int, Mask]]]]
    names: Mapping[int, str] = field(default_factory=dict)
    lineage: Mapping[int, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


UNNAMED = "object"
"""The category of objects without a name, in formats in which every object is of one."""

# Format: module and what it calls its reader.
READERS = {
    "davis": "davis",
    "ytvos": "davis",
    "coco": "coco",
    "ytvis": "ytvis",
    "mots": "mots",
    "ctc": "ctc",
    "labels-tiff": "stacks",
    "ome-tiff": "stacks",
    "ome-zarr": "omezarr",
    "geff": "geff",
    "trackmate": "trackmate",
    "yolo-seg": "yolo",
    "sav": "sav",
    "npz": "npz",
    "parquet": "tables",
    "masks-video": "mask_video",
    "label-files": "label_files",
}
_BY_NAME = ("davis", "ytvos", "label-files")  # whose files may bear the names of pictures

BY_SUFFIX = {
    ".txt": "mots",
    ".tif": "labels-tiff",
    ".tiff": "labels-tiff",
    ".npz": "npz",
    ".npy": "label-files",
    ".parquet": "parquet",
    ".mkv": "masks-video",
    ".mp4": "masks-video",
    ".avi": "masks-video",
    ".zarr": "ome-zarr",
    ".xml": "trackmate",
}
"""Formats of files, by the ending of their names."""


def name_of(category: object) -> str:
    """Return the name of objects of a category; none of the one that stands for it."""
    return "" if category is None or category == UNNAMED else str(category)


def by_label(
    labels: npt.NDArray[np.generic], warnings: list[str] | None = None
) -> Mapping[int, Mask]:
    """Masks by object of a label map, ascending; each is made when it is asked for.

    Labels below 0, by which some tools say that a pixel is nobody's, are ground; that there are
    some is added to the warnings once.

    Raises
    ------
    SourceError
        Where they are no whole numbers.
    """
    if labels.dtype.kind == "f":  # as some programs save whole numbers
        with np.errstate(invalid="ignore"):
            whole = labels.astype(np.int64)
        if not (whole == labels).all():
            raise SourceError("labels hold fractions; give label maps of whole numbers")
        labels = whole
    ids = np.unique(labels).tolist()
    told = "labels below 0 are taken for ground"
    if warnings is not None and ids and ids[0] < 0 and told not in warnings:
        warnings.append(told)
    return Masks({int(i): partial(_equal, labels, int(i)) for i in ids if i > 0})


def _equal(labels: npt.NDArray[np.generic], object_id: int) -> Mask:
    return np.asarray(labels == object_id, np.bool_)


class Boxed(Masks):
    """Masks of a frame, none of which is empty; of each, what lies in its box is held."""

    def __init__(self, masks: Iterable[tuple[int, Mask]]) -> None:
        parts = ((object_id, Part.of(mask)) for object_id, mask in masks)
        self._parts = {object_id: part for object_id, part in parts if part.part.size}
        super().__init__({object_id: part.whole for object_id, part in self._parts.items()})

    def paint(self, labels: npt.NDArray[np.int32]) -> int:
        """Paint all on a label map, later ones over earlier; return how many pixels they have."""
        total = 0
        for object_id, part in self._parts.items():
            labels[part.place][part.part] = object_id
            total += int(np.count_nonzero(part.part))
        return total


def open_masks(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    option: str = "--format",
    source: FrameSource | None = None,
) -> Reading:
    """Open masks in any of the formats that hold some.

    Parameters
    ----------
    path : path
        A file or a folder.
    format : str, optional
        One of ``READERS``; found from what lies there where not given.
    option : str
        By which the command line says the format, for messages.
    source : FrameSource, optional
        What they are of: files that bear names of its pictures are of these.

    Raises
    ------
    UsageError
        Where the format holds no masks, or none of ours is seen there.
    SourceError
        Where it cannot be read.
    """
    path = check_path("masks", path)
    if not path.exists():
        raise SourceError(f"there is nothing at {path}")
    found = detect(path, option) if format is None else format
    if found not in READERS:
        raise UsageError(f"{found!r} holds no masks; allowed are {', '.join(READERS)}")
    module = import_module(f"sam2track.export.{READERS[found]}")
    with _errors(path, found):
        for held in (path, *path.rglob("*")):  # each format says for itself what it reads
            check_regular(held)
        pictures = {"source": source} if found in _BY_NAME else {}
        reading: Reading = module.read(path, found, **pictures)

    told = partial(_errors, path, found)

    def shots() -> Iterator[tuple[int, Mapping[int, Mask]]]:
        with told():
            for frame, masks in reading.shots():
                # What is made later, where it is asked for, is told of as well.
                yield frame, masks.within(told) if isinstance(masks, Masks) else masks

    return replace(reading, shots=shots)


@contextmanager
def _errors(path: Path, found: str) -> Iterator[None]:
    """Say of a file that is damaged, or no such file at all, that it cannot be read."""
    try:
        yield
    except Sam2TrackError:
        raise
    except OSError as error:
        place = error.filename or path
        raise SourceError(f"cannot read {place}: {error.strerror or error}") from error
    except (
        # What libraries raise on bytes that are not what they take them for.
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
        sqlite3.Error,
        struct.error,
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise SourceError(f"cannot read {path} as {found}: {why:.200}") from error


def fitted(reading: Reading, source: FrameSource) -> Reading:
    """Return masks of the frames of a source; of whole pictures those of the part that is shown.

    Raises
    ------
    UsageError
        Where they are of other frames, as far as is known.
    """
    if (reading.height, reading.width) == getattr(source, "whole", None):
        reading = _cut(reading, *source.crop)  # type: ignore[attr-defined]
    if (reading.height, reading.width) != (source.height, source.width):
        raise UsageError(
            f"{reading.path} has masks of {reading.width} x {reading.height} pixels, "
            f"{source.name} frames of {source.width} x {source.height}; give the video they are of"
        )
    frames = reading.frames or ()
    for frame in (*frames[:1], *frames[-1:]):
        if not 0 <= frame < len(source):
            raise UsageError(
                f"{reading.path} has a mask of frame {frame}, "
                f"{source.name} frames 0 to {len(source) - 1}; give the video they are of"
            )
    return reading


def _cut(reading: Reading, x0: int, y0: int, x1: int, y1: int) -> Reading:
    def part(masks: Mapping[int, Mask], object_id: int) -> Mask:
        return masks[object_id][y0:y1, x0:x1]

    def shots() -> Iterator[tuple[int, Mapping[int, Mask]]]:
        for frame, masks in reading.shots():
            yield frame, Masks({i: partial(part, masks, i) for i in masks})

    return replace(reading, height=y1 - y0, width=x1 - x0, shots=shots)


def _kind_of_json(path: Path) -> str:
    """Which format's file it is: by a key that those of the others have not."""
    with path.open("rb") as file:
        before = b""
        while block := file.read(1 << 20):
            if not before and b'"masklet"' in block[:4096]:
                return "sav"
            if b'"file_names"' in before + block:  # a video's; wherever it is among the keys
                return "ytvis"
            before = block[-12:]
    return "coco"


def _holds_graph(path: Path) -> bool:
    """Whether a zarr group, or one right below it, says of itself that it is a graph (GEFF)."""
    for pattern in ("zarr.json", ".zattrs", "*/zarr.json", "*/.zattrs"):
        for file in filter(Path.is_file, path.glob(pattern)):
            with suppress(ValueError, OSError, RecursionError):
                said = json.loads(file.read_bytes())
                said = said.get("attributes", said) if isinstance(said, dict) else said
                if isinstance(said, dict) and "geff" in said:
                    return True
    return False


def detect(path: Path, option: str = "--format") -> str:
    """Say which format lies at a path.

    Raises
    ------
    UsageError
        Where none is seen.
    """
    if path.suffix.lower() == ".json" and path.is_file():
        return _kind_of_json(path)
    if _holds_graph(path):
        return "geff"
    if path.suffix.lower() in BY_SUFFIX:
        return BY_SUFFIX[path.suffix.lower()]
    if path.is_dir():
        names = [p.name for p in path.iterdir()]
        if "zarr.json" in names:
            return "ome-zarr"
        if any(re.fullmatch(r"(mask|man_track|man_seg)\d+\.tif", name) for name in names):
            return "ctc"
        if "data.yaml" in names:
            return "yolo-seg"
        if "meta.json" in names and "Annotations" in names:
            return "ytvos"
        if "annotations.json" in names:
            return _kind_of_json(path / "annotations.json")
        folders = [p for p in path.iterdir() if p.is_dir() and p.name.isdecimal()]
        if folders and any(folders[0].glob("*.png")):
            return "sav"
        files = [path / name for name in names if Path(name).suffix.lower() in LABEL_ENDINGS]
        # Cellpose's own file is named as if it were one.
        if any(map(tells_labels, files)) or {file.suffix.lower() for file in files} - {".png"}:
            return "label-files"
        if any(name.lower().endswith(".png") for name in names) or any(
            any(p.glob("*.png")) for p in path.iterdir() if p.is_dir()
        ):
            return "davis"
    raise UsageError(
        f"no masks are seen in {path}; name their format ({option}): {', '.join(READERS)}"
    )
