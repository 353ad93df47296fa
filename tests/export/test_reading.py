"""Masks of other tools: what is no such file is a clear error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as coco

from sam2track.errors import OutputError, Sam2TrackError, SourceError, UsageError
from sam2track.export import yolo
from sam2track.export.coco_rle import encode
from sam2track.export.reading import READERS, detect, open_masks
from sam2track.export.spool import Spool
from sam2track.frames.array import ArraySource
from sam2track.frames.folder import ImageFolder

EMPTY = np.zeros((6, 8), np.uint8)


def shots(path, format=None):
    return {f: {i: m.sum() for i, m in h.items()} for f, h in open_masks(path, format).shots()}


@pytest.mark.parametrize("format", sorted(READERS))
@pytest.mark.parametrize("what", ["nothing", "text", "empty", "folder", "noise"])
def test_what_is_no_such_thing(tmp_path, format, what):
    path = tmp_path / "it"
    if what == "text":
        path.write_text("some words\nand 7 8 9\n")
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(3000))
    elif what == "folder":
        path.mkdir()
        (path / "a").write_text("b")
    with pytest.raises(Sam2TrackError) as caught:
        list(open_masks(path, format).shots())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files(tmp_path, share):
    """What is left of one is read right, or not at all."""
    stack = np.zeros((5, 20, 20), np.uint8)
    stack[:, 3:9] = 3
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", stack, photometric="minisblack", compression="zlib")
    np.savez(tmp_path / "a.npz", shape=[6, 8])
    for name in ("a.tif", "b.tif", "a.npz"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(len(whole) * (1 - share))])
        try:
            found = shots(tmp_path / name)
        except Sam2TrackError:
            continue
        assert name == "a.tif" and found == {t: {3: 120} for t in range(5)}
        assert share < 0.5


def test_what_is_not_told_apart(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"")
    with pytest.raises(UsageError, match="name their format"):
        open_masks(tmp_path / "a.docx")
    with pytest.raises(UsageError, match="holds no masks"):
        open_masks(tmp_path / "a.docx", "csv")
    with pytest.raises(SourceError, match="nothing at"):
        open_masks(tmp_path / "gone")


def test_pngs_of_others(tmp_path):
    """Named by anything that ends in a number, sparse, inside a folder."""
    folder = tmp_path / "root" / "clip"
    folder.mkdir(parents=True)
    for number, value in ((4, 255), (12, 7)):
        picture = EMPTY.copy()
        picture[2:4, 3:6] = value
        Image.fromarray(picture).save(folder / f"frame_{number}.png")
    assert shots(tmp_path / "root") == {4: {255: 6}, 12: {7: 6}}
    Image.fromarray(EMPTY[:5]).save(folder / "frame_13.png")
    with pytest.raises(SourceError, match=r"\(5, 8\)"):
        shots(folder)
    Image.fromarray(EMPTY).save(folder / "x_12.png")
    with pytest.raises(SourceError, match="one frame"):
        open_masks(folder)
    (folder.parent / "second").mkdir()
    Image.fromarray(EMPTY).save(folder.parent / "second" / "0.png")
    with pytest.raises(SourceError, match="2 folders"):
        open_masks(tmp_path / "root")


def test_coco_of_others(tmp_path):
    """With polygons or lists of runs, without track ids and frame ids."""
    mask = EMPTY.copy()
    mask[1:4, 2:7] = 1
    rle = coco.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    content = {
        "images": [{"id": n, "height": 6, "width": 8} for n in (30, 10, 20)],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 1, "segmentation": rle},
            {"id": 2, "image_id": 30, "category_id": 1, "segmentation": [[2, 1, 6, 1, 6, 3, 2, 3]]},
        ],
        "categories": [{"id": 1, "name": "mouse"}],
    }
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    reading = open_masks(file)
    found = dict(reading.shots())
    assert list(found) == [0, 1, 2] and not found[1] and reading.names == {1: "mouse"}
    assert np.array_equal(found[0][1], mask) and np.array_equal(found[2][1], mask)
    content["annotations"].append(content["annotations"][0])
    file.write_text(json.dumps(content))
    with pytest.raises(SourceError, match=r"twice on image 10; .* track_id"):
        open_masks(file)


def test_coco_of_several_videos(tmp_path):
    """SA-V's files name their video as well, but hold no images."""
    image = {"height": 6, "width": 8, "frame_id": 0}
    content = {
        "images": [{"id": n, "video_id": n, **image} for n in (1, 2)],
        "annotations": [],
        "categories": [],
    }
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    with pytest.raises(SourceError, match=r"two images of frame 0; .* one video"):
        open_masks(file)
    content["images"].pop()
    file.write_text(json.dumps(content))
    assert list(open_masks(file).frames) == [0]


