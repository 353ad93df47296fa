"""The progress bar, on terminals of all widths."""

from __future__ import annotations

import io

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
