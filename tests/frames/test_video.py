"""Videos come frame by frame, exact whatever the way there."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sam2track.errors import SourceError, UsageError
from sam2track.frames import packets, video, video_input
from sam2track.frames.pixels import Orientation
from sam2track.frames.source import FrameSource
from sam2track.frames.video import VideoFile

from .conftest import decoded, digest, scene, write_video

KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"bf": 2, "g": 7},
    "open.mp4": {"bf": 2, "g": 7, "x264-params": "open-gop=1"},
    "h264.mkv": {"bf": 2, "g": 7},
    "refresh.mkv": {"g": 7, "x264-params": "intra-refresh=1"},
    "h264.ts": {"bf": 2, "g": 7},
    "fragments.mp4": {"bf": 2, "g": 7, "mux": {"movflags": "frag_keyframe+empty_moov"}},
    "mpeg4.mp4": {"codec": "mpeg4", "bf": 2, "g": 7},
    "mpeg4.avi": {"codec": "mpeg4", "bf": 2, "g": 7},
    "mpeg2.mpg": {"codec": "mpeg2video", "bf": 2, "g": 7},
    "deep.mkv": {"codec": "ffv1", "pix_fmt": "yuv420p10le"},
    "grey.mkv": {"codec": "ffv1", "pix_fmt": "gray"},
    "moving.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "vp9.webm": {"codec": "libvpx-vp9", "g": 7, "cpu-used": 8},
    "h265.mkv": {"codec": "libx265", "g": 7, "preset": "ultrafast", "x265-params": "log-level=0"},
    "av1.mp4": {"codec": "libsvtav1", "g": 7, "preset": 12},
    "vp8.webm": {"codec": "libvpx", "g": 7, "cpu-used": 8},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "alpha.mov": {"codec": "prores_ks", "pix_fmt": "yuva444p10le"},
    "lossless.avi": {"codec": "utvideo", "pix_fmt": "gbrp"},
    "deflated.mov": {"codec": "png", "pix_fmt": "rgba"},
    "picture.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "wmv.asf": {"codec": "wmv2", "g": 7},
    "flash.flv": {"codec": "flv", "g": 7},
    "mpeg1.mpg": {"codec": "mpeg1video", "bf": 2, "g": 7},
    # Every packet says that it is a keyframe.
    "h263.avi": {"codec": "h263p", "g": 7},
    # Fails in PyAV's own reading of side data.
    "exif.mov": {"codec": "tiff", "pix_fmt": "rgb24"},
    # Without an order of presentation: frames are known by counting alone.
    "counted.avi": {"bf": 2, "g": 7},
    "bare.h264": {"bf": 2, "g": 7},
    "counted.asf": {"bf": 2, "g": 7},
    "counted.mxf": {"bf": 2, "g": 7},
}


def all_ways(source: VideoFile, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    """Digests of all frames: forward, backward and each by itself in some order."""
    count = len(source)
    forward = [digest(f) for f in source.frames(0, count)]
    backward = [digest(f) for f in source.frames(0, count, backward=True)][::-1]
    single = [""] * count
    for number in np.random.default_rng(seed).permutation(count):
        single[number] = digest(source.read(int(number)))
    return forward, backward, single


@pytest.mark.parametrize("name", KINDS)
def test_every_way_gives_what_plain_decoding_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_HELD_BYTES", 0)  # backward in steps of eight
    path = write_video(tmp_path / name, 30, **KINDS[name])
    source = VideoFile(path)
    assert isinstance(source, FrameSource)
    expected = decoded(path)
    assert len(expected) == len(source) == len(source.times) == 30
    assert len(set(expected)) == 30
    for way in all_ways(source):
        assert way == expected
    assert not source.carried
    np.testing.assert_allclose(source.times, np.arange(30) / 25, atol=2e-3)
    assert [digest(f) for f in source.frames(5, 9)] == expected[5:9]
    assert [digest(f) for f in source.frames(5, 9, backward=True)] == expected[8:4:-1]
    assert bool(source.warnings) == name.startswith(("counted", "bare"))
    source.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 40),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    group=st.integers(1, 15),
    between=st.integers(0, 3),
    open_ended=st.booleans(),
    suffix=st.sampled_from([".mp4", ".mkv", ".ts"]),
    seed=st.integers(0, 9),
)
def test_ways_agree(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    size: tuple[int, int],
    group: int,
    between: int,
    open_ended: bool,
    suffix: str,
    seed: int,
) -> None:
    assume(suffix != ".ts" or count > 10)  # FFmpeg does not recognise a tiny one
    monkeypatch.setattr(video, "_HELD_BYTES", 0)
    height, width = 2 * size[0], 2 * size[1]
    path = write_video(
        tmp_path / f"clip{suffix}",
        scene(count, height, width, seed),
        g=group,
        bf=between,
        **{"x264-params": f"open-gop={int(open_ended)}"},
    )
    source = VideoFile(path)
    assert (len(source), source.height, source.width) == (count, height, width)
    expected = decoded(path)
    for way in all_ways(source, seed):
        assert way == expected
    source.close()


def test_times_follow_the_stamps_of_frames_unevenly_spaced(tmp_path: Path) -> None:
    pts = [500, 540, 700, 705, 1900, 2000]
    source = VideoFile(write_video(tmp_path / "uneven.mkv", scene(6), pts=pts, bf=2))
    np.testing.assert_allclose(source.times, (np.array(pts) - 500) / 1000, atol=1e-9)
    assert source.times[0] == 0
    assert not source.warnings


def test_frames_outside_the_edit_list_are_not_there(tmp_path: Path) -> None:
    """Cutting without recoding leaves frames in the file that no player shows."""
    whole = write_video(tmp_path / "whole.mp4", 30, g=10, bf=2)
    path = tmp_path / "cut.mp4"
    with av.open(str(whole)) as given, av.open(str(path), "w") as cut:
        old = given.streams.video[0]
        new = cut.add_stream_from_template(old)
        step = 512
        for packet in given.demux(old):
            if packet.size:
                # Stamps below zero become an edit list.
                packet.pts, packet.dts = packet.pts - 4 * step, packet.dts - 4 * step
                packet.stream = new
                cut.mux(packet)
    source = VideoFile(path)
    assert len(source) == len(decoded(path)) == 26
    for way in all_ways(source):
        assert way == decoded(whole)[4:]
    assert source.times[0] == 0


@pytest.mark.parametrize("mirror", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("turn", [0, 90, 180, -90])
def test_display_matrix_is_applied(tmp_path: Path, turn: int, mirror: tuple[bool, bool]) -> None:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32], picture[:16, 32:], picture[16:, :32] = [200, 0, 0], [0, 200, 0], [0, 0, 200]
    path = write_video(
        tmp_path / "turned.mp4", [picture], rotation=(turn, *mirror), pix_fmt="yuv444p", crf=5
    )
    shown = np.rot90(picture, turn // 90)  # both turn counter-clockwise
    shown = shown[:, ::-1] if mirror[0] else shown
    shown = shown[::-1] if mirror[1] else shown
    source = VideoFile(path)
    assert (source.height, source.width) == shown.shape[:2]
    frame = source.read(0)
    assert frame.flags.c_contiguous
    assert np.abs(frame.astype(int) - shown)[8:-8:8, 8:-8:8].mean() < 12


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("space", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114)])
def test_colour_matrix_and_range_are_respected(
    tmp_path: Path, full: bool, space: int, red: float, blue: float
) -> None:
    luma, blueness, redness = 130, 100, 170
    path = tmp_path / "colour.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv444p"
        stream.codec_context.colorspace = space
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame(32, 16, "yuv444p")
        frame.colorspace, frame.color_range, frame.pts = space, 2 if full else 1, 0
        for plane, value in zip(frame.planes, (luma, blueness, redness), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    y = luma / 255 if full else (luma - 16) / 219
    u, v = ((c - 128) / (255 if full else 224) for c in (blueness, redness))
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    expected = np.array([r, g, b]) * 255
    assert np.abs(VideoFile(path).read(0)[8, 16] - expected).max() < 3


def write_two(path: Path, *, first: int = 4) -> list[list[str]]:
    """A file with two videos, the second one of 6 frames."""
    kinds = [(first, 32, 48), (6, 64, 80)]
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for _, height, width in kinds:
            stream: Any = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for stream, (count, height, width) in zip(streams, kinds, strict=True):
            for number, picture in enumerate(scene(count, height, width)):
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    with av.open(str(path)) as container:
        return [
            [digest(f.to_ndarray(format="rgb24")) for f in container.decode(video=number)]
            if container.seek(0) is None
            else []
            for number in range(2)
        ]


def test_one_of_several_streams(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    first, second = write_two(path)
    assert (len(first), len(second)) == (4, 6)
    for stream, expected in ((None, first), (0, first), (1, second)):
        source = VideoFile(path, stream=stream)
        for way in all_ways(source):
            assert way == expected
        assert bool(source.warnings) == (stream is None)
    assert "2 video streams: number 0" in VideoFile(path).warnings[0]
    for stream in (2, -1):
        with pytest.raises(UsageError, match=f"no video stream {stream}; it has 2"):
            VideoFile(path, stream=stream)


def test_streams_of_one_length_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    write_two(tmp_path / "two.mkv", first=6)
    told = [VideoFile(tmp_path / "two.mkv", stream=stream) for stream in (0, 1)]
    assert [len(source) for source in told] == [6, 6]
    assert told[0].fingerprint() != told[1].fingerprint()


def test_a_first_stream_without_frames_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    _, second = write_two(path, first=0)
    source = VideoFile(path)
    for way in all_ways(source):
        assert way == second
    assert "number 1 of them" in source.warnings[0]


@pytest.mark.parametrize(("turn", "seen"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_the_shape_of_pixels_is_said(tmp_path: Path, turn: int, seen: Fraction) -> None:
    path = tmp_path / "wide.mov"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(turn)
        for picture in scene(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    source = VideoFile(path)
    assert source.pixel_aspect == seen
    assert type(source.pixel_aspect) is Fraction
    assert (source.height, source.width) == ((64, 48) if turn else (48, 64))
    assert str(seen) in source.warnings[0]


def test_titles_that_are_not_utf8(clip: Path, tmp_path: Path) -> None:
    """PyAV 18 decodes titles of the file and of its streams at once."""
    path = tmp_path / "latin.mp4"
    stored = clip.read_bytes()
    for known, odd in ((b"VideoHandler", b"Vid\xe9oHandler"), (b"Lavf", b"L\xe4vf")):
        assert known in stored
        stored = stored.replace(known, odd)
    path.write_bytes(stored)
    assert [digest(f) for f in VideoFile(path).frames(0, 60)] == decoded(clip)


def test_hardware_that_is_not_there(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no hardware decoder 'toaster'; this FFmpeg knows"):
        VideoFile(clip, hwaccel="toaster")
    # Known to FFmpeg, but with nothing behind it.
    monkeypatch.setattr(video_input, "hwdevices_available", lambda: ["vulkan", "toaster"])
    for name in ("vulkan", "toaster"):
        with pytest.raises(UsageError, match=f"cannot be decoded by {name} here"):
            VideoFile(clip, hwaccel=name)
    with pytest.raises(SourceError, match="does not exist"):
        VideoFile(clip.with_name("none.mp4"), hwaccel="vulkan")


def test_pq_is_brought_into_the_usual_range(tmp_path: Path) -> None:
    """Worked out by hand: of ST 2084, 203 cd/m2 are a signal of 0.5807, 1,000 are 0.7518."""
    signals = [0.0, 0.5807, 0.7518, 1.0]
    shown = [0, round(255 * (0.5 * (1 + (203 / 1000) ** 2)) ** (1 / 2.2)), 255, 255]
    path = tmp_path / "pq.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "gray16le"
        stream.codec_context.color_trc = 16
        stream.codec_context.color_range = 2
        row = np.repeat(np.rint(np.array(signals) * 65535).astype(np.uint16), 8)
        picture = np.broadcast_to(row, (16, 32)).copy()
        frame = av.VideoFrame.from_ndarray(picture, format="gray16le")
        frame.color_trc, frame.color_range = 16, 2
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    read = VideoFile(path).read(0)
    assert np.abs(read[4, 4::8].astype(int) - np.array(shown)[:, None]).max() <= 1
    assert (read[..., 0] == read[..., 2]).all()


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotation_is_known_without_side_data(tmp_path: Path, turn: int) -> None:
    """PyAV's side data raise ValueError where there is a kind that it does not know."""
    path = write_video(tmp_path / "turned.mp4", 1, rotation=(turn, False, False))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))

    class Blind:
        rotation = frame.rotation

        @property
        def side_data(self) -> None:
            raise ValueError("31 is not a valid Type")

    assert Orientation.of(Blind()) == Orientation.of(frame)


