"""Masks of all that can be told apart in a picture, from a grid of points.

Follows ``SAM2AutomaticMaskGenerator`` (Kirillov et al. 2023, Ravi et al. 2024): each point of
a grid gives three masks; those of low predicted IoU and those that change much with the threshold
are left out, and of such as cover the same the best is kept. Crops of the picture, each with a
grid of its own, find what is small.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from sam2track import masks as rle
from sam2track.arguments import check_flag, is_number, whole_number
from sam2track.errors import UsageError
from sam2track.masks import Box, label_dtype, measure

if TYPE_CHECKING:
    from sam2track.image.segmenter import ImageSegmenter

__all__ = ["Found", "Settings", "find", "label_image"]

_CROP_OVERLAP = 512 / 1500  # part of the shorter side, for two crops a side
_EDGE = 20.0  # pixels; what ends so near to a crop's edge is taken to go on beyond it
_OFFSET = 1.0  # logits up and down, to see how much a mask changes
_LIMIT = 32.0  # of logits of an earlier round
_TIDIED = 10.0  # logit of what is filled; its negative, of what is taken away
_PIXELS = 2**26  # most pixels of enlarged logits at once


@dataclass(frozen=True, eq=False)
class Found:
    """One mask.

    Attributes
    ----------
    code : bytes
        Run-length code of the mask, of the size of the picture; see ``mask``.
    area : int
        Pixels.
    box : (int, int, int, int)
        (x0, y0, x1, y1), half-open.
    predicted_iou, stability : float
        What the mask was judged by.
    point : (float, float)
        The point of the grid, in pixels of the picture.
    crop : (int, int, int, int)
        The part of the picture in which it was found.
    """

    code: bytes
    area: int
    box: Box
    predicted_iou: float
    stability: float
    point: tuple[float, float]
    crop: Box

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The mask, (H, W) bool."""
        return rle.decode(self.code)


@dataclass
class Settings:
    """How all is looked for.

    Parameters
    ----------
    points_per_side : int
        Points along each side of the grid.
    min_iou : float
        Least predicted IoU.
    min_stability : float
        Least intersection over union of the mask cut at logits of 1 and of -1.
    crop_layers : int
        Layer n looks at 4**n overlapping crops as well.
    duplicate_iou : float
        Of two masks whose boxes have a higher IoU than this the better one is kept; across
        crops that of the smaller crop.
    points_downscale : int
        Layer n has ``points_per_side / points_downscale**n`` points a side.
    refine : bool
        Decode each candidate once more, with itself as the mask of an earlier round (official:
        ``use_m2m``).
    min_region_area : int
        Holes and patches up to this size are filled and taken away, in cells of the decoder's
        grid, which has 256 x 256 at the usual image size (official: ``min_mask_region_area``).

    Raises
    ------
    UsageError
        Where one cannot be.
    """

    points_per_side: int = 32
    min_iou: float = 0.8
    min_stability: float = 0.95
    crop_layers: int = 0
    duplicate_iou: float = 0.7
    points_downscale: int = 1
    refine: bool = False
    min_region_area: int = 0

    def __post_init__(self) -> None:
        for name in ("points_per_side", "crop_layers", "points_downscale", "min_region_area"):
            setattr(self, name, whole_number(name, getattr(self, name)))
        self.refine = check_flag("refine", self.refine)
        if not 1 <= self.points_per_side <= 1024:
            raise UsageError(f"points_per_side {self.points_per_side}; allowed are 1 to 1024")
        if self.min_region_area < 0:
            raise UsageError(f"min_region_area {self.min_region_area}; allowed are 0 and more")
        if not 0 <= self.crop_layers <= 4:
            raise UsageError(f"crop_layers {self.crop_layers}; allowed are 0 to 4")
        least = self.points_downscale
        if least < 1 or self.points_per_side // least**self.crop_layers < 1:
            raise UsageError(
                f"points_downscale {least} leaves no points for {self.crop_layers} layers of "
                f"crops; give at least 1, and less than {self.points_per_side}"
            )
        for name in ("min_iou", "min_stability", "duplicate_iou"):
            share = getattr(self, name)
            # Nothing is above or below NaN: all masks would pass.
            if not is_number(share) or not math.isfinite(share):
                raise UsageError(f"{name} {share!r:.60}; give a number, usually from 0 to 1")


