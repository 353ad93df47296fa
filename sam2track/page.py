"""How the report's page is put together: markup, style and script, and data as data."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from string import Template
from typing import Any, TextIO

__all__ = ["write_page"]

_ASSETS = Path(__file__).parent / "assets"
_CHUNK = 3 * 2**18  # bytes that become base64 at once; whole groups of three
_PLAYER = '<video id="video" controls muted playsinline preload="auto"></video>'


def write_page(page: TextIO, title: str, content: dict[str, Any], film: Path | None) -> None:
    """Write a page that needs no other file.

    Parameters
    ----------
    page : text file
    title : str
    content : dict
        JSON values for ``assets/report.js``.
    film : Path or None
        The overlay, an MP4; read piece by piece.
    """
    names = ("report.html", "report.css", "report.js", "uPlot.iife.min.js", "uPlot.min.css")
    markup, style, program, library, library_style = (
        (_ASSETS / name).read_text(encoding="utf-8") for name in names
    )
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in (library, program))
    fills = {
        "policy": f"default-src 'none'; img-src data:; media-src blob:; "
        f"style-src 'unsafe-inline'; script-src {hashes}",
        "title": html.escape(title),
        "style": library_style + style,
        "player": "" if film is None else _PLAYER,
        # No "<" of the data can end its element.
        "data": json.dumps(content, separators=(",", ":"), allow_nan=False)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e"),
        "library": library,
        "program": program,
    }
    before, after = (Template(half) for half in markup.split("$overlay"))
    page.write(before.substitute(fills))
    if film is not None:
        with film.open("rb") as packed:
            while piece := packed.read(_CHUNK):
                page.write(base64.b64encode(piece).decode())
    page.write(after.substitute(fills))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
