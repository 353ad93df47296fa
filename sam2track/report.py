"""One page on a project, in one file: overlay, confidence, charts, where to look, methods.

The page works offline from a file. What comes from data (names, paths) reaches it as text alone:
as JSON that its script puts in as text, or escaped; and a policy in its head lets no other script
run than its own. Its size does not grow with the length of the video beyond a limit: there are at
most `BINS` moments in charts and timelines, and `SHOWN` frames in the player.
"""

from __future__ import annotations

import base64
import io
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sam2track import review
from sam2track.arguments import check_path
from sam2track.confidence import Confidence, confidences
from sam2track.errors import OutputError, ProjectError
from sam2track.export import cannot_write, output_errors
from sam2track.export.staging import Staged
from sam2track.films import render
from sam2track.footage import open_footage
from sam2track.frames.opening import part_told
from sam2track.frames.source import FrameSource
from sam2track.measure import Scale, measured, summarised
from sam2track.page import write_page
from sam2track.palette import colour
from sam2track.project import Project

__all__ = ["BINS", "SHOWN", "report"]

BINS = 1500
"""Most moments in charts and timelines; each stands for as many frames as need be."""
SHOWN = 3000
"""Most frames in the player."""

_CHARTED = 12  # objects in the charts
_LISTED = 200  # objects in timelines


