"""Random access to the bytes of shard files: on a disk, or on any file system that pyarrow knows (s3://, gs://, hdfs://).

A file is opened when it is first read and few are open at once, however many shards a dataset has; a file object can be
sent to another process, which opens it again. Credentials in an address are never shown.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import deque
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from mattingmfif.dataset.escape import redacted
from mattingmfif.errors import EXIT_IO, UserError

#: files that a process keeps open
MOST_OPEN = 128

_open_files: deque[weakref.ref[ByteFile]] = deque()
_lock = threading.Lock()


class ByteFile:
    """One file of known size, read at offsets; safe for threads."""

    def __init__(self, place: Path | str) -> None:
        """`place` is a path or, with `://` in it, an address; OSError if nothing is there."""
        self.place = place
        self.name = (place if isinstance(place, Path) else PurePosixPath(place.partition("?")[0])).name
        self._handle: _Handle | None = None
        self.size_bytes = self._opened().size_bytes

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`; OSError if the file ends before."""
        data = self._opened().read(offset, length)
        if len(data) != length:
            raise OSError(f"the file ends {length - len(data)} bytes too early")
        return data

    def stream(self) -> Any:
        """The file as pyarrow opens it, for reading Parquet footers and records."""
        if isinstance(self.place, Path):
            return pafs.LocalFileSystem().open_input_file(str(self.place))
        system, path = remote(self.place)
        return system.open_input_file(path)

    def close(self) -> None:
        """Give the handle back; reading again opens it again."""
        self._handle = None

    def _opened(self) -> _Handle:
        handle = self._handle
        if handle is None:
            handle = _Handle(self.place)
            with _lock:
                self._handle = handle
                _open_files.append(weakref.ref(self))
                while len(_open_files) > MOST_OPEN:
                    oldest = _open_files.popleft()()
                    if oldest is not None:
                        oldest.close()  # whoever is reading from it still holds the handle
        return handle

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}


class _Handle:
    """An open file; closed when nobody holds it any more."""

    def __init__(self, place: Path | str) -> None:
        self._descriptor = -1
        if isinstance(place, Path):
            self._descriptor = os.open(place, os.O_RDONLY)
            self.size_bytes = os.fstat(self._descriptor).st_size
        else:
            system, path = remote(place)
            self._remote = system.open_input_file(path)
            self.size_bytes = int(self._remote.size())

    def read(self, offset: int, length: int) -> bytes:
        if self._descriptor >= 0:
            return os.pread(self._descriptor, length, offset)
        data: bytes = self._remote.read_at(length, offset)
        return data

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)


def is_remote(place: Path | str | None) -> bool:
    """Whether a place is an address such as s3://bucket/folder rather than a path on this machine."""
    return isinstance(place, str) and "://" in place


@functools.cache
def remote(address: str) -> tuple[Any, str]:
    """The pyarrow file system of an address, and the path on it; UserError for an address that nobody understands.

    Options of the file system stand behind a `?`, as in `s3://bucket/folder?region=eu-west-1`.
    """
    try:
        system, path = pafs.FileSystem.from_uri(address)
    except (ValueError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise UserError(f"{redacted(address)}: not an address that can be read ({redacted(text)})") from None
    return system, path


def inside(address: str, *parts: str) -> str:
    """The address of something inside the folder at `address`, its options kept."""
    place, mark, options = address.partition("?")
    return "/".join([place.rstrip("/"), *parts]) + mark + options


def list_folder(address: str) -> list[str]:
    """Names of the files in the folder at `address`, sorted; none where there is no such folder.

    Raises UserError (exit code 3) where the other side refuses or cannot be reached.
    """
    system, path = remote(address)
    try:
        found = system.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    except OSError as error:
        text = redacted(" ".join(str(error).split())[:300])
        raise UserError(f"{redacted(address)}: cannot be listed ({text})", EXIT_IO) from None
    return sorted(item.base_name for item in found if item.type == pafs.FileType.File)
