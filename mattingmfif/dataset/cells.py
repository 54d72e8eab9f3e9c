"""Image cells of a shard: an array becomes bytes by the shard's codec and comes back, whole or a window of it.

`tiff` (the default) is the tiled TIFF of `tiff.py`: a window decodes only its tiles. `png` is for those who want plain
files: a window decodes the whole image. Both are lossless for uint8 and uint16 `[H,W]` and `[H,W,3]` (RGB).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import cv2
import numpy as np

from mattingmfif.dataset.tiff import (
    HEADER_GUESS_BYTES,
    MAX_PIXELS,
    Buffer,
    Image,
    NeedMoreBytes,
    TiffError,
    TiffHeader,
    Window,
    check_window,
    decode_window,
    encode_tiff,
    parse_header,
)

CODECS = ("tiff", "png")
SUFFIX = {"tiff": "tif", "png": "png"}

#: level 1 takes a quarter of the time of level 6 and gives 5 % more bytes
PNG_LEVEL = 1
#: deflate never shrinks by more than this factor, so a small file cannot ask for much memory
_DEFLATE_LIMIT = 1032
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"

CellError = TiffError


def encode_cell(image: Image, codec: str) -> bytes:
    """Bytes of uint8 or uint16 `[H,W]` or `[H,W,3]` by `codec`, one of `CODECS`."""
    if codec == "tiff":
        return encode_tiff(image)
    if codec != "png":
        raise ValueError(f"codec: {codec!r}; allowed: {', '.join(CODECS)}")
    bgr = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise CellError(f"OpenCV could not write {image.dtype} {list(image.shape)} as PNG")
    return data.tobytes()


def decode_cell(buffer: Buffer, window: Window | None = None) -> Image:
    """Pixels of a cell of either codec, or of a window (y, x, height, width) of it; CellError if damaged."""
    view = memoryview(buffer).cast("B")
    return read_cell(lambda offset, length: view[offset : offset + length], len(view), window)


def read_cell(read: Callable[[int, int], Buffer], total_bytes: int, window: Window | None = None) -> Image:
    """As `decode_cell`, for a cell of `total_bytes` of which `read(offset, length)` fetches parts."""
    header = read_header(read, total_bytes)
    if header is not None:
        return decode_window(read, header, window)
    return _decode_png(read(0, total_bytes), window)


def read_header(read: Callable[[int, int], Buffer], total_bytes: int) -> TiffHeader | None:
    """The checked tile table of a cell, None for a PNG."""
    front = read(0, min(HEADER_GUESS_BYTES, total_bytes))
    if bytes(front[:4]) == _PNG_START[:4]:
        return None
    try:
        return parse_header(front, total_bytes)
    except NeedMoreBytes as need:
        return parse_header(read(0, need.length), total_bytes)


def _decode_png(buffer: Buffer, window: Window | None) -> Image:
    data = bytes(buffer)
    if len(data) < 29 or data[:16] != _PNG_START:
        raise CellError("it does not start like a PNG")
    width, height, bits, colour_type, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    channels = {0: 1, 2: 3}.get(colour_type, 0)
    raw_bytes = width * height * channels * bits // 8
    if not channels or bits not in (8, 16) or interlace or not 0 < width * height <= MAX_PIXELS:
        raise CellError(f"impossible PNG header: {width} x {height} px, {bits} bits, colour type {colour_type}")
    if raw_bytes > len(data) * _DEFLATE_LIMIT:
        raise CellError(f"a PNG of {len(data)} bytes cannot hold {width} x {height} px")
    y, x, window_height, window_width = check_window(window, height, width)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = (height, width) if channels == 1 else (height, width, 3)
    if image is None or image.shape != expected or image.dtype.itemsize * 8 != bits:
        raise CellError("the PNG is damaged")
    part = image[y : y + window_height, x : x + window_width]
    return np.ascontiguousarray(part if channels == 1 else part[..., ::-1])
