"""Follow objects through one video: prompts, propagation, streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from sam2track.errors import PromptError, SourceError, UsageError
from sam2track.frames.opening import open_source
from sam2track.models.loading import Model, load_model
from sam2track.prompts import Prompt, check_object_id
from sam2track.tracking import step
from sam2track.tracking.encoder import Encoder, Features
from sam2track.tracking.history import History, Record, SpillFile, dequantise, quantise
from sam2track.tracking.memory import Memory, Recent, Rules, View, look_back
from sam2track.tracking.result import FrameResult
from sam2track.tracking.stream import StreamSource

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from sam2track.frames.source import FrameSource

__all__ = ["Direction", "Tracker"]

Direction = Literal["forward", "backward", "both"]


@dataclass
class _Prompted:
    """A prompt and what came of it."""

    prompt: Prompt
    logits: torch.Tensor  # (1, 1, 4h, 4w), before hole filling
    filled: torch.Tensor
    score: torch.Tensor  # (1, 1)
    iou: float
    memory: Memory  # the spatial part is made when it is first looked at
    tracked: Record | None  # what tracking gave on the frame before anything was said of it


@dataclass
class _Object:
    """All that is known of one object besides its history."""

    object_id: int
    prompted: dict[int, _Prompted] = field(default_factory=dict)
    recent: dict[bool, Recent] = field(default_factory=dict)  # by backward
    # Where tracking goes on in each direction; absent where nothing has to be run.
    pending: dict[bool, int] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return min(self.prompted)

    @property
    def last(self) -> int:
        return max(self.prompted)


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
    ) -> None:
        if max_cond_frames < 2:
            raise UsageError(f"max_cond_frames {max_cond_frames}; allowed are 2 and more")
        if max_batch < 1:
            raise UsageError(f"max_batch {max_batch}; allowed are 1 and more")
        self.model = load_model(model)
        self.source: FrameSource = StreamSource() if source is None else open_source(source)
        self.history: History = SpillFile() if history is None else history
        self.max_batch = max_batch
        streaming = isinstance(self.source, StreamSource)
        self._rules = Rules.of(
            self.model.module, None if streaming else len(self.source), max_cond_frames
        )
        self._encoder = Encoder(self.model)
        self._constants = step.Constants(self.model)
        self._objects: dict[int, _Object] = {}
        self._latest: tuple[int, Features] | None = None

    # -- what is asked ------------------------------------------------------------------

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that have a prompt, ascending."""
        return tuple(sorted(self._objects))

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
        item = self._objects.get(object_id) or _Object(object_id)
        item.prompted[frame] = self._prompted(item, frame, prompt)
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
                logits = torch.from_numpy(dequantise(record.codes))[None, None]
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
        return self._propagate(chosen, low, high, direction, ranged)

    def _propagate(
        self, chosen: list[_Object], low: int, high: int, direction: Direction, ranged: bool
    ) -> Iterator[FrameResult]:
        if direction in ("forward", "both"):
            begins = {}
            for item in chosen:
                if ranged:
                    begins[item.object_id] = max(low, item.first)
                elif False in item.pending:
                    begins[item.object_id] = max(low, item.pending[False])
            yield from self._sweep(begins, low, high, backward=False)
        if direction in ("backward", "both"):
            begins = {}
            for item in chosen:
                # Frames from the first prompt on were run forward when both are asked for.
                top = item.first - 1 if direction == "both" else item.last
                if ranged:
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
        active: list[_Object],
        *,
        backward: bool,
    ) -> FrameResult:
        """One frame: prompted objects are there already, the others go in batches."""
        features: Features | None = None
        groups: dict[tuple[int, int], list[tuple[_Object, View]]] = {}
        for item in active:
            if frame in item.prompted:
                continue
            if features is None:
                features = self._features(frame, picture)
            self._recall(item, frame, backward=backward)
            view = self._view(item, frame, backward=backward)
            groups.setdefault(view.shape, []).append((item, view))
        records: dict[int, Record] = {}
        rows: dict[int, npt.NDArray[np.float32]] = {}
        for group in groups.values():
            for at in range(0, len(group), self.max_batch):
                batch = group[at : at + self.max_batch]
                for record, row in self._track(frame, features, batch, backward=backward):
                    records[record.object_id], rows[record.object_id] = record, row
        for item in active:
            if item.pending.get(backward) == frame:
                following = frame - 1 if backward else frame + 1
                if 0 <= following < len(self.source):
                    item.pending[backward] = following
                else:
                    del item.pending[backward]
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
        return result

    def _track(
        self,
        frame: int,
        features: Features | None,
        batch: list[tuple[_Object, View]],
        *,
        backward: bool,
    ) -> Iterator[tuple[Record, npt.NDArray[np.float32]]]:
        """Track a batch of objects whose memories are alike in number."""
        if features is None:  # only prompted objects, which are in no batch
            return
        readings = [self._reading(item, view, backward=backward) for item, view in batch]
        conditioned = step.attend(
            self.model, self._constants, features, readings, self._rules.max_pointers
        )
        module = self.model.module
        found = step.decode(
            self.model,
            self._constants,
            features,
            conditioned,
            candidates=_candidates(module, 0, initial=False),
        )
        memories = step.remember(
            self.model, features, found.logits, found.scores, prompted=False
        )
        raw = found.logits[:, 0].cpu().numpy()
        shown = step.filled(self.model, found.logits)[:, 0].cpu().numpy()
        scores = found.scores[:, 0].float().cpu().numpy()
        ious = found.ious.cpu().numpy()
        pointers = found.pointers.float().cpu().numpy()
        for index, (item, _) in enumerate(batch):
            # Clones, so that no object keeps the memories of the whole batch alive.
            memory = Memory(memories[index].clone(), found.pointers[index].clone())
            item.recent[backward].add(frame, memory)
            record = Record(
                item.object_id,
                frame,
                quantise(raw[index]),
                pointers[index],
                float(scores[index]),
                float(ious[index]),
                "backward" if backward else "forward",
            )
            yield record, shown[index]

    # -- memories -----------------------------------------------------------------------

    def _features(self, frame: int, picture: npt.NDArray[np.uint8] | None = None) -> Features:
        if self._latest is None or self._latest[0] != frame:
            picture = self.source.read(frame) if picture is None else picture
            self._latest = (frame, self._encoder.encode(picture))
        return self._latest[1]

    def _view(self, item: _Object, frame: int, *, backward: bool) -> View:
        prompted = {f: held.memory for f, held in item.prompted.items()}
        tracked = {f: m for f, m in item.recent[backward].kept.items() if f not in prompted}
        return look_back(self._rules, frame, prompted, tracked, backward=backward)

    def _reading(self, item: _Object, view: View, *, backward: bool) -> step.Reading:
        tracked = item.recent[backward].kept
        spatial = []
        for t_pos, frame in view.spatial:
            if frame in item.prompted:
                spatial.append((t_pos, self._prompted_memory(item, frame)))
            else:
                kept = tracked[frame].spatial
                if kept is not None:
                    spatial.append((t_pos, kept))
        pointers = [
            (
                distance,
                (item.prompted[f].memory if f in item.prompted else tracked[f]).pointer,
            )
            for distance, f in view.pointers
        ]
        self._drop_unselected(item, {f for _, f in view.spatial})
        return step.Reading(spatial, pointers)

    def _prompted_memory(self, item: _Object, frame: int) -> torch.Tensor:
        """Memory of a prompted frame, made when it is first looked at."""
        held = item.prompted[frame]
        if held.memory.spatial is None:
            latest = self._latest
            features = self._features(frame)
            self._latest = latest
            held.memory.spatial = step.remember(
                self.model, features, held.filled, held.score, prompted=True
            )[0]
        return held.memory.spatial

    def _drop_unselected(self, item: _Object, looked_at: set[int]) -> None:
        """Keep the memories of no more prompted frames than are looked at."""
        if len(item.prompted) > self._rules.max_cond_frames > 0:
            for frame, held in item.prompted.items():
                if frame not in looked_at:
                    held.memory.spatial = None

    def _recall(self, item: _Object, frame: int, *, backward: bool) -> None:
        """Make the recent memories fit a frame, from the history where they are not held.

        A memory that the history brings back is made from eight-bit logits and so is not
        quite what it was.
        """
        recent = item.recent.get(backward)
        if recent is None:
            recent = item.recent[backward] = Recent(self._rules, backward)
        ahead = [f for f in recent.kept if (f <= frame if backward else f >= frame)]
        for f in ahead:  # of a run that is out of date
            del recent.kept[f]
        way, back = ("backward", 1) if backward else ("forward", -1)
        looked_at = {f for _, f in self._rules.window(frame, backward=backward)}
        latest = self._latest
        for distance in range(max(self._rules.max_pointers, self._rules.spatial_reach + 1)):
            earlier = frame + back * distance
            held = recent.kept.get(earlier)
            if held is not None and (held.spatial is not None or earlier not in looked_at):
                continue
            if distance == 0 or earlier in item.prompted or not _begun(item, earlier, backward):
                continue
            record = self.history.get(item.object_id, earlier)
            if record is None or record.source != way:
                continue
            spatial = None
            if earlier in looked_at:
                codes = torch.from_numpy(dequantise(record.codes))[None, None]
                spatial = step.remember(
                    self.model,
                    self._features(earlier),
                    codes.to(self.model.device),
                    torch.tensor([[record.score]], device=self.model.device),
                    prompted=False,
                )[0]
            pointer = torch.from_numpy(record.pointer.copy()).to(self.model.device)
            recent.kept[earlier] = Memory(spatial, pointer)
        self._latest = latest

    # -- prompts ------------------------------------------------------------------------

    def _prompted(self, item: _Object, frame: int, prompt: Prompt) -> _Prompted:
        """What comes of a prompt: a function of it and of what tracking gave on the frame."""
        features = self._features(frame)
        module = self.model.module
        before = item.prompted.get(frame)
        tracked = before.tracked if before else self.history.get(item.object_id, frame)
        if tracked is not None and tracked.source not in ("forward", "backward"):
            tracked = None
        if prompt.absent or (prompt.mask is not None and not prompt.points and prompt.box is None):
            found = step.given_mask(
                self.model, self._constants, features, self._square(prompt.mask)
            )
        else:
            dense = None
            if prompt.mask is not None:
                size = self.model.image_size // 4
                dense = F.interpolate(
                    self._square(prompt.mask) * 20 - 10,
                    (size, size),
                    mode="bilinear",
                    align_corners=False,
                    antialias=True,
                )
            elif tracked is not None:
                dense = torch.from_numpy(dequantise(tracked.codes))[None, None]
                dense = dense.to(self.model.device).clamp(-32, 32)
            conditioned = self._conditioned(item, frame, features, tracked)
            points = self._clicks(prompt)
            found = step.decode(
                self.model,
                self._constants,
                features,
                conditioned,
                points=points,
                dense=dense,
                candidates=_candidates(module, points[1].shape[1], initial=tracked is None),
            )
        return _Prompted(
            prompt,
            found.logits,
            step.filled(self.model, found.logits),
            found.scores.float(),
            float(found.ious[0]),
            Memory(None, found.pointers[0]),
            tracked,
        )

    def _conditioned(
        self, item: _Object, frame: int, features: Features, tracked: Record | None
    ) -> torch.Tensor:
        """Features as tracking saw them, or without memory where it has not been."""
        others = {f: held for f, held in item.prompted.items() if f != frame}
        if tracked is None or not others:
            return step.without_memory(self.model, self._constants, features)
        backward = tracked.source == "backward"
        alone = _Object(item.object_id, others)
        alone.recent = {
            key: Recent(recent.rules, recent.backward, dict(recent.kept))
            for key, recent in item.recent.items()
        }
        self._recall(alone, frame, backward=backward)
        view = self._view(alone, frame, backward=backward)
        return step.attend(
            self.model,
            self._constants,
            features,
            [self._reading(alone, view, backward=backward)],
            self._rules.max_pointers,
        )

    def _square(self, mask: npt.NDArray[np.bool_] | None) -> torch.Tensor:
        """A mask on the model's square, (1, 1, S, S) float32; zeros where there is none."""
        size = self.model.image_size
        if mask is None:
            return torch.zeros(1, 1, size, size, device=self.model.device)
        given = torch.from_numpy(mask.astype(np.float32))[None, None].to(self.model.device)
        if given.shape[-2:] == (size, size):
            return given
        resized = F.interpolate(
            given, (size, size), mode="bilinear", align_corners=False, antialias=True
        )
        return (resized >= 0.5).float()

    def _clicks(self, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """Points and a box's corners, in pixels of the model's square; corners come first."""
        corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
        points = torch.tensor([[*corners, *prompt.points]], dtype=torch.float32)
        labels = torch.tensor([[*[2, 3][: len(corners)], *prompt.labels]], dtype=torch.int32)
        points = points / torch.tensor([self.source.width, self.source.height])
        return (
            (points * self.model.image_size).to(self.model.device),
            labels.to(self.model.device),
        )

    # -- bookkeeping --------------------------------------------------------------------

    def _changed(self, item: _Object, frame: int) -> None:
        """Mark what has to be run after what was said of a frame changed."""
        for backward, recent in item.recent.items():
            # Memories made later than the change, in order of tracking, are out of date.
            recent.kept = {
                f: m for f, m in recent.kept.items() if (f > frame if backward else f < frame)
            }
        forward = min(item.pending.get(False, frame), frame)
        backward_from = max(item.pending.get(True, frame), frame)
        item.pending = {False: max(forward, item.first), True: min(backward_from, item.last)}

    def _record(self, item: _Object, frame: int) -> Record:
        held = item.prompted[frame]
        return Record(
            item.object_id,
            frame,
            quantise(held.logits[0, 0].cpu().numpy()),
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
            if held is not None and held.prompt.mask is not None:
                if not held.prompt.points and held.prompt.box is None:
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

    def _known(self, object_id: int) -> _Object:
        object_id = check_object_id(object_id)
        if object_id not in self._objects:
            raise PromptError(
                f"there is no object {object_id}; there are {list(self.object_ids) or 'none'}"
            )
        return self._objects[object_id]

    def _check_frame(self, frame: int) -> int:
        if isinstance(frame, (bool, np.bool_)) or not isinstance(frame, (int, np.integer)):
            raise PromptError(f"frame {frame!r}; frames are whole numbers from 0")
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


def _candidates(module: SAM2Base, points: int, *, initial: bool) -> bool:
    """Whether three candidate masks are decoded; as ``SAM2Base._use_multimask``."""
    return bool(
        module.multimask_output_in_sam
        and (initial or module.multimask_output_for_tracking)
        and module.multimask_min_pt_num <= points <= module.multimask_max_pt_num
    )


def _begun(item: _Object, frame: int, backward: bool) -> bool:
    return frame <= item.last if backward else frame >= item.first
