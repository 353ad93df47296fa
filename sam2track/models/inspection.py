"""What weights hold and whether they are what they should be, for people."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sam2track.errors import UnknownModelError, WeightsNotFoundError
from sam2track.models import files, trust
from sam2track.models.loading import build_checked, locate, recognise, size_of
from sam2track.models.weights import pinned, weights_on_disk
from sam2track.models.zoo import ZOO, ZooModel, resolve

__all__ = ["described", "verified"]


def _found(model: str | os.PathLike[str]) -> tuple[Path | None, ZooModel | None]:
    """Path and zoo entry of a name or a file; nothing is downloaded."""
    if isinstance(model, os.PathLike):
        return Path(model), None
    try:
        entry = resolve(model)
    except UnknownModelError:
        return locate(model)
    return weights_on_disk(entry), entry


def described(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Say what is known of a model and what its weights hold.

    Parameters
    ----------
    model : str or path
        A known model's name, or a checkpoint.

    Returns
    -------
    dict
        What the zoo knows; ``path`` is None where the weights are not here. With weights:
        ``layout``, ``tensors``, ``parameters`` (millions), ``image_size``, ``for_video`` and
        ``files`` with their SHA-256.

    Raises
    ------
    ModelError
        Where there are weights that cannot be loaded.
    """
    path, entry = _found(model)
    known: dict[str, Any] = asdict(entry) if entry else {"name": Path(model).name}
    if path is None:
        return known | {"path": None}
    module, weights = build_checked(path, entry)
    count = sum(value.numel() for value in weights.state.values())
    return known | {
        "path": str(path),
        "architecture": size_of(recognise(weights, path)),
        "layout": weights.layout,
        "tensors": len(weights.state),
        "parameters": round(count / 1e6, 1),
        "image_size": module.image_size,
        "for_video": not weights.image_only,
        "files": [f"{file.name} {trust.sha256(file)}" for file in files.files_of(path)],
    }


def verified(model: str | os.PathLike[str], *, accept: bool = False) -> list[str]:
    """Check weights and say, a line for each file, by what they were checked.

    Parameters
    ----------
    model : str or path
        A known model's name, or a checkpoint.
    accept : bool
        Take files without a published hash as they are now, also where they have changed.

    Raises
    ------
    ModelError
        Where a file is not what it should be, or cannot be loaded.
    WeightsNotFoundError
        Where a known model's weights are not here.
    """
    path, entry = _found(model)
    if path is None:
        raise WeightsNotFoundError(
            f"the weights of {model} are not on this machine, so there is nothing to verify; get "
            f"them with `sam2track models download {model}`"
        )
    held = files.files_of(path)
    if accept:
        files.read(path)  # what cannot be read is not accepted
        for file in held:
            if not (entry and pinned(entry, file)):
                trust.record(file, trust.sha256(file))
    before = {file: trust.first_use(file) for file in held}
    build_checked(path, entry)
    lines = []
    for file in held:
        digest = trust.sha256(file)
        published = next((m.name for m in ZOO.values() if m.sha256 == digest), None)
        if published:
            why = f"the published file of {published}"
        elif entry is not None and not entry.repository:
            why = "part of this installation"
        elif accept:
            why = "accepted as it is now"
        elif (known := before[file]) is not None:
            why = f"as at its first use on {known[1]}"
        else:
            why = "first use: recorded, and checked from now on; no hash is published for it"
        lines.append(f"{file}: fine, {why}, SHA-256 {digest}")
    return lines
