"""The whole job: outputs that agree, ranges and directions, overwriting, resuming."""

from __future__ import annotations

import copy
import csv
import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from sam2track import outputs, track, writing
from sam2track.errors import (
    OutputError,
    ProjectError,
    ProjectExistsError,
    PromptError,
    UsageError,
)
from sam2track.export.pngs import read_label_png
from sam2track.export.staging import Staged
from sam2track.founding import _follow, open_project, project_meta
from sam2track.frames.array import ArraySource
from sam2track.frames.opening import open_source
from sam2track.job import run
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.models.loading import load_model
from sam2track.outcome import Interrupted, Outcome
from sam2track.outputs import OUTPUTS, USUAL, Progress
from sam2track.pictures import read_labels, read_mask
from sam2track.project import Project
from sam2track.prompt_files import load_prompts
from sam2track.replaying import replay
from sam2track.tracking import run as running
from sam2track.tracking.encoder import Encoder
from sam2track.tracking.tracker import Tracker
from tests.frames.conftest import write_video
from tests.frames.test_video_damage import spoil
from tests.made import write_folder, write_project

FRAMES, HEIGHT, WIDTH = 10, 47, 63


@pytest.fixture(scope="module")
def module() -> Any:
    """A model that is small and knows nothing: what it gives is no matter here."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    built = build(ARCHITECTURES["nano"], image_size=64)
    torch.set_rng_state(state)
    return built


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Two squares that move over noise; the size is odd in both ways."""
    frames = np.random.default_rng(0).integers(0, 90, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(FRAMES):
        frames[t, 5:25, 3 + 2 * t : 23 + 2 * t] = (230, 40, 40)
        frames[t, 22:44, 38 - 2 * t : 58 - 2 * t] = (40, 220, 60)
    return frames


def prompts(*where: tuple[int, int, list[float]], names: bool = True) -> dict[str, Any]:
    """Boxes as (object, frame, box)."""
    objects: dict[int, dict[str, Any]] = {}
    for object_id, frame, box in where:
        item = objects.setdefault(object_id, {"id": object_id, "prompts": []})
        if names:
            item["name"] = f"no. {object_id}"
        item["prompts"].append({"frame": frame, "box": box})
    return {"version": 1, "objects": list(objects.values())}


RED, GREEN = [3, 5, 23, 25], [38, 22, 58, 44]
TWO = prompts((1, 0, RED), (2, 3, [32, 22, 52, 44]))


@pytest.fixture(scope="module")
def unbroken(
    module: Any, clip: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    """A run in both directions that nothing disturbs; not to be changed."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    return out, run(clip, TWO, output=out, model=module)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def results(out: Path) -> dict[tuple[int, int], tuple[Any, ...]]:
    """All that a project holds of each object and frame."""
    found = {}
    with Project.open(out / "project.s2t") as project:
        for frame in project.frames:
            for object_id, mask in project.masks(frame).items():
                record = project.get(object_id, frame)
                assert record is not None
                found[object_id, frame] = (
                    mask.tobytes(),
                    record.logits.tobytes(),
                    record.pointer.tobytes(),
                    record.score,
                    record.iou,
                    record.source,
                )
    return found


def sources(out: Path) -> dict[tuple[int, int], str]:
    return {key: value[-1] for key, value in results(out).items()}


def decoded(path: Path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format="rgb24") for f in frames], [float(f.time) for f in frames]


# -- outputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 3, "pictures", ["pictures"]])
def test_what_is_written_is_named(
    clip: np.ndarray, module: Any, tmp_path: Path, wrong: Any
) -> None:
    with pytest.raises(UsageError, match=r"cannot write .* masks, mask-video"):
        run(clip, TWO, output=tmp_path / "out", model=module, write=wrong)
    assert not (tmp_path / "out").exists()


def test_outcome(unbroken: tuple[Path, Outcome]) -> None:
    out, outcome = unbroken
    assert outcome.status == "done"
    assert outcome.frames == FRAMES
    assert outcome.frames_computed == FRAMES + 3  # object 2 backward from its first frame
    assert outcome.outputs == {
        "project": str(out / "project.s2t"),
        **{name: str(out / OUTPUTS[name]) for name in USUAL},
    }
    assert [(o["id"], o["name"], o["first"], o["last"]) for o in outcome.objects] == [
        (1, "no. 1", 0, FRAMES - 1),
        (2, "no. 2", 0, FRAMES - 1),
    ]
    assert outcome.to_dict()["version"] == 1
    pngs = [f"masks/{t:05d}.png" for t in range(FRAMES)]
    assert files(out) == sorted([*pngs, "masks.mp4", "overlay.mp4", "project.s2t", "tracks.csv"])


def test_pngs_are_the_labels(unbroken: tuple[Path, Outcome]) -> None:
    with Project.open(unbroken[0] / "project.s2t") as project:
        some = False
        for t in range(FRAMES):
            path = unbroken[0] / "masks" / f"{t:05d}.png"
            labels = project.labels(t)
            np.testing.assert_array_equal(read_label_png(path), labels)
            with Image.open(path) as image:
                assert image.mode == "P"
            some |= labels.any()
            covered = np.any(list(project.masks(t).values()), axis=0)
            np.testing.assert_array_equal(labels > 0, covered)
        assert some


def test_table_is_the_rows(unbroken: tuple[Path, Outcome]) -> None:
    with (unbroken[0] / "tracks.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    with Project.open(unbroken[0] / "project.s2t") as project:
        rows = list(project.rows())
    assert found[0] == [
        "frame",
        "time_s",
        "object",
        "name",
        "area_px",
        "centroid_x",
        "centroid_y",
        "x0",
        "y0",
        "x1",
        "y1",
        "object_score",
        "predicted_iou",
        "source",
    ]
    assert [tuple(line) for line in found[1:]] == [row.cells() for row in rows]
    assert [(row.frame, row.object_id) for row in rows] == [
        (t, i) for t in range(FRAMES) for i in (1, 2)
    ]


def test_videos(unbroken: tuple[Path, Outcome], clip: np.ndarray) -> None:
    for name in ("overlay.mp4", "masks.mp4"):
        frames, times = decoded(unbroken[0] / name)
        assert len(frames) == FRAMES
        assert frames[0].shape == (HEIGHT + 1, WIDTH + 1, 3)  # padded to even sizes
        np.testing.assert_allclose(times, np.arange(FRAMES) / 25, atol=1e-4)
    frames, _ = decoded(unbroken[0] / "masks.mp4")
    for t, frame in enumerate(frames):
        labels = read_label_png(unbroken[0] / "masks" / f"{t:05d}.png")
        lit = frame[:HEIGHT, :WIDTH].max(axis=2) > 60
        assert (lit == (labels > 0)).mean() > 0.9


def test_times_are_those_of_the_source(tmp_path: Path, module: Any, clip: np.ndarray) -> None:
    source = ArraySource(clip)
    source.times = np.array([0, 0.1, 0.15, 0.4, 1, 1.01, 1.2, 2, 2.5, 3.0])
    run(source, TWO, output=tmp_path, model=module, start=2, direction="forward")
    np.testing.assert_allclose(
        decoded(tmp_path / "overlay.mp4")[1], source.times[2:] - 0.15, atol=1e-4
    )
    with Project.open(tmp_path / "project.s2t") as project:
        assert {row.frame: row.time for row in project.rows()}[4] == 1.0


@pytest.mark.parametrize("largest", [256, 65_535])
def test_ids_above_255_take_16_bits(
    largest: int, tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    said = prompts((7, 0, RED), (largest, 0, GREEN))
    with track(clip, said, output=tmp_path, model=module, write=["masks"]) as project:
        seen = set()
        for t in range(FRAMES):
            labels = read_label_png(tmp_path / "masks" / f"{t:05d}.png")
            assert labels.dtype == np.uint16
            np.testing.assert_array_equal(labels, project.labels(t))
            seen |= set(np.unique(labels).tolist())
    assert seen <= {0, 7, largest}


@pytest.mark.parametrize(
    "write", [(), ("table",), ("masks", "overlay"), "mask-video", "label-video"]
)
def test_only_what_is_asked_for_is_written(
    tmp_path: Path, module: Any, clip: np.ndarray, write: Any
) -> None:
    outcome = run(clip[:3], prompts((1, 0, RED)), output=tmp_path, model=module, write=write)
    wanted = {write} if isinstance(write, str) else set(write)
    assert set(outcome.outputs) == {"project", *wanted}
    assert {path.name for path in tmp_path.iterdir()} == {
        "project.s2t",
        *(OUTPUTS[name] for name in wanted),
    }


@pytest.mark.parametrize("object_id", [7, 60_000])
def test_a_label_video_holds_the_label_maps(
    tmp_path: Path, module: Any, clip: np.ndarray, object_id: int
) -> None:
    said = prompts((object_id, 0, RED))
    form = "gray" if object_id < 256 else "gray16le"
    with track(clip, said, output=tmp_path, model=module, write="label-video") as project:
        with av.open(str(tmp_path / "masks.mkv")) as container:
            found = [f.to_ndarray(format=form) for f in container.decode(video=0)]
        assert len(found) == FRAMES
        for frame, labels in enumerate(found):
            np.testing.assert_array_equal(labels, project.labels(frame))
        assert found[0].max() == object_id


def test_a_full_table_that_is_not_written_is_refused(tmp_path: Path, clip: np.ndarray) -> None:
    with pytest.raises(UsageError, match="add table to write"):
        run(clip, output=tmp_path / "out", table="full", write=["masks"])
    assert not (tmp_path / "out").exists()


def test_unknown_outputs_are_refused(tmp_path: Path, clip: np.ndarray) -> None:
    with pytest.raises(
        UsageError, match=r"'gif'; allowed are masks, mask-video, label-video, overlay, table"
    ):
        run(clip, TWO, output=tmp_path / "o", write=["gif"])
    assert not (tmp_path / "o").exists()


def test_a_lost_object_has_blank_cells(tmp_path: Path, module: Any, clip: np.ndarray) -> None:
    said = prompts((1, 0, RED))
    said["objects"][0]["prompts"].append({"frame": 4, "absent": True})
    run(clip, said, output=tmp_path, model=module, write=["table"])
    with (tmp_path / "tracks.csv").open(encoding="utf-8", newline="") as file:
        row = list(csv.DictReader(file))[4]
    assert row["area_px"] == "0" and row["source"] == "prompted"
    assert [row[key] for key in ("centroid_x", "centroid_y", "x0", "y0", "x1", "y1")] == [""] * 6


# -- ranges and directions --------------------------------------------------------------


def test_both(unbroken: tuple[Path, Outcome]) -> None:
    found = sources(unbroken[0])
    assert [found[1, t] for t in range(FRAMES)] == ["prompted"] + ["forward"] * 9
    assert [found[2, t] for t in range(FRAMES)] == (
        ["backward"] * 3 + ["prompted"] + ["forward"] * 6
    )


@pytest.mark.parametrize(
    ("said", "direction", "at_once"),
    [
        (prompts((1, 0, RED)), "both", True),
        (prompts((1, 0, RED)), "forward", True),
        (TWO, "forward", True),
        (TWO, "both", False),
        (TWO, "backward", False),
    ],
)
def test_frames_are_written_once_nothing_goes_back_over_them(
    module: Any, clip: np.ndarray, tmp_path: Path, said: Any, direction: Any, at_once: bool
) -> None:
    ahead = []

    def look(now: Progress) -> None:
        if now.stage == "tracking":
            ahead.append(len(list((tmp_path / "at once" / "masks").glob("[0-9]*.png"))))

    options: dict[str, Any] = {"model": module, "direction": direction}
    run(clip, said, output=tmp_path / "at once", progress=look, **options)
    run(clip, said, output=tmp_path / "after", write=[], **options)
    run(clip, output=tmp_path / "after", resume=True, **options)
    # A picture is written in a thread, at most one frame behind.
    assert (ahead[-1] >= FRAMES - 2) if at_once else not any(ahead)
    written = sorted(path for path in (tmp_path / "after").rglob("*.[pmc]*") if path.is_file())
    assert len(written) == FRAMES + 3
    for path in written:
        same = tmp_path / "at once" / path.relative_to(tmp_path / "after")
        assert (
            hashlib.sha256(same.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()
        ), path


def test_a_core_is_left_to_the_outputs_of_a_small_model(
    module: Any, clip: np.ndarray, tmp_path: Path
) -> None:
    before, seen = torch.get_num_threads(), set()
    torch.set_num_threads(3)
    try:
        run(
            clip,
            TWO,
            output=tmp_path / "o",
            model=module,
            progress=lambda _: seen.add(torch.get_num_threads()),
        )
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == {2}


@pytest.mark.parametrize(
    ("direction", "start", "stop", "frames"),
    [
        ("forward", None, None, {1: "p.........", 2: "   p......"}),
        ("backward", None, None, {1: "p         ", 2: "...p      "}),
        ("forward", 2, 6, {1: "p ....    ", 2: "   p..    "}),
        ("backward", 1, 9, {1: "p         ", 2: " ..p      "}),
        ("both", 1, 3, {1: "p..       ", 2: " ..p      "}),
        ("both", 5, 99, {1: "p    .....", 2: "   p .....".replace("p ", "p ")}),
    ],
)
def test_ranges(
    tmp_path: Path,
    module: Any,
    clip: np.ndarray,
    direction: Any,
    start: int | None,
    stop: int | None,
    frames: dict[int, str],
) -> None:
    outcome = run(
        clip, TWO, output=tmp_path, model=module, direction=direction, start=start, stop=stop
    )
    found = sources(tmp_path)
    for object_id, marks in frames.items():
        got = "".join(
            {"prompted": "p", None: " "}.get(found.get((object_id, t)), ".") for t in range(FRAMES)
        )
        assert got == marks
    low, high = start or 0, min(FRAMES, FRAMES if stop is None else stop)
    assert outcome.frames == high - low
    assert files(tmp_path / "masks") == [f"{t:05d}.png" for t in range(low, high)]
    assert len(decoded(tmp_path / "overlay.mp4")[0]) == high - low


@pytest.mark.parametrize("span", [(10, None), (4, 4), (5, 2)])
def test_empty_ranges(tmp_path: Path, clip: np.ndarray, span: tuple[int, int | None]) -> None:
    with pytest.raises(UsageError):
        run(clip, TWO, output=tmp_path / "o", start=span[0], stop=span[1])
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, "nothing to track"),
        ({"version": 1, "objects": []}, "nothing to track"),
        (prompts((1, FRAMES, RED)), "frame 10, which does not exist; .* frames 0 to 9"),
        (prompts((1, 0, [0, 0, WIDTH + 1, 5])), "object 1, frame 0: .* outside the frame"),
        (
            {"version": 1, "objects": [{"id": 1, "prompts": [{"frame": 0, "absent": True}]}]},
            "absent wherever",
        ),
    ],
)
def test_bad_prompts_make_nothing(
    tmp_path: Path, clip: np.ndarray, said: Any, message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        run(clip, said, output=tmp_path / "o", model="nano")
    assert not (tmp_path / "o").exists()


# -- overwriting ------------------------------------------------------------------------


def test_a_project_is_replaced_only_when_asked(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    run(clip, TWO, output=tmp_path, model=module)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(ProjectExistsError, match=r"--resume.*--overwrite"):
        run(clip, TWO, output=tmp_path, model=module)
    with pytest.raises(UsageError, match="exclude each other"):
        run(clip, TWO, output=tmp_path, model=module, resume=True, overwrite=True)
    for name in ("resume", "overwrite"):  # "no" would say yes
        with pytest.raises(UsageError, match=f"{name} 'no'; give True or False"):
            run(clip, TWO, output=tmp_path, model=module, **{name: "no"})
    # What cannot begin must not cost what is there.
    with pytest.raises(PromptError):
        run(clip, prompts((1, 99, RED)), output=tmp_path, model=module, overwrite=True)
    with pytest.raises(UsageError, match="allowed are forward, backward, both"):
        run(clip, TWO, output=tmp_path, model=module, overwrite=True, direction="on")  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        run(clip, TWO, output=tmp_path, model="nanu", overwrite=True)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before

    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "masks" / "mine.png").write_text("mine")
    run(
        clip[:4],
        prompts((5, 0, RED)),
        output=tmp_path,
        model=module,
        overwrite=True,
        write=["masks"],
    )
    assert files(tmp_path) == sorted(
        [*(f"masks/{t:05d}.png" for t in range(4)), "masks/mine.png", "notes.txt", "project.s2t"]
    )
    with Project.open(tmp_path / "project.s2t") as project:
        assert project.objects == (5,)


def test_files_of_others_are_not_taken_for_outputs(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    """Label maps that somebody drew must survive a job that is sent to their folder."""
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "00000.png").write_text("drawn by hand")
    for options in ({}, {"resume": True}):
        with pytest.raises(ProjectExistsError, match="holds masks but no project"):
            run(clip, TWO, output=tmp_path, model=module, **options)
    assert (tmp_path / "masks" / "00000.png").read_text() == "drawn by hand"
    run(clip, TWO, output=tmp_path, model=module, overwrite=True)
    assert read_label_png(tmp_path / "masks" / "00000.png").shape == (HEIGHT, WIDTH)


def test_output_that_cannot_be(tmp_path: Path, module: Any, clip: np.ndarray) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be written"):
            run(clip, TWO, output=out, model=module)
    assert (tmp_path / "file").read_text() == "mine"


# -- resuming ---------------------------------------------------------------------------


def stop_at(stage: str, done: int) -> Callable[[Progress], None]:
    def progress(now: Progress) -> None:
        if now.stage == stage and now.done == done:
            raise KeyboardInterrupt

    return progress


def same_outputs(one: Path, two: Path) -> None:
    assert files(one) == files(two)
    assert results(one) == results(two)
    for name in files(one):
        if name.endswith((".png", ".csv")):
            assert (one / name).read_bytes() == (two / name).read_bytes(), name
    for name in ("masks.mp4", "overlay.mp4"):
        assert decoded(one / name)[1] == decoded(two / name)[1]


@pytest.mark.parametrize(
    ("stage", "done", "left"),
    [
        ("tracking", 1, 12),
        ("tracking", 8, 5),
        ("tracking", 10, 3),
        ("tracking", 12, 1),
        ("tracking", 13, 0),
        ("writing", 4, 0),
    ],
)
def test_resumed_between_frames(
    tmp_path: Path,
    module: Any,
    clip: np.ndarray,
    unbroken: tuple[Path, Outcome],
    stage: str,
    done: int,
    left: int,
) -> None:
    with pytest.raises(Interrupted) as caught:
        run(clip, TWO, output=tmp_path, model=module, progress=stop_at(stage, done))
    outcome = caught.value.outcome
    assert outcome.status == "interrupted"
    assert outcome.frames_computed == (done if stage == "tracking" else 13)
    assert set(outcome.outputs) == {"project"}
    assert files(tmp_path)[-1] == "project.s2t", "no half video or table is left"
    # The same prompts are accepted, and none means the stored ones.
    again = run(clip, TWO if done % 2 else None, output=tmp_path, model=module, resume=True)
    same_outputs(tmp_path, unbroken[0])
    assert (again.status, again.frames_computed) == ("done", left)


@pytest.mark.parametrize("frame", [2, 5, 8])
@pytest.mark.parametrize("place", ["encode", "put"])
def test_resumed_within_a_frame(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    clip: np.ndarray,
    unbroken: tuple[Path, Outcome],
    place: str,
    frame: int,
) -> None:
    """Ctrl-C does not wait for the end of a frame."""
    owner, name = {"encode": (Encoder, "encode"), "put": (Project, "put")}[place]
    original = getattr(owner, name)
    calls = 0

    def interrupted(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == frame + 2:  # each prompt is a call too
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(Interrupted):
        run(clip, TWO, output=tmp_path, model=module)
    monkeypatch.undo()
    run(clip, None, output=tmp_path, model=module, resume=True)
    same_outputs(tmp_path, unbroken[0])


@pytest.mark.parametrize("killed_at", [2, 7, 12])
def test_resumed_after_a_kill(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    clip: np.ndarray,
    unbroken: tuple[Path, Outcome],
    killed_at: int,
) -> None:
    """A kill leaves no word of where tracking stood, only what is saved now and then."""
    monkeypatch.setattr(running, "_STATE_EVERY", 3)
    dead = tmp_path / "dead"

    def copy(now: Progress) -> None:
        if now.stage == "tracking" and now.done == killed_at:
            dead.mkdir()
            for path in (tmp_path / "live").glob("project.s2t*"):
                shutil.copy(path, dead)

    run(clip, TWO, output=tmp_path / "live", model=module, progress=copy)
    assert (dead / "project.s2t-wal").exists()
    again = run(clip, TWO, output=dead, model=module, resume=True)
    same_outputs(dead, unbroken[0])
    assert again.frames_computed == 13 - killed_at // 3 * 3


def test_resumed_in_the_precision_that_it_was_begun_in(
    clip: np.ndarray, module: Any, tmp_path: Path
) -> None:
    """What is taken automatically may be another one on another machine."""
    run(clip, TWO, output=tmp_path, model=module, stop=3, precision="bf16", write=())
    again = run(clip, None, output=tmp_path, model=module, resume=True, write=())
    assert (again.precision, again.frames_computed) == ("bf16", FRAMES - 3)
    with pytest.raises(ProjectError, match="precision 'bf16', now it is 'fp32'"):
        run(clip, None, output=tmp_path, model=module, resume=True, precision="fp32")


def test_resumed_twice(
    tmp_path: Path, module: Any, clip: np.ndarray, unbroken: tuple[Path, Outcome]
) -> None:
    for done in (4, 3, 1):
        with pytest.raises(Interrupted):
            run(
                clip,
                TWO,
                output=tmp_path,
                model=module,
                resume=True,
                progress=stop_at("tracking", done),
            )
    assert run(clip, None, output=tmp_path, model=module, resume=True).frames_computed == 5
    same_outputs(tmp_path, unbroken[0])


def test_a_longer_range_goes_on(
    tmp_path: Path, module: Any, clip: np.ndarray, unbroken: tuple[Path, Outcome]
) -> None:
    run(clip, TWO, output=tmp_path, model=module, stop=6, direction="forward")
    again = run(clip, None, output=tmp_path, model=module, resume=True)
    assert again.frames_computed == 4 + 3
    same_outputs(tmp_path, unbroken[0])


def test_what_of_an_earlier_run_is_left_is_told(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    run(clip, TWO, output=tmp_path, model=module, stop=6, write=("masks", "table"))
    before = (tmp_path / "tracks.csv").read_bytes()
    again = run(clip, None, output=tmp_path, model=module, resume=True, write=("masks",))
    assert again.warnings == [
        f"{tmp_path / 'tracks.csv'} is of an earlier run; write anew what is still wanted "
        "(--resume --write table)"
    ]
    assert (tmp_path / "tracks.csv").read_bytes() == before
    whole = run(clip, None, output=tmp_path, model=module, resume=True, write=("table",))
    assert whole.warnings == []  # nothing was tracked: the masks are of what there is
    assert (tmp_path / "tracks.csv").read_bytes() != before


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM all_results WHERE frame = 2", "object 1 on frame 2: its result is gone"),
        ("DELETE FROM all_results WHERE frame = 1", "object 1 on frame 1: its result is gone"),
        ("DELETE FROM all_results WHERE frame >= 3 AND source != 0", "object 1 on frame 3"),
        ("DELETE FROM all_results WHERE object = 2", "object 2 on frame 3: its result is gone"),
        ("DELETE FROM states", "where tracking stood after it is gone"),
        ("DELETE FROM all_prompts WHERE object = 2", "object 2: nothing is said of it"),
    ],
)
def test_what_is_gone_is_noticed_where_a_job_is_gone_on_with(
    statement: str, why: str, tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    with pytest.raises(Interrupted):
        run(clip, TWO, output=tmp_path, model=module, progress=stop_at("tracking", 6))
    with closing(sqlite3.connect(tmp_path / "project.s2t")) as db:
        db.execute(statement)
        db.commit()
    with pytest.raises(ProjectError, match=f"damaged at .*{why}.*; take a copy of it.*replay"):
        run(clip, None, output=tmp_path, model=module, resume=True)
    assert files(tmp_path) == ["project.s2t"]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        # What both runs passed last, and all of the run of an object.
        ("DELETE FROM all_results WHERE frame = {last}", "object 1 on frame {last}"),
        ("DELETE FROM all_results WHERE frame = 0 AND object = 2", "object 2 on frame 0"),
        ("DELETE FROM all_results WHERE object = 2 AND source = 2", "object 2 on frame 0"),
        ("DELETE FROM all_results WHERE object = 1 AND source = 1", "object 1 on frame 1"),
    ],
)
def test_the_end_of_a_run_is_missed(
    statement: str, why: str, tmp_path: Path, unbroken: tuple[Path, Outcome]
) -> None:
    path = tmp_path / "p.s2t"
    shutil.copy(unbroken[0] / "project.s2t", path)
    with Project.open(path) as project:
        project.check()
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement.format(last=FRAMES - 1))
        db.commit()
    said = f"damaged at {why.format(last=FRAMES - 1)}: its result is gone"
    with Project.open(path) as project, pytest.raises(ProjectError, match=said):
        project.check()


def test_resume_of_a_finished_job_writes_again(
    tmp_path: Path, module: Any, clip: np.ndarray, unbroken: tuple[Path, Outcome]
) -> None:
    run(clip, TWO, output=tmp_path, model=module, write=[])
    again = run(clip, None, output=tmp_path, model=module, resume=True)
    same_outputs(tmp_path, unbroken[0])
    assert again.frames_computed == 0


def test_frames_that_could_not_be_decoded_stay_known(tmp_path: Path, module: Any) -> None:
    """A run that goes on reads none of those that were tracked before it."""
    whole = write_video(tmp_path / "whole.mov", 12, codec="mjpeg", pix_fmt="yuvj420p")
    video, out = spoil(whole, [2, 6, 9]), tmp_path / "out"

    def carried() -> list[int]:
        with Project.open(out) as project:
            return [row.frame for row in project.rows() if row.source == "carried"]

    with pytest.raises(Interrupted):
        run(
            video,
            prompts((1, 0, [2, 2, 20, 20])),
            output=out,
            model=module,
            write=[],
            progress=stop_at("tracking", 5),
        )
    assert carried() == [2]
    for stop, expected in ((8, [2, 6]), (None, [2, 6, 9]), (None, [2, 6, 9])):
        run(video, output=out, model=module, write=[], resume=True, stop=stop)
        assert carried() == expected


def test_the_other_direction_later(
    tmp_path: Path, module: Any, clip: np.ndarray, unbroken: tuple[Path, Outcome]
) -> None:
    run(clip, TWO, output=tmp_path, model=module, direction="backward")
    run(clip, None, output=tmp_path, model=module, resume=True)
    assert sources(tmp_path).keys() == sources(unbroken[0]).keys()


def test_resume_with_an_array_of_what_was_made_from_a_video(
    module: Any, clip: np.ndarray, tmp_path: Path
) -> None:
    video = Path(__file__).parent.parent / "sample_videos/shapes/video.mp4"
    run(video, prompts((1, 0, RED)), output=tmp_path, model=module, write=(), stop=2)
    with pytest.raises(UsageError, match="another kind of source than an array is"):
        run(clip, output=tmp_path, model=module, write=(), resume=True)


def test_what_is_read_otherwise_is_named_and_not_limits_that_come_of_it(
    module: Any, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.arange(3 * 2 * 32 * 32, dtype=np.uint16).reshape(3, 2, 32, 32))
    model = load_model(module)
    first, second = (open_source(tmp_path / "a.npy", axes="TZYX", z=z) for z in range(2))
    open_project(tmp_path / "a.s2t", first, model).close()
    with pytest.raises(UsageError, match="was made with z 0, now it is 1; leave it as it was"):
        open_project(tmp_path / "a.s2t", second, model)


@pytest.mark.parametrize("resume", [False, True])
def test_an_output_that_no_folder_may_be_named_is_told(
    tmp_path: Path, module: Any, clip: np.ndarray, resume: bool
) -> None:
    output = tmp_path / ("a" * 300)
    with pytest.raises(OutputError, match="cannot be written: File name too long"):
        track(clip, TWO, output=output, model=module, resume=resume)


def test_an_empty_output_is_not_the_current_folder(
    module: Any, clip: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="output is empty; name"):
        run(clip, prompts((1, 0, RED)), output="", model=module)
    assert list(tmp_path.iterdir()) == []


def test_resume_without_a_project_starts_anew(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    for out in (tmp_path / "missing", tmp_path):
        run(clip[:2], prompts((1, 0, RED)), output=out, model=module, resume=True, write=[])
        assert (out / "project.s2t").exists()
        with pytest.raises(PromptError, match="nothing to track"):
            run(clip[:2], None, output=out / "none", model=module, resume=True)


def test_a_project_in_which_nothing_is_marked_is_not_gone_on_with(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    """A job was killed before it had stored what was said, or all of it was taken back."""
    source, model = open_source(clip), load_model(module, device="cpu")
    path = tmp_path / "project.s2t"
    Project.create(path, meta=project_meta(source, model), times=source.times).close()
    with pytest.raises(PromptError, match="holds no object to track"):
        run(clip, None, output=tmp_path, model=module, resume=True)
    run(clip, TWO, output=tmp_path, model=module, resume=True, write=[])
    with Project.open(path, writable=True) as project:
        tracker = Tracker(model, source, history=project)
        while tracker.undo() is not None:
            pass
    with pytest.raises(PromptError, match="holds no object to track"):
        run(clip, None, output=tmp_path, model=module, resume=True)
    # Nor is it replaced, unasked: all can be put back.
    with pytest.raises(UsageError, match="made with other prompts"):
        run(clip, TWO, output=tmp_path, model=module, resume=True, write=[])
    with Project.open(path, writable=True) as project:
        assert project.redo() and project.objects == (1,)


@pytest.mark.parametrize(
    ("said", "difference"),
    [
        (prompts((1, 0, RED), (2, 3, GREEN)), "object 2, frame 3 is prompted differently"),
        (prompts((1, 0, RED)), "object 2, frame 3 is prompted in only one"),
        (prompts((1, 0, RED), (2, 4, GREEN)), "object 2, frame 3 is prompted in only one"),
    ],
)
def test_other_prompts_are_refused(
    tmp_path: Path,
    module: Any,
    clip: np.ndarray,
    unbroken: tuple[Path, Outcome],
    said: Any,
    difference: str,
) -> None:
    shutil.copytree(unbroken[0], tmp_path / "o")
    before = results(tmp_path / "o")
    with pytest.raises(UsageError, match=difference) as refused:  # which may be kept for long
        run(clip, said, output=tmp_path / "o", model=module, resume=True)
    assert not list((tmp_path / "o").glob("*-wal")), refused
    assert results(tmp_path / "o") == before


def test_other_names_are_told(
    tmp_path: Path, module: Any, clip: np.ndarray, unbroken: tuple[Path, Outcome]
) -> None:
    shutil.copytree(unbroken[0], tmp_path / "o")
    said = copy.deepcopy(TWO)
    before = [row["name"] for row in unbroken[1].objects]
    said["objects"][0]["name"] = "other"
    done = run(clip, said, output=tmp_path / "o", model=module, resume=True)
    assert [row["name"] for row in done.objects] == before
    (told,) = [w for w in done.warnings if "other" in w]
    assert told.startswith(f"object 1 stays {before[0]!r}, and is not called 'other'")


def test_other_sources_and_models_are_refused(
    tmp_path: Path, module: Any, clip: np.ndarray, unbroken: tuple[Path, Outcome]
) -> None:
    shutil.copytree(unbroken[0], tmp_path / "o")
    with pytest.raises(ProjectError, match="made from other pictures"):
        run(clip[::-1], None, output=tmp_path / "o", model=module, resume=True)
    with pytest.raises(ProjectError, match="precision 'fp32', now it is 'bf16'"):
        run(clip, None, output=tmp_path / "o", model=module, precision="bf16", resume=True)
    with pytest.raises(ProjectError, match="project"):
        (tmp_path / "o" / "project.s2t").write_bytes(b"SQLite format 3\0 and then nonsense")
        run(clip, None, output=tmp_path / "o", model=module, resume=True)


def test_pictures_are_followed_where_they_are_no_longer_where_they_were(tmp_path: Path) -> None:
    here, there = write_folder(tmp_path / "here", 2), tmp_path / "there"
    path = write_project(tmp_path / "p.s2t", {1: {}}, source=here, source_path=str(here))
    shutil.copytree(here, there)
    with Project.open(path, writable=True) as project, closing(open_source(there)) as source:
        _follow(project, source)
        assert project.meta["source_path"] == str(here)
        shutil.rmtree(here)
        _follow(project, source)
        assert project.meta["source_path"] == str(there)


# -- failures on the way ----------------------------------------------------------------


def test_full_disk_keeps_what_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    clip: np.ndarray,
    unbroken: tuple[Path, Outcome],
) -> None:
    def full(now: Progress) -> None:
        if now.done == 5:
            project = projects[0]
            pages = project._db.execute("PRAGMA page_count").fetchone()[0]
            project._db.execute(f"PRAGMA max_page_count = {pages}")

    projects: list[Project] = []
    create = Project.create
    monkeypatch.setattr(
        Project, "create", lambda *a, **k: projects.append(create(*a, **k)) or projects[0]
    )
    with pytest.raises(
        OutputError, match=r"full; is there space left\?; what was kept before is kept"
    ):
        run(clip, TWO, output=tmp_path, model=module, progress=full)
    monkeypatch.undo()
    again = run(clip, TWO, output=tmp_path, model=module, resume=True)
    assert again.status == "done"
    same_outputs(tmp_path, unbroken[0])


def test_prompts_that_cannot_be_stored_leave_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, clip: np.ndarray
) -> None:
    add = Project.add_prompt

    def full(self: Project, object_id: int, *arguments: Any, **options: Any) -> None:
        if object_id == 2:
            with Project.open(tmp_path) as left:  # what a kill would leave
                assert left.objects == ()
            raise OutputError("disk full")
        add(self, object_id, *arguments, **options)

    monkeypatch.setattr(Project, "add_prompt", full)
    with pytest.raises(OutputError):
        run(clip, TWO, output=tmp_path, model=module)
    assert files(tmp_path) == []


def test_failed_outputs_leave_no_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, clip: np.ndarray
) -> None:
    def full(*_: Any, **__: Any) -> np.ndarray:
        raise OutputError("disk full")

    monkeypatch.setattr(writing, "overlay", full)
    with pytest.raises(OutputError):
        run(clip, TWO, output=tmp_path, model=module)
    *pictures, project = files(tmp_path)
    assert project == "project.s2t"
    assert pictures in (["masks/00000.png"], ["masks/00000.png", "masks/00001.png"])
    for name in pictures:
        assert read_labels(tmp_path / name).shape == (HEIGHT, WIDTH)


def test_an_output_that_cannot_be_had_leaves_nothing_of_the_others(tmp_path: Path) -> None:
    with (
        Staged(tmp_path / "overlay.mp4"),  # as another command that writes it now
        pytest.raises(OutputError, match="another command"),
    ):
        writing.PictureOutputs(
            tmp_path, ["mask-video", "overlay"], height=16, width=16, bits=8, names={}
        )
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.mp4"]


# -- the public function, and mask files ------------------------------------------------


def test_a_stop_past_the_end_is_the_end_and_is_said(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    outcome = run(clip, TWO, output=tmp_path, model=module, stop=500, write=())
    assert outcome.frames == len(clip)
    assert [line for line in outcome.warnings if "stop 500 lies past the end" in line]


def test_track_gives_an_open_project(tmp_path: Path, module: Any, clip: np.ndarray) -> None:
    said = load_prompts(TWO, read_mask=read_mask)
    with track(clip, said, output=tmp_path, model=module, write=[]) as project:
        assert project.frames == tuple(range(FRAMES))
        assert project.names == {1: "no. 1", 2: "no. 2"}
        assert project.prompts.difference(said) is None
        assert [step["action"] for step in project.journal()] == ["prompt", "prompt", "propagate"]


def test_mask_files(tmp_path: Path) -> None:
    expected = np.zeros((6, 8), bool)
    expected[1:3, 2:5] = True
    grey = Image.fromarray(expected.astype(np.uint8) * 3)
    palette = grey.copy()
    palette.putpalette([0, 0, 0, 9, 9, 9, 1, 1, 1, 0, 0, 0])  # 3 is black, and still the object
    coloured = np.zeros((6, 8, 4), np.uint8)
    coloured[..., 3] = 255  # opaque everywhere
    coloured[expected, 2] = 1
    pictures = {
        "grey": grey,
        "palette": palette,
        "rgba": Image.fromarray(coloured),
        "rgb": Image.fromarray(coloured[..., :3]),
        "one": Image.fromarray(expected),
        "deep": Image.fromarray(expected.astype(np.uint16) * 256),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), expected)
    np.testing.assert_array_equal(read_labels(tmp_path / "palette.png"), expected * 3)
    np.testing.assert_array_equal(read_labels(tmp_path / "deep.png"), expected * 256)
    with pytest.raises(PromptError, match="colour picture"):
        read_labels(tmp_path / "rgb.png")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.uint64, np.float32])
def test_label_files_of_any_whole_numbers(tmp_path: Path, dtype: type) -> None:
    """As skimage, numpy, Fiji and Cellpose save them."""
    labels = np.zeros((6, 8), dtype)
    labels[1:3, 2:5] = 1
    labels[4, 4:] = 1 if dtype is bool else 200
    np.save(tmp_path / "a.npy", labels)
    np.save(tmp_path / "b.npy", labels[None, None])
    names = ["a.npy", "b.npy"]
    for kind in ("minisblack", "miniswhite"):  # as ImageJ saves masks, 255 where the object is
        names.append(f"{kind}.tif")
        tifffile.imwrite(tmp_path / names[-1], labels, photometric=kind)
    if dtype in (bool, np.uint8):  # for these tifffile has no codec of its own
        names.append("packed.tif")
        packing = "group4" if dtype is bool else "tiff_lzw"
        Image.fromarray(labels).save(tmp_path / names[-1], compression=packing)
    if dtype is bool:
        names.append("white.tif")
        white = {262: 0}
        Image.fromarray(~labels).save(tmp_path / names[-1], compression="group4", tiffinfo=white)
    for name in names:
        np.testing.assert_array_equal(read_labels(tmp_path / name), labels.astype(np.int64))
        np.testing.assert_array_equal(read_mask(tmp_path / name), labels > 0)


@pytest.mark.parametrize("value", [-1, 1e20, 0.5, float("nan")])
def test_labels_that_cannot_be(tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "a.npy", np.full((4, 5), value))
    for read in (read_mask, read_labels):
        with pytest.raises(PromptError, match=r"a\.npy holds (numbers below 0|fractions|float64)"):
            read(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_label_files_of_several_pictures_are_refused(tmp_path: Path, dtype: type) -> None:
    """Of a stack of labels the first was taken, for whatever frame it was given."""
    labels = np.ones((5, 6, 8), dtype)
    np.save(tmp_path / "a.npy", labels)
    tifffile.imwrite(tmp_path / "b.tif", labels, photometric="minisblack")
    # Three or four of them tifffile takes for planes of colours.
    tifffile.imwrite(tmp_path / "rgb.tif", labels[:3], photometric="rgb", planarconfig="separate")
    for name in ("a.npy", "b.tif", "rgb.tif"):
        for read in (read_mask, read_labels):
            with pytest.raises(PromptError, match="several pictures; give the one of the frame"):
                read(tmp_path / name)
    np.save(tmp_path / "c.npy", {"masks": labels}, allow_pickle=True)
    with pytest.raises(PromptError, match=r"Python objects, as Cellpose's _seg\.npy does"):
        read_labels(tmp_path / "c.npy")
    (tmp_path / "d.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:150])
    with pytest.raises(PromptError, match="or is damaged"):
        read_mask(tmp_path / "d.npy")


def test_mask_files_of_probabilities_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 0.1, np.float32)).save(tmp_path / "p.tif")
    with pytest.raises(PromptError, match=r"p\.tif holds float32; it must hold whole numbers"):
        read_mask(tmp_path / "p.tif")


def test_mask_files_that_cannot_be_read(tmp_path: Path) -> None:
    picture = tmp_path / "m.png"
    Image.fromarray(np.eye(64, dtype=np.uint8)).save(picture)
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:60])
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("cut.png", "text.png", "empty.png", "none.png", ".", "nul\0l.png"):
        for read in (read_mask, read_labels):
            with pytest.raises(PromptError, match="cannot be read"):
                read(tmp_path / name)


def test_a_second_job_in_the_same_folder_is_refused(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    met: list[BaseException] = []

    def intrude(_: Progress) -> None:
        if not met:
            for options in ({"overwrite": True}, {"resume": True}):
                try:
                    run(clip, TWO, output=tmp_path, model=module, write=[], **options)
                except ProjectError as error:
                    met.append(error)

    run(clip, TWO, output=tmp_path, model=module, write=[], progress=intrude)
    assert len(met) == 2
    assert all("in use by another job" in str(error) for error in met)
    assert not (tmp_path / "project.s2t.lock").exists()


def test_overwrite_leaves_what_is_not_a_jobs(tmp_path: Path, module: Any, clip: np.ndarray) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "0mine.png").write_bytes(b"mine")
    run(clip, TWO, output=tmp_path, model=module, write=["masks"], overwrite=True)
    run(clip, TWO, output=tmp_path, model=module, write=["table"], overwrite=True)
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["0mine.png"]


def test_what_is_left_where_removal_is_interrupted_goes_with_the_next_overwrite(
    tmp_path: Path, module: Any, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks of two jobs lay in one folder then."""
    run(clip, TWO, output=tmp_path, model=module, write=["masks"], stop=3)

    def interrupted(path: Path) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "is_output", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(clip, TWO, output=tmp_path, model=module, write=["masks"], start=1, overwrite=True)
    monkeypatch.undo()
    run(clip, TWO, output=tmp_path, model=module, write=["masks"], start=1, stop=3, overwrite=True)
    assert {p.stem for p in (tmp_path / "masks").iterdir()} == {"00001", "00002"}


def test_ids_that_fit_no_picture_are_refused_before_the_work(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    large = {
        "version": 1,
        "objects": [{"id": 70000, "prompts": [{"frame": 0, "points": [[20, 20]]}]}],
    }
    for write in ("masks", "label-video"):
        with pytest.raises(PromptError, match=f"70000 does not fit.*write without {write}"):
            run(clip, large, output=tmp_path / "o", model=module, write=[write])
    assert not (tmp_path / "o").exists()
    assert run(clip, large, output=tmp_path / "o", model=module, write=["table"]).status == "done"
    for write in ("masks", "label-video"):
        with pytest.raises(PromptError, match=f"70000 does not fit.*write without {write}"):
            run(clip, output=tmp_path / "o", model=module, write=[write], resume=True)
        with pytest.raises(PromptError, match=f"70000 does not fit.*write without {write}"):
            replay(tmp_path / "o", output=tmp_path / "n", source=clip, model=module, write=write)
    assert {path.name for path in tmp_path.rglob("*")} == {"o", "project.s2t", "tracks.csv"}


def test_an_object_without_any_frame_is_warned_of(
    tmp_path: Path, module: Any, clip: np.ndarray
) -> None:
    late = {
        "version": 1,
        "objects": [{"id": 1, "prompts": [{"frame": 7, "points": [[20, 20]]}]}],
    }
    outcome = run(clip, late, output=tmp_path, model=module, stop=3, direction="forward")
    assert "object 1 has no frame in [0, 3)" in outcome.warnings[0]


@pytest.mark.parametrize(
    "options",
    [
        {"start": 1.0},
        {"start": "1"},
        {"stop": float("nan")},
        {"stop": True},
        {"direction": ""},
        {"timeout": "long"},
    ],
)
def test_what_is_of_another_type_is_told_as_that(
    tmp_path: Path, module: Any, clip: np.ndarray, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        run(clip, TWO, output=tmp_path / "out", model=module, **options)
