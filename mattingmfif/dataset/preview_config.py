"""The `preview` config of the Hub layout: a few samples, small enough to look at before a dataset is downloaded.

`OUT/preview/<split>.parquet` holds the preview pictures of some samples of a split with their licence and attribution;
the card's front matter declares them, so that `load_dataset("OUT", "preview")` and the Hub's viewer show them.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mattingmfif.dataset.describe import spread_choice
from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.reader import Sample, Shards
from mattingmfif.dataset.sample import check_split
from mattingmfif.dataset.whole_files import write_whole

PREVIEW_CONFIG_FOLDER = "preview"
#: samples of all splits together, some 50 kB each
PREVIEW_ROWS = 100

_SOURCE = [(name, pa.string()) for name in ("path", "licence", "author", "url")]
_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("split", pa.string()),
        ("preview", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("focus_plan", pa.string()),
        ("focus_distance_m", pa.list_(pa.float64())),
        ("licence", pa.string()),
        ("sources", pa.list_(pa.struct(_SOURCE))),
    ]
)


def write_preview_config(out: Path, shards: Shards) -> list[Path]:
    """Write a file for each split that has samples, remove those of splits that have none; their paths."""
    folder = out / PREVIEW_CONFIG_FOLDER
    folder.mkdir(exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    for index in spread_choice(shards, PREVIEW_ROWS):
        sample = shards[index]
        check_split(sample.split)
        rows.setdefault(sample.split, []).append(_row(sample))
    features = {"info": {"features": _features()}}
    schema = _SCHEMA.with_metadata({"huggingface": json.dumps(features, sort_keys=True)})
    written = []
    for split, of_split in rows.items():
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(of_split, schema=schema), stream, compression="zstd")
        path = folder / f"{split}.parquet"
        write_whole(path, stream.getvalue())
        written.append(path)
    for path in set(folder.glob("*.parquet")) - set(written):
        path.unlink()
    return written


def _row(sample: Sample) -> dict[str, Any]:
    span = sample.file.span(sample.row, "preview")
    height, width = sample.size
    return {
        "sample_id": sample.sample_id,
        "split": sample.split,
        "preview": None
        if span is None
        else {"bytes": sample.file.read(*span), "path": f"{sample.sample_id}.preview.jpg"},
        "width": width,
        "height": height,
        "focus_plan": sample.focus_plan,
        "focus_distance_m": sample.focus_distance_m,
        "licence": sample.licence,
        "sources": [
            {"path": item.path, "licence": item.licence, "author": item.author, "url": redacted(item.url)}
            for item in sample.sources
        ],
    }


def _features() -> dict[str, Any]:
    text, whole = {"dtype": "string", "_type": "Value"}, {"dtype": "int32", "_type": "Value"}
    return {
        "sample_id": text,
        "split": text,
        "preview": {"_type": "Image"},
        "width": whole,
        "height": whole,
        "focus_plan": text,
        "focus_distance_m": [{"dtype": "float64", "_type": "Value"}],
        "licence": text,
        "sources": [dict.fromkeys((name for name, _ in _SOURCE), text)],
    }
