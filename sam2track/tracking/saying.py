"""What a person says of objects: prompts, painted masks, names, locks. Each is one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sam2track.arguments import check_flag
from sam2track.errors import PromptError
from sam2track.prompts import Prompt, check_name, check_object_id, check_prompt
from sam2track.tracking.actions import pack_mask, said_of
from sam2track.tracking.book import Book
from sam2track.tracking.objects import Tracked

__all__ = ["add", "clear", "confirm", "lock", "remove", "rename", "say"]


def add(book: Book, object_id: int, frame: int, prompt: Prompt, name: str = "") -> None:
    """Say where an object is on a frame; replaces what was said of it there."""
    object_id = check_object_id(object_id)
    if object_id in book.objects:
        book.known(object_id)
    frame = book.check_frame(frame)
    check_prompt(prompt).check(book.source.height, book.source.width)
    name = check_name(name)
    if not prompt.edited:
        say(book, "prompt", said_of(object_id, frame, prompt, name), object_id, frame, prompt)
        return
    item = book.known(object_id)  # what is painted over is there already
    none = np.zeros((book.source.height, book.source.width), np.bool_)
    action: dict[str, Any] = {"object": item.object_id, "frame": frame}
    action |= {"name": name} if name else {}
    action["mask"] = pack_mask(none if prompt.mask is None else prompt.mask)
    say(book, "edit", action, item.object_id, frame, prompt)


def confirm(book: Book, object_id: int, frame: int) -> None:
    """Say that what is shown of an object on a frame is right."""
    item = book.known(object_id)
    frame = book.check_frame(frame)
    book.check_kept(frame)
    if frame in item.prompted:
        return  # what was said of it is right already
    mask = book.result(frame, item.object_id).mask(item.object_id)  # hundreds may be on it
    said = {"object": item.object_id, "frame": frame}
    say(book, "confirm", said, item.object_id, frame, Prompt.painted(mask))


def say(
    book: Book, kind: str, action: Mapping[str, Any], object_id: int, frame: int, prompt: Prompt
) -> None:
    """Answer a prompt that was checked, and keep both.

    Parameters
    ----------
    kind, action
        What the journal says of it.
    """
    item = book.objects.get(object_id) or Tracked(object_id)
    item.life.check_alive(frame)
    with book.step(kind, [item], **action):
        item.name = action.get("name") or item.name
        tracked = book.tracked(object_id, frame)
        book.keep(item, frame, prompt, tracked)
        book.objects[object_id] = item
        book.changed(item, frame)


def clear(book: Book, object_id: int, frame: int) -> None:
    """Take back what was said of an object on a frame; without any other prompt it is removed."""
    item = book.known(object_id)
    frame = book.check_frame(frame)
    if frame not in item.prompted:
        raise PromptError(
            f"object {object_id} has no prompt on frame {frame}; "
            f"it has some on {sorted(item.prompted)}"
        )
    tracked = book.tracked(item.object_id, frame)
    history = book.history
    with book.step("clear", [item, *book.daughters(item)], object=item.object_id, frame=frame):
        first = item.first
        del item.prompted[frame]
        if not item.prompted:
            _remove(book, item)
            return
        history.unsay(item.object_id, frame)
        history.forget(item.object_id, frame, frame + 1)
        if first == frame:
            # Forward the object has not begun until its new first prompt.
            history.forget(item.object_id, frame, item.first, source="forward")
        since = frame
        if item.last < frame:
            # Nor, backward, until its new last one; forward these frames are to be run again.
            there = history.frames_of(item.object_id)
            history.forget(item.object_id, item.last + 1, frame, source="backward")
            since = min({*there, frame} - {*history.frames_of(item.object_id)})
        if (
            tracked is not None
            and tracked.key is not None
            and item.begun(frame, backward=tracked.source == "backward")
        ):
            history.bring_back(item.object_id, frame, tracked.key)
        book.changed(item, max(since, item.first))


def remove(book: Book, object_id: int) -> None:
    """Forget an object altogether; its daughters have no mother then."""
    item = book.known(object_id)
    with book.step("remove", [item, *book.daughters(item)], object=item.object_id):
        _remove(book, item)


def _remove(book: Book, item: Tracked) -> None:
    del book.objects[item.object_id]
    book.history.drop_life(item.object_id)
    for daughter in book.daughters(item):
        book.known(daughter.object_id)  # refused where it is locked
        daughter.mother = None
        book.history.keep_life(daughter.life)


def lock(book: Book, object_id: int, *, locked: bool) -> None:
    """Let nothing change an object any more, or let it be changed again."""
    item = book.known(object_id, changes=False)
    locked = check_flag("locked", locked)
    if item.locked == locked:
        return
    with book.step("lock", [item], object=item.object_id, locked=locked):
        item.locked = locked
        book.history.keep_life(item.life)


def rename(book: Book, object_id: int, name: str) -> None:
    """Name an object."""
    item = book.known(object_id)
    name = check_name(name)
    if item.name == name:
        return
    with book.step("rename", [item], object=item.object_id, name=name):
        item.name = name
        book.history.keep_life(item.life)
