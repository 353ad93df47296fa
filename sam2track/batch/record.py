"""What a video was tracked with, kept beside its outputs: by it a later run knows what is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import platformdirs

from sam2track.arguments import is_address
from sam2track.batch.manifest import Video
from sam2track.errors import OutputError, ProjectError, UsageError
from sam2track.export.staging import write_bytes
from sam2track.outputs import OUTPUTS, RECORD, is_output
from sam2track.project import Project
from sam2track.prompt_files import lies_in
from sam2track.regular import check_regular

__all__ = ["folder_of", "kept", "publish", "read_record", "stamp", "whole", "write_record"]


def stamp(video: Video) -> str:
    """Return 16 hexadecimal digits that change with source, prompts and options of a video.

    Of files, their sizes and times of change count, not all that they hold; of prompts what the
    file says, and the pictures of masks that it names.
    """
    told = [*_files(Path(video.source)), json.dumps(video.options, sort_keys=True)]
    if video.prompts is not None:
        prompts = Path(video.prompts)
        try:
            said = prompts.read_bytes() if prompts.is_file() else b""
        except OSError:
            said = b""  # what is wrong is said where it is tracked
        told.append(hashlib.sha256(said).hexdigest())
        for mask in _masks(said):
            told += _mask(prompts.parent, mask)
    if "detections" in video.options:
        told += _files(Path(video.options["detections"]))
    return hashlib.sha256("\n".join(told).encode(errors="surrogatepass")).hexdigest()[:16]


def _files(path: Path) -> Iterator[str]:
    """Names, sizes and times of change of a file, or of all files in a folder."""
    yield str(path)
    try:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
    except OSError:
        return  # what is wrong is said where it is tracked
    for file in found:
        try:
            about = file.stat()
        except (OSError, ValueError):
            continue
        if not file.is_dir():
            yield f"{file} {about.st_size} {about.st_mtime_ns}"


def _mask(folder: Path, name: str) -> Iterator[str]:
    """As `_files`, of a mask's picture; a stranger's prompts may name anything, also ``/``."""
    with suppress(OSError):
        if (folder / name).is_file() and lies_in(folder, folder / name):
            yield from _files(folder / name)


def _masks(said: bytes) -> Iterator[str]:
    try:
        told = json.loads(said)
    except (ValueError, RecursionError):
        return
    waiting: list[Any] = [told]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("mask"), str):
                yield item["mask"]
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def folder_of(output: str) -> Path:
    """Return the folder in which a video is worked on: its output, or one that stands for it."""
    if not is_address(output):
        return Path(output)
    digest = hashlib.sha256(output.encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("sam2track", appauthor=False)) / "batch" / digest


def read_record(output: str) -> dict[str, Any] | None:
    """Return what is kept at a folder or an address; None where there is nothing."""
    try:
        if is_address(output):
            files, path = _system(output)
            data: bytes = files.cat_file(f"{path}/{RECORD}")
        else:
            place = Path(output) / RECORD
            check_regular(place)  # a stranger's folder may hold a pipe, or a link to a device
            data = place.read_bytes()
        record = json.loads(data)
    except UsageError:
        raise
    except (
        Exception
    ):  # each kind of storage has errors of its own; without a record it is done anew
        return None
    return record if isinstance(record, dict) else None


def whole(output: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the outcome that a record tells of; None where it is odd, or where outputs are gone.

    Or where a person has changed the project since, so that they are of what it was. At an address
    all is there where the record is: it is put there last.
    """
    outcome = record.get("outcome")
    if not isinstance(outcome, dict) or not _is_told(outcome):
        return None
    if is_address(output):
        return outcome
    try:
        with Project.open(Path(output) / "project.s2t") as project:
            position = project.position
    except ProjectError:
        return None
    if record.get("position", position) != position:  # records of before do not say it
        return None
    return outcome if all(Path(path).exists() for path in outcome["outputs"].values()) else None


def kept(video: Video) -> dict[str, Any]:
    """Return frames and objects of a video that was begun, of which no outcome is told.

    Nothing where what is there was made otherwise: it goes once the video is tracked anew.
    """
    folder = folder_of(video.output)
    with suppress(OSError, ProjectError):
        if (read_record(str(folder)) or {}).get("stamp") == stamp(video):
            with Project.open(folder / "project.s2t") as project:
                return {"frames": len(project.frames), "objects": project.summary()}
    return {}


def _is_told(outcome: Mapping[str, Any]) -> bool:
    """Whether an outcome holds what is told of it: anyone may have written the record."""
    outputs = outcome.get("outputs")
    return (
        type(outcome.get("frames")) is int
        and isinstance(outcome.get("objects"), list)
        and isinstance(outcome.get("seconds"), int | float)
        and isinstance(outcome.get("model", ""), str)
        and isinstance(outcome.get("warnings", []), list)
        and isinstance(outputs, dict)
        and outputs.keys() <= {"project", *OUTPUTS}
        and all(isinstance(path, str) for path in outputs.values())
    )


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Keep a record in a folder, whole or not at all."""
    write_bytes(folder / RECORD, json.dumps(record, indent=2).encode())


def publish(folder: Path, output: str) -> None:
    """Put all files of a folder to an address, the record last: with it there, all is there.

    What an earlier job put there goes, where this one wrote nothing of that name.

    Raises
    ------
    OutputError
        Where that cannot be done.
    """
    files, path = _system(output)
    try:
        if files.exists(f"{path}/{RECORD}"):
            files.rm_file(f"{path}/{RECORD}")
        names = [p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file()]
        for old in files.find(path):
            known = PurePosixPath(old).relative_to(path)
            if is_output(known) and Path(known) not in names:
                files.rm_file(old)
        for name in sorted(names, key=lambda name: name == Path(RECORD)):
            target = f"{path}/{name.as_posix()}"
            files.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH120
            files.put_file(str(folder / name), target)
    except Exception as error:  # each kind of storage has errors of its own
        raise OutputError(f"{output} cannot be written: {error}") from error


def _system(output: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(
            f"{output} is an address, and fsspec is not installed; pip install 'sam2track[ray]' "
            "brings it"
        ) from error
    try:
        files, path = url_to_fs(output)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{output} is no address that can be written here: {error}") from error
    return files, path.rstrip("/")
