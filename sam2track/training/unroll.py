"""One training pass over a batch of clips: prompts, tracking, corrections, losses.

The order of things is that of ``SAM2Base.track_step`` and of SAM 2's training (Ravi et al.,
"SAM 2: Segment Anything in Images and Videos", 2024, appendix D); what differs is that all
four mask tokens are trained on every frame and that features of one thing are drawn together
across frames by a contrastive loss, which teaches a small trunk to tell textures apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from sam2track.training.batches import Batch
from sam2track.training.clicks import correction, point_inside, shaken_boxes
from sam2track.training.textures import Rng

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["Losses", "unroll"]

_ABSENT = -1024.0
_POINTERS = 15  # that a frame looks back at

Memories = dict[str, dict[int, dict[str, Any]]]


@dataclass
class Carried:
    """What goes from one stretch of a clip to the next; nothing in it has a gradient.

    Attributes
    ----------
    prompted : _Decoded
        What came of the prompt on the clip's first frame.
    memories : dict
        As ``SAM2Base`` keeps them: by kind, then by frame number; without the first frame's.
    """

    prompted: _Decoded
    memories: Memories


@dataclass
class Losses:
    """Sum to minimise, and the mean IoU of each frame for the log."""

    total: torch.Tensor
    ious: torch.Tensor  # (frames,)
    carried: Carried


@dataclass
class _Decoded:
    masks: torch.Tensor  # (B, 4, h, w) logits of all mask tokens
    ious: torch.Tensor  # (B, 4) predicted
    score: torch.Tensor  # (B, 1) object score logits
    chosen: torch.Tensor  # (B, 1, h, w) logits of the mask that is used
    pointer: torch.Tensor  # (B, C)


class _Pass:
    """The unrolling of one batch."""

    def __init__(self, module: SAM2Base, batch: Batch, carried: Carried | None = None) -> None:
        self.module = module
        self.batch = batch
        clips, frames = batch.images.shape[:2]
        out = module.forward_image(batch.images.flatten(0, 1))
        levels = module.num_feature_levels
        self.maps = [level.unflatten(0, (clips, frames)) for level in out["backbone_fpn"][-levels:]]
        position = out["vision_pos_enc"][-1][:1]
        self.position = position.flatten(2).permute(2, 0, 1).expand(-1, len(batch.clip), -1)
        self.memories: Memories = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        small = self.maps[0].shape[-1]
        soft = batch.masks.float().flatten(0, 1)[:, None]
        self.soft = F.interpolate(soft, (small, small), mode="area").view(
            *batch.masks.shape[:2], small, small
        )
        self.judged: list[tuple[int, _Decoded, float]] = []
        if carried is not None:
            # The first frame's memory is made again, so that its encoder learns what lasts.
            self.remember(0, self.features(0), carried.prompted, "cond_frame_outputs")
            for kind, kept in carried.memories.items():
                self.memories[kind].update(kept)

    def features(self, frame: int) -> list[torch.Tensor]:
        return [level[:, frame][self.batch.clip] for level in self.maps]

    def decode(
        self,
        features: list[torch.Tensor],
        conditioned: torch.Tensor,
        points: tuple[torch.Tensor, torch.Tensor] | None,
        dense: torch.Tensor | None,
        *,
        candidates: bool,
    ) -> _Decoded:
        """As ``SAM2Base._forward_sam_heads``, but with the masks of all four tokens."""
        module = self.module
        count = len(conditioned)
        if points is None:
            device = conditioned.device
            points = (
                torch.zeros(count, 1, 2, device=device),
                -torch.ones(count, 1, dtype=torch.int32, device=device),
            )
        sparse, dense_embedding = module.sam_prompt_encoder(points, None, dense)
        masks, ious, tokens, score = module.sam_mask_decoder.predict_masks(
            image_embeddings=conditioned,
            image_pe=module.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense_embedding,
            repeat_image=False,
            high_res_features=features[:-1],
        )
        masks, ious, score = masks.float(), ious.float(), score.float()
        rows = torch.arange(count, device=masks.device)
        best = 1 + ious[:, 1:].argmax(dim=1) if candidates else torch.zeros_like(rows)
        seen = (score > 0).float()
        chosen = torch.where(seen[:, None, None] > 0, masks[rows, best][:, None], _ABSENT)
        pointer = seen * module.obj_ptr_proj(tokens[rows, best])
        pointer = pointer + (1 - seen) * module.no_obj_ptr
        return _Decoded(masks, ious, score, chosen, pointer)

    def judge(self, frame: int, decoded: _Decoded, weight: float = 1.0) -> None:
        """Keep what was found in a frame, as it is now, for the losses."""
        self.judged.append((frame, replace(decoded), weight))

    def losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss of what was judged, and the mean IoU of each: all of it at once."""
        frames, decoded, weights = zip(*self.judged, strict=True)
        truth = torch.stack([self.soft[:, frame] for frame in frames])  # (N, B, h, w)
        masks = torch.stack([found.masks for found in decoded])  # (N, B, 4, h, w)
        present = truth.flatten(2).amax(dim=2) > 0.5
        target = truth[:, :, None].expand_as(masks)
        cross = F.binary_cross_entropy_with_logits(masks, target, reduction="none")
        # Pixels of the object weigh more, so that small ones count.
        cross = (cross * (1 + 4 * target)).mean(dim=(3, 4))
        probability = masks.sigmoid()
        overlap = (probability * target).sum(dim=(3, 4))
        total = probability.sum(dim=(3, 4)) + target.sum(dim=(3, 4))
        dice = 1 - (2 * overlap + 1) / (total + 1)
        each = 4 * cross + dice  # (N, B, 4)
        real = truth > 0.5
        with torch.no_grad():
            iou = _iou(masks > 0, real[:, :, None])
            best = each[..., 1:].argmin(dim=2, keepdim=True)
            shown = torch.stack([found.chosen[:, 0] for found in decoded]) > 0
            number = present.sum(dim=1).clamp(min=1)
            got = (_iou(shown, real) * present).sum(dim=1) / number
        mask = each[..., 0] + each[..., 1:].gather(2, best)[..., 0] + 0.05 * each[..., 1:].sum(2)
        guessed = torch.stack([found.ious for found in decoded])
        loss = ((mask + (guessed - iou).abs().mean(dim=2)) * present).sum(dim=1) / number
        # Things are absent far less often than present.
        score = F.binary_cross_entropy_with_logits(
            torch.stack([found.score[:, 0] for found in decoded]),
            present.float(),
            weight=torch.where(present, 1.0, 4.0),
            reduction="none",
        )
        loss = (loss + score.mean(dim=1)) * torch.tensor(weights, device=loss.device)
        return loss.mean(), got

    def remember(
        self, frame: int, features: list[torch.Tensor], decoded: _Decoded, key: str
    ) -> None:
        """Encode what was found into a memory."""
        module = self.module
        size = module.image_size
        grid = tuple(features[-1].shape[-2:])
        memory, position = module._encode_new_memory(
            current_vision_feats=[features[-1].flatten(2).permute(2, 0, 1)],
            feat_sizes=[grid],
            pred_masks_high_res=F.interpolate(decoded.chosen, (size, size), mode="bilinear"),
            object_score_logits=decoded.score,
            is_mask_from_pts=key == "cond_frame_outputs",
        )
        if frame == 0:
            self.prompted = decoded
        self.memories[key][self.batch.frame_numbers[frame]] = {
            "maskmem_features": memory,
            "maskmem_pos_enc": position,
            "obj_ptr": decoded.pointer,
        }

    def carry(self) -> Carried:
        """Return what the next stretch of the clip needs."""
        first, *_, last = self.batch.frame_numbers
        memories: Memories = {}
        for kind, kept in self.memories.items():
            memories[kind] = {
                number: {
                    "maskmem_features": memory["maskmem_features"].detach(),
                    "maskmem_pos_enc": [code.detach() for code in memory["maskmem_pos_enc"]],
                    "obj_ptr": memory["obj_ptr"].detach(),
                }
                for number, memory in kept.items()
                if number != first and (kind == "cond_frame_outputs" or number > last - _POINTERS)
            }
        found = self.prompted
        return Carried(
            _Decoded(
                found.masks.detach(),
                found.ious.detach(),
                found.score.detach(),
                found.chosen.detach(),
                found.pointer.detach(),
            ),
            memories,
        )

    def condition(self, frame: int, features: list[torch.Tensor]) -> torch.Tensor:
        """The frame's features with what is remembered, (B, C, h, w)."""
        module = self.module
        if not self.memories["cond_frame_outputs"]:
            plain: torch.Tensor = features[-1] + module.no_mem_embed.permute(1, 2, 0)[..., None]
            return plain
        fused: torch.Tensor = module._prepare_memory_conditioned_features(
            frame_idx=self.batch.frame_numbers[frame],
            is_init_cond_frame=False,
            current_vision_feats=[features[-1].flatten(2).permute(2, 0, 1)],
            current_vision_pos_embeds=[self.position],
            feat_sizes=[tuple(features[-1].shape[-2:])],
            output_dict=self.memories,
            num_frames=16,
        )
        return fused

    def prompt(self, frame: int, kind: str, corrections: int) -> None:
        """A frame with a prompt, and clicks that mend what came of it."""
        module = self.module
        features = self.features(frame)
        truth = self.batch.masks[:, frame]
        conditioned = self.condition(frame, features)
        if kind == "mask":
            given = truth[:, None].float()
            logits = F.interpolate(
                given * 20 - 10, self.soft.shape[-2:], mode="bilinear", antialias=True
            )
            decoded = self.decode(
                features, features[-1], None, module.mask_downsample(given), candidates=False
            )
            # The pointer comes from the decoder; mask and score are the given ones.
            self.judge(frame, decoded, weight=0.3)
            decoded.chosen = logits
            decoded.score = torch.full_like(decoded.score, 10.0)
            self.remember(frame, features, decoded, "cond_frame_outputs")
            return
        points = shaken_boxes(truth) if kind == "box" else point_inside(truth)
        decoded = self.decode(features, conditioned, points, None, candidates=kind == "point")
        self.judge(frame, decoded)
        for _ in range(corrections):
            more = correction(truth, decoded.chosen.detach())
            points = (torch.cat([points[0], more[0]], 1), torch.cat([points[1], more[1]], 1))
            before = decoded.chosen.detach().clamp(-32, 32)
            decoded = self.decode(features, conditioned, points, before, candidates=False)
            self.judge(frame, decoded)
        self.remember(frame, features, decoded, "cond_frame_outputs")

    def track(self, frame: int, *, correct: bool) -> None:
        """A frame that memory alone finds, and perhaps a click that mends it."""
        features = self.features(frame)
        conditioned = self.condition(frame, features)
        decoded = self.decode(
            features,
            conditioned,
            None,
            None,
            candidates=self.module.multimask_output_for_tracking,
        )
        self.judge(frame, decoded)
        if not correct:
            self.remember(frame, features, decoded, "non_cond_frame_outputs")
            return
        points = correction(self.batch.masks[:, frame], decoded.chosen.detach())
        before = decoded.chosen.detach().clamp(-32, 32)
        decoded = self.decode(features, conditioned, points, before, candidates=True)
        self.judge(frame, decoded)
        self.remember(frame, features, decoded, "cond_frame_outputs")

    def contrast(self, samples: int = 96, temperature: float = 0.1) -> torch.Tensor:
        """Features at stride 16 of the same thing should agree across frames (InfoNCE)."""
        top = self.maps[-1]
        clips, _, channels, _, wide = top.shape
        stride = self.batch.labels.shape[-1] // wide
        centre = stride // 2
        labels = self.batch.labels[:, :, centre::stride, centre::stride].flatten(1)
        vectors = top.permute(0, 1, 3, 4, 2).reshape(clips, -1, channels).float()
        # As much of things as of the ground, which is most of any picture.
        weight = torch.where(labels > 0, 1.0, 0.25)
        noise = torch.rand(weight.shape, device=weight.device)
        at = (weight * noise).topk(min(samples, weight.shape[1])).indices
        number = labels.gather(1, at)
        unit = F.normalize(vectors.gather(1, at[..., None].expand(-1, -1, channels)), dim=2)
        itself = torch.eye(at.shape[1], dtype=torch.bool, device=at.device)
        alike = (number[:, :, None] == number[:, None]) & ~itself
        some = alike.any(2) & ~(alike | itself).all(2) & (number > 0)
        cosine = (unit @ unit.mT / temperature).masked_fill(itself, -1e4)
        right = torch.where(alike, cosine, -1e4).logsumexp(2)
        loss = torch.where(some, cosine.logsumexp(2) - right, 0.0).sum(1) / some.sum(1).clamp(min=1)
        return loss.sum() / some.any(1).sum().clamp(min=1)