def _coco_of(said):
    return {
        "images": [{"id": 1, "height": 6, "width": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": said}],
        "categories": [{"id": 1, "name": "mouse"}],
    }


@pytest.mark.parametrize(
    "said",
    [
        *(None, 3, "ab", [[1, 2, 3]], [{"a": 1}], {}, {"counts": "1"}),
        {"size": [6, 8], "counts": 2**31},  # which would be the size of an array
        [[0, 0, 1e9, 0, 1e9, 1e9]],  # along whose lines cv2 would go for long
        *([[0, 0, 1e300, 1, 2, 2]], [[0, 0, "a", 1, 2, 2]]),
    ],
)
def test_damaged_masks_of_coco(tmp_path, said):
    """Also those that are made later, where they are asked for."""
    (tmp_path / "a.json").write_text(json.dumps(_coco_of(said)))
    ((_, masks),) = open_masks(tmp_path / "a.json").shots()
    with pytest.raises(SourceError, match=r"cannot read .*a\.json as coco|no COCO run-length code"):
        masks.get(1, EMPTY)


@pytest.mark.parametrize("said", [[], [[]], [[], [2, 1, 6, 1, 6, 3, 2, 3]]])
def test_polygons_without_points_are_nothing(tmp_path, said):
    (tmp_path / "a.json").write_text(json.dumps(_coco_of(said)))
    assert shots(tmp_path / "a.json") == {0: {1: 15 * sum(map(bool, said))}}


def test_damaged_masks_of_npz(tmp_path):
    about = {"shape": [6, 8], "frames": [0], "objects": [1], "names": ["a"], "mothers": [0]}
    packed = np.zeros((1, 6, 1))  # no bytes
    np.savez(tmp_path / "a.npz", **about, ids_00000=[1], masks_00000=packed)
    ((_, masks),) = open_masks(tmp_path / "a.npz").shots()
    with pytest.raises(SourceError, match=r"cannot read .*a\.npz as npz"):
        masks[1]
    assert 2 not in masks and masks.get(2) is None
    with pytest.raises(KeyError):
        masks[2]


def _ytvis(**changes):
    video = {"id": 4, "height": 6, "width": 8, "length": 3}
    video["file_names"] = [f"a/{n:05d}.jpg" for n in (0, 5, 10)]
    counts = {"size": [6, 8], "counts": [7, 3, 38]}
    polygon = [[2, 1, 6, 1, 6, 3, 2, 3]]
    packed = {"size": [6, 8], "counts": "73V1"}
    annotations = [
        {"segmentations": [None, counts, packed], "video_id": 4, "category_id": 1, "id": 9},
        {"id": 2, "video_id": 4, "category_id": 5, "segmentations": [polygon, None, None]},
    ]
    content = {"info": {}, "annotations": annotations, "videos": [video]}
    content["categories"] = [{"id": 1, "name": "mouse", "supercategory": "object"}]
    return content | changes


def test_ytvis_of_others(tmp_path):
    """With run lengths of either kind, polygons, and keys in any order."""
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(_ytvis()))
    reading = open_masks(file)
    assert (reading.format, reading.height, reading.width) == ("ytvis", 6, 8)
    assert {i: name for i, name in reading.names.items() if name} == {9: "mouse"}
    found = dict(reading.shots())
    assert [*found] == [*reading.frames] == [0, 1, 2]
    assert [[*here] for here in found.values()] == [[2], [9], [9]]
    mask = EMPTY.astype(bool)
    mask[1:4, 1] = True
    assert np.array_equal(found[1][9], mask) and np.array_equal(found[2][9], mask)
    mask[...] = False
    mask[1:4, 2:7] = True
    assert np.array_equal(found[0][2], mask)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"videos": _ytvis()["videos"] * 2}, "holds 2 videos; give a file of YouTube-VIS with one"),
        ({"videos": []}, "holds 0 videos"),
        ({"videos": [{"id": 4, "height": 6, "width": 8}]}, "does not name the pictures"),
        ({"annotations": _ytvis()["annotations"] * 2}, "has two annotations 9"),
        (
            {"annotations": [{"id": 3, "segmentations": [None, None]}]},
            "annotation 3 has 2 masks, its video 3 frames; each frame has one, or null",
        ),
        ({"annotations": [{"id": 3}]}, "annotation 3 has 0 masks"),
        ({"annotations": [{"segmentations": [None] * 3}]}, "an annotation without an id"),
        (
            {"annotations": [{"id": 1, "video_id": 5, "segmentations": [None] * 3}]},
            "annotation 1 is of video 5, which is not there",
        ),
    ],
)
def test_files_of_ytvis_that_cannot_be(tmp_path, changes, said):
    (tmp_path / "a.json").write_text(json.dumps(_ytvis(**changes)))
    with pytest.raises(SourceError, match=said):
        open_masks(tmp_path / "a.json", "ytvis")


