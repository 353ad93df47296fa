"""Errors of torch, CUDA and disks that people meet, recognised, with their fix."""

from __future__ import annotations

import errno
import re
import sqlite3

from sam2track.errors import DeviceError, ModelError, OutOfMemoryError, Sam2TrackError

__all__ = ["explained", "is_out_of_memory", "maybe_full"]

_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|MPS backend out of memory|"
    r"CUBLAS_STATUS_ALLOC_FAILED|can't allocate memory|not enough memory: you tried|"
    # What the system says, C++, and Python where there is no room for the stack of a thread.
    r"Cannot allocate memory|^std::bad_alloc$|can't start new thread|"
    # oneDNN, OpenCV, and the loader of libraries.
    r"^could not create a primitive|^OpenCV\(.*(std::bad_alloc|Insufficient memory)|"
    r"failed to map segment from shared object(?!: Operation not permitted)",
    re.IGNORECASE | re.DOTALL,
)

# What a message holds, the error it becomes, and what to do.
_KNOWN: tuple[tuple[re.Pattern[str], type[Sam2TrackError], str], ...] = (
    (
        re.compile(
            r"no kernel image is available|driver version is insufficient|driver on your system "
            r"is too old|found no NVIDIA driver|not compiled with CUDA enabled|"
            r"detected CUDA version .* mismatches|CUDA_HOME environment variable is "
            r"not set|PTX was compiled with an unsupported toolchain",
            re.IGNORECASE | re.DOTALL,
        ),
        DeviceError,
        "this build of torch does not fit the GPU or its driver; update the driver, or install a "
        "torch built for the CUDA that it has (uv pip install --torch-backend auto torch "
        "torchvision); a system nvcc is not needed; --device cpu works meanwhile; "
        "`sam2track doctor` shows the versions",
    ),
    (
        re.compile(
            r"undefined symbol|cannot import name '_C'|operator torchvision::nms does not exist",
            re.IGNORECASE,
        ),
        DeviceError,
        "torch and something built for another torch do not fit together; install torch and "
        "torchvision in one step, and sam2 with SAM2_BUILD_CUDA=0 (its CUDA extension is not "
        "needed); `sam2track doctor` shows the versions",
    ),
    (
        re.compile(
            r"Input type \(.*\) and (bias|weight) type \(.*\) should be the same|"
            r"must have the same dtype|expected scalar type|"
            r"Expected .* to have the same dtype|expected m1 and m2 to have the same dtype",
            re.IGNORECASE,
        ),
        DeviceError,
        "tensors of two precisions met: the module was cast, or an autocast of the caller is on; "
        "hand modules in as float32 outside of torch.autocast, and let precision='bf16' "
        "(--precision) do the casting",
    ),
    (
        re.compile(r"No such file or directory: '?.*\.(pt|pth|safetensors)", re.IGNORECASE),
        ModelError,
        "the checkpoint is not there; `sam2track models download NAME` fetches one, and "
        "SAM2TRACK_MODELS names folders with those that you have",
    ),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this machine, has no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, Sam2TrackError):
        return False
    # A RuntimeError of torch, or what safetensors raises, which inherits nothing of use.
    return isinstance(error, Exception) and _MEMORY.search(str(error)) is not None


def explained(error: BaseException) -> Sam2TrackError | None:
    """Return one of our errors that says what to do, None where the error is not known.

    Recognised are: a torch whose CUDA does not fit the driver or the GPU, libraries built for
    another torch, memory that is used up, tensors of two precisions, a checkpoint that is not
    there.
    """
    if isinstance(error, Sam2TrackError):
        return None
    first = " ".join(str(error).split())[:200] or type(error).__name__
    if is_out_of_memory(error):
        what = first if " memory" in first else f"out of memory: {first}"
        return OutOfMemoryError(
            f"{what}; take a smaller image size (--image-size) or model (--model), or fewer "
            f"objects at a time; what was done is kept"
        )
    for pattern, kind, fix in _KNOWN:
        if pattern.search(str(error)):
            return kind(f"{first}: {fix}")
    return None


def maybe_full(error: sqlite3.Error) -> str:
    """What to ask behind a database's error, where a full disk may be why; else nothing."""
    return "; is there space left?" if re.search("I/O|full", str(error)) else ""
