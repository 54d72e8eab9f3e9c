"""Planes of a photograph's size that hold something in one place and zero everywhere else."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np
import numpy.typing as npt

_LEAST_BYTES = 1 << 20


def zeros_where_untouched(shape: tuple[int, ...], window: tuple[slice, slice] | None = None) -> npt.NDArray[np.float32]:
    """Zeros, float32, that take memory only where something is written to them (by pages, where POSIX has them).

    `np.zeros` promises that only for memory that is fresh from the system; a process that keeps what it freed clears
    and occupies all of it. That is what is done where `window`, in which something will be written, is half of the
    plane: what was freed before then serves it. A window of half the width gets large pages, which take a twentieth of
    the time and all of the window's rows at most.
    """
    size = int(np.prod(shape)) * 4
    if size < _LEAST_BYTES or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros(shape, np.float32)
    height, width = (0, 0) if window is None else (side.stop - side.start for side in window)
    if 2 * height * width >= shape[0] * shape[1]:
        return np.zeros(shape, np.float32)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    advice = "MADV_HUGEPAGE" if 2 * width >= shape[1] else "MADV_NOHUGEPAGE"
    if hasattr(mmap, advice):
        with contextlib.suppress(OSError):  # a kernel without huge pages knows no such advice
            pages.madvise(getattr(mmap, advice))
    return np.frombuffer(pages, np.float32).reshape(shape)
