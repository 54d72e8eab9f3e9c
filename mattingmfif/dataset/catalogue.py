"""Which samples a dataset holds and how large they are, known without opening its shards where the manifest says so.

Shards are opened when a sample of theirs is first read, and forgotten again when many are open, so that a dataset of
thousands of shards, on a disk or behind an address, starts at once and takes little memory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mattingmfif.dataset.files import ByteFile, inside, is_remote
from mattingmfif.dataset.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES
from mattingmfif.dataset.offsets import unpacked_bytes
from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.sample import TRUST_COLUMNS
from mattingmfif.dataset.shard_file import ShardFile, ShardFiles, place_name, shard_places
from mattingmfif.errors import EXIT_FAULTS, UserError

#: shards that a catalogue keeps open, some 50 kB each
_MOST_SHARDS = 256

Ints = npt.NDArray[np.int32]


class Catalogue:
    """The samples of a dataset in the order of its shards; can be sent to another process."""

    def __init__(self, out: str | Path, split: str | None = None) -> None:
        """`out` is a folder, a shard file or an address; UserError where there is none, or a shard is damaged."""
        self._files = ShardFiles(shard_places(out, split), _MOST_SHARDS)
        rows = _from_manifest(out, self._files.places)
        if rows is None:
            rows = [row for number in range(len(self._files)) for row in self._looked_up(number)]
        table = np.array(rows, np.int32).reshape(-1, 5)
        #: by sample: number of its shard, row in it, frames, height and width in px
        self.shard, self.row, self.frames, self.height, self.width = (np.ascontiguousarray(part) for part in table.T)

    def __len__(self) -> int:
        return len(self.shard)

    def sample(self, number: int) -> Sample:
        """The sample of that number."""
        return Sample(self.file(number), int(self.row[number]))

    def file(self, number: int) -> ShardFile:
        """The shard in which the sample of that number lies."""
        file = self._files[int(self.shard[number])]
        if self.row[number] >= file.rows:
            raise UserError(
                f"{file.path.name}: {MANIFEST_FILE} lists more samples than it holds; make the index again", EXIT_FAULTS
            )
        return file

    def _looked_up(self, shard: int) -> list[tuple[int, int, int, int, int]]:
        file = self._files[shard]
        rows = []
        for row in range(file.rows):
            frames = sum(file.span(row, name) is not None for name in TRUST_COLUMNS)  # one a frame in every store
            rows.append((shard, row, frames, *file.image_size(row, "depth")))
        return rows


def _from_manifest(out: str | Path, places: list[Path | str]) -> list[tuple[int, int, int, int, int]] | None:
    """(shard, row, frames, height, width) of every sample, None where the manifest is missing or of other shards."""
    place: Path | str = inside(str(out), MANIFEST_FILE) if is_remote(out) else Path(out) / MANIFEST_FILE
    try:
        file = ByteFile(place)
        if file.size_bytes > MAX_MANIFEST_BYTES:
            return None
        with file.stream() as stream, pq.ParquetFile(stream) as manifest:
            groups = range(manifest.metadata.num_row_groups)
            unpacked = sum(unpacked_bytes(manifest.metadata.row_group(k), lambda leaf: False) for k in groups)
            if unpacked > MAX_MANIFEST_BYTES:
                return None
            table = manifest.read(columns=["shard", "row", "frames", "height", "width"])
    except (OSError, ValueError, pa.ArrowException):
        return None
    numbers = {place_name(item): number for number, item in enumerate(places)}
    rows: list[tuple[int, int, int, int, int]] = []
    listed = dict.fromkeys(numbers.values(), 0)
    for item in table.to_pylist():
        number = numbers.get(item["shard"])
        if number is None:
            continue  # of another split
        if item["row"] != listed[number] or min(item["frames"], item["height"], item["width"]) < 1:
            return None
        listed[number] += 1
        rows.append((number, item["row"], item["frames"], item["height"], item["width"]))
    return rows if all(listed.values()) else None  # shards made after the manifest: look for ourselves
