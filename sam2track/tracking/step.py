"""One frame for a batch of objects, once it is conditioned: mask decoder and memory encoder.

Pure functions over a model's modules; the state is in the arguments. B is the number of
objects, (h, w) the grid at stride 16, (4h, 4w) the decoder's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from sam2track.masks import fill_holes
from sam2track.models.model import Model
from sam2track.tracking.apart import decoded_apart, encoded_apart, one_by_one
from sam2track.tracking.conditioning import Constants
from sam2track.tracking.encoder import Features

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = [
    "Decoded",
    "Heads",
    "decode",
    "filled",
    "given_mask",
    "heads",
    "remember",
]

_ABSENT = -1024.0  # sam2_base.NO_OBJ_SCORE


@dataclass
class Decoded:
    """What the mask decoder found.

    Attributes
    ----------
    logits : (B, 1, 4h, 4w) float32 tensor
        Before hole filling; -1024 everywhere where the object is judged absent.
    pointers : (B, C) tensor
    scores : (B, 1) tensor
        Object score logits.
    ious : (B,) float32 tensor
        Predicted IoU of the mask that was chosen.
    """

    logits: torch.Tensor
    pointers: torch.Tensor
    scores: torch.Tensor
    ious: torch.Tensor


class Heads(NamedTuple):
    """What the mask decoder gives, as it gives it.

    Attributes
    ----------
    masks : (B, K, 4h, 4w) tensor
        Logits of K candidates: 3, or 1.
    ious : (B, K) tensor
        Predicted IoU of each.
    tokens : (B, 1 or K, C) tensor
        Mask tokens that object pointers are made of.
    scores : (B, 1) tensor
        Object score logits.
    """

    masks: torch.Tensor
    ious: torch.Tensor
    tokens: torch.Tensor
    scores: torch.Tensor


@torch.inference_mode()
def heads(
    model: Model,
    constants: Constants,
    features: Features,
    conditioned: torch.Tensor,
    *,
    points: tuple[torch.Tensor, torch.Tensor] | None = None,
    dense: torch.Tensor | None = None,
    candidates: bool,
    apart: bool = False,
) -> Heads:
    """Run prompt encoder and mask decoder once for B objects.

    Parameters
    ----------
    conditioned : (B, C, h, w) tensor
    points : ((B, P, 2) float32, (B, P) int32) tensors, optional
        Clicks in pixels of the model's square, and their labels: 1 object, 0 background,
        2 and 3 corners of a box.
    dense : (B, 1, 4h, 4w) tensor, optional
        Logits of an earlier mask.
    candidates : bool
        Decode three candidates for each object, not one mask.
    apart : bool
        Give each object the digits that it has alone.
    """
    prompt_encoder, decoder = model.part("sam_prompt_encoder"), model.part("sam_mask_decoder")
    with model.autocast():
        sparse, dense_embedding = prompt_encoder(points=points, boxes=None, masks=dense)
        if apart:
            found = decoded_apart(
                decoder,
                conditioned,
                constants.prompt_grid,
                sparse,
                dense_embedding,
                features.high_res(1),
                candidates=candidates,
            )
            return Heads(*found)
        masks, ious, tokens, scores = decoder(
            image_embeddings=conditioned,
            image_pe=constants.prompt_grid,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense_embedding,
            multimask_output=candidates,
            repeat_image=False,
            high_res_features=features.high_res(len(conditioned)),
        )
    return Heads(masks, ious, tokens, scores)


@torch.inference_mode()
def decode(
    model: Model,
    constants: Constants,
    features: Features,
    conditioned: torch.Tensor,
    *,
    points: tuple[torch.Tensor, torch.Tensor] | None = None,
    dense: torch.Tensor | None = None,
    candidates: bool,
) -> Decoded:
    """Masks of B objects from a frame's features.

    Follows ``SAM2Base._forward_sam_heads``; of three candidate masks only the best is kept.
    Parameters are those of ``heads``.
    """
    module = model.module
    count = len(conditioned)
    alone = constants.apart(count)
    if points is None:
        points = (
            torch.zeros(count, 1, 2, device=model.device),
            -torch.ones(count, 1, dtype=torch.int32, device=model.device),
        )
    with model.autocast():
        masks, ious, tokens, scores = heads(
            model,
            constants,
            features,
            conditioned,
            points=points,
            dense=dense,
            candidates=candidates,
            apart=alone,
        )
        if candidates:
            rows = torch.arange(count, device=model.device)
            best = ious.argmax(dim=-1)
            masks, ious = masks[rows, best][:, None], ious[rows, best]
            token = tokens[rows, best] if tokens.shape[1] > 1 else tokens[:, 0]
        else:
            ious, token = ious[:, 0], tokens[:, 0]
        project = model.part("obj_ptr_proj")
        pointers = one_by_one(project, token) if alone else project(token)
        if module.pred_obj_scores:
            masks = torch.where((scores > 0)[:, None, None], masks, _ABSENT)
            pointers = _with_absence(module, pointers, scores)
    return Decoded(masks.float(), pointers, scores, ious.float())


def _with_absence(module: SAM2Base, pointers: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    present = scores.sigmoid() if module.soft_no_obj_ptr else (scores > 0).float()
    if module.fixed_no_obj_ptr:
        pointers = present * pointers
    mixed: torch.Tensor = pointers + (1 - present) * module.no_obj_ptr
    return mixed


@torch.inference_mode()
def given_mask(
    model: Model, constants: Constants, features: Features, mask: torch.Tensor
) -> Decoded:
    """Take a given mask as the decoder's output.

    Follows ``SAM2Base._use_mask_as_output``: the pointer comes from the decoder, the mask
    and the score from what was given.

    Parameters
    ----------
    mask : (1, 1, S, S) float32 tensor of zeros and ones
        On the model's square.
    """
    module = model.module
    size = mask.shape[-1] // 4
    with model.autocast():
        logits = F.interpolate(
            mask * 20 - 10, (size, size), mode="bilinear", align_corners=False, antialias=True
        )
        if module.use_obj_ptrs_in_encoder:
            dense = model.part("mask_downsample")(mask)
            found = decode(model, constants, features, features.top, dense=dense, candidates=False)
            pointers = found.pointers
        else:
            pointers = torch.zeros(1, module.hidden_dim, device=model.device)
        present = mask.flatten(1).any(dim=1, keepdim=True).float()
        if module.pred_obj_scores:
            if module.fixed_no_obj_ptr:
                pointers = present * pointers
            pointers = pointers + (1 - present) * module.no_obj_ptr
    ious = torch.ones(1, device=model.device)
    return Decoded(logits.float(), pointers, 20 * present - 10, ious)


@torch.inference_mode()
def filled(model: Model, logits: torch.Tensor) -> torch.Tensor:
    """Logits with small holes filled, as the model's settings say."""
    area = int(model.fill_hole_area)
    if area < 1:
        return logits
    flat = logits.flatten(0, 1).cpu().numpy()
    done = fill_holes(flat, max_area=area)
    return logits if done is flat else torch.from_numpy(np.asarray(done)).view_as(logits).to(logits)


