"""Follow objects through videos and microscopy time-lapses with SAM 2."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam2track.batch.running import track_many as track_many
    from sam2track.errors import Sam2TrackError as Sam2TrackError
    from sam2track.image.segmenter import ImageSegmenter as ImageSegmenter
    from sam2track.image.segmenter import segment as segment
    from sam2track.job import track as track
    from sam2track.models.loading import load_model as load_model
    from sam2track.models.model import Model as Model
    from sam2track.project import Project as Project
    from sam2track.prompts import Prompt as Prompt
    from sam2track.prompts import Prompts as Prompts
    from sam2track.tracking.result import FrameResult as FrameResult
    from sam2track.tracking.tracker import Tracker as Tracker

__version__ = "0.1.0"

# Where each public name lives; read when it is first asked for, so that importing the
# package costs nothing.
_HOMES = {
    "FrameResult": "sam2track.tracking.result",
    "ImageSegmenter": "sam2track.image.segmenter",
    "Model": "sam2track.models.model",
    "Project": "sam2track.project",
    "Prompt": "sam2track.prompts",
    "Prompts": "sam2track.prompts",
    "Sam2TrackError": "sam2track.errors",
    "Tracker": "sam2track.tracking.tracker",
    "load_model": "sam2track.models.loading",
    "segment": "sam2track.image.segmenter",
    "track": "sam2track.job",
    "track_many": "sam2track.batch.running",
}

__all__ = [
    "FrameResult",
    "ImageSegmenter",
    "Model",
    "Project",
    "Prompt",
    "Prompts",
    "Sam2TrackError",
    "Tracker",
    "load_model",
    "segment",
    "track",
    "track_many",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