def test_a_long_json_file_is_told_by_its_keys(tmp_path):
    """Wherever they are: here behind megabytes of others."""
    content = _ytvis(info={"description": "words " * 400_000})
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert detect(tmp_path / "a.json") == "ytvis"
    for before in range(1 << 20, (1 << 20) - 14, -1):  # across the border of what is read at once
        head = '{"a": "' + "x" * (before - 10) + '", '
        (tmp_path / "a.json").write_text(head + json.dumps(_ytvis())[1:])
        assert detect(tmp_path / "a.json") == "ytvis", before


@pytest.mark.parametrize("format", ["coco", "mots", "sav", "ytvis"])
def test_files_of_any_length_are_read_in_little_memory(tmp_path, format):
    """Whatever the order of what they hold; but for COCO's number of each frame."""
    import tracemalloc

    ragged = np.random.default_rng(0).random((120, 160)) > 0.5
    counts = encode(ragged)
    peaks = []
    for frames in (20, 120):
        order = np.random.default_rng(1).permutation(frames).tolist()
        if format == "mots":
            text = "".join(f"{t + 1} 3 2 120 160 {counts}\n" for t in order)
        else:
            rle = {"size": [120, 160], "counts": counts}
            content = {
                "images": [{"id": t + 1, "height": 120, "width": 160} for t in order],
                "annotations": [
                    {"id": t, "image_id": t + 1, "category_id": 3, "segmentation": rle}
                    for t in order
                ],
                "masklet": [[rle]] * frames,
                "masklet_id": [3],
                "video_height": 120.0,
                "video_width": 160.0,
                "video_frame_count": float(frames),
            }
            if format == "ytvis":
                video = {"id": 1, "height": 120, "width": 160, "file_names": ["a"] * frames}
                content = {"videos": [video], "annotations": [{"segmentations": [rle] * frames}]}
                content["annotations"][0] |= {"id": 3, "video_id": 1}
            text = json.dumps(content)
        path = tmp_path / f"{frames}"
        path.write_text(text)
        del text
        tracemalloc.start()
        seen = 0
        for frame, masks in open_masks(path, format).shots():
            assert frame == seen and np.array_equal(masks[3], ragged)
            seen += 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert seen == frames
    assert peaks[1] - peaks[0] < path.stat().st_size / 20


def test_ctc_ground_truth(tmp_path):
    folder = tmp_path / "01_GT" / "TRA"
    folder.mkdir(parents=True)
    for t in range(4):
        labels = np.zeros((6, 8), np.uint16)
        labels[:2] = 1 if t < 2 else 4
        labels[4:] = 2 if t < 2 else 0
        if t >= 3:
            labels[4, :], labels[5, :] = 6, 9
        tifffile.imwrite(folder / f"man_track{t:03d}.tif", labels)
    (folder / "man_track.txt").write_text("1 0 1 0\n2 0 1 0\n4 2 3 1\n6 3 3 2\n9 3 3 2\n")
    reading = open_masks(tmp_path / "01_GT", "ctc")
    # 4 is 1 again, 6 and 9 are daughters of 2.
    assert [sorted(h) for _, h in reading.shots()] == [[1, 2], [1, 2], [1], [1, 6, 9]]
    assert reading.lineage == {6: 2, 9: 2}
    (folder / "man_track.txt").write_text("1 0 1 0\n2 0 1 0\n")
    with pytest.raises(SourceError, match="label 4, of which there is no track"):
        list(open_masks(folder).shots())
    (folder / "man_track.txt").write_text("1 0 1 0\n2 0 1 0\n4 1 3 1\n")
    with pytest.raises(SourceError, match="before its parent 1 ends"):
        open_masks(folder)


