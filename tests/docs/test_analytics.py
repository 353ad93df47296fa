"""The worked example of docs/analytics.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parent.parent.parent / "docs" / "analytics.md"


def test_the_counting_example_prints_what_the_page_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = DOC.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (expected,) = re.findall(r"It prints\n\n```text\n(.*?)```", page, re.DOTALL)
    known: dict[str, object] = {"__name__": "example"}
    exec(compile(code, str(DOC), "exec"), known)
    assert capsys.readouterr().out == expected
    tracker = known["tracker"]
    # Those that were there from the start were refreshed each time, not begun again.
    assert tracker.prompted(1) == (0, 8, 16, 24, 32)
