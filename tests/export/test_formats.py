"""Every format, read back by the tool that people use for it, mask for mask."""

from __future__ import annotations

import csv
import json
import os
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from sam2track.errors import OutputError, SourceError
from sam2track.export.exporting import FORMATS
from sam2track.export.reading import READERS, detect, open_masks
from sam2track.frames.opening import open_source
from sam2track.project import Project
from tests.export.known import FRAMES, HEIGHT, WIDTH, apart, label_map, masks, project
from tests.made import write_project

BACK = set(READERS) & set(FORMATS)  # formats that are written and read

# pycocotools 2.0.11 is behind numpy 2 in how its own arrays are taken.
COCO_WARNS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
OVERLAPPING = {"coco", "ytvis", "sav", "npz", "parquet", "trackmate"}
TARGETS = {
    "coco": "a.json",
    "ytvis": "a.json",
    "mots": "a.txt",
    "mot": "a.txt",
    "labels-tiff": "a.tif",
    "ome-tiff": "a.ome.tif",
    "ome-zarr": "a.zarr",
    "geff": "g.zarr",
    "trackmate": "a.xml",
    "tracks-csv": "a.csv",
    "csv": "a.csv",
    "npz": "a.npz",
    "parquet": "a.parquet",
    "masks-video": "a.mkv",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return project(tmp_path_factory.mktemp("known") / "p.s2t")


@pytest.fixture
def export(path, tmp_path):
    def write(kind, **options):
        target = tmp_path / TARGETS.get(kind, kind)
        with Project.open(path) as opened:
            done = opened.export(target, format=kind, **options)
        assert done.path == target
        assert [p.name for p in tmp_path.iterdir()] == [target.name]  # nothing temporary
        return target, done.warnings

    return write


def test_a_zarr_that_is_being_written_is_not_written_by_another(path, tmp_path, monkeypatch):
    """zarr can make a folder anew, and would lose what holds it against others."""
    from sam2track.export import omezarr

    write, told = omezarr.write, []

    def twice(folder, sequence):
        write(folder, sequence)
        monkeypatch.setattr(omezarr, "write", write)
        with (
            Project.open(path) as other,
            pytest.raises(OutputError, match="by another command") as e,
        ):
            other.export(tmp_path / "a.zarr", format="ome-zarr")
        told.append(e)

    monkeypatch.setattr(omezarr, "write", twice)
    with Project.open(path) as opened:
        opened.export(tmp_path / "a.zarr", format="ome-zarr")
    assert told and open_masks(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_exported_again_is_equal(path, tmp_path, name):
    """Each OME-TIFF said in its UUID on which machine it was made, and when."""
    found = []
    with Project.open(path) as opened:
        for again in ("a", "b"):
            target = tmp_path / again / f"x{FORMATS[name].suffix}"
            opened.export(target, format=name)
            files = [target] if target.is_file() else [f for f in target.rglob("*") if f.is_file()]
            found.append({f.relative_to(tmp_path / again): f.read_bytes() for f in files})
    assert found[0] == found[1]


def test_ome_tiffs_of_other_masks_have_another_uuid(path, tmp_path):
    import tifffile

    found = []
    for k, made in enumerate((path, project(tmp_path / "b.s2t", masks(overlap=False)))):
        target = tmp_path / f"{k}.ome.tif"
        with Project.open(made) as opened:
            opened.export(target, format="ome-tiff")
        with tifffile.TiffFile(target) as file:
            found.append(tifffile.xml2dict(file.ome_metadata)["OME"]["UUID"])
    assert found[0] != found[1]


def test_all_formats_are_tried():
    assert set(READERS) - set(FORMATS) == {"label-files"}  # as others write them
    assert set(FORMATS) - set(READERS) == {"mot", "tracks-csv", "csv"}


@pytest.mark.parametrize("name", sorted(BACK - {"yolo-seg"}))
def test_our_reader_gives_back_every_mask(export, name):
    target, _ = export(name)
    reading = open_masks(target, None if name not in ("ome-tiff",) else name)
    assert detect(target) == {"ome-tiff": "labels-tiff"}.get(name, name)
    assert (reading.height, reading.width) == (HEIGHT, WIDTH)
    expected = [h if name in OVERLAPPING else apart(h) for h in masks()]
    found = dict(reading.shots())
    if reading.frames is not None:
        assert list(reading.frames) == list(range(FRAMES))
    for frame, here in enumerate(expected):
        here = {i: mask for i, mask in here.items() if mask.any()}
        assert list(found[frame]) == list(here), frame
        for i, mask in here.items():
            assert np.array_equal(found[frame][i], mask), (frame, i)


@pytest.mark.parametrize(
    "name", ["coco", "geff", "npz", "ome-zarr", "parquet", "trackmate", "ytvis", "ytvos"]
)
def test_our_reader_gives_back_the_names(export, name):
    """Objects without one have none, whatever category stands for them meanwhile."""
    target, _ = export(name)
    reading = open_masks(target)
    list(reading.shots())
    names = {i: reading.names.get(i, "") for i in (1, 2, 3, 4, 5, 7)}
    assert names == {1: 'a "cell"', 2: "wörm", 3: "", 4: "", 5: "", 7: ""}


def test_objects_of_yolo_have_the_names_of_their_classes(export):
    target, _ = export("yolo-seg", images=False)
    assert open_masks(target).names == {1: 'a "cell"', 2: "", 3: "wörm"}
    text = (target / "data.yaml").read_text().replace('2: "wörm"', "2: wörm\nnc: 3")
    (target / "data.yaml").write_text(text)
    assert open_masks(target).names == {1: 'a "cell"', 2: "", 3: "wörm"}


@pytest.mark.parametrize("name", sorted(BACK - {"yolo-seg"}))
def test_names_need_not_be_utf8(path, tmp_path, name):
    folder = tmp_path / os.fsdecode(b"\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with Project.open(path) as opened:
        target = opened.export(folder / TARGETS.get(name, name), format=name).path
    assert len(dict(open_masks(target, name).shots())) == FRAMES


@pytest.mark.parametrize("name", sorted(BACK))
def test_a_pipe_in_place_of_a_file_is_not_waited_for(export, name):
    """Each file in turn, of each suffix: nothing would ever come out of it."""
    target, _ = export(name)
    files = [target] if target.is_file() else [p for p in target.rglob("*") if p.is_file()]
    for file in {(p.suffix, p.parent.name): p for p in files}.values():
        content = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(SourceError, match=re.escape(f"{file}: it is no regular file")):
            open_masks(target, name)
        file.unlink()
        file.write_bytes(content)


@pytest.mark.parametrize("name", sorted(BACK - {"yolo-seg"}))
@pytest.mark.parametrize("size", [(1, 1), (4, 1), (1, 4)])
def test_frames_of_a_pixel_or_a_line(tmp_path, name, size):
    masks = [{1: np.ones(size, bool)}, {1: np.zeros(size, bool)}, {1: np.ones(size, bool)}]
    target = tmp_path / TARGETS.get(name, name)
    with Project.open(project(tmp_path / "p.s2t", masks, lineage=False)) as opened:
        if name == "masks-video" and size == (4, 1):  # FFmpeg's FFV1 takes no column of pixels
            said = f"^cannot write {re.escape(str(target))}: .*ffv1"
            with pytest.raises(OutputError, match=said):
                opened.export(target, format=name)
            assert {path.name for path in tmp_path.glob("*mkv*")} == set()
            return
        opened.export(target, format=name)
    found = dict(open_masks(target, name).shots())
    assert [sum(m.sum() for m in found.get(t, {}).values()) for t in range(3)] == [
        np.prod(size),
        0,
        np.prod(size),
    ]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_is_lost_is_said_in_one_line(export, name):
    _, warnings = export(name)
    text = "\n".join(warnings)
    overlaps = name not in OVERLAPPING | {"mot", "csv", "tracks-csv", "yolo-seg"}
    assert ("overlaps (on 1 frames" in text) == overlaps
    assert ("lineage" in text) == (
        name not in {"ctc", "csv", "geff", "trackmate", "tracks-csv", "npz"}
    )
    assert all("\n" not in warning for warning in warnings)


# -- by others --------------------------------------------------------------------------


def test_davis_is_a_palette_png(export):
    target, _ = export("davis")
    assert len(list(target.iterdir())) == FRAMES
    for frame, here in enumerate(masks()):
        with Image.open(target / f"{frame:05d}.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), label_map(here))


def test_ytvos_says_where_each_object_is(export):
    target, _ = export("ytvos", name="some")
    said = json.loads((target / "meta.json").read_text())["videos"]["some"]["objects"]
    assert said["1"]["category"] == 'a "cell"'
    assert said["3"]["frames"] == [f"{t:05d}" for t in (0, 1, 2, 5, 6, 7, 8)]
    assert said["5"]["frames"] == [f"{t:05d}" for t in range(5, 9)]
    with Image.open(target / "Annotations/some/00004.png") as image:
        assert np.array_equal(np.asarray(image), label_map(masks()[4]))


@COCO_WARNS
def test_coco_by_pycocotools(export, capsys):
    from pycocotools.coco import COCO

    target, _ = export("coco")
    read = COCO(str(target))
    assert sorted(c["name"] for c in read.dataset["categories"]) == ['a "cell"', "object", "wörm"]
    assert read.getImgIds() == list(range(1, FRAMES + 1))
    for frame, here in enumerate(masks()):
        found = {a["track_id"]: a for a in read.loadAnns(read.getAnnIds(imgIds=frame + 1))}
        assert set(found) == {i for i, mask in here.items() if mask.any()}
        for i, annotation in found.items():
            mask = here[i]
            assert np.array_equal(read.annToMask(annotation) != 0, mask)
            assert annotation["area"] == mask.sum()
            x, y, w, h = annotation["bbox"]
            assert mask[y : y + h, x : x + w].sum() == mask.sum()
            assert mask[y].any() and mask[:, x].any() and mask[y + h - 1].any()


@COCO_WARNS
def test_ytvis_by_trackeval(export, tmp_path):
    """Whose reader of the truth takes uncompressed run lengths alone."""
    from pycocotools import mask as coco
    from trackeval.datasets import YouTubeVIS

    target, _ = export("ytvis", name="clip")
    content = json.loads(target.read_text())
    truth = tmp_path / "gt" / "youtube_vis_val"
    truth.mkdir(parents=True)
    (truth / "val.json").write_text(target.read_text())
    for annotation in content["annotations"]:
        annotation["score"] = 0.5
        for said in filter(None, annotation["segmentations"]):
            said["counts"] = coco.frPyObjects(said, HEIGHT, WIDTH)["counts"].decode()
    ours = tmp_path / "trackers" / "youtube_vis_val" / "ours" / "data"
    ours.mkdir(parents=True)
    (ours / "found.json").write_text(json.dumps(content["annotations"]))
    dataset = YouTubeVIS(
        {
            "GT_FOLDER": f"{tmp_path / 'gt'}/",
            "TRACKERS_FOLDER": f"{tmp_path / 'trackers'}/",
            "SPLIT_TO_EVAL": "val",
            "PRINT_CONFIG": False,
        }
    )
    assert dataset.seq_list == ["clip"] and dataset.class_list == ['a "cell"', "object", "wörm"]
    data = dataset.get_raw_seq_data("ours", "clip")
    for frame, here in enumerate(masks()):
        here = {i: mask for i, mask in here.items() if mask.any()}
        found = dict(zip(data["gt_ids"][frame].tolist(), data["gt_dets"][frame], strict=True))
        assert set(found) == set(here)
        for i, rle in found.items():
            assert np.array_equal(coco.decode(rle) != 0, here[i])
        assert np.diag(data["similarity_scores"][frame]) == pytest.approx(1)


def test_ytvis_says_of_each_frame_where_an_object_is(export):
    target, _ = export("ytvis", start=2, stop=7)
    content = json.loads(target.read_text())
    (video,) = content["videos"]
    assert video["file_names"] == [f"clip/{t:05d}.jpg" for t in range(2, 7)]
    assert (video["length"], video["height"], video["width"]) == (5, HEIGHT, WIDTH)
    kinds = {c["id"]: c["name"] for c in content["categories"]}
    found = {a["id"]: a for a in content["annotations"]}
    assert kinds[found[1]["category_id"]] == 'a "cell"'
    assert kinds[found[3]["category_id"]] == "object"
    for i, annotation in found.items():
        there = [here.get(i, np.zeros((1, 1), bool)) for here in masks()[2:7]]
        said = zip(*(annotation[k] for k in ("segmentations", "bboxes", "areas")), strict=True)
        for mask, (segmentation, box, area) in zip(there, said, strict=True):
            if not mask.any():
                assert segmentation is box is area is None
                continue
            ys, xs = np.nonzero(mask)
            assert box == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert area == mask.sum() == sum(segmentation["counts"][1::2])
    reading = open_masks(target)
    assert list(reading.frames) == [t for t, _ in reading.shots()] == list(range(2, 7))


@COCO_WARNS
def test_mots_by_trackeval(export, tmp_path):
    from pycocotools import mask as coco
    from trackeval.datasets import MOTSChallenge

    target, _ = export("mots")
    home = tmp_path / "trackers" / "ours" / "data"
    home.mkdir(parents=True)
    (home / "clip.txt").write_text(target.read_text())
    gt = tmp_path / "gt" / "clip" / "gt"
    gt.mkdir(parents=True)
    (gt / "gt.txt").write_text(target.read_text())
    dataset = MOTSChallenge(
        {
            "GT_FOLDER": str(tmp_path / "gt"),
            "TRACKERS_FOLDER": str(tmp_path / "trackers"),
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": {"clip": FRAMES},
            "TRACKERS_TO_EVAL": ["ours"],
            "PRINT_CONFIG": False,
        }
    )
    data = dataset.get_raw_seq_data("ours", "clip")
    for frame, here in enumerate(masks()):
        here = {i: mask for i, mask in apart(here).items() if mask.any()}
        found = dict(
            zip(data["tracker_ids"][frame].tolist(), data["tracker_dets"][frame], strict=True)
        )
        assert set(found) == set(here)
        for i, rle in found.items():
            assert np.array_equal(coco.decode(rle) != 0, here[i])


def test_mot_by_the_documented_format(export):
    target, _ = export("mot")
    rows = [list(map(int, line.split(","))) for line in target.read_text().splitlines()]
    found = {(row[0] - 1, row[1]): row[2:] for row in rows}
    for frame, here in enumerate(masks()):
        for i, mask in here.items():
            if mask.any():
                left, top, width, height, *rest = found.pop((frame, i))
                ys, xs = np.nonzero(mask)
                assert (left, top) == (xs.min() + 1, ys.min() + 1)
                assert (width, height) == (np.ptp(xs) + 1, np.ptp(ys) + 1)
                assert rest == [1, 1, 1]
    assert not found


def test_ctc_by_its_validator(export):
    from ctc_metrics.scripts.validate import validate_sequence
    from ctc_metrics.utils.filesystem import read_tracking_file
    from tifffile import imread

    target, _ = export("ctc")
    assert validate_sequence(str(target), threads=1) == {"Valid": 1}
    lines = {
        row[0]: tuple(row[1:]) for row in read_tracking_file(target / "res_track.txt").tolist()
    }
    # 3 vanishes after frame 2 and is a new track from frame 5 on; 4 divides.
    assert lines == {
        1: (0, 8, 0),
        2: (0, 8, 0),
        3: (0, 2, 0),
        4: (0, 4, 0),
        5: (5, 8, 4),
        7: (5, 8, 4),
        8: (5, 8, 3),
    }
    assert [*lines] == sorted(lines)
    for frame, here in enumerate(masks()):
        labels = imread(target / f"mask{frame:03d}.tif")
        assert labels.dtype == np.uint16
        expected = label_map(here)
        expected[(expected == 3) & (frame >= 5)] = 8
        assert np.array_equal(labels, expected)
    assert dict(open_masks(target).lineage) == {5: 4, 7: 4}


@pytest.mark.parametrize("name", ["labels-tiff", "ome-tiff"])
def test_stacks_by_tifffile(export, name):
    import tifffile

    target, _ = export(name, pixel_size=0.25)
    with tifffile.TiffFile(target) as file:
        assert file.series[0].axes == "TYX"
        stack = file.asarray()
        if name == "ome-tiff":
            said = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
            assert (said["PhysicalSizeX"], said["PhysicalSizeXUnit"]) == (0.25, "µm")
            assert (said["PhysicalSizeY"], said["TimeIncrement"]) == (0.25, 0.05)
        else:
            assert file.imagej_metadata["unit"] == "um"
            assert file.imagej_metadata["finterval"] == pytest.approx(0.05)
            assert file.pages[0].resolution == (4.0, 4.0)
    assert stack.dtype == np.uint8
    assert np.array_equal(stack, [label_map(here) for here in masks()])


@pytest.mark.parametrize("name", ["labels-tiff", "ome-tiff", "ome-zarr"])
def test_pixels_that_are_not_square(tmp_path, name):
    with Project.open(project(tmp_path / "p.s2t"), writable=True) as opened:
        opened.set_meta(pixel_size_um=[0.5, 0.25])
        target = opened.export(tmp_path / TARGETS[name], format=name).path
    assert open_source(target).about["pixel_size_um"] == pytest.approx((0.5, 0.25))


def test_ome_zarr_by_ome_zarr(export):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    target, _ = export("ome-zarr", pixel_size=0.25)
    (node,) = list(Reader(parse_url(str(target)))())[:1]
    assert np.array_equal(np.asarray(node.data[0]), [label_map(here) for here in masks()])
    assert node.metadata["coordinateTransformations"][0][0]["scale"] == [0.05, 0.25, 0.25]


def test_ome_zarr_keeps_to_its_specification(export):
    from zarr import open_group

    # Comes with ome-zarr; its older versions do without.
    models = pytest.importorskip("ome_zarr_models.v05")
    target, _ = export("ome-zarr", pixel_size=0.25)
    model = models.Image.from_zarr(open_group(str(target), mode="r"))
    axes = model.attributes.ome.multiscales[0].axes
    assert [(axis.name, axis.unit) for axis in axes] == [
        ("t", "second"),
        ("y", "micrometer"),
        ("x", "micrometer"),
    ]


def test_tables_by_pandas(export, path):
    import pandas as pd

    with Project.open(path) as opened:
        rows = list(opened.rows())
    one = pd.read_csv(export("csv")[0])
    assert list(one["frame"]) == [row.frame for row in rows]
    assert list(one["area_px"]) == [row.area for row in rows]


@COCO_WARNS
def test_parquet_by_pandas(export, path):
    import pandas as pd
    from pycocotools import mask as coco

    read = pd.read_parquet(export("parquet")[0])
    expected = masks()
    assert len(read) == sum(len(here) for here in expected)
    for row in read.itertuples():
        mask = expected[row.frame][row.object]
        assert row.area_px == mask.sum()
        assert row.predicted_iou == 0.75 and row.time_s == pytest.approx(row.frame / 20)
        code = {"size": [HEIGHT, WIDTH], "counts": row.rle.encode()}
        assert np.array_equal(coco.decode(code) != 0, mask)


def test_tracks_csv_is_what_napari_tracks_take(export):
    import pandas as pd

    read = pd.read_csv(export("tracks-csv")[0])
    assert list(read.columns[:4]) == ["track_id", "t", "y", "x"]
    for row in read.itertuples():
        ys, xs = np.nonzero(masks()[row.t][row.track_id])
        assert (row.y, row.x) == pytest.approx((ys.mean(), xs.mean()), abs=1e-3)
    graph = read.dropna(subset="parent").groupby("track_id").parent.first().astype(int)
    assert graph.to_dict() == {5: 4, 7: 4}
    assert len(read) == sum(mask.any() for here in masks() for mask in here.values())


def test_names_of_yolo_seg_as_a_reader_of_yaml_has_them(tmp_path):
    import yaml

    name = '\N{DOG FACE} \N{MAN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE} wörm\\ "a" #: '
    write_project(tmp_path / "p.s2t", {1: {0: np.eye(8, dtype=bool)}}, names={1: name})
    with Project.open(tmp_path / "p.s2t") as opened:
        opened.export(tmp_path / "yolo", format="yolo-seg", images=False)
    text = (tmp_path / "yolo" / "data.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["names"] == {0: name}
    assert open_masks(tmp_path / "yolo").names == {1: name}


def test_yolo_seg_by_the_documented_format(export):
    import cv2

    target, _ = export("yolo-seg", images=False, val_share=0.25)
    text = (target / "data.yaml").read_text()
    assert "train: images/train\nval: images/val\n" in text
    assert '  0: "a \\"cell\\""\n' in text
    train, val = (sorted((target / "labels" / part).glob("*.txt")) for part in ("train", "val"))
    assert [len(train), len(val)] == [7, 2]
    kinds = {1: 0, 2: 2}  # a "cell", object, wörm
    for frame, file in enumerate([*train, *val]):
        here = {i: mask for i, mask in masks()[frame].items() if mask.any()}
        lines = file.read_text().splitlines()
        assert [int(line.split()[0]) for line in lines] == [kinds.get(i, 1) for i in here]
        for line, (i, mask) in zip(lines, here.items(), strict=True):
            points = np.array(line.split()[1:], float).reshape(-1, 2)
            assert ((points >= 0) & (points <= 1)).all()
            canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
            cv2.fillPoly(canvas, [np.round(points * (WIDTH, HEIGHT) - 0.5).astype(np.int32)], 1)
            if i == 2 or frame == 6:  # a hole is filled, two parts are joined by a line
                assert not (mask & (canvas == 0)).any()
            else:
                assert np.array_equal(canvas != 0, mask)


@COCO_WARNS
def test_sav_by_its_documented_layout(export):
    from pycocotools import mask as coco

    target, _ = export("sav", name="some")
    said = json.loads((target / "some_manual.json").read_text())
    assert said["masklet_id"] == [1, 2, 3, 4, 5, 7] and len(said["masklet"]) == FRAMES
    assert said["masklet_first_appeared_frame"] == [0, 0, 0, 0, 5, 5]
    for frame, here in enumerate(masks()):
        for index, i in enumerate(said["masklet_id"]):
            mask = here.get(i, np.zeros((HEIGHT, WIDTH), bool))
            code = said["masklet"][frame][index]
            assert np.array_equal(coco.decode(code) != 0, mask)
            with Image.open(target / f"{i:03d}" / f"{frame:05d}.png") as image:
                assert np.array_equal(np.asarray(image) != 0, mask)


def test_frames_of_sav_are_counted_from_the_first_that_is_written(export):
    target, _ = export("sav", name="some", start=3, stop=8)
    said = json.loads((target / "some_manual.json").read_text())
    assert said["masklet_id"] == [1, 2, 3, 4, 5, 7] and len(said["masklet"]) == 5
    assert said["masklet_first_appeared_frame"] == [0, 0, 2, 0, 2, 2]


def test_npz_by_numpy(export):
    target, _ = export("npz")
    with np.load(target) as read:
        assert read["objects"].tolist() == [1, 2, 3, 4, 5, 7]
        assert read["names"].tolist()[:2] == ['a "cell"', "wörm"]
        assert read["mothers"].tolist() == [0, 0, 0, 0, 4, 4]
        for frame, here in enumerate(masks()):
            found = np.unpackbits(read[f"masks_{frame:05d}"], axis=-1, count=WIDTH)
            here = {i: mask for i, mask in here.items() if mask.any()}
            assert read[f"ids_{frame:05d}"].tolist() == list(here)
            assert np.array_equal(found, np.stack(list(here.values())))


def test_times_of_npz_are_those_of_its_frames(export):
    target, _ = export("npz", start=2, stop=6)
    with np.load(target) as read:
        assert read["frames"].tolist() == [2, 3, 4, 5]
        assert read["times"] == pytest.approx(np.arange(2, 6) / 20)


@pytest.mark.parametrize("top", [7, 300])
def test_masks_video_by_av(tmp_path, top):
    import av

    with Project.open(project(tmp_path / "p.s2t", top=top)) as opened:
        opened.export(tmp_path / "a.mkv", format="masks-video")
    with av.open(str(tmp_path / "a.mkv")) as container:
        stream = container.streams.video[0]
        assert stream.codec.name == "ffv1"
        assert stream.pix_fmt == ("gray" if top < 256 else "gray16le")
        found = [(frame.time, frame.to_ndarray()) for frame in container.decode(stream)]
    assert [time for time, _ in found] == pytest.approx(np.arange(FRAMES) / 20)
    expected = [label_map(here) for here in masks(top=top)]
    assert np.array_equal([labels for _, labels in found], expected)


@pytest.mark.parametrize(
    ("name", "options", "codec", "pixels"),
    [
        ("a.mkv", {"palette": True}, "ffv1", "bgr0"),
        ("a.mkv", {"codec": "h264"}, "h264", "yuvj444p"),
        ("a.mkv", {"codec": "h264", "palette": True}, "h264", "gbrp"),
        ("a.mp4", {}, "h264", "yuvj444p"),
        ("a.mp4", {"palette": True}, "h264", "gbrp"),
    ],
)
def test_masks_video_of_other_codecs_and_in_colours(path, tmp_path, name, options, codec, pixels):
    import av

    from sam2track.palette import PALETTE

    with Project.open(path) as opened:
        opened.export(tmp_path / name, format="masks-video", **options)
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert (stream.codec.canonical_name, stream.pix_fmt) == (codec, pixels)
        if codec == "h264":
            assert stream.codec_context.profile == "High 4:4:4 Predictive"
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(FRAMES) / 20, abs=1e-3)
    reading = open_masks(tmp_path / name)
    assert list(reading.frames) == list(range(FRAMES))
    for frame, here, (at, found) in zip(frames, masks(), reading.shots(), strict=True):
        labels = label_map(here)
        if options.get("palette"):
            assert np.array_equal(frame.to_ndarray(format="rgb24"), PALETTE[labels])
        else:
            values = frame.to_ndarray()
            assert np.array_equal(values if values.ndim == 2 else values[0], labels)
        assert sorted(found) == sorted(set(labels.flat) - {0}), at
        for i, mask in found.items():
            assert np.array_equal(mask, labels == i)


def test_videos_that_hold_no_labels_are_refused(tmp_path):
    from sam2track.export.label_videos import LabelVideoWriter
    from sam2track.export.videos import VideoWriter

    with VideoWriter(tmp_path / "shown.mp4", height=8, width=8) as video:
        video.write(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SourceError, match="yuv420p pixels; a video of labels is lossless"):
        open_masks(tmp_path / "shown.mp4")
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    with LabelVideoWriter(tmp_path / "a.mkv", height=8, width=8, palette=True) as video:
        video._append(lambda: av_frame(noise, "rgb24").reformat(format="bgr0"), 0)
    with pytest.raises(SourceError, match=r"frame 0 of .* colours that no object has"):
        list(open_masks(tmp_path / "a.mkv").shots())
    with LabelVideoWriter(tmp_path / "b.mkv", height=8, width=8, codec="h264") as video:
        video._append(lambda: av_frame(np.ascontiguousarray(noise.T), "yuv444p"), 0)
    with pytest.raises(SourceError, match=r"frame 0 of .* is not grey"):
        list(open_masks(tmp_path / "b.mkv").shots())


def av_frame(array, kind):
    import av

    return av.VideoFrame.from_ndarray(array, format=kind)


def test_csv_is_that_of_a_job(export, path, tmp_path):
    from sam2track.table import TableWriter

    target, _ = export("csv")
    with Project.open(path) as opened, TableWriter(tmp_path / "tracks.csv") as table:
        for row in opened.rows():
            table.write_cells(row.cells())
    assert target.read_text() == (tmp_path / "tracks.csv").read_text()
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert len(rows) == sum(len(here) for here in masks())


@pytest.mark.parametrize("name", sorted(BACK))
def test_masks_of_a_frame_are_not_held_at_once(name, tmp_path):
    """All of a thousand cells in 2048 x 2048 pixels would be four gigabytes."""
    side, count = 512, 144
    frame = {}
    for i in range(count):
        y, x = divmod(i, 12)
        frame[i + 1] = np.zeros((side, side), bool)
        frame[i + 1][40 * y : 40 * y + 20, 40 * x : 40 * x + 20] = True
    path = project(tmp_path / "p.s2t", [frame], lineage=False)
    peaks = []
    for turn in ("first", "second"):  # the first loads what is needed
        target = tmp_path / turn / TARGETS.get(name, name)
        target.parent.mkdir()
        tracemalloc.start()
        with Project.open(path) as opened:
            opened.export(target, format=name)
        found = [
            (i, int(mask.sum()))
            for _, here in open_masks(target).shots()
            for i, mask in here.items()
        ]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    if name == "yolo-seg":  # which object is which it does not say
        assert sum(size for _, size in found) == 400 * count
    else:
        assert found == [(i, 400) for i in frame]
    assert peaks[1] < count * side * side / 3


@pytest.mark.parametrize("name", ["ctc", "geff", "trackmate"])
def test_an_only_daughter_is_said_to_come_back_as_her_mother(name, tmp_path):
    path = project(tmp_path / "p.s2t")
    with Project.open(path, writable=True) as opened, opened.step("remove", {}):
        opened.forget(7)
    with Project.open(path) as opened:
        done = opened.export(tmp_path / TARGETS.get(name, name), format=name)
    said = f"{name} cannot tell an only daughter from a mother who goes on: read back, [5] are"
    assert [said in warning for warning in done.warnings].count(True) == 1
    found = dict(open_masks(done.path).shots())
    assert 4 in found[6] and 5 not in found[6]
