"""Videos through a pipe: the frames of the file, and pipes that stall, break or hold no video."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sam2track.errors import SourceError, UsageError
from sam2track.frames import pipe as module
from sam2track.frames.pipe import PipeVideo
from sam2track.frames.video import VideoFile

FRAMES, HEIGHT, WIDTH = 12, 48, 64


def make(path: Path, container: str, codec: str, frames: int = FRAMES, **options: str) -> Path:
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        random = np.random.default_rng(0)
        for t in range(frames):
            picture = random.integers(0, 99, (HEIGHT, WIDTH, 3), np.uint8)
            picture[9:30, 3 * t % 40 : 3 * t % 40 + 20] = (230, 50, 40)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = t + 7 * (t > 5)  # a gap
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


class Feed:
    """The reading end of a pipe into which a thread writes, and then keeps it open or not."""

    def __init__(self, data: bytes, *, stays: bool = False) -> None:
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._feed, args=(data, stays))
        self._thread.start()

    def _feed(self, data: bytes, stays: bool) -> None:
        try:
            done = 0
            while done < len(data):
                done += os.write(self._write, data[done : done + 4096])
        except BrokenPipeError:
            pass
        if not stays:
            os.close(self._write)
            self._write = -1

    def fileno(self) -> int:
        return self._read

    def close(self) -> None:
        os.close(self._read)
        self._thread.join()
        if self._write >= 0:
            os.close(self._write)


@pytest.fixture
def feed() -> Iterator[Any]:
    made: list[Feed] = []

    def begin(data: bytes, **more: bool) -> Feed:
        made.append(Feed(data, **more))
        return made[-1]

    yield begin
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("matroska", "libx264", {}),
        ("webm", "libvpx-vp9", {}),
        ("mpegts", "libx264", {}),
        ("nut", "mpeg4", {}),
        ("yuv4mpegpipe", "rawvideo", {}),
        ("h264", "libx264", {}),
        ("flv", "libx264", {}),
        ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_are_those_of_the_file(
    tmp_path: Path, feed: Any, container: str, codec: str, options: dict[str, str]
) -> None:
    path = make(tmp_path / "video", container, codec, **options)
    video = VideoFile(path)
    pipe = PipeVideo(feed(path.read_bytes()))
    assert (pipe.height, pipe.width) == (HEIGHT, WIDTH)
    found = list(pipe.frames())
    assert len(found) == len(video) == FRAMES
    for number, (seconds, picture) in enumerate(found):
        assert seconds == pytest.approx(video.times[number], abs=1e-6)
        assert np.array_equal(picture, video.read(number))
    assert pipe.problem == "" and pipe.warnings == []
    assert list(pipe.frames()) == []
    pipe.close()
    video.close()


def test_a_pipe_that_stalls_gives_what_came(tmp_path: Path, feed: Any) -> None:
    data = make(tmp_path / "video.ts", "mpegts", "mpeg4").read_bytes()
    pipe = PipeVideo(feed(data[: len(data) * 3 // 4], stays=True), timeout=0.3)
    began = time.monotonic()
    count = len(list(pipe.frames()))
    assert 0 < count < FRAMES
    assert pipe.problem == "- stalled: nothing came for 0.3 s"
    assert time.monotonic() - began < 5
    pipe.close()


def test_a_pipe_that_breaks_gives_what_came(
    tmp_path: Path, feed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make(tmp_path / "video.ts", "mpegts", "mpeg4").read_bytes()
    came = 0
    read = os.read

    def failing(descriptor: int, size: int) -> bytes:
        nonlocal came
        if came > len(data) // 2:
            raise OSError(5, "Input/output error")
        piece = read(descriptor, min(size, 4096))
        came += len(piece)
        return piece

    monkeypatch.setattr(module.os, "read", failing)
    pipe = PipeVideo(feed(data))
    assert 0 < len(list(pipe.frames())) < FRAMES
    assert pipe.problem == "- broke off: Input/output error"
    pipe.close()


def test_what_cannot_be_decoded_is_left_out(tmp_path: Path, feed: Any) -> None:
    path = make(tmp_path / "video.mkv", "matroska", "mpeg4")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        packets = [p for p in file.demux(video=0) if p.size]
        at = data.find(bytes(packets[5])[:24])
    assert at > 0
    data[at : at + packets[5].size] = bytes(packets[5].size)
    pipe = PipeVideo(feed(bytes(data)))
    assert len(list(pipe.frames())) < FRAMES
    assert pipe.warnings == ["1 packets cannot be decoded: their frames are left out"]
    pipe.close()


def test_ctrl_c_while_it_waits(feed: Any) -> None:
    threading.Timer(0.3, lambda: os.kill(os.getpid(), 2)).start()
    with pytest.raises(KeyboardInterrupt):
        PipeVideo(feed(b"", stays=True), timeout=20)


@pytest.mark.parametrize("data", [b"", b"hello\n" * 50, bytes(5000)])
def test_no_video(feed: Any, data: bytes) -> None:
    with pytest.raises(SourceError, match="must be readable without seeking"):
        PipeVideo(feed(data))


def test_a_container_that_must_be_sought_in(tmp_path: Path, feed: Any) -> None:
    path = make(tmp_path / "video.mp4", "mp4", "libx264", frames=90)
    with pytest.raises(SourceError, match="fragmented MP4"):
        PipeVideo(feed(path.read_bytes()))


def test_nothing_comes(feed: Any) -> None:
    with pytest.raises(SourceError, match=r"^- is empty: it ended before anything came; "):
        PipeVideo(feed(b""))
    with pytest.raises(SourceError, match=r"^- stalled: nothing came for 0\.1 s; "):
        PipeVideo(feed(b"", stays=True), timeout=0.1)


def test_wrong_usage(feed: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no standard input"):
        PipeVideo(None)
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="time-out"):
            PipeVideo(feed(b""), timeout=timeout)
    master, slave = os.openpty()
    try:
        with os.fdopen(slave, "rb") as terminal, pytest.raises(UsageError, match="a terminal"):
            PipeVideo(terminal)
    finally:
        os.close(master)
    path = make(tmp_path / "video.mkv", "matroska", "mpeg4")
    with pytest.raises(UsageError, match="no video stream 3"):
        PipeVideo(feed(path.read_bytes()), stream=3)
