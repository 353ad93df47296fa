"""What is said to Ray, and made of what it answers, without a cluster: ``test_ray`` has one."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sam2track.batch import on_ray
from sam2track.batch.attempts import Result
from sam2track.batch.manifest import Video
from sam2track.batch.on_ray import RayCrew
from sam2track.errors import DeviceError, UsageError


class Ref:
    """One task, of which the test says how it ends."""

    def __init__(self, task: dict[str, Any], pause: float) -> None:
        self.task, self.pause = task, pause
        self.ended: Future[Any] = Future()

    def future(self) -> Future[Any]:
        return self.ended


class Remote:
    def __init__(self, ray: FakeRay) -> None:
        self.ray = ray

    def remote(self, task: dict[str, Any], pause: float) -> Ref:
        self.ray.refs.append(Ref(task, pause))
        return self.ray.refs[-1]


class RayError(Exception):
    """As of ray.exceptions."""


class TaskCancelledError(RayError):
    """As of ray.exceptions."""


class FakeRay(ModuleType):
    """The part of Ray that is used."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.gpus, self.running = [0.0], False
        self.begun: dict[str, Any] = {}
        self.asked: dict[str, Any] = {}
        self.refs: list[Ref] = []
        self.cancelled: list[tuple[Ref, bool]] = []
        self.waited: list[float] = []
        self.ended = 0

    def is_initialized(self) -> bool:
        return self.running

    def init(self, **options: Any) -> None:
        self.begun = options

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Resources": {"CPU": 2.0} | ({"GPU": n} if n else {})} for n in self.gpus]

    def remote(self, **options: Any) -> Any:
        self.asked = options
        return lambda function: Remote(self)

    def cancel(self, ref: Ref, force: bool = False) -> None:
        self.cancelled.append((ref, force))
        if force:
            ref.ended.set_exception(TaskCancelledError())

    def wait(
        self, refs: list[Ref], num_returns: int, timeout: float
    ) -> tuple[list[Ref], list[Ref]]:
        assert num_returns == len(refs)  # else it returns at the first that ends
        self.waited.append(timeout)
        return [r for r in refs if r.ended.done()], [r for r in refs if not r.ended.done()]

    def shutdown(self) -> None:
        self.ended += 1


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    made, exceptions = FakeRay(), ModuleType("ray.exceptions")
    vars(exceptions).update(RayError=RayError, TaskCancelledError=TaskCancelledError)
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "")  # so that it is as it was afterwards
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    return made


@pytest.fixture
def video(tmp_path: Path) -> Video:
    (tmp_path / "a.mp4").write_bytes(b"a")
    return Video(1, str(tmp_path / "a.mp4"), None, str(tmp_path / "out"), {"model": "nano"})


@pytest.mark.parametrize(
    ("gpus", "of_machines", "share"),
    [
        (None, [0], 0),
        (None, [0, 4], 1),
        (None, [0.5], 0.5),
        (0, [4], 0),
        (0.25, [1], 0.25),
        (2, [1, 2], 2),
        (1, [1], 1),
    ],
)
def test_a_video_takes_its_share(
    ray: FakeRay, gpus: float | None, of_machines: list[float], share: float
) -> None:
    ray.gpus = of_machines
    RayCrew("local", gpus)
    # Ray trying again would count as no try.
    assert ray.asked == {"num_cpus": 1, "num_gpus": share, "max_retries": 0}
    assert ray.begun["address"] == "local"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        (3, "3 GPUs for each video; a machine of the cluster has 2"),
        (-1, "-1 GPUs for each video; a machine"),
        (float("nan"), "nan GPUs for each video; a machine"),
        (1.5, "1.5 GPUs for each video; give a part of one, 0.0001 or more, or a whole number"),
        (0.00001, "1e-05 GPUs for each video; give a part of one"),
    ],
)
@pytest.mark.parametrize("running", [False, True])
def test_a_share_that_cannot_be(ray: FakeRay, gpus: float, message: str, running: bool) -> None:
    ray.gpus, ray.running = [2, 1], running  # more than one machine: they are not added up
    with pytest.raises(UsageError, match=message):
        RayCrew("local", gpus)
    assert ray.ended == (not running)  # a cluster that was there is another's


