"""Files from strangers: what they name is not followed, what they claim is not believed.

What libraries and our own readers do with bytes of any kind is in ``tests/fuzz``.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import socket
import sqlite3
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from PIL import Image

from sam2track.batch.manifest import read_manifest
from sam2track.cli.main import main
from sam2track.cli.prompting import _names
from sam2track.detections.files import load_detections
from sam2track.errors import (
    ModelError,
    OutputError,
    ProjectError,
    PromptError,
    Sam2TrackError,
    SourceError,
)
from sam2track.export.reading import open_masks
from sam2track.export.spool import items
from sam2track.films import _picture
from sam2track.frames.folder import ImageFolder
from sam2track.frames.opening import open_source
from sam2track.frames.still import read_picture
from sam2track.frames.video import VideoFile
from sam2track.locks import WriterLock
from sam2track.models.loading import stored_model
from sam2track.pictures import read_mask
from sam2track.project import Project
from sam2track.prompt_files import load_prompts
from tests import kills
from tests.made import disk, write_folder, write_project
from tests.test_project import fill, read_all


@contextmanager
def little_memory(limit: int = 400 << 20) -> Iterator[None]:
    """Fail where much more memory is taken meanwhile than there was before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < limit
    assert time.monotonic() - began < 60


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "video.mp4"
    kills.clip(path)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "p.s2t", {1: {t: disk(20 + t, 20, 6) for t in range(3)}})


def said(*arguments: object) -> Any:
    return CliRunner().invoke(main, list(map(str, arguments)), prog_name="sam2track")


# -- names in files ---------------------------------------------------------------------

LISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "a.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile {}\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "a.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><AdaptationSet><Representation><BaseURL>{}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("name", LISTS)
def test_playlists_are_not_followed(name: str, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(clip.read_bytes())
    path = tmp_path / name
    path.write_text(LISTS[name].format("secret.mp4"))
    with pytest.raises(SourceError, match="playlist"):
        VideoFile(path)
    done = said("track", path, "-o", tmp_path / "out", "--point", "1:3,3")
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert not (tmp_path / "out").exists()


def test_patterns_in_names_are_not_followed(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures", 3)
    with pytest.raises(SourceError, match="does not exist"):
        VideoFile(tmp_path / "pictures" / "%04d.png")


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    pipe, device = tmp_path / "p.s2t.lock", tmp_path / "zero"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    readers = (
        lambda path: load_prompts(path, read_mask=read_mask),
        read_mask,
        load_detections,
        read_picture,
        read_manifest,
        lambda path: _picture(path, 9, 9),
        lambda path: _names(str(path)),
    )
    for read in readers:
        for path in (pipe, device):
            with pytest.raises(Sam2TrackError, match="it is no regular file; save it to one"):
                read(path)


def test_links_in_a_circle_are_links_as_others_are(project: Path) -> None:
    loop, target = project.with_name("loop"), project.with_name("target")
    loop.symlink_to(loop)
    with Project.open(project, writable=True) as opened:
        opened.set_meta(source=str(loop))
    done = said("image", loop, "-o", project.with_name("images"), "--point", "1:3,3")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1) and "symbolic links" in done.stderr
    for arguments in (
        ("export", project, "-f", "coco"),
        ("measure", project),
        ("count", project, "--line", "0,0,9,9"),
    ):
        target.symlink_to(target)
        assert said(*arguments, "-o", target).exit_code == 0
        assert target.is_file() and not target.is_symlink()
        target.unlink()


def test_a_project_that_names_no_source(project: Path) -> None:
    with closing(sqlite3.connect(project)) as db:
        db.execute("DELETE FROM meta WHERE key = 'source'")
        db.commit()
    done = said("measure", project, "-o", project.with_name("a.csv"))
    assert done.exit_code == 0 and "does not say of which pictures it is" in done.stderr
    done = said("replay", project, "-o", project.with_name("out"))
    assert done.exit_code == 1 and done.stderr.count("\n") == 1


def test_a_lock_leads_nowhere_and_waits_for_nothing(tmp_path: Path) -> None:
    project, lock = tmp_path / "p.s2t", tmp_path / "p.s2t.lock"
    for plant in (
        lambda: os.mkfifo(lock),
        lock.mkdir,
        lambda: lock.symlink_to("/dev/zero"),
        lambda: lock.symlink_to(tmp_path / "elsewhere"),
    ):
        plant()
        with pytest.raises(OutputError, match=r"p\.s2t\.lock is no regular file, .*; remove it"):
            WriterLock(project)
        lock.rmdir() if lock.is_dir() else lock.unlink()
    assert not [*tmp_path.iterdir()]


def test_a_project_is_not_written_through_a_link(tmp_path: Path) -> None:
    """Whoever writes to what it leads to holds another lock, and there would be two at once."""
    path = write_project(tmp_path / "p.s2t", {1: {0: disk(9, 9, 4)}})
    link = tmp_path / "link.s2t"
    link.symlink_to(path)
    with Project.open(link) as project:  # reading is free
        assert project.frames == (0,)
    with pytest.raises(OutputError, match=r"link\.s2t is a link, .*; name what it leads to"):
        Project.open(link, writable=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.s2t", "p.s2t"]


def test_a_journal_beside_a_project_removes_no_file_and_is_not_waited_for(project: Path) -> None:
    """SQLite removes the super-journal that a journal names at its end, whatever that is."""
    journal, other = project.with_name(project.name + "-journal"), project.with_name("thesis.txt")
    other.write_text("years of work")
    name = str(other).encode()
    magic = bytes.fromhex("d9d505f920a163d7")
    size = 4096
    pages = project.stat().st_size // size
    head = struct.pack(">5I", 0xFFFFFFFF, 0, pages, 512, size).ljust(504, b"\0")
    end = struct.pack(">2I", len(name), sum(name))
    journal.write_bytes(magic + head + bytes(4) + name + end + magic)
    for writable in (False, True):
        with pytest.raises(ProjectError, match="names another file"):
            Project.open(project, writable=writable)
    assert other.read_text() == "years of work"
    journal.unlink()


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_what_lies_beside_a_project_is_a_file(project: Path, end: str, tmp_path: Path) -> None:
    """SQLite would wait for a pipe, and follow a link."""
    beside, other = project.with_name(project.name + end), tmp_path / "other"
    other.write_text("years of work")
    for make in (os.mkfifo, Path.mkdir, lambda path: path.symlink_to(other)):
        make(beside)
        for writable in (False, True):
            with pytest.raises(ProjectError, match=f"{end} is no part of a project"):
                Project.open(project, writable=writable)
        beside.rmdir() if beside.is_dir() else beside.unlink()
    assert other.read_text() == "years of work"
    Project.open(project).close()


def test_a_log_of_another_project_changes_nothing(project: Path, tmp_path: Path) -> None:
    """SQLite takes its pages in place of the project's own: a restored copy was lost so."""
    log, before = project.with_name(project.name + "-wal"), project.read_bytes()
    meta = {"height": 4, "width": 4, "frames": 1}
    with Project.create(tmp_path / "other.s2t", meta=meta, times=np.zeros(1)) as other:
        other.set_meta(source="other.mp4")
        log.write_bytes((tmp_path / "other.s2t-wal").read_bytes())
    for writable in (False, True):
        with pytest.raises(ProjectError, match="belongs to another project"):
            Project.open(project, writable=writable)
    assert project.read_bytes() == before and log.stat().st_size
    log.unlink()
    Project.open(project).close()


def test_masks_lie_in_the_folder_of_their_prompts(tmp_path: Path) -> None:
    inside = tmp_path / "a"
    (inside / "b").mkdir(parents=True)
    for place in (tmp_path, inside, inside / "b"):
        Image.fromarray(disk(9, 9, 4).astype(np.uint8)).save(place / "m.png")
    (inside / "link.png").symlink_to(tmp_path / "m.png")
    (inside / "good.png").symlink_to(inside / "m.png")
    (inside / "out").symlink_to(tmp_path)

    def said_of(mask: str) -> dict[str, Any]:
        objects = [{"id": 1, "prompts": [{"frame": 0, "mask": mask}]}]
        return {"version": 1, "objects": objects}

    path = inside / "p.json"
    for mask in ("", "\0", "\ud800.png"):
        path.write_text(json.dumps(said_of(mask)))
        for given in (path, said_of(mask)):
            with pytest.raises(PromptError, match="which names no file"):
                load_prompts(given, read_mask=read_mask)
    for mask in ("../m.png", str(tmp_path / "m.png"), "link.png", "out/m.png", "b/../../m.png"):
        path.write_text(json.dumps(said_of(mask)))
        with pytest.raises(PromptError, match="leads out of the folder of the prompts"):
            load_prompts(path, read_mask=read_mask)
    for mask in ("", "m\0.png"):
        path.write_text(json.dumps(said_of(mask)))
        with pytest.raises(PromptError, match=r"prompts\[0\].mask is .*, which names no file"):
            load_prompts(path, read_mask=read_mask)
    for mask in ("m.png", "b/m.png", "b/../m.png", "good.png", str(inside / "m.png")):
        path.write_text(json.dumps(said_of(mask)))
        assert len(load_prompts(path, read_mask=read_mask)) == 1
    # A dict is the caller's own.
    assert len(load_prompts(said_of(str(tmp_path / "m.png")), read_mask=read_mask)) == 1


@pytest.mark.parametrize("model", ["evil/repository", "/etc/passwd", "./x.pt", "x.pt", "", None, 7])
def test_a_project_names_no_files_and_no_repositories_as_its_model(
    model: Any, tmp_path: Path, no_network: None
) -> None:
    with pytest.raises(ModelError, match="no model known by name"):
        stored_model(model)
    path = write_project(tmp_path / "p.s2t", {1: {0: disk(9, 9, 4)}}, image_size=64)
    with Project.open(path, writable=True) as opened:
        opened.set_meta(model=model)
    folder = write_folder(tmp_path / "pictures", 1)
    done = said("replay", path, "-o", tmp_path / "out", "--source", folder)
    assert done.exit_code == 1 and "no model known by name" in done.output


def test_a_model_that_is_not_here_is_not_fetched_because_a_project_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_network: None
) -> None:
    monkeypatch.setenv("SAM2TRACK_MODELS", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"models download sam2\.1-large"):
        stored_model("sam2.1-large")
    assert stored_model("nano") == "nano"


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal", ".lock", ""])
@pytest.mark.parametrize("command", ["export", "measure", "report"])
def test_nothing_is_written_in_place_of_a_part_of_a_project(
    project: Path, ending: str, command: str
) -> None:
    target = Path(f"{project}{ending}")
    options = {"export": ("-f", "csv", "--overwrite"), "measure": (), "report": ()}[command]
    before = project.read_bytes()
    done = said(command, project, "-o", target, *options)
    assert done.exit_code == 2, done.output
    assert project.read_bytes() == before
    assert [p.name for p in project.parent.iterdir()] == [project.name]


def test_links_in_an_output_folder_are_not_followed(clip: Path, tmp_path: Path) -> None:
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    out.mkdir()
    (mine / "notes").write_text("mine")
    for name in ("masks.mp4", "overlay.mp4", "tracks.csv"):
        (out / name).symlink_to(mine / "notes")
        (out / f".{name}.partial").symlink_to(mine / "notes")
    (out / ".project.s2t.partial").symlink_to(mine / "notes")
    (out / "project.s2t-wal").symlink_to(mine / "notes")
    (out / "masks").symlink_to(mine)
    model, box = kills.model(), {"id": 1, "prompts": [{"frame": 0, "box": [3, 5, 23, 25]}]}
    from sam2track.job import run

    what: dict[str, Any] = {"output": out, "model": model, "stop": 2, "overwrite": True}
    with pytest.raises(Sam2TrackError, match="is a link"):
        run(clip, {"version": 1, "objects": [box]}, **what)
    (out / "masks").unlink()
    run(clip, {"version": 1, "objects": [box]}, **what)
    assert (mine / "notes").read_text() == "mine"
    assert [p.name for p in mine.iterdir()] == ["notes"]
    assert not any(p.is_symlink() for p in out.iterdir())


@pytest.mark.parametrize("source", ["..", "/", "a/..", "a\nb", "\\\\server\\share", "x" * 400])
def test_a_source_names_no_other_folder_in_an_export(source: str, tmp_path: Path) -> None:
    path = write_project(tmp_path / "p.s2t", {1: {0: disk(9, 9, 4)}})
    with Project.open(path, writable=True) as opened:
        opened.set_meta(source=source)
        opened.export(tmp_path / "out", format="ytvos")
    (inside,) = (tmp_path / "out" / "Annotations").iterdir()
    assert [p.name for p in inside.iterdir()] == ["00000.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "p.s2t"]


def test_zarr_leads_nowhere_else(tmp_path: Path) -> None:
    secret = zarr.create_array(
        str(tmp_path / "secret"), shape=(2, 20, 20), dtype="uint8", chunks=(1, 20, 20)
    )
    secret[:] = 7
    path = tmp_path / "a.zarr"
    group = zarr.open_group(str(path), mode="w")
    for name in ("../secret", "/etc", str(tmp_path / "secret"), "..\\secret"):
        group.attrs["ome"] = {
            "multiscales": [{"axes": [], "datasets": [{"path": name}], "version": "0.5"}]
        }
        with pytest.raises(Sam2TrackError):
            open_source(path)


# -- code -------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path(Bomb.mark),)

    mark = ""


def test_zarr_runs_no_code(tmp_path: Path) -> None:
    Bomb.mark = str(tmp_path / "mark")
    data = pickle.dumps(Bomb())
    for number, change in enumerate(
        (
            {"compressor": {"id": "pickle"}},
            {"filters": [{"id": "pickle"}]},
            {"filters": [{"id": "pickle"}, {"id": "zlib"}]},
        )
    ):
        path = tmp_path / f"{number}.zarr"
        made = zarr.create_array(
            str(path), shape=(2, 32, 32), dtype="uint8", chunks=(1, 32, 32), zarr_format=2,
            compressors=None,
        )  # fmt: skip
        made[:] = 1
        told = json.loads((path / ".zarray").read_text()) | change
        (path / ".zarray").write_text(json.dumps(told))
        for chunk in path.glob("0*"):
            chunk.write_bytes(zlib.compress(data) if "zlib" in str(change) else data)
        with pytest.raises(SourceError):
            open_source(path).read(0)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("which", ["0.0.0", ".zarray"])
def test_pipes_and_devices_inside_a_zarr_are_not_waited_for(tmp_path: Path, which: str) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
        zarr.create_array(
            str(path), shape=(2, 32, 32), dtype="uint8", chunks=(1, 32, 32), zarr_format=2
        )[:] = 1
        (path / which).unlink()
        make(path / which)
        with pytest.raises(SourceError, match="it is no regular file"):
            open_source(path).read(0)


@pytest.mark.parametrize("form", [2, 3])
def test_chunks_of_zarr_that_inflate_to_gigabytes(tmp_path: Path, form: int) -> None:
    path = tmp_path / "bomb.zarr"
    codec = numcodecs.Zlib(9) if form == 2 else zarr.codecs.GzipCodec(level=9)
    zarr.create_array(
        str(path), shape=(2, 32, 32), dtype="uint8", chunks=(1, 32, 32), zarr_format=form,
        compressors=codec,
    )[:] = 1  # fmt: skip
    assert open_source(path).read(0).max() == 1
    chunk = path / ("0.0.0" if form == 2 else "c/0/0/0")
    chunk.write_bytes(zlib.compress(bytes(200_000_000), wbits=15 if form == 2 else 31))
    with pytest.raises(SourceError, match="larger than what it may hold"):
        open_source(path).read(0)


def test_numpy_files_run_no_code(tmp_path: Path) -> None:
    Bomb.mark = str(tmp_path / "mark")
    np.save(tmp_path / "a.npy", np.array([Bomb()], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([Bomb()], object))
    for path in tmp_path.glob("a.np*"):
        with pytest.raises(Sam2TrackError):
            open_source(path)
    assert not (tmp_path / "mark").exists()


# -- sizes that are claimed -------------------------------------------------------------


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that claims a size, of whatever pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


def test_pictures_that_claim_too_much(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(60_000, 60_000, bytes(1000)))
    head = b"BM" + struct.pack("<IHHI", 60, 0, 0, 54)
    bitmap = head + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "b.bmp").write_bytes(bitmap + bytes(6))
    jpeg = b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65_000, 65_000) + b"\x03" * 10
    (tmp_path / "c.jpg").write_bytes(jpeg + b"\xff\xda\xff\xd9")
    tifffile.imwrite(tmp_path / "d.tif", np.zeros((8, 8), np.uint8))
    data = bytearray((tmp_path / "d.tif").read_bytes())
    for tag in (256, 257):
        at = data.index(struct.pack("<HHI", tag, 4, 1))
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 60_000)
    (tmp_path / "d.tif").write_bytes(data)
    with little_memory():
        for path in sorted(tmp_path.iterdir()):
            folder = tmp_path / path.stem
            folder.mkdir()
            path.rename(folder / path.name)
            for read in (read_picture, lambda p: ImageFolder(p.parent).read(0)):
                with pytest.raises(Sam2TrackError, match=r"claims \d+ x \d+ pixels|a stack"):
                    read(folder / path.name)
            with pytest.raises(PromptError, match=r"claims more than|cannot be read"):
                read_mask(folder / path.name)
        with pytest.raises(PromptError, match="claims more than 178 million pixels"):
            read_mask(tmp_path / "a" / "a.png")


