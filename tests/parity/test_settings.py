"""Modules with settings that no released model has give the official masks, too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sam2track.prompts import Prompt
from tests.parity.oracle import clip, official_run, predictor
from tests.parity.test_parity import MANY, ONE, differences, our_run

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
    "candidates on tracked frames": {"multimask_output_for_tracking": True},
    "candidates where masks waver": {
        "sam_mask_decoder.dynamic_multimask_via_stability": True,
        "sam_mask_decoder.dynamic_multimask_stability_delta": 1.0,
    },
    "candidates after two clicks": {"multimask_min_pt_num": 1, "multimask_max_pt_num": 2},
    "pointers of the single mask": {
        "use_multimask_token_for_obj_ptr": False,
        "multimask_output_for_tracking": True,
    },
    "no candidates": {"multimask_output_in_sam": False},
    "absence without a place": {"no_obj_embed_spatial": None},
    "no place of features": {"memory_attention.pos_enc_at_input": False},
    "no fine features": {
        "use_high_res_features_in_sam": False,
        "sam_mask_decoder.use_high_res_features": False,
    },
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


def made(name: str) -> Any:
    """An official predictor with settings; scores about zero and apart, so that objects go."""
    module = predictor.__wrapped__("nano", True, score_bias=-0.77)
    module.sam_mask_decoder.pred_obj_score_head.layers[-1].weight.mul_(30)
    for key, value in SETTINGS[name].items():
        part, _, setting = key.rpartition(".")
        holder = module.get_submodule(part)
        assert hasattr(holder, setting)
        setattr(holder, setting, value)
    if name == "no pointers":  # which make floats of all that they come with
        module.memory_attention.register_forward_pre_hook(_floats, with_kwargs=True)
    for setting in ("pred_obj_scores", "use_multimask_token_for_obj_ptr"):
        setattr(module.sam_mask_decoder, setting, getattr(module, setting))
    return module


@pytest.mark.parametrize(
    ("name", "backward"),
    [*((name, False) for name in SETTINGS), *((name, True) for name in BOTH_WAYS)],
)
def test_masks_equal_the_official_ones(name: str, backward: bool) -> None:
    module = made(name)
    frames, at = clip(12), (11, 7, 4) if backward else (0, 4, 7)
    prompts = {1: dict(zip(at, (POINT, BOX, ABSENT), strict=True))}
    theirs = official_run(module, frames, prompts, backward=backward)
    if module.pred_obj_scores and not backward:
        scores = [seen.score for (_, frame), seen in theirs.items() if frame != at[2]]
        assert min(scores) < 0 < max(scores)
    *found, close = differences(our_run(module, frames, prompts, backward=backward), theirs)
    assert max(found) <= ONE and close <= 1


IN_BATCHES = (
    "no pointers",
    "no times of pointers",
    "no scores",
    "pointers of the single mask",
    "candidates on tracked frames",
    "candidates where masks waver",
    "no place of features",
    "no fine features",
)


@pytest.mark.parametrize(
    ("name", "count"),
    [*((name, 2) for name in IN_BATCHES), ("no scores", 11), ("no place of features", 11)],
)
def test_masks_of_a_batch_equal_the_official_ones(name: str, count: int) -> None:
    """Of few objects, which go through parts of the module by themselves, and of more."""
    module, frames = made(name), clip(6)
    prompts = {i: {0: Prompt(points=((10 + 10 * i, 64),))} for i in range(1, count + 1)}
    theirs = official_run(module, frames, prompts)
    *found, close = differences(our_run(module, frames, prompts), theirs)
    assert max(found) <= MANY and close <= count
