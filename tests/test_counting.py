"""Counts, crossings, entries and exits, on ways that are known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2track.counting import Event, Line, Region, count, parse_line, parse_region
from sam2track.errors import UsageError
from sam2track.table import TrackRow

NUMBERS = st.floats(-1e4, 1e4, allow_nan=False).map(lambda v: round(v, 3))


def walk(way, object_id=1, name="car"):
    """Rows of an object that is at these places, None where it is away."""
    for frame, at in enumerate(way):
        area = 0 if at is None else 4
        row = TrackRow(frame, frame / 10, object_id, name, area, at, None, 1.0, 1.0, "forward")
        yield frame, frame / 10, [row]


def crossings(way, line="0,10,20,10"):
    events: list[Event] = []
    count(walk(way), lines=[parse_line(line)], on_event=events.append)
    return [(event.frame, event.what) for event in events]


def test_crossing_both_ways() -> None:
    # From left to right the line goes; below it (larger y) is its right.
    assert crossings([(5, 0), (5, 8), (5, 12), (5, 20)]) == [(2, "left to right")]
    assert crossings([(5, 20), (5, 8)]) == [(1, "right to left")]
    assert crossings([(5, 0), (5, 20), (5, 0)]) == [(1, "left to right"), (2, "right to left")]


def test_beside_the_line_is_not_over_it() -> None:
    assert crossings([(25, 0), (25, 20)]) == []
    assert crossings([(20, 0), (20, 20)]) == [(1, "left to right")]
    assert crossings([(30, 0), (5, 25)]) == [(1, "left to right")]
    assert crossings([(40, 0), (30, 25)]) == []


def test_touching_is_not_crossing() -> None:
    assert crossings([(5, 0), (5, 10), (5, 0)]) == []
    assert crossings([(5, 0), (5, 10), (6, 10), (6, 20)]) == [(3, "left to right")]
    assert crossings([(5, 10), (5, 20)]) == []
    # Along the line and over it beyond its end.
    assert crossings([(5, 0), (5, 10), (30, 10), (30, 20)]) == []


def test_over_a_gap() -> None:
    assert crossings([(5, 0), None, None, (5, 20)]) == [(3, "left to right")]


def test_regions() -> None:
    events: list[Event] = []
    region = parse_region("gate=10,10,20,20")
    way = [(0, 15), (12, 15), (18, 15), (25, 15), None, (15, 15)]
    counts = count(walk(way), regions=[region], on_event=events.append)
    assert [(e.frame, e.what) for e in events] == [(1, "entry"), (3, "exit"), (5, "entry")]
    assert events[0] == Event(1, 0.1, 1, "car", "gate", "entry")
    assert counts.events == {("gate", "entry", "car"): 2, ("gate", "exit", "car"): 1}
    assert not count(walk([(15, 15), (16, 16), None]), regions=[region]).events


def test_of_the_border_the_upper_and_left_part_is_inside() -> None:
    region = parse_region("10,10,20,20")
    places = ((10, 15), (15, 10), (10, 10), (20, 15), (15, 20), (20, 20))
    assert [region.holds(at) for at in places] == [True, True, True, False, False, False]
    for text in ("1,1,1,5", "1,1,5,1"):
        with pytest.raises(UsageError, match="a box has X0 < X1 and Y0 < Y1"):
            parse_region(text)


def test_polygons() -> None:
    region = parse_region("0,0,10,0,0,10")
    assert region.holds((2, 2)) and not region.holds((8, 8))
    star = Region("s", ((0, 0), (10, 0), (0, 10), (10, 10)))
    assert star.holds((5, 1)) and not star.holds((1, 5))


def test_counts_by_class() -> None:
    one, two = list(walk([(1, 1), (1, 1), None], 1)), list(walk([None, (1, 1), (1, 1)], 2))
    three = list(walk([(1, 1), (1, 1), (1, 1)], 3, "dog"))
    frames = [
        (t, s, a + b + c) for (t, s, a), (_, _, b), (_, _, c) in zip(one, two, three, strict=False)
    ]
    seen = []
    counts = count(frames, on_frame=lambda t, s, here: seen.append((t, dict(here))))
    assert seen == [(0, {"car": 1, "dog": 1}), (1, {"car": 2, "dog": 1}), (2, {"car": 1, "dog": 1})]
    assert counts.frames == 3
    assert counts.total == {"car": 2, "dog": 1}
    assert counts.most == {"car": 2, "dog": 1}
    assert counts.mean == {"car": pytest.approx(4 / 3), "dog": 1}


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.text(max_size=9).filter(lambda t: t.strip()))
def test_lines_come_back(a, b, c, d, name) -> None:
    if (a, b) != (c, d):
        assert parse_line(f"{name}={a},{b}, {c},{d}") == Line(name, (a, b), (c, d))
    if a < c and b < d:
        assert parse_region(f"{a},{b},{c},{d}").holds(((a + c) / 2, (b + d) / 2))


@given(st.text(max_size=30))
def test_any_text_is_a_line_or_an_error(text) -> None:
    for parse in (parse_line, parse_region):
        try:
            parse(text)
        except UsageError as error:
            assert "\n" not in str(error).strip() or "\n" in text


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,1,2", "a,b,c,d", "=1,2,3,4", "1,2,3,nan", "1,2,3,inf", "1,2,3,1e999"]
)
def test_what_is_no_line(text) -> None:
    with pytest.raises(UsageError):
        parse_line(text)


@pytest.mark.parametrize("text", ["1,2,3,4,5", "3,3,1,1", "0,0,1,1,0,0", "0,0,1,1,1e999,0", "x"])
def test_what_is_no_region(text) -> None:
    with pytest.raises(UsageError):
        parse_region(text)
    assert math.isinf(float("1e999"))


def test_what_python_takes_for_space_is_space() -> None:
    assert parse_line("a=1,2\x1f,3,4") == parse_line("a=1,2,3,4")


def test_numbers_that_are_too_large_are_told_as_that() -> None:
    with pytest.raises(UsageError, match=r"line 'a' from .* to .*inf.*; give finite numbers"):
        parse_line("a=0,0,1e999,1")
    with pytest.raises(UsageError, match=r"region 'a' of .*inf.*; give finite numbers"):
        parse_region("a=0,0,1,0,1e999,1")
