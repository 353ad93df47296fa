"""Parts of keys give what all of them do, and the fastest way that gives the same is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2track import load_model
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.tracking import kernels
from sam2track.tracking.attention import MemoryAttention
from sam2track.tracking.kernels import Kernels, Way, plain, trials
from tests.tracking.test_attention import exact


def on_cpu(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A kernel that gives its sums, as those of a GPU do; values as wide as keys."""
    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        queries, keys, values, scale=1.0
    )
    return found[0], found[1]


def drawn(
    count: int, length: int, tokens: int, width: int, narrow: int, loud: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(count + length + tokens)
    queries = loud * torch.randn(count, length, width, generator=random)
    # Parts of unequal weight, so that their shares matter.
    keys = torch.randn(count, tokens, width, generator=random) + torch.arange(tokens)[:, None] / 50
    return queries, keys, torch.randn(count, tokens, narrow, generator=random)


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 3),
    length=st.integers(1, 40),
    parts=st.sampled_from([1, 2, 4]),
    each=st.integers(1, 30),
    loud=st.sampled_from([0.0, 0.3, 3.0]),
)
def test_parts_give_what_all_keys_do(
    count: int, length: int, parts: int, each: int, loud: float
) -> None:
    queries, keys, values = drawn(count, length, parts * each, 16, 16, loud)
    found = Way("parts", on_cpu, parts)(queries, keys, values)
    torch.testing.assert_close(found.double(), exact(queries, keys, values), atol=2e-5, rtol=2e-5)


def test_values_may_be_narrower_than_keys() -> None:
    queries, keys, values = drawn(2, 7, 30, 16, 4)
    found = plain(queries, keys, values)
    assert found.shape == (2, 7, 4)
    torch.testing.assert_close(found.double(), exact(queries, keys, values), atol=1e-5, rtol=1e-5)


def test_keys_that_do_not_go_into_equal_parts_do_not_fit() -> None:
    way = Way("parts", on_cpu, 4)
    assert way.fits(torch.zeros(1, 12, 2)) and not way.fits(torch.zeros(1, 14, 2))


def clocked(seconds: dict[str, float], seen: list[str]) -> Callable[[Any], float]:
    """A clock that runs the work and gives the seconds of the way that was taken last."""

    def clock(work: Callable[[], torch.Tensor]) -> float:
        work()
        return seconds.get(seen[-1] if seen else "", 1.0)

    return clock


def noted(name: str, seen: list[str], parts: int = 1, off: float = 0.0) -> Way:
    def kernel(*given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(name)
        found, sums = on_cpu(*given)
        return found + off, sums

    return Way(name, kernel, parts)


def lacking(*_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    raise RuntimeError("no kernel for this")


def test_what_gives_something_else_or_fails_is_not_taken() -> None:
    seen: list[str] = []
    ways = [
        noted("good", seen),
        noted("wrong", seen, off=0.1),
        noted("nan", seen, off=float("nan")),
        Way("lacking", lacking),
        noted("odd", seen, parts=7),
    ]
    took = trials(*drawn(1, 8, 30, 16, 16), ways, clocked({"good": 2.0, "wrong": 0.1}, seen))
    assert {way.name: seconds for way, seconds in took.items()} == {plain.name: 1.0, "good": 2.0}


@pytest.mark.parametrize("large", [1e-4, 1e4])
def test_how_near_is_near_goes_by_the_values(large: float) -> None:
    seen: list[str] = []
    queries, keys, values = drawn(1, 8, 30, 16, 16)
    values = values / values.abs().max() * large
    ways = [noted("near", seen, off=0.5e-5 * large), noted("far", seen, off=3e-5 * large)]
    took = trials(queries, keys, values, ways, clocked({}, seen))
    assert [way.name for way in took] == [plain.name, "near"]


@pytest.mark.parametrize(("seconds", "taken"), [(0.5, ["fast"]), (2.0, [])])
def test_the_fastest_way_is_taken_and_tried_once(
    seconds: float, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_WORTH", 100)
    seen: list[str] = []
    mean = Kernels([noted("fast", seen, parts=2)], clocked({"fast": seconds}, seen))
    for tokens in (24, 26, 30):  # of one kind: so many bits
        seen.clear()
        queries, keys, values = drawn(1, 8, tokens, 16, 16)
        found = mean(queries, keys, values)
        torch.testing.assert_close(
            found.double(), exact(queries, keys, values), atol=1e-5, rtol=1e-5
        )
        if tokens != 24:
            assert seen == taken
    seen.clear()
    mean(*drawn(1, 8, 27, 16, 16))  # does not go into two parts
    assert not seen


def test_what_is_not_worth_it_is_not_tried() -> None:
    seen: list[str] = []
    mean = Kernels([noted("fast", seen)], clocked({"fast": 0.1}, seen))
    mean(*drawn(1, 8, 24, 16, 16))
    assert not seen


def test_on_a_processor_torch_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_WORTH", 100)
    seen: list[str] = []
    Kernels([noted("fast", seen)])(*drawn(1, 8, 24, 16, 16))
    assert not seen


@pytest.mark.parametrize("pointer_tokens", [0, 8])
@pytest.mark.parametrize("count", [1, 3])
def test_memory_attention_off_the_processor_is_the_same(count: int, pointer_tokens: int) -> None:
    """As on a GPU: all memories turned at once, by torch's own kernels."""
    torch.manual_seed(1)
    module = build(ARCHITECTURES["sam2.1-tiny"], image_size=64).requires_grad_(False)
    model = load_model(module, precision="fp32")
    channels, width, places = module.hidden_dim, module.mem_dim, 16
    given = (torch.randn(places, channels), torch.randn(places, channels))
    given += tuple(torch.randn(2, count, 3 * places + pointer_tokens, width))
    made = MemoryAttention(model, 4)
    with torch.inference_mode():
        expected = made(*given, pointer_tokens)
        for layer in made._layers:
            layer._cpu, layer._mean = False, Kernels()
        found = made(*given, pointer_tokens)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_ways_of_a_gpu_are_known_to_torch() -> None:
    """Their names and arguments are PyTorch's own, which may change."""
    queries, keys, values = (
        torch.empty(2, *shape, device="meta", dtype=torch.bfloat16)
        for shape in ((64, 32), (128, 32), (128, 8))
    )
    for way in (plain, *kernels.WAYS):
        assert way(queries, keys, values).shape == (2, 64, 8), way.name
