"""What a person says about an object on a frame: points, a box, a mask, or that it is absent."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError

__all__ = [
    "Prompt",
    "Prompts",
    "check_name",
    "check_object_id",
    "load_prompts",
    "merged",
    "parse_absent",
    "parse_box",
    "parse_point",
    "parse_tagged",
    "split_frame",
]

Mask = npt.NDArray[np.bool_]

_LONGEST_NAME = 200


@dataclass(frozen=True, eq=False)
class Prompt:
    """All that is said about one object on one frame.

    Parameters
    ----------
    points : sequence of (float, float)
        Clicks (x, y) in pixels of the upright frame; x right, y down.
    labels : sequence of int
        1 for a click on the object, 0 for a click beside it; one for each point.
    box : (float, float, float, float), optional
        (x0, y0, x1, y1), half-open, with x0 < x1 and y0 < y1.
    mask : (H, W) bool array, optional
        The object's mask, of the frame's size.
    absent : bool
        The object is not on this frame. Excludes all else.
    edited : bool
        The mask (or absence) is a tracked one that a person painted over or confirmed.

    Raises
    ------
    PromptError
        Where the parts do not make a prompt.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: Mask | None = None
    absent: bool = False
    edited: bool = False

    def __post_init__(self) -> None:
        points = _points(self.points)
        labels = _labels(self.labels, len(points))
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", labels)
        if self.box is not None:
            object.__setattr__(self, "box", _box(self.box))
        if self.mask is not None:
            object.__setattr__(self, "mask", _mask(self.mask))
        said = bool(points) or self.box is not None or self.mask is not None
        if self.absent and said:
            raise PromptError("a prompt is both absent and present; give one of the two")
        if not self.absent and not said:
            raise PromptError("an empty prompt; give points, a box, a mask or absent")
        if self.edited and not (self.absent or self.is_mask_alone):
            raise PromptError("an edit is a mask alone, or absent")

    @classmethod
    def painted(cls, mask: npt.ArrayLike) -> Prompt:
        """What a painted mask, (H, W) bool, says: an empty one, that the object is not there."""
        given = np.asarray(mask)
        if given.dtype.kind not in "bui":
            raise PromptError(f"the mask holds {given.dtype}; it must be bool, or whole numbers")
        if given.ndim == 2 and not (given != 0).any():
            return cls(absent=True, edited=True)
        return cls(mask=given, edited=True)

    @property
    def is_mask_alone(self) -> bool:
        """Whether nothing but a mask is given, which then is what is reported."""
        return self.mask is not None and not self.points and self.box is None

    @property
    def shows(self) -> bool:
        """Whether it says where the object is, not only where it is not."""
        return self.box is not None or self.mask is not None or 1 in self.labels

    def check(self, height: int, width: int) -> None:
        """Raise PromptError where the prompt does not fit a frame of that size."""
        for x, y in self.points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise PromptError(
                    f"point ({x:g}, {y:g}) lies outside the frame; "
                    f"allowed are 0 to {width} and 0 to {height}"
                )
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
                raise PromptError(
                    f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) reaches outside the frame "
                    f"of {width} x {height} pixels"
                )
        if self.mask is not None and self.mask.shape != (height, width):
            got = f"{self.mask.shape[1]} x {self.mask.shape[0]}"
            raise PromptError(f"the mask is {got} pixels, the frame {width} x {height}")

    def to_dict(self) -> dict[str, Any]:
        """All but the mask, as JSON values; ``Prompt(**said, mask=mask)`` is the same again."""
        return {
            "points": self.points,
            "labels": self.labels,
            "box": self.box,
            "absent": self.absent,
            "edited": self.edited,
        }

    def same(self, other: Prompt) -> bool:
        """Whether two prompts say the same."""
        mine, theirs = self.mask, other.mask
        return (
            self.to_dict() == other.to_dict()
            and (mine is None) == (theirs is None)
            and (mine is None or theirs is None or np.array_equal(mine, theirs))
        )


