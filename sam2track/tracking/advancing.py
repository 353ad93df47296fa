"""One more frame of a stream: all objects are tracked on it, and older results go."""

from __future__ import annotations

from sam2track.frames.source import Frame
from sam2track.tracking.book import Book
from sam2track.tracking.result import FrameResult
from sam2track.tracking.spill import SpillFile

__all__ = ["advance"]

_KEPT = 1000  # frames of a stream without a project, of which results are kept
_TIDY = 100  # frames after which older ones are dropped


def advance(book: Book, frame: int, picture: Frame, *, max_batch: int) -> FrameResult:
    """Track all objects of a stream on its latest frame."""
    active = [
        item
        for _, item in sorted(book.objects.items())
        if not item.locked and (item.end is None or frame < item.end)
    ]
    if not active:
        return book.frame_result(frame, [], {})
    recent = [item.copied_recent() for item in active]
    try:
        result = book.track(frame, picture, active, backward=False, max_batch=max_batch)
    except BaseException:  # another picture may come under this number
        for item, before in zip(active, recent, strict=True):
            item.recent = before
        book.engine.store.clear()
        raise
    for item in active:
        item.advance(frame, -1, backward=False)
        book.engine.recall.forget_prompts(item, frame)
    if isinstance(book.history, SpillFile) and frame % _TIDY == 0:
        old = frame - _KEPT
        said = [(i, f) for i, it in book.objects.items() for f in it.prompted if f < old]
        book.history.drop_before(old, said)
        book.first_kept = max(0, old)
    return result
