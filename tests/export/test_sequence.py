"""What exporters are given, of results that are made up."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from sam2track.errors import UsageError
from sam2track.export.reading import Boxed
from sam2track.export.sequence import Options, Sequenced

HEIGHT, WIDTH = 4, 6


def box(left: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, left:right] = True
    return mask


class Results:
    """Frames 0 to 4; on 2 two objects overlap, on 3 one is empty, of 4 nothing is known."""

    height, width = HEIGHT, WIDTH
    frames, objects = (0, 1, 2, 3), (2, 300)
    names: ClassVar[dict[int, str]] = {2: "cell", 300: ""}
    lineage: ClassVar[dict[int, int]] = {}
    times = np.arange(5) * 0.5

    def mask_makers(self, frame: int) -> dict[int, Callable[[], np.ndarray]]:
        assert frame in self.frames
        if frame == 2:
            return {300: lambda: box(2, 6), 2: lambda: box(0, 3)}
        return {300: lambda: box(3, 6), 2: lambda: box(0, 2 if frame < 3 else 0)}

    def labels(self, frame: int) -> np.ndarray:
        """The project's own word, unlike the order of ids: the lower one has what both have."""
        return np.where(box(0, 3), 2, np.where(box(2, 6), 300, 0)).astype(np.int32)

    def rows(self) -> Any:
        return iter([SimpleNamespace(frame=frame) for frame in (0, 1, 1, 3, 4)])


def sequenced(
    span: range = range(5), meta: dict[str, Any] | None = None, **options: Any
) -> Sequenced:
    made: Any = Results()
    return Sequenced(made, span, "it", Options(**options), meta=meta or {})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[(o, v) for o in ("pixel_size", "frame_interval")
          for v in (0, -1, float("nan"), float("inf"), "0.5", [1, 2])],
        *[("val_share", v) for v in (-0.1, 1, float("nan"), "half", None)],
        *[("unit", v) for v in ("inch", "", None)],
        *[("name", v) for v in ("", " ", ". .", "..", "a/b", "a\\b", "a\0", "a\nb", 5)],
    ],
)  # fmt: skip
def test_options_that_cannot_be(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=option) as caught:
        Options(**{option: value})
    assert "\n" not in str(caught.value)
    assert repr(value) in str(caught.value)


def test_options_at_their_bounds() -> None:
    for name in ("a", ".a", "a.", "a b"):
        Options(name=name)
    Options(val_share=0, pixel_size=np.float32(0.25), frame_interval=1e-9)
    for unit in ("nm", "um", "mm", "m"):
        assert sequenced(pixel_size=1, unit=unit).unit == unit


def test_shots_are_the_masks_that_are_not_empty_in_order() -> None:
    told: list[tuple[int, int]] = []
    of = sequenced(range(1, 5))
    of.passed = lambda *now: told.append(now)
    shots = []
    for shot in of.shots():
        assert told[-1] == (len(shots) + 1, 4)  # said before it is written
        shots.append(shot)
    assert [(s.frame, list(s.masks)) for s in shots] == [
        (1, [2, 300]),
        (2, [2, 300]),
        (3, [300]),
        (4, []),
    ]
    assert len(told) == 4
    np.testing.assert_array_equal(shots[0].labels, np.where(box(0, 2), 2, box(3, 6) * 300))
    assert of.overlapping == 0
    np.testing.assert_array_equal(shots[1].labels, Results().labels(2))
    assert of.overlapping == 1
    assert set(shots[1].apart) == {2, 300}
    np.testing.assert_array_equal(shots[1].apart[300], box(3, 6))
    assert of.overlapping == 1  # told of once
    for shot in shots:
        assert shot.labels.dtype == np.int32 and shot.labels.shape == (HEIGHT, WIDTH)
    assert not shots[3].labels.any() and shots[3].apart == {}