def _number(value: object, what: str) -> float:
    if isinstance(value, (str, bytes, bool, np.bool_)):
        raise PromptError(f"{what} is {value!r}, not a number")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise PromptError(f"{what} is {value!r}, not a number") from None
    except OverflowError:
        raise PromptError(f"{what} is too large") from None
    if not math.isfinite(number):
        raise PromptError(f"{what} is {number}, not a finite number")
    return number


def _points(given: Any) -> tuple[tuple[float, float], ...]:
    points = []
    for point in _sequence(given, "points"):
        pair = _sequence(point, "a point")
        if len(pair) != 2:
            raise PromptError(f"a point has {len(pair)} values; give x and y")
        points.append((_number(pair[0], "a point's x"), _number(pair[1], "a point's y")))
    return tuple(points)


def _labels(given: Any, count: int) -> tuple[int, ...]:
    values = _sequence(given, "labels")
    if not len(values):
        return (1,) * count
    if len(values) != count:
        raise PromptError(f"{count} points but {len(values)} labels; give one for each point")
    for value in values:
        if isinstance(value, str) or value not in (0, 1):
            raise PromptError(f"label {value!r}; allowed are 1 (object) and 0 (background)")
    return tuple(int(value) for value in values)


def _sequence(given: Any, what: str) -> Sequence[Any]:
    if isinstance(given, np.ndarray):
        return list(given)
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise PromptError(f"{what} is {given!r}, not a list")
    return given


def _box(given: Any) -> tuple[float, float, float, float]:
    values = _sequence(given, "a box")
    if len(values) != 4:
        raise PromptError(f"a box has {len(values)} values; give x0, y0, x1, y1")
    x0, y0, x1, y1 = (_number(value, "a box's side") for value in values)
    if not (x0 < x1 and y0 < y1):
        raise PromptError(
            f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) has no area; give x0 < x1 and y0 < y1"
        )
    return x0, y0, x1, y1


def _mask(given: Any) -> Mask:
    mask = np.asarray(given)
    if mask.ndim != 2:
        raise PromptError(f"a mask has shape {mask.shape}; give (height, width)")
    mask = np.asarray(mask != 0, np.bool_)
    if not mask.any():
        raise PromptError("the mask is empty; to say that the object is not there use absent")
    mask.setflags(write=False)
    return mask


