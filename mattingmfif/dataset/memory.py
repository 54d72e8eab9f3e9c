"""How many workers fit into the memory that is free, by what one of them was seen to need."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
#: what a worker is taken to need before one was measured: libraries, and bytes a pixel of the largest photograph
ASSUMED_BASE_BYTES, ASSUMED_BYTES_A_PIXEL = 300_000_000, 300
#: samples differ from those that were measured
SPREAD = 1.15


def available_bytes() -> int:
    """Bytes of memory that can be had without swapping, and within the limit of this container."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except OSError:
        pass
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    return free if limit is None else max(0, min(free, limit - (used or 0) + _file_cache_bytes()))


def assumed_bytes(pixels: int) -> int:
    """What a worker is taken to need for a photograph of that many pixels."""
    return ASSUMED_BASE_BYTES + ASSUMED_BYTES_A_PIXEL * pixels


def fitting_workers(jobs: int, need_bytes: int, free_bytes: int) -> int:
    """How many workers of `need_bytes` each go into `free_bytes`: at most `jobs`, at least one."""
    return max(1, min(jobs, free_bytes // max(1, need_bytes)))


def _file_cache_bytes() -> int:
    """Bytes that the container's count of used memory holds for files and gives up when asked."""
    try:
        words = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return int(words["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 0


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None
