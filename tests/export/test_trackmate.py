"""Files of TrackMate: by another reader of them, and such as TrackMate and people make."""

from __future__ import annotations

import re
import tracemalloc
from xml.etree import ElementTree

import geff
import numpy as np
import pytest
from geff.convert import from_trackmate_xml_to_geff

from sam2track.errors import SourceError, UsageError
from sam2track.export.reading import open_masks
from sam2track.importing import import_masks
from sam2track.project import Project
from sam2track.tracking.history import Life
from tests.export.known import FRAMES, HEIGHT, WIDTH, masks, project
from tests.export.test_polygons import pixel_by_pixel


@pytest.fixture
def known(tmp_path):
    return project(tmp_path / "p.s2t")


def written(path, **options):
    with Project.open(path) as opened:
        done = opened.export(path.with_name("a.xml"), format="trackmate", **options)
    return done, ElementTree.parse(done.path).getroot()


def spots(root):
    """Attributes by object and frame, numbers as such; the contour is in pixels of the image."""
    image = root.find("Settings/ImageData").attrib
    scale = float(image["pixelwidth"]), float(image["pixelheight"])
    found = {}
    for here in root.iterfind("Model/AllSpots/SpotsInFrame"):
        for spot in here:
            said = {k: v if k == "name" else float(v) for k, v in spot.attrib.items()}
            points = np.reshape([float(v) for v in spot.text.split()], (-1, 2))
            assert len(points) == said["ROI_N_POINTS"] and said["FRAME"] == int(here.get("frame"))
            center = said["POSITION_X"], said["POSITION_Y"]
            said["contour"] = (points + center) / scale
            found[int(said["SAM2TRACK_OBJECT"]), int(said["FRAME"])] = said
    return found


def links(root):
    """Edges of each track as pairs of (object, frame)."""
    at = {int(said["ID"]): key for key, said in spots(root).items()}
    return [
        {(at[int(e.get("SPOT_SOURCE_ID"))], at[int(e.get("SPOT_TARGET_ID"))]) for e in track}
        for track in root.iterfind("Model/AllTracks/Track")
    ]


def test_contours_hold_each_mask_as_trackmate_reads_them(known):
    """With a hole, two parts, overlaps."""
    _, root = written(known, pixel_size=0.3, unit="nm", frame_interval=7)
    expected = {(i, t): m for t, here in enumerate(masks()) for i, m in here.items() if m.any()}
    found = spots(root)
    assert found.keys() == expected.keys()
    for (i, t), mask in expected.items():
        said = found[i, t]
        assert np.array_equal(pixel_by_pixel(said["contour"], HEIGHT, WIDTH), mask), (i, t)
        y, x = np.nonzero(mask)
        assert said["POSITION_X"] == pytest.approx(x.mean() * 0.3)
        assert said["POSITION_Y"] == pytest.approx(y.mean() * 0.3)
        assert said["AREA"] == pytest.approx(mask.sum() * 0.09)
        assert np.pi * said["RADIUS"] ** 2 == pytest.approx(said["AREA"])
        assert (said["POSITION_T"], said["POSITION_Z"]) == (7.0 * t, 0)
        assert (said["QUALITY"], said["VISIBILITY"]) == (0.75, 1)
    assert [found[i, 0]["name"] for i in (1, 2, 3)] == ['a "cell"', "wörm", "ID3"]
    assert root.find("Model").attrib == {"spatialunits": "nm", "timeunits": "sec"}


def test_pixels_that_are_no_squares(known):
    with Project.open(known, writable=True) as opened:
        opened.set_meta(pixel_size_um=[0.2, 0.5])
    done, root = written(known)
    mask = masks()[1][2]
    y, x = np.nonzero(mask)
    said = spots(root)[2, 1]
    assert (said["POSITION_X"], said["POSITION_Y"]) == pytest.approx((x.mean() / 2, y.mean() / 5))
    assert said["AREA"] == pytest.approx(mask.sum() / 10)
    assert np.array_equal(pixel_by_pixel(said["contour"], HEIGHT, WIDTH), mask)
    assert np.array_equal(dict(open_masks(done.path).shots())[1][2], mask)
    image = root.find("Settings/ImageData")
    assert (image.get("pixelwidth"), image.get("pixelheight")) == ("0.5", "0.2")


