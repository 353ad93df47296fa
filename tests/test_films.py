"""Renderings: what is drawn, which frames, when, and that no half of one is left."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from sam2track import films, masks
from sam2track.errors import OutputError, SourceError, UsageError
from sam2track.export.video_file import as_scheduled
from sam2track.export.videos import CODECS, VideoWriter
from sam2track.films import _by_frame, _clock, _Drawing, _Window, render
from sam2track.frames.folder import ImageFolder
from sam2track.frames.video import VideoFile
from sam2track.project import Project
from sam2track.styles import Trails, fitted, styled
from sam2track.writers import AlphaWriter, GifWriter, PictureFolder
from tests.made import disk, write_folder, write_project

SIZE = (45, 61)  # odd
TIMES = (0.0, 0.04, 0.2, 0.24, 0.5, 0.9)


@pytest.fixture
def project(tmp_path: Path):
    """Six frames with uneven times; object 1 goes right, object 2 begins on frame 2."""
    video = tmp_path / "clip.mp4"
    with VideoWriter(video, height=SIZE[0], width=SIZE[1], threads=1, crf=5) as writer:
        for t, seconds in enumerate(TIMES):
            writer.write(np.full((*SIZE, 3), 60 + 20 * t, np.uint8), seconds)
    tracks = {
        1: {t: disk(12 + 6 * t, 20, 7, (46, 62)) for t in range(6)},
        2: {t: disk(50, 36, 5, (46, 62)) for t in range(2, 6)},
    }
    path = write_project(tmp_path / "p.s2t", tracks, source=video, names={1: "ball"})
    with Project.open(path, writable=True) as opened:
        yield opened


def decoded(path: Path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format="rgb24") for f in frames], [float(f.time) for f in frames]


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such thing")
def test_no_encoder_changes_how_threads_are_scheduled(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    for codec in CODECS:
        with VideoWriter(tmp_path / f"{codec}.mp4", height=64, width=64, codec=codec) as writer:
            writer.write(np.zeros((64, 64, 3), np.uint8))
            assert os.sched_getscheduler(0) == before
    with pytest.raises(ZeroDivisionError), as_scheduled():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("name", "codec"), [("o.mp4", None), ("o.mp4", "hevc"), ("o.webm", None), ("o.webm", "av1")]
)
def test_frames_keep_their_times(project: Project, tmp_path: Path, name, codec) -> None:
    film = render(project, tmp_path / name, codec=codec)
    assert (film.frames, film.height, film.width, film.warnings) == (6, 46, 62, [])
    pictures, times = decoded(tmp_path / name)
    assert times == pytest.approx(TIMES, abs=2e-3)
    assert [p.shape for p in pictures] == [(46, 62, 3)] * 6
    for t, picture in enumerate(pictures):
        assert picture[2, 60].mean() == pytest.approx(60 + 20 * t, abs=8)
        assert picture[20, 12 + 6 * t, 0] > picture[20, 12 + 6 * t, 1] + 20 or t > 3


def test_gif(project: Project, tmp_path: Path) -> None:
    assert render(project, tmp_path / "o.gif", style="outline", ids=False).frames == 6
    with Image.open(tmp_path / "o.gif") as gif:
        assert gif.n_frames == 6 and gif.size == (62, 46)
        shown = []
        for t in range(6):
            gif.seek(t)
            shown.append(gif.info["duration"])
            assert abs(int(np.asarray(gif.convert("RGB"))[2, 60].mean()) - (60 + 20 * t)) < 8
    assert shown[:5] == [40, 160, 40, 260, 400]


def test_cutout_as_pictures_is_transparent(project: Project, tmp_path: Path) -> None:
    film = render(project, tmp_path / "o", style="cutout", objects=[2], start=1, stop=99, every=2)
    assert film.frames == 3
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [
        "00001.png",
        "00003.png",
        "00005.png",
    ]
    picture = np.asarray(Image.open(tmp_path / "o/00003.png"))
    np.testing.assert_array_equal(picture[..., 3] > 0, project.masks(3)[2])
    assert not picture[picture[..., 3] == 0].any()
    assert not np.asarray(Image.open(tmp_path / "o/00001.png")).any()


def test_a_cutout_that_is_made_smaller_has_no_dark_edge(project: Project, tmp_path: Path) -> None:
    render(project, tmp_path / "o", style="cutout", size=16, start=3, stop=4)
    picture = np.asarray(Image.open(tmp_path / "o/00003.png")).astype(int)
    assert picture.shape == (12, 16, 4)
    assert abs(picture[picture[..., 3] > 0][:, :3] - 120).max() < 6  # the picture is of one grey
    assert not picture[picture[..., 3] == 0].any()


def _decoded(path: Path, decoder: str) -> list[tuple[float, np.ndarray]]:
    """Times and (H, W, 4) pictures; FFmpeg's own decoder of VP9 leaves alpha out."""
    with av.open(str(path)) as file:
        (stream,) = file.streams.video
        context = stream.codec_context
        if decoder != context.name:
            context = av.CodecContext.create(decoder, "r")
        frames = [f for packet in file.demux(stream) if packet.size for f in context.decode(packet)]
        frames += context.decode(None)
        return [
            (float(f.pts * stream.time_base), f.to_ndarray(format="rgba").astype(int))
            for f in frames
        ]


