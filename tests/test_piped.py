"""Whole jobs on a pipe: what comes out, and what is kept where it ends before its time."""

from __future__ import annotations

import csv
import io
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from sam2track import Tracker, job
from sam2track import piped as piped_jobs
from sam2track.errors import ProjectError, ProjectExistsError, PromptError, SourceError, UsageError
from sam2track.export.pngs import read_label_png
from sam2track.frames.opening import reopen_source
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.outcome import CutShort, Interrupted
from sam2track.project import Project
from sam2track.writing import PictureOutputs

FRAMES, HEIGHT, WIDTH = 9, 48, 64
RED, GREEN = [4, 6, 24, 26], [30, 20, 50, 40]


def said(*where: tuple[int, int, list[int]]) -> dict[str, Any]:
    objects = [
        {"id": number, "name": f"no. {number}", "prompts": [{"frame": frame, "box": box}]}
        for number, frame, box in where
    ]
    return {"version": 1, "objects": objects}


TWO = said((1, 0, RED), (2, 3, GREEN))


@pytest.fixture(scope="module")
def module() -> Any:
    state = torch.get_rng_state()
    torch.manual_seed(0)
    built = build(ARCHITECTURES["nano"], image_size=64)
    torch.set_rng_state(state)
    return built


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    frames = np.random.default_rng(0).integers(0, 90, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(FRAMES):
        frames[t, 6:26, 4 + 2 * t : 24 + 2 * t] = (230, 40, 40)
        frames[t, 20:40, 30 - t : 50 - t] = (40, 220, 60)
    return frames


def container(clip: np.ndarray) -> bytes:
    """A video without loss."""
    file = io.BytesIO()
    with av.open(file, "w", format="nut") as made:
        stream = made.add_stream("rawvideo", rate=20)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "rgb24"
        for picture in clip:
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode(None))
    return file.getvalue()


@pytest.fixture(scope="module")
def video(clip: np.ndarray) -> bytes:
    return container(clip)


@pytest.fixture
def piped() -> Iterator[Callable[..., Any]]:
    """Give pipes out of which bytes come; one that stays open has more to say, but never does."""
    ends: list[Any] = []

    def begin(data: bytes, *, stays: bool = False) -> Any:
        out, into = os.pipe()
        writer = os.fdopen(into, "wb", buffering=0)

        def write() -> None:
            with suppress(BrokenPipeError):
                writer.write(data)
            if not stays:
                writer.close()

        thread = threading.Thread(target=write)
        reader = os.fdopen(out, "rb", buffering=0)
        thread.start()
        ends.append((reader, thread, writer))
        return reader

    yield begin
    for reader, thread, writer in ends:
        reader.close()
        thread.join()
        writer.close()


