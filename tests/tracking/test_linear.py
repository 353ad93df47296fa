"""Layers give what PyTorch's give, however their weights lie."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2track.tracking import linear as module
from sam2track.tracking.linear import Linear, linear

ACTIVATIONS: list[Callable[[torch.Tensor], torch.Tensor] | None] = [
    None,
    F.relu,
    F.gelu,
    torch.nn.ReLU(),
    torch.nn.GELU(),
    torch.nn.GELU("tanh"),
    torch.tanh,
]


def expected(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    activation: Callable[[torch.Tensor], torch.Tensor] | None,
) -> torch.Tensor:
    found = F.linear(x.double(), weight.double(), bias.double())
    return found if activation is None else activation(found)


@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    activation=st.sampled_from(ACTIVATIONS),
    packs=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_layer_is_pytorchs(
    shape: list[int],
    inputs: int,
    outputs: int,
    activation: Callable[[torch.Tensor], torch.Tensor] | None,
    packs: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, inputs, generator=generator)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    bias = torch.randn(outputs, generator=generator)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        if not packs:
            patch.setattr(module, "_packs", lambda: False)
        exact = Linear(weight, bias, torch.float32, activation)(x)
        assert exact.dtype == torch.float32
        assert torch.allclose(exact.double(), expected(x, weight, bias, activation), atol=1e-5)
        short = [part.to(torch.bfloat16) for part in (x, weight, bias)]
        layer = Linear(weight, bias, torch.bfloat16, activation)
        found = layer(short[0])
    assert found.dtype == torch.bfloat16
    assert found.shape == (*shape, outputs)
    assert layer.width == outputs
    assert torch.equal(layer.bias, short[2])
    assert torch.allclose(
        found.double(),
        expected(*short, activation),
        rtol=2**-7,
        atol=2**-7,  # two digits
    )


@pytest.mark.parametrize(
    ("activation", "taken"),
    [
        (None, "none"),
        (F.relu, "relu"),
        (torch.nn.ReLU(), "relu"),
        (F.gelu, "gelu"),
        (torch.nn.GELU(), "gelu"),
        (torch.nn.GELU("tanh"), "none"),
    ],
)
def test_what_is_taken_with_the_product(
    activation: Callable[[torch.Tensor], torch.Tensor] | None,
    taken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a stand-in, since not each processor has it."""
    asked = []

    class Ops:
        @staticmethod
        def _is_mkldnn_bf16_supported() -> bool:
            return True

        @staticmethod
        def _reorder_linear_weight(weight: torch.Tensor) -> torch.Tensor:
            return weight

        @staticmethod
        def _linear_pointwise(
            x: torch.Tensor,
            weight: torch.Tensor,
            bias: torch.Tensor,
            name: str,
            scalars: list[float],
            algorithm: str,
        ) -> torch.Tensor:
            asked.append((name, scalars, algorithm))
            return F.linear(x, weight, bias)

    monkeypatch.setattr(torch.ops, "mkldnn", Ops)
    layer = torch.nn.Linear(3, 2)
    linear(layer, torch.bfloat16, activation)(torch.ones(1, 3, dtype=torch.bfloat16))
    linear(layer, torch.float32, activation)(torch.ones(1, 3))
    assert asked == [(taken, [], "none" if taken == "gelu" else "")]


@pytest.mark.parametrize("multiplies", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_weights_are_laid_out_for_processors_that_multiply_bfloat16(
    multiplies: bool, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ops:
        _reorder_linear_weight = _linear_pointwise = None

        @staticmethod
        def _is_mkldnn_bf16_supported() -> bool:
            return multiplies

    monkeypatch.setattr(torch.ops, "mkldnn", Ops)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: there)
    assert module._packs() == (multiplies and there)


def test_where_pytorch_has_no_layouts_layers_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    layer = torch.nn.Linear(3, 2)
    x = torch.ones(1, 3, dtype=torch.bfloat16)
    found = linear(layer, torch.bfloat16)(x)
    assert torch.equal(found, layer.to(torch.bfloat16)(x))
