"""What a device is given ahead of its turn, on the CPU: the same masks, and nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sam2track import Tracker
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.tracking.conditioning import Reading
from sam2track.tracking.engine import Engine
from sam2track.tracking.fetching import Fetch
from sam2track.tracking.launch import Launch
from sam2track.tracking.objects import Tracked
from sam2track.tracking.result import FrameResult

FRAMES = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), np.uint8)
BOXES = {1: (4, 4, 30, 30), 2: (20, 8, 60, 40), 3: (10, 30, 40, 60)}

Story = Callable[[Tracker], list[FrameResult]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many objects each batch had that the device was given."""
    seen: list[int] = []
    plain = Engine._tracked

    def counted(self: Engine, features: Any, memories: Any) -> Any:
        seen.append(memories.spatial.shape[1])
        return plain(self, features, memories)

    monkeypatch.setattr(Engine, "_tracked", counted)
    return seen


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def begin() -> None:
        monkeypatch.setattr(Engine, "reads_ahead", property(lambda _: True))

    return begin


@cache
def module() -> Any:
    torch.manual_seed(0)
    return build(ARCHITECTURES["nano"], image_size=64)


def prompted(**given: Any) -> Tracker:
    made = Tracker(module(), FRAMES, **given)
    for object_id, box in BOXES.items():
        made.prompt(object_id, 0, box=box)
    return made


def plain(made: Tracker) -> list[FrameResult]:
    return list(made.propagate())


def corrected(made: Tracker) -> list[FrameResult]:
    """Something else is said of the frame shown last, one before it and one behind it."""
    found = []
    for frame, result in enumerate(made.propagate()):
        found.append(result)
        if frame == 3:
            made.prompt(1, 3, points=[(40, 40)])
            break
    for result in made.propagate():
        found.append(result)
        if result.frame == 5:
            made.prompt(2, 2, points=[(10, 50)])
            break
    for result in made.propagate():
        found.append(result)
        if result.frame == 4:
            made.prompt(3, 6, box=(5, 5, 20, 20))
            break
    return found + list(made.propagate())


def undone(made: Tracker) -> list[FrameResult]:
    found = []
    for result in made.propagate():
        found.append(result)
        if result.frame == 3:
            break
    made.prompt(1, 3, points=[(40, 40)])
    made.undo()
    return found + list(made.propagate())


def both_ways(made: Tracker) -> list[FrameResult]:
    made.prompt(4, 5, box=(30, 30, 50, 50))
    return list(made.propagate(direction="both")) + list(made.propagate(2, 6))


def ended(made: Tracker) -> list[FrameResult]:
    """Objects end, are locked and go while the next frame is under way."""
    found = []
    for result in made.propagate():
        found.append(result)
        if result.frame == 2:
            made.end_at(1, 4)
        elif result.frame == 4:
            made.lock(2)
        elif result.frame == 5:
            made.remove(3)
    return found


