"""Writing shards: Parquet files of one sample a row and one row a row group, whole or not there at all.

A shard is written under a hidden temporary name in the folder of its final name, flushed to the disk, renamed, and the
folder flushed: after a kill at any moment there is either no shard or a complete one. Its bytes depend on the samples,
the codec and the versions of this package, pyarrow and zstd; no time, host, process id or cost is in them.

Image bytes lie in the file as they are (no Parquet compression, dictionary or statistics), so that a reader can fetch
single tiles by offset; the other columns are zstd-compressed. Every page has a CRC-32 checksum.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mattingmfif.dataset.cells import CODECS, SUFFIX, encode_cell
from mattingmfif.dataset.faults import fault_point
from mattingmfif.dataset.files import ByteFile
from mattingmfif.dataset.preview import preview_jpeg
from mattingmfif.dataset.sample import (
    ALPHA_COLUMNS,
    FORMAT_VERSION,
    FRAME_COLUMNS,
    TRUST_COLUMNS,
    Array,
    SampleRecord,
    encode_depth,
    pixel_sha256,
)
from mattingmfif.dataset.schema import (
    APERTURE_FIELDS,
    columns_of,
    is_blob,
    leaf_paths,
    pixel_columns,
    shard_schema,
)
from mattingmfif.dataset.whole_files import is_temporary, sync_folder, temporary_beside, writer_is_gone

#: a row group above this is not shown by the Hub's viewer (286.1 MiB)
VIEWER_LIMIT_BYTES = 300_000_000
#: file metadata that lists the samples a shard was planned to hold and does not
REFUSED_KEY = "mattingmfif.refused"
_NAME = re.compile(r"(?P<split>[a-z][a-z0-9]*)-(?P<index>\d{5})-of-(?P<count>\d{5})\.parquet")


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What was written: the final path, sample ids in order, bytes, and the size of the largest row in bytes."""

    path: Path
    sample_ids: tuple[str, ...]
    total_bytes: int
    largest_row_bytes: int


def shard_name(split: str, index: int, count: int) -> str:
    """`<split>-NNNNN-of-MMMMM.parquet`, the name from which the Hub takes the split."""
    return f"{split}-{index:05d}-of-{count:05d}.parquet"


def parse_shard_name(name: str) -> tuple[str, int, int] | None:
    """(split, index, count) of a shard's file name, None for any other name."""
    match = _NAME.fullmatch(name)
    return (match["split"], int(match["index"]), int(match["count"])) if match else None


