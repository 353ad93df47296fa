"""What is most worth looking at comes first, and can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2track import review
from sam2track.confidence import Confidence
from sam2track.errors import SourceError, UsageError
from sam2track.footage import needed_footage, open_footage
from sam2track.palette import colour
from sam2track.project import Project
from tests.made import HEIGHT, WIDTH, disk, write_folder, write_project


@pytest.fixture
def project(tmp_path: Path):
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    one = {t: disk(20 + t, 30, 8) if t != 6 else nothing for t in range(10)}
    two = {t: disk(60, 30, 8) if t != 7 else disk(8, 8, 3) for t in range(10)}
    path = write_project(
        tmp_path / "p.s2t",
        {1: one, 2: two},
        source=write_folder(tmp_path / "frames", 10),
        names={2: "b"},
        said={(1, 6): (6.0, 0.3)},
    )
    with Project.open(path) as opened:
        yield opened


def test_the_worst_come_first(project: Project) -> None:
    looks = review.worst(project, count=4, gap=3)
    assert [(look.object_id, look.frame) for look in looks[:2]] == [(1, 6), (2, 7)]
    assert [look.confidence for look in looks] == sorted(look.confidence for look in looks)
    assert looks[1].name == "b" and looks[1].time == pytest.approx(7 / 25)
    assert looks[0].reason == "object score" and looks[1].reason in ("area", "jump")
    for i, look in enumerate(looks):
        for other in looks[:i]:
            assert look.object_id != other.object_id or abs(look.frame - other.frame) >= 3
    assert len(review.worst(project, count=500, gap=1)) == 20
    cells = dict(zip(review.COLUMNS, review.cells(2, looks[1]), strict=True))
    wanted = {"rank": "2", "frame": "7", "time_s": "0.280", "object": "2", "name": "b"}
    assert cells | wanted == cells


@pytest.mark.parametrize("wrong", [{"count": 0}, {"gap": 0}])
def test_refusals(project: Project, wrong) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        review.worst(project, **wrong)


def test_orders_of_objects_are_merged(project: Project) -> None:
    random = np.random.default_rng(0)
    sure = {
        i: Confidence(np.arange(10), random.random(10).astype(np.float32), np.zeros(10, np.uint8))
        for i in (1, 2)
    }
    found = review.worst_of(project, sure, count=20, gap=1)
    wanted = sorted((float(v), t, i) for i, k in sure.items() for t, v in enumerate(k.values))
    assert [(look.confidence, look.frame, look.object_id) for look in found] == wanted


def test_crops_show_the_object(project: Project) -> None:
    footage = open_footage(project)
    assert footage.problem == ""
    looks = review.worst(project, count=6, gap=2)
    pictures = review.crops(project, looks, footage.source, side=120)
    assert {picture.shape for picture in pictures} == {(120, 120, 3)}
    for look, picture in zip(looks, pictures, strict=True):
        tone = np.array(colour(look.object_id)) > 0
        line = (picture[..., tone] > 230).all(axis=2) & (picture[..., ~tone] < 40).all(axis=2)
        assert line.any() == project.masks(look.frame)[look.object_id].any(), look
    sheet = review.contact_sheet(looks, pictures, across=4)
    assert sheet.shape == (2 * (120 + 38 + 8), 4 * 128, 3)
    plain = review.crops(project, looks, None, side=50)
    assert (plain[1] == 90).all(axis=2).any()


def test_crops_go_on_where_a_frame_cannot_be_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_footage(project).source
    looks = review.worst(project, count=2, gap=2)
    whole, read = review.crops(project, looks, source), source.read

    def broken(frame):
        if frame == looks[0].frame:
            raise SourceError("it is gone")
        return read(frame)

    monkeypatch.setattr(source, "read", broken)
    pictures = review.crops(project, looks, source)
    assert np.array_equal(pictures[0], review.crops(project, looks, None)[0])
    assert np.array_equal(pictures[1], whole[1]) and looks[0].frame != looks[1].frame


def test_ranks_on_the_sheet_begin_at_1(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    monkeypatch.setattr("cv2.putText", lambda picture, text, *_: said.append(text))
    looks = review.worst(project, count=2)
    review.contact_sheet(looks, review.crops(project, looks, None))
    assert said[::2] == ["1. frame 6, 1", "2. frame 7, 2 b"]


def test_pictures_that_are_needed(project: Project, tmp_path: Path) -> None:
    source, problem = needed_footage(project)
    assert len(source) == 10 and problem == ""
    (tmp_path / "frames").rename(tmp_path / "moved")
    with pytest.raises(SourceError, match="--source"):
        needed_footage(project)
    assert needed_footage(project, tmp_path / "moved")[1] == ""


def test_a_break_in_a_name_is_a_space_on_the_sheet():
    def sheet(name):
        look = review.Look(3, 0.1, 1, name, 0.5, "jump")
        return review.contact_sheet([look], [np.zeros((200, 200, 3), np.uint8)])

    assert np.array_equal(sheet("a\nb\tc"), sheet("a b c"))
