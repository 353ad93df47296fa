"""What comes of a job, also of one that ends before its time."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from sam2track.errors import SourceError
from sam2track.models.model import Model
from sam2track.project import Project

__all__ = ["CutShort", "Interrupted", "Outcome"]


@dataclass
class Outcome:
    """What came of a job, as ``--json`` prints it."""

    status: str
    source: str
    model: str
    device: str
    precision: str
    frames: int
    frames_computed: int
    seconds: float
    objects: list[dict[str, Any]]
    counts: dict[str, int]
    outputs: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    version: int = 1

    @classmethod
    def of(
        cls,
        status: str,
        project: Project,
        model: Model,
        *,
        source: str,
        frames: int,
        computed: int,
        seconds: float,
        outputs: dict[str, str],
        warnings: list[str],
    ) -> Outcome:
        """What came of a job that tracked with a model into a project."""
        objects = project.summary()
        return cls(
            status=status,
            source=source,
            model=model.name,
            device=str(model.device),
            precision=model.precision,
            frames=frames,
            frames_computed=computed,
            seconds=round(seconds, 3),
            objects=objects,
            counts=dict(Counter(row["name"] or "" for row in objects)),
            outputs=outputs,
            warnings=warnings,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        content = asdict(self)
        return {"version": content.pop("version"), **content}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came; what was done is kept.

    Attributes
    ----------
    outcome : Outcome
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class CutShort(SourceError):
    """A pipe stalled, broke or ended too early; what came is kept, and the outputs are whole.

    Attributes
    ----------
    outcome : Outcome
    """

    def __init__(self, why: str, outcome: Outcome) -> None:
        super().__init__(why)
        self.outcome = outcome
