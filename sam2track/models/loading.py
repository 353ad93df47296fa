"""From a name, a file or a module to a model that is ready to run."""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sam2track.errors import (
    DeviceError,
    ModelError,
    UnknownModelError,
    UsageError,
    WeightsNotFoundError,
)
from sam2track.faults import explained
from sam2track.models import files, trust
from sam2track.models.architecture import ARCHITECTURES, Architecture, build
from sam2track.models.choices import check_device, check_image_size, check_precision, is_there
from sam2track.models.model import Model
from sam2track.models.rates import bf16_pays
from sam2track.models.renaming import VIDEO_ONLY
from sam2track.models.weights import find_folder, find_weights, pinned, weights_on_disk
from sam2track.models.zoo import ZOO, ZooModel, resolve

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

__all__ = [
    "build_checked",
    "choose_auto",
    "load_model",
    "locate",
    "recognise",
    "size_of",
    "stored_model",
    "why_auto",
]

_log = logging.getLogger(__name__)


def _pick_device(device: str) -> torch.device:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    check_device(device)
    chosen = torch.device(device)
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise DeviceError(
                "cuda was asked for but torch finds no CUDA device; take the device cpu or auto, "
                "or install a driver that fits this torch"
            )
        if chosen.index is not None and chosen.index >= count:
            raise DeviceError(f"{device} was asked for but there are {count} CUDA devices")
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("mps was asked for but is not available; take the device cpu or auto")
    return chosen


def _pick_precision(
    precision: str, device: torch.device, image_size: int, *, own_size: bool = True
) -> str:
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("fp16 was asked for on a CPU, which is slow at it; use fp32 or bf16")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    if device.type == "cpu" and image_size >= (512 if own_size else 256):
        # On small squares little is gained; what is another size than a model's own is not exact
        # in any case.
        return "bf16" if bf16_pays() else "fp32"
    return "fp32"


def choose_auto(device: str = "auto") -> str:
    """Name the best SAM 2.1 on this disk that the device carries well, else ``nano``.

    A CPU carries tiny and small; a GPU those for which it has the memory.
    """
    chosen = _pick_device(device)
    for size in ("large", "base-plus", "small", "tiny"):
        model = ZOO[f"sam2.1-{size}"]
        if _carries(chosen, model) and weights_on_disk(model) is not None:
            return model.name
    return "nano"


def why_auto(name: str, device: str = "auto") -> str:
    """Say in one line why ``choose_auto`` took a model."""
    kind = _pick_device(device).type
    if name == "nano":
        return (
            f"model: nano, the embedded one, since no SAM 2.1 that {kind} carries well is on this "
            f"machine; `sam2track models download sam2.1-small` gets one"
        )
    return f"model: {name}, the best one on this machine that {kind} carries well"


def _carries(device: torch.device, model: ZooModel) -> bool:
    if device.type == "cpu":
        return model.parameters < 50
    if device.type == "cuda":
        total: int = torch.cuda.get_device_properties(device).total_memory
        return model.memory * 1e9 <= total
    return True


