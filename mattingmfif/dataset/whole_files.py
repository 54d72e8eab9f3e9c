"""Files that are there whole or not at all: written aside, flushed to the disk, renamed, the folder flushed."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<host>[A-Za-z0-9_]*)-(?P<pid>\d+)-[0-9a-f]{8}\.part")


def this_host() -> str:
    """The name of this machine, in letters that may stand in a file's name."""
    return re.sub(r"[^A-Za-z0-9]", "_", os.uname().nodename)[:64]


def temporary_beside(path: Path) -> Path:
    """A hidden name beside `path` that no other process on any machine uses."""
    return path.with_name(f".{path.name}.{this_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that `temporary_beside` gives."""
    return _TEMPORARY.fullmatch(name) is not None


def writer_is_gone(name: str) -> bool:
    """Whether the temporary file `name` was being written by a process of this machine that runs no more."""
    match = _TEMPORARY.fullmatch(name)
    return match is not None and match["host"] == this_host() and not process_is_alive(int(match["pid"]))


def process_is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`, replacing what was there; OSError leaves the old file and nothing beside it."""
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
