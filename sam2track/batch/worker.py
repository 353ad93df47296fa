"""The process that tracks one video: ``python -m sam2track.batch.worker``.

It reads one line of JSON from its standard input, and writes one to its standard output. That its
input ends is what tells it to stop: Ctrl-C came where it was started, or nobody waits any more.
"""

from __future__ import annotations

import _thread
import errno
import json
import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sam2track.arguments import is_address
from sam2track.batch.manifest import OF_DETECTIONS
from sam2track.batch.record import folder_of, publish, read_record, write_record
from sam2track.errors import (
    OutputError,
    ProjectInUseError,
    PromptError,
    Sam2TrackError,
    SourceError,
)
from sam2track.faults import explained, is_out_of_memory
from sam2track.interrupts import hear_again

__all__ = ["main", "perform"]

# What the system says of things that may be otherwise a moment later; of reading, and of writing.
_OF_READING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EHOSTDOWN}
_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds
_OF_WRITING = _OF_READING | {errno.ENOSPC, errno.EDQUOT, errno.EBUSY}


def main() -> None:
    """Do what the line on standard input says, and write what came of it."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what others print goes to the log
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1 << 16)
        if not piece:
            return
        line += piece
    hear_again()
    threading.Thread(target=_watch, daemon=True).start()
    with answer:
        json.dump(perform(json.loads(line)), answer)


def _watch() -> None:
    while os.read(0, 1):
        pass
    _thread.interrupt_main()


def perform(task: dict[str, Any]) -> dict[str, Any]:
    """Track one video.

    Parameters
    ----------
    task : dict
        ``source``, ``prompts``, ``output``, ``options``, and ``stamp`` of these.

    Returns
    -------
    dict
        ``status`` (done, failed or interrupted), ``reason``, ``retry`` (whether that may help), and
        ``outcome`` as ``--json`` prints it.
    """
    try:
        outcome = _patient(task)
    except KeyboardInterrupt:
        return {"status": "interrupted", "reason": "interrupted", "retry": False}
    except Exception as error:
        with suppress(OSError):  # a full disk takes no log either; the reason is told all the same
            traceback.print_exc()
        known = explained(error) or error
        kind = "" if isinstance(known, Sam2TrackError) else f"{type(known).__name__}: "
        reason = kind + " ".join(str(known).split())
        return {"status": "failed", "reason": reason, "retry": _may_pass(known)}
    return {"status": "done", "reason": "", "retry": False, "outcome": outcome}


def _patient(task: dict[str, Any]) -> dict[str, Any]:
    """Track, where a process that nobody waits for any more may still be closing the project."""
    for pause in _PAUSES:
        try:
            return _tracked(task)
        except ProjectInUseError:
            time.sleep(pause)
    return _tracked(task)


def _tracked(task: dict[str, Any]) -> dict[str, Any]:
    from sam2track.job import run
    from sam2track.models.loading import why_auto
    from sam2track.project import Project

    output = task["output"]
    folder = folder_of(output)
    prompts = None if task["prompts"] is None else Path(task["prompts"])
    if prompts is not None and prompts.exists() and not prompts.is_file():
        raise PromptError(f"{prompts} is no regular file; save the prompts to one")
    said, options = task["prompts"], task["options"]
    record = read_record(str(folder))
    # A batch made what is there of another source, other prompts or options. Only once source,
    # prompts and model are known to be good the job removes it. What no batch has made is gone on
    # with or refused, and never removed.
    anew = record is not None and record.get("stamp") != task["stamp"]
    if record is not None and not anew and (folder / "project.s2t").exists():
        # What is asked for is in it already, and what a person corrected since is to stay.
        said = None
        options = {name: value for name, value in options.items() if name not in OF_DETECTIONS}
    done = run(
        task["source"],
        said,
        output=folder,
        resume=not anew,
        overwrite=anew,
        progress=_noting(folder, task["stamp"]),
        **options,
    )
    outcome = done.to_dict()
    if task["options"].get("model", "auto") == "auto":  # told once of all videos
        outcome["chosen"] = why_auto(done.model, done.device)
    if is_address(output):
        outcome["outputs"] = {
            name: f"{output.rstrip('/')}/{os.path.relpath(path, folder)}"
            for name, path in outcome["outputs"].items()
        }
    with Project.open(folder / "project.s2t") as project:
        position = project.position
    record = {"version": 1, "stamp": task["stamp"], "status": "done", "position": position}
    write_record(folder, record | {"outcome": outcome})
    if is_address(output):
        publish(folder, output)
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _noting(folder: Path, stamp: str) -> Callable[[object], None]:
    """Return what notes, once the project is there and held, what it is made with."""
    noted = False

    def note(_: object) -> None:
        nonlocal noted
        if not noted:
            write_record(folder, {"version": 1, "stamp": stamp, "status": "begun"})
            noted = True

    return note


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _may_pass(error: BaseException) -> bool:
    """Whether what went wrong may go right another time."""
    if isinstance(error, ProjectInUseError) or any(map(is_out_of_memory, _causes(error))):
        return True
    if isinstance(error, SourceError):
        return getattr(error.__cause__, "errno", None) in _OF_READING
    if isinstance(error, OutputError):
        number = getattr(error.__cause__, "errno", None)
        return number is None or number in _OF_WRITING  # SQLite and FFmpeg say no number
    if isinstance(error, OSError) and not isinstance(error, Sam2TrackError):
        return error.errno in _OF_WRITING
    # Of torch: a GPU that another one uses, for one.
    return isinstance(error, RuntimeError) and not isinstance(error, Sam2TrackError)


if __name__ == "__main__":
    main()
