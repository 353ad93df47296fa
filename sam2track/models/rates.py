"""How fast this machine multiplies matrices, in which precision."""

from __future__ import annotations

import time
from functools import cache

import torch

__all__ = ["bf16_pays", "matmul_rate"]

_SIDE = 1024
_WORTH = 1.3  # times float32, or casting and rounding are not worth it


def matmul_rate(dtype: torch.dtype, device: torch.device | str = "cpu", side: int = _SIDE) -> float:
    """Floating-point operations a second of a matrix product, the best of a few.

    Parameters
    ----------
    dtype : torch.dtype
    device : device
    side : int
        Of the square matrices.
    """
    device = torch.device(device)
    one, other = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        product = one @ other
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
        del product
    return 2 * side**3 / best


@cache
def bf16_pays() -> bool:
    """Whether this processor is faster in bfloat16 than in float32, as some that have it are not.

    A processor may have instructions for bfloat16 that are no faster: measured on an Intel Xeon
    with AVX512-BF16 and without AMX, products took 1.8 times as long as in float32; on an AMD
    EPYC they took 0.27 of the time.
    """
    if not torch.cpu._is_avx512_bf16_supported():
        return False
    return matmul_rate(torch.bfloat16) > _WORTH * matmul_rate(torch.float32)