@pytest.mark.parametrize(
    ("name", "decoder", "off"), [("o.mov", "prores", 0), ("o.webm", "libvpx-vp9", 64)]
)
def test_cutouts_as_videos_are_transparent(
    project: Project, tmp_path: Path, name: str, decoder: str, off: int
) -> None:
    film = render(project, tmp_path / name, style="cutout", objects=[2], start=1)
    found = _decoded(tmp_path / name, decoder)
    assert film.frames == len(found) == 5
    times = [project.time(t) - project.time(1) for t in range(1, 6)]
    assert [time for time, _ in found] == pytest.approx(times, abs=1e-3)
    pictures = VideoFile(str(project.meta["source"]))
    for frame, (_, picture) in enumerate(found, start=1):
        mask = project.masks(frame).get(2, np.zeros(picture.shape[:2], bool))
        assert abs(picture[..., 3] - 255 * mask).max() <= off
        around = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if mask.any():  # colour goes on beyond the object
            shown = pictures.read(frame)
            assert abs(picture[around][:, :3] - shown[around]).mean() < 4
        assert picture[0, 0, :3].max() < 8  # elsewhere nothing of the picture is in the file


@pytest.mark.parametrize(("name", "decoder"), [("o.mov", "prores"), ("o.webm", "libvpx-vp9")])
def test_transparent_videos_keep_odd_sizes(tmp_path: Path, name: str, decoder: str) -> None:
    picture = np.zeros((*SIZE, 4), np.uint8)
    picture[10:30, 20:50] = 200, 100, 50, 255
    with AlphaWriter(tmp_path / name, height=SIZE[0], width=SIZE[1], rate=25) as writer:
        writer.write(picture, 0.0)
        with pytest.raises(UsageError, match=r"are uint8 \(45, 61, 4\)"):
            writer.write(picture[..., :3], 0.1)
    ((_, found),) = _decoded(tmp_path / name, decoder)
    assert np.array_equal(found[..., 3] > 127, picture[..., 3] > 0)
    assert abs(found[12:28, 22:48] - picture[12:28, 22:48]).max() < 8


def test_alpha_of_prores_is_exact_at_any_width(tmp_path: Path) -> None:
    """FFmpeg's threads wrote over each other's rows where these are no multiple of 16 wide."""
    rng = np.random.default_rng(0)
    masks = rng.random((300, 200, 71)) < 0.5
    with AlphaWriter(tmp_path / "a.mov", height=200, width=71, rate=25) as writer:
        for t, mask in enumerate(masks):
            writer.write(np.dstack([np.where(mask, 255, 0).astype(np.uint8)] * 4), t / 25)
    for t, (_, found) in enumerate(_decoded(tmp_path / "a.mov", "prores")):
        assert np.array_equal(found[..., 3], 255 * masks[t]), t


