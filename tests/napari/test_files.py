"""The manifest, readers, writers and samples, and the command that starts the viewer."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image

from napari_sam2track import files, writers
from napari_sam2track.arrays import MaskArray
from napari_sam2track.axes import Axes, guess_axes
from napari_sam2track.opening import Choice, stored_meta
from sam2track.cli.main import main
from sam2track.errors import OutputError, ProjectError, UsageError
from sam2track.founding import open_project, project_meta
from sam2track.frames.opening import open_source
from sam2track.job import track
from sam2track.models.model import Model
from sam2track.prompts import Prompt
from tests.napari.conftest import FRAMES, HEIGHT, WIDTH, centre, pictures


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_manifest_is_valid_and_all_that_it_names_is_there() -> None:
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(Path(files.__file__).with_name("napari.yaml"))
    manifest.validate_imports()
    assert manifest.contributions.menus["napari/layers/track"]
    assert {reader.filename_patterns[0] for reader in manifest.contributions.readers} >= {"*.s2t"}
    assert len(manifest.contributions.sample_data) == 3


def test_a_video_is_read_frame_by_frame(video: Path) -> None:
    reader = files.get_video_reader(str(video))
    assert reader is not None
    ((data, about, kind),) = reader(str(video))
    assert (data.shape, kind, about["rgb"]) == ((FRAMES, HEIGHT, WIDTH, 3), "image", True)
    with_numpy = np.stack([data.source.read(t) for t in range(FRAMES)])
    assert np.array_equal(np.stack(list(data)), with_numpy)
    assert np.array_equal(data[-FRAMES], with_numpy[0])
    for beyond in (FRAMES, -FRAMES - 1):
        with pytest.raises(IndexError, match=f"frame {beyond}.*{FRAMES}"):
            data[beyond]
    for key in (3, (slice(None), 4), (slice(2, 5), slice(0, 9), slice(3, 7)), (6, ..., 0)):
        assert np.array_equal(data[key], with_numpy[key])


def test_a_project_is_read_with_its_video(video: Path, session) -> None:
    session.tracker.prompt(1, 0, points=[centre(0, 0)])
    session.project.close()
    reader = files.get_project_reader(str(session.path))
    assert reader is not None
    ((data, about, _),) = reader(str(session.path))
    assert data.shape[0] == FRAMES
    assert about["metadata"]["sam2track"]["project"] == str(session.path)
    video.rename(video.with_name("moved.mp4"))
    with pytest.raises(ProjectError, match="not there any more"):
        reader(str(session.path))


@pytest.mark.parametrize("moved", [False, True])
def test_a_video_of_the_same_name_is_not_taken_for_that_of_a_project(
    video: Path, model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """As lies where the viewer was started; also where video and project were moved."""
    monkeypatch.chdir(video.parent)
    said = {
        "version": 1,
        "objects": [{"id": 1, "prompts": [{"frame": 0, "points": [centre(0, 0)]}]}],
    }
    with track(video.name, said, output="out", model=model):
        pass
    folder, other = tmp_path / "there", tmp_path / "other"
    project = video.parent / "out" / "project.s2t"
    if moved:
        folder.mkdir()
        video, project = (place.rename(folder / place.name) for place in (video, project))
    other.mkdir()
    (other / video.name).write_bytes(b"another one")
    monkeypatch.chdir(other)
    reader = files.get_project_reader(str(project))
    assert reader is not None
    ((data, _, _),) = reader(str(project))
    assert data.shape[0] == FRAMES


def test_a_project_of_a_stack_is_read_and_gone_on_with_as_it_was_tracked(
    tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two channels, from a folder that is no longer the one where commands run."""
    (tmp_path / "stacks").mkdir()
    monkeypatch.chdir(tmp_path / "stacks")
    both = pictures().transpose(0, 3, 1, 2)[:, :2].astype(np.uint16) * 9
    tifffile.imwrite("cells.tif", both, imagej=True, metadata={"axes": "TCYX"})
    said = {"objects": [{"id": 1, "prompts": [{"frame": 0, "points": [centre(0, 0)]}]}]}
    out = tmp_path / "out"
    settings = {"channel": 1, "fps": 10.0, "write": ["table"], "direction": "forward"}
    with track("cells.tif", {"version": 1, **said}, output=out, model=model, **settings) as made:
        meta, path = made.meta, made.path
    monkeypatch.chdir(tmp_path)
    reader = files.get_project_reader(str(path))
    assert reader is not None
    ((data, _, _),) = reader(str(path))
    assert data.source.fingerprint() == meta["fingerprint"]
    choice = Choice((data,), guess_axes(data.shape, rgb=True), (None,), path)
    source = choice.source()
    assert source is not data.source and source.fingerprint() == meta["fingerprint"]
    assert np.array_equal(source.read(3), data[3]) and source.times[1] == pytest.approx(0.1)
    session = choice.session(source, choice.load(source, stored_meta(path)))
    assert session.tracker.object_ids == (1,)
    session.close()


