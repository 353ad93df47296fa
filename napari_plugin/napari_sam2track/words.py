"""Objects, frames, steps and times in words, as a person is told of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from napari_sam2track.strokes import Action

__all__ = ["counted", "lasting", "many", "numbered", "turned"]

_NAMED = 8  # objects that a message names one by one

# What journals call things, for people.
_NAMES = {
    "edit": "paint",
    "propagate": "tracking",
    "continue": "tracking",
    "prompt": "click or box",
    "remove": "delete",
}


def _named(action: Action) -> str:
    """What a person calls what was done."""
    kind, said = action["action"], action.get("said") or {}
    if kind == "lock" and not action.get("locked"):
        return "unlock"
    if kind == "prompt" and said.get("absent"):
        return "not here"
    alone = said.get("mask") and not (said.get("points") or said.get("box"))
    if kind == "prompt" and alone and action["begins"]:  # else its clicks were taken from a mask
        return "mask"  # that was painted, or is another layer's
    return str(_NAMES.get(kind, kind))


def turned(how: str, actions: Sequence[Action]) -> str:
    """What undo or redo did, in words."""
    if not actions:
        return f"there is nothing to be {how.replace('took', 'taken')}"
    told = f"{how}: {' and '.join(dict.fromkeys(map(_named, actions)))}"
    ids = sorted({a["object"] for a in actions if isinstance(a.get("object"), int)})
    if ids:
        told += f" of {numbered(ids)}"
    frames = sorted({a["frame"] for a in actions if isinstance(a.get("frame"), int)})
    return f"{told} on {many(frames)}" if frames else told


def counted(number: int, what: str) -> str:
    """A number of things, in words."""
    return f"{number} {what}{'s' * (number != 1)}"


def numbered(ids: Collection[int]) -> str:
    """Objects, in words; of many their number, as a message is one line."""
    if len(ids) > _NAMED:
        return f"{len(ids)} objects (from {min(ids)} to {max(ids)})"
    *most, last = map(str, ids)
    return f"objects {', '.join(most)} and {last}" if most else f"object {last}"


def many(frames: Sequence[int]) -> str:
    """Frames, ascending, in words."""
    if len(frames) == 1:
        return f"frame {frames[0]}"
    return f"{len(frames)} frames, {frames[0]} to {frames[-1]}"


def lasting(seconds: float) -> str:
    """How long something takes, in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
