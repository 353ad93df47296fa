"""Whole jobs that begin with a detector's boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam2track.detections import Detections
from sam2track.errors import PromptError, SourceError, UsageError
from sam2track.job import run
from sam2track.outcome import Interrupted, Outcome
from sam2track.project import Project
from sam2track.prompts import Prompt, Prompts
from sam2track.replaying import replay
from sam2track.segmented import holds_masks
from sam2track.tracking.detected import place_of
from sam2track.tracking.tracker import Tracker
from tests.parity.oracle import clip
from tests.tracking.known import module

FRAMES = 8
ONE, TWO = [10, 10, 60, 50], [70, 60, 120, 120]


def go(folder: Path, prompts: Any = None, **options: Any) -> Outcome:
    return run(clip(FRAMES), prompts, output=folder, model=module(), write=[], **options)


def prompts_of(folder: Path) -> dict[int, dict[int, Any]]:
    with Project.open(folder / "project.s2t") as project:
        return {
            i: {f: prompt.box for f, prompt in frames.items()}
            for i, frames in project.prompts.by_object.items()
        }


def codes_of(folder: Path) -> dict[tuple[int, int], bytes]:
    with Project.open(folder / "project.s2t") as project:
        return {
            (t, i): np.packbits(mask).tobytes()
            for t in project.frames
            for i, mask in project.masks(t).items()
        }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "boxes.csv"
    rows = [
        (0, ONE, 0.9, "cell"),
        (0, TWO, 0.2, "dust"),
        (2, TWO, 0.9, "cell"),
        (4, [0, 0, 3, 3], 0.8, "dust"),
    ]
    text = "".join(f"{f},{','.join(map(str, b))},{s},{c}\n" for f, b, s, c in rows)
    path.write_text("frame,x0,y0,x1,y1,score,class\n" + text)
    return path


def test_the_boxes_of_one_frame(file: Path, tmp_path: Path) -> None:
    done = go(tmp_path / "a", detections=file)
    assert [(o["id"], o["name"], o["first"]) for o in done.objects] == [
        (1, "cell", 0),
        (2, "dust", 0),
    ]
    assert done.counts == {"cell": 1, "dust": 1}
    assert prompts_of(tmp_path / "a") == {1: {0: tuple(ONE)}, 2: {0: tuple(TWO)}}
    done = go(tmp_path / "b", detections=file, detections_frame=2)
    assert prompts_of(tmp_path / "b") == {1: {2: tuple(TWO)}}
    go(tmp_path / "c", detections=file, min_score=0.5)
    assert prompts_of(tmp_path / "c") == {1: {0: tuple(ONE)}}
    go(tmp_path / "d", detections=file, classes=["dust"])
    assert prompts_of(tmp_path / "d") == {1: {0: tuple(TWO)}}


def test_beside_prompts_of_a_person(file: Path, tmp_path: Path) -> None:
    said = Prompts({3: {1: Prompt(points=((64, 60),))}}, {3: "mine"})
    done = go(tmp_path / "a", said, detections=Detections([TWO], names=["cell"]))
    assert [(o["id"], o["name"]) for o in done.objects] == [(3, "mine"), (4, "cell")]
    assert sorted(said.by_object) == [3] and said.names == {3: "mine"}  # as it was given


def every_second(folder: Path, file: Path, **options: Any) -> Outcome:
    return go(folder, detections=file, detections_every=2, min_score=0.5, **options)


def test_boxes_of_every_second_frame(file: Path, tmp_path: Path) -> None:
    done = every_second(tmp_path / "a", file)
    assert done.counts["cell"] >= 1 and done.counts["dust"] == 1
    found = prompts_of(tmp_path / "a")
    assert found[1][0] == tuple(ONE)
    # Frame 2's lies on object 1, as tracked, or begins one; so does that of frame 4.
    boxes = sorted((f, box) for frames in found.values() for f, box in frames.items())
    assert boxes == [(0, tuple(ONE)), (2, tuple(TWO)), (4, (0, 0, 3, 3))]
    with Project.open(tmp_path / "a" / "project.s2t") as project:
        assert project.frames == tuple(range(FRAMES))
        assert project.masks(0).keys() == set(found)  # the later ones were run backward, too


def test_a_box_on_a_tracked_object_refreshes_it(tmp_path: Path) -> None:
    first = go(tmp_path / "a", detections=[ONE])
    assert first.counts == {"": 1}
    with Project.open(tmp_path / "a" / "project.s2t") as project:
        tracked = place_of(project.masks(4)[1])
    assert tracked is not None
    done = go(tmp_path / "b", detections={0: [ONE], 4: [tracked]}, detections_every=4)
    assert [o["id"] for o in done.objects] == [1]
    assert prompts_of(tmp_path / "b") == {1: {0: tuple(ONE), 4: tracked}}


def test_every_so_many_frames_are_counted_from_the_start(tmp_path: Path) -> None:
    go(tmp_path / "a", detections={1: [ONE], 2: [TWO]}, detections_every=2, start=1, stop=4)
    assert prompts_of(tmp_path / "a") == {1: {1: tuple(ONE)}}


def test_a_replay_is_equal(file: Path, tmp_path: Path) -> None:
    every_second(tmp_path / "a", file)
    replay(tmp_path / "a", output=tmp_path / "b", source=clip(FRAMES), model=module(), write=[])
    assert codes_of(tmp_path / "b") == codes_of(tmp_path / "a")


@pytest.mark.parametrize("at", [1, 3, 6])
@pytest.mark.parametrize("again", [True, False], ids=["given again", "stored"])
def test_an_interrupted_job_goes_on(file: Path, tmp_path: Path, at: int, again: bool) -> None:
    every_second(tmp_path / "whole", file, direction="forward")

    def stop(progress: Any) -> None:
        if progress.done == at:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        every_second(tmp_path / "cut", file, direction="forward", progress=stop)
    if again:
        every_second(tmp_path / "cut", file, direction="forward", resume=True)
    else:
        go(tmp_path / "cut", direction="forward", resume=True)
    assert prompts_of(tmp_path / "cut") == prompts_of(tmp_path / "whole")
    assert codes_of(tmp_path / "cut") == codes_of(tmp_path / "whole")


def test_boxes_of_objects_that_a_person_deleted_do_not_come_back(
    file: Path, tmp_path: Path
) -> None:
    """Boxes are taken once, and what was corrected since stays when a job goes on."""
    every_second(tmp_path / "a", file)
    with Project.open(tmp_path / "a" / "project.s2t", writable=True) as project:
        Tracker(module(), clip(FRAMES), history=project).remove(1)
        left = project.objects
    every_second(tmp_path / "a", file, resume=True)
    go(tmp_path / "a", resume=True)
    with Project.open(tmp_path / "a" / "project.s2t") as project:
        assert project.objects == left and project.meta["detected"] == [0, 2, 4]


def test_objects_that_are_deleted_after_an_interruption_do_not_come_back(
    file: Path, tmp_path: Path
) -> None:
    def stop(told: Any) -> None:
        if told.done == 2:  # frames 0 and 1, on the way to the boxes of frame 2
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        go(tmp_path / "a", detections=file, detections_every=2, progress=stop)
    with Project.open(tmp_path / "a" / "project.s2t", writable=True) as project:
        assert project.meta["detected"] == [0]
        Tracker(module(), clip(FRAMES), history=project).remove(1)
    go(tmp_path / "a", resume=True)
    with Project.open(tmp_path / "a" / "project.s2t") as project:
        assert project.meta["detected"] == [0, 2, 4]
    assert [i for i, frames in prompts_of(tmp_path / "a").items() if 0 in frames] == [2]


def test_other_detections_are_no_resumption(file: Path, tmp_path: Path) -> None:
    every_second(tmp_path / "a", file)
    with pytest.raises(UsageError, match="made with other detections"):
        go(tmp_path / "a", detections=file, detections_every=4, min_score=0.5, resume=True)
    said = Prompts({9: {0: Prompt(points=((64, 60),))}})
    with pytest.raises(UsageError, match="made with other prompts: object 9"):
        every_second(tmp_path / "a", file, prompts=said, resume=True)
    assert every_second(tmp_path / "a", file, resume=True).frames_computed == 0
    every_second(tmp_path / "b", file, prompts=said)
    assert every_second(tmp_path / "b", file, prompts=said, resume=True).frames_computed == 0
    said.add(9, 3, Prompt(points=((60, 64),)))
    with pytest.raises(UsageError, match="made with other prompts: object 9"):
        every_second(tmp_path / "b", file, prompts=said, resume=True)


@pytest.fixture
def wrong(file: Path) -> Iterator[dict[str, Any]]:
    yield {
        "both": {"detections": file, "detections_frame": 0, "detections_every": 2},
        "beyond": {"detections": file, "detections_frame": FRAMES},
        "half": {"detections": file, "detections_every": 1.5},
        "no number": {"detections": file, "min_score": "high"},
        "not a score": {"detections": file, "min_score": float("nan")},
        "no classes": {"detections": file, "classes": 5},
        "no names": {"detections": file, "class_names": 5},
        "never": {"detections": file, "detections_every": 0},
        "backward": {"detections": file, "detections_every": 2, "direction": "backward"},
        "none there": {"detections": file, "detections_frame": 3},
        "none good": {"detections": file, "min_score": 2.0},
        "no class": {"detections": file, "classes": ["cat"]},
        "without": {"detections_every": 2},
        "empty": {"detections": []},
        "score of none": {"min_score": 0.5},
        "classes of none": {"classes": ["cat"]},
    }


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("both", "not both"),
        ("beyond", "has 8 frames"),
        ("half", "so many frames 1.5; give a whole number"),
        ("no number", "min_score 'high'; give a number"),
        ("not a score", "min_score nan; give a number"),
        ("no classes", "classes 5; give a list of names"),
        ("no names", "class names 5; give a list of names, or a dict"),
        ("never", "every 0 frames"),
        ("backward", "forward, or both"),
        ("none there", "no detections on frame 3"),
        ("none good", "no detections on frame 0"),
        ("no class", "no class 'cat'; it has cell, dust"),
        ("without", "but no detections"),
        ("empty", "no detections on frame 0"),
        ("score of none", "choose among detections"),
        ("classes of none", "choose among detections"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    wrong: dict[str, Any], which: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises((UsageError, PromptError), match=says):
        go(tmp_path / "out", **wrong[which])
    assert not (tmp_path / "out").exists()


def test_what_is_stored_is_json(file: Path, tmp_path: Path) -> None:
    every_second(tmp_path / "a", file)
    with Project.open(tmp_path / "a" / "project.s2t") as project:
        stored = project.meta["detections"]
    assert json.loads(json.dumps(stored)) == stored
    assert sorted(stored["frames"]) == ["0", "2", "4"] and stored["by_hand"] == []


def test_classes_may_be_a_text_and_their_names_may_not(file: Path, tmp_path: Path) -> None:
    go(tmp_path / "a", detections=file, classes="cell,dust")
    assert list(prompts_of(tmp_path / "a")) == [1, 2]
    with pytest.raises(PromptError, match="no class 'cel'"):
        go(tmp_path / "b", detections=file, classes="cel")
    with pytest.raises(PromptError, match="give a list of names"):
        go(tmp_path / "b", detections=file, class_names="cell,dust")


@pytest.mark.parametrize("frame", [99, -3, "3", 1.5])
def test_boxes_by_what_is_no_frame_are_refused(tmp_path: Path, frame: Any) -> None:
    with pytest.raises(PromptError, match=f"detections of frame {frame!r}, .* frames 0 to 7"):
        go(tmp_path, detections={0: [ONE], frame: [TWO]}, detections_every=2)


def test_boxes_beyond_the_range_are_left_out(tmp_path: Path) -> None:
    go(tmp_path, detections={np.int64(0): [ONE], 7: [TWO]}, detections_every=1, stop=4)
    assert list(prompts_of(tmp_path)) == [1]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A stack of label maps: two things on frame 0, others with other numbers on frame 4."""
    stack = np.zeros((FRAMES, 128, 128), np.uint16)
    stack[0, 10:50, 10:60], stack[0, 60:120, 70:120] = 9, 4
    stack[4, 2:6, 2:6] = 300
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, stack, photometric="minisblack")
    return path


