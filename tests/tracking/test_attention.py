"""The memory attention is SAM 2's, whatever the order of its sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam2.modeling.sam.transformer import Attention

from sam2track import load_model
from sam2track.errors import ModelError
from sam2track.models.architecture import ARCHITECTURES, build
from sam2track.tracking import attention
from sam2track.tracking.attention import MemoryAttention, attended, weighted_mean

GRID = 8

Given = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int]


def exact(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    scores = queries.double() @ keys.double().transpose(1, 2)
    return torch.softmax(scores, -1) @ values.double()


def built(name: str) -> Any:
    """Modules whose biases and norms are not those of the first day."""
    torch.manual_seed(1)
    module = build(ARCHITECTURES[name], image_size=16 * GRID).requires_grad_(False)
    for value in module.memory_attention.parameters():
        if value.dim() == 1:
            value.add_(0.1 * torch.randn_like(value))
    return module


def drawn(module: Any, count: int, pointer_tokens: int) -> Given:
    """What memory attention is given: features, their places, and memories with theirs."""
    channels, width, places = module.hidden_dim, module.mem_dim, GRID * GRID
    top, position = torch.randn(2, places, channels)
    memory, memory_position = torch.randn(2, count, 3 * places + pointer_tokens, width)
    return top, position, memory, memory_position, pointer_tokens


def official(
    module: Any,
    top: torch.Tensor,
    position: torch.Tensor,
    memory: torch.Tensor,
    memory_position: torch.Tensor,
    pointer_tokens: int,
) -> torch.Tensor:
    count = len(memory)
    found: torch.Tensor = module.memory_attention(
        curr=top[:, None].expand(-1, count, -1),
        curr_pos=position[:, None].expand(-1, count, -1),
        memory=memory.transpose(0, 1),
        memory_pos=memory_position.transpose(0, 1),
        num_obj_ptr_tokens=pointer_tokens,
    )
    return found.transpose(0, 1)


@settings(max_examples=60)
@given(
    count=st.integers(1, 3),
    length=st.integers(1, 40),
    tokens=st.integers(1, 70),
    scale=st.sampled_from([0.1, 1.0, 30.0, 300.0]),
    shift=st.sampled_from([0.0, -200.0, 200.0]),
    block=st.sampled_from([16, 256, 4000, 2**22]),
    seed=st.integers(0, 1000),
)
def test_means_are_those_of_softmax(
    count: int, length: int, tokens: int, scale: float, shift: float, block: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(count, length, 16, generator=generator)
    keys = torch.randn(count, tokens, 16, generator=generator) * scale / 4
    queries[..., 0], keys[..., 0] = 1.0, shift  # scores far from zero, all alike
    values = torch.randn(count, tokens, 4, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_BLOCK", block)
        found = weighted_mean(queries, keys, values)
    # Scores of some hundreds have absolute errors of 1e-5 to 1e-4 in float32.
    bound = 1e-5 if scale <= 1 and not shift else 1e-2
    assert torch.isfinite(found).all()
    assert (found - exact(queries, keys, values)).abs().max() < bound


@pytest.mark.parametrize("block", [16, 2**22])
def test_scores_that_overflow_have_the_largest_taken_off(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_BLOCK", block)
    monkeypatch.setattr(attention, "_ROWS", 2)
    queries, keys = torch.full((1, 2, 4), 10.0), torch.full((1, 3, 4), 10.0)  # scores of 400
    values = torch.tensor([[[1.0], [2.0], [6.0]]])
    assert torch.allclose(weighted_mean(queries, keys, values), torch.tensor(3.0))
    assert torch.allclose(weighted_mean(-queries, keys, values), torch.tensor(3.0))


@pytest.mark.parametrize("block", [16, 2**22])
def test_means_lie_where_their_queries_do(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever device, or type, a program has set for new tensors."""
    monkeypatch.setattr(attention, "_BLOCK", block)
    queries, keys, values = torch.randn(3, 1, 9, 4)
    expected = weighted_mean(queries, keys, values)
    with torch.device("meta"):
        assert torch.equal(weighted_mean(queries, keys, values), expected)


