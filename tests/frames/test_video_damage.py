"""What cannot be read is refused in one line, and what can is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sam2track.errors import SourceError
from sam2track.frames.decoding import Decoder
from sam2track.frames.packets import index_packets
from sam2track.frames.video import VideoFile

from .conftest import decoded, digest, scene, write_sound, write_video


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        VideoFile(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def spoil(path: Path, wanted: list[int]) -> Path:
    """Overwrite the packets at some positions of a file, but for the lengths within."""
    import av

    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        found = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for position in wanted:
        start, size = found[position]
        data[start : start + size] = b"\xff" * size
    bad = path.with_stem(path.stem + "-bad")
    bad.write_bytes(data)
    return bad


def test_what_is_no_video(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(np.random.default_rng(0).bytes(5000))
    assert "no video that FFmpeg can read" in refused(garbage)
    text = tmp_path / "notes.txt"
    text.write_text("hello\n" * 100)
    assert "is text, not a video" in refused(text)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "empty" in refused(empty)
    pointer = tmp_path / "pointer.mp4"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refused(pointer)
    assert "only audio" in refused(write_sound(tmp_path / "sound.mp4"))
    assert "does not exist" in refused(tmp_path / "missing.mp4")
    assert "is a folder" in refused(tmp_path)
    with pytest.raises(SourceError, match="cannot be read"):
        VideoFile("nul\0l.mp4")


@pytest.mark.skipif(os.name == "nt", reason="no named pipes")
def test_pipes_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "no regular file" in refused(tmp_path / "pipe.mp4")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read all")
def test_permission_denied(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "secret.mp4"
    path.write_bytes(clip.read_bytes())
    path.chmod(0)
    assert "may not be read" in refused(path)


def test_permission_denied_even_for_root(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert "may not be read" in refused(clip)


def test_unknown_codec(tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mp4", 5)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC"))
    assert "cannot decode" in refused(path)


def test_truncated_files(tmp_path: Path) -> None:
    """The index of an MP4 comes last unless asked otherwise; without it all is lost."""
    path = write_video(tmp_path / "late.mp4", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut short" in refused(path)

    path = write_video(tmp_path / "early.mp4", 40, g=10, bf=2, mux={"movflags": "faststart"})
    whole = decoded(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    source = VideoFile(path)
    assert 10 <= len(source) < 40
    assert any("header claims 40 frames" in line for line in source.warnings)
    frames = [digest(f) for f in source.frames(0, len(source))]
    assert len(frames) == len(source)
    assert frames[:9] == whole[:9]
    assert [digest(f) for f in source.frames(0, len(source), backward=True)] == frames[::-1]


def survives(path: Path) -> bool:
    """Read a file in all ways; False where it is refused in one line."""
    try:
        source = VideoFile(path)
        shape, count = (source.height, source.width, 3), len(source)
        assert [f.shape for f in source.frames(0, count)] == [shape] * count
        assert [f.shape for f in source.frames(0, count, backward=True)] == [shape] * count
        assert source.read(count // 2).shape == shape
        source.close()
    except SourceError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
        return False
    return True


DAMAGED = {
    "a.mp4": {"bf": 2, "g": 7},
    "b.mkv": {"bf": 2, "g": 7},
    "c.ts": {"bf": 2, "g": 7},
    "d.avi": {"codec": "mpeg4", "g": 7},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_flipped_byte_is_survived(name: str, tmp_path: Path) -> None:
    """In fifty places each: the frames come, or one line says why not."""
    data = write_video(tmp_path / name, 20, **DAMAGED[name]).read_bytes()
    chance = np.random.default_rng(3)
    read = 0
    bad = tmp_path / f"bad-{name}"
    for position in chance.integers(len(data), size=50):
        flipped = bytearray(data)
        flipped[position] ^= int(chance.integers(1, 256))
        bad.write_bytes(flipped)
        read += survives(bad)
    assert read >= 30


@pytest.mark.parametrize("name", DAMAGED)
def test_a_cut_anywhere_is_survived(name: str, tmp_path: Path) -> None:
    options = DAMAGED[name] | ({"mux": {"movflags": "faststart"}} if name == "a.mp4" else {})
    data = write_video(tmp_path / name, 20, **options).read_bytes()
    bad = tmp_path / f"bad-{name}"
    read = 0
    for length in np.random.default_rng(4).integers(len(data), size=20):
        bad.write_bytes(data[:length])
        read += survives(bad)
    assert read >= 5


def test_a_stream_that_turns_up_later_is_passed_over(tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "a.ts", 60, bf=0).read_bytes())
    whole = decoded(tmp_path / "a.ts")
    video = next(p for p in range(0, len(data), 188) if data[p + 1 : p + 3] == b"\x41\x00")
    starts = [p for p in range(video, len(data), 188) if data[p + 1 : p + 3] == b"\x41\x00"]
    for start in starts[-4:-1]:
        data[start + 2] ^= 0x55  # packets of another number
    path = tmp_path / "late.ts"
    path.write_bytes(data)
    source = VideoFile(path)
    assert [digest(f) for f in source.frames(0, len(source))][:50] == whole[:50]


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 8, g=4)
    whole = decoded(path)
    wrong = path.rename(tmp_path / "a.mp4")
    assert [digest(f) for f in VideoFile(wrong).frames(0, 8)] == whole


def test_a_bad_packet_costs_its_frame_alone(tmp_path: Path) -> None:
    path = write_video(tmp_path / "all.mov", 20, codec="mjpeg", pix_fmt="yuvj420p")
    whole = decoded(path)
    source = VideoFile(spoil(path, [4, 11, 12]))
    assert len(source) == 20
    frames = [digest(f) for f in source.frames(0, 20)]
    assert source.carried == {4, 11, 12}
    expected = list(whole)
    expected[4], expected[11], expected[12] = whole[3], whole[10], whole[10]
    assert frames == expected
    assert [digest(f) for f in source.frames(0, 20, backward=True)] == expected[::-1]
    (line,) = source.warnings
    assert line.startswith("3 of 20 frames cannot be decoded")
    assert line.endswith("4, 11, 12")

    again = VideoFile(source.name)
    for number in (12, 3, 11, 19, 4, 0):
        assert digest(again.read(number)) == expected[number]
    assert again.carried == {4, 11, 12}
    assert len(again.warnings) == 1


def test_bad_packets_at_both_ends(tmp_path: Path) -> None:
    path = write_video(tmp_path / "ends.mov", 10, codec="mjpeg", pix_fmt="yuvj420p")
    whole = decoded(path)
    source = VideoFile(spoil(path, [0, 1, 9]))
    assert (len(source), source.height, source.width) == (10, 48, 64)
    frames = [digest(f) for f in source.frames(0, 10)]
    assert frames == [whole[2]] * 2 + whole[2:9] + [whole[8]]
    assert [digest(source.read(n)) for n in (1, 0, 9)] == [whole[2], whole[2], whole[8]]
    assert source.carried == {0, 1, 9}


def test_many_bad_packets_in_a_row(tmp_path: Path) -> None:
    path = write_video(tmp_path / "row.mov", 60, codec="mjpeg", pix_fmt="yuvj420p")
    whole = decoded(path)
    source = VideoFile(spoil(path, list(range(5, 55))))
    frames = [digest(f) for f in source.frames(0, 60)]
    assert frames == whole[:5] + [whole[4]] * 50 + whole[55:]
    assert len(source.carried) == 50
    assert source.warnings[0].endswith("5, 6, 7, 8, 9, …")


def test_a_bad_keyframe_does_not_stop_the_rest(tmp_path: Path) -> None:
    path = write_video(tmp_path / "key.mp4", 36, g=12, bf=0, sc_threshold=0)
    whole = decoded(path)
    source = VideoFile(spoil(path, [12]))
    frames = [digest(f) for f in source.frames(0, 36)]
    assert len(frames) == len(source) == 36
    assert frames[:12] == whole[:12]
    assert frames[24:] == whole[24:]
    assert 12 in source.carried
    assert frames[12] == whole[11]


def test_a_file_without_a_good_packet(tmp_path: Path) -> None:
    path = write_video(tmp_path / "none.mov", 30, codec="mjpeg", pix_fmt="yuvj420p")
    assert "none of its 30 frames" in refused(spoil(path, list(range(30))))


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "gone.mp4", 5)
    source = VideoFile(path)
    path.unlink()
    with pytest.raises(SourceError, match="can no longer be read"):
        source.fingerprint()
    with pytest.raises(SourceError, match="not there any more; put it back"):
        list(source.frames(0, 5))


def test_headers_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count comes from packets: nothing decodes while the index is built."""
    import av

    path = write_video(tmp_path / "clip.mp4", 12, bf=2)
    with av.open(str(path)) as container:
        index = index_packets(container, container.streams.video[0])
        assert not container.streams.video[0].codec_context.is_open
    assert len(index) == 12


