"""Where training gets its clips: drawn as they are asked for, or by workers and kept on a GPU."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sam2track.training.scenes import TRAINING, draw_clip
from sam2track.training.textures import Rng, TexturePool

__all__ = ["Drawn", "Footage", "Source", "Store"]

LENGTH = 61  # frames of a kept clip
SIDE = 256  # its height and width


@dataclass(frozen=True)
class Footage:
    """Frames of a clip on the device that trains.

    Attributes
    ----------
    frames : (T, S, S, 3) uint8 tensor
        RGB pictures.
    labels : (T, S, S) uint8 tensor
        Number of the thing that is seen at each pixel, 0 for the ground.
    areas : (T, N) int64 array
        Pixels of each number in each frame, as drawn.
    """

    frames: torch.Tensor
    labels: torch.Tensor
    areas: npt.NDArray[np.int64]


class Source(Protocol):
    """Something that has clips."""

    def take(self, rng: Rng, size: int, times: npt.NDArray[np.floating]) -> Footage:
        """Return a clip of a random family, ``size`` pixels wide, at these times."""

    def close(self) -> None:
        """End what draws ahead."""


def _draw(rng: Rng, pool: TexturePool, size: int, times: npt.NDArray[np.floating]) -> Footage:
    family = TRAINING[str(rng.choice(list(TRAINING)))]
    clip = draw_clip(family, rng, size=size, times=times, pool=pool)
    most = int(clip.labels.max()) + 1
    areas = np.stack([np.bincount(labels.ravel(), minlength=most) for labels in clip.labels])
    return Footage(torch.from_numpy(clip.frames), torch.from_numpy(clip.labels), areas)


class Drawn:
    """Clips drawn anew each time, at just the times that are asked for."""

    def __init__(self) -> None:
        self._pool = TexturePool(288, depth=24)

    def take(self, rng: Rng, size: int, times: npt.NDArray[np.floating]) -> Footage:
        """Draw a clip."""
        return _draw(rng, self._pool, size, times)

    def close(self) -> None:
        """Do nothing: no clip is drawn ahead."""


class _Workers(IterableDataset[Footage]):
    """Clips without end, others in each worker."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __iter__(self) -> Iterator[Footage]:
        cv2.setNumThreads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([self._seed, 0 if worker is None else worker.id])
        pool = TexturePool(288, depth=24)
        while True:
            pace = float(rng.choice([0.5, 1.0, 1.0, 1.0, 2.0]))
            yield _draw(rng, pool, SIDE, np.arange(LENGTH) * pace)


class Store:
    """Long clips on a GPU, drawn by all cores but one; each is used some times, then replaced.

    A GPU learns from clips faster than cores draw them. Seen mirrored, turned, backwards, from
    another frame and at another pace, a clip is nearly a new one.

    Parameters
    ----------
    device : torch.device
        Where clips are kept.
    seed : int
        Where chance starts; which clip comes when depends on how fast workers are.
    capacity : int
        How many clips are kept; one takes 16 MB.
    workers : int, optional
        Processes that draw.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        seed: int,
        capacity: int = 1500,
        workers: int | None = None,
    ) -> None:
        self._device = device
        self._kept: deque[Footage] = deque(maxlen=capacity)
        self._first = threading.Event()
        self._failure: BaseException | None = None
        if workers is None:
            workers = max(1, (os.cpu_count() or 2) - 1)
        self._loader = DataLoader(
            _Workers(seed),
            batch_size=None,
            num_workers=workers,
            # A fork of a process with threads may wait for a lock that nobody will give back.
            multiprocessing_context="spawn",
        )
        self.quiet = threading.Lock()  # held while nothing may be copied to the device
        self._copies: torch.cuda.Stream | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def _on_device(self, clip: Footage) -> Footage:
        if self._device.type != "cuda":
            return Footage(clip.frames.to(self._device), clip.labels.to(self._device), clip.areas)
        # On a stream of its own a copy need not wait for the steps that lie before it.
        stream = self._copies = self._copies or torch.cuda.Stream(self._device)
        with self.quiet, torch.cuda.stream(stream):
            frames, labels = clip.frames.to(self._device), clip.labels.to(self._device)
            stream.synchronize()
        for tensor in (frames, labels):
            tensor.record_stream(torch.cuda.default_stream(self._device))
        return Footage(frames, labels, clip.areas)

    def _fill(self) -> None:
        try:
            for clip in self._loader:
                if self._closed.is_set():
                    return  # and the workers end with the loader's iterator
                self._kept.append(self._on_device(clip))
                if len(self._kept) >= min(100, self._kept.maxlen or 1):
                    self._first.set()
        except BaseException as failure:  # goes on in the thread that trains
            self._failure = failure
            self._first.set()

    def close(self) -> None:
        """End the workers."""
        self._closed.set()
        self._thread.join()

    def take(self, rng: Rng, size: int, times: npt.NDArray[np.floating]) -> Footage:
        """Return a kept clip, seen in one of many ways."""
        self._first.wait()
        if self._failure is not None:
            raise self._failure
        clip = self._kept[int(rng.integers(len(self._kept)))]
        span = float(times[-1] - times[0])
        pace = min(1.0, (LENGTH - 1) / span) if span else 1.0
        at = np.round((times - times[0]) * pace).astype(np.int64)
        at += int(rng.integers(LENGTH - at[-1]))
        if rng.random() < 0.5:
            at = LENGTH - 1 - at
        where = torch.from_numpy(at).to(self._device)
        frames, labels = clip.frames[where], clip.labels[where]
        if rng.random() < 0.5:
            frames, labels = frames.transpose(1, 2), labels.transpose(1, 2)
        mirrored = [axis for axis in (1, 2) if rng.random() < 0.5]
        frames, labels = frames.flip(mirrored), labels.flip(mirrored)
        if size != SIDE:
            small = F.interpolate(frames.permute(0, 3, 1, 2).float(), (size, size), mode="area")
            frames = small.permute(0, 2, 3, 1).round().to(torch.uint8)
            centres = (torch.arange(size, device=self._device) * SIDE + SIDE // 2) // size
            labels = labels[:, centres][:, :, centres]
        return Footage(frames, labels, clip.areas[at])
