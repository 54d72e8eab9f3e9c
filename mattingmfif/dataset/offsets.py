"""Where the bytes of an image cell lie inside a Parquet file, so that parts of them can be read without the rest.

A column chunk of these shards is one page of one value, neither compressed nor dictionary-encoded. It is laid out as

    page header (Thrift compact) | length of the definition levels, u32 | the levels | length of the value, u32 | value

and an absent cell ends after the levels. All lengths are little-endian. Every length is checked against the chunk that
the footer names, so a damaged header gives an error and never a read outside the chunk.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

#: page header, levels and length of the value take less than this
_FRONT_BYTES = 128
_MAX_HEADER_BYTES = 96

Span = tuple[int, int]


class SpanError(ValueError):
    """The column chunk is not laid out as this package writes it."""


def column_spans(row_group: Any) -> dict[str, Span]:
    """(offset, bytes) of every column chunk of a pyarrow row group's metadata, by leaf path."""
    chunks = {}
    for index in range(row_group.num_columns):
        column = row_group.column(index)
        # one text for all rows of all shards: a dataset has thousands
        chunks[sys.intern(column.path_in_schema)] = (int(column.data_page_offset), int(column.total_compressed_size))
    return chunks


def unpacked_bytes(row_group: Any, left_out: Callable[[str], bool]) -> int:
    """Bytes to which the columns of a row group unpack, by what the footer says, without those of `left_out`."""
    columns = (row_group.column(index) for index in range(row_group.num_columns))
    return sum(int(item.total_uncompressed_size) for item in columns if not left_out(item.path_in_schema))


def cell_span(read: Callable[[int, int], bytes], chunk: Span, file_bytes: int) -> Span | None:
    """(offset, bytes) of the value of a one-value chunk in its file; None for an absent cell; SpanError if damaged.

    `read(offset, length)` reads from the file, which has `file_bytes`.
    """
    start, size = chunk
    if start < 4 or size < 1 or start + size > file_bytes:
        raise SpanError(f"a column chunk of {size} bytes at {start} does not fit into {file_bytes} bytes")
    front = read(start, min(size, _FRONT_BYTES))
    page_bytes = page_sizes(front)[1]
    header = size - page_bytes
    if not 0 < header <= _MAX_HEADER_BYTES or header + 4 > len(front):
        raise SpanError("the page does not fill its column chunk")
    levels = struct.unpack_from("<I", front, header)[0]
    value_at = header + 4 + levels
    if value_at == size:
        return None
    if value_at + 4 > len(front):
        raise SpanError("the definition levels are damaged")
    length = struct.unpack_from("<I", front, value_at)[0]
    if value_at + 4 + length != size:
        raise SpanError("the value does not end with its page")
    return start + value_at + 4, length


def page_sizes(front: bytes) -> tuple[int, int]:
    """(bytes when decompressed, bytes in the file) of the page that begins with `front`; SpanError if damaged.

    Fields 1 to 3 of a Thrift compact PageHeader are i32: type, bytes uncompressed, bytes compressed.
    """
    at, values = 0, []
    for _ in range(3):
        if at >= len(front) or front[at] != 0x15:  # field number one higher than the last, type i32
            raise SpanError("the page header is damaged")
        at, value = _zigzag(front, at + 1)
        values.append(value)
    return values[1], values[2]


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    shift = value = 0
    while at < len(data) and shift <= 28:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return at, (value >> 1) ^ -(value & 1)
    raise SpanError("the page header is damaged")