def find(segmenter: ImageSegmenter, settings: Settings) -> list[Found]:
    """Find all that can be told apart; best predicted IoU first, within each crop."""
    found: list[_Candidate] = []
    crops = _crops(segmenter.height, segmenter.width, settings.crop_layers)
    for layer, crop in crops:
        part = segmenter if layer == 0 else segmenter.cropped(crop)
        side = int(settings.points_per_side / settings.points_downscale**layer)
        grid = _grid(side) * np.array([part.width, part.height])
        new = [
            candidate
            for at in range(0, len(grid), segmenter.max_batch)
            for candidate in _batch(
                part, grid[at : at + segmenter.max_batch], crop, segmenter, settings
            )
        ]
        found += _distinct(new, [c.found.predicted_iou for c in new], settings.duplicate_iou)
    if len(crops) > 1:
        found = _distinct(found, [1 / _area(c.found.crop) for c in found], settings.duplicate_iou)
    return [candidate.found for candidate in found]


def label_image(found: Sequence[Found], height: int, width: int) -> npt.NDArray[np.integer]:
    """Return a label map, (H, W): mask n of the list is n + 1; where they overlap, the smallest."""
    labels = np.zeros((height, width), label_dtype(range(1, len(found) + 1)))
    for index in sorted(range(len(found)), key=lambda i: -found[i].area):
        labels[found[index].mask] = index + 1
    return labels


@dataclass(frozen=True, eq=False)
class _Candidate:
    found: Found
    edges: tuple[int, int, int, int]  # first and last pixels, as the official boxes


def _grid(side: int) -> npt.NDArray[np.float64]:
    """Points (x, y) in parts of the picture, row by row."""
    places = np.linspace(1 / (2 * side), 1 - 1 / (2 * side), side)
    return np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)


def _crops(height: int, width: int, layers: int) -> list[tuple[int, Box]]:
    """Layer and box of the whole picture and of all crops; as ``generate_crop_boxes``."""
    crops: list[tuple[int, Box]] = [(0, (0, 0, width, height))]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(_CROP_OVERLAP * min(height, width) * (2 / count))
        wide, high = (math.ceil((overlap * (count - 1) + side) / count) for side in (width, height))
        for i, j in itertools.product(range(count), repeat=2):
            x, y = (wide - overlap) * i, (high - overlap) * j
            crop = (x, y, min(x + wide, width), min(y + high, height))
            if crop[0] < crop[2] and crop[1] < crop[3]:  # very small pictures have fewer
                crops.append((layer, crop))
    return crops


