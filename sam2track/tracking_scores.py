"""How well tracks agree with the truth: what other packages compute, from overlaps alone.

References
----------
Matula et al., "Cell Tracking Accuracy Measurement Based on Comparison of Acyclic Oriented
Graphs", PLOS ONE 2015 (DET, TRA); Maska et al., Bioinformatics 2014 (SEG); Luiten et al., "HOTA",
IJCV 2020; Ristani et al., ECCV Workshops 2016 (IDF1).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.errors import UsageError
from sam2track.export.ctc import Tracks
from sam2track.masks import Box, bounding_box

__all__ = ["TrackScores"]

Masks = Mapping[int, npt.NDArray[np.bool_]]


class TrackScores:
    """Takes masks frame by frame; keeps of each frame who overlaps with whom, and no masks."""

    def __init__(self) -> None:
        self._own: list[npt.NDArray[np.int64]] = []
        self._true: list[npt.NDArray[np.int64]] = []
        self._areas: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        self._shared: list[npt.NDArray[np.int64]] = []

    def add(self, own: Masks, true: Masks) -> None:
        """Take the masks of a frame, by object; those that are empty do not count."""
        mine, theirs = _cut_out(own), _cut_out(true)
        shared = np.zeros((len(theirs), len(mine)), np.int64)
        parts = list(mine.values())
        boxes = np.array([box for box, _ in parts], np.int64).reshape(-1, 4)
        for row, ((left, top, right, bottom), b) in enumerate(theirs.values()):
            # Of a thousand objects few are near: to ask one by one takes longer than all the rest.
            low = np.maximum(boxes[:, :2], (left, top))
            high = np.minimum(boxes[:, 2:], (right, bottom))
            for column in np.flatnonzero((low < high).all(axis=1)).tolist():
                (x0, y0, *_), a = parts[column]
                (x, y), (x_end, y_end) = low[column].tolist(), high[column].tolist()
                both = (
                    a[y - y0 : y_end - y0, x - x0 : x_end - x0]
                    & b[y - top : y_end - top, x - left : x_end - left]
                )
                shared[row, column] = np.count_nonzero(both)
        self._own.append(np.array(list(mine), np.int64))
        self._true.append(np.array(list(theirs), np.int64))
        self._areas.append(
            (
                np.array([np.count_nonzero(m) for _, m in theirs.values()], np.int64),
                np.array([np.count_nonzero(m) for _, m in mine.values()], np.int64),
            )
        )
        self._shared.append(shared)

    def _iou(self, frame: int) -> npt.NDArray[np.float64]:
        true, own = self._areas[frame]
        shared = self._shared[frame]
        union = true[:, None] + own[None, :] - shared
        return np.asarray(shared / np.maximum(union, 1), np.float64)

    def identity(self) -> dict[str, float]:
        """Return HOTA, DetA, AssA, IDF1, IDP and IDR, as TrackEval computes them from IoU.

        HOTA is the mean over its thresholds from 0.05 to 0.95; IDF1 takes 0.5.
        """
        from trackeval.metrics import HOTA, Identity

        true_ids, own_ids = _numbers(self._true), _numbers(self._own)
        data: dict[str, Any] = {
            "num_gt_ids": len(true_ids),
            "num_tracker_ids": len(own_ids),
            "num_gt_dets": sum(len(ids) for ids in self._true),
            "num_tracker_dets": sum(len(ids) for ids in self._own),
            "num_timesteps": len(self._own),
            "gt_ids": [np.array([true_ids[i] for i in ids.tolist()], int) for ids in self._true],
            "tracker_ids": [np.array([own_ids[i] for i in ids.tolist()], int) for ids in self._own],
            "similarity_scores": [self._iou(frame) for frame in range(len(self._own))],
        }
        if not data["num_gt_dets"]:
            raise UsageError("the truth holds no object")
        hota = HOTA().eval_sequence(data)
        identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
        return {
            **{key: float(np.mean(hota[key])) for key in ("HOTA", "DetA", "AssA")},
            **{key: float(identity[key]) for key in ("IDF1", "IDP", "IDR")},
        }

    def ctc(
        self, own_mothers: Mapping[int, int], true_mothers: Mapping[int, int]
    ) -> dict[str, float]:
        """Return SEG, DET and TRA, as py-ctcmetrics computes them.

        Objects become tracks as in an export to ``ctc``. A true object is found by one that covers
        more than half of it.
        """
        from ctc_metrics.metrics import det, seg, tra
        from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations

        own_labels, own_tracks = _tracks(self._own, own_mothers)
        true_labels, true_tracks = _tracks(self._true, true_mothers)
        if not len(true_tracks):
            raise UsageError("the truth holds no object")
        mapped_true: list[list[int]] = []
        mapped_own: list[list[int]] = []
        ious: list[list[float]] = []
        for frame, (own, true) in enumerate(zip(own_labels, true_labels, strict=True)):
            areas = self._areas[frame][0]
            rows, columns = np.nonzero(2 * self._shared[frame] > areas[:, None])
            # Masks that overlap may both cover one; it is found once.
            rows, first = np.unique(rows, return_index=True)
            columns = columns[first]
            mapped_true.append([true[row] for row in rows])
            mapped_own.append([own[column] for column in columns])
            ious.append(self._iou(frame)[rows, columns].tolist())
        # An empty frame more changes nothing; of one alone the package makes no edges, and fails.
        labelled = ([*each, []] for each in (true_labels, own_labels, mapped_true, mapped_own))
        with contextlib.redirect_stdout(io.StringIO()):
            counted = count_acyclic_graph_correction_operations(true_tracks, own_tracks, *labelled)
        return {
            "SEG": seg(true_labels, ious),
            "DET": det(**counted),
            "TRA": float(tra(**counted)[0]),
        }


def _cut_out(masks: Masks) -> dict[int, tuple[Box, npt.NDArray[np.bool_]]]:
    """Box of each mask that is not empty, and what of it lies there: one is held at a time."""
    found = {}
    for object_id in sorted(masks):
        mask = masks[object_id]
        if box := bounding_box(mask):
            x0, y0, x1, y1 = box
            found[object_id] = box, mask[y0:y1, x0:x1].copy()
    return found


def _numbers(ids: list[npt.NDArray[np.int64]]) -> dict[int, int]:
    """Number ids from 0."""
    found = sorted({int(i) for some in ids for i in some})
    return {i: number for number, i in enumerate(found)}


def _tracks(
    ids: list[npt.NDArray[np.int64]], mothers: Mapping[int, int]
) -> tuple[list[list[int]], npt.NDArray[np.int64]]:
    """Labels on each frame, and lines of label, begin, end, parent."""
    tracks = Tracks(
        dict(mothers), max((int(i) for some in ids for i in some), default=0), most=None
    )
    labels = []
    for frame, some in enumerate(ids):
        given = tracks.label([int(i) for i in some], frame)
        labels.append([given[int(i)] for i in some])
    lines = [[t.label, t.begin, t.end, t.parent] for t in tracks.lines]
    return labels, np.array(lines, np.int64).reshape(-1, 4)
