"""Jobs that end in the middle, resumed and compared: ``python -m tests.kills --trials 200``.

One process imports all that is slow and forks the others, so that a trial takes a second or two.
Each trial runs a whole job in a process of its own; ``kill -9`` comes at a moment uniform between
its start and its end, writing of outputs included. In every other trial the resumed job is killed
as well. Then it is looked whether anything is lost.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

FRAMES, HEIGHT, WIDTH = 24, 48, 64
BOXES = {1: (0, [3, 5, 23, 25]), 2: (12, [14, 22, 34, 44])}
STATE_EVERY = 7
_FAILED = 3


def clip(path: Path) -> None:
    """Write two squares that move over noise."""
    import numpy as np

    from sam2track.export.videos import VideoWriter

    frames = np.random.default_rng(0).integers(0, 90, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    with VideoWriter(path, height=HEIGHT, width=WIDTH, threads=1) as video:
        for t in range(FRAMES):
            frames[t, 5:25, 3 + t : 23 + t] = (230, 40, 40)
            frames[t, 22:44, 38 - t : 58 - t] = (40, 220, 60)
            video.write(frames[t])


def model() -> Any:
    """A model that is small and knows nothing: what it gives is no matter here."""
    import torch

    from sam2track.models.architecture import ARCHITECTURES, build

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build(ARCHITECTURES["nano"], image_size=64)


def job(source: Path, out: Path, module: Any, *, resume: bool) -> Any:
    """Track, or go on."""
    from sam2track.job import run
    from sam2track.tracking import run as running

    running._STATE_EVERY = STATE_EVERY
    objects = [{"id": i, "prompts": [{"frame": t, "box": b}]} for i, (t, b) in BOXES.items()]
    said = {"version": 1, "objects": objects}
    return run(source, said, output=out, model=module, resume=resume)


def in_fork(work: Callable[[], None], *, kill_after: float | None = None) -> tuple[int, str]:
    """Run work in a process of its own; return its status and what it said of an error."""
    said, tell = os.pipe()
    child = os.fork()
    if child == 0:
        status = 0
        try:
            work()
        except BaseException as error:
            status = _FAILED
            os.write(tell, f"{type(error).__name__}: {error}".encode(errors="replace")[:4000])
        finally:
            os._exit(status)
    os.close(tell)
    end = time.monotonic() + (math.inf if kill_after is None else kill_after)
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.002)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    status = ended[1]
    with os.fdopen(said, "rb") as file:
        message = file.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(status), message


def contents(out: Path) -> dict[str, str]:
    """Digests of all masks of a project and of all files beside it."""
    from sam2track.project import Project

    found = {}
    with Project.open(out / "project.s2t") as project:
        for frame in project.frames:
            for object_id, mask in project.masks(frame).items():
                digest = hashlib.sha256(mask.tobytes()).hexdigest()
                found[f"mask {object_id} {frame}"] = digest
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.name.startswith("project.s2t"):
            name = str(path.relative_to(out))
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def left_over(out: Path, whole: dict[str, str]) -> tuple[int, list[str]]:
    """How many masks a killed job has left, and what of its files or masks is not whole."""
    copy = out.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    if not out.exists():
        return 0, []
    shutil.copytree(out, copy)
    (copy / "project.s2t.lock").unlink(missing_ok=True)
    if not (copy / "project.s2t").exists():
        return 0, [p.name for p in copy.rglob("*") if not p.name.startswith(".") and p.is_file()]
    found = contents(copy)
    masks = [name for name in found if name.startswith("mask ")]
    hidden = {name for name in found if Path(name).name.startswith(".")}
    wrong = [n for n in found if n not in hidden and found[n] != whole.get(n)]
    return len(masks), wrong


def trials(count: int, seed: int = 0, tell: Callable[[str], None] = print) -> dict[str, int]:
    """Kill and resume so often; return what was seen."""
    import sam2track.frames.video
    import sam2track.job  # noqa: F401  here, so that no fork has to

    chance = random.Random(seed)
    total = {"trials": 0, "killed": 0, "killed twice": 0, "not resumed": 0, "lost": 0, "wrong": 0}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        source, out = scratch / "video.mp4", scratch / "out"
        clip(source)
        module = model()
        lasted = math.inf
        for name in ("whole", "again"):
            began = time.monotonic()
            status, said = in_fork(partial(job, source, scratch / name, module, resume=False))
            assert status == 0, said
            lasted = min(lasted, time.monotonic() - began)
        whole = contents(scratch / "whole")
        assert contents(scratch / "again") == whole
        for trial in range(count):
            shutil.rmtree(out, ignore_errors=True)
            moment, began = chance.uniform(0, lasted), time.monotonic()
            status, _ = in_fork(lambda: job(source, out, module, resume=False), kill_after=moment)
            if status == 0:  # the machine is less busy now than it was
                lasted = time.monotonic() - began
            total["trials"] += 1
            total["killed"] += status == -signal.SIGKILL
            before, wrong = left_over(out, whole)
            if trial % 2:
                again = chance.uniform(0, lasted)
                status, _ = in_fork(lambda: job(source, out, module, resume=True), kill_after=again)
                total["killed twice"] += status == -signal.SIGKILL
                after, more = left_over(out, whole)
                total["lost"] += max(0, before - after)
                wrong += more
            status, said = in_fork(lambda: job(source, out, module, resume=True))
            if status:
                total["not resumed"] += 1
                tell(f"trial {trial}, killed after {moment:.3f} s: {said}")
                continue
            found = contents(out)
            odd = sorted(n for n in {*found, *whole} if found.get(n) != whole.get(n))
            total["wrong"] += bool(odd or wrong)
            if odd or wrong:
                tell(f"trial {trial}, killed after {moment:.3f} s: left {wrong}, then {odd}")
    return total


def main() -> int:
    """Try, and print what was seen as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    total = trials(given.trials, given.seed, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(total))
    return int(total["not resumed"] + total["lost"] + total["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
