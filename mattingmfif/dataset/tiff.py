"""Numeric images as tiled TIFF, written and read without a TIFF library, so that a crop decodes only its tiles.

Layout, always the same, so that equal pixels give equal bytes: little-endian classic TIFF, one image, chunky, unsigned
8 or 16 bit, 1 or 3 channels, 256-px tiles in row-major order, Compression 50000 (one zstd frame a tile, level 1),
Predictor 2 (horizontal differences modulo 2^bits). The directory stands in front, the tiles follow without gaps to the
end of the file. Edge tiles are completed by repeating the last column and row. Pillow (8 bit, and 16 bit with one
channel) and tifffile read these files exactly.

The reader accepts this layout and nothing else: everything a damaged header could claim is compared with the header
that `encode_tiff` would have written for the same size, before a single pixel is allocated.

Notation: a window is (y, x, height, width) in px; an image is `[H,W]` or `[H,W,3]`.
"""

from __future__ import annotations

import functools
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Image = npt.NDArray[Any]
Window = tuple[int, int, int, int]
Buffer = bytes | bytearray | memoryview

TILE_PX = 256
ZSTD_LEVEL = 1
#: more than an 11,000-px square; a header that claims more is damaged
MAX_PIXELS = 2**27
#: reading this many bytes from the front gives the whole directory of a 4K image
HEADER_GUESS_BYTES = 2048

_SHORT, _LONG = 3, 4


class TiffError(ValueError):
    """The bytes are not, or no longer, an image that `encode_tiff` wrote."""


