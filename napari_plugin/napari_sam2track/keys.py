"""The keys of a session, and how they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napari.layers import Labels, Points, Shapes

__all__ = ["KEYS", "bind", "bind_unanswered", "told_keys"]

# Free in napari 0.9 in the viewer and in all layers; each with the method it calls.
KEYS = {
    "n": ("next_object", "begin the next object"),
    "g": ("toggle_background", "click on the object, or on background"),
    "q": ("track", "track what has changed, or pause"),
    "Shift-q": ("track_to_next", "track no further than to frames that you fixed"),
    "j": ("go_least_sure", "go to the least sure frame"),
    "Shift-j": ("go_next_least_sure", "go to the next least sure frame"),
    "k": ("go_next_prompted", "go to the next prompted frame"),
    "Shift-k": ("go_previous_prompted", "go to the previous prompted frame"),
    "w": ("confirm", "this mask is right"),
    "Shift-w": ("absent", "the object is not on this frame"),
    "u": ("clear", "take back all that was said of the object on this frame"),
    "Shift-h": ("show_keys", "show these keys"),
    "Control-z": ("undo", "undo"),
    "Control-Shift-z": ("redo", "redo"),
}


# napari's key for a new label, which it refuses where labels are not all in memory.
_OF_MASKS = {
    "m": ("next_object", "the same as N, in the layer masks: napari's key for a new label")
}
# napari's own paste tells nobody, and fails where features are text.
_OF_PROMPTS = {
    "Control-c": ("copy_prompts", "copy the clicks and boxes that are selected"),
    "Control-v": ("paste_prompts", "say them on this frame, too"),
}


def bind(layer: Any, target: Any) -> Callable[[], None]:
    """Let the keys call methods of `target` while a layer is active; return what ends that.

    On layers, whose keys come before those of the viewer. Keys that a person has bound on the layer
    stay theirs.
    """
    own = _OF_MASKS if isinstance(layer, Labels) else {}
    own = _OF_PROMPTS if isinstance(layer, Points | Shapes) else own
    return _bind(layer, {key: getattr(target, name) for key, (name, _) in (KEYS | own).items()})


def bind_unanswered(viewer: Any, told: Callable[[], None]) -> Callable[[], None]:
    """Call this where undo or redo is asked for and no layer answers; return what ends that.

    No layer is active where none or several are selected. Other keys are not bound on the viewer,
    where they would be in the way of a person's own.
    """
    return _bind(viewer, dict.fromkeys(("Control-z", "Control-Shift-z"), told))


def _bind(layer: Any, methods: Mapping[str, Callable[[], None]]) -> Callable[[], None]:
    bound = []
    for key, method in methods.items():

        def act(_: Any, method: Callable[[], None] = method) -> None:
            method()

        try:
            layer.bind_key(key, act)
        except ValueError:  # it is bound already
            continue
        bound.append((key, act))

    def end() -> None:
        for key, act in bound:
            there = layer.bind_key(key, None)
            if there not in (act, None):
                layer.bind_key(key, there)

    return end


def told_keys() -> str:
    """All keys as a table in HTML."""
    named = [(_named(key), what) for key, (_, what) in (KEYS | _OF_MASKS | _OF_PROMPTS).items()]
    named.append(("Ctrl+click", "click on background, as the right button does"))
    lines = "".join(f"<tr><td><b>{key}</b></td><td>{what}</td></tr>" for key, what in named)
    where = "While the picture or a layer of the session is active:"
    return f"<p>{where}</p><table cellpadding='3'>{lines}</table>"


def _named(key: str) -> str:
    """As people know a key."""
    *held, last = key.replace("Control", "Ctrl").split("-")
    return "+".join([*held, last.upper()])
