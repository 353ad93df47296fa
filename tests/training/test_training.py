"""The generator and the trainer: deterministic, truthful, and learning."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2track.models.architecture import set_image_size
from sam2track.training.batches import Stream, draw_batch
from sam2track.training.export import export
from sam2track.training.footage import Drawn, Footage, Store
from sam2track.training.muon import Muon
from sam2track.training.scenes import FAMILIES, HELD_OUT, TRAINING, draw_clip
from sam2track.training.textures import TEXTURES
from sam2track.training.trainer import Trainer
from sam2track.training.unroll import Losses, Plan, plan, unroll


@pytest.mark.parametrize("name", FAMILIES)
def test_a_clip_is_drawn_again_from_its_seed(name: str) -> None:
    clips = [
        draw_clip(FAMILIES[name], np.random.default_rng(4), size=(48, 64), times=range(3))
        for _ in range(2)
    ]
    assert clips[0].frames.shape == (3, 48, 64, 3)
    assert clips[0].labels.shape == (3, 48, 64)
    assert np.array_equal(clips[0].frames, clips[1].frames)
    assert np.array_equal(clips[0].labels, clips[1].labels)


@pytest.mark.parametrize("name", FAMILIES)
def test_things_are_where_the_labels_say(name: str) -> None:
    """A thing's pixels move with its label: what is labelled differs from frame to frame."""
    family = FAMILIES[name]
    moved, ground = [], []
    for seed in range(6):
        clip = draw_clip(family, np.random.default_rng(seed), size=64, times=[0, 12])
        change = np.abs(clip.frames[0].astype(int) - clip.frames[1]).mean(axis=2)
        swapped = clip.labels[0] != clip.labels[1]
        if swapped.any() and not swapped.all():
            moved.append(change[swapped].mean())
            ground.append(change[~swapped].mean())
    assert np.mean(moved) > np.mean(ground)


def test_held_out_families_share_no_surface_and_no_outline_with_training() -> None:
    held = {"mosaic", "marble"}
    assert held <= set(TEXTURES)
    for family in TRAINING.values():
        assert not held & {*family.ground, *family.surface}
        assert not {"spline", "capsule"} & set(family.shapes)
    for family in HELD_OUT.values():
        assert {"spline", "capsule"} >= set(family.shapes)


def test_prompted_objects_are_seen_on_the_first_frame() -> None:
    rng = np.random.default_rng(0)
    batch = draw_batch(rng, Drawn(), clips=3, frames=3, objects=2, size=64)
    assert batch.images.shape == (3, 3, 3, 64, 64)
    assert batch.masks.shape == (6, 3, 64, 64)
    assert batch.masks[:, 0].flatten(1).any(dim=1).all()
    for clip in range(3):
        for thing in range(2):
            expected = batch.labels[clip] == batch.things[clip, thing]
            assert torch.equal(batch.masks[2 * clip + thing], expected)


def test_training_goes_on_from_its_checkpoint_and_learns(tmp_path: Path) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this version of torch has no Muon")
    trainer = Trainer(tmp_path, minutes=0.0, optimizer="muon")
    rng = np.random.default_rng(0)
    batch = draw_batch(rng, Drawn(), clips=1, frames=2, objects=2, size=64)
    set_image_size(trainer.module, 64)
    losses = []
    for _ in range(4):
        loss = unroll(trainer.module, batch, Plan("mask")).total
        loss.backward()
        for optimizer in trainer.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    trainer.step, trainer.spent = 4, 34.0
    trainer._save()
    other = Trainer(tmp_path, minutes=0.0, optimizer="muon")
    assert (other.step, other.spent) == (4, 34.0)
    mine, theirs = trainer.module.state_dict(), other.module.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    export(trainer.checkpoint, tmp_path / "weights.safetensors")
    import sam2track

    model = sam2track.load_model(tmp_path / "weights.safetensors", device="cpu")
    key = "obj_ptr_proj.layers.0.weight"
    assert torch.allclose(model.module.state_dict()[key], mine[key], atol=1e-3)