@pytest.mark.parametrize(
    ("letters", "settings", "axes"),
    [
        ("TYX", {}, Axes((FRAMES, HEIGHT, WIDTH), False, 0)),
        ("TCYX", {"channel": 1}, Axes((FRAMES, 2, HEIGHT, WIDTH), False, 0, ((1, 1),))),
        (
            "TCYX",
            {"channel": [1, 0], "limits": [(0, 99), (9, 60)]},
            Axes((FRAMES, 2, HEIGHT, WIDTH), False, 0, ((1, None),), (1, (1, 0))),
        ),
        ("TZYX", {"z": "max"}, Axes((FRAMES, 2, HEIGHT, WIDTH), False, 0, ((1, None),))),
    ],
)
def test_a_layer_is_read_as_the_command_line_read_its_file(
    tmp_path: Path, model, letters: str, settings: dict, axes: Axes
) -> None:
    stack = pictures().transpose(0, 3, 1, 2)[:, : 2 if len(letters) > 3 else 1].squeeze()
    path, other = tmp_path / "cells.tif", tmp_path / "other.tif"
    for one in (path, other):
        tifffile.imwrite(one, stack, imagej=True, metadata={"axes": letters})
    source = open_source(path, **settings)
    open_project(tmp_path / "p.s2t", source, model).close()
    meta = project_meta(source, model)
    looked = guess_axes(stack.shape, at=[0] * len(letters))
    choice = Choice((stack,), looked, ((0.0, 255.0),), tmp_path / "p.s2t", file=path)
    again = choice.as_before(meta)
    assert again.axes == axes
    assert again.limits == ((0.0, 99.0) if "limits" in settings else None,)
    assert again.source().fingerprint() == meta["fingerprint"]
    # Else masks would lie on other pictures: another file, no file, data of another shape.
    for lies in (other, tmp_path / "gone.tif", None):
        assert replace(choice, file=lies).as_before(meta) == replace(choice, file=lies)
    few = replace(choice, arrays=(stack[1:],), axes=guess_axes(stack[1:].shape))
    assert few.as_before(meta) == few


def test_a_project_learns_where_its_video_is_now(video: Path, session, model) -> None:
    session.tracker.prompt(1, 0, points=[centre(0, 0)])
    session.project.close()
    (video.parent / "other").mkdir()
    moved = video.rename(video.parent / "other" / "moved.mp4")
    reader = files.get_project_reader(str(session.path))
    assert reader is not None
    with pytest.raises(ProjectError, match="not there any more"):
        reader(str(session.path))
    with open_project(session.path, open_source(moved), model):
        pass
    ((data, _, _),) = reader(str(session.path))
    assert data.source.name == str(moved)


def test_masks_are_written_for_the_cell_tracking_challenge(tmp_path: Path) -> None:
    labels = np.zeros((4, 20, 30), np.int32)
    labels[:2, 4:9, 5:12] = 1
    labels[2:, 4:9, 5:8] = 2
    labels[2:, 4:9, 9:12] = 3
    tracks = (np.zeros((1, 4)), {"graph": {2: [1], 3: [1]}}, "tracks")
    given = str(tmp_path / "01_RES.ctc")
    (path,) = writers.write_ctc(given, [(labels, {}, "labels"), tracks])
    assert path == str(tmp_path / "01_RES")
    lines = (tmp_path / "01_RES" / "res_track.txt").read_text().splitlines()
    assert lines == ["1 0 1 0", "2 2 3 1", "3 2 3 1"]
    read = tifffile.imread(tmp_path / "01_RES" / "mask003.tif")
    assert np.array_equal(read, labels[3])
    with pytest.raises(OutputError, match="holds something already"):
        writers.write_ctc(given, [(labels, {}, "labels")])
    with pytest.raises(OutputError, match="no masks"):
        writers.write_ctc(str(tmp_path / "none.ctc"), [(labels * 0, {}, "labels")])
    assert not (tmp_path / "none").exists()


def test_masks_on_a_plane_are_written(tmp_path: Path) -> None:
    axes = Axes((3, 5, 20, 30), False, 0, ((1, 2),))
    masks = MaskArray(axes, lambda t: np.full((20, 30), t, np.int32))
    (path,) = writers.write_ctc(str(tmp_path / "a.ctc"), [(masks, {}, "labels")])
    assert tifffile.imread(Path(path) / "mask002.tif").max() == 2


