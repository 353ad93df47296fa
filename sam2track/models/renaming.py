"""Tensors of Transformers' SAM 2 under Meta's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2track.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = ["VIDEO_ONLY", "check_config", "from_transformers", "is_transformers", "meta_name"]

# What only tracking uses; `Sam2Model` has none of it.
VIDEO_ONLY = (
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "mask_downsample.",
    "memory_attention.",
    "memory_encoder.",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
)

# In order; each acts on what the ones before it left. Names as in Transformers 5 and 4.56.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"shared_embedding\.positional_embedding$", "pe_layer.positional_encoding_gaussian_matrix"),
    (r"mask_embed\.conv1\.", "mask_downscaling.0."),
    (r"mask_embed\.layer_norm1\.", "mask_downscaling.1."),
    (r"mask_embed\.conv2\.", "mask_downscaling.3."),
    (r"mask_embed\.layer_norm2\.", "mask_downscaling.4."),
    (r"mask_embed\.conv3\.", "mask_downscaling.6."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv([12])\.", r".pwconv\1."),
    (r"^(memory_encoder\.fuser\.layers\.\d+)\.scale$", r"\1.gamma"),
    (r"^(memory_encoder\.mask_downsampler)\.final_conv\.", r"\1.encoder.12."),
    (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    (r"\.o_proj\.", ".out_proj."),
    # A perceptron of two layers in blocks, of three in heads.
    (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
    (r"(_heads?|_mlps\.\d+|^obj_ptr_proj)\.layers\.0\.", r"\1.layers.1."),
    (r"(_heads?|_mlps\.\d+|^obj_ptr_proj)\.proj_out\.", r"\1.layers.2."),
    (r"\.proj_in\.", ".layers.0."),
)
_DOWNSAMPLER = re.compile(
    r"^(memory_encoder\.mask_downsampler)\.layers\.(\d+)\.(conv|layer_norm)\."
)

# Settings that our engine knows in one value only, by the part of the configuration.
_FIXED: dict[str, dict[str, object]] = {
    "": {
        "num_maskmem": 7,
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        "multimask_output_in_sam": True,
        "multimask_min_pt_num": 0,
        "multimask_max_pt_num": 1,
        "multimask_output_for_tracking": True,
        "max_object_pointers_in_encoder": 16,
        "memory_attention_num_attention_heads": 1,
        "mask_downsampler_total_stride": 16,
    },
    "mask_decoder_config": {
        "num_attention_heads": 8,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
}


def is_transformers(state: Mapping[str, object]) -> bool:
    """Whether names are those of Transformers."""
    return any(key.startswith("vision_encoder.backbone.") for key in state)


def check_config(config: Mapping[str, Any], folder: Path) -> int | None:
    """Return the image size that a ``config.json`` says, None where it says none.

    Raises
    ------
    ModelError
        Where it is that of another architecture, or has settings that are not known here.
    """
    kind = config.get("model_type")
    if kind not in ("sam2", "sam2_video"):
        raise ModelError(
            f"{folder} holds another architecture: its config.json says model_type {kind!r}; "
            f"allowed are sam2 and sam2_video"
        )
    for part, settings in _FIXED.items():
        held = config.get(part, {}) if part else config
        for name, value in settings.items():
            if isinstance(held, Mapping) and held.get(name, value) != value:
                raise ModelError(
                    f"{folder} cannot be followed: its config.json sets {name} to {held[name]!r}, "
                    f"and only {value!r} is known here"
                )
    prompts = config.get("prompt_encoder_config")
    for held in (config, prompts):
        size = held.get("image_size") if isinstance(held, Mapping) else None
        if isinstance(size, int):
            return size
    return None


def meta_name(name: str) -> str:
    """Name in Meta's layout of a tensor that Transformers calls ``name``."""
    if found := _DOWNSAMPLER.match(name):
        place = 3 * int(found[2]) + (found[3] == "layer_norm")
        return f"{found[1]}.encoder.{place}.{name[found.end() :]}"
    for pattern, ours in _RENAMES:
        name = re.sub(pattern, ours, name)
    return re.sub(r"\.layer_norm(\d?)\.", r".norm\1.", name)


def from_transformers(held: Mapping[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """Put the tensors of a ``Sam2Model`` or ``Sam2VideoModel`` under Meta's names.

    Values are the same; only the embeddings of points, which Transformers keeps in one tensor,
    are taken apart.
    """
    state: dict[str, torch.Tensor] = {}
    # Meta's modules have one table of positions where Transformers has two, and older versions
    # of it save the first alone.
    image, points = (
        held.get(f"{place}.positional_embedding")
        for place in ("shared_image_embedding", "prompt_encoder.shared_embedding")
    )
    if image is not None:
        if points is not None and not image.equal(points):
            raise ModelError(
                f"{folder} cannot be followed: shared_image_embedding and the prompt encoder's "
                f"shared_embedding differ, as in no trained SAM 2"
            )
        state["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = image
    for name, value in held.items():
        if name == "shared_image_embedding.positional_embedding":
            continue
        if name == "prompt_encoder.point_embed.weight":
            if value.dim() != 2:
                raise ModelError(f"{folder} does not fit: {name} has shape {tuple(value.shape)}")
            for index in range(len(value)):
                state[f"sam_prompt_encoder.point_embeddings.{index}.weight"] = value[index][None]
        else:
            state[meta_name(name)] = value
    return state