def test_what_cannot_be_transparent_is_not(project: Project, tmp_path: Path) -> None:
    render(project, tmp_path / "o.webm", style="cutout", codec="av1", objects=[2])
    with av.open(str(tmp_path / "o.webm")) as file:
        assert file.streams.video[0].codec_context.pix_fmt == "yuv420p"
    render(project, tmp_path / "o.mp4", style="cutout", objects=[2], scores=True, ids=False)
    for name, options, said in (
        ("a.mov", {}, "a .mov is for style cutout"),
        ("a.mov", {"style": "cutout", "codec": "vp9"}, "a .mov has ProRes"),
        ("a.mov", {"style": "cutout", "quality": 3}, "ProRes has no quality"),
        ("a.webm", {"style": "cutout", "quality": 64}, "lies from 0 to 63"),
        ("a.webm", {"style": "cutout", "scores": True}, "nothing is written on what is"),
        ("a", {"style": "cutout", "clock": True}, "nothing is written on what is"),
    ):
        with pytest.raises(UsageError, match=said):
            render(project, tmp_path / name, **options)
    (tmp_path / "b.mov").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        render(project, tmp_path / "b.mov", style="cutout")
    assert not list(tmp_path.glob("a*")) + list(tmp_path.glob(".a*"))


def test_background(project: Project, tmp_path: Path) -> None:
    Image.new("RGB", (10, 40), (0, 0, 255)).save(tmp_path / "blue.png")
    options = {"style": "background", "background": tmp_path / "blue.png", "ids": False}
    render(project, tmp_path / "o", **options, names=False)
    picture = np.asarray(Image.open(tmp_path / "o/00003.png"))
    held = project.labels(3) > 0
    assert (picture[~held] == (0, 0, 255)).all()
    assert np.ptp(picture[held].astype(int), axis=1).max() < 6  # the grey of the source


def test_backgrounds_are_upright_and_as_deep_as_they_are(project: Project, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = np.zeros((62, 46, 3), np.uint8)
    turned[31:] = 255
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    deep = np.repeat(np.linspace(60_000, 1000, 62).astype(np.uint16)[None], 46, axis=0)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for name in ("turned.png", "deep.png"):
        options = {"style": "background", "background": tmp_path / name, "ids": False}
        render(project, tmp_path / name[0], **options, names=False)
        picture = np.asarray(Image.open(tmp_path / name[0] / "00003.png"))
        assert (picture[0, 0] > 240).all() and (picture[-1, -1] < 15).all(), name


def test_a_crop_that_follows(project: Project, tmp_path: Path) -> None:
    film = render(project, tmp_path / "o", follow=1, crop=(20, 30), names=False, ids=False)
    assert (film.width, film.height) == (20, 30)
    for t in range(6):
        picture = np.asarray(Image.open(tmp_path / f"o/{t:05d}.png")).astype(int)
        red = np.argwhere(picture[..., 0] > picture[..., 1] + 15)
        assert len(red) > 30  # it is in the crop on every frame
    whole = render(project, tmp_path / "p", follow=2, size=16)
    assert max(whole.height, whole.width) == 16
    huge = render(project, tmp_path / "q", follow=2, crop=(5000, 5000))
    assert (huge.height, huge.width) == (46, 62)


def test_a_crop_begins_where_the_object_is(project: Project, tmp_path: Path) -> None:
    render(project, tmp_path / "o", follow=1, crop=(20, 30), start=3, names=False, ids=False)
    picture = np.asarray(Image.open(tmp_path / "o/00003.png")).astype(int)
    columns = np.argwhere(picture[..., 0] > picture[..., 1] + 15)[:, 1]
    assert columns.mean() == pytest.approx(9.5, abs=1)
    # Where it comes next, else where it was last.
    at = [_Window(project, 2, None, low)._at[0] for low in (0, 4, 9)]
    assert at == pytest.approx([50, 50, 50], abs=0.5)
    assert _Window(project, 1, (20, 30), 9)._at[0] == pytest.approx(42, abs=0.5)


def test_a_crop_follows_smoothly(project: Project) -> None:
    window = _Window(project, 1, (20, 40))
    for place, at in (
        ((14, 20), (12.5, 20)),  # a quarter of the way
        ((60, 60), (55, 50)),  # but the object stays in the middle half of width and height
        ((0, 0), (5, 10)),
        (None, (5, 10)),
    ):
        window.move(SimpleNamespace(centroid=place))  # type: ignore[arg-type]
        assert window._at == pytest.approx(at, abs=0.2)


def test_a_crop_is_one_of_pictures_and_of_objects(project: Project, tmp_path: Path) -> None:
    render(project, tmp_path / "o", style="cutout", follow=1, crop=(20, 30), objects=[1])
    picture = np.asarray(Image.open(tmp_path / "o/00000.png"))
    # The object, 15 pixels high, lies in the middle.
    assert np.flatnonzero(picture[..., 3].any(axis=1))[[0, -1]].tolist() == [8, 22]
    np.testing.assert_array_equal(picture[..., 3] > 0, picture[..., :3].any(axis=2))


def test_a_crop_fits_the_longer_side(tmp_path: Path) -> None:
    tall = np.zeros((300, 200), np.bool_)
    tall[100:200, 90:100] = True
    path = write_project(tmp_path / "tall.s2t", {1: {0: tall}})
    with Project.open(path) as opened:
        assert _Window(opened, 1, None).size == (160, 160)


def test_trails_of_what_is_shown(project: Project, tmp_path: Path) -> None:
    spread = []
    for name, objects in (("o", None), ("p", [2])):
        render(project, tmp_path / name, style="trails", objects=objects, ids=False, names=False)
        picture = np.asarray(Image.open(tmp_path / name / "00005.png")).astype(int)
        spread.append(np.ptp(picture[20, 20]))  # where object 1 was
    assert spread[0] > 60 and spread[1] < 10


def test_the_rate_is_that_of_the_frames_that_are_written(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []

    def rate(times: np.ndarray) -> Fraction:
        seen.append(times.tolist())
        return Fraction(5)

    monkeypatch.setattr(films, "usual_rate", rate)
    render(project, tmp_path / "o.mp4", start=1, every=2)
    assert seen == [pytest.approx(list(TIMES[1::2]), abs=2e-3)]


def test_an_object_that_is_not_shown_is_followed(project: Project) -> None:
    moved: list[float] = []
    for objects in (None, [2]):
        window = _Window(project, 1, (20, 30))
        drawing = drawn_by(project, window, objects)
        for t in range(6):
            drawing.go_to(t)
        moved.append(window._at[0])
    assert moved[0] == moved[1] > 30


def drawn_by(project: Project, window: _Window, objects: list[int] | None) -> _Drawing:
    return _Drawing(
        project=project, found=_by_frame(project, 0, 6), look="overlay", behind=None,
        trails=Trails(), window=window, objects=objects, size=window.size, ids=True, names={},
        scores=False, clock=False, transparent=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"style": "trails"}, {"scores": True}, {"follow": 1}], ids=["trails", "scores", "f"]
)
def test_masks_are_read_of_what_is_drawn_alone(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options
) -> None:
    """Places are stored: of a mask that is drawn none is read a second time for its own."""
    read = []
    decode = masks.decode_part
    monkeypatch.setattr(masks, "decode_part", lambda data: read.append(1) or decode(data))
    monkeypatch.setattr(masks, "decode", lambda _: pytest.fail("a whole mask was made"))
    render(project, tmp_path / "o.mp4", every=2, **options)
    assert len(read) == 1 + 2 + 2  # on frames 0, 2 and 4