@pytest.mark.parametrize("name", ["masks.mkv", "MASKS.MKV", "masks.mp4"])
def test_masks_are_written_as_a_video(tmp_path: Path, name: str) -> None:
    labels = np.zeros((3, 20, 30), np.int32)
    labels[:, 4:9, 5:12] = 200
    (path,) = writers.write_mask_video(str(tmp_path / name), labels, {})
    source = open_source(path)
    assert (len(source), source.height, source.width) == (3, 20, 30)
    if name.lower().endswith(".mkv"):
        assert np.array_equal(source.read(1)[..., 0], labels[1])
    with pytest.raises(OutputError, match="T, Y, X"):
        writers.write_mask_video(str(tmp_path / name), labels[0], {})


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("m.mkv", np.full((2, 8, 8), 70_000), "70000"),
        ("m.mkv", np.ones((8, 8), np.int32), "not of 2 axes"),
        ("01_RES.ctc", np.zeros((2, 8, 8), np.int32), "no masks"),
    ],
)
def test_napari_tells_why_masks_cannot_be_written(
    name: str, data: np.ndarray, why: str, tmp_path: Path
) -> None:
    """It passes over a writer that raises a ValueError, and says that there is none."""
    with pytest.raises(OutputError, match=why) as failed:
        if name.endswith("ctc"):
            writers.write_ctc(str(tmp_path / name), [(data, {}, "labels")])
        else:
            writers.write_mask_video(str(tmp_path / name), data, {})
    assert not isinstance(failed.value, ValueError)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_pictures_is_read_frame_by_frame(tmp_path: Path, model) -> None:
    folder = tmp_path / "day.1"
    folder.mkdir()
    clip = pictures()
    for frame, picture in enumerate(clip):
        Image.fromarray(picture).save(folder / f"{frame:05}.png")
    (folder / "notes").mkdir()
    _, about, _ = files.source_layer(folder / "notes" / "..")  # as from within
    assert about["name"] == "day.1"
    assert about["metadata"]["sam2track"]["project"] == str(tmp_path / "day.1.s2t")
    data, about, kind = files.source_layer(folder)
    assert kind == "image" and about["rgb"] and np.array_equal(data[3], clip[3])
    project = tmp_path / "day.1.s2t"
    assert about["metadata"]["sam2track"]["project"] == str(project)
    with open_project(project, data.source, model) as made:
        made.add_prompt(1, 0, Prompt(points=(centre(0, 0),), labels=(1,)))
    reader = files.get_project_reader(str(project))
    assert reader is not None
    ((again, _, _),) = reader(str(project))
    assert np.array_equal(again[5], clip[5])


def test_a_stack_is_opened_as_it_is_asked_for(tmp_path: Path) -> None:
    array = np.arange(5 * 3 * 24 * 32, dtype=np.uint16).reshape(5, 3, 24, 32)
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, array, metadata={"axes": "TZYX"}, ome=True)
    data, about, _ = files.source_layer(path, z=1, limits=(0, 12_000))
    assert data.shape == (5, 24, 32, 3) and about["name"] == "cells.ome"
    assert np.array_equal(
        data[4], np.repeat((array[4, 1, :, :, None] / 12_000 * 255), 3, -1).round()
    )
    assert about["metadata"]["sam2track"]["project"] == str(tmp_path / "cells.ome.s2t")
    assert np.array_equal(data.opened_again().read(4), data[4])


def test_each_image_of_a_stack_has_a_project_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "plate.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for number in range(3):
            told = {"axes": "YX", "Name": f"A/{number}"}
            file.write(np.full((24, 32), number, np.uint8), metadata=told)
    found = {}
    for key in (None, "1", "A/2"):
        data, about, _ = files.source_layer(path, key=key)
        found[about["name"]] = Path(about["metadata"]["sam2track"]["project"]).name, data[0].max()
    assert found == {
        "plate": ("plate.s2t", 0),
        "plate-A-1": ("plate-A-1.s2t", 1),
        "plate-A-2": ("plate-A-2.s2t", 2),
    }
    data, about, _ = files.source_layer(path, key="1", crop=(2, 3, 20, 20))
    assert data.shape[1:3] == (17, 18)
    assert Path(about["metadata"]["sam2track"]["project"]).name == "plate-A-1-2-3-20-20.s2t"


def test_a_stack_that_is_opened_otherwise_than_before(tmp_path: Path, model: Model) -> None:
    path, place = tmp_path / "cells.tif", tmp_path / "cells.s2t"
    tifffile.imwrite(path, np.zeros((5, 24, 32), np.uint16), metadata={"axes": "TYX"}, ome=True)
    data, _, _ = files.source_layer(path, limits=(0, 900))
    with open_project(place, data.source, model) as made:
        made.add_prompt(1, 0, Prompt(points=((10, 10),), labels=(1,)))
    data, _, _ = files.source_layer(path)
    choice = Choice((data,), guess_axes(data.shape, rgb=True), (None,), place, "nano")
    told = "here, open cells.s2t itself, which is read as it was made, or another project under"
    with pytest.raises(UsageError, match=told):
        choice.load(choice.source(), stored_meta(place))


