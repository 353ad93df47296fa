"""Packages that are not installed with everyone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sam2track.errors import UsageError

__all__ = ["needs"]


@contextmanager
def needs(package: str, extra: str, why: str) -> Iterator[None]:
    """Say which extra brings a package that an import within does not find.

    Raises
    ------
    UsageError
        Where it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"{why}, and {package} is not installed; pip install 'sam2track[{extra}]' brings it"
        ) from error
