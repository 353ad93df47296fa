"""One picture: its features are kept, so that a prompt costs the mask decoder alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch

from sam2track.arguments import check_flag, whole_number
from sam2track.detections import as_detections
from sam2track.errors import PromptError, UsageError
from sam2track.frames.still import picture_of
from sam2track.masks import Box
from sam2track.models.loading import load_model
from sam2track.models.model import Model
from sam2track.pictures import read_mask
from sam2track.prompt_files import load_prompts
from sam2track.prompts import Prompt, Prompts, check_prompt
from sam2track.tracking import conditioning, inputs, step
from sam2track.tracking.encoder import Encoder, Features
from sam2track.tracking.result import FrameResult

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from sam2track.image.everything import Found

__all__ = ["ImageResult", "ImageSegmenter", "segment"]

_LIMIT = 32.0  # what logits are clamped to before they go in again, as SAM2ImagePredictor


@dataclass(frozen=True, eq=False, repr=False)
class ImageResult(FrameResult):
    """Masks and scores of N objects on one picture; ``frame`` is 0.

    Attributes
    ----------
    candidates : tuple of (K, 4h, 4w) float32 arrays
        Logits of each object's candidates, best predicted IoU first; K is 3 or 1. The first is
        the one in ``logits``.
    candidate_ious : tuple of (K,) float32 arrays
        Their predicted IoU, falling.
    names : mapping of int to str
        Names of the objects that have one.
    """

    candidates: tuple[npt.NDArray[np.float32], ...] = ()
    candidate_ious: tuple[npt.NDArray[np.float32], ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)

    def only(self, indices: Sequence[int]) -> Self:
        """Some of the objects, by their places in ``object_ids``."""
        some = super().only(indices)
        if some is self:
            return self
        return replace(
            some,
            candidates=tuple(self.candidates[index] for index in indices),
            candidate_ious=tuple(self.candidate_ious[index] for index in indices),
            names={i: name for i, name in self.names.items() if i in some.object_ids},
        )

    def candidate_masks(self, object_id: int) -> npt.NDArray[np.bool_]:
        """All candidates of an object at the size of the picture, (K, H, W) bool, best first."""
        if object_id not in self.object_ids:
            raise UsageError(f"there is no object {object_id}; there are {list(self.object_ids)}")
        rows = self.candidates[self.object_ids.index(object_id)]
        ids = tuple(range(1, len(rows) + 1))
        return replace(self, object_ids=ids, logits=rows).masks


class ImageSegmenter:
    """One picture and a model.

    The image encoder runs once, at the first prompt; every further one costs the mask decoder
    alone. Masks are those of ``SAM2ImagePredictor`` on the same features.

    Parameters
    ----------
    image : path, (H, W) or (H, W, 3) array, or PIL image
        What is not uint8 or bool is scaled by its 0.1 and 99.9 percentiles.
    model : Model, SAM2Base, str or path
        Anything but a Model goes through ``load_model``.
    max_batch : int
        Most objects that go through the decoder at once.

    Attributes
    ----------
    picture : (H, W, 3) uint8 array
        RGB, upright.

    Raises
    ------
    UsageError
        Where ``image`` is a stack or a video.
    SourceError
        Where its file cannot be read.
    """

    def __init__(
        self,
        image: Any,
        model: Model | SAM2Base | str | os.PathLike[str] = "auto",
        *,
        max_batch: int = 64,
    ) -> None:
        if not isinstance(max_batch, (int, np.integer)) or max_batch < 1:
            raise UsageError(f"max_batch {max_batch!r}; allowed are 1 and more, whole numbers")
        self.picture = picture_of(image)
        self.height, self.width = self.picture.shape[:2]
        self.model = load_model(model)
        self.max_batch = max_batch
        self._encoder = Encoder(self.model)
        self._constants = conditioning.Constants(self.model)
        self._kept: tuple[Features, torch.Tensor] | None = None

    def segment(
        self,
        prompts: Any,
        *,
        multimask: bool | None = None,
        previous: FrameResult | None = None,
    ) -> ImageResult:
        """Find what is prompted.

        Parameters
        ----------
        prompts : Prompt, list or dict of Prompt, boxes, prompts file or the same as a dict
            One Prompt is object 1, a list objects 1 to N, a dict has them by number. Boxes are
            an (N, 4) array of (x0, y0, x1, y1) or a detector's result, see ``as_detections``.
        multimask : bool, optional
            Decode three candidates and take the best, or one mask. By default three where a
            single point is all that is said of an object.
        previous : ImageResult, optional
            Of this picture: masks of objects of the same number go in as logits of an earlier
            round.

        Returns
        -------
        ImageResult

        Raises
        ------
        PromptError
            Where a prompt cannot be, or lies outside the picture.
        """
        multimask = None if multimask is None else check_flag("multimask", multimask)
        said = self._said(prompts)
        self._check_previous(previous)
        groups: dict[tuple[int, bool, bool], list[int]] = {}
        points: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        dense = {}
        for object_id, _, prompt in said:
            points[object_id] = inputs.clicks(
                self.model, prompt, height=self.height, width=self.width
            )
            dense[object_id] = self._dense(object_id, prompt, previous)
            lone = len(prompt.points) == 1 and prompt.box is None and dense[object_id] is None
            key = (
                points[object_id][1].shape[1],
                dense[object_id] is not None,
                lone if multimask is None else multimask,
            )
            groups.setdefault(key, []).append(object_id)
        found: dict[int, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], float]] = {}
        for (count, has_dense, candidates), ids in groups.items():
            for at in range(0, len(ids), self.max_batch):
                batch = ids[at : at + self.max_batch]
                coordinates = torch.cat([points[i][0] for i in batch])
                labels = torch.cat([points[i][1] for i in batch])
                earlier = [d for i in batch if (d := dense[i]) is not None]
                masks, ious, scores = self.decode(
                    (coordinates, labels) if count else None,
                    torch.cat(earlier) if has_dense else None,
                    candidates=candidates,
                )
                for row, object_id in enumerate(batch):
                    order = np.argsort(-ious[row], kind="stable")
                    found[object_id] = (masks[row][order], ious[row][order], float(scores[row]))
        ids = sorted(found)
        return ImageResult(
            frame=0,
            object_ids=tuple(ids),
            logits=np.stack([found[i][0][0] for i in ids]),
            object_scores=np.array([found[i][2] for i in ids], np.float32),
            ious=np.array([found[i][1][0] for i in ids], np.float32),
            height=self.height,
            width=self.width,
            sources=("prompted",) * len(ids),
            candidates=tuple(found[i][0] for i in ids),
            candidate_ious=tuple(found[i][1] for i in ids),
            names={i: said.names[i] for i in ids if said.names.get(i)},
        )

    def everything(self, **settings: Any) -> list[Found]:
        """Find all that can be told apart, without prompts; see ``everything.Settings``."""
        from sam2track.image.everything import Settings, find

        return find(self, Settings(**settings))

    def cropped(self, box: Box) -> ImageSegmenter:
        """A part of the picture, (x0, y0, x1, y1) in whole pixels, with features of its own.

        Raises
        ------
        UsageError
            Where it is none.
        """
        try:
            x0, y0, x1, y1 = (whole_number("side of a box", side) for side in box)
        except (TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"box {box!r:.60}; give x0, y0, x1, y1") from error
        if not (0 <= x0 < x1 <= self.width and 0 <= y0 < y1 <= self.height):
            raise UsageError(
                f"box ({x0}, {y0}, {x1}, {y1}) is no part of the picture of {self.width} x "
                f"{self.height} pixels"
            )
        return ImageSegmenter(self.picture[y0:y1, x0:x1], self.model, max_batch=self.max_batch)

    def decode(
        self,
        points: tuple[torch.Tensor, torch.Tensor] | None,
        dense: torch.Tensor | None = None,
        *,
        candidates: bool,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run the mask decoder for B objects; as ``SAM2ImagePredictor._predict``.

        Parameters
        ----------
        points : ((B, P, 2) float32, (B, P) int32) tensors or None
            As ``step.heads``.
        dense : (B, 1, 4h, 4w) tensor, optional
            Logits of an earlier mask.
        candidates : bool
            Three, or one.

        Returns
        -------
        (B, K, 4h, 4w), (B, K) and (B,) float32 arrays
            Logits, predicted IoU, object score logits.
        """
        features, embedding = self._features()
        given = dense if points is None else points[0]
        if given is None:
            raise UsageError("nothing to decode: give points or logits")
        masks, ious, _, scores = step.heads(
            self.model,
            self._constants,
            features,
            embedding.expand(len(given), -1, -1, -1),
            points=points,
            dense=dense,
            candidates=candidates,
        )
        return (
            masks.float().cpu().numpy(),
            ious.float().cpu().numpy(),
            scores[:, 0].float().cpu().numpy(),
        )

    def _features(self) -> tuple[Features, torch.Tensor]:
        """Features, encoded once, and what the decoder looks at."""
        if self._kept is None:
            features = self._encoder.encode(self.picture)
            embedding = features.top
            # Without this setting SAM2ImagePredictor looks at the features as they are.
            if self.model.module.directly_add_no_mem_embed:
                embedding = conditioning.without_memory(self.model, features)
            self._kept = features, embedding
        return self._kept

    def _said(self, given: Any) -> Prompts:
        said = _prompts(given, self.height, self.width)
        said.check_said()
        if not len(said):
            raise PromptError("nothing to look for: give a point, a box or a mask")
        for object_id, frame, prompt in said:
            if frame:
                raise PromptError(
                    f"object {object_id} is prompted on frame {frame}; a single picture is frame 0"
                )
            if prompt.absent:
                raise PromptError(
                    f"object {object_id} is absent, which says nothing of a single picture; "
                    f"leave it out"
                )
            try:
                prompt.check(self.height, self.width)
            except PromptError as error:
                raise PromptError(f"object {object_id}: {error}") from error
        return said

    def _check_previous(self, previous: FrameResult | None) -> None:
        if previous is None:
            return
        if not isinstance(previous, FrameResult):
            raise PromptError(
                f"the earlier round is {type(previous).__name__}; give what segment returned"
            )
        if (previous.height, previous.width) != (self.height, self.width):
            raise PromptError(
                f"the earlier round is of {previous.width} x {previous.height} pixels, this "
                f"picture has {self.width} x {self.height}; give a result of the same picture"
            )

    def _dense(
        self, object_id: int, prompt: Prompt, previous: FrameResult | None
    ) -> torch.Tensor | None:
        if previous is None or object_id not in previous.object_ids:
            return None if prompt.mask is None else inputs.mask_logits(self.model, prompt.mask)
        if prompt.mask is not None:
            raise PromptError(
                f"object {object_id} has a mask and one of an earlier round; give one of the two"
            )
        row = previous.logits[previous.object_ids.index(object_id)]
        side = self.model.image_size // 4
        if row.shape != (side, side):
            raise PromptError(
                f"the earlier round has logits of {row.shape}, this model's are {(side, side)}; "
                f"give a result of the same model"
            )
        earlier = torch.from_numpy(row.copy())[None, None].to(self.model.device)
        return earlier.clamp(-_LIMIT, _LIMIT)


