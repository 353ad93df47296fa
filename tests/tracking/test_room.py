"""Where memory runs out: smaller batches, then main memory, then a word on what would fit."""

from __future__ import annotations

import errno
import mmap
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sam2track import Tracker, load_model
from sam2track.errors import DeviceError, ModelError, OutOfMemoryError
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.prompts import Prompt
from sam2track.tracking import conditioning
from sam2track.tracking.features import FeatureStore
from sam2track.tracking.graphs import Graphs
from sam2track.tracking.room import Room
from tests.parity.oracle import clip

FRAMES = clip(6)
OBJECTS = 5
WORD = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 3.00 GiB"


def tracker(device: torch.device | None = None) -> Tracker:
    torch.manual_seed(5)
    model = load_model(build(ARCHITECTURES["nano"], image_size=128))
    model.device = device or model.device
    made = Tracker(model, FRAMES)
    for index in range(OBJECTS):
        at = 20.0 + 18 * index
        made.add(index + 1, 0, Prompt(box=(at - 12, at - 12, at + 12, at + 12)))
    return made


def masks(made: Tracker) -> dict[int, np.ndarray]:
    return {result.frame: result.logits.copy() for result in made.propagate()}


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> list[int]:
    """Let memory attention fail where told, by the number of objects; note each number."""
    seen: list[int] = []
    attend = conditioning.attend

    def run(model: Any, constants: Any, features: Any, memories: Any, most: int) -> torch.Tensor:
        count = memories.spatial.shape[1]
        seen.append(count)
        if fails(count):
            raise torch.OutOfMemoryError(WORD)
        return attend(model, constants, features, memories, most)

    monkeypatch.setattr(conditioning, "attend", run)
    return seen


def full() -> None:
    raise MemoryError("it is\nfull")


def test_batches_become_smaller_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = masks(tracker())
    seen = failing(monkeypatch, lambda count: count > 2)
    made = tracker()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = masks(made)
    assert found.keys() == expected.keys()
    for frame, logits in found.items():
        assert np.abs(logits - expected[frame]).max() <= 3e-4
    assert [str(w.message) for w in said] == [
        "cpu ran out of memory; going on with smaller batches"
    ]
    assert seen[:2] == [5, 2] and max(seen[1:]) == 2  # once found out, it is not tried again


def test_then_state_moves_to_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = masks(tracker())
    # Another name for the main memory: what is moved where is told by the names.
    device = torch.device("cpu", 0)
    made = tracker(device)
    assert made._engine.room.home == device
    moved: list[torch.device] = []
    move = type(made._engine.store).move
    monkeypatch.setattr(
        type(made._engine.store), "move", lambda s, to: (moved.append(to), move(s, to))
    )
    alone = [0]

    def fails(count: int) -> bool:
        alone[0] += count == 1
        return count > 1 or alone[0] == 1

    failing(monkeypatch, fails)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = masks(made)
    assert moved == [torch.device("cpu")] == [made._engine.room.home]
    assert [str(w.message).split("going on with ")[1] for w in said] == [
        "smaller batches",
        "what objects remember in main memory, which is slower",
    ]
    for frame, logits in found.items():
        assert np.abs(logits - expected[frame]).max() <= 3e-4


