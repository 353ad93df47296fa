"""Work of a GPU recorded once and replayed, so that frames do not wait for launches.

A small model's frame is a thousand short kernels, and a processor needs longer to launch them one
by one than the GPU to run them. A CUDA graph launches them at once; masks are the same.
"""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch

from sam2track.faults import is_out_of_memory

__all__ = ["Graphs"]

Given = tuple[torch.Tensor | None, ...]
Work = Callable[..., Given]

_OFTEN = 3  # times that work is seen before it is recorded: shapes grow while memories fill
_MOST = 4  # recordings that are kept; each holds the memory of what it computes


class Graphs:
    """Runs functions of tensors, from recordings where a device has them.

    Parameters
    ----------
    device : torch.device
        Elsewhere than on CUDA work is run as it is.
    """

    def __init__(self, device: torch.device) -> None:
        self._on = device.type == "cuda"
        self._seen: Counter[Hashable] = Counter()
        self._kept: OrderedDict[Hashable, _Recording] = OrderedDict()
        # They run one after the other, and what each found is copied at once, so that what lies
        # between may lie in the same place for all.
        self._pool: Any = torch.cuda.graph_pool_handle() if self._on else None

    @torch.inference_mode()
    def run(self, name: Hashable, work: Work, *given: torch.Tensor | None) -> Given:
        """Return ``work(*given)``.

        Parameters
        ----------
        name : hashable
            Tells work from other work on tensors of the same shapes; what it depends on besides
            its tensors belongs in here.
        work : callable
            Takes tensors and returns tensors on the device; must not wait for the device.
        """
        if not self._on:
            return work(*given)
        key = (name, *(None if t is None else (t.shape, t.stride(), t.dtype) for t in given))
        recording = self._kept.get(key)
        if recording is None:
            self._seen[key] += 1
            if self._seen[key] < _OFTEN:
                return work(*given)
            recording = self._recorded(key, work, given)
            if recording is None:
                return work(*given)
        self._kept.move_to_end(key)
        return recording(given)

    def _recorded(self, key: Hashable, work: Work, given: Given) -> _Recording | None:
        while len(self._kept) >= _MOST:
            self._kept.popitem(last=False)
        self._seen.clear()  # what comes by turns with what was dropped has to come often again
        try:
            self._kept[key] = _Recording(work, given, self._pool)
        except RuntimeError as error:
            self.stop()
            if not is_out_of_memory(error):
                said = " ".join(str(error).split())[:160]
                warnings.warn(
                    f"the GPU's work could not be recorded ({said}); frames take longer",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return None
        return self._kept[key]

    def stop(self) -> None:
        """Give back what recordings hold, and record no more."""
        self._on = False
        self._kept.clear()


class _Recording:
    """A CUDA graph with the tensors that it reads and writes."""

    def __init__(self, work: Work, given: Given, pool: Any) -> None:
        self._given = tuple(None if t is None else t.clone() for t in given)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile, for another tracker.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._found = work(*self._given)

    def __call__(self, given: Given) -> Given:
        for held, new in zip(self._given, given, strict=True):
            if held is not None and new is not None:
                held.copy_(new)
        self._graph.replay()
        # The next replay writes over what it found.
        return tuple(None if t is None else t.clone() for t in self._found)
