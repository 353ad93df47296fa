"""Follow objects through one video: prompts, propagation, streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from sam2track.errors import PromptError, UsageError
from sam2track.frames.opening import open_source
from sam2track.models.loading import Model, load_model
from sam2track.prompts import Prompt, check_object_id
from sam2track.tracking import step
from sam2track.tracking.engine import Engine
from sam2track.tracking.features import default_budget
from sam2track.tracking.history import History, Record, SpillFile
from sam2track.tracking.memory import Rules
from sam2track.tracking.objects import Tracked
from sam2track.tracking.result import FrameResult
from sam2track.tracking.state import State
from sam2track.tracking.stream import StreamSource

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from sam2track.frames.source import FrameSource

__all__ = ["Direction", "Tracker"]

Direction = Literal["forward", "backward", "both"]


class Tracker:
    """Track objects through a video.

    Parameters
    ----------
    model : Model, SAM2Base, str or path
        What to track with; anything but a Model goes through ``load_model``.
    source : path, array or FrameSource, optional
        The video; without one, frames come through ``update``.
    history : History, optional
        Where the past is kept; a temporary file by default.
    max_cond_frames : int
        How many prompted frames a frame looks at where the module sets no limit itself.
    max_batch : int
        Most objects in one batch.
    features_budget : int, optional
        Bytes of features of recent frames that are kept, so that prompting and second passes
        do not encode them again; an eighth of the free memory by default, 512 MiB at most.

    Notes
    -----
    A Tracker is single-threaded; who drives it from several threads serialises.
    Coordinates are (x, y) pixels of the upright frame, frames count from 0.
    """

    def __init__(
        self,
        model: Model | SAM2Base | str,
        source: Any = None,
        *,
        history: History | None = None,
        max_cond_frames: int = 8,
        max_batch: int = 16,
        features_budget: int | None = None,
    ) -> None:
        if max_cond_frames < 2:
            raise UsageError(f"max_cond_frames {max_cond_frames}; allowed are 2 and more")
        if max_batch < 1:
            raise UsageError(f"max_batch {max_batch}; allowed are 1 and more")
        self.model = load_model(model)
        self.source: FrameSource | StreamSource = (
            StreamSource() if source is None else open_source(source)
        )
        self.history: History = SpillFile() if history is None else history
        self.max_batch = max_batch
        count = None if isinstance(self.source, StreamSource) else len(self.source)
        rules = Rules.of(self.model.module, count, max_cond_frames)
        budget = default_budget() if features_budget is None else features_budget
        self._engine = Engine(self.model, self.source, self.history, rules, budget)
        self._objects: dict[int, Tracked] = {}

    # -- what is asked ------------------------------------------------------------------

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that have a prompt, ascending."""
        return tuple(sorted(self._objects))

    def spans(self) -> dict[int, tuple[int, int]]:
        """First and last prompted frame of each object."""
        return {i: (item.first, item.last) for i, item in sorted(self._objects.items())}

    def prompt(
        self,
        object_id: int,
        frame: int,
        *,
        points: Iterable[tuple[float, float]] | None = None,
        labels: Iterable[int] | None = None,
        box: Sequence[float] | None = None,
        mask: npt.ArrayLike | None = None,
        absent: bool = False,
    ) -> FrameResult:
        """Say where an object is on a frame; replaces what was said of it there.

        Parameters
        ----------
        object_id : int
            A positive integer; a new one begins an object.
        frame : int
            Index of the frame.
        points : sequence of (x, y), optional
            Clicks in pixels.
        labels : sequence of int, optional
            1 (object) or 0 (background) for each point; 1 where left out.
        box : (x0, y0, x1, y1), optional
            Half-open, in pixels.
        mask : (H, W) bool array, optional
            Reported as given on this frame; with points or a box it is refined by them.
        absent : bool
            The object is not on this frame.

        Returns
        -------
        FrameResult
            The frame as it is now, with all objects that are known there.

        Raises
        ------
        PromptError
            Where the prompt, the object or the frame cannot be.
        """
        prompt = Prompt(
            points=() if points is None else tuple(points),
            labels=() if labels is None else tuple(labels),
            box=None if box is None else tuple(box),  # type: ignore[arg-type]
            mask=mask,  # type: ignore[arg-type]
            absent=absent,
        )
        return self.add(object_id, frame, prompt)

    def add(self, object_id: int, frame: int, prompt: Prompt) -> FrameResult:
        """As ``prompt``, with a Prompt."""
        object_id = check_object_id(object_id)
        frame = self._check_frame(frame)
        prompt.check(self.source.height, self.source.width)
        item = self._objects.get(object_id) or Tracked(object_id)
        item.prompted[frame] = self._engine.prompted(item, frame, prompt)
        self._objects[object_id] = item
        self._changed(item, frame)
        held = item.prompted[frame]
        alone = self._frame_result(
            frame,
            [object_id],
            [held.filled[0, 0].cpu().numpy()],
            [float(held.score)],
            [held.iou],
            ["prompted"],
        )
        self.history.put(alone, [self._record(item, frame)])
        return self.result(frame)

    def clear(self, object_id: int, frame: int) -> FrameResult:
        """Take back what was said of an object on a frame; no memory of it is left.

        An object whose last prompt is cleared is removed.
        """
        item = self._known(object_id)
        frame = self._check_frame(frame)
        if frame not in item.prompted:
            raise PromptError(
                f"object {object_id} has no prompt on frame {frame}; "
                f"it has some on {sorted(item.prompted)}"
            )
        first = item.first
        del item.prompted[frame]
        if not item.prompted:
            self.remove(object_id)
        else:
            self.history.forget(object_id, frame, frame + 1)
            if first == frame:
                # Until its new first prompt the object has not begun.
                self.history.forget(object_id, frame, item.first)
            self._changed(item, max(frame, item.first))
        return self.result(frame)

    def remove(self, object_id: int) -> None:
        """Forget an object altogether."""
        self._known(object_id)
        del self._objects[object_id]
        self.history.forget(object_id)

    def result(self, frame: int) -> FrameResult:
        """What is known of a frame: prompts and what tracking gave, nothing new computed."""
        frame = self._check_frame(frame)
        ids, rows, scores, ious, sources = [], [], [], [], []
        for object_id, item in sorted(self._objects.items()):
            held = item.prompted.get(frame)
            if held is not None:
                rows.append(held.filled[0, 0].cpu().numpy())
                scores.append(float(held.score))
                ious.append(held.iou)
                sources.append("prompted")
            elif (record := self.history.get(object_id, frame)) is not None:
                logits = torch.from_numpy(record.logits.copy())[None, None]
                rows.append(step.filled(self.model, logits)[0, 0].numpy())
                scores.append(record.score)
                ious.append(record.iou)
                sources.append(record.source)
            else:
                continue
            ids.append(object_id)
        return self._frame_result(frame, ids, rows, scores, ious, sources)

    # -- tracking -----------------------------------------------------------------------

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "forward",
        objects: Iterable[int] | None = None,
        *,
        unfinished: bool = False,
    ) -> Iterator[FrameResult]:
        """Carry the masks through the video.

        Parameters
        ----------
        start, stop : int, optional
            Frames [start, stop), whatever the direction; ``stop`` is clamped to the end.
            Without a range, objects that changed are run, from where they changed.
        direction : {"forward", "backward", "both"}
            ``forward`` runs each object from its first prompted frame, ``backward`` from
            its last; ``both`` runs forward from the first and then backward from that same
            frame on fresh memory.
        objects : iterable of int, optional
            Only these.
        unfinished : bool
            Within a range too, run only what has not been run since it changed.

        Yields
        ------
        FrameResult
            One for each frame and direction, with the objects that were run there.

        Raises
        ------
        UsageError, PromptError
            At once, not when the first frame is asked for.
        """
        if direction not in ("forward", "backward", "both"):
            raise UsageError(f"direction {direction!r}; allowed are forward, backward, both")
        if isinstance(self.source, StreamSource):
            raise UsageError("a stream has no past to run through; hand it frames by update()")
        if not self._objects:
            raise PromptError("nothing to track: prompt an object first")
        ranged = start is not None or stop is not None
        low = self._bound("start", 0 if start is None else start)
        high = self._bound("stop", len(self.source) if stop is None else stop)
        high = min(high, len(self.source))
        if low >= high:
            raise UsageError(
                f"range [{low}, {high}) is empty; the source has {len(self.source)} frames"
            )
        ids = self.object_ids if objects is None else tuple(objects)
        chosen = [self._known(object_id) for object_id in sorted(set(ids))]
        return self._propagate(chosen, low, high, direction, ranged and not unfinished)

    def _propagate(
        self, chosen: list[Tracked], low: int, high: int, direction: Direction, everything: bool
    ) -> Iterator[FrameResult]:
        if direction in ("forward", "both"):
            begins = {}
            for item in chosen:
                if everything:
                    begins[item.object_id] = max(low, item.first)
                elif False in item.pending:
                    begins[item.object_id] = max(low, item.pending[False])
            yield from self._sweep(begins, low, high, backward=False)
        if direction in ("backward", "both"):
            begins = {}
            for item in chosen:
                # Frames from the first prompt on were run forward when both are asked for.
                top = item.last
                if direction == "both":
                    top = item.first - 1
                    item.skip_to(top, backward=True)
                if everything:
                    begins[item.object_id] = min(high - 1, top)
                elif True in item.pending:
                    begins[item.object_id] = min(high - 1, item.pending[True], top)
            yield from self._sweep(begins, low, high, backward=True)

    def _sweep(
        self, begins: dict[int, int], low: int, high: int, *, backward: bool
    ) -> Iterator[FrameResult]:
        """Run objects in one direction, each from its own frame."""
        begins = {i: f for i, f in begins.items() if low <= f < high}
        if not begins:
            return
        if backward:
            top = max(begins.values())
            order: Iterable[int] = range(top, low - 1, -1)
            pictures = self.source.frames(low, top + 1, backward=True)
        else:
            order = range(min(begins.values()), high)
            pictures = self.source.frames(min(begins.values()), high)
        for frame, picture in zip(order, pictures, strict=True):
            active = [
                self._objects[i]
                for i, begin in sorted(begins.items())
                if i in self._objects and (frame <= begin if backward else frame >= begin)
            ]
            yield self._run(frame, picture, active, backward=backward)

    def update(self, picture: npt.NDArray[np.uint8]) -> FrameResult:
        """Take one more frame of a stream and track all objects on it.

        Parameters
        ----------
        picture : (H, W, 3) or (H, W) uint8 array
            RGB or grey; every frame has the size of the first.

        Returns
        -------
        FrameResult
            Its ``frame`` is what ``prompt`` takes to say something of this frame, until the
            next one comes.

        Raises
        ------
        UsageError
            Where the tracker has a source, or the frame cannot be used.
        """
        if not isinstance(self.source, StreamSource):
            raise UsageError("this tracker reads a source; make one without a source for streams")
        frame, picture = self.source.push(picture)
        active = [item for _, item in sorted(self._objects.items())]
        if not active:
            return self._frame_result(frame, [], [], [], [], [])
        return self._run(frame, picture, active, backward=False)

    def _run(
        self,
        frame: int,
        picture: npt.NDArray[np.uint8],
        active: list[Tracked],
        *,
        backward: bool,
    ) -> FrameResult:
        """One frame: prompted objects are there already, the others go in batches."""
        free = [item for item in active if frame not in item.prompted]
        records: dict[int, Record] = {}
        rows: dict[int, npt.NDArray[np.float32]] = {}
        if free:
            found = self._engine.track(
                frame, picture, free, backward=backward, max_batch=self.max_batch
            )
            for object_id, (record, row) in found.items():
                records[object_id], rows[object_id] = record, row
        for item in active:
            if frame in item.prompted:
                records[item.object_id] = self._record(item, frame)
                rows[item.object_id] = item.prompted[frame].filled[0, 0].cpu().numpy()
        ids = sorted(records)
        result = self._frame_result(
            frame,
            ids,
            [rows[i] for i in ids],
            [records[i].score for i in ids],
            [records[i].iou for i in ids],
            [records[i].source for i in ids],
        )
        self.history.put(result, [records[i] for i in ids])
        for item in active:  # not before the frame is kept
            item.advance(frame, len(self.source), backward=backward)
        return result

    # -- where tracking stands ----------------------------------------------------------

    def state(self, *, backward: bool) -> State:
        """Where tracking in one direction stands, for going on from there exactly."""
        recent = {
            object_id: dict(item.recent[backward].kept)
            for object_id, item in self._objects.items()
            if backward in item.recent
        }
        return State(backward, {i: dict(o.pending) for i, o in self._objects.items()}, recent)

    def restore(self, state: State) -> None:
        """Go on from a state; the prompts must be those it was made with.

        Raises
        ------
        UsageError
            Where the objects are not those of the state.
        """
        if state.pending.keys() != self._objects.keys():
            raise UsageError(
                f"the state is of objects {sorted(state.pending)}, "
                f"the tracker has {list(self.object_ids)}"
            )
        for object_id, item in self._objects.items():
            kept = dict(state.recent.get(object_id, {}))
            item.recent[state.backward] = self._engine.recent(kept, backward=state.backward)
            item.pending = dict(state.pending[object_id])

    # -- bookkeeping --------------------------------------------------------------------

    def _changed(self, item: Tracked, frame: int) -> None:
        """Mark what has to be run after what was said of a frame changed."""
        for backward, recent in item.recent.items():
            # Memories made later than the change, in order of tracking, are out of date.
            recent.kept = {
                f: m for f, m in recent.kept.items() if (f > frame if backward else f < frame)
            }
        forward = min(item.pending.get(False, frame), frame)
        backward_from = max(item.pending.get(True, frame), frame)
        item.pending = {False: max(forward, item.first), True: min(backward_from, item.last)}

    def _record(self, item: Tracked, frame: int) -> Record:
        held = item.prompted[frame]
        return Record(
            item.object_id,
            frame,
            held.logits[0, 0].cpu().numpy(),
            held.memory.pointer.float().cpu().numpy(),
            float(held.score),
            held.iou,
            "prompted",
        )

    def _frame_result(
        self,
        frame: int,
        ids: list[int],
        rows: list[npt.NDArray[np.float32]],
        scores: list[float],
        ious: list[float],
        sources: list[str],
    ) -> FrameResult:
        size = self.model.image_size // 4
        given = {}
        for object_id in ids:
            held = self._objects[object_id].prompted.get(frame)
            if held is not None and held.prompt.is_mask_alone and held.prompt.mask is not None:
                given[object_id] = held.prompt.mask
        return FrameResult(
            frame=frame,
            object_ids=tuple(ids),
            logits=np.stack(rows) if rows else np.zeros((0, size, size), np.float32),
            object_scores=np.array(scores, np.float32),
            ious=np.array(ious, np.float32),
            height=self.source.height,
            width=self.source.width,
            sources=tuple(sources),
            given=given,
        )

    def _known(self, object_id: int) -> Tracked:
        object_id = check_object_id(object_id)
        if object_id not in self._objects:
            raise PromptError(
                f"there is no object {object_id}; there are {list(self.object_ids) or 'none'}"
            )
        return self._objects[object_id]

    def _check_frame(self, frame: int) -> int:
        if isinstance(frame, (bool, np.bool_)) or not isinstance(frame, (int, np.integer)):
            raise PromptError(f"frame {frame!r}; frames are whole numbers from 0")
        if not len(self.source):
            raise PromptError(f"frame {frame} does not exist; the stream has no frame yet")
        if not 0 <= frame < len(self.source):
            raise PromptError(
                f"frame {frame} does not exist; the source has frames 0 to {len(self.source) - 1}"
            )
        return int(frame)

    @staticmethod
    def _bound(name: str, value: int) -> int:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise UsageError(f"{name} {value!r}; it is a whole number of frames")
        if value < 0:
            raise UsageError(f"{name} {value}; frames count from 0")
        return int(value)
