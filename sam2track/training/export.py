"""From a training checkpoint to the weights that are shipped."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

__all__ = ["export"]


def export(checkpoint: Path, weights: Path) -> None:
    """Write a checkpoint's model as half-precision safetensors."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
    halves = {key: value.half().contiguous() for key, value in state.items()}
    weights.parent.mkdir(parents=True, exist_ok=True)
    partial = weights.with_suffix(".partial")
    save_file(halves, partial)
    partial.replace(weights)
