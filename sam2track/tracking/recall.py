"""What an object's frame looks at: memories that are held, or made again from the history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from sam2track.errors import ProjectError
from sam2track.models.model import Model
from sam2track.tracking import step
from sam2track.tracking.conditioning import Reading
from sam2track.tracking.encoder import Features
from sam2track.tracking.history import History, Record
from sam2track.tracking.memory import Memory, Recent, Rules, View, look_back
from sam2track.tracking.objects import Tracked
from sam2track.tracking.room import Room

__all__ = ["Recall"]


class Recall:
    """Finds memories of objects.

    Parameters
    ----------
    model : Model
    history : History
        Where an object's past comes from that is not in memory.
    rules : Rules
        Which memories are looked at.
    room : Room
        Says where state is kept.
    features : callable
        Gives a frame's features.
    can_be_seen : callable
        Says whether a frame can be read, or its features are held.
    once : bool
        Whether frames come but once, so that no memory could be made again.
    """

    def __init__(
        self,
        model: Model,
        history: History,
        rules: Rules,
        room: Room,
        features: Callable[[int], Features],
        can_be_seen: Callable[[int], bool],
        *,
        once: bool,
    ) -> None:
        self._model, self._history, self._rules, self._room = model, history, rules, room
        self._features, self._can_be_seen, self._once = features, can_be_seen, once

    def recent(self, kept: dict[int, Memory], *, backward: bool) -> Recent:
        """Memories of recent frames, where state is kept."""
        device = self._room.home
        here = {
            frame: Memory(
                None if memory.spatial is None else memory.spatial.to(device),
                memory.pointer.to(device),
            )
            for frame, memory in kept.items()
        }
        return Recent(self._rules, backward, here)

    def pointer(self, record: Record) -> torch.Tensor:
        """Return a record's object pointer, (C,); ProjectError where it is of another model."""
        size = self._model.module.hidden_dim
        if record.pointer.shape != (size,):
            raise ProjectError(
                f"object {record.object_id} on frame {record.frame}: its pointer has "
                f"{record.pointer.size} numbers, this model's have {size}; the project is of "
                "another model, or damaged: do it anew with `sam2track replay`"
            )
        return torch.from_numpy(record.pointer.copy())

    def filled(self, logits: npt.NDArray[np.float32]) -> torch.Tensor:
        """Logits of a record, with holes filled as they are shown, (1, 1, 4h, 4w)."""
        return step.filled(self._model, torch.from_numpy(logits.copy())[None, None])

    def view(self, item: Tracked, frame: int, *, backward: bool) -> View:
        """What an object's frame looks at, once its recent memories fit it."""
        self._fit(item, frame, backward=backward)
        prompted = {f: held.memory for f, held in item.prompted.items()}
        tracked = {f: m for f, m in item.recent[backward].kept.items() if f not in prompted}
        return look_back(self._rules, frame, prompted, tracked, backward=backward)

    def reading(self, item: Tracked, view: View, *, backward: bool) -> Reading:
        """The memories of a view, on the model's device."""
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
        device = self._model.device
        return Reading(
            [(t_pos, memory.to(device)) for t_pos, memory in spatial],
            [(distance, pointer.to(device)) for distance, pointer in pointers],
        )

    def _prompted_memory(self, item: Tracked, frame: int) -> torch.Tensor:
        """Memory of a prompted frame, made again where it was dropped."""
        anchor = item.prompted[frame]
        if anchor.memory.spatial is None:
            answer = self._history.said(item.object_id, frame)
            if answer is None:
                raise ProjectError(f"the prompt of object {item.object_id} on {frame} is gone")
            anchor.memory.spatial = step.remember(
                self._model,
                self._features(frame),
                self.filled(answer.record.logits).to(self._model.device),
                anchor.score.to(self._model.device),
                prompted=True,
            )[0].to(self._room.home)
        return anchor.memory.spatial

    def _drop_unselected(self, item: Tracked, looked_at: set[int]) -> None:
        """Keep the memories of no more prompted frames than are looked at."""
        if self._once:
            return  # they could not be made again
        for frame, held in item.prompted.items():
            if frame not in looked_at:
                held.memory.spatial = None

    def forget_prompts(self, item: Tracked, frame: int) -> None:
        """Forget the prompts of a stream that no later frame looks at.

        Frames only come, so that those closest in time are the latest; one more is kept, since
        a prompt on the latest frame looks at the others.
        """
        most = self._rules.max_cond_frames
        reach = max(self._rules.max_pointers, self._rules.spatial_reach)
        for old in sorted(item.prompted)[: -(most + 1)]:
            if frame - old > reach:
                del item.prompted[old]

    def _fit(self, item: Tracked, frame: int, *, backward: bool) -> None:
        """Make the recent memories fit a frame, from the history where they are not held.

        Where the history holds the logits as they were, so is a memory made from them; where
        it holds twelve bits of them, it is nearly so. Of a stream's frame whose features are gone
        none is made: one memory less is better than an end.
        """
        recent = item.recent.get(backward)
        if recent is None:
            recent = item.recent[backward] = self.recent({}, backward=backward)
        way, back = ("backward", 1) if backward else ("forward", -1)
        looked_at = {f for _, f in self._rules.window(frame, backward=backward)}
        for distance in range(1, max(self._rules.max_pointers, self._rules.spatial_reach + 1)):
            earlier = frame + back * distance
            held = recent.kept.get(earlier)
            if held is not None and (held.spatial is not None or earlier not in looked_at):
                continue
            if earlier in item.prompted or not item.begun(earlier, backward=backward):
                continue
            record = self._history.get(item.object_id, earlier)
            if record is None or record.source != way:
                continue
            spatial = None
            if earlier in looked_at and self._can_be_seen(earlier):
                logits = torch.from_numpy(record.logits.copy())[None, None]
                spatial = step.remember(
                    self._model,
                    self._features(earlier),
                    logits.to(self._model.device),
                    torch.tensor([[record.score]], device=self._model.device),
                    prompted=False,
                )[0].to(self._room.home)
            pointer = self.pointer(record).to(self._room.home)
            recent.kept[earlier] = Memory(spatial, pointer)
