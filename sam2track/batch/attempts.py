"""One try at one video, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from sam2track.batch.manifest import Video
from sam2track.batch.record import folder_of, stamp

__all__ = ["Attempt", "Result", "task_of"]

LOG = "batch.log"
COMMAND = (sys.executable, "-m", "sam2track.batch.worker")
_PATIENCE = 60.0  # seconds that a process has to keep what was done, before it is killed


@dataclass(frozen=True)
class Result:
    """What came of one try.

    Attributes
    ----------
    status : str
        "done", "failed" or "interrupted".
    reason : str
        Why it failed, one line.
    retry : bool
        Whether another try may help.
    outcome : dict
        As ``sam2track track --json`` prints it; empty where it failed.
    """

    status: str
    reason: str = ""
    retry: bool = False
    outcome: dict[str, Any] = field(default_factory=dict)


def task_of(video: Video) -> dict[str, Any]:
    """Return what the process that tracks a video is told."""
    return {
        "source": video.source,
        "prompts": video.prompts,
        "output": video.output,
        "options": video.options,
        "stamp": stamp(video),
    }


class Attempt:
    """Track a video in a process of its own; what it says goes to ``batch.log`` in its folder.

    Parameters
    ----------
    task : mapping
        As `task_of`.
    threads : int, optional
        Threads for sums on the processor, where the environment does not say.
    """

    def __init__(self, task: Mapping[str, Any], threads: int | None = None) -> None:
        environment = dict(os.environ)
        if threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        with _log(task["output"]) as log:
            # A session of its own: Ctrl-C on a terminal is for the one that waits for it.
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._input = threading.Lock()
        self._asked = False
        with suppress(OSError):  # it has ended already: its status says so
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()

    def wait(self) -> Result:
        """Wait until it ends, and return what came of it."""
        process = self._process
        assert process.stdout is not None
        with process.stdout as said:
            answer = said.read()
        status = process.wait()
        asked = self._asked
        self.stop()
        try:
            return Result(**json.loads(answer))
        except (TypeError, ValueError):
            pass
        if asked:  # before it had begun to listen for that, or it had to be ended by force
            return Result("interrupted", "interrupted")
        if status < 0:
            try:
                name = signal.Signals(-status).name
            except ValueError:
                name = f"signal {-status}"
            memory = ", as a system does that is out of memory" if name == "SIGKILL" else ""
            return Result("failed", f"its process was ended by {name}{memory}", retry=True)
        return Result("failed", f"its process ended with status {status}; see {LOG}", retry=True)

    def stop(self) -> None:
        """Ask it to keep what was done and end."""
        self._asked = True
        with self._input, suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def end(self) -> None:
        """Wait until it has ended after `stop`; end it by force where it takes too long."""
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


def _log(output: str) -> IO[bytes]:
    folder = folder_of(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG).unlink(missing_ok=True)  # a link that was planted there leads elsewhere
        return (folder / LOG).open("xb")
    except OSError:
        return tempfile.TemporaryFile()  # the process itself says what is wrong with the folder
