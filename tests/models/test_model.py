"""Parts of a model whose weights are cast once are what autocast makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sam2track import Tracker, load_model
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.models.model import Model


@pytest.fixture(scope="module")
def module() -> Any:
    torch.manual_seed(0)
    return build(ARCHITECTURES["nano"], image_size=64)


def given(model: Model, name: str) -> torch.Tensor:
    """What a part makes of random numbers, as the engine calls it."""
    torch.manual_seed(1)
    part, module = model.part(name), model.module
    channels = module.hidden_dim
    with torch.inference_mode(), model.autocast():
        if name == "image_encoder":
            found = part(torch.randn(1, 3, 64, 64))["vision_features"]
        elif name == "memory_encoder":
            top, mask = torch.randn(2, channels, 4, 4), torch.rand(2, 1, 64, 64)
            found = part(top, mask, skip_mask_sigmoid=True)["vision_features"]
        elif name == "memory_attention":
            top, memory = torch.randn(16, 2, channels), torch.randn(32, 2, module.mem_dim)
            found = part(top, memory, torch.randn(16, 1, channels), torch.randn(32, 2, 1))
        elif name == "sam_mask_decoder":
            found = part(
                image_embeddings=torch.randn(2, channels, 4, 4),
                image_pe=torch.randn(1, channels, 4, 4),
                sparse_prompt_embeddings=torch.randn(2, 2, channels),
                dense_prompt_embeddings=torch.randn(2, channels, 4, 4),
                multimask_output=True,
                repeat_image=False,
                high_res_features=[
                    torch.randn(2, channels // 8, 16, 16),
                    torch.randn(2, channels // 4, 8, 8),
                ],
            )[0]
        else:
            found = part(torch.randn(3, channels))
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize(
    "name",
    ["image_encoder", "memory_encoder", "memory_attention", "sam_mask_decoder", "obj_ptr_proj"],
)
def test_weights_cast_once_give_the_same(
    name: str, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(module, precision="bf16")
    found = given(model, name)
    with monkeypatch.context() as patch:
        patch.setattr(Model, "part", lambda self, name: getattr(self.module, name))
        assert torch.equal(found, given(model, name))
    kinds = {weight.dtype for weight in model.part(name).parameters()}
    assert torch.bfloat16 in kinds


def test_what_is_not_a_product_is_shared(module: Any) -> None:
    model = load_model(module, precision="bf16")
    part, whole = model.part("memory_attention"), module.memory_attention
    assert part is model.part("memory_attention") and part is not whole
    assert part.norm.weight is whole.norm.weight
    assert part.layers[0].linear1.weight.dtype == torch.bfloat16
    assert whole.layers[0].linear1.weight.dtype == torch.float32


def test_in_float32_parts_are_the_modules_own(module: Any) -> None:
    model = load_model(module, precision="fp32")
    assert model.part("memory_encoder") is module.memory_encoder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_tracker_takes_weights_as_they_are_when_it_is_made(precision: str) -> None:
    torch.manual_seed(0)
    module = build(ARCHITECTURES["nano"], image_size=64)
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)

    def masks(model: Model) -> np.ndarray:
        tracker = Tracker(model, frames)
        tracker.prompt(1, 0, box=(4, 4, 30, 30))
        return np.stack([result.logits for result in tracker.propagate()])

    model = load_model(module, precision=precision)
    before, part = masks(model), model.part("sam_mask_decoder")
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(1.1)
    after = masks(model)
    assert not np.array_equal(before, after)
    assert np.array_equal(after, masks(load_model(module, precision=precision)))
    assert model.part("sam_mask_decoder") is part
