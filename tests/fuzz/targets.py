"""What is fuzzed: good files to begin with, and what must be done with any bytes without harm.

Each target takes bytes and gives a result, or raises one of our errors. Anything else is a finding.
"""

from __future__ import annotations

import io
import itertools
import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from hypothesis import strategies as st

from tests.made import disk, write_project

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """One thing that reads.

    Attributes
    ----------
    seeds : callable
        Takes an empty folder; returns good files.
    read : callable
        Takes bytes and a folder of its own.
    strategy : SearchStrategy of bytes, optional
        Cases that hypothesis makes, which know the grammar.
    quick : int
        Cases of the short run.
    """

    seeds: Callable[[Path], list[bytes]]
    read: Callable[[bytes, Path], Any]
    strategy: st.SearchStrategy[bytes] | None = None
    quick: int = 150


# -- what people write ------------------------------------------------------------------

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["m.png", "../m.png", "/etc/passwd", "\x00", "", "\ud800", "cell"])
    | st.text(max_size=8)
)
_numbers = st.integers(-3, 90) | st.floats(-9, 99) | _scalars
_any = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def _mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda n: _any if n == 0 else good)


_prompt = st.fixed_dictionaries(
    {"frame": _mostly(st.integers(0, 9))},
    optional={
        "points": _mostly(st.lists(st.lists(_numbers, min_size=2, max_size=2), max_size=3)),
        "labels": _mostly(st.lists(st.integers(0, 1), max_size=3)),
        "box": _mostly(st.lists(_numbers, min_size=4, max_size=4)),
        "mask": _mostly(st.sampled_from(["m.png", "../m.png", "n.png"])),
        "absent": _mostly(st.booleans()),
        "other": _any,
    },
)
_prompts = st.fixed_dictionaries(
    {
        "version": _mostly(st.just(1)),
        "objects": _mostly(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "id": _mostly(st.integers(1, 5)),
                        "prompts": _mostly(st.lists(_prompt, max_size=3)),
                    },
                    optional={"name": _mostly(st.text(max_size=9))},
                ),
                max_size=3,
            )
        ),
    }
)


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _prompt_seeds(_: Path) -> list[bytes]:
    return [
        _as_json(
            {
                "version": 1,
                "objects": [
                    {"id": 1, "name": "cell", "prompts": [{"frame": 0, "points": [[4, 5.5]]}]},
                    {"id": 2, "prompts": [{"frame": 3, "box": [1, 2, 30, 40]}]},
                    {"id": 3, "prompts": [{"frame": 1, "mask": "m.png"}]},
                    {"id": 4, "prompts": [{"frame": 2, "absent": True}]},
                ],
            }
        )
    ]


def _read_prompts(data: bytes, folder: Path) -> Any:
    from PIL import Image

    from sam2track.pictures import read_mask
    from sam2track.prompt_files import load_prompts

    if not (folder / "m.png").exists():
        Image.fromarray(disk(20, 20, 9).astype(np.uint8)).save(folder / "m.png")
    path = folder / "p.json"
    path.write_bytes(data)
    found = load_prompts(path, read_mask=read_mask)
    for _, frame, prompt in found:
        assert 0 <= frame < 2**31
        prompt.to_dict()
    return found


_GRAMMAR = (
    *(b"1:2,3", b"1:2.5,3@40", b"2:1,2,30,40@7", b"3@12", b"4:a@b.png@3", b"1:-1,1e3"),
    *(b"1:2,3@", b"@", b":", b"1:", b"007:1,1@007"),
)


def _read_grammar(data: bytes, _: Path) -> Any:
    from sam2track.cli import grammar
    from sam2track.errors import PromptError

    text = data.decode("utf-8", "surrogateescape")
    read = 0
    for parse in (
        lambda: grammar.parse_point(text, default_frame=0),
        lambda: grammar.parse_box(text, default_frame=0),
        lambda: grammar.parse_tagged(text, default_frame=0),
        lambda: grammar.parse_absent(text),
    ):
        try:
            found = parse()
        except PromptError:
            continue
        read += 1
        assert 0 < found[0] < 2**31
        assert 0 <= found[-1] < 10**18
    if not read:
        raise PromptError("none")
    return read


