"""Which models there are, what is known of them, and the names that people give them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from sam2track.errors import UnknownModelError

__all__ = ["ZOO", "ZooModel", "resolve", "smaller"]


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
    megabytes : int
        About the size of the file, in 10**6 bytes.
    speed : float or None
        Published frames a second of the official predictor on an A100, one object.
    accuracy : float or None
        Published J&F on SA-V test, in percent.
    memory : float
        Main memory in GB (10**9 bytes) that following one object takes at the model's own
        image size in float32, all of the process: measured by ``scripts/model_memory.py`` up to
        small, estimated for base-plus and large.
    licence : str
        Of the weights.
    """

    name: str
    parameters: float
    file: str = ""
    repository: str = ""
    sha256: str = ""
    megabytes: int = 0
    speed: float | None = None
    accuracy: float | None = None
    memory: float = 0.0
    licence: str = "Apache-2.0"


# Millions of parameters, size of the file, memory.
_SIZES = {
    "tiny": (38.9, 156, 1.5),
    "small": (46.0, 184, 1.5),
    "base-plus": (80.8, 324, 2.0),
    "large": (224.4, 898, 3.5),
}
# Speed, accuracy and SHA-256: Meta's tables, and what several public projects pin alike.
_PUBLISHED = {
    ("2.1", "tiny"): (
        *(91.2, 76.5),
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
    ("2.1", "small"): (
        *(84.8, 76.6),
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    ("2.1", "base-plus"): (
        *(64.1, 78.2),
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    ("2.1", "large"): (
        *(39.5, 79.5),
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
    ("2", "tiny"): (
        *(91.5, 75.0),
        "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
    ),
    ("2", "small"): (
        *(85.6, 74.9),
        "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
    ),
    ("2", "base-plus"): (
        *(64.8, 74.7),
        "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
    ),
    ("2", "large"): (
        *(39.7, 76.0),
        "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
    ),
}


def _published(generation: str, size: str) -> ZooModel:
    speed, accuracy, sha256 = _PUBLISHED[generation, size]
    parameters, megabytes, memory = _SIZES[size]
    return ZooModel(
        name=f"sam{generation}-{size}",
        parameters=parameters,
        file=f"sam{generation}_hiera_{size.replace('-', '_')}.pt",
        repository=f"facebook/sam{generation}-hiera-{size}",
        sha256=sha256,
        megabytes=megabytes,
        speed=speed,
        accuracy=accuracy,
        memory=memory,
    )


ZOO: dict[str, ZooModel] = {
    model.name: model
    for model in (
        ZooModel("nano", 4.4, megabytes=9, memory=0.7),
        *(_published(*which) for which in _PUBLISHED),
    )
}


def _plain(name: str) -> str:
    """Reduce the ways people write a name to one: ``facebook/sam2.1_hiera_b+.pt``."""
    plain = name.strip().lower().removeprefix("https://huggingface.co/").removeprefix("facebook/")
    plain = re.sub(r"\.(pt|pth|safetensors|yaml)$", "", plain)
    plain = re.sub(r"[\s_]+", "-", plain).replace("-hiera", "").replace("sam-2", "sam2")
    plain = plain.replace("sam2.0-", "sam2-").replace("sam21-", "sam2.1-")
    plain = re.sub(r"base-?\+|(?<=-)b\+|^b\+$|baseplus|base$", "base-plus", plain)
    plain = plain.replace("base-plus-plus", "base-plus")
    for short, size in {"t": "tiny", "s": "small", "l": "large"}.items():
        if plain == short or plain.endswith(f"-{short}"):
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
    # With and without what the reduction put before it.
    near = [
        *difflib.get_close_matches(name.lower(), ZOO, n=1, cutoff=0.6),
        *difflib.get_close_matches(plain, ZOO, n=1, cutoff=0.7),
    ]
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownModelError(f"unknown model {name!r}; {hint}known are {', '.join(ZOO)}, or a file")


def smaller(name: str) -> str | None:
    """Name the next smaller model of the zoo; None where there is none, or none is known."""
    if name not in ZOO or name == "nano":
        return None
    sizes = list(_SIZES)
    generation, size = name.split("-", 1)
    at = sizes.index(size)
    return f"{generation}-{sizes[at - 1]}" if at else "nano"