def test_it_says_where_the_image_is(known):
    assert written(known)[1].find("Settings/ImageData").get("filename") == ""
    (known.parent / "clip.mp4").write_bytes(b"")
    with Project.open(known, writable=True) as opened:
        opened.set_meta(source_path=str(known.parent / "clip.mp4"))
    _, root = written(known, overwrite=True)
    image = root.find("Settings/ImageData")
    assert (image.get("folder"), image.get("filename")) == (str(known.parent), "clip.mp4")
    with Project.open(known, writable=True) as opened:
        opened.set_meta(reading={"crop": [0, 0, WIDTH, HEIGHT]})
    done, root = written(known, overwrite=True)
    assert root.find("Settings/ImageData").get("filename") == ""
    assert any("names no image, since spots lie in a part" in line for line in done.warnings)


def test_frames_without_objects_are_left_out(tmp_path):
    mask = masks()[0][1]
    frames = [{1: mask}, {1: 0 & mask}, {1: mask}]
    _, root = written(project(tmp_path / "p.s2t", frames, lineage=False))
    assert [e.get("frame") for e in root.iter("SpotsInFrame")] == ["0", "2"]


@pytest.mark.filterwarnings("ignore:No image path found", "ignore:Temporal unit sec not in")
def test_another_reader_takes_it(known, tmp_path):
    _, root = written(known)
    from_trackmate_xml_to_geff(tmp_path / "a.xml", tmp_path / "g.geff")
    graph, _ = geff.read(str(tmp_path / "g.geff"))
    said = {node: (of["SAM2TRACK_OBJECT"], of["FRAME"]) for node, of in graph.nodes(data=True)}
    assert set(said.values()) == set(spots(root))
    edges = {(said[one], said[other]) for one, other in graph.edges}
    assert edges == set().union(*links(root))


def test_tracks_are_families_and_go_on_over_gaps(known):
    done, root = written(known)
    assert done.warnings == ()
    found = links(root)
    assert len(found) == 4
    assert ((3, 2), (3, 5)) in found[2]
    born = {((4, 4), (5, 5)), ((4, 4), (7, 5))}
    assert born < found[3] and len(found[3]) == 4 + 2 + 2 * 3
    tracks = list(root.iterfind("Model/AllTracks/Track"))
    assert [int(track.get("NUMBER_SPOTS")) for track in tracks] == [9, 9, 7, 5 + 2 * 4]
    assert [track.get("name") for track in tracks] == ['a "cell"', "wörm", "Track_2", "Track_3"]
    numbers = [track.get("TRACK_ID") for track in tracks]
    assert numbers == [e.get("TRACK_ID") for e in root.iterfind("Model/FilteredTracks/TrackID")]


def test_without_a_calibration_units_are_pixels_and_frames(known, monkeypatch):
    with Project.open(known, writable=True) as opened:
        opened.set_meta(axes="TYX")
    # Which a stack is played at that says nothing of its own.
    monkeypatch.setattr(Project, "times", np.arange(FRAMES) / 25)
    _, root = written(known)
    assert root.find("Model").attrib == {"spatialunits": "pixel", "timeunits": "frame"}
    assert spots(root)[1, 4]["POSITION_T"] == 4


def test_frames_of_a_range_are_those_of_the_source(known):
    done, root = written(known, start=5, stop=8)
    assert {t for _, t in spots(root)} == {5, 6, 7}
    assert root.find("Settings/ImageData").get("nframes") == str(FRAMES)
    assert done.warnings == (
        "trackmate cannot hold the mother of [5, 7], who is there no frame before or still there: "
        "lost",
    )
    reading = open_masks(done.path)
    assert [len(here) for _, here in reading.shots()] == [0] * 5 + [5] * 3 + [0]


