"""What a person would say about objects whose true masks are known: points, boxes, corrections."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["correction", "point_inside", "shaken_boxes"]


def point_inside(
    masks: torch.Tensor, labels: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """One point inside each mask, (B, 1, 2) and (B, 1); away from the edge where possible."""
    noise = torch.rand(masks.shape, device=masks.device)
    inner = -F.max_pool2d(-masks[:, None].float(), 5, 1, 2)[:, 0]
    at = (noise * masks + 2 * noise * inner).flatten(1).argmax(dim=1)
    width = masks.shape[-1]
    points = torch.stack([at % width, at // width], dim=1)[:, None].float()
    if labels is None:
        labels = torch.ones(len(masks), 1, dtype=torch.int32, device=masks.device)
    return points, labels


def shaken_boxes(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes around the masks, shaken a little, as two labelled corners."""
    size = masks.shape[-1]
    columns, rows = masks.any(dim=1), masks.any(dim=2)
    steps = torch.arange(size, device=masks.device)
    x0 = torch.where(columns, steps, size).amin(dim=1)
    y0 = torch.where(rows, steps, size).amin(dim=1)
    x1 = torch.where(columns, steps, -1).amax(dim=1) + 1
    y1 = torch.where(rows, steps, -1).amax(dim=1) + 1
    corners = torch.stack([x0, y0, x1, y1], dim=1).float()
    extent = (corners[:, 2:] - corners[:, :2]).repeat(1, 2)
    shake = 0.04 * torch.randn_like(corners)
    corners = (corners + shake * extent).clamp(0, size)
    labels = torch.arange(2, 4, dtype=torch.int32, device=masks.device)[None]
    return corners.view(-1, 2, 2), labels.expand(len(masks), -1)


def correction(truth: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A click where the mask is wrong: on what was missed, or on what is too much."""
    guess = F.interpolate(logits, truth.shape[-2:], mode="bilinear")[:, 0] > 0
    missed, extra = truth & ~guess, guess & ~truth
    add = missed.flatten(1).sum(1) >= extra.flatten(1).sum(1)
    where = torch.where(add[:, None, None], missed, extra)
    # Where nothing is wrong, a click on the object itself (or on the ground) says so.
    right = ~where.flatten(1).any(1)
    where = torch.where(right[:, None, None], truth, where)
    gone = ~where.flatten(1).any(1)
    where = torch.where(gone[:, None, None], ~truth, where)
    labels = ((add | right) & ~gone).int()[:, None]
    return point_inside(where, labels)
