"""Workers that track nothing: they do what the name of their source says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from sam2track import Project
from sam2track.batch import attempts, running

_WORKER = """
import json, os, shutil, signal, sys
from pathlib import Path
task = json.loads(sys.stdin.readline())
folder = Path(task["output"])
tries = folder / "tries"
count = int(tries.read_text()) + 1 if tries.exists() else 1
new = folder / "tries.new"
new.write_text(str(count))
new.replace(tries)  # whole whenever a test reads it
kind = Path(task["source"]).stem.split()[0].rstrip("0123456789")
outputs = {"project": str(folder / "project.s2t"), "table": str(folder / "tracks.csv")}
outcome = {"frames": 7, "objects": [1], "seconds": 0.5, "outputs": outputs}
if kind == "telling":
    outcome |= {"model": "nano", "warnings": ["a frame was odd"], "chosen": "model: nano, why"}
answer = {"status": "done", "outcome": outcome}
if kind == "killed" or (kind == "oncekilled" and count == 1):
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "crash":
    sys.exit(3)
if kind == "usage":
    answer = {"status": "failed", "reason": "no such thing", "retry": False}
if kind == "full" or (kind == "oncefull" and count == 1):
    answer = {"status": "failed", "reason": "disk full", "retry": True}
if kind == "slow":
    sys.stdin.read()
    answer = {"status": "interrupted", "reason": "interrupted"}
if answer["status"] == "done":
    shutil.copyfile(__file__ + ".s2t", folder / "project.s2t")
    (folder / "tracks.csv").write_text("")
    record = {"status": "done", "stamp": task["stamp"], "outcome": answer["outcome"]}
    (folder / "batch.json").write_text(json.dumps(record))
print(json.dumps(answer))
"""


@pytest.fixture
def pretending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let workers pretend, and retries not wait; give a folder with prompts."""
    script = tmp_path / "worker.py"
    script.write_text(_WORKER)
    meta = {"height": 4, "width": 4, "frames": 1}
    Project.create(f"{script}.s2t", meta=meta, times=np.zeros(1)).close()
    monkeypatch.setattr(attempts, "COMMAND", (sys.executable, str(script)))
    monkeypatch.setattr(running, "_PAUSE", 0.01)
    (tmp_path / "p.json").write_text(json.dumps({"version": 1, "objects": []}))
    return tmp_path


def manifest(folder: Path, *sources: str) -> Path:
    """Write a manifest of videos, each with a folder of its own."""
    rows = [{"source": f"{s}.mp4", "prompts": "p.json", "output": f"out/{s}"} for s in sources]
    path = folder / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tries(folder: Path, source: str) -> int:
    """How often a video was tried, in all."""
    path = folder / "out" / source / "tries"
    return int(path.read_text()) if path.exists() else 0
