"""SAM 2's memory attention in fewer operations.

The function is that of ``sam2.modeling.memory_attention.MemoryAttention``; digits may differ in
the last places, since sums are taken in another order. What is saved:

- Values of the cross attention are a linear map of memory tokens that are a quarter as wide, so
  ``softmax(QK')(M W + b) = (softmax(QK') M) W + b``: the second product shrinks four times, and
  the map is made one with the output's.
- Rotary position encoding (``apply_rotary_enc``) turns pairs of channels. Here the projections
  give the first of all pairs and then the second ones, so that it takes real products of whole
  blocks; a product of queries and keys does not depend on the order of channels.
- What the first layer does before an object's memory comes in is the same for all objects of a
  frame and done once.
- On the CPU scores are taken in blocks that stay in the processor's cache.

n is the number of places of the grid, C the channels, M those of the memory, B the objects.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from sam2track.errors import ModelError
from sam2track.models.model import Model
from sam2track.tracking.kernels import Kernels
from sam2track.tracking.linear import Linear, linear

if TYPE_CHECKING:
    from sam2.modeling.sam.transformer import RoPEAttention

__all__ = ["MemoryAttention", "attended", "weighted_mean"]

_BLOCK = 2**22  # bytes of scores at a time
_ROWS = 256  # a block holds whole rows of scores where it holds so many
_HIDDEN = 2**22  # values between the two layers of a perceptron at a time
# Keys, or values between those layers, at a time on other devices: those of four objects on a
# square of 1024; all of sixteen take 1.6 GB.
_MANY = 2**25
_FEW = 2**23  # keys at a time on the CPU: of one object on a square of 1024
# Between these a sum of exponentials has lost nothing to the ends of float32, nor has one of values
# weighted by them, which may be many times as large.
_LEAST, _MOST = 1e-25, 1e30


class MemoryAttention:
    """The memory attention of a model, for one size of grid.

    Parameters
    ----------
    model : Model
        Its weights are taken now; later changes are not seen.
    grid : int
        Side of the grid at stride 16.

    Raises
    ------
    ModelError
        Where the module's attention is not of SAM 2's kind.
    """

    def __init__(self, model: Model, grid: int) -> None:
        from sam2.modeling.sam.transformer import RoPEAttention

        held = model.module.memory_attention
        for layer in held.layers:
            for part in (layer.self_attn, layer.cross_attn_image):
                if not isinstance(part, RoPEAttention) or part.num_heads != 1:
                    raise ModelError(
                        f"the module's memory attention has a {type(part).__name__} of "
                        f"{part.num_heads} heads; SAM 2's has RoPEAttention of one head"
                    )
        self._pos_enc_at_input: bool = held.pos_enc_at_input
        self._norm, self._dtype = held.norm, model.dtype
        kernels = Kernels()
        self._layers = [_Layer(layer, model.dtype, grid, kernels) for layer in held.layers]

    def __call__(
        self,
        top: torch.Tensor,
        position: torch.Tensor,
        memory: torch.Tensor,
        memory_position: torch.Tensor,
        pointer_tokens: int,
    ) -> torch.Tensor:
        """Features of a frame in the light of memories.

        Parameters
        ----------
        top : (n, C) tensor
            Features of the frame.
        position : (n, C) tensor
            Their position encoding.
        memory, memory_position : (B, K, M) tensors
            Tokens of each object; K is a multiple of n, and ``pointer_tokens`` more.
        pointer_tokens : int
            How many tokens at the end have no place.

        Returns
        -------
        (B, n, C) tensor
        """
        state = top.float() + 0.1 * position if self._pos_enc_at_input else top.float()
        state = self._layers[0].own(state[None], position)  # the same for all objects
        # In parts: keys of all take gigabytes.
        few = _objects(memory, state.shape[-1])
        parts = [
            self._looked(state, position, *some, pointer_tokens)
            for some in zip(memory.split(few), memory_position.split(few), strict=True)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _looked(
        self,
        state: torch.Tensor,
        position: torch.Tensor,
        memory: torch.Tensor,
        memory_position: torch.Tensor,
        pointer_tokens: int,
    ) -> torch.Tensor:
        """What memories make of a frame's (1, n, C) state, (B, n, C)."""
        dtype = self._dtype
        placed = (memory + memory_position).to(dtype)  # the sum, in float32, is held no longer
        given = (position, memory.to(dtype), placed, pointer_tokens)
        first, *others = self._layers
        state = first.across(state, *given)
        for layer in others:
            state = layer.across(layer.own(state, position), *given)
        norm = self._norm
        return F.layer_norm(state, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


class _Layer:
    """One layer: attention among the frame's places, to memories, and a perceptron."""

    def __init__(self, layer: Any, dtype: torch.dtype, grid: int, kernels: Kernels) -> None:
        self._layer, self._dtype = layer, dtype
        own, cross = layer.self_attn, layer.cross_attn_image
        cos, sin = _turns(own, grid)
        self._cos, self._sin = cos, sin
        self._cpu = cos.device.type == "cpu"
        self._mean = weighted_mean if self._cpu else kernels
        scale = own.internal_dim**-0.5
        self._own_q = _halved(own.q_proj, dtype, scale)
        self._own_k = _halved(own.k_proj, dtype)
        self._own_v = linear(own.v_proj, dtype)
        self._own_out = linear(own.out_proj, dtype)
        self._cross_q = _halved(cross.q_proj, dtype, cross.internal_dim**-0.5)
        self._cross_k = _halved(cross.k_proj, dtype)
        inner, outer = _exact(cross.v_proj), _exact(cross.out_proj)
        self._cross_out = Linear(outer[0] @ inner[0], outer[0] @ inner[1] + outer[1], dtype)
        self._wide = linear(layer.linear1, dtype, layer.activation)
        self._narrow = linear(layer.linear2, dtype)

    def own(self, state: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Attention among a frame's places, (B, n, C)."""
        layer, dtype = self._layer, self._dtype
        seen = _normed(state, layer.norm1)
        placed = seen + position if layer.pos_enc_at_attn else seen
        placed, seen = placed.to(dtype), seen.to(dtype)
        queries = self._turned(self._own_q(placed))
        keys = self._turned(self._own_k(placed))
        values = self._own_v(seen)
        if self._cpu:
            found = attended(queries[:, None], keys[:, None], values[:, None])[:, 0]
        else:
            found = self._mean(queries, keys, values).to(dtype)
        return state + self._own_out(found)

    def across(
        self,
        state: torch.Tensor,
        position: torch.Tensor,
        memory: torch.Tensor,
        placed_memory: torch.Tensor,
        pointer_tokens: int,
    ) -> torch.Tensor:
        """Attention of a frame's places, (1 or B, n, C), to memories, and the perceptron.

        ``placed_memory`` is ``memory`` with its position encoding, both in the layer's precision.
        """
        layer, dtype = self._layer, self._dtype
        seen = _normed(state, layer.norm2)
        placed = seen + position if layer.pos_enc_at_cross_attn_queries else seen
        queries = self._turned(self._cross_q(placed.to(dtype)))
        keys = self._cross_k(placed_memory if layer.pos_enc_at_cross_attn_keys else memory)
        # On a CPU one memory after the other, which stays in its cache.
        spatial = keys[:, : keys.shape[1] - pointer_tokens]
        few = len(self._cos) if self._cpu else max(1, spatial.shape[1])
        for part in spatial.split(few, dim=1):
            self._turned(part)
        queries = queries.expand(len(keys), -1, -1)
        found = self._mean(queries, keys, memory)
        return self._perceptron(state + self._cross_out(found.to(dtype)))

    def _perceptron(self, state: torch.Tensor) -> torch.Tensor:
        flat = state.flatten(0, 1)  # a copy, where a frame's features lie channel by channel
        rows = _rows(flat, self._wide.width)
        for part in flat.split(rows):
            seen = _normed(part, self._layer.norm3).to(self._dtype)
            part += self._narrow(self._wide(seen))
        return flat.view(state.shape)

    def _turned(self, tokens: torch.Tensor) -> torch.Tensor:
        """Rotary encoding of (B, k * n, C) tokens whose channels lie in halves, in their place."""
        count, _, channels = tokens.shape
        given = tokens.float()  # themselves where they are
        pairs = given.view(count, -1, len(self._cos), 2, channels // 2)
        first, second = pairs.unbind(-2)
        before = first.clone()
        first.mul_(self._cos).addcmul_(second, self._sin, value=-1)
        second.mul_(self._cos).addcmul_(before, self._sin)
        return tokens if given is tokens else tokens.copy_(given)


def attended(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``softmax(queries @ keys') @ values`` by head, for values as wide as keys.

    Parameters
    ----------
    queries : (B, heads, n, C) tensor
        Scaled already.
    keys, values : (B, heads, K, C) tensor

    Returns
    -------
    (B, heads, n, C) tensor of their type

    Notes
    -----
    In bfloat16 on the CPU, blocks of scores are twice to three times as fast as the fused kernel of
    PyTorch 2.15; in float32 they are slower by a fifth or more.
    """
    if queries.device.type == "cpu" and queries.dtype == torch.bfloat16:
        # Products of matrices with gaps would copy them block by block.
        flat = (part.flatten(0, 1).contiguous() for part in (queries, keys, values))
        return weighted_mean(*flat).to(values.dtype).view(queries.shape)
    return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)


def weighted_mean(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``softmax(queries @ keys') @ values`` on the CPU, for values that may be narrower than keys.

    Parameters
    ----------
    queries : (B, n, C) tensor
        Scaled already.
    keys : (B, K, C) tensor
    values : (B, K, M) tensor

    Returns
    -------
    (B, n, M) tensor
        float32, or of the type of ``values``.

    Notes
    -----
    A block of scores holds whole rows, or where keys are many, parts of more rows.
    Exponentials of parts are summed as they are, without the largest score taken off, which
    cancels out. Where a sum leaves the range in which float32 loses nothing (scores over some 57
    in size), it is done again with the largest score taken off.
    """
    if _held(keys) // keys.shape[1] >= min(_ROWS, queries.shape[1]):
        return _by_rows(queries, keys, values)
    total, found = _summed(queries, keys, values, None)
    if not bool(((total > _LEAST) & (total < _MOST)).all()):
        largest = torch.full_like(total, -math.inf)
        for rows, columns in _blocks(queries, keys):
            scores = torch.bmm(queries[rows], keys[columns].transpose(1, 2)).float()
            highest = scores.amax(-1, keepdim=True)
            torch.maximum(largest[rows], highest, out=largest[rows])
        total, found = _summed(queries, keys, values, largest)
    return found / total


def _held(scores: torch.Tensor) -> int:
    """How many scores of a tensor's type are in a block."""
    return max(1, _BLOCK // scores.element_size())


def _by_rows(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``weighted_mean`` in blocks of scores to all keys."""
    count, length, _ = queries.shape
    tokens = keys.shape[1]
    found = queries.new_empty(count, length, values.shape[-1])
    high = min(length, _held(keys) // tokens)
    deep = min(count, max(1, _held(keys) // (high * tokens)))
    scores = queries.new_empty(2, deep * high * tokens)
    for b in range(0, count, deep):
        few = slice(b, b + deep)
        for i in range(0, length, high):
            rows = queries[few, i : i + high]
            block = _multiplied(rows, keys[few].transpose(1, 2), scores[0])
            weights = torch.softmax(block, -1, out=scores[1, : block.numel()].view(block.shape))
            found[few, i : i + high] = torch.bmm(weights, values[few])
    return found


def _multiplied(first: torch.Tensor, second: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """Product of matrices in room that stays: new pages cost as much as the product."""
    count, rows, columns = len(first), first.shape[1], second.shape[2]
    out = room[: count * rows * columns].view(count, rows, columns)
    return torch.bmm(first, second, out=out)


def _blocks(
    queries: torch.Tensor, keys: torch.Tensor
) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Rows and columns of each block of scores, over objects, queries and keys."""
    count, length, _ = queries.shape
    high = min(length, 4096, _held(keys))
    wide = min(keys.shape[1], _held(keys) // high)
    deep = max(1, _held(keys) // (high * wide))
    return [
        (
            (slice(b, b + deep), slice(i, i + high)),
            (slice(b, b + deep), slice(j, j + wide)),
        )
        for b in range(0, count, deep)
        for j in range(0, keys.shape[1], wide)
        for i in range(0, length, high)
    ]


def _summed(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    largest: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of exponentials, (B, n, 1), and of values weighted by them, (B, n, M); float32."""
    count, length, _ = queries.shape
    total = queries.new_zeros(count, length, 1, dtype=torch.float32)
    found = queries.new_zeros(count, length, values.shape[-1], dtype=torch.float32)
    scores = queries.new_empty(_held(keys))
    for rows, columns in _blocks(queries, keys):
        weights = _multiplied(queries[rows], keys[columns].transpose(1, 2), scores)
        if largest is not None:
            weights = (weights.float() - largest[rows]).to(weights.dtype)
        weights.exp_()
        total[rows] += weights.sum(-1, keepdim=True)  # another type here would copy the weights
        if weights.dtype == torch.float32:
            found[rows].baddbmm_(weights, values[columns])
        else:
            found[rows] += torch.bmm(weights, values[columns])
    return total, found


def _objects(memory: torch.Tensor, channels: int) -> int:
    """Objects that look at their memories at a time."""
    _, tokens, _ = memory.shape
    most = _FEW if memory.device.type == "cpu" else _MANY
    return max(1, most // (tokens * channels))


def _rows(flat: torch.Tensor, width: int) -> int:
    """Rows of a perceptron at a time."""
    return max(1, (_HIDDEN if flat.device.type == "cpu" else _MANY) // width)


def _normed(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _turns(attention: RoPEAttention, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of each place's angles, (n, C / 2) float32."""
    table = attention.compute_cis(end_x=grid, end_y=grid).to(attention.q_proj.weight.device)
    return table.real.contiguous(), table.imag.contiguous()


def _exact(layer: torch.nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a layer, in double precision."""
    return layer.weight.detach().double(), layer.bias.detach().double()


def _halved(layer: torch.nn.Linear, dtype: torch.dtype, scale: float = 1.0) -> Linear:
    """A layer whose outputs are the first channels of all pairs, then the second ones."""
    weight, bias = _exact(layer)
    order = torch.arange(len(bias), device=bias.device).view(-1, 2).T.flatten()
    return Linear(weight[order] * scale, bias[order] * scale, dtype)