def load_model(
    model: str | os.PathLike[str] | SAM2Base | Model = "auto",
    *,
    device: str = "auto",
    precision: str = "auto",
    image_size: int | None = None,
) -> Model:
    """Load a model.

    Parameters
    ----------
    model : str, path, SAM2Base or Model
        A name (``nano``, ``sam2.1-large`` and the usual other spellings, ``auto``), a
        checkpoint of Meta's or of Transformers' layout, a hub id, or modules already built,
        which are used as they are, as a Model is.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. What is asked for is used or
        refused, never replaced.
    precision : str
        ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    image_size : int, optional
        Side of the square that frames are resized to, a multiple of 64; less is faster and
        not exact.

    Returns
    -------
    Model

    Raises
    ------
    UnknownModelError, WeightsNotFoundError, ModelError, DeviceError, UsageError
    """
    check_precision(precision)
    image_size = check_image_size(image_size)
    if isinstance(model, Model):
        _check_as_asked(model, device, precision, image_size)
        return model
    if isinstance(model, torch.nn.Module):
        return _from_module(model, device, precision, image_size)
    if not isinstance(model, str | os.PathLike) or not os.fspath(model):
        raise UnknownModelError(
            f"model {model!r}; give a name (`sam2track models list` shows them), a path, or "
            "modules already built"
        )
    chosen = _pick_device(device)
    name = str(model)
    if name == "auto":
        name = choose_auto(device)
        _log.log(logging.WARNING if name == "nano" else logging.INFO, why_auto(name, device))
    path, entry = locate(model if isinstance(model, os.PathLike) else name)
    module, weights = build_checked(path, entry, image_size)
    own = weights.image_size or recognise(weights, path).image_size
    try:
        module.requires_grad_(False).to(chosen)
    except RuntimeError as error:
        known = explained(error)
        if known is None:
            raise
        raise known from error
    return Model(
        module,
        name=entry.name if entry else path.name,
        precision=_pick_precision(
            precision,
            chosen,
            module.image_size,
            own_size=module.image_size == own,
        ),
        tracks=not weights.image_only,
    )


def locate(model: str | os.PathLike[str]) -> tuple[Path, ZooModel | None]:
    """Find weights by a path, a model's name or a hub id, fetching them where need be.

    Returns
    -------
    Path
        File or folder.
    ZooModel or None
        The known model whose weights these are.
    """
    name = os.fspath(model)
    path = Path(os.path.expanduser(name))  # noqa: PTH111  Path's own raises for who is not here
    if isinstance(model, os.PathLike) or path.suffix in {".pt", ".pth", ".safetensors"}:
        return path, None
    try:
        entry = resolve(name)
    except UnknownModelError:
        if is_there(path) or name.startswith((".", "/", "~")) or name.endswith("/"):
            return path, None
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            return find_folder(name), None
        raise
    return find_weights(entry), entry


def stored_model(name: object) -> str:
    """Return the name of a model that a project names, where it is known and on this machine.

    A project may be a stranger's: no file is opened and nothing fetched because it says so.

    Raises
    ------
    ModelError
        Where a person has to name it.
    """
    try:
        entry = resolve(str(name))
    except UnknownModelError as error:
        raise ModelError(
            f"the project was made with {str(name)[:80]!r}, which is no model known by name; name "
            "it, or its file (--model)"
        ) from error
    if weights_on_disk(entry) is None:
        raise WeightsNotFoundError(
            f"the project was made with {entry.name}, which is not on this machine; fetch it "
            f"(sam2track models download {entry.name}) or name its file (--model)"
        )
    return entry.name


def build_checked(
    path: Path, entry: ZooModel | None, image_size: int | None = None
) -> tuple[SAM2Base, files.Weights]:
    """Build modules from weights that are what they should be.

    Each file's hash is compared before it is read: with the published one, or with that of its
    first use, which is recorded once the weights have fitted.

    Raises
    ------
    ModelError
    """
    # Embedded weights came with this package and change with it.
    own = entry is not None and not entry.repository
    held = [] if own else files.files_of(path)
    digests = {file: trust.check(file, pinned(entry, file) if entry else "") for file in held}
    weights = files.read(path)
    label = entry.name if entry else path.name
    architecture = recognise(weights, path)
    if entry is not None and architecture != ARCHITECTURES[entry.name]:
        raise ModelError(f"{path} holds {size_of(architecture)}, not {entry.name}")
    size = image_size or weights.image_size
    check_image_size(size)
    module = build(architecture, image_size=size)
    _fit(module, weights, label)
    for file, digest in digests.items():
        if not (entry and pinned(entry, file)) and trust.first_use(file) is None:
            trust.record(file, digest)
    return module, weights


