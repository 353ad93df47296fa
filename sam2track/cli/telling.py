"""What is said on standard error."""

from __future__ import annotations

import os
import sys

import click

from sam2track.terminal import one_line

__all__ = ["say_no_more", "tell", "warn"]


def tell(text: str = "", *, nl: bool = True) -> None:
    """Say something on standard error; where that cannot be written, work goes on without.

    Its reader may be gone, its disk full or its terminal closed: that is no reason to lose a night
    of tracking.
    """
    try:
        click.echo(text, nl=nl, err=True)
    except OSError:
        say_no_more(sys.stderr.fileno())


def warn(*problems: object) -> None:
    """Say on standard error what is not as it should be, a line each; nothing of an empty text."""
    for problem in problems:
        if problem:
            tell(f"warning: {one_line(problem)}")


def say_no_more(descriptor: int) -> None:
    """Let what is left for a stream go, which would fail again at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