@torch.inference_mode()
def remember(
    model: Model,
    features: Features,
    logits: torch.Tensor,
    scores: torch.Tensor,
    *,
    prompted: bool,
    apart: bool = False,
) -> torch.Tensor:
    """Encode masks into memories, (B, h * w, M) bfloat16.

    Follows ``SAM2Base._encode_new_memory``, for objects that know nothing of one another.

    Parameters
    ----------
    logits : (B, 1, 4h, 4w) float32 tensor
        Of tracked frames before, of prompted ones after hole filling, as official.
    scores : (B, 1) tensor
        Object score logits.
    prompted : bool
        Whether a person said what the mask is.
    apart : bool
        Give each object the digits that it has alone.
    """
    module, encoder = model.module, model.part("memory_encoder")
    size = model.image_size
    with model.autocast():
        # torch's CPU kernel for three channels ends in other digits than that for one; official
        # enlarges all candidates of tracked frames, and rounding to bfloat16 would make the
        # difference larger.
        same = module.multimask_output_for_tracking and not prompted
        large = F.interpolate(
            logits.expand(-1, 3 if same else 1, -1, -1),
            (size, size),
            mode="bilinear",
            align_corners=False,
        )[:, :1]
        if prompted and module.binarize_mask_from_pts_for_mem_enc:
            mask = (large > 0).float()
        else:
            mask = torch.sigmoid(large)
        if module.sigmoid_scale_for_mem_enc != 1.0:
            mask = mask * module.sigmoid_scale_for_mem_enc
        if module.sigmoid_bias_for_mem_enc != 0.0:
            mask = mask + module.sigmoid_bias_for_mem_enc
        # Through (h * w, B, C) as official: the strides decide which convolution is taken,
        # and its last digits would come back larger through the rounding to bfloat16.
        channels, height, width = features.top.shape[1:]
        count = 1 if apart else len(logits)
        tokens = features.top.flatten(2).permute(2, 0, 1).expand(-1, count, -1)
        top = tokens.permute(1, 2, 0).view(count, channels, height, width)
        if apart:
            memory = encoded_apart(encoder, top, mask)
        else:
            found = encoder(top, mask, skip_mask_sigmoid=True)
            memory = found["vision_features"]
        if module.no_obj_embed_spatial is not None:
            absent = (scores <= 0).float()[..., None, None]
            memory = memory + absent * module.no_obj_embed_spatial[..., None, None]
    rounded: torch.Tensor = memory.to(torch.bfloat16).flatten(2).permute(0, 2, 1).contiguous()
    return rounded
