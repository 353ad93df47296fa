"""What a person says: the command line's grammar, the prompts file, merging and comparing."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from sam2track.cli.grammar import (
    parse_absent,
    parse_box,
    parse_point,
    parse_tagged,
    split_frame,
)
from sam2track.errors import PromptError
from sam2track.masks import Part
from sam2track.prompt_files import load_prompts
from sam2track.prompts import Prompt, Prompts, check_name, check_object_id, merged

numbers = st.floats(0, 4096, allow_nan=False, width=32)
ids = st.integers(1, 2**31 - 1)
frames = st.integers(0, 10**6)
# Text near the grammar finds more than text at large.
PRINTED = st.characters(codec="utf-8").filter(str.isprintable)
texts = st.text() | st.text("0123456789:@,.-+eE_ infa\u0663\u00b2\0", max_size=40)


def no_mask(path: Path) -> np.ndarray:
    raise AssertionError(f"{path} is read")


# -- the grammar ------------------------------------------------------------------------


@given(texts)
@example("1:2,3@" + "9" * 5000)
@example("9" * 5000 + ":1,2")
@example("1:" + "9" * 5000 + ",2")
@example("1:nan,2")
@example("\u0663:1,2")
def test_any_text_parses_or_is_a_prompt_error(text: str) -> None:
    try:
        object_id, point, frame = parse_point(text, default_frame=0)
        Prompt(points=(point,))
        assert object_id >= 1 and frame >= 0
    except PromptError:
        pass
    try:
        object_id, box, frame = parse_box(text, default_frame=0)
        assert object_id >= 1 and frame >= 0 and box[0] < box[2] and box[1] < box[3]
    except PromptError:
        pass
    for parse in (parse_absent, lambda t: parse_tagged(t, default_frame=0)):
        with contextlib.suppress(PromptError):
            assert parse(text)[0] >= 1


@given(ids, numbers, numbers, frames)
def test_point(object_id: int, x: float, y: float, frame: int) -> None:
    assert parse_point(f"{object_id}:{x!r},{y!r}@{frame}", default_frame=7) == (
        object_id,
        (x, y),
        frame,
    )
    assert parse_point(f"{object_id}:{x!r},{y!r}", default_frame=7)[2] == 7


@given(ids, numbers, numbers, frames)
def test_box(object_id: int, x: float, y: float, frame: int) -> None:
    box = (x, y, x + 1.0, y + 2.0)
    text = f"{object_id}:{','.join(map(repr, box))}@{frame}"
    assert parse_box(text, default_frame=0) == (object_id, box, frame)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3:a.png", (3, "a.png", 5)),
        ("3:C:\\a b@home\\m.png@12", (3, "C:\\a b@home\\m.png", 12)),
        ("3:mail@host.png", (3, "mail@host.png", 5)),
        ("3:a@1@2", (3, "a@1", 2)),
        ("3:a@-2", (3, "a@-2", 5)),
    ],
)
def test_object_ends_at_first_colon_and_frame_is_behind_last_at(
    text: str, found: tuple[int, str, int]
) -> None:
    assert parse_tagged(text, default_frame=5) == found


def test_split_frame() -> None:
    assert split_frame("labels@2.png", default_frame=4) == ("labels@2.png", 4)
    assert split_frame("labels@2.png@9", default_frame=4) == ("labels@2.png", 9)
    assert parse_absent("2@30") == (2, 30)


@pytest.mark.parametrize(
    "text",
    ["", ":", "1", "1:", "1:@3", "x:1,2", "-1:1,2", "0:1,2", "1.5:1,2", "1:1", "1:1,2,3", "1:a,b"],
)
def test_bad_points(text: str) -> None:
    with pytest.raises(PromptError):
        parse_point(text, default_frame=0)


@pytest.mark.parametrize(
    "text", ["1:1,2,3", "1:5,5,5,9", "1:5,5,9,5", "1:9,9,1,1", "1:nan,0,1,1", "1:0,0,inf,1"]
)
def test_bad_boxes(text: str) -> None:
    with pytest.raises(PromptError):
        parse_box(text, default_frame=0)


@pytest.mark.parametrize("text", ["", "1", "@1", "1@", "1@x", "x@1", "1@-1", "0@1", "1@2@3"])
def test_bad_absent(text: str) -> None:
    with pytest.raises(PromptError):
        parse_absent(text)


# -- one prompt -------------------------------------------------------------------------


def test_labels_default_to_object() -> None:
    assert Prompt(points=((1, 2), (3, 4))).labels == (1, 1)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"points": ((1, 2),), "labels": (1, 0)},
        {"points": ((1, 2),), "labels": (2,)},
        {"points": ((1, 2),), "labels": ("1",)},
        {"points": ((1, 2, 3),)},
        {"points": ((1, math.nan),)},
        {"points": ((1, "2"),)},
        {"points": ((1, True),)},
        {"points": ((1, 10**400),)},
        {"points": "12"},
        {"box": (0, 0, 1)},
        {"box": (0, 0, 0, 1)},
        {"mask": np.zeros((4, 4), bool)},
        {"mask": np.ones(4, bool)},
        {"mask": np.full((4, 4), -8.0)},
        {"mask": np.full((4, 4), np.nan)},
        {"mask": [["a"]]},
        {"mask": [[1, 0], [1]]},
        {"mask": torch.ones(4, 4, dtype=torch.bfloat16)},
        {"mask": torch.ones(4, 4, requires_grad=True)},
        {"points": {1: 2}},
        {"points": 5},
        {"points": ((1, 2),), "labels": 1},
        {"points": ((1, 2),), "labels": ([1, 0],)},
        {"points": ((1, 2),), "labels": np.ones((1, 2))},
        {"points": torch.ones(1, 2, requires_grad=True)},
        {"points": [(torch.ones(2), 1)]},
        {"box": 5},
        {"box": {0, 1, 2, 3}},
        {"absent": True, "points": ((1, 2),)},
        {"absent": "no"},
        {"absent": np.array([True, False])},
        {"mask": np.ones((4, 4), bool), "edited": "no"},
        {"points": ((1, 2),), "labels": (pandas.NA,)},
    ],
)
def test_bad_prompts(parts: dict[str, Any]) -> None:
    with pytest.raises(PromptError):
        Prompt(**parts)


def test_a_truth_of_numpy_is_kept_as_one_of_python() -> None:
    said = Prompt(absent=np.True_, edited=np.True_)  # type: ignore[arg-type]
    assert said.absent is True and said.edited is True
    assert json.loads(json.dumps(said.to_dict()))["absent"] is True


def test_whatever_holds_numbers_in_order_will_do() -> None:
    expected = Prompt(points=((1, 2), (3, 4)), labels=(1, 0), box=(0, 1, 5, 6))
    for points, labels, box in (
        (np.array([[1, 2], [3, 4]]), np.array([1, 0]), np.array([0, 1, 5, 6])),
        (torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 0]), torch.tensor([0, 1, 5, 6])),
        (zip((1, 3), (2, 4), strict=True), iter((True, False)), [0, 1, 5, 6]),
    ):
        assert Prompt(points=points, labels=labels, box=box).same(expected)  # type: ignore[arg-type]
    mask = np.eye(4, dtype=np.uint8)
    for given_mask in (mask, mask * 255, mask.tolist(), torch.from_numpy(mask)):
        assert np.array_equal(Prompt(mask=given_mask).mask, mask != 0)  # type: ignore[arg-type]


def test_the_order_of_points_says_nothing() -> None:
    one = Prompt(points=((1, 2), (3, 4), (1, 2)), labels=(1, 0, 1))
    assert one.same(Prompt(points=((3, 4), (1, 2), (1, 2)), labels=(0, 1, 1)))
    assert not one.same(Prompt(points=((3, 4), (1, 2), (1, 2)), labels=(1, 0, 1)))
    assert not one.same(Prompt(points=((3, 4), (1, 2)), labels=(0, 1)))


def test_prompts_fit_the_frame() -> None:
    Prompt(points=((0, 0), (8, 6)), box=(0, 0, 8, 6), mask=np.ones((6, 8), bool)).check(6, 8)
    for prompt in (
        Prompt(points=((8.1, 0),)),
        Prompt(points=((0, -0.1),)),
        Prompt(box=(0, 0, 8, 6.5)),
        Prompt(box=(-1, 0, 8, 6)),
        Prompt(mask=np.ones((8, 6), bool)),
    ):
        with pytest.raises(PromptError):
            prompt.check(6, 8)


def test_a_mask_cannot_be_changed_afterwards() -> None:
    given_mask = np.eye(4, dtype=bool)
    prompt = Prompt(mask=given_mask)
    given_mask[:] = False
    assert prompt.mask is not None and prompt.mask.any()


@pytest.mark.parametrize("bad", [0, -1, 2**31, True, 1.0, "1", None])
def test_object_ids(bad: object) -> None:
    with pytest.raises(PromptError):
        check_object_id(bad)
    assert check_object_id(np.int64(5)) == 5


# -- merging and comparing --------------------------------------------------------------


def test_merged_adds_up_points() -> None:
    both = merged(Prompt(points=((1, 2),)), Prompt(points=((3, 4),), labels=(0,)))
    assert both.points == ((1, 2), (3, 4)) and both.labels == (1, 0)
    both = merged(both, Prompt(box=(0, 0, 9, 9)))
    assert both.box == (0, 0, 9, 9) and len(both.points) == 2


def test_what_is_said_twice_to_be_absent_is() -> None:
    assert merged(Prompt(absent=True), Prompt(absent=True)).absent


def test_merged_refuses() -> None:
    box, mask = Prompt(box=(0, 0, 1, 1)), Prompt(mask=np.ones((2, 2), bool))
    for one, two in ((box, box), (mask, mask), (box, Prompt(absent=True))):
        with pytest.raises(PromptError):
            merged(one, two)


def test_difference_names_its_place() -> None:
    one, two = Prompts(), Prompts()
    for prompts in (one, two):
        prompts.add(1, 0, Prompt(points=((1, 2),)))
        prompts.add(2, 9, Prompt(mask=np.eye(4, dtype=bool)))
    assert one.difference(two) is None
    two.by_object[2][9] = Prompt(mask=~np.eye(4, dtype=bool))
    assert "object 2, frame 9" in str(one.difference(two))
    two.add(1, 3, Prompt(absent=True))
    assert "object 1, frame 3" in str(one.difference(two))
    with pytest.raises(PromptError, match="object 1 has two prompts on frame 3"):
        two.add(1, 3, Prompt(absent=True))


ONE = Prompt(points=((1, 2),))


@pytest.mark.parametrize(
    ("object_id", "frame", "prompt", "says"),
    [
        (0, 0, ONE, "object 0; ids are positive"),
        (1.5, 0, ONE, "object 1.5"),
        ("a", 0, ONE, "object 'a'"),
        (1, -1, ONE, "frame -1"),
        (1, True, ONE, "frame True"),
        (1, 2.0, ONE, "frame 2.0"),
        (1, 2**31, ONE, "frame 2147483648"),
        (1, 0, (1, 2, 3, 4), r"\(1, 2, 3, 4\) is no prompt"),
    ],
)
def test_prompts_are_of_objects_and_frames(
    object_id: Any, frame: Any, prompt: Any, says: str
) -> None:
    found = Prompts()
    with pytest.raises(PromptError, match=says):
        found.add(object_id, frame, prompt)
    assert not found.by_object
    with pytest.raises(PromptError, match=says):
        load_prompts(Prompts({object_id: {frame: prompt}}), read_mask=no_mask)


def test_what_numpy_counts_is_an_int() -> None:
    found = Prompts()
    found.add(np.int64(3), np.int64(5), ONE)  # type: ignore[arg-type]
    copied = load_prompts(Prompts({np.int64(3): {np.int64(5): ONE}}), read_mask=no_mask)  # type: ignore[dict-item]
    for prompts in (found, copied):
        assert [(type(i), type(f)) for i, f, _ in prompts] == [(int, int)]


@pytest.mark.parametrize(
    ("given_prompts", "says"),
    [
        (Prompts({1: ONE}), "object 1 has Prompt"),  # type: ignore[dict-item]
        (Prompts([ONE]), "give a dict of each"),  # type: ignore[arg-type]
        (Prompts({1: {0: ONE}}, {1: "two\nlines"}), "a name is one line"),
        (Prompts({1: {0: ONE}}, {0: "zero"}), "object 0"),
        (ONE, "prompts are Prompt; give Prompts"),
        ([ONE], "prompts are list; give Prompts"),
        (7, "prompts are int"),
    ],
)
def test_what_holds_no_prompts_is_refused(given_prompts: Any, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        load_prompts(given_prompts, read_mask=no_mask)


# -- the file ---------------------------------------------------------------------------


@st.composite
def prompts_as_json(draw: st.DrawFn) -> dict[str, Any]:
    objects = []
    for object_id in draw(st.lists(ids, min_size=1, max_size=4, unique=True)):
        entries = []
        for frame in draw(st.lists(frames, min_size=1, max_size=3, unique=True)):
            entry: dict[str, Any] = {"frame": frame}
            if draw(st.booleans()):
                entry["absent"] = True
            else:
                points = draw(st.lists(st.tuples(numbers, numbers).map(list), max_size=3))
                if points:
                    entry["points"] = points
                    if draw(st.booleans()):
                        entry["labels"] = [draw(st.integers(0, 1)) for _ in points]
                if not points or draw(st.booleans()):
                    x, y = draw(numbers), draw(numbers)
                    entry["box"] = [x, y, x + 1, y + 1]
            entries.append(entry)
        item = {"id": object_id, "prompts": entries}
        if draw(st.booleans()):
            item["name"] = draw(st.text(PRINTED, max_size=200))
        objects.append(item)
    return {"version": 1, "objects": objects}


@given(prompts_as_json())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "prompts.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    found = load_prompts(path, read_mask=no_mask)
    assert found.difference(load_prompts(content, read_mask=no_mask)) is None
    assert len(found) == sum(len(item["prompts"]) for item in content["objects"])
    for item in content["objects"]:
        assert found.names.get(item["id"]) == item.get("name")
        for entry in item["prompts"]:
            prompt = found.by_object[item["id"]][entry["frame"]]
            points = entry.get("points", [])
            assert [list(point) for point in prompt.points] == points
            assert list(prompt.labels) == entry.get("labels", [1] * len(points))
            assert (None if prompt.box is None else list(prompt.box)) == entry.get("box")
            assert prompt.absent == entry.get("absent", False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["version", "objects", "id", "prompts", "frame", "points", "box", "labels"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_loads_or_is_a_prompt_error(value: Any) -> None:
    content = {"version": 1, "objects": value}
    entry = {"frame": 0, "points": value, "box": [0, 0, 1, 1]}
    for whole in (content, {"version": 1, "objects": [{"id": 1, "prompts": [entry]}]}, value):
        if not isinstance(whole, dict):
            continue
        with contextlib.suppress(PromptError):
            load_prompts(whole, read_mask=no_mask)


POINT = {"frame": 0, "points": [[1, 2]]}


def with_prompt(entry: Any) -> dict[str, Any]:
    good = {"id": 1, "prompts": [POINT]}
    return {"version": 1, "objects": [good, {"id": 2, "prompts": [{**POINT, "frame": 7}, entry]}]}


def with_object(item: Any) -> dict[str, Any]:
    return {"version": 1, "objects": [{"id": 1, "prompts": [POINT]}, item]}


def test_a_mask_in_a_dict_is_a_path_of_any_kind(tmp_path: Path) -> None:
    mask = np.eye(4, dtype=bool)
    for path in (tmp_path / "m.png", str(tmp_path / "m.png")):
        read: list[Path] = []

        def reading(path: Path, read: list[Path] = read) -> Any:
            read.append(path)
            return mask

        found = load_prompts(
            with_object({"id": 2, "prompts": [POINT | {"mask": path}]}), read_mask=reading
        )
        assert read == [tmp_path / "m.png"]
        assert np.array_equal(found.by_object[2][0].mask, mask)


HERE = r"objects\[1\].prompts\[1\]"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ([], "the whole is list"),
        ({"objects": []}, "the whole lacks 'version'"),
        ({"version": 1}, "the whole lacks 'objects'"),
        ({"version": 2, "objects": []}, "version is 2"),
        ({"version": True, "objects": []}, "version is True"),
        ({"version": 1, "objects": [], "more": 1}, "unknown key 'more'"),
        ({"version": 1, "objects": {}}, "objects is dict"),
        (with_object(3), r"objects\[1\] is int"),
        (with_object({"prompts": []}), r"objects\[1\] lacks 'id'"),
        (with_object({"id": 2}), r"objects\[1\] lacks 'prompts'"),
        (with_object({"id": 0, "prompts": []}), r"objects\[1\].id is 0"),
        (with_object({"id": "2", "prompts": []}), r"objects\[1\].id is '2'"),
        (with_object({"id": True, "prompts": []}), r"objects\[1\].id is True"),
        (with_object({"id": 2.0, "prompts": []}), r"objects\[1\].id is 2.0"),
        (with_object({"id": 1, "prompts": []}), r"objects\[1\].id is 1 a second time"),
        (
            with_object({"id": 2, "name": 5, "prompts": []}),
            r"objects\[1\].name cannot be: name 5; a name is text",
        ),
        (with_object({"id": 2, "name": "\ud800", "prompts": []}), r"objects\[1\].name cannot be"),
        (with_object({"id": 2, "color": 5, "prompts": []}), r"objects\[1\] has unknown key"),
        (with_object({"id": 2, "prompts": POINT}), r"objects\[1\].prompts is dict"),
        (with_prompt([]), f"{HERE} is list"),
        (with_prompt({"points": [[1, 2]]}), f"{HERE} lacks 'frame'"),
        (with_prompt({"frame": -1, "points": [[1, 2]]}), f"{HERE}.frame is -1"),
        (with_prompt({"frame": 1.5, "points": [[1, 2]]}), f"{HERE}.frame is 1.5"),
        (with_prompt({"frame": 2**31, "points": [[1, 2]]}), f"{HERE}.frame is 2147483648"),
        (with_object({"id": 2**31, "prompts": []}), r"objects\[1\].id is 2147483648"),
        (with_prompt({"frame": 7, "points": [[1, 2]]}), f"{HERE} is a second prompt on frame 7"),
        (with_prompt({"frame": 0}), f"{HERE} is wrong: an empty prompt"),
        (with_prompt({"frame": 0, "point": [1, 2]}), f"{HERE} has unknown key 'point'"),
        (with_prompt({"frame": 0, "points": [1, 2]}), f"{HERE} is wrong"),
        (with_prompt({"frame": 0, "points": [["1", 2]]}), f"{HERE} is wrong"),
        (with_prompt({"frame": 0, "points": [[1, 2]], "labels": [3]}), f"{HERE} is wrong"),
        (with_prompt({"frame": 0, "labels": [1], "box": [0, 0, 1, 1]}), f"{HERE} has labels"),
        (with_prompt({"frame": 0, "box": [0, 0, 0, 1]}), f"{HERE} is wrong: box"),
        (with_prompt({"frame": 0, "absent": 1}), f"{HERE}.absent is 1"),
        (with_prompt({"frame": 0, "absent": False}), f"{HERE} is wrong: an empty prompt"),
        (with_prompt({"frame": 0, "absent": True, "box": [0, 0, 1, 1]}), f"{HERE} is wrong"),
        (with_prompt({"frame": 0, "mask": 3}), f"{HERE}.mask is neither"),
    ],
)
def test_every_break_of_the_schema_names_its_place(
    tmp_path: Path, content: Any, place: str
) -> None:
    path = tmp_path / "said.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(PromptError, match=place) as caught:
        load_prompts(path, read_mask=no_mask)
    assert "said.json" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {"version": 1, "objects": [], "k" * 100_000: 1},
        {"version": "v" * 100_000, "objects": []},
        {"version": 10**3000, "objects": []},
        with_object({"id": [2] * 100_000, "prompts": []}),
    ],
)
def test_long_values_are_not_quoted_whole(content: Any) -> None:
    with pytest.raises(PromptError) as caught:
        load_prompts(content, read_mask=no_mask)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"version": 1,\n "objects": [}', "is not JSON: .* in line 2, column 14"),
        (b"", "is not JSON"),
        (b"\xff\xfe\x00\x01", "is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"version": ' + b"1" * 5000 + b"}", "thousands of digits"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "said.json"
    path.write_bytes(data)
    with pytest.raises(PromptError, match=message):
        load_prompts(path, read_mask=no_mask)


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, "nul\0l"):
        with pytest.raises(PromptError, match=r"cannot be read|names no file"):
            load_prompts(path, read_mask=no_mask)


def test_masks_are_relative_to_the_file(tmp_path: Path) -> None:
    seen = []

    def reader(path: Path) -> np.ndarray:
        seen.append(path)
        return np.ones((2, 2), bool)

    (tmp_path / "p.json").write_text(json.dumps(with_prompt({"frame": 0, "mask": "m/a.png"})))
    load_prompts(tmp_path / "p.json", read_mask=reader)
    assert seen == [tmp_path / "m" / "a.png"]


def test_a_byte_order_mark_is_taken_and_a_key_twice_is_not(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(b'\xef\xbb\xbf{"version": 1, "objects": [{"id": 3, "prompts": []}]}')
    assert list(load_prompts(path, read_mask=lambda path: np.zeros((1, 1), bool)).by_object) == [3]
    path.write_text('{"version": 1, "objects": [{"id": 1, "prompts": []}], "objects": []}')
    with pytest.raises(PromptError, match="has the key 'objects' twice in one object"):
        load_prompts(path, read_mask=lambda path: np.zeros((1, 1), bool))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cell 1",
        "\u0645\u06cc\u200c\u0634\u0648\u062f",
        "👩\u200d👩\u200d👧",
        "fire\u00a0truck",
        "a\u3000b",
    ],
)
def test_names_of_all_writing(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["a\nb", "a\u2028b", "a\tb", "a\0", "\x1b[31m", "\u202eevil", "x" * 201, "\ud800", 5]
)
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(PromptError, match="a name is"):
        check_name(name)


def test_of_a_mask_what_lies_in_its_box_is_held() -> None:
    """Of hundreds of cells in a large frame the masks would take gigabytes."""
    mask = np.zeros((300, 400), np.uint8)
    mask[20:23, 390:] = 7
    prompt = Prompt(mask=mask)
    mask[:] = 1  # whose buffer may be used again
    expected = np.zeros((300, 400), np.bool_)
    expected[20:23, 390:] = True
    assert prompt.has_mask and np.array_equal(prompt.mask, expected)
    assert sum(value.nbytes for value in vars(prompt)["_held"] if hasattr(value, "nbytes")) == 30
    for same in (
        pickle.loads(pickle.dumps(prompt)),
        copy.deepcopy(prompt),
        replace(prompt, points=[(391, 21)]),
        Prompt(mask=Part.of(expected)),
    ):
        assert np.array_equal(same.mask, expected) and same.mask.dtype == np.bool_
    assert not Prompt(points=[(1, 1)]).has_mask and Prompt(points=[(1, 1)]).mask is None
    with pytest.raises(FrozenInstanceError):
        prompt.mask = None
    with pytest.raises(PromptError, match="empty"):
        Prompt(mask=Part.of(np.zeros((3, 3), np.bool_)))
