"""Evaluation: values worked out by hand, and those of the tools that others use."""

from __future__ import annotations

import json
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
import tifffile

from sam2track.errors import SourceError, UsageError
from sam2track.evaluation import evaluate
from sam2track.export.pngs import MaskSequence
from sam2track.importing import import_masks
from sam2track.metrics import statistics
from sam2track.project import Project
from sam2track.tracking_scores import TrackScores
from tests.export.known import FRAMES, masks, project
from tests.made import write_project


def write(folder, frames):
    """Label maps of rows of values, as PNGs."""
    sequence = MaskSequence(folder)
    for t, labels in enumerate(frames):
        sequence.write(t, np.asarray(labels, np.uint8))
    return folder


def band(*ids, height=4):
    """A map of 40 columns; each id has 10 of them from where it stands, 0 has none."""
    labels = np.zeros((height, 40), np.uint8)
    for place, i in enumerate(ids):
        labels[:, 10 * place : 10 * place + 10] = i
    return labels


def test_label_maps_bear_the_names_of_the_pictures_of_a_project(tmp_path):
    pictures, labels = tmp_path / "clip", tmp_path / "labels"
    pictures.mkdir()
    labels.mkdir()
    for number in (1, 2, 3):
        tifffile.imwrite(pictures / f"a{number}.tif", np.zeros((8, 40), np.uint8))
    for number in (1, 3):
        tifffile.imwrite(labels / f"a{number}_mask.tif", band(number, height=8))
    import_masks(labels, tmp_path / "a.s2t", source=pictures)
    e = evaluate(tmp_path / "a.s2t", labels, metrics="jf")
    assert e.mean["j"] == 1 and e.sequences[0]["frames"] == 2
    shutil.rmtree(pictures)  # the numbers in the names are those of frames then
    with pytest.raises(UsageError, match="the first is 3"):
        evaluate(tmp_path / "a.s2t", labels, metrics="jf")


# -- J and F ----------------------------------------------------------------------------


def test_j_by_hand(tmp_path):
    truth = [band(1, 2), band(1, 2), band(0, 2), band(0, 2)]
    half = band(1, 2)
    half[:, 5:10] = 0  # 1 has half of its columns: J = 0.5, which is not above 0.5
    found = [band(1, 2), half, band(0, 0), band(1, 2)]
    e = evaluate(write(tmp_path / "a", found), write(tmp_path / "b", truth), metrics="jf")
    objects = e.sequences[0]["objects"]
    # 1: 1, 0.5, 1 (neither has it), 0 (found where there is none); 2: 1, 1, 0, 1.
    assert objects["1"]["j"] == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert objects["2"]["j"] == pytest.approx(3 / 4)
    assert objects["1"]["j_recall"] == pytest.approx(2 / 4)
    assert objects["2"]["j_recall"] == pytest.approx(3 / 4)
    # Borders of quarters lie at frames 1, 1.75, 2.5, 3.25, 4: rounded 1, 2, 3, 3, 4; the first
    # quarter is frames 1 and 2, the last 3 and 4 (numpy rounds 2.5 + 1e-10 up).
    assert objects["1"]["j_decay"] == pytest.approx(0.75 - 0.5)
    assert objects["2"]["j_decay"] == pytest.approx(1 - 0.5)
    assert e.mean["j"] == pytest.approx((0.625 + 0.75) / 2)
    assert e.mean["jf"] == pytest.approx((e.mean["j"] + e.mean["f"]) / 2)
    worst = [(one["frame"], one["object"]) for one in e.worst[:3]]
    assert worst == [(2, 2), (3, 1), (1, 1)]
    assert (e.worst[0]["j"], e.worst[0]["f"], e.worst[0]["sequence"]) == (0, 0, "b")


def test_statistics_by_hand():
    assert statistics([1.0]) == (1, 1, 0)
    values = [1.0, 1, 1, 0.8, 0.6, 0.6, 0.4, 0.2, 0]
    # Quarters of nine frames: 1..3, 3..5, 5..7, 7..9.
    expected = (sum(values) / 9, 6 / 9, 1 - (0.4 + 0.2 + 0) / 3)
    assert statistics(values) == pytest.approx(expected)
    assert statistics([0.5, 0.5]).recall == 0
    with pytest.raises(UsageError):
        statistics([])


