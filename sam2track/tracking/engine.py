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

from sam2track.frames.source import FrameSource, check_picture
from sam2track.models.model import Model
from sam2track.prompts import Prompt
from sam2track.tracking import conditioning, inputs, step
from sam2track.tracking.encoder import Encoder, Features, Picture
from sam2track.tracking.features import FeatureStore
from sam2track.tracking.fetching import Fetch
from sam2track.tracking.graphs import Graphs
from sam2track.tracking.history import History, Record
from sam2track.tracking.launch import Launch
from sam2track.tracking.memory import Memory, Rules, View
from sam2track.tracking.objects import Anchor, Tracked
from sam2track.tracking.recall import Recall
from sam2track.tracking.room import Room
from sam2track.tracking.stream import StreamSource

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["Engine", "Upcoming"]

Upcoming = Callable[[], tuple[int, Picture] | None]
Found = dict[int, tuple[Record, npt.NDArray[np.float32]]]

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
        self.recall = Recall(
            model,
            history,
            rules,
            self.room,
            self.features,
            self._can_be_seen,
            once=isinstance(source, StreamSource),
        )
        self._ahead: dict[int, Launch] = {}  # by their first object
        self._launches_ahead = True

    @property
    def threads(self) -> int | None:
        """How many threads torch has, on which a CPU's sums depend; None on other devices."""
        return torch.get_num_threads() if self.model.device.type == "cpu" else None

    @property
    def reads_ahead(self) -> bool:
        """Whether the next picture is read, encoded and tracked while the masks of one are fetched.

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
            if picture is None:
                picture = check_picture(self.source, frame, self.source.read(frame))
            found = self.encoder.encode(picture)
            self.store.put(frame, found.to(self.room.home))
        return found.to(self.model.device)

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
                dense = self.recall.filled(tracked.logits).to(self.model.device).clamp(-32, 32)
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

    def _conditioned(
        self, item: Tracked, frame: int, features: Features, tracked: Record | None
    ) -> torch.Tensor:
        """Features as tracking saw them, or without memory where it has not been."""
        others = {f: anchor for f, anchor in item.prompted.items() if f != frame}
        if tracked is None or not others:
            return conditioning.without_memory(self.model, features)
        backward = tracked.source == "backward"
        alone = Tracked(item.object_id, others)
        if isinstance(self.source, StreamSource):
            # Elsewhere all comes from the history, so that it does not matter what was said before.
            alone.recent = item.copied_recent()
        view = self.recall.view(alone, frame, backward=backward)
        return conditioning.attend(
            self.model,
            self._constants,
            features,
            conditioning.gathered(
                self.model, self._constants, [self.recall.reading(alone, view, backward=backward)]
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
    ) -> Found:
        """Track objects on a frame on which nothing is said of them.

        Objects that look at equal numbers of memories go through one batch.

        Parameters
        ----------
        upcoming : callable, optional
            Gives the next frame and its picture, None where they are not at hand. While this one's
            masks come from a GPU, it is given the next one's work.

        Returns
        -------
        dict of int to (Record, (4h, 4w) float32 array)
            By object: what to keep, and its logits after hole filling.
        """
        if not items:
            return {}
        features = self.room.insist(lambda: self.features(frame, picture), items)
        found: Found = {}
        last: Launch | None = None
        for group in self._groups(frame, items, backward=backward):
            while group:
                batch = group[: min(max_batch, self.room.batch or max_batch)]
                work = partial(self._launched, frame, features, batch, backward=backward)
                launch = self.room.attempt(work, items, len(batch))
                if launch is None:
                    continue
                for item, memory in zip(launch.items, launch.memories, strict=True):
                    item.remember(frame, memory, backward=backward)
                del group[: len(batch)]
                if last is not None:  # while the device is at work on this one
                    found |= self.room.insist(partial(self._read, last), items)
                last = launch
        self._ahead.clear()  # what was not asked for
        if upcoming is not None and self.reads_ahead and not self.room.limited:
            self._launch_ahead(upcoming, items, max_batch, backward=backward)
        return found if last is None else found | self.room.insist(partial(self._read, last), items)

    def _groups(
        self, frame: int, items: Sequence[Tracked], *, backward: bool
    ) -> list[list[tuple[Tracked, View]]]:
        """Objects that look at equal numbers of memories, and what each looks at."""
        groups: dict[tuple[int, int], list[tuple[Tracked, View]]] = {}
        for item in items:
            work = partial(self.recall.view, item, frame, backward=backward)
            view = self.room.insist(work, items)
            groups.setdefault(view.shape, []).append((item, view))
        return list(groups.values())

    def _launched(
        self,
        frame: int,
        features: Features,
        batch: list[tuple[Tracked, View]],
        *,
        backward: bool,
    ) -> Launch:
        """Give the device the work on a batch, unless it was given it ahead."""
        items = [item for item, _ in batch]
        readings = [self.recall.reading(item, view, backward=backward) for item, view in batch]
        ahead = self._ahead.pop(items[0].object_id, None)
        if ahead is not None and ahead.is_for(frame, items, readings, backward=backward):
            return ahead
        decoded, memories = self._tracked(
            features, conditioning.gathered(self.model, self._constants, readings)
        )
        # Clones, so that no object keeps the memories of the whole batch alive.
        kept = [
            Memory(memory.clone().to(self.room.home), pointer.clone().to(self.room.home))
            for memory, pointer in zip(memories, decoded.pointers, strict=True)
        ]
        fetch = Fetch(
            decoded.logits, decoded.scores[:, 0].float(), decoded.ious, decoded.pointers.float()
        )
        return Launch(frame, backward, items, readings, kept, fetch)

    def _launch_ahead(
        self, upcoming: Upcoming, items: Sequence[Tracked], max_batch: int, *, backward: bool
    ) -> None:
        """Give the device the next frame, as far as it is known what will be asked for."""
        following = upcoming() if self._launches_ahead else None
        if following is None:
            return
        frame, picture = following
        waiting = [item for item in items if frame not in item.prompted]
        try:
            features = self.features(frame, picture)
            if len(waiting) > max_batch:
                return  # of many objects, each batch keeps the device at work while one is read
            for group in self._groups(frame, waiting, backward=backward):
                launch = self._launched(frame, features, group, backward=backward)
                self._ahead[launch.items[0].object_id] = launch
        except Exception:
            # Once it is its turn it is tried again, room is made, or it is said what is wrong: this
            # frame is whole, whatever comes of the next one.
            self._launches_ahead = False
            self._ahead.clear()

    def _read(self, launch: Launch) -> Found:
        """What came of a batch, once the device is through with it."""
        logits, *others = launch.fetch.wait()
        raw = logits[:, 0].numpy()
        # In main memory: holes are filled there, whatever the device.
        shown = step.filled(self.model, logits)[:, 0].numpy()
        scores, ious, pointers = (part.numpy() for part in others)
        found = {}
        for index, item in enumerate(launch.items):
            record = Record(
                item.object_id,
                launch.frame,
                raw[index],
                pointers[index],
                float(scores[index]),
                float(ious[index]),
                "backward" if launch.backward else "forward",
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

    def _can_be_seen(self, frame: int) -> bool:
        """Whether a frame can be read, or its features are held."""
        streams = isinstance(self.source, StreamSource)
        return not streams or frame in self.store or frame == len(self.source) - 1


def _candidates(module: SAM2Base, points: int, *, initial: bool) -> bool:
    """Whether three candidate masks are decoded; as ``SAM2Base._use_multimask``."""
    return bool(
        module.multimask_output_in_sam
        and (initial or module.multimask_output_for_tracking)
        and module.multimask_min_pt_num <= points <= module.multimask_max_pt_num
    )
