"""What tracking gives for one frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from sam2track.errors import PromptError
from sam2track.lazy import Masks
from sam2track.masks import bounding_box

if TYPE_CHECKING:
    import torch

__all__ = ["FrameResult"]

_AT_ONCE = 2**27  # bytes
_LEAST = np.finfo(np.float32).tiny  # of what is in a mask that is given, whatever its logit


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
        Masks that are reported as they are: a person's, and those that a project holds.
    locked : frozenset of int
        Objects that are locked.
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
    locked: frozenset[int] = frozenset()

    def only(self, indices: Sequence[int]) -> Self:
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
            given=Masks({i: partial(self.given.__getitem__, i) for i in ids if i in self.given}),
        )

    @cached_property
    def masks(self) -> npt.NDArray[np.bool_]:
        """Masks at the size of the frame, (N, H, W) bool; they may overlap."""
        masks = np.zeros((len(self.object_ids), self.height, self.width), np.bool_)
        for index, mask in enumerate(masks):
            self._draw(index, mask)
        return masks

    def mask(self, object_id: int) -> npt.NDArray[np.bool_]:
        """One object's mask at the size of the frame, (H, W) bool; the others are not made.

        Raises
        ------
        PromptError
            Where the object is not in the result.
        """
        if object_id not in self.object_ids:
            raise PromptError(
                f"object {object_id} has no mask on frame {self.frame}; track it there first"
            )
        return self._mask(self.object_ids.index(object_id))

    def each_mask(self) -> Iterator[npt.NDArray[np.bool_]]:
        """Yield the masks in their order: those of hundreds of objects would be gigabytes."""
        if len(self.object_ids) * self.height * self.width <= _AT_ONCE:
            yield from self.masks  # who asks for them next has them
        else:
            yield from map(self._mask, range(len(self.object_ids)))

    def _mask(self, index: int) -> npt.NDArray[np.bool_]:
        if "masks" in self.__dict__:
            mask: npt.NDArray[np.bool_] = self.masks[index]
            return mask
        mask = np.zeros((self.height, self.width), np.bool_)
        self._draw(index, mask)
        return mask

    def _draw(self, index: int, mask: npt.NDArray[np.bool_]) -> None:
        """Set an object's pixels in an empty mask."""
        object_id = self.object_ids[index]
        if object_id in self.given:
            mask[:] = self.given[object_id]
        else:
            rows, columns, large = self._large(index)
            mask[rows, columns] = large > 0

    @cached_property
    def labels(self) -> npt.NDArray[np.int32]:
        """Label map, (H, W) int32.

        Locked objects come before others; among either, the highest logit wins, and ties go to
        the lower id.
        """
        labels = np.zeros((self.height, self.width), np.int32)
        # Locked ones last: what they have they take from all others.
        places = sorted(range(len(self.object_ids)), key=self._is_locked)
        for _, group in groupby(places, key=self._is_locked):
            best = np.zeros((self.height, self.width), np.float32)
            for index in group:
                rows, columns, large = self._large(index)
                # Strictly above, so that ties stay with the lower id.
                wins = large > best[rows, columns]
                labels[rows, columns][wins] = self.object_ids[index]
                np.maximum(best[rows, columns], large, out=best[rows, columns])
        return labels

    def _is_locked(self, index: int) -> bool:
        return self.object_ids[index] in self.locked

    def _large(self, index: int) -> tuple[slice, slice, npt.NDArray[np.float32]]:
        """Rows and columns of the frame around an object, and the logits there.

        That is ``interpolate(mode="bilinear", align_corners=False)``, along rows and then down
        columns: a part of the frame costs its part, and most objects are small. They are above 0
        where the mask is, also that of a given one.
        """
        import torch  # here, since a project of results is read without it

        logits = self.logits[index]
        given = self.given.get(self.object_ids[index])
        above = logits > 0 if given is None else given
        x0, y0, x1, y1 = bounding_box(above) or (0, 0, 0, 0)
        down, across = _axis(len(logits), self.height), _axis(len(logits.T), self.width)
        rows, columns = slice(y0, y1), slice(x0, x1)
        if given is None:
            rows, columns = down.led_to(rows), across.led_to(columns)
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        if not high * wide:
            return rows, columns, np.zeros((high, wide), np.float32)
        top = int(down.before[rows.start])
        bottom = int(down.after[rows.stop - 1]) + 1
        # A copy: torch takes no array with steps backward, and warns of one that is only read.
        part = across.between(torch.from_numpy(np.array(logits[top:bottom])), 1, columns)
        large = down.between(part, 0, rows, first=top).numpy()
        if given is not None:
            large = np.where(given[rows, columns], np.maximum(large, _LEAST), np.float32(0))
        return rows, columns, large

    def __repr__(self) -> str:
        return (
            f"FrameResult(frame={self.frame}, object_ids={self.object_ids}, "
            f"logits={self.logits.shape}, size={self.height}x{self.width})"
        )


class _Axis(NamedTuple):
    """Where each place of one axis lies between two of another, which is shorter as a rule.

    Attributes
    ----------
    before, after : (L,) int64 tensor
        The two places.
    weight : (L,) float32 tensor
        Of the latter.
    """

    before: torch.Tensor
    after: torch.Tensor
    weight: torch.Tensor

    def led_to(self, places: slice) -> slice:
        """Places of the long axis into which some of the short one weigh."""
        led = ((self.after >= places.start) & (self.before < places.stop)).nonzero()
        return slice(int(led[0]), int(led[-1]) + 1) if len(led) else slice(0, 0)

    def between(self, small: torch.Tensor, dim: int, places: slice, first: int = 0) -> torch.Tensor:
        """Values at some places of the long axis, of (R, C) whose axis begins at ``first``."""
        before = small.index_select(dim, self.before[places] - first)
        after = small.index_select(dim, self.after[places] - first)
        weight = self.weight[places]
        return before.lerp_(after, weight[:, None] if dim == 0 else weight)


@lru_cache(maxsize=4)
def _axis(small: int, large: int) -> _Axis:
    """As torch's ``area_pixel_compute_source_index`` (ATen/native/UpSample.h)."""
    import torch

    at = ((torch.arange(large) + 0.5) * (small / large) - 0.5).clamp(min=0)
    before = at.long().clamp(max=small - 1)
    return _Axis(before, (before + 1).clamp(max=small - 1), at - before)
