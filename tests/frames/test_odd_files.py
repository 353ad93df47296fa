"""Hard files from the wild: read as they should be, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from sam2track.errors import SourceError
from sam2track.frames.video import VideoFile

from .conftest import digest

# File: frames, height, width, what the warnings say, frames that repeat another.
READ: dict[str, tuple[int, int, int, str, set[int]]] = {
    "video/pumavos_chair/video.mp4": (60, 480, 720, "", set()),
    "video/sam2_bedroom/video.mp4": (200, 540, 960, "", set()),
    "odd/alpha/transparent.webm": (150, 200, 200, "", set()),
    "odd/bitdepth/bt709_full_range.mp4": (30, 720, 1280, "", set()),
    "odd/bitdepth/h264_10bits.mp4": (30, 200, 200, "", set()),
    "odd/bitdepth/roadtrip-vp92-10bit.webm": (72, 240, 426, "", set()),  # hidden pictures
    "odd/codec/av1_video.mkv": (125, 360, 640, "", set()),
    "odd/codec/sample.avi": (96, 400, 960, "header claims 98", set()),
    "odd/codec/sample_h262_mpeg_audio.ts": (3, 426, 640, "", set()),
    "odd/codec/sample_h264.ts": (30, 480, 854, "", set()),
    "odd/codec/sample_vvc.mp4": (120, 180, 320, "", set()),
    "odd/corrupt/corrupted.mp4": (50, 720, 1280, "1 of 50 frames", {30}),
    "odd/dims/-video-with-dash-.mp4": (5, 1, 1, "", set()),
    "odd/dims/pigs_in_a_polka.gif": (30, 273, 314, "", set()),
    "odd/rotation/dolbyVision-hdr.MOV": (4, 1280, 720, "", set()),
    "odd/rotation/sample_portrait.mp4": (30, 1080, 720, "", set()),
    "odd/rotation/video_0.mov": (3, 320, 568, "", set()),
    "odd/rotation/video_90.mov": (3, 568, 320, "", set()),
    "odd/rotation/video_180.mov": (3, 320, 568, "", set()),
    "odd/streams/nasa_13013.mp4": (325, 180, 320, "2 video streams: number 0", set()),
    "odd/streams/sample_empty_track.mp4": (30, 720, 1080, "2 video streams", set()),
    "odd/timing/bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4": (
        120,
        640,
        800,
        "1137/800",
        set(),
    ),
    "odd/timing/fragmented_captions.mp4": (60, 234, 416, "", set()),
    "odd/timing/sample.mkv": (30, 720, 1080, "", set()),
    "odd/timing/sample_partially_fragmented.mp4": (30, 720, 1080, "", set()),
    "odd/timing/sample_sef_slow_motion.mp4": (63, 240, 320, "", set()),
    "odd/timing/unordered.mov": (4, 50, 50, "", set()),
    "odd/vfr/sample_with_vobsub.mp4": (30, 720, 1080, "", set()),
    "odd/bitdepth/sample_with_chapters.mkv": (150, 240, 320, "", set()),
    "odd/codec/bbb_176x144_128kbps_15fps_h263.3gp": (15, 144, 176, "", set()),
    "odd/codec/bbb_176x144_192kbps_15fps_mpeg4.mp4": (15, 144, 176, "", set()),
    "odd/codec/bear-vp9.webm": (82, 240, 320, "", set()),
    "odd/codec/big_buck_bunny_432_433.webm": (24, 720, 1280, "", set()),
    "odd/codec/h265_video.mp4": (10, 128, 128, "", set()),
    "odd/codec/sample_av1.mp4": (30, 720, 1080, "", set()),
    "odd/dims/bbb_sunflower_QCIF_30fps_mp4v_noaudio_1f.mp4": (1, 144, 176, "16/11", set()),
    "odd/dims/h264_white_frame_sar_16_9.mp4": (1, 480, 640, "16/9", set()),
    "odd/dims/video_colr_nclx_and_icc.mp4": (3, 2, 2, "", set()),
    "odd/timing/edit_list_positive_shift.mp4": (270, 1080, 1920, "", set()),
}
REFUSED = {
    "odd/corrupt/git_lfs_pointer.mp4": "git lfs pull",
    "odd/corrupt/invalid-bitstream.webm": "none of its",
    "odd/corrupt/png-truncated.png": "is PNG, not a video",
    "odd/corrupt/sample_fragmented_uuid.mp4": "none of its",
    "odd/corrupt/sample_malformed_free_box.mp4": "no video that FFmpeg can read",
    "odd/corrupt/subsample_encrypted_altref.webm": "it is encrypted",
    "odd/corrupt/test_case_1185230.mp4": "none of its",
    "odd/corrupt/zero_bytes.webm": "empty",
    "odd/novideo/bbb_1ch_12kHz_q10_vorbis.webm": "only audio",
    "odd/novideo/sample_audio_only.mp4": "only audio",
    "odd/stacks/cluster.nd2": "is ND2, not a video",
    "odd/zeroframes/AudioVideoInterleave.avi": "holds no frame",
    "odd/zeroframes/bipbop_480wp_1001kbps-cenc-video-key1-init.mp4": "holds no frame",
    "odd/zeroframes/gif.gif": "none of its",
    "odd/zeroframes/invalid_userdata.mp4": "claims 5544",
}
LONG = "odd/long/long_1080p_videoonly_lowbitrate.mp4"
PAGE = Path(__file__).parents[2] / "docs" / "video-files.md"


def told() -> dict[str, list[str]]:
    """What the page says of each file: frames, last time, size, two counts, answer."""
    rows = [line.strip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return {
        f"odd/{cells[0].strip(' `')}": [cell.strip() for cell in cells[1:]]
        for cells in rows
        if len(cells) == 7 and cells[0].startswith(" `")
    }


def test_the_page_says_what_is_tested() -> None:
    said = told()
    tested = {name for name in (*READ, *REFUSED, LONG) if name.startswith("odd/")}
    assert said.keys() == tested
    for name, (count, height, width, warning, _) in READ.items():
        if name in said:
            frames, _, size, *_, answer = said[name]
            assert (frames, size.removesuffix(" turned")) == (str(count), f"{width} x {height}")
            assert warning in answer if warning else answer == "read"
    for name, message in REFUSED.items():
        assert said[name][-1].startswith("refused: ")
        assert message in said[name][-1] or message == "git lfs pull"


@pytest.mark.parametrize("test_data", READ, indirect=True)
def test_files_that_are_read(test_data: Path, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["test_data"]
    count, height, width, warning, carried = READ[name]
    source = VideoFile(test_data)
    assert (len(source), source.height, source.width) == (count, height, width)
    assert source.times.shape == (count,)
    assert source.times[0] == 0
    assert (np.diff(source.times) > 0).all()
    if name in (page := told()):
        assert page[name][1] == f"{source.times[-1]:.3f} s"
    forward = [digest(f) for f in source.frames(0, count)]
    assert len(forward) == count
    assert [digest(f) for f in source.frames(0, count, backward=True)][::-1] == forward
    for number in np.random.default_rng(0).permutation(count)[:6]:
        assert digest(source.read(int(number))) == forward[number]
    assert source.carried == carried
    assert bool(source.warnings) == bool(warning)
    assert not warning or any(warning in line for line in source.warnings)
    source.close()


@pytest.mark.parametrize("test_data", REFUSED, indirect=True)
def test_files_that_are_refused(test_data: Path, request: pytest.FixtureRequest) -> None:
    with pytest.raises(SourceError) as caught:
        VideoFile(test_data)
    assert REFUSED[request.node.callspec.params["test_data"]] in str(caught.value)
    assert str(test_data) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("test_data", [LONG], indirect=True)
def test_a_long_file_opens_fast_and_takes_little_memory(test_data: Path) -> None:
    process = psutil.Process()
    start = process.cpu_times()
    source = VideoFile(test_data)
    assert len(source) == 10883
    end = process.cpu_times()
    assert end.user + end.system - start.user - start.system < 2
    walk = source.frames(5000, 5400)
    for _ in range(100):
        next(walk)
    before = process.memory_info().rss
    assert sum(1 for _ in walk) == 300
    assert process.memory_info().rss - before < 60 << 20  # all of it is 1.8 GB
    assert source.read(10882).shape == (1080, 1920, 3)
    source.close()
