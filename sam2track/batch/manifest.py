"""The manifest: which videos are tracked, with what, and where to."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from sam2track.arguments import (
    DIRECTIONS,
    check_choice,
    check_plane,
    is_address,
    said_crop,
    said_limits,
    said_names,
    said_plane,
)
from sam2track.errors import UsageError
from sam2track.frames.bounds import check_rate
from sam2track.frames.crop import check_crop
from sam2track.frames.intensity import check_limits
from sam2track.json_text import parsed
from sam2track.models.choices import check_device, check_image_size, check_model, check_precision
from sam2track.outputs import TABLES, wanted_outputs
from sam2track.regular import check_regular

__all__ = ["OF_DETECTIONS", "OPTIONS", "Video", "read_manifest", "settled"]

_NUMBER = (int, float)
OPTIONS: dict[str, tuple[type, ...]] = {
    "axes": (str,),
    "channel": (int, str, list),
    "class_names": (str, list),
    "classes": (str, list),
    "detections": (str,),
    "detections_every": (int,),
    "detections_frame": (int,),
    "crop": (str, list),
    "device": (str,),
    "direction": (str,),
    "fps": _NUMBER,
    "hwaccel": (str,),
    "image_size": (int,),
    "key": (int, str),
    "limits": (str, list),
    "min_score": _NUMBER,
    "model": (str,),
    "precision": (str,),
    "start": (int,),
    "stop": (int,),
    "stream": (int,),
    "table": (str,),
    "write": (str, list),
    "z": (int, str),
}
"""What a video's options may say, as ``sam2track.track`` takes them, and types in JSON."""

OF_DETECTIONS = (
    *("detections", "detections_every", "detections_frame"),
    *("class_names", "classes", "min_score"),
)
"""Those that say which boxes of a detector are taken."""

# What is wrong in them whatever the video and the machine are.
_CHECKS: dict[str, Callable[[Any], object]] = {
    "crop": check_crop,
    "device": check_device,
    "direction": lambda value: check_choice("direction", value, DIRECTIONS),
    "fps": check_rate,
    "image_size": check_image_size,
    "limits": check_limits,
    "model": check_model,
    "precision": check_precision,
    "table": lambda value: check_choice("table", value, TABLES),
    "write": wanted_outputs,
    "z": check_plane,
}

# What a text may stand for, as on the command line.
_SAID: dict[str, Callable[[str], object]] = {
    "crop": said_crop,
    "limits": said_limits,
    "z": said_plane,
}
# What may be said as a text with commas.
_LISTS = {"channel", "class_names", "classes", "write"}
_COLUMNS = ("source", "prompts", "output", "options")
_KINDS = {int: "a whole number", float: "a number", str: "a text", list: "a list"}


@dataclass(frozen=True)
class Video:
    """One video of a manifest.

    Attributes
    ----------
    line : int
        Of the manifest, from 1.
    source : str
        Path.
    prompts : str or None
        Path of a prompts file.
    output : str
        Folder, or address.
    options : dict
        As `OPTIONS`.
    """

    line: int
    source: str
    prompts: str | None
    output: str
    options: dict[str, Any]


def read_manifest(path: str | os.PathLike[str], output: str | None = None) -> list[Video]:
    """Read a manifest: CSV with a header, or an object of JSON on each line.

    Paths within are relative to the manifest's folder; outputs, to `output` where it is given.

    Parameters
    ----------
    path : path
        CSV where the name ends so, else JSON lines.
    output : str, optional
        Folder or address below which relative outputs lie.

    Raises
    ------
    UsageError
        Where it cannot be read, with the line.
    """
    path = Path(path)
    try:
        check_regular(path)
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"manifest {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"manifest {path} is no UTF-8 text; save it as one") from error
    rows = _csv(path, text) if path.suffix.lower() == ".csv" else _json_lines(path, text)
    base = str(path.absolute().parent)
    videos: list[Video] = []
    taken: dict[PurePath, int] = {}
    for line, row in rows:
        try:
            video = _video(line, row, base, base if output is None else output)
        except UsageError as error:
            raise UsageError(f"manifest {path}, line {line}: {error}") from error
        same = _place(video.output)
        if same in taken:
            raise UsageError(
                f"manifest {path}, line {line}: output {video.output} is that of line "
                f"{taken[same]}, too; give each video its own"
            )
        taken[same] = line
        videos.append(video)
    if not videos:
        raise UsageError(f"manifest {path} holds no video; give one on each line")
    outputs = {video.line: video.output for video in videos}
    for same, line in taken.items():
        # What is made anew is removed first, with all that lies in it.
        for folder in same.parents:
            if folder in taken:
                raise UsageError(
                    f"manifest {path}, line {line}: output {outputs[line]} lies in that of line "
                    f"{taken[folder]}; give each video a folder beside the others"
                )
    return videos


