"""Graphs of tracks: by the reference reader, and those that other tools write."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import geff
import numpy as np
import pytest
import zarr
from geff.validate.structure import validate_structure
from geff.validate.tracks import validate_lineages, validate_tracklets
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sam2track.errors import SourceError, UsageError
from sam2track.export import geff as ours
from sam2track.export.reading import open_masks
from sam2track.importing import import_masks
from sam2track.project import Project
from sam2track.tracking.history import Life
from tests.export.known import label_map, masks, project

# `label_prop` is for readers that know no other name of it yet.
pytestmark = pytest.mark.filterwarnings("ignore:.*label_prop:DeprecationWarning")


@pytest.fixture
def known(tmp_path):
    return project(tmp_path / "p.s2t")


def written(path, **options):
    with Project.open(path) as opened:
        done = opened.export(path.with_name("g.zarr"), format="geff", **options)
    validate_structure(str(done.path / "tracks"))
    graph, about = geff.read(str(done.path / "tracks"))
    return done, graph, about


def steps(graph):
    """Edges as pairs of (object, frame)."""
    said = {node: (of["seg_id"], of["t"]) for node, of in graph.nodes(data=True)}
    return {(said[one], said[other]) for one, other in graph.edges}


def test_the_reference_reader_reads_it(known):
    done, graph, about = written(known, pixel_size=0.25)
    labels = zarr.open_array(str(done.path / "tracks" / about.related_objects[0].path), mode="r")
    assert np.array_equal(labels, [label_map(here) for here in masks()])
    found = {(of["t"], of["seg_id"]): of for _, of in graph.nodes(data=True)}
    expected = {(t, i): m for t, here in enumerate(masks()) for i, m in here.items() if m.any()}
    assert set(found) == set(expected)
    for key, mask in expected.items():
        y, x = np.nonzero(mask)
        at = found[key]
        assert (at["y"], at["x"], at["area"]) == pytest.approx((y.mean(), x.mean(), mask.sum()))
        assert (at["object_score"], at["predicted_iou"]) == (2.0, 0.75)
    assert [(a.name, a.type, a.unit) for a in about.axes] == [
        ("t", "time", "frame"),
        ("y", "space", "pixel"),
        ("x", "space", "pixel"),
    ]
    assert [(a.scale, a.scaled_unit) for a in about.axes] == [
        (0.05, "second"),
        (0.25, "micrometer"),
        (0.25, "micrometer"),
    ]
    for axis in about.axes:
        values = [of[axis.name] for of in found.values()]
        assert (axis.min, axis.max) == (min(values), max(values))
    assert about.extra["sam2track"]["names"] == {"1": 'a "cell"', "2": "wörm"}


def test_what_no_model_scored_has_no_score(known, monkeypatch):
    rows = Project.rows
    monkeypatch.setattr(
        Project, "rows", lambda self: (replace(r, predicted_iou=None) for r in rows(self))
    )
    _, graph, _ = written(known)
    scores = {(of["object_score"], str(of["predicted_iou"])) for _, of in graph.nodes(data=True)}
    assert scores == {(2.0, "nan")}


def test_objects_go_on_over_gaps_and_mothers_become_their_daughters(known):
    done, graph, _ = written(known)
    assert ((3, 2), (3, 5)) in steps(graph)
    assert {pair for pair in steps(graph) if pair[0][0] != pair[1][0]} == {
        ((4, 4), (5, 5)),
        ((4, 4), (7, 5)),
    }
    assert len(steps(graph)) == graph.number_of_nodes() - len({1, 2, 3, 4})
    assert len(done.warnings) == 1 and "cannot hold overlaps" in done.warnings[0]
    about = {of["seg_id"]: (of["tracklet"], of["lineage"]) for _, of in graph.nodes(data=True)}
    assert about == {1: (1, 1), 2: (2, 2), 3: (3, 3), 4: (4, 4), 5: (5, 4), 7: (7, 4)}
    check_paths(graph)


def test_an_id_that_is_too_large_is_refused_by_what_holds_it(tmp_path):
    frames = [{2**31: masks()[0][1], 1: masks()[0][1]}]
    path = project(tmp_path / "p.s2t", frames, lineage=False)
    with pytest.raises(UsageError, match="go up to 2147483647; take coco, npz or parquet"):
        written(path)


def check_paths(graph):
    nodes, edges = np.array(graph.nodes), np.array(graph.edges)
    for check, name in ((validate_tracklets, "tracklet"), (validate_lineages, "lineage")):
        right, errors = check(nodes, edges, np.array([graph.nodes[i][name] for i in nodes]))
        assert right, errors


def test_an_only_daughter_goes_on_with_the_path_of_her_mother(known):
    with Project.open(known, writable=True) as opened, opened.step("remove", {}):
        opened.forget(7)
    done, graph, _ = written(known)
    assert "geff cannot tell an only daughter from a mother who goes on" in " ".join(done.warnings)
    check_paths(graph)
    assert {of["tracklet"] for _, of in graph.nodes(data=True) if of["seg_id"] == 5} == {4}


def test_frames_count_from_the_first_that_is_written(known):
    done, graph, about = written(known, start=5, stop=8)
    assert {of["t"] for _, of in graph.nodes(data=True)} == {0, 1, 2}
    assert about.extra["sam2track"]["first_frame"] == 5
    labels = zarr.open_array(str(done.path / "segmentation" / "0"), mode="r")
    assert np.array_equal(labels, [label_map(here) for here in masks()[5:8]])
    assert "the mother of [5, 7], who is there no frame before" in " ".join(done.warnings)
    assert not [pair for pair in steps(graph) if pair[0][0] != pair[1][0]]
    check_paths(graph)


@settings(max_examples=8)
@given(
    seen=arrays(bool, (6, 4), elements=st.booleans()),
    mothers=st.tuples(*(st.integers(0, i) for i in range(4))),
    ends=st.tuples(*[st.integers(1, 5)] * 4),
)
def test_any_family_comes_back(seen, mothers, ends):
    """Rows are frames, columns objects; a mother has a lower number, and ends as they begin."""
    seen, lineage = seen.copy(), {}
    for daughter, mother in enumerate(mothers, start=1):
        if mother:
            lineage[daughter] = mother
            seen[ends[mother - 1] :, mother - 1] = False
            seen[: ends[mother - 1], daughter - 1] = False
    seen[0, 0] = True  # where the project's first prompt is
    there = {i: [t for t in range(6) if seen[t, i - 1]] for i in range(1, 5)}
    expected = {((i, t), (i, u)) for i, at in there.items() for t, u in itertools.pairwise(at)}
    for daughter, mother in lineage.items():
        before = [t for t in there[mother] if t < min(there[daughter], default=0)]
        if before:
            expected.add(((mother, before[-1]), (daughter, there[daughter][0])))
    masks = [np.arange(1, 9) == 2 * i for i in range(1, 5)]
    frames = [
        {i: masks[i - 1][None] & present for i, present in enumerate(here, 1)} for here in seen
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = project(Path(folder) / "p.s2t", frames, lineage=False, names=False)
        with Project.open(path, writable=True) as opened, opened.step("divide", {}):
            for daughter, mother in lineage.items():
                opened.keep_life(Life(daughter, mother=mother))
        done, graph, _ = written(path)
        assert steps(graph) == expected
        assert graph.number_of_nodes() == seen.sum()
        paths = {(of["seg_id"], of["t"]): of["tracklet"] for _, of in graph.nodes(data=True)}
        if expected:
            check_paths(graph)
        found = {
            (at, t): i
            for t, here in open_masks(done.path).shots()
            for i, mask in here.items()
            for at in [int(np.flatnonzero(mask[0])[0] + 1) // 2]
        }
    assert found.keys() == paths.keys()
    assert len(set(found.values())) == len(set(paths.values()))
    assert len({(found[key], paths[key]) for key in found}) == len(set(found.values()))


def test_frames_without_objects(tmp_path):
    frames = masks()
    path = project(tmp_path / "p.s2t", [{1: frames[0][1]}, {1: 0 & frames[0][1]}], lineage=False)
    _, graph, about = written(path, start=1)
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (0, 0)
    assert [axis.max for axis in about.axes] == [None] * 3
    assert dict(open_masks(tmp_path / "g.zarr").shots()) == {0: {}}


def test_columns_are_written_a_chunk_at_a_time(known, monkeypatch):
    whole = steps(written(known)[1])
    monkeypatch.setattr(ours, "_PART", 7)
    again = known.with_name("again")
    again.mkdir()
    parts = written(known.rename(again / "p.s2t"))[1]
    assert steps(parts) == whole and parts.number_of_nodes() == 38


def others(folder, nodes, edges, labels, *, zarr_format=2, prop="mask", missing=None, **changes):
    """What another tool writes: nodes are (id, t, label)."""
    root = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
    root.create_array("seg", data=np.array(labels))
    kinds = np.array(nodes, np.int64).reshape(-1, 3)
    properties = {"time": kinds[:, 1], prop: kinds[:, 2]}
    metadata = geff.GeffMetadata(
        directed=True,
        axes=[{"name": "time", "type": "time"}],
        node_props_metadata={},
        edge_props_metadata={},
        related_objects=[{"type": "labels", "path": "../seg", "label_prop": prop}],
    )
    geff.core_io.write_arrays(
        str(folder / "graph"),
        kinds[:, 0].astype(np.uint64),
        {
            name: {"values": values, "missing": missing if name == prop else None}
            for name, values in properties.items()
        },
        np.array(edges, np.uint64).reshape(-1, 2),
        {},
        metadata,
        zarr_format=zarr_format,
    )
    group = zarr.open_group(str(folder / "graph"), mode="a")
    group.attrs["geff"] = {**group.attrs["geff"], **changes}
    return folder


LABELS = np.array([[[3, 3, 0, 5]], [[1, 0, 2, 2]], [[9, 8, 8, 4]]], np.uint16)
# 3 goes on as 1, which divides into 9 and 8; 5 goes on as 2, which goes on as 4.
NODES = [(70, 0, 3), (20, 0, 5), (31, 1, 1), (32, 1, 2), (41, 2, 9), (42, 2, 8), (43, 2, 4)]
EDGES = [(70, 31), (20, 32), (31, 41), (31, 42), (32, 43)]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("below", [False, True])
def test_paths_of_other_tools_are_objects(tmp_path, zarr_format, below):
    folder = others(tmp_path / "a.zarr", NODES, EDGES, LABELS, zarr_format=zarr_format)
    reading = open_masks(folder / "graph" if below else folder)
    assert (reading.format, reading.height, reading.width) == ("geff", 1, 4)
    found = [{i: mask[0].tolist() for i, mask in here.items()} for _, here in reading.shots()]
    assert found == [
        {3: [1, 1, 0, 0], 5: [0, 0, 0, 1]},
        {3: [1, 0, 0, 0], 5: [0, 0, 1, 1]},
        {5: [0, 0, 0, 1], 8: [0, 1, 1, 0], 9: [1, 0, 0, 0]},
    ]
    assert reading.lineage == {8: 3, 9: 3} and reading.warnings == []


def test_an_edge_that_is_there_twice_is_one(tmp_path):
    reading = open_masks(others(tmp_path / "a.zarr", NODES, [*EDGES, *EDGES], LABELS))
    assert [sorted(here) for _, here in reading.shots()] == [[3, 5], [3, 5], [5, 8, 9]]
    assert reading.lineage == {8: 3, 9: 3} and reading.warnings == []


def test_edges_without_a_direction_lead_on_in_time(tmp_path):
    edges = [(31, 70), (20, 32), (41, 31), (31, 42), (43, 32)]
    reading = open_masks(others(tmp_path / "a.zarr", NODES, edges, LABELS, directed=False))
    assert [sorted(here) for _, here in reading.shots()] == [[3, 5], [3, 5], [5, 8, 9]]
    assert reading.lineage == {8: 3, 9: 3}


@pytest.mark.parametrize("axes", [(1,), (1, 2)])
def test_label_images_of_one_channel_and_slice(tmp_path, axes):
    """As geff.convert.from_ctc_to_geff writes them with `tczyx`."""
    flat, deep = (
        open_masks(others(tmp_path / name, NODES, EDGES, labels))
        for name, labels in (("a.zarr", LABELS), ("b.zarr", np.expand_dims(LABELS, axes)))
    )
    assert (deep.height, deep.width) == (1, 4)
    for (_, here), (_, there) in zip(flat.shots(), deep.shots(), strict=True):
        assert here.keys() == there.keys()
        assert all(np.array_equal(here[i], there[i]) for i in here)


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 1, 4)])
def test_label_images_of_no_time_or_several_slices_are_refused(tmp_path, shape):
    folder = others(tmp_path / "a.zarr", NODES, EDGES, np.ones(shape, np.uint16))
    with pytest.raises(SourceError, match=re.escape(f"uint16 of shape {shape}; label images are")):
        open_masks(folder)


def test_labels_that_begin_several_paths_are_no_numbers(tmp_path):
    """Each frame has labels of its own, from 1 on."""
    labels = np.array([[[2, 1]], [[1, 2]], [[1, 2]]], np.uint16)
    nodes = [(0, 0, 1), (1, 0, 2), (2, 1, 1), (3, 1, 2), (4, 2, 1), (5, 2, 2)]
    reading = open_masks(others(tmp_path / "a.zarr", nodes, [(1, 2), (2, 4)], labels))
    found = [{i: mask[0].tolist() for i, mask in here.items()} for _, here in reading.shots()]
    assert found == [{1: [0, 1], 2: [1, 0]}, {2: [1, 0], 3: [0, 1]}, {2: [1, 0], 4: [0, 1]}]


def test_a_node_without_a_label_is_of_its_path(tmp_path):
    labels = np.array([[[3, 3]], [[0, 3]], [[0, 4]]], np.uint16)
    nodes = [(0, 0, 3), (1, 1, 3), (2, 2, 4)]
    missing = np.array([False, True, False])
    folder = others(tmp_path / "a.zarr", nodes, [(0, 1), (1, 2)], labels, missing=missing)
    found = [{i: m[0].tolist() for i, m in here.items()} for _, here in open_masks(folder).shots()]
    assert found == [{3: [1, 1]}, {}, {3: [0, 1]}]


def test_what_no_project_can_hold_is_said(tmp_path):
    nodes = [*NODES[:-1], (44, 7, 1)]  # label 4 has no node; there is no frame 7
    edges = [*EDGES[:-1], (32, 41)]
    reading = open_masks(others(tmp_path / "a.zarr", nodes, edges, LABELS))
    found = list(dict(reading.shots())[2])
    assert 4 not in found and Counter(found)[9] == 1
    said = " | ".join(reading.warnings)
    assert "nodes of other frames than the 3 of the labels are left out" in said
    assert "1 nodes have several parents: they begin an object, without a mother" in said
    assert "labels that no node has are left out" in said
    assert reading.lineage == {8: 3}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ((44, 2, 7), "nodes of whose label there is no pixel on their frame are left out"),
        ((44, 2, -4), "nodes of whose label there is no pixel on their frame are left out"),
        ((44, -1, 4), "nodes of other frames than the 3 of the labels are left out"),
    ],
)
def test_a_node_without_pixels_is_said(tmp_path, node, said):
    reading = open_masks(others(tmp_path / "a.zarr", [*NODES, node], EDGES, LABELS))
    assert [len(here) for _, here in reading.shots()] == [2, 2, 3]
    assert reading.warnings == [said]


def test_an_import_of_nothing_says_why(tmp_path):
    nodes = [(node, t + 100, label) for node, t, label in NODES]
    folder = others(tmp_path / "a.zarr", nodes, EDGES, LABELS)
    video = np.zeros((3, 1, 4, 3), np.uint8)
    with pytest.raises(SourceError, match="no object on any frame; nodes of other frames than"):
        import_masks(folder, tmp_path / "p.s2t", source=video, model="nano")


@pytest.mark.parametrize(
    ("nodes", "edges", "changes", "said"),
    [
        (NODES, [(70, 99)], {}, "has edges of nodes that it has not"),
        (NODES, [(31, 70)], {}, "an edge leads from frame 1 to frame 0"),
        (NODES, [(70, 20)], {}, "an edge leads from frame 0 to frame 0"),
        ([*NODES, (70, 1, 7)], EDGES, {}, "has several nodes of one id"),
        ([*NODES, (1, 0, 3)], EDGES, {}, "several nodes with one label on one frame"),
        (NODES, EDGES, {"axes": []}, "names 0 axes of type time"),
        (NODES, EDGES, {"axes": None}, "names 0 axes of type time"),
        (
            NODES,
            EDGES,
            {"axes": [{"name": "when", "type": "time"}]},
            "nodes have no property when, which the metadata names; there are mask, time",
        ),
        (NODES, EDGES, {"related_objects": None}, "names no label image"),
        (NODES, EDGES, {"related_objects": [{"type": "image", "path": "../seg"}]}, "names no"),
        (
            NODES,
            EDGES,
            {"related_objects": [{"type": "labels", "path": "../x", "node_prop": "mask"}]},
            "names the label image ../x, which is not there",
        ),
        (
            NODES,
            EDGES,
            {"related_objects": [{"type": "labels", "path": "../seg", "node_prop": "who"}]},
            "nodes have no property who, which the metadata names; there are mask, time",
        ),
        (
            NODES,
            EDGES,
            {"related_objects": [{"type": "labels", "path": ".zattrs", "node_prop": "mask"}]},
            "names the label image .zattrs, which is a file; label images in zarr are read",
        ),
        (
            NODES,
            EDGES,
            {"related_objects": [{"type": "labels", "path": "nodes/ids", "node_prop": "mask"}]},
            "label images are (T, Y, X) integers",
        ),
    ],
)
def test_graphs_that_are_refused(tmp_path, nodes, edges, changes, said):
    folder = others(tmp_path / "a.zarr", nodes, edges, LABELS, **changes)
    with pytest.raises(SourceError, match=re.escape(said)):
        open_masks(folder, "geff")


def test_of_several_label_images_the_first_is_read_and_said(tmp_path):
    images = [{"type": "labels", "path": f"../{i}", "node_prop": "mask"} for i in ("seg", "more")]
    folder = others(tmp_path / "a.zarr", NODES, EDGES, LABELS, related_objects=images)
    reading = open_masks(folder)
    assert len(dict(reading.shots())[2]) == 3
    assert reading.warnings == ["of several label images (../seg, ../more) the first is read"]


def test_a_label_image_that_is_a_group_of_anything_is_refused(tmp_path):
    images = [{"type": "labels", "path": "..", "node_prop": "mask"}]
    folder = others(tmp_path / "a.zarr", NODES, EDGES, LABELS, related_objects=images)
    with pytest.raises(SourceError, match=r"a\.zarr is no OME-Zarr: it is a zarr group that says"):
        open_masks(folder)


@pytest.mark.parametrize("values", [["a"] * 7, [0.5] * 7])
def test_labels_that_are_no_whole_numbers_are_refused(tmp_path, values):
    folder = others(tmp_path / "a.zarr", NODES, EDGES, LABELS)
    group = zarr.open_group(str(folder / "graph/nodes/props/mask"), mode="a")
    group.create_array("values", data=np.array(values), overwrite=True)
    with pytest.raises(SourceError, match="property mask is not in whole numbers"):
        open_masks(folder)


def test_a_folder_of_several_graphs_and_of_none(tmp_path):
    folder = others(tmp_path / "a.zarr", NODES, EDGES, LABELS)
    others(tmp_path / "b.zarr", NODES, EDGES, LABELS)
    (tmp_path / "b.zarr" / "graph").rename(folder / "more")
    with pytest.raises(SourceError, match=r"several graphs \(graph, more\); name one"):
        open_masks(folder)
    assert len(dict(open_masks(folder / "more").shots())) == 3
    with pytest.raises(SourceError, match="holds no graph"):
        open_masks(folder / "seg", "geff")


@pytest.mark.parametrize("text", [b"{", b"[]", b'"geff"', b'{"attributes": 1}', b"\xff"])
def test_words_that_are_no_json_are_no_graph(tmp_path, text):
    (tmp_path / "zarr.json").write_bytes(text)
    with pytest.raises(SourceError):
        open_masks(tmp_path)
