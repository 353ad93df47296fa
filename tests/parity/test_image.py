"""The same masks as the official image predictor and mask generator, on the same tensor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.sam2_image_predictor import SAM2ImagePredictor

from sam2track import ImageSegmenter, load_model
from sam2track.prompts import Prompt
from sam2track.tracking.encoder import Encoder
from tests.parity.oracle import SIZE, clip, components, predictor

BOUND = 1e-4

PROMPTS = {
    "point": Prompt(points=((60, 50),)),
    "background": Prompt(points=((60, 50), (20, 110)), labels=(1, 0)),
    "box": Prompt(box=(30, 20, 90, 80)),
    "box+points": Prompt(box=(30, 20, 90, 80), points=((50, 50), (80, 30)), labels=(1, 0)),
}


@contextlib.contextmanager
def our_tensor(module: Any) -> Iterator[None]:
    """Let official code take what our encoder makes of a picture."""
    encoder = Encoder(load_model(module))

    def prepare(_self: Any, image: np.ndarray) -> torch.Tensor:
        return encoder.prepare(np.ascontiguousarray(image))[0]

    with (
        mock.patch("sam2.utils.transforms.SAM2Transforms.__call__", prepare),
        mock.patch("torch.jit.script", lambda part: part),  # which warns that it is deprecated
    ):
        yield


def fitted(official: SAM2ImagePredictor) -> SAM2ImagePredictor:
    """Tell a predictor of a small module's grid, which it takes to be that of 1024."""
    side = official.model.image_size
    official._bb_feat_sizes = [(side // n, side // n) for n in (4, 8, 16)]
    return official


def picture(height: int = SIZE, width: int = SIZE) -> np.ndarray:
    frame = clip(5)[2]
    return frame if (height, width) == (SIZE, SIZE) else cv2.resize(frame, (width, height))


@contextlib.contextmanager
def both(name: str, image: np.ndarray) -> Iterator[tuple[ImageSegmenter, SAM2ImagePredictor]]:
    module = predictor(name, False)
    with our_tensor(module):
        official = fitted(SAM2ImagePredictor(module))
        official.set_image(image)
        yield ImageSegmenter(image, module), official


def official_answer(
    official: SAM2ImagePredictor, prompt: Prompt, multimask: bool, earlier: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return official.predict(
        point_coords=np.array(prompt.points) if prompt.points else None,
        point_labels=np.array(prompt.labels) if prompt.points else None,
        box=np.array(prompt.box) if prompt.box else None,
        mask_input=earlier,
        multimask_output=multimask,
        return_logits=True,
    )


def compare(ours: Any, theirs: tuple[np.ndarray, np.ndarray, np.ndarray], index: int = 0) -> float:
    masks, ious, low = theirs
    order = np.argsort(-ious, kind="stable")
    candidates = ours.candidates[index]
    assert candidates.shape == low.shape
    assert np.allclose(ours.candidate_ious[index], ious[order], atol=BOUND)
    assert np.array_equal(ours.logits[index], candidates[0])
    large = ours.candidate_masks(ours.object_ids[index])
    near = np.abs(masks[order]) < 1e-3  # a pixel on the edge may fall on either side
    assert np.array_equal(large | near, (masks[order] > 0) | near)
    return float(np.abs(np.clip(candidates, -32, 32) - low[order]).max())


@pytest.mark.parametrize("name", ["tiny", "nano"])
@pytest.mark.parametrize("multimask", [True, False], ids=["three", "one"])
@pytest.mark.parametrize("kind", PROMPTS)
def test_masks_equal_those_of_the_image_predictor(name: str, multimask: bool, kind: str) -> None:
    with both(name, picture()) as (ours, official):
        theirs = official_answer(official, PROMPTS[kind], multimask)
        assert 0.02 < (theirs[0] > 0).mean() < 0.98, "the random module gives trivial masks"
        found = ours.segment(PROMPTS[kind], multimask=multimask)
        assert found.candidates[0].shape[0] == (3 if multimask else 1)
        assert compare(found, theirs) <= BOUND


@pytest.mark.parametrize("size", [(50, 90), (300, 211), (1, 1)])
def test_pictures_of_other_sizes(size: tuple[int, int]) -> None:
    image = picture(*size)
    prompt = Prompt(points=((size[1] / 2, size[0] / 3),))
    with both("nano", image) as (ours, official):
        theirs = official_answer(official, prompt, True)
        found = ours.segment(prompt)
        assert found.masks.shape == (1, *size)
        assert compare(found, theirs) <= BOUND


def test_several_boxes_in_one_pass() -> None:
    boxes = np.array([[10, 10, 60, 50], [30, 20, 90, 80], [70, 60, 127, 127.5]])
    calls = []
    with both("tiny", picture()) as (ours, official):
        theirs = official.predict(box=boxes, multimask_output=False, return_logits=True)
        hook = ours.model.module.sam_mask_decoder.register_forward_hook(lambda *_: calls.append(1))
        try:
            found = ours.segment(boxes)
        finally:
            hook.remove()
        assert len(calls) == 1
        assert found.object_ids == (1, 2, 3)
        for index in range(3):
            one = (theirs[0][index], theirs[1][index], theirs[2][index])
            assert compare(found, one, index) <= 3e-4


@pytest.mark.parametrize("kind", ["point", "box", "box+points"])
@pytest.mark.parametrize("multimask", [True, False], ids=["three", "one"])
def test_masks_of_an_earlier_round(kind: str, multimask: bool) -> None:
    with both("tiny", picture()) as (ours, official):
        _, ious, low = official_answer(official, PROMPTS["point"], True)
        first = ours.segment(PROMPTS["point"])
        best = int(ious.argmax())
        theirs = official_answer(official, PROMPTS[kind], multimask, low[best : best + 1])
        found = ours.segment(PROMPTS[kind], multimask=multimask, previous=first)
        assert compare(found, theirs) <= BOUND


def test_a_mask_alone() -> None:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    mask = (rows - 60) ** 2 + (columns - 50) ** 2 < 30**2
    with both("nano", picture()) as (ours, official):
        found = ours.segment(Prompt(mask=mask), multimask=False)
        grid = torch.nn.functional.interpolate(
            torch.from_numpy(mask)[None, None].float() * 20 - 10,
            (SIZE // 4, SIZE // 4),
            mode="bilinear",
            antialias=True,
        )
        theirs = official.predict(
            mask_input=grid[0].numpy(), multimask_output=False, return_logits=True
        )
        assert compare(found, theirs) <= BOUND


@pytest.mark.parametrize(
    ("size", "changed"),
    [
        ((SIZE, SIZE), {}),
        ((96, 150), {"min_iou": 0.0, "min_stability": 0.5}),
        ((150, 130), {"crop_layers": 1, "points_downscale": 2}),
        ((170, 230), {"crop_layers": 2, "points_downscale": 2, "duplicate_iou": 0.4}),
        ((SIZE, SIZE), {"refine": True}),
        ((150, 130), {"min_region_area": 9, "min_iou": 0.3}),
        (
            (150, 130),
            {"refine": True, "min_region_area": 4, "crop_layers": 1, "points_per_side": 3},
        ),
    ],
    ids=["plain", "unfiltered", "crops", "two layers", "refined", "tidied", "all of it"],
)
def test_everything_equals_the_automatic_mask_generator(
    size: tuple[int, int], changed: dict[str, Any]
) -> None:
    # Masks of a random module cover the whole picture, and only one of them is kept.
    module = load_model("nano", device="cpu", precision="fp32").module
    image = picture(*size)
    settings = {"points_per_side": 8, "min_iou": 0.5, "min_stability": 0.7, **changed}
    with (
        our_tensor(module),
        mock.patch("sam2.utils.misc.get_connected_components", components),
    ):
        official = SAM2AutomaticMaskGenerator(
            module,
            points_per_side=settings["points_per_side"],
            points_per_batch=7,
            pred_iou_thresh=settings["min_iou"],
            stability_score_thresh=settings["min_stability"],
            box_nms_thresh=settings.get("duplicate_iou", 0.7),
            crop_n_layers=settings.get("crop_layers", 0),
            crop_nms_thresh=settings.get("duplicate_iou", 0.7),
            crop_n_points_downscale_factor=settings.get("points_downscale", 1),
            use_m2m=settings.get("refine", False),
            min_mask_region_area=settings.get("min_region_area", 0),
        )
        fitted(official.predictor)
        expected = official.generate(image)
    found = ImageSegmenter(image, module, max_batch=7).everything(**settings)
    assert len(expected) > 3
    assert len(found) == len(expected)
    for mine, other in zip(found, expected, strict=True):
        assert (mine.mask != other["segmentation"]).sum() <= 2
        assert abs(mine.area - other["area"]) <= 2
        assert abs(mine.predicted_iou - other["predicted_iou"]) <= BOUND
        assert abs(mine.stability - other["stability_score"]) <= 1e-3
        assert np.allclose(mine.point, other["point_coords"][0], atol=1e-3)
        x, y, width, height = other["crop_box"]
        assert mine.crop == (x, y, x + width, y + height)
