"""SAM 2's parts for a batch of objects, each with the digits that it has alone.

A last digit that differs is no small matter: memories are rounded to bfloat16, where it may become
four parts in a thousand, and what follows looks at these. With trained weights logits of a batch
were up to 0.095 from those of the same objects alone within forty frames.

On a CPU products of matrices with many rows and attention give each object of a batch the digits
that it has alone; products with a row for each object do not, nor do convolutions, and means over
channels, whose order depends on how a batch lies in memory. So attention runs once for all objects,
and what takes little, for one after the other. What is the same for all is done once. So it is
on an AMD EPYC with AVX-512, one thread and two; another processor's libraries may see it otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sam2.modeling.memory_attention import MemoryAttention
    from sam2.modeling.memory_encoder import MemoryEncoder
    from sam2.modeling.sam.mask_decoder import MaskDecoder

__all__ = ["attended_apart", "decoded_apart", "encoded_apart", "one_by_one"]

_Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _singles(batch: torch.Tensor) -> list[torch.Tensor]:
    """Return what a batch holds as batches of one, laid out as if they had come alone.

    The stride of an axis that is 1 long, which ``split`` would keep, decides which kernels run.
    """
    return [one[None] for one in batch]


def one_by_one(layer: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Return a layer's outputs for (B, C) rows, each made by itself."""
    return torch.cat([layer(row) for row in _singles(rows)])


def attended_apart(
    attention: MemoryAttention,
    top: torch.Tensor,
    memory: torch.Tensor,
    position: torch.Tensor,
    memory_position: torch.Tensor,
    pointer_tokens: int,
) -> torch.Tensor:
    """As ``MemoryAttention.forward``; until memories come in, objects of a frame are one.

    Parameters
    ----------
    top, position : (n, 1, C) tensors
        Features of the frame, and their position encoding.
    memory, memory_position : (K, B, M) tensors
        Tokens of each object.
    pointer_tokens : int
        How many tokens at the end have no place.

    Returns
    -------
    (n, B, C) tensor
    """
    state = top + 0.1 * position if attention.pos_enc_at_input else top
    count = memory.shape[1]
    state, place = state.transpose(0, 1), position.transpose(0, 1)
    # Views: of these F.linear takes bmm, which need not write the bias first.
    memory, memory_position = memory.transpose(0, 1), memory_position.transpose(0, 1)
    first, *others = attention.layers
    state = first._forward_sa(state, place).expand(count, -1, -1)
    place = place.expand(count, -1, -1)
    state = first._forward_ca(state, memory, place, memory_position, pointer_tokens)
    inner = first.linear2(first.activation(first.linear1(first.norm3(state))))
    state = state + inner
    for layer in others:
        state = layer(state, memory, memory_position, place, pointer_tokens)
    found: torch.Tensor = attention.norm(state).transpose(0, 1)
    return found


def encoded_apart(encoder: MemoryEncoder, top: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """As ``MemoryEncoder.forward`` with ``skip_mask_sigmoid``.

    Parameters
    ----------
    top : (1, C, h, w) tensor
        Features of the frame.
    masks : (B, 1, S, S) tensor

    Returns
    -------
    (B, M, h, w) tensor
    """
    seen = encoder.pix_feat_proj(top)
    return torch.cat(
        [
            encoder.out_proj(encoder.fuser(seen + encoder.mask_downsampler(mask)))
            for mask in _singles(masks)
        ]
    )


def decoded_apart(
    decoder: MaskDecoder,
    conditioned: torch.Tensor,
    grid: torch.Tensor,
    sparse: torch.Tensor,
    dense: torch.Tensor,
    high_res: Sequence[torch.Tensor] | None,
    *,
    candidates: bool,
) -> _Found:
    """As ``MaskDecoder.forward``.

    Parameters
    ----------
    conditioned : (B, C, h, w) tensor
        Features of the frame for each object.
    grid : (1, C, h, w) tensor
        Their position encoding.
    sparse, dense : (B, P, C) and (B, C, h, w) tensors
        Of the prompt encoder.
    high_res : ((1, C, 4h, 4w), (1, C, 2h, 2w)) tensors, or None
        Features of the frame at two finer resolutions.
    candidates : bool
        Three masks, not one.

    Returns
    -------
    masks, ious, tokens, scores
        As ``Heads`` has them.
    """
    count = len(conditioned)
    scored = [decoder.obj_score_token.weight] if decoder.pred_obj_scores else []
    own = torch.cat([*scored, decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(count, -1, -1), sparse], dim=1)
    found, source = decoder.transformer(
        conditioned + dense, torch.repeat_interleave(grid, count, dim=0), tokens
    )
    source = source.transpose(1, 2).view(conditioned.shape)
    each = [
        _headed(decoder, *one, high_res)
        for one in zip(_singles(found), _singles(source), strict=True)
    ]
    masks, ious, said, scores = (torch.cat(parts) for parts in zip(*each, strict=True))
    if candidates:
        masks, ious = masks[:, 1:], ious[:, 1:]
    elif decoder.dynamic_multimask_via_stability:
        masks, ious = decoder._dynamic_multimask_via_stability(masks, ious)
    else:
        masks, ious = masks[:, :1], ious[:, :1]
    several = candidates and decoder.use_multimask_token_for_obj_ptr
    return masks, ious, said[:, 1:] if several else said[:, :1], scores


def _headed(
    decoder: MaskDecoder,
    found: torch.Tensor,
    source: torch.Tensor,
    high_res: Sequence[torch.Tensor] | None,
) -> _Found:
    """What follows the transformer in ``MaskDecoder.predict_masks``, for one object."""
    first = int(decoder.pred_obj_scores)
    said = found[:, first + 1 : first + 1 + decoder.num_mask_tokens]
    if high_res is None:
        large = decoder.output_upscaling(source)
    else:
        double, norm, act, again, last = decoder.output_upscaling
        fine, middle = high_res
        large = last(again(act(norm(double(source) + middle))) + fine)
    networks = decoder.output_hypernetworks_mlps
    weights = torch.stack([network(said[:, i]) for i, network in enumerate(networks)], dim=1)
    masks = (weights @ large.flatten(2)).unflatten(2, large.shape[2:])
    ious = decoder.iou_prediction_head(found[:, first])
    if decoder.pred_obj_scores:
        return masks, ious, said, decoder.pred_obj_score_head(found[:, 0])
    return masks, ious, said, 10.0 * ious.new_ones(1, 1)
