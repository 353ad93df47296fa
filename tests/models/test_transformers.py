"""Folders of Transformers, held to that library's own predictors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.utils import logging

import sam2track
from sam2track.errors import ModelError, UsageError
from sam2track.models import files
from sam2track.prompts import Prompt
from sam2track.tracking import conditioning, step
from sam2track.tracking.encoder import Encoder
from tests.parity.oracle import clip

SIZE = 128
BOUND = 1e-3
VISION = {
    "model_type": "sam2_vision_model",
    "backbone_config": {"model_type": "sam2_hiera_det_model", "image_size": [SIZE, SIZE]},
    "backbone_feature_sizes": [[SIZE // 4] * 2, [SIZE // 8] * 2, [SIZE // 16] * 2],
}
PARTS: dict[str, Any] = {"vision_config": VISION, "prompt_encoder_config": {"image_size": SIZE}}
FRAMES = clip(5)


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """Weights with which every part has a say; those that Transformers draws are near 0."""
    generator = torch.Generator().manual_seed(3)

    def drawn(value: torch.Tensor, scale: float) -> None:
        value.copy_(torch.randn(value.shape, generator=generator) * scale)

    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:
                drawn(value, 1 / math.sqrt(max(1, value[0].numel())))
            elif "norm" not in name:
                drawn(value, 0.02)
        # One table of positions, as in all trained ones.
        positions = model.prompt_encoder.shared_embedding.positional_embedding
        model.shared_image_embedding.positional_embedding.copy_(positions)
        decoder = model.mask_decoder
        decoder.pred_obj_score_head.proj_out.bias.fill_(4.0)
        for network in decoder.output_hypernetworks_mlps:
            network.proj_out.weight.mul_(3)
            drawn(network.proj_out.bias, 1.0)
        if hasattr(model, "memory_encoder"):
            for layer in model.memory_encoder.memory_fuser.layers:
                layer.scale.fill_(1.0)
    return model.eval()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sam2VideoModel, Path]:
    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = Sam2VideoConfig(
        image_size=SIZE, memory_attention_rope_feat_sizes=[SIZE // 16] * 2, **PARTS
    )
    model = lively(Sam2VideoModel(config))
    folder = tmp_path_factory.mktemp("video")
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sam2Model, Path]:
    logging.disable_progress_bar()
    torch.manual_seed(0)
    model = lively(Sam2Model(Sam2Config(**PARTS)))
    folder = tmp_path_factory.mktemp("image")
    model.save_pretrained(folder)
    return model, folder


def loaded(folder: Path) -> sam2track.Model:
    model = sam2track.load_model(folder, device="cpu", precision="fp32")
    model.module.fill_hole_area = 0  # Transformers fills none
    return model


def theirs(
    model: Sam2VideoModel, model_of_ours: sam2track.Model, prompt: Prompt, backward: bool
) -> dict[int, np.ndarray]:
    """Low-resolution logits by frame, from Transformers' own loop."""
    encoder = Encoder(model_of_ours)
    pictures = torch.cat([encoder.prepare(frame) for frame in FRAMES])
    session = Sam2VideoInferenceSession(
        pictures, video_height=SIZE, video_width=SIZE, dtype=torch.float32
    )
    index, start = session.obj_id_to_idx(1), len(FRAMES) - 1 if backward else 0
    if prompt.mask is not None:
        mask = torch.from_numpy(prompt.mask.copy())[None, None].float()
        session.add_mask_inputs(index, start, mask)
    else:
        corners = [prompt.box[:2], prompt.box[2:]] if prompt.box else []
        points = torch.tensor([[[*corners, *prompt.points]]], dtype=torch.float32)
        labels = torch.tensor([[[*[2, 3][: len(corners)], *prompt.labels]]], dtype=torch.int32)
        session.add_point_inputs(index, start, {"point_coords": points, "point_labels": labels})
    session.obj_with_new_inputs.append(1)
    with torch.inference_mode():
        model(session, frame_idx=start)
        outputs = model.propagate_in_video_iterator(session, start, reverse=backward)
        return {out.frame_idx: out.pred_masks[0, 0].numpy().copy() for out in outputs}


