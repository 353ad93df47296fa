"""Pictures in, files out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sam2track.detections.plan
from sam2track.errors import PromptError
from sam2track.image import job
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


def test_a_broken_file_of_detections_is_one_error_at_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("[")
    monkeypatch.setattr(job, "load_model", lambda *_, **__: pytest.fail("loads a model"))
    with pytest.raises(PromptError, match=r"a\.json"):
        job.run([pictures], output=tmp_path / "out", detections=tmp_path / "a.json")