def test_frames_are_the_readers_own_memory(tmp_path: Path) -> None:
    """RGB needs no conversion, but what is handed out must not be what decoding goes on from."""
    path = write_video(tmp_path / "rgb.mov", 10, codec="qtrle", pix_fmt="rgb24")
    source = VideoFile(path)
    for frame in source.frames(0, 10):
        frame[:] = 0
    source.read(3)[:] = 0
    assert [digest(f) for f in source.frames(0, 10)] == decoded(path)
    assert digest(source.read(3)) == decoded(path)[3]


def test_walks_do_not_disturb_each_other(clip: Path) -> None:
    expected = decoded(clip)
    source = VideoFile(clip)
    first, second = source.frames(0, 60), source.frames(20, 60, backward=True)
    for number in range(40):
        assert digest(next(first)) == expected[number]
        assert digest(next(second)) == expected[59 - number]
        assert digest(source.read((number * 17) % 60)) == expected[(number * 17) % 60]


def test_reading_on_needs_no_seek(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = VideoFile(clip)
    fed: list[int] = []
    inner = video.Decoder._decode
    monkeypatch.setattr(
        video.Decoder, "_decode", lambda self, anchor: fed.append(anchor) or inner(self, anchor)
    )
    list(source.frames(0, 60))
    assert fed == [0]
    fed.clear()
    for number in range(24, 36):
        source.read(number)
    assert len(fed) == 1 and fed[0] > 0


def test_walking_backward_decodes_little_more_than_once(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = VideoFile(clip)
    given = 0
    inner = video.Decoder.outputs

    def counted(self: video.Decoder, start: int) -> Any:
        nonlocal given
        for output in inner(self, start):
            given += 1
            yield output

    monkeypatch.setattr(video.Decoder, "outputs", counted)
    monkeypatch.setattr(video, "_HELD_BYTES", 30 * source._develop.nbytes)
    list(source.frames(0, 60, backward=True))
    assert given == 60  # chunks begin at keyframes
    given = 0
    monkeypatch.setattr(video, "_HELD_BYTES", 0)
    list(source.frames(0, 60, backward=True))
    assert given <= 120


@pytest.mark.parametrize("backward", [False, True])
def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backward: bool) -> None:
    pictures = scene(2, 480, 640) * 150
    path = write_video(tmp_path / "flat.mp4", pictures, g=50, preset="ultrafast")
    monkeypatch.setattr(video, "_HELD_BYTES", 0)
    source = VideoFile(path)
    process = psutil.Process()
    list(source.frames(0, 20, backward=backward))  # loads what is loaded once
    gc.collect()
    before = highest = process.memory_info().rss
    for _ in source.frames(0, 300, backward=backward):
        highest = max(highest, process.memory_info().rss)
    assert highest - before < 50 << 20  # all of it is 276 MB, or 138 MB as decoded


@pytest.mark.parametrize("frame", [-1, 60, 1000])
def test_frames_that_do_not_exist(clip: Path, frame: int) -> None:
    source = VideoFile(clip)
    with pytest.raises(SourceError, match=r"has no frame .*0 to 59"):
        source.read(frame)
    with pytest.raises(SourceError, match=r"\[0, 60\)"):
        source.frames(frame, 61)
    assert list(source.frames(7, 7)) == []


def test_closed_files_say_so(clip: Path) -> None:
    source = VideoFile(clip)
    walk = source.frames(0, 60)
    next(walk)
    source.close()
    source.close()
    assert sum(1 for _ in walk) == 59
    with pytest.raises(SourceError, match="closed"):
        source.read(0)


def test_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", scene(9, seed=s)) for n, s in [("a", 0), ("b", 1)]]
    prints = [VideoFile(p).fingerprint() for p in paths]
    assert prints[0] == VideoFile(paths[0]).fingerprint()
    assert prints[0] != prints[1]
    assert all(len(p) == 16 and int(p, 16) >= 0 for p in prints)


@pytest.mark.parametrize(
    ("codec", "data", "hidden"),
    [
        ("vp9", [0b10000010, 0], False),
        ("vp9", [0b10000000, 0], True),
        ("vp9", [0b10001000, 0], False),  # shows a picture kept earlier
        ("vp9", [0b10110001, 0], False),  # profile 3 has a bit more
        ("vp9", [0b10110000, 0], True),
        ("vp9", [0b10000000, 0, 0xC0], False),  # a superframe
        ("vp8", [0b00010000, 0], False),
        ("vp8", [0b00000001, 0], True),
        ("h264", [0b10000000, 0], False),
    ],
)
def test_hidden_pictures_of_vp8_and_vp9(codec: str, data: list[int], hidden: bool) -> None:
    assert packets._is_hidden(codec, av.Packet(bytes(data))) is hidden


def test_equal_stamps_are_spread() -> None:
    ticks, tied = packets._rising(np.array([10, 20, 20, 30, 30]))
    assert tied == 2
    np.testing.assert_allclose(ticks, [0, 10, 15, 20, 20.5])
