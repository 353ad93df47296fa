"""Which frame each file of a folder is of, by its name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from sam2track.errors import SourceError
from sam2track.frames.series import picture_of
from sam2track.frames.source import FrameSource, stems_of

__all__ = ["LABEL_ENDINGS", "by_frame", "label_files", "numbered", "tells_labels"]

LABEL_ENDINGS = frozenset({".npy", ".png", ".tif", ".tiff"})
_CELLPOSE = "_seg.npy"
_OURS = 5  # digits in the names of our own files, and of those of DAVIS, which count frames from 0


def tells_labels(path: Path) -> bool:
    """Whether a name says that of its picture the file holds labels: ``cell_003_cp_masks.png``."""
    return picture_of(path.stem) != path.stem


def label_files(folder: Path, endings: Collection[str]) -> list[Path]:
    """Files of labels in a folder: with such endings, and without the pictures beside them.

    Raises
    ------
    SourceError
        Where there are none.
    """
    there = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    found = [p for p in there if not p.name.startswith(".") and not p.name.endswith(_CELLPOSE)]
    told = [path for path in found if tells_labels(path)]
    if not told and any(path.name.endswith(_CELLPOSE) for path in there):
        raise SourceError(
            f"{folder} holds no label maps but Cellpose's {_CELLPOSE}, which hold Python objects; "
            "let it save masks as PNG or TIFF, too"
        )
    if not found:
        raise SourceError(f"{folder} holds no label maps; they end in {', '.join(sorted(endings))}")
    return told or found


def by_frame(files: Iterable[Path], source: FrameSource | None, told: list[str]) -> dict[int, Path]:
    """Files by their frame, ascending.

    That is the frame of the picture that bears the same name. All other names are taken for
    numbers of frames, from 0 on, and so are those of PNGs that are all such numbers of five digits,
    as ours.

    Parameters
    ----------
    files : iterable of Path
    source : FrameSource, optional
        What they are of.
    told : list of str
        Takes a line where they count from 1, or where pictures bear the same numbers otherwise.

    Raises
    ------
    SourceError
        As ``numbered``; where some bear names of pictures and one does not, two are of one picture,
        or one is itself a picture of the source.
    """
    files = list(files)
    _check_others(files, source)
    names = (None if source is None else stems_of(source)) or []
    places = {name: frame for frame, name in enumerate(names)}
    exact = all(path.stem in places for path in files)
    counted = all(path.stem.isdecimal() and int(path.stem) < len(names) for path in files)
    ours = all(len(path.stem) == _OURS and path.suffix.lower() == ".png" for path in files)
    if counted and exact and ours and any(places[p.stem] != int(p.stem) for p in files):
        told.append(
            f"{files[0].name} and others in {files[0].parent} are taken for numbers of frames, "
            "from 0 on, though pictures that are other frames bear the same names"
        )
    if not counted or (exact and not ours):
        found: dict[int, Path] = {}
        for path in files:
            for stem in (path.stem, picture_of(path.stem)):
                if stem in places:
                    if other := found.get(places[stem]):
                        raise SourceError(
                            f"{other.name} and {path.name} in {path.parent} are both of the "
                            f"picture {stem}; take one of them out"
                        )
                    found[places[stem]] = path
                    break
        taken = {*found.values()}
        if found and (alien := next((p for p in files if p not in taken), None)):
            raise SourceError(
                f"{alien} bears the name of no picture of its own, as others there do; take it out"
            )
        if found:
            return dict(sorted(found.items()))
    by_number = numbered(files)
    if source is not None and [*by_number] == [*range(1, len(source) + 1)]:
        told.append(f"{files[0].parent} counts frames from 1; here they count from 0")
        return {number - 1: path for number, path in by_number.items()}
    return by_number


def _check_others(files: Iterable[Path], source: FrameSource | None) -> None:
    """Refuse pictures of the source, which nobody means to be labels of themselves."""
    pictures = {Path(path).resolve() for path in getattr(source, "paths", ())}
    for path in files:
        if path.resolve() in pictures:
            raise SourceError(
                f"{path} is a picture of the source itself; give the folder of the label maps, or "
                "name them after their pictures, as a_masks.tif of a.tif"
            )


def numbered(files: Iterable[Path]) -> dict[int, Path]:
    """Files by the last number in their names, ascending.

    Raises
    ------
    SourceError
        Where one has no number, or two have the same.
    """
    found: dict[int, Path] = {}
    for path in sorted(files):
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise SourceError(f"{path} has no number in its name; frames are named by number")
        frame = int(digits[-1])
        if frame in found:
            raise SourceError(f"{found[frame].name} and {path.name} in {path.parent} are one frame")
        found[frame] = path
    return dict(sorted(found.items()))
