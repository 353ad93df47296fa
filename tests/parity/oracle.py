"""The official predictor as an oracle: one state per object, fed with our own tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from unittest import mock

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from sam2.build_sam import build_sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor

from sam2track import load_model
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.prompts import Prompt
from sam2track.tracking.encoder import Encoder
from sam2track.training.scenes import TRAINING, draw_clip

SIZE = 128


@dataclass
class Seen:
    """One object on one frame."""

    logits: np.ndarray
    pointer: np.ndarray
    score: float
    close: bool  # a decision hung by less than 1e-4


def components(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Stand-in for sam2's CUDA kernel: 8-connected components and their areas."""
    labels = np.zeros(mask.shape, np.int64)
    areas = np.zeros(mask.shape, np.int64)
    for index in np.ndindex(*mask.shape[:2]):
        found, _ = scipy.ndimage.label(mask[index].cpu().numpy(), np.ones((3, 3)))
        labels[index], areas[index] = found, np.bincount(found.ravel())[found]
    return torch.from_numpy(labels).to(mask.device), torch.from_numpy(areas).to(mask.device)


def enliven(module: torch.nn.Module, seed: int, *, score_bias: float = 4.0) -> None:
    """Make random weights non-trivial, so that a wrong engine is seen to be wrong."""
    generator = torch.Generator().manual_seed(seed)
    decoder = module.sam_mask_decoder
    with torch.no_grad():
        decoder.pred_obj_score_head.layers[-1].bias.fill_(score_bias)
        for layer in module.memory_encoder.fuser.layers:
            layer.gamma.fill_(1.0)
        module.no_obj_embed_spatial.mul_(10)
        module.no_mem_embed.mul_(10)
        module.maskmem_tpos_enc.mul_(300)
        for network in decoder.output_hypernetworks_mlps:
            last = network.layers[-1]
            last.weight.mul_(6)
            last.bias.copy_(torch.randn(last.bias.shape, generator=generator))
        for part in decoder.output_upscaling:
            if isinstance(part, torch.nn.ConvTranspose2d):
                part.weight.mul_(3)


