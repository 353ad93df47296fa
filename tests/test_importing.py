"""Masks of other tools become a project that can be corrected."""

from __future__ import annotations

import json
import re
import shutil
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file

from sam2track.errors import ProjectError, ProjectExistsError, SourceError, UsageError
from sam2track.export import ctc
from sam2track.export.tiffs import write_tiff
from sam2track.importing import _shrunk, import_masks
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.models.loading import load_model
from sam2track.project import Project
from sam2track.replaying import replay
from sam2track.tracking.tracker import Tracker
from tests.export.known import FRAMES, HEIGHT, WIDTH, apart, masks, project

OVERLAPPING = {"coco", "npz", "trackmate", "ytvis"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """One of random weights on a small square."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    torch.manual_seed(0)
    save_file(build(ARCHITECTURES["nano"]).state_dict(), path)
    return load_model(path, device="cpu", precision="fp32", image_size=64)


IMPORTED = (
    *("davis", "ctc", "coco", "geff", "labels-tiff"),
    *("npz", "mots", "ome-zarr", "trackmate", "ytvis"),
)
WITH_LINEAGE = ("ctc", "geff", "npz", "trackmate")


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with masks in each of the formats."""
    folder = tmp_path_factory.mktemp("given")
    with Project.open(project(folder / "p.s2t")) as opened:
        for name in IMPORTED:
            opened.export(folder / name, format=name)
    return folder


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("4 0 3", None),  # of no parent
        ("4 0", "line 2 is '4 0'; it holds the label of a track, its first"),
        ("4 0 3 0 9", "line 2 is '4 0 3 0 9'"),
        ("4 0 three 0", "line 2 is '4 0 three 0'"),
        ("4 3 0 0", "line 2 is '4 3 0 0'"),
        ("4 -1 3 0", "line 2 is '4 -1 3 0'"),
        ("0 0 3 0", "line 2 is '0 0 3 0'"),
        ("4 0 3 -2", "line 2 is '4 0 3 -2'"),
        ("1 0 3 0", "line 2: track 1 is there already"),
        ("4 0 3 7", "track 4 is said to come of 7, and there is no track 7; 0 says"),
        ("4 1 3 1", "track 4 begins before its parent 1 ends"),
    ],
)
def test_lines_of_ctc_are_checked(line, said, tmp_path):
    (tmp_path / "res_track.txt").write_text(f"1 0 2 0\n{line}\n")
    write_tiff(tmp_path / "mask000.tif", np.ones((4, 6), np.uint16))
    if said is None:
        assert list(ctc.read(tmp_path, "ctc").shots()) != []
        return
    with pytest.raises(SourceError, match=re.escape(said)):
        ctc.read(tmp_path, "ctc")


def test_objects_of_one_class_of_yolo_are_said_to_be_one(given, clip, model, tmp_path):
    with Project.open(given / "p.s2t") as opened:
        opened.export(tmp_path / "yolo", format="yolo-seg", images=False)
    done = import_masks(tmp_path / "yolo", tmp_path / "a.s2t", source=clip, model=model)
    (said,) = (text for text in done.warnings if "yolo" in text)
    assert "which object is which: all of one class are one object here" in said
    assert "those of class 1 on frame" in said


@pytest.mark.parametrize("name", IMPORTED)
def test_masks_come_in_as_they_are(given, clip, model, tmp_path, name):
    done = import_masks(given / name, tmp_path / "a.s2t", source=clip, format=name, model=model)
    assert (done.objects, done.frames, done.warnings) == ((1, 2, 3, 4, 5, 7), FRAMES, ())
    assert [p.name for p in tmp_path.iterdir()] == ["a.s2t"]
    with Project.open(tmp_path / "a.s2t") as opened:
        opened.check()  # no model has seen most masks, which is no damage
        begun: set[int] = set()
        for frame, here in enumerate(masks()):
            expected = here if name in OVERLAPPING else apart(here)
            begun |= {i for i, mask in expected.items() if mask.any()}
            found = opened.masks(frame)
            if name in WITH_LINEAGE and frame >= 5:  # whose lineage says that 4 has divided
                assert 4 not in found
            assert set(found) <= begun
            for i in begun:
                none = np.zeros((HEIGHT, WIDTH), bool)
                assert np.array_equal(found.get(i, none), expected.get(i, none)), (frame, i)
        assert opened.lineage == ({5: 4, 7: 4} if name in WITH_LINEAGE else {})
        if name in ("coco", "npz", "ytvis"):
            assert (opened.names[1], opened.names[3]) == ('a "cell"', "")
        assert {row.source for row in opened.rows()} == {"edited"}
        assert [step["action"] for step in opened.journal()] == ["import"]


