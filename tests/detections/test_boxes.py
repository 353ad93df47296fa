"""Boxes, whatever detector they come from, and which objects they lie on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from sam2track.detections import (
    Detections,
    as_detections,
    chosen,
    match,
    match_masks,
    packed,
    unpacked,
)
from sam2track.errors import ProjectError, PromptError
from sam2track.masks import Part

CAR = (10.0, 20.0, 60.0, 50.0)


@pytest.mark.parametrize("shape", [(2, 6, 8), (6, 8), (2, 6, 4)])
def test_masks_that_are_given_as_boxes(shape: tuple[int, ...]) -> None:
    with pytest.raises(PromptError, match=r"give \(N, 4\): .*; of masks Detections\(masks=masks"):
        as_detections(np.zeros(shape, np.bool_))
    with pytest.raises(PromptError, match=r"x0, y0, x1, y1$"):
        as_detections(np.zeros((9, 6)))


def test_an_array_has_boxes_alone() -> None:
    found = as_detections(np.array([CAR, (0, 0, 5, 5)]))
    assert found.boxes.tolist() == [list(CAR), [0, 0, 5, 5]]
    assert found.scores.tolist() == [1, 1] and found.names == ("", "")
    assert len(as_detections([])) == 0
    assert len(as_detections(np.zeros((0, 4)))) == 0
    assert as_detections(found) is found


def test_the_detections_of_supervision() -> None:
    given = SimpleNamespace(
        xyxy=np.array([CAR]),
        confidence=np.array([0.5]),
        class_id=np.array([2]),
        data={"class_name": np.array(["car"])},
    )
    found = as_detections(given)
    assert (found.names, found.scores.tolist()) == (("car",), [0.5])
    given.data = {}
    assert as_detections(given).names == ("2",)
    assert as_detections(given, class_names=["a", "b", "car"]).names == ("car",)
    assert as_detections(given, class_names={1: "a"}).names == ("2",)
    with pytest.raises(PromptError, match="give a list of names"):
        as_detections(given, class_names="car")
    assert chosen(given, [0], [(90, 90)], total=1, classes="car", class_names={2: "car"})[0].names
    given.class_id = given.confidence = None
    assert as_detections(given).names == ("",)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((2, 3)), "shape"),
        ([(5, 5, 5, 9)], "no area"),
        ([(0, 0, np.nan, 9)], "not finite"),
        ([("a", 0, 1, 1)], "not numbers"),
        ("boxes", "cannot take boxes from str"),
        (7, "cannot take boxes from int"),
    ],
)
def test_what_is_no_box_is_refused(given: object, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        as_detections(given)


def test_scores_and_names_fit_the_boxes() -> None:
    with pytest.raises(PromptError, match="1 boxes but 2 scores"):
        Detections([CAR], [0.1, 0.2])
    with pytest.raises(PromptError, match="2 names"):
        Detections([CAR], None, ("a", "b"))
    with pytest.raises(PromptError, match="a name is one line"):
        Detections([CAR], None, ("red\ncar",))


def test_boxes_are_selected_and_cut() -> None:
    found = Detections([CAR, (-5, -5, 5, 5), (200, 0, 210, 9)], [0.9, 0.2, 0.8], ("car", "a", "a"))
    assert found.selected(min_score=0.8).names == ("car", "a")
    assert found.selected(classes=["a"]).scores.tolist() == [0.2, 0.8]
    assert found.selected(classes="car, b").names == ("car",)
    assert found.selected(classes="cart").names == ()
    cut = found.clipped(40, 100)
    assert cut.boxes.tolist() == [[10, 20, 60, 40], [0, 0, 5, 5]]
    said = cut.prompts(first_id=4, frame=2)
    assert said.by_object[4][2].box == (10, 20, 60, 40)
    assert said.names == {4: "car", 5: "a"}


def test_each_box_finds_its_own_object() -> None:
    boxes = Detections([(0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60)])
    tracked = {3: (1, 0, 11, 10), 7: (80, 80, 90, 90)}
    # The first overlaps object 3 as well, but the second lies on it better.
    assert match(boxes, tracked, {}, min_iou=0.5) == [None, 3, None]
    assert match(boxes, {}, {}, min_iou=0.5) == [None] * 3
    assert match(Detections(np.zeros((0, 4))), tracked, {}, min_iou=0.5) == []


def test_least_overlap() -> None:
    boxes = Detections([(0, 0, 10, 10)])
    half = {1: (0, 0, 10, 5)}  # an intersection over union of exactly a half
    assert match(boxes, half, {}, min_iou=0.5) == [1]
    assert match(boxes, half, {}, min_iou=0.51) == [None]


def test_the_same_class_comes_first() -> None:
    rider = Detections([(0, 0, 10, 10), (0, 1, 10, 11)], None, ("person", "bicycle"))
    tracked = {1: (0, 1, 10, 11), 2: (0, 0, 10, 10)}
    assert match(rider, tracked, {1: "person", 2: "bicycle"}, min_iou=0.5) == [1, 2]
    # A class that was mistaken begins no second object.
    person = rider.only(np.array([True, False]))
    assert match(person, {2: (0, 0, 10, 10)}, {2: "dog"}, min_iou=0.5) == [2]


def test_what_a_detector_does_with_its_buffer_later_changes_nothing() -> None:
    boxes, scores = np.array([[1.0, 2, 3, 4]]), np.array([0.5])
    found = Detections(boxes, scores)
    boxes[:], scores[:] = 0, 0
    assert found.boxes.tolist() == [[1, 2, 3, 4]] and found.scores.tolist() == [0.5]


@pytest.mark.parametrize("names", ["ab", 5])
def test_names_of_boxes_are_several(names: Any) -> None:
    with pytest.raises(PromptError, match=r"names .*; give a list of names, one for each box"):
        Detections([[0, 0, 1, 1], [0, 0, 2, 2]], names=names)  # type: ignore[arg-type]


def test_a_box_without_a_name_has_none() -> None:
    assert Detections([[0, 0, 1, 1]], names=[None]).names == ("",)  # type: ignore[arg-type,list-item]


@pytest.mark.parametrize("keep", [[0], [True], np.array([1, 0]), [[True, False]]])
def test_boxes_are_chosen_by_truths(keep: Any) -> None:
    two = Detections([[0, 0, 1, 1], [0, 0, 2, 2]])  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="chooses among 2 boxes; give a bool for each"):
        two.only(keep)
    assert len(two.only([True, False])) == 1  # type: ignore[arg-type]


def square(y: int, x: int, side: int = 4) -> np.ndarray:
    mask = np.zeros((20, 30), np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


def test_masks_have_boxes_and_are_chosen_with_what_belongs_to_them() -> None:
    found = Detections(masks=np.stack([square(1, 2), square(9, 20)]), names=["a", "b"])
    assert found.boxes.tolist() == [[2, 1, 6, 5], [20, 9, 24, 13]]
    second = found.selected(classes="b").clipped(20, 30)
    assert second.masks is not None and len(second.masks) == 1
    said = second.prompts(first_id=7, frame=3)
    assert said.names == {7: "b"} and said.by_object[7][3].is_mask_alone
    assert np.array_equal(said.by_object[7][3].mask, square(9, 20))
    assert len(Detections(masks=[])) == 0
    with pytest.raises(PromptError, match="masks of 30 x 20 pixels; the frame has 20 x 30"):
        found.clipped(30, 20)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "neither boxes nor masks"),
        ({"boxes": [CAR], "masks": [square(0, 0)]}, "both boxes and masks"),
        ({"masks": [np.zeros((4, 4), bool)]}, "the mask is empty"),
        ({"masks": [square(0, 0), np.ones((4, 4), bool)]}, "all of one size"),
        ({"masks": [square(0, 0) * 0.5]}, "float64"),
        ({"masks": "masks"}, "masks 'masks'; give"),
        ({"masks": [square(0, 0)], "names": ["a", "b"]}, "2 names"),
    ],
)
def test_masks_that_cannot_be(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(PromptError, match=says):
        Detections(**wrong)


def test_masks_lie_where_they_share_pixels() -> None:
    """Rings around things have their boxes, and nothing else of them."""
    ring = square(4, 4, 10) & ~square(5, 5, 8)
    found = Detections(masks=[square(6, 6, 6), ring])
    tracked = {2: Part.of(ring), 5: Part.of(square(4, 7, 5))}  # 3 of its 5 rows, and 5 columns

    def lies(*places: dict[int, Part], least: float = 0.5) -> list[int | None]:
        return match_masks(found, places, {}, min_share=least)

    assert lies(tracked) == [5, 2]
    assert lies(tracked, least=0.6) == [5, 2]
    assert lies(tracked, least=0.61) == [None, 2]
    nothing = {3: Part.of(np.zeros((20, 30), np.bool_))}
    assert lies(nothing) == lies() == lies({}) == [None, None]
    # The closest of several places counts, and each object is found once.
    assert lies({1: Part.of(square(0, 20))}, {1: Part.of(square(6, 6, 6)), 3: Part.of(ring)}) == [
        1,
        3,
    ]
    assert lies({1: Part.of(square(6, 6, 6)), 3: Part.of(ring)}, {1: Part.of(square(0, 20))}) == [
        1,
        3,
    ]
    assert lies({4: Part.of(square(3, 3, 12))}) == [4, None]


@drawn(
    st.dictionaries(
        st.integers(0, 10**6),
        st.lists(st.tuples(st.integers(0, 15), st.integers(0, 25), st.integers(1, 9)), min_size=1),
        max_size=3,
    )
)
def test_stored_masks_come_back(where: dict[int, list[tuple[int, int, int]]]) -> None:
    given = {
        frame: Detections(masks=[square(*place) for place in places], names=["x"] * len(places))
        for frame, places in where.items()
    }
    back = unpacked(packed(given))
    assert back.keys() == given.keys()
    for frame, one in given.items():
        assert one.masks is not None and back[frame].masks is not None
        assert back[frame].names == one.names and len(back[frame].masks) == len(one.masks)
        for mask, same in zip(one.masks, back[frame].masks, strict=True):
            assert np.array_equal(mask.whole(), same.whole())


@pytest.mark.parametrize("code", ["", "?", "AAAA", "AQAAAAAUAAAAHg=="])
def test_stored_masks_that_are_damaged(code: str) -> None:
    with pytest.raises(ProjectError, match="the code of a mask"):
        unpacked({"0": [[code], [1.0], [""]]})
