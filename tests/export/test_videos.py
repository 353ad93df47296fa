"""Videos, read back with PyAV."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from sam2track.errors import OutputError, UsageError
from sam2track.export.label_videos import LabelVideoWriter
from sam2track.export.video_file import usual_rate
from sam2track.export.videos import VideoWriter
from sam2track.palette import PALETTE, rows_of
from tests.faults import file_limit


def pictures(count, height, width):
    """Smooth pictures with one block each, so that a codec error stays small."""
    yy, xx = np.mgrid[:height, :width].astype(np.float64)
    for index in range(count):
        picture = np.stack([255 * xx / width, 255 * yy / height, 0 * xx + 20 * index], axis=2)
        picture[: height // 2, : width // 2] = (40, 200, 10 * index)
        yield picture.clip(0, 255).astype(np.uint8)


def read(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [f.time for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


def boxes(data):
    """Names of an MP4 file's top-level boxes, in order."""
    names, at = [], 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        names.append(name.decode())
        at += size
    return names


def test_what_is_written_comes_back(tmp_path):
    path = tmp_path / "a.mp4"
    source = list(pictures(12, 90, 160))
    with VideoWriter(path, height=90, width=160, rate=30) as video:
        for picture in source:
            video.write(picture)
            assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.width, context.height) == (160, 90)
        assert stream.average_rate == 30
    times, found = read(path)
    assert times == pytest.approx([k / 30 for k in range(12)], abs=1e-9)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(found, source, strict=True)) < 4
    names = boxes(path.read_bytes())
    assert names.index("moov") < names.index("mdat")
    assert names.count("moov") == 1


def test_colours_are_bt709_and_say_so(tmp_path):
    path = tmp_path / "a.mp4"
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 0), (255, 255, 255), (0, 0, 0)]
    # The formulas of ITU-R BT.709 in 8 bits, limited range.
    codes = [(63, 102, 240), (173, 42, 26), (32, 240, 118), (118, 72, 133), (235, 128, 128)]
    codes.append((16, 128, 128))
    with VideoWriter(path, height=64, width=64) as video:
        for rgb in colours:
            video.write(np.full((64, 64, 3), rgb, dtype=np.uint8))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        frames = list(container.decode(stream))
        tags = (context.colorspace, context.color_primaries, context.color_trc)
        assert (*tags, context.color_range) == (1, 1, 1, 1)
    for frame, rgb, code in zip(frames, colours, codes, strict=True):
        planes = [np.frombuffer(p, np.uint8)[p.line_size * 20 + 20] for p in frame.planes]
        assert np.abs(np.array(planes, dtype=int) - code).max() <= 2
        assert np.abs(frame.to_ndarray(format="rgb24")[32, 32].astype(int) - rgb).max() <= 5


@pytest.mark.parametrize(("height", "width"), [(121, 161), (1, 1), (2, 5), (17, 16), (240, 3)])
def test_odd_sizes_are_padded_by_the_edge(tmp_path, height, width):
    (picture,) = pictures(1, height, width)
    picture[:, -1] = 230
    with VideoWriter(tmp_path / "a.mp4", height=height, width=width, crf=1) as video:
        video.write(picture)
    times, (found,) = read(tmp_path / "a.mp4")
    assert times == [0.0]
    assert found.shape == (height + height % 2, width + width % 2, 3)
    if width % 2:
        assert np.abs(found[:, -1].astype(int) - 230).max() <= 12
    if height % 2:
        assert np.abs(found[-1].astype(int) - found[-2]).mean() <= 12


@pytest.mark.parametrize(
    "times",
    [
        [0.0, 0.04, 0.08, 0.5, 0.54, 3.0, 3.001, 3.1],
        [4.0, 4.04, 4.5],
        [30_000.0, 30_000.04, 30_000.08],
        [k * 1001 / 30_000 for k in range(40)],
        [100.0 * k for k in range(300)],
        [3600.0 * k for k in range(30)],
        [7.25],
    ],
)
def test_times_are_kept(tmp_path, times):
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "a.mp4", height=16, width=16) as video:
        for time in times:
            video.write(picture, time)
    assert read(tmp_path / "a.mp4")[0] == pytest.approx(times, abs=0.5 / 90_000)