def test_an_only_daughter_is_read_as_her_mother_and_a_warning_says_so(known):
    with Project.open(known, writable=True) as opened, opened.step("remove", {}):
        opened.forget(7)
    done, _ = written(known)
    assert done.warnings == (
        "trackmate cannot tell an only daughter from a mother who goes on: read back, [5] are "
        "their mothers",
    )
    reading = open_masks(done.path)
    assert reading.lineage == {}
    assert [4 in here for _, here in reading.shots()] == [True] * FRAMES


def test_all_that_a_reader_asks_for_is_declared(known):
    _, root = written(known)
    declared = {
        kind: {feature.get("feature") for feature in root.find(f"Model/FeatureDeclarations/{kind}")}
        for kind in ("SpotFeatures", "EdgeFeatures", "TrackFeatures")
    }
    assert {e.get("isint") for e in root.iter("Feature")} == {"true", "false"}
    for element, kind, own in (
        ("Spot", "SpotFeatures", {"ID", "name", "ROI_N_POINTS"}),
        ("Edge", "EdgeFeatures", set()),
        ("Track", "TrackFeatures", {"name"}),
    ):
        assert {name for e in root.iter(element) for name in e.attrib} == declared[kind] | own
    settings = {e.tag for e in root.find("Settings")}
    assert settings == {
        *("ImageData", "BasicSettings", "DetectorSettings", "InitialSpotFilter"),
        *("SpotFilterCollection", "TrackerSettings", "TrackFilterCollection"),
        "AnalyzerCollection",
    }
    assert {"GUIState", "DisplaySettings", "Log"} < {e.tag for e in root}


def test_names_that_xml_cannot_hold(known):
    with Project.open(known, writable=True) as opened, opened.step("rename", {}):
        opened.keep_life(Life(1, "<a>\x01 & \n'b'\ufffe"))
    done, root = written(known)
    assert spots(root)[1, 0]["name"] == "<a>\ufffd & \n'b'\ufffd"
    assert open_masks(done.path).names[1] == "<a>\ufffd & \n'b'\ufffd"


def test_a_sequence_has_a_name_that_xml_cannot_hold(known):
    _, root = written(known, name="<a>\x01\ud800")
    assert root.find("Log").text == "Written by sam2track, of <a>\ufffd\ufffd."


def test_names_like_those_of_spots_to_which_nobody_gave_one(known):
    with Project.open(known, writable=True) as opened, opened.step("rename", {}):
        opened.keep_life(Life(1, "ID12"))
    assert open_masks(written(known)[0].path).names == {1: "ID12", 2: "wörm"}


def test_an_id_that_is_too_large_is_refused_by_what_holds_it(tmp_path):
    frames = [{2**31: masks()[0][1], 1: masks()[0][1]}]
    path = project(tmp_path / "p.s2t", frames, lineage=False)
    with pytest.raises(UsageError, match="2147483648 does not fit trackmate, whose ids go up to"):
        written(path)


SQUARE = "-1 -1 1 -1 1 1 -1 1"
IMAGE = (
    '<Settings><ImageData width="9" height="5" nslices="1" nframes="3" pixelwidth="0.5" '
    'pixelheight="0.5"/></Settings>'
)


def others(path, *, image=IMAGE, filtered=(4, 9), tracks=None, **changes):
    """A file as of TrackMate: 12 goes on as 30, which divides into 11 and 10; 20 is by itself."""
    listed = {
        12: 'POSITION_X="1.0" POSITION_Y="1.0" FRAME="0"',
        30: 'POSITION_X="1.5" POSITION_Y="1.0" FRAME="1"',
        11: 'POSITION_X="1.0" POSITION_Y="1.0" FRAME="2"',
        10: 'POSITION_X="3.0" POSITION_Y="1.0" FRAME="2"',
        20: 'POSITION_X="3.5" POSITION_Y="1.5" FRAME="1"',
    }
    text = ['<TrackMate version="7.11.1"><Model><AllSpots>']
    for frame in (1, 0, 2):
        text.append(f'<SpotsInFrame frame="{frame}">')
        for spot, said in listed.items():
            if f'FRAME="{frame}"' in said:
                more = f'ID="{spot}" name="ID{spot}" VISIBILITY="1" RADIUS="0.6" ROI_N_POINTS="4"'
                said = changes.get(f"spot_{spot}", f"<Spot {more} {said}>{SQUARE}</Spot>")
                text.append(said)
        text.append("</SpotsInFrame>")
    text.append("</AllSpots><AllTracks>")
    for number, edges in (tracks or {4: [(30, 12), (30, 11), (30, 10)]}).items():
        text.append(f'<Track TRACK_ID="{number}">')
        text += [f'<Edge SPOT_SOURCE_ID="{a}" SPOT_TARGET_ID="{b}"/>' for a, b in edges]
        text.append("</Track>")
    text.append("</AllTracks>")
    if filtered is not None:
        shown = "".join(f'<TrackID TRACK_ID="{number}"/>' for number in filtered)
        text.append(f"<FilteredTracks>{shown}</FilteredTracks>")
    path.write_text("".join([*text, "</Model>", image, "</TrackMate>"]), encoding="utf-8")
    return path