def write_shard(
    final_path: Path,
    records: Iterable[SampleRecord],
    *,
    codec: str,
    plan_id: str,
    recipe_hash: str,
    toolkit_version: str,
    bits: int = 8,
    store: str = "frames",
    preview_long_side_px: int = 640,
    closing_metadata: Callable[[], Mapping[str, str]] | None = None,
) -> ShardResult:
    """Write the samples, taken one at a time, as the shard `final_path`; no samples make a valid, empty shard.

    Raises ValueError for a sample of another plan or bit depth, OSError where the disk refuses; then nothing is left
    behind. An existing shard of that name is replaced only by the final rename. `closing_metadata` is asked, after the
    last sample, for further file metadata, such as the samples that were refused.
    """
    if codec not in CODECS:
        raise ValueError(f"codec: {codec!r}; allowed: {', '.join(CODECS)}")
    named = parse_shard_name(final_path.name)
    if named is None:
        raise ValueError(f"{final_path.name!r} is not a shard name like train-00000-of-00001.parquet")
    metadata = {
        "plan_id": plan_id,
        "recipe_hash": recipe_hash,
        "shard": final_path.name,
        "codec": codec,
        "toolkit_version": toolkit_version,
    }
    schema = shard_schema(bits, metadata, store)
    temporary = temporary_beside(final_path)
    sample_ids: list[str] = []
    largest = 0
    try:
        with temporary.open("wb") as stream:
            with _writer(stream, schema, store) as writer:
                fault_point("before-first-row")
                for record in records:
                    if (record.plan_id, record.recipe_hash, record.bits) != (plan_id, recipe_hash, bits):
                        raise ValueError(f"{record.sample_id}: made by another plan, recipe or bit depth")
                    if record.split != named[0]:
                        raise ValueError(f"{record.sample_id}: split {record.split!r} in the shard {final_path.name}")
                    row, row_bytes = _row(record, codec, store, preview_long_side_px)
                    writer.write_table(pa.Table.from_pylist([row], schema=schema), row_group_size=1)
                    sample_ids.append(record.sample_id)
                    largest = max(largest, row_bytes)
                    fault_point("after-row")
                if closing_metadata is not None:
                    writer.add_key_value_metadata(dict(closing_metadata()))
            fault_point("after-temporary-write")
            stream.flush()
            os.fsync(stream.fileno())
            total_bytes = stream.tell()
        fault_point("after-fsync")
        temporary.replace(final_path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(final_path.parent)
    fault_point("after-rename")
    return ShardResult(
        path=final_path, sample_ids=tuple(sample_ids), total_bytes=total_bytes, largest_row_bytes=largest
    )


def shard_is_complete(place: Path | str, plan_id: str, *, deep: bool = False) -> bool:
    """Whether `place` is a whole shard of this plan under its own name; `deep` reads all pages against checksums."""
    try:
        stored = ByteFile(place)
        with stored.stream() as stream, pq.ParquetFile(stream, page_checksum_verification=deep) as file:
            metadata = file.schema_arrow.metadata or {}
            stamp = {key: metadata.get(key.encode(), b"").decode() for key in ("plan_id", "shard", "format_version")}
            if stamp != {"plan_id": plan_id, "shard": stored.name, "format_version": str(FORMAT_VERSION)}:
                return False
            names = [name for name, _ in columns_of(metadata.get(b"store", b"frames").decode())]
            if file.schema_arrow.names != names:
                return False
            if deep:
                for group in range(file.num_row_groups):
                    file.read_row_group(group)
            return True
    except (OSError, pa.ArrowException, ValueError):
        return False


def samples_in_shard(place: Path | str) -> int:
    """The number of samples, from the footer."""
    with ByteFile(place).stream() as stream, pq.ParquetFile(stream) as file:
        return int(file.metadata.num_rows)


def refused_in_shard(place: Path | str) -> list[dict[str, Any]]:
    """What a shard says of the samples that were left out of it, in the plan's order."""
    with ByteFile(place).stream() as stream, pq.ParquetFile(stream) as file:
        text = (file.metadata.metadata or {}).get(REFUSED_KEY.encode(), b"[]")
    refused: list[dict[str, Any]] = json.loads(text)
    return refused


def remove_stale_temporaries(folder: Path, *, all_writers_are_gone: bool = False) -> list[str]:
    """Delete what killed writers left in `folder` and return the names.

    What another machine writes, and what a living process of this one writes, stays, unless the caller holds the folder
    and so knows that nobody writes.
    """
    removed = []
    for path in sorted(folder.glob(".*.part")):
        if is_temporary(path.name) and (all_writers_are_gone or writer_is_gone(path.name)):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _row(record: SampleRecord, codec: str, store: str, preview_long_side_px: int) -> tuple[dict[str, Any], int]:
    """A sample as a row of plain values, and the number of its image bytes."""
    codes, scale, offset = encode_depth(record.depth_m)
    arrays = stored_pixels(record, store, codes)
    cells: dict[str, Any] = {}
    names = pixel_columns(store)
    for name in names:
        cells[name] = None
        if name in arrays:
            data = encode_cell(np.ascontiguousarray(arrays[name]), codec)
            cells[name] = {"bytes": data, "path": f"{record.sample_id}.{name}.{SUFFIX[codec]}"}
    preview = preview_jpeg(record.all_in_focus, record.frames, preview_long_side_px)
    cells["preview"] = {"bytes": preview, "path": f"{record.sample_id}.preview.jpg"}
    camera = asdict(record.camera)
    unknown = set(camera["aperture"]) - set(APERTURE_FIELDS)
    if unknown:
        raise ValueError(f"{record.sample_id}: aperture has no field {sorted(unknown)[0]!r}")
    neutral = dict.fromkeys(APERTURE_FIELDS, 0)
    row = {
        "sample_id": record.sample_id,
        "split": record.split,
        "sources": [asdict(source) for source in record.sources],
        "licence": record.licence,
        "camera": {
            **camera,
            "aperture": {**neutral, **camera["aperture"]},
            "lens_options": _json(camera["lens_options"]),
            "sensor": _json(camera["sensor"]),
            "draws": _json(camera["draws"]),
            "depth_scale": scale,
            "depth_offset": offset,
        },
        "layers": [{**asdict(layer), "scores": _json(layer.scores)} for layer in record.layers],
        "focus_plan": record.focus_plan,
        "focus_distance_m": [float(value) for value in record.focus_distance_m],
        **cells,
        "pixel_sha256": {name: pixel_sha256(arrays[name]) if name in arrays else None for name in names},
        "codec": codec,
        "recipe_hash": record.recipe_hash,
        "plan_id": record.plan_id,
        "format_version": record.format_version,
        "toolkit_version": record.toolkit_version,
    }
    if record.layer_store is not None and store == "layers":
        row["layer_store"] = record.layer_store.record
    return row, sum(len(cell["bytes"]) for cell in cells.values() if cell)


def stored_pixels(record: SampleRecord, store: str, depth_codes: Array) -> dict[str, Array]:
    """The arrays of a sample as a store keeps them, by image column."""
    return {
        **_stored_colour(record, store),
        "depth": depth_codes,
        **dict(zip(ALPHA_COLUMNS, record.alphas, strict=False)),
        "sharpest_frame": record.sharpest_frame,
        "boundary": record.boundary,
        "trust": record.trust,
        **dict(zip(TRUST_COLUMNS, record.frame_trust, strict=False)),
    }


def _stored_colour(record: SampleRecord, store: str) -> dict[str, Array]:
    """What a store keeps of target and frames, by column: themselves, or the layers from which they are taken again."""
    if store == "frames":
        return {"all_in_focus": record.all_in_focus, **dict(zip(FRAME_COLUMNS, record.frames, strict=False))}
    if record.layer_store is None:
        raise ValueError(f"{record.sample_id}: has no layers to store")
    return record.layer_store.images


@contextlib.contextmanager
def _writer(stream: Any, schema: pa.Schema, store: str = "frames") -> Iterator[pq.ParquetWriter]:
    leaves = leaf_paths(store)
    texts = [path for path in leaves if not is_blob(path)]
    with pq.ParquetWriter(
        stream,
        schema,
        compression={path: "none" if is_blob(path) else "zstd" for path in leaves},
        use_dictionary=False,
        write_statistics=texts,
        data_page_version="1.0",
        write_page_checksum=True,
        write_page_index=False,
        store_schema=True,
    ) as writer:
        yield writer


def _json(value: Any) -> str:
    """Strict JSON with sorted keys; JSON has no infinity, so a number that is not finite becomes its text, as "inf"."""
    return json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
