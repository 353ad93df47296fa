"""YOLO segmentation: a text file of polygons for each frame, ``data.yaml``, train and val.

As Ultralytics documents it: lines of ``class x y x y ...``, parts of width and height; a class
for each object's name. Polygons hold neither holes nor which object it is from frame to frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sam2track.errors import SourceError
from sam2track.export.images import write_jpegs_at
from sam2track.export.polygons import fill, outline
from sam2track.export.reading import Reading, name_of
from sam2track.export.sequence import Sequenced
from sam2track.lazy import Masks

__all__ = ["read", "write"]


def write(folder: Path, sequence: Sequenced) -> None:
    """Write ``data.yaml``, ``labels/train``, ``labels/val`` and the pictures beside.

    The last frames are for validation, in one piece: neighbours are too alike to be split.
    """
    kinds = sorted({sequence.category(i) for i in sequence.objects})
    share = round(len(sequence.span) * sequence.options.val_share)
    border = sequence.span.stop - share

    def part(frame: int) -> str:
        return "train" if frame < border else "val"

    for which in ("train", "val"):
        (folder / "labels" / which).mkdir(parents=True)
        (folder / "images" / which).mkdir(parents=True)
    changed = 0
    scale = np.array([sequence.width, sequence.height])
    for shot in sequence.shots():
        lines = []
        for object_id, mask in shot.masks.items():
            polygon = outline(mask)
            changed += bool((fill([polygon], *mask.shape) != mask).any())
            # Of a pixel's middle, so that rounding gives the pixel back.
            numbers = ((polygon + 0.5) / scale).ravel()
            kind = kinds.index(sequence.category(object_id))
            lines.append(f"{kind} " + " ".join(f"{number:.6f}" for number in numbers))
        file = folder / "labels" / part(shot.frame) / f"{sequence.name}_{shot.frame:05d}.txt"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    write_jpegs_at(sequence, lambda t: folder / "images" / part(t) / f"{sequence.name}_{t:05d}.jpg")
    names = "".join(f"  {number}: {_quoted(kind)}\n" for number, kind in enumerate(kinds))
    size = f"# {sequence.height} x {sequence.width}\n"
    text = f"{size}path: .\ntrain: images/train\nval: images/{'val' if share else 'train'}\n"
    (folder / "data.yaml").write_text(f"{text}names:\n{names}", encoding="utf-8")
    lost = ["which object is which"] if len(sequence.objects) > len(kinds) else []
    if changed:
        lost.append(f"holes and separate parts as they are (of {changed} masks)")
    if sequence.results.lineage:
        lost.append("lineage")
    if lost:
        sequence.warnings.append(f"yolo-seg cannot hold {' and '.join(lost)}: lost")


def _quoted(name: str) -> str:
    """Return a string of JSON that is the same one in YAML.

    JSON escapes what is beyond 16 bits in two halves, which YAML takes for two characters.
    """
    told = (c if ord(c) > 0xFFFF else json.dumps(c)[1:-1] for c in name)
    return f'"{"".join(told)}"'


def read(path: Path, kind: str) -> Reading:
    """Read the labels of what ``write`` wrote; the object is the class, counted from 1.

    It has the name of the class.
    """
    text = (path / "data.yaml").read_text(encoding="utf-8").splitlines()
    try:
        height, width = (int(side) for side in text[0].lstrip("# ").split(" x "))
    except (ValueError, IndexError) as error:
        raise SourceError(
            f"{path}/data.yaml does not begin with '# HEIGHT x WIDTH', which polygons need"
        ) from error
    files: dict[int, Path] = {}
    for file in sorted((path / "labels").rglob("*.txt")):
        files[int(file.stem.rsplit("_", 1)[-1])] = file
    if not files:
        raise SourceError(f"{path}/labels holds no text files")

    warnings: list[str] = []

    def shots() -> Iterator[tuple[int, Masks]]:
        for frame, file in sorted(files.items()):
            found: dict[int, list[npt.NDArray[np.float64]]] = {}
            for line in file.read_text(encoding="utf-8").splitlines():
                number, *cells = line.split()
                points = np.array(cells, np.float64).reshape(-1, 2) * (width, height) - 0.5
                outlines = found.setdefault(int(number) + 1, [])
                if outlines and not warnings:
                    warnings.append(
                        f"yolo-seg does not say which object is which: all of one class are "
                        f"one object here, as those of class {number} on frame {frame}"
                    )
                outlines.append(points)
            makers = {i: partial(_filled, each, height, width) for i, each in sorted(found.items())}
            yield frame, Masks(makers)

    return Reading(path, kind, height, width, sorted(files), shots, _names(text), {}, warnings)


def _names(text: Sequence[str]) -> dict[int, str]:
    """Names of objects, from the lines of ``data.yaml``: a class on each, in quotes or not."""
    names: dict[int, str] = {}
    for line in text[text.index("names:") + 1 :] if "names:" in text else ():
        number, colon, name = line.strip().partition(": ")
        if not (colon and number.isdecimal()):
            break
        names[int(number) + 1] = name_of(json.loads(name) if name.startswith('"') else name)
    return names


def _filled(
    outlines: Sequence[npt.NDArray[np.float64]], height: int, width: int
) -> npt.NDArray[np.bool_]:
    """The union of what lies in outlines."""
    mask = np.zeros((height, width), np.bool_)
    for points in outlines:
        mask |= fill([points], height, width)
    return mask