def test_frames_of_one_tick_are_kept_apart(tmp_path):
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "a.mp4", height=16, width=16) as video:
        for time in (0.0, 1e-7, 0.04):
            video.write(picture, time)
    assert read(tmp_path / "a.mp4")[0] == pytest.approx([0, 1 / 90_000, 0.04], abs=1e-9)


@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), 29.97, 1000, 0.5, 1 / 3600])
def test_rates(tmp_path, rate):
    with VideoWriter(tmp_path / "a.mp4", height=16, width=16, rate=rate) as video:
        for picture in pictures(5, 16, 16):
            video.write(picture)
    times = read(tmp_path / "a.mp4")[0]
    assert times == pytest.approx([k / float(rate) for k in range(5)], rel=1e-4)


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        ([k / 10 for k in range(5)], 10),
        ([k / 2 for k in range(5)], 2),
        ([k * 1001 / 30_000 for k in range(20)], Fraction(30_000, 1001)),
        ([0, 0.1, 0.3, 0.4, 0.5, 5.0], 10),
        ([0.0], 25),
        ([0.0, 1e6], Fraction(1, 3600)),
    ],
)
def test_the_usual_rate_is_that_of_most_frames(times, rate):
    assert usual_rate(np.array(times)) == rate


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv"])
def test_players_are_told_the_rate_and_the_length(tmp_path, name):
    path, times = tmp_path / name, [k / 10 for k in range(5)]
    if name == "a.mkv":
        video = LabelVideoWriter(path, height=16, width=16, rate=usual_rate(np.array(times)))
        shown = [picture[..., 0] for picture in pictures(5, 16, 16)]
    else:
        codec = "vp9" if name == "a.webm" else "h264"
        rate = usual_rate(np.array(times))
        video = VideoWriter(path, height=16, width=16, codec=codec, rate=rate)
        shown = pictures(5, 16, 16)
    with video:
        for picture, time in zip(shown, times, strict=True):
            video.write(picture, time)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 10
        assert container.duration == pytest.approx(500_000, abs=1000)


def test_a_single_frame_lasts_as_long_as_its_rate_says(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", height=16, width=16, rate=10) as video:
        video.write(np.zeros((16, 16, 3), dtype=np.uint8))
    assert read(tmp_path / "a.mp4")[0] == [0.0]
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(1, 10)


@pytest.mark.parametrize("time", [0.9, 1.0 - 1e-3, -1.0, float("nan"), float("inf"), 1e7])
def test_times_that_cannot_be(tmp_path, time):
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "a.mp4", height=16, width=16) as video:
        video.write(picture, 1.0)
        with pytest.raises(UsageError, match="later and later"):
            video.write(picture, time)
        video.write(picture, 1.5)
    assert read(tmp_path / "a.mp4")[0] == [1.0, 1.5]


def test_usage(tmp_path):
    with pytest.raises(UsageError, match="at least 1 x 1"):
        VideoWriter(tmp_path / "a.mp4", height=0, width=16)
    with pytest.raises(UsageError, match="rate"):
        VideoWriter(tmp_path / "a.mp4", height=16, width=16, rate=0)
    with VideoWriter(tmp_path / "a.mp4", height=16, width=18) as video:
        with pytest.raises(UsageError, match="not uint8"):
            video.write(np.zeros((18, 16, 3), dtype=np.uint8))
        with pytest.raises(UsageError, match="not float64"):
            video.write(np.zeros((16, 18, 3)))
        video.write(np.zeros((16, 18, 3), dtype=np.uint8))
    video.close()
    with pytest.raises(UsageError, match="closed"):
        video.write(np.zeros((16, 18, 3), dtype=np.uint8))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_video_leaves_the_old_one(tmp_path, error):
    path = tmp_path / "a.mp4"
    path.write_text("old")
    with pytest.raises(error), VideoWriter(path, height=90, width=160) as video:
        for picture in pictures(40, 90, 160):
            video.write(picture)
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_ffmpeg_would_take_for_something_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:a.mp4", "-v.mp4", "%05d.mp4", "no ending", "größe.mp4"):
        with VideoWriter(name, height=16, width=16) as video:
            video.write(np.zeros((16, 16, 3), dtype=np.uint8))
        assert len(read(tmp_path / name)[0]) == 1


