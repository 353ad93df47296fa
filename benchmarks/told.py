"""What cannot be measured is told in one line, before anything is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

__all__ = ["check", "in_one_line", "kept"]


@contextmanager
def in_one_line() -> Iterator[None]:
    """Let an error of the package end a command as one line."""
    from sam2track.errors import Sam2TrackError

    try:
        yield
    except Sam2TrackError as error:
        raise click.ClickException(str(error)) from error


def check(device: str, models: Sequence[str], image_size: int) -> None:
    """Raise a ``ClickException`` where there is no such device, model or size."""
    with in_one_line():
        from sam2track.models.choices import check_device, check_image_size, check_model
        from sam2track.models.loading import choose_auto

        check_device(device)
        check_image_size(image_size)
        for model in models:
            check_model(model)
        choose_auto(device)


def kept(path: Path) -> dict[str, Any]:
    """Return the results in a file, none where there is none; a ``ClickException`` of others."""
    if not path.is_file():
        return {"cases": {}}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["cases"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise click.ClickException(
            f"{path} holds no results of this benchmark; remove it, or name another --out"
        ) from error
    return found
