"""Pages of TIFF files, looked at before tifffile takes them for granted."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from sam2track.errors import SourceError

if TYPE_CHECKING:
    from tifffile import TiffFile

__all__ = ["MOST_PLANES", "check_pages"]

MOST_PLANES = 2**22
"""Most planes of a file, of which a list is made."""

_MOST_UNLIKE = 2**14  # pages that differ: each is compared with all before it
_MOST_TAGS = 4096  # of a page, to tifffile
_BIG = 43  # version of BigTIFF, whose header is longer


def check_pages(path: Path, file: TiffFile) -> None:
    """Refuse pages with which tifffile would be busy without end.

    Each page says where the next one lies. tifffile follows them where they lead back, too.

    Raises
    ------
    SourceError
        Where they do, or there are too many.
    """
    count = _followed(path, file)
    if count > _MOST_UNLIKE and not file.is_uniform:
        raise SourceError(
            f"{path} has {count} pages that are not alike; at most {_MOST_UNLIKE} such are read: "
            "split it"
        )


def _followed(path: Path, file: TiffFile) -> int:
    form, end = file.tiff, path.stat().st_size
    seen: set[int] = set()
    with path.open("rb") as stream:

        def number(layout: str, size: int) -> int:
            data = stream.read(size)
            return int(struct.unpack(layout, data)[0]) if len(data) == size else 0

        stream.seek(8 if form.version == _BIG else 4)
        at = number(form.offsetformat, form.offsetsize)
        while 0 < at < end:
            if at in seen:
                raise SourceError(
                    f"{path} is damaged: behind page {len(seen) - 1} it goes back to an earlier "
                    "one; fetch or export it again"
                )
            if len(seen) == MOST_PLANES:
                raise SourceError(f"{path} has more than {MOST_PLANES} pages; split it")
            seen.add(at)
            stream.seek(at)
            tags = number(form.tagnoformat, form.tagnosize)
            if tags > _MOST_TAGS:
                break
            stream.seek(tags * form.tagsize, 1)
            at = number(form.offsetformat, form.offsetsize)
    return len(seen)
