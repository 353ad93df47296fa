"""What came of many videos, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sam2track.batch.manifest import Video
from sam2track.table import TableWriter
from sam2track.terminal import printable

__all__ = ["Line", "Summary"]

_SHOWN = ("line", "source", "status", "attempts", "frames", "objects", "seconds")


@dataclass(frozen=True)
class Line:
    """One video.

    Attributes
    ----------
    line : int
        Of the manifest.
    source, output : str
    status : str
        "done", "skipped" (it was done before), "failed", "interrupted" or "waiting".
    attempts : int
        How often it was tried this time.
    frames, objects : int
    seconds : float
        That the last try took.
    outputs : str
        What was written, by name.
    reason : str
        Why it failed.
    model : str
        What it was tracked with.
    warnings : tuple of str
        What else is worth knowing of it.
    """

    line: int
    source: str
    output: str
    status: str
    attempts: int = 0
    frames: int = 0
    objects: int = 0
    seconds: float = 0.0
    outputs: str = ""
    reason: str = ""
    model: str = ""
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, video: Video, status: str, outcome: dict[str, Any], **more: Any) -> Line:
        """Return the line of a video and of what ``--json`` says of it."""
        return cls(
            video.line,
            video.source,
            video.output,
            status,
            frames=outcome.get("frames", 0),
            objects=len(outcome.get("objects", ())),
            seconds=outcome.get("seconds", 0.0),
            outputs=" ".join(outcome.get("outputs", ())),
            model=outcome.get("model", ""),
            warnings=tuple(map(str, outcome.get("warnings", ()))),
            **more,
        )


@dataclass(frozen=True)
class Summary:
    """All videos, in the order of the manifest."""

    lines: Sequence[Line]

    @property
    def failed(self) -> list[Line]:
        """Those that failed."""
        return [line for line in self.lines if line.status == "failed"]

    def counts(self) -> dict[str, int]:
        """How many there are of each status."""
        found: dict[str, int] = {}
        for line in self.lines:
            found[line.status] = found.get(line.status, 0) + 1
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        return {"version": 1, "counts": self.counts(), "videos": [asdict(x) for x in self.lines]}

    def write(self, path: Path) -> None:
        """Write it as CSV.

        Raises
        ------
        OutputError
            Where that cannot be done.
        """
        names = [item.name for item in fields(Line)]
        with TableWriter(path, names) as table:
            for line in self.lines:
                cells = asdict(line) | {"warnings": "; ".join(line.warnings)}
                table.write_cells([str(cells[name]) for name in names])

    def text(self) -> str:
        """Return it for people: aligned columns."""
        rows = [
            _SHOWN,
            *(tuple(printable(getattr(x, name)) for name in _SHOWN) for x in self.lines),
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(len(_SHOWN))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if name in ("source", "status") else cell.rjust(width)
                for name, cell, width in zip(_SHOWN, row, widths, strict=True)
            ).rstrip()
            for row in rows
        )