def _place(output: str) -> PurePath:
    """Where an output lies, however it is written: of two that are equal, the same."""
    return PurePosixPath(output) if is_address(output) else Path(os.path.realpath(output))


def settled(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as ``sam2track.track`` takes them.

    Raises
    ------
    UsageError
        Where an option is not known, is of another type, or says what none may say.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise UsageError(f"no option {name!r}; known are {', '.join(OPTIONS)}")
        kinds = OPTIONS[name]
        if isinstance(value, bool) or not isinstance(value, kinds):
            allowed = " or ".join(_KINDS[kind] for kind in kinds)
            raise UsageError(f"option {name} is {value!r}; it is {allowed}")
        if name in _LISTS and isinstance(value, str):
            value = said_names(value)
        if name in _SAID and isinstance(value, str):
            value = _SAID[name](value)
        if name in _CHECKS:
            _CHECKS[name](value)
        found[name] = value
    return found


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # Not splitlines: names may hold what Unicode, and no table, takes for the end of a line.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"manifest {path}, line {line}: {error}") from error
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        cells = [cell.strip() for cell in cells]
        if header is None:
            header = cells
            _check_header(path, line, header)
            continue
        if len(cells) != len(header):
            raise UsageError(
                f"manifest {path}, line {line}: {len(cells)} cells, the header has {len(header)}"
            )
        row: dict[str, Any] = {k: v for k, v in zip(header, cells, strict=True) if v}
        if "options" in row:
            row["options"] = _parsed(path, line, row["options"], "options")
        yield line, row


def _check_header(path: Path, line: int, header: list[str]) -> None:
    for name in ("source", "output"):
        if name not in header:
            raise UsageError(
                f"manifest {path}, line {line}: there is no column {name!r} in the header "
                f"{','.join(header)!r}; it may name {', '.join(_COLUMNS)}, with commas between"
            )
    if len(set(header)) < len(header):
        raise UsageError(f"manifest {path}, line {line}: a column is named twice")
    _check_keys(header, f"manifest {path}, line {line}: no column")


def _check_keys(names: list[str], what: str) -> None:
    for name in names:
        if name not in _COLUMNS:
            raise UsageError(f"{what} {name!r} is known; known are {', '.join(_COLUMNS)}")


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        row = _parsed(path, line, written, "the line")
        if not isinstance(row, dict):
            raise UsageError(
                f"manifest {path}, line {line}: {type(row).__name__} in place of an object with "
                f"{', '.join(_COLUMNS)}"
            )
        _check_keys(list(row), f"manifest {path}, line {line}: no key")
        yield line, row


def _parsed(path: Path, line: int, written: str, what: str) -> Any:
    try:
        return parsed(written)
    except ValueError as error:
        raise UsageError(f"manifest {path}, line {line}, {what}: {error}") from error


def _video(line: int, row: Mapping[str, Any], base: str, outputs: str) -> Video:
    source, output, prompts = (_text(row, name) for name in ("source", "output", "prompts"))
    if not source or not output:
        raise UsageError(f"there is no {'output' if source else 'source'}; every video has one")
    if source == "-":
        raise UsageError("a pipe (-) cannot be one of many; track it by itself")
    options = row.get("options") or {}
    if not isinstance(options, dict):
        raise UsageError(f'options are an object such as {{"stop": 100}}, not {options!r}')
    options = settled(options)
    if "detections" in options:
        if not (detections := _text(options, "detections")):
            raise UsageError("detections name no file; give one of boxes, or leave them out")
        options = {**options, "detections": _joined(base, detections)}
    elif not prompts:
        raise UsageError("there are neither prompts nor detections; say what is tracked")
    return Video(
        line,
        _joined(base, source),
        None if not prompts else _joined(base, prompts),
        output if is_address(output) else _joined(outputs, output),
        options,
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{name} is {value!r}; it is a text")
    if "\0" in value:
        raise UsageError(f"{name} holds a null character")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:  # half of a pair, which JSON may hold
        raise UsageError(f"{name} is {value!r}, which no file can be named") from error
    return value if value.strip() else ""  # a name may begin or end with spaces


def _joined(base: str, path: str) -> str:
    if is_address(base) and not Path(path).is_absolute():
        return f"{base.rstrip('/')}/{path}"
    return str(Path(base) / path)