def test_what_the_source_says_is_said(given, model, tmp_path):
    path = tmp_path / "plate.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for name in "AB":
            told = {"axes": "TYX", "Name": name}
            file.write(np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8), metadata=told)
    done = import_masks(given / "ctc", tmp_path / "a.s2t", source=path, model=model)
    assert done.warnings == (
        "it holds 2 series of pictures (A, B); the first is taken; key (--key) chooses",
    )


@pytest.mark.parametrize("kind", ["labels-tiff", "ctc"])
def test_memory_does_not_grow_with_the_objects_of_a_frame(model, tmp_path, kind):
    """A mask of each of a thousand cells in 2048 x 2048 pixels takes four gigabytes."""
    side = 1024
    picture = np.zeros((1, side, side, 3), np.uint8)
    peaks = []
    for count in (16, 16, 128):  # the first loads what all of them need
        labels = np.zeros((side, side), np.uint16)
        for i in range(count):
            y, x = divmod(i, 12)
            labels[80 * y : 80 * y + 40, 80 * x : 80 * x + 40] = i + 1
        given = tmp_path / f"{len(peaks)}"
        given.mkdir()
        tifffile.imwrite(given / "mask000.tif", labels)
        tifffile.imwrite(given / "labels.tif", labels)
        masks = given if kind == "ctc" else given / "labels.tif"
        if kind == "ctc":  # all but the first are a label that goes on under another number
            (given / "labels.tif").unlink()
            ends = "".join(f"{1000 + i} 0 0 0\n{i} 1 1 {1000 + i}\n" for i in range(2, count + 1))
            (given / "res_track.txt").write_text(f"1 0 1 0\n{ends}")
        tracemalloc.start()
        done = import_masks(masks, given / "p.s2t", source=picture, format=kind, model=model)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(done.objects) == count
    assert peaks[2] < 1.5 * peaks[1]