def test_all_that_objects_remember_moves_whichever_was_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else what lies on the device stays there, and the next frame does not fit either."""
    device, home = torch.device("cpu", 0), torch.device("cpu")
    made = tracker(device)
    frames = made.propagate()
    for _ in range(3):
        next(frames)
    plain = torch.Tensor.to

    def to(self: torch.Tensor, *to: Any, **options: Any) -> torch.Tensor:
        if to != (home,):
            return plain(self, *to, **options)
        moved = self.clone()
        moved.in_main_memory = True  # type: ignore[attr-defined]
        return moved

    monkeypatch.setattr(torch.Tensor, "to", to)
    encode, failed = made._engine.encoder.encode, []

    def once(picture: Any) -> Any:
        if not failed:
            failed.append(True)
            raise torch.OutOfMemoryError(WORD)
        return encode(picture)

    monkeypatch.setattr(made._engine.encoder, "encode", once)
    with pytest.warns(RuntimeWarning, match="in main memory, which is slower"):
        made.prompt(9, frame=5, points=[(5, 5)])
    assert made._engine.room.home == home
    next(frames)
    for item in made._book.objects.values():
        held = [anchor.memory for anchor in item.prompted.values()]
        held += [memory for recent in item.recent.values() for memory in recent.kept.values()]
        state = [anchor.score for anchor in item.prompted.values()]
        state += [memory.pointer for memory in held]
        state += [memory.spatial for memory in held if memory.spatial is not None]
        assert len(state) > 2
        assert all(getattr(tensor, "in_main_memory", False) for tensor in state), item.object_id


def test_recordings_go_first() -> None:
    """They hold memory of the device for nothing but speed."""
    cpu = torch.device("cpu")
    model: Any = SimpleNamespace(name="nano", image_size=512, device=cpu)
    graphs, recording = Graphs(cpu), SimpleNamespace()
    graphs._kept["one"] = recording  # type: ignore[assignment]
    with pytest.warns(RuntimeWarning, match="smaller batches"):
        assert Room(model, FeatureStore(0), graphs).attempt(full, [], batch=4) is None
    assert "one" not in graphs._kept


@pytest.mark.parametrize(
    ("name", "size", "advice"),
    [
        ("sam2.1-large", 1024, "take --image-size 512 or --model sam2.1-base-plus, or free"),
        ("sam2.1-tiny", 960, "take --image-size 448 or --model nano, or free some memory and"),
        ("nano", 192, "take --image-size 64, or free some memory and go on with --resume"),
        ("nano", 64, "cpu has not enough memory for nano at image size 64 (it is full); free some"),
    ],
)
def test_what_would_fit_can_be_asked_for(name: str, size: int, advice: str) -> None:
    cpu = torch.device("cpu")
    model: Any = SimpleNamespace(name=name, image_size=size, device=cpu)
    room = Room(model, FeatureStore(0), Graphs(cpu))

    def fail() -> None:
        raise MemoryError("it is\nfull")

    with pytest.raises(OutOfMemoryError) as told:
        room.attempt(fail, [])
    assert advice in str(told.value)
    assert "(it is full)" in str(told.value)


def test_what_was_done_is_kept_and_what_would_fit_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = tracker()
    made.model.name = "sam2.1-large"
    done = [0]

    def fails(_count: int) -> bool:
        done[0] += 1
        return done[0] > 3

    failing(monkeypatch, fails)
    found = []
    with (
        warnings.catch_warnings(),
        pytest.raises(
            OutOfMemoryError, match=r"--image-size 64 or --model sam2\.1-base-plus"
        ) as it,
    ):
        warnings.simplefilter("ignore")
        for result in made.propagate():
            found.append(result.frame)
    assert isinstance(it.value, MemoryError)
    assert found == [0, 1, 2, 3]
    assert made.history.get(1, 3) is not None and made.history.get(1, 4) is None
    monkeypatch.undo()
    assert [result.frame for result in made.propagate()] == [4, 5]


def test_a_prompt_and_a_frame_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tracker()

    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(made._engine.encoder, "encode", fail)
    with pytest.raises(OutOfMemoryError, match="image size 128"):
        made.prompt(9, frame=5, points=[(5, 5)])
    assert 9 not in made.object_ids


def test_what_the_system_has_no_room_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python says so of pages for features in another way than torch of tensors."""
    made = tracker()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", fail)
    with pytest.raises(OutOfMemoryError, match=r"image size 128 .*Cannot allocate memory"):
        made.prompt(9, frame=5, points=[(5, 5)])
    assert 9 not in made.object_ids


def test_a_frame_that_cannot_be_read_is_no_matter_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = tracker()

    def fail(_frame: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(made.source, "read", fail)
    with pytest.raises(OSError, match="Input/output error"):
        made.prompt(9, frame=5, points=[(5, 5)])
    assert not made._engine.room.limited


def test_precisions_that_meet_are_explained() -> None:
    module = build(ARCHITECTURES["nano"], image_size=128)
    made = Tracker(load_model(module), FRAMES)
    module.bfloat16()  # behind our back
    with pytest.raises(DeviceError, match="hand modules in as float32"):
        made.prompt(1, frame=0, points=[(5, 5)])
    with pytest.raises(ModelError, match=r"was cast to torch\.bfloat16; hand it in as float32"):
        load_model(module)
