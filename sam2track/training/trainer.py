"""The trainer behind the embedded model: a time budget, stages, checkpoints."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from sam2track.models.architecture import ARCHITECTURES, build, set_image_size
from sam2track.training.batches import Stream, draw_batch
from sam2track.training.export import export
from sam2track.training.footage import LENGTH, Drawn, Source, Store
from sam2track.training.graphs import Graphs
from sam2track.training.muon import Muon
from sam2track.training.unroll import Losses, Plan, plan, unroll

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["STAGES", "Stage", "Trainer", "prepare", "work"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A part of the training: which share of the time, and what batches are like."""

    share: float
    clips: int
    frames: int
    objects: int
    size: int
    streams: float = 0.0  # how many of the steps go on with long clips


STAGES = (
    Stage(share=0.20, clips=8, frames=1, objects=3, size=128),
    Stage(share=0.20, clips=4, frames=4, objects=3, size=128),
    Stage(share=0.15, clips=2, frames=5, objects=3, size=256),
    Stage(share=0.45, clips=2, frames=5, objects=3, size=256, streams=0.7),
)
_STREAMS = 6  # at a time: steps that follow one another should not be of one clip


def prepare(module: SAM2Base) -> None:
    """Change a random start so that the model learns at all in little time, in place.

    The decoder's cross-attentions must find that the code of a prompt's place and the
    code of a pixel's place are the same thing; keys tied to orthogonal queries start
    there. The memory fuser's layer scale starts too near zero to learn.
    """
    with torch.no_grad():
        for name, part in module.sam_mask_decoder.transformer.named_modules():
            if name.endswith(("cross_attn_token_to_image", "cross_attn_image_to_token")) or (
                name == "final_attn_token_to_image"
            ):
                torch.nn.init.orthogonal_(part.q_proj.weight, gain=1.5)
                part.k_proj.weight.copy_(part.q_proj.weight)
                part.q_proj.bias.zero_()
                part.k_proj.bias.zero_()
        for layer in module.memory_encoder.fuser.layers:
            layer.gamma.fill_(0.1)
        module.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(2.0)


