"""Videos on the machines of a Ray cluster: one task for each try, with its share of a GPU."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from sam2track.batch.attempts import Attempt, Result, task_of
from sam2track.batch.manifest import Video
from sam2track.errors import DeviceError, UsageError
from sam2track.frames.extras import needs

__all__ = ["RayCrew"]

_PATIENCE = 90.0  # seconds for tasks that are told to end
_LEAST = 0.0001  # of a GPU, to Ray


class RayCrew:
    """Tries videos on a Ray cluster, whose machines have this package and see the same folders.

    Ray itself tries nothing again: a task that a dead machine took along counts as one that
    failed, as it does on one machine.

    Parameters
    ----------
    address : str
        As ``ray.init`` takes it; "local" begins a cluster of this machine.
    gpus : float, optional
        What a video takes; 1 where the cluster has GPUs, else none.

    Raises
    ------
    UsageError
        Where Ray is not installed, no machine has so many GPUs, or Ray gives no such part of them.
    DeviceError
        Where there is no such cluster.
    """

    def __init__(self, address: str, gpus: float | None) -> None:
        with needs("ray", "ray", "--ray wants a Ray cluster"):
            import ray
        self._ray = ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, RuntimeError, ValueError) as error:
                why = " ".join(str(error).split())[:200]
                raise DeviceError(
                    f"there is no Ray cluster at {address}: {why}; `ray status` shows what runs"
                ) from error
        most = max((node["Resources"].get("GPU", 0.0) for node in ray.nodes()), default=0.0)
        share = min(1.0, most) if gpus is None else gpus
        if not 0 <= share <= most:
            self.close()
            raise UsageError(
                f"{share:g} GPUs for each video; a machine of the cluster has {most:g}"
            )
        if 0 < share < _LEAST or (share > 1 and share % 1):
            self.close()
            raise UsageError(
                f"{share:g} GPUs for each video; give a part of one, {_LEAST:g} or more, or a "
                "whole number"
            )
        self._try = ray.remote(num_cpus=1, num_gpus=share, max_retries=0)(_try)
        self._refs: list[Any] = []

    def submit(self, video: Video, pause: float) -> Future[Result]:
        """Begin a try as soon as a machine has room."""
        found: Future[Result] = Future()
        try:
            ref = self._try.remote(task_of(video), pause)
        except Exception as error:  # whatever it is, the others go on
            found.set_result(Result("failed", f"no task can be begun: {error}", retry=True))
            return found
        self._refs.append(ref)
        ref.future().add_done_callback(lambda ended: found.set_result(_result(ended)))
        return found

    def stop(self) -> None:
        """Let tasks keep what was done and end; by force where they take too long."""
        for ref in self._refs:
            self._ray.cancel(ref)
        _, left = self._ray.wait(self._refs, num_returns=len(self._refs), timeout=_PATIENCE)
        for ref in left:  # what came of it is waited for
            self._ray.cancel(ref, force=True)

    def close(self) -> None:
        """Leave the cluster."""
        if self._own:
            self._ray.shutdown()


def _try(task: dict[str, Any], pause: float) -> dict[str, Any]:
    """What a machine of the cluster does."""
    time.sleep(pause)
    attempt = Attempt(task)
    try:
        return asdict(attempt.wait())
    finally:
        attempt.stop()
        attempt.end()


def _result(ended: Future[Any]) -> Result:
    from ray.exceptions import TaskCancelledError

    try:
        return Result(**ended.result())
    except TaskCancelledError:
        return Result("interrupted", "interrupted")
    except Exception as error:  # another version of this package there, for one; the others go on
        first = next(iter(str(error).strip().splitlines()), "it does not say why")
        return Result("failed", f"its task was lost ({type(error).__name__}): {first}", retry=True)
