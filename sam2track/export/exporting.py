"""Results into any format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.arguments import check_path
from sam2track.errors import ProjectError, Sam2TrackError, SourceError, UsageError
from sam2track.export import output_errors, shortened
from sam2track.export.extras import needed
from sam2track.export.sequence import Options, Results, Sequenced
from sam2track.export.staging import check_free, staged
from sam2track.frames.bounds import USUAL_FPS, asked_span
from sam2track.frames.opening import find_source, is_part, reopen_source
from sam2track.frames.source import FrameSource

__all__ = [
    "FORMATS",
    "TAKEN_BY",
    "Exported",
    "Format",
    "check_formats",
    "check_target",
    "export_results",
]


@dataclass(frozen=True)
class Format:
    """How a format is written: by which function of which module, and whether to a folder.

    ``suffix`` is what the name of a file usually ends with, ``wants`` a package that is not in the
    base installation.
    """

    module: str
    function: str
    folder: bool
    images: bool | None = False  # None: on request; True: unless refused
    about: str = ""
    suffix: str = ""
    wants: str = ""


FORMATS = {
    "davis": Format("davis", "write_davis", True, about="palette PNG for each frame"),
    "ytvos": Format("davis", "write_ytvos", True, None, "YouTube-VOS: PNGs and meta.json"),
    "coco": Format("coco", "write", False, None, "instances with run lengths", suffix=".json"),
    "ytvis": Format("ytvis", "write", False, None, "YouTube-VIS: masks by object", suffix=".json"),
    "mots": Format("mots", "write_mots", False, about="MOTS text", suffix=".txt"),
    "mot": Format("mots", "write_mot", False, about="MOTChallenge text (boxes)", suffix=".txt"),
    "ctc": Format("ctc", "write", True, about="Cell Tracking Challenge"),
    "labels-tiff": Format(
        "stacks", "write_labels_tiff", False, about="label stack for ImageJ", suffix=".tif"
    ),
    "ome-tiff": Format("stacks", "write_ome_tiff", False, about="label stack", suffix=".ome.tif"),
    "ome-zarr": Format(
        "omezarr", "write", True, about="label image 0.5", suffix=".ome.zarr", wants="zarr"
    ),
    "geff": Format(
        "geff", "write", True, about="graph of tracks and labels", suffix=".zarr", wants="zarr"
    ),
    "trackmate": Format(
        "trackmate", "write", False, about="spots with contours and tracks", suffix=".xml"
    ),
    "tracks-csv": Format("tables", "write_tracks_csv", False, about="napari Tracks", suffix=".csv"),
    "yolo-seg": Format("yolo", "write", True, True, "polygons to train on"),
    "sav": Format("sav", "write", True, about="SA-V: PNGs for each object and masklets"),
    "npz": Format("npz", "write", False, about="packed masks", suffix=".npz"),
    "parquet": Format(
        "tables",
        "write_parquet",
        False,
        about="table with masks",
        suffix=".parquet",
        wants="pyarrow",
    ),
    "csv": Format("tables", "write_csv", False, about="table", suffix=".csv"),
    "masks-video": Format(
        "mask_video", "write", False, about="lossless video of label maps", suffix=".mkv"
    ),
}

_PICTURED = tuple(name for name, how in FORMATS.items() if how.images is not False)
_SCALED = ("labels-tiff", "ome-tiff", "ome-zarr", "geff", "trackmate")

TAKEN_BY = {
    "name": ("ytvos", "coco", "ytvis", "ome-tiff", "ome-zarr", "geff", "yolo-seg", "sav"),
    "pixel_size": _SCALED,
    "unit": _SCALED,
    "frame_interval": _SCALED,
    "images": _PICTURED,
    "source": _PICTURED,
    "val_share": ("yolo-seg",),
    "codec": ("masks-video",),
    "palette": ("masks-video",),
}
"""Options that are of some formats alone, and of which; the others have no place for them."""


@dataclass(frozen=True)
class Exported:
    """What was written, and what is lost in it, a line each."""

    format: str
    path: Path
    warnings: tuple[str, ...]


def check_formats(names: Sequence[str]) -> None:
    """Raise a ``UsageError`` where a format is not known, or wants what is not installed."""
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"format {name!r}; allowed are {', '.join(FORMATS)}")
        if FORMATS[name].wants:
            needed(FORMATS[name].wants, name)


def check_target(
    format: str,
    output: str | os.PathLike[str],
    *,
    images: bool | None = None,
    overwrite: bool = False,
) -> None:
    """Raise a ``UsageError`` where there is something already that is not to be replaced."""
    path = check_path("output", output)
    check_free(path, folder=_is_folder(format, images), overwrite=overwrite)


def _is_folder(format: str, images: bool | None) -> bool:
    return FORMATS[format].folder or bool(images)  # beside pictures a file lies in one


def export_results(
    results: Results,
    format: str,
    output: str | os.PathLike[str],
    *,
    meta: Mapping[str, Any],
    columns: Sequence[str],
    options: Options | None = None,
    keep: Sequence[Path] = (),
    passed: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write results in a format.

    Parameters
    ----------
    results : Results
    format : str
        One of ``FORMATS``.
    output : path
        A file, or a folder that is not there yet.
    meta : mapping
        ``source`` and ``fingerprint`` of the pictures.
    columns : sequence of str
        Heads of the cells of a row.
    options : Options, optional
    keep : sequence of Path
        Files that are not to be written over or made, as the source is not.
    passed : callable, optional
        Called with the frames that are written and their number, some formats twice; what it
        raises ends the export, and nothing is left then.

    Raises
    ------
    UsageError
        Where the format, its options or the target cannot be.
    ProjectError
        Where there are no results.
    OutputError
        Where it cannot be written; nothing is left under its name then.
    """
    check_formats([format])
    how = FORMATS[format]
    options = options or Options()
    if options.images and format not in _PICTURED:
        raise UsageError(f"{format} has no place for pictures; leave images (--images) out")
    if format != "masks-video" and (options.codec or options.palette):
        raise UsageError(f"{format} is no video; leave codec and palette (--codec, --palette) out")
    known = results.frames
    if not known:
        raise ProjectError("the project holds no results; track first")
    low, high, past = asked_span("the project", options.start, options.stop, len(results.times))
    span = range(low, high)
    source = str(meta.get("source") or "video")
    sequence = Sequenced(results, span, options.name or _name(source), options, columns, meta=meta)
    sequence.passed = passed or sequence.passed
    sequence.warnings += past
    missing = len(span) - sum(frame in span for frame in known)
    if missing == len(span):
        raise UsageError(
            f"frames [{span.start}, {span.stop}) have no results; "
            f"there are some from {known[0]} to {known[-1]}"
        )
    if missing:
        sequence.warnings.append(
            f"{missing} of {len(span)} frames have no result and are written without objects"
        )
    write: Callable[[Path, Sequenced], None] = getattr(
        import_module(f"sam2track.export.{how.module}"), how.function
    )
    path = check_path("output", output)
    sequence.suffix = path.suffix.lower()
    with ExitStack() as stack:
        if options.images or (how.images and options.images is None):
            sequence.pictures = _pictures(stack, sequence, meta, options)
        with output_errors(path):  # of a name that no file can have
            found = [Path(source), find_source(meta, results.folder)]
            if isinstance(options.source, str | os.PathLike):  # also where it is not read
                found.append(Path(options.source))
            pictures = [place for place in found if place is not None]
            own = any(_same(path, taken) for taken in (*keep, *pictures))
            own = own or any(is_part(path, taken) for taken in pictures)
        if own:
            raise UsageError(
                f"{path} is what is exported from, or belongs to it; name another target"
            )
        folder = _is_folder(format, options.images)
        with staged(path, folder=folder, overwrite=options.overwrite) as partial:
            write(partial, sequence)
    return Exported(format, path, tuple(sequence.warnings))