def test_a_cluster_that_is_used_already_stays(ray: FakeRay) -> None:
    ray.running = True
    RayCrew("127.0.0.1:1", None).close()
    assert ray.begun == {} and ray.ended == 0


@pytest.mark.parametrize("error", [ConnectionError, RuntimeError, ValueError])
def test_a_cluster_that_is_not_there(
    ray: FakeRay, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise error("no such\nmachine")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(DeviceError, match=r"no Ray cluster at 127\.0\.0\.1:1: no such machine;"):
        RayCrew("127.0.0.1:1", None)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'sam2track\[ray\]'"):
        RayCrew("local", None)


def test_what_came_of_a_task(ray: FakeRay, video: Video) -> None:
    crew = RayCrew("local", None)
    done = crew.submit(video, 2.5)
    (ref,) = ray.refs
    assert ref.pause == 2.5
    assert ref.task["source"] == video.source and ref.task["options"] == {"model": "nano"}
    assert not done.done()
    ref.ended.set_result({"status": "done", "reason": "", "retry": False, "outcome": {"x": 1}})
    assert done.result(0) == Result("done", outcome={"x": 1})


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (TaskCancelledError("x"), Result("interrupted", "interrupted")),
        (
            RayError("the machine\nis gone"),
            Result("failed", "its task was lost (RayError): the machine", retry=True),
        ),
        (
            RayError(),
            Result("failed", "its task was lost (RayError): it does not say why", retry=True),
        ),
        (
            TypeError("an unexpected argument"),  # of another version of this package
            Result("failed", "its task was lost (TypeError): an unexpected argument", retry=True),
        ),
    ],
)
def test_a_task_that_is_lost(ray: FakeRay, video: Video, error: Exception, wanted: Result) -> None:
    found = RayCrew("local", None).submit(video, 0)
    ray.refs[0].ended.set_exception(error)
    assert found.result(0) == wanted


def test_a_video_that_cannot_be_begun_leaves_the_others(
    ray: FakeRay, video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = RayCrew("local", None)

    def refuse(_: Video) -> None:
        raise OSError("File name too long")

    with monkeypatch.context() as patch:
        patch.setattr(on_ray, "task_of", refuse)
        refused = crew.submit(video, 0).result(0)
    assert refused == Result("failed", "no task can be begun: File name too long", retry=True)
    assert not crew.submit(video, 0).done()
    crew.stop()  # of what was begun


def test_tasks_that_do_not_end_are_ended_by_force(ray: FakeRay, video: Video) -> None:
    """A batch that Ctrl-C ends waits for what came of each."""
    crew = RayCrew("local", None)
    found = [crew.submit(video, 0) for _ in range(2)]
    one, other = ray.refs
    one.ended.set_result({"status": "interrupted", "reason": "interrupted"})
    crew.stop()
    assert ray.cancelled == [(one, False), (other, False), (other, True)]
    assert [future.result(0).status for future in found] == ["interrupted"] * 2
    assert ray.waited == [on_ray._PATIENCE]


def test_what_a_machine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []

    class Attempt:
        def __init__(self, task: dict[str, Any]) -> None:
            told.append(task)

        def wait(self) -> Result:
            raise KeyboardInterrupt  # as Ray cancels

        def stop(self) -> None:
            told.append("stop")

        def end(self) -> None:
            told.append("end")

    monkeypatch.setattr(on_ray, "Attempt", Attempt)
    monkeypatch.setattr(on_ray.time, "sleep", told.append)
    with pytest.raises(KeyboardInterrupt):
        on_ray._try({"source": "a"}, 1.5)
    assert told == [1.5, {"source": "a"}, "stop", "end"]
    monkeypatch.setattr(Attempt, "wait", lambda _: Result("done"))
    assert Result(**on_ray._try({}, 0)) == Result("done")
