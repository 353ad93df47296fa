"""What commands that track have in common: the progress bar, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from sam2track.cli.telling import tell, warn
from sam2track.interrupts import request_to_end

if TYPE_CHECKING:
    from sam2track.outcome import Outcome
    from sam2track.outputs import Progress

__all__ = ["Bar", "auto_model", "interrupt_on_sigterm", "many", "print_outcome"]


def interrupt_on_sigterm() -> None:
    """Let a request to end be what Ctrl-C is: what was done is kept.

    So is a terminal that goes away, unless `nohup` keeps that from us.
    """
    signal.signal(signal.SIGTERM, request_to_end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, request_to_end)
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is not None and signal.getsignal(hang_up) is signal.SIG_DFL:
        signal.signal(hang_up, request_to_end)


def auto_model(model: str, device: str) -> tuple[str, str | None]:
    """What ``auto`` comes to, and a line that says so; None where a model was named."""
    if model != "auto":
        return model, None
    from sam2track.models.loading import choose_auto, why_auto

    chosen = choose_auto(device)
    return chosen, why_auto(chosen, device)


def many(count: int, thing: str) -> str:
    """``1 object``, ``2 objects``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def print_outcome(outcome: Outcome, as_json: bool) -> None:
    """Print what came of a job; warnings go to stderr."""
    warn(*outcome.warnings)
    if as_json:
        click.echo(json.dumps(outcome.to_dict(), indent=2))
        return
    rate = outcome.frames_computed / outcome.seconds if outcome.seconds else 0.0
    # More where objects run at different times over the same frames, fewer where some were there.
    computed = f" ({outcome.frames_computed} computed)"
    click.echo(
        f"{outcome.status}: {many(outcome.frames, 'frame')}"
        f"{computed if outcome.frames_computed != outcome.frames else ''}, "
        f"{many(len(outcome.objects), 'object')}, "
        f"{outcome.model} on {outcome.device} in {outcome.precision}, "
        f"{outcome.seconds:.1f} s ({rate:.1f} frames a second, all told)"
    )
    if any(outcome.counts):
        counts = (f"{count} {name or 'unnamed'}" for name, count in outcome.counts.items())
        click.echo(f"  {'counts':<10}  {', '.join(counts)}")
    for name, path in outcome.outputs.items():
        click.echo(f"  {name:<10}  {path}")


class Bar:
    """A progress bar on stderr with the time that is left; quiet where it is no terminal."""

    def __init__(self, first: str | None = None) -> None:
        self.first = first  # a line before all else; not said of a job that never begins
        self.shown = 0.0
        self.open = False

    def update(self, progress: Progress) -> None:
        """Show how far a job is."""
        if self.first is not None:
            tell(self.first)
            self.first = None
        now = time.monotonic()
        last = progress.done == progress.total
        if sys.stderr is None or not sys.stderr.isatty() or (now - self.shown < 0.1 and not last):
            return
        self.shown, self.open = now, True
        rate = progress.done / progress.seconds if progress.seconds else 0.0
        if not progress.total:
            told = f"\r{progress.stage:<9}{progress.done} {rate:6.1f} frames/s "
            tell(told, nl=False)
            return
        part = progress.done / progress.total
        left = (progress.total - progress.done) / rate if rate else 0.0
        count = f"{progress.done}/{progress.total}"
        until = f"{_clock(left)} left " if rate else ""
        rest = f"] {count} {rate:6.1f} frames/s{', ' if until else ' '}{until}"
        wide = _columns() - 1  # a line that wraps is not written over
        room = min(30, wide - len(rest) - 10)
        if room >= 5:
            told = f"{progress.stage:<9}[{'#' * round(room * part):<{room}}{rest}"
        else:
            told = f"{progress.stage} {count} {until}"[: max(wide, 0)]
        tell(f"\r{told}", nl=last)
        if last:
            self.open = False

    def close(self) -> None:
        """End the line."""
        if self.open:
            tell()
            self.open = False


def _columns() -> int:
    """Return how wide the terminal is that standard error is; standard output may be a file."""
    wide = 0
    with suppress(OSError, ValueError):  # it is no terminal of the system's
        wide = os.get_terminal_size(sys.stderr.fileno()).columns
    # Of some terminals nothing is known; what the environment says goes before all.
    return shutil.get_terminal_size((wide or 80, 24)).columns


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