def _name(source: str) -> str:
    """A sequence's name by its source, which may be named ``..`` or as long as a name can be."""
    stem = "".join(c if c.isprintable() and c != "\\" else "_" for c in Path(source).stem)
    stem = shortened(stem)
    return "video" if not stem.strip(".") else stem


def _same(path: Path, other: Path) -> bool:
    """Whether two paths are one file, or will be once it is there."""
    if path.exists() and other.exists():
        return path.samefile(other)
    try:
        return os.path.realpath(path) == os.path.realpath(other)
    except ValueError:  # what a stranger's project calls its source, and no file can be named
        return False


def _pictures(
    stack: ExitStack, sequence: Sequenced, meta: Mapping[str, Any], options: Options
) -> Callable[[int, int], Iterator[npt.NDArray[np.uint8]]] | None:
    """The source's frames; None, with a warning, where they are not what was tracked."""
    try:
        if isinstance(options.source, FrameSource):
            source = options.source
        else:
            folder = sequence.results.folder
            source = reopen_source(meta, options.source, fps=USUAL_FPS, folder=folder)
            stack.callback(source.close)
    except Sam2TrackError as error:
        if options.source is not None:
            raise
        sequence.warnings.append(f"no pictures are written: {error}; say where they are (--source)")
        return None
    told = meta.get("fingerprint")
    same = told == source.fingerprint()
    if options.source is not None:  # who names pictures wants them
        results = sequence.results
        wanted = (len(results.times), results.width, results.height)
        found = (len(source), source.width, source.height)
        if found != wanted:
            raise SourceError(
                "{} has {} frames of {} x {}, the project was made from {} of {} x {}; name "
                "others, or none".format(source.name, *found, *wanted)
            )
        if not same and told is not None:
            sequence.warnings.append(
                f"{source.name} holds other pictures than when the project was made; they are "
                "written all the same"
            )
    elif not same:
        sequence.warnings.append(
            f"no pictures are written: {source.name} is not what was tracked, it has changed"
        )
        return None
    return source.frames