@pytest.mark.parametrize("format", ["coco", "ytvis", "sav"])
def test_json_of_lists_within_lists(tmp_path: Path, format: str) -> None:
    """For each ijson holds where it lies: what it takes grows with the square of their number."""
    (tmp_path / "a.json").write_text('{"]": "\\"]", "annotations": ' + "[" * 20_000)
    with little_memory(), pytest.raises(SourceError, match="lists lie in more than 64 others"):
        open_masks(tmp_path / "a.json", format)


@pytest.mark.parametrize("format", ["coco", "ytvis"])
def test_json_that_claims_large_pictures(tmp_path: Path, format: str) -> None:
    """Of run lengths each says its size; polygons were drawn on whatever the file claims."""
    about = {"id": 1, "height": 100_000, "width": 100_000, "file_names": ["a"]}
    polygon = [[1, 1, 5, 1, 5, 5]]
    mask = {"id": 1, "image_id": 1, "category_id": 1}
    mask |= {"segmentation": polygon, "segmentations": [polygon]}
    content = {"images": [about], "videos": [about], "annotations": [mask]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with little_memory(), pytest.raises(SourceError, match="claims 100000 x 100000 pixels"):
        ((_, masks),) = open_masks(tmp_path / "a.json", format).shots()
        masks[1]


def test_brackets_in_names_are_no_lists(tmp_path: Path) -> None:
    names = ["[" * 200_000, "{" * 99 + '"\\']
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"names": names}))
    assert list(items(path, "names.item")) == names