def masks_of(folder: Path, frame: int) -> dict[int, Any]:
    with Project.open(folder / "project.s2t") as project:
        said = project.prompts.by_object.items()
        return {i: frames[frame].mask for i, frames in said if frame in frames}


def test_label_maps_of_one_frame(labels: Path, tmp_path: Path) -> None:
    done = go(tmp_path / "a", detections=labels)
    assert [(o["id"], o["name"], o["first"]) for o in done.objects] == [(1, "", 0), (2, "", 0)]
    stack = tifffile.imread(labels)
    found = masks_of(tmp_path / "a", 0)
    assert np.array_equal(found[1], stack[0] == 4) and np.array_equal(found[2], stack[0] == 9)
    go(tmp_path / "b", detections=labels, detections_frame=4)
    assert np.array_equal(masks_of(tmp_path / "b", 4)[1], stack[4] == 300)


def test_label_maps_of_every_fourth_frame(labels: Path, tmp_path: Path) -> None:
    every = {"detections": labels, "detections_every": 4}
    go(tmp_path / "a", **every)
    found = masks_of(tmp_path / "a", 4)
    assert len(found) == 1 and next(iter(found.values())).sum() == 16

    def stop(progress: Any) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        go(tmp_path / "b", progress=stop, **every)
    go(tmp_path / "b", resume=True, **every)
    assert prompts_of(tmp_path / "b") == prompts_of(tmp_path / "a")
    assert codes_of(tmp_path / "b") == codes_of(tmp_path / "a")
    stack = tifffile.imread(labels)
    stack[4, 3, 3] = 0
    tifffile.imwrite(labels, stack, photometric="minisblack")
    with pytest.raises(UsageError, match="made with other detections"):
        go(tmp_path / "a", resume=True, **every)
    replay(tmp_path / "a", output=tmp_path / "c", source=clip(FRAMES), model=module(), write=[])
    assert codes_of(tmp_path / "c") == codes_of(tmp_path / "a")


