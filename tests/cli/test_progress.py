"""The progress bar, on terminals of all widths."""

from __future__ import annotations

import io
import os
import sys

import pytest

from sam2track.cli.progress import Bar
from sam2track.outputs import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [1, 20, 60, 80, 200])
def test_the_bar_fits_in_a_line(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    bar = Bar()
    for done in (0, 50_000, 100_000):
        bar.shown = 0.0
        bar.update(Progress("tracking", done, 100_000, 1e5))
    bar.close()
    lines = terminal.getvalue().rstrip("\n").split("\r")[1:]
    assert len(lines) == 3 and max(map(len, lines)) < max(columns, 2)
    assert ("#" in lines[1]) == (columns >= 80)
    assert columns < 60 or ("left" in lines[1] and "left" not in lines[0])


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
@pytest.mark.parametrize(("columns", "most"), [(50, 49), (0, 79)])
def test_the_bar_fits_where_standard_output_is_a_file(
    monkeypatch: pytest.MonkeyPatch, columns: int, most: int
) -> None:
    import termios

    monkeypatch.delenv("COLUMNS", raising=False)
    shown, ours = os.openpty()
    termios.tcsetwinsize(ours, (24, columns))
    with os.fdopen(shown, "rb", buffering=0) as screen, os.fdopen(ours, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        bar = Bar()
        bar.update(Progress("tracking", 50_000, 100_000, 1e5))
        bar.close()
        told = screen.read(1000).decode().strip()
    assert "50000/100000" in told and len(told) <= most
    assert ("#" in told) == (columns == 0)
