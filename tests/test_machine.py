"""What a machine says that it has left."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2track.machine import free_memory

MEMINFO = "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    8000000 kB\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"proc/meminfo": MEMINFO}, 8_192_000_000),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "max\n"}, 8_192_000_000),
        (
            {
                "proc/meminfo": MEMINFO,
                "sys/fs/cgroup/memory.max": "2000000000\n",
                "sys/fs/cgroup/memory.current": "1900000000\n",
                # Of what is used most are files that were read, which make room.
                "sys/fs/cgroup/memory.stat": "anon 300000000\ninactive_file 1500000000\n",
            },
            1_600_000_000,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1900000000\n",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 2\n",
            },
            8_192_000_000,
        ),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1900\n",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 1000\ntotal_inactive_file 100\n",
            },
            0,
        ),
        (
            {  # a job or a service without a container: the limit is that of its own group
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/jobs/one\n",
                "sys/fs/cgroup/jobs/one/memory.max": "max\n",
                "sys/fs/cgroup/jobs/memory.max": "2000000000\n",
                "sys/fs/cgroup/jobs/memory.current": "500000000\n",
                "sys/fs/cgroup/jobs/memory.stat": "inactive_file 0\n",
            },
            1_500_000_000,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/jobs\n0::/\n",
                "sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": "3000\n",
                "sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": "1900\n",
                "sys/fs/cgroup/memory/jobs/memory.stat": "total_inactive_file 100\n",
            },
            1200,
        ),
    ],
)
def test_free_memory(files: dict[str, str], free: int | None, tmp_path: Path) -> None:
    assert free_memory(write(tmp_path, files)) == free


def test_this_machine_says_what_is_free() -> None:
    free = free_memory()
    assert free is None or 0 <= free < 2**50
