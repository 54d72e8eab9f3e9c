"""Shards as arrays: a sequence of samples, each decoded only as far as it is looked at.

    shards = open_shards("out")
    sample = shards[0]
    sample.frames              [N,H,W,3] uint8 or uint16, sRGB codes
    sample.target              [H,W,3] likewise
    sample.depth_m             [H,W] float32, infinity allowed
    sample.blur_radius_px(i)   [H,W] float32, signed: positive behind the focus plane of frame i
    sample.crop(y, x, h, w)    the same, of a window; with tiled TIFF cells only the tiles it touches are read

Of a dataset built with `--store layers`, target and frames are photographed here and now (`photograph.py`).

Image bytes are read from the file at their offset; nothing is unpickled and every size is checked against the file
before memory is taken. A damaged shard gives one UserError that names file, row and column.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mattingmfif.dataset.cells import read_cell, read_header
from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.files import ByteFile, inside, is_remote, list_folder
from mattingmfif.dataset.offsets import Span, cell_span, column_spans, page_sizes, unpacked_bytes
from mattingmfif.dataset.sample import (
    ALPHA_COLUMNS,
    FORMAT_VERSION,
    FRAME_COLUMNS,
    MAX_FRAMES,
    MIN_FRAMES,
    TRUST_COLUMNS,
    CameraRecord,
    Float32,
    LayerRecord,
    SourceRecord,
    decode_depth,
)
from mattingmfif.dataset.schema import RECORD_COLUMNS, columns_of, is_blob
from mattingmfif.dataset.shards import parse_shard_name
from mattingmfif.dataset.tiff import Image, TiffHeader, Window, decode_window
from mattingmfif.errors import EXIT_FAULTS, UserError

if TYPE_CHECKING:
    from mattingmfif.dataset.photograph import Photographs

Codes = npt.NDArray[Any]

#: the columns of a record other than images are a few kB; more is damage
_MAX_RECORD_BYTES = 1 << 24
#: the head of a page with its statistics takes less than this
_PAGE_HEAD_BYTES = 4096
#: tile tables that a shard keeps, a kilobyte each
_MAX_HEADERS = 1 << 12


def open_shards(out: str | Path, split: str | None = None) -> Shards:
    """The samples of a built folder (or of one shard file) in the order of their names; `split` picks one split.

    `out` is a path or an address of a file system that pyarrow knows, such as `s3://bucket/folder`.
    Raises UserError if there is none, or if a file is torn or not a shard of this format.
    """
    return Shards([ShardFile(place) for place in shard_places(out, split)])


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


class Shards(Sequence["Sample"]):
    """The samples of several shards in order; an index makes a new Sample that holds what it has decoded."""

    def __init__(self, files: list[ShardFile]) -> None:
        self.files = files
        self._places = [(file, row) for file in files for row in range(file.rows)]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        """The sample at an integer index, a list of samples for a slice."""
        if isinstance(index, slice):
            return [Sample(*place) for place in self._places[index]]
        return Sample(*self._places[index])

    def __iter__(self) -> Iterator[Sample]:
        return (Sample(file, row) for file, row in self._places)

    def __repr__(self) -> str:
        return f"<{len(self)} samples in {len(self.files)} shards>"


class Sample:
    """One sample, or a window of one; arrays are decoded when first asked for and kept with the object."""

    def __init__(self, file: ShardFile, row: int, window: Window | None = None, record: Any = None) -> None:
        self.file = file
        self.row = row
        self.window = window
        #: the columns other than images as plain values
        self.record: dict[str, Any] = file.record(row) if record is None else record
        self.focus_distance_m: list[float] = list(self.record["focus_distance_m"] or ())
        self.n_frames = len(self.focus_distance_m)
        if not MIN_FRAMES <= self.n_frames <= MAX_FRAMES:
            raise file.fault(row, "focus_distance_m", ValueError("not 2 to 7 focus distances"))
        self.sample_id: str = self.record["sample_id"]
        self.split: str = self.record["split"]
        self.licence: str = self.record["licence"]
        self.focus_plan: str = self.record["focus_plan"]
        self.codec: str = self.record["codec"]
        self.recipe_hash: str = self.record["recipe_hash"]
        self.plan_id: str = self.record["plan_id"]
        self.toolkit_version: str = self.record["toolkit_version"]
        self.store = file.store
        #: of `--store layers`: margin, quality, largest radius, coding of distance maps; else None
        self.layer_store: dict[str, Any] | None = self.record.get("layer_store")
        #: hash of every whole image by column, None where the sample has none
        self.pixel_sha256: dict[str, str | None] = dict(self.record["pixel_sha256"] or {})

    def image(self, column: str) -> Codes | None:
        """Stored codes of any image column (`frame_3`, `depth`, `alpha_0`, …), None where the sample has none."""
        return self.file.image(self.row, column, self.window)

    def crop(self, y: int, x: int, height: int, width: int) -> Sample:
        """The same sample seen through a window, y and x counted from this one's corner; UserError if it leaves it."""
        top, left, full_height, full_width = self.window or (0, 0, *self.size)
        if min(y, x) < 0 or min(height, width) < 1 or y + height > full_height or x + width > full_width:
            raise UserError(f"crop({y}, {x}, {height}, {width}): leaves the sample of {full_height} x {full_width} px")
        return Sample(self.file, self.row, (top + y, left + x, height, width), self.record)

    @functools.cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) in px of every image of the sample, or of the window."""
        return self.window[2:] if self.window else self.file.image_size(self.row, "depth")

    @functools.cached_property
    def frames(self) -> Codes:
        """[N,H,W,3] sRGB codes, uint8 or uint16, in the order of `focus_distance_m`."""
        if self.store == "layers":
            return self._photographs.frames
        return self._stack(FRAME_COLUMNS[: self.n_frames])

    @functools.cached_property
    def target(self) -> Codes:
        """[H,W,3] sRGB codes of the scene without blur."""
        if self.store == "layers":
            from mattingmfif.dataset.photograph import reassembled

            return reassembled(self)
        return self._need("all_in_focus")

    def quick_frame(self, number: int) -> Codes:
        """[H,W,3] one of `frames`, for looking: stored layers are photographed by the layered product.

        That takes a fraction of the time; what is in focus has the same codes.
        """
        if self.store == "layers":
            codes: Codes = self._quick_photographs.frames[number]
            return codes
        return self._need(FRAME_COLUMNS[number])

    @functools.cached_property
    def _quick_photographs(self) -> Photographs:
        from mattingmfif.dataset.photograph import photograph

        return photograph(self, quality="fast", maps=False)

    @functools.cached_property
    def _photographs(self) -> Photographs:
        from mattingmfif.dataset.photograph import photograph

        return photograph(self)

    @functools.cached_property
    def depth_m(self) -> Float32:
        """[H,W] distance in metres of the layer that is seen most, float32, infinity allowed."""
        return decode_depth(self._need("depth"), self.camera.depth_scale, self.camera.depth_offset)

    @functools.cached_property
    def alphas(self) -> Float32:
        """[K,H,W] mattes in 0..1, float32, nearest layer first; K may be 0."""
        count = sum(self.pixel_sha256.get(name) is not None for name in ALPHA_COLUMNS)
        if not count:
            return np.zeros((0, *self.size), np.float32)
        return self._stack(ALPHA_COLUMNS[:count]).astype(np.float32) / np.float32(65535)

    @functools.cached_property
    def sharpest_frame(self) -> npt.NDArray[np.uint8]:
        """[H,W] index of the frame with the least blur, 255 where none has a radius of 0.5 px or less (the gap)."""
        return self._need("sharpest_frame")

    @functools.cached_property
    def boundary(self) -> npt.NDArray[np.bool_]:
        """[H,W] pixels that the blur of a matte edge reaches in some frame."""
        return self._need("boundary") > 0

    @functools.cached_property
    def trust(self) -> Float32:
        """[H,W] share of the target's light that was photographed rather than invented, 0..1."""
        return self._need("trust").astype(np.float32) / np.float32(255)

    @functools.cached_property
    def frame_trust(self) -> Float32:
        """[N,H,W] the same share for each frame, 0..1."""
        return self._stack(TRUST_COLUMNS[: self.n_frames]).astype(np.float32) / np.float32(255)

    def blur_radius_px(self, frame: int) -> Float32:
        """[H,W] signed blur radius of the frame in px at full image width: negative in front of the focus plane."""
        from mattingmfif.dataset.camera import radius_px

        return radius_px(self.camera, self.depth_m, self.focus_distance_m[frame])

    @functools.cached_property
    def sources(self) -> list[SourceRecord]:
        """The photographs of which the sample is made."""
        return [SourceRecord(**source) for source in self.record["sources"]]

    @functools.cached_property
    def camera(self) -> CameraRecord:
        """The camera as drawn."""
        try:
            plain = dict(self.record["camera"])
            for name in ("lens_options", "sensor", "draws"):
                plain[name] = json.loads(plain[name])
            return CameraRecord(**plain)
        except (TypeError, ValueError) as error:
            raise self.file.fault(self.row, "camera", error) from None

    @functools.cached_property
    def layers(self) -> list[LayerRecord]:
        """The layers nearest first; the last is the opaque background, the others belong to `alphas`."""
        try:
            return [LayerRecord(**{**layer, "scores": json.loads(layer["scores"])}) for layer in self.record["layers"]]
        except (TypeError, ValueError) as error:
            raise self.file.fault(self.row, "layers", error) from None

    def __repr__(self) -> str:
        return f"<sample {self.sample_id}: {self.n_frames} frames of {self.size[1]} x {self.size[0]} px>"

    def _need(self, column: str) -> Codes:
        image = self.image(column)
        if image is None:
            raise self.file.fault(self.row, column, ValueError("absent"))
        return image

    def _stack(self, columns: Sequence[str]) -> Codes:
        first = self._need(columns[0])
        stack = np.empty((len(columns), *first.shape), first.dtype)
        stack[0] = first
        for k, column in enumerate(columns[1:], start=1):
            if self.file.image(self.row, column, self.window, stack[k]) is None:
                raise self.file.fault(self.row, column, ValueError("absent"))
        return stack


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
