"""What this machine has left."""

from __future__ import annotations

from pathlib import Path

__all__ = ["free_memory"]


def free_memory() -> int | None:
    """Bytes of main memory that are free, None where that cannot be read.

    Read from the system, and from the limits of a container where there are any.
    """
    free = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            free.append(int(limit) - int((group / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):
        pass  # another system, or no container
    return max(0, min(free)) if free else None