def test_label_maps_by_the_names_of_pictures(tmp_path: Path) -> None:
    """As Cellpose leaves them, beside the pictures."""
    for number, picture in enumerate(clip(3), start=7):
        labels = np.zeros((128, 128), np.uint16)
        labels[10:30, 10 : 30 + number] = number
        Image.fromarray(picture).save(tmp_path / f"cell_{number:03d}.png")
        Image.fromarray(labels).save(tmp_path / f"cell_{number:03d}_cp_masks.png")
    done = run(
        tmp_path,
        output=tmp_path / "out",
        model=module(),
        write=[],
        detections=tmp_path,
        detections_every=2,
    )
    assert done.frames == 3
    assert [w for w in done.warnings if "cell_007_cp_masks.png, cell_008" in w]
    with Project.open(tmp_path / "out" / "project.s2t") as project:
        assert [*project.prompts.by_object] == [1]
        assert {f: p.mask.sum() for f, p in project.prompts.by_object[1].items()}[0] == 20 * 27


@pytest.mark.parametrize(
    ("shape", "says"),
    [((FRAMES, 64, 128), "masks of 128 x 64 pixels"), ((FRAMES + 1, 128, 128), "frame 8, ")],
)
def test_label_maps_of_something_else(tmp_path: Path, shape: Any, says: str) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape, np.uint8))
    with pytest.raises(UsageError, match=says):
        go(tmp_path / "out", detections=tmp_path / "a.npy")
    assert not (tmp_path / "out").exists()