@pytest.mark.parametrize(("limit", "count"), [(10, 2), (1000, 2), (20_000, 3), (100_000, 150)])
def test_a_full_disk(tmp_path, limit, count):
    path = tmp_path / "a.mp4"
    path.write_text("old")
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    with (
        file_limit(limit),
        pytest.raises(OutputError, match=r"cannot write .*a\.mp4: File too large") as caught,
        VideoWriter(path, height=120, width=160) as video,
    ):
        for index in range(count):
            video.write(np.roll(noise, 7 * index, axis=index % 2))
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="No such file"):
        VideoWriter(tmp_path / "missing" / "a.mp4", height=16, width=16)
    (tmp_path / "a.mp4").mkdir()
    with (
        pytest.raises(OutputError, match="cannot write"),
        VideoWriter(tmp_path / "a.mp4", height=16, width=16) as video,
    ):
        video.write(np.zeros((16, 16, 3), dtype=np.uint8))
    with pytest.raises(OutputError, match="at least one frame"):
        VideoWriter(tmp_path / "b.mp4", height=16, width=16).close()
    with pytest.raises(OutputError, match="encoder refuses 16 x 40000 pixels"):
        VideoWriter(tmp_path / "c.mp4", height=40_000, width=16)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_threads_are_bounded(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", height=64, width=64, threads=2) as video:
        assert video._stream.codec_context.thread_count == 2
        for picture in pictures(3, 64, 64):
            video.write(picture)


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (16, 65_535)])
@pytest.mark.parametrize("size", [(1, 1), (33, 47)])
def test_label_maps_come_back_exactly(tmp_path, bits, most, size):
    path = tmp_path / "a.mkv"
    maps = np.random.default_rng(bits).integers(0, most + 1, (6, *size), dtype=np.int32)
    times = [0, 0.1, 0.15, 1.7, 1.701, 9]
    with LabelVideoWriter(path, height=size[0], width=size[1], bits=bits) as video:
        for labels, time in zip(maps, times, strict=True):
            video.write(labels, time)
            assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "ffv1"
        frames = list(container.decode(stream))
        form = "gray" if bits == 8 else "gray16le"
        assert [f.format.name for f in frames] == [form] * 6
        found = [f.to_ndarray(format=form) for f in frames]
        assert [f.time for f in frames] == pytest.approx(times, abs=6e-4)
    np.testing.assert_array_equal(found, maps)


@pytest.mark.parametrize("container", ["matroska", "mp4"])
@pytest.mark.parametrize(("codec", "palette"), [("ffv1", True), ("h264", False), ("h264", True)])
@pytest.mark.parametrize("size", [(1, 1), (33, 47)])
def test_label_maps_of_other_codecs_come_back_exactly(tmp_path, container, codec, palette, size):
    how = {"height": size[0], "width": size[1], "codec": codec, "palette": palette}
    if (codec, container) == ("ffv1", "mp4"):
        with pytest.raises(UsageError, match="does not fit MP4"):
            LabelVideoWriter(tmp_path / "a", container=container, **how)
        return
    maps = np.random.default_rng(1).integers(0, 256, (6, *size), dtype=np.int32)
    with LabelVideoWriter(tmp_path / "a", container=container, **how) as video:
        for labels in maps:
            video.write(labels)
    with av.open(str(tmp_path / "a")) as container:
        frames = list(container.decode(video=0))
    if palette:
        found = [rows_of(f.to_ndarray(format="rgb24")) for f in frames]
        assert np.array_equal(PALETTE[found], [f.to_ndarray(format="rgb24") for f in frames])
    else:
        found = [f.to_ndarray()[0] for f in frames]
    np.testing.assert_array_equal(found, maps)


