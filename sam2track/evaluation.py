"""Masks against a ground truth, whatever formats the two lie in."""

from __future__ import annotations

import contextlib
import io
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sam2track.arguments import check_path
from sam2track.errors import Sam2TrackError, SourceError, UsageError
from sam2track.export.extras import needed
from sam2track.export.reading import Reading, open_masks
from sam2track.frames.bounds import USUAL_FPS
from sam2track.frames.opening import reopen_source
from sam2track.frames.source import FrameSource
from sam2track.lazy import Masks
from sam2track.metrics import boundary_f, jaccard, statistics
from sam2track.project import Project
from sam2track.tracking_scores import TrackScores

__all__ = ["METRICS", "Evaluation", "evaluate"]

METRICS = ("jf", "ctc", "identity")
"""J and F; SEG, DET and TRA; HOTA and IDF1."""

_Found = Mapping[int, npt.NDArray[np.bool_]]


@dataclass
class Evaluation:
    """What came of a comparison.

    Attributes
    ----------
    sequences : list of dict
        Of each: ``name``, ``frames``, ``objects`` (by object J, F, J&F with mean, recall and
        decay), ``mean``, and what was asked for of ``ctc`` and ``identity``.
    mean : dict
        J, F and J&F over all objects of all sequences.
    worst : list of dict
        ``sequence``, ``frame``, ``object``, ``j``, ``f``, ``jf``; worst first.
    warnings : list of str
    """

    sequences: list[dict[str, Any]] = field(default_factory=list)
    mean: dict[str, float] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        return {
            "version": 1,
            "mean": self.mean,
            "sequences": self.sequences,
            "worst": self.worst,
            "warnings": self.warnings,
        }


def evaluate(
    pred: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    pred_format: str | None = None,
    truth_format: str | None = None,
    metrics: Sequence[str] | None = None,
    skip_ends: bool = False,
    worst: int = 10,
) -> Evaluation:
    """Compare masks with a ground truth.

    Every frame and object of the truth counts; an object from the first frame on which one of the
    two shows it. Objects are compared by their ids in J and F, and matched by overlap in the
    other measures.

    Parameters
    ----------
    pred, truth : path
        A project, or masks in any format of ``sam2track.export.reading.READERS``. Where the truth
        is a folder of several DAVIS sequences, so is the other, by the same names.
    pred_format, truth_format : str, optional
        Found from what is there where not given.
    metrics : sequence of {"jf", "ctc", "identity"}, or one of them, optional
        All whose packages are installed, if not given.
    skip_ends : bool
        Leave out the first and last frame, as DAVIS does.
    worst : int
        How many of the worst frames are listed.

    Raises
    ------
    UsageError
        Where sizes or frames differ, or a package is missing that a measure wants.
    SourceError, ProjectError
        Where one cannot be read.
    """
    found = Evaluation()
    wanted = _wanted([metrics] if isinstance(metrics, str) else metrics, found)
    pairs = _pairs(check_path("pred", pred), check_path("truth", truth), truth_format)
    rows: list[dict[str, Any]] = []
    for name, mine, true in pairs:
        with ExitStack() as stack:
            source = _pictures(mine) or _pictures(true)
            left = _opened(mine, pred_format, "--pred-format", stack, found.warnings, source)
            right = _opened(true, truth_format, "--truth-format", stack, found.warnings, source)
            _check(left, right)
            values: dict[int, tuple[array[float], array[float]]] = {}
            true_ids: set[int] = set()
            scores = TrackScores() if set(wanted) - {"jf"} else None
            frames = array("q")
            for frame, own, their in _paired(left, right, skip_ends, found):
                frames.append(frame)
                if "jf" in wanted:
                    true_ids |= _measure(own, their, values)
                if scores is not None:
                    scores.add(own, their)
        if not frames:
            raise UsageError(f"{true} has no frame that could be compared")
        sequence: dict[str, Any] = {"name": name, "frames": len(frames)}
        if "jf" in wanted:
            if not true_ids:
                raise UsageError(f"{true} holds no object")
            for i in sorted(true_ids):
                rows += _lowest(name, i, frames, *values[i], worst)
            objects = {i: _summary(*values[i]) for i in sorted(true_ids)}
            sequence |= {
                "mean": _mean(list(objects.values())),
                "objects": {str(i): o for i, o in objects.items()},
            }
        if scores is not None and "ctc" in wanted:
            sequence["ctc"] = scores.ctc(left.lineage, right.lineage)
        if scores is not None and "identity" in wanted:
            sequence["identity"] = scores.identity()
        found.sequences.append(sequence)
    if "jf" in wanted:
        found.mean = _mean([o for s in found.sequences for o in s["objects"].values()])
        rows.sort(key=lambda one: (one["jf"], one["sequence"], one["frame"], one["object"]))
        found.worst = rows[:worst]
    found.warnings = list(dict.fromkeys(found.warnings))
    return found


