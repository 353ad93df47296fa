"""Where the weights of known models lie, and how they are fetched."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from sam2track.errors import ModelError, Sam2TrackError, WeightsNotFoundError
from sam2track.models.zoo import ZooModel

__all__ = [
    "address",
    "find_folder",
    "find_weights",
    "pinned",
    "search_path",
    "weights_on_disk",
]

_log = logging.getLogger(__name__)

_FOLDER = ("config.json", "model.safetensors")
_SHARDED = "model.safetensors.index.json"


def search_path() -> list[Path]:
    """Folders of ``SAM2TRACK_MODELS``, in order."""
    return [Path(name) for name in os.environ.get("SAM2TRACK_MODELS", "").split(os.pathsep) if name]


def weights_on_disk(model: ZooModel) -> Path | None:
    """Where a model's weights lie: in the package, on ``SAM2TRACK_MODELS``, in the hub's cache.

    Meta's file comes first, then safetensors of the same name, then a folder in the layout of
    Transformers.
    """
    if not model.repository:
        folder = resources.files("sam2track.models") / "weights"
        path = Path(str(folder / f"{model.name}.safetensors"))
        return path if path.is_file() else None
    stem = model.file.removesuffix(".pt")
    for place in search_path():
        for name in (model.file, f"{stem}.safetensors"):
            if (place / name).is_file():
                return place / name
        inside = place / model.repository.split("/")[1]
        told = [name for name in (*_FOLDER, _SHARDED) if (inside / name).is_file()]
        if len(told) > 1 and told[0] == _FOLDER[0]:
            return inside
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model.repository, model.file)
    if isinstance(cached, str):
        return Path(cached)
    both = [try_to_load_from_cache(model.repository, name) for name in _FOLDER]
    if all(isinstance(found, str) for found in both):
        return Path(str(both[0])).parent
    return None


def pinned(model: ZooModel, path: Path) -> str:
    """The hash that a model's weights must have, empty where none is published for that file."""
    return model.sha256 if path.name == model.file else ""


def find_weights(model: ZooModel) -> Path:
    """Return a model's weights, fetched into the hub's cache where they are not on this machine.

    Raises
    ------
    WeightsNotFoundError
        Where they are not here and cannot be had, naming the file, its address and where to
        put it.
    ModelError
        Where embedded ones are not here.
    """
    found = weights_on_disk(model)
    if found is not None:
        return found
    if not model.repository:
        raise ModelError(
            f"the weights of {model.name} are missing from this installation; install sam2track "
            "again"
        )
    from huggingface_hub import hf_hub_download

    try:
        with _quiet():
            _reach(model.repository, model.file, f", about {model.megabytes} MB")
            return Path(hf_hub_download(model.repository, model.file))
    except Exception as error:  # of the hub, of its client and of the file system
        raise WeightsNotFoundError(
            f"the weights of {model.name} are not on this machine and cannot be downloaded "
            f"({_reason(error)}); put {model.file}, which is at "
            f"{address(model)}, into {_put_where()}"
        ) from error


def address(model: ZooModel) -> str:
    """Where a model's weights are on the hub."""
    from huggingface_hub import hf_hub_url

    return str(hf_hub_url(model.repository, model.file))


def find_folder(repository: str) -> Path:
    """Return the folder of a hub repository in the layout of Transformers, fetching it if need be.

    Raises
    ------
    WeightsNotFoundError
        Where it cannot be had.
    """
    from huggingface_hub import snapshot_download

    wanted = ["config.json", "*.safetensors", "*.safetensors.index.json"]
    try:
        with contextlib.suppress(Exception):  # not there yet: it is asked for below
            found = Path(
                snapshot_download(repository, allow_patterns=wanted, local_files_only=True)
            )
            if any(found.glob("*.safetensors")):
                return found
        with _quiet():
            _reach(repository, "config.json")
            return Path(snapshot_download(repository, allow_patterns=wanted))
    except Exception as error:  # of the hub, of its client and of the file system
        raise WeightsNotFoundError(
            f"{repository} is neither a file, nor a folder, nor to be had from the hub "
            f"({_reason(error)}); `sam2track models list` names the models that are known"
        ) from error


def _reach(repository: str, file: str, size: str = "") -> None:
    """Say what is fetched and look whether it is there: the hub itself tries for half a minute."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repository, file)
    if not constants.HF_HUB_OFFLINE:
        _log.warning("fetching %s%s", url, size)
    get_hf_file_metadata(url)


def _put_where() -> str:
    places = search_path()
    if places:
        return f"{places[0]} (it is in SAM2TRACK_MODELS)"
    return "a folder and name that folder in SAM2TRACK_MODELS"


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words: the outer ones of the hub run over several lines."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    while (inner := error.__cause__ or error.__context__) is not None:
        if isinstance(inner, Sam2TrackError):  # what was tried before
            break
        error = inner
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the hub's lines about each try to itself; its progress bar stays."""
    from huggingface_hub.utils import logging as of_hub

    kept = of_hub.get_verbosity()
    of_hub.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        of_hub.set_verbosity(kept)
