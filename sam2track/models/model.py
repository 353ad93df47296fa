"""A model that is ready to run: modules, where they run and how precisely."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sam2track.models.choices import PRECISIONS

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["DTYPES", "Model"]

DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))


class Model:
    """SAM 2 modules, where they run and how precisely.

    Attributes
    ----------
    module : SAM2Base
        The modules; never changed by this package.
    name : str
        Name in the zoo, file name, or class of a module that was handed in.
    device : torch.device
        Where it runs.
    precision : {"fp32", "bf16", "fp16"}
        Of matrix products and convolutions (autocast); state and logits stay float32.
    image_size : int
        Side of the square that frames are resized to, in pixels.
    tracks : bool
        Whether there are weights for video; a ``Sam2Model`` of Transformers has none.
    """

    def __init__(self, module: SAM2Base, *, name: str, precision: str, tracks: bool = True) -> None:
        self.module = module
        self.name = name
        self.device: torch.device = next(module.parameters()).device
        self.precision = precision
        self.image_size: int = module.image_size
        self.tracks = tracks
        self._parts: dict[str, Any] = {}
        self._editions: dict[str, int] = {}  # how often the weights of a part had been changed

    @property
    def dtype(self) -> torch.dtype:
        """Of matrix products and convolutions."""
        return DTYPES[self.precision]

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which the modules run at the model's precision."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.precision])

    def part(self, name: str) -> Any:
        """One of the modules, with the weights of its products at the model's precision.

        They are what autocast makes of them for each product, but once and not in every frame;
        below float32 later changes of the weights are not seen before ``renew``.
        """
        if self.precision == "fp32":
            return getattr(self.module, name)
        if name not in self._parts:
            held = getattr(self.module, name)
            self._parts[name], self._editions[name] = _cast(held, self.dtype), _edition(held)
        return self._parts[name]

    @torch.inference_mode()
    def renew(self) -> None:
        """Cast weights anew that were changed in their place since, as by training."""
        for name, part in self._parts.items():
            held = getattr(self.module, name)
            edition = _edition(held)
            if edition != self._editions[name]:
                for own, cast in zip(held.parameters(), part.parameters(), strict=True):
                    if own is not cast:
                        cast.copy_(own)  # in its place: recordings of a GPU read it there
                self._editions[name] = edition

    def fingerprint(self) -> str:
        """Return a short text that tells other weights: of a few values of each tensor."""
        digest = hashlib.sha256()
        for name, value in sorted(self.module.state_dict().items()):
            few = value.detach().flatten()[:16].float().cpu()
            digest.update(f"{name}{tuple(value.shape)}{few.tolist()}".encode())
        return digest.hexdigest()[:16]

    @property
    def fill_hole_area(self) -> float:
        """Largest hole that is filled, in pixels of the decoder's grid.

        The module's setting is meant for a grid of 256; it scales with the grid's area.
        """
        area = float(getattr(self.module, "fill_hole_area", 0))
        return area * (self.image_size / 1024) ** 2

    def __repr__(self) -> str:
        return (
            f"Model({self.name!r}, device={str(self.device)!r}, "
            f"precision={self.precision!r}, image_size={self.image_size})"
        )


def _edition(part: nn.Module) -> int:
    """How often weights were changed; of those made for inference nobody counts it."""
    return sum(0 if weight.is_inference() else weight._version for weight in part.parameters())


def _cast(part: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy that shares all but the weights which autocast would cast."""
    memo: dict[int, Any] = {id(held): held for held in (*part.parameters(), *part.buffers())}
    for layer in part.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            for weight in layer.parameters(recurse=False):
                memo[id(weight)] = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    return copy.deepcopy(part, memo)
