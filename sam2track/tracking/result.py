"""What tracking gives for one frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["FrameResult"]


@dataclass(frozen=True, eq=False, repr=False)
class FrameResult:
    """Masks and scores of N objects on one frame.

    Attributes
    ----------
    frame : int
        Index in the source.
    object_ids : tuple of int
        The objects, ascending. Objects that have not begun are not here; lost ones are,
        with an empty mask.
    logits : (N, 4h, 4w) float32 array
        At the decoder's resolution, after hole filling.
    object_scores, ious : (N,) float32 arrays
        Object score logits and predicted IoU.
    height, width : int
        Size of the frame in pixels.
    sources : tuple of str
        How each mask came about: ``prompted``, ``forward``, ``backward``, ``edited``.
    given : mapping of int to (H, W) bool array
        Masks that a person gave, which are reported as they are.
    """

    frame: int
    object_ids: tuple[int, ...]
    logits: npt.NDArray[np.float32]
    object_scores: npt.NDArray[np.float32]
    ious: npt.NDArray[np.float32]
    height: int
    width: int
    sources: tuple[str, ...]
    given: Mapping[int, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def only(self, indices: Sequence[int]) -> FrameResult:
        """Some of the objects, by their places in ``object_ids``."""
        if len(indices) == len(self.object_ids):
            return self  # masks that were made are not made again
        ids = tuple(self.object_ids[index] for index in indices)
        return replace(
            self,
            object_ids=ids,
            logits=self.logits[list(indices)],
            object_scores=self.object_scores[list(indices)],
            ious=self.ious[list(indices)],
            sources=tuple(self.sources[index] for index in indices),
            given={i: mask for i, mask in self.given.items() if i in ids},
        )

    def _large(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each object's logits at the size of the frame, one at a time."""
        import torch  # here, since a project of results is read without it
        from torch.nn.functional import interpolate

        for object_id, logits in zip(self.object_ids, self.logits, strict=True):
            if object_id in self.given:
                yield np.where(self.given[object_id], np.float32(10), np.float32(-10))
                continue
            if float(logits.max()) <= 0:
                yield np.full((self.height, self.width), logits.max(), np.float32)
                continue
            small = torch.from_numpy(np.ascontiguousarray(logits))[None, None]
            size = (self.height, self.width)
            yield interpolate(small, size, mode="bilinear", align_corners=False)[0, 0].numpy()

    @cached_property
    def _pictures(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
        masks = np.zeros((len(self.object_ids), self.height, self.width), np.bool_)
        labels = np.zeros((self.height, self.width), np.int32)
        best = np.zeros((self.height, self.width), np.float32)
        for index, large in enumerate(self._large()):
            masks[index] = large > 0
            # Strictly above, so that ties stay with the lower id.
            wins = large > best
            labels[wins] = self.object_ids[index]
            np.maximum(best, large, out=best)
        return masks, labels

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """Masks at the size of the frame, (N, H, W) bool; they may overlap."""
        return self._pictures[0]

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """Label map, (H, W) int32: the highest logit wins, ties go to the lower id."""
        return self._pictures[1]

    def __repr__(self) -> str:
        return (
            f"FrameResult(frame={self.frame}, object_ids={self.object_ids}, "
            f"logits={self.logits.shape}, size={self.height}x{self.width})"
        )
