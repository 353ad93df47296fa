"""Muon for a model of many small matrices: those of one shape are orthogonalised together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch

from sam2track.models.rates import bf16_pays

__all__ = ["Muon"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def _orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Bring the singular values of (N, rows, columns) matrices near one (Newton-Schulz)."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    # A processor without instructions for bfloat16 takes hundreds of times as long in it.
    x = matrices.bfloat16() if matrices.is_cuda or bf16_pays() else matrices.float()
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised (Jordan et al., 2024).

    ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"`` does the same matrix by matrix:
    some two thousand launches a step for a small model, which a GPU waits for.

    Parameters
    ----------
    matrices : iterable of parameters
        All with two axes.
    lr : float
        Learning rate, as AdamW would have it.
    momentum : float
        How much of the last steps goes on; Nesterov's kind.
    weight_decay : float
        Decoupled, in parts of the learning rate.
    """

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients that are there."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                self._move(shape, matrices, group)

    def _move(
        self, shape: torch.Size, matrices: list[torch.Tensor], group: dict[str, float]
    ) -> None:
        momentum, rate = group["momentum"], group["lr"]
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        for matrix in matrices:
            if not self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(matrix)
        kept = [self.state[matrix]["momentum"] for matrix in matrices]
        torch._foreach_lerp_(kept, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, kept, momentum)
        steps = _orthogonal(torch.stack(ahead)).to(matrices[0].dtype)
        torch._foreach_mul_(matrices, 1 - rate * group["weight_decay"])
        # So that a step is as large as AdamW's (Liu et al., "Muon is Scalable", 2025).
        size = rate * 0.2 * math.sqrt(max(shape))
        torch._foreach_add_(matrices, list(steps.unbind()), alpha=-size)
