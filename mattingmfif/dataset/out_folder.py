"""The output folder while it is being written: whose it is, who writes in it, and what they note there.

A build holds the folder alone; tasks of one plan (`build --task i/n`) hold it together, on any number of machines. The
lock is the system's and goes with the process that held it. File systems without locks lose only that: every file is
written aside under a name of its own and renamed, so two writers of one shard leave one whole shard.

`OUT/.work` is there while somebody works: a note for every runner (`run.HOST.PID.json`: since when, how far) and one
for every worker (`SHARD.HOST.PID`: the sample it is at). A worker that ends takes its note away, so what it leaves says
over which sample it died.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mattingmfif.dataset.plan import PLAN_FILE
from mattingmfif.dataset.whole_files import is_temporary, process_is_alive, this_host, write_whole
from mattingmfif.errors import EXIT_IO, UserError

DATA_FOLDER = "data"
WORK_FOLDER = ".work"
#: how long a build waits for somebody who holds the folder for a moment, such as `status`
_MOMENT_S = 1.0
#: a runner writes its note anew at most this often
_NOTE_EVERY_S = 2.0
_MOST_NOTE_BYTES = 1 << 16


def prepare_out(out: Path) -> None:
    """Make the output folder; UserError when it is not ours to write in."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        foreign = [item.name for item in out.iterdir() if not _left_by_a_scan(item)]
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--out {out}: is a file, not a folder") from None
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}", exit_code=EXIT_IO) from None
    if foreign and not (out / PLAN_FILE).exists():
        raise UserError(f"--out {out}: holds {sorted(foreign)[0]!r} but no {PLAN_FILE}; give a new or empty folder")


def _left_by_a_scan(item: Path) -> bool:
    """Whether this is what a run that was killed before it had a plan leaves in its folder."""
    if item.name == DATA_FOLDER and item.is_dir():
        return not any(item.iterdir())
    return item.name == WORK_FOLDER or is_temporary(item.name)


@contextlib.contextmanager
def locked(out: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the output folder, alone or with other tasks; yields whether nobody else can be writing in it.

    UserError when somebody holds it who does not share. A file system without locks is not held, and never alone.
    """
    import fcntl

    handle = os.open(out, os.O_RDONLY)  # the folder itself is locked: no file to forget, none to publish
    alone = not shared
    deadline = time.monotonic() + _MOMENT_S
    try:
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{out}: another build is writing here; wait for it or give another --out"
                    ) from None
                time.sleep(0.05)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    raise
                alone = False
                break
        yield alone
    finally:
        os.close(handle)


def holders(out: Path) -> str:
    """Who holds the folder on this machine: `nobody`, `a build` or `tasks`."""
    import fcntl

    handle = os.open(out, os.O_RDONLY)
    try:
        for wish, found in ((fcntl.LOCK_EX, "nobody"), (fcntl.LOCK_SH, "tasks")):
            with contextlib.suppress(OSError):
                fcntl.flock(handle, wish | fcntl.LOCK_NB)
                return found
        return "a build"
    finally:
        os.close(handle)


@dataclass(kw_only=True)
class RunNote:
    """What a runner says of itself while it works; read by `status`."""

    host: str
    pid: int
    began_s: float  # of the clock of its machine
    said_s: float
    stage: str
    done: int
    total: int
    unit: str
    task: str = ""  # i/n

    def running(self) -> bool | None:
        """Whether the process runs; None for one of another machine, where only its note can tell."""
        return process_is_alive(self.pid) if self.host == this_host() else None


class Journal:
    """The notes in `OUT/.work`; one that cannot be written is no reason to stop a build."""

    def __init__(self, out: Path) -> None:
        self.folder = out / WORK_FOLDER

    def open(self) -> None:
        """Make the folder."""
        self.folder.mkdir(exist_ok=True)

    def begin(self, shard: str, sample_id: str) -> None:
        """Note which sample this worker is at."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            self._mine(shard).write_text(sample_id, encoding="utf-8")

    def end(self, shard: str) -> None:
        """Take the note away: the worker leaves the shard alive."""
        with contextlib.suppress(OSError):
            self._mine(shard).unlink(missing_ok=True)

    def deaths(self, shard: str) -> Counter[str]:
        """How many workers died over which sample of a shard."""
        found = Counter[str]()
        for note in self.folder.glob(f"{shard}.*"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found[note.read_text(encoding="utf-8")] += 1
        return found

    def forget(self, shard: str) -> None:
        """Take away the notes about a shard."""
        for note in self.folder.glob(f"{shard}.*"):
            note.unlink(missing_ok=True)

    def say(self, note: RunNote) -> None:
        """Write this runner's note."""
        with contextlib.suppress(OSError):
            write_whole(self._run_file(note), json.dumps(asdict(note)).encode())

    def leave(self, note: RunNote) -> None:
        """Take this runner's note away, and the folder when nobody else has one in it."""
        with contextlib.suppress(OSError):
            self._run_file(note).unlink(missing_ok=True)
            self.folder.rmdir()

    def clear(self) -> None:
        """Take everything away: for the one who holds the folder alone."""
        for item in self.folder.iterdir() if self.folder.is_dir() else ():
            item.unlink(missing_ok=True)

    def runners(self) -> list[RunNote]:
        """The notes of all runners; those that cannot be read are left out."""
        notes = []
        for file in sorted(self.folder.glob("run.*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                if file.stat().st_size <= _MOST_NOTE_BYTES:
                    notes.append(RunNote(**json.loads(file.read_text(encoding="utf-8"))))
        return notes

    def _mine(self, shard: str) -> Path:
        return self.folder / f"{shard}.{this_host()}.{os.getpid()}"

    def _run_file(self, note: RunNote) -> Path:
        return self.folder / f"run.{note.host}.{note.pid}.json"


class Runner:
    """Keeps this process's note up to date while it scans and renders."""

    def __init__(self, journal: Journal, task: str = "") -> None:
        now = time.time()
        self.journal = journal
        self.note = RunNote(
            host=this_host(),
            pid=os.getpid(),
            began_s=now,
            said_s=now,
            stage="start",
            done=0,
            total=0,
            unit="",
            task=task,
        )
        self._last = -_NOTE_EVERY_S

    def at(self, stage: str, done: int, total: int, unit: str) -> None:
        """Say how far it is; written at most every two seconds."""
        self.note.stage, self.note.done, self.note.total, self.note.unit = stage, done, total, unit
        if time.monotonic() - self._last >= _NOTE_EVERY_S or done == total:
            self._last, self.note.said_s = time.monotonic(), time.time()
            self.journal.say(self.note)
