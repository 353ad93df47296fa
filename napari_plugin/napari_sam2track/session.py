"""What a person does to one video: a tracker, its project, and what is to be shown of them.

A Session changes things and runs in a worker's thread; a View reads the same project through a
connection of its own and runs in the viewer's. Neither knows of napari or Qt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError
from sam2track.founding import open_project
from sam2track.project import Project
from sam2track.tracking.tracker import Direction, Tracker

if TYPE_CHECKING:
    from sam2track.frames.source import FrameSource
    from sam2track.models.loading import Model
    from sam2track.prompts import Prompt, Prompts
    from sam2track.tracking.result import FrameResult

__all__ = ["Row", "Said", "Session", "Tracks", "View", "confidence"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Said:
    """Clicks and a box of one object on one frame, as layers show them."""

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is said."""
        return not self.points and self.box is None


@dataclass(frozen=True)
class Row:
    """One object, for the list of objects."""

    object_id: int
    name: str
    locked: bool
    mother: int | None
    end: int | None
    state: str
    worst: float | None
    worst_frame: int | None


@dataclass(frozen=True)
class Tracks:
    """Objects as tracks: rows of (id, frame, y, x), mothers by daughter, and features."""

    data: npt.NDArray[np.float64]
    graph: dict[int, list[int]]
    features: dict[str, npt.NDArray[np.float64]]


def confidence(score: float, iou: float) -> float:
    """How sure tracking is of a mask, 0 to 1: predicted IoU times the odds that it is there."""
    return max(0.0, min(1.0, iou)) / (1 + math.exp(-max(-60.0, min(60.0, score))))