def test_images_with_names_of_other_signs_alone_have_projects_of_their_own(
    tmp_path: Path, model: Model
) -> None:
    path = tmp_path / "plate.tif"
    names = ("none", "+drug", "-drug", "drug")
    with tifffile.TiffWriter(path, ome=True) as file:
        for name in names:
            file.write(np.zeros((24, 32), np.uint8), metadata={"axes": "YX", "Name": name})
    prompt = Prompt(points=((10, 10),), labels=(1,))
    for again in (False, True):
        found = []
        for name in names:
            data, about, _ = files.source_layer(path, key=name)
            found.append(Path(about["metadata"]["sam2track"]["project"]))
            with open_project(found[-1], data.source, model) as made:
                assert bool(made.prompts) == again
                made.add_prompt(1, 0, prompt)
        told = [place.stem for place in found]
        assert told == ["plate", "plate--drug", "plate--drug-2", "plate-drug"]
    (tmp_path / "plate--drug.s2t").write_bytes(b"nothing")  # which is said, and nothing else begun
    _, about, _ = files.source_layer(path, key="+drug")
    assert about["metadata"]["sam2track"]["project"] == str(tmp_path / "plate--drug.s2t")


def test_the_command_says_that_a_file_holds_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plate.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for name in "AB":
            file.write(np.zeros((24, 32), np.uint8), metadata={"axes": "YX", "Name": name})
    monkeypatch.setattr("napari_sam2track.launch.launch", lambda *_, **__: None)
    monkeypatch.setattr("sam2track.display.display", lambda: ":0")
    done = CliRunner().invoke(main, ["open", str(path)])
    told = "warning: it holds 2 series of pictures (A, B); the first is taken; key (--key) chooses"
    assert done.exit_code == 0 and done.stderr.splitlines() == [told]
    done = CliRunner().invoke(main, ["open", str(path), "--key", "B"])
    assert done.exit_code == 0 and done.stderr == ""


def test_samples_open() -> None:
    ((data, about, _),) = files.sample_shapes()
    project = Path(about["metadata"]["sam2track"]["project"])
    assert data.shape[0] > 10 and project.suffix == ".s2t"
    # In a folder that all users of a machine share, the second may not write.
    assert project.is_relative_to(platformdirs.user_cache_dir("sam2track", appauthor=False))


def test_the_command_refuses_what_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["open", str(tmp_path / "none.mp4")])
    assert done.exit_code == 2 and "no file" in done.output
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(main, ["open", str(tmp_path / "empty")])
    assert done.exit_code == 1 and "no pictures" in done.output, done.output
    (tmp_path / "bad.s2t").write_bytes(b"nothing")
    done = CliRunner().invoke(main, ["open", str(tmp_path / "bad.s2t")])
    assert done.exit_code == 1 and "Traceback" not in done.output
    done = CliRunner().invoke(main, ["open", str(tmp_path / "bad.s2t"), "--z", "1", "--key", "a"])
    assert done.exit_code == 2 and "--z, --key say how to read a project, which says" in done.output
    (tmp_path / "imported").write_bytes(b"SQLite format 3\0")
    done = CliRunner().invoke(main, ["open", str(tmp_path / "imported")])
    assert done.exit_code == 2 and "rename it to imported.s2t" in done.output, done.output
    done = CliRunner().invoke(main, ["open", "--z", "max"])
    assert done.exit_code == 2 and "--z say how to read nothing; leave it out" in done.output
    stack = tmp_path / "a.tif"
    tifffile.imwrite(
        stack, np.zeros((4, 3, 24, 32), np.uint8), imagej=True, metadata={"axes": "TZYX"}
    )
    done = CliRunner().invoke(main, ["open", str(stack)])
    assert done.exit_code == 2 and "choose one of Z (--z N)" in done.output
    done = CliRunner().invoke(main, ["open", str(stack), "--z", "7"])
    assert done.exit_code == 2 and "z 7" in done.output


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is a display")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("QT_QPA_PLATFORM", "", "there is no display"),
        ("QT_QPA_PLATFORM", "xcb", "there is no display"),
        ("DISPLAY", ":54321", "the display :54321 does not answer"),
    ],
)
def test_the_command_says_that_there_is_no_display(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = Path(__file__).parents[2] / "sample_videos/shapes/video.mp4"
    for other in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        "napari_sam2track.launch.launch", lambda *_, **__: pytest.fail("Qt would abort")
    )
    done = CliRunner().invoke(main, ["open", str(video)])
    assert done.exit_code == 1 and done.stderr.startswith(f"sam2track: {said}")
    assert len(done.stderr.splitlines()) == 1