def test_frames_without_results_are_gone_through(project: Project) -> None:
    assert [set(rows) for rows in _by_frame(project, 1, 4)] == [{1}, {1, 2}, {1, 2}]
    with project.step("edit", {}):
        project.forget(1, 2, 3)
        project.forget(2, 2, 3)
    assert [set(rows) for rows in _by_frame(project, 0, 6)] == [
        {1}, {1}, set(), {1, 2}, {1, 2}, {1, 2},
    ]  # fmt: skip
    for frame, rows in enumerate(_by_frame(project, 0, 6)):
        assert list(rows.values()) == [
            one.row for _, found in project.observations([frame]) for one in found
        ]


def test_the_clock_rounds_before_it_counts_minutes() -> None:
    assert [_clock(t) for t in (0, 1.5, 59.9996, 3779.99996)] == [
        "0:00.000", "0:01.500", "1:00.000", "63:00.000",
    ]  # fmt: skip


def test_a_refused_film_closes_the_source(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    close = VideoFile.close
    monkeypatch.setattr(VideoFile, "close", lambda self: (closed.append(1), close(self)))
    for options in ({"style": "trails", "trail": 0}, {"follow": 1, "crop": (2, 2)}):
        with pytest.raises(UsageError):
            render(project, tmp_path / "o.mp4", **options)
    with pytest.raises(UsageError):
        render(project, tmp_path / "o.avi")
    with pytest.raises(SourceError):
        render(project, tmp_path / "o.mp4", style="background", background=tmp_path / "no.png")
    assert len(closed) == 4


def test_texts(project: Project, tmp_path: Path) -> None:
    plain = {"ids": False, "names": False}
    for index, options in enumerate(
        (plain, {**plain, "ids": True}, {**plain, "names": True}, {**plain, "scores": True})
    ):
        render(project, tmp_path / f"{index}", **options)
    render(project, tmp_path / "4", **plain, clock=True)
    pictures = [np.asarray(Image.open(tmp_path / f"{i}/00003.png")) for i in range(5)]
    for i in range(5):
        for j in range(i):
            assert (pictures[i] != pictures[j]).any(), (i, j)
    changed = np.argwhere((pictures[4] != pictures[0]).any(axis=2))
    assert changed[:, 0].min() > 20 and changed[:, 1].max() < 61


def test_trails() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    trails = Trails(4)
    for t in range(8):
        trails.add(t, {1: (5 + 5.0 * t, 20.0)} if t != 6 else {})
    trails.draw(picture)
    columns = np.flatnonzero(picture.any(axis=(0, 2)))
    # Frames 4 and 5; 6 is a gap, so nothing leads to 7.
    assert columns.min() >= 24 and columns.max() <= 31
    trails.add(20, {})
    forgotten = np.zeros_like(picture)
    trails.draw(forgotten)
    assert not forgotten.any()
    with pytest.raises(UsageError, match="at least 1"):
        Trails(0)


def test_trails_are_brighter_where_they_are_newer() -> None:
    picture, trails = np.zeros((40, 60, 3), np.uint8), Trails(10)
    for t in range(10):
        trails.add(t, {1: (5 + 5.0 * t, 20.0)})
    trails.draw(picture)
    assert picture[20, 8].max() * 1.5 < picture[20, 47].max()


def test_styles() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    labels = np.zeros((50, 70), np.int32)
    labels[10:30, 10:30] = 3
    held = labels > 0
    blurred = styled("blur-background", picture, labels)
    assert (blurred[held] == picture[held]).all()
    assert blurred[~held].std() < picture[~held].std() / 2
    outline = styled("outline", picture, labels)
    assert (outline[15:25, 15:25] == picture[15:25, 15:25]).all()
    assert (outline[10, 10:30] != picture[10, 10:30]).any(axis=1).all()
    assert fitted(picture, 20, 100).shape == (20, 100, 3)
    bars = np.repeat(np.arange(4, dtype=np.uint8), 10)[None, :, None] * np.ones(
        (10, 1, 3), np.uint8
    )
    assert fitted(bars, 10, 10)[5, :, 0].tolist() == [1] * 5 + [2] * 5  # its middle, not squeezed
    assert fitted(bars.transpose(1, 0, 2), 10, 10)[:, 5, 0].tolist() == [1] * 5 + [2] * 5
    with pytest.raises(UsageError, match="needs a picture"):
        styled("background", picture, labels)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("o.mp4", {"style": "neon"}, "allowed are overlay"),
        ("o.mp4", {"style": "background"}, "go together"),
        ("o.avi", {}, "allowed are .mp4"),
        ("o.mp4", {"codec": "divx"}, "allowed are h264"),
        ("o.webm", {"codec": "h264"}, "vp9 and av1"),
        ("o.gif", {"codec": "h264"}, "only .mp4"),
        ("o.gif", {"quality": 3}, "no quality"),
        ("o.mp4", {"quality": 52}, "crf of h264 lies from 0 to 51"),
        ("o", {"pictures": "jpg", "quality": 0}, "quality 1 to 100"),
        ("o.mp4", {"start": 5, "stop": 5}, "frames"),
        ("o.mp4", {"start": 900}, "frames"),
        ("o.mp4", {"follow": 9}, "not in the project"),
        ("o.mp4", {"follow": 1, "crop": (2, 2)}, "at least 16"),
        ("o.mp4", {"every": 0}, "every 0"),
        ("o.mp4", {"size": 3}, "size 3"),
        ("o.mp4", {"style": "trails", "trail": 0}, "at least 1"),
        ("o.mp4", {"trail": 9}, "style overlay has no trails"),
        ("o.mp4", {"crop": (20, 20)}, "what follows an object"),
        ("o.mp4", {"pictures": "png"}, "only a folder"),
        ("o.gif", {"pictures": "jpg"}, "only a folder"),
    ],
)
def test_refusals(project: Project, tmp_path: Path, output, options, message) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=message):
        render(project, tmp_path / output, **options)
    assert sorted(tmp_path.iterdir()) == before


