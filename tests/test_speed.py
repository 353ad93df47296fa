"""What the benchmark of speed measures with."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.gpu import gpu
from benchmarks.memory import RESULTS
from benchmarks.speed import child, systems
from benchmarks.speed.case import Case, boxes
from benchmarks.speed.clock import Clock
from benchmarks.speed.command import between, compare, speed, table, title
from benchmarks.whole import whole
from sam2track.tracking.linear import linear


def test_operations_are_counted_in_the_frame_behind_the_timed_ones() -> None:
    clock = Clock(parts=True, counted=2)
    clock.start()
    for _ in range(2):
        clock.frame()
    with torch.inference_mode():
        torch.mm(torch.ones(8, 16), torch.ones(16, 4))
        linear(torch.nn.Linear(16, 4), torch.bfloat16)(torch.ones(3, 5, 16, dtype=torch.bfloat16))
    clock.frame()
    torch.mm(torch.ones(8, 16), torch.ones(16, 4))
    assert len(clock.frames) == 2
    assert clock.flops == 2 * 8 * 16 * 4 + 2 * 15 * 16 * 4


def test_what_was_spent_ahead_counts_for_every_frame() -> None:
    clock = Clock(parts=True)
    clock.share("read", 100.0)
    clock.start()
    for _ in range(2):
        with clock.part("write"):
            pass
        clock.frame()
    assert [frame["read"] for frame in clock.frames] == [100.0, 100.0]
    assert all(100 < frame["all"] < 200 > frame["write"] for frame in clock.frames)


def test_what_an_iterator_is_waited_for_counts_for_its_part() -> None:
    class Source:
        def frames(self, stop: int) -> Iterator[int]:
            for number in range(stop):
                time.sleep(0.01)
                yield number

    clock, source, seen = Clock(parts=True), Source(), []
    with clock.iterated(source, "frames", "read"):
        clock.start()
        for number in source.frames(3):
            seen.append(number)
            clock.frame()
    assert seen == [0, 1, 2]
    assert all(0.01 <= frame["read"] <= frame["all"] for frame in clock.frames)


def test_boxes_lie_within_the_frame() -> None:
    case = Case("ours", image_size=256, objects=5)
    found = boxes(case, (90, 160)).values()
    assert len({*found}) == 5
    assert all(0 < x0 < x1 < 160 and 0 < y0 < y1 < 90 for x0, y0, x1, y1 in found)


def test_what_is_compiled_is_timed_though_it_cannot_be_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under the counter it would be compiled anew, which torch refuses."""

    def run(case: Case, frames: Any, clock: Clock) -> Iterator[Any]:
        clock.start()
        for number in range(len(frames)):
            torch.ones(2, 3) @ torch.ones(3, number + 2)
            clock.frame()
            yield np.ones((1, 4, 4), bool)

    monkeypatch.setitem(systems.RUNS, "official-compiled", run)
    case = Case("official-compiled", image_size=64, frames=3, warm_up=1)
    found = child.measure(case, tmp_path / "masks.npz")
    assert len(found["frames"]) == 3
    assert found["flops"] == 0


def test_what_was_measured_on_a_video_does_not_take_the_place_of_the_drawn_clip() -> None:
    drawn, filmed = Case("ours"), Case("ours", video="clips/dog.mp4")
    assert title(vars(drawn)) == "sam2.1-tiny, 1024, 1 object"
    assert title(vars(filmed)) == "sam2.1-tiny, 1024, 1 object, dog.mp4"


@pytest.mark.parametrize("given", [("--frames", "0"), ("--warm-up", "-1")])
def test_no_frames_are_not_measured(given: tuple[str, str]) -> None:
    assert CliRunner().invoke(speed, given).exit_code == 2


def test_what_was_kept_before_operations_were_counted_is_still_told() -> None:
    kept = json.loads((RESULTS / "full_rate/speed.json").read_text(encoding="utf-8"))
    told = table(kept)
    assert all(f"## {title(entry['case'])}\n" in told for entry in kept["cases"].values())


@pytest.mark.parametrize(
    ("command", "given", "says"),
    [
        (speed, ["--device", "cuda"], "torch finds no CUDA device"),
        (speed, ["--device", "foo"], "device 'foo'; allowed"),
        (speed, ["--model", "nope"], "nope"),
        (speed, ["--image-size", "100"], "multiples of 64"),
        (speed, ["--systems", "ours:fp32,ours:fp32"], "is there twice"),
        (speed, ["--out", "a file"], "is a file"),
        (speed, ["--out", "damaged"], "no results of this benchmark"),
        (whole, ["--video", "a file", "--frames", "9"], "has its own"),
        (whole, ["--video", "a file"], "a file"),
        (gpu, ["--device", "cuda"], "torch finds no CUDA device"),
        (gpu, ["--device", "cpu", "--models", "nope"], "nope"),
        (gpu, ["--device", "cpu", "--frames", "20"], "leave none after a warm-up of 20"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(tmp_path, monkeypatch, command, given, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("a file").write_text("no video")
    Path("damaged").mkdir()
    Path("damaged/speed.json").write_text("{")
    done = CliRunner().invoke(command, given)
    assert done.exit_code in (1, 2) and isinstance(done.exception, SystemExit), done.output
    last = done.output.strip().splitlines()[-1]
    assert last.startswith("Error: ") and says in last


def test_a_system_that_cannot_run_is_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr("benchmarks.speed.command.run", lambda case, masks: tried.append(case))
    assert compare(Case("ours"), [("ours", "fp32"), ("official", "fp32")], 3)["systems"] == {}
    assert len(tried) == 2


def test_rates_are_those_before_and_after():
    one, two = ({"cpu": "a", "gflops_fp32": rate} for rate in (100.0, 300.0))
    assert between(one, two) == {"cpu": "a", "gflops_fp32": 200.0}
