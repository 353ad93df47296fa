"""Which memories a frame looks at: against what the official code would choose."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sam2.modeling.sam2_utils import select_closest_cond_frames

from sam2track.tracking.memory import Memory, Recent, Rules, closest, look_back
from sam2track.tracking.spill import SpillFile

frames = st.integers(0, 60)


def rules(**changes: object) -> Rules:
    values = {
        "num_maskmem": 7,
        "stride": 1,
        "max_cond_frames": 8,
        "max_pointers": 16,
        "uses_pointers": True,
        "past_pointers_only": True,
        "signed": True,
    }
    return Rules(**(values | changes))  # type: ignore[arg-type]


def official(
    own: Rules, frame: int, cond: dict[int, str], other: dict[int, str], *, backward: bool
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The choices of ``SAM2Base._prepare_memory_conditioned_features``, as (t_pos, frame)."""
    selected, unselected = select_closest_cond_frames(frame, cond, own.max_cond_frames)
    spatial = [(0, f) for f in selected]
    sign = -1 if backward else 1
    for t_pos in range(1, own.num_maskmem):
        behind = own.num_maskmem - t_pos
        if behind == 1:
            earlier = frame - sign
        elif backward:
            earlier = -(-(frame + 2) // own.stride) * own.stride + (behind - 2) * own.stride
        else:
            earlier = ((frame - 2) // own.stride) * own.stride - (behind - 2) * own.stride
        if earlier in other or earlier in unselected:
            spatial.append((t_pos, earlier))
    if not own.uses_pointers:
        return spatial, []
    pointers = [
        ((frame - f) * sign if own.signed else abs(frame - f), f)
        for f in selected
        if not own.past_pointers_only or (f >= frame if backward else f <= frame)
    ]
    for distance in range(1, own.max_pointers):
        earlier = frame - sign * distance
        if earlier in other or earlier in unselected:
            pointers.append((distance, earlier))
    return spatial, pointers


@given(
    frame=frames,
    prompted=st.sets(frames, min_size=1, max_size=12),
    begin=frames,
    backward=st.booleans(),
    stride=st.integers(1, 3),
    most=st.sampled_from([-1, 2, 4, 8]),
    num_maskmem=st.sampled_from([1, 2, 7, 20]),
    settings=st.fixed_dictionaries(
        dict.fromkeys(("uses_pointers", "past_pointers_only", "signed"), st.booleans())
    ),
)
def test_the_same_memories_as_official(
    frame: int,
    prompted: set[int],
    begin: int,
    backward: bool,
    stride: int,
    most: int,
    num_maskmem: int,
    settings: dict[str, bool],
) -> None:
    own = rules(stride=stride, max_cond_frames=most, num_maskmem=num_maskmem, **settings)
    run = range(begin, frame, -1) if backward else range(begin, frame)
    recent = Recent(own, backward)
    for earlier in run:
        recent.add(earlier, Memory(torch.zeros(1), torch.zeros(1)))
    tracked = {f: m for f, m in recent.kept.items() if f not in prompted}
    cond = dict.fromkeys(sorted(prompted - {frame}) or [frame + 1], "")
    everything = dict.fromkeys((f for f in run if f not in cond), "")
    tracked = {f: m for f, m in tracked.items() if f in everything}
    memories = {f: Memory(torch.zeros(1), torch.zeros(1)) for f in cond}
    view = look_back(own, frame, memories, tracked, backward=backward)
    spatial, pointers = official(own, frame, cond, everything, backward=backward)
    assert view.spatial == spatial
    assert view.pointers == pointers


@given(
    frame=frames,
    prompted=st.lists(frames, unique=True, max_size=20),
    most=st.integers(2, 9),
)
@example(frame=5, prompted=[1, 5, 9, 20], most=2)
@example(frame=5, prompted=[1, 9, 20, 5], most=3)
def test_the_closest_prompted_frames(frame: int, prompted: list[int], most: int) -> None:
    selected, _ = select_closest_cond_frames(frame, dict.fromkeys(prompted), most)
    assert closest(frame, prompted, most) == list(selected)


def made(spatial: bool = True) -> Memory:
    return Memory(torch.zeros(1) if spatial else None, torch.zeros(1))


def test_of_a_memory_that_cannot_be_made_again_there_is_the_pointer() -> None:
    view = look_back(rules(), 5, {0: made()}, {3: made(), 4: made(False)}, backward=False)
    assert view.spatial == [(0, 0), (5, 3)]
    assert view.pointers == [(5, 0), (1, 4), (2, 3)]


def test_what_a_run_left_ahead_is_forgotten() -> None:
    for backward, ahead in ((False, 8), (True, 2)):
        recent = Recent(rules(), backward)
        for frame in (ahead, 5):
            recent.add(frame, made())
        assert list(recent.kept) == [5]


def test_a_spill_file_gives_back_what_it_took() -> None:
    from sam2track.tracking.history import Record

    history = SpillFile()
    rng = np.random.default_rng(0)
    records = {}
    for frame in range(20):
        for object_id in (1, 2):
            records[object_id, frame] = Record(
                object_id,
                frame,
                rng.normal(0, 3, (16, 16)).astype(np.float32),
                rng.random(8, np.float32),
                1.5,
                0.5,
                "forward",
            )
        history.put(None, [records[1, frame], records[2, frame]])  # type: ignore[arg-type]
    for key, record in records.items():
        back = history.get(*key)
        assert back is not None
        assert np.array_equal(back.logits, record.logits)
        assert np.array_equal(back.pointer, record.pointer)
    history.forget(1, 5, 10)
    assert [f for f in range(20) if history.get(1, f) is None] == [5, 6, 7, 8, 9]
    history.forget(2)
    assert history.get(2, 3) is None
    history.close()
