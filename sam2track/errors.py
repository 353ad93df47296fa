"""Every error that sam2track raises on purpose.

::

    Sam2TrackError
    ├── UsageError            what was asked for cannot be (also a ValueError)
    │   ├── PromptError       a prompt, its grammar or its file
    │   └── UnknownModelError no model of that name
    ├── SourceError           a video or picture cannot be read (also an OSError)
    ├── ModelError            weights that do not fit or cannot be loaded
    │   └── WeightsNotFoundError
    ├── DeviceError           a device or precision that is not here
    │   └── OutOfMemoryError  (also a MemoryError)
    ├── ProjectError          a project that is damaged, foreign or in use
    │   ├── ProjectExistsError
    │   └── ProjectInUseError
    └── OutputError           something cannot be written (also an OSError)

A message says what was given, what is allowed and what to do next, in one line.
``exit_code`` is the status with which the command line ends.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "DeviceError",
    "ModelError",
    "OutOfMemoryError",
    "OutputError",
    "ProjectError",
    "ProjectExistsError",
    "ProjectInUseError",
    "PromptError",
    "Sam2TrackError",
    "SourceError",
    "UnknownModelError",
    "UsageError",
    "WeightsNotFoundError",
]


class Sam2TrackError(Exception):
    """Base of all errors of this package."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """The message, in one line whatever is quoted in it: arrays are written over several."""
        lines = super().__str__().splitlines()
        return lines[0] if len(lines) == 1 else " ".join(part.strip() for part in lines)


class UsageError(Sam2TrackError, ValueError):
    """What was asked for cannot be."""

    exit_code = 2


class PromptError(UsageError):
    """A prompt that cannot be, or a prompts file that breaks its schema."""


class UnknownModelError(UsageError):
    """No model of that name."""


class SourceError(Sam2TrackError, OSError):
    """A video, folder or stack that cannot be read."""


class ModelError(Sam2TrackError):
    """Weights that do not fit or cannot be loaded."""


class WeightsNotFoundError(ModelError, FileNotFoundError):
    """The weights of a known model are not on this machine."""


class DeviceError(Sam2TrackError, RuntimeError):
    """A device or precision that is not here."""


class OutOfMemoryError(DeviceError, MemoryError):
    """A device has not enough memory, whatever was given up for it."""


class ProjectError(Sam2TrackError):
    """A project that is damaged, foreign or in use."""


class ProjectExistsError(ProjectError):
    """The output folder holds a project already."""

    exit_code = 2


class ProjectInUseError(ProjectError):
    """Another process writes to the project."""


class OutputError(Sam2TrackError, OSError):
    """Something cannot be written."""