@dataclass(frozen=True, kw_only=True)
class TiffHeader:
    """Size and tile table of one image; made by `parse_header` only, which has checked all of it."""

    height: int
    width: int
    channels: int
    bits: int
    offsets: Sequence[int]
    counts: Sequence[int]

    @property
    def tiles_across(self) -> int:
        """Tiles in a row of tiles."""
        return -(-self.width // TILE_PX)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, little-endian."""
        return np.dtype("<u2" if self.bits == 16 else "u1")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole image, `[H,W]` or `[H,W,3]`."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, 3)

    @property
    def tile_bytes(self) -> int:
        """Bytes of one decoded tile."""
        return TILE_PX * TILE_PX * self.channels * self.bits // 8


def encode_tiff(image: Image) -> bytes:
    """TIFF bytes of uint8 or uint16 `[H,W]` or `[H,W,3]`; a function of the pixels alone (and of the zstd version)."""
    unsigned = image.dtype.kind == "u" and image.dtype.itemsize in (1, 2)
    if not unsigned or image.ndim < 2 or image.shape[2:] not in ((), (3,)):
        raise TiffError(f"cannot store {image.dtype} {list(image.shape)}; uint8 or uint16, [H,W] or [H,W,3]")
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else 3
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise TiffError(f"cannot store an image of {width} x {height} px; 1 to {MAX_PIXELS} px")
    bits = 8 * image.dtype.itemsize
    pixels = image.reshape(height, width, channels).astype(f"<u{bits // 8}", copy=False)
    codec = _codec()
    tiles = []
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            part = pixels[y : y + TILE_PX, x : x + TILE_PX]
            missing = ((0, TILE_PX - part.shape[0]), (0, TILE_PX - part.shape[1]), (0, 0))
            tile = np.pad(part, missing, mode="edge")
            difference = tile.copy()
            difference[:, 1:] -= tile[:, :-1]
            tiles.append(codec.compress(difference.tobytes(), asbytes=True))
    counts = [len(tile) for tile in tiles]
    return _header_bytes(height, width, channels, bits, counts) + b"".join(tiles)


def header_length(height: int, width: int, channels: int) -> int:
    """Bytes in front of the first tile."""
    n_tiles = _tile_count(height, width)
    return len(_header_bytes(1, 1, channels, 8, [0])) + (8 * n_tiles if n_tiles > 1 else 0)


def parse_header(front: Buffer, total_bytes: int) -> TiffHeader:
    """Header of an image of `total_bytes` from its first bytes, all of it checked; allocates only the tile table.

    `front` must reach to the first tile: `HEADER_GUESS_BYTES` are enough up to 4K. Raises `NeedMoreBytes` if it does
    not, TiffError if the bytes are damaged.
    """
    front = memoryview(front).cast("B")
    fields = _entries(front)
    height, width, channels = fields["height"], fields["width"], fields["channels"]
    if channels not in (1, 3) or min(height, width) < 1 or height * width > MAX_PIXELS:
        raise TiffError(f"impossible header: {width} x {height} px, {channels} channels")
    length = header_length(height, width, channels)
    if length > total_bytes:
        raise TiffError(f"{width} x {height} px need a directory of {length} bytes; the image has {total_bytes}")
    if length > len(front):
        raise NeedMoreBytes(length)
    n_tiles = _tile_count(height, width)
    counts = _longs(front, fields["counts"], n_tiles)
    bits = fields["bits"] if channels == 1 else struct.unpack_from("<H", front, _arrays_start())[0]
    if bits not in (8, 16):
        raise TiffError(f"impossible header: {bits} bits a sample")
    if sum(counts) + length != total_bytes or min(counts) < 1:
        raise TiffError(f"the tiles should end at byte {sum(counts) + length}; the image has {total_bytes} bytes")
    if bytes(front[:length]) != _header_bytes(height, width, channels, bits, counts):
        raise TiffError("the directory is damaged")
    offsets = (length + np.concatenate(([0], np.cumsum(counts[:-1], dtype=np.int64)))).tolist()
    return TiffHeader(
        height=height,
        width=width,
        channels=channels,
        bits=bits,
        offsets=array("L", offsets),  # a quarter of a tuple's memory: readers keep many of them
        counts=array("L", counts),
    )


class NeedMoreBytes(TiffError):
    """The front of the file was too short for its directory; `length` bytes will do."""

    def __init__(self, length: int) -> None:
        super().__init__(f"the image is cut off: its directory takes {length} bytes")
        self.length = length


def decode_tiff(buffer: Buffer, window: Window | None = None) -> Image:
    """Pixels of an image that `encode_tiff` wrote, or of a window of it; raises TiffError for anything else."""
    view = memoryview(buffer).cast("B")
    header = parse_header(view, len(view))
    return decode_window(lambda offset, length: view[offset : offset + length], header, window)


def decode_window(
    read: Callable[[int, int], Buffer], header: TiffHeader, window: Window | None = None, result: Image | None = None
) -> Image:
    """Pixels of a window, fetching only the tiles it touches: one `read(offset, length)` for each row of tiles.

    Offsets count from the start of the image. With `result` (contiguous, of the type and shape to come) the pixels are
    written there. Raises TiffError for a window that leaves the image, damaged tiles, or another `result`.
    """
    y0, x0, height, width = check_window(window, header.height, header.width)
    channels, dtype = header.channels, header.dtype
    shape = (height, width) if channels == 1 else (height, width, channels)
    if result is None:
        result = np.empty(shape, dtype)
    elif result.shape != shape or result.dtype != dtype:
        raise TiffError(f"the image has {dtype} {list(shape)}, not {result.dtype} {list(result.shape)}")
    first_column, last_column = x0 // TILE_PX, (x0 + width - 1) // TILE_PX
    codec = _codec()
    sum_up, tile_shape = _sums(channels)
    for tile_row in range(y0 // TILE_PX, (y0 + height - 1) // TILE_PX + 1):
        first = tile_row * header.tiles_across + first_column
        last = tile_row * header.tiles_across + last_column
        start = header.offsets[first]
        strip = memoryview(read(start, header.offsets[last] + header.counts[last] - start))
        top, bottom = max(y0 - tile_row * TILE_PX, 0), min(y0 + height - tile_row * TILE_PX, TILE_PX)
        row = tile_row * TILE_PX + top - y0
        for tile in range(first, last + 1):
            tile_x = (first_column + tile - first) * TILE_PX
            left, right = max(x0 - tile_x, 0), min(x0 + width - tile_x, TILE_PX)
            at = header.offsets[tile] - start
            try:
                raw = codec.decompress(strip[at : at + header.counts[tile]], header.tile_bytes)
            except OSError as error:
                raise TiffError(f"tile {tile} is damaged ({error})") from None
            # rows are independent and a sum needs only what lies to the left: no work outside the window
            difference = np.frombuffer(raw, dtype).reshape(tile_shape)[top:bottom, :right]
            column = tile_x + left - x0
            sum_up(difference, left, result[row : row + bottom - top, column : column + right - left])
    return result


@functools.cache
def _sums(channels: int) -> tuple[Callable[[Image, int, Image], None], tuple[int, ...]]:
    """The compiled running sum for images of so many channels, and the shape of a tile; compiled when first needed."""
    from mattingmfif.dataset.kernels import sum_up_colour, sum_up_grey

    return (sum_up_grey, (TILE_PX, TILE_PX)) if channels == 1 else (sum_up_colour, (TILE_PX, TILE_PX, channels))


def check_window(window: Window | None, height: int, width: int) -> Window:
    """The window itself, or the whole image for None; TiffError if it is empty or leaves the image."""
    if window is None:
        return 0, 0, height, width
    y, x, window_height, window_width = window
    inside = min(y, x) >= 0 and y + window_height <= height and x + window_width <= width
    if not inside or window_height < 1 or window_width < 1:
        raise TiffError(f"the window {window} (y, x, height, width) leaves the image of {height} x {width} px")
    return window


def _tile_count(height: int, width: int) -> int:
    return -(-height // TILE_PX) * -(-width // TILE_PX)


_TAGS = (
    ("width", 256, _LONG),
    ("height", 257, _LONG),
    ("bits", 258, _SHORT),
    ("compression", 259, _SHORT),
    ("photometric", 262, _SHORT),
    ("channels", 277, _SHORT),
    ("planar", 284, _SHORT),
    ("predictor", 317, _SHORT),
    ("tile_width", 322, _LONG),
    ("tile_height", 323, _LONG),
    ("offsets", 324, _LONG),
    ("counts", 325, _LONG),
    ("sample_format", 339, _SHORT),
)


def _arrays_start() -> int:
    return 8 + 2 + 12 * len(_TAGS) + 4


def _header_bytes(height: int, width: int, channels: int, bits: int, counts: Sequence[int]) -> bytes:
    """The header and directory that belong to an image of this size with tiles of these byte counts."""
    n_tiles = len(counts)
    arrays_bytes = (2 * 2 * channels if channels > 1 else 0) + (2 * 4 * n_tiles if n_tiles > 1 else 0)
    first_tile = _arrays_start() + arrays_bytes
    ends = np.cumsum(np.asarray(counts, np.int64)) + first_tile
    if ends[-1] >= 2**32:
        raise TiffError("the image takes more than 4 GiB, more than a classic TIFF can address")
    offsets = ends - np.asarray(counts, np.int64)
    values: dict[str, list[int]] = {
        "width": [width],
        "height": [height],
        "bits": [bits] * channels,
        "compression": [50000],
        "photometric": [1 if channels == 1 else 2],
        "channels": [channels],
        "planar": [1],
        "predictor": [2],
        "tile_width": [TILE_PX],
        "tile_height": [TILE_PX],
        "offsets": offsets.tolist(),
        "counts": list(counts),
        "sample_format": [1] * channels,
    }
    directory = [b"II*\0", struct.pack("<IH", 8, len(_TAGS))]
    arrays: list[bytes] = []
    position = _arrays_start()
    for name, tag, kind in _TAGS:
        value = values[name]
        packed = np.asarray(value, "<u2" if kind == _SHORT else "<u4").tobytes()
        if len(packed) > 4:
            arrays.append(packed)
            packed, position = struct.pack("<I", position), position + len(packed)
        directory.append(struct.pack("<HHI", tag, kind, len(value)) + packed.ljust(4, b"\0"))
    return b"".join([*directory, struct.pack("<I", 0), *arrays])


def _entries(front: memoryview) -> dict[str, int]:
    """The value (or position) field of every directory entry, by name; only the framing is checked here."""
    if len(front) < _arrays_start():
        raise TiffError(f"cut off after {len(front)} bytes")
    if bytes(front[:10]) != b"II*\0" + struct.pack("<IH", 8, len(_TAGS)):
        raise TiffError("it does not start like a TIFF of this package")
    fields = {}
    for index, (name, _, kind) in enumerate(_TAGS):
        at = 10 + 12 * index
        fields[name] = struct.unpack_from("<H" if kind == _SHORT else "<I", front, at + 8)[0]
    return fields


def _longs(front: memoryview, field: int, count: int) -> list[int]:
    if count == 1:
        return [field]
    if field + 4 * count > len(front):
        raise TiffError("the tile table lies outside the directory")
    return [int(value) for value in struct.unpack_from(f"<{count}I", front, field)]


@functools.cache
def _codec() -> Any:
    return pa.Codec("zstd", compression_level=ZSTD_LEVEL)