def _check_as_asked(model: Model, device: str, precision: str, image_size: int | None) -> None:
    """Refuse what a model that is loaded already is not."""
    _check_lies(model.device, device, "model")
    for what, asked, has in (
        ("precision", None if precision == "auto" else precision, model.precision),
        ("image size", image_size, model.image_size),
    ):
        if asked not in (None, has):
            raise UsageError(
                f"{what} {asked} was asked for, but the model handed in has {has} and is never "
                f"changed; load it with that {what}, or leave it out"
            )


def _check_lies(here: torch.device, device: str, what: str) -> None:
    """Refuse another device than that on which something handed in lies."""
    if device == "auto":
        return
    wanted = _pick_device(device)
    other = here.type != "cpu" and wanted.index not in (None, here.index)  # there is one CPU
    if wanted.type != here.type or other:
        raise DeviceError(
            f"{device} was asked for, but the {what} handed in lies on {here} and is never "
            f"moved; move it or leave the device out"
        )


def _from_module(module: SAM2Base, device: str, precision: str, image_size: int | None) -> Model:
    missing = [
        part
        for part in ("image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder")
        if not hasattr(module, part)
    ]
    if missing:
        raise ModelError(f"{type(module).__name__} is no SAM2Base: it has no {missing[0]}")
    kinds = {value.dtype for value in module.parameters()}
    if kinds != {torch.float32}:
        raise ModelError(
            f"{type(module).__name__} was cast to {', '.join(sorted(map(str, kinds)))}; hand it in "
            f"as float32 and let precision='bf16' do the casting, operation by operation"
        )
    if image_size not in (None, module.image_size):
        raise UsageError(
            f"image size {image_size} was asked for, but the module handed in takes "
            f"{module.image_size} and is never changed; build it with that size"
        )
    here = next(module.parameters()).device
    _check_lies(here, device, "module")
    if module.training:
        warnings.warn("the module handed in is in training mode; call eval() on it", stacklevel=3)
    chosen = _pick_precision(precision, here, module.image_size)
    return Model(module, name=type(module).__name__, precision=chosen)


def size_of(architecture: Architecture) -> str:
    """Name an architecture has in the zoo."""
    return next(name for name, known in ARCHITECTURES.items() if known == architecture)


def recognise(weights: files.Weights, path: Path) -> Architecture:
    """Tell the architecture from the tensors, not from the file's name."""
    state = weights.state
    stem = state["image_encoder.trunk.patch_embed.proj.weight"]
    blocks = len({key.split(".")[3] for key in state if key.startswith("image_encoder.trunk.bl")})
    newer = "no_obj_embed_spatial" in state or weights.image_only
    for architecture in ARCHITECTURES.values():
        if (
            architecture.embed_dim == stem.shape[0]
            and sum(architecture.stages) == blocks
            and (architecture.generation != "2.0") == newer
        ):
            return architecture
    raise ModelError(
        f"{path} is a SAM 2 of no known size ({stem.shape[0]} channels, {blocks} blocks); known "
        f"are {', '.join(ARCHITECTURES)}"
    )


def _fit(module: SAM2Base, weights: files.Weights, label: str) -> None:
    """Put weights into modules; the first tensor that does not fit is named."""
    own, state = module.state_dict(), weights.state
    for key, value in own.items():
        if key not in state:
            if weights.image_only and key.startswith(VIDEO_ONLY):
                continue
            raise ModelError(f"{label} does not fit: it lacks the tensor {key}")
        if state[key].shape != value.shape:
            raise ModelError(
                f"{label} does not fit: {key} has shape {tuple(state[key].shape)}, "
                f"expected {tuple(value.shape)}"
            )
        if not torch.isfinite(state[key]).all():
            raise ModelError(
                f"{label} cannot be used: {key} holds numbers that are not finite; its training "
                "may have diverged"
            )
    extra = sorted(set(state) - set(own))
    if extra:
        raise ModelError(f"{label} does not fit: unknown tensor {extra[0]}")
    module.load_state_dict(state, strict=not weights.image_only)
