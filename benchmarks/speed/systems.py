"""One run through a clip with each system: masks as they come, with a clock beside them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from benchmarks.speed.case import Case, boxes, clicks
from benchmarks.speed.clock import Clock

__all__ = ["RUNS", "load", "unrecorded"]

Run = Iterator[npt.NDArray[np.bool_]]


def load(case: Case) -> Any:
    """Load the model of a case, with random weights where none are on this disk."""
    import torch

    import sam2track
    from sam2track.models.architecture import ARCHITECTURES, build
    from sam2track.models.weights import weights_on_disk
    from sam2track.models.zoo import resolve

    entry = resolve(case.model)
    if entry is None:
        raise SystemExit(f"no model {case.model!r}")
    name = entry.name
    if weights_on_disk(entry) is None:
        torch.manual_seed(7)
        module = build(ARCHITECTURES[name], image_size=case.image_size)
        _enliven(module)
        given: Any = module.to(case.device)
    else:
        given = name
    model = sam2track.load_model(
        given,
        device=case.device,
        precision=case.precision,
        image_size=None if given is not name else case.image_size,
    )
    model.module.fill_hole_area = 0  # official fills holes by a part that is built for CUDA only
    return model


def _enliven(module: Any) -> None:
    """Let random weights find something, and let the memory matter."""
    import torch

    generator = torch.Generator().manual_seed(3)
    decoder = module.sam_mask_decoder
    with torch.no_grad():
        decoder.pred_obj_score_head.layers[-1].bias.fill_(4.0)
        for layer in module.memory_encoder.fuser.layers:
            layer.gamma.fill_(1.0)
        module.no_mem_embed.mul_(10)
        module.maskmem_tpos_enc.mul_(30)
        for network in decoder.output_hypernetworks_mlps:
            last = network.layers[-1]
            last.weight.mul_(6)
            last.bias.copy_(torch.randn(last.bias.shape, generator=generator))
        for part in decoder.output_upscaling:
            if isinstance(part, torch.nn.ConvTranspose2d):
                part.weight.mul_(3)


def _normalised(case: Case, frames: npt.NDArray[np.uint8], model: Any, clock: Clock) -> Any:
    """All frames as the official predictor holds them, (T, 3, S, S) float32."""
    import torch

    from sam2track.tracking.encoder import Encoder

    encoder = Encoder(model)
    images = torch.empty(len(frames), 3, case.image_size, case.image_size)
    begun = time.perf_counter()
    for t, frame in enumerate(frames):
        images[t] = encoder.prepare(frame)[0].cpu()
    if case.video is not None:
        clock.share("read", (time.perf_counter() - begun) / len(frames))
    return images


def _autocast(case: Case) -> contextlib.AbstractContextManager[object]:
    import torch

    if case.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(case.device.split(":")[0], torch.bfloat16)


def unrecorded() -> contextlib.AbstractContextManager[object]:
    """Let no GPU graph be recorded: within one, parts cannot be timed."""
    from sam2track.tracking.graphs import Graphs

    return mock.patch.object(Graphs, "run", lambda self, name, work, *given: work(*given))


def ours(case: Case, frames: npt.NDArray[np.uint8] | None, clock: Clock) -> Run:
    """Track with sam2track; without frames the video of the case, as it is read."""
    import sam2track
    from sam2track.frames.opening import open_source
    from sam2track.frames.video import VideoFile
    from sam2track.tracking import conditioning, step
    from sam2track.tracking.encoder import Encoder

    model = load(case)
    source = open_source(case.video if frames is None else frames)
    shape, count = (source.height, source.width), case.frames + 1
    if len(source) < count:
        raise SystemExit(f"{source.name} has {len(source)} frames, not {count}")
    tracker = sam2track.Tracker(model, source)
    with contextlib.ExitStack() as stack:
        if case.parts:
            stack.enter_context(unrecorded())
        if case.video is not None and case.device == "cpu":  # elsewhere a thread reads ahead
            stack.enter_context(clock.iterated(VideoFile, "frames", "read"))
            stack.enter_context(clock.watched(Encoder, "fit", "read"))
        stack.enter_context(clock.watched(Encoder, "encode", "encode"))
        stack.enter_context(clock.watched(conditioning, "attend", "attend"))
        for name in ("decode", "remember", "filled"):
            stack.enter_context(clock.watched(step, name, name))
        for object_id, box in boxes(case, shape).items():
            tracker.prompt(object_id, 0, box=box)
        if case.again:
            for _ in tracker.propagate(stop=count):
                pass
            for object_id, point in clicks(case, shape).items():
                tracker.prompt(object_id, 0, points=[point])
        clock.start()
        for result in tracker.propagate(stop=count):
            clock.frame()
            yield np.asarray(result.masks)


def official(case: Case, frames: npt.NDArray[np.uint8], clock: Clock) -> Run:
    """Track with ``SAM2VideoPredictor``."""
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    yield from _official(case, frames, clock, SAM2VideoPredictor, lambda module: None)


def compiled(case: Case, frames: npt.NDArray[np.uint8], clock: Clock) -> Run:
    """Track with ``SAM2VideoPredictorVOS``, as ``vos_optimized=True`` gives it."""
    from sam2.sam2_video_predictor import SAM2VideoPredictorVOS

    def compile_parts(module: Any) -> None:
        module.compile_image_encoder = False
        module._compile_all_components()

    yield from _official(case, frames, clock, SAM2VideoPredictorVOS, compile_parts)


def _official(
    case: Case,
    frames: npt.NDArray[np.uint8],
    clock: Clock,
    predictor: type,
    ready: Callable[[Any], None],
) -> Run:
    import torch

    model = load(case)
    module = model.module
    images = _normalised(case, frames, model, clock).to(case.device)  # where init_state puts them
    # The predictor adds settings to SAM2Base, no weights.
    module.__class__ = predictor
    module.non_overlap_masks = False
    module.clear_non_cond_mem_around_input = False
    module.add_all_frames_to_correct_as_cond = True
    ready(module)
    height, width = shape = frames.shape[1:3]
    with (
        mock.patch(
            "sam2.sam2_video_predictor.load_video_frames", lambda **_: (images, height, width)
        ),
        mock.patch("sam2.sam2_video_predictor.tqdm", lambda order, **_: order),
        clock.watched(module, "forward_image", "encode"),
        clock.watched(module.memory_attention, "forward", "attend"),
        clock.watched(module.sam_mask_decoder, "forward", "decode"),
        clock.watched(module.memory_encoder, "forward", "remember"),
        torch.inference_mode(),
        _autocast(case),
    ):
        state = module.init_state("")
        for object_id, box in boxes(case, shape).items():
            module.add_new_points_or_box(state, 0, object_id, box=box)
        if case.again:
            for _ in module.propagate_in_video(state):
                pass
            for object_id, point in clicks(case, shape).items():
                module.add_new_points_or_box(
                    state, 0, object_id, points=[point], labels=[1], clear_old_points=False
                )
        clock.start()
        for _, _, logits in module.propagate_in_video(state):
            masks = (logits[:, 0] > 0).cpu().numpy()
            clock.frame()
            yield masks


def transformers(case: Case, frames: npt.NDArray[np.uint8], clock: Clock) -> Run:
    """Track with ``Sam2VideoModel``, with the same weights."""
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoModel
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    ours = load(case)
    images = _normalised(case, frames, ours, clock)
    config = Sam2VideoConfig(
        image_size=case.image_size,
        memory_attention_rope_feat_sizes=[case.image_size // 16] * 2,
        **_config(case),
    )
    model = Sam2VideoModel(config).eval()
    _give(model, ours.module.state_dict())
    model.to(case.device)
    height, width = shape = frames.shape[1:3]
    session = Sam2VideoInferenceSession(
        images.to(case.device),
        video_height=height,
        video_width=width,
        dtype=torch.float32,
        inference_device=case.device,
    )
    scale = torch.tensor([case.image_size / width, case.image_size / height] * 2)
    for object_id, box in boxes(case, shape).items():
        index = session.obj_id_to_idx(object_id)
        corners = (torch.tensor(box, dtype=torch.float32) * scale).view(1, 1, 2, 2)
        labels = torch.tensor([[[2, 3]]], dtype=torch.int32)
        session.add_point_inputs(
            index,
            0,
            {"point_coords": corners.to(case.device), "point_labels": labels.to(case.device)},
        )
        session.obj_with_new_inputs.append(object_id)
    with (
        clock.watched(model, "get_image_features", "encode"),
        clock.watched(model.memory_attention, "forward", "attend"),
        clock.watched(model.mask_decoder, "forward", "decode"),
        clock.watched(model.memory_encoder, "forward", "remember"),
        torch.inference_mode(),
        _autocast(case),
    ):
        model(session, frame_idx=0)
        clock.start()
        for out in model.propagate_in_video_iterator(session, 0):
            large = torch.nn.functional.interpolate(
                out.pred_masks.float(), (height, width), mode="bilinear", align_corners=False
            )
            masks = (large[:, 0] > 0).cpu().numpy()
            clock.frame()
            yield masks


def _config(case: Case) -> dict[str, Any]:
    from sam2track.models.architecture import ARCHITECTURES

    held = ARCHITECTURES[case.model]
    if held.mem_dim != 64:
        raise SystemExit(f"Transformers has memories of 64 channels alone, {case.model} others")
    dims = [held.embed_dim * 2**i for i in range(4)]
    backbone = {
        "hidden_size": held.embed_dim,
        "num_attention_heads": held.num_heads,
        "blocks_per_stage": list(held.stages),
        "embed_dim_per_stage": dims,
        "num_attention_heads_per_stage": [held.num_heads * 2**i for i in range(4)],
        "window_size_per_stage": list(held.window_spec),
        "global_attention_blocks": list(held.global_att_blocks),
        "window_positional_embedding_background_size": list(held.pos_embed_size),
        "image_size": [case.image_size] * 2,
        "model_type": "sam2_hiera_det_model",
    }
    grid = case.image_size // 4
    return {
        "vision_config": {
            "backbone_config": backbone,
            "backbone_channel_list": dims[::-1],
            "backbone_feature_sizes": [[grid] * 2, [grid // 2] * 2, [grid // 4] * 2],
            "model_type": "sam2_vision_model",
        },
        "prompt_encoder_config": {"image_size": case.image_size},
    }


def _give(model: Any, state: dict[str, Any]) -> None:
    """Give a ``Sam2VideoModel`` the tensors of Meta's names."""
    import torch

    from sam2track.models.renaming import meta_name

    held = model.state_dict()
    points = [state[f"sam_prompt_encoder.point_embeddings.{i}.weight"] for i in range(4)]
    for name in held:
        if name == "prompt_encoder.point_embed.weight":
            held[name] = torch.cat(points)
        elif name.endswith("shared_image_embedding.positional_embedding"):
            held[name] = state["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
        else:
            held[name] = state[meta_name(name)]
    model.load_state_dict(held)


RUNS: dict[str, Callable[[Case, Any, Clock], Run]] = {
    "ours": ours,
    "official": official,
    "official-compiled": compiled,
    "transformers": transformers,
}
