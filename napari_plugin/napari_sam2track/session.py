"""What a person does to one video: a tracker and its project; no napari, no Qt.

A Session changes things and runs in a worker's thread; a View reads the same project and runs in
the viewer's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from napari_sam2track.rescue import written_anew
from napari_sam2track.strokes import Action, Strokes
from napari_sam2track.tracks import Place, Tracks, as_tracks, place
from napari_sam2track.view import Said, Sure
from sam2track.arguments import Direction
from sam2track.errors import PromptError, Sam2TrackError, SourceError, UsageError
from sam2track.export import output_errors
from sam2track.export.exporting import FORMATS
from sam2track.founding import open_project
from sam2track.outputs import OUTPUTS, USUAL, Progress
from sam2track.project import Project
from sam2track.tracking.tracker import Tracker
from sam2track.watch import Watch
from sam2track.writing import writing_outputs

if TYPE_CHECKING:
    from sam2track.export.exporting import Exported
    from sam2track.frames.source import FrameSource
    from sam2track.models.model import Model
    from sam2track.prompts import Prompt
    from sam2track.table import TrackRow
    from sam2track.tracking.result import FrameResult

__all__ = ["Session"]

Stroke = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # label maps before and after

_AT_ONCE = 200  # masks that are read before something else may be done, or those of a frame


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
        self.path, self.source = Path(path), source
        self.selected = 1  # the object that a person looks at, for the next time
        self.project: Project = open_project(self.path, source, model, **settings)
        try:
            self._strokes = Strokes(self.project)
            self._tracker: Tracker | None = Tracker(model, source, history=self.project)
        except BaseException:
            self.project.close()
            raise
        self.model = self._tracker.model
        self._moved = ""  # what is to be told of where it was written anew
        self._watch = Watch()
        # What `sure` found last, and how much had been written then.
        self._last: tuple[int, tuple[Sure, list[Place]]] | None = None

    @property
    def tracker(self) -> Tracker:
        """What runs and changes objects.

        Raises
        ------
        SourceError
            Where the project was written anew, and its pictures are gone, too.
        """
        if self._tracker is None:
            here = f"kept in {self.path}" if self.project.in_place else "still open here"
            raise SourceError(
                f"{self.source.name} cannot be read any more; put it back where it was, and this "
                f"goes on: all that was done is {here}"
            )
        return self._tracker

    @property
    def in_place(self) -> bool:
        """Whether the project's file is where it was, and can be gone on with."""
        return self.project.in_place and self._tracker is not None

    def close(self) -> str:
        """Close the project; one to which nothing was ever said is removed.

        Returns
        -------
        str
            As ``keep``, which comes first; pictures are not needed.
        """
        told, untouched = "", not self.project.journal()
        try:
            if not untouched:
                self._write_anew()
                told = self._moved
                self.project.set_meta(selected=self.selected)
        finally:
            removable = untouched and self.project.in_place
            self.project.close()
        if removable:
            self.path.unlink(missing_ok=True)
        return told

    def keep(self) -> str:
        """Write the project anew where its file was removed, or another lies in its place.

        A run that is under way goes on in it.

        Returns
        -------
        str
            What a person is told; empty where the file is as it was.

        Raises
        ------
        OutputError
            Where it cannot be written; all of it is still open then.
        SourceError
            Where its pictures are gone, too; it is written all the same.
        """
        try:
            self._write_anew()
        except BaseException:
            with suppress(SourceError):
                self._go_on()
            raise
        self._go_on()
        told, self._moved = self._moved, ""
        return told

    def _write_anew(self) -> None:
        """Write the project anew where its file is gone; no tracker is on it then."""
        if self.project.in_place:
            return
        self._tracker = None
        self.project, self.path, self._moved = written_anew(self.project, self.path)
        self._last = None
        self._strokes = Strokes(self.project)

    def _go_on(self) -> None:
        """Let there be a tracker on the project."""
        if self._tracker is not None:
            return
        try:
            self._tracker = Tracker(self.model, self.source, history=self.project)
        except SourceError as error:
            told = f"{self._moved}; " if self._moved else ""
            raise SourceError(
                f"{told}its pictures are gone, too: {error}; put them back where they were, and "
                f"it goes on by itself"
            ) from error

    # -- what is said -------------------------------------------------------------------

    def prompt_on(self, object_id: int, frame: int) -> Prompt | None:
        """What is said of an object on a frame now."""
        if object_id not in self.tracker.object_ids:
            return None
        if frame not in self.tracker.prompted(object_id):
            return None
        return self.project.prompt_at(object_id, frame)

    def _said_on(self, object_id: int, frame: int) -> Said:
        """Clicks and box of an object on a frame now."""
        found = self.prompt_on(object_id, frame)
        return Said() if found is None else Said(found.points, found.labels, found.box)

    def say(
        self, object_id: int, frame: int, said: Said, *, alone: bool = False
    ) -> FrameResult | None:
        """Let clicks and box of an object on a frame be these.

        A mask that was painted there is refined by them; nothing at all takes back what was said.

        Parameters
        ----------
        object_id, frame : int
        said : Said
        alone : bool
            As ``Tracker.prompt``.

        Returns
        -------
        FrameResult or None
            What is on that frame now; None where more than that frame may have changed.
        """
        before = self.prompt_on(object_id, frame)
        mask = None if before is None else before.mask
        if said.empty:
            if before is None:
                return None
            if mask is not None:
                if before.edited or before.is_mask_alone:
                    return None
                return self.tracker.prompt(object_id, frame, mask=mask, alone=alone)
            self.tracker.clear(object_id, frame, alone=True)
            return None
        return self.tracker.prompt(
            object_id,
            frame,
            points=said.points,
            labels=said.labels,
            box=said.box,
            mask=mask,
            alone=alone,
        )

    def say_all(
        self,
        said: Mapping[tuple[int, int], Said],
        before: Mapping[tuple[int, int], Said] | None = None,
    ) -> FrameResult | None:
        """Let clicks and boxes of several objects or frames be these, as one step.

        Parameters
        ----------
        said : mapping
            By object and frame.
        before : mapping, optional
            What was shown of the same when they were given. Where something else is said by now, as
            after an undo that had not been answered yet, they change that alone which they changed.

        Returns
        -------
        FrameResult or None
            As ``say``, where something is said of one object on one frame.

        Raises
        ------
        PromptError
            Where one of them cannot be said; then none of them is.
        """
        if before is not None:
            now = {key: self._said_on(*key) for key in said}
            said = {key: now[key].changed(before[key], one) for key, one in said.items()}
            said = {key: one for key, one in said.items() if one != now[key]}
        if len(said) == 1:
            ((key, one),) = said.items()
            return self.say(*key, one)
        self._check_unlocked({object_id for object_id, _ in said}, "said of the others either")
        self._strokes.one(
            self.tracker, (self.say(*key, one, alone=True) for key, one in said.items())
        )
        return None

    def absent(self, object_id: int, frame: int) -> None:
        """Say that an object is not on a frame; none begins with that.

        Raises
        ------
        PromptError
            Where there is no such object yet, too.
        """
        self.tracker.life(object_id)
        self.tracker.prompt(object_id, frame, absent=True, alone=True)

    def forget(self, object_id: int, frame: int) -> bool:
        """Take back all that was said of an object on a frame, a painted mask too.

        Returns
        -------
        bool
            Whether the object is gone with it, as nothing is said of it elsewhere.
        """
        self.tracker.clear(object_id, frame, alone=True)
        return object_id not in self.tracker.object_ids

    def paint(self, painted: Mapping[int, Stroke]) -> dict[int, list[int]]:
        """Take what was painted at once as edits of the objects that it changed.

        Masks may have come since it was painted: they stay as they are where nothing was painted.
        Objects may have gone, over which it was painted: none begins with what is left of it.

        Parameters
        ----------
        painted : mapping of int to (before, after)
            Label maps, (H, W) arrays of int, as they were shown on a frame before and after.

        Returns
        -------
        dict of int to list of int
            Objects that were edited or begun, by frame.

        Raises
        ------
        PromptError
            Where one of them cannot be changed; then none of them is.
        """
        changes = {frame: (b != a, a) for frame, (b, a) in painted.items()}
        there = {*self.tracker.object_ids}
        found = {
            frame: sorted({*(there & {*_ids(painted[frame][0][on])}), *_ids(after[on])} - {0})
            for frame, (on, after) in changes.items()
        }
        self._check_unlocked({i for ids in found.values() for i in ids}, "painted")

        def edits() -> Iterator[FrameResult]:
            for frame, (changed, after) in changes.items():
                shown = np.where(changed, after, self.project.labels(frame))
                for object_id in found[frame]:
                    # What is shown is what counts: nothing of it lies under another object then.
                    mask = shown == object_id
                    if object_id in self.tracker.object_ids:
                        yield self.tracker.edit(object_id, frame, mask, alone=True)
                    else:
                        yield self.tracker.prompt(object_id, frame, mask=mask, alone=True)

        self._strokes.one(self.tracker, edits())
        return found

    def begin(self, frame: int, labels: npt.NDArray[Any], values: Mapping[int, int]) -> None:
        """Begin objects on a frame from the values of a label map, (H, W), as one step.

        Parameters
        ----------
        frame : int
        labels : (H, W) array of int
        values : mapping of int to int
            Of each object, its label.

        Raises
        ------
        PromptError
            Where one of them cannot be; then none begins.
        """
        masks = ((object_id, labels == value) for object_id, value in values.items())
        self._strokes.one(
            self.tracker,
            (self.tracker.prompt(i, frame, mask=mask, alone=True) for i, mask in masks),
        )

    def _check_unlocked(self, ids: Collection[int], what: str) -> None:
        for object_id in sorted({*ids} & {*self.tracker.object_ids}):
            if self.tracker.life(object_id).locked:
                raise PromptError(
                    f"object {object_id} is locked, and nothing is {what}; unlock it first"
                )

    def undo(self) -> list[Action]:
        """Take back the last thing a person did: its steps, several where they were one stroke.

        ``begins`` says of a step whether its object was not there before.
        """
        done = self._strokes.undo(self.tracker)
        return _beginning(done, self.tracker.object_ids)

    def redo(self) -> list[Action]:
        """Put it back: its steps, as of ``undo``."""
        before = self.tracker.object_ids
        return _beginning(self._strokes.redo(self.tracker), before)

    def divide(self, mother: int, frame: int, daughters: Sequence[int]) -> tuple[int, ...]:
        """Let an object end where others begin, which are there already."""
        self.tracker.life(mother)  # where it is not there at all, that is what is told
        self._check_unlocked({mother}, "divided")
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

    def labels(self, frame: int) -> dict[int, npt.NDArray[np.int32]]:
        """Label map of a frame, by its number; none where it is damaged: who shows it says so."""
        with suppress(Sam2TrackError):
            return {frame: self.project.labels(frame)}
        return {}

    # -- tracking -----------------------------------------------------------------------

    def track(
        self,
        direction: Direction | Literal["next"] = "both",
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[FrameResult]:
        """Run what has changed; ``next`` runs both ways, no further than to what a person fixed.

        Within a range too, only what was not run since it changed.
        """
        until = direction == "next"
        way: Direction = "both" if direction == "next" else direction

        def run(tracker: Tracker) -> Iterator[FrameResult]:
            return tracker.propagate(
                start, stop, way, unfinished=start is not None, until_prompted=until
            )

        return self._followed(self.tracker, run(self.tracker), run)

    def _followed(
        self,
        tracker: Tracker,
        frames: Iterator[FrameResult],
        run: Callable[[Tracker], Iterator[FrameResult]],
    ) -> Iterator[FrameResult]:
        """Yield a run's frames; where the project was kept elsewhere meanwhile, go on there."""
        while True:
            try:
                yield from frames
            except UsageError:  # as of one whose project is closed
                if tracker is self.tracker:
                    raise
            if tracker is self.tracker:
                return
            tracker = self.tracker
            frames = run(tracker)

    def delete(self, ids: Collection[int]) -> None:
        """Forget objects altogether, as one step; none of them where one is locked."""
        self._check_unlocked(ids, "deleted")
        self._strokes.one(self.tracker, map(self.tracker.remove, ids))

    def frames_to_run(
        self, direction: str = "both", start: int = 0, stop: int | None = None
    ) -> int:
        """About how many frames a run gives, in a range too."""
        count = len(self.tracker.source) if stop is None else stop
        lives = [self.tracker.life(i) for i in self.tracker.object_ids]
        ahead = [x.forward for x in lives if x.forward is not None and not x.locked]
        back = [x.backward for x in lives if x.backward is not None and not x.locked]
        total = 0
        if direction != "backward" and ahead:
            total += max(0, count - max(min(ahead), start))
        if direction != "forward" and back:
            firsts = [first for first, _ in self.tracker.spans().values()]
            top = max(firsts) if direction == "both" else max(back) + 1
            total += max(0, min(top, count) - start)
        return max(1, total)

    def export(self, folder: Path) -> Iterator[Progress]:
        """Write masks, videos and table into a folder, a frame at a time; ended early, nothing.

        What is written is what the project holds now, whatever is clicked meanwhile; at the last
        step, ``written``, all of it is there.

        Raises
        ------
        UsageError
            Where there is no such folder, it holds one of them already, or an id is none for
            pictures.
        OutputError
        """
        largest = max(self.tracker.object_ids, default=0)
        if largest > 65535:
            raise UsageError(
                f"object {largest} does not fit the 16 bits of the mask pictures; export it for "
                f"other tools (ome-zarr, coco, npz, csv), or give it a number up to 65535"
            )
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}; make it first, or choose another one")
        there = [OUTPUTS[name] for name in USUAL if (folder / OUTPUTS[name]).exists()]
        if there:
            raise UsageError(
                f"{folder} holds {there[0]} already; choose another folder, or remove it"
            )
        with (
            output_errors(folder),
            Project.open(self.path) as project,
            project.unchanging(),
            TemporaryDirectory(prefix=".sam2track-", dir=folder) as name,
        ):
            began, part, count = time.monotonic(), Path(name), len(self.source)
            yield from writing_outputs(project, self.source, (0, count), part, USUAL)
            for output in USUAL:
                (part / OUTPUTS[output]).rename(folder / OUTPUTS[output])
        yield Progress("written", count, count, time.monotonic() - began)

    def export_as(self, name: str, path: Path, passed: Callable[[Progress], None]) -> Exported:
        """Write what the project holds now in one of ``FORMATS``; a file that is there is replaced.

        Parameters
        ----------
        name : str
        path : Path
        passed : callable
            Called with how far it is; what it raises ends it, and nothing is left then.

        Raises
        ------
        UsageError, ProjectError, OutputError
            As ``Project.export``.
        """
        if name not in FORMATS:
            raise UsageError(f"format {name!r}; allowed are {', '.join(FORMATS)}")
        began = time.monotonic()

        def tell(done: int, total: int) -> None:
            passed(Progress(name, done, total, time.monotonic() - began))

        with Project.open(self.path) as project, project.unchanging():
            folder = FORMATS[name].folder
            return project.export(
                path,
                format=name,
                passed=tell,
                overwrite=not folder,
                source=self.source,
                name=self.path.stem,
            )

    def sure(self) -> Sure:
        """How sure tracking is of each object on each frame, and whence the mask is.

        Where ``tracks`` has not read masks since they changed, at most so sure.
        """
        self._last = self.project.changes, self._looked()
        return self._last[1][0]

    def _looked(self) -> tuple[Sure, list[Place]]:
        """Go through all rows: how sure tracking is, and where objects are.

        One row is held at a time: of tens of thousands Python's collector would begin to look
        through all there is, for which the viewer stands still.
        """
        sources: dict[int, list[str]] = {}
        places: list[Place] = []

        def rows() -> Iterator[TrackRow]:
            for row in self.project.rows():
                sources.setdefault(row.object_id, []).append(row.source)
                if (found := place(row)) is not None:
                    places.append(found)
                yield row

        sure: Sure = {}
        for i, one in self._watch.confidences(rows()).items():
            pairs = zip(one.values.tolist(), sources[i], strict=True)
            sure[i] = dict(zip(one.frames.tolist(), pairs, strict=True))
        return sure, places

    def tracks(self) -> Iterator[Tracks | None]:
        """Read masks that changed, and give tracks at the end; None after some masks each."""
        last, self._last = self._last, None
        if last is None or last[0] != self.project.changes:
            last = self.project.changes, self._looked()
        read, (sure, places) = 0, last[1]
        if unseen := self._watch.unseen:
            for frame, found in self.project.observations(unseen):
                self._watch.see(frame, found)
                read += len(found)
                if read >= _AT_ONCE:
                    read = 0
                    yield None
            sure, places = self._looked()  # something else may have been done meanwhile
            self._last = None  # what was found then knows less of masks than is known now
        yield as_tracks(places, self.project.lineage, sure)


def _beginning(actions: Sequence[Action], before: Collection[int]) -> list[Action]:
    """Say of steps which ones begin their object, given those that were there before."""
    return [action | {"begins": action.get("object") not in before} for action in actions]


def _ids(labels: npt.NDArray[Any]) -> list[int]:
    return [int(i) for i in np.unique(labels)]
