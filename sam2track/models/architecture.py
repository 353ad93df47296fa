"""Build SAM 2 modules from a short description, without configuration files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["ARCHITECTURES", "Architecture", "build", "set_image_size"]


@dataclass(frozen=True)
class Architecture:
    """What distinguishes one SAM 2 from another; all else is the same in every one.

    Parameters
    ----------
    embed_dim, num_heads, stages, global_att_blocks, window_spec, pos_embed_size
        The Hiera trunk: channels and heads of the first stage, blocks in each
        stage, indices of the blocks that attend globally, window of each stage in
        tokens, and grid of the background position embedding.
    d_model, mem_dim : int
        Channels of the features at stride 16, and of the memory tokens.
    memory_layers, memory_feedforward : int
        Depth of the memory attention and width of its feed-forward layers.
    image_size : int
        Side of the square, in pixels, that frames are resized to.
    generation : {"2.1", "2.0"}
        SAM 2.0 has no spatial embedding for absent objects and no projection of
        the pointers' time codes.
    tracks_with_candidates : bool
        Whether tracked frames decode three candidate masks and keep the best.
    falls_back_on_candidates : bool
        Whether the best of three candidates replaces a single mask that a small
        change of threshold would change much (only with ``postprocessing``).
    dropout : float
        Dropout of the memory attention, in training only.

    Notes
    -----
    Values of the published sizes are those of the configuration files in the
    ``sam2`` package (``sam2/configs``).
    """

    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    global_att_blocks: tuple[int, ...] = (5, 7, 9)
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    pos_embed_size: tuple[int, int] = (7, 7)
    d_model: int = 256
    mem_dim: int = 64
    memory_layers: int = 4
    memory_feedforward: int = 2048
    image_size: int = 1024
    generation: str = "2.1"
    tracks_with_candidates: bool = True
    falls_back_on_candidates: bool = True
    dropout: float = 0.1

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the trunk's outputs, coarsest first."""
        return tuple(self.embed_dim * 2**i for i in reversed(range(len(self.stages))))


_TINY = Architecture()
_SMALL = replace(_TINY, stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13))
_BASE_PLUS = replace(
    _TINY,
    embed_dim=112,
    num_heads=2,
    stages=(2, 3, 16, 3),
    global_att_blocks=(12, 16, 20),
    pos_embed_size=(14, 14),
)
_LARGE = replace(
    _TINY,
    embed_dim=144,
    num_heads=2,
    stages=(2, 6, 36, 4),
    global_att_blocks=(23, 33, 43),
    window_spec=(8, 4, 16, 8),
)
_NANO = Architecture(
    embed_dim=32,
    stages=(1, 2, 4, 1),
    global_att_blocks=(4, 5, 6),
    window_spec=(8, 8, 8, 4),
    pos_embed_size=(8, 8),
    d_model=128,
    mem_dim=32,
    memory_layers=2,
    memory_feedforward=512,
    image_size=256,
    tracks_with_candidates=False,
    # Mean J of held-out clips, box and mask: 0.687, 0.717 without and 0.664, 0.704 with.
    falls_back_on_candidates=False,
    dropout=0.0,
)

ARCHITECTURES: dict[str, Architecture] = {"nano": _NANO} | {
    f"sam{generation}-{size}": replace(
        architecture, generation="2.0" if generation == "2" else generation
    )
    for generation in ("2.1", "2")
    for size, architecture in {
        "tiny": _TINY,
        "small": _SMALL,
        "base-plus": _BASE_PLUS,
        "large": _LARGE,
    }.items()
}


def build(
    architecture: Architecture,
    *,
    image_size: int | None = None,
    postprocessing: bool = True,
) -> SAM2Base:
    """Build the modules with random weights.

    Parameters
    ----------
    architecture : Architecture
        What to build.
    image_size : int, optional
        Another input size than the architecture's own.
    postprocessing : bool
        The settings that ``build_sam2_video_predictor(apply_postprocessing=True)``
        gives: fall back on the best candidate where the single mask is unstable,
        binarise masks of prompted frames for the memory, fill small holes.

    Returns
    -------
    SAM2Base
        In evaluation mode, on the CPU, in float32. ``fill_hole_area`` is set on it as
        ``SAM2VideoPredictor`` does.
    """
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam.transformer import RoPEAttention
    from sam2.modeling.sam2_base import SAM2Base

    a = architecture
    size = image_size or a.image_size
    grid = (size // 16, size // 16)
    newer = a.generation != "2.0"

    image_encoder = ImageEncoder(
        scalp=1,
        trunk=Hiera(
            embed_dim=a.embed_dim,
            num_heads=a.num_heads,
            stages=a.stages,
            global_att_blocks=a.global_att_blocks,
            window_pos_embed_bkg_spatial_size=a.pos_embed_size,
            window_spec=a.window_spec,
        ),
        neck=FpnNeck(
            position_encoding=PositionEmbeddingSine(a.d_model, warmup_cache=False),
            d_model=a.d_model,
            backbone_channel_list=list(a.channels),
            fpn_top_down_levels=[2, 3],
            fpn_interp_model="nearest",
        ),
    )
    attention = {
        "embedding_dim": a.d_model,
        "num_heads": 1,
        "downsample_rate": 1,
        "dropout": a.dropout,
        "feat_sizes": grid,
    }
    memory_attention = MemoryAttention(
        d_model=a.d_model,
        pos_enc_at_input=True,
        num_layers=a.memory_layers,
        layer=MemoryAttentionLayer(
            activation="relu",
            d_model=a.d_model,
            dim_feedforward=a.memory_feedforward,
            dropout=a.dropout,
            pos_enc_at_attn=False,
            pos_enc_at_cross_attn_keys=True,
            pos_enc_at_cross_attn_queries=False,
            self_attention=RoPEAttention(**attention),
            cross_attention=RoPEAttention(**attention, rope_k_repeat=True, kv_in_dim=a.mem_dim),
        ),
    )
    memory_encoder = MemoryEncoder(
        in_dim=a.d_model,
        out_dim=a.mem_dim,
        position_encoding=PositionEmbeddingSine(a.mem_dim, warmup_cache=False),
        mask_downsampler=MaskDownSampler(
            embed_dim=a.d_model, kernel_size=3, stride=2, padding=1, total_stride=16
        ),
        fuser=Fuser(CXBlock(a.d_model, kernel_size=7, padding=3), num_layers=2),
    )
    module = SAM2Base(
        image_encoder=image_encoder,
        memory_attention=memory_attention,
        memory_encoder=memory_encoder,
        image_size=size,
        num_maskmem=7,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial=newer,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=newer,
        proj_tpos_enc_in_obj_ptrs=newer,
        use_signed_tpos_enc_to_obj_ptrs=newer,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=a.tracks_with_candidates,
        use_multimask_token_for_obj_ptr=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
        binarize_mask_from_pts_for_mem_enc=postprocessing,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": (postprocessing and a.falls_back_on_candidates),
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    )
    module.fill_hole_area = 8 if postprocessing else 0
    return module.eval()


def set_image_size(module: SAM2Base, image_size: int) -> None:
    """Let modules of our own take frames of another size, in place.

    No weight depends on the size: the trunk interpolates its position embedding and the
    rotary tables are computed anew when the grid changes.
    """
    grid = image_size // 16
    module.image_size = image_size
    module.sam_image_embedding_size = grid
    encoder = module.sam_prompt_encoder
    encoder.image_embedding_size = (grid, grid)
    encoder.input_image_size = (image_size, image_size)
    encoder.mask_input_size = (4 * grid, 4 * grid)
