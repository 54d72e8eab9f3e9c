"""Cells found by offset hold exactly the bytes that pyarrow reads; damaged pages are errors."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from mattingmfif.dataset.offsets import SpanError, cell_span, column_spans
from mattingmfif.dataset.schema import IMAGE_COLUMNS


@pytest.fixture(scope="module")
def shard(tmp_path_factory, make_record, put_shard):
    return put_shard(
        tmp_path_factory.mktemp("offsets"), [make_record(seed=0), make_record(seed=1, focus_m=(1, 2, 4))]
    ).path


def reader_of(data):
    return lambda offset, length: data[offset : offset + length]


def test_every_cell_lies_verbatim_where_the_span_says(shard):
    data = shard.read_bytes()
    file = pq.ParquetFile(shard)
    present = 0
    for row in range(2):
        chunks = column_spans(file.metadata.row_group(row))
        values = file.read_row_group(row, columns=list(IMAGE_COLUMNS)).to_pylist()[0]
        for name in IMAGE_COLUMNS:
            span = cell_span(reader_of(data), chunks[f"{name}.bytes"], len(data))
            if values[name] is None:
                assert span is None
            else:
                present += 1
                assert data[span[0] : span[0] + span[1]] == values[name]["bytes"]
    assert present == 2 * (1 + 2 + 1 + 1 + 3 + 2 + 1) + 2


def test_a_damaged_page_header_is_an_error_or_gives_the_same_span(shard):
    data = shard.read_bytes()
    chunk = column_spans(pq.ParquetFile(shard).metadata.row_group(0))["frame_0.bytes"]
    truth = cell_span(reader_of(data), chunk, len(data))
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(400):
        copy = bytearray(data)
        copy[chunk[0] + int(rng.integers(60))] ^= 1 << int(rng.integers(8))
        try:
            span = cell_span(reader_of(bytes(copy)), chunk, len(copy))
        except SpanError:
            errors += 1
        else:
            assert span in (truth, None)
    assert errors > 50


@pytest.mark.parametrize("chunk", [(0, 10), (4, 10**9), (10**9, 5), (4, 0)])
def test_a_chunk_outside_the_file_is_an_error(chunk):
    with pytest.raises(SpanError, match="does not fit"):
        cell_span(reader_of(bytes(1000)), chunk, 1000)
