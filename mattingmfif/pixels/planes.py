"""Planes of a photograph's size that hold something in one place and zero everywhere else."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np
import numpy.typing as npt

_LEAST_BYTES = 1 << 20


def zeros_where_untouched(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Zeros, float32, that take memory only where something is written to them (by pages of 4 kB, where POSIX has it).

    `np.zeros` promises that only for memory that is fresh from the system; a process that keeps what it freed clears
    and occupies all of it.
    """
    size = int(np.prod(shape)) * 4
    if size < _LEAST_BYTES or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros(shape, np.float32)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages knows no such advice
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, np.float32).reshape(shape)