def _prompts(given: Any, height: int, width: int) -> Prompts:
    """Whatever says where objects are, as Prompts."""
    if isinstance(given, Prompt):
        given = [given]
    if isinstance(given, Mapping) and all(isinstance(p, Prompt) for p in given.values()):
        by_number = Prompts()
        for object_id, prompt in given.items():
            by_number.add(object_id, 0, prompt)
        return by_number
    if isinstance(given, Sequence) and any(isinstance(prompt, Prompt) for prompt in given):
        return Prompts({i: {0: check_prompt(p)} for i, p in enumerate(given, start=1)})
    if isinstance(given, (Prompts, Mapping, str, os.PathLike)):
        return load_prompts(given, read_mask=read_mask)
    return as_detections(given).clipped(height, width).prompts()


def segment(
    image: Any,
    prompts: Any,
    model: Model | SAM2Base | str | os.PathLike[str] = "auto",
    *,
    multimask: bool | None = None,
    device: str = "auto",
    precision: str = "auto",
    image_size: int | None = None,
) -> ImageResult:
    """Find objects in a single picture.

    Parameters
    ----------
    image : path, (H, W) or (H, W, 3) array, or PIL image
        As ``ImageSegmenter``, which costs less where the same picture is prompted again.
    prompts
        As ``ImageSegmenter.segment``: a Prompt, several, boxes, or a prompts file.
    model : Model, SAM2Base, str or path
        As ``load_model``.
    multimask : bool, optional
        Three candidates, the best chosen, or one mask; by default three for a lone point.
    device, precision, image_size
        As ``load_model``.

    Returns
    -------
    ImageResult
        With ``masks`` (N, H, W), ``labels``, ``ious``, and ``candidate_masks``.

    Raises
    ------
    Sam2TrackError
        Of the kind that fits.
    """
    loaded = load_model(model, device=device, precision=precision, image_size=image_size)
    return ImageSegmenter(image, loaded).segment(prompts, multimask=multimask)