def report(
    project: Project,
    output: str | os.PathLike[str],
    *,
    source: Any = None,
    title: str | None = None,
    video: bool = True,
    size: int = 640,
    looks: int = 12,
    pixel_size_um: float | None = None,
    frame_interval_s: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Write a page on a project.

    Parameters
    ----------
    project : Project
    output : path
        The page; one that is there is replaced.
    source : path, array or FrameSource, optional
        Where the pictures are, if no longer where the project says.
    title : str, optional
        The source's name, if not given.
    video : bool
        Whether the page holds the overlay.
    size : int
        Longest side of the overlay in pixels.
    looks : int
        How many frames to look at it names.
    pixel_size_um, frame_interval_s : float, optional
        Micrometres and seconds; those of the project, if not given.
    progress : callable, optional
        Called with each frame that was read; each comes two or, with the overlay, three times.

    Returns
    -------
    list of str
        Warnings: that the pictures cannot be had, or changed. The page says so too, and does
        without them.

    Raises
    ------
    ProjectError
        Where the project holds no results.
    OutputError
        Where the page cannot be written; no half of it is left.
    """
    if not project.frames:
        raise ProjectError(f"{project.path} holds no results yet; track first")
    scale = Scale.of(project.meta, pixel_size_um=pixel_size_um, frame_interval_s=frame_interval_s)
    path = check_path("output", output)
    footage = open_footage(project, source)
    problem = footage.problem
    if problem:
        problem += "; shown all the same" if footage.source else "; the page has no pictures"
    warnings = [problem] if problem else []
    try:
        content = _content(project, footage.source, scale, looks, warnings, progress)
        with (
            output_errors(path),
            tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".report-") as folder,
        ):
            film = None
            if video and footage.source is not None:
                film = Path(folder) / "overlay.mp4"
                span = project.frames[-1] + 1 - project.frames[0]
                every = -(-span // SHOWN)
                try:
                    render(
                        project,
                        film,
                        source=footage.source,
                        size=size,
                        every=every,
                        quality=26,
                        progress=progress,
                    )
                except OutputError as error:  # of a file that nobody has heard of
                    raise cannot_write(path, error.__cause__ or error) from error
            with (
                Staged(path) as whole,
                # Names of files may be no text.
                whole.partial.open("w", encoding="utf-8", errors="backslashreplace") as page,
            ):
                write_page(page, title or _title(project), content, film)
    finally:
        if footage.source is not None and footage.source is not source:
            footage.source.close()
    return warnings


class _Bins:
    """Means of a quantity, or its least values, over moments of a video, by key."""

    def __init__(self, low: int, high: int, *, least: bool = False) -> None:
        self._low, self._least = low, least
        self._wide = -(-(high - low) // BINS)
        self.count = -(-(high - low) // self._wide)
        self._sums: dict[Any, np.ndarray[Any, np.dtype[np.float32]]] = {}
        self._numbers: dict[Any, np.ndarray[Any, np.dtype[np.float32]]] = {}

    @property
    def first_frames(self) -> list[int]:
        """The frame with which each moment begins."""
        return [self._low + self._wide * index for index in range(self.count)]

    def add(self, key: Any, frame: int, value: float | None) -> None:
        if value is None or math.isnan(value):
            return
        index = (frame - self._low) // self._wide
        if key not in self._sums:
            self._sums[key] = np.full(self.count, np.inf if self._least else 0, np.float32)
            self._numbers[key] = np.zeros(self.count, np.float32)
        if self._least:
            self._sums[key][index] = min(self._sums[key][index], value)
        else:
            self._sums[key][index] += value
        self._numbers[key][index] += 1

    def values(self, key: Any) -> list[float | None]:
        """Return a value for each moment, None where there is none."""
        if key not in self._sums:
            return [None] * self.count
        sums, numbers = self._sums[key], self._numbers[key]
        made = sums if self._least else sums / np.maximum(numbers, 1)
        return [
            float(f"{v:.4g}") if n else None
            for v, n in zip(made.tolist(), numbers.tolist(), strict=True)
        ]


def _content(
    project: Project,
    source: FrameSource | None,
    scale: Scale,
    looks: int,
    warnings: list[str],
    progress: Callable[[int], None] | None,
) -> dict[str, Any]:
    """Return all that the page's script reads."""
    frames = project.frames
    low, high = frames[0], frames[-1] + 1
    sure = confidences(project, progress=progress)
    listed = _least_sure(sure, _LISTED)
    charted = set(listed[:_CHARTED])
    kinds = {name: _Bins(low, high) for name in ("area", "speed", "score", "counts")}
    doubt = _Bins(low, high, least=True)
    unit = "um" if scale.pixel_size_um is not None else "px"
    area, speed = ("area_um2", "speed_um_per_s") if unit == "um" else ("area_px", "speed_px_per_s")
    # All from the start: there is none of a class before its first object comes.
    classes: Counter[str] = Counter(dict.fromkeys(map(str, project.names.values()), 0))
    made = measured(project, scale=scale, sure=sure, shapes=False, progress=progress)

    def rows() -> Iterator[dict[str, Any]]:
        current, here = low, Counter[str]()
        for row in made.rows:
            frame, object_id = row["frame"], row["object"]
            if frame != current:
                _add_counts(kinds["counts"], current, here, classes)
                current, here = frame, Counter()
            here[row["name"]] += row["area_px"] > 0
            if object_id in charted:
                kinds["speed"].add(object_id, frame, row.get(speed))
                kinds["score"].add(object_id, frame, row["object_score"])
            kinds["area"].add(object_id, frame, row[area])
            doubt.add(object_id, frame, row["confidence"])
            yield row
        _add_counts(kinds["counts"], current, here, classes)

    names, objects = summarised(rows(), scale=scale)
    by_id = project.names
    label = {i: f"{i} {by_id.get(i, '')}".rstrip() for i in sure}
    times, interval = project.times, scale.frame_interval_s
    worst = review.worst_of(project, sure, count=looks) if looks else []
    pictures = review.crops(project, worst, source) if worst else []
    firsts = doubt.first_frames
    return {
        "frames": firsts,
        # The player's times are those of the source, whatever interval was given.
        "times": [round(float(times[t] - times[low]), 6) for t in firsts],
        "clock": [
            round(t * interval if interval is not None else float(times[t]), 6) for t in firsts
        ],
        "warnings": warnings,
        "summary": _summary(project, low, high, len(sure)),
        "methods": _methods(project, low, high, scale),
        "objects": [
            {
                "label": label[i],
                "colour": _css(i),
                "confidence": doubt.values(i),
                "area": kinds["area"].values(i),
            }
            for i in listed
        ],
        "listed": _left_out(len(sure), _LISTED),
        "charted": _left_out(len(sure), _CHARTED),
        "charts": [
            {
                "title": name,
                "range": limits,
                "series": [
                    {"label": label[i], "colour": _css(i), "values": bins.values(i)}
                    for i in listed[:_CHARTED]
                ],
            }
            for name, bins, limits in (
                (f"area ({unit}²)".replace("um", "µm"), kinds["area"], None),
                (f"speed ({unit}/s)".replace("um", "µm"), kinds["speed"], None),
                ("object score", kinds["score"], None),
                ("confidence", doubt, [0, 1.02]),
            )
        ]
        + [
            {
                "title": "objects in sight",
                "range": None,
                "series": [
                    {
                        "label": name or "(no name)",
                        "colour": _css(index + 1),
                        "values": kinds["counts"].values(name),
                    }
                    for index, (name, _) in enumerate(classes.most_common(_CHARTED))
                ],
            }
        ],
        "looks": [
            {
                "frame": look.frame,
                "time": round(float(times[look.frame] - times[low]), 6),
                "label": label[look.object_id],
                "confidence": look.confidence,
                "reason": look.reason,
                "picture": _jpeg(picture),
            }
            for look, picture in zip(worst, pictures, strict=True)
        ],
        "objectHeader": list(names),
        "objectRows": [[_plain(row.get(name)) for name in names] for row in objects],
    }


def _add_counts(bins: _Bins, frame: int, here: Counter[str], classes: Counter[str]) -> None:
    classes.update(here)
    for name in classes:
        bins.add(name, frame, here[name])


def _left_out(there: int, shown: int) -> str:
    if there <= shown:
        return ""
    return f"The {shown} objects that are least sure; {there - shown} more are left out."


def _least_sure(sure: Mapping[int, Confidence], count: int) -> list[int]:
    """Return the objects that are least sure on the whole, by id."""
    by_mean = sorted(sure, key=lambda i: float(sure[i].values.mean()))
    return sorted(by_mean[:count]) if len(by_mean) <= _CHARTED else by_mean[:count]


def _css(object_id: int) -> str:
    """An object's colour, dark enough on white and bright enough to tell it from black."""
    tone = np.array(colour(object_id), float)
    tone *= 200 / max(1.0, tone.max())
    return f"rgb({','.join(str(round(v)) for v in tone)})"


def _jpeg(picture: review.Picture) -> str:
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode()


def _plain(value: Any) -> Any:
    """A value of JSON; what is no finite number is nothing."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _title(project: Project) -> str:
    return Path(str(project.meta.get("source", project.path))).name or str(project.path)


def _summary(project: Project, low: int, high: int, objects: int) -> list[list[Any]]:
    meta = project.meta
    return [
        ["source", str(meta.get("source", "")) + part_told(meta)],
        ["size", f"{project.width} x {project.height}, {meta['frames']} frames"],
        [
            "frames with results",
            f"{low} to {high - 1} ({project.time(low):.3f} s to {project.time(high - 1):.3f} s)",
        ],
        ["objects", objects],
        ["model", f"{meta.get('model')} in {meta.get('precision')} at {meta.get('image_size')}"],
        ["project", str(project.path)],
    ]


def _methods(project: Project, low: int, high: int, scale: Scale) -> str:
    """A paragraph that says how the results were made."""
    meta = project.meta
    kinds: Counter[str] = Counter()
    for _, _, prompt in project.each_prompt():
        kinds["point"] += len(prompt.points)
        kinds["box"] += prompt.box is not None
        kinds["mask"] += prompt.has_mask and not prompt.edited
        kinds["edited or confirmed mask"] += prompt.edited
        kinds["absence"] += prompt.absent and not prompt.edited
    said = ", ".join(
        f"{n} {kind}{'' if n == 1 else 'es' if kind == 'box' else 's'}"
        for kind, n in kinds.items()
        if n
    )
    units = []
    if scale.pixel_size_um is not None:
        units.append(f"a pixel is {scale.pixel_size_um:g} µm wide")
    if scale.frame_interval_s is not None:
        units.append(f"frames are {scale.frame_interval_s:g} s apart")
    return (
        f"Objects were followed with sam2track {version('sam2track')} and the SAM 2 model "
        f"{meta.get('model')} (weights {meta.get('weights')}, {meta.get('precision')}, input of "
        f"{meta.get('image_size')} x {meta.get('image_size')} pixels, device {meta.get('device')}) "
        f"on frames {low} to {high - 1} of {_title(project)} (fingerprint "
        f"{meta.get('fingerprint')}). They were given by {said or 'no prompts'}. "
        f"Shapes are measured as scikit-image defines them"
        f"{'; ' + ' and '.join(units) if units else ''}. "
        f"Confidence combines object score, predicted IoU, mask stability, overlap, and changes of "
        f"area and place; docs/measurements.md has the formula. The journal in the project file "
        f"holds every step."
    )
