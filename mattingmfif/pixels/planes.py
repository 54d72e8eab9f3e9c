"""Planes of a photograph's size: those that are zero nearly everywhere, and between which numbers one lies."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np
import numpy.typing as npt

_LEAST_BYTES = 1 << 20
#: numbers that are looked at at once: they stay in the cache
_RUN = 1 << 16


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


def extremes(array: npt.NDArray[np.float32]) -> tuple[float, float]:
    """(least, most) of a contiguous array; NaN where it holds one, (0, 0) where it is empty.

    It is read from memory once, which is what takes the time.
    """
    flat = array.reshape(-1)
    runs = [flat[start : start + _RUN] for start in range(0, flat.size, _RUN)]
    if not runs:
        return 0.0, 0.0
    ends = np.array([(run.min(), run.max()) for run in runs])
    return float(ends[:, 0].min()), float(ends[:, 1].max())
