"""One thread for everything inside a task, so that its bytes do not depend on the machine's load or cores.

A BLAS product differs between one and two threads in the last bits, and joblib never limits OpenCV. The package's own
compiled loops give the same bits for any number of threads, so numba needs no limit here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import cv2
from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS, OpenMP and OpenCV to one thread inside the block, then put things back."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        cv2.setNumThreads(before)
