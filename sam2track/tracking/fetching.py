"""From a device to main memory, while the device goes on with something else."""

from __future__ import annotations

import torch

__all__ = ["Fetch"]


class Fetch:
    """Tensors on their way to main memory.

    Parameters
    ----------
    parts : tensor
        All on one device. On CUDA nothing is waited for yet.
    """

    def __init__(self, *parts: torch.Tensor) -> None:
        # Elsewhere than on CUDA nothing says when a copy that was not waited for is through.
        self._cuda = parts[0].device.type == "cuda"
        self._parts = [part.to("cpu", non_blocking=self._cuda) for part in parts]
        if self._cuda:
            self._through = torch.cuda.Event()
            self._through.record(torch.cuda.current_stream(parts[0].device))

    def wait(self) -> list[torch.Tensor]:
        """Return them, once they are there."""
        if not self._cuda:
            return self._parts
        self._through.synchronize()
        # Copies: the pages that a device writes to are few, and serve the next frame.
        return [part.clone() for part in self._parts]
