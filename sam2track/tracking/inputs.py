"""From what a person says to what the model takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from sam2track.models.model import Model
from sam2track.prompts import Prompt

__all__ = ["clicks", "mask_logits", "square"]


def clicks(
    model: Model, prompt: Prompt, *, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and a box's corners in pixels of the model's square; corners come first.

    Parameters
    ----------
    height, width : int
        Size of the frame in pixels.

    Returns
    -------
    (1, P, 2) float32 tensor
    (1, P) int32 tensor
        Labels: 1 object, 0 background, 2 and 3 corners of a box.
    """
    corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
    points = torch.tensor([[*corners, *prompt.points]], dtype=torch.float32).view(1, -1, 2)
    labels = torch.tensor([[*[2, 3][: len(corners)], *prompt.labels]], dtype=torch.int32)
    points = points / torch.tensor([width, height])
    return (points * model.image_size).to(model.device), labels.to(model.device)


def square(model: Model, mask: npt.NDArray[np.bool_] | None) -> torch.Tensor:
    """A (H, W) mask on the model's square, (1, 1, S, S) float32; zeros where there is none."""
    size = model.image_size
    if mask is None:
        return torch.zeros(1, 1, size, size, device=model.device)
    given = torch.from_numpy(mask.astype(np.float32))[None, None].to(model.device)
    if given.shape[-2:] == (size, size):
        return given
    resized = F.interpolate(
        given, (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return (resized >= 0.5).float()


def mask_logits(model: Model, mask: npt.NDArray[np.bool_]) -> torch.Tensor:
    """A (H, W) mask as logits of an earlier one, (1, 1, 4h, 4w): 10 inside, -10 outside."""
    size = model.image_size // 4
    return F.interpolate(
        square(model, mask) * 20 - 10,
        (size, size),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