@dataclass
class Prompts:
    """Prompts by object and frame, and the objects' names."""

    by_object: dict[int, dict[int, Prompt]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def add(self, object_id: int, frame: int, prompt: Prompt) -> None:
        """Add a prompt; the same object and frame twice is an error."""
        frames = self.by_object.setdefault(check_object_id(object_id), {})
        if frame in frames:
            raise PromptError(f"object {object_id} has two prompts on frame {frame}; give one")
        frames[frame] = prompt

    def __iter__(self) -> Iterator[tuple[int, int, Prompt]]:
        """Yield (object id, frame, prompt), by object and frame."""
        for object_id in sorted(self.by_object):
            for frame in sorted(self.by_object[object_id]):
                yield object_id, frame, self.by_object[object_id][frame]

    def __len__(self) -> int:
        return sum(len(frames) for frames in self.by_object.values())

    def difference(self, other: Prompts) -> str | None:
        """Name the first difference to other prompts, None where there is none."""
        mine = {(o, f): p for o, f, p in self}
        theirs = {(o, f): p for o, f, p in other}
        for key in sorted(mine.keys() | theirs.keys()):
            one, two = mine.get(key), theirs.get(key)
            place = f"object {key[0]}, frame {key[1]}"
            if one is None or two is None:
                return f"{place} is prompted in only one of the two"
            if not one.same(two):
                return f"{place} is prompted differently"
        return None


def check_object_id(object_id: object) -> int:
    """Return the id as an int; PromptError where it is not a positive integer."""
    if isinstance(object_id, (bool, np.bool_)) or not isinstance(object_id, (int, np.integer)):
        raise PromptError(f"object {object_id!r}; ids are positive integers")
    if not 0 < object_id < 2**31:
        raise PromptError(f"object {object_id}; ids are positive integers below 2**31")
    return int(object_id)


# The grammar of the command line: OBJ:VALUE[@T]


def parse_tagged(text: str, *, default_frame: int) -> tuple[int, str, int]:
    """Split ``OBJ:VALUE[@T]`` into object, value and frame.

    OBJ ends at the first ``:``; T is the digits after the last ``@``.
    """
    head, colon, rest = text.partition(":")
    if not colon or not _is_whole(head.strip()):
        raise PromptError(f"{text!r}; expected OBJ:VALUE with a whole number before the ':'")
    value, frame = split_frame(rest, default_frame=default_frame)
    if not value:
        raise PromptError(f"{text!r} says nothing after the ':'")
    return check_object_id(int(head)), value, frame


def split_frame(text: str, *, default_frame: int) -> tuple[str, int]:
    """Split ``VALUE[@T]``; an ``@`` without digits behind it belongs to the value."""
    value, at, digits = text.rpartition("@")
    if at and digits.isascii() and digits.isdecimal():
        if not _is_whole(digits):
            raise PromptError(f"{text!r}; the frame behind the '@' is too large")
        return value, int(digits)
    return text, default_frame


def _is_whole(text: str) -> bool:
    # Python refuses to read numbers of thousands of digits.
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _numbers(value: str, text: str, count: int, shape: str) -> list[float]:
    parts = value.split(",")
    if len(parts) != count:
        raise PromptError(f"{text!r} has {len(parts)} numbers; expected {shape}")
    try:
        if "_" in value:  # which Python reads as part of a number
            raise ValueError
        return [float(part) for part in parts]
    except ValueError:
        raise PromptError(f"{text!r} is not in numbers; expected {shape}") from None


def parse_point(text: str, *, default_frame: int) -> tuple[int, tuple[float, float], int]:
    """Read ``OBJ:X,Y[@T]`` into (object, (x, y), frame)."""
    object_id, value, frame = parse_tagged(text, default_frame=default_frame)
    x, y = _numbers(value, text, 2, "OBJ:X,Y[@T]")
    return object_id, (x, y), frame


def parse_box(
    text: str, *, default_frame: int
) -> tuple[int, tuple[float, float, float, float], int]:
    """Read ``OBJ:X0,Y0,X1,Y1[@T]`` into (object, box, frame)."""
    object_id, value, frame = parse_tagged(text, default_frame=default_frame)
    x0, y0, x1, y1 = _numbers(value, text, 4, "OBJ:X0,Y0,X1,Y1[@T]")
    return object_id, _box((x0, y0, x1, y1)), frame


def parse_absent(text: str) -> tuple[int, int]:
    """Read ``OBJ@T`` into (object, frame)."""
    head, at, digits = text.partition("@")
    if not at or not _is_whole(head) or not _is_whole(digits):
        raise PromptError(f"{text!r}; expected OBJ@T")
    return check_object_id(int(head)), int(digits)


# The prompts file


def load_prompts(
    given: str | os.PathLike[str] | Mapping[str, Any] | Prompts,
    *,
    read_mask: Callable[[Path], Mask],
) -> Prompts:
    """Read prompts from a file, from the same as a dict, or return Prompts as they are.

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
        Where it is not JSON or breaks the schema, saying where.
    """
    if isinstance(given, Prompts):
        return given
    folder, within = Path(), None
    if isinstance(given, Mapping):
        content: Any = given
        name = "prompts"
    else:
        path = Path(given)
        name, folder, within = str(path), path.parent, path.parent
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PromptError(f"{name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise PromptError(f"{name} is not UTF-8 text; expected a JSON prompts file") from error
        except json.JSONDecodeError as error:
            raise PromptError(
                f"{name} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
            ) from error
        except RecursionError as error:
            raise PromptError(f"{name} is nested too deeply for a prompts file") from error
        except ValueError as error:  # a null character in the path, a number of too many digits
            raise PromptError(f"{name} cannot be read: {error}") from error
    return _Reader(name, folder, read_mask, within).read(content)


@dataclass
class _Reader:
    """Checks the schema, saying where it is broken."""

    name: str
    folder: Path
    read_mask: Callable[[Path], Mask]
    within: Path | None  # where masks' files must lie; anywhere for a dict of the caller's own

    def _fail(self, where: str, what: str) -> PromptError:
        return PromptError(f"{self.name}: {where or 'the whole'} {what}")

    def _object(self, value: Any, where: str, allowed: set[str], needed: set[str]) -> Any:
        if not isinstance(value, Mapping):
            raise self._fail(where, f"is {type(value).__name__}, expected an object")
        for key in value:
            if key not in allowed:
                raise self._fail(where, f"has unknown key {key!r}; allowed: {sorted(allowed)}")
        for key in sorted(needed - set(value)):
            raise self._fail(where, f"lacks {key!r}")
        return value

    def _list(self, value: Any, where: str) -> Sequence[Any]:
        if not isinstance(value, (list, tuple)):
            raise self._fail(where, f"is {type(value).__name__}, expected a list")
        return value

    def _integer(self, value: Any, where: str, lowest: int) -> int:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise self._fail(where, f"is {value!r}, expected a whole number")
        if not lowest <= value < 2**31:
            raise self._fail(where, f"is {value}; allowed are {lowest} and more")
        return int(value)

    def read(self, content: Any) -> Prompts:
        self._object(content, "", {"version", "objects"}, {"version", "objects"})
        if content["version"] != 1 or isinstance(content["version"], bool):
            raise self._fail("version", f"is {content['version']!r}; this program reads 1")
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
        path = self.folder / mask
        if self.within is not None:
            try:
                inside = path.resolve().is_relative_to(self.within.resolve())
            except (OSError, ValueError, RuntimeError):  # a null character; links in a circle
                inside = False
            if not inside:
                raise self._fail(
                    where,
                    f"is {mask!r}, which leads out of the folder of the prompts; put the file "
                    "there, or give it by --mask",
                )
        return path

    def _prompt(self, entry: Any, where: str) -> tuple[int, Prompt]:
        allowed = {"frame", "points", "labels", "box", "mask", "absent"}
        self._object(entry, where, allowed, {"frame"})
        frame = self._integer(entry["frame"], f"{where}.frame", 0)
        absent = entry.get("absent", False)
        if not isinstance(absent, (bool, np.bool_)):
            raise self._fail(f"{where}.absent", f"is {absent!r}, expected true or false")
        mask = entry.get("mask")
        if isinstance(mask, str):
            mask = self.read_mask(self._beside(mask, f"{where}.mask"))
        elif mask is not None and not isinstance(mask, np.ndarray):
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


def check_name(name: object) -> str:
    """Return an object's name.

    Raises
    ------
    PromptError
        Where it is no text of one line, or longer than 200 characters.
    """
    if not isinstance(name, str) or not _is_text(name):
        raise PromptError(f"name {name!r}; a name is text")
    if len(name) > _LONGEST_NAME or not all(c.isprintable() for c in name):
        raise PromptError(
            f"name {name[:40]!r}; a name is one line of up to {_LONGEST_NAME} characters"
        )
    return name


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can hold
        return False
    return True


def merged(one: Prompt | None, two: Prompt) -> Prompt:
    """Add up what several options say of one object and frame."""
    if one is None:
        return two
    if one.box is not None and two.box is not None:
        raise PromptError("a second box for the same object and frame; give one")
    if one.mask is not None and two.mask is not None:
        raise PromptError("a second mask for the same object and frame; give one")
    if one.absent or two.absent:
        raise PromptError("a prompt is both absent and present; give one of the two")
    return replace(
        one,
        points=one.points + two.points,
        labels=one.labels + two.labels,
        box=one.box if one.box is not None else two.box,
        mask=one.mask if one.mask is not None else two.mask,
    )
