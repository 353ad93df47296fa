"""Jobs that are killed and resumed: a part of ``python -m benchmarks corrections``."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.clips import OBJECTS, SIZE, drawn
from sam2track.errors import ProjectError

SLACK = 64  # frames that a resumed run may compute again
ROOT = Path(__file__).parents[1]


def measure(trials: int, frames: int = 120, late: int = 40) -> dict[str, Any]:
    """Kill jobs at random moments of tracking, resume them, and compare with an unbroken one.

    Parameters
    ----------
    trials : int
    frames : int
        Length of the clip.
    late : int
        Frame on which the third object is prompted, so that there is a backward pass too.
    """
    from sam2track.export.videos import VideoWriter

    rng = np.random.default_rng(9)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        clip, boxes = drawn("nuclei", frames)
        with VideoWriter(scratch / "video.mp4", height=SIZE, width=SIZE) as video:
            for picture in clip:
                video.write(picture)
        given = [
            f"--box={i}:{','.join(map(str, box))}@{late if i == OBJECTS else 0}"
            for i, box in boxes.items()
        ]
        command = _command(scratch / "video.mp4", given)
        whole = scratch / "whole"
        lasted = _watched([*command, "-o", str(whole)], whole / "project.s2t")
        expected = _results(whole / "project.s2t")
        runs = []
        for trial in range(trials):
            after = float(rng.uniform(0, lasted))
            runs.append(_trial(command, scratch / "broken", whole, expected, after))
            click.echo(f"kill {trial + 1}: {json.dumps(runs[-1])}", err=True)
    passes = len(_passes(expected))
    return {"frames": frames, "late": late, "expected": passes, "asked": trials, "runs": runs}


def _command(video: Path, given: Sequence[str]) -> list[str]:
    return [
        *(sys.executable, "-m", "sam2track", "track", str(video), *given),
        *("--model", "nano", "--device", "cpu", "--write", "masks"),
    ]


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=_quiet(), stdout=nowhere, stderr=nowhere)


def _quiet() -> dict[str, str]:
    # One thread: on many, sums may come in another order from run to run.
    return os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def _count(path: Path) -> int:
    """How many results a project has that another process writes; 0 where there is none yet."""
    if not path.is_file():
        return 0
    with suppress(sqlite3.Error):
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            return int(db.execute("SELECT count(*) FROM all_results").fetchone()[0])
        finally:
            db.close()
    return 0


def _until_first(job: subprocess.Popen[bytes], project: Path) -> None:
    while job.poll() is None and not _count(project):
        time.sleep(0.01)


def _watched(command: Sequence[str], project: Path) -> float:
    """Run the unbroken job; return the seconds from its first result to its last."""
    job = _start(command)
    _until_first(job, project)
    first = last = time.monotonic()
    most = 0
    while job.poll() is None:
        count = _count(project)
        if count > most:
            most, last = count, time.monotonic()
        time.sleep(0.02)
    if job.returncode:
        raise click.ClickException(f"the unbroken job ended with {job.returncode}")
    return last - first


def _trial(
    command: Sequence[str],
    folder: Path,
    whole: Path,
    expected: Mapping[tuple[int, int], str],
    after: float,
) -> dict[str, Any]:
    """Kill a job some seconds after its first result, resume it and compare."""
    shutil.rmtree(folder, ignore_errors=True)
    project = folder / "project.s2t"
    job = _start([*command, "-o", str(folder)])
    _until_first(job, project)
    with suppress(subprocess.TimeoutExpired):
        job.wait(after)
    job.kill()  # SIGKILL; no harm to a job that is done
    killed = job.wait() == -9
    held = _left(folder, folder.with_name("copy"))
    wanted = _passes(expected)
    missing = sum(1 for rows in wanted.values() if not rows <= held.keys())
    resumed = subprocess.run(
        [*command, "-o", str(folder), "--resume", "--json"],
        cwd=ROOT,
        env=_quiet(),
        capture_output=True,
        check=False,
    )
    run: dict[str, Any] = {
        "killed": killed,
        "project": bool(held),
        "missing": missing,
        "resumed": resumed.returncode == 0,
    }
    if resumed.returncode:
        # Its last line alone, and no path of this machine.
        said = resumed.stderr.decode(errors="replace").strip().splitlines()[-1:]
        run["error"] = " ".join(said).replace(str(folder), "FOLDER")
        return run
    run["computed"] = json.loads(resumed.stdout)["frames_computed"]
    run |= _differences(folder, whole)
    return run


def _left(folder: Path, copy: Path) -> dict[tuple[int, int], str]:
    """What a killed job has left; nothing where there is no project yet.

    Looked at in a copy: opening it would tidy up what ``--resume`` has to cope with.
    """
    if not (folder / "project.s2t").is_file():
        return {}
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in ("project.s2t", "project.s2t-wal"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, copy / name)
    try:
        return _results(copy / "project.s2t")
    except ProjectError:
        return {}  # killed before it had its tables


def _results(path: Path) -> dict[tuple[int, int], str]:
    """How each mask in a project came about, by frame and object."""
    from sam2track import Project

    # For writing, so that the log of a killed writer is taken in.
    with Project.open(path, writable=True) as project:
        return {(row.frame, row.object_id): row.source for row in project.rows()}


def _passes(
    results: Mapping[tuple[int, int], str],
) -> dict[tuple[int, bool], set[tuple[int, int]]]:
    """Group results by what a run counts as one frame: frame and direction."""
    found: dict[tuple[int, bool], set[tuple[int, int]]] = {}
    for key, source in results.items():
        found.setdefault((key[0], source == "backward"), set()).add(key)
    return found


def _differences(folder: Path, whole: Path) -> dict[str, int]:
    """Count frames whose pictures, and whose masks in the project, are not the unbroken run's."""
    from sam2track import Project
    from sam2track.export.pngs import read_label_png

    mine, theirs = folder / "masks", whole / "masks"
    names = {path.name for path in (*mine.glob("*.png"), *theirs.glob("*.png"))}
    pictures = 0
    for name in names:
        there = (mine / name).is_file() and (theirs / name).is_file()
        pictures += not there or not np.array_equal(
            read_label_png(mine / name), read_label_png(theirs / name)
        )
    masks = 0
    with Project.open(folder / "project.s2t") as a, Project.open(whole / "project.s2t") as b:
        for frame in {*a.frames, *b.frames}:
            one, other = a.masks(frame), b.masks(frame)
            masks += one.keys() != other.keys() or any(
                not np.array_equal(one[i], other[i]) for i in one
            )
    return {"pictures_differ": pictures, "masks_differ": masks}


