"""Which models there are, under which names, and where their weights lie."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from sam2track.errors import ModelError, UnknownModelError, WeightsNotFoundError

__all__ = ["ZOO", "ZooModel", "find_weights", "resolve", "weights_on_disk"]


@dataclass(frozen=True)
class ZooModel:
    """A model that is known by name.

    Attributes
    ----------
    name : str
        Canonical name, as ``sam2.1-large``.
    parameters : float
        Millions of parameters.
    file, repository : str
        Weights' file name and hub repository; empty for an embedded model.
    sha256 : str
        Of the published file, empty for an embedded model.
    """

    name: str
    parameters: float
    file: str = ""
    repository: str = ""
    sha256: str = ""


def _published(generation: str, size: str, parameters: float, sha256: str) -> ZooModel:
    underscored = size.replace("-", "_")
    return ZooModel(
        name=f"sam{generation}-{size}",
        parameters=parameters,
        file=f"sam{generation}_hiera_{underscored}.pt",
        repository=f"facebook/sam{generation}-hiera-{size}",
        sha256=sha256,
    )


ZOO: dict[str, ZooModel] = {
    model.name: model
    for model in (
        ZooModel("nano", 4.4),
        _published(
            "2.1", "tiny", 38.9, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"
        ),
        _published(
            "2.1", "small", 46.0, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"
        ),
        _published(
            "2.1",
            "base-plus",
            80.8,
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        _published(
            "2.1",
            "large",
            224.4,
            "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        ),
        _published(
            "2", "tiny", 38.9, "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"
        ),
        _published(
            "2", "small", 46.0, "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"
        ),
        _published(
            "2",
            "base-plus",
            80.8,
            "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        ),
        _published(
            "2", "large", 224.4, "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"
        ),
    )
}


def _plain(name: str) -> str:
    """Reduce the ways people write a name to one: ``facebook/sam2.1_hiera_b+.pt``."""
    plain = name.lower().removeprefix("facebook/").removesuffix(".pt")
    plain = plain.replace("_", "-").replace("-hiera", "").replace("sam-2", "sam2")
    plain = plain.replace("base+", "base-plus").replace("-b+", "-base-plus")
    for short, size in {"t": "tiny", "s": "small", "l": "large"}.items():
        if plain.endswith(f"-{short}"):
            plain = plain[: -len(short)] + size
    return plain if plain in ZOO or plain.startswith("sam2") else f"sam2.1-{plain}"


def resolve(name: str) -> ZooModel:
    """Find a model by any usual spelling of its name.

    Raises
    ------
    UnknownModelError
        With the nearest name and the list of all.
    """
    plain = _plain(name)
    if plain in ZOO:
        return ZOO[plain]
    near = difflib.get_close_matches(plain, ZOO, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownModelError(f"unknown model {name!r}; {hint}known are {', '.join(ZOO)}, or a file")


def weights_on_disk(model: ZooModel) -> Path | None:
    """Where a model's weights lie: in the package, on ``SAM2TRACK_MODELS``, in the hub's cache."""
    if not model.repository:
        folder = resources.files("sam2track.models") / "weights"
        path = Path(str(folder / f"{model.name}.safetensors"))
        return path if path.is_file() else None
    for folder_name in os.environ.get("SAM2TRACK_MODELS", "").split(os.pathsep):
        if folder_name and (found := Path(folder_name) / model.file).is_file():
            return found
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model.repository, model.file)
    return Path(cached) if isinstance(cached, str) else None


def find_weights(model: ZooModel) -> Path:
    """Return a model's weights, downloading them where they are not on this machine.

    Raises
    ------
    WeightsNotFoundError
        Where they are not here and cannot be had, naming the file and where to put it.
    """
    found = weights_on_disk(model)
    if found is not None:
        return found
    if not model.repository:
        raise ModelError(f"the weights of {model.name} are missing from this installation")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model.repository, model.file))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise WeightsNotFoundError(
            f"the weights of {model.name} are not on this machine and cannot be downloaded; "
            f"put {model.file} of {model.repository} into a folder "
            f"and name that folder in SAM2TRACK_MODELS"
        ) from error
