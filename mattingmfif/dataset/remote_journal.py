"""Which worker is at which sample, noted in a remote dataset folder: the journal of workers on several machines.

A worker on another machine cannot write into the folder of the one that gives out the work, so the notes by which a
sample that kills its workers is found are objects in `OUT/.work`. They are taken away when a shard has ended.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter

from mattingmfif.dataset.files import inside, list_folder, remote
from mattingmfif.dataset.out_folder import WORK_FOLDER
from mattingmfif.dataset.remote import delete_file, plain_errors
from mattingmfif.dataset.whole_files import this_host
from mattingmfif.errors import UserError


class RemoteJournal:
    """The notes in `OUT/.work` of a remote folder; one that cannot be written is no reason to stop a build."""

    def __init__(self, address: str) -> None:
        self.folder = inside(address, WORK_FOLDER)

    def begin(self, shard: str, sample_id: str) -> None:
        """Note which sample this worker is at."""
        with contextlib.suppress(OSError), plain_errors(self.folder):
            system, path = remote(self._mine(shard))
            with system.open_output_stream(path) as stream:
                stream.write(sample_id.encode())

    def end(self, shard: str) -> None:
        """Take the note away: the worker leaves the shard alive."""
        with contextlib.suppress(OSError):
            delete_file(self._mine(shard))

    def deaths(self, shard: str) -> Counter[str]:
        """How many workers died over which sample of a shard."""
        found = Counter[str]()
        for name in self._notes(shard):
            with contextlib.suppress(OSError, UnicodeDecodeError), plain_errors(self.folder):
                system, path = remote(inside(self.folder, name))
                with system.open_input_stream(path) as stream:
                    found[stream.read(1 << 12).decode()] += 1
        return found

    def forget(self, shard: str) -> None:
        """Take away the notes about a shard."""
        for name in self._notes(shard):
            with contextlib.suppress(OSError):
                delete_file(inside(self.folder, name))

    def _notes(self, shard: str) -> list[str]:
        with contextlib.suppress(UserError):
            return [name for name in list_folder(self.folder) if name.startswith(f"{shard}.")]
        return []

    def _mine(self, shard: str) -> str:
        return inside(self.folder, f"{shard}.{this_host()}.{os.getpid()}")
