"""What one object remembers, and which of its memories a frame may look at.

Follows ``SAM2Base._prepare_memory_conditioned_features``: memories of prompted frames, the
last six tracked ones, and object pointers of up to fifteen frames back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["Memory", "Recent", "Rules", "View", "look_back"]


@dataclass
class Memory:
    """What is kept of one object on one frame.

    Attributes
    ----------
    spatial : (h * w, M) bfloat16 tensor, or None
        Memory features; None where they were dropped and can be made again.
    pointer : (C,) tensor
        Object pointer.
    """

    spatial: torch.Tensor | None
    pointer: torch.Tensor


@dataclass(frozen=True)
class Rules:
    """A module's settings for what is looked at."""

    num_maskmem: int
    stride: int
    max_cond_frames: int
    max_pointers: int
    uses_pointers: bool
    past_pointers_only: bool
    signed: bool

    @classmethod
    def of(cls, module: SAM2Base, num_frames: int | None, max_cond_frames: int) -> Rules:
        """Read them from a module.

        Parameters
        ----------
        module : SAM2Base
        num_frames : int or None
            Frames of the source; None where that is not known.
        max_cond_frames : int
            Limit for modules that have none of their own.
        """
        own = module.max_cond_frames_in_attn
        longest = module.max_obj_ptrs_in_encoder
        return cls(
            num_maskmem=module.num_maskmem,
            stride=module.memory_temporal_stride_for_eval,
            max_cond_frames=own if own != -1 else max_cond_frames,
            max_pointers=longest if num_frames is None else min(num_frames, longest),
            uses_pointers=module.use_obj_ptrs_in_encoder,
            past_pointers_only=module.only_obj_ptrs_in_the_past_for_eval,
            signed=module.use_signed_tpos_enc_to_obj_ptrs,
        )

    @property
    def spatial_reach(self) -> int:
        """How many frames back a spatial memory may be looked at."""
        return max(1, (self.num_maskmem - 2) * self.stride + 1)

    def window(self, frame: int, *, backward: bool) -> list[tuple[int, int]]:
        """Frames whose tracked memories are looked at, as (t_pos, frame), oldest first."""
        back = 1 if backward else -1
        found = []
        for t_pos in range(1, self.num_maskmem):
            behind = self.num_maskmem - t_pos
            if behind == 1:
                found.append((t_pos, frame + back))
                continue
            # The nearest multiple of the stride before the last frame, then further back.
            if backward:
                nearest = -(-(frame + 2) // self.stride) * self.stride
            else:
                nearest = ((frame - 2) // self.stride) * self.stride
            found.append((t_pos, nearest + back * (behind - 2) * self.stride))
        return found


@dataclass
class Recent:
    """Memories of the frames tracked last, in one direction; bounded."""

    rules: Rules
    backward: bool
    kept: dict[int, Memory] = field(default_factory=dict)

    def add(self, frame: int, memory: Memory) -> None:
        """Remember a frame and forget what no later one will look at."""
        self.kept[frame] = memory
        for old, held in list(self.kept.items()):
            age = old - frame if self.backward else frame - old
            if age < 0 or age >= max(self.rules.max_pointers - 1, self.rules.spatial_reach):
                del self.kept[old]
            elif age >= self.rules.spatial_reach:
                held.spatial = None


@dataclass
class View:
    """The memories that one object's frame looks at.

    Attributes
    ----------
    spatial : list of (int, int)
        (t_pos, frame), t_pos 0 for prompted frames.
    pointers : list of (int, int)
        (distance in frames, frame).
    """

    spatial: list[tuple[int, int]]
    pointers: list[tuple[int, int]]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of spatial memories and pointers; objects of equal shape go together."""
        return len(self.spatial), len(self.pointers)


def closest(frame: int, frames: list[int], most: int) -> list[int]:
    """Which prompted frames are looked at: as ``sam2_utils.select_closest_cond_frames``."""
    if most == -1 or len(frames) <= most:
        return frames
    chosen = []
    before = [f for f in frames if f < frame]
    after = [f for f in frames if f >= frame]
    if before:
        chosen.append(max(before))
    if after:
        chosen.append(min(after))
    rest = sorted((f for f in frames if f not in chosen), key=lambda f: abs(f - frame))
    return chosen + rest[: most - len(chosen)]


def look_back(
    rules: Rules,
    frame: int,
    prompted: Mapping[int, Memory],
    tracked: Mapping[int, Memory],
    *,
    backward: bool,
) -> View:
    """Choose the memories that a frame looks at.

    Parameters
    ----------
    rules : Rules
    frame : int
        The frame to be tracked.
    prompted, tracked : mapping of int to Memory
        By frame; a frame is in one of the two. The order of those that are prompted is that of
        sums, whose last digits follow from it: it is as they were said, as official.
    backward : bool
        Direction of tracking.
    """
    selected = closest(frame, list(prompted), rules.max_cond_frames)
    others = {f for f in prompted if f not in selected}
    spatial = [(0, f) for f in selected]
    for t_pos, earlier in rules.window(frame, backward=backward):
        held = tracked.get(earlier)
        if (held is not None and held.spatial is not None) or earlier in others:
            spatial.append((t_pos, earlier))
    pointers: list[tuple[int, int]] = []
    if rules.uses_pointers:
        sign = -1 if backward else 1
        for f in selected:
            if rules.past_pointers_only and (f < frame if backward else f > frame):
                continue
            distance = (frame - f) * sign if rules.signed else abs(frame - f)
            pointers.append((distance, f))
        for distance in range(1, rules.max_pointers):
            earlier = frame - sign * distance
            if earlier in tracked or earlier in others:
                pointers.append((distance, earlier))
    return View(spatial, pointers)