_boxes = st.builds(
    lambda kind, rows, end: kind + end.join(rows).encode("utf-8", "surrogatepass"),
    st.sampled_from([b".txt\n", b".csv\n", b".json\n", b".csv\nframe,x0,y0,x1,y1,score,class\n"]),
    st.lists(
        st.lists(_numbers.map(str), min_size=4, max_size=10).flatmap(
            lambda cells: st.sampled_from([",", " ", ";"]).map(lambda by: by.join(cells))
        ),
        max_size=4,
    ),
    st.sampled_from(["\n", "\r\n", "\u2028"]),
)


def _box_seeds(_: Path) -> list[bytes]:
    coco = [{"image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}]
    whole = {
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    return [
        b".txt\n0 0.5 0.5 0.2 0.2 0.9\n1 0.1 0.1 0.1 0.1 0.5 3\n",
        b".txt\n1,-1,10,20,30,40,0.9,-1,-1,-1\n2,4,10,20,30,40,1,3,1\n",
        b".csv\nframe,x0,y0,x1,y1,score,class\n0,1,2,30,40,0.5,car\n3,1,2,3,4,1,dog\n",
        b".csv\nimage,x,y,width,height\na.jpg,1,2,30,40\n",
        b".json\n" + _as_json(coco),
        b".json\n" + _as_json(whole),
    ]


def _read_boxes(data: bytes, folder: Path) -> Any:
    from sam2track.detections.files import load_detections

    suffix, _, text = data.partition(b"\n")
    name = suffix.decode("latin-1")
    path = folder / ("a" + (name if name in (".txt", ".csv", ".json") else ".txt"))
    path.write_bytes(text)
    found = load_detections(path)
    found.check(frames=10, classes=None, stems=None)
    return [found.at(frame, height=48, width=64, stem="a", anywhere=True) for frame in (0, 3)]


# -- what we write ----------------------------------------------------------------------


def _project_seeds(folder: Path) -> list[bytes]:
    track = {1: {t: disk(20 + t, 20, 6) for t in range(3)}, 9: {1: disk(50, 30, 5)}}
    path = write_project(folder / "p.s2t", track, names={1: "cell"})
    return [path.read_bytes()]


_CELLS = (
    *("NULL", "''", "x''", "'x'", "-1", "0", "1", "9223372036854775807", "1e308", "x'00ff'"),
    *("zeroblob(10)", "zeroblob(100000)", "'{}'", "'[]'", "'null'", "'\"x\"'", "'1e999'"),
    *("'99999999999'", "hex(randomblob(20))", "randomblob(64)"),
)


def _project_rows(data: bytes, folder: Path) -> bytes:
    """Bytes choose which cells of a good project become which values."""
    import sqlite3

    path = folder / "p.s2t"
    if not (folder / "good").exists():
        (folder / "good").write_bytes(_project_seeds(folder)[0])
    path.write_bytes((folder / "good").read_bytes())
    chance = random.Random(data)
    db = sqlite3.connect(path)
    tables = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for _ in range(chance.choice((1, 1, 2, 4))):
        table = chance.choice(tables)
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        rows = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        where = ""
        if table == "meta":
            keys = [k for (k,) in db.execute("SELECT key FROM meta")]
            where = f" WHERE key = '{chance.choice(keys)}'"
        elif rows > 1 and chance.random() < 0.7:
            where = f" WHERE rowid = {chance.randrange(1, rows + 1)}"
        try:
            db.execute(
                f"UPDATE {table} SET {chance.choice(columns)} = {chance.choice(_CELLS)}{where}"
            )
        except sqlite3.Error:
            continue
    db.commit()
    db.close()
    return path.read_bytes()


def _read_project(data: bytes, folder: Path) -> Any:
    from sam2track.project import Project

    path = folder / "p.s2t"
    path.write_bytes(data)
    with Project.open(path) as project:
        project.info()
        project.summary()
        list(project.prompts)
        list(project.rows())
        project.last_state()
        for frame in project.frames[:3]:
            project.labels(frame)
            for object_id in project.objects[:3]:
                project.get(object_id, frame)
                project.said(object_id, frame)
    with Project.open(path, writable=True) as project:
        project.undo()
        project.redo()
        return project.frames


def _read_cells(data: bytes, folder: Path) -> Any:
    return _read_project(_project_rows(data, folder), folder)


def _code_seeds(_: Path) -> list[bytes]:
    from sam2track import masks
    from sam2track.export import coco_rle

    found = [masks.encode(m) for m in (disk(20, 20, 9), np.ones((3, 5)), np.eye(40))]
    found.append(masks._HEADER.pack(1, 0, 3, 5) + b"\x02\x0d")
    coco = {"size": [60, 80], "counts": coco_rle.encode(disk(20, 20, 9))}
    return [*found, _as_json(coco), _as_json({"size": [2, 3], "counts": [1, 2, 3]})]


def _code(packing: int, width: int, runs: bytes, other: int | None) -> bytes:
    """A code whose size mostly is that of its runs."""
    height = -(-sum(runs) // width) if other is None else other
    rest = height * width - sum(runs)
    runs = runs + bytes([rest]) if 0 < rest < 128 else runs
    body = zlib.compress(runs) if packing == 1 else runs
    return struct.pack("<BBII", 1, packing, height, width) + body


_codes = st.builds(
    _code,
    st.sampled_from([0, 0, 1, 2]),
    st.integers(1, 70) | st.integers(1, 2**32 - 1),
    st.lists(st.integers(0, 127) | st.integers(1, 9), max_size=20).map(bytes),
    st.none() | st.none() | st.integers(0, 70) | st.integers(0, 2**32 - 1),
)


def _read_code(data: bytes, _: Path) -> Any:
    from sam2track import masks
    from sam2track.export import coco_rle

    if data.startswith(b"{"):
        try:
            told = json.loads(data)
        except (ValueError, RecursionError):
            return None  # where it is read as part of a file
        if not isinstance(told, dict):
            return None
        mask = coco_rle.decode(told)
    else:
        mask = masks.decode(data)
        if mask.size < 10**6:
            assert np.array_equal(masks.decode(masks.encode(mask)), mask)
    return mask.shape


# -- pictures ---------------------------------------------------------------------------


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)


def _tiff_seeds(_: Path) -> list[bytes]:
    import tifffile

    found = []
    for how in (
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "TYX"}},
        {"compression": "zlib"},
        {"bigtiff": True},
        {"tile": (16, 16)},
    ):
        file = io.BytesIO()
        values = (_noise(3, 24, 32).astype(np.uint16) * 9) if "ome" in how else _noise(3, 24, 32)
        tifffile.imwrite(file, values, photometric="minisblack", **how)
        found.append(file.getvalue())
    return found


def _read_stack(suffix: str) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> Any:
        from sam2track.frames.opening import open_source

        path = folder / f"a{suffix}"
        path.write_bytes(data)
        source = open_source(path)
        try:
            for frame in {0, len(source) - 1}:
                assert source.read(frame).shape == (source.height, source.width, 3)
            return source.fingerprint()
        finally:
            source.close()

    return read


def _video_seeds(folder: Path) -> list[bytes]:
    import av

    found = []
    for suffix, coder in (
        *((".mp4", "libx264"), (".mkv", "libvpx-vp9"), (".avi", "mpeg4"), (".webm", "libvpx")),
        *((".mov", "mjpeg"), (".ts", "libx264"), (".gif", "gif"), (".mkv", "ffv1")),
    ):
        path = folder / f"a{suffix}"
        pictures = np.kron(_noise(4, 6, 8, 3), np.ones((1, 8, 8, 1), np.uint8))
        with av.open(str(path), "w") as container:
            stream = container.add_stream(coder, rate=10)
            stream.height, stream.width = 48, 64
            stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(coder, "yuv420p")
            stream.thread_count = 1
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        found.append(path.read_bytes())
    return found


def _picture_seeds(_: Path) -> list[bytes]:
    from PIL import Image

    found = []
    for kind in ("png", "jpeg", "bmp", "webp", "tiff"):
        file = io.BytesIO()
        Image.fromarray(_noise(24, 32, 3)).save(file, kind)
        found.append(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(_noise(24, 32)).convert("P").save(file, "png")
    found.append(file.getvalue())
    # Masks may be these.
    for save in (np.save, tifffile.imwrite):
        file = io.BytesIO()
        save(file, _noise(24, 32).astype(np.int64))
        found.append(file.getvalue())
    return found


def _read_picture(data: bytes, folder: Path) -> Any:
    from sam2track.errors import Sam2TrackError
    from sam2track.frames.folder import ImageFolder
    from sam2track.frames.still import read_picture
    from sam2track.pictures import read_labels

    inside = folder / "pictures"
    inside.mkdir(exist_ok=True)
    path = inside / ("a.tif" if data[:2] in (b"II", b"MM") else "a.png")
    for old in inside.iterdir():
        old.unlink()
    path.write_bytes(data)
    read = 0
    refusal: Sam2TrackError | None = None
    for way in (
        lambda: read_picture(path),
        lambda: ImageFolder(inside).read(0),
        lambda: read_labels(path),
    ):
        try:
            way()
            read += 1
        except Sam2TrackError as error:
            refusal = error
    if not read and refusal is not None:
        raise refusal
    return read


def _numpy_seeds(_: Path) -> list[bytes]:
    found = []
    for save in (np.save, np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, _noise(3, 24, 32))
        found.append(file.getvalue())
    return found


_SAID = (
    *("", "0", "1", "-1", "2", "3.0", "1e3", "1e308", "-1e400", "nan", "inf", "0x10", "two"),
    *("2147483648", "9223372036854775808", "99999999999999999999", "1,5", "\u00b2", "\u0663"),
)


def _changed(xml: str, data: bytes) -> str:
    """Bytes choose which attributes of good XML say which other things, or are not there."""
    chance = random.Random(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        said = list(re.finditer(r'\s[\w.]+="([^"]*)"', xml))
        if not said:
            break
        one = chance.choice(said)
        gone = chance.random() < 0.1
        start, end = one.span(0 if gone else 1)
        xml = xml[:start] + ("" if gone else chance.choice(_SAID)) + xml[end:]
    return xml


def _lif_seeds(folder: Path) -> list[bytes]:
    from tests.frames.test_leica import write_lif

    clip, colours = _noise(3, 24, 32), _noise(2, 24, 32, 3)
    images = {"one": (clip, "TYX"), "day 1/two": (colours, "TYXS")}
    more = {"tiles": (clip[None].astype(np.uint16), "MTYX")}
    steps = {"X": 1e-6, "Y": 1e-6, "T": 5.0}
    return [write_lif(folder / "a.lif", one, steps=steps).read_bytes() for one in (images, more)]


def _read_lif_values(data: bytes, folder: Path) -> Any:
    """The XML lies in UTF-16 behind its length, where changed bytes seldom are a number."""
    good = _lif_seeds(folder)[len(data) % 2]
    (size,) = struct.unpack_from("<I", good, 9)
    xml = _changed(good[13 : 13 + 2 * size].decode("utf-16-le"), data)
    head = struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml))
    rest = good[13 + 2 * size :]
    return _read_stack(".lif")(head + xml.encode("utf-16-le") + rest, folder)


def _hdf5_seeds(folder: Path) -> list[bytes]:
    from tests.frames import test_hdf5 as made

    clip, path = _noise(3, 24, 32), folder / "a.h5"
    volume = np.resize(clip, (3, 2, 2, 9, 12)).astype(np.uint16)
    found = []
    for write in (
        lambda: made.write(path, {"data": clip}),
        lambda: made.write_ilastik(path, clip[..., None], "tyxc", y=0.5, x=0.5),
        lambda: made.write_imaris(path, volume[:, :, :1], names=("a", "b")),
        lambda: made.write_big(path, [volume[:, 0, :1], volume[:, 1, :1]]),
        lambda: made.write_fiji(path, volume, (2, 0.5, 0.5)),
        lambda: made.write(
            path, {"a/b": clip}, userblock_size=512, compression="lzf", shuffle=True
        ),
    ):
        path.unlink(missing_ok=True)
        write()
        found.append(path.read_bytes())
    path.unlink()
    return found


_SHAPES = ((3, 24, 32), (24, 32), (0, 9, 9), (1,) * 6, (2**40, 2, 2), (2, 2**15, 2**15), (9,), ())
_KINDS = ("u1", ">u2", "<f8", "f2", "?", "i8", "c8", "S3", "O", "a,b")


def _change_hdf5(file: Any, chance: random.Random, said: list[Any]) -> None:
    import h5py

    names: list[str] = []
    file.visit(names.append)
    name = chance.choice([*names, "data", "t00000", "DataSet/ResolutionLevel 0"])
    change = chance.randrange(8)
    if change < 3:
        usual = ["axistags", "DIMENSION_LABELS", "MATLAB_class", "ImageSizeX", "Unit", "X"]
        told = file[name].attrs
        told[chance.choice([*told, *usual, "axis_units", "element_size_um"])] = chance.choice(said)
        return
    file.pop(name, None)
    if change == 4:
        ways = h5py.SoftLink(f"/{chance.choice(names)}"), h5py.ExternalLink("a.h5", "/")
        file[name] = chance.choice(ways)
    elif change == 5:
        file[name] = file["/"]
    elif change == 6:
        file.require_group(name)
    elif change == 7:
        shape, kind = chance.choice(_SHAPES), chance.choice(_KINDS)
        dtype = {"O": h5py.string_dtype(), "a,b": np.dtype([("a", "u1")])}.get(kind, kind)
        chunks = tuple(min(max(n, 1), chance.choice((1, 8, 4096))) for n in shape)
        file.create_dataset(
            name, shape=shape, dtype=dtype, chunks=chunks or None, maxshape=(None,) * len(shape)
        )


def _hdf5_with(data: bytes, folder: Path) -> bytes:
    """Bytes choose what becomes of the groups, datasets and attributes of a good file."""
    import h5py

    from tests.frames.test_hdf5 import letters, tags

    path, chance, seeds = folder / "b.h5", random.Random(data), folder / "seeds"
    if not seeds.exists():
        seeds.mkdir()
        for number, seed in enumerate(_hdf5_seeds(folder)):
            (seeds / str(number)).write_bytes(seed)
    path.write_bytes((seeds / str(chance.randrange(6))).read_bytes())
    said = [
        *_SAID,
        *map(letters, _SAID),
        b"\xff",
        7,
        -1.5,
        np.nan,
        np.zeros(3),
        np.zeros((2, 2)),
        ["x"] * 3,
    ]
    said += [tags("tyxc"), tags("xyt", x=np.nan), tags("zz"), '{"axes": [1]}', "[" * 9999]
    with h5py.File(path, "r+", libver=chance.choice(("earliest", "latest"))) as file:
        for _ in range(chance.choice((1, 1, 2, 4))):
            with suppress(Exception):  # h5py writes not all that is asked for here
                _change_hdf5(file, chance, said)
    return path.read_bytes()


def _read_hdf5_values(data: bytes, folder: Path) -> Any:
    return _read_stack(".h5")(_hdf5_with(data, folder), folder)


def _exported(folder: Path, format: str) -> bytes:
    from sam2track.project import Project

    track = {1: {t: disk(20 + t, 20, 6) for t in range(3)}, 9: {1: disk(50, 30, 5)}}
    with Project.open(write_project(folder / "q.s2t", track, names={1: "cell"})) as project:
        done = project.export(folder / f"q-{format}", format=format, overwrite=True).path
    (folder / "q.s2t").unlink()
    return done.read_bytes()


def _trackmate_seeds(folder: Path) -> list[bytes]:
    text = _exported(folder, "trackmate")
    return [text, re.sub(rb"<DisplaySettings>.*?</DisplaySettings>", b"", text, flags=re.DOTALL)]


def _json_seeds(folder: Path) -> list[bytes]:
    return [_exported(folder, format) for format in ("coco", "ytvis")]


def _label_maps() -> np.ndarray:
    return np.kron(_noise(3, 6, 8) % 4, np.ones((1, 4, 4), np.uint8))


def _label_tiff_seeds(_: Path) -> list[bytes]:
    found = []
    for values, how in (
        (_label_maps(), {"imagej": True}),
        (_label_maps().astype(np.uint16), {"ome": True, "metadata": {"axes": "TYX"}}),
        (_label_maps().astype(np.int32), {"compression": "zlib"}),
        (_label_maps().astype(np.float32), {"bigtiff": True, "compression": "lzw"}),
        (_label_maps()[0], {}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric="minisblack", **how)
        found.append(file.getvalue())
    return found


def _label_npy_seeds(_: Path) -> list[bytes]:
    found = []
    for dtype in (np.uint8, np.int32, np.float64, np.bool_):
        file = io.BytesIO()
        np.save(file, _label_maps().astype(dtype))
        found.append(file.getvalue())
    return found


def _label_npz_seeds(folder: Path) -> list[bytes]:
    found = [_exported(folder, "npz")]
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, labels=_label_maps(), images=_noise(3, 24, 32))
        found.append(file.getvalue())
    return found


def _read_masks(suffix: str) -> Callable[[bytes, Path], Any]:
    def read(data: bytes, folder: Path) -> Any:
        from sam2track.export.reading import open_masks

        path = folder / f"a{suffix}"
        path.write_bytes(data)
        reading = open_masks(path)
        shape = reading.height, reading.width
        for _, masks in itertools.islice(reading.shots(), 5):
            for mask in masks.values():
                assert mask.shape == shape
        return shape

    return read


def _read_trackmate_values(data: bytes, folder: Path) -> Any:
    good = folder / "good.xml"
    if not good.exists():
        good.write_bytes(_trackmate_seeds(folder)[1])
    return _read_masks(".xml")(_changed(good.read_text("utf-8"), data).encode(), folder)


# -- models -----------------------------------------------------------------------------


def _weight_seeds(_: Path) -> list[bytes]:
    import safetensors.torch
    import torch

    state = {
        "image_encoder.trunk.patch_embed.proj.weight": torch.ones(2, 3),
        "no_mem_embed": torch.ones(2),
    }
    file = io.BytesIO()
    torch.save({"model": state}, file)
    return [b"s" + safetensors.torch.save(state), b"p" + file.getvalue()]


def _read_weights(data: bytes, folder: Path) -> Any:
    from sam2track.models import files

    path = folder / ("a.safetensors" if data[:1] == b"s" else "a.pt")
    path.write_bytes(data[1:])
    return sorted(files.read(path).state)


def _config_seeds(_: Path) -> list[bytes]:
    parts = {
        "vision_config": {"backbone_config": {"hidden_size": 96}},
        "prompt_encoder_config": {"image_size": 1024, "patch_size": 16},
        "mask_decoder_config": {"num_attention_heads": 8},
    }
    return [_as_json({"model_type": "sam2_video", "num_maskmem": 7, **parts})]


_settings = st.fixed_dictionaries(
    {"model_type": _mostly(st.sampled_from(["sam2", "sam2_video"]))},
    optional={
        "num_maskmem": _mostly(st.just(7)),
        "image_size": _mostly(st.integers(-99, 5000)),
        "prompt_encoder_config": _mostly(st.fixed_dictionaries({"image_size": _any})),
        "mask_decoder_config": _mostly(st.dictionaries(st.text(max_size=4), _any, max_size=2)),
        "memory_attention_num_attention_heads": _any,
    },
)


def _read_config(data: bytes, folder: Path) -> Any:
    from sam2track.models import files
    from sam2track.models.choices import check_image_size

    if not (folder / "model.safetensors").exists():
        import safetensors.torch
        import torch

        key = "vision_encoder.backbone.patch_embed.projection.weight"
        safetensors.torch.save_file({key: torch.ones(2, 3)}, folder / "model.safetensors")
    (folder / "config.json").write_bytes(data)
    weights = files.read(folder)
    check_image_size(weights.image_size)
    return weights.image_size


def _bits(_: Path) -> list[bytes]:
    return [bytes(range(16))]


TARGETS = {
    "prompts-file": Target(_prompt_seeds, _read_prompts, _prompts.map(_as_json)),
    "prompt-grammar": Target(
        lambda _: list(_GRAMMAR),
        _read_grammar,
        st.lists(
            st.sampled_from(["1", "12", ":", ":", ",", ",", "@", "3.5", "-", "e", "_", " ", "nan"])
            | st.text("0123456789:,@.-+eE_ naif\u0661\ud800", max_size=3),
            max_size=12,
        ).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass")),
        400,
    ),
    "detections": Target(_box_seeds, _read_boxes, _boxes),
    "project-bytes": Target(_project_seeds, _read_project, quick=60),
    "project-values": Target(_bits, _read_cells, st.binary(max_size=8), 60),
    "run-lengths": Target(_code_seeds, _read_code, _codes),
    "tiff": Target(_tiff_seeds, _read_stack(".tif"), quick=100),
    "video": Target(_video_seeds, _read_stack(".mp4"), quick=60),
    "picture": Target(_picture_seeds, _read_picture),
    "numpy": Target(_numpy_seeds, _read_stack(".npy")),
    "lif": Target(_lif_seeds, _read_stack(".lif")),
    "lif-values": Target(_bits, _read_lif_values, st.binary(max_size=8)),
    "hdf5": Target(_hdf5_seeds, _read_stack(".h5")),
    "hdf5-values": Target(_bits, _read_hdf5_values, st.binary(max_size=8), 60),
    "labels-tiff": Target(_label_tiff_seeds, _read_masks(".tif")),
    "labels-npy": Target(_label_npy_seeds, _read_masks(".npy")),
    "labels-npz": Target(_label_npz_seeds, _read_masks(".npz")),
    "masks-json": Target(_json_seeds, _read_masks(".json")),
    "trackmate": Target(_trackmate_seeds, _read_masks(".xml")),
    "trackmate-values": Target(_bits, _read_trackmate_values, st.binary(max_size=8)),
    "weights": Target(_weight_seeds, _read_weights),
    "model-config": Target(_config_seeds, _read_config, _settings.map(_as_json)),
}
