"""From pictures, prompts and memories to masks: what a tracker computes, object by object.

Holds no state but features of frames; what an object remembers is in its ``Tracked``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch

from sam2track.errors import ProjectError
from sam2track.frames.source import FrameSource
from sam2track.models.loading import Model
from sam2track.prompts import Prompt
from sam2track.tracking import conditioning, inputs, step
from sam2track.tracking.encoder import Encoder, Features, Picture
from sam2track.tracking.features import FeatureStore
from sam2track.tracking.fetching import Fetch
from sam2track.tracking.graphs import Graphs
from sam2track.tracking.history import History, Record
from sam2track.tracking.memory import Memory, Recent, Rules, View, look_back
from sam2track.tracking.objects import Anchor, Tracked
from sam2track.tracking.room import Room
from sam2track.tracking.stream import StreamSource

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["Engine", "Upcoming"]

Upcoming = Callable[[], tuple[int, Picture] | None]

_PIXELS = 2**21  # of the squares whose masks are decoded and remembered at a time on a CPU


class Engine:
    """Computes frames of objects.

    Parameters
    ----------
    model : Model
    source : FrameSource
        Where frames come from that are not handed in.
    history : History
        Where an object's past comes from that is not in memory.
    rules : Rules
        Which memories are looked at.
    store : FeatureStore
        Bytes of features that are kept.
    """

    def __init__(
        self,
        model: Model,
        source: FrameSource | StreamSource,
        history: History,
        rules: Rules,
        store: FeatureStore,
    ) -> None:
        self.model = model
        self.source = source
        self.history = history
        self.rules = rules
        self._graphs = Graphs(model.device)
        self.encoder = Encoder(model, self._graphs)
        self._constants = conditioning.Constants(model)
        self.store = store
        self.room = Room(model, self.store, self._graphs)
        self._threads = self.threads

    @property
    def threads(self) -> int | None:
        """How many threads torch has, on which a CPU's sums depend; None on other devices."""
        return torch.get_num_threads() if self.model.device.type == "cpu" else None

    @property
    def reads_ahead(self) -> bool:
        """Whether the next picture is read and encoded while the device is at work on one.

        On a CPU that takes longer.
        """
        return self.model.device.type == "cuda"

    def features(self, frame: int, picture: Picture | None = None) -> Features:
        """Features of a frame, encoded only where they are not held."""
        if self._threads != self.threads:  # else what comes would depend on what was held
            self._threads = self.threads
            self.store.clear()
        found = self.store.get(frame)
        if found is None:
            picture = self.source.read(frame) if picture is None else picture
            found = self.encoder.encode(picture)
            self.store.put(frame, found.to(self.room.home))
        return found.to(self.model.device)

    def recent(self, kept: dict[int, Memory], *, backward: bool) -> Recent:
        """Memories of recent frames, where state is kept."""
        device = self.room.home
        here = {
            frame: Memory(
                None if memory.spatial is None else memory.spatial.to(device),
                memory.pointer.to(device),
            )
            for frame, memory in kept.items()
        }
        return Recent(self.rules, backward, here)

    def answer(
        self, item: Tracked, frame: int, prompt: Prompt, tracked: Record | None
    ) -> tuple[Anchor, torch.Tensor]:
        """What comes of a prompt: a function of it and of what tracking gave on the frame.

        Parameters
        ----------
        tracked : Record or None
            What tracking gave there before anything was said of it.

        Returns
        -------
        Anchor
            With its memory, made while the frame's features are at hand.
        (1, 1, 4h, 4w) float32 tensor
            Logits before hole filling.
        """
        return self.room.insist(lambda: self._answer(item, frame, prompt, tracked), [item])

    def _answer(
        self, item: Tracked, frame: int, prompt: Prompt, tracked: Record | None
    ) -> tuple[Anchor, torch.Tensor]:
        features = self.features(frame)
        module = self.model.module
        if prompt.absent or prompt.is_mask_alone:
            found = step.given_mask(
                self.model, self._constants, features, inputs.square(self.model, prompt.mask)
            )
        else:
            dense = None
            if prompt.mask is not None:
                dense = inputs.mask_logits(self.model, prompt.mask)
            elif tracked is not None:
                # As official: what was shown of it, within what the encoder is used to.
                dense = self.filled(tracked.logits).to(self.model.device).clamp(-32, 32)
            conditioned = self._conditioned(item, frame, features, tracked)
            points = inputs.clicks(
                self.model, prompt, height=self.source.height, width=self.source.width
            )
            found = step.decode(
                self.model,
                self._constants,
                features,
                conditioned,
                points=points,
                dense=dense,
                candidates=_candidates(module, points[1].shape[1], initial=tracked is None),
            )
        filled = step.filled(self.model, found.logits)
        spatial = step.remember(self.model, features, filled, found.scores, prompted=True)[0]
        anchor = Anchor(
            Memory(spatial.to(self.room.home), found.pointers[0].to(self.room.home)),
            found.scores.float().to(self.room.home),
            float(found.ious[0]),
            "edited" if prompt.edited else "prompted",
        )
        return anchor, found.logits

    def pointer(self, record: Record) -> torch.Tensor:
        """Return a record's object pointer, (C,); ProjectError where it is of another model."""
        size = self.model.module.hidden_dim
        if record.pointer.shape != (size,):
            raise ProjectError(
                f"object {record.object_id} on frame {record.frame}: its pointer has "
                f"{record.pointer.size} numbers, this model's have {size}; the project is of "
                "another model, or damaged: do it anew with `sam2track replay`"
            )
        return torch.from_numpy(record.pointer.copy())

    def filled(self, logits: npt.NDArray[np.float32]) -> torch.Tensor:
        """Logits of a record, with holes filled as they are shown, (1, 1, 4h, 4w)."""
        return step.filled(self.model, torch.from_numpy(logits.copy())[None, None])

    def _conditioned(
        self, item: Tracked, frame: int, features: Features, tracked: Record | None
    ) -> torch.Tensor:
        """Features as tracking saw them, or without memory where it has not been."""
        others = {f: anchor for f, anchor in item.prompted.items() if f != frame}
        if tracked is None or not others:
            return conditioning.without_memory(self.model, self._constants, features)
        backward = tracked.source == "backward"
        alone = Tracked(item.object_id, others)
        if isinstance(self.source, StreamSource):
            # Elsewhere all comes from the history, so that it does not matter what was said before.
            alone.recent = {
                key: Recent(recent.rules, recent.backward, dict(recent.kept))
                for key, recent in item.recent.items()
            }
        self._recall(alone, frame, backward=backward)
        view = self._view(alone, frame, backward=backward)
        return conditioning.attend(
            self.model,
            self._constants,
            features,
            conditioning.gathered(
                self.model, self._constants, [self._reading(alone, view, backward=backward)]
            ),
            self.rules.max_pointers,
        )

    def track(
        self,
        frame: int,
        picture: Picture,
        items: Sequence[Tracked],
        *,
        backward: bool,
        max_batch: int,
        upcoming: Upcoming | None = None,
    ) -> dict[int, tuple[Record, npt.NDArray[np.float32]]]:
        """Track objects on a frame on which nothing is said of them.

        Objects that look at equal numbers of memories go through one batch.

        Parameters
        ----------
        upcoming : callable, optional
            Gives the next frame and its picture, None where they are not at hand; it is encoded
            while this one's masks come from a GPU.

        Returns
        -------
        dict of int to (Record, (4h, 4w) float32 array)
            By object: what to keep, and its logits after hole filling.
        """
        if not items:
            return {}
        features = self.room.insist(lambda: self.features(frame, picture), items)
        groups: dict[tuple[int, int], list[tuple[Tracked, View]]] = {}
        for item in items:
            view = self.room.insist(partial(self._recalled, item, frame, backward=backward), items)
            groups.setdefault(view.shape, []).append((item, view))
        found: dict[int, tuple[Record, npt.NDArray[np.float32]]] = {}
        for group in groups.values():
            while group:
                batch = group[: min(max_batch, self.room.batch or max_batch)]
                work = partial(self._batch, frame, features, batch, upcoming, backward=backward)
                done = self.room.attempt(work, items, len(batch))
                if done is not None:
                    found |= done
                    del group[: len(batch)]
        return found

    def _recalled(self, item: Tracked, frame: int, *, backward: bool) -> View:
        self._recall(item, frame, backward=backward)
        return self._view(item, frame, backward=backward)

    def _batch(
        self,
        frame: int,
        features: Features,
        batch: list[tuple[Tracked, View]],
        upcoming: Upcoming | None,
        *,
        backward: bool,
    ) -> dict[int, tuple[Record, npt.NDArray[np.float32]]]:
        readings = [self._reading(item, view, backward=backward) for item, view in batch]
        decoded, memories = self._tracked(
            features, conditioning.gathered(self.model, self._constants, readings)
        )
        fetch = Fetch(
            decoded.logits, decoded.scores[:, 0].float(), decoded.ious, decoded.pointers.float()
        )
        if upcoming is not None and self.reads_ahead and not self.room.limited:
            following = upcoming()
            if following is not None:
                self.features(*following)
        logits, *others = fetch.wait()
        raw = logits[:, 0].numpy()
        # In main memory: holes are filled there, whatever the device.
        shown = step.filled(self.model, logits)[:, 0].numpy()
        scores, ious, pointers = (part.numpy() for part in others)
        found = {}
        for index, (item, _) in enumerate(batch):
            # Clones, so that no object keeps the memories of the whole batch alive.
            memory = Memory(
                memories[index].clone().to(self.room.home),
                decoded.pointers[index].clone().to(self.room.home),
            )
            item.recent[backward].add(frame, memory)
            record = Record(
                item.object_id,
                frame,
                raw[index],
                pointers[index],
                float(scores[index]),
                float(ious[index]),
                "backward" if backward else "forward",
            )
            found[item.object_id] = (record, shown[index])
        return found

    def _tracked(
        self, features: Features, memories: conditioning.Memories
    ) -> tuple[step.Decoded, torch.Tensor]:
        """Masks of objects that are tracked, and their new memories, (B, h * w, M)."""
        reach, cpu = self.rules.max_pointers, self.model.device.type == "cpu"

        def work(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            seen = Features(*given[:3])
            conditioned = conditioning.attend(
                self.model, self._constants, seen, conditioning.Memories(*given[3:]), reach
            )
            # What lies between for many large masks would go out to main memory.
            few = max(1, _PIXELS // self.model.image_size**2) if cpu else len(conditioned)
            parts = [self._found(seen, some) for some in conditioned.split(few)]
            return tuple(map(torch.cat, zip(*parts, strict=True))) if len(parts) > 1 else parts[0]

        found = self._graphs.run(("track", reach), work, *features, *memories)
        *decoded, new = cast(tuple[torch.Tensor, ...], found)
        return step.Decoded(*decoded), new

    def _found(self, seen: Features, conditioned: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Masks and memories of objects, by features in the light of their memories."""
        found = step.decode(
            self.model,
            self._constants,
            seen,
            conditioned,
            candidates=_candidates(self.model.module, 0, initial=False),
        )
        new = step.remember(
            self.model,
            seen,
            found.logits,
            found.scores,
            prompted=False,
            apart=self._constants.apart(len(found.logits)),
        )
        return found.logits, found.pointers, found.scores, found.ious, new

    def _view(self, item: Tracked, frame: int, *, backward: bool) -> View:
        prompted = {f: held.memory for f, held in item.prompted.items()}
        tracked = {f: m for f, m in item.recent[backward].kept.items() if f not in prompted}
        return look_back(self.rules, frame, prompted, tracked, backward=backward)

    def _reading(self, item: Tracked, view: View, *, backward: bool) -> conditioning.Reading:
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
        device = self.model.device
        return conditioning.Reading(
            [(t_pos, memory.to(device)) for t_pos, memory in spatial],
            [(distance, pointer.to(device)) for distance, pointer in pointers],
        )

    def _prompted_memory(self, item: Tracked, frame: int) -> torch.Tensor:
        """Memory of a prompted frame, made again where it was dropped."""
        anchor = item.prompted[frame]
        if anchor.memory.spatial is None:
            answer = self.history.said(item.object_id, frame)
            if answer is None:
                raise ProjectError(f"the prompt of object {item.object_id} on {frame} is gone")
            anchor.memory.spatial = step.remember(
                self.model,
                self.features(frame),
                self.filled(answer.record.logits).to(self.model.device),
                anchor.score.to(self.model.device),
                prompted=True,
            )[0].to(self.room.home)
        return anchor.memory.spatial

    def _drop_unselected(self, item: Tracked, looked_at: set[int]) -> None:
        """Keep the memories of no more prompted frames than are looked at."""
        if isinstance(self.source, StreamSource):
            return  # they could not be made again
        if len(item.prompted) > self.rules.max_cond_frames > 0:
            for frame, held in item.prompted.items():
                if frame not in looked_at:
                    held.memory.spatial = None

    def forget_prompts(self, item: Tracked, frame: int) -> None:
        """Forget the prompts of a stream that no later frame looks at.

        Frames only come, so that those closest in time are the latest; one more is kept, since
        a prompt on the latest frame looks at the others.
        """
        most = self.rules.max_cond_frames
        if most < 0:
            return
        reach = max(self.rules.max_pointers, self.rules.spatial_reach)
        for old in sorted(item.prompted)[: -(most + 1)]:
            if frame - old > reach:
                del item.prompted[old]

    def _recall(self, item: Tracked, frame: int, *, backward: bool) -> None:
        """Make the recent memories fit a frame, from the history where they are not held.

        Where the history holds the logits as they were, so is a memory made from them; where
        it holds twelve bits of them, it is nearly so.
        """
        recent = item.recent.get(backward)
        if recent is None:
            recent = item.recent[backward] = self.recent({}, backward=backward)
        ahead = [f for f in recent.kept if (f <= frame if backward else f >= frame)]
        for f in ahead:  # of a run that is out of date
            del recent.kept[f]
        way, back = ("backward", 1) if backward else ("forward", -1)
        looked_at = {f for _, f in self.rules.window(frame, backward=backward)}
        for distance in range(max(self.rules.max_pointers, self.rules.spatial_reach + 1)):
            earlier = frame + back * distance
            held = recent.kept.get(earlier)
            if held is not None and (held.spatial is not None or earlier not in looked_at):
                continue
            if (
                distance == 0
                or earlier in item.prompted
                or not item.begun(earlier, backward=backward)
            ):
                continue
            record = self.history.get(item.object_id, earlier)
            if record is None or record.source != way:
                continue
            spatial = None
            if earlier in looked_at:
                logits = torch.from_numpy(record.logits.copy())[None, None]
                spatial = step.remember(
                    self.model,
                    self.features(earlier),
                    logits.to(self.model.device),
                    torch.tensor([[record.score]], device=self.model.device),
                    prompted=False,
                )[0].to(self.room.home)
            pointer = self.pointer(record).to(self.room.home)
            recent.kept[earlier] = Memory(spatial, pointer)


def _candidates(module: SAM2Base, points: int, *, initial: bool) -> bool:
    """Whether three candidate masks are decoded; as ``SAM2Base._use_multimask``."""
    return bool(
        module.multimask_output_in_sam
        and (initial or module.multimask_output_for_tracking)
        and module.multimask_min_pt_num <= points <= module.multimask_max_pt_num
    )
