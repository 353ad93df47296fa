"""Single pictures: masks of what is prompted, or of everything."""

from __future__ import annotations

from sam2track.image.segmenter import ImageResult, ImageSegmenter, segment

__all__ = ["ImageResult", "ImageSegmenter", "segment"]