def where(mask):
    y, x = np.nonzero(mask)
    return int(x.min()), int(x.max()), int(y.min()), int(y.max())


def test_spots_of_trackmate_are_objects(tmp_path):
    reading = open_masks(others(tmp_path / "a.xml"))
    assert (reading.format, reading.height, reading.width) == ("trackmate", 5, 9)
    found = [{i: where(mask) for i, mask in here.items()} for _, here in reading.shots()]
    # A square of 2 x 2 units at (1, 1) reaches from pixel 0 to 4; on the border the first is in.
    assert found == [
        {1: (0, 3, 0, 3)},
        {1: (1, 4, 0, 3), 2: (5, 8, 1, 4)},
        {3: (0, 3, 0, 3), 4: (4, 7, 0, 3)},
    ]
    assert [list(here) for _, here in reading.shots()] == [[1], [1, 2], [3, 4]]
    assert reading.lineage == {3: 1, 4: 1} and reading.names == {} and reading.warnings == []


def test_what_is_filtered_out_is_left_out(tmp_path):
    spot = '<Spot ID="20" VISIBILITY="0" RADIUS="1" POSITION_X="1" POSITION_Y="1" FRAME="1"/>'
    reading = open_masks(others(tmp_path / "a.xml", filtered=(), spot_20=spot))
    assert [len(here) for _, here in reading.shots()] == [0, 0, 0]
    assert reading.warnings == [
        "4 spots of tracks that are filtered out are left out",
        "1 spots that are filtered out are left out",
    ]
    reading = open_masks(others(tmp_path / "a.xml", spot_10=spot.replace("20", "10")))
    assert [sorted(here) for _, here in reading.shots()] == [[1], [1, 2], [1]]  # no division
    assert reading.lineage == {}
    whole = open_masks(others(tmp_path / "a.xml", filtered=None))
    assert [len(here) for _, here in whole.shots()] == [1, 2, 2] and whole.warnings == []


def test_spots_without_a_contour_are_discs(tmp_path):
    at = 'name="b" RADIUS="0.6" POSITION_X="2" POSITION_Y="1" FRAME="1"'
    spot = f'<Spot ID="20" {at} ROI_N_POINTS="2">0 0 1 1</Spot>'
    image = IMAGE.replace('pixelheight="0.5"', 'pixelheight="0.3"')
    reading = open_masks(others(tmp_path / "a.xml", spot_20=spot, image=image))
    disc = dict(reading.shots())[1][2]
    assert disc.sum() == 7 and where(disc) == (3, 5, 2, 4)
    assert reading.names == {2: "b"}
    assert reading.warnings == ["1 spots have no contour: they are discs of their radius"]


def test_spots_too_small_for_a_pixel_are_said(tmp_path):
    spot = '<Spot ID="20" RADIUS="0.1" POSITION_X="1.75" POSITION_Y="1.25" FRAME="1"/>'
    reading = open_masks(others(tmp_path / "a.xml", spot_20=spot))
    assert not dict(reading.shots())[1][2].any()
    assert reading.warnings[1:] == ["spots that cover the centre of no pixel are left out"]