def test_a_stack_is_no_label_maps_of_itself(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 64, 64), np.uint8))
    said: Any = {"model": module(), "write": [], "detections": tmp_path / "a.npy"}
    with pytest.raises(PromptError, match="the source itself"):
        run(tmp_path / "a.npy", output=tmp_path / "out", **said)


def test_texts_beside_label_maps_are_no_boxes_unless_they_are_named_as_such(tmp_path: Path) -> None:
    for name in ("a.tif", "a_cp_masks.tif", "a_cp_outlines.txt", "metadata.txt"):
        (tmp_path / name).touch()
    assert holds_masks(tmp_path)
    (tmp_path / "a.txt").touch()
    assert not holds_masks(tmp_path)
    (tmp_path / "a_cp_masks.tif").unlink()
    assert not holds_masks(tmp_path)


def test_what_holds_neither_boxes_nor_label_maps(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.md").touch()
    with pytest.raises(PromptError, match="neither boxes"):
        go(tmp_path / "out", detections=tmp_path / "a")
    with pytest.raises(PromptError, match="of a video label maps, too"):
        go(tmp_path / "out", detections=tmp_path / "a" / "notes.md")
    np.save(tmp_path / "b.npy", np.zeros((FRAMES, 128, 128), np.uint8))
    with pytest.raises(PromptError, match="no detections on frame 0"):
        go(tmp_path / "out", detections=tmp_path / "b.npy")


def test_label_maps_of_whole_pictures_are_cut_where_these_are(labels: Path, tmp_path: Path) -> None:
    go(tmp_path / "a", detections=labels, crop=(0, 40, 64, 104))
    whole = tifffile.imread(labels)[0, 40:104, :64]
    found = masks_of(tmp_path / "a", 0)
    assert np.array_equal(found[1], whole == 9) and list(found) == [1]
    stack = np.zeros((FRAMES, 64, 64), np.uint8)
    stack[0, 3:30, 4:40] = 1
    np.save(tmp_path / "cut.npy", stack)
    go(tmp_path / "b", detections=tmp_path / "cut.npy", crop=(0, 40, 64, 104))
    assert np.array_equal(masks_of(tmp_path / "b", 0)[1], stack[0] == 1)


@pytest.mark.parametrize("option", [{"min_score": 0.5}, {"class_names": ["cell"]}])
def test_label_maps_have_no_scores_and_no_classes(
    labels: Path, tmp_path: Path, option: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="have no scores and no numbers of classes"):
        go(tmp_path, detections=labels, **option)
    with pytest.raises(SourceError, match="nothing at"):
        go(tmp_path, detections=tmp_path / "gone.tif")