def test_ctc_of_labels_in_any_order(tmp_path):
    for t, rows in enumerate(([5], [5], [2, 5])):
        labels = np.zeros((6, 8), np.uint16)
        for row, label in enumerate(rows):
            labels[row] = label
        tifffile.imwrite(tmp_path / f"mask{t:03d}.tif", labels)
    # A parent may have the larger label, and be seen on after its end.
    (tmp_path / "res_track.txt").write_text("2 2 2 5\n5 0 1 0\n")
    assert shots(tmp_path) == {0: {5: 8}, 1: {5: 8}, 2: {5: 16}}


@pytest.mark.parametrize("shape", [(4, 6, 8), (6, 8)])
@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"compression": "zlib"}])
def test_stacks_of_others(tmp_path, shape, options):
    stack = np.zeros(shape, np.uint16)
    stack[..., 2:4, 3:5] = 300
    if options.get("imagej"):
        options = options | {"metadata": {"axes": "TYX"[-len(shape) :]}}
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    count = shape[0] if len(shape) == 3 else 1
    assert shots(tmp_path / "a.tif") == {t: {300: 4} for t in range(count)}


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_labels_below_0_are_ground_and_told_once(tmp_path, options):
    stack = np.zeros((3, 6, 8), np.int16)
    stack[:, :2], stack[1:, 4:] = -1, 7
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    reading = open_masks(tmp_path / "a.tif")
    found = [{i: m.sum() for i, m in here.items()} for _, here in reading.shots()]
    assert found == [{}, {7: 16}, {7: 16}]
    assert reading.warnings == ["labels below 0 are taken for ground"]


@pytest.mark.parametrize("count", [3, 4])
def test_stacks_whose_frames_were_taken_for_samples(count, tmp_path):
    """Three or four frames become the colours of one page where nothing else is said."""
    stack = np.zeros((count, 40, 50), np.uint16)
    for frame in range(count):
        stack[frame, 2:4, 3 : 5 + frame] = 300
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 1
    assert shots(tmp_path / "a.tif") == {t: {300: 4 + 2 * t} for t in range(count)}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("test_data", ["video/sav_000001_json"], indirect=True)
def test_sav_of_meta(test_data):
    path = test_data / "sav_000001_manual.json"
    reading = open_masks(path, "sav")
    content = json.loads(path.read_text())
    assert detect(path) == "sav"
    # The video has 483 frames, of which every fourth has masks.
    assert (reading.height, reading.width, list(reading.frames)) == (848, 480, [*range(0, 484, 4)])
    frame, found = next(iter(reading.shots()))
    for index, i in enumerate(content["masklet_id"]):
        expected = coco.decode(content["masklet"][frame][index]) != 0
        if expected.any():
            assert np.array_equal(found[i + 1], expected)


