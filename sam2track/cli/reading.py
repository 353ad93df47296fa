"""What commands that read a project have in common."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam2track.cli.progress import Bar
from sam2track.cli.telling import warn
from sam2track.database import companions
from sam2track.errors import ProjectError, UsageError
from sam2track.terminal import printable

if TYPE_CHECKING:
    from sam2track.project import Project

__all__ = [
    "check_apart",
    "check_each_apart",
    "counted",
    "ids",
    "print_json",
    "print_table",
    "results_of",
]


@contextmanager
def results_of(path: Path) -> Iterator[Project]:
    """Open a .s2t file or the folder that holds one; refuse a project without results.

    Raises
    ------
    ProjectError
        Where there is no project, or nothing in it.
    """
    from sam2track.project import Project

    with Project.open(path) as project:
        warn(project.warning)
        if not project.frames:
            raise ProjectError(f"{project.path} holds no results yet; track first")
        yield project


def check_apart(output: Path, *others: str | Path | None) -> None:
    """Refuse to write over what is read, or among the pictures of a folder that is.

    Raises
    ------
    UsageError
        Where `output` is one of the others, or a part of one.
    """
    from sam2track.frames.opening import is_part

    for other in (Path(path) for path in others if path):
        try:
            same = output.exists() and other.samefile(output)
            place = Path(os.path.realpath(output))
            beside = place in companions(Path(os.path.realpath(other))) or is_part(output, other)
        except (OSError, ValueError):
            continue
        if same or beside:
            what = "what is read" if same else f"a part of {other}"
            raise UsageError(f"{output} is {what}; give another output")


def check_each_apart(outputs: Iterable[Path | None], *others: str | Path | None) -> None:
    """As `check_apart`, of several outputs, each of which has a place of its own.

    Raises
    ------
    UsageError
        Also where two are the same: the second would replace the first.
    """
    wanted = [output for output in outputs if output is not None]
    if len({os.path.realpath(output) for output in wanted}) < len(wanted):
        raise UsageError(f"two outputs are {wanted[-1]}; give each its own")
    for output in wanted:
        check_apart(output, *others)


@contextmanager
def counted(stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far a stage is; what is given is called once for each thing done."""
    from sam2track.outputs import Progress

    bar, done, began = Bar(), 0, time.monotonic()

    def step(_: int) -> None:
        nonlocal done
        done += 1
        bar.update(Progress(stage, min(done, total), total, time.monotonic() - began))

    try:
        yield step
    finally:
        bar.close()


def ids(text: str | None, known: Iterable[int]) -> list[int] | None:
    """Parse ``1,4,7``; None where nothing was said.

    Raises
    ------
    UsageError
        Where an id is no number or not known.
    """
    if text is None:
        return None
    there = {str(number): number for number in sorted(known)}
    try:
        return [there[part.strip()] for part in text.split(",")]
    except KeyError as error:
        raise UsageError(
            f"object {error.args[0]!r:.60} is not in the project; it holds "
            f"{', '.join([*there][:20])}"
        ) from None


def print_json(content: dict[str, Any]) -> None:
    """Print an object for programs, with its version."""
    click.echo(json.dumps({"version": 1, **content}, indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns that stand below each other; numbers to the right."""
    text = [[printable(v) for v in row] for row in rows]
    wide = [max(map(len, column)) for column in zip(header, *text, strict=True)]
    for row in (list(header), *text):
        line = "  ".join(
            cell.rjust(w) if cell[:1].isdigit() or cell[:1] == "-" else cell.ljust(w)
            for cell, w in zip(row, wide, strict=True)
        )
        click.echo(line.rstrip())