@pytest.mark.parametrize("skip", [False, True])
def test_equal_to_vos_benchmark(tmp_path, skip):
    from vos_benchmark.benchmark import benchmark

    random = np.random.default_rng(0)
    for name in ("one", "two"):
        truth, found = [], []
        for t in range(7):
            labels = np.zeros((60, 80), np.uint8)
            labels[5 + t : 30 + t, 10:40] = 1
            if t > 2 or name == "two":
                labels[35:55, 20 + 3 * t : 45 + 3 * t] = 2
            truth.append(labels)
            moved = np.roll(labels, random.integers(-3, 4, 2), (0, 1))
            moved[random.random(moved.shape) < 0.03] = 0
            if t == 1 and name == "one":
                moved[50:58, 3:9] = 2  # before it is there
            if t == 5:
                moved[moved == 1] = 3
            found.append(moved)
        write(tmp_path / "truth" / name, truth)
        write(tmp_path / "pred" / name, found)
    theirs = benchmark(
        [str(tmp_path / "truth")],
        [str(tmp_path / "pred")],
        num_processes=1,
        verbose=False,
        skip_first_and_last=skip,
    )
    ours = evaluate(tmp_path / "pred", tmp_path / "truth", metrics=["jf"], skip_ends=skip)
    assert ours.mean["jf"] == pytest.approx(theirs[0][0] / 100, abs=1e-6)
    assert ours.mean["j"] == pytest.approx(theirs[1][0] / 100, abs=1e-6)
    assert ours.mean["f"] == pytest.approx(theirs[2][0] / 100, abs=1e-6)
    assert [s["name"] for s in ours.sequences] == ["one", "two"]
    for sequence in ours.sequences:
        ious, contours = theirs[3][0][sequence["name"]]
        assert set(sequence["objects"]) == {str(i) for i in ious}
        for i in ious:
            values = sequence["objects"][str(i)]
            assert values["j"] == pytest.approx(ious[i] / 100, abs=1e-6)
            assert values["f"] == pytest.approx(contours[i] / 100, abs=1e-6)


# -- tracks -----------------------------------------------------------------------------


def scores(found, truth):
    kept = TrackScores()
    for own, their in zip(found, truth, strict=True):
        maps = [{int(i): m == i for i in np.unique(m) if i} for m in (own, their)]
        kept.add(*maps)
    return kept


def test_ctc_by_hand():
    truth = [band(1, 2)] * 4
    found = [band(1, 2), band(1, 2), band(1, 0), band(1, 0, 9)]
    ctc = scores(found, truth).ctc({}, {})
    # 8 cells, of which 2 is missed twice; one cell too many.
    assert ctc["SEG"] == pytest.approx(6 / 8)
    assert ctc["DET"] == pytest.approx(1 - (2 * 10 + 1) / (8 * 10))
    # Besides two of the six links are missing, 1.5 each.
    assert ctc["TRA"] == pytest.approx(1 - (21 + 2 * 1.5) / (80 + 6 * 1.5))
    assert scores(truth, truth).ctc({}, {}) == {"SEG": 1, "DET": 1, "TRA": 1}


def test_ctc_of_one_frame():
    truth = [band(1, 2)]
    assert scores(truth, truth).ctc({}, {}) == {"SEG": 1, "DET": 1, "TRA": 1}
    ctc = scores([band(1, 0, 9)], truth).ctc({}, {})
    assert ctc["SEG"] == pytest.approx(1 / 2)
    assert ctc["DET"] == ctc["TRA"] == pytest.approx(1 - (10 + 1) / (2 * 10))


def test_ctc_counts_divisions():
    frames = [band(1), band(1), band(2, 3), band(2, 3)]
    right = scores(frames, frames)
    assert right.ctc({2: 1, 3: 1}, {2: 1, 3: 1})["TRA"] == 1
    # Two of 1 + 2 + 2 links are missing, of 6 cells none.
    assert right.ctc({}, {2: 1, 3: 1})["TRA"] == pytest.approx(1 - 3 / (60 + 5 * 1.5))


