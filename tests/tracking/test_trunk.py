"""The image encoder is SAM 2's, whatever the order of its sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sam2track import load_model
from sam2track.errors import ModelError
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.tracking import encoder, trunk
from sam2track.tracking.encoder import LARGE, Encoder
from sam2track.tracking.trunk import Trunk


@pytest.mark.parametrize("name", ["nano", "sam2.1-tiny", "sam2.1-base-plus"])
@pytest.mark.parametrize("size", [128, 192])  # windows of 14 do not fit either
@pytest.mark.parametrize("hidden", [2**14, 2**22])  # strips of a few windows, and of all
def test_features_are_those_of_the_modules(
    name: str, size: int, hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk, "_HIDDEN", hidden)
    torch.manual_seed(2)
    module = build(ARCHITECTURES[name], image_size=size).requires_grad_(False)
    model = load_model(module, precision="fp32")
    image = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        found = Trunk(model)(image)
        expected = module.forward_image(image)["backbone_fpn"]
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=5e-5 * float(other.abs().max()))


def test_bfloat16_is_near() -> None:
    torch.manual_seed(2)
    module = build(ARCHITECTURES["nano"], image_size=128).requires_grad_(False)
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        exact = module.forward_image(image)["backbone_fpn"][-1]
        with torch.autocast("cpu", torch.bfloat16):
            official = module.forward_image(image)["backbone_fpn"][-1]
        found = Trunk(load_model(module, precision="bf16"))(image)[-1]
    assert found.dtype == official.dtype == torch.float32  # what comes from above is not rounded
    assert 0 < (found - exact).abs().mean() <= 1.2 * (official - exact).abs().mean()


def test_large_squares_go_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    module = build(ARCHITECTURES["nano"], image_size=LARGE).requires_grad_(False)
    made = Encoder(load_model(module, precision="fp32"))
    frame = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = module.forward_image(made.prepare(frame))["backbone_fpn"]
    monkeypatch.setattr(module.image_encoder.trunk, "forward", None)
    found = made.encode(frame)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-5 * float(other.abs().max()))


SETTINGS: list[dict[str, Any]] = [
    {"fuse_type": "avg"},
    {"fpn_interp_model": "bilinear"},
    {"fpn_top_down_levels": []},
    {"fpn_top_down_levels": [3]},
    {"fpn_top_down_levels": [1, 2, 3]},
    {"fpn_top_down_levels": [0, 3]},
    {"use_high_res_features_in_sam": False},
    {"scalp": 2},
]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_settings_of_the_modules_are_followed(
    changes: dict[str, Any], large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also such as no model has; whichever way frames go."""
    monkeypatch.setattr(encoder, "LARGE", 128 if large else 1024)
    torch.manual_seed(2)
    module = build(ARCHITECTURES["nano"], image_size=128).requires_grad_(False)
    for name, value in changes.items():
        (held,) = (
            part
            for part in (module, module.image_encoder, module.image_encoder.neck)
            if hasattr(part, name)
        )
        setattr(held, name, value)
    if changes.get("scalp") == 2:  # no third level is left for the mask decoder
        module.use_high_res_features_in_sam = False
    made = Encoder(load_model(module, precision="fp32"))
    frame = np.random.default_rng(1).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = module.forward_image(made.prepare(frame))["backbone_fpn"][-3:]
    found = made.encode(frame)
    if not module.use_high_res_features_in_sam:
        assert found.fine is None and found.middle is None and found.high_res(2) is None
        expected = [None, None, expected[-1]]
    for one, other in zip(found, expected, strict=True):
        if other is not None:
            assert one is not None and one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=5e-5 * float(other.abs().max()))


@pytest.mark.parametrize(
    ("part", "says"), [("trunk", "Identity and FpnNeck"), ("neck", "Hiera and Identity")]
)
def test_other_encoders_are_refused(part: str, says: str) -> None:
    module = build(ARCHITECTURES["nano"], image_size=LARGE).requires_grad_(False)
    setattr(module.image_encoder, part, torch.nn.Identity())
    with pytest.raises(ModelError, match=f"made of {says}"):
        Encoder(load_model(module))
