"""Which cores a job leaves to the writing of its outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sam2track.models.model import Model
from sam2track.tracking.encoder import LARGE

__all__ = ["a_core_spared"]


@contextmanager
def a_core_spared(model: Model) -> Iterator[None]:
    """Let torch use one thread less while a small model tracks on the CPU.

    Its products are so small that the last thread brings little, while that thread and those that
    decode and write wait for one another: on two cores, with all outputs of 720p, 82 ms a frame
    in place of 115 (docs/performance.md). It is so for every job of such a model, whatever it
    writes, since sums end otherwise on another number of threads.
    """
    before = torch.get_num_threads()
    spare = model.device.type == "cpu" and model.image_size < LARGE
    torch.set_num_threads(max(1, before - spare))
    try:
        yield
    finally:
        torch.set_num_threads(before)
