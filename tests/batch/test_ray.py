"""A Ray cluster of two machines, one of which dies in the middle: ``make test-ray``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2track import Project, track_many
from sam2track.batch.record import read_record
from sam2track.errors import DeviceError, UsageError
from sam2track.export.videos import VideoWriter

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("default"),  # Ray's own
]
COUNT, FRAMES = 6, 60
OPTIONS: dict[str, Any] = {"model": "nano", "device": "cpu", "image_size": 64, "write": ["table"]}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    said = {"frame": 0, "box": [4, 6, 24, 26]}
    prompts = {"version": 1, "objects": [{"id": 1, "prompts": [said]}]}
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    with VideoWriter(tmp_path / "v0.mp4", height=48, width=64, threads=1) as video:
        for t in range(FRAMES):
            picture = random.integers(0, 80, (48, 64, 3), np.uint8)
            picture[6:26, 4 + t % 30 : 24 + t % 30] = (230, 50, 40)
            video.write(picture)
    for k in range(1, COUNT):
        (tmp_path / f"v{k}.mp4").write_bytes((tmp_path / "v0.mp4").read_bytes())
    rows = [{"source": f"v{k}.mp4", "prompts": "p.json", "output": f"v{k}"} for k in range(COUNT)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    room = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        made = Cluster(initialize_head=True, head_node_args={**room, "include_dashboard": False})
        made.second = made.add_node(**room)
        ray.init(address=made.address, log_to_driver=False)  # which is used where there is one
        yield made
        ray.shutdown()
        made.shutdown()


def test_results_go_to_an_address(videos: Path, cluster: Any, tmp_path: Path) -> None:
    (videos / "one.jsonl").write_text((videos / "m.jsonl").read_text().splitlines()[0])
    there = tmp_path / "there"
    found = track_many(
        videos / "one.jsonl", ray=cluster.address, output=f"file://{there}", stop=5, **OPTIONS
    )
    assert found.counts() == {"done": 1}, found.lines
    assert {path.name for path in (there / "v0").iterdir()} >= {"project.s2t", "tracks.csv"}
    with Project.open(there / "v0/project.s2t") as project:
        assert len(project.frames) == 5


def test_every_video_is_finished_once(videos: Path, cluster: Any) -> None:
    with pytest.raises(UsageError, match="1 GPUs for each video; a machine of the cluster has 0"):
        track_many(videos / "m.jsonl", ray=cluster.address, gpus=1, **OPTIONS)

    def kill() -> None:
        """End a machine while each of the two is busy."""
        while sum((videos / f"v{k}/project.s2t").exists() for k in range(COUNT)) < 2:
            time.sleep(0.05)
        time.sleep(0.5)
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    ended: list[str] = []
    began = time.monotonic()
    found = track_many(
        videos / "m.jsonl",
        ray=cluster.address,
        progress=lambda line, _: ended.append(line.source),
        **OPTIONS,
    )
    killer.join()
    attempts = [line.attempts for line in found.lines]
    print(f"{COUNT} videos, attempts {attempts}, {time.monotonic() - began:.0f} s")
    assert found.counts() == {"done": COUNT}, found.text()
    assert sorted(ended) == [str(videos / f"v{k}.mp4") for k in range(COUNT)]  # each told once
    assert sum(attempts) == COUNT + 1  # the one that died with its machine
    for k in range(COUNT):
        record = read_record(str(videos / f"v{k}"))
        assert record is not None and record["status"] == "done"
        with Project.open(videos / f"v{k}/project.s2t") as project:
            assert project.frames == tuple(range(FRAMES))
            runs = [step for step in project.journal() if step["action"] == "propagate"]
            assert sum(step.get("done", 0) for step in runs) == FRAMES
    again = track_many(videos / "m.jsonl", ray=cluster.address, **OPTIONS)
    assert again.counts() == {"skipped": COUNT}


def test_no_cluster(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(**_: object) -> None:
        raise ConnectionError("no such\nmachine")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(DeviceError, match=r"no Ray cluster at 127\.0\.0\.1:1: no such machine"):
        track_many(videos / "m.jsonl", ray="127.0.0.1:1", **OPTIONS)
