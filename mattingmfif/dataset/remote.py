"""Whole files to and from remote folders (`s3://…`), and a local mirror of a remote dataset folder.

An object appears when its last part has arrived and is complete then: a large one goes up in parts that only the end
makes visible. The bytes are handed over in one call, because a stream that Python leaves on an interrupt is *closed*,
and closing completes what was sent so far; an object that arrived in another size is deleted again.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs

from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.files import inside, is_remote, remote
from mattingmfif.dataset.manifest import MANIFEST_FILE
from mattingmfif.dataset.out_folder import DATA_FOLDER, WORK_FOLDER
from mattingmfif.dataset.plan import MAX_PLAN_BYTES, PLAN_FILE, stays_inside
from mattingmfif.dataset.shards import parse_shard_name, shard_is_complete
from mattingmfif.dataset.whole_files import is_temporary, temporary_beside
from mattingmfif.errors import EXIT_IO, UserError

_BLOCK_BYTES = 1 << 22
#: files of a dataset folder that go on with it, whatever made them
_CARRIED = (PLAN_FILE, "run.jsonl", MANIFEST_FILE)


def put_file(local: Path, address: str) -> None:
    """Make the file the object at `address`, whole or not at all; OSError where that fails."""
    system, path = remote(address)
    size = local.stat().st_size
    with plain_errors(address):
        with pa.memory_map(str(local)) if size else pa.BufferReader(b"") as content:
            buffer = content.read_buffer()
            stream = system.open_output_stream(path)
            try:
                stream.write(buffer)
                stream.close()
            finally:
                with contextlib.suppress(OSError, pa.ArrowException):
                    stream.close()
                arrived = system.get_file_info(path)
                if arrived.size not in (size, None):
                    system.delete_file(path)
        if arrived.size != size:
            raise OSError("what arrived has another size than what was sent")


def fetch_file(address: str, local: Path, most_bytes: int | None = None) -> None:
    """Write the object at `address` to the file, whole or not at all; FileNotFoundError where there is none."""
    system, path = remote(address)
    temporary = temporary_beside(local)
    with plain_errors(address):
        try:
            with system.open_input_stream(path) as source, temporary.open("wb") as target:
                taken = 0
                while block := source.read(_BLOCK_BYTES):
                    taken += len(block)
                    if most_bytes is not None and taken > most_bytes:
                        raise OSError(f"more than {most_bytes} bytes")
                    target.write(block)
            temporary.replace(local)
        finally:
            temporary.unlink(missing_ok=True)


def delete_file(address: str) -> None:
    """Delete the object at `address`; OSError where that fails."""
    system, path = remote(address)
    with plain_errors(address):
        system.delete_file(path)


def walk(address: str) -> dict[str, int]:
    """Sizes of all files under the folder at `address` by relative path, sorted; {} where there is no such folder.

    Names that would leave the folder are left out. Raises UserError (exit code 3) where it cannot be listed.
    """
    system, root = remote(address)
    try:
        found = system.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    except OSError as error:
        text = redacted(" ".join(str(error).split())[:300])
        raise UserError(f"{redacted(address)}: cannot be listed ({text})", EXIT_IO) from None
    prefix = root.rstrip("/") + "/"
    names = {item.path.removeprefix(prefix): int(item.size) for item in found if item.type == pafs.FileType.File}
    return {name: names[name] for name in sorted(names) if stays_inside(name)}


@contextlib.contextmanager
def plain_errors(address: str) -> Iterator[None]:
    """Errors of the other side as one line that holds no credentials; a missing file stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(2, "no such object", redacted(address)) from None
    except (OSError, pa.ArrowException) as error:
        text = redacted(" ".join(str(error).split())[:300])
        raise OSError(5, f"{redacted(address)}: {text}") from None


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A dataset folder on this machine, and the address of the remote one that it stands for (None: itself)."""

    folder: Path
    address: str | None = None

    def pull(self) -> None:
        """Bring plan, log and manifest. UserError where the remote folder holds other things and no plan."""
        if self.address is None:
            return
        there = walk(self.address)
        foreign = [name for name in there if PLAN_FILE not in there and not is_temporary(PurePosixPath(name).name)]
        if foreign:
            raise UserError(
                f"--out {redacted(self.address)}: holds {foreign[0]!r} but no {PLAN_FILE}; give a new or empty folder"
            )
        for name in _CARRIED:
            if name in there:
                fetch_file(inside(self.address, name), self.folder / name, MAX_PLAN_BYTES)

    @property
    def data(self) -> Path | str:
        """The dataset folder as it is read: this one, or the remote address."""
        return self.folder if self.address is None else self.address

    def data_files(self) -> list[str]:
        """Names of what lies among the shards, sorted."""
        if self.address is not None:
            return list(walk(inside(self.address, DATA_FOLDER)))
        folder = self._data_folder()
        return sorted(path.name for path in folder.iterdir() if folder != self.folder or _is_shard(path))

    @contextlib.contextmanager
    def at_hand(self, shard: str) -> Iterator[Path]:
        """A shard on this machine; a remote one only for the while."""
        if self.address is None:
            yield self._data_folder() / shard
            return
        local = self.folder / DATA_FOLDER / shard
        local.parent.mkdir(exist_ok=True)
        fetch_file(inside(self.address, DATA_FOLDER, shard), local)
        try:
            yield local
        finally:
            local.unlink(missing_ok=True)

    def _data_folder(self) -> Path:
        """OUT/data, or OUT itself where shards lie there."""
        data = self.folder / DATA_FOLDER
        return data if data.is_dir() else self.folder

    def shards(self) -> dict[str, int]:
        """Sizes of the remote shards by name."""
        assert self.address is not None
        found = walk(inside(self.address, DATA_FOLDER))
        return {name: size for name, size in found.items() if parse_shard_name(name)}

    def push(self) -> None:
        """Send everything but shards (they went one by one) and working notes."""
        if self.address is None:
            return
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            if path.is_file() and name.parts[0] not in (DATA_FOLDER, WORK_FOLDER) and not is_temporary(path.name):
                put_file(path, inside(self.address, name.as_posix()))

    def whole(self, shard: str, plan_id: str) -> bool:
        """Whether the shard is there: here every page is read, there the footer, which is written last."""
        if self.address is None:
            return shard_is_complete(self.folder / DATA_FOLDER / shard, plan_id, deep=True)
        return shard_is_complete(inside(self.address, DATA_FOLDER, shard), plan_id)


def _is_shard(path: Path) -> bool:
    return parse_shard_name(path.name) is not None


@contextlib.contextmanager
def mirrored(out: Path | str) -> Iterator[Mirror]:
    """A mirror of the dataset folder `out`; of a remote one in a temporary folder that is removed at the end.

    UserErrors from inside name the address instead of that folder.
    """
    if not is_remote(out):
        yield Mirror(folder=Path(out))
        return
    address = str(out)
    with tempfile.TemporaryDirectory(prefix="mattingmfif-") as name:
        try:
            mirror = Mirror(folder=Path(name), address=address)
            mirror.pull()
            yield mirror
        except UserError as error:
            raise UserError(str(error).replace(name, redacted(address)), error.exit_code) from None
        except OSError as error:
            text = f"{error.strerror or error}".replace(name, redacted(address))
            raise UserError(f"{text}; run the same command to go on", EXIT_IO) from None
