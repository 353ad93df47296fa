"""Which of a GPU's kernels takes memory attention: the fastest of those that give the same.

A fused kernel gives each processor of a GPU some rows of queries. A frame has few of these for the
keys that they look at, so that with one object more than half of a large GPU is idle. Parts of the
keys, side by side, fill it; what comes of them is put together by their sums of exponentials (as
Flash-Decoding does; https://pytorch.org/blog/flash-decoding). Some kernels take values that are
narrower than keys, others want them padded. What is best differs from device to device, so each is
tried once for a kind of shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

__all__ = ["WAYS", "Kernels", "Way", "plain", "timed", "trials"]

_Kernel = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]
]
_Clock = Callable[[Callable[[], torch.Tensor]], float]

_WORTH = 2**24  # scores from which on trying pays
# How far another order of sums may lead, in parts of the largest value.
_NEAR = {torch.float32: 1e-5, torch.bfloat16: 2**-6, torch.float16: 2**-9}


def _flash(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    wide = F.pad(values, (0, keys.shape[-1] - values.shape[-1]))
    found = torch.ops.aten._scaled_dot_product_flash_attention(queries, keys, wide, scale=1.0)
    return found[0][..., : values.shape[-1]], found[1]


def _efficient(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    found = torch.ops.aten._scaled_dot_product_efficient_attention(
        queries, keys, values, None, True, scale=1.0
    )
    return found[0], found[1][..., : queries.shape[-2]]  # sums come in whole blocks of rows


def _torch(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, None]:
    wide = F.pad(values, (0, keys.shape[-1] - values.shape[-1]))
    found = F.scaled_dot_product_attention(queries, keys, wide, scale=1.0)
    return found[..., : values.shape[-1]], None


@dataclass(frozen=True)
class Way:
    """A way to take ``softmax(queries @ keys') @ values``.

    Attributes
    ----------
    name : str
    kernel : callable
        Takes (B, heads, n, C) queries, (B, heads, K, C) keys and (B, heads, K, M) values; gives
        (B, heads, n, M), and the logarithms of its sums of exponentials, (B, heads, n) float32.
    parts : int
        Into how many parts the keys go.
    """

    name: str
    kernel: _Kernel
    parts: int = 1

    def __call__(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """For (B, n, C) queries, (B, K, C) keys and (B, K, M) values, (B, n, M)."""
        found, sums = self.kernel(
            queries[:, None].expand(-1, self.parts, -1, -1),
            keys.unflatten(1, (self.parts, -1)),
            values.unflatten(1, (self.parts, -1)),
        )
        if sums is None or self.parts == 1:
            return found[:, 0]
        shares = torch.softmax(sums, dim=1)[..., None]
        return (found * shares).sum(1)

    def fits(self, keys: torch.Tensor) -> bool:
        """Whether keys, (B, K, C), go into equal parts."""
        return keys.shape[1] % self.parts == 0


plain = Way("torch's own choice", _torch)

WAYS = (
    *(Way(f"flash attention, {parts} parts", _flash, parts) for parts in (1, 2, 4)),
    *(Way(f"efficient attention, {parts} parts", _efficient, parts) for parts in (1, 2, 4)),
)


class Kernels:
    """Takes ``softmax(queries @ keys') @ values`` by the way that is fastest on a CUDA device.

    Elsewhere it is torch's own choice.

    Parameters
    ----------
    ways : sequence of Way
        To try beside that.
    clock : callable, optional
        Gives the seconds that work takes; in place of a CUDA device's own.
    """

    def __init__(self, ways: Sequence[Way] = WAYS, clock: _Clock | None = None) -> None:
        self._ways, self._clock = ways, clock
        self._chosen: dict[Hashable, Way] = {}

    def __call__(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """For scaled (B, n, C) queries, (B, K, C) keys and (B, K, M) values, (B, n, M)."""
        (count, length, width), tokens = queries.shape, keys.shape[1]
        clock = self._clock or (timed if queries.is_cuda else None)
        if clock is None or count * length * tokens < _WORTH:
            return plain(queries, keys, values)
        kind = (count, length, tokens.bit_length(), width, values.shape[-1], values.dtype)
        way = self._chosen.get(kind)
        if way is None:
            if queries.is_cuda and torch.cuda.is_current_stream_capturing():
                return plain(queries, keys, values)  # what is recorded cannot be timed
            took = trials(queries, keys, values, self._ways, clock)
            way = self._chosen[kind] = min(took, key=lambda tried: took[tried])
        return (way if way.fits(keys) else plain)(queries, keys, values)


@torch.inference_mode()
def trials(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    ways: Sequence[Way],
    clock: _Clock,
) -> dict[Way, float]:
    """Seconds that each way takes which gives what the plain one gives.

    Parameters
    ----------
    queries, keys, values : tensors
        As ``Way`` takes them.
    ways : sequence of Way
        To try beside the plain one.
    clock : callable
        Gives the seconds that work takes.
    """
    expected = plain(queries, keys, values)
    took = {plain: clock(lambda: plain(queries, keys, values))}
    bound = _NEAR[values.dtype] * float(values.abs().max())
    for way in ways:
        if not way.fits(keys):
            continue
        try:
            found = way(queries, keys, values)
            if float((found - expected).abs().max()) <= bound:
                took[way] = clock(lambda way=way: way(queries, keys, values))  # type: ignore[misc]
        except (RuntimeError, NotImplementedError):
            continue  # a kernel that this device, type or shape has not
    return took


def timed(work: Callable[[], torch.Tensor], times: int = 3) -> float:
    """Seconds of work on a CUDA device, the least of some times."""
    least = float("inf")
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        least = min(least, begin.elapsed_time(end) / 1000)
    return least