class Session:
    """All that changes a project, on top of ``Tracker``; used in one thread.

    Parameters
    ----------
    source : FrameSource
    model : Model
    path : path
        The project; made where it is not there.
    **settings
        JSON values that a new project holds for the viewer.

    Raises
    ------
    Sam2TrackError
        As ``open_project``.
    """

    def __init__(
        self, source: FrameSource, model: Model, path: str | Path, **settings: Any
    ) -> None:
        self.path = Path(path)
        self.selected = 1  # the object that a person looks at, for the next time
        self.project: Project = open_project(self.path, source, model, **settings)
        try:
            self.tracker = Tracker(model, source, history=self.project)
        except BaseException:
            self.project.close()
            raise

    def close(self) -> None:
        """Close the project; one to which nothing was ever said is removed."""
        untouched = not self.project.journal()
        if not untouched:
            self.project.set_meta(selected=self.selected)
        self.project.close()
        if untouched:
            self.path.unlink(missing_ok=True)

    # -- what is said -------------------------------------------------------------------

    def prompt_on(self, object_id: int, frame: int) -> Prompt | None:
        """What is said of an object on a frame now."""
        if object_id not in self.tracker.object_ids:
            return None
        if frame not in self.tracker.prompted(object_id):
            return None
        return self.project.prompts.by_object.get(object_id, {}).get(frame)

    def say(self, object_id: int, frame: int, said: Said) -> tuple[int, ...]:
        """Let clicks and box of an object on a frame be these; returns the frames that changed.

        A mask that was painted there is refined by them; nothing at all takes back what was said.
        """
        before = self.prompt_on(object_id, frame)
        mask = None if before is None else before.mask
        if said.empty:
            if before is None:
                return ()
            if mask is not None:
                if before.edited or before.is_mask_alone:
                    return ()
                self.tracker.prompt(object_id, frame, mask=mask)
            else:
                self.tracker.clear(object_id, frame)
        else:
            self.tracker.prompt(
                object_id, frame, points=said.points, labels=said.labels, box=said.box, mask=mask
            )
        return (frame,)

    def forget(self, object_id: int, frame: int) -> None:
        """Take back all that was said of an object on a frame, a painted mask too."""
        self.tracker.clear(object_id, frame)

    def paint(self, frame: int, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> list[int]:
        """Take what was painted on a frame as edits of the objects that it changed.

        Parameters
        ----------
        before, after : (H, W) arrays of int
            Label maps.

        Returns
        -------
        list of int
            Objects that were edited or begun.

        Raises
        ------
        PromptError
            Where one of them cannot be changed; then none of them is.
        """
        changed = before != after
        ids = sorted({*np.unique(before[changed]).tolist(), *np.unique(after[changed]).tolist()})
        ids = [int(i) for i in ids if i != 0]
        for object_id in ids:
            if object_id in self.tracker.object_ids and self.tracker.life(object_id).locked:
                raise PromptError(
                    f"object {object_id} is locked; unlock it in the list to paint over it"
                )
        for object_id in ids:
            # What is shown is what counts: nothing of it lies under another object afterwards.
            mask = after == object_id
            if object_id in self.tracker.object_ids:
                self.tracker.edit(object_id, frame, mask)
            else:
                self.tracker.prompt(object_id, frame, mask=mask)
        return ids

    def divide(self, mother: int, frame: int, daughters: Sequence[int]) -> tuple[int, ...]:
        """Let an object end where others begin, which are there already."""
        if not daughters:
            raise PromptError(
                f"click the daughters of object {mother} on frame {frame} first, each as an "
                f"object of its own, and then divide"
            )
        self.tracker.divide(mother, frame, list(daughters))
        return tuple(daughters)

    def born_on(self, frame: int) -> tuple[int, ...]:
        """Objects without a mother that are first prompted on a frame: daughters, it may be."""
        return tuple(
            i
            for i, (first, _) in self.tracker.spans().items()
            if first == frame and self.tracker.life(i).mother is None
        )

    # -- tracking -----------------------------------------------------------------------

    def track(
        self,
        direction: Direction | Literal["next"] = "both",
        start: int | None = None,
        stop: int | None = None,
        objects: Sequence[int] | None = None,
    ) -> Iterator[FrameResult]:
        """Run what has changed; ``next`` runs both ways, no further than to what a person fixed.

        Within a range too, only what was not run since it changed.
        """
        until = direction == "next"
        way: Direction = "both" if direction == "next" else direction
        return self.tracker.propagate(
            start, stop, way, objects, unfinished=start is not None, until_prompted=until
        )

    def frames_to_run(self, direction: str = "both") -> int:
        """About how many frames a run gives."""
        count = len(self.tracker.source)
        lives = [self.tracker.life(i) for i in self.tracker.object_ids]
        ahead = [x.forward for x in lives if x.forward is not None and not x.locked]
        back = [x.backward for x in lives if x.backward is not None and not x.locked]
        total = 0
        if direction != "backward" and ahead:
            total += count - min(ahead)
        if direction != "forward" and back:
            firsts = [self.tracker.spans()[x.object_id][0] for x in lives]
            total += max(firsts) if direction == "both" else max(back) + 1
        return max(1, total)

    def tracks(self) -> Tracks:
        """Read all masks and give them as tracks."""
        rows = [row for row in self.project.rows() if row.centroid is not None]
        rows.sort(key=lambda row: (row.object_id, row.frame))
        data = np.array(
            [(r.object_id, r.frame, r.centroid[1], r.centroid[0]) for r in rows if r.centroid],
            np.float64,
        ).reshape(-1, 4)
        speed = np.zeros(len(data))
        if len(data) > 1:
            steps = np.diff(data, axis=0)
            same = steps[:, 0] == 0
            moved = np.hypot(steps[:, 2], steps[:, 3]) / np.maximum(steps[:, 1], 1)
            speed[1:] = np.where(same, moved, 0)
        features = {
            "area": np.array([float(r.area) for r in rows]),
            "confidence": np.array(
                [confidence(r.object_score or 0, r.predicted_iou or 0) for r in rows]
            ),
            "speed": speed,
        }
        there = set(data[:, 0].astype(int).tolist())
        graph = {
            daughter: [mother]
            for daughter, mother in self.project.lineage.items()
            if daughter in there and mother in there
        }
        return Tracks(data, graph, features)


@dataclass
class View:
    """What is to be shown of a project, read through a connection of its own.

    Parameters
    ----------
    path : Path
    """

    path: Path
    _sure: dict[int, dict[int, tuple[float, str]]] = field(default_factory=dict)
    _prompts: Prompts | None = None

    def __post_init__(self) -> None:
        self._project = Project.open(self.path)

    def close(self) -> None:
        """Let go of the project."""
        self._project.close()

    @property
    def meta(self) -> dict[str, Any]:
        """Source, model and settings."""
        return self._project.meta

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever said."""
        return not self._project.journal()

    def labels(self, frame: int) -> npt.NDArray[np.int32]:
        """Label map of a frame, (H, W) int32."""
        return self._project.labels(frame)

    def said(self) -> dict[tuple[int, int], Said]:
        """Clicks and boxes by object and frame."""
        found = {}
        for object_id, frame, prompt in self._all_prompts():
            said = Said(prompt.points, prompt.labels, prompt.box)
            if not said.empty:
                found[object_id, frame] = said
        return found

    def prompted(self, object_id: int | None = None) -> list[int]:
        """Frames on which a person said something, ascending."""
        by_object = self._all_prompts().by_object
        chosen = by_object.values() if object_id is None else [by_object.get(object_id, {})]
        return sorted({frame for frames in chosen for frame in frames})

    def _all_prompts(self) -> Prompts:
        if self._prompts is None:
            self._prompts = self._project.prompts
        return self._prompts

    def refresh(self) -> None:
        """Read prompts and scores anew."""
        self._sure, self._prompts = {}, None
        for object_id, frame, score, iou, source in self._project.scores():
            self._sure.setdefault(object_id, {})[frame] = confidence(score, iou), source

    def saw(self, result: FrameResult) -> None:
        """Take the scores of a frame that was just run."""
        for index, object_id in enumerate(result.object_ids):
            self._sure.setdefault(object_id, {})[result.frame] = (
                confidence(float(result.object_scores[index]), float(result.ious[index])),
                result.sources[index],
            )

    def confidence(self, object_id: int) -> dict[int, float]:
        """By frame, how sure tracking is; where a person fixed the mask, entirely."""
        found = self._sure.get(object_id, {})
        return {f: 1.0 if how in ("prompted", "edited") else c for f, (c, how) in found.items()}

    def least_sure(self, object_id: int | None = None, beyond: float = -1.0) -> int | None:
        """The frame with the lowest confidence above a bound, of one object or of all."""
        ids = list(self._sure) if object_id is None else [object_id]
        pairs = [(c, f) for i in ids for f, c in self.confidence(i).items() if beyond < c < 1.0]
        return min(pairs)[1] if pairs else None

    def rows(self) -> list[Row]:
        """All objects, by id."""
        found = []
        for life in self._project.lives():
            sure = {f: c for f, c in self.confidence(life.object_id).items() if c < 1}
            worst = min(sure, key=lambda f: sure[f]) if sure else None
            if life.locked:
                state = "locked"
            elif life.forward is not None or life.backward is not None:
                state = "to track"
            else:
                state = "tracked"
            found.append(
                Row(
                    life.object_id,
                    life.name,
                    life.locked,
                    life.mother,
                    life.end,
                    state,
                    None if worst is None else sure[worst],
                    worst,
                )
            )
        return found

    def next_id(self) -> int:
        """The first number that no object has."""
        taken = {life.object_id for life in self._project.lives()}
        return next(number for number in range(1, len(taken) + 2) if number not in taken)
