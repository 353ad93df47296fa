"""Files of boxes: YOLO text, COCO JSON, MOTChallenge text, CSV with a header.

========  =================================================  =========================
kind      told by                                            frames
========  =================================================  =========================
YOLO      ``.txt`` with spaces, or a folder of such files    a picture's name, or the number at
                                                             the end of the file's, from 1
MOT       ``.txt`` with commas                               first column, from 1
CSV       ``.csv``, or ``.txt`` with a header                column ``frame``, from 0, or
                                                             ``image``
COCO      ``.json``                                          ``image_id``, from 0, or the name and
                                                             place in ``images``
========  =================================================  =========================
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sam2track.detections.boxes import by_number
from sam2track.detections.rows import DetectionFile, Row
from sam2track.errors import PromptError
from sam2track.json_text import parsed
from sam2track.regular import check_regular

__all__ = ["load_detections"]

_CSV_BOXES = (
    (("x0", "y0", "x1", "y1"), False),
    (("x1", "y1", "x2", "y2"), False),
    (("xmin", "ymin", "xmax", "ymax"), False),
    (("x_min", "y_min", "x_max", "y_max"), False),
    (("left", "top", "right", "bottom"), False),
    (("x", "y", "w", "h"), True),
    (("x", "y", "width", "height"), True),
    (("bb_left", "bb_top", "bb_width", "bb_height"), True),
)
_CSV_SCORES = ("score", "confidence", "conf")
_CSV_CLASSES = ("class_name", "name", "label", "class", "class_id", "category", "category_id")
_CSV_FRAMES = ("frame", "frame_id", "frame_index")
_CSV_IMAGES = ("image", "file", "filename", "file_name")
_YOLO_SLACK = 0.01  # detectors round; what lies outside is clipped


def load_detections(
    path: str | os.PathLike[str], *, class_names: Sequence[str] | Mapping[int, str] | None = None
) -> DetectionFile:
    """Read a file of boxes, or a folder of YOLO files; see the head of this module.

    Parameters
    ----------
    class_names : sequence or dict of str, optional
        Names of class numbers; otherwise those of the file, of ``classes.txt`` beside YOLO
        files, or the number itself.

    Raises
    ------
    PromptError
        Where it cannot be read, saying in which line.
    """
    path = Path(path)
    named = None if class_names is None else by_number(class_names)
    if path.is_dir():
        return _yolo_folder(path, named)
    text = _text(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _coco(path, text, named)
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if suffix == ".csv" or (lines and _is_header(lines[0][1])):
        return _csv(path, text, named)
    if suffix != ".txt":
        raise PromptError(
            f"{path} is no file of boxes by its name; give .txt (YOLO, MOTChallenge), .json "
            f"(COCO) or .csv with a header; of a video label maps, too (.tif, .npy, or a folder)"
        )
    if any("," in line for _, line in lines):
        return _mot(path, lines, named)
    names = named or _classes_beside(path.parent)
    return DetectionFile(str(path), anywhere=[_yolo(path, n, line, names) for n, line in lines])


def _text(path: Path) -> str:
    try:
        check_regular(path)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8; a null character in the name
        raise PromptError(
            f"{path} is not UTF-8 text; expected a file of boxes, or of a video label maps (.tif, "
            ".npy, or a folder)"
        ) from error


def _is_header(line: str) -> bool:
    return "," in line and not any(_as_number(part) is not None for part in line.split(","))


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _fail(path: Path, line: int, what: str) -> PromptError:
    return PromptError(f"{path}, line {line}: {what}")


def _values(path: Path, line: int, parts: Sequence[str], expected: str) -> list[float]:
    found = []
    for part in parts:
        number = _as_number(part.strip())
        if number is None:
            raise _fail(path, line, f"{part.strip()!r} is no number; expected {expected}")
        found.append(number)
    return found


def _whole(path: Path, line: int, value: float, what: str, lowest: int = 0) -> int:
    if value != int(value) or not lowest <= value < 2**31:
        raise _fail(path, line, f"{what} is {value:g}; it is a whole number from {lowest}")
    return int(value)


def _checked(
    path: Path, line: int, box: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1):
        raise _fail(path, line, f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) has no area")
    return box


def _named(number: int, names: Mapping[int, str] | None) -> str:
    return (names or {}).get(number, str(number))


# -- YOLO -------------------------------------------------------------------------------


def _classes_beside(folder: Path) -> dict[int, str] | None:
    path = folder / "classes.txt"
    return dict(enumerate(_text(path).splitlines())) if path.is_file() else None


def _yolo(path: Path, line: int, text: str, names: Mapping[int, str] | None) -> Row:
    shape = "class x_centre y_centre width height [score [track]]"
    parts = text.split()
    if not 5 <= len(parts) <= 7:
        raise _fail(path, line, f"{len(parts)} columns; expected 5 to 7: {shape}")
    number, x, y, width, height, *rest = _values(path, line, parts, shape)
    if not all(-_YOLO_SLACK <= value <= 1 + _YOLO_SLACK for value in (x, y, width, height)):
        raise _fail(path, line, f"{text.strip()!r} is not in parts of the picture, 0 to 1")
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    name = _named(_whole(path, line, number, "the class"), names)
    return Row(_checked(path, line, box), True, rest[0] if rest else 1.0, name)


def _yolo_folder(path: Path, names: Mapping[int, str] | None) -> DetectionFile:
    names = names or _classes_beside(path)
    files = sorted(entry for entry in path.glob("*.txt") if entry.name != "classes.txt")
    if not files:
        raise PromptError(f"{path} holds no .txt files; expected YOLO boxes, one file a picture")
    found = DetectionFile(str(path))
    for file in files:
        found.by_stem[file.stem] = [
            _yolo(file, n, line, names)
            for n, line in enumerate(_text(file).splitlines(), start=1)
            if line.strip()
        ]
    numbers = [re.search(r"(\d{1,9})$", stem) for stem in found.by_stem]
    frames = [int(number[1]) - 1 for number in numbers if number is not None]
    if len(set(frames)) == len(found.by_stem) and min(frames) >= 0:
        found.by_frame = dict(zip(frames, found.by_stem.values(), strict=True))
    return found


# -- MOTChallenge -----------------------------------------------------------------------


def _mot(
    path: Path, lines: Sequence[tuple[int, str]], names: Mapping[int, str] | None
) -> DetectionFile:
    shape = "frame,id,x,y,width,height[,score[,class[,visibility]]]"
    found = DetectionFile(str(path))
    for line, text in lines:
        parts = text.split(",")
        if not 6 <= len(parts) <= 10:
            raise _fail(path, line, f"{len(parts)} columns; expected 6 to 10: {shape}")
        values = _values(path, line, parts, shape)
        frame = _whole(path, line, values[0], "the frame", lowest=1) - 1
        x, y, width, height = values[2:6]
        # With ten columns the last three are places in the world.
        number = values[7] if len(values) in (8, 9) else -1
        name = "" if number < 0 else _named(_whole(path, line, number, "the class"), names)
        box = _checked(path, line, (x, y, x + width, y + height))
        score = values[6] if len(values) > 6 else 1.0
        found.by_frame.setdefault(frame, []).append(Row(box, False, score, name))
    return found


# -- CSV --------------------------------------------------------------------------------


def _csv(path: Path, text: str, names: Mapping[int, str] | None) -> DetectionFile:
    reader = csv.reader(text.splitlines(), strict=True)
    found = DetectionFile(str(path))
    header: list[str] | None = None
    try:
        for cells in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                columns = _columns(path, line, header)
                continue
            if len(cells) != len(header):
                raise _fail(path, line, f"{len(cells)} columns; the header has {len(header)}")
            _csv_row(path, line, dict(zip(header, cells, strict=True)), columns, names, found)
    except csv.Error as error:
        raise _fail(path, reader.line_num, f"no CSV: {error}") from error
    if header is None:
        raise PromptError(f"{path} is empty; expected a header such as frame,x0,y0,x1,y1,score")
    return found


class _Columns(NamedTuple):
    box: tuple[str, ...]
    sized: bool  # width and height in place of the far corner
    score: str | None
    name: str | None
    frame: str | None
    image: str | None


def _columns(path: Path, line: int, header: list[str]) -> _Columns:
    double = sorted({name for name in header if name and header.count(name) > 1})
    if double:
        raise _fail(path, line, f"the header has {double[0]!r} twice")
    for box, sized in _CSV_BOXES:
        if set(box) <= set(header):
            first = (
                next((name for name in names if name in header), None)
                for names in (_CSV_SCORES, _CSV_CLASSES, _CSV_FRAMES, _CSV_IMAGES)
            )
            return _Columns(box, sized, *first)
    raise _fail(
        path,
        line,
        f"the header is {','.join(header)[:100]!r}; expected columns x0,y0,x1,y1 or "
        f"x,y,width,height, and if you like frame, score, class",
    )


def _csv_row(
    path: Path,
    line: int,
    row: dict[str, str],
    columns: _Columns,
    names: Mapping[int, str] | None,
    found: DetectionFile,
) -> None:
    x, y, far_x, far_y = _values(path, line, [row[c] for c in columns.box], ",".join(columns.box))
    box = (x, y, x + far_x, y + far_y) if columns.sized else (x, y, far_x, far_y)
    score = 1.0
    if columns.score is not None and row[columns.score].strip():
        (score,) = _values(path, line, [row[columns.score]], "a score")
    name = row[columns.name].strip() if columns.name is not None else ""
    number = _as_number(name)
    if number is not None and number == int(number) and 0 <= number < 2**31:
        name = _named(int(number), names)
    made = Row(_checked(path, line, box), False, score, name)
    if columns.frame is not None:
        (frame,) = _values(path, line, [row[columns.frame]], "a frame")
        found.by_frame.setdefault(_whole(path, line, frame, "the frame"), []).append(made)
    elif columns.image is not None:
        found.by_stem.setdefault(_stem(row[columns.image].strip()), []).append(made)
    else:
        found.anywhere.append(made)


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


# -- COCO -------------------------------------------------------------------------------


def _coco(path: Path, text: str, names: Mapping[int, str] | None) -> DetectionFile:
    try:
        content = parsed(text)
    except ValueError as error:
        raise PromptError(f"detections {path}: {error}") from error
    images: dict[Any, tuple[int, str]] = {}
    known: dict[Any, str] = dict(names or {})
    entries = content
    found = DetectionFile(str(path))
    if isinstance(content, dict):
        entries = content.get("annotations")
        for place, image in enumerate(_dicts(path, content.get("images", []), "images")):
            stem = _stem(str(image.get("file_name", "")))
            images[_key(image.get("id"))] = place, stem
            found.by_frame[place] = []  # it may have no boxes
            if stem:
                found.by_stem[stem] = []
        for category in _dicts(path, content.get("categories", []), "categories"):
            known.setdefault(_key(category.get("id")), str(category.get("name", "")))
    for place, entry in enumerate(_dicts(path, entries, "annotations")):
        row = _coco_row(path, place, entry, known)
        key = _key(entry.get("image_id"))
        if key in images:
            frame, stem = images[key]
            found.by_frame[frame].append(row)
            if stem:
                found.by_stem[stem].append(row)
        elif images:
            raise PromptError(f"{path}, entry {place}: image_id {key!r} is not among its images")
        elif isinstance(key, str):
            found.by_stem.setdefault(_stem(key), []).append(row)
        elif isinstance(key, int) and 0 <= key < 2**31:
            found.by_frame.setdefault(key, []).append(row)
        else:
            raise PromptError(
                f"{path}, entry {place}: image_id {entry.get('image_id')!r}; expected the "
                f"number of the frame from 0, or the name of the picture"
            )
    return found


def _key(value: Any) -> int | str | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _dicts(path: Path, value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise PromptError(
            f"{path} holds no list of {what}; expected COCO results, "
            f"[{{image_id, category_id, bbox, score}}, …], or a COCO data set"
        )
    for place, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise PromptError(f"{path}, entry {place} of {what} is no object")
    return value


def _coco_row(path: Path, place: int, entry: dict[str, Any], names: Mapping[Any, str]) -> Row:
    box, score = entry.get("bbox"), entry.get("score", 1.0)
    numbers = [*box, score] if isinstance(box, list) else []
    for value in numbers:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            numbers = []
            break
    if len(numbers) != 5 or not all(abs(value) < 1e12 for value in numbers):
        raise PromptError(
            f"{path}, entry {place}: bbox {box!r}, score {score!r}; expected four numbers "
            f"x, y, width, height, and one"
        )
    x, y, width, height = (float(value) for value in numbers[:4])
    if not (x < x + width and y < y + height):
        raise PromptError(f"{path}, entry {place}: bbox {box!r} has no area")
    category = _key(entry.get("category_id"))
    name = "" if category is None else names.get(category, str(category))
    return Row((x, y, x + width, y + height), False, float(score), name)
