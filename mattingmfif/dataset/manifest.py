"""`OUT/manifest.parquet`: one row a sample, so that a dataset can be searched without opening its shards.

The manifest is derived from the shards and can be made again at any time; it is never the truth about them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.schema import pixel_columns
from mattingmfif.dataset.shard_file import ShardFile
from mattingmfif.dataset.whole_files import write_whole
from mattingmfif.errors import EXIT_FAULTS, UserError

MANIFEST_FILE = "manifest.parquet"
MAX_MANIFEST_BYTES = 1 << 30

_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bits", pa.int32()),
        ("codec", pa.string()),
        ("frames", pa.int32()),
        ("layers", pa.int32()),
        ("focus_plan", pa.string()),
        ("licence", pa.string()),
        ("source_paths", pa.list_(pa.string())),
        ("image_bytes", pa.int64()),
        ("target_sha256", pa.string()),
    ]
)


def manifest_rows(file: ShardFile) -> list[dict[str, Any]]:
    """The rows of one shard, from its records; no pixel is decoded for TIFF cells."""
    return [_row(Sample(file, row)) for row in range(file.rows)]


def write_manifest(out: Path, files: Iterable[ShardFile]) -> pa.Table:
    """Write `OUT/manifest.parquet` of the shards whole or not at all, and return its rows; a shard is let go of."""
    batches = [pa.RecordBatch.from_pylist(manifest_rows(file), schema=_SCHEMA) for file in files]
    rows = pa.Table.from_batches(batches, schema=_SCHEMA).combine_chunks()
    stream = io.BytesIO()
    pq.write_table(rows, stream, compression="zstd")
    write_whole(out / MANIFEST_FILE, stream.getvalue())
    return rows


def read_manifest(out: Path) -> pa.Table:
    """The rows of `OUT/manifest.parquet`; UserError if it is missing or damaged."""
    path = out / MANIFEST_FILE
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError("too large")
        table = pq.read_table(path)
        if not table.schema.equals(_SCHEMA):
            raise ValueError("other columns")
        return table
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{MANIFEST_FILE}: cannot be read ({error})", EXIT_FAULTS) from None


def _row(sample: Sample) -> dict[str, Any]:
    height, width = sample.size
    spans = [sample.file.span(sample.row, name) for name in (*pixel_columns(sample.store), "preview")]
    return {
        "sample_id": sample.sample_id,
        "split": sample.split,
        "shard": sample.file.path.name,
        "row": sample.row,
        "width": width,
        "height": height,
        "bits": int(sample.file.metadata.get("bits", "8")),
        "codec": sample.codec,
        "frames": sample.n_frames,
        "layers": len(sample.layers),
        "focus_plan": sample.focus_plan,
        "licence": sample.licence,
        "source_paths": [source.path for source in sample.sources],
        "image_bytes": sum(span[1] for span in spans if span is not None),
        "target_sha256": sample.pixel_sha256.get("all_in_focus"),
    }