class Trainer:
    """Train a model for a number of minutes, wherever it was left.

    Parameters
    ----------
    folder : Path
        Where checkpoints and the log are kept; a checkpoint that is there is gone on from.
    minutes : float
        Whole time of training, all runs together. The learning rate follows it.
    name : str
        Name of the architecture.
    device : str
        Where to train.
    rate : float
        Highest learning rate.
    optimizer : {"adamw", "muon"}
        Muon orthogonalises the updates of matrices (Jordan et al., 2024).
    seed : int
        Where chance starts.
    scale : int
        How many times larger batches are than on a CPU.
    contrast : float
        Weight of the contrastive loss.
    init : Path, optional
        Weights (safetensors) to start from where there is no checkpoint; their training went
        through the early stages, so all the time goes to the last.
    """

    def __init__(
        self,
        folder: Path,
        *,
        minutes: float,
        name: str = "nano",
        device: str = "cpu",
        rate: float = 2e-3,
        optimizer: str = "muon",
        seed: int = 0,
        scale: int = 1,
        contrast: float = 0.2,
        init: Path | None = None,
    ) -> None:
        self.folder = folder
        self.budget = minutes * 60
        self.device = torch.device(device)
        self.rate = rate
        self.scale = scale
        self.contrast = contrast
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        torch.manual_seed(seed)
        self.module = build(ARCHITECTURES[name])
        prepare(self.module)
        self.stages: tuple[Stage, ...] = STAGES
        if init is not None:
            self.module.load_state_dict(
                {key: value.float() for key, value in load_file(init).items()}
            )
            self.stages = STAGES[-1:]
        self.module.to(self.device).train()
        self.optimizers = self._optimizers(optimizer)
        self.step = 0
        self.spent = 0.0
        self._load()
        self.rng = np.random.default_rng([seed, self.rank, self.step])
        self.source: Source = Drawn()
        self.graphs: Graphs | None = None
        self.kernels = True, SDPBackend.FLASH_ATTENTION  # whether bfloat16, which attention
        if self.device.type != "cpu":
            self.source = store = Store(self.device, seed=seed + self.step)
            if self.device.type == "cuda":
                self.graphs = Graphs(
                    self.module, self._kernels, contrast=self.contrast, quiet=store.quiet
                )
        self.streams: list[Stream] = []

    def _optimizers(self, kind: str) -> list[torch.optim.Optimizer]:
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for name, parameter in self.module.named_parameters():
            inner = parameter.ndim == 2 and "embed" not in name and "token" not in name
            (matrices if inner and kind == "muon" else others).append(parameter)
        found: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                others,
                lr=self.rate,
                betas=(0.9, 0.98),
                weight_decay=0.02,
                fused=self.device.type == "cuda",
            )
        ]
        if matrices:
            found.append(Muon(matrices, lr=self.rate, weight_decay=0.02))
        return found

    @property
    def checkpoint(self) -> Path:
        """Where the last checkpoint lies."""
        return self.folder / "checkpoint.pt"

    def _load(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.module.load_state_dict(state["model"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.step, self.spent = state["step"], state["spent"]

    def _save(self) -> None:
        if self.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "model": self.module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "spent": self.spent,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _stage(self, progress: float) -> Stage:
        progress *= sum(stage.share for stage in self.stages)
        for stage in self.stages:
            progress -= stage.share
            if progress < 0:
                return stage
        return self.stages[-1]

    def _probe(self) -> tuple[bool, SDPBackend]:
        """Whether to use bfloat16, and which attention: on CPUs it differs what is fastest."""
        if self.device.type != "cpu":
            return True, SDPBackend.FLASH_ATTENTION
        stage = self.stages[-1]
        rng = np.random.default_rng(0)
        set_image_size(self.module, stage.size)
        batch = draw_batch(rng, self.source, clips=1, frames=3, objects=2, size=stage.size)
        times: dict[tuple[bool, SDPBackend], float] = {}
        for half in (False, True):
            for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
                for _ in range(3):  # the first one also sets up kernels
                    began = time.perf_counter()
                    self.kernels = half, backend
                    with self._kernels():
                        losses = unroll(self.module, batch, Plan("box"))
                    losses.total.backward()
                    times[half, backend] = time.perf_counter() - began
        self.module.zero_grad(set_to_none=True)
        return min(times, key=lambda kind: times[kind])

    @contextlib.contextmanager
    def _kernels(self) -> Iterator[None]:
        half, backend = self.kernels
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
            sdpa_kernel(
                [backend, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH], set_priority=True
            ),
        ):
            yield

    def _average_gradients(self) -> None:
        if self.world == 1:
            return
        gradients = [p.grad for p in self.module.parameters() if p.requires_grad]
        flat = torch.cat(
            [
                torch.zeros_like(p).flatten() if g is None else g.flatten()
                for p, g in zip(self.module.parameters(), gradients, strict=True)
            ]
        )
        dist.all_reduce(flat)
        flat /= self.world
        at = 0
        for parameter in self.module.parameters():
            count = parameter.numel()
            parameter.grad = flat[at : at + count].view_as(parameter)
            at += count

    def _stream(self, stage: Stage) -> Stream:
        self.streams = [stream for stream in self.streams if not stream.ended]
        at = int(self.rng.integers(_STREAMS))
        if at < len(self.streams):
            return self.streams[at]
        stream = Stream(
            self.rng,
            self.source,
            clips=stage.clips * self.scale,
            objects=stage.objects,
            size=stage.size,
            stretch=stage.frames - 1,
            stretches=int(self.rng.integers(3, (LENGTH - 1) // (stage.frames - 1) + 1)),
        )
        self.streams.append(stream)
        return stream

    def _losses(self, stage: Stage) -> Losses:
        """Draw what to learn from and leave gradients."""
        stream = self._stream(stage) if self.rng.random() < stage.streams else None
        carried = None if stream is None else stream.carried
        batch = (
            stream.next()
            if stream is not None
            else draw_batch(
                self.rng,
                self.source,
                clips=stage.clips * self.scale,
                frames=stage.frames,
                objects=stage.objects,
                size=stage.size,
            )
        )
        clicks = 0.2 if stream is None else stream.clicks
        chosen = plan(self.rng, stage.frames, carried=carried is not None, clicks=clicks)
        if self.graphs is not None:
            losses = self.graphs.run(batch, chosen, carried)
        else:
            with self._kernels():
                losses = unroll(self.module, batch, chosen, contrast=self.contrast, carried=carried)
            losses.total.backward()
        if stream is not None:
            stream.carried = losses.carried
            if chosen.clicked:
                stream.end()  # what a click on a tracked frame leaves is not carried
        return losses

    def run(self) -> None:
        """Train until the time is spent; a checkpoint every five minutes."""
        cv2.setNumThreads(1)
        self.kernels = self._probe()
        _log.info("bfloat16 %s, attention %s", *self.kernels)
        began, saved = time.monotonic() - self.spent, time.monotonic()
        first: list[torch.Tensor] = []
        last: list[torch.Tensor] = []
        while self.spent < self.budget:
            progress = self.spent / self.budget
            stage = self._stage(progress)
            warm = min(1.0, (self.step + 1) / 150)
            rate = self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            set_image_size(self.module, stage.size)
            losses = self._losses(stage)
            self._average_gradients()
            for parameter in self.module.parameters():
                if parameter.grad is not None:  # one overflow must not end hours of training
                    parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                if self.graphs is None:
                    optimizer.zero_grad(set_to_none=True)
            self.step += 1
            spent = torch.tensor(time.monotonic() - began)
            if self.world > 1:
                dist.broadcast(spent, 0)  # so that every process sees the same schedule
            self.spent = float(spent)
            first.append(losses.ious[0])
            last.append(losses.ious[-1])
            if self.step % 50 == 0 and self.rank == 0:
                line = {
                    "step": self.step,
                    "minutes": round(self.spent / 60, 2),
                    "rate": round(rate, 6),
                    "size": stage.size,
                    "frames": stage.frames,
                    "loss": round(losses.total.item(), 4),
                    "iou_first": round(float(torch.stack(first).mean()), 4),
                    "iou_last": round(float(torch.stack(last).mean()), 4),
                }
                self.folder.mkdir(parents=True, exist_ok=True)
                with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps(line) + "\n")
                _log.info("%s", line)
                first, last = [], []
            if time.monotonic() - saved > 300:
                self._save()
                saved = time.monotonic()
        self._save()


def work(rank: int, world: int, options: dict[str, Any]) -> None:
    """Train in one of ``world`` processes that average their gradients."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if world > 1:
        # Threads of two processes that wait for each other on few cores only spin.
        torch.set_num_threads(1)
        dist.init_process_group("gloo", rank=rank, world_size=world)
    trainer = Trainer(**options)
    try:
        trainer.run()
    finally:
        trainer.source.close()
    if rank == 0:
        export(trainer.checkpoint, trainer.folder / "nano.safetensors")
    if world > 1:
        dist.destroy_process_group()
