"""What this machine has left."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["free_memory"]

# Limit, use, and the entry of memory.stat that tells how much of that is files that were read,
# which the system gives up where there is need: of control groups of version 2, and of version 1.
_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes of main memory that are free, None where that cannot be read.

    Read from the system, and from the limits of a container where there are any.

    Parameters
    ----------
    root : Path
        Where the system says so.
    """
    free = []
    with suppress(OSError, ValueError):  # another system has no such file
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
    for limit, use, files in _GROUPS:
        # There is no container, none with a limit, or one of the other version.
        with suppress(OSError, ValueError):
            free.append(_left(root / "sys/fs/cgroup", limit, use, files))
    return max(0, min(free)) if free else None


def _left(group: Path, limit: str, use: str, files: str) -> int:
    most = int((group / limit).read_text(encoding="ascii"))
    used = int((group / use).read_text(encoding="ascii"))
    for line in (group / use).with_name("memory.stat").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == files:
            used -= int(value)
    return most - used