def test_a_part_begins_at_once(project: Project, tmp_path: Path) -> None:
    render(project, tmp_path / "o.mp4", start=2)
    times = decoded(tmp_path / "o.mp4")[1]
    assert times == pytest.approx([t - TIMES[2] for t in TIMES[2:]], abs=2e-3)


def test_a_stop_past_the_end_is_the_end_and_is_said(project: Project, tmp_path: Path) -> None:
    made = render(project, tmp_path / "o", start=4, stop=500)
    assert made.frames == 2 and len(list((tmp_path / "o").iterdir())) == 2
    assert made.warnings == ["stop 500 lies past the end; the project has frames 0 to 5"]


@pytest.mark.parametrize("output", ["o.mp4", "o.webm", "o.gif", "o"])
def test_no_half_is_left(project: Project, tmp_path: Path, output, monkeypatch) -> None:
    before = sorted(tmp_path.iterdir())
    labels = Project.labels

    def broken(self, frame, objects=None):
        if frame == 3:
            raise KeyboardInterrupt
        return labels(self, frame, objects)

    monkeypatch.setattr(Project, "labels", broken)
    with pytest.raises(KeyboardInterrupt):
        render(project, tmp_path / output)
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_in_the_way(project: Project, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.mp4").mkdir()
    for output in ("full", "file", "file/o.mp4", "file/o.gif", "folder.mp4", "file/below"):
        with pytest.raises(OutputError):
            render(project, tmp_path / output)
    assert (tmp_path / "full/mine.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    assert not list(tmp_path.rglob("*.partial"))


def test_backgrounds_that_cannot_be_read(project: Project, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for name in ("none.png", "text.png", "."):
        with pytest.raises(SourceError, match="background"):
            render(project, tmp_path / "o.mp4", style="background", background=tmp_path / name)


def test_pictures_that_moved_or_changed(project: Project, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.rename(tmp_path / "moved.mp4")
    with pytest.raises(SourceError, match="--source"):
        render(project, tmp_path / "o.mp4")
    assert not render(project, tmp_path / "o.mp4", source=tmp_path / "moved.mp4").warnings
    render(project, tmp_path / "again.mp4", source=tmp_path / "moved.mp4", style="outline")
    film = render(project, tmp_path / "o.mp4", source=tmp_path / "again.mp4")
    assert "other pictures" in film.warnings[0]


def test_writers_by_themselves(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="at least one frame"):
        GifWriter(tmp_path / "o.gif", height=4, width=4).close()
    gif = GifWriter(tmp_path / "o.gif", height=4, width=4)
    gif.write(np.zeros((4, 4, 3), np.uint8), 0)
    gif.close()
    gif.close()
    with pytest.raises(UsageError, match="closed"):
        gif.write(np.zeros((4, 4, 3), np.uint8), 1)
    with GifWriter(tmp_path / "fast.gif", height=4, width=4) as gif:
        for t in range(4):  # its clock is coarse, and each frame is shown
            gif.write(np.full((4, 4, 3), 60 * t, np.uint8), 0.001 * t)
    with Image.open(tmp_path / "fast.gif") as made:
        shown = []
        for t in range(made.n_frames):
            made.seek(t)
            shown.append(made.info["duration"])
        assert shown[:3] == [10, 10, 10] and len(shown) == 4
    with PictureFolder(tmp_path / "o", first=7, step=2, kind="jpg") as folder:
        folder.write(np.zeros((4, 4, 3), np.uint8))
        folder.write(np.zeros((4, 4, 3), np.uint8))
        assert not (tmp_path / "o").exists()
    assert [p.name for p in sorted((tmp_path / "o").iterdir())] == ["00007.jpg", "00009.jpg"]
    with pytest.raises(OutputError, match="is there already; give a folder that is not"):
        PictureFolder(tmp_path / "o")  # before anything is drawn


def test_pictures_are_read_once_and_in_order(project, tmp_path: Path, monkeypatch) -> None:
    frames = write_folder(tmp_path / "frames", 6, (46, 62))
    read: list[int] = []
    whole = ImageFolder.read

    def counted(self, frame):
        read.append(frame)
        return whole(self, frame)

    monkeypatch.setattr(ImageFolder, "read", counted)
    film = render(project, tmp_path / "o.mp4", source=frames)
    assert "other pictures" in film.warnings[0]
    assert read in ([], [0, 1, 2, 3, 4, 5])