def test_sizes_that_change_are_scaled(tmp_path: Path) -> None:
    parts = [
        write_video(tmp_path / f"{n}.h264", scene(6, *size), g=3, bf=0)
        for n, size in enumerate([(48, 64), (96, 128)])
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(p.read_bytes() for p in parts))
    source = VideoFile(path)
    shapes = {f.shape for f in source.frames(0, len(source))}
    assert shapes == {(48, 64, 3)}
    assert len(source) == 12
    assert any("size changes" in line for line in source.warnings)


@pytest.mark.parametrize(("bad", "openings"), [([4], 3), ([4, 9], 4), (list(range(5, 55)), 18)])
def test_decoding_begins_anew_after_a_bad_packet_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: list[int], openings: int
) -> None:
    """First with one thread, then without each packet found to be bad, up to sixteen in a row."""
    path = write_video(tmp_path / "row.mov", 60, codec="mjpeg", pix_fmt="yuvj420p")
    source = VideoFile(spoil(path, bad))
    source._damage.threads = 2
    opened = 0
    inner = Decoder._open

    def counted(self: Decoder) -> None:
        nonlocal opened
        opened += 1
        inner(self)

    monkeypatch.setattr(Decoder, "_open", counted)
    assert sum(1 for _ in source.frames(0, 60)) == 60
    assert opened == openings
    assert source._damage.threads == 1
    assert source._damage.packets == set(bad)
    assert sum(1 for _ in source.frames(0, 60)) == 60
    assert opened == openings + 1  # what is known to be bad is not tried again


def test_bad_keyframes_are_no_place_to_begin(clip: Path) -> None:
    source = VideoFile(clip)
    decoder = source._decoder
    assert decoder is not None
    whole = decoder._anchor(40)
    assert whole == 36
    source._damage.packets.add(whole)
    assert decoder._anchor(40) == 24
    source._damage.packets.update({0, 12, 24})
    assert decoder._anchor(40) == 0