def test_ctc_is_that_of_the_program(tmp_path):
    """py-ctcmetrics on folders of an export says the same."""
    import shutil

    from ctc_metrics.scripts.evaluate import evaluate_sequence

    truth = masks(overlap=False)
    worse = [{i: np.roll(m, 2, 1) for i, m in here.items() if i != 2} for here in truth]
    for name, frames in (("truth", truth), ("pred", worse)):
        with Project.open(project(tmp_path / f"{name}.s2t", frames)) as opened:
            opened.export(tmp_path / name, format="ctc")
    gt = tmp_path / "01_GT"
    for part, stem in (("TRA", "man_track"), ("SEG", "man_seg")):
        (gt / part).mkdir(parents=True)
        for file in (tmp_path / "truth").glob("mask*.tif"):
            shutil.copy(file, gt / part / file.name.replace("mask", stem))
    shutil.copy(tmp_path / "truth" / "res_track.txt", gt / "TRA" / "man_track.txt")
    theirs = evaluate_sequence(str(tmp_path / "pred"), str(gt), ["SEG", "DET", "TRA"], threads=1)
    ours = evaluate(tmp_path / "pred.s2t", tmp_path / "truth.s2t", metrics=["ctc"])
    for key in ("SEG", "DET", "TRA"):
        assert ours.sequences[0]["ctc"][key] == pytest.approx(theirs[key], abs=1e-12)
    assert 0 < theirs["SEG"] < theirs["DET"] < 1


