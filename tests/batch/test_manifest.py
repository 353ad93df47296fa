"""Manifests: what they say, and that what is wrong is said with its line."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam2track.batch.manifest import OPTIONS, Video, read_manifest, settled
from sam2track.errors import UsageError
from sam2track.job import run

HEADER = "source,prompts,output,options\n"


def written(folder: Path, text: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    table = written(
        tmp_path,
        "\ufeffoutput,source,prompts,options\none,a.mp4,p.json,\n\n"
        'two,/v/b.mp4,q.json,"{""stop"": 9, ""write"": ""masks, table""}"\n',
    )
    rows = [
        {"source": "a.mp4", "prompts": "p.json", "output": "one"},
        {"source": "/v/b.mp4", "prompts": "q.json", "output": "two"},
    ]
    rows[1]["options"] = {"stop": 9, "write": ["masks", "table"]}  # type: ignore[assignment]
    lines = written(tmp_path, "\n\n".join(map(json.dumps, rows)) + "\n", "m.jsonl")
    found = read_manifest(table)
    here = str(tmp_path)
    assert found == [
        Video(2, f"{here}/a.mp4", f"{here}/p.json", f"{here}/one", {}),
        Video(
            4,
            "/v/b.mp4",
            f"{here}/q.json",
            f"{here}/two",
            {"stop": 9, "write": ["masks", "table"]},
        ),
    ]
    assert [(v.source, v.options) for v in read_manifest(lines)] == [
        (v.source, v.options) for v in found
    ]


def test_names_of_all_kinds(tmp_path: Path) -> None:
    """Also with what only Unicode takes for the end of a line."""
    names = [
        f"a{odd}b.mp4" for odd in (" ", "ä中🐌", "\x85", "\u2028", "\x0b", "\x1c", "'", "#", "%41")
    ]
    table = written(tmp_path, HEADER + "".join(f"{n},p.json,out/{n},\n" for n in names))
    rows = ({"source": n, "prompts": "p.json", "output": f"out/{n}"} for n in names)
    lines = written(
        tmp_path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "m.jsonl"
    )
    for path, first in ((table, 2), (lines, 1)):
        found = read_manifest(path)
        assert [Path(video.source).name for video in found] == names
        assert [video.line for video in found] == [*range(first, first + len(names))]


def test_spaces_at_the_ends_of_a_name_are_part_of_it(tmp_path: Path) -> None:
    row = {"source": " a ", "prompts": " p ", "output": " o "}
    (video,) = read_manifest(written(tmp_path, json.dumps(row), "m.jsonl"))
    assert (video.source, video.prompts, video.output) == tuple(
        str(tmp_path / name) for name in (" a ", " p ", " o ")
    )


def test_outputs_lie_where_it_is_said(tmp_path: Path) -> None:
    table = written(tmp_path, HEADER + "a.mp4,p.json,one,\nb.mp4,p.json,s3://other/two,\n")
    assert [v.output for v in read_manifest(table, "/out")] == ["/out/one", "s3://other/two"]
    assert read_manifest(table, "s3://here/x/")[0].output == "s3://here/x/one"
    table = written(tmp_path, HEADER + "a.mp4,p.json,/data/one,\n")
    assert read_manifest(table, "s3://here/x")[0].output == "/data/one"


def test_letters_of_an_ending_and_spare_commas_and_spaces_do_not_matter(tmp_path: Path) -> None:
    table = written(tmp_path, HEADER + 'a , p, o,"{""write"": ""masks, ,table,""}"\n', "M.CSV")
    (video,) = read_manifest(table)
    assert [Path(p or "").name for p in (video.source, video.prompts, video.output)] == [*"apo"]
    assert video.options == {"write": ["masks", "table"]}


def test_detections_lie_beside_the_manifest(tmp_path: Path) -> None:
    row = {"source": "a.mp4", "output": "o", "options": {"detections": "boxes/a.txt"}}
    (video,) = read_manifest(written(tmp_path, json.dumps(row), "m.jsonl"))
    assert video.options == {"detections": str(tmp_path / "boxes" / "a.txt")}
    assert video.prompts is None


def test_an_output_is_the_same_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "o")
    with pytest.raises(UsageError, match=r"line 3: output .*link is that of line 2"):
        read_manifest(written(tmp_path, HEADER + "a,p,o,\nb,p,link,\n"))


def test_options_are_those_of_a_job() -> None:
    known = set(inspect.signature(run).parameters)
    not_said = {"source", "prompts", "output", "resume", "overwrite", "progress", "timeout"}
    assert known - not_said == {*OPTIONS}


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("device", "gpu", "allowed are auto, cpu"),
        ("direction", "back", "allowed are forward"),
        ("image_size", 100, "multiples of 64"),
        ("limits", "200", "give LO,HI or per-frame"),
        ("limits", "200,9000,1", "give LO,HI or per-frame"),
        ("limits", "9000,200", "the first must lie below the second"),
        ("limits", [200], "give two numbers"),
        ("z", "top", "give a whole number from 0, or max"),
        ("z", -1, "z -1; give a whole number from 0, or max"),
        ("z", "-1", "z -1; give a whole number from 0, or max"),
        ("z", 2**63, "give one below"),
        ("fps", 0, "give a number above 0"),
        ("model", "nana", "did you mean nano"),
        ("model", "", "unknown model ''"),
        ("model", "m" * 300, "unknown model 'mmm"),
        ("precision", "fp8", "allowed are auto, fp32"),
        ("table", "long", "allowed are plain, full"),
        ("write", "masks,films", "cannot write 'films'"),
        ("write", ["films"], "cannot write 'films'"),
    ],
)
def test_what_no_video_can_be_asked_is_told_before_any_is_tracked(
    tmp_path: Path, name: str, value: object, what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        settled({name: value})
    row = {"source": "a", "prompts": "p", "output": "o", "options": {name: value}}
    with pytest.raises(UsageError, match=rf"line 1: .*{what}"):
        read_manifest(written(tmp_path, json.dumps(row), "m.jsonl"))


def test_what_is_said_as_on_the_command_line() -> None:
    assert settled({"z": "1"}) == settled({"z": 1}) == {"z": 1}
    assert settled({"z": "max"}) == {"z": "max"}
    assert settled({"limits": "200,9000"}) == {"limits": (200, 9000)}
    assert settled({"key": 1}) == {"key": 1} and settled({"key": "B2"}) == {"key": "B2"}
    for limits in ("per-frame", [200, 9000], [[200, 9000], [0, 10]]):
        assert settled({"limits": limits}) == {"limits": limits}


def test_what_a_machine_may_have_is_not_refused_where_it_is_not() -> None:
    options = {"device": "cuda:3", "model": "weights/mine.pt", "precision": "fp16"}
    assert settled(options) == options
    for model in ("auto", "facebook/sam2.1-hiera-tiny", "sam2.1-large", "some/folder", "own.pth"):
        assert settled({"model": model}) == {"model": model}


@pytest.mark.parametrize(
    ("name", "text", "line", "what"),
    [
        ("m.csv", "prompts,output\np,o\n", 1, "no column 'source'"),
        ("m.csv", "source;output\ns;o\n", 1, "in the header 'source;output'; it may name source,"),
        ("m.csv", "source,prompts,output,colour\n", 1, "no column 'colour' is known"),
        ("m.csv", "source,source,output\n", 1, "named twice"),
        ("m.csv", HEADER + "a,p,o\n", 2, "3 cells, the header has 4"),
        ("m.csv", HEADER + "\na,p,o,{stop: 3}\n", 3, "options: it is not JSON"),
        ("m.csv", HEADER + "a,p,o,[1]\n", 2, "options are an object"),
        ("m.csv", HEADER + 'a,p,o,"{""stopp"": 3}"\n', 2, "no option 'stopp'"),
        ("m.csv", HEADER + 'a,p,o,"{""stop"": true}"\n', 2, "it is a whole number"),
        ("m.csv", HEADER + "a,p,,\n", 2, "there is no output"),
        ("m.csv", HEADER + ",p,o,\n", 2, "there is no source"),
        ("m.csv", HEADER + "a,,o,\n", 2, "neither prompts nor detections"),
        ("m.csv", HEADER + "-,p,o,\n", 2, "a pipe"),
        ("m.csv", HEADER + "a,p,o,\n\nb,p,./x/../o,\n", 4, "is that of line 2, too"),
        ("m.csv", HEADER + "a,p,s3://b/o,\nb,p,s3://b/o/,\n", 3, "is that of line 2, too"),
        ("m.csv", HEADER + "a,p,s3://b/o/x,\nb,p,s3://b/o,\n", 2, "lies in that of line 3"),
        ("m.csv", HEADER + 'a,p,"o,\n', 2, "unexpected end of data"),
        (
            "m.jsonl",
            '{"source": "a", "output": "o", "prompts": "p"}\n{"source"\n',
            2,
            "it is not JSON",
        ),
        ("m.jsonl", '{"source": ' + "[" * 100_000, 1, "nested too deeply"),
        ("m.jsonl", '{"source": ' + "1" * 5000 + "}", 1, "a number of thousands of digits"),
        ("m.jsonl", "\n[1]\n", 2, "list in place of an object"),
        ("m.jsonl", '{"source": " ", "output": "o", "prompts": "p"}', 1, "there is no source"),
        ("m.jsonl", '{"source": "\\u0000", "output": "o"}', 1, "source holds a null character"),
        (
            "m.jsonl",
            '{"source": "a", "output": "o", "options": {"detections": "\\u0000"}}',
            1,
            "detections holds a null character",
        ),
        (
            "m.jsonl",
            '{"source": "a", "output": "o", "options": {"detections": ""}}',
            1,
            "detections name no file; give one of boxes, or leave them out",
        ),
        ("m.jsonl", '{"source": 3}\n', 1, "source is 3; it is a text"),
        ("m.jsonl", '{"source": "\\ud800", "output": "o"}\n', 1, "which no file can be named"),
        ("m.jsonl", '{"video": "a"}\n', 1, "no key 'video' is known"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, name: str, text: str, line: int, what: str
) -> None:
    path = written(tmp_path, text, name)
    with pytest.raises(UsageError) as error:
        read_manifest(path)
    said = str(error.value)
    assert re.search(rf"{name}, line {line}\b", said) and what in said and "\n" not in said


def test_manifests_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: No such file"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="holds no video"):
        read_manifest(written(tmp_path, HEADER))
    (tmp_path / "b.csv").write_bytes(b"source\xff")
    with pytest.raises(UsageError, match="no UTF-8"):
        read_manifest(tmp_path / "b.csv")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["m.csv", "m.jsonl"]),
    text=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
        st.lists(st.text('source,prompts"output{}[]:1\n\r', max_size=30), max_size=5).map(
            lambda rows: ("\n".join([HEADER.strip(), *rows])).encode()
        ),
        st.dictionaries(
            st.sampled_from(["source", "prompts", "output", "options", "x"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=9),
                lambda inner: (
                    st.dictionaries(st.sampled_from([*OPTIONS, "x"]), inner, max_size=3)
                    | st.lists(inner, max_size=2)
                ),
                max_leaves=5,
            ),
        ).map(lambda row: json.dumps(row).encode()),
    ),
)
def test_nothing_but_a_line_comes_of_any_bytes(tmp_path: Path, name: str, text: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(text)
    try:
        assert all(v.source and v.output for v in read_manifest(path))
    except UsageError as error:
        assert str(error)


def test_outputs_do_not_lie_in_each_other(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    for first, second in (("out/a/masks", "out/a"), ("out/a", "out/a/b/c")):
        path.write_text(f"source,prompts,output\na.mp4,p.json,{first}\nb.mp4,p.json,{second}\n")
        with pytest.raises(UsageError, match=r"lies in that of line [23]"):
            read_manifest(path)
    path.write_text("source,prompts,output\na.mp4,p.json,out/a\nb.mp4,p.json,out/ab\n")
    assert len(read_manifest(path)) == 2
