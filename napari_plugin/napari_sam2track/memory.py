"""How much memory a model takes, before it is loaded and while it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psutil

from sam2track.models.zoo import ZOO

if TYPE_CHECKING:
    from sam2track.models.model import Model

__all__ = ["needed", "used"]


def needed(name: str) -> str:
    """What following an object with a model takes, and what is free; empty where not known."""
    model = ZOO.get(name)
    if model is None or not model.memory:
        return ""
    free = psutil.virtual_memory().available / 1e9
    enough = "" if free > model.memory else ", too little: choose a smaller model"
    return f"takes about {model.memory:.1f} GB, {free:.1f} GB free{enough}"


def used(model: Model) -> str:
    """What is held now: of a GPU by torch, elsewhere by the process."""
    torch = sys.modules["torch"]
    if model.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(model.device)
        return f"{(total - free) / 1e9:.1f} of {total / 1e9:.0f} GB"
    return f"{psutil.Process().memory_info().rss / 1e9:.1f} GB"
