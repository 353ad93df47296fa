"""The objects of one video, as a tracker holds them in memory and its history on disk.

What is in memory follows from the history: after a step has been taken back, and after a change
of identity, it is read from there again, and so is that of a tracker that opens a project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sam2track import masks as rle
from sam2track.errors import ProjectError, PromptError, UsageError
from sam2track.frames.source import FrameSource
from sam2track.lazy import Masks
from sam2track.prompts import Prompt, check_object_id
from sam2track.tracking.encoder import Picture
from sam2track.tracking.engine import Engine, Upcoming
from sam2track.tracking.history import History, Record
from sam2track.tracking.memory import Memory
from sam2track.tracking.objects import Anchor, Tracked
from sam2track.tracking.result import FrameResult
from sam2track.tracking.state import State
from sam2track.tracking.stream import StreamSource

__all__ = ["Book"]

_NAMED = 10  # objects that a message names one by one


class Book:
    """Objects by id, their prompts and what is known of each frame.

    Parameters
    ----------
    source : FrameSource or StreamSource
    history : History
    engine : Engine
    before_step : callable
        Called before each step.
    """

    def __init__(
        self,
        source: FrameSource | StreamSource,
        history: History,
        engine: Engine,
        *,
        before_step: Callable[[], None],
    ) -> None:
        self.source = source
        self.history = history
        self.engine = engine
        self._before_step = before_step
        self._objects: dict[int, Tracked] = {}
        self._unread = False
        self.first_kept = 0  # frame of a stream before which results are no longer kept
        self.edition = 0  # counts how often the objects were read from the history
        self._changes = 0  # counts what may have changed the objects
        self.load()

    @property
    def is_stream(self) -> bool:
        """Whether frames come one by one and are gone afterwards."""
        return isinstance(self.source, StreamSource)

    # -- from the history ---------------------------------------------------------------

    @property
    def objects(self) -> dict[int, Tracked]:
        """The objects by id."""
        if self._unread:
            self.load()
        return self._objects

    def load(self) -> None:
        """Read all objects from the history, and go on from its last state where that holds.

        Where that is interrupted they are read once they are asked for.
        """
        self._unread = False
        try:
            self._load()
        except BaseException:
            self.unread()
            raise

    def unread(self) -> None:
        """Read the objects anew once they are asked for: the history may be another."""
        self.edition += 1  # what is under way ends
        self._unread = True

    def _load(self) -> None:
        self.edition += 1
        self._changes += 1
        self._objects = {}
        answered = self._answer_waiting()
        stored = self.history.last_state()
        for life in self.history.lives():
            item = Tracked.of(life)
            item.prompted = self._prompted(life.object_id) | answered.get(life.object_id, {})
            self.objects[life.object_id] = item
            if not item.prompted:
                raise ProjectError(
                    f"nothing is said of object {life.object_id} on any frame: the project is "
                    "damaged; take a copy of it, or do it anew with `sam2track replay`"
                )
            # A state is of no use to an object that was changed after it.
            if stored is not None and life.since <= stored[1]:
                self._restore(item, stored[0])

    def _anchor(self, record: Record) -> Anchor:
        device = self.engine.model.device
        return Anchor(
            Memory(None, self.engine.recall.pointer(record).to(device)),
            torch.tensor([[record.score]], device=device),
            record.iou,
            record.source,
        )

    def _prompted(self, object_id: int) -> dict[int, Anchor]:
        """An object's prompted frames that are answered, as the history has them."""
        anchors = self.history.anchors(object_id)
        return {frame: self._anchor(record) for frame, record in anchors if record is not None}

    def _answer_waiting(self) -> dict[int, dict[int, Anchor]]:
        """Answer prompts that were stored without a model, each as of the step that said it.

        So what comes of them is what a tracker would have said at once, and says where the journal
        is done again: of what was tracked there and of prompts elsewhere, as they were then.

        Returns
        -------
        dict of int to dict of int to Anchor
            By object and frame: those that hold, with their memories.
        """
        waiting = self.history.unanswered()
        found: dict[int, dict[int, Anchor]] = {}
        if not waiting:
            return found
        history = self.history
        with history.transaction():
            for asked in waiting:
                object_id, frame, prompt = asked.object_id, asked.frame, asked.prompt
                prompt.check(self.source.height, self.source.width)
                with history.as_of(asked.step - 1):
                    tracked = self.tracked(object_id, frame)
                with history.as_of(asked.step):
                    item = Tracked(object_id)
                    # Where tracking has not been, nothing said elsewhere counts; of each of
                    # thousands of prompts all others would be read.
                    if tracked is not None:
                        item.prompted = self._prompted(object_id)
                    anchor, record = self._answered(item, frame, prompt, tracked)
                    shown = self.frame_result(frame, [record], {object_id: prompt})
                    history.answer(shown, record, tracked)
                if asked.holds:
                    found.setdefault(object_id, {})[frame] = anchor
        return found

    def _restore(self, item: Tracked, state: State) -> None:
        item.pending = dict(state.pending.get(item.object_id, {}))
        for backward, kept in state.recent.get(item.object_id, {}).items():
            item.recent[backward] = self.engine.recall.recent(kept, backward=backward)

    def standing(self) -> State:
        """Where tracking stands, in memories that the next frame does not change."""
        return State(
            {i: dict(item.pending) for i, item in self.objects.items()},
            {
                i: {backward: recent.kept for backward, recent in item.copied_recent().items()}
                for i, item in self.objects.items()
            },
        )

    def go_back_to(self, state: State) -> None:
        """Forget what was remembered after a state; what was kept stays."""
        for object_id, item in self.objects.items():
            if object_id in state.pending:
                item.recent = {}
                self._restore(item, state)

    # -- into the history ---------------------------------------------------------------

    @property
    def threads(self) -> dict[str, int]:
        """What a step says of torch's threads: on a CPU the order of sums follows from them."""
        threads = self.engine.threads
        return {} if threads is None else {"threads": threads}

    @contextmanager
    def step(
        self, kind: str, changes: Iterable[Tracked] | None = None, /, **action: Any
    ) -> Iterator[None]:
        """Do one thing that can be taken back; where it fails nothing of it is kept.

        Parameters
        ----------
        changes : iterable of Tracked, optional
            The objects that may change; all of them where it is left out.
        """
        self._before_step()
        self._changes += 1
        before = dict(self.objects)
        # Not of all: with hundreds that are deleted one by one this would take most of the time.
        copies = [_copy(item) for item in (before.values() if changes is None else changes)]
        try:
            with self.history.step(kind, action | self.threads):
                yield
        except BaseException as error:
            self._objects = before | {c.object_id: c for c in copies if c.object_id in before}
            if not isinstance(error, Exception):  # Ctrl-C, which may come once all is kept
                self.unread()
            raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep all steps that are done within, or none of them."""
        self._before_step()
        before = self._changes
        try:
            with self.history.together():
                yield
        except BaseException:
            if self._changes != before:
                self.load()
            raise

    def daughters(self, item: Tracked) -> list[Tracked]:
        """The objects that an object divided into."""
        return [one for one in self.objects.values() if one.mother == item.object_id]

    def keep(self, item: Tracked, frame: int, prompt: Prompt, tracked: Record | None) -> None:
        """Answer a prompt and keep both."""
        anchor, record = self._answered(item, frame, prompt, tracked)
        shown = self.frame_result(frame, [record], {item.object_id: prompt})
        self.history.say(item.object_id, frame, prompt, record.logits, tracked)
        self.history.put(shown, [record])
        item.say(frame, anchor)

    def _answered(
        self, item: Tracked, frame: int, prompt: Prompt, tracked: Record | None
    ) -> tuple[Anchor, Record]:
        anchor, logits = self.engine.answer(item, frame, prompt, tracked)
        return anchor, Record(
            item.object_id,
            frame,
            logits[0, 0].cpu().numpy(),
            anchor.memory.pointer.float().cpu().numpy(),
            float(anchor.score),
            anchor.iou,
            anchor.source,
        )

    def tracked(self, object_id: int, frame: int) -> Record | None:
        """What tracking gave on a frame before anything was said of it."""
        answer = self.history.said(object_id, frame)
        if answer is not None:
            return answer.tracked
        record = self.history.get(object_id, frame)
        return record if record is not None and record.source in ("forward", "backward") else None

    def changed(self, item: Tracked, frame: int) -> None:
        """Mark what has to be run after a change on a frame, and keep that."""
        item.forget_recent(frame if self.is_stream else None)
        item.changed(frame)
        self.history.keep_life(item.life)

    def waits(self, item: Tracked, frame: int, *, backward: bool) -> bool:
        """Whether what was said on a frame has not been followed up from there on."""
        low, high = item.span(0, len(self.source))
        beyond = range(frame - 1, low - 1, -1) if backward else range(frame + 1, high)
        said = [frame]
        for following in beyond:
            if following not in item.prompted:
                return any(self.history.stale(item.object_id, following, f) for f in said)
            said.append(following)
        return False

    # -- frames -------------------------------------------------------------------------

    def shown(self, object_id: int, frame: int) -> tuple[Record, Prompt | None] | None:
        """What is kept of an object on a frame, and what was said of it there."""
        if frame in self.objects[object_id].prompted:
            answer = self.history.said(object_id, frame)
            if answer is not None:
                return answer.record, answer.prompt
        record = self.history.get(object_id, frame)
        return None if record is None else (record, None)

    def check_kept(self, frame: int) -> None:
        """PromptError where results of a frame are no longer kept."""
        if frame < self.first_kept:
            raise PromptError(
                f"what came of frame {frame} is no longer kept; of a stream the last frames are, "
                f"here from {self.first_kept} on, unless a project is given (history)"
            )

    def result(self, frame: int, object_id: int | None = None) -> FrameResult:
        """What is known of a frame: prompts and what tracking gave, nothing new computed.

        Of all objects, or of one alone, where it is there.
        """
        records, prompts = [], {}
        wanted = sorted(self.objects if object_id is None else self.objects.keys() & {object_id})
        for object_id in wanted:
            found = self.shown(object_id, frame)
            if found is None:
                continue
            records.append(found[0])
            if found[1] is not None:
                prompts[object_id] = found[1]
        return self.frame_result(frame, records, prompts)

    def frame_result(
        self,
        frame: int,
        records: Sequence[Record],
        prompts: Mapping[int, Prompt],
        rows: Mapping[int, npt.NDArray[np.float32]] | None = None,
    ) -> FrameResult:
        """Make a result of records.

        Parameters
        ----------
        prompts : mapping of int to Prompt
            What was said of objects on the frame.
        rows : mapping of int to (4h, 4w) float32 array, optional
            Logits after hole filling, where they are at hand.
        """
        size = self.engine.model.image_size // 4
        given: dict[int, Callable[[], npt.NDArray[np.bool_]]] = {}
        logits = np.zeros((len(records), size, size), np.float32)
        for index, record in enumerate(records):
            object_id = record.object_id
            if rows is not None and object_id in rows:
                logits[index] = rows[object_id]
            else:
                logits[index] = self.engine.recall.filled(record.logits)[0, 0].numpy()
            prompt = prompts.get(object_id)
            if prompt is not None and prompt.is_mask_alone:
                given[object_id] = partial(getattr, prompt, "mask")
            elif record.mask is not None:
                given[object_id] = partial(rle.decode, record.mask)
        return FrameResult(
            frame=frame,
            object_ids=tuple(record.object_id for record in records),
            logits=logits,
            object_scores=np.array([record.score for record in records], np.float32),
            ious=np.array([record.iou for record in records], np.float32),
            height=self.source.height,
            width=self.source.width,
            sources=tuple(record.source for record in records),
            given=Masks(given),
            locked=frozenset(i for i, item in self.objects.items() if item.locked),
        )

    def track(
        self,
        frame: int,
        picture: Picture,
        active: Sequence[Tracked],
        *,
        backward: bool,
        max_batch: int,
        upcoming: Upcoming | None = None,
    ) -> FrameResult:
        """Run one frame and keep it: prompted objects are there already, the others in batches.

        ``upcoming`` is as ``Engine.track`` takes it.
        """
        self._changes += 1
        found = self.engine.track(
            frame,
            picture,
            [item for item in active if frame not in item.prompted],
            backward=backward,
            max_batch=max_batch,
            upcoming=upcoming,
        )
        records, prompts = [], {}
        for item in active:
            if item.object_id in found:
                records.append(found[item.object_id][0])
            elif (shown := self.shown(item.object_id, frame)) is not None:
                records.append(shown[0])
                if shown[1] is not None:
                    prompts[item.object_id] = shown[1]
        rows = {object_id: row for object_id, (_, row) in found.items()}
        result = self.frame_result(frame, records, prompts, rows)
        new = [index for index, record in enumerate(records) if record.object_id in found]
        if new:
            self.history.put(result.only(new), [records[index] for index in new])
        return result

    # -- what may be asked for ----------------------------------------------------------

    def known(self, object_id: int, *, changes: bool = True) -> Tracked:
        """Return an object; PromptError where there is none, or it is locked and would change."""
        object_id = check_object_id(object_id)
        if object_id not in self.objects:
            there = str(sorted(self.objects) or "none")
            if len(self.objects) > _NAMED:
                there = f"{len(self.objects)}, from {min(self.objects)} to {max(self.objects)}"
            raise PromptError(f"there is no object {object_id}; there are {there}: prompt it first")
        item = self.objects[object_id]
        if changes and item.locked:
            raise PromptError(f"object {object_id} is locked; unlock it first")
        return item

    def check_frame(self, frame: int) -> int:
        """Return a frame's index as an int; PromptError where there is no such frame."""
        if isinstance(frame, (bool, np.bool_)) or not isinstance(frame, (int, np.integer)):
            raise PromptError(f"frame {frame!r}; frames are whole numbers from 0")
        if not len(self.source):
            raise PromptError(f"frame {frame} does not exist; the stream has no frame yet")
        if not 0 <= frame < len(self.source):
            raise PromptError(
                f"frame {frame} does not exist; the source has frames 0 to {len(self.source) - 1}"
            )
        return int(frame)

    def refuse_stream(self, what: str) -> None:
        """UsageError on a stream, whose frames are gone."""
        if self.is_stream:
            raise UsageError(f"a stream has no past to {what}; frames that went by are gone")


def _copy(item: Tracked) -> Tracked:
    return replace(
        item,
        prompted=dict(item.prompted),
        recent=dict(item.recent),
        pending=dict(item.pending),
    )
