"""Which object is which: merge, split, swap, end, divide.

Each is one step. Frames change their object in the history as they are, without loss; where the
change begins, what is shown becomes an edited mask, which conditions, so that a later run of the
objects that were touched does not repeat the mistake. They are marked for that run, no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sam2track import masks as rle
from sam2track.errors import PromptError
from sam2track.prompts import Prompt, check_object_id
from sam2track.tracking.actions import pack_mask
from sam2track.tracking.book import Book
from sam2track.tracking.objects import Tracked

__all__ = ["divide", "end_at", "merge", "split_from", "swap_from"]

Mask = npt.NDArray[np.bool_]


def merge(book: Book, object_id: int, other_id: int) -> None:
    """Let two objects be one: the first has all frames of both, unions where both have some."""
    book.refuse_stream("merge objects in")
    item, other = book.known(object_id), book.known(other_id)
    if item is other:
        raise PromptError(f"object {item.object_id} cannot be merged with itself")
    mine, theirs = _frames(book, item), _frames(book, other)
    early, late = (item, other) if min(mine) <= min(theirs) else (other, item)
    born_with = late.mother is not None and late.mother != early.object_id
    if born_with and min(mine + theirs) < (late.birth or 0):
        raise PromptError(
            f"object {late.object_id} is a daughter of {late.mother} and would exist before its "
            f"birth; merging it with {early.object_id} is not possible"
        )
    if born_with and early.mother not in (None, late.mother):
        raise PromptError(
            f"object {late.object_id} is a daughter of {late.mother} and object {early.object_id} "
            f"of {early.mother}; an object has one mother, so they cannot be merged"
        )
    sisters = [d.object_id for d in book.daughters(early) if d is not late]
    if sisters:
        raise PromptError(
            f"object {early.object_id} divides into {[*sisters]} and cannot go on as "
            f"{late.object_id}; remove those first"
        )
    heirs = book.daughters(late)
    last = max(_frames(book, early))
    if heirs and late.end is not None and last >= late.end:
        raise PromptError(
            f"object {late.object_id} divides on frame {late.end} and object {early.object_id} is "
            f"still there on frame {last}; end it before that first"
        )
    # Of a daughter and one that begins with it, a sister too, the whole is that daughter.
    child = late if born_with else early
    within = early.mother is not None or late.mother is not None
    born = child.birth if within else _least(item.birth, other.birth)
    after = heirs or late.mother == early.object_id
    ends = late.end if after else _most(item.end, other.end)
    with book.step("merge", object=item.object_id, other=other.object_id):
        history = book.history
        history.relabel({other.object_id: item.object_id}, where_free=True)
        for frame in sorted(set(mine) & set(theirs)):
            _unite(book, item, other, frame)
        _inherited(book, late, item.object_id)
        history.drop_life(other.object_id)
        either = item.prompted | other.prompted
        anchors = {frame: either[frame] for frame, _ in history.anchors(item.object_id)}
        merged = replace(
            item,
            prompted=anchors,
            birth=born,
            end=ends,
            mother=child.mother,
            name=item.name or other.name,
            pending=dict(item.pending),
        )
        forward = min(merged.pending.get(False, min(theirs)), min(theirs))
        back = max(merged.pending.get(True, max(theirs)), max(theirs))
        merged.pending = {False: max(forward, merged.first), True: min(back, merged.last)}
        history.keep_life(merged.life)
        book.unread()  # within, as Ctrl-C may come before they are read
    book.load()


def _unite(book: Book, item: Tracked, other: Tracked, frame: int) -> None:
    """Let a frame hold the union of two objects' masks."""
    shown = {r: book.shown(r, frame) for r in (item.object_id, other.object_id)}
    first, second = shown[item.object_id], shown[other.object_id]
    if first is None or second is None:
        return
    one, two = first[0], second[0]
    both = book.frame_result(
        frame, [one, two], {r: s[1] for r, s in shown.items() if s is not None and s[1] is not None}
    )
    union = np.asarray(both.masks.any(axis=0))
    if first[1] is not None or second[1] is not None:
        book.keep(item, frame, Prompt.painted(union), book.tracked(item.object_id, frame))
        return
    areas = both.masks.sum(axis=(1, 2))
    larger = one if areas[0] >= areas[1] else two
    record = replace(
        larger,
        object_id=item.object_id,
        logits=np.maximum(one.logits, two.logits),
        score=max(one.score, two.score),
        iou=max(one.iou, two.iou),
        source=one.source,
        mask=rle.encode(union),
    )
    book.history.put(book.frame_result(frame, [record], {}), [record])


