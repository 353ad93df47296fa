"""Colours of objects, whatever their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.utils.colormaps import DirectLabelColormap
from pydantic import PrivateAttr

__all__ = ["Colours", "colours_of"]

_HIGHEST = 2**16 - 1  # of numbers that napari has a table for: above, it raises where numba is not


class Colours(DirectLabelColormap):
    """Colours by number; numbers above napari's table are drawn as free ones within it.

    Made by ``colours_of``.
    """

    _high: npt.NDArray[np.int64] = PrivateAttr()
    _instead: npt.NDArray[np.int64] = PrivateAttr()
    _within: DirectLabelColormap = PrivateAttr()

    @property
    def _array_map(self) -> npt.NDArray[Any]:
        return np.asarray(self._within._array_map)

    def _lowered(self, values: Any) -> Any:
        found = np.asarray(values)
        above = found >= _HIGHEST
        if self.use_selection or not above.any():
            return values
        lowered = np.where(above, _HIGHEST, found)  # which has no colour of its own
        if len(self._high):
            at = np.searchsorted(self._high, found).clip(0, len(self._high) - 1)
            lowered = np.where(self._high[at] == found, self._instead[at], lowered)
        return lowered.astype(found.dtype)[()]

    def _data_to_texture(self, values: Any) -> Any:
        return super()._data_to_texture(self._lowered(values))

    def map(self, values: Any) -> Any:
        """RGBA of numbers."""
        return super().map(self._lowered(values))


def colours_of(table: Mapping[int | None, Any]) -> Colours:
    """Colours for a layer of labels.

    Parameters
    ----------
    table : mapping of int or None to RGBA
        By number; None is what others have.
    """
    within = {i: rgba for i, rgba in table.items() if i is None or i < _HIGHEST}
    high = sorted(i for i in table if i is not None and i >= _HIGHEST)
    free = (i for i in range(_HIGHEST - 1, 0, -1) if i not in within)
    instead = dict(zip(high, free, strict=False))
    within |= {low: table[i] for i, low in instead.items()}
    # Both have the same colours in the same order, by which napari counts them.
    colours = Colours(color_dict={**within, **{i: table[i] for i in instead}})
    colours._within = DirectLabelColormap(color_dict=within)
    colours._high = np.array(list(instead), np.int64)
    colours._instead = np.array(list(instead.values()), np.int64)
    return colours