@pytest.mark.parametrize("block", [4, 2**22])
@pytest.mark.parametrize("score", [50.0, 60.0, 80.0, 84.0, 87.0, 88.5])
def test_large_values_and_scores_do_not_overflow_together(
    score: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_BLOCK", block)
    queries, keys = torch.full((1, 1, 1), score), torch.tensor([[[1.0], [0.9]]])
    values = torch.tensor([[[3e3], [-5e4]]])
    weights = torch.softmax(queries.double() @ keys.double().mT, -1)
    expected = (weights @ values.double()).float()
    assert torch.allclose(weighted_mean(queries, keys, values), expected, rtol=1e-4)


@pytest.mark.parametrize("score", [-50.0, -60.0, -75.0, -84.0, -100.0, -120.0])
def test_small_values_and_scores_do_not_vanish_together(
    score: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_BLOCK", 4)
    queries, keys = torch.full((1, 1, 1), score), torch.tensor([[[1.0], [0.99]]])
    values = torch.tensor([[[3e-9], [-5e-10]]])
    expected = exact(queries, keys, values).float()
    assert torch.allclose(weighted_mean(queries, keys, values), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(2, 3, 9, 9), (5, 1, 4, 16), (1, 2, 70, 70)])
def test_heads_attend_by_themselves(
    dtype: torch.dtype, bound: float, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of views with gaps, and in blocks smaller than one head's scores."""
    monkeypatch.setattr(attention, "_BLOCK", 256)
    count, heads, length, tokens = shape
    made = (torch.randn(count, n, heads, 8).to(dtype) for n in (length, tokens, tokens))
    queries, keys, values = (part.transpose(1, 2) for part in made)
    found = attended(queries, keys, values)
    expected = exact(*(part.flatten(0, 1) for part in (queries, keys, values))).view(found.shape)
    assert found.dtype == dtype
    assert (found - expected).abs().mean() < bound


@pytest.mark.parametrize("name", ["nano", "sam2.1-tiny", "sam2-tiny"])
@pytest.mark.parametrize(("count", "few"), [(1, 9), (3, 9), (3, 1), (5, 2)])
@pytest.mark.parametrize("pointer_tokens", [0, 8])
def test_features_are_those_of_the_modules(
    name: str, count: int, few: int, pointer_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_objects", lambda memory, channels: few)
    module = built(name)
    given = drawn(module, count, pointer_tokens)
    with torch.inference_mode():
        found = MemoryAttention(load_model(module, precision="fp32"), GRID)(*given)
        expected = official(module, *given)
    assert found.shape == expected.shape == (count, GRID * GRID, module.hidden_dim)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_it_does_not_matter_how_features_lie(count: int) -> None:
    """Features may come channel by channel, as convolutions of some devices leave them."""
    module = built("nano")
    top, *rest = drawn(module, count, 8)
    attends = MemoryAttention(load_model(module, precision="fp32"), GRID)
    with torch.inference_mode():
        found = attends(top.T.contiguous().T, *rest)
        np.testing.assert_array_equal(found, attends(top, *rest))


@pytest.mark.parametrize("hidden", [1, 40_000])  # a row at a time, and a part at the end
def test_rows_of_a_perceptron_go_some_at_a_time(
    hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = built("nano")
    given = drawn(module, 2, 0)
    monkeypatch.setattr(attention, "_HIDDEN", hidden)
    with torch.inference_mode():
        found = MemoryAttention(load_model(module, precision="fp32"), GRID)(*given)
        np.testing.assert_allclose(found, official(module, *given), atol=2e-5)


def test_settings_of_the_modules_are_followed() -> None:
    """All models have the same four; others may not."""
    module = built("nano")
    held = module.memory_attention
    held.pos_enc_at_input = not held.pos_enc_at_input
    for layer in held.layers:
        for name in ("attn", "cross_attn_queries", "cross_attn_keys"):
            setting = f"pos_enc_at_{name}"
            setattr(layer, setting, not getattr(layer, setting))
    given = drawn(module, 2, 8)
    with torch.inference_mode():
        found = MemoryAttention(load_model(module, precision="fp32"), GRID)(*given)
        np.testing.assert_allclose(found, official(module, *given), atol=2e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_bfloat16_is_near(count: int) -> None:
    module = built("nano")
    given = drawn(module, count, 8)
    with torch.inference_mode():
        exact = official(module, *given)
        with torch.autocast("cpu", torch.bfloat16):
            rough = official(module, *given).float()
        found = MemoryAttention(load_model(module, precision="bf16"), GRID)(*given)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().mean() <= 1.2 * (rough - exact).abs().mean()


@pytest.mark.parametrize(
    ("part", "changes", "says"),
    [
        ("self_attn", {"num_heads": 2}, "RoPEAttention of 2 heads"),
        ("cross_attn_image", {"num_heads": 2}, "RoPEAttention of 2 heads"),
        ("self_attn", {"__class__": Attention}, "has a Attention of 1 heads"),
    ],
)
def test_other_attention_is_refused(part: str, changes: dict[str, Any], says: str) -> None:
    module = build(ARCHITECTURES["nano"]).requires_grad_(False)
    for name, value in changes.items():
        setattr(getattr(module.memory_attention.layers[1], part), name, value)
    with pytest.raises(ModelError, match=says):
        MemoryAttention(load_model(module), 16)
