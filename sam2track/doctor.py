"""What is on this machine, what is wrong with it, and what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sam2track.display import display, named
from sam2track.errors import Sam2TrackError

__all__ = ["Finding", "examine"]

_BUILD = "uv pip install --torch-backend auto torch torchvision"


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes
    ----------
    what : str
        What was looked at.
    state : {"ok", "note", "problem"}
        ``note``: something is missing that not everybody needs.
    found : str
        What is here.
    fix : str
        What to do, empty where nothing is to be done.
    """

    what: str
    state: str
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at this machine; what cannot be found out is itself a finding.

    Returns
    -------
    list of Finding
        Python, torch and CUDA, GPU memory for each model, bf16, MPS, threads, sam2, codecs, Qt,
        napari, display, weights, free disk.
    """
    found: list[Finding] = []
    for look in _LOOKS:
        try:
            found.extend(look())
        except (ImportError, OSError, RuntimeError, ValueError, Sam2TrackError) as error:
            what = look.__name__.strip("_").replace("_", " ")
            said = " ".join(str(error).split())[:200]
            found.append(Finding(what, "problem", said, "mend this first; see --debug"))
    return found


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", f"{version}, {sys.platform}")
    yield Finding("sam2track", "ok", _version("sam2track") or "not installed")


def _torch() -> Iterator[Finding]:
    import torch

    from sam2track.models.rates import bf16_pays

    beside = _version("torchvision")
    yield Finding(
        "torch",
        "ok" if beside else "problem",
        f"{torch.__version__}, torchvision {beside or 'missing'}",
        "" if beside else f"install both in one step: {_BUILD}",
    )
    threads = torch.get_num_threads()
    yield Finding("threads", "ok", f"{threads} of {os.cpu_count()} CPUs")
    yield from _cuda()
    on_cpu = "faster than fp32" if bf16_pays() else "no faster than fp32, which is used"
    yield Finding("bf16 on the CPU", "ok", on_cpu)
    if sys.platform == "darwin":
        here = torch.backends.mps.is_available()
        yield Finding("MPS", "ok" if here else "note", "here" if here else "not available")


def _cuda() -> Iterator[Finding]:
    import torch

    built, driver, nvcc = torch.version.cuda, driver_cuda(), nvcc_cuda()
    if driver is None:
        yield Finding("NVIDIA driver", "note", "none, so models run on the CPU")
    else:
        yield Finding("NVIDIA driver", "ok", f"carries CUDA up to {driver}")
    yield cuda_finding(built, driver, torch.cuda.is_available())
    if nvcc is not None:
        differs = built is not None and nvcc.split(".")[0] != built.split(".")[0]
        yield Finding(
            "system nvcc",
            "note" if differs else "ok",
            f"CUDA {nvcc}, torch was built with {built}" if differs else f"CUDA {nvcc}",
            "installing sam2 with its extension would fail: install it with SAM2_BUILD_CUDA=0 (the "
            f"extension is not needed), or a torch for that CUDA ({_BUILD})"
            if differs
            else "",
        )
    if not torch.cuda.is_available():
        return
    from sam2track.models.zoo import ZOO

    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        fits = [model.name for model in ZOO.values() if model.memory * 1e9 <= free]
        too_large = [model.name for model in ZOO.values() if model.memory * 1e9 > free]
        yield Finding(
            f"cuda:{index}",
            "ok" if not too_large else "note",
            f"{torch.cuda.get_device_name(index)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free; "
            f"carries {', '.join(fits) or 'no model'}",
            f"too large: {', '.join(too_large)}; a smaller --image-size needs less"
            if too_large
            else "",
        )
        newer = torch.cuda.get_device_capability(index)[0] >= 8
        yield Finding(f"bf16 on cuda:{index}", "ok", "yes" if newer else "no, fp32 is used")


def cuda_finding(built: str | None, driver: str | None, works: bool) -> Finding:
    """Judge a torch's CUDA (None: it has none) by what the driver carries (None: no driver)."""
    what = "torch's CUDA"
    if works:
        return Finding(what, "ok", f"{built}, works")
    if built is None and driver is None:
        return Finding(what, "ok", "none, and no NVIDIA driver to use it")
    if built is None:
        return Finding(
            what, "problem", "this torch was built without CUDA, but there is a driver", _BUILD
        )
    if driver is None:
        return Finding(
            what,
            "note",
            f"{built}, but no driver was found",
            "with an NVIDIA card, install its driver; without one nothing is to be done",
        )
    if _number(built) > _number(driver):
        return Finding(
            what,
            "problem",
            f"{built}, newer than the driver carries ({driver})",
            f"update the driver, or install a torch for CUDA {driver}: {_BUILD}",
        )
    return Finding(
        what,
        "problem",
        f"{built}, but no device can be used",
        "see whether nvidia-smi lists a card and CUDA_VISIBLE_DEVICES hides none",
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _said_by(program: str, *arguments: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout


def driver_cuda() -> str | None:
    """The newest CUDA that the NVIDIA driver carries, None where there is no driver."""
    found = re.search(r"CUDA Version:\s*([\d.]+)", _said_by("nvidia-smi") or "")
    return found[1] if found else None


def nvcc_cuda() -> str | None:
    """CUDA of the system's compiler, None where there is none."""
    found = re.search(r"release ([\d.]+)", _said_by("nvcc", "--version") or "")
    return found[1] if found else None


def _sam2() -> Iterator[Finding]:
    version = _version("sam2")
    if version is None:
        yield Finding(
            "sam2", "problem", "not installed", "SAM2_BUILD_CUDA=0 uv pip install 'sam2>=1.1'"
        )
        return
    there = importlib.util.find_spec("sam2._C") is not None
    yield Finding("sam2", "ok", version)
    yield Finding("sam2._C", "ok", f"{'here' if there else 'not built'}; it is not needed")


def _codecs() -> Iterator[Finding]:
    import av

    held = [name for name in ("libx264", "libx265", "ffv1", "libsvtav1") if _encodes(name)]
    yield Finding(
        "video encoders",
        "ok" if "libx264" in held else "problem",
        f"av {_version('av')}: {', '.join(held) or 'none'} (FFmpeg {av.ffmpeg_version_info})",
        "" if "libx264" in held else "overlay and mask videos need libx264: uv pip install -U av",
    )


def _encodes(name: str) -> bool:
    import av.codec

    try:
        av.codec.Codec(name, "w")
    except ValueError:
        return False
    return True


def _viewer() -> Iterator[Finding]:
    qt = [f"{name} {_version(name)}" for name in ("PySide6", "PyQt6", "PyQt5") if _version(name)]
    napari = _version("napari")
    want = "for the viewer: uv pip install 'sam2track[all]'"
    yield Finding("napari", "ok" if napari else "note", napari or "none", "" if napari else want)
    yield Finding("Qt", "ok" if qt else "note", ", ".join(qt) or "none", "" if qt else want)
    if sys.platform.startswith("linux"):
        shown = display()
        silent = "".join(f"{name} does not answer" for name in named()[:1])
        yield Finding(
            "display",
            "ok" if shown else "note",
            shown or silent or "none",
            "" if shown else "the viewer needs one; all else works without",
        )


def _weights() -> Iterator[Finding]:
    from sam2track.models import files, trust
    from sam2track.models.weights import pinned, search_path, weights_on_disk
    from sam2track.models.zoo import ZOO

    for folder in search_path():
        there = folder.is_dir()
        yield Finding(
            "SAM2TRACK_MODELS",
            "ok" if there else "problem",
            f"{folder}{'' if there else ' is no folder'}",
            "" if there else "make it, or name another",
        )
    missing = []
    for model in ZOO.values():
        path = weights_on_disk(model)
        if path is None:
            missing.append(model.name)
            continue
        try:
            held = files.files_of(path)
            digests = [
                trust.check(file, pinned(model, file)) if model.repository else trust.sha256(file)
                for file in held
            ]
        except Sam2TrackError as error:
            yield Finding(model.name, "problem", str(error), "see there")
            continue
        published = all(digest == model.sha256 for digest in digests)
        how = "the published one" if published else "embedded" if not model.repository else "yours"
        yield Finding(model.name, "ok", f"{path}, {how}, SHA-256 {digests[0]}")
    if missing:
        yield Finding(
            "not here", "note", ", ".join(missing), "`sam2track models download NAME` gets one"
        )


def _disk() -> Iterator[Finding]:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    enough = free > 2
    yield Finding(
        "cache of weights",
        "ok" if enough else "problem",
        f"{cache}, {free:.1f} GB free",
        "" if enough else "make room, or let HF_HOME name a folder on a larger disk",
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


_LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _torch,
    _sam2,
    _codecs,
    _viewer,
    _weights,
    _disk,
)