def told(found: Mapping[str, Any]) -> list[str]:
    """Render what ``measure`` found as lines of Markdown."""
    runs = found["runs"]
    before = [r for r in runs if not r["project"]]
    during = [r for r in runs if r["project"] and r["missing"]]
    after = [r for r in runs if r["project"] and not r["missing"]]
    lines = [
        "## Killed and resumed",
        "",
        f"`sam2track track` on a video of {found['frames']} frames with three boxes, the third on "
        f"frame {found['late']}, so that a run is {found['expected']} frames of both directions; "
        "`kill -9` at a moment uniform between the first result and the end of tracking; then "
        "`--resume`. Missing: frames of the run that the killed project lacks. Bound: no "
        f"difference, and at most {SLACK} frames more computed than were missing.",
        "",
        "| killed | trials | resumed | frames of `masks/` that differ "
        "| frames of the project that differ | missing, mean | computed - missing, most |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, rows in (
        ("before the first result", before),
        ("while tracking", during),
        ("after the last result", after),
    ):
        good = [r for r in rows if r["resumed"]]
        if good:
            lines.append(
                f"| {name} | {len(rows)} | {len(good)} "
                f"| {sum(r['pictures_differ'] for r in good)} "
                f"| {sum(r['masks_differ'] for r in good)} "
                f"| {np.mean([r['missing'] for r in good]):.0f} "
                f"| {max(r['computed'] - r['missing'] for r in good)} |"
            )
        else:
            lines.append(f"| {name} | {len(rows)} | 0 | | | | |")
    if len(runs) < found["asked"]:
        lines += ["", f"{len(runs)} trials of {found['asked']}: the measurement was cut short."]
    failed = [f"- Not resumed: {r['error']}" for r in runs if not r["resumed"]]
    if failed:
        lines += ["", *failed]
    return lines