def test_masks_of_polygons_are_made_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand cells in a large frame the masks would take gigabytes."""
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("# 20 x 40\nnames: [a, b, c]\n")
    squares = [
        "0 .1 .1 .4 .1 .4 .4 .1 .4",
        "2 .5 .5 .9 .5 .9 .9 .5 .9",
        "0 .6 .1 .9 .1 .9 .4 .6 .4",
    ]
    (labels / "v_00000.txt").write_text("\n".join(squares))
    found = open_masks(tmp_path, "yolo-seg")
    made: list[int] = []
    keep = yolo.fill
    monkeypatch.setattr(yolo, "fill", lambda *given: made.append(1) or keep(*given))
    ((_, masks),) = found.shots()
    assert list(masks) == [1, 3] and made == []
    first = masks[1]
    assert first[5, [8, 30]].all() and not first[5, 20] and len(made) == 2
    assert masks[3][12, 30] and not (first & masks[3]).any()
    assert found.warnings and "class 0 on frame 0" in found.warnings[0]


def test_no_room_for_a_temporary_file_is_no_fault_of_what_is_read():
    spool = Spool()
    spool._db.execute("PRAGMA max_page_count = 2")
    with pytest.raises(OutputError, match=r"a temporary file: .* full; free space or name another"):
        for object_id in range(9):
            spool.put(0, object_id, "0" * 4096)


def label(path, value, dtype=np.uint16):
    labels = np.zeros((6, 8), dtype)
    labels[2:4, 3:6] = value
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, labels, photometric="minisblack")
    else:
        Image.fromarray(labels).save(path)


def pictures(folder, names):
    folder.mkdir()
    for name in names:
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(folder / name)
    return folder


@pytest.mark.parametrize("ending", [".tif", ".png", ".npy"])
def test_label_files_beside_the_pictures_that_they_are_of(tmp_path, ending):
    names = ["a_010.png", "a_011.png", "a_100.png"]
    folder = pictures(tmp_path / "clip", names)
    for value, name in enumerate(names, start=1):
        label(folder / name.replace(".png", f"_cp_masks{ending}"), value)
        (folder / name.replace(".png", "_seg.npy")).write_bytes(b"pickled")
    assert detect(folder) == "label-files"
    assert shots(folder) == {10: {1: 6}, 11: {2: 6}, 100: {3: 6}}
    reading = open_masks(folder, source=ImageFolder(folder, key="a_???.png"))
    assert {f: [*masks] for f, masks in reading.shots()} == {0: [1], 1: [2], 2: [3]}


def test_names_are_those_of_pictures_unless_they_are_numbers_of_frames(tmp_path):
    source = ImageFolder(pictures(tmp_path / "clip", [f"{n:05d}.png" for n in (1, 2, 3)]))
    masks = tmp_path / "masks"

    def frames(*names):
        masks.mkdir()
        for name in names:
            label(masks / name, 1)
        try:
            return [*open_masks(masks, source=source).frames]
        finally:
            shutil.rmtree(masks)

    assert frames("00000.png", "00001.png") == [0, 1]  # as our own
    assert frames("00001.png", "00002.png", "00003.png") == [0, 1, 2]
    assert frames("00003.png") == frames("00003_mask.png") == frames("mask_00003.png") == [2]
    assert frames("x1.tif", "x2.tif") == [1, 2]
    assert frames("00001.tif", "00002.tif") == [0, 1]
    assert frames("00003.PNG") == [2]
    with pytest.raises(
        SourceError, match=r"2_mask\.png and 00002_mask\.tif .* are both of the pict"
    ):
        frames("00002_mask.png", "00002_mask.tif")
    with pytest.raises(SourceError, match=r"x9\.tif bears the name of no picture"):
        frames("00001.tif", "x9.tif")


def test_names_of_pictures_that_are_smaller_numbers_than_there_are_frames(tmp_path):
    """Where labels of the last are lacking, the others are of the pictures of their names."""
    source = ImageFolder(pictures(tmp_path / "clip", [f"{n:03d}.png" for n in (1, 2, 3)]))
    masks = pictures(tmp_path / "masks", [])
    label(masks / "001.png", 1)
    label(masks / "002.png", 2)
    reading = open_masks(masks, source=source)
    assert {f: [*m] for f, m in reading.shots()} == {0: [1], 1: [2]} and not reading.warnings
    source = ImageFolder(pictures(tmp_path / "other", [f"{n:05d}.png" for n in (1, 2, 3)]))
    for name in ("001.png", "002.png"):
        (masks / name).rename(masks / f"00{name}")
    reading = open_masks(masks, source=source)
    assert {f: [*m] for f, m in reading.shots()} == {1: [1], 2: [2]}
    assert "00001.png and others" in reading.warnings[0]


def test_pictures_of_the_source_are_no_labels_of_it(tmp_path):
    folder = pictures(tmp_path / "clip", [])
    for name in ("a1.tif", "a2.tif", "a1_pred.tif"):
        label(folder / name, 1)
    with pytest.raises(SourceError, match=r"a1\.tif is a picture of the source itself"):
        open_masks(folder, source=ImageFolder(folder))


def test_files_that_count_from_1_are_taken_from_0(tmp_path):
    source = ArraySource(np.zeros((3, 6, 8), np.uint8))
    masks = pictures(tmp_path / "masks", [])
    for number in (1, 2, 3):
        label(masks / f"labels{number}.tif", number)
    reading = open_masks(masks, source=source)
    assert {f: [*m] for f, m in reading.shots()} == {0: [1], 1: [2], 2: [3]}
    assert "counts frames from 1" in reading.warnings[0]
    (masks / "labels1.tif").unlink()
    assert [*open_masks(masks, source=source).frames] == [2, 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("name", ["a.npy", "a.tif"])
def test_stacks_of_whole_numbers(tmp_path, name, dtype):
    stack = np.zeros((3, 6, 8), dtype)
    stack[1, 2:4, 3:6] = 1
    path = tmp_path / name
    if name == "a.tif":
        stack = stack.astype(np.uint8) if dtype in (np.bool_, np.int64) else stack
        tifffile.imwrite(path, stack, photometric="minisblack")
    else:
        np.save(path, stack)
    assert shots(path) == {0: {}, 1: {1: 6}, 2: {}}
    if name == "a.npy":
        np.save(path, stack[1])
        assert shots(path) == {0: {1: 6}}
        np.save(path, stack[:, None])
        assert shots(path) == {0: {}, 1: {1: 6}, 2: {}}


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((2, 6, 8), 0.5), "hold fractions"),
        (np.full((2, 6, 8), np.nan), "hold fractions"),
        (np.zeros((2, 2, 6, 8), np.uint8), r"shape \(2, 2, 6, 8\)"),
        (np.zeros((0, 6, 8), np.uint8), r"shape \(0, 6, 8\)"),
        (np.zeros((2, 6, 8), np.complex64), "holds complex64"),
        (np.array([{"masks": 1}], object), "Cellpose"),
    ],
)
def test_arrays_that_are_no_label_stack(tmp_path, array, says):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(SourceError, match=says):
        shots(tmp_path / "a.npy")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["", "labels"])
def test_arrays_of_zarr(tmp_path, name, version):
    zarr = pytest.importorskip("zarr")
    stack = np.zeros((2, 6, 8), np.int32)
    stack[1, 2:4, 3:6] = 5
    place = tmp_path / "a.zarr" / name
    if name:
        zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    array = zarr.open(place, mode="w", shape=stack.shape, dtype="i4", zarr_format=version)
    array[:] = stack
    assert shots(tmp_path / "a.zarr") == {0: {}, 1: {5: 6}}


def test_damaged_label_maps_are_told_of_in_one_line(tmp_path, caplog):
    """Decoders and numpy raise what is neither of Python's usual kinds."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 6, 8), np.uint8))
    data = bytearray(path.read_bytes())
    data[data.index(b"}") + 2 : data.index(b"}") + 4] = b'"('
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"cannot read .*a\.npy as label-files: Token"):
        shots(path)
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 9, (2, 60, 80), np.uint8)
    tifffile.imwrite(path, noise, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        start = file.pages[1].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[start + 20 : start + 60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"cannot read .*a\.tif as labels-tiff: "):
        shots(path)


def test_files_of_cellpose_alone(tmp_path):
    folder = pictures(tmp_path / "clip", ["a_1.png"])
    np.save(folder / "a_1_seg.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"Cellpose's _seg\.npy"):
        shots(folder)


def test_arrays_of_label_maps_in_an_archive(tmp_path):
    stack = np.zeros((2, 6, 8), np.int32)
    stack[1, 2:4, 3:6] = 5
    np.savez(tmp_path / "a.npz", images=stack * 0.5, labels=stack)
    assert shots(tmp_path / "a.npz") == {0: {}, 1: {5: 6}}
    np.savez(tmp_path / "a.npz", stack)
    assert shots(tmp_path / "a.npz") == {0: {}, 1: {5: 6}}
    np.savez(tmp_path / "a.npz", one=stack, other=stack)
    with pytest.raises(SourceError, match="no archive of masks"):
        shots(tmp_path / "a.npz")


def test_stacks_that_claim_more_than_there_may_be(tmp_path):
    """Of a damaged one all memory was asked for."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((2, 6, 8), np.uint8), photometric="minisblack", compression=8)
    with tifffile.TiffFile(path) as file:
        places = [page.tags["ImageLength"].valueoffset for page in file.pages]
    data = bytearray(path.read_bytes())
    for place in places:
        data[place : place + 4] = (2**27).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(SourceError, match="which is more than is read"):
        shots(path)