def split_from(book: Book, object_id: int, frame: int, new_id: int | None = None) -> int:
    """Let an object end before a frame, and what it was from there on be a new object."""
    book.refuse_stream("split objects in")
    item = book.known(object_id)
    frame = book.check_frame(frame)
    item.life.check_alive(frame)
    new_id = book.history.next_id() if new_id is None else check_object_id(new_id)
    if new_id in book.objects:
        raise PromptError(f"there is an object {new_id} already; give another number")
    if item.first >= frame:
        raise PromptError(
            f"object {item.object_id} has no prompt before frame {frame}, and nothing would be "
            f"left of it there; confirm it or prompt it on an earlier frame first"
        )
    mask = _mask_at(book, item, frame)
    if not mask.any():
        raise PromptError(
            f"object {item.object_id} is not seen on frame {frame}; split it where it is"
        )
    with book.step("split", object=item.object_id, frame=frame, new=new_id):
        history = book.history
        part = Tracked(new_id, birth=frame, end=item.end)
        part.prompted = {f: a for f, a in item.prompted.items() if f >= frame}
        _inherited(book, item, new_id)
        history.relabel({item.object_id: new_id}, frame)
        if frame not in part.prompted:
            book.keep(part, frame, Prompt.painted(mask), None)
        part.changed(frame)
        moved = len(part.prompted) > 1 or frame in item.prompted
        rest = replace(
            item, prompted={f: a for f, a in item.prompted.items() if f < frame}, end=frame
        )
        rest.pending = {way: f for way, f in item.pending.items() if f < frame}
        if moved:  # backward, what is left was tracked from there
            rest.pending[True] = min(rest.pending.get(True, rest.last), rest.last)
        history.keep_life(part.life)
        history.keep_life(rest.life)
        book.unread()  # within, as Ctrl-C may come before they are read
    book.load()
    return new_id


def swap_from(book: Book, object_id: int, other_id: int, frame: int) -> None:
    """Exchange two objects from a frame on, with what was said of them there and later."""
    book.refuse_stream("swap objects in")
    items = [book.known(object_id), book.known(other_id)]
    frame = book.check_frame(frame)
    one, two = items
    if one is two:
        raise PromptError(f"object {one.object_id} cannot be swapped with itself")
    for item in items:
        item.life.check_alive(frame)
    masks = [_mask_at(book, item, frame) for item in items]
    if not any(mask.any() for mask in masks):
        raise PromptError(
            f"neither object {one.object_id} nor {two.object_id} is seen on frame {frame}; "
            f"swap them where one is"
        )
    with book.step("swap", object=one.object_id, other=two.object_id, frame=frame):
        history = book.history
        for item, to in ((one, two), (two, one)):
            _inherited(book, item, to.object_id)
        history.relabel({one.object_id: two.object_id, two.object_id: one.object_id}, frame)
        for item, source, mask in ((one, two, masks[1]), (two, one, masks[0])):
            changed = replace(item, end=source.end, pending=dict(item.pending))
            changed.prompted = {f: a for f, a in item.prompted.items() if f < frame} | {
                f: a for f, a in source.prompted.items() if f >= frame
            }
            if frame not in changed.prompted:
                book.keep(changed, frame, Prompt.painted(mask), None)
            changed.changed(frame)
            _keep_before(book, changed, item.pending.get(True, -1), frame)
            history.keep_life(changed.life)
        book.unread()  # within, as Ctrl-C may come before they are read
    book.load()


def _keep_before(book: Book, item: Tracked, unfinished: int, frame: int) -> None:
    """Let what lies before a frame be run backward no further than it was to be before.

    Else a run from the frame would carry on there what holds from the frame on alone. The frame
    before it counts as run from there: a run that ends at a prompt looks at that one.
    """
    before = next((f for f in range(frame - 1, -1, -1) if f not in item.prompted), -1)
    record = book.history.get(item.object_id, before) if before > unfinished else None
    if record is not None:
        book.history.put(book.frame_result(before, [record], {}), [record])
    if unfinished < 0:
        del item.pending[True]
    elif unfinished < frame:
        item.pending[True] = unfinished