def test_tiff_that_claims_very_many_pages(tmp_path: Path) -> None:
    many = 2**31
    tifffile.imwrite(
        tmp_path / "ome.tif", np.zeros((2, 16, 16), np.uint8), ome=True, metadata={"axes": "TYX"}
    )
    data = (tmp_path / "ome.tif").read_bytes()
    was = b'SizeT="2"'
    assert was in data
    # The description is as long as before: blanks take the place of other attributes.
    start, end = data.index(b"<?xml"), data.index(b"</OME>") + 6
    text = data[start:end].replace(was, f'SizeT="{many}"'.encode())
    (tmp_path / "ome.tif").write_bytes(data + text + b"\0")
    whole = bytearray((tmp_path / "ome.tif").read_bytes())
    at = whole.index(struct.pack("<HH", 270, 2))
    whole[at : at + 12] = struct.pack("<HHII", 270, 2, len(text) + 1, len(data))
    (tmp_path / "ome.tif").write_bytes(whole)
    tifffile.imwrite(tmp_path / "ij.tif", np.zeros((2, 16, 16), np.uint8), imagej=True)
    data = (tmp_path / "ij.tif").read_bytes()
    text = b"ImageJ=1.11a\nimages=2147483648\nframes=2147483648\n\0"
    whole = bytearray(data + text)
    at = whole.index(
        struct.pack("<HH", 270, 2) if data[:2] == b"II" else struct.pack(">HH", 270, 2)
    )
    order = "<" if data[:2] == b"II" else ">"
    whole[at : at + 12] = struct.pack(f"{order}HHII", 270, 2, len(text), len(data))
    (tmp_path / "ij.tif").write_bytes(whole)
    with pytest.raises(SourceError, match="claims 2147483648 planes"):
        open_source(tmp_path / "ome.tif")
    with little_memory():
        for path in tmp_path.iterdir():
            try:
                source = open_source(path)
            except Sam2TrackError:
                continue
            assert len(source) < 10, path  # tifffile did not believe it