def _wanted(metrics: Sequence[str] | None, found: Evaluation) -> tuple[str, ...]:
    packages = {"ctc": "ctc_metrics.metrics", "identity": "trackeval.metrics"}
    if metrics is None:
        wanted = ["jf"]
        for name, package in packages.items():
            try:
                _load(package, name)
                wanted.append(name)
            except UsageError as error:
                found.warnings.append(f"not measured: {error}")
        return tuple(wanted)
    for name in metrics:
        if name not in METRICS:
            raise UsageError(f"metric {name!r}; allowed are {', '.join(METRICS)}")
        if name in packages:
            _load(packages[name], name)
    if not metrics:
        raise UsageError(f"no metric; allowed are {', '.join(METRICS)}")
    return tuple(metrics)


def _load(package: str, name: str) -> None:
    # TrackEval prints which of its own parts are not there.
    with contextlib.redirect_stdout(io.StringIO()):
        needed(package, name, "eval")


def _pairs(pred: Path, truth: Path, truth_format: str | None) -> list[tuple[str, Path, Path]]:
    """Sequences by name: one, or those of two folders of DAVIS sequences."""
    for path in (pred, truth):
        if not path.exists():
            raise SourceError(f"there is nothing at {path}")
    inner = _sequences(truth) if truth_format in (None, "davis") else []
    if len(inner) < 2:
        return [(truth.absolute().stem, pred, truth)]  # . has no name of its own
    missing = [name for name in inner if not (pred / name).is_dir()]
    if missing:
        raise UsageError(f"{pred} lacks sequences of {truth}: {', '.join(missing[:5])}")
    return [(name, pred / name, truth / name) for name in inner]


def _sequences(path: Path) -> list[str]:
    """Folders of PNGs in a folder that has none itself; not those that SA-V has for objects."""
    if not path.is_dir() or any(path.glob("*.png")) or (path / "project.s2t").exists():
        return []
    inner = [p.name for p in sorted(path.iterdir()) if p.is_dir() and any(p.glob("*.png"))]
    return [] if all(name.isdecimal() for name in inner) else inner


def _project_at(path: Path) -> Path:
    """The project in a folder of outputs; else the path as it is."""
    return path / "project.s2t" if (path / "project.s2t").is_file() else path


def _pictures(path: Path) -> FrameSource | None:
    """The folder of pictures that a project is of, whose names label maps may bear."""
    file = _project_at(path)
    if file.suffix != ".s2t":
        return None
    with Project.open(file) as project:
        if not Path(project.meta.get("source_path") or file).is_dir():
            return None
        with contextlib.suppress(Sam2TrackError):  # moved, or changed since
            source = reopen_source(project.meta, fps=USUAL_FPS, folder=file.parent)
            if len(source) == len(project.times):
                return source
    return None


def _opened(
    path: Path,
    format: str | None,
    option: str,
    stack: ExitStack,
    warnings: list[str],
    source: FrameSource | None,
) -> Reading:
    """Open masks or a project."""
    file = _project_at(path)
    if format is not None or file.suffix != ".s2t":
        reading = open_masks(path, format, option=option, source=source)
        warnings += reading.warnings
        return reading
    project = stack.enter_context(Project.open(file))
    frames = range(len(project.times))
    if lacking := len(frames) - len(project.frames):
        warnings.append(
            f"{lacking} of {len(frames)} frames of {file} have no result and count as empty; "
            "was it tracked to the end?"
        )

    def shots() -> Iterator[tuple[int, _Found]]:
        known = set(project.frames)
        for frame in frames:
            yield frame, Masks(project.mask_makers(frame) if frame in known else {})

    return Reading(
        file,
        "project",
        project.height,
        project.width,
        frames,
        shots,
        project.names,
        project.lineage,
    )