def end_at(book: Book, object_id: int, frame: int | None) -> None:
    """Let an object end before a frame; None takes its end back."""
    item = book.known(object_id)
    daughters = [daughter.object_id for daughter in book.daughters(item)]
    if daughters:
        raise PromptError(
            f"object {item.object_id} ends where it divides into {daughters}; remove those first"
        )
    if frame is None:
        ended = item.end
        if ended is None:
            return
        with book.step("end", object=item.object_id, frame=None):
            item.end = None
            if ended < len(book.source):
                item.pending[False] = min(item.pending.get(False, ended), ended)
            book.history.keep_life(item.life)
        return
    frame = book.check_frame(frame)
    if item.last >= frame:
        raise PromptError(
            f"object {item.object_id} is prompted on frame {item.last} and cannot end before "
            f"frame {frame}; clear that prompt first"
        )
    if item.end == frame:
        return
    with book.step("end", object=item.object_id, frame=frame):
        if item.end is not None and item.end < frame:
            item.pending[False] = min(item.pending.get(False, item.end), item.end)
        item.end = frame
        book.history.forget(item.object_id, frame)
        if item.pending.get(False, -1) >= frame:
            del item.pending[False]
        book.history.keep_life(item.life)


def divide(book: Book, object_id: int, frame: int, daughters: Mapping[int, Mask | None]) -> None:
    """Let an object end before a frame, on which its daughters begin.

    A daughter with a mask is new, or gets that mask on the frame; one without is there already.
    """
    book.refuse_stream("divide objects in")
    mother = book.known(object_id)
    frame = book.check_frame(frame)
    if not daughters:
        raise PromptError("a division without daughters; name one or more, with their masks")
    if mother.first >= frame:
        raise PromptError(
            f"object {mother.object_id} is first prompted on frame {mother.first} and cannot "
            f"divide on frame {frame}; confirm it or prompt it on an earlier frame first"
        )
    if mother.last >= frame:
        raise PromptError(
            f"object {mother.object_id} is prompted on frame {mother.last}, after it would have "
            f"divided; clear that prompt first"
        )
    mother.life.check_alive(frame - 1)
    if there := [daughter.object_id for daughter in book.daughters(mother)]:
        raise PromptError(f"object {mother.object_id} divides into {there} already")
    masks = {
        check_object_id(daughter_id): _daughter(book, mother, daughter_id, mask, frame)
        for daughter_id, mask in daughters.items()
    }
    packed = {i: None if mask is None else pack_mask(mask) for i, mask in masks.items()}
    with book.step("divide", object=mother.object_id, frame=frame, daughters=packed):
        mother.end = frame
        if mother.pending.get(False, -1) >= frame:
            del mother.pending[False]
        book.history.forget(mother.object_id, frame)
        book.history.keep_life(mother.life)
        for daughter_id, mask in masks.items():
            item = book.objects.get(daughter_id) or Tracked(daughter_id)
            item.birth, item.mother = frame, mother.object_id
            book.objects[daughter_id] = item
            if mask is not None:
                tracked = book.tracked(daughter_id, frame)
                book.keep(item, frame, Prompt.painted(mask), tracked)
                book.changed(item, frame)
            else:
                if item.pending.get(True, frame) < frame:
                    del item.pending[True]
                book.history.keep_life(item.life)


def _daughter(
    book: Book, mother: Tracked, daughter_id: int, mask: Mask | None, frame: int
) -> Mask | None:
    """Check one daughter."""
    item = book.objects.get(daughter_id)
    if item is mother:
        raise PromptError(f"object {daughter_id} cannot be its own daughter")
    if item is not None:
        book.known(daughter_id)
        if item.mother is not None:
            raise PromptError(f"object {daughter_id} is a daughter of {item.mother} already")
        begins = min(_frames(book, item))
        if begins < frame:
            raise PromptError(
                f"object {daughter_id} is there from frame {begins} on, before the division on "
                f"frame {frame}; split it there first"
            )
        if item.end is not None and item.end <= frame:
            raise PromptError(f"object {daughter_id} ends before frame {item.end}")
    elif mask is None:
        raise PromptError(f"there is no object {daughter_id}; give the mask of a new daughter")
    if mask is not None:
        prompt = Prompt(mask=mask)
        prompt.check(book.source.height, book.source.width)
        return prompt.mask
    return None


def _mask_at(book: Book, item: Tracked, frame: int) -> Mask:
    return book.result(frame).mask(item.object_id)


def _frames(book: Book, item: Tracked) -> list[int]:
    return book.history.frames_of(item.object_id)


def _inherited(book: Book, item: Tracked, new: int) -> None:
    """Give an object's daughters another mother; one that is locked keeps hers."""
    for daughter in book.daughters(item):
        if daughter.mother != new:
            book.history.keep_life(replace(book.known(daughter.object_id).life, mother=new))


def _least(one: int | None, two: int | None) -> int | None:
    return None if one is None or two is None else min(one, two)


def _most(one: int | None, two: int | None) -> int | None:
    return None if one is None or two is None else max(one, two)
