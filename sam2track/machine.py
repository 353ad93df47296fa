"""What this machine has left."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["free_memory"]

# Folder, controller in /proc/self/cgroup, limit, use, and the entry of memory.stat that tells how
# much of that is files that were read, which the system gives up where there is need: of control
# groups of version 2, and of version 1.
_GROUPS = (
    ("", "", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
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
    for folder, controller, *names in _GROUPS:
        for group in _own(root, controller):
            # There is no container, none with a limit, or one of the other version.
            with suppress(OSError, ValueError):
                free.append(_left(root / "sys/fs/cgroup" / folder / group, *names))
    return max(0, min(free)) if free else None


def _own(root: Path, controller: str) -> list[Path]:
    """Control groups that this process is in, from its own to that of all."""
    with suppress(OSError, ValueError):  # seen from within a container it is that of all
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                group = Path(path.lstrip("/"))
                return [group, *group.parents]
    return [Path()]


def _left(group: Path, limit: str, use: str, files: str) -> int:
    most = int((group / limit).read_text(encoding="ascii"))
    used = int((group / use).read_text(encoding="ascii"))
    for line in (group / use).with_name("memory.stat").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == files:
            used -= int(value)
    return most - used
