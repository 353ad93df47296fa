"""What an export refuses, what it leaves behind, and what it costs."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from sam2track.errors import OutputError, ProjectError, SourceError, UsageError
from sam2track.export import ctc
from sam2track.export.ctc import Tracks
from sam2track.export.exporting import FORMATS
from sam2track.export.reading import open_masks
from sam2track.export.staging import staged
from sam2track.export.videos import VideoWriter
from sam2track.project import Project
from sam2track.table import TableWriter
from sam2track.tracking.history import Life
from tests.export.known import FRAMES, HEIGHT, WIDTH, masks, project, put
from tests.made import disk, write_project


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return project(tmp_path_factory.mktemp("known") / "p.s2t")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_an_export_that_stops_midway_leaves_nothing(path, tmp_path, monkeypatch, name):
    with Project.open(path) as opened:
        real, rows = Project.mask_makers, Project.rows

        def fails(self, frame):
            if frame >= 5:
                raise KeyboardInterrupt
            return real(self, frame)

        def ends(self):
            for row in rows(self):
                if row.frame == 5:
                    raise KeyboardInterrupt
                yield row

        monkeypatch.setattr(Project, "mask_makers", fails)
        monkeypatch.setattr(Project, "rows", ends)
        with pytest.raises(KeyboardInterrupt):
            opened.export(tmp_path / "there", format=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_an_export_says_how_far_it_is_and_can_be_ended(path, tmp_path, name):
    class Ended(Exception):
        pass

    def end(done, total):
        if done == 5:
            raise Ended

    with Project.open(path) as opened:
        with pytest.raises(Ended):
            opened.export(tmp_path / f"a{FORMATS[name].suffix}", format=name, passed=end)
        assert list(tmp_path.iterdir()) == []
        passed = []
        output = tmp_path / f"a{FORMATS[name].suffix}"
        opened.export(output, format=name, passed=lambda *at: passed.append(at))
    assert passed[-1] == (FRAMES, FRAMES) and output.exists()
    assert len(passed) >= FRAMES - 1


@pytest.mark.parametrize("name", ["coco", "davis"])
def test_a_full_disk_is_an_output_error(path, tmp_path, monkeypatch, name):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Project, "mask_makers", full)
    with Project.open(path) as opened, pytest.raises(OutputError, match="No space left"):
        opened.export(tmp_path / "there", format=name)
    assert list(tmp_path.iterdir()) == []


def test_targets_that_cannot_be(path, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "empty").mkdir()
    with Project.open(path) as opened:
        for target, name, what in [
            ("file", "csv", "is there already"),
            ("file", "davis", "is a file"),
            ("full", "davis", "holds something already"),
            ("full", "csv", "is a folder"),
        ]:
            with pytest.raises(UsageError, match=what):
                opened.export(tmp_path / target, format=name)
        with pytest.raises(UsageError, match="holds something"):  # never, whatever is said
            opened.export(tmp_path / "full", format="davis", overwrite=True)
        told = r"Not a directory|File exists"
        with pytest.raises(OutputError, match=rf"below.csv: ({told}); write to another folder"):
            opened.export(tmp_path / "file" / "below.csv", format="csv")
        (tmp_path / "link").symlink_to(tmp_path / "none")
        with pytest.raises(OutputError, match="link that leads nowhere; write to another"):
            opened.export(tmp_path / "link", format="davis")
        assert (tmp_path / "file").read_text() == "mine"
        assert (tmp_path / "full" / "mine").read_text() == "mine"
        opened.export(tmp_path / "empty", format="davis")
        opened.export(tmp_path / "file", format="csv", overwrite=True)
    assert (tmp_path / "file").read_text().startswith("frame,")
    assert len(list((tmp_path / "empty").iterdir())) == FRAMES


def test_devices_and_pipes_are_not_replaced(path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with Project.open(path) as opened:
        with pytest.raises(UsageError, match="nothing is written to standard output"):
            opened.export("-", format="csv")
        for target in (tmp_path / "pipe", Path("/dev/sam2track")):
            for kind in ("csv", "masks-video"):
                with pytest.raises(UsageError, match="device or a pipe"):
                    opened.export(target, format=kind, overwrite=True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]
    with pytest.raises(UsageError, match="device or a pipe"):
        TableWriter(tmp_path / "pipe")


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="a disk in memory, of Linux")
def test_a_disk_in_memory_is_no_device(path):
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        Project.open(path) as opened,
    ):
        opened.export(Path(folder) / "made.csv", format="csv")
        assert (Path(folder) / "made.csv").read_text().startswith("frame,")


def test_options_that_cannot_be(path, tmp_path):
    with Project.open(path) as opened:
        for format, options in [
            ("none", {}),
            ("csv", {"images": True}),
            ("coco", {"start": 9}),
            ("coco", {"start": 5, "stop": 5}),
            ("coco", {"pixel_size": 0}),
            ("coco", {"pixel_size": float("nan")}),
            ("coco", {"frame_interval": -1}),
            ("sav", {"name": "a/b"}),
            ("sav", {"name": ".."}),
            ("yolo-seg", {"val_share": 1}),
            ("coco", {"start": 1.5}),
            ("coco", {"start": "1"}),
            ("coco", {"stop": float("nan")}),
            ("coco", {"overwrite": "no"}),
            ("coco", {"images": "no"}),
            ("masks-video", {"palette": "no"}),
        ]:
            with pytest.raises(UsageError):
                opened.export(tmp_path / "there", format=format, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_no_file_can_have(path, tmp_path):
    with Project.open(path) as opened, pytest.raises(OutputError, match="File name too long"):
        opened.export(tmp_path / ("a" * 300), format="coco")
    assert list(tmp_path.iterdir()) == []


def test_options_that_are_none_are_named_with_those_that_are(path, tmp_path):
    with Project.open(path) as opened:
        with pytest.raises(UsageError, match=r"^export has no option 'colour'; it has start, stop"):
            opened.export(tmp_path / "a.tif", format="ome-tiff", colour="red")
        with pytest.raises(UsageError, match=r"^unit 'parsec'; allowed are nm, um, mm, m$"):
            opened.export(tmp_path / "a.tif", format="ome-tiff", unit="parsec")
    assert list(tmp_path.iterdir()) == []


def test_a_project_without_results(tmp_path):
    meta = {"height": 4, "width": 5, "frames": 3, "source": "clip.mp4"}
    with (
        Project.create(tmp_path / "p.s2t", meta=meta, times=np.arange(3.0)) as made,
        pytest.raises(ProjectError, match="no results; track first"),
    ):
        made.export(tmp_path / "a.csv", format="csv")


def test_ids_that_do_not_fit(tmp_path):
    with Project.open(project(tmp_path / "p.s2t", top=70000)) as opened:
        for name in ("davis", "ytvos", "ctc", "labels-tiff", "ome-tiff", "masks-video"):
            with pytest.raises(UsageError, match=r"70000 does not fit.*65535; take ome-zarr"):
                opened.export(tmp_path / "there", format=name)
        assert not (tmp_path / "there").exists()
        for name in ("coco", "mots", "npz", "parquet", "ome-zarr", "sav", "mot"):
            opened.export(tmp_path / name, format=name)
    assert 70000 in dict(open_masks(tmp_path / "ome-zarr").shots())[8]
    with (
        # The object is as it is; what comes again would need a label of its own.
        Project.open(project(tmp_path / "q.s2t", top=65535)) as opened,
        pytest.raises(UsageError, match="65536 does not fit ctc"),
    ):
        opened.export(tmp_path / "ctc", format="ctc")


def test_ids_that_fit_grey_ffv1_alone(tmp_path):
    with Project.open(project(tmp_path / "p.s2t", top=300)) as opened:
        for options in ({"codec": "h264"}, {"palette": True}):
            with pytest.raises(UsageError, match=r"above 255 fit grey FFV1 alone.*\.mkv"):
                opened.export(tmp_path / "a.mkv", format="masks-video", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["p.s2t"]


def test_where_masks_overlap_the_highest_logit_wins(tmp_path):
    path = project(tmp_path / "p.s2t")
    with Project.open(path, writable=True) as opened:
        put(opened, 2, masks()[2], {2: 6})
        opened.export(tmp_path / "davis", format="davis")
    found = dict(open_masks(tmp_path / "davis").shots())[2]
    here = masks()[2]
    assert (here[1] & here[2]).any()
    assert np.array_equal(found[2], here[2])
    assert np.array_equal(found[1], here[1] & ~here[2])


@pytest.mark.parametrize("name", ["davis", "labels-tiff", "mots"])
def test_where_masks_overlap_locked_objects_come_first(tmp_path, name):
    path = project(tmp_path / "p.s2t")
    with Project.open(path, writable=True) as opened:
        put(opened, 2, masks()[2], {2: 6})
        with opened.step("lock", {"object": 1, "locked": True}):
            opened.keep_life(Life(1, locked=True))
        done = opened.export(tmp_path / "locked.tif", format=name)
        opened.undo()
        opened.export(tmp_path / "free.tif", format=name)
    assert any("of locked objects before others" in warning for warning in done.warnings)
    here = masks()[2]
    found = dict(open_masks(tmp_path / "locked.tif", name).shots())[2]
    assert np.array_equal(found[1], here[1]) and np.array_equal(found[2], here[2] & ~here[1])
    found = dict(open_masks(tmp_path / "free.tif", name).shots())[2]
    assert np.array_equal(found[2], here[2]) and np.array_equal(found[1], here[1] & ~here[2])


def test_nothing_is_written_over_what_is_exported_from(tmp_path):
    path = project(tmp_path / "p.s2t")
    before = path.read_bytes()
    (tmp_path / "clip.mp4").write_text("a video")
    with Project.open(path, writable=True) as opened:
        opened.set_meta(source=str(tmp_path / "clip.mp4"))
    before = path.read_bytes()
    with Project.open(path) as opened:
        for target in (path, tmp_path / "clip.mp4"):
            with pytest.raises(UsageError, match="exported from"):
                opened.export(target, format="csv", overwrite=True)
        moved = tmp_path / "moved.mp4"
        moved.write_text("a video")
        for source in (moved, str(moved)):
            with pytest.raises(UsageError, match="exported from"):
                opened.export(moved, format="csv", source=source, overwrite=True)
    assert path.read_bytes() == before
    assert (tmp_path / "clip.mp4").read_text() == moved.read_text() == "a video"


@pytest.mark.parametrize("moved", [False, True])
def test_nothing_is_written_among_the_pictures_that_are_exported_from(tmp_path, moved):
    """It would be one frame more of them, or take the place of one."""
    clip = tmp_path / "clip"
    (clip / "within").mkdir(parents=True)
    for name in ("0.png", "1.tif", "notes.txt"):
        (clip / name).write_text("mine")
    path = project(tmp_path / "p.s2t")
    (tmp_path / "link").symlink_to(clip)
    with Project.open(path, writable=True) as opened:
        opened.set_meta(source=str(tmp_path / ("gone" if moved else "clip")))
        named = {"source": tmp_path / "link"} if moved else {}
        for target in ("clip/1.tif", "clip/new.TIF", "link/new.tif", "clip/0.png"):
            with pytest.raises(UsageError, match="belongs to it; name another target"):
                opened.export(tmp_path / target, format="labels-tiff", overwrite=True, **named)
        assert sorted(p.name for p in clip.iterdir()) == ["0.png", "1.tif", "notes.txt", "within"]
        assert {p.read_text() for p in clip.iterdir() if p.is_file()} == {"mine"}
        opened.export(clip / "tracks.csv", format="csv", **named)  # which is no picture
        opened.export(clip / "within" / "new.tif", format="labels-tiff", **named)


def test_nothing_is_written_over_what_a_picture_that_is_exported_from_leads_to(tmp_path):
    """A folder of links is how a part of many pictures is chosen without copies."""
    (tmp_path / "clip").mkdir()
    for name in ("mine.tif", "other.tif"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "by.tif").symlink_to("mine.tif")
    (tmp_path / "clip" / "0.tif").symlink_to(tmp_path / "by.tif")
    (tmp_path / "clip" / "1.tif").symlink_to(tmp_path / "gone.tif")
    (tmp_path / "clip" / "notes.txt").symlink_to(tmp_path / "other.tif")
    with Project.open(project(tmp_path / "p.s2t"), writable=True) as opened:
        opened.set_meta(source=str(tmp_path / "clip"))
        for name in ("mine.tif", "by.tif", "gone.tif"):
            with pytest.raises(UsageError, match="belongs to it; name another target"):
                opened.export(tmp_path / name, format="labels-tiff", overwrite=True)
        opened.export(tmp_path / "other.tif", format="labels-tiff", overwrite=True)
    assert (tmp_path / "clip" / "0.tif").read_text() == "mine"
    assert not (tmp_path / "gone.tif").exists()


def test_nothing_in_a_zarr_is_written_over_that_is_exported_from(tmp_path):
    source = tmp_path / "clip.zarr"
    (source / "c" / "0").mkdir(parents=True)
    for name in ("zarr.json", "c/0/0"):
        (source / name).write_text("mine")
    with Project.open(project(tmp_path / "p.s2t"), writable=True) as opened:
        opened.set_meta(source=str(source))
        for name in ("zarr.json", "c/0/0"):
            with pytest.raises(UsageError, match="belongs to it; name another target"):
                opened.export(source / name, format="csv", overwrite=True)
            assert (source / name).read_text() == "mine"
        opened.export(source / "labels" / "cells", format="davis")


def test_a_range_and_frames_without_results(path, tmp_path):
    with Project.open(path) as opened:
        done = opened.export(tmp_path / "a.tif", format="labels-tiff", start=2, stop=5)
        opened.export(tmp_path / "davis", format="davis", start=2, stop=5)
    assert len(done.warnings) == 1
    assert open_masks(tmp_path / "a.tif").frames == range(3)
    assert open_masks(tmp_path / "davis").frames == [2, 3, 4]
    with Project.open(path, writable=True) as opened:
        opened.forget(1, 4, 6)
        for i in opened.objects:
            opened.forget(i, 7, 8)
        try:
            done = opened.export(tmp_path / "b", format="davis")
        finally:
            for frame in range(FRAMES):
                put(opened, frame, masks()[frame])
    assert "1 of 9 frames have no result" in done.warnings[0]
    assert len(list((tmp_path / "b").iterdir())) == FRAMES


def test_a_stop_past_the_end_is_the_end_and_is_said(path, tmp_path):
    with Project.open(path) as opened:
        done = opened.export(tmp_path / "o", format="davis", start=4, stop=500)
        assert opened.export(tmp_path / "p", format="npz", stop=FRAMES).warnings == ()
    assert len(list((tmp_path / "o").iterdir())) == FRAMES - 4
    assert "stop 500 lies past the end; the project has frames 0 to 8" in done.warnings


@pytest.mark.parametrize(
    ("meta", "interval"),
    [
        ({}, 0.04),  # of a video
        ({"axes": "TYX"}, None),  # of a stack that says nothing of time
        ({"axes": "TYX", "frame_interval_s": 0.04}, 0.04),
        ({"axes": "TYX", "frame_interval_s": 300.0}, 300.0),
    ],
)
def test_the_rate_at_which_a_stack_is_played_is_no_interval(tmp_path, meta, interval):
    track = {1: {t: disk(30, 30, 9) for t in range(3)}}
    with Project.open(write_project(tmp_path / "p.s2t", track, **meta)) as opened:
        opened.export(tmp_path / "o.ome.tif", format="ome-tiff")
        opened.export(tmp_path / "l.tif", format="labels-tiff")
        opened.export(tmp_path / "o.zarr", format="ome-zarr")
        opened.export(tmp_path / "said.tif", format="labels-tiff", frame_interval=2.0)
    with tifffile.TiffFile(tmp_path / "o.ome.tif") as file:
        found = re.search('TimeIncrement="([^"]+)"', file.ome_metadata)
        assert (found and float(found[1])) == interval
    with tifffile.TiffFile(tmp_path / "l.tif") as file:
        assert file.imagej_metadata.get("finterval") == interval
    with tifffile.TiffFile(tmp_path / "said.tif") as file:
        assert file.imagej_metadata["finterval"] == 2.0
    text = "".join(p.read_text() for p in (tmp_path / "o.zarr").rglob("zarr.json"))
    assert ('"second"' in text) is (interval is not None)


def test_pictures_on_request(tmp_path):
    from PIL import Image

    (tmp_path / "clip").mkdir()
    for t in range(FRAMES):
        picture = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 20 * t, np.uint8))
        picture.save(tmp_path / "clip" / f"{t}.png")
    with Project.open(project(tmp_path / "p.s2t"), writable=True) as opened:
        said = opened.export(tmp_path / "none", format="yolo-seg").warnings
        assert any("no pictures are written" in line and "--source" in line for line in said)
        with pytest.raises(OSError):
            opened.export(tmp_path / "x", format="coco", images=True, source=tmp_path / "gone.mp4")
        opened.set_meta(source=str(tmp_path / "clip"))
        said = opened.export(tmp_path / "other", format="yolo-seg").warnings
        assert any("is not what was tracked" in line for line in said)
        clip = {"source": tmp_path / "clip"}
        said = opened.export(tmp_path / "named", format="yolo-seg", **clip).warnings
        assert any("holds other pictures" in line for line in said)
        assert len(list((tmp_path / "named/images").rglob("*.jpg"))) == FRAMES
        with VideoWriter(tmp_path / "small.mp4", height=8, width=8, threads=1) as video:
            video.write(np.zeros((8, 8, 3), np.uint8))
        with pytest.raises(SourceError, match="has 1 frames of 8 x 8, the project was made from"):
            opened.export(tmp_path / "x", format="yolo-seg", source=tmp_path / "small.mp4")
        opened.set_meta(fingerprint=None)
        said = opened.export(tmp_path / "unsaid", format="yolo-seg").warnings
        assert any("is not what was tracked" in line for line in said)
        opened.export(tmp_path / "coco", format="coco", images=True, **clip)
        opened.export(tmp_path / "yolo", format="yolo-seg", **clip)
        opened.export(tmp_path / "ytvos", format="ytvos", images=True, **clip)
        opened.export(tmp_path / "ytvis", format="ytvis", images=True, **clip)
    pictures = sorted((tmp_path / "coco" / "images").iterdir())
    assert [p.name for p in pictures] == [f"{t:05d}.jpg" for t in range(FRAMES)]
    with Image.open(pictures[4]) as image:
        assert abs(np.asarray(image).mean() - 80) < 4
    assert len(list((tmp_path / "yolo" / "images").rglob("*.jpg"))) == FRAMES
    assert len(list((tmp_path / "ytvos/JPEGImages/clip").iterdir())) == FRAMES
    (video,) = json.loads((tmp_path / "ytvis/annotations.json").read_text())["videos"]
    assert all((tmp_path / "ytvis/JPEGImages" / name).is_file() for name in video["file_names"])
    for name in ("coco", "ytvis"):
        assert open_masks(tmp_path / name).format == name


def test_an_extra_that_is_missing_is_named(path, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "zarr", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with Project.open(path) as opened:
        for name in ("ome-zarr", "parquet"):
            with pytest.raises(UsageError, match=r"pip install 'sam2track\[export\]'"):
                opened.export(tmp_path / "there", format=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["coco", "davis", "npz", "ome-tiff", "parquet", "sav"])
def test_memory_does_not_grow_with_the_frames(tmp_path, name):
    peaks = []
    for count in (6, 24):
        frames = [{1: np.eye(300, dtype=bool), 2: ~np.eye(300, dtype=bool)}] * count
        made = project(tmp_path / f"{count}.s2t", frames, lineage=False)
        with Project.open(made) as opened:
            opened.export(tmp_path / f"warm{count}", format=name)
            tracemalloc.start()
            opened.export(tmp_path / f"{count}", format=name)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0] + 2**17


def test_staged_replaces_nothing_where_it_fails(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), staged(target, folder=False, overwrite=True) as partial:
        partial.write_text("new")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and target.read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(path, tmp_path):
    tmp_path.chmod(0o500)
    with Project.open(path) as opened, pytest.raises(OutputError, match="Permission"):
        opened.export(tmp_path / "a.csv", format="csv")


def test_the_largest_label_is_one_too():
    assert Tracks({}, 65535).label([65535], 0) == {65535: 65535}
    with pytest.raises(UsageError, match="65536 does not fit ctc"):
        Tracks({}, 65535).label([65536], 0)


def test_tracks_of_a_mother_who_stays():
    tracks = Tracks({5: 4, 6: 4}, 6)
    assert tracks.label([4], 0) == {4: 4}
    assert tracks.label([4, 5], 1) == {4: 4, 5: 5}  # she is still there
    assert tracks.label([5], 2) == {5: 5}
    assert tracks.label([4, 5, 6], 3) == {4: 7, 5: 5, 6: 6}
    assert tracks.unlinked == {5, 6}
    assert [(t.label, t.begin, t.end, t.parent) for t in tracks.lines] == [
        (4, 0, 1, 0),
        (5, 1, 3, 0),
        (7, 3, 3, 4),
        (6, 3, 3, 0),
    ]


def test_ctc_numbers_its_files_alike(tmp_path, monkeypatch):
    sequence = SimpleNamespace(
        span=range(1001),
        results=SimpleNamespace(lineage={}),
        height=1,
        width=1,
        largest=1,
        warnings=[],
        label_type=lambda name: np.uint16,
        lose=lambda name: None,
        shots=lambda: iter([SimpleNamespace(labels=np.zeros((1, 1), np.int32))] * 1001),
    )
    names = []
    monkeypatch.setattr(ctc, "write_tiff", lambda path, labels: names.append(path.name))
    ctc.write(tmp_path, sequence)
    assert (names[0], names[-1]) == ("mask0000.tif", "mask1000.tif")