@pytest.mark.parametrize("value", ["1.7e308", "-1e200", "Infinity", "NaN"])
def test_discs_that_are_far_away_are_out(tmp_path, value):
    spot = f'<Spot ID="20" RADIUS="9" POSITION_X="{value}" POSITION_Y="1" FRAME="1"/>'
    reading = open_masks(others(tmp_path / "a.xml", spot_20=spot))
    assert not dict(reading.shots())[1][2].any()


@pytest.mark.parametrize("roi", ["", 'ROI_N_POINTS="4"'])
def test_a_small_spot_in_a_large_picture_takes_no_memory_but_the_mask(tmp_path, roi):
    image = IMAGE.replace('"9"', '"2000"').replace('"5"', '"2000"')
    at = 'RADIUS="2" POSITION_X="900" POSITION_Y="800" FRAME="1"'
    spot = f'<Spot ID="20" {at} {roi}>{SQUARE if roi else ""}</Spot>'
    here = dict(open_masks(others(tmp_path / "a.xml", spot_20=spot, image=image)).shots())[1]
    tracemalloc.start()
    mask = here[2]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask.any() and peak < 1.1 * mask.nbytes


def test_whole_numbers_may_be_written_as_others(tmp_path):
    path = others(tmp_path / "a.xml")
    text = re.sub(
        r'((?:ID|frame|VISIBILITY|POINTS|width|height|slices)="\d+)"', r'\1.0"', path.read_text()
    )
    (tmp_path / "b.xml").write_text(text)
    one, other = (open_masks(tmp_path / name) for name in ("a.xml", "b.xml"))
    assert 'SPOT_SOURCE_ID="30.0"' in text and one.lineage == other.lineage
    for (_, here), (_, there) in zip(one.shots(), other.shots(), strict=True):
        assert {i: where(m) for i, m in here.items()} == {i: where(m) for i, m in there.items()}


def test_an_object_has_the_name_that_all_its_spots_have(tmp_path):
    def named(spot, x, frame, name):
        at = f'RADIUS="1" POSITION_X="{x}" POSITION_Y="1" FRAME="{frame}"'
        return f'<Spot ID="{spot}" name="{name}" {at} ROI_N_POINTS="4">{SQUARE}</Spot>'

    one, other = named(12, 1, 0, "G.1"), named(30, 1, 1, "G.1")
    path = others(tmp_path / "a.xml", spot_12=one, spot_30=other)
    assert open_masks(path).names == {1: "G.1"}
    path = others(tmp_path / "a.xml", spot_12=one, spot_30=named(30, 1, 1, "G.2"))
    assert open_masks(path).names == {}


def test_spots_that_were_copied_in_trackmate_do_not_share_a_number(known, tmp_path):
    done, _ = written(known)
    text = done.path.read_text(encoding="utf-8")
    copied = re.search(r'<Spot ID="1" .*?</Spot>', text).group().replace('ID="1"', 'ID="999"', 1)
    text = text.replace("</SpotsInFrame>", f"{copied}</SpotsInFrame>", 1)
    done.path.write_text(text, encoding="utf-8")
    reading = open_masks(done.path)
    first = dict(reading.shots())[0]
    assert list(first) == [1, 2, 3, 4, 5] and reading.names[2] == reading.names[5] == "wörm"
    assert reading.lineage == {6: 4, 7: 4}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": ""}, "does not say height of its image (Settings, ImageData)"),
        ({"image": IMAGE.replace('nslices="1"', 'nslices="4"')}, "an image of 4 slices; tracks in"),
        ({"image": IMAGE.replace('"9"', '"0"')}, "claims 0 x 5 pixels: it holds no picture"),
        ({"image": IMAGE.replace('"9"', '"999999999"')}, "claims 999999999 x 5 pixels; at most"),
        ({"image": IMAGE.replace('"0.5"', '"0"')}, "9 x 5 pixels of size (0.0, 0.0)"),
        ({"image": IMAGE.replace('nframes="3"', 'nframes="2"')}, "other frames than the 2 of its"),
        ({"image": IMAGE.replace('nframes="3"', 'nframes="1e12"')}, "claims 1000000000000 frames"),
        ({"tracks": {4: [(12, 77)]}}, "edges of nodes that it has not"),
        ({"tracks": {4: [(11, 10)]}}, "an edge leads from frame 2 to frame 2"),
        (
            {"spot_20": '<Spot ID="20" POSITION_X="1" POSITION_Y="1" ROI_N_POINTS="3">1 2</Spot>'},
            "spot 20 has 2 coordinates where 3 points have 6; contours in planes",
        ),
        (
            {"spot_20": '<Spot ID="30" POSITION_X="1" POSITION_Y="1" RADIUS="1"/>'},
            "has spot 30 twice",
        ),
        (
            {"spot_20": '<Spot ID="12" POSITION_X="1" POSITION_Y="1" RADIUS="1"/>'},
            "several nodes of one id",
        ),
        ({"spot_20": '<Spot ID="x" POSITION_X="1"/>'}, "as trackmate: ValueError"),
        ({"spot_20": '<Spot ID="2.5" POSITION_X="1"/>'}, "ValueError: 2.5 is no whole number"),
        ({"spot_20": '<Spot ID="2" POSITION_X="1"/>'}, "as trackmate: KeyError: 'POSITION_Y'"),
        ({"spot_20": "<Spot"}, "as XML: not well-formed"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, changes, said):
    with pytest.raises(SourceError, match=re.escape(said)):
        list(open_masks(others(tmp_path / "a.xml", **changes)).shots())


