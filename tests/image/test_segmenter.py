"""One picture: kept features, what may be said of it, and pictures of every kind."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sam2track
from sam2track import ImageSegmenter, Prompt
from sam2track.errors import PromptError, SourceError, UsageError
from sam2track.frames.still import list_pictures, picture_of, read_picture
from tests.parity.oracle import SIZE, clip
from tests.tracking.known import computed, module

POINT, BOX = Prompt(points=((64, 60),)), Prompt(box=(30, 30, 70, 80))


def segmenter(**options: Any) -> ImageSegmenter:
    return ImageSegmenter(clip(5)[0], module(), **options)


def test_a_further_prompt_costs_the_decoder_alone() -> None:
    made = segmenter()
    with computed() as calls:
        first = made.segment(POINT)
        made.segment([BOX, BOX])
        made.segment(BOX, previous=first)
    assert calls == ["encoder", "decoder", "decoder", "decoder"]


def test_objects_go_through_the_decoder_in_batches() -> None:
    boxes = np.array([[i, i, i + 20, i + 30] for i in range(7)])
    with computed() as calls:
        small = segmenter(max_batch=3).segment(boxes)
    assert calls.count("decoder") == 3
    whole = segmenter().segment(boxes)
    assert np.allclose(small.logits, whole.logits, atol=3e-4)


def test_a_result_holds_what_the_contract_says() -> None:
    found = sam2track.segment(clip(5)[0], {4: POINT, 2: BOX}, module())
    assert found.object_ids == (2, 4) and found.sources == ("prompted", "prompted")
    assert found.masks.shape == (2, SIZE, SIZE) and found.labels.shape == (SIZE, SIZE)
    assert [len(c) for c in found.candidates] == [1, 3]
    assert found.candidate_masks(4).shape == (3, SIZE, SIZE)
    assert np.array_equal(found.candidate_masks(4)[0], found.masks[1])
    assert (np.diff(found.candidate_ious[1]) <= 0).all()
    with pytest.raises(UsageError, match="no object 3"):
        found.candidate_masks(3)


def test_some_of_a_result_are_whole() -> None:
    said = {1: POINT, 2: BOX}
    found = segmenter().segment(sam2track.Prompts({i: {0: p} for i, p in said.items()}, {1: "a"}))
    some = found.only([1])
    assert some.object_ids == (2,) and not some.names
    assert np.array_equal(some.candidate_masks(2), found.candidate_masks(2))
    assert np.array_equal(some.candidate_ious, found.candidate_ious[1:])
    assert found.only([0, 1]) is found and found.only([0]).names == {1: "a"}


def test_prompts_in_every_form(tmp_path: Path) -> None:
    made = segmenter()
    expected = made.segment(BOX).logits
    said = {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "box": BOX.box}]}]}
    for form in ([BOX], {1: BOX}, said, [BOX.box], np.array([BOX.box])):
        assert np.array_equal(made.segment(form).logits, expected)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ([], "nothing to look for"),
        ({}, "nothing to look for|version"),
        (Prompt(absent=True), "absent"),
        (Prompt(points=((500, 3),)), "outside the frame"),
        (Prompt(mask=np.ones((4, 4), bool)), "the mask is 4 x 4 pixels"),
        ({0: BOX}, "ids are positive"),
        (3, "cannot take boxes from int"),
    ],
)
def test_what_says_nothing_of_a_picture(prompts: Any, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        segmenter().segment(prompts)


def test_an_earlier_round_fits() -> None:
    made = segmenter()
    first = made.segment(POINT)
    with pytest.raises(PromptError, match="a mask and one of an earlier round"):
        made.segment(Prompt(mask=np.ones((SIZE, SIZE), bool)), previous=first)
    # Objects that it does not hold begin anew.
    assert np.array_equal(made.segment({3: BOX}, previous=first).logits, made.segment(BOX).logits)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((30, 40), np.uint8), ((30, 40, 1), np.uint16), ((30, 40, 4), np.float32)]
)
def test_arrays(shape: tuple[int, ...], dtype: Any) -> None:
    array = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    picture = picture_of(array)
    assert picture.shape == (30, 40, 3) and picture.dtype == np.uint8
    assert picture.min() < 20 and picture.max() > 180


@pytest.mark.parametrize("given", [np.zeros((5, 30, 40)), np.zeros((2, 9, 9, 3)), np.zeros(4)])
def test_stacks_are_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"is no single picture.*Tracker"):
        ImageSegmenter(given, module())


def test_what_is_no_picture() -> None:
    with pytest.raises(UsageError, match="cannot take a picture from int"):
        picture_of(7)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_files(tmp_path: Path, suffix: str) -> None:
    picture = clip(5)[0]
    Image.fromarray(picture).save(tmp_path / f"a.{suffix}")
    read = read_picture(tmp_path / f"a.{suffix}")
    assert read.shape == picture.shape
    assert np.abs(read.astype(int) - picture).mean() < 12


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_rotation(tmp_path: Path, suffix: str) -> None:
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, :20, 0] = 255  # red on the left as stored, on top once turned by 90 degrees
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(picture)
    stored.save(tmp_path / f"a.{suffix}", exif=exif)
    read = read_picture(tmp_path / f"a.{suffix}")
    assert read.shape == (40, 20, 3)
    assert read[5, 10, 0] > 200 and read[35, 10, 0] < 50
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert picture_of(image).shape == (40, 20, 3)


def test_deep_grey_and_palette_files(tmp_path: Path) -> None:
    deep = np.linspace(1000, 3000, 30 * 40).astype(np.uint16).reshape(30, 40)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    read = read_picture(tmp_path / "deep.png")
    assert read.shape == (30, 40, 3) and read.min() == 0 and read.max() == 255
    for held in (deep, deep.astype(np.int32), deep.astype(np.float32)):
        assert np.abs(picture_of(Image.fromarray(held)).astype(int) - read).max() <= 1
    palette = Image.frombytes("P", (6, 5), bytes([1] * 30))
    palette.putpalette([0, 0, 0, 10, 200, 30])
    palette.save(tmp_path / "p.png")
    assert read_picture(tmp_path / "p.png")[0, 0].tolist() == [10, 200, 30]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3000, 2)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    found = sam2track.segment(np.zeros(size, np.uint8), Prompt(points=((0, 0),)), module())
    assert found.masks.shape == (1, *size)


def test_a_large_picture() -> None:
    large = np.zeros((3000, 4000), np.uint8)
    found = sam2track.segment(large, Prompt(box=(10, 10, 4000, 3000)), module())
    assert found.masks.shape == (1, 3000, 4000)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no pictures"):
        list_pictures(tmp_path)
    with pytest.raises(SourceError, match="cannot be listed"):
        list_pictures(tmp_path / "none")
    for name in ("b10.png", "b9.JPG", ".hidden.png", "c.txt"):
        (tmp_path / name).touch()
    found, left_out = list_pictures(tmp_path)
    assert [path.name for path in found] == ["b9.JPG", "b10.png"]
    assert left_out == [f"left out of {tmp_path}, being no PNG, JPEG, BMP, TIFF or WebP: c.txt"]
    (tmp_path / "zarr.json").touch()
    with pytest.raises(UsageError, match="is a stack"):
        list_pictures(tmp_path)


@pytest.mark.parametrize("refine", [False, True])
def test_logits_go_in_again_within_limits(refine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SAM2ImagePredictor and SAM2AutomaticMaskGenerator have them."""
    made, given = segmenter(), []
    side = made.model.image_size // 4
    real = ImageSegmenter.decode

    def decode(self: Any, points: Any, dense: Any = None, *, candidates: bool) -> Any:
        masks, ious, scores = real(self, points, dense, candidates=candidates)
        given.append(dense)
        return 1000 * masks, ious, scores

    monkeypatch.setattr(ImageSegmenter, "decode", decode)
    if refine:
        made.everything(points_per_side=2, refine=True)
    else:
        first = made.segment(BOX)
        assert np.abs(first.logits).max() > 32
        made.segment(BOX, previous=first)
    assert given[0] is None and given[-1].shape[2:] == (side, side)
    assert given[-1].abs().max() == 32


