"""Hashes of weights: pinned where they are published, else as they were at first use."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import shlex
from pathlib import Path

import platformdirs

from sam2track.errors import ModelError
from sam2track.json_text import parsed

__all__ = ["check", "first_use", "record", "records_file", "sha256"]

_log = logging.getLogger(__name__)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def records_file() -> Path:
    """Where first uses are recorded: a JSON file in the user's cache folder."""
    return Path(platformdirs.user_cache_dir("sam2track", appauthor=False)) / "weights.json"


def _records() -> dict[str, dict[str, str]]:
    path = records_file()
    try:
        read = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}, the record of the weights used so far, cannot be read ({error}); "
            f"remove it to begin a new one"
        ) from error
    if not isinstance(read, dict) or not all(isinstance(item, dict) for item in read.values()):
        raise ModelError(f"{path} is no record of weights; remove it to begin a new one")
    return read


def first_use(path: Path) -> tuple[str, str] | None:
    """Return SHA-256 and date of a file's first use, None where it has not been used."""
    held = _records().get(str(path.resolve()), {})
    return (held["sha256"], held.get("since", "")) if "sha256" in held else None


def record(path: Path, digest: str) -> None:
    """Remember a file's hash from now on.

    Where the cache folder cannot be written, a warning says so and nothing is remembered.
    """
    records, target = _records(), records_file()
    since = datetime.datetime.now(datetime.UTC).date().isoformat()
    records[str(path.resolve())] = {"sha256": digest, "since": since}
    beside = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(records, indent=1, sort_keys=True), encoding="utf-8")
        beside.replace(target)
    except OSError as error:
        _log.warning("the hash of %s cannot be remembered in %s: %s", path, target, error)


def check(path: Path, pinned: str = "") -> str:
    """Return a file's SHA-256 once it is what it should be.

    Parameters
    ----------
    path : Path
        A file of weights.
    pinned : str
        The published hash, empty where there is none: then that of the first use counts.

    Raises
    ------
    ModelError
        Where the file is another one.
    """
    digest = sha256(path)
    if pinned:
        if digest != pinned:
            raise ModelError(
                f"{path} is not the published file: its SHA-256 is {digest}, published is {pinned} "
                f"(it has {path.stat().st_size} bytes; a download that broke off?); remove "
                f"{path.resolve()} and download it again, or give weights of your own by a path "
                f"under another name"
            )
        return digest
    known = first_use(path)
    if known is not None and known[0] != digest:
        raise ModelError(
            f"{path} has changed since its first use on {known[1]}: its SHA-256 was {known[0]} and "
            f"is {digest}; if that is meant, say: sam2track models verify --accept "
            f"{shlex.quote(str(path))}"
        )
    return digest