@pytest.mark.parametrize("value", ["nan", "1.7e308"])
def test_points_that_are_no_numbers_are_said(tmp_path, value):
    at = f'POSITION_X="{value}" POSITION_Y="1" RADIUS="1" ROI_N_POINTS="4"'
    path = others(tmp_path / "a.xml", spot_20=f'<Spot ID="20" {at}>{SQUARE}</Spot>')
    with pytest.raises(SourceError, match="a polygon has points that are no numbers"):
        [mask for _, here in open_masks(path).shots() for mask in here.values()]


def test_memory_does_not_grow_with_the_contours(tmp_path):
    others(tmp_path / "a.xml")
    text = (tmp_path / "a.xml").read_text()
    head, tail = text.split("<AllSpots>", 1)[0], text.split("</AllTracks>", 1)[1]
    contour = "0.125 0.25 " * 2000
    spot = f'POSITION_X="1" POSITION_Y="1" ROI_N_POINTS="2000">{contour}</Spot></SpotsInFrame>'
    with (tmp_path / "b.xml").open("w") as file:
        file.write(f"{head}<AllSpots>")
        for k in range(120):
            file.write(f'<SpotsInFrame frame="{k % 3}"><Spot ID="{k}" {spot}')
        file.write(f"</AllSpots><AllTracks></AllTracks>{tail}")
    assert (tmp_path / "b.xml").stat().st_size > 2.4e6
    tracemalloc.start()
    open_masks(tmp_path / "b.xml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.8e6


def test_other_xml_is_no_file_of_trackmate(tmp_path):
    (tmp_path / "a.xml").write_text("<OME><Image/></OME>")
    with pytest.raises(SourceError, match=r"a\.xml is no file of TrackMate: it is of OME"):
        open_masks(tmp_path / "a.xml")


def test_an_import_can_be_corrected_and_exported_again(tmp_path):
    others(tmp_path / "a.xml")
    video = np.zeros((3, 5, 9, 3), np.uint8)
    done = import_masks(tmp_path / "a.xml", tmp_path / "p.s2t", source=video, model="nano")
    assert (done.format, done.objects) == ("trackmate", (1, 2, 3, 4))
    with Project.open(done.path) as opened:
        assert opened.lineage == {3: 1, 4: 1}
        again = opened.export(tmp_path / "b.xml", format="trackmate", pixel_size=0.5)
    one, other = (dict(open_masks(p).shots()) for p in (tmp_path / "a.xml", again.path))
    for frame, here in one.items():
        assert here.keys() == other[frame].keys()
        assert all(np.array_equal(here[i], other[frame][i]) for i in here)
