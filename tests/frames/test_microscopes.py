"""Files of microscopes' makers: CZI as its package writes it, ND2 as its package would give it."""

from __future__ import annotations

import gc
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.array
import numpy as np
import pytest

from sam2track.errors import SourceError, UsageError
from sam2track.frames.microscopes import _czi_scenes, _further_axes
from sam2track.frames.opening import open_source
from sam2track.frames.source import FrameSource

from .test_stacks import SIZES, numbers


def test_further_axes_of_czi_are_said() -> None:
    told = {"Information": {"Image": {"SizeX": "30", "SizeH": "3", "SizeV": "1", "SizeB": "2"}}}
    assert _further_axes(told) == [
        "its axis H has 3 places, of which one is shown",
        "its axis B has 2 places, of which one is shown",
    ]
    assert _further_axes({}) == []


def test_czi(tmp_path: Path) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi")
    array = numbers("TZCYX")
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as file:
        for t, z, c in itertools.product(range(5), range(2), range(2)):
            file.write(array[t, z, c][..., None], plane={"T": t, "Z": z, "C": c})
        file.write_metadata(
            "a", channel_names={0: "DAPI", 1: "GFP"}, scale_x=0.25e-6, scale_y=0.5e-6
        )
    source = open_source(path, z="max", channel="GFP")
    assert source.about["channels"] == ["DAPI", "GFP"]
    assert source.about["pixel_size_um"] == pytest.approx([0.5, 0.25])
    for frame in range(3):
        np.testing.assert_array_equal(source.values(frame)[..., 0], array[frame, :, 1].max(0))
    source.close()


def write_czi(path: Path, pictures: list[np.ndarray], along: str = "C", **told: Any) -> Path:
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(path)) as file:
        for number, picture in enumerate(pictures):
            coloured = picture if picture.ndim == 3 else picture[..., None]
            if along == "scene":
                # Apart from each other, as they lie on a slide: too far to be one picture.
                file.write(coloured, scene=number, location=(30_000 * number, 20_000 * number))
            else:
                file.write(coloured, plane={along: number})
        if told:
            file.write_metadata("a", **told)
    return path


def test_czi_of_several_scenes_shows_the_first(tmp_path: Path) -> None:
    first, second = numbers("YX"), numbers("ZYX")[1, :4]
    source = open_source(write_czi(tmp_path / "a.czi", [first, second], "scene"))
    assert source.warnings == ["it holds 2 scenes; the first is taken; key (--key) chooses"]
    assert (source.height, source.width) == first.shape
    np.testing.assert_array_equal(source.values(0)[..., 0], first)
    source.close()
    source = open_source(tmp_path / "a.czi", key="1")
    assert source.warnings == [] and source.options["key"] == "1"
    np.testing.assert_array_equal(source.values(0)[..., 0], second)
    source.close()


def test_scenes_of_czi_have_names() -> None:
    scenes = [{"@Index": "3", "@Name": "B2"}, {"@Index": "1", "@Name": "A1"}, {"@Index": "4"}]
    told = {"Information": {"Image": {"Dimensions": {"S": {"Scenes": {"Scene": scenes}}}}}}
    assert _czi_scenes(told, [1, 2, 3, 4]) == ["A1", "", "B2", ""]
    assert _czi_scenes({}, [0]) == [""]


def test_czi_of_colours(tmp_path: Path) -> None:
    blue_first = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    source = open_source(write_czi(tmp_path / "a.czi", [blue_first, blue_first + 9], "T"))
    assert len(source) == 2
    for frame in range(2):
        np.testing.assert_array_equal(source.read(frame), (blue_first + 9 * frame)[..., ::-1])
    assert "pixel_size_um" not in source.about
    source.close()


def test_czi_whose_channels_hold_several_kinds_of_numbers(tmp_path: Path) -> None:
    channels = [numbers("YX", np.uint8), numbers("YX") + 3060]
    source = open_source(write_czi(tmp_path / "a.czi", channels))
    assert source.warnings[0] == "its channels hold numbers of several kinds"
    np.testing.assert_array_equal(source.values(0), np.stack(channels, -1))
    shown = source.read(0)[..., 1].ravel().astype(int)
    assert (np.diff(shown) >= 0).all()  # as the values rise, not what is left of them in 8 bits
    source.close()


def test_czi_of_one_channel_has_its_name(tmp_path: Path) -> None:
    path = write_czi(tmp_path / "a.czi", [numbers("YX")], channel_names={0: "GFP"})
    source = open_source(path, channel="GFP")
    assert source.about["channels"] == ["GFP"]
    source.close()


@pytest.mark.parametrize("ending", ["czi", "nd2"])
def test_a_file_of_another_kind_is_told_as_that(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("pylibCZIrw" if ending == "czi" else "nd2")
    (tmp_path / f"a.{ending}").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    message = f"is PNG, whatever its name says, not {ending.upper()}; name it as what it is"
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / f"a.{ending}")


