"""One thread for everything inside a task, so that its bytes do not depend on the machine's load or cores.

A BLAS product differs between one and two threads in the last bits, and joblib never limits OpenCV.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import cv2
from threadpoolctl import threadpool_limits

#: read by numba, and by onnxruntime through rembg, when they start
VARIABLES = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS, OpenMP and OpenCV to one thread inside the block, and what starts in it, then put things back."""
    before = cv2.getNumThreads()
    environment = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        cv2.setNumThreads(before)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