def test_what_comes_out(
    clip: np.ndarray, video: bytes, piped: Any, module: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    seen: list[tuple[int, int]] = []
    found = job.run(
        piped(video),
        TWO,
        output=out,
        model=module,
        progress=lambda progress: seen.append((progress.done, progress.total)),
    )
    assert (found.status, found.source, found.frames) == ("done", "-", FRAMES)
    assert found.frames_computed == FRAMES and found.warnings == []
    assert seen == [(count, 0) for count in range(1, FRAMES + 1)]

    stream = Tracker(module)
    expected = []
    for frame, picture in enumerate(clip):
        result = stream.update(picture)
        if frame in (0, 3):
            result = stream.prompt(1 if frame == 0 else 2, frame, box=RED if frame == 0 else GREEN)
        expected.append(dict(zip(result.object_ids, result.masks, strict=True)))
    with Project.open(out / "project.s2t") as project:
        assert project.frames == tuple(range(FRAMES))
        assert project.times.tolist() == pytest.approx([t / 20 for t in range(FRAMES)])
        assert project.meta["frames"] == FRAMES and project.names[2] == "no. 2"
        for frame, masks in enumerate(expected):
            kept = project.masks(frame)
            assert kept.keys() == masks.keys()
            assert all(np.array_equal(kept[i], masks[i]) for i in kept)
            labels = read_label_png(out / f"masks/{frame:05d}.png")
            assert np.array_equal(labels, project.labels(frame))
        assert all(
            row["to_run"] == {"forward": None, "backward": None}
            for row in project.info()["objects"]
        )
    for name in ("masks.mp4", "overlay.mp4"):
        with av.open(str(out / name)) as made:
            times = [float(frame.time) for frame in made.decode(video=0)]
        assert times == pytest.approx([t / 20 for t in range(FRAMES)])
    with (out / "tracks.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == FRAMES + FRAMES - 3
    assert rows[0]["source"] == "prompted" and rows[1]["source"] == "forward"


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("frame = (SELECT max(frame) FROM all_results)", "object 1 on frame 8"),
        ("frame = 5 AND object = 2", "object 2 on frame 5"),
        ("object = 2", "object 2 on frame 3"),
    ],
)
def test_frames_that_are_gone_are_missed(
    which: str, why: str, video: bytes, piped: Any, module: Any, tmp_path: Path
) -> None:
    job.run(piped(video), TWO, output=tmp_path, model=module, write=())
    with Project.open(tmp_path) as project:
        project.check()
    with closing(sqlite3.connect(tmp_path / "project.s2t")) as db:
        db.execute(f"DELETE FROM all_results WHERE {which}")
        db.commit()
    with (
        Project.open(tmp_path) as project,
        pytest.raises(ProjectError, match=f"damaged at {why}: its result is gone"),
    ):
        project.check()