def test_rows_of_the_span_alone() -> None:
    told: list[tuple[int, int]] = []
    of = sequenced(range(1, 4))
    of.passed = lambda *now: told.append(now)
    assert [row.frame for row in of.rows()] == [1, 1, 3]
    assert told == [(2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("largest", "kind"),
    [(0, "u1"), (255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "u4"), (2**32 - 1, "u4")],
)
def test_label_maps_are_as_deep_as_ids_need(largest: int, kind: str) -> None:
    of = sequenced()
    of.objects = (1, largest) if largest else ()
    assert of.label_type("it", largest=2**32 - 1) == np.dtype(kind)
    if largest > 65_535:
        with pytest.raises(UsageError, match=f"object {largest} does not fit it, .* up to 65535"):
            of.label_type("it")
    else:
        assert of.label_type("it") == np.dtype(kind)


def test_what_is_lost_is_said_in_one_line() -> None:
    of = sequenced()
    of.lose("it", lineage=True)
    assert of.warnings == []
    of.overlapping = 3
    of.results.lineage = {5: 1, 4: 1}  # type: ignore[misc]
    of.lose("it")
    of.lose("it", lineage=True)
    first, second = of.warnings
    assert first.startswith("it cannot hold overlaps (on 3 frames; ") and "lineage" not in first
    assert second.endswith(") and lineage (whose daughters 4, 5 are): lost")


@pytest.mark.parametrize(
    ("meta", "options", "size", "unit"),
    [
        ({}, {}, None, "um"),
        ({"pixel_size_um": [0.5, 0.25]}, {}, (0.5, 0.25), "um"),
        ({"pixel_size_um": 2}, {}, (2.0, 2.0), "um"),
        ({"pixel_size_um": [0.5, 1e-320]}, {}, None, "um"),
        ({"pixel_size_um": [0.5, 0.25]}, {"unit": "mm"}, (0.5, 0.25), "um"),  # of what is given
        ({"pixel_size_um": [0.5, 0.25]}, {"pixel_size": 3, "unit": "nm"}, (3, 3), "nm"),
    ],
)
def test_size_of_a_pixel(
    meta: dict[str, Any], options: dict[str, Any], size: object, unit: str
) -> None:
    of = sequenced(meta=meta, **options)
    assert (of.pixel_size, of.unit) == (size, unit)


@pytest.mark.parametrize(
    ("meta", "options", "times", "interval"),
    [
        ({}, {}, [0, 0.04, 0.08], 0.04),  # a video's own
        ({"axes": "TYX"}, {}, [0, 0.04, 0.08], None),  # how fast a stack is played
        ({"axes": "TYX"}, {}, [0, 0.5, 1.0], 0.5),  # --fps says something
        ({"axes": "TYX", "frame_interval_s": 0.04}, {}, [0, 0.04, 0.08], 0.04),
        ({"axes": "TYX", "frame_interval_s": 300}, {}, [0, 0.04, 0.08], 300),
        ({"axes": "TYX", "frame_interval_s": 300}, {"frame_interval": 2}, [0, 0.04], 2),
        ({}, {}, [0], None),
        ({}, {}, [0, 0.5], 0.5),
        ({}, {}, [0, 0.1, 0.4, 0.6], 0.2),
        ({}, {}, [0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28], 0.04),
    ],
)
def test_seconds_between_frames(
    meta: dict[str, Any],
    options: dict[str, Any],
    times: list[float],
    interval: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Results, "times", np.array(times))
    of = sequenced(range(len(times)), meta, **options)
    assert of.interval == interval
    told = meta.get("frame_interval_s")
    wanted = times if told is None else [n * told for n in range(len(times))]
    np.testing.assert_allclose(of.times, wanted)
    np.testing.assert_array_equal(of.played, times)


def test_label_maps_are_painted_in_boxes() -> None:
    """Whatever the shapes, as by whole masks, later objects over earlier."""
    rng = np.random.default_rng(0)
    masks = {i: rng.random((20, 30)) > 0.8 for i in (3, 70000, 4, 9)}
    masks[4][:] = False
    masks[9][5:, :] = False
    boxed = Boxed(masks.items())
    expected, labels = np.zeros((2, 20, 30), np.int32)
    for object_id, mask in masks.items():
        expected[mask] = object_id
    assert boxed.paint(labels) == sum(int(mask.sum()) for mask in masks.values())
    assert np.array_equal(labels, expected)
    assert list(boxed) == [3, 70000, 9]
    for object_id, mask in boxed.items():
        assert np.array_equal(mask, masks[object_id])
