"""What a person says about an object on a frame: points, a box, a mask, or that it is absent."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError
from sam2track.masks import Part
from sam2track.prompt_values import (
    box_of,
    flag_of,
    labels_of,
    mask_values,
    part_of,
    points_of,
)

__all__ = [
    "Prompt",
    "Prompts",
    "check_name",
    "check_object_id",
    "check_prompt",
    "merged",
]

Mask = npt.NDArray[np.bool_]

_JOINERS = "\u200c\u200d\u200e\u200f"  # of Persian, Hindi and emoji; marks of direction
_LONGEST_NAME = 200


class _Boxed:
    """The attribute of a mask, of which what lies in its box is held: of cells, little."""

    def __get__(self, prompt: Prompt | None, _: object = None) -> Mask | None:
        held = None if prompt is None else self.held(prompt)
        if held is None:
            return None
        mask = held.whole()
        mask.setflags(write=False)
        return mask

    def __set__(self, prompt: Prompt, given: Any) -> None:
        prompt.__dict__["_held"] = None if given is None else part_of(given)

    @staticmethod
    def held(prompt: Prompt) -> Part | None:
        """What of the mask lies in its box; None without a mask."""
        held: Part | None = prompt.__dict__.get("_held")
        return held


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
    mask : (H, W) bool or integer array, or Part, optional
        The object's mask, of the frame's size; nonzero is the object. It is made anew each time
        that it is asked for.
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
    mask: _Boxed = _Boxed()
    absent: bool = False
    edited: bool = False

    if TYPE_CHECKING:  # more is taken than what is held then

        def __init__(
            self,
            points: Iterable[Iterable[float]] = ...,
            labels: Iterable[int] = ...,
            box: Iterable[float] | None = ...,
            mask: npt.ArrayLike | Part | None = ...,
            absent: bool | np.bool_ = ...,
            edited: bool | np.bool_ = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        points = points_of(self.points)
        labels = labels_of(self.labels, len(points))
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", labels)
        for name in ("absent", "edited"):
            object.__setattr__(self, name, flag_of(name, getattr(self, name)))
        if self.box is not None:
            object.__setattr__(self, "box", box_of(self.box))
        said = bool(points) or self.box is not None or self.has_mask
        if self.absent and said:
            raise PromptError("a prompt is both absent and present; give one of the two")
        if not self.absent and not said:
            raise PromptError("an empty prompt; give points, a box, a mask or absent")
        if self.edited and not (self.absent or self.is_mask_alone):
            raise PromptError("an edit is a mask alone, or absent")

    @classmethod
    def painted(cls, mask: npt.ArrayLike) -> Prompt:
        """What a painted mask, (H, W) bool, says: an empty one, that the object is not there."""
        given = mask_values(mask)
        if given.ndim == 2 and not (given != 0).any():
            return cls(absent=True, edited=True)
        return cls(mask=given, edited=True)

    @property
    def has_mask(self) -> bool:
        """Whether a mask is given; it is not made for that."""
        return _Boxed.held(self) is not None

    @property
    def is_mask_alone(self) -> bool:
        """Whether nothing but a mask is given, which then is what is reported."""
        return self.has_mask and not self.points and self.box is None

    @property
    def shows(self) -> bool:
        """Whether it says where the object is, not only where it is not."""
        return self.box is not None or self.has_mask or 1 in self.labels

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
        held = _Boxed.held(self)
        if held is not None and held.size != (height, width):
            got = f"{held.size[1]} x {held.size[0]}"
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

    def _unordered(self) -> dict[str, Any]:
        clicks = sorted(zip(self.points, self.labels, strict=True))
        return self.to_dict() | {"points": clicks, "labels": None}

    def same(self, other: Prompt) -> bool:
        """Whether two prompts say the same; in which order points were clicked says nothing."""
        mine, theirs = self.mask, other.mask
        return (
            self._unordered() == other._unordered()
            and (mine is None) == (theirs is None)
            and (mine is None or theirs is None or np.array_equal(mine, theirs))
        )


@dataclass
class Prompts:
    """Prompts by object and frame, and the objects' names."""

    by_object: dict[int, dict[int, Prompt]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def add(self, object_id: int, frame: int, prompt: Prompt) -> None:
        """Add a prompt; the same object and frame twice is an error."""
        object_id, frame, prompt = check_object_id(object_id), _frame(frame), check_prompt(prompt)
        frames = self.by_object.setdefault(object_id, {})
        if frame in frames:
            raise PromptError(f"object {object_id} has two prompts on frame {frame}; give one")
        frames[frame] = prompt

    def checked(self) -> Prompts:
        """Return a copy that holds what `add` and `check_name` let pass; raises as they do."""
        found = Prompts()
        if not isinstance(self.by_object, Mapping) or not isinstance(self.names, Mapping):
            raise PromptError("prompts and names are not given by object; give a dict of each")
        for object_id, frames in self.by_object.items():
            if not isinstance(frames, Mapping):
                raise PromptError(
                    f"object {object_id!r} has {type(frames).__name__}; give its prompts by frame"
                )
            found.by_object[check_object_id(object_id)] = {}
            for frame, prompt in frames.items():
                found.add(object_id, frame, prompt)
        for object_id, name in self.names.items():
            found.names[check_object_id(object_id)] = check_name(name)
        return found

    def check_said(self) -> None:
        """Raise PromptError where nothing is said of an object that is there."""
        for object_id, frames in self.by_object.items():
            if not frames:
                raise PromptError(f"object {object_id} has no prompt; say where it is")

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
        raise PromptError(f"object {object_id!r:.60}; ids are positive integers")
    if not 0 < object_id < 2**31:
        raise PromptError(f"object {object_id}; ids are positive integers below 2**31")
    return int(object_id)


def check_prompt(prompt: object) -> Prompt:
    """Return the prompt; PromptError where it is none."""
    if not isinstance(prompt, Prompt):
        raise PromptError(f"{prompt!r:.60} is no prompt; give Prompt(box=…), Prompt(points=…), …")
    return prompt


def _frame(frame: object) -> int:
    if isinstance(frame, (bool, np.bool_)) or not isinstance(frame, (int, np.integer)):
        raise PromptError(f"frame {frame!r:.60}; frames are whole numbers from 0")
    if not 0 <= frame < 2**31:
        raise PromptError(f"frame {frame}; frames are counted from 0, up to 2**31")
    return int(frame)


def check_name(name: object) -> str:
    """Return an object's name.

    Raises
    ------
    PromptError
        Where it is no text of one line, or longer than 200 characters.
    """
    if not isinstance(name, str) or not _is_text(name):
        raise PromptError(f"name {name!r}; a name is text")
    if len(name) > _LONGEST_NAME or not all(map(_is_shown, name)):
        raise PromptError(
            f"name {name[:40]!r}{'…' if len(name) > 40 else ''}; a name is one line of up to "
            f"{_LONGEST_NAME} characters, none of them a control character"
        )
    return name


def _is_shown(character: str) -> bool:
    """Whether a character may be in a name; spaces and joiners of all writing are."""
    return (
        character.isprintable() or unicodedata.category(character) == "Zs" or character in _JOINERS
    )


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
    if one.has_mask and two.has_mask:
        raise PromptError("a second mask for the same object and frame; give one")
    if one.absent and two.absent:
        return one
    if one.absent or two.absent:
        raise PromptError("a prompt is both absent and present; give one of the two")
    return replace(
        one,
        points=one.points + two.points,
        labels=one.labels + two.labels,
        box=one.box if one.box is not None else two.box,
        mask=one.mask if one.has_mask else two.mask,
    )