def _batch(
    part: ImageSegmenter,
    points: npt.NDArray[np.float64],
    crop: Box,
    whole: ImageSegmenter,
    settings: Settings,
) -> Iterator[_Candidate]:
    """Masks of some points of a grid that are good enough."""
    device, size = part.model.device, part.model.image_size
    given = torch.from_numpy(points.astype(np.float32))
    square = given / torch.tensor([part.width, part.height]) * size
    labels = torch.ones(len(points), 1, dtype=torch.int32, device=device)
    logits, ious, _ = part.decode((square[:, None].to(device), labels), candidates=True)
    min_iou, min_stability = settings.min_iou, settings.min_stability
    if settings.refine:
        count = logits.shape[1]
        given, square = (p.repeat_interleave(count, dim=0) for p in (given, square))
        logits, ious = _refined(part, square, logits.reshape(-1, 1, *logits.shape[2:]))
    if settings.min_region_area:
        logits = _tidied(logits, settings.min_region_area)
    good = np.flatnonzero((ious > min_iou).any(axis=1)) if min_iou > 0 else np.arange(len(ious))
    step = max(1, _PIXELS // (3 * part.height * part.width))
    for at in range(0, len(good), step):
        rows = good[at : at + step]
        # All candidates of a point together, as official: torch's kernel for three channels
        # ends in other digits than that for one.
        large = F.interpolate(
            torch.from_numpy(logits[rows]),
            (part.height, part.width),
            mode="bilinear",
            align_corners=False,
        )
        stable = _stability(large)
        for (index, row), k in itertools.product(enumerate(rows), range(large.shape[1])):
            if min_iou > 0 and not ious[row, k] > min_iou:
                continue
            # NaN, of a mask that is empty at both thresholds, is not enough.
            if min_stability > 0 and not stable[index, k] >= min_stability:
                continue
            mask = (large[index, k] > 0).numpy()
            edges = _edges(mask)
            if _is_cut(edges, crop, whole.height, whole.width):
                continue
            place = (float(given[row, 0]) + crop[0], float(given[row, 1]) + crop[1])
            yield _Candidate(
                _found(mask, crop, whole, float(ious[row, k]), float(stable[index, k]), place),
                (edges[0] + crop[0], edges[1] + crop[1], edges[2] + crop[0], edges[3] + crop[1]),
            )


def _refined(
    part: ImageSegmenter, square: torch.Tensor, logits: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """One mask, (N, 1, 4h, 4w), and its predicted IoU of each point with its mask of before."""
    device = part.model.device
    masks, ious = [], []
    for at in range(0, len(logits), part.max_batch):
        points = square[at : at + part.max_batch, None].to(device)
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=device)
        earlier = torch.from_numpy(logits[at : at + part.max_batch]).to(device)
        found = part.decode((points, labels), earlier.clamp(-_LIMIT, _LIMIT), candidates=False)
        masks.append(found[0])
        ious.append(found[1])
    return np.concatenate(masks), np.concatenate(ious)


def _tidied(logits: npt.NDArray[np.float32], area: int) -> npt.NDArray[np.float32]:
    """Logits, (N, K, 4h, 4w), with small holes filled and small patches taken away."""
    flat = logits.reshape(-1, *logits.shape[2:])
    filled = rle.fill_holes(flat, max_area=area, value=_TIDIED)
    inside = flat > 0
    outside = np.where(inside, np.float32(-1), np.float32(1))
    patches = inside & (rle.fill_holes(outside, max_area=area, value=1.0) > 0)
    return np.where(patches, np.float32(-_TIDIED), filled).reshape(logits.shape)


def _stability(logits: torch.Tensor) -> npt.NDArray[np.float32]:
    """Intersection over union of masks cut high and low, (N, K)."""
    high = (logits > _OFFSET).sum(dim=(-2, -1))
    low = (logits > -_OFFSET).sum(dim=(-2, -1))
    return (high / low).numpy()


def _edges(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """First and last column and row, as official: zeros where the mask is empty."""
    box = rle.bounding_box(mask)
    return (0, 0, 0, 0) if box is None else (box[0], box[1], box[2] - 1, box[3] - 1)


def _is_cut(edges: tuple[int, int, int, int], crop: Box, height: int, width: int) -> bool:
    """Whether a mask ends at an edge of its crop that is none of the picture."""
    for side, of_crop, of_picture, shift in zip(
        edges, crop, (0, 0, width, height), (crop[0], crop[1]) * 2, strict=True
    ):
        place = side + shift
        if abs(place - of_crop) <= _EDGE and not abs(place - of_picture) <= _EDGE:
            return True
    return False


def _found(
    mask: npt.NDArray[np.bool_],
    crop: Box,
    whole: ImageSegmenter,
    iou: float,
    stability: float,
    point: tuple[float, float],
) -> Found:
    if mask.shape != (whole.height, whole.width):
        large = np.zeros((whole.height, whole.width), np.bool_)
        large[crop[1] : crop[3], crop[0] : crop[2]] = mask
        mask = large
    size = measure(mask)
    return Found(rle.encode(mask), size.area, size.box or (0, 0, 0, 0), iou, stability, point, crop)


def _distinct(
    candidates: list[_Candidate], scores: Sequence[float], most: float
) -> list[_Candidate]:
    """The best of those whose boxes cover the same, best first; as ``torchvision.ops.nms``."""
    boxes = np.array([c.edges for c in candidates], np.float32).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting = np.argsort(-np.array(scores, np.float32), kind="stable")
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(candidates[best])
        low = np.maximum(boxes[best, :2], boxes[waiting, :2])
        high = np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        common = (high - low).clip(0).prod(axis=1)
        together = areas[best] + areas[waiting] - common
        # Written so that boxes without area, which overlap by 0 / 0, are kept.
        waiting = waiting[~(common > np.float32(most) * together)]
    return kept


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