PROMPTS = {
    "point": Prompt(points=((60.0, 60.0),)),
    "two points": Prompt(points=((60.0, 60.0), (20.0, 30.0)), labels=(1, 0)),
    "box": Prompt(box=(30, 30, 90, 100)),
}
SQUARE = np.zeros((SIZE, SIZE), bool)
SQUARE[30:80, 30:80] = True


def worst_difference(
    model: sam2track.Model, expected: dict[int, np.ndarray], prompt: Prompt, backward: bool
) -> float:
    """Largest difference of logits to ``expected``, over all frames."""
    foreground = np.mean([(logits > 0).mean() for logits in expected.values()])
    assert 0.005 < foreground < 0.98, "the random module gives trivial masks"
    tracker = sam2track.Tracker(model, FRAMES)
    tracker.add(1, len(FRAMES) - 1 if backward else 0, prompt)
    results = tracker.propagate(direction="backward" if backward else "forward")
    found = {result.frame: result.logits[0] for result in results}
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[t] - expected[t]).max()) for t in found)


@pytest.mark.parametrize(
    ("kind", "backward"), [("point", False), ("two points", True), ("box", False)]
)
def test_videos_have_the_masks_of_transformers(
    kind: str, backward: bool, video: tuple[Sam2VideoModel, Path]
) -> None:
    model = loaded(video[1])
    expected = theirs(video[0], model, PROMPTS[kind], backward)
    worst = worst_difference(model, expected, PROMPTS[kind], backward)
    print(f"parity video {kind} {'backward' if backward else 'forward'} {worst:.1e}")
    assert worst <= BOUND


