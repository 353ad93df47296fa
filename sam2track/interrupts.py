"""Ctrl-C, and requests to end, that come at odd moments."""

from __future__ import annotations

import _thread
import atexit
import math
import os
import signal
import sys
import threading
import time
from typing import Any

__all__ = ["ending", "hear_again", "request_to_end"]

# SIGHUP is not known everywhere.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


_TOGETHER = 0.5  # seconds
_last = -math.inf  # when the last request came


def request_to_end(*_: object) -> None:
    """Handle a signal: raise KeyboardInterrupt, once for those that come together.

    A terminal and a job's supervisor may both ask, one a moment after the other, and what keeps
    what was done is not to be interrupted by the second.
    """
    global _last
    now = time.monotonic()
    if now - _last >= _TOGETHER:
        _last = now
        raise KeyboardInterrupt


def hear_again() -> None:
    """Let Ctrl-C that Python swallows be heard a moment later.

    What is raised in a callback of a weak reference, or while something is let go, reaches nobody:
    Python prints it and goes on, and whoever pressed the keys waits for an end that does not come.
    """
    usual = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            global _last
            _last = -math.inf
            threading.Thread(target=_again, daemon=True).start()
        else:
            usual(unraisable)

    sys.unraisablehook = hook


def _again() -> None:
    time.sleep(0.01)  # or it would be raised within the same callback
    # What was swallowed may have been a request to end, of a process that is to ignore Ctrl-C.
    heard = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    number = signal.SIGINT if heard else signal.SIGTERM
    if hasattr(signal, "pthread_kill"):  # which also ends what the main thread waits for
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(number)


def ending(status: int) -> None:
    """Say that all is done but the end of Python, which a signal may make shorter and no other.

    A second Ctrl-C there would print a traceback, or end the process with another status.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(status))
    # Last of all Python forgets its handlers, and libraries take a while to be taken down.
    atexit.register(_ignore)


def _ignore() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