@pytest.mark.parametrize("size", [(64, 64), (128, 192), (240, 320), (96, 128), (40, 50), (33, 64)])
def test_of_a_mask_its_surroundings_are_shrunk(size, monkeypatch) -> None:
    """Whole ones of 1024 x 1024 took a third of the time of an import."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[0], : size[1]]
    whole = cv2.resize
    for side in (16, 32):
        shrunk: list[int] = []

        def resize(part, *given, shrunk=shrunk, **how):
            shrunk.append(part.size)
            return whole(part, *given, **how)

        monkeypatch.setattr(cv2, "resize", resize)
        for radius in (0, 0.5, 3, 9, 200):
            y, x = rng.uniform(0, size[0]), rng.uniform(0, size[1])
            for share in (1.0, 0.5):
                mask = (np.hypot(rows - y, columns - x) < radius) & (rng.random(size) < share)
                once = (side, side)
                wanted = whole(mask.astype(np.float32), once, interpolation=cv2.INTER_AREA)
                assert np.array_equal(_shrunk(mask, side), wanted)
        even = not size[0] % side and not size[1] % side
        assert (min(shrunk) < rows.size // 8) == even


def test_a_correction_is_tracked_on_from_there(given, clip, model, tmp_path):
    import_masks(given / "davis", tmp_path / "a.s2t", source=clip, model=model)
    with Project.open(tmp_path / "a.s2t", writable=True) as opened:
        before = {t: opened.masks(t) for t in range(FRAMES)}
        tracker = Tracker(model, clip, history=opened)
        assert list(tracker.propagate()) == []  # nothing is to be run
        assert all(
            np.array_equal(m, before[t][i]) for t in before for i, m in opened.masks(t).items()
        )
        painted = np.zeros((HEIGHT, WIDTH), bool)
        painted[12:30, 20:45] = True
        tracker.edit(1, 4, painted)
        assert [result.frame for result in tracker.propagate()] == [4, 5, 6, 7, 8]
        for t in range(FRAMES):
            after = opened.masks(t)
            for i, mask in before[t].items():
                if i != 1 or t < 4:
                    assert np.array_equal(after[i], mask), (t, i)
        assert np.array_equal(opened.masks(4)[1], painted)
        sources = {row.frame: row.source for row in opened.rows() if row.object_id == 1}
        assert [sources[t] for t in range(FRAMES)] == ["edited"] * 5 + ["forward"] * 4
        tracker.undo()
        tracker.undo()
        assert np.array_equal(opened.masks(4)[1], before[4][1])
        assert np.array_equal(opened.masks(8)[1], before[8][1])
        # A click where nothing was said; another object on its first frame; identity.
        tracker.prompt(2, frame=3, points=[(44, 30)])
        tracker.edit(3, 0, painted)
        tracker.swap_from(1, 2, 6)
        assert [result.frame for result in tracker.propagate()]


def test_what_does_not_fit_the_video(given, clip, model, tmp_path):
    target = tmp_path / "a.s2t"
    large = np.zeros((FRAMES, 80, WIDTH, 3), np.uint8)
    for source, format, what in [
        (clip[:-1], "davis", "has a mask of frame 8"),
        (clip[:-1], "mots", "has a mask of frame 8"),
        (large, "davis", f"{WIDTH} x {HEIGHT} pixels"),
    ]:
        with pytest.raises(UsageError, match=what):
            import_masks(given / format, target, source=source, format=format, model=model)
    with pytest.raises(SourceError, match="nothing at"):
        import_masks(tmp_path / "gone", target, source=clip, model=model)
    with pytest.raises(SourceError):
        import_masks(given / "davis", target, source=tmp_path / "gone.mp4", model=model)
    assert list(tmp_path.iterdir()) == []


def test_a_project_that_is_there_stays(given, clip, model, tmp_path):
    target = tmp_path / "a.s2t"
    import_masks(given / "davis", target, source=clip, model=model)
    before = target.read_bytes()
    with pytest.raises(ProjectExistsError, match="--overwrite"):
        import_masks(given / "coco", target, source=clip, format="coco", model=model)
    with pytest.raises(SourceError):
        import_masks(
            given / "p.s2t", target, source=clip, format="npz", model=model, overwrite=True
        )
    coco = (given / "coco").read_bytes()
    with pytest.raises(UsageError, match="imported from"):
        import_masks(
            given / "coco", given / "coco", source=clip, format="coco", model=model, overwrite=True
        )
    assert (given / "coco").read_bytes() == coco
    pictures = shutil.copytree(given / "davis", tmp_path / "davis")
    kept = {file: file.read_bytes() for file in pictures.iterdir()}
    for file in kept:
        with pytest.raises(UsageError, match=r"lies in .*, which is imported from"):
            import_masks(pictures, file, source=clip, model=model, overwrite=True)
    for _ in range(2):  # a project may lie there, and be replaced
        import_masks(pictures, pictures / "p.s2t", source=clip, model=model, overwrite=True)
    assert {file: file.read_bytes() for file in kept} == kept
    with Project.open(target, writable=True), pytest.raises(ProjectError, match="in use"):
        import_masks(
            given / "coco", target, source=clip, format="coco", model=model, overwrite=True
        )
    assert target.read_bytes()[100:] == before[100:]
    import_masks(given / "coco", target, source=clip, format="coco", model=model, overwrite=True)
    with Project.open(target) as opened:
        assert np.array_equal(opened.masks(2)[2], masks()[2][2])


def test_frames_without_masks_are_said(given, clip, model, tmp_path):
    with Project.open(given / "p.s2t") as opened:
        opened.export(tmp_path / "some", format="davis", start=2, stop=6)
        opened.export(tmp_path / "none", format="npz", start=2, stop=6)
    done = import_masks(tmp_path / "some", tmp_path / "a.s2t", source=clip, model=model)
    assert done.warnings == ("masks are there for 4 of the 9 frames",)
    with Project.open(tmp_path / "a.s2t") as opened:
        assert opened.frames == (2, 3, 4, 5)


def test_frames_below_0_are_refused(given, clip, model, tmp_path):
    content = json.loads((given / "coco").read_text())
    content["images"][0]["frame_id"] = -1
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"has a mask of frame -1, .* frames 0 to 8"):
        import_masks(tmp_path / "a.json", tmp_path / "a.s2t", source=clip, model=model)


@pytest.mark.parametrize("name", ["coco", "ytvis"])
def test_objects_that_are_counted_from_0(given, clip, model, tmp_path, name):
    """0 is ground in label maps, and no object's number."""
    content = json.loads((given / name).read_text())
    key = {"coco": "track_id", "ytvis": "id"}[name]
    for annotation in content["annotations"]:
        annotation[key] -= 1
    (tmp_path / "a.json").write_text(json.dumps(content))
    done = import_masks(tmp_path / "a.json", tmp_path / "a.s2t", source=clip, model=model)
    assert done.objects == (1, 2, 3, 4, 5, 7)
    assert done.warnings == (
        f"{tmp_path / 'a.json'} counts objects from 0; here each has the number after its own",
    )
    with Project.open(tmp_path / "a.s2t") as opened:
        assert opened.names[1] == 'a "cell"' and opened.names[2] == "wörm"
        assert np.array_equal(opened.masks(5)[7], masks()[5][7])