@cache
def predictor(name: str, postprocessing: bool, score_bias: float = 4.0) -> SAM2VideoPredictor:
    """A random official predictor that takes 128 x 128 frames."""
    torch.manual_seed(7)
    if name == "nano":
        module = build(ARCHITECTURES["nano"], image_size=SIZE, postprocessing=postprocessing)
        _make_official(module)
    else:
        module = build_sam2_video_predictor(
            "configs/sam2.1/sam2.1_hiera_t.yaml",
            device="cpu",
            apply_postprocessing=postprocessing,
            hydra_overrides_extra=[f"++model.image_size={SIZE}"],
        )
    module.add_all_frames_to_correct_as_cond = True
    # Holes of up to 8 cells on this grid, which is 32 wide and not 256.
    module.fill_hole_area = 8 * (1024 // SIZE) ** 2 if postprocessing else 0
    enliven(module, 3, score_bias=score_bias)
    return module.requires_grad_(False).eval()


def _make_official(module: torch.nn.Module) -> None:
    """Let modules be the official predictor, which adds settings to SAM2Base and no weights."""
    module.__class__ = SAM2VideoPredictor
    module.non_overlap_masks = False
    module.clear_non_cond_mem_around_input = False
    module.add_all_frames_to_correct_as_cond = True


@cache
def trained() -> SAM2VideoPredictor:
    """An official predictor with nano's own weights, for 128 x 128 frames."""
    module = load_model("nano", device="cpu", image_size=SIZE).module
    _make_official(module)
    module.fill_hole_area = 8 * (1024 // SIZE) ** 2
    return module


@cache
def clip(frames: int) -> np.ndarray:
    """Frames (T, 128, 128, 3) uint8, already of the model's size."""
    # Named, so that bounds are held to the same clips whatever nano learns from.
    names = ("cells", "clouds", "leaves", "nuclei", "signs")
    family = TRAINING[names[frames % len(names)]]
    return draw_clip(family, np.random.default_rng(frames), size=SIZE, times=range(frames)).frames


def batches_are_exact() -> bool:
    """Whether this processor's products and attention have the same digits in a batch as alone.

    Where they have not, no order of ours gives them.
    """
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def alike(work: Callable[..., torch.Tensor], *batches: torch.Tensor) -> bool:
        alone = [work(*(batch[i][None] for batch in batches)) for i in range(3)]
        return torch.equal(work(*batches), torch.cat(alone))

    return all(
        alike(partial(F.linear, weight=drawn(after, before)), drawn(3, rows, before))
        for rows, before, after in ((64, 128, 512), (64, 512, 128), (476, 32, 128), (8, 128, 64))
    ) and alike(
        F.scaled_dot_product_attention,
        drawn(3, 1, 64, 128),
        drawn(3, 1, 476, 128),
        drawn(3, 1, 476, 128),
    )


@contextlib.contextmanager
def patched(module: SAM2VideoPredictor, images: torch.Tensor) -> Iterator[None]:
    """Frames from a tensor, holes without CUDA, and no frame encoded twice."""
    kept: dict[bytes, Any] = {}
    official = module.forward_image

    def forward_image(image: torch.Tensor) -> Any:
        key = image[0, :, ::7, ::5].cpu().numpy().tobytes()
        if key not in kept:
            kept[key] = official(image)
        return {name: list(v) if isinstance(v, list) else v for name, v in kept[key].items()}

    from sam2.utils.misc import fill_holes_in_mask_scores

    def fill(mask: torch.Tensor, _area: int) -> torch.Tensor:
        return fill_holes_in_mask_scores(mask, 8)

    with (
        mock.patch(
            "sam2.sam2_video_predictor.load_video_frames",
            lambda **_: (images, SIZE, SIZE),
        ),
        mock.patch("sam2.utils.misc.get_connected_components", components),
        mock.patch("sam2.sam2_video_predictor.fill_holes_in_mask_scores", fill),
        mock.patch("sam2.sam2_video_predictor.tqdm", lambda order, **_: order),
        mock.patch.object(module, "forward_image", forward_image),
    ):
        yield


def seen_in(state: dict[str, Any], frame: int, gaps: list[float] | None = None) -> Seen:
    """What a state of one object holds of a frame."""
    kept = state["output_dict_per_obj"][0]
    out = kept["cond_frame_outputs"].get(frame) or kept["non_cond_frame_outputs"][frame]
    score = float(out["object_score_logits"])
    return Seen(
        out["pred_masks"][0, 0].float().cpu().numpy(),
        out["obj_ptr"][0].float().cpu().numpy(),
        score,
        abs(score) < 1e-4 or any(gap < 1e-4 for gap in gaps or ()),
    )


def official_run(
    module: SAM2VideoPredictor,
    frames: np.ndarray,
    prompts: dict[int, dict[int, Prompt]],
    *,
    backward: bool = False,
) -> dict[tuple[int, int], Seen]:
    """Run the official predictor, each object in a state of its own."""
    encoder = Encoder(load_model(module))
    images = torch.cat([encoder.prepare(frame) for frame in frames]).cpu()
    seen: dict[tuple[int, int], Seen] = {}
    gaps: list[float] = []

    def watch(_module: Any, _inputs: Any, outputs: Any) -> None:
        ious = outputs[1]
        if ious.shape[1] > 1:
            top = ious.topk(2, dim=1).values
            gaps.append(float((top[:, 0] - top[:, 1]).min()))

    hook = module.sam_mask_decoder.register_forward_hook(watch)
    try:
        with patched(module, images):
            for object_id, by_frame in prompts.items():
                state = module.init_state("")
                for frame, prompt in by_frame.items():
                    if prompt.mask is not None or prompt.absent:
                        mask = prompt.mask
                        mask = np.zeros((SIZE, SIZE), bool) if mask is None else mask
                        module.add_new_mask(state, frame, 1, mask)
                    else:
                        module.add_new_points_or_box(
                            state,
                            frame,
                            1,
                            points=prompt.points or None,
                            labels=prompt.labels or None,
                            box=prompt.box,
                        )
                start = max(by_frame) if backward else min(by_frame)
                gaps.clear()
                passes = module.propagate_in_video(state, start, reverse=backward)
                for frame, _, _ in passes:
                    seen[object_id, frame] = seen_in(state, frame, gaps)
                    gaps.clear()
                if backward and start == 0:  # official yields nothing here
                    seen[object_id, 0] = seen_in(state, 0)
    finally:
        hook.remove()
    return seen
