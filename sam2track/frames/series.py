"""Which pictures of a folder follow one another, by their names.

Microscopes write one file for each time, channel and position, such as ``t003_c1.tif``: what such
a folder holds is no sequence, but several, and the order of names puts one after the other or
mixes them.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from sam2track.errors import UsageError

__all__ = ["beside", "matching", "pattern_of_one", "picture_of"]

_PARTS = re.compile(r"[0-9]+(?:\.[0-9]+)?|[^\W\d_]+|[\W_]+")
_NAMED = 3
# What segmenters add to the name of a picture; "_cp_masks" is Cellpose's.
_WORDS = "cp_masks|masks?|labels?|segmentation|seg"
_ADDED = re.compile(rf"^({_WORDS})[ _.-](?=.)|(?<=.)[ _.-]({_WORDS})$", re.IGNORECASE)
# What Cellpose saves as well where it is asked to: no label maps.
_MORE = re.compile(r"_(cp_outlines|outlines|flows|cp_output|cp_ncolor_masks)$", re.IGNORECASE)


def picture_of(stem: str) -> str:
    """Return the name of the picture that a file is of labels of, by its own; else its own.

    Both without ending: ``cell_003`` of ``cell_003_cp_masks``, and of ``mask_cell_003``.
    """
    return _ADDED.sub("", stem, count=1) if _MORE.search(stem) is None else stem


def beside(stem: str) -> str:
    """Return the name of the picture that a file comes of: as ``picture_of``, or drawings of it."""
    return _MORE.sub("", picture_of(stem))


def matching(folder: str, pictures: Sequence[Path], pattern: str) -> list[Path]:
    """Return the pictures whose names are of a pattern.

    Parameters
    ----------
    folder : str
        What they are from, for messages.
    pictures : sequence of Path
    pattern : str
        As of a shell: ``*`` for any signs, ``?`` for one, ``[01]`` for one of these.

    Raises
    ------
    UsageError
        Where none is.
    """
    found = [picture for picture in pictures if fnmatchcase(picture.name, pattern)]
    if not found:
        held = ", ".join(picture.name for picture in pictures[:_NAMED])
        more = ", …" if len(pictures) > _NAMED else ""
        raise UsageError(
            f"no picture of {folder} has a name like {pattern!r} (it holds {held}{more}); a "
            "pattern, such as '*_c1*', chooses by names, as key (--key)"
        )
    return found


def pattern_of_one(names: Sequence[str]) -> str | None:
    """Return a pattern of one sequence among several that names tell of; None where it is one.

    It is several where parts of the names, numbers or words, differ in two places or more, and
    each value of one comes with each of the others: times and channels, for example. What has
    the most values is taken for the time.
    """
    split = [_PARTS.findall(name) for name in names]
    if len({len(parts) for parts in split}) != 1:
        return None
    places = list(zip(*split, strict=True))
    values = {at: len(set(place)) for at, place in enumerate(places)}
    differ = [at for at, count in values.items() if count > 1]
    if len(differ) < 2 or math.prod(values[at] for at in differ) != len(set(names)):
        return None
    time = max(differ, key=lambda at: values[at])
    return "".join("*" if at == time else glob.escape(part) for at, part in enumerate(split[0]))
