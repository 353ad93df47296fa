"""``sam2track image``: what it writes, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from pycocotools.coco import COCO

from sam2track.cli.main import main
from sam2track.export.videos import VideoWriter
from sam2track.image import segmenter

HEIGHT, WIDTH = 48, 64
BOX, OTHER = "1:4,6,24,26", "7:30,6,60,40"


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and files that are wrong."""
    folder = tmp_path_factory.mktemp("things")
    picture = np.random.default_rng(0).integers(0, 80, (HEIGHT, WIDTH, 3), np.uint8)
    picture[6:26, 4:24] = (230, 50, 40)
    Image.fromarray(picture).save(folder / "cat.png")
    (folder / "many").mkdir()
    for name in ("b10.jpg", "b9.png", "a.bmp"):
        Image.fromarray(picture).save(folder / "many" / name)
    (folder / "many" / "notes.txt").write_text("no picture")
    (folder / "empty").mkdir()
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "cat.png").read_bytes()[:200])
    Image.fromarray(picture).save(
        folder / "pages.tif", save_all=True, append_images=[Image.fromarray(picture)]
    )
    np.save(folder / "stack.npy", np.zeros((3, 4, 5), np.uint8))
    with VideoWriter(folder / "clip.mp4", height=HEIGHT, width=WIDTH, threads=1) as video:
        for _ in range(4):
            video.write(picture)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[6:26, 4:24] = 255
    Image.fromarray(mask).save(folder / "earlier.png")
    (folder / "boxes.csv").write_text(
        "image,x0,y0,x1,y1,class\ncat.png,4,6,24,26,cat\nb9.png,4,6,24,26,cat\n"
        "b9.png,30,6,60,40,dog\n"
    )
    (folder / "wrong.csv").write_text("x0,y0,x1,y1\n1,2,3,4\n1,2,3\n")
    return folder


def invoke(*arguments: object) -> Result:
    model = ("--model", "nano", "--image-size", 128, "--device", "cpu")
    line = [str(argument) for argument in ("image", *arguments, *model)]
    return CliRunner().invoke(main, line, prog_name="sam2track")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_object(things: Path, tmp_path: Path) -> None:
    every = "mask,overlay,cutout,background-removed,labels,json"
    done = invoke(things / "cat.png", "-o", tmp_path, "--box", BOX, "--write", every)
    assert done.exit_code == 0, done.output
    assert names(tmp_path) == [
        "cat.background-removed.png",
        "cat.cutout.png",
        "cat.json",
        "cat.labels.png",
        "cat.mask.png",
        "cat.overlay.png",
    ]
    mask = Image.open(tmp_path / "cat.mask.png")
    assert mask.mode == "L" and set(np.unique(mask)) <= {0, 255}
    inside = np.asarray(mask) > 0
    assert 0 < inside.mean() < 1
    labels = Image.open(tmp_path / "cat.labels.png")
    assert labels.mode == "P" and np.array_equal(np.asarray(labels) > 0, inside)
    cut = np.asarray(Image.open(tmp_path / "cat.cutout.png"))
    assert cut.shape == (HEIGHT, WIDTH, 4)
    assert np.array_equal(cut[..., 3] > 127, inside) and len(np.unique(cut[..., 3])) > 2
    behind = np.asarray(Image.open(tmp_path / "cat.background-removed.png"))
    assert (behind[cut[..., 3] == 0] == 255).all()
    whole = cut[..., 3] == 255
    assert np.array_equal(behind[whole], np.asarray(Image.open(things / "cat.png"))[whole])
    assert ": 1 object\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("done: 1 picture, 1 object, nano on cpu")