def test_identity_by_hand():
    truth = [band(1)] * 4
    found = [band(5), band(5), band(6), band(6)]  # the same place, another name after half
    identity = scores(found, truth).identity()
    # Detection is perfect; each match has 2 of the 4 + 2 - 2 frames of its pair.
    assert identity["DetA"] == pytest.approx(1)
    assert identity["AssA"] == pytest.approx(2 / 4)
    assert identity["HOTA"] == pytest.approx(np.sqrt(1 / 2))
    # 2 of 4 are of the name that fits best: 2 true, 2 false, 2 missed.
    assert identity["IDF1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 2))
    assert scores(truth, truth).identity()["HOTA"] == pytest.approx(1)


# -- formats and bad input --------------------------------------------------------------


def test_any_format_on_either_side(tmp_path):
    path = project(tmp_path / "p.s2t", masks(overlap=False))
    with Project.open(path) as opened:
        for name in ("davis", "ctc", "coco", "mots", "ome-tiff", "npz", "masks-video", "ytvis"):
            opened.export(tmp_path / name, format=name)
    kinds = {"mots": "mots", "ome-tiff": "ome-tiff", "npz": "npz", "coco": "coco", "ytvis": "ytvis"}
    for name in ("davis", "ctc", "coco", "mots", "ome-tiff", "npz", "masks-video", "ytvis"):
        kind = kinds.get(name, name)
        for e in (
            evaluate(tmp_path / name, path, pred_format=kind),
            evaluate(path, tmp_path / name, truth_format=kind),
        ):
            assert e.mean["j"] == e.mean["f"] == 1, name
            assert e.sequences[0]["identity"]["HOTA"] == pytest.approx(1)
            assert e.sequences[0]["frames"] == FRAMES
            json.dumps(e.to_dict())
            if name == "ctc":
                assert e.sequences[0]["ctc"] == {"SEG": 1, "DET": 1, "TRA": 1}


def test_a_truth_of_some_frames(tmp_path):
    write(tmp_path / "pred", [band(1)] * 5)
    truth = write(tmp_path / "truth", [band(1)] * 5)
    (truth / "00001.png").unlink()
    (truth / "00004.png").unlink()
    e = evaluate(tmp_path / "pred", truth, metrics=["jf"])
    assert e.sequences[0]["frames"] == 3
    assert "2 frames of" in e.warnings[0] and len(e.warnings) == 1
    with pytest.raises(UsageError, match=r"3 frames and lacks 2 of the 5 .* first is 1"):
        evaluate(truth, tmp_path / "pred", metrics=["jf"])


def test_a_frame_that_a_prediction_leaves_out_holds_nothing(tmp_path):
    """A text of tracks names no frame on which nothing is."""
    found = {1: dict.fromkeys((0, 2), band(1) > 0)}
    with Project.open(write_project(tmp_path / "p.s2t", found, count=3)) as opened:
        opened.export(tmp_path / "pred", format="mots")
    truth = write(tmp_path / "truth", [band(1)] * 3)
    e = evaluate(tmp_path / "pred", truth, metrics="jf", pred_format="mots")
    assert e.sequences[0]["objects"]["1"]["j"] == pytest.approx(2 / 3)
    assert [(one["frame"], one["j"]) for one in e.worst[:1]] == [(1, 0)]


def test_memory_does_not_grow_with_the_objects_of_a_frame(tmp_path):
    """All masks of 1000 cells in 2048 x 2048 pixels are four gigabytes on either side."""
    side, peaks = 1024, []
    for count in (16, 16, 128):  # the first loads what all of them need
        labels = np.zeros((2, side, side), np.uint16)
        for i in range(count):
            y, x = divmod(i, 12)
            labels[:, 40 * y : 40 * y + 20, 40 * x : 40 * x + 20] = i + 1
        truth, pred = tmp_path / f"{len(peaks)}.tif", tmp_path / f"{len(peaks)}.s2t"
        tifffile.imwrite(truth, labels)
        moved = np.roll(labels[0], 2, axis=0)
        tracks = {i: moved == i for i in range(1, count + 1)}
        write_project(pred, {i: {0: mask, 1: mask} for i, mask in tracks.items()})
        del tracks
        tracemalloc.start()
        found = evaluate(pred, truth)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.mean["j"] == pytest.approx(18 / 22)
    assert peaks[2] < 2.5 * peaks[1]  # matrices of 128 x 128 objects are in it


def test_what_cannot_be_compared(tmp_path):
    one = write(tmp_path / "one", [band(1)] * 3)
    for other, what in [
        (write(tmp_path / "large", [band(1, height=5)] * 3), "40 x 4 pixels"),
        (write(tmp_path / "none", [band(0)] * 3), "holds no object"),
    ]:
        with pytest.raises(UsageError, match=what):
            evaluate(one, other)
    for metrics in (["jf", "best"], [], "best"):
        with pytest.raises(UsageError, match="allowed are jf, ctc, identity"):
            evaluate(one, one, metrics=metrics)
    with pytest.raises(SourceError, match="nothing at"):
        evaluate(one, tmp_path / "gone")
    with pytest.raises(UsageError, match="no frame"):
        evaluate(write(tmp_path / "short", [band(1)]), tmp_path / "short", skip_ends=True)
    for name in ("a", "b"):
        write(tmp_path / "truths" / name, [band(1)])
    write(tmp_path / "preds" / "a", [band(1)])
    with pytest.raises(UsageError, match=r"lacks sequences of .*: b"):
        evaluate(tmp_path / "preds", tmp_path / "truths")


def test_masks_that_are_not_seen_name_the_option_of_their_side(tmp_path):
    write(tmp_path / "a", [band(1)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty; name their format \(--pred-format\)"):
        evaluate(tmp_path / "empty", tmp_path / "a")
    with pytest.raises(UsageError, match=r"empty; name their format \(--truth-format\)"):
        evaluate(tmp_path / "a", tmp_path / "empty")


def test_nothing_found(tmp_path):
    e = evaluate(write(tmp_path / "a", [band(0)] * 3), write(tmp_path / "b", [band(1)] * 3))
    assert e.mean["jf"] == 0
    assert e.sequences[0]["ctc"] == {"SEG": 0, "DET": 0, "TRA": 0}
    assert e.sequences[0]["identity"]["HOTA"] == e.sequences[0]["identity"]["IDF1"] == 0


def test_packages_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    one = write(tmp_path / "one", [band(1)] * 3)
    e = evaluate(one, one)
    assert "identity" not in e.sequences[0] and "ctc" in e.sequences[0]
    assert len(e.warnings) == 1 and "pip install 'sam2track[eval]'" in e.warnings[0]
    with pytest.raises(UsageError, match="trackeval"):
        evaluate(one, one, metrics=["identity"])


@pytest.mark.parametrize("test_data", ["video/pumavos_chair"], indirect=True)
def test_a_truth_of_others(test_data):
    e = evaluate(test_data / "masks", test_data / "masks", metrics=["jf"])
    assert e.sequences[0]["frames"] == 60 and e.mean["jf"] == 1
