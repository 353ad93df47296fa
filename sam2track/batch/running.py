"""Many videos: which are done already, which are tried again, and what came of all."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from sam2track.arguments import check_path, is_address, whole_number
from sam2track.asked import check_together
from sam2track.batch.attempts import Attempt, Result, task_of
from sam2track.batch.manifest import Video, read_manifest, settled
from sam2track.batch.record import kept, read_record, stamp, whole
from sam2track.batch.summary import Line, Summary
from sam2track.database import companions
from sam2track.errors import OutputError, UsageError
from sam2track.outputs import OUTPUTS, RECORD

__all__ = ["BatchInterrupted", "SummaryNotWritten", "track_many"]

RETRIES = 2

_log = logging.getLogger(__name__)
_PAUSE = 2.0  # seconds before a second try, twice as many before a third


class BatchInterrupted(KeyboardInterrupt):
    """Ctrl-C came; what was done is kept.

    Attributes
    ----------
    summary : Summary
    """

    def __init__(self, summary: Summary) -> None:
        super().__init__()
        self.summary = summary


class SummaryNotWritten(OutputError):
    """All was tried, and then the summary could not be written.

    Attributes
    ----------
    summary : Summary
    """

    def __init__(self, why: str, summary: Summary) -> None:
        super().__init__(why)
        self.summary = summary


class Crew(Protocol):
    """What tries videos, several at a time."""

    def submit(self, video: Video, pause: float) -> Future[Result]:
        """Begin a try after so many seconds, or as soon as there is room."""
        ...

    def stop(self) -> None:
        """Begin no more, and let those that are under way keep what was done."""
        ...

    def close(self) -> None:
        """Wait until all have ended."""
        ...


def track_many(
    manifest: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    retries: int = RETRIES,
    ray: str | None = None,
    gpus: float | None = None,
    summary: str | os.PathLike[str] | None = None,
    progress: Callable[[Line, int], None] | None = None,
    **options: Any,
) -> Summary:
    """Track all videos of a manifest, each in a process of its own (docs/batch.md).

    What is finished, with the same source, prompts and options, is left as it is; what is half
    finished is gone on with. A video that fails does not keep the others from being tracked.

    Parameters
    ----------
    manifest : path
        CSV or JSON lines: source, prompts, output, options.
    output : path or address, optional
        Where outputs lie that are not absolute; beside the manifest by default.
    workers : int
        Videos at a time on this machine, 1 by default; a Ray cluster takes what it has room for.
    retries : int
        How often a video is tried again, where that may help: 0 to 2.
    ray : str, optional
        Address of a Ray cluster that tracks them in place of this machine; "local" begins one.
    gpus : float, optional
        GPUs, or the part of one, that a video takes there; 1 by default where the cluster has any.
    summary : path, optional
        Where the summary table is written; beside the manifest by default.
    progress : callable, optional
        Called with each video's Line as it ends, and how many are left.
    **options
        Of all videos that do not say otherwise: as ``track``, such as ``model``.

    Returns
    -------
    Summary
        Of all videos, also of those that failed.

    Raises
    ------
    UsageError
        Where the manifest or an option cannot be.
    BatchInterrupted
        At Ctrl-C; run it again to go on.
    SummaryNotWritten
        Where the disk is full at the end, for one; it holds what came of each.
    """
    if not 0 <= whole_number("retries", retries) <= RETRIES:
        raise UsageError(f"retries {retries}; a video is tried again 0 to {RETRIES} times")
    if workers is not None and whole_number("workers", workers) < 1:
        raise UsageError(f"workers {workers}; allowed are 1 and more")
    if workers is not None and ray is not None:
        raise UsageError(
            "a Ray cluster tracks as many at a time as it has room for; leave workers out"
        )
    if gpus is not None and ray is None:
        raise UsageError("a share of GPUs is for a Ray cluster (--ray); leave it out")
    options = settled(options)
    manifest = check_path("manifest", manifest)
    videos = [
        replace(video, options={**options, **video.options})
        for video in read_manifest(manifest, None if output is None else _absolute(output))
    ]
    for video in videos:  # options of the manifest and of the call may go together badly
        try:
            check_together(**video.options)
        except UsageError as error:
            raise UsageError(f"manifest {manifest}, line {video.line}: {error}") from error
    table = (
        manifest.with_suffix(".summary.csv") if summary is None else check_path("summary", summary)
    )
    _check_summary(table, manifest, videos)
    lines = {video.line: _before(video) for video in videos}
    waiting = [video for video in videos if lines[video.line].status == "waiting"]
    crew: Crew | None = None
    if waiting:  # before anything is written: there may be no Ray, or no cluster
        crew = _Here(min(workers or 1, len(waiting))) if ray is None else _on_ray(ray, gpus)
    try:
        Summary(list(lines.values())).write(table)  # that it cannot be written is said at once
    except BaseException:
        if crew is not None:
            crew.close()
        raise
    if crew is not None:

        def ended(line: Line, left: int) -> None:
            with suppress(OutputError):  # told at the end, if it still is so
                Summary(list(lines.values())).write(table)  # after a kill it says what was done
            if progress is not None:
                progress(line, left)

        try:
            _run(crew, waiting, lines, retries, ended)
        except BaseException as error:
            found = Summary(list(lines.values()))
            with suppress(OutputError):  # a full disk does not hide what ended it
                found.write(table)
            if isinstance(error, KeyboardInterrupt):
                raise BatchInterrupted(found) from error
            raise
    found = Summary(list(lines.values()))
    try:
        found.write(table)
    except OutputError as error:
        raise SummaryNotWritten(str(error), found) from error
    return found


def _check_summary(table: Path, manifest: Path, videos: Sequence[Video]) -> None:
    """Refuse to write the summary in place of what is read, or of what a video's job writes."""
    taken = [manifest]
    for video in videos:
        taken.append(Path(video.source))
        taken += map(Path, filter(None, (video.prompts, video.options.get("detections"))))
        if not is_address(video.output):
            project = Path(video.output) / "project.s2t"
            taken += [project, *companions(project)]
            taken += [project.with_name(name) for name in (RECORD, *OUTPUTS.values())]
    place = os.path.realpath(table)
    for path in taken:
        if os.path.realpath(path) == place:
            raise UsageError(f"the summary would be written in place of {path}; name another file")


