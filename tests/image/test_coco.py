"""The COCO data set of one picture, read back by COCO's own tools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from sam2track.image.coco import dataset

# pycocotools has not followed numpy in how arrays are made.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


def test_masks_come_back() -> None:
    mask = np.zeros((30, 41), np.bool_)
    mask[3:20, 5:9] = mask[10:12, 30:] = True
    known = {"id": 3, "name": "", "area_px": int(mask.sum()), "box": (5, 3, 41, 20)}
    (found,) = dataset("a.png", 30, 41, [(mask, known)], {})["annotations"]
    assert (found["id"], found["bbox"], found["area"]) == (3, [5, 3, 36, 17], mask.sum())
    code = {**found["segmentation"], "counts": found["segmentation"]["counts"].encode()}
    assert np.array_equal(coco.decode(code).astype(bool), mask)


def test_categories_are_the_names() -> None:
    mask = np.ones((2, 2), np.bool_)
    names = ("dog", "", "ant", "dog")
    known = [{"id": i, "name": n, "area_px": 4, "box": (0, 0, 2, 2)} for i, n in enumerate(names)]
    content = dataset("a.png", 2, 2, [(mask, one) for one in known], {})
    called = {item["id"]: item["name"] for item in content["categories"]}
    assert [called[one["category_id"]] for one in content["annotations"]] == [
        *("dog", "object", "ant", "dog")
    ]


def test_a_picture_without_objects() -> None:
    content = dataset("a.png", 3, 4, [], {})
    assert content["annotations"] == [] and content["info"] == {"count": 0}
    assert content["categories"] == [{"id": 1, "name": "object"}]
