"""Boxes from a detector: what they are, and the files that hold them."""

from __future__ import annotations

from sam2track.detections.boxes import Detections, as_detections, match, match_masks
from sam2track.detections.files import load_detections
from sam2track.detections.plan import chosen, opened, packed, unpacked
from sam2track.detections.rows import DetectionFile

__all__ = [
    "DetectionFile",
    "Detections",
    "as_detections",
    "chosen",
    "load_detections",
    "match",
    "match_masks",
    "opened",
    "packed",
    "unpacked",
]