def test_what_is_written_again_is_equal(tmp_path):
    for name in ("a.mkv", "b.mkv"):
        with LabelVideoWriter(tmp_path / name, height=20, width=30) as video:
            video.write(np.eye(20, 30, dtype=np.uint8))
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_label_maps_that_do_not_fit(tmp_path):
    with LabelVideoWriter(tmp_path / "a.mkv", height=4, width=4) as video:
        for bad in (np.full((4, 4), 256), np.full((4, 4), -1)):
            with pytest.raises(UsageError, match="lie from 0 to 255"):
                video.write(bad)
        with pytest.raises(UsageError, match=r"are int64 \(4, 4\), not int64 \(4, 5\)"):
            video.write(np.zeros((4, 5), np.int64))
        video.write(np.zeros((4, 4), np.uint8))
    with pytest.raises(UsageError, match="codec 'vp9' of label maps; allowed are ffv1, h264"):
        LabelVideoWriter(tmp_path / "b.mkv", height=4, width=4, codec="vp9")
    with pytest.raises(UsageError, match="8 or 16 bits, not 12"):
        LabelVideoWriter(tmp_path / "b.mkv", height=4, width=4, bits=12)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv"]


def test_a_full_disk_leaves_no_label_video(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65_536, (120, 160), dtype=np.uint16)
    with (
        file_limit(30_000),
        pytest.raises(OutputError, match=r"cannot write .*a\.mkv: File too large"),
        LabelVideoWriter(tmp_path / "a.mkv", height=120, width=160, bits=16) as video,
    ):
        for _ in range(5):
            video.write(noise)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_video_is_as_long_as_its_frames_are_shown(tmp_path, codec):
    times = [0, 0.04, 0.05, 0.051, 0.3, 0.31, 1.0, 1.001, 1.5, 5.0]
    path = tmp_path / "a.mp4"
    with VideoWriter(path, height=64, width=96, codec=codec) as video:
        for picture, time in zip(pictures(10, 64, 96), times, strict=True):
            video.write(picture, time)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(5.04, abs=0.01)
        assert [f.time for f in container.decode(stream)] == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize(("height", "width"), [(24, 200), (200, 24)])
def test_pictures_that_are_too_small_for_av1(tmp_path, height, width):
    """SVT-AV1 never came back from them, in C, where no Ctrl-C is heard."""
    with pytest.raises(UsageError, match=f"av1 of {width} x {height} pixels; allowed are 32 a"):
        VideoWriter(tmp_path / "a.mp4", height=height, width=width, codec="av1").abort()
    assert not list(tmp_path.iterdir())


SAME = """
import sys
import numpy as np
from sam2track.export.video_file import usual_rate
from sam2track.export.videos import VideoWriter
pictures = np.random.default_rng(0).integers(0, 90, (24, 144, 176, 3), np.uint8)
with VideoWriter(sys.argv[1], height=144, width=176, threads=1) as video:
    for t, picture in enumerate(pictures):
        picture[5:25, 3 + t : 23 + t] = (230, 40, 40)
        picture[22:44, 38 - t : 58 - t] = (40, 220, 60)
        video.write(picture)
"""


NARROW = """
import sys
import numpy as np
from sam2track.export.videos import VideoWriter
pictures = np.random.default_rng(0).integers(0, 255, (14, 40, 48, 3), np.uint8)
with VideoWriter(sys.argv[1], height=40, width=48, codec="hevc") as video:
    for picture in pictures:
        video.write(picture)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc checks memory")
def test_a_narrow_video_writes_past_the_end_of_no_memory(tmp_path):
    """x265's cutree did, and the process was aborted later on, or went on with damaged memory."""
    checks = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
    subprocess.run(
        [sys.executable, "-c", NARROW, str(tmp_path / "a.mp4")],
        env={**os.environ, **checks, "GLIBC_TUNABLES": "glibc.malloc.check=3"},
        check=True,
        timeout=120,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc fills memory")
def test_a_video_does_not_hang_on_what_memory_held_before(tmp_path):
    """x264's macroblock tree reads bytes that nobody wrote: other files from run to run."""
    digests = set()
    for fill in ("0", "1"):
        path = tmp_path / f"{fill}.mp4"
        subprocess.run(
            [sys.executable, "-c", SAME, str(path)],
            env={**os.environ, "MALLOC_PERTURB_": fill},
            check=True,
            timeout=120,
        )
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
