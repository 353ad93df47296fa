"""Features of a frame in the light of what objects remember: memory attention for a batch.

Pure functions over a model's modules; the state is in the arguments. B is the number of
objects, (h, w) the grid at stride 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from sam2track.models.model import Model
from sam2track.tracking.apart import attended_apart
from sam2track.tracking.attention import MemoryAttention
from sam2track.tracking.encoder import LARGE, Features

__all__ = ["Constants", "Memories", "Reading", "attend", "gathered", "without_memory"]

_APART = 10  # most objects of a batch that are; sixteen would take 1.4 times as long


@dataclass
class Reading:
    """The memories that one object looks at, all of a batch in equal numbers.

    Attributes
    ----------
    spatial : list of (int, (h * w, M) bfloat16 tensor)
        (t_pos, memory).
    pointers : list of (int, (C,) tensor)
        (distance in frames, pointer).
    """

    spatial: list[tuple[int, torch.Tensor]]
    pointers: list[tuple[int, torch.Tensor]]

    def is_same(self, other: Reading) -> bool:
        """Whether another holds the very same tensors in the same places."""
        return _same(self.spatial, other.spatial) and _same(self.pointers, other.pointers)


def _same(
    some: Sequence[tuple[int, torch.Tensor]], others: Sequence[tuple[int, torch.Tensor]]
) -> bool:
    return len(some) == len(others) and all(
        one[0] == other[0] and one[1] is other[1] for one, other in zip(some, others, strict=True)
    )


class Constants:
    """What does not change from frame to frame, made once for a model."""

    def __init__(self, model: Model) -> None:
        module, device = model.module, model.device
        grid = model.image_size // module.backbone_stride
        with torch.inference_mode():
            top = torch.zeros(1, module.hidden_dim, grid, grid, device=device)
            position = module.image_encoder.neck.position_encoding(top)
            self.position = position.flatten(2).permute(2, 0, 1)  # (h * w, 1, C)
            self.attention = MemoryAttention(model, grid)
            # With one object on a small square there is little to gain, and SAM 2's order of
            # sums is kept.
            self.small = model.image_size < LARGE
            self._cpu = device.type == "cpu"
            small = torch.zeros(1, module.mem_dim, grid, grid, device=device)
            memory = module.memory_encoder.position_encoding(small)
            self.memory_position = memory.flatten(2).permute(2, 0, 1)  # (h * w, 1, M)
            self.prompt_grid = module.sam_prompt_encoder.get_dense_pe()

    def apart(self, count: int) -> bool:
        """Whether each of so many objects is given the digits that it has alone."""
        return self.small and self._cpu and 1 < count <= _APART


class Memories(NamedTuple):
    """What a batch of objects looks at, as tensors.

    Attributes
    ----------
    spatial : (K, B, h * w, M) bfloat16 tensor
    t_pos : (K, B) int64 tensor
    pointers : (P, B, C) tensor, or None
    distances : (P, B) int64 tensor, or None
    """

    spatial: torch.Tensor
    t_pos: torch.Tensor
    pointers: torch.Tensor | None
    distances: torch.Tensor | None


@torch.inference_mode()
def gathered(model: Model, constants: Constants, readings: Sequence[Reading]) -> Memories:
    """Put the readings of a batch's objects, equal in numbers, side by side."""
    count, device = len(readings), model.device
    slots = list(zip(*(reading.spatial for reading in readings), strict=True))
    places, _, width = constants.memory_position.shape
    spatial = (
        torch.stack([memory for slot in slots for _, memory in slot])
        if slots
        else torch.empty(0, places, width, dtype=torch.bfloat16, device=device)
    )
    t_pos = torch.tensor([t_pos for slot in slots for t_pos, _ in slot], dtype=torch.int64)
    spatial = spatial.view(len(slots), count, places, width)
    # A GPU may be at work on the frame's features still.
    soon = device.type == "cuda"
    t_pos = t_pos.view(len(slots), count).to(device, non_blocking=soon)
    seen = list(zip(*(reading.pointers for reading in readings), strict=True))
    if not seen:
        return Memories(spatial, t_pos, None, None)
    pointers = torch.stack([pointer for slot in seen for _, pointer in slot])
    distances = torch.tensor([[distance for distance, _ in slot] for slot in seen])
    distances = distances.to(device, non_blocking=soon)
    return Memories(spatial, t_pos, pointers.unflatten(0, (len(seen), count)), distances)


