"""One training pass over a batch of clips: prompts, tracking, corrections, losses.

The order of things is that of ``SAM2Base.track_step`` and of SAM 2's training (Ravi et al.,
"SAM 2: Segment Anything in Images and Videos", 2024, appendix D); what differs is that all
four mask tokens are trained on every frame and that features of one thing are drawn together
across frames by a contrastive loss, which teaches a small trunk to tell textures apart.

Nothing here waits for a value on a GPU or copies a constant to it: a plan and the shapes decide
which kernels run, so that a pass can be captured as a CUDA graph (``training/graphs.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_utils import get_1d_sine_pe

from sam2track.training.batches import Batch
from sam2track.training.clicks import correction, point_inside, shaken_boxes
from sam2track.training.textures import Rng

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["Carried", "Losses", "Plan", "Remembered", "plan", "unroll"]

_ABSENT = -1024.0


@dataclass(frozen=True)
class Plan:
    """What is chosen by chance for a whole batch.

    Attributes
    ----------
    prompt : {"mask", "box", "point"} or None
        What is said on the first frame; None where an earlier stretch is gone on from.
    corrections : int
        Clicks that mend what came of a box or point.
    clicked : int
        Index of a tracked frame that a click mends; 0 for none.
    """

    prompt: str | None
    corrections: int = 0
    clicked: int = 0


def plan(rng: Rng, frames: int, *, carried: bool, clicks: float) -> Plan:
    """Choose a plan.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    frames : int
        Of a clip, the first one counted.
    carried : bool
        Whether an earlier stretch is gone on from.
    clicks : float
        Probability that one of the tracked frames is mended by a click.
    """
    prompt: str | None = None
    corrections = 0
    if frames == 1:
        prompt = str(rng.choice(["box", "point"]))
        corrections = int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2]))
    elif not carried:
        prompt = str(rng.choice(["mask", "box", "point"], p=[0.45, 0.35, 0.2]))
        corrections = int(prompt != "mask" and rng.random() < 0.15)
    clicked = min(2, frames - 1) if rng.random() < clicks else 0
    return Plan(prompt, corrections, clicked)


@dataclass
class Remembered:
    """What one frame leaves behind.

    Attributes
    ----------
    features : (B, M, h, w) tensor, or None
        None where only the pointer is still looked at.
    pointer : (B, C) tensor
    """

    features: torch.Tensor | None
    pointer: torch.Tensor


@dataclass
class Carried:
    """What goes from one stretch of a clip to the next; nothing in it has a gradient.

    Attributes
    ----------
    mask : (B, 1, h, w) tensor
        Logits that the prompt on the clip's first frame gave.
    score : (B, 1) tensor
    pointer : (B, C) tensor
    recent : list of Remembered
        Of the frames before this stretch, the newest first.
    """

    mask: torch.Tensor
    score: torch.Tensor
    pointer: torch.Tensor
    recent: list[Remembered]


@dataclass
class Losses:
    """Sum to minimise, the mean IoU of each frame for the log, and what the next stretch needs."""

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
        self.truth = batch.masks
        self.objects = batch.things.shape[1]
        images = batch.images
        out = module.forward_image(images.flatten(0, 1))
        levels = module.num_feature_levels
        self.maps = [
            level.unflatten(0, images.shape[:2]) for level in out["backbone_fpn"][-levels:]
        ]
        position = out["vision_pos_enc"][-1][:1]
        self.position = position.flatten(2).permute(2, 0, 1).expand(-1, len(self.truth), -1)
        small = self.maps[0].shape[-1]
        self.soft = F.interpolate(
            self.truth.flatten(0, 1)[:, None].float(), (small, small), mode="area"
        ).view(*self.truth.shape[:2], small, small)
        self.judged: list[tuple[int, _Decoded, float]] = []
        self.prompted: _Decoded | None = None
        self.conditioning: dict[int, Remembered] = {}  # by frame of the batch
        self.tracked: dict[int, Remembered] = {}  # likewise; what was carried has 0 and less
        if carried is not None:
            self.tracked = {-age: memory for age, memory in enumerate(carried.recent)}
            # The first frame's memory is made again, so that its encoder learns what lasts.
            empty = carried.score.new_empty(0)
            found = _Decoded(empty, empty, carried.score, carried.mask, carried.pointer)
            self.remember(0, self.features(0), found, prompted=True)

    def features(self, frame: int) -> list[torch.Tensor]:
        """A frame's features for each object, finest first: (B, C, h, w) each."""
        return [
            level[:, frame, None].expand(-1, self.objects, -1, -1, -1).flatten(0, 1)
            for level in self.maps
        ]

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
        mask, token = masks[:, :1], tokens[:, 0]
        if candidates:
            best = 1 + ious[:, 1:].argmax(dim=1)[:, None, None]
            mask = masks.gather(1, best[..., None].expand(-1, -1, *masks.shape[2:]))
            token = tokens.gather(1, best.expand(-1, -1, tokens.shape[2]))[:, 0]
        seen = (score > 0).float()
        chosen = torch.where(seen[:, None, None] > 0, mask, _ABSENT)
        pointer = seen * module.obj_ptr_proj(token)
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
        loss = loss + score.mean(dim=1)
        weighed = [part * weight for part, weight in zip(loss, weights, strict=True)]
        return torch.stack(weighed).mean(), got

    def remember(
        self, frame: int, features: list[torch.Tensor], decoded: _Decoded, *, prompted: bool
    ) -> None:
        """Encode what was found into a memory."""
        module = self.module
        size = module.image_size
        memory, _ = module._encode_new_memory(
            current_vision_feats=[features[-1].flatten(2).permute(2, 0, 1)],
            feat_sizes=[tuple(features[-1].shape[-2:])],
            pred_masks_high_res=F.interpolate(decoded.chosen, (size, size), mode="bilinear"),
            object_score_logits=decoded.score,
            is_mask_from_pts=prompted,
        )
        if frame == 0:
            self.prompted = decoded
        kept = self.conditioning if prompted else self.tracked
        kept[frame] = Remembered(memory, decoded.pointer)

    def carry(self) -> Carried:
        """Return what the next stretch of the clip needs, but for clicks on tracked frames."""
        found = self.prompted
        if found is None:
            raise RuntimeError("nothing was prompted")
        last = self.truth.shape[1] - 1
        recent = []
        for age in range(self.module.max_obj_ptrs_in_encoder - 1):
            memory = self.tracked.get(last - age)
            if memory is None:
                break
            features = memory.features if age < self.module.num_maskmem - 1 else None
            features = None if features is None else features.detach()
            recent.append(Remembered(features, memory.pointer.detach()))
        return Carried(found.chosen.detach(), found.score.detach(), found.pointer.detach(), recent)

    def condition(self, frame: int, features: list[torch.Tensor]) -> torch.Tensor:
        """The frame's features with what is remembered, (B, C, h, w).

        As ``SAM2Base._prepare_memory_conditioned_features`` of an endless video, where the
        prompt's distance is a tensor.
        """
        module = self.module
        top = features[-1]
        if not self.conditioning:
            plain: torch.Tensor = top + module.no_mem_embed.permute(1, 2, 0)[..., None]
            return plain
        behind = range(module.num_maskmem - 1, 0, -1)
        near = [(age, self.tracked.get(frame - age)) for age in behind]
        seen = [(module.num_maskmem, memory) for memory in self.conditioning.values()]
        seen += [(age, memory) for age, memory in near if memory is not None]
        spatial = [memory.features for _, memory in seen if memory.features is not None]
        place = module.memory_encoder.position_encoding(spatial[0][:1]).flatten(2).permute(2, 0, 1)
        codes = [place + module.maskmem_tpos_enc[age - 1] for age, _ in seen]
        memory, position = self._pointers(frame)
        fused: torch.Tensor = module.memory_attention(
            curr=[top.flatten(2).permute(2, 0, 1)],
            curr_pos=[self.position],
            memory=torch.cat([_tokens(features) for features in spatial] + [memory]),
            memory_pos=torch.cat([torch.cat(codes).expand(-1, len(top), -1), position]),
            num_obj_ptr_tokens=len(memory),
        )
        return fused.permute(1, 2, 0).view_as(top)

    def _pointers(self, frame: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of the pointers that a frame looks at, and their codes: (P, B, M) each."""
        module = self.module
        longest = module.max_obj_ptrs_in_encoder - 1
        near = [age for age in range(1, longest + 1) if frame - age in self.tracked]
        prompt = (self.batch.ago + (frame - 1)).view(1).float()
        ages = [frame - clicked for clicked in self.conditioning if clicked] + near
        distance = torch.cat([prompt] + [torch.full_like(prompt, age) for age in ages])
        seen = [*self.conditioning.values()] + [self.tracked[frame - age] for age in near]
        pointers = torch.stack([memory.pointer for memory in seen])
        count, channels = pointers.shape[1:]
        codes = module.obj_ptr_tpos_proj(get_1d_sine_pe(distance / longest, dim=channels))
        parts = channels // module.mem_dim
        tokens = pointers.unflatten(2, (parts, module.mem_dim)).transpose(1, 2).flatten(0, 1)
        codes = codes[:, None, None].expand(-1, parts, count, -1).flatten(0, 1)
        return tokens, codes

    def prompt(self, frame: int, kind: str, corrections: int) -> None:
        """A frame with a prompt, and clicks that mend what came of it."""
        module = self.module
        features = self.features(frame)
        truth = self.truth[:, frame]
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
            self.remember(frame, features, decoded, prompted=True)
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
        self.remember(frame, features, decoded, prompted=True)

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
            self.remember(frame, features, decoded, prompted=False)
            return
        points = correction(self.truth[:, frame], decoded.chosen.detach())
        before = decoded.chosen.detach().clamp(-32, 32)
        decoded = self.decode(features, conditioned, points, before, candidates=True)
        self.judge(frame, decoded)
        self.remember(frame, features, decoded, prompted=True)

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


def _tokens(features: torch.Tensor) -> torch.Tensor:
    """A memory as tokens, (h * w, B, M)."""
    return features.flatten(2).permute(2, 0, 1)


def unroll(
    module: SAM2Base,
    batch: Batch,
    plan: Plan,
    *,
    contrast: float = 0.2,
    carried: Carried | None = None,
) -> Losses:
    """Run prompts and tracking over a batch and return its losses.

    Parameters
    ----------
    module : SAM2Base
        In training mode, with projected time codes of pointers (SAM 2.1's way).
    batch : Batch
        Clips; the first frame is prompted.
    plan : Plan
        What is said, and where.
    contrast : float
        Weight of the contrastive loss.
    carried : Carried, optional
        What an earlier stretch of the same clips left, where the plan has no prompt: the frames
        behind the first follow that stretch.
    """
    run = _Pass(module, batch, carried)
    if plan.prompt is not None:
        run.prompt(0, plan.prompt, plan.corrections)
    for frame in range(1, run.truth.shape[1]):
        run.track(frame, correct=frame == plan.clicked)
    total, ious = run.losses()
    if contrast:
        total = total + contrast * run.contrast()
    return Losses(total, ious, run.carry())