@pytest.mark.parametrize("backward", [False, True])
def test_mask_prompts_differ_from_transformers_in_two_things_alone(
    backward: bool, video: tuple[Sam2VideoModel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompt = loaded(video[1]), Prompt(mask=SQUARE)
    expected = theirs(video[0], model, prompt, backward)
    decode, remember = step.decode, step.remember
    full = torch.from_numpy(SQUARE.copy())[None, None].float() * 20 - 10

    # In Transformers the pointer of a given mask is that of the best of three candidates,
    def with_candidates(*given: Any, candidates: bool, **more: Any) -> step.Decoded:
        return decode(*given, candidates=True, **more)

    # and the mask goes into its memory as it is, not by way of the decoder's grid.
    def at_full_size(
        model: Any, features: Any, logits: Any, scores: Any, *, prompted: bool, **given: Any
    ) -> Any:
        shown = full if prompted else logits
        return remember(model, features, shown, scores, prompted=prompted, **given)

    departures = {"pointer": ("decode", with_candidates), "memory": ("remember", at_full_size)}
    worst = {}
    for emulated in ((), ("pointer",), ("memory",), ("pointer", "memory")):
        with monkeypatch.context() as patch:
            for name in emulated:
                patch.setattr(step, *departures[name])
            worst[emulated] = worst_difference(model, expected, prompt, backward)
    for emulated, difference in worst.items():
        like = " and ".join(emulated) or "nothing"
        print(f"parity video mask {backward=}, {like} as in Transformers {difference:.1e}")
    assert worst.pop(("pointer", "memory")) <= BOUND
    assert min(worst.values()) > BOUND, "docs/models.md is out of date"


@pytest.mark.parametrize("which", ["image", "video"])
@pytest.mark.parametrize("candidates", [True, False], ids=["three", "one"])
def test_images_have_the_masks_of_transformers(
    candidates: bool, which: str, request: pytest.FixtureRequest
) -> None:
    model, folder = request.getfixturevalue(which)
    ours = loaded(folder)
    assert ours.tracks == (which == "video")
    encoder = Encoder(ours)
    points, labels = torch.tensor([[[60.0, 60.0]]]), torch.tensor([[1]], dtype=torch.int32)
    with torch.inference_mode():
        pixels = encoder.prepare(FRAMES[0])
        if which == "image":
            found = model(
                pixel_values=pixels,
                input_points=points[None],
                input_labels=labels[None],
                multimask_output=candidates,
            )
            expected, ious = found.pred_masks[0, 0], found.iou_scores[0, 0]
        else:
            found = model._single_frame_forward(
                pixel_values=pixels,
                input_points=points[None],
                input_labels=labels[None],
                multimask_output=candidates,
            )
            expected, ious = found.pred_masks[0], found.iou_scores[0, 0]
    features = encoder.encode(FRAMES[0])
    constants = conditioning.Constants(ours)
    conditioned = conditioning.without_memory(ours, features)
    decoded = step.decode(
        ours, constants, features, conditioned, points=(points, labels), candidates=candidates
    )
    best = int(ious.argmax())
    expected = expected[best] if which == "image" else expected[0]
    worst = float((decoded.logits[0, 0] - expected).abs().max())
    print(f"parity image {which} {'three' if candidates else 'one'} {worst:.1e}")
    assert 0.005 < float((expected > 0).float().mean()) < 0.999
    assert worst <= BOUND
    assert abs(float(decoded.ious[0]) - float(ious[best])) <= BOUND


def test_shards_and_metas_layouts_hold_the_same(
    video: tuple[Sam2VideoModel, Path], tmp_path: Path
) -> None:
    model, folder = video
    first = loaded(folder).module.state_dict()
    model.save_pretrained(tmp_path / "shards", max_shard_size="60MB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    torch.save({"model": first, "epoch": 7}, tmp_path / "meta.pt")
    save_file(
        {f"module.{name}": value for name, value in first.items()}, tmp_path / "m.safetensors"
    )
    for name in ("shards", "meta.pt", "m.safetensors"):
        other = sam2track.load_model(tmp_path / name, device="cpu", image_size=SIZE)
        state = other.module.state_dict()
        assert state.keys() == first.keys()
        assert all(torch.equal(value, first[key]) for key, value in state.items()), name


def test_a_model_for_images_does_not_track(image: tuple[Sam2Model, Path]) -> None:
    with pytest.raises(ModelError, match="no weights for video"):
        sam2track.Tracker(loaded(image[1]), FRAMES)


def test_the_first_tensor_that_does_not_fit_is_named(
    image: tuple[Sam2Model, Path], tmp_path: Path
) -> None:
    config = (image[1] / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    state = load_file(image[1] / "model.safetensors")
    state["mask_decoder.iou_token.weight"] = torch.zeros(2, 256)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"sam_mask_decoder.iou_token.weight has shape \(2, 256\)"):
        sam2track.load_model(tmp_path, device="cpu")
    state["shared_image_embedding.positional_embedding"] += 1
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="shared_embedding differ"):
        sam2track.load_model(tmp_path, device="cpu")
    state["shared_image_embedding.positional_embedding"] -= 1
    del state["prompt_encoder.shared_embedding.positional_embedding"]
    del state["mask_decoder.iou_token.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks the tensor sam_mask_decoder.iou_token.weight"):
        sam2track.load_model(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "sam3"}, "another architecture: its config.json says model_type 'sam3'"),
        ({}, "model_type None"),
        ({"model_type": "sam2_video", "num_maskmem": 5}, "sets num_maskmem to 5"),
        ([], "holds no settings"),
        ({"model_type": "sam2_video", "image_size": 100}, "image size 100"),
    ],
)
def test_other_architectures_are_refused(
    config: object, message: str, image: tuple[Sam2Model, Path], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(image[1] / "model.safetensors")
    with pytest.raises((ModelError, UsageError), match=message):
        sam2track.load_model(tmp_path, device="cpu")


def test_folders_without_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no weights"):
        files.read(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "sam2_video"}')
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        files.read(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-1-of-2.safetensors"}}')
    with pytest.raises(ModelError, match=r"lacks model-1-of-2\.safetensors"):
        files.read(tmp_path)
    index.write_text('{"weight_map": {"a": "../../secret.safetensors"}}')
    with pytest.raises(ModelError, match="names no files of this folder"):
        files.read(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "a.pt").touch()
    (tmp_path / "b.pt").touch()
    with pytest.raises(ModelError, match="holds 2 checkpoints; name one"):
        files.read(tmp_path)