def test_three_candidates_are_of_a_lone_point_alone() -> None:
    more = Prompt(points=((64, 60), (60, 60)))
    boxed = Prompt(points=((64, 60),), box=(30, 30, 70, 80))
    found = segmenter().segment([POINT, more, boxed, BOX])
    assert [len(c) for c in found.candidates] == [3, 1, 1, 1]


def test_boxes_end_at_the_edges_of_the_picture() -> None:
    made = ImageSegmenter(clip(5)[0][:40], module())
    beyond = made.segment(np.array([[30, 10, 500, 90]])).logits
    assert np.array_equal(beyond, made.segment(Prompt(box=(30, 10, SIZE, 40))).logits)


def test_features_of_a_model_without_memory_are_taken_as_they_are() -> None:
    """As SAM2ImagePredictor does where the model says so."""
    plain = copy.deepcopy(module())
    plain.directly_add_no_mem_embed = False
    made, other = segmenter(), ImageSegmenter(clip(5)[0], plain)
    assert np.abs(made.segment(BOX).logits - other.segment(BOX).logits).max() > 0.1


def test_an_earlier_round_is_a_result_of_this_picture() -> None:
    made = segmenter()
    first = made.segment(BOX)
    with pytest.raises(PromptError, match="give a result of the same model"):
        made.segment(BOX, previous=replace(first, logits=first.logits[:, ::2, ::2]))
    with pytest.raises(PromptError, match="the earlier round is ndarray"):
        made.segment(BOX, previous=first.logits)  # type: ignore[arg-type]
    other = ImageSegmenter(clip(5)[0][:40], made.model)
    with pytest.raises(PromptError, match=f"is of {SIZE} x {SIZE} pixels, .* has {SIZE} x 40"):
        other.segment(Prompt(box=(30, 10, 70, 30)), previous=first)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ([BOX, BOX.box], "is no prompt"),
        ([(1, 2, 3, 4), (1, 2, 3)], "boxes are not numbers"),
        (torch.ones(1, 4, requires_grad=True), "boxes are not numbers"),
    ],
)
def test_lists_that_are_neither_prompts_nor_boxes(prompts: Any, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        segmenter().segment(prompts)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_iou": float("nan")},
        {"min_iou": "high"},
        {"min_stability": None},
        {"duplicate_iou": float("inf")},
        {"points_per_side": 2.5},
        {"crop_layers": True},
        {"refine": "no"},
    ],
)
def test_settings_of_everything_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(settings))} "):
        segmenter().everything(**settings)


def test_whether_to_decode_three_is_a_truth() -> None:
    with pytest.raises(UsageError, match="multimask 'no'; give True or False"):
        segmenter().segment(Prompt(points=((5, 5),)), multimask="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((-5, 0, 20, 20), "no part of the picture"),
        ((0, 0, SIZE + 1, 20), "no part of the picture"),
        ((9, 0, 9, 20), "no part of the picture"),
        ((0.5, 0, 9, 20), "give a whole number"),
        ((0, 0, 9), "give x0, y0, x1, y1"),
        (5, "give x0, y0, x1, y1"),
    ],
)
def test_what_is_no_part_of_a_picture(box: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        segmenter().cropped(box)