def test_czi_whose_axes_a_person_names(tmp_path: Path) -> None:
    array = numbers("TYX")
    source = open_source(write_czi(tmp_path / "a.czi", [*array], "Z"), axes="ZTCYX")
    assert source.about["axes"] == "ZTCYX"
    for frame, plane in enumerate(array):
        np.testing.assert_array_equal(source.values(frame)[..., 0], plane)
    source.close()


def test_czi_whose_tiles_lie_far_apart_is_refused_before_they_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for place in (0, 30_000):
            file.write(numbers("YX")[..., None], location=(place, place))
    monkeypatch.delattr(czi.CziReader, "read")
    with pytest.raises(SourceError, match=r"^\S+ claims 30008 x 30006 pixels"):
        open_source(tmp_path / "a.czi")


@pytest.mark.parametrize("options", [{"axes": "QQ"}, {}, None])
def test_czi_is_closed_once(
    options: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second time is an error, told on stderr where the first was that of another one."""
    path = write_czi(tmp_path / "a.czi", [*numbers("TYX")], "Z")
    czi = pytest.importorskip("pylibCZIrw.czi")
    closed, close = [], czi.CziReader.close
    monkeypatch.setattr(czi.CziReader, "close", lambda self: (closed.append(self), close(self)))
    if options is None:
        open_source(path).close()
    else:
        with pytest.raises(UsageError):
            open_source(path, z=9, **options)
    gc.collect()
    assert len(closed) == 1


def test_odd_metadata_of_czi_are_no_reason_to_refuse_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_czi(tmp_path / "a.czi", [numbers("YX")])
    czi = pytest.importorskip("pylibCZIrw.czi")
    sides = [{"@Id": "X", "Value": "wide"}, {"@Id": "Y", "Value": "1e-6"}]
    scaling = {"Items": {"Distance": sides}}
    about = {"Image": {"SizeB": "many", "SizeH": "2"}}
    told = {"ImageDocument": {"Metadata": {"Scaling": scaling, "Information": about}}}
    monkeypatch.setattr(czi.CziReader, "metadata", told)
    source = open_source(path)
    assert source.warnings == ["its axis H has 2 places, of which one is shown"]
    assert "pixel_size_um" not in source.about
    source.close()


class FakeND2:
    """What the package nd2 gives, without a file."""

    def __init__(self, array: np.ndarray, axes: str, *, calibrated: bool = True) -> None:
        self.array, self.dtype = array, array.dtype
        self.sizes = dict(zip(axes, array.shape, strict=True))
        volume = SimpleNamespace(axesCalibrated=(calibrated, calibrated, False))
        names = [SimpleNamespace(name=name) for name in ("DAPI", "GFP")]
        channels = [SimpleNamespace(channel=name, volume=volume) for name in names]
        self.metadata = SimpleNamespace(channels=channels)
        self.experiment: list[Any] = []
        self.closed = 0

    def to_dask(self, wrapper: bool, copy: bool) -> Any:
        assert copy and not wrapper  # else planes are of a file that may be closed
        return dask.array.from_array(self.array)

    def voxel_size(self) -> Any:
        return SimpleNamespace(x=0.25, y=0.5, z=1.0)

    def close(self) -> None:
        self.closed += 1

    def times(self, asked: float, came: float | None) -> None:
        """Have a loop over time, after one over positions."""
        diff = None if came is None else SimpleNamespace(avg=came)
        of_time = SimpleNamespace(periodMs=asked, periodDiff=diff)
        self.experiment = [
            SimpleNamespace(type="XYPosLoop", parameters=None),
            SimpleNamespace(type="TimeLoop", parameters=of_time),
        ]

    def opened(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> FrameSource:
        monkeypatch.setattr(pytest.importorskip("nd2"), "ND2File", lambda _: self)
        (folder / "a.nd2").write_bytes(b"\xda\xce\xbe\n" + bytes(99))
        return open_source(folder / "a.nd2", **options)


@pytest.mark.parametrize("axes", ["TPCYX", "PTCYX", "TCYX"])
def test_nd2_of_several_positions_shows_the_first(
    axes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = SIZES | {"P": 3}
    shape = tuple(sizes[a] for a in axes)
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)
    made = FakeND2(array, axes)
    source = made.opened(tmp_path, monkeypatch, channel="GFP")
    warned = (
        ["it holds 3 positions; the first is taken; key (--key) chooses"] if "P" in axes else []
    )
    assert source.warnings == warned
    assert source.about["channels"] == ["DAPI", "GFP"]
    assert source.about["pixel_size_um"] == (0.5, 0.25)
    first = array.take(0, axes.index("P")) if "P" in axes else array
    for frame in range(len(first)):
        np.testing.assert_array_equal(source.values(frame)[..., 0], first[frame, 1])
    source.close()
    assert made.closed == 1


@pytest.mark.parametrize(
    ("names", "key", "kept"),
    [
        (None, "2", "2"),
        (None, 2, "2"),
        (["A1", "A2", "B1"], "B1", "B1"),
        (["A1", "A2", "B1"], "2", "B1"),
        (["A1", None, None], "2", "2"),
        (["A1", "2"], "2", "2"),  # names of others, as of these there are three
        (["A1", "B1", "B1"], "2", "2"),
        (["2", "1", "0"], "0", "0"),  # a name counts before a number
    ],
)
def test_a_position_of_nd2_is_chosen_by_its_name_or_number(
    names: list[str | None] | None,
    key: Any,
    kept: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = numbers("ZTYX")[[0, 1, 0]] + np.array([0, 0, 900], np.uint16)[:, None, None, None]
    made = FakeND2(array, "PTYX")
    if names is not None:
        points = [SimpleNamespace(name=name) for name in names]
        made.experiment = [
            SimpleNamespace(type="XYPosLoop", parameters=SimpleNamespace(points=points))
        ]
    for said in (key, kept):  # and as a project keeps it
        source = made.opened(tmp_path, monkeypatch, key=said)
        assert source.warnings == [] and source.options["key"] == kept
        np.testing.assert_array_equal(source.values(3)[..., 0], array[2, 3])
        source.close()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            "B1",
            r"a\.nd2 holds 2 positions called 'B1' \(A1, B1, B1\); give the name of one, or its",
        ),
        (
            "C1",
            r"holds no 'C1' among its positions \(A1, B1, B1\).*number, 0 to 2, as key \(--key\)",
        ),
        ("3", "holds no '3' among its positions"),
        ("-1", "holds no '-1' among its positions"),
        ("", "holds no '' among its positions"),
        ("\u00b2", "holds no '\u00b2' among its positions"),
    ],
)
def test_a_position_that_is_not_there(
    key: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = FakeND2(np.stack([numbers("TYX")] * 3), "PTYX")
    points = [SimpleNamespace(name=name) for name in ("A1", "B1", "B1")]
    made.experiment = [SimpleNamespace(type="XYPosLoop", parameters=SimpleNamespace(points=points))]
    with pytest.raises(UsageError, match=said):
        made.opened(tmp_path, monkeypatch, key=key)
    assert made.closed == 1


def test_nd2_whose_axes_a_person_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = numbers("TYX")
    source = FakeND2(array, "ZYX").opened(tmp_path, monkeypatch, axes="TYX")
    assert source.about["axes"] == "TYX"
    made = FakeND2(array, "ZYX")
    with pytest.raises(UsageError, match="axes 'QQ' do not fit"):
        made.opened(tmp_path, monkeypatch, axes="QQ")
    assert made.closed == 1


@pytest.mark.parametrize(
    ("asked", "came", "wanted"), [(2000, None, 2), (1, 3500, 3.5), (500, 0, 0.5), (0, 0, None)]
)
def test_nd2_says_how_fast_frames_came(
    asked: float,
    came: float | None,
    wanted: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = FakeND2(numbers("TYX"), "TYX")
    made.times(asked, came)
    assert made.opened(tmp_path, monkeypatch).about.get("frame_interval_s") == wanted


def test_nd2_that_is_not_calibrated_has_no_size_of_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FakeND2(numbers("TYX"), "TYX", calibrated=False).opened(tmp_path, monkeypatch)
    assert "pixel_size_um" not in source.about


@pytest.mark.parametrize("kind", ["nd2", "czi"])
def test_fingerprints_of_microscopes_files_are_theirs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the file, not of planes: these would be read, and put together, for it."""
    array, path = numbers("TYX"), tmp_path / f"a.{kind}"
    if kind == "nd2":
        source = FakeND2(array, "TYX").opened(tmp_path, monkeypatch, limits=(0, 1))
    else:
        source = open_source(write_czi(path, [*array], "T"), limits=(0, 1))
    monkeypatch.setattr(source, "_plane", None)
    first = source.fingerprint()
    assert source.fingerprint() == first
    with path.open("ab") as file:
        file.write(b"more")
    assert source.fingerprint() != first
    source.close()


@pytest.mark.parametrize("test_data", ["odd/stacks/cluster.nd2"], indirect=True)
def test_nd2(test_data: Path) -> None:
    nd2 = pytest.importorskip("nd2")
    array = nd2.imread(test_data)
    assert array.shape == (3, 10, 2, 31, 38)
    source = open_source(test_data, z=4, channel=1)
    assert source.about["pixel_size_um"] == pytest.approx((0.1678, 0.1678), abs=1e-4)
    for frame in range(3):
        np.testing.assert_array_equal(source.values(frame)[..., 0], array[frame, 4, 1])
    source.close()
