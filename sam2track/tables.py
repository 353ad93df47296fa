"""Measurements as pandas tables."""

from __future__ import annotations

import warnings
from typing import Any

import pandas

from sam2track.arguments import check_flag
from sam2track.footage import Footage, open_footage
from sam2track.measure import Scale, measured, summarised
from sam2track.table import Results

__all__ = ["frames_and_objects"]


def frames_and_objects(
    results: Results,
    pixel_size_um: float | None,
    frame_interval_s: float | None,
    *,
    source: Any = None,
    intensities: bool = True,
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Return one row for each object and frame, and one for each object.

    Parameters as ``Project.table``; what goes wrong with the pictures is a UserWarning.
    """
    scale = Scale.of(results.meta, pixel_size_um=pixel_size_um, frame_interval_s=frame_interval_s)
    footage = (
        open_footage(results, source)
        if check_flag("intensities", intensities)
        else Footage(None, "")
    )
    try:
        made = measured(results, source=footage.source, scale=scale)
        rows = list(made.rows)
    finally:
        if footage.source is not None and footage.source is not source:
            footage.source.close()
    names, objects = summarised(rows, scale=scale)
    for problem in (footage.problem, *made.warnings):
        if problem:
            warnings.warn(problem, stacklevel=3)
    return (
        pandas.DataFrame(rows, columns=list(made.columns)),
        pandas.DataFrame(objects, columns=list(names)),
    )