def test_frames_look_at_what_sam2_would_look_at_in_an_endless_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memories, pointers and their codes, as far from the prompt as any."""
    module = Trainer(tmp_path, minutes=0.0).module
    set_image_size(module, 64)
    stream = Stream(
        np.random.default_rng(3), Drawn(), clips=1, objects=2, size=64, stretch=4, stretches=6
    )
    looks: list[tuple[torch.Tensor, torch.Tensor, int]] = []
    attend = module.memory_attention.forward

    def look(**given: Any) -> torch.Tensor:
        looks.append((given["memory"], given["memory_pos"], given["num_obj_ptr_tokens"]))
        return attend(**given)

    monkeypatch.setattr(module.memory_attention, "forward", look)
    outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    losses: Losses | None = None
    at = 0
    with torch.no_grad():
        while not stream.ended:
            chosen = Plan("box") if losses is None else Plan(None)
            carried = None if losses is None else losses.carried
            losses = unroll(module, stream.next(), chosen, carried=carried)
            at += 4
            for age, memory in enumerate(losses.carried.recent[:4]):
                outputs["non_cond_frame_outputs"][at - age] = memory
    mine = looks[-4:]
    assert losses is not None
    # The prompted frame's memory is the first that every frame looks at.
    prompted = mine[0][0][:16].permute(1, 2, 0).unflatten(2, (4, 4))
    place = module.memory_encoder.position_encoding(prompted[:1])
    theirs = {
        kind: {
            number: {
                "maskmem_features": memory.features,
                "maskmem_pos_enc": [place.expand(2, -1, -1, -1)],
                "obj_ptr": memory.pointer,
            }
            for number, memory in kept.items()
        }
        for kind, kept in outputs.items()
    }
    theirs["cond_frame_outputs"][0] = {
        "maskmem_features": prompted,
        "maskmem_pos_enc": [place.expand(2, -1, -1, -1)],
        "obj_ptr": losses.carried.pointer,
    }
    top = torch.zeros(16, 2, module.hidden_dim)
    for frame, (memory, position, pointers) in zip(range(21, 25), mine, strict=True):
        module._prepare_memory_conditioned_features(
            frame_idx=frame,
            is_init_cond_frame=False,
            current_vision_feats=[top],
            current_vision_pos_embeds=[top],
            feat_sizes=[(4, 4)],
            output_dict=theirs,
            num_frames=1000,
        )
        assert pointers == looks[-1][2] == 16 * 4
        assert torch.equal(memory, looks[-1][0])
        assert torch.allclose(position, looks[-1][1], atol=1e-6)


def test_plans_go_on_from_what_was_carried_and_click_on_tracked_frames_alone() -> None:
    rng = np.random.default_rng(0)
    drawn = [plan(rng, 5, carried=carried, clicks=0.5) for carried in (False, True) * 50]
    assert {p.prompt for p in drawn[::2]} == {"mask", "box", "point"}
    assert {p.prompt for p in drawn[1::2]} == {None}
    assert all(p.corrections == 0 for p in drawn if p.prompt in ("mask", None))
    assert {p.clicked for p in drawn} == {0, 2}
    assert all(plan(rng, 1, carried=False, clicks=1.0).clicked == 0 for _ in range(5))


@pytest.mark.parametrize(("half", "close"), [(True, 1e-5), (False, 5e-4)])
def test_muon_takes_the_steps_of_torch(
    half: bool, close: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes bfloat16 everywhere."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this version of torch has no Muon")
    monkeypatch.setattr("sam2track.training.muon.bf16_pays", lambda: half)
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(*s)) for s in [(8, 16), (16, 8), (8, 16), (5, 5)]]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    mine = Muon(ours, 1e-2, weight_decay=0.02)
    other = torch.optim.Muon(theirs, lr=1e-2, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        mine.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        assert torch.allclose(p, q, atol=close)


def test_clips_of_workers_are_seen_in_other_ways_with_their_labels() -> None:
    """Colour stays with its label, whatever is turned, mirrored or made smaller."""
    store = Store(torch.device("cpu"), seed=0, capacity=2, workers=1)
    rng = np.random.default_rng(0)
    store.take(rng, 256, np.arange(2.0))
    store.close()
    assert not multiprocessing.active_children()
    clip = store._kept[0]
    painted = clip.labels[..., None].expand(-1, -1, -1, 3) * 9  # frames that say what is where
    store._kept.clear()
    store._kept.append(Footage(painted, clip.labels, clip.areas))
    seen = set()
    for _ in range(8):
        found = store.take(rng, 256, np.arange(5) * 2.0)
        assert torch.equal(found.frames, found.labels[..., None].expand(-1, -1, -1, 3) * 9)
        areas = [torch.bincount(frame.flatten().long()).tolist() for frame in found.labels]
        for drawn, told in zip(areas, found.areas, strict=True):
            assert drawn == told[: len(drawn)].tolist()
        seen.add(found.labels.numpy().tobytes())
    assert len(seen) > 1
    assert store.take(rng, 128, np.arange(200.0)).frames.shape == (200, 128, 128, 3)