@pytest.mark.parametrize("number", [-3, 2**31])
def test_ids_that_are_none_are_refused(given, clip, model, tmp_path, number):
    content = json.loads((given / "coco").read_text())
    for annotation in content["annotations"]:
        if annotation["track_id"] == 2:
            annotation["track_id"] = number
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(SourceError, match=rf"a\.json has an object {number}; .* below 2\*\*31: "):
        import_masks(tmp_path / "a.json", tmp_path / "a.s2t", source=clip, model=model)
    assert not list(tmp_path.glob("*a.s2t*"))


def test_masks_that_are_all_empty(clip, model, tmp_path):
    from sam2track.export.pngs import MaskSequence

    MaskSequence(tmp_path / "png").write(0, np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(SourceError, match="no object"):
        import_masks(tmp_path / "png", tmp_path / "a.s2t", source=clip, model=model)
    assert not (tmp_path / "a.s2t").exists()


def test_lives_have_nothing_to_run(given, clip, model, tmp_path):
    import_masks(given / "ctc", tmp_path / "a.s2t", source=clip, model=model)
    with Project.open(tmp_path / "a.s2t") as opened:
        lives = {life.object_id: replace(life, since=0) for life in opened.lives()}
    assert all(life.forward is None and life.backward is None for life in lives.values())
    assert lives[4].end == 5 and lives[5].birth == 5 and lives[5].mother == 4


def test_an_import_is_not_replayed_and_nothing_is_replaced_for_it(given, clip, model, tmp_path):
    import_masks(given / "davis", tmp_path / "a.s2t", source=clip, model=model)
    there = tmp_path / "out" / "project.s2t"
    there.parent.mkdir()
    import_masks(given / "coco", there, source=clip, format="coco", model=model)
    before = there.read_bytes()
    for folder in (there.parent, tmp_path / "new"):
        with pytest.raises(ProjectError, match="import them again"):
            replay(tmp_path / "a.s2t", output=folder, source=clip, model=model, overwrite=True)
    assert there.read_bytes() == before and not (tmp_path / "new").exists()
