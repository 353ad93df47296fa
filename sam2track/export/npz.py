"""NumPy archive of packed masks, a member for each frame, so that none is read but on demand."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.label_files import of_array
from sam2track.export.reading import Reading
from sam2track.export.sequence import Sequenced
from sam2track.lazy import Masks
from sam2track.masks import MAX_PIXELS

__all__ = ["read", "write"]

_LABELS = ("labels", "label", "masks", "mask", "segmentation")


def write(path: Path, sequence: Sequenced) -> None:
    """Write what ``numpy.load`` reads.

    ``shape`` (height, width), ``frames``, ``times``, ``objects``, ``names``, ``mothers`` (0 for
    none), and of each frame with masks ``ids_00000`` (N,) and ``masks_00000``
    (N, H, ceil(W / 8)) uint8, which ``numpy.unpackbits(..., axis=-1, count=W)`` unpacks.
    """
    objects = sequence.objects
    mothers = sequence.results.lineage
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:

        def put(name: str, values: Any) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)

        put("shape", np.array([sequence.height, sequence.width], np.int64))
        put("frames", np.arange(sequence.span.start, sequence.span.stop, dtype=np.int64))
        put("times", sequence.times[sequence.span.start : sequence.span.stop])
        put("objects", np.array(objects, np.int64))
        put("names", np.array([sequence.names.get(i, "") for i in objects], np.str_))
        put("mothers", np.array([mothers.get(i, 0) for i in objects], np.int64))
        for shot in sequence.shots():
            if shot.masks:
                put(f"ids_{shot.frame:05d}", np.array(list(shot.masks), np.int64))
                packed = (np.packbits(mask, axis=-1) for mask in shot.masks.values())
                put(f"masks_{shot.frame:05d}", np.stack(list(packed)))


def read(path: Path, kind: str) -> Reading:
    """Read such an archive, or the label maps, (T, Y, X), of one that holds an array of them."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if "shape" not in archive and (name := _label_maps(archive.files)):
                return of_array(path, kind, archive[name])
            height, width = (int(side) for side in archive["shape"])
            frames = [int(frame) for frame in archive["frames"]]
            objects = [int(i) for i in archive["objects"]]
            names = dict(zip(objects, (str(n) for n in archive["names"]), strict=True))
            mothers = dict(zip(objects, (int(m) for m in archive["mothers"]), strict=True))
    except (zipfile.BadZipFile, KeyError, ValueError, AttributeError) as error:
        raise SourceError(f"{path} is no archive of masks that sam2track wrote: {error}") from error
    if not 0 < height * width <= MAX_PIXELS:
        raise SourceError(f"{path} claims frames of {height} x {width}")

    def shots() -> Iterator[tuple[int, Mapping[int, npt.NDArray[np.bool_]]]]:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for frame in frames:
                if f"ids_{frame:05d}" not in archive:
                    yield frame, {}
                    continue
                ids, packed = archive[f"ids_{frame:05d}"], archive[f"masks_{frame:05d}"]
                if packed.shape != (len(ids), height, (width + 7) // 8):
                    raise SourceError(f"{path}: masks of frame {frame} are {packed.shape}")
                made = (partial(_unpacked, mask, width) for mask in packed)
                yield frame, Masks(dict(zip(map(int, ids), made, strict=True)))

    lineage = {i: mother for i, mother in mothers.items() if mother}
    return Reading(path, kind, height, width, frames, shots, names, lineage)


def _label_maps(names: Sequence[str]) -> str:
    """Which array of an archive holds label maps, by its name; the only one is."""
    return names[0] if len(names) == 1 else next((n for n in _LABELS if n in names), "")


def _unpacked(packed: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.bool_]:
    return np.unpackbits(packed, axis=-1, count=width).astype(np.bool_)
