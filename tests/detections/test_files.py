"""Files of boxes: what they say, and that wrong ones say in which line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam2track.detections import chosen, load_detections, packed, unpacked
from sam2track.errors import PromptError

HEIGHT, WIDTH = 100, 200


def on(
    path: Path, frame: int = 0, **options: object
) -> tuple[list[list[float]], list[float], tuple]:
    found = load_detections(path, **options).at(frame, height=HEIGHT, width=WIDTH, anywhere=True)
    return found.boxes.tolist(), found.scores.tolist(), found.names


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yolo(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "0 0.5 0.5 0.25 0.5 0.75\n\n2 0.1 0.1 0.1 0.1\n")
    expected = [[75, 25, 125, 75], [10, 5, 30, 15]]
    assert np.allclose(on(path)[0], expected)
    assert on(path)[1:] == ([0.75, 1], ("0", "2"))
    assert on(path, class_names=["car", "bus", "dog"])[2] == ("car", "dog")
    tracked = write(tmp_path, "tracked.txt", "0 0.5 0.5 0.25 0.5 0.75 12\n")
    assert on(tracked)[1] == [0.75]
    write(tmp_path, "classes.txt", "cat\ncow\n")
    assert on(path)[2] == ("cat", "2")
    assert len(on(write(tmp_path, "rounded.txt", "0 1.005 -0.005 0.1 0.1\n"))[0]) == 1


def test_a_folder_of_yolo_files(tmp_path: Path) -> None:
    write(tmp_path, "video_2.txt", "0 0.5 0.5 1 1\n")
    write(tmp_path, "video_10.txt", "1 0.5 0.5 0.5 0.5\n")
    file = load_detections(tmp_path)
    # Detectors count the frames of a video from 1.
    assert sorted(file.by_frame) == [1, 9]
    assert file.at(1, height=HEIGHT, width=WIDTH).boxes.tolist() == [[0, 0, WIDTH, HEIGHT]]
    assert len(file.at(0, height=HEIGHT, width=WIDTH)) == 0
    named = file.at(0, height=HEIGHT, width=WIDTH, stem="video_10")
    assert named.names == ("1",)
    with pytest.raises(PromptError, match=r"frame 9 .counted from 0., but the source has frames 0"):
        file.check(frames=9, classes=None, stems=None)
    with pytest.raises(PromptError, match="no boxes for any of these pictures; it names video_10"):
        file.check(frames=99, classes=None, stems=["cat"])
    write(tmp_path, "cat.txt", "0 0.5 0.5 1 1\n")
    with pytest.raises(PromptError, match="do not end in a number"):
        load_detections(tmp_path).check(frames=99, classes=None, stems=None)
    load_detections(tmp_path).check(frames=1, classes=["0"], stems=["cat"])
    with pytest.raises(PromptError, match="no boxes for any of these pictures"):
        load_detections(tmp_path).check(frames=1, classes=None, stems=["dog"])


def test_a_folder_of_yolo_files_that_are_counted_from_0(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path, f"v_{number}.txt", "0 0.5 0.5 1 1\n")
    file = load_detections(tmp_path)
    assert not file.by_frame and sorted(file.by_stem) == ["v_0", "v_1"]
    with pytest.raises(PromptError, match=r"'v_0' do not end in a number of their own from 1"):
        file.check(frames=2, classes=None, stems=None)


def test_motchallenge(tmp_path: Path) -> None:
    lines = "1,-1,10,20,30,40,0.5,-1,-1,-1\n3,4,1,2,3,4,1,2,0.9\n3, 5, 1, 2, 3, 4\n"
    path = write(tmp_path, "det.txt", lines + "4,-1,10,20,30,40,0.5,1,2,3\n")
    assert on(path, 0) == on(path, 3) == ([[10, 20, 40, 60]], [0.5], ("",))
    assert on(path, 2) == ([[1, 2, 4, 6]] * 2, [1, 1], ("2", ""))
    assert on(path, 2, class_names={2: "car"})[2] == ("car", "")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("frame,x0,y0,x1,y1,score,class", "1,10,20,40,60,0.5,car"),
        ("x1,y1,x2,y2,confidence,frame,name", "10,20,40,60,0.5,1,car"),
        ("xmin,ymin,xmax,ymax,confidence,class,name,frame", "10,20,40,60,.5,3,car,1"),
        ("Frame , X , Y , Width , Height , Conf , Label", "1,10,20,30,40,0.5, car"),
        ("x_min,y_min,x_max,y_max,class_id,confidence,frame_index", "10,20,40,60,1,0.5,1"),
        ("frame,left,top,right,bottom,score,class", "1,10,20,40,60,0.5,car"),
        ("frame_id,bb_left,bb_top,bb_width,bb_height,conf,category", "1,10,20,30,40,0.5,car"),
        ("\ufeffframe,x0,y0,x1,y1,score,class", "1,10,20,40,60,0.5,car"),
    ],
)
def test_csv(tmp_path: Path, header: str, row: str) -> None:
    for name in ("boxes.csv", "boxes.txt"):
        path = write(tmp_path, name, f"{header}\n{row}\n\n")
        assert on(path, 1, class_names=["bus", "car"]) == ([[10, 20, 40, 60]], [0.5], ("car",))
        assert on(path, 0)[0] == []


def test_csv_without_frames_or_with_pictures(tmp_path: Path) -> None:
    path = write(tmp_path, "boxes.csv", "x0,y0,x1,y1\n1,2,3,4\n")
    assert on(path, 5) == ([[1, 2, 3, 4]], [1], ("",))
    path = write(tmp_path, "named.csv", "image,x0,y0,x1,y1\n/data/b/cat.jpg,1,2,3,4\n")
    file = load_detections(path)
    assert len(file.at(0, height=HEIGHT, width=WIDTH, stem="cat")) == 1
    assert len(file.at(0, height=HEIGHT, width=WIDTH, stem="dog")) == 0


def test_coco(tmp_path: Path) -> None:
    entry = {"image_id": 4, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.25}
    path = write(tmp_path, "results.json", json.dumps([entry]))
    assert on(path, 4) == ([[1, 2, 4, 6]], [0.25], ("3",))
    assert on(path, 4, class_names={3: "car"})[2] == ("car",)
    path = write(tmp_path, "floats.json", json.dumps([entry | {"image_id": 3.0}]))
    assert on(path, 3) == ([[1, 2, 4, 6]], [0.25], ("3",))
    whole = {
        "images": [{"id": 9, "file_name": "a/0.jpg"}, {"id": 4, "file_name": "a/cat.jpg"}],
        "annotations": [entry],
        "categories": [{"id": 3, "name": "cat"}],
    }
    path = write(tmp_path, "dataset.json", json.dumps(whole))
    assert on(path, 1) == ([[1, 2, 4, 6]], [0.25], ("cat",))
    assert on(path, 1, class_names={3: "car"})[2] == ("car",)
    named = load_detections(path).at(0, height=HEIGHT, width=WIDTH, stem="cat")
    assert named.names == ("cat",)
    load_detections(path).check(frames=1, classes=None, stems=["0"])  # which has none
    for image in whole["images"]:
        del image["file_name"]  # then their places say which they are, among pictures too
    placed = load_detections(write(tmp_path, "placed.json", json.dumps(whole)))
    placed.check(frames=2, classes=None, stems=["dog", "cat"])
    assert placed.at(1, height=HEIGHT, width=WIDTH, stem="cat").names == ("cat",)
    whole["annotations"][0]["image_id"] = 5
    with pytest.raises(PromptError, match="entry 0: image_id 5 is not among its images"):
        load_detections(write(tmp_path, "wrong.json", json.dumps(whole)))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "0 .5 .5 .1 .1\n0 .5 .5 .1\n", "line 2: 4 columns; expected 5 to 7: class x_"),
        ("a.txt", "0 .5 .5 .1 .1 .1 .1 .1\n", "line 1: 8 columns"),
        ("a.txt", "\n\nx .5 .5 .1 .1\n", "line 3: 'x' is no number"),
        ("a.txt", "0.5 .5 .5 .1 .1\n", "line 1: the class is 0.5"),
        ("a.txt", "0 50 50 10 10\n", "line 1: .* is not in parts of the picture"),
        ("a.txt", "0 1.5 .5 .1 .1\n", "line 1: .* is not in parts of the picture"),
        ("a.txt", "0 .5 .5 0 .1\n", "line 1: .* has no area"),
        ("a.txt", "1,2,3\n", "line 1: 3 columns; expected 6 to 10: frame,id"),
        ("a.txt", "1,1,0,0,9,9\n0,1,0,0,9,9\n", "line 2: the frame is 0; it is .* from 1"),
        ("a.txt", "1,1,0,0,nan,9\n", "line 1: 'nan' is no number"),
        ("a.txt", "1,1,0,0,-3,9\n", "line 1: .* has no area"),
        ("a.csv", "frame,left\n1,2\n", "line 1: the header is 'frame,left'; expected columns x0"),
        ("a.csv", "x0,y0,x1,y1\n1,2,3,4\n1,2,3\n", "line 3: 3 columns; the header has 4"),
        ("a.csv", "x0,y0,x1,y1\n1,2,3,4,5\n", "line 2: 5 columns; the header has 4"),
        ("a.csv", "x0,y0,x1,y1\n\n1,2,?,4\n", "line 3: '\\?' is no number"),
        ("a.csv", "x0,y0,x1,y1\n5,2,3,4\n", "line 2: .* has no area"),
        ("a.csv", "x0,y0,x1,y1,x0\n5,2,3,4,5\n", "line 1: the header has 'x0' twice"),
        ("a.csv", "x0,y0,x1,y1,frame\n1,2,3,4,-1\n", "line 2: the frame is -1"),
        ("a.csv", 'x0,y0,x1,y1\n1,2,"3,4\n', "no CSV"),
        ("a.csv", "", "is empty; expected a header"),
        ("a.json", '[\n{"image_id": 1,\n', "not JSON: .* in line 3"),
        ("a.json", "{}", "holds no list of annotations"),
        ("a.json", "[3]", "entry 0 of annotations is no object"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, 3]}]', "entry 0: bbox .* expected four"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, 3, 4], "score": NaN}]', "0: .* score nan"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, 0, 4]}]', "entry 0: bbox .* has no area"),
        ("a.json", '[{"bbox": [1, 2, 3, 4]}]', "entry 0: image_id None; expected"),
        ("a.json", '[{"image_id": -1, "bbox": [1, 2, 3, 4]}]', "entry 0: image_id -1"),
        ("a.xml", "<a/>", "no file of boxes by its name"),
    ],
)
def test_wrong_files_say_in_which_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        load_detections(write(tmp_path, name, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"none\.txt cannot be read"):
        load_detections(tmp_path / "none.txt")
    with pytest.raises(PromptError, match=r"holds no \.txt files"):
        load_detections(tmp_path)
    (tmp_path / "a.csv").write_bytes(bytes(range(256)))
    with pytest.raises(PromptError, match="not UTF-8"):
        load_detections(tmp_path / "a.csv")


def test_what_is_wanted_of_a_file(tmp_path: Path) -> None:
    rows = ("0,0,0,9,9,.9,a", "0,0,0,8,8,.1,a", "0,1,1,9,9,.9,b", "4,0,0,9,9,1,a", "9,0,0,9,9,.1,a")
    path = write(tmp_path, "a.csv", "\n".join(["frame,x0,y0,x1,y1,score,class", *rows]))
    sizes = [(HEIGHT, WIDTH)] * 3
    found = chosen(path, [0, 2, 4], sizes, total=5, min_score=0.5, classes=["a"])
    assert {frame: item.boxes.tolist() for frame, item in found.items()} == {
        0: [[0, 0, 9, 9]],
        4: [[0, 0, 9, 9]],
    }
    again = unpacked(json.loads(json.dumps(packed(found))))
    assert packed(again) == packed(found)
    with pytest.raises(PromptError, match="has no class 'c'; it has a, b"):
        chosen(path, [0], sizes[:1], total=5, classes=["c"])
    with pytest.raises(PromptError, match="has boxes on frame 4 "):
        chosen(path, [0], sizes[:1], total=4, min_score=1)
    assert list(chosen(path, [0], sizes[:1], total=2, classes=["b"])) == [
        0
    ]  # of "a" some are beyond
    by_frame = chosen({2: [(0, 0, 9, 9)]}, [0, 2, 4], sizes, total=5)
    assert list(by_frame) == [2]
    assert list(chosen([(0, 0, 9, 9)], [2, 4], sizes[:2], total=5)) == [2]
    unnamed = write(tmp_path, "unnamed.csv", "x0,y0,x1,y1\n0,0,9,9\n")
    assert list(chosen(unnamed, [2, 4], sizes[:2], total=5)) == [2]
    assert chosen(unnamed, [2], sizes[:1], total=5, anywhere=0) == {}


number = st.integers(0, 800).map(lambda n: n / 8)
box = st.tuples(number, number, number, number).map(
    lambda v: (v[0], v[1], v[0] + v[2] + 0.125, v[1] + v[3] + 0.125)
)
row = st.tuples(st.integers(0, 5), box, st.integers(0, 8).map(lambda n: n / 8), st.integers(0, 3))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(row, min_size=1, max_size=8))
def test_every_format_says_the_same(tmp_path: Path, rows: list) -> None:
    side = 1024  # so that parts of it are exact
    texts = {
        "a.csv": "frame,x0,y0,x1,y1,score,class\n"
        + "".join(f"{f},{b[0]},{b[1]},{b[2]},{b[3]},{s},{c}\n" for f, b, s, c in rows),
        "mot.txt": "".join(
            f"{f + 1},-1,{b[0]},{b[1]},{b[2] - b[0]},{b[3] - b[1]},{s},{c},1\n"
            for f, b, s, c in rows
        ),
        "a.json": json.dumps(
            [
                {
                    "image_id": f,
                    "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
                    "score": s,
                    "category_id": c,
                }
                for f, b, s, c in rows
            ]
        ),
    }
    for name, text in texts.items():
        file = load_detections(write(tmp_path, name, text))
        for frame in range(6):
            here = [item for item in rows if item[0] == frame]
            found = file.at(frame, height=side, width=side)
            assert found.boxes.tolist() == [list(b) for _, b, _, _ in here]
            assert found.scores.tolist() == [s for _, _, s, _ in here]
            assert found.names == tuple(str(c) for _, _, _, c in here)
    yolo = "".join(
        f"{c} {(b[0] + b[2]) / 2 / side} {(b[1] + b[3]) / 2 / side} "
        f"{(b[2] - b[0]) / side} {(b[3] - b[1]) / side} {s}\n"
        for _, b, s, c in rows
    )
    found = load_detections(write(tmp_path, "yolo.txt", yolo)).at(
        0, height=side, width=side, anywhere=True
    )
    assert np.allclose(found.boxes, [b for _, b, _, _ in rows], atol=1e-9)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["a.txt", "a.csv", "a.json"]),
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet='0123456789.,- \n"xye[]{}:', max_size=80),
        st.text(alphabet="0123456789.,- \n", max_size=80).map(lambda t: "x0,y0,x1,y1\n" + t),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["image_id", "bbox", "images", "annotations", "id", "score"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        ).map(json.dumps),
    ),
)
def test_any_text_is_read_or_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        file = load_detections(path)
    except PromptError as error:
        assert str(path) in str(error)
        return
    for frame in file.by_frame:
        found = file.at(frame, height=HEIGHT, width=WIDTH, anywhere=True)
        assert (found.boxes[:, 0] < found.boxes[:, 2]).all()


def test_a_class_that_is_no_name_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('frame,x0,y0,x1,y1,class\n0,1,1,9,9,cat\n0,1,1,9,9,"a\x01b"\n')
    held = load_detections(path)
    with pytest.raises(PromptError, match=r"a\.csv: name 'a\\x01b'; a name is one line"):
        held.check(frames=1, classes=None, stems=None)
    held.check(frames=1, classes=["cat"], stems=None)  # what is not wanted may have any