def _check(pred: Reading, truth: Reading) -> None:
    if (pred.height, pred.width) != (truth.height, truth.width):
        raise UsageError(
            f"{pred.path} has masks of {pred.width} x {pred.height} pixels, "
            f"{truth.path} of {truth.width} x {truth.height}"
        )
    if pred.frames is not None and truth.frames is not None:
        missing = sorted(set(truth.frames) - set(pred.frames))
        if missing:
            raise UsageError(
                f"{pred.path} has {len(pred.frames)} frames and lacks {len(missing)} of the "
                f"{len(truth.frames)} of {truth.path}, the first is {missing[0]}"
            )


def _paired(
    pred: Reading, truth: Reading, skip_ends: bool, found: Evaluation
) -> Iterator[tuple[int, _Found, _Found]]:
    """Yield each frame of the truth with the masks of both."""
    if truth.frames is not None:
        frames = list(truth.frames)
    elif pred.frames is not None:  # a truth that does not say how long it is
        frames = list(pred.frames)
    else:
        frames = sorted({frame for r in (pred, truth) for frame, _ in r.shots()})
    if pred.frames is not None and len(pred.frames) > len(frames):
        more = len(pred.frames) - len(frames)
        found.warnings.append(f"{more} frames of {pred.path} are not in the truth and do not count")
    if skip_ends:
        frames = frames[1:-1]
    yield from zip(frames, _of(pred, frames), _of(truth, frames), strict=True)


def _of(reading: Reading, frames: Sequence[int]) -> Iterator[_Found]:
    """Yield the masks of the frames asked for, in order; none where there is no such frame."""
    shots = reading.shots()
    at: tuple[int, _Found] | None = next(shots, None)
    for frame in frames:
        while at is not None and at[0] < frame:
            at = next(shots, None)
        yield at[1] if at is not None and at[0] == frame else {}


def _measure(
    own: _Found, their: _Found, values: dict[int, tuple[array[float], array[float]]]
) -> set[int]:
    """Add J and F of each object that one of the two has shown so far; return who is in `their`."""
    none: npt.NDArray[np.bool_] | None = None
    shown = set()
    for object_id in {**values, **dict.fromkeys(their), **dict.fromkeys(own)}:
        a, b = own.get(object_id), their.get(object_id)  # made once each
        if b is not None and b.any():
            shown.add(object_id)
        if object_id not in values:
            if object_id not in shown and (a is None or not a.any()):
                continue
            values[object_id] = array("d"), array("d")
        js, fs = values[object_id]
        if a is None and b is None:
            j = f = 1.0
        else:
            some = a if a is not None else b
            none = np.zeros_like(some) if none is None else none
            a, b = none if a is None else a, none if b is None else b
            j, f = float(jaccard(a, b)), float(boundary_f(a, b))
        js.append(j)
        fs.append(f)
    return shown


def _lowest(
    name: str,
    object_id: int,
    frames: array[int],
    js: array[float],
    fs: array[float],
    count: int,
) -> list[dict[str, Any]]:
    """The frames on which an object is worst, as many as asked for."""
    means = (np.array(js) + np.array(fs)) / 2
    first = len(frames) - len(means)  # it counts from where it was first shown to the end
    return [
        {
            "sequence": name,
            "frame": frames[first + k],
            "object": object_id,
            "j": js[k],
            "f": fs[k],
            "jf": float(means[k]),
        }
        for k in np.argsort(means, kind="stable")[:count].tolist()
    ]


def _summary(js: array[float], fs: array[float]) -> dict[str, float]:
    j, f = statistics(js), statistics(fs)
    return {
        "jf": (j.mean + f.mean) / 2,
        "j": j.mean,
        "j_recall": j.recall,
        "j_decay": j.decay,
        "f": f.mean,
        "f_recall": f.recall,
        "f_decay": f.decay,
        "frames": len(js),
    }


def _mean(objects: list[dict[str, float]]) -> dict[str, float]:
    keys = [key for key in objects[0] if key != "frames"]
    return {key: float(np.mean([one[key] for one in objects])) for key in keys}