def _iou(guess: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    both = (guess & real).sum(dim=(-2, -1)).float()
    return both / (guess | real).sum(dim=(-2, -1)).clamp(min=1)


def unroll(
    module: SAM2Base,
    batch: Batch,
    rng: Rng,
    *,
    contrast: float = 0.2,
    carried: Carried | None = None,
    clicks: float = 0.2,
) -> Losses:
    """Run prompts and tracking over a batch and return its losses.

    Parameters
    ----------
    module : SAM2Base
        In training mode.
    batch : Batch
        Clips; the first frame is prompted.
    rng : numpy.random.Generator
        Chooses prompts and clicks.
    contrast : float
        Weight of the contrastive loss.
    carried : Carried, optional
        What an earlier stretch of the same clips left: the first frame is not prompted again, the
        others follow that stretch.
    clicks : float
        Probability that one of the tracked frames is mended by a click.
    """
    run = _Pass(module, batch, carried)
    frames = batch.images.shape[1]
    if carried is None and frames == 1:
        kind = str(rng.choice(["box", "point"]))
        run.prompt(0, kind, corrections=int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2])))
    elif carried is None:
        kind = str(rng.choice(["mask", "box", "point"], p=[0.45, 0.35, 0.2]))
        run.prompt(0, kind, corrections=int(rng.random() < 0.15))
    clicked = int(rng.integers(1, frames)) if frames > 1 and rng.random() < clicks else -1
    for frame in range(1, frames):
        run.track(frame, correct=frame == clicked)
    total, ious = run.losses()
    if contrast:
        total = total + contrast * run.contrast()
    return Losses(total, ious, run.carry())
