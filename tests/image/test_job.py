"""Pictures in, files out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sam2track.detections.plan
from sam2track.errors import PromptError, UsageError
from sam2track.image import job
from sam2track.image.segmenter import segment
from sam2track.prompts import Prompt, Prompts
from tests.tracking.known import module


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(folder / f"{number}.png")
    return folder


def test_a_file_of_detections_is_read_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [
        {"image_id": i, "category_id": 1, "bbox": [1, 1, 20, 20], "score": 0.9} for i in range(3)
    ]
    (tmp_path / "a.json").write_text(json.dumps(boxes))
    load, times = sam2track.detections.plan.load_detections, []

    def counted(*given: object, **options: object) -> object:
        times.append(given)
        return load(*given, **options)

    monkeypatch.setattr(sam2track.detections.plan, "load_detections", counted)
    done = job.run(
        [pictures],
        output=tmp_path / "out",
        model=module(),
        detections=tmp_path / "a.json",
        write=["json"],
    )
    assert [len(image["objects"]) for image in done.images] == [1, 1, 1]
    assert len(times) == 1


def test_what_is_said_of_every_picture_and_of_one_adds_up(pictures: Path, tmp_path: Path) -> None:
    every, second = Prompt(points=((9, 9),)), Prompt(box=(4, 4, 20, 20))
    done = []
    for said in (
        {1: {job.EVERY_PICTURE: every, 1: second}},
        {1: {0: every, 1: Prompt(points=((9, 9),), box=(4, 4, 20, 20)), 2: every}},
    ):
        out = tmp_path / str(len(done))
        made = job.run([pictures], Prompts(said), output=out, model=module(), write=["json"])
        done.append([image["objects"] for image in made.images])
    assert done[0] == done[1]


def test_detections_take_ids_behind_those_of_prompts(pictures: Path, tmp_path: Path) -> None:
    boxes = {i: np.array([[1, 1, 20, 20], [5, 5, 30, 30]]) for i in range(3)}
    said = Prompts({3: {job.EVERY_PICTURE: Prompt(points=((9, 9),))}})
    done = job.run(
        [pictures], said, output=tmp_path / "out", model=module(), detections=boxes, write=["json"]
    )
    assert [[item["id"] for item in image["objects"]] for image in done.images] == [[3, 4, 5]] * 3


def test_boxes_in_parts_of_the_picture(tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 64, 3), 90, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes/a.txt").write_text("0 0.5 0.5 0.5 0.6\n")  # YOLO's
    said = Prompts({1: {0: Prompt(box=(16, 6, 48, 24))}})
    found = []
    for options in ({"prompts": said}, {"detections": tmp_path / "boxes"}):
        out = tmp_path / str(len(found))
        done = job.run([tmp_path / "a.png"], output=out, model=module(), write=["json"], **options)
        found.append([item["area_px"] for item in done.images[0]["objects"]])
    assert found[0] == found[1] and found[0][0] > 0


def test_of_what_is_found_nothing_is_said(pictures: Path, tmp_path: Path) -> None:
    settings = {"points_per_side": 2, "min_iou": 0.0, "min_stability": 0.0}
    done = job.run([pictures / "0.png"], output=tmp_path, model=module(), everything=settings)
    assert done.images[0]["objects"] and "good enough" not in str(done.warnings)


def test_settings_of_everything_that_cannot_be_are_one_error_at_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of several pictures was read, and failed by itself with the same words."""
    monkeypatch.setattr(job, "load_model", lambda *_, **__: pytest.fail("loads a model"))
    with pytest.raises(UsageError, match="points_per_side 0; allowed are 1 to 1024"):
        job.run([pictures], output=tmp_path / "out", everything={"points_per_side": 0})


def test_an_object_of_which_nothing_is_said(pictures: Path, tmp_path: Path) -> None:
    """It was left out without a word where others are prompted."""
    said = Prompts({1: {job.EVERY_PICTURE: Prompt(points=((9, 9),))}, 2: {}})
    with pytest.raises(PromptError, match="object 2 has no prompt; say where it is"):
        job.run([pictures], said, output=tmp_path / "out", model=module())
    assert not (tmp_path / "out").exists()
    with pytest.raises(PromptError, match="object 2 has no prompt; say where it is"):
        segment(pictures / "0.png", Prompts({1: {0: Prompt(points=((9, 9),))}, 2: {}}), module())


def test_ids_that_fit_no_label_picture(pictures: Path, tmp_path: Path) -> None:
    said = Prompts({65536: {job.EVERY_PICTURE: Prompt(points=((9, 9),))}})
    with pytest.raises(PromptError, match="object 65536 does not fit"):
        job.run([pictures], said, output=tmp_path / "out", model=module())


def test_a_broken_file_of_detections_is_one_error_at_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("[")
    monkeypatch.setattr(job, "load_model", lambda *_, **__: pytest.fail("loads a model"))
    with pytest.raises(PromptError, match=r"a\.json"):
        job.run([pictures], output=tmp_path / "out", detections=tmp_path / "a.json")
