"""One shard opened for reading at offsets, and where the shards of a dataset lie.

Image bytes are read from the file at their offset; nothing is unpickled and every size is checked against the file
before memory is taken. A damaged shard gives one UserError that names file, row and column.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mattingmfif.dataset.cells import read_cell, read_header
from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.files import ByteFile, inside, is_remote, list_folder
from mattingmfif.dataset.offsets import Span, cell_span, column_spans, page_sizes, unpacked_bytes
from mattingmfif.dataset.sample import FORMAT_VERSION
from mattingmfif.dataset.schema import RECORD_COLUMNS, columns_of, is_blob
from mattingmfif.dataset.shards import parse_shard_name
from mattingmfif.dataset.tiff import Image, TiffHeader, Window, decode_window
from mattingmfif.errors import EXIT_FAULTS, UserError

#: the columns of a record other than images are a few kB; more is damage
_MAX_RECORD_BYTES = 1 << 24
#: the head of a page with its statistics takes less than this
_PAGE_HEAD_BYTES = 4096
#: tile tables that a shard keeps, a kilobyte each
_MAX_HEADERS = 1 << 12
#: shards of a dataset that are kept open unless asked for more, some 50 kB each
MOST_SHARDS = 64


def shard_places(out: str | Path, split: str | None = None) -> list[Path | str]:
    """Paths or addresses of the shards that `open_shards` opens, sorted by name; UserError if there are none."""
    places: list[Path | str]
    if is_remote(out):
        address = str(out)
        name = PurePosixPath(address.partition("?")[0]).name
        if parse_shard_name(name):
            places = [address]
        else:
            folder, names = inside(address, "data"), list_folder(inside(address, "data"))
            if not names:
                folder, names = address, list_folder(address)
            places = [inside(folder, item) for item in names if parse_shard_name(item)]
    else:
        name, places = Path(out).name, list(find_shards(Path(out)))
    every = places
    if split is not None:
        places = [place for place in places if (parse_shard_name(place_name(place)) or ("",))[0] == split]
    if not places:
        wanted = f" of split {split!r}" if split else ""
        others = sorted({known[0] for place in every if (known := parse_shard_name(place_name(place)))})
        if others:
            raise UserError(f"{redacted(str(out))}: no shard{wanted} found; there are: {', '.join(others)}")
        raise UserError(
            f"{redacted(str(out))}: no shard{wanted} found; expected {name}/data/<split>-NNNNN-of-NNNNN.parquet"
        )
    return places


def place_name(place: Path | str) -> str:
    """The file name at the end of a path or an address."""
    return place.name if isinstance(place, Path) else PurePosixPath(place.partition("?")[0]).name


def find_shards(out: Path) -> list[Path]:
    """Shard files of a built folder, sorted by name; `out` itself if it is a file."""
    if out.is_file():
        return [out]
    folder = out / "data" if (out / "data").is_dir() else out
    return sorted(path for path in folder.glob("*.parquet") if parse_shard_name(path.name))


class ShardFile:
    """One Parquet file of the format, opened for reading at offsets; can be sent to another process."""

    def __init__(self, place: Path | str) -> None:
        """Read and check the footer; UserError if the file is not a whole shard of this format version."""
        name = place_name(place)
        try:
            self._bytes = ByteFile(place)
            stream = self._bytes.stream()
            file = pq.ParquetFile(stream, thrift_string_size_limit=1 << 24, thrift_container_size_limit=1 << 20)
            footer, schema = file.metadata, file.schema_arrow
            self._chunks = [column_spans(footer.row_group(k)) for k in range(footer.num_row_groups)]
            rows = [footer.row_group(k).num_rows for k in range(footer.num_row_groups)]
            self._record_bytes = [unpacked_bytes(footer.row_group(k), is_blob) for k in range(footer.num_row_groups)]
            stream.close()
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            message = f"{name}: not a whole Parquet file ({redacted(_line(error))}); build again"
            raise UserError(message, EXIT_FAULTS) from None
        self.path = place if isinstance(place, Path) else Path(name)
        pairs = (schema.metadata or {}).items()
        self.metadata = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in pairs}
        version = self.metadata.get("format_version")
        if version != str(FORMAT_VERSION):
            raise UserError(f"{name}: format version {version}; this reader knows {FORMAT_VERSION}", EXIT_FAULTS)
        #: "frames", or "layers" where frames are photographed when they are read
        self.store = self.metadata.get("store", "frames")
        if schema.names != [column for column, _ in columns_of(self.store)] or rows != [1] * len(rows):
            raise UserError(f"{name}: not the columns and row groups of a shard", EXIT_FAULTS)
        self.rows = len(rows)
        self.file_bytes = self._bytes.size_bytes
        self._spans: dict[tuple[int, str], Span | None] = {}
        self._headers: dict[tuple[int, str], TiffHeader | None] = {}

    def record(self, row: int) -> dict[str, Any]:
        """The columns of a row other than images, as plain values."""
        columns = [*RECORD_COLUMNS, *(["layer_store"] if self.store == "layers" else [])]
        chunks = [span for leaf, span in self._chunks[row].items() if leaf.partition(".")[0] in columns]
        try:
            total = max(sum(size for _, size in chunks), self._record_bytes[row])
            if not is_remote(self._bytes.place):  # what the footer says may be a lie; reading all pages' heads is cheap
                total = max(total, sum(self._unpacked(*span) for span in chunks))
            if total > _MAX_RECORD_BYTES:
                raise ValueError(f"{total} bytes of record")
            with self._bytes.stream() as stream, pq.ParquetFile(stream, page_checksum_verification=True) as file:
                values = file.read_row_group(row, columns=columns).to_pylist()
            if len(values) != 1:
                raise ValueError(f"{len(values)} values")
            return dict(values[0])
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            raise self.fault(row, "record", error) from None

    def _unpacked(self, start: int, size: int) -> int:
        """Bytes to which a column chunk of one page unpacks."""
        unpacked, packed = page_sizes(self.read(start, min(size, _PAGE_HEAD_BYTES)))
        if not 0 <= packed <= size <= packed + _PAGE_HEAD_BYTES or unpacked < 0:
            raise ValueError("a column chunk of more than one page")
        return unpacked

    def span(self, row: int, column: str) -> Span | None:
        """(offset, bytes) of an image cell in the file, None where the sample has none."""
        key = (row, column)
        if key not in self._spans:
            try:
                self._spans[key] = cell_span(self.read, self._chunks[row][f"{column}.bytes"], self.file_bytes)
            except (OSError, ValueError, KeyError) as error:
                raise self.fault(row, column, error) from None
        return self._spans[key]

    def image(self, row: int, column: str, window: Window | None = None, result: Image | None = None) -> Image | None:
        """The stored codes of an image cell or of a window of it, None where the sample has none.

        With `result`, an array of the type and shape to come, the codes are written there and it is returned.
        """
        span = self.span(row, column)
        if span is None:
            return None
        start, size = span
        try:
            header = self._header(row, column)
            if header is not None:
                return decode_window(lambda offset, length: self.read(start + offset, length), header, window, result)
            image = read_cell(lambda offset, length: self.read(start + offset, length), size, window)
            if result is None:
                return image
            if image.shape != result.shape or image.dtype != result.dtype:
                raise ValueError(f"{image.dtype} {list(image.shape)}")
            result[...] = image
            return result
        except (OSError, ValueError) as error:
            raise self.fault(row, column, error) from None

    def image_size(self, row: int, column: str) -> tuple[int, int]:
        """(height, width) of a cell, from its header alone where it is a tiled TIFF."""
        try:
            header = self._header(row, column)
        except (OSError, ValueError) as error:
            raise self.fault(row, column, error) from None
        if header is not None:
            return header.height, header.width
        image = self.image(row, column)
        assert image is not None
        return image.shape[0], image.shape[1]

    def _header(self, row: int, column: str) -> TiffHeader | None:
        """The tile table of a cell, None for a PNG."""
        key = (row, column)
        with contextlib.suppress(KeyError):  # another thread may just have cleared them
            return self._headers[key]
        span = self.span(row, column)
        if span is None:
            raise ValueError("absent")
        start, size = span
        if len(self._headers) >= _MAX_HEADERS:
            self._headers.clear()
        header = read_header(lambda offset, length: self.read(start + offset, length), size)
        self._headers[key] = header
        return header

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`; OSError if the file ends before."""
        return self._bytes.read(offset, length)

    def fault(self, row: int, column: str, error: Exception) -> UserError:
        """One line that says which cell of which file is damaged."""
        return UserError(f"{self.path.name}, row {row}, {column}: damaged ({_line(error)})", EXIT_FAULTS)

    def close(self) -> None:
        """Give the file handle back; reading again opens it again."""
        self._bytes.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_headers": {}}


class ShardFiles(Sequence[ShardFile]):
    """The shards of a dataset, opened when they are asked for; the last `most` are kept.

    So a dataset of thousands of shards takes little memory. Safe for threads, can be sent to another process.
    """

    def __init__(self, places: Sequence[Path | str], most: int = MOST_SHARDS) -> None:
        self.places, self.most = list(places), most
        self._files: OrderedDict[int, ShardFile] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: Any) -> Any:
        """The shard of that number, a list of shards for a slice; UserError where it is damaged."""
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        with self._lock:
            file = self._files.pop(number, None)
        file = file or ShardFile(self.places[number])  # two threads may open it at once: no harm
        with self._lock:
            self._files[number] = file  # the last used stands last
            if len(self._files) > self.most:
                self._files.popitem(last=False)
        return file

    def __iter__(self) -> Iterator[ShardFile]:
        return (self[number] for number in range(len(self)))

    @property
    def opened(self) -> int:
        """How many are open now."""
        return len(self._files)

    def __getstate__(self) -> dict[str, Any]:
        return {"places": self.places, "most": self.most}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _files=OrderedDict(), _lock=threading.Lock())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
