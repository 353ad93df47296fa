"""On a CUDA device: the same masks as official there, and flat memory."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import sam2track
from sam2track import Tracker
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.prompts import Prompt
from sam2track.tracking.engine import Engine
from sam2track.tracking.kernels import WAYS, plain, timed, trials
from sam2track.training.batches import Batch
from sam2track.training.graphs import Graphs
from sam2track.training.scenes import TRAINING, draw_clip
from sam2track.training.unroll import Plan
from tests.parity.oracle import clip, enliven, official_run, predictor
from tests.parity.test_bf16 import distance
from tests.parity.test_parity import MANY, ONE, differences, our_run

pytestmark = pytest.mark.gpu

BOX = Prompt(box=(30, 30, 70, 80))


@pytest.fixture
def exact_products() -> Iterator[None]:
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


def on_cuda(name: str) -> Any:
    return copy.deepcopy(predictor(name, True)).cuda()


@pytest.mark.parametrize("name", ["tiny", "nano"])
@pytest.mark.parametrize("objects", [1, 9])
@pytest.mark.parametrize("backward", [False, True])
def test_masks_equal_the_official_ones_on_cuda(
    name: str, objects: int, backward: bool, exact_products: None
) -> None:
    module, frames = on_cuda(name), clip(16)
    begin = 15 if backward else 0
    prompts = {
        index + 1: {begin: Prompt(points=((10.0 + 12 * index, 60.0),))} for index in range(objects)
    }
    theirs = official_run(module, frames, prompts, backward=backward)
    # Said, since auto is bf16 there.
    model = sam2track.load_model(module, precision="fp32")
    ours = our_run(model, frames, prompts, backward=backward)
    assert max(differences(ours, theirs)[:3]) <= (ONE if objects == 1 else MANY)


def test_bf16_is_no_further_from_fp32_than_official_bf16(exact_products: None) -> None:
    module, frames = on_cuda("tiny"), clip(40)
    prompts = {1: {0: BOX}}
    exact = official_run(module, frames, prompts)
    with torch.autocast("cuda", torch.bfloat16):
        rough = official_run(module, frames, prompts)
    ours = our_run(sam2track.load_model(module, precision="bf16"), frames, prompts)
    official = distance(exact, {key: seen.logits for key, seen in rough.items()})
    assert distance(exact, {key: value[0] for key, value in ours.items()}) <= 1.2 * official + 1e-4


@pytest.mark.parametrize("objects", [1, 16])
def test_memory_on_the_device_is_flat(objects: int) -> None:
    model = sam2track.load_model("nano", device="cuda")
    # Features of some frames: within the usual budget more and more of 400 are held.
    frames = np.repeat(clip(40), 10, axis=0)
    tracker = Tracker(model, frames, features_budget=8 * 2**20)
    for index in range(objects):
        tracker.add(index + 1, 0, BOX)
    peaks = {}
    for result in tracker.propagate():
        if result.frame in (50, 200, 399):
            peaks[result.frame] = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
    assert peaks[399] <= 1.05 * peaks[200]


@pytest.mark.parametrize("objects", [1, 16])
def test_what_is_encoded_ahead_gives_the_same(
    objects: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While copies to main memory are under way, the next frame's work is queued behind them."""
    model = sam2track.load_model("nano", device="cuda")

    def masks() -> list[np.ndarray]:
        tracker = Tracker(model, clip(40))
        for index in range(objects):
            tracker.add(index + 1, 0, BOX)
        return [result.logits for result in tracker.propagate()]

    ahead = masks()
    monkeypatch.setattr(Engine, "reads_ahead", property(lambda _: False))
    # Another frame's features would be seen; a last digit that trained weights make large is not.
    for one, other in zip(ahead, masks(), strict=True):
        assert np.mean((one > 0) == (other > 0)) > 0.99


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ways_of_memory_attention_give_the_same(count: int, dtype: torch.dtype) -> None:
    """At least one beside torch's own choice, and what is chosen is within its bound."""
    torch.manual_seed(0)
    queries, keys = (torch.randn(count, n, 256, device="cuda") / 4 for n in (4096, 28736))
    values = torch.randn(count, 28736, 64, device="cuda")
    given = [part.to(dtype) for part in (queries, keys, values)]
    took = trials(*given, WAYS, timed)
    assert len(took) > 1 and all(0 < seconds < 1 for seconds in took.values())
    exact = torch.softmax(queries @ keys.mT, -1) @ values
    for way in (plain, *took):
        assert (way(*given) - exact).abs().mean() < 3e-4


def test_auto_takes_the_device() -> None:
    model = sam2track.load_model("nano")
    assert model.device.type == "cuda"


def test_what_does_not_fit_goes_on_with_less(exact_products: None) -> None:
    """With a cap on the memory, batches become smaller; the masks stay."""
    frames, count = clip(6), 24
    # Large enough that what a batch takes is much beside the workspaces of libraries.
    torch.manual_seed(7)
    module = build(ARCHITECTURES["sam2.1-tiny"], image_size=512)
    enliven(module, 3)
    module = module.requires_grad_(False).eval().cuda()
    prompts = [Prompt(points=((5.0 + 4 * index, 60.0),)) for index in range(count)]

    def run() -> tuple[dict[int, np.ndarray], int]:
        tracker = Tracker(sam2track.load_model(module, precision="fp32"), frames, max_batch=count)
        for index, prompt in enumerate(prompts):
            tracker.add(index + 1, 0, prompt)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        found = {result.frame: result.logits.copy() for result in tracker.propagate()}
        return found, torch.cuda.max_memory_allocated() - before

    expected, needed = run()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    allowed = torch.cuda.memory_allocated() + needed // 2 + 64 * 2**20
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
    try:
        with pytest.warns(RuntimeWarning, match="ran out of memory"):
            found, _ = run()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found.keys() == expected.keys()
    for frame, logits in found.items():
        assert np.mean((logits > 0) != (expected[frame] > 0)) < 1e-3


def test_captured_passes_of_training_leave_the_gradients_of_plain_ones() -> None:
    module = build(ARCHITECTURES["nano"]).cuda().train()
    rng = np.random.default_rng(0)
    clips = [
        draw_clip(TRAINING[name], rng, size=256, times=range(9)) for name in ("cells", "signs")
    ]
    pictures = torch.stack([torch.from_numpy(clip.frames) for clip in clips]).cuda()
    labels = torch.stack([torch.from_numpy(clip.labels) for clip in clips]).cuda()
    things = torch.tensor([[1, 2], [1, 2]], dtype=torch.uint8).cuda()

    def stretch(begin: int) -> Batch:
        at = [0, *range(begin, begin + 4)]
        ago = torch.full((), begin, device="cuda")
        return Batch(pictures[:, at], labels[:, at], things, ago)

    graphs = Graphs(
        module,
        lambda: torch.autocast("cuda", torch.bfloat16),
        contrast=0.0,
        quiet=contextlib.nullcontext(),
    )
    carried = None
    for begin, plan in ((1, Plan("mask")), (5, Plan(None))):
        found = []
        for _ in range(3):  # as ever, captured, replayed
            losses = graphs.run(stretch(begin), plan, carried)
            gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
            found.append((losses.total.item(), torch.cat(gradients).clone()))
        (loss, plain), *others = found
        for other, captured in others:
            assert other == pytest.approx(loss, rel=1e-4)
            assert (captured - plain).norm() < 0.02 * plain.norm()
        carried = losses.carried
