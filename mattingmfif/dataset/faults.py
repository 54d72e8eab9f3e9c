"""Named moments at which a test may kill or starve the process that writes a shard.

A resume that was never interrupted is a guess, so the writer names the moments that matter and tests stop it there for
real. Nothing happens unless the environment variable `MATTINGMFIF_FAULT` is set to `NAME`, `NAME:COUNT` or
`NAME:COUNT:ACTION`: at the COUNT-th passage (default 1, per process) through the point NAME the process does ACTION,
`kill` (default; SIGKILL to itself, nothing is cleaned up) or `disk-full` (an OSError with ENOSPC).
"""

from __future__ import annotations

import errno
import os
import signal

VARIABLE = "MATTINGMFIF_FAULT"

#: the points of `write_shard`, in the order in which a write passes them
FAULT_POINTS = ("before-first-row", "after-row", "after-temporary-write", "after-fsync", "after-rename")

_passages: dict[str, int] = {}


def fault_point(name: str) -> None:
    """Do nothing, or what `MATTINGMFIF_FAULT` asks for at this point; an unknown name is a programming error."""
    if name not in FAULT_POINTS:
        raise AssertionError(f"{name!r} is not one of the fault points {FAULT_POINTS}")
    wish = os.environ.get(VARIABLE)
    if not wish:
        return
    wanted, _, rest = wish.partition(":")
    count, _, action = rest.partition(":")
    if wanted != name:
        return
    _passages[name] = _passages.get(name, 0) + 1
    if _passages[name] != int(count or 1):
        return
    if action == "disk-full":
        raise OSError(errno.ENOSPC, "no space left on device (asked for by MATTINGMFIF_FAULT)")
    os.kill(os.getpid(), signal.SIGKILL)