def test_a_range(video: bytes, piped: Any, module: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = job.run(
        piped(video),
        said((1, 1, RED), (7, 8, RED)),
        output=out,
        model=module,
        start=2,
        stop=5,
        write=["masks"],
    )
    assert sorted(p.name for p in (out / "masks").iterdir()) == [f"{t:05d}.png" for t in (2, 3, 4)]
    assert found.frames == 3
    assert found.warnings == ["object 7 is prompted on frame 8, which did not come"]


@pytest.mark.parametrize(
    ("share", "stays", "why"),
    [
        (1.0, False, "- ended before frame 99, where outputs begin; the 9 frames that came"),
        (0.5, True, r"- stalled: nothing came for 0\.2 s; the \d frames that came"),
    ],
)
def test_a_pipe_that_ends_before_the_first_frame_that_is_wanted(
    share: float, stays: bool, why: str, video: bytes, piped: Any, module: Any, tmp_path: Path
) -> None:
    out, part = tmp_path / "out", video[: int(share * len(video))]
    with pytest.raises(CutShort, match=f"{why} are kept in ") as caught:
        job.run(piped(part, stays=stays), TWO, output=out, model=module, start=99, timeout=0.2)
    assert sorted(caught.value.outcome.outputs) == ["project", "table"]
    assert {p.name for p in out.iterdir() if p.is_file()} == {"project.s2t", "tracks.csv"}
    assert not [*(out / "masks").iterdir()]
    with Project.open(out) as project:
        assert len(project.frames) == caught.value.outcome.frames_computed > 2


def test_a_pipe_that_ends_with_the_last_frame_that_is_not_wanted(
    video: bytes, piped: Any, module: Any, tmp_path: Path
) -> None:
    with pytest.raises(CutShort, match=f"- ended before frame {FRAMES}, where outputs") as caught:
        job.run(piped(video), TWO, output=tmp_path, model=module, start=FRAMES, write=["masks"])
    assert sorted(caught.value.outcome.outputs) == ["project"]


def whole(out: Path, count: int) -> None:
    """Project and outputs hold so many frames, and nothing half done is left."""
    with Project.open(out / "project.s2t") as project:
        assert project.frames == tuple(range(count))
    with av.open(str(out / "overlay.mp4")) as made:
        assert sum(1 for _ in made.decode(video=0)) == count
    assert len(list((out / "masks").iterdir())) == count
    assert {p.name for p in out.iterdir()} == {
        *("project.s2t", "masks", "masks.mp4", "overlay.mp4", "tracks.csv")
    }


def test_a_pipe_that_stalls(video: bytes, piped: Any, module: Any, tmp_path: Path) -> None:
    part = video[: len(video) // 2]
    with pytest.raises(CutShort, match=r"- stalled: nothing came for 0\.2 s; the \d frames"):
        job.run(piped(part, stays=True), TWO, output=tmp_path / "out", model=module, timeout=0.2)
    with Project.open(tmp_path / "out/project.s2t") as project:
        count = len(project.frames)
    assert 2 <= count < FRAMES
    whole(tmp_path / "out", count)


def test_nothing_is_waited_for_behind_the_stop(
    video: bytes, piped: Any, module: Any, tmp_path: Path
) -> None:
    part = video[: len(video) // 2]
    with pytest.raises(CutShort) as caught:
        job.run(piped(part, stays=True), TWO, output=tmp_path / "all", model=module, timeout=0.2)
    stop = caught.value.outcome.frames_computed
    found = job.run(
        piped(part, stays=True), TWO, output=tmp_path / "out", model=module, timeout=0.2, stop=stop
    )
    assert (found.status, found.frames) == ("done", stop)
    whole(tmp_path / "out", stop)


def test_ctrl_c(
    video: bytes, piped: Any, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(progress: Any) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        job.run(piped(video), TWO, output=tmp_path / "out", model=module, progress=interrupt)
    assert caught.value.outcome.status == "interrupted"
    whole(tmp_path / "out", 4)


@pytest.mark.parametrize(
    ("owner", "name", "first", "count"),
    [
        (piped_jobs._Job, "__setattr__", "count", 5),  # which is 0 before the first frame
        (Project, "labels", 3, 1),
        (PictureOutputs, "_wait", "overlay", 4),  # other outputs have the frame already
        (piped_jobs._Job, "_report", None, 4),
    ],
)
def test_ctrl_c_once_a_frame_was_kept(
    owner: Any,
    name: str,
    first: Any,
    count: int,
    video: bytes,
    piped: Any,
    module: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is written all the same, into each output once."""
    usual, calls = getattr(owner, name), []

    def interrupted(self: Any, *arguments: Any) -> Any:
        if (*arguments, None)[0] == first:
            calls.append(arguments)
            if len(calls) == count:
                raise KeyboardInterrupt
        return usual(self, *arguments)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(Interrupted) as caught:
        job.run(piped(video), TWO, output=tmp_path / "out", model=module)
    assert caught.value.outcome.frames == caught.value.outcome.frames_computed == 4
    whole(tmp_path / "out", 4)
    with av.open(str(tmp_path / "out" / "masks.mp4")) as made:
        assert sum(1 for _ in made.decode(video=0)) == 4


def test_a_kill_keeps_every_frame_that_came(clip: np.ndarray, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "sam2track", "track", "-", "-o", str(tmp_path / "out")),
        *("--box", "1:4,6,24,26", "--model", "nano", "--device", "cpu", "--image-size", "64"),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(container(np.concatenate([clip] * 6)))
    process.stdin.flush()  # and stays open: it waits for more
    project = tmp_path / "out/project.s2t"
    end = time.monotonic() + 50
    kept = 0
    while kept < 20 and time.monotonic() < end:  # FFmpeg holds the last ones back
        time.sleep(0.05)
        if project.exists():
            with suppress(ProjectError), Project.open(project) as found:
                kept = len(found.frames)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    with Project.open(project, writable=True) as found:
        assert found.frames == tuple(range(len(found.frames)))
        assert 20 <= len(found.frames) <= 6 * FRAMES  # all of them on a machine that is fast
        assert found.meta["frames"] == len(found.times) == len(found.frames)
    assert not (tmp_path / "out/overlay.mp4").exists()


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"resume": True}, "--resume cannot be with a pipe"),
        ({"direction": "backward"}, "--direction backward cannot be"),
        ({"direction": "both"}, "tracked forward"),
        ({"detections": "boxes.csv"}, "video file"),
        ({"min_score": 0.5}, "choose among detections"),
        ({"z": 0}, "--z 0 cannot be"),
        ({"axes": "TYX"}, "--axes TYX cannot be"),
        ({"start": 5, "stop": 5}, "empty"),
        ({"timeout": 0}, "time-out of 0 s"),
        ({"write": "movies"}, "cannot write"),
    ],
)
def test_what_a_pipe_cannot_do(
    piped: Any, module: Any, tmp_path: Path, asked: dict[str, Any], what: str
) -> None:
    with pytest.raises(UsageError) as error:
        job.run(piped(b""), TWO, output=tmp_path / "out", model=module, **asked)
    assert what in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_forward_may_be_said(video: bytes, piped: Any, module: Any, tmp_path: Path) -> None:
    done = job.run(piped(video), TWO, output=tmp_path, model=module, direction="forward", write=[])
    assert done.status == "done"
    with pytest.raises(ProjectExistsError):
        job.run(piped(video), TWO, output=tmp_path, model=module)
    again = job.run(
        piped(video), said((3, 0, RED)), output=tmp_path, model=module, overwrite=True, write=[]
    )
    assert [row["id"] for row in again.objects] == [3]


def test_a_project_that_another_made_meanwhile_stays(
    video: bytes, piped: Any, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, meta = piped_jobs.load_model, {"height": 4, "width": 4, "frames": 1}

    def slow(*given: Any, **options: Any) -> Any:
        Project.create(tmp_path / "project.s2t", meta=meta, times=np.zeros(1)).close()
        return load(*given, **options)

    monkeypatch.setattr(piped_jobs, "load_model", slow)
    with pytest.raises(ProjectExistsError):
        job.run(piped(video), TWO, output=tmp_path, model=module)
    with Project.open(tmp_path) as project:
        assert project.height == 4


def test_ids_that_take_16_bits(video: bytes, piped: Any, module: Any, tmp_path: Path) -> None:
    job.run(piped(video), said((256, 0, RED)), output=tmp_path, model=module, write=["masks"])
    with Project.open(tmp_path) as project:
        labels = project.labels(0)
    assert labels.max() == 256
    assert np.array_equal(read_label_png(tmp_path / "masks/00000.png"), labels)


def test_prompts_that_do_not_fit(video: bytes, piped: Any, module: Any, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="object 1, frame 0"):
        job.run(piped(video), said((1, 0, [0, 0, 900, 9])), output=tmp_path / "o", model=module)
    with pytest.raises(PromptError, match="nothing to track"):
        job.run(piped(video), None, output=tmp_path / "o", model=module)
    assert not (tmp_path / "o").exists()


def test_other_sources(clip: np.ndarray, module: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is for a pipe"):
        job.run(clip, TWO, output=tmp_path / "o", model=module, timeout=3)
    with pytest.raises(SourceError, match="made from a pipe"):
        reopen_source({"source": "-"}, fps=25, folder=None)


def test_a_link_in_place_of_the_masks_is_refused(
    video: bytes, piped: Any, module: Any, tmp_path: Path
) -> None:
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    out.mkdir()
    (out / "masks").symlink_to(mine)
    with pytest.raises(UsageError, match="masks is a link"):
        job.run(piped(video), TWO, output=out, model=module, overwrite=True)
    assert list(mine.iterdir()) == []


def test_a_playlist_leads_nowhere(
    video: bytes, piped: Any, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "video.nut").write_bytes(video)
    monkeypatch.chdir(tmp_path)
    text = b"ffconcat version 1.0\nfile video.nut\n"
    with pytest.raises(SourceError, match="readable without seeking"):
        job.run(piped(text), TWO, output=tmp_path / "out", model=module)