@pytest.mark.parametrize("form", ["<H", ">H", "<Q"])
def test_tiff_whose_pages_go_in_a_circle(tmp_path: Path, form: str) -> None:
    """tifffile goes around without end, and asks for ever more memory."""
    path, big = tmp_path / "a.tif", form == "<Q"
    pages = np.random.default_rng(0).integers(0, 255, (9, 16, 16)).astype(np.uint8)
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=form[0]) as file:
        for page in pages:
            file.write(page, metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        starts = [page.offset for page in file.pages]
    (tags,) = struct.unpack_from(form, data, starts[-1])
    after = starts[-1] + (8 + 20 * tags if big else 2 + 12 * tags)
    for back in (starts[-1], starts[4], starts[0]):
        struct.pack_into("<Q" if big else form[0] + "I", data, after, back)
        path.write_bytes(data)
        with little_memory(), pytest.raises(SourceError, match="behind page 8 it goes back"):
            open_source(path)


def test_tiff_of_very_many_pages_that_are_not_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tifffile compares each with all before it."""
    from sam2track.frames import pages

    monkeypatch.setattr(pages, "_MOST_UNLIKE", 20)
    for alike in (True, False):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            for number in range(30):
                side = 16 if alike or number % 2 else 32
                file.write(np.zeros((side, side), np.uint8), metadata=None)
        if alike:
            source = open_source(tmp_path / "a.tif")
            assert len(source) == 30
            source.close()
        else:
            with pytest.raises(SourceError, match="30 pages that are not alike"):
                open_source(tmp_path / "a.tif")


def test_ome_tiff_names_no_files_elsewhere(tmp_path: Path) -> None:
    from sam2track.frames.tiff import _check_ome

    for name in ("../b.tif", "/etc/passwd", "c:\\\\b.tif", "a/b.tif", "..\\\\b.tif"):
        with pytest.raises(SourceError, match="does not lie in its folder"):
            _check_ome(tmp_path, f'<OME><UUID FileName="{name}">urn:uuid:1</UUID></OME>')
    _check_ome(tmp_path, '<OME><UUID FileName="b.ome.tif">urn:uuid:1</UUID></OME>')


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (16_000, 12_000)])
def test_a_video_that_claims_a_large_picture(tmp_path: Path, width: int, height: int) -> None:
    import av

    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr24"
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = data.index(b"strf") + 8
    assert struct.unpack_from("<Iii", data, at)[0:2] == (40, 64)
    struct.pack_into("<ii", data, at + 4, width, height)
    path.write_bytes(data)
    refusal = f"claims {width} x {height} pixels|none of its 2 frames"
    with little_memory(), pytest.raises(SourceError, match=refusal):
        VideoFile(path)


def test_arrays_that_claim_too_much(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        head = b"\x93NUMPY\x01\x00v\x00"
        text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (400000, 100, 100), }"
        with archive.open("a.npy", "w", force_zip64=True) as file:
            file.write(head + text.ljust(117) + b"\n")
            for _ in range(20):
                file.write(bytes(1 << 20))
    with little_memory(), pytest.raises(SourceError):
        open_source(tmp_path / "a.npz").read(0)
    made = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(2**31, 20, 20), dtype="uint8", chunks=(1, 20, 20)
    )
    made[0] = 1
    zarr.create_array(
        str(tmp_path / "b.zarr"), shape=(9000, 1000, 1000), dtype="uint8", chunks=(9000, 1000, 1000)
    )
    with little_memory():
        with pytest.raises(SourceError, match="claims 2147483648 frames"):
            open_source(tmp_path / "a.zarr")
        with pytest.raises(SourceError, match="chunks of 9,000,000,000 bytes"):
            open_source(tmp_path / "b.zarr")


# -- projects ---------------------------------------------------------------------------


def changed(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement, values)
        db.commit()


def test_blobs_that_inflate_to_gigabytes(tmp_path: Path) -> None:
    bomb = zlib.compressobj(9)
    data = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(1500)) + bomb.flush()
    assert len(data) < 2 << 20
    header = struct.pack("<BBII", 1, 1, 40, 60)
    for number, (column, blob) in enumerate(
        (("mask", header + data), ("codes", data), ("pointer", data))
    ):
        path = fill(tmp_path / f"{number}.s2t")
        changed(path, f"UPDATE all_results SET {column} = ?", values=(blob,))
        with little_memory(), pytest.raises(Sam2TrackError), Project.open(path) as opened:
            read_all(opened)
            raise ProjectError("read as it is") from None
    path = fill(tmp_path / "said.s2t")
    changed(path, "UPDATE all_prompts SET mask = ?", values=(header + data,))
    with little_memory(), pytest.raises(ProjectError), Project.open(path) as opened:
        list(opened.prompts)


def test_what_a_project_holds_is_told_without_its_masks(tmp_path: Path) -> None:
    path = fill(tmp_path / "large.s2t")
    with Project.open(path) as opened:
        told = opened.summary()
    # By a process of its own, whose memory does not count here.
    large = "UPDATE all_results SET mask = zeroblob(100000000) WHERE frame = 4"
    program = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute(sys.argv[2]); "
    subprocess.run([sys.executable, "-c", program + "d.commit()", path, large], check=True)
    with little_memory(50 << 20), Project.open(path) as opened:
        assert opened.summary() == told
        assert opened.info()["bytes_per_result"]["mask"] > 1_000_000


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TRIGGER t AFTER INSERT ON journal BEGIN DELETE FROM all_results; END",),
        ("CREATE TABLE other (a)",),
        ("CREATE INDEX other ON times (seconds)",),
        (
            "DROP VIEW results",
            "CREATE VIEW results AS WITH RECURSIVE r(id, frame) AS (SELECT 1, 1 UNION ALL "
            "SELECT id + 1, frame FROM r) SELECT id, frame, 1 AS object, 0 AS source, "
            "0.0 AS score, 0.0 AS iou, x'' AS mask, x'' AS pointer, "
            "x'' AS codes, 1 AS side, 0 AS exact FROM r",
        ),
        (
            "DROP TABLE times",
            "CREATE VIEW times AS SELECT 0 AS frame, load_extension('x') AS seconds",
        ),
        ("CREATE VIRTUAL TABLE v USING fts5(a)",),
    ],
)  # fmt: skip
def test_tables_that_are_not_ours_are_refused(statements: tuple[str, ...], tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    try:
        changed(path, *statements)
    except sqlite3.OperationalError as error:
        pytest.skip(str(error))  # an SQLite without these
    for writable in (False, True):
        with pytest.raises(ProjectError, match="is not as made"):
            Project.open(path, writable=writable)


def test_a_project_of_frames_that_are_too_large(tmp_path: Path) -> None:
    path = fill(tmp_path / "p.s2t")
    changed(path, "UPDATE meta SET value = '60000' WHERE key IN ('height', 'width')")
    with little_memory(), pytest.raises(ProjectError, match="more than a mask may"):
        Project.open(path)


def test_guards_of_sqlite(project: Path) -> None:
    with Project.open(project, writable=True) as opened:
        db = opened._db
        pragma = {
            name: db.execute(f"PRAGMA {name}").fetchone()
            for name in ("trusted_schema", "cell_size_check", "mmap_size")
        }
        assert pragma["trusted_schema"] == (0,) and pragma["cell_size_check"] == (1,)
        assert pragma["mmap_size"] in ((0,), None)
        if sys.version_info >= (3, 12):
            assert db.getconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE)
        assert db.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED) == 0
        assert db.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) < 2**30
        with pytest.raises(sqlite3.Error):
            db.execute("ATTACH 'other.db' AS other")
        with pytest.raises(sqlite3.Error):
            db.execute("SELECT load_extension('x')")


# -- the network ------------------------------------------------------------------------

_watching: list[str] | None = None


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    # First of all, as this is called for all that happens from then on, in other tests, too.
    if _watching is None or not event.startswith("socket.") or event == "socket.__new__":
        return
    # The display of this machine may be asked whether it answers.
    if arguments and getattr(arguments[0], "family", None) == socket.AF_UNIX:
        return
    _watching.append(f"{event} {arguments!r}")
    raise PermissionError("no network here")


def test_no_command_reaches_for_the_network(clip: Path, tmp_path: Path) -> None:
    global _watching
    sys.addaudithook(_heard)
    out = tmp_path / "out"
    track = ("track", clip, "-o", out, "--image-size", "64", "--stop", "2", "--box", "1:3,5,23,25")
    _watching = []
    try:
        for arguments in (
            track,
            ("info", out),
            ("measure", out, "-o", tmp_path / "t.csv"),
            ("export", out, "-f", "coco", "-o", tmp_path / "c.json"),
            ("report", out, "-o", tmp_path / "r.html"),
            ("review", out),
            ("render", out, "-o", tmp_path / "o.mp4"),
            ("replay", out, "-o", tmp_path / "again"),
            ("image", clip.parent, "-o", tmp_path / "none", "--everything"),
            ("models", "list"),
            ("doctor",),
        ):
            done = said(*arguments)
            assert done.exit_code == 0 or arguments[0] in ("image", "doctor"), done.output
        assert _watching == []
    finally:
        _watching = None