def _absolute(output: str | os.PathLike[str]) -> str:
    if isinstance(output, str) and is_address(output):
        return output
    path = check_path("output", output)
    if path.is_file():
        raise UsageError(f"output {path} is a file; name a folder, below which outputs lie")
    return str(path.absolute())


def _on_ray(address: str, gpus: float | None) -> Crew:
    from sam2track.batch.on_ray import RayCrew

    return RayCrew(address, gpus)


def _before(video: Video) -> Line:
    """What is known of a video before anything is done."""
    record = read_record(video.output) or {}
    try:
        if record.get("status") == "done" and record.get("stamp") == stamp(video):
            outcome = whole(video.output, record)
            if outcome is not None:
                return Line.of(video, "skipped", outcome)
    except OSError:
        pass  # a name that is too long, for one: trying it says so, and the others go on
    return Line.of(video, "waiting", {})


def _run(
    crew: Crew,
    videos: Sequence[Video],
    lines: dict[int, Line],
    retries: int,
    ended: Callable[[Line, int], None],
) -> None:
    tries = {video.line: 1 for video in videos}
    told: set[str] = set()  # which model was taken, where none was named
    pending = {crew.submit(video, 0): video for video in videos}
    try:
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                video, result = pending.pop(future), future.result()
                count = tries[video.line]
                if result.status == "failed" and result.retry and count <= retries:
                    tries[video.line] += 1
                    pending[crew.submit(video, _PAUSE * count)] = video
                    continue
                line = _line(video, result, count)
                lines[video.line] = line
                chosen = result.outcome.get("chosen", "")
                if chosen and chosen not in told:
                    told.add(chosen)
                    _log.log(logging.WARNING if line.model == "nano" else logging.INFO, chosen)
                ended(line, len(pending))
    except BaseException:
        crew.stop()
        for future, video in pending.items():
            with suppress(CancelledError):  # of those that did not begin
                lines[video.line] = _line(video, future.result(), tries[video.line])
        raise
    finally:
        crew.close()


def _line(video: Video, result: Result, attempts: int) -> Line:
    outcome = kept(video) if result.status == "interrupted" else result.outcome
    return Line.of(video, result.status, outcome, attempts=attempts, reason=result.reason)


class _Here:
    """Processes on this machine."""

    def __init__(self, workers: int) -> None:
        self._threads = max(1, (os.cpu_count() or 1) // workers)
        self._pool = ThreadPoolExecutor(workers)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._running: set[Attempt] = set()

    def submit(self, video: Video, pause: float) -> Future[Result]:
        """Begin a try as soon as a worker is free."""
        return self._pool.submit(self._try, video, pause)

    def _try(self, video: Video, pause: float) -> Result:
        if pause and self._stopped.wait(pause):
            return Result("interrupted", "interrupted")
        try:
            task = task_of(video)  # without the lock: a folder of many pictures takes a while
            with self._lock:
                if self._stopped.is_set():
                    return Result("interrupted", "interrupted")
                attempt = Attempt(task, self._threads)
                self._running.add(attempt)
        except Exception as error:  # whatever it is, the others go on
            return Result("failed", f"no process can be begun: {error}", retry=True)
        try:
            return attempt.wait()
        finally:
            with self._lock:
                self._running.discard(attempt)

    def stop(self) -> None:
        """Let processes keep what was done and end; a second Ctrl-C ends them at once."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            running = list(self._running)
        try:
            for attempt in running:
                attempt.stop()
            for attempt in running:
                attempt.end()
        except KeyboardInterrupt:
            for attempt in running:
                attempt.kill()

    def close(self) -> None:
        """Wait until all have ended."""
        self._pool.shutdown(wait=True)
