"""What a process that runs tasks is set to: one thread, and memory that is kept for the next array.

One thread for everything inside a task, so that its bytes do not depend on the machine's load or cores.

A BLAS product differs between one and two threads in the last bits, and joblib never limits OpenCV. Numba's limit is
that of the calling thread. The others belong to the whole process, and a dask worker may run several tasks in threads
of one process: so they are lifted only when the last task has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

_lock = threading.Lock()
#: limits held now; the first of them remembers what was before all of them
_held: list[Any] = []
_first: list[tuple[Any, int]] = []

#: numbers of glibc's mallopt (malloc.h), and the largest sizes worth keeping
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_BYTES, _MMAP_BYTES = 2**31 - 1, 2**30


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep what was freed instead of giving it back and taking it again; True where that was possible.

    Every array of a few megabytes is otherwise mapped afresh, and the kernel clears its pages again: a third of the
    time before the lens. Once a process, for as long as it lives; other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - only glibc has it
        mallopt = library.mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS, OpenMP, OpenCV and numba to one thread inside the block, then put things back."""
    from mattingmfif.optics.kernels import limit_threads

    keep_freed_memory()
    numba_before = limit_threads(1)
    with _lock:
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        limits = threadpool_limits(limits=1)  # OpenMP's limit is that of the calling thread
        _held.append(limits)
        if len(_held) == 1:
            _first.append((limits, before))
    try:
        yield
    finally:
        limit_threads(numba_before)
        with _lock:
            _held.remove(limits)
            if not _held:
                original, threads = _first.pop()
                original.restore_original_limits()
                cv2.setNumThreads(threads)
