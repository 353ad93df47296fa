"""The prompts file: JSON of what a person says about the objects of a video."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError
from sam2track.json_text import parsed
from sam2track.prompts import Prompt, Prompts, check_name
from sam2track.regular import check_regular

__all__ = ["lies_in", "load_prompts"]

Mask = npt.NDArray[np.bool_]

_short = reprlib.Repr()
_short.maxstring = _short.maxlong = _short.maxother = 60


def load_prompts(
    given: str | os.PathLike[str] | Mapping[str, Any] | Prompts,
    *,
    read_mask: Callable[[Path], Mask],
) -> Prompts:
    """Read prompts from a file, from the same as a dict, or return a copy of Prompts.

    Parameters
    ----------
    given : path, dict or Prompts
        ``{"version": 1, "objects": [{"id": 1, "name": "cell", "prompts": [{"frame": 0,
        "points": [[x, y]], "labels": [1], "box": [x0, y0, x1, y1], "mask": "file.png",
        "absent": true}]}]}``. Masks' paths are relative to the file, and lie in its folder; those
        of a dict are the caller's, and may be anywhere.
    read_mask : callable
        Reads a mask file into (H, W) bool.

    Raises
    ------
    PromptError
        Where it is not JSON or breaks the schema, saying where; where Prompts hold what cannot be.
    """
    if isinstance(given, Prompts):
        return given.checked()
    if not isinstance(given, (str, os.PathLike, Mapping)):
        raise PromptError(
            f"prompts are {type(given).__name__}; give Prompts, which name objects and frames, a "
            f"prompts file, or the same as a dict"
        )
    folder = None
    if isinstance(given, Mapping):
        content: Any = given
        name = "prompts"
    else:
        path = Path(given)
        name, folder = str(path), path.parent
        try:
            check_regular(path)
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise PromptError(f"{name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise PromptError(f"{name} is not UTF-8 text; expected a JSON prompts file") from error
        except ValueError as error:
            raise PromptError(f"{name!r} names no file: it has a null character") from error
        try:
            content = parsed(text)
        except ValueError as error:
            raise PromptError(f"prompts {name}: {error}") from error
    return _Reader(name, folder, read_mask).read(content)


def lies_in(folder: Path, path: Path) -> bool:
    """Whether a path leads to a place in a folder, links followed."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, what no file can be named
        return False


def _is_name(text: str) -> bool:
    """Whether a file can be named so: not with a null, nor half of a pair, which JSON may hold."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


@dataclass
class _Reader:
    """Checks the schema, saying where it is broken."""

    name: str
    folder: Path | None  # where masks' files must lie; anywhere for a dict of the caller's own
    read_mask: Callable[[Path], Mask]

    def _fail(self, where: str, what: str) -> PromptError:
        return PromptError(f"{self.name}: {where or 'the whole'} {what}")

    def _object(self, value: Any, where: str, allowed: set[str], needed: set[str]) -> Any:
        if not isinstance(value, Mapping):
            raise self._fail(where, f"is {type(value).__name__}, expected an object")
        for key in value:
            if key not in allowed:
                raise self._fail(where, f"has unknown key {_told(key)}; allowed: {sorted(allowed)}")
        for key in sorted(needed - set(value)):
            raise self._fail(where, f"lacks {key!r}")
        return value

    def _list(self, value: Any, where: str) -> Sequence[Any]:
        if not isinstance(value, (list, tuple)):
            raise self._fail(where, f"is {type(value).__name__}, expected a list")
        return value

    def _integer(self, value: Any, where: str, lowest: int) -> int:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise self._fail(where, f"is {_told(value)}, expected a whole number")
        if not lowest <= value < 2**31:
            raise self._fail(where, f"is {_told(value)}; allowed are {lowest} and more")
        return int(value)

    def read(self, content: Any) -> Prompts:
        self._object(content, "", {"version", "objects"}, {"version", "objects"})
        if content["version"] != 1 or isinstance(content["version"], bool):
            raise self._fail("version", f"is {_told(content['version'])}; this program reads 1")
        found = Prompts()
        for index, item in enumerate(self._list(content["objects"], "objects")):
            where = f"objects[{index}]"
            self._object(item, where, {"id", "name", "prompts"}, {"id", "prompts"})
            object_id = self._integer(item["id"], f"{where}.id", 1)
            if object_id in found.by_object:
                raise self._fail(f"{where}.id", f"is {object_id} a second time")
            found.by_object[object_id] = {}
            if "name" in item:
                try:
                    found.names[object_id] = check_name(item["name"])
                except PromptError as error:
                    raise self._fail(f"{where}.name", f"cannot be: {error}") from error
            for number, entry in enumerate(self._list(item["prompts"], f"{where}.prompts")):
                place = f"{where}.prompts[{number}]"
                frame, prompt = self._prompt(entry, place)
                if frame in found.by_object[object_id]:
                    raise self._fail(place, f"is a second prompt on frame {frame}")
                found.by_object[object_id][frame] = prompt
        return found

    def _beside(self, mask: str, where: str) -> Path:
        """The path of a mask's file; a prompts file names those of its own folder alone."""
        if not _is_name(mask):
            raise self._fail(where, f"is {_told(mask)}, which names no file")
        if self.folder is None:
            return Path(mask)
        path = self.folder / mask
        if not lies_in(self.folder, path):
            raise self._fail(
                where,
                f"is {_told(mask)}, which leads out of the folder of the prompts; put the file "
                "there, or give it by --mask",
            )
        return path

    def _prompt(self, entry: Any, where: str) -> tuple[int, Prompt]:
        allowed = {"frame", "points", "labels", "box", "mask", "absent"}
        self._object(entry, where, allowed, {"frame"})
        frame = self._integer(entry["frame"], f"{where}.frame", 0)
        absent = entry.get("absent", False)
        if not isinstance(absent, (bool, np.bool_)):
            raise self._fail(f"{where}.absent", f"is {_told(absent)}, expected true or false")
        mask = entry.get("mask")
        if isinstance(mask, os.PathLike):
            mask = os.fsdecode(mask)
        if isinstance(mask, str):
            mask = self.read_mask(self._beside(mask, f"{where}.mask"))
        elif mask is not None and not (isinstance(mask, list) or hasattr(mask, "__array__")):
            raise self._fail(f"{where}.mask", "is neither a file's path nor an array")
        if "labels" in entry and "points" not in entry:
            raise self._fail(where, "has labels but no points")
        try:
            prompt = Prompt(
                points=entry.get("points", ()),
                labels=entry.get("labels", ()),
                box=entry.get("box"),
                mask=mask,
                absent=bool(absent),
            )
        except PromptError as error:
            raise self._fail(where, f"is wrong: {error}") from error
        return frame, prompt


def _told(value: object) -> str:
    """A value as a message quotes it: what is long loses its middle."""
    return _short.repr(value)
