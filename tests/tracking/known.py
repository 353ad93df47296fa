"""All that a tracker and its history know, to be compared before and after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from sam2track import Tracker
from sam2track.tracking.spill import SpillFile
from tests.parity.oracle import SIZE, clip, predictor

FRAMES = 8
LEFT, RIGHT, LOW = (36, 40), (90, 40), (64, 100)  # centres of disks that do not touch


def module() -> Any:
    return predictor("nano", True)


def disk(centre: tuple[int, int], radius: int = 18) -> np.ndarray:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    return (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 < radius**2


def tracker(**options: Any) -> Tracker:
    return Tracker(module(), clip(FRAMES), **options)


@cache
def _run(extra: tuple[tuple[int, int], ...]) -> Tracker:
    made = tracker()
    for object_id, centre in ((1, LEFT), (2, RIGHT), (3, LOW)):
        made.prompt(object_id, 0, mask=disk(centre))
    for object_id, frame in extra:
        made.prompt(object_id, frame, mask=disk(LOW, 10))
    list(made.propagate())
    return made


def ran(*extra: tuple[int, int]) -> Tracker:
    """Three objects that have been run to the end, prompted on frame 0 and where else is said.

    They are run once; each call gives another tracker on a copy of that history.
    """
    first = _run(extra)
    history = SpillFile()
    first.history._db.backup(history._db)
    made = tracker(history=history)
    made._engine.store = first._engine.store
    assert all(life.forward is None for life in history.lives())
    return made


def frames(made: Tracker, object_id: int) -> dict[int, Any]:
    """Each frame's record, to the bit."""
    found = {}
    for frame in made.history.frames_of(object_id):
        record = made.history.get(object_id, frame)
        found[frame] = (
            record.logits.tobytes(),
            record.pointer.tobytes(),
            record.score,
            record.iou,
            record.source,
            record.mask,
        )
    return found


def prompts(made: Tracker, object_id: int) -> dict[int, Any]:
    """What was said on each frame and what came of it, to the bit."""
    found = {}
    for frame, _ in made.history.anchors(object_id):
        answer = made.history.said(object_id, frame)
        found[frame] = (
            repr(answer.prompt.to_dict()),
            None if answer.prompt.mask is None else answer.prompt.mask.tobytes(),
            answer.record.logits.tobytes(),
            None if answer.tracked is None else answer.tracked.logits.tobytes(),
        )
    return found


def mask(made: Tracker, object_id: int, frame: int) -> np.ndarray | None:
    """What is shown of an object on a frame."""
    result = made.result(frame)
    if object_id not in result.object_ids:
        return None
    return result.masks[result.object_ids.index(object_id)]


def masks(made: Tracker, object_id: int) -> dict[int, Any]:
    """What is shown of an object, and how that came about, on all frames."""
    found = {}
    for frame in range(len(made.source)):
        result = made.result(frame)
        if object_id in result.object_ids:
            at = result.object_ids.index(object_id)
            found[frame] = (result.masks[at].tobytes(), result.sources[at])
    return found


def marked(made: Tracker) -> dict[int, tuple[int | None, int | None]]:
    """What has to be run of each object, forward and backward; those with nothing are not here."""
    lives = {i: made.life(i) for i in made.object_ids}
    waiting = {i: (life.forward, life.backward) for i, life in lives.items()}
    return {i: ways for i, ways in waiting.items() if ways != (None, None)}


def marked_forward(made: Tracker) -> dict[int, int]:
    """From where each object has to be run forward; those that need not are not here."""
    return {i: ways[0] for i, ways in marked(made).items() if ways[0] is not None}


def of(made: Tracker, object_id: int) -> Any:
    """All that is known of one object, but not which step changed it last."""
    stored = {life.object_id: replace(life, since=0) for life in made.history.lives()}
    return (
        stored.get(object_id),
        made.life(object_id) if object_id in made.object_ids else None,
        made.prompted(object_id) if object_id in made.object_ids else None,
        prompts(made, object_id),
        frames(made, object_id),
        masks(made, object_id),
    )


def dump(made: Tracker) -> dict[Any, Any]:
    """All that is known of all objects, also of such as should not be there, and the position."""
    rows = made.history._db.execute(
        "SELECT object FROM results UNION SELECT object FROM prompts UNION SELECT id FROM objects"
    )
    ids = {int(i) for (i,) in rows.fetchall()} | set(made.object_ids)
    since = {life.object_id: life.since for life in made.history.lives()}
    return {i: (since.get(i), of(made, i)) for i in sorted(ids)} | {
        "position": made.history.position
    }


@contextlib.contextmanager
def computed() -> Iterator[list[str]]:
    """Which parts of the module were called, each time."""
    calls: list[str] = []
    parts = {
        "encoder": module().image_encoder.trunk,
        "attention": module().memory_attention,
        "decoder": module().sam_mask_decoder,
        "memory": module().memory_encoder,
    }
    hooks = [
        part.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, part in parts.items()
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