@torch.inference_mode()
def attend(
    model: Model,
    constants: Constants,
    features: Features,
    memories: Memories,
    max_pointers: int,
) -> torch.Tensor:
    """Features of a frame in the light of each object's memories, (B, C, h, w).

    Follows ``SAM2Base._prepare_memory_conditioned_features``.

    Parameters
    ----------
    memories : Memories
        Of the objects.
    max_pointers : int
        Normaliser of the pointers' times, plus one.
    """
    module = model.module
    _, channels, height, width = features.top.shape
    count = memories.spatial.shape[1]
    memory = memories.spatial.permute(0, 2, 1, 3).flatten(0, 1)
    memory = memory if model.precision != "fp32" else memory.float()
    times = module.maskmem_tpos_enc[module.num_maskmem - memories.t_pos - 1][:, :, 0]
    position = (constants.memory_position + times.transpose(1, 2)).flatten(0, 1)
    pointer_tokens = 0
    if memories.pointers is not None and memories.distances is not None:
        pointers = memories.pointers
        with model.autocast():
            # On a CPU of each object apart, as these are few rows (see ``apart``).
            few = memories.distances.split(1 if constants.apart(count) else count, dim=1)
            codes = torch.cat(
                [_pointer_codes(model, part, max_pointers, channels) for part in few], dim=1
            )
        splits = channels // module.mem_dim
        if splits > 1:
            pointers = pointers.unflatten(2, (splits, module.mem_dim))
            pointers = pointers.permute(0, 2, 1, 3).flatten(0, 1)
            codes = codes.repeat_interleave(splits, dim=0)
        memory, position = torch.cat([memory, pointers]), torch.cat([position, codes])
        pointer_tokens = len(pointers)
    if not constants.small or (count > 1 and not constants.apart(count)):
        fused = constants.attention(
            features.top[0].flatten(1).T,
            constants.position[:, 0],
            memory.transpose(0, 1),
            position.transpose(0, 1),
            pointer_tokens,
        )
        return fused.transpose(1, 2).view(count, channels, height, width)
    attention = model.part("memory_attention")
    if count > 1:
        attention = partial(attended_apart, attention)
    with model.autocast():
        plain: torch.Tensor = attention(
            features.top.flatten(2).permute(2, 0, 1),
            memory,
            constants.position,
            position,
            pointer_tokens,
        )
    return plain.permute(1, 2, 0).view(count, channels, height, width)


def _pointer_codes(
    model: Model, distances: torch.Tensor, max_pointers: int, channels: int
) -> torch.Tensor:
    """Time codes of pointers, (P, B, M), from their distances, (P, B)."""
    module = model.module
    if not module.add_tpos_enc_to_obj_ptrs:
        return torch.zeros(*distances.shape, module.mem_dim, device=distances.device)
    dim = channels if module.proj_tpos_enc_in_obj_ptrs else module.mem_dim
    half = dim // 2
    # sam2_utils.get_1d_sine_pe
    scale = torch.arange(half, dtype=torch.float32, device=distances.device)
    scale = 10000 ** (2 * (scale // 2) / half)
    angle = (distances / (max_pointers - 1))[..., None] / scale
    project = model.part("obj_ptr_tpos_proj")
    codes: torch.Tensor = project(torch.cat([angle.sin(), angle.cos()], dim=-1))
    return codes


@torch.inference_mode()
def without_memory(model: Model, features: Features) -> torch.Tensor:
    """Features of a frame for an object that remembers nothing, (1, C, h, w)."""
    added: torch.Tensor = features.top + model.module.no_mem_embed.permute(1, 2, 0)[..., None]
    return added