@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # of pycocotools
def test_several_objects(things: Path, tmp_path: Path) -> None:
    done = invoke(things / "cat.png", "-o", tmp_path, "--box", BOX, "--box", OTHER, "--json")
    assert done.exit_code == 0, done.output
    mask = Image.open(tmp_path / "cat.mask.png")
    assert mask.mode == "P" and set(np.unique(mask)) <= {0, 1, 7}
    found = json.loads(done.stdout)
    assert list(found) == [
        "version",
        "model",
        "device",
        "precision",
        "status",
        "seconds",
        "images",
        "counts",
        "failed",
        "warnings",
    ]
    objects = found["images"][0]["objects"]
    assert [item["id"] for item in objects] == [1, 7]
    assert [len(item["candidates"]) for item in objects] == [1, 1]
    coco = COCO(tmp_path / "cat.json")
    for annotation, item in zip(coco.loadAnns(coco.getAnnIds()), objects, strict=True):
        assert coco.annToMask(annotation).sum() == annotation["area"] == item["area_px"]
        assert annotation["predicted_iou"] == item["predicted_iou"]
    assert coco.imgs[1]["file_name"] == "cat.png"


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--point", "1:14,16"], 3),
        (["--point", "1:14,16", "--single"], 1),
        (["--point", "1:14,16", "--background", "1:50,40"], 1),
        (["--box", BOX], 1),
        (["--box", BOX, "--multimask"], 3),
    ],
)
def test_candidates(things: Path, tmp_path: Path, options: list[str], count: int) -> None:
    done = invoke(things / "cat.png", "-o", tmp_path, *options, "--all-candidates", "--json")
    assert done.exit_code == 0, done.output
    (item,) = json.loads(done.stdout)["images"][0]["objects"]
    scores = item["candidates"]
    assert len(scores) == count and scores == sorted(scores, reverse=True)
    assert item["predicted_iou"] == scores[0]
    found = [n for n in names(tmp_path) if "candidate" in n]
    assert found == [f"cat.candidate-1-{k}.png" for k in range(1, count + 1)]
    best = cv2.imread(str(tmp_path / found[0]), cv2.IMREAD_UNCHANGED)
    chosen = cv2.imread(str(tmp_path / "cat.mask.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(best, chosen)
    again = invoke(things / "cat.png", "-o", tmp_path, *options, "--all-candidates")
    assert again.exit_code == 2


def test_options_beside_a_prompts_file(things: Path, tmp_path: Path) -> None:
    said = {"version": 1, "objects": [{"id": 2, "prompts": [{"frame": 0, "points": [[5, 5]]}]}]}
    (tmp_path / "said.json").write_text(json.dumps(said))
    options = ["--prompts", tmp_path / "said.json", "--box", BOX, "--json"]
    done = invoke(things / "cat.png", "-o", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert [o["id"] for o in json.loads(done.stdout)["images"][0]["objects"]] == [1, 2]


def test_the_mask_of_an_earlier_round(things: Path, tmp_path: Path) -> None:
    earlier = f"1:{things / 'earlier.png'}"
    alone = invoke(things / "cat.png", "-o", tmp_path / "a", "--mask", earlier)
    assert alone.exit_code == 0, alone.output
    both = invoke(things / "cat.png", "-o", tmp_path / "b", "--mask", earlier, "--point", "1:14,16")
    assert both.exit_code == 0, both.output
    point = invoke(things / "cat.png", "-o", tmp_path / "c", "--point", "1:14,16", "--single")
    assert point.exit_code == 0, point.output
    masks = [cv2.imread(str(tmp_path / n / "cat.mask.png")) for n in "abc"]
    assert not np.array_equal(masks[0], masks[1]) and not np.array_equal(masks[1], masks[2])


@pytest.mark.parametrize("ground", ["lime", "#00ff00", "picture"])
def test_backgrounds(things: Path, tmp_path: Path, ground: str) -> None:
    if ground == "picture":
        ground = str(tmp_path / "ground.png")
        Image.new("RGB", (7, 300), (0, 255, 0)).save(ground)
    out = tmp_path / "out"
    done = invoke(things / "cat.png", "-o", out, "--box", BOX, "--background", ground)
    assert done.exit_code == 0, done.output
    behind = np.asarray(Image.open(out / "cat.background-removed.png"))
    mask = np.asarray(Image.open(out / "cat.mask.png"))
    corner = tuple(np.argwhere(cv2.dilate(mask, np.ones((9, 9))) == 0)[0])
    assert behind[corner].tolist() == [0, 255, 0]


def test_everything_that_finds_nothing_says_what_to_lower(things: Path, tmp_path: Path) -> None:
    options = ("--points-per-side", "2", "--min-iou", "1.5")
    done = invoke(things / "cat.png", "-o", tmp_path, "--everything", *options)
    assert done.exit_code == 0 and "0 objects" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert "cat.png: no mask was good enough" in line and "--min-stability" in line


def test_everything(things: Path, tmp_path: Path) -> None:
    options = ("--points-per-side", 4, "--min-iou", 0.0, "--min-stability", 0.0)
    done = invoke(things / "cat.png", "-o", tmp_path, "--everything", *options, "--json")
    assert done.exit_code == 0, done.output
    objects = json.loads(done.stdout)["images"][0]["objects"]
    assert len(objects) >= 1
    content = json.loads((tmp_path / "cat.json").read_text())
    assert content["info"]["count"] == len(objects) == len(content["annotations"])
    assert {"predicted_iou", "stability_score", "point_coords", "crop_box"} <= set(
        content["annotations"][0]
    )


def test_a_folder_is_a_batch(things: Path, tmp_path: Path) -> None:
    done = invoke(things / "many", "-o", tmp_path, "--box", BOX, "--point", "2:40,20@1", "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    (left_out,) = content["warnings"]
    assert left_out.endswith("being no PNG, JPEG, BMP, TIFF or WebP: notes.txt")
    assert f"warning: {left_out}" in done.stderr
    images = content["images"]
    assert [Path(image["source"]).name for image in images] == ["a.bmp", "b9.png", "b10.jpg"]
    assert [[o["id"] for o in image["objects"]] for image in images] == [[1], [1, 2], [1]]


def test_detections_by_the_names_of_pictures(things: Path, tmp_path: Path) -> None:
    done = invoke(
        *(things / "many", things / "cat.png"),
        *("-o", tmp_path, "--detections", things / "boxes.csv", "--json"),
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["counts"] == {"cat": 2, "dog": 1}
    by_name = {Path(i["source"]).name: [o["name"] for o in i["objects"]] for i in found["images"]}
    assert by_name == {"a.bmp": [], "b9.png": ["cat", "dog"], "b10.jpg": [], "cat.png": ["cat"]}
    assert not cv2.imread(str(tmp_path / "a.mask.png")).any()


def test_an_empty_mask_comes_with_a_hint(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = segmenter.step.heads

    def seeing_nothing(*given: Any, **more: Any) -> Any:
        found = heads(*given, **more)
        return found._replace(masks=found.masks - 1e3)

    monkeypatch.setattr(segmenter.step, "heads", seeing_nothing)
    done = invoke(things / "cat.png", "-o", tmp_path, "--box", BOX)
    assert done.exit_code == 0, done.output
    assert "cat.png: object 1 has an empty mask; say more of it" in done.stderr


def test_one_bad_picture_does_not_stop_the_others(things: Path, tmp_path: Path) -> None:
    done = invoke(things / "text.png", things / "cat.png", "-o", tmp_path, "--box", BOX, "--json")
    assert done.exit_code == 1
    assert "text.png is no picture that can be read: it is text" in done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == "failed" and len(found["failed"]) == 1
    assert (tmp_path / "cat.mask.png").exists() and not (tmp_path / "text.mask.png").exists()


def test_one_that_the_decoder_breaks_on_does_not_stop_the_others(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = cv2.imdecode

    def breaking(data: np.ndarray, flags: int) -> Any:
        if data[:2].tobytes() == b"BM":
            raise cv2.error("(-215:Assertion failed)")
        return decode(data, flags)

    monkeypatch.setattr(cv2, "imdecode", breaking)
    done = invoke(things / "many", "-o", tmp_path, "--box", BOX, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert len(found["images"]) == 2 and "a.bmp cannot be decoded" in found["failed"][0]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["text.png", "--box", BOX], 1, "no picture that can be read"),
        (["cut.png", "--box", BOX], 1, "cut short"),
        (["none.png", "--box", BOX], 1, "No such file"),
        (["empty", "--box", BOX], 1, "holds no pictures"),
        (["pages.tif", "--box", BOX], 2, "holds 2 pictures, not one; `sam2track track`"),
        (["stack.npy", "--box", BOX], 2, "is a stack, not a single picture; `sam2track track`"),
        (["clip.mp4", "--box", BOX], 2, "is a video, not a picture; `sam2track track`"),
        (["cat.png"], 2, "nothing to look for"),
        (["cat.png", "--box", "1:4,6,99,26"], 2, "reaches outside the frame of 64 x 48"),
        (["cat.png", "--point", "1:64.5,3"], 2, "outside the frame"),
        (["cat.png", "--box", "1:9,6,9,26"], 2, "has no area"),
        (["cat.png", "--box", BOX + "@1"], 2, "picture 1, which does not exist"),
        (["cat.png", "--absent", "1@0"], 2, "absent"),
        (["cat.png", "--box", "70000:4,6,24,26"], 2, "object 70000 does not fit"),
        (["cat.png", "--box", BOX, "--everything"], 2, "without prompts"),
        (["cat.png", "--box", BOX, "--min-iou", "0.5"], 2, "--everything"),
        (["cat.png", "--everything", "--points-per-side", "0"], 2, "points_per_side 0"),
        (["cat.png", "--everything", "--single"], 2, "leave out how many"),
        (["cat.png", "--everything", "--all-candidates"], 2, "leave out how many"),
        (["cat.png", "--everything", "--crop-layers", "9"], 2, "crop_layers 9"),
        (["cat.png", "--everything", "--min-region-area", "-1"], 2, "min_region_area -1"),
        (["cat.png", "--box", BOX, "--refine"], 2, "--refine is a setting of --everything"),
        (["cat.png", "--box", BOX, "--write", "masks"], 2, "cannot write 'masks'; allowed"),
        (["cat.png", "--box", BOX, "--write", ","], 2, "nothing to write"),
        (["cat.png", "--box", BOX, "--background", "bluish"], 2, "no such colour and no such file"),
        (["cat.png", "--box", BOX, "--background", "red", "--background", "blue"], 2, "two back"),
        (["cat.png", "--detections", "wrong.csv"], 2, "line 3: 3 columns; the header has 4"),
        (["cat.png", "--box", BOX, "--classes", "a"], 2, "--classes says which detections"),
        (["cat.png", "many/../cat.png", "--box", BOX], 2, "under the same name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be(
    things: Path, tmp_path: Path, arguments: list[str], status: int, says: str
) -> None:
    line = [
        str(things / part) if (things / part).exists() or part == "none.png" else part
        for part in arguments
    ]
    done = invoke(*line, "-o", tmp_path / "out")
    assert done.exit_code == status, done.output
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over_unasked(things: Path, tmp_path: Path) -> None:
    first = ("-o", tmp_path, "--box", BOX)
    assert invoke(things / "cat.png", *first).exit_code == 0
    again = invoke(things / "cat.png", *first)
    assert again.exit_code == 2 and "is there already" in again.stderr
    assert invoke(things / "cat.png", *first, "--overwrite").exit_code == 0
    # Nor what is read, though that be asked for.
    (tmp_path / "x.mask.png").write_bytes((things / "cat.png").read_bytes())
    (tmp_path / "x.png").write_bytes((things / "cat.png").read_bytes())
    done = invoke(tmp_path / "x.png", tmp_path / "x.mask.png", *first, "--overwrite")
    assert done.exit_code == 2 and "would be written over" in done.stderr


def test_output_that_is_a_file(things: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = invoke(things / "cat.png", "-o", tmp_path / "file", "--box", BOX)
    assert done.exit_code == 1 and "is a file" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"
