"""Training passes as CUDA graphs: a small model's kernels run faster than they are launched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sam2track.training.batches import Batch
from sam2track.training.unroll import Carried, Losses, Plan, Remembered, unroll

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["Graphs"]

_Kernels = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass
class _Captured:
    graph: torch.cuda.CUDAGraph
    given: list[torch.Tensor]  # what a replay reads
    losses: Losses  # what it writes


class Graphs:
    """Gradients of passes, each kind of pass captured once and then replayed.

    A kind of pass is its plan, the shapes, and how much was carried: some twenty in a training.
    The first pass of a kind runs as ever, which also sets up what kernels need.

    Parameters
    ----------
    module : SAM2Base
        On a GPU. Its parameters get gradients that stay where they are.
    kernels : callable
        Gives the context of precision and attention kernels that passes run in.
    contrast : float
        Weight of the contrastive loss.
    quiet : context manager
        Keeps other threads from the GPU while a pass is captured.
    """

    def __init__(
        self,
        module: SAM2Base,
        kernels: _Kernels,
        *,
        contrast: float,
        quiet: contextlib.AbstractContextManager[object],
    ) -> None:
        self._module = module
        self._kernels = kernels
        self._contrast = contrast
        self._quiet = quiet
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        self._pool: Any = None
        self._known: set[object] = set()
        self._kept: dict[object, _Captured] = {}

    def run(self, batch: Batch, plan: Plan, carried: Carried | None) -> Losses:
        """Leave the gradients of a pass in its parameters and return its losses."""
        given = _flat(batch, carried)
        kind = (plan, tuple((tensor.shape, tensor.dtype) for tensor in given))
        if kind not in self._known:
            self._known.add(kind)
            return self._pass(batch, plan, carried)
        if kind not in self._kept:
            self._kept[kind] = self._capture(batch, plan, carried)
        captured = self._kept[kind]
        torch._foreach_copy_(captured.given, given)
        captured.graph.replay()
        found = captured.losses
        # The next replay, of whichever kind, writes over what this one left.
        return Losses(found.total.clone(), found.ious.clone(), _copied(found.carried))

    def _capture(self, batch: Batch, plan: Plan, carried: Carried | None) -> _Captured:
        held = Batch(
            batch.pictures.clone(), batch.labels.clone(), batch.things.clone(), batch.ago.clone()
        )
        kept = None if carried is None else _copied(carried)
        graph = torch.cuda.CUDAGraph()
        with self._quiet:
            torch.cuda.synchronize()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                losses = self._pass(held, plan, kept)
        self._pool = graph.pool()
        return _Captured(graph, _flat(held, kept), losses)

    def _pass(self, batch: Batch, plan: Plan, carried: Carried | None) -> Losses:
        with self._kernels():
            losses = unroll(self._module, batch, plan, contrast=self._contrast, carried=carried)
        found = torch.autograd.grad(losses.total, self._parameters, allow_unused=True)
        kept = [parameter.grad for parameter in self._parameters]
        torch._foreach_zero_(kept)
        used = [(k, g) for k, g in zip(kept, found, strict=True) if k is not None and g is not None]
        torch._foreach_add_([k for k, _ in used], [g for _, g in used])
        return Losses(losses.total.detach(), losses.ious, losses.carried)


def _flat(batch: Batch, carried: Carried | None) -> list[torch.Tensor]:
    tensors = [batch.pictures, batch.labels, batch.things, batch.ago]
    if carried is not None:
        tensors += [carried.mask, carried.score, carried.pointer]
        for memory in carried.recent:
            tensors += [memory.pointer]
            tensors += [] if memory.features is None else [memory.features]
    return tensors


def _copied(carried: Carried) -> Carried:
    recent = [
        Remembered(None if m.features is None else m.features.clone(), m.pointer.clone())
        for m in carried.recent
    ]
    return Carried(carried.mask.clone(), carried.score.clone(), carried.pointer.clone(), recent)