@pytest.mark.parametrize(
    ("story", "max_batch"),
    [(plain, 16), (corrected, 16), (undone, 16), (both_ways, 16), (ended, 16), (corrected, 2)],
)
def test_the_same_comes_of_it(
    story: Story, max_batch: int, given: list[int], ahead: Callable[[], None]
) -> None:
    expected = story(prompted(max_batch=max_batch))
    ahead()
    got = story(prompted(max_batch=max_batch))
    assert [result.frame for result in got] == [result.frame for result in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.object_ids == other.object_ids
        assert np.array_equal(one.logits, other.logits)
        assert np.array_equal(one.object_scores, other.object_scores)


def test_what_is_taken_up_is_what_is_asked_for() -> None:
    one, other = Tracked(1), Tracked(1)
    memory, pointer = torch.zeros(4, 2), torch.zeros(3)

    def reading(**given: Any) -> Reading:
        plain = {"spatial": [(0, memory)], "pointers": [(1, pointer)]}
        return Reading(**(plain | given))

    launch = Launch(4, False, [one], [reading()], [], Fetch(torch.zeros(1)))
    assert launch.is_for(4, [one], [reading()], backward=False)
    assert not launch.is_for(5, [one], [reading()], backward=False)
    assert not launch.is_for(4, [one], [reading()], backward=True)
    assert not launch.is_for(4, [other], [reading()], backward=False)
    assert not launch.is_for(4, [one, other], [reading(), reading()], backward=False)
    both = Launch(4, False, [one, one], [reading()] * 2, [], Fetch(torch.zeros(1)))
    assert not both.is_for(4, [one, other], [reading()] * 2, backward=False)
    for changed in (
        {"spatial": [(1, memory)]},
        {"spatial": [(0, memory.clone())]},
        {"spatial": []},
        {"pointers": [(2, pointer)]},
        {"pointers": [(1, pointer.clone())]},
        {"pointers": [(1, pointer), (2, pointer)]},
    ):
        assert not launch.is_for(4, [one], [reading(**changed)], backward=False)


@pytest.mark.parametrize(("max_batch", "batches"), [(16, [3] * 7), (2, [2, 1] * 7)])
def test_no_frame_is_given_twice(
    max_batch: int, batches: list[int], given: list[int], ahead: Callable[[], None]
) -> None:
    ahead()
    plain(prompted(max_batch=max_batch))
    assert given == batches


@pytest.mark.parametrize("max_batch", [16, 3])
def test_the_next_frame_is_under_way_while_one_is_shown(
    max_batch: int, given: list[int], ahead: Callable[[], None]
) -> None:
    ahead()
    # On the first, which is prompted, nothing is waited for; behind the last nothing comes.
    shown = prompted(max_batch=max_batch).propagate()
    assert [len(given) for _ in shown] == [0, *range(2, 8), 7]


@pytest.mark.parametrize(
    "given_up", [{"batch": 8}, {"home": torch.device("cpu", 0)}], ids=["batches", "home"]
)
def test_where_memory_is_short_each_frame_has_its_turn(
    given_up: dict[str, Any], given: list[int], ahead: Callable[[], None]
) -> None:
    ahead()
    made = prompted()
    vars(made._engine.room).update(given_up)
    assert [len(given) for _ in made.propagate()] == [*range(8)]


def test_what_is_prompted_is_not_given(given: list[int], ahead: Callable[[], None]) -> None:
    ahead()
    made = prompted()
    made.prompt(2, 4, points=[(30, 20)])
    counts = {}
    for result in made.propagate():
        counts[result.frame] = sum(given)
        given.clear()
    assert counts[3] == 2


def test_what_was_not_asked_for_is_let_go(ahead: Callable[[], None]) -> None:
    ahead()
    made = prompted()
    for result in made.propagate():
        if result.frame == 3:
            assert [*made._engine._ahead] == [1]
            made.end_at(1, 4)
    assert not made._engine._ahead


def test_of_more_than_a_batch_none_is(given: list[int], ahead: Callable[[], None]) -> None:
    ahead()
    assert [len(given) for _ in prompted(max_batch=2).propagate()] == [*range(0, 16, 2)]


def test_what_fails_ahead_is_tried_in_its_turn(
    given: list[int], ahead: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = plain(prompted())
    ahead()
    counted, failed = Engine._tracked, []

    def full(self: Engine, features: Any, memories: Any) -> Any:
        if len(given) == begun + 4 and not failed:
            failed.append(True)
            raise torch.cuda.OutOfMemoryError("no room")
        return counted(self, features, memories)

    monkeypatch.setattr(Engine, "_tracked", full)
    begun = len(given)
    made = prompted()
    got = [(result, len(given) - begun) for result in made.propagate()]
    assert failed and not made._engine.room.limited
    # Frame 4 was shown while the work on frame 5 failed; from then on each has its turn.
    assert [count for _, count in got] == [0, 2, 3, 4, 4, 5, 6, 7]
    for (one, _), other in zip(got, expected, strict=True):
        assert np.array_equal(one.logits, other.logits)


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("no room"), OSError("no disk")])
def test_what_is_not_encoded_ahead_is_in_its_turn(
    error: Exception, ahead: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame is lost for the next one, and no smaller batch is taken where there is room."""
    expected = plain(prompted())
    ahead()
    made = prompted()
    encode, failed = made._engine.encoder.encode, []

    def full(picture: Any) -> Any:
        if np.array_equal(picture, FRAMES[5]) and not failed:
            failed.append(True)
            raise error
        return encode(picture)

    monkeypatch.setattr(made._engine.encoder, "encode", full)
    got = plain(made)
    assert failed and not made._engine.room.limited
    for one, other in zip(got, expected, strict=True):
        assert np.array_equal(one.logits, other.logits)
