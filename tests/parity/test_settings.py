"""Modules with settings that no released model has give the official masks, too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sam2track.prompts import Prompt
from tests.parity.oracle import clip, official_run, predictor
from tests.parity.test_parity import ONE, differences, our_run

BOX = Prompt(box=(30, 30, 70, 80))
POINT = Prompt(points=((64, 60),))
ABSENT = Prompt(absent=True)
SETTINGS: dict[str, dict[str, Any]] = {
    "no pointers": {"use_obj_ptrs_in_encoder": False},
    "few pointers": {"max_obj_ptrs_in_encoder": 4},
    "pointers of later frames": {"only_obj_ptrs_in_the_past_for_eval": False},
    "unsigned times": {
        "use_signed_tpos_enc_to_obj_ptrs": False,
        "only_obj_ptrs_in_the_past_for_eval": False,
    },
    "no times of pointers": {"add_tpos_enc_to_obj_ptrs": False},
    "times of pointers as they are": {
        "proj_tpos_enc_in_obj_ptrs": False,
        "obj_ptr_tpos_proj": torch.nn.Identity(),
    },
    "soft pointers": {"soft_no_obj_ptr": True},
    "pointers that stay": {"fixed_no_obj_ptr": False},
    "no scores": {"pred_obj_scores": False},
    "memories by twos": {"memory_temporal_stride_for_eval": 2},
    "three memories": {"num_maskmem": 3},
    "two prompted frames": {"max_cond_frames_in_attn": 2},
    "prompted masks as they are": {"binarize_mask_from_pts_for_mem_enc": False},
    "prompted masks in two values": {"binarize_mask_from_pts_for_mem_enc": True},
    "another scale": {"sigmoid_scale_for_mem_enc": 8.0, "sigmoid_bias_for_mem_enc": 0.0},
    "no scale": {"sigmoid_scale_for_mem_enc": 1.0, "sigmoid_bias_for_mem_enc": -0.5},
    "candidates for prompts alone": {"multimask_output_for_tracking": False},
    "candidates after two clicks": {"multimask_min_pt_num": 1, "multimask_max_pt_num": 2},
    "no candidates": {"multimask_output_in_sam": False},
    "absence without a place": {"no_obj_embed_spatial": None},
}


def _floats(_module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    """Official memories are bfloat16 and lack a kernel for weights in float32."""
    return given, named | ({"memory": named["memory"].float()} if "memory" in named else {})


BOTH_WAYS = (
    "pointers of later frames",
    "unsigned times",
    "memories by twos",
    "two prompted frames",
)


@pytest.mark.parametrize(
    ("name", "backward"),
    [*((name, False) for name in SETTINGS), *((name, True) for name in BOTH_WAYS)],
)
def test_masks_equal_the_official_ones(name: str, backward: bool) -> None:
    module = predictor.__wrapped__("nano", True, score_bias=-0.77)
    # Scores about zero and apart, so that the object comes and goes.
    module.sam_mask_decoder.pred_obj_score_head.layers[-1].weight.mul_(30)
    for key, value in SETTINGS[name].items():
        assert hasattr(module, key)
        setattr(module, key, value)
    if name == "no pointers":  # which make floats of all that they come with
        module.memory_attention.register_forward_pre_hook(_floats, with_kwargs=True)
    module.sam_mask_decoder.pred_obj_scores = module.pred_obj_scores
    frames, at = clip(12), (11, 7, 4) if backward else (0, 4, 7)
    prompts = {1: dict(zip(at, (POINT, BOX, ABSENT), strict=True))}
    theirs = official_run(module, frames, prompts, backward=backward)
    if module.pred_obj_scores and not backward:
        scores = [seen.score for (_, frame), seen in theirs.items() if frame != at[2]]
        assert min(scores) < 0 < max(scores)
    *found, close = differences(our_run(module, frames, prompts, backward=backward), theirs)
    assert max(found) <= ONE and close <= 1
