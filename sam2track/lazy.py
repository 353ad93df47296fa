"""Masks by object that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt

__all__ = ["Masks"]

Mask = npt.NDArray[np.bool_]


class Masks(Mapping[int, Mask]):
    """Masks of a frame, none of which is kept: a thousand take a thousand times its memory.

    Parameters
    ----------
    makers : mapping of int to callable
        Makes the mask of an object.
    around : callable, optional
        Gives a context in which each mask is made.
    """

    def __init__(
        self,
        makers: Mapping[int, Callable[[], Mask]],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._makers, self._around = makers, around

    def __getitem__(self, object_id: int) -> Mask:
        make = self._makers[object_id]
        with self._around():
            return make()

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._makers  # that of Mapping makes the mask

    def __iter__(self) -> Iterator[int]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def within(self, around: Callable[[], AbstractContextManager[None]]) -> Masks:
        """Return the same, each made in a context."""
        return Masks(self._makers, around)
