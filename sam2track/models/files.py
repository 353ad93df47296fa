"""Weights from files and folders of any layout, without running what is in them."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sam2track.errors import ModelError, OutOfMemoryError, Sam2TrackError
from sam2track.faults import is_out_of_memory
from sam2track.json_text import parsed
from sam2track.models import renaming

__all__ = ["Weights", "files_of", "read"]

_STEM = "image_encoder.trunk.patch_embed.proj.weight"
_CODE_LIMIT = 64 * 2**20  # bytes of a checkpoint's pickle, which holds names and shapes alone
_SUFFIXES = (".pt", ".pth", ".safetensors")


@dataclass
class Weights:
    """What a file or folder holds.

    Attributes
    ----------
    state : dict of str to tensor
        Under Meta's names, float32.
    layout : {"pt", "safetensors", "transformers"}
    image_size : int or None
        Where the folder says one.
    image_only : bool
        Whether there is nothing in it for video: Transformers' ``Sam2Model``.
    """

    state: dict[str, torch.Tensor]
    layout: str
    image_size: int | None = None
    image_only: bool = False


def files_of(path: Path) -> list[Path]:
    """The files that hold the weights: the file itself, or those in a folder.

    Raises
    ------
    ModelError
        Where there is none, or it is not clear which.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ModelError(f"no checkpoint at {path}; give an existing file or a model's name")
    index = path / "model.safetensors.index.json"
    if (path / "config.json").is_file():
        if (path / "model.safetensors").is_file():
            return [path / "model.safetensors"]
        if index.is_file():
            return _shards(index)
        raise ModelError(
            f"{path} has a config.json but no model.safetensors; save it with Transformers' "
            f"save_pretrained, or give a .pt file"
        )
    held = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    if len(held) == 1:
        return held
    if not held:
        raise ModelError(
            f"{path} holds no weights; expected is a .pt or .safetensors file, or config.json with "
            f"model.safetensors"
        )
    raise ModelError(f"{path} holds {len(held)} checkpoints; name one, as {held[0]}")


def read(path: Path) -> Weights:
    """Read a checkpoint of any of the three layouts.

    Parameters
    ----------
    path : Path
        Meta's ``.pt``, safetensors of the same names, or a folder of Transformers; also what
        fine-tuning leaves: other things beside the weights, and names with a prefix.

    Raises
    ------
    ModelError
        Where it is none of these, is broken, or could only be read by running its code.
    """
    files = files_of(path)
    if path.is_dir() and (path / "config.json").is_file():
        return _read_folder(path, files)
    (file,) = files
    if file.suffix == ".safetensors":
        state = _read_safetensors(file)
        layout = "safetensors"
    else:
        state = _read_pickle(file)
        layout = "pt"
    if renaming.is_transformers(state):
        raise ModelError(
            f"{file} has the names of Transformers; give its folder, with the config.json"
        )
    return Weights(_floats(_without_prefix(state, file)), layout)


def _without_prefix(state: Mapping[str, torch.Tensor], file: Path) -> dict[str, torch.Tensor]:
    """Names as Meta has them, where a trainer put something like ``module.`` before them."""
    stem = next((key for key in state if key.endswith(_STEM)), None)
    if stem is None:
        raise ModelError(f"{file} is no SAM 2 checkpoint: it has no image_encoder.trunk")
    prefix = stem.removesuffix(_STEM)
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}


def _floats(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # Embedded and some fine-tuned weights are stored in half precision.
    return {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }


def _read_pickle(file: Path) -> dict[str, torch.Tensor]:
    """Read what ``torch.save`` wrote; code in it is never run."""
    _check_archive(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols, before it fails on them
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises many kinds for a file that is not one
        said = str(error)
        if "GLOBAL" in said or ("weights_only" in said and _head(file)[:1] in (b"\x80", b"P")):
            raise ModelError(
                f"{file} cannot be read as weights: it wants to run code ({_wanted(said)}), which "
                f"is never done; save the weights alone, torch.save(model.state_dict(), FILE)"
            ) from error
        raise _unreadable(file, error) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise ModelError(f"{file} holds no state dict of tensors; give a SAM 2 checkpoint")
    # A tensor may claim more than it stores, by strides of zero.
    claimed = sum(value.numel() * value.element_size() for value in content.values())
    if claimed > 2 * file.stat().st_size:
        raise ModelError(f"{file} is refused: its tensors claim {claimed} bytes, which it has not")
    return dict(content)


def _check_archive(file: Path) -> None:
    """Refuse an archive that would unpack to more than it is; ``torch.save`` packs nothing."""
    try:
        if not zipfile.is_zipfile(file):
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(file, error) from error
    unpacked = sum(entry.file_size for entry in entries)
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    code = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    if packed or unpacked > file.stat().st_size or code > _CODE_LIMIT:
        raise ModelError(
            f"{file} is refused: a checkpoint is not compressed, and this archive would unpack to "
            f"{unpacked} bytes; give a SAM 2 checkpoint"
        )


def _wanted(said: str) -> str:
    """What a pickle wants to run, out of torch's long message."""
    for line in said.splitlines():
        if "GLOBAL" in line:
            return line.split("GLOBAL")[1].split()[0].strip(",.")
    return "a pickle of more than tensors"


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        state: dict[str, torch.Tensor] = load_file(file)
    except Exception as error:  # as above
        raise _unreadable(file, error) from error
    return state


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(64)
    except OSError:
        return b""


def _is_text(head: bytes) -> bool:
    try:
        return all(c.isprintable() or c in "\r\n\t" for c in head.decode())
    except UnicodeDecodeError:
        return False


def _unreadable(file: Path, error: Exception) -> Sam2TrackError:
    if is_out_of_memory(error):
        return OutOfMemoryError(
            f"there is not enough memory to read {file}; close other programs, or take a smaller "
            "--model"
        )
    first = str(error).strip().splitlines()
    head = _head(file)
    if head.startswith(b"version https://git-lfs"):
        what = "it is a pointer of Git LFS; fetch the file itself with git lfs pull"
    elif head.lstrip()[:1] == b"<":
        what = "it is a web page; the download went wrong"
    elif not head:
        what = "it is empty"
    elif _is_text(head):
        what = "it is text"
    elif first and "weights_only" in first[0]:  # torch goes on to advise to let it run code
        what = "it is no file that torch.save wrote"
    else:
        what = f"{first[0] if first else type(error).__name__}; a download that broke off?"
    return ModelError(
        f"{file} cannot be read as weights ({what}); give a SAM 2 checkpoint (.pt or .safetensors)"
    )


# -- folders of Transformers --------------------------------------------------------------


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = parsed(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read ({error}); fetch the folder again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no settings; fetch the folder again")
    return content


def _shards(index: Path) -> list[Path]:
    held = _read_json(index).get("weight_map")
    names = set(held.values()) if isinstance(held, dict) else set()
    if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise ModelError(f"{index} names no files of this folder; fetch the folder again")
    files = [index.parent / name for name in sorted(names)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(f"{index.parent} lacks {missing[0]}, which {index.name} names; fetch it")
    return files


def _read_folder(folder: Path, files: list[Path]) -> Weights:
    config = _read_json(folder / "config.json")
    image_size = renaming.check_config(config, folder)
    held: dict[str, torch.Tensor] = {}
    for file in files:
        held |= _read_safetensors(file)
    state = renaming.from_transformers(held, folder)
    if _STEM not in state:
        raise ModelError(f"{folder} is no SAM 2: it has no vision_encoder.backbone")
    image_only = not any(key.startswith("memory_attention.") for key in state)
    return Weights(_floats(state), "transformers", image_size, image_only)
