"""What lies beside the shards once they are there: manifest, sources, previews, card; made from shards and plan."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mattingmfif.dataset.card import write_card
from mattingmfif.dataset.engines import run_tasks
from mattingmfif.dataset.manifest import write_manifest
from mattingmfif.dataset.plan import Plan
from mattingmfif.dataset.report import write_previews
from mattingmfif.dataset.shard_file import ShardFile, ShardFiles, shard_places
from mattingmfif.dataset.whole_files import write_whole
from mattingmfif.dataset.workers import Workers

SOURCES_FILE = "sources.parquet"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the shards hold together."""

    samples: int
    frames: int
    total_bytes: int


def write_index(plan: Plan, out: Path, data: Path | str | None = None, workers: Workers | None = None) -> Totals:
    """Write everything that is derived from finished shards into `out`, and count them.

    The shards lie there, or in the folder at the address `data`, where they are read without being brought here.
    `workers` of this machine make the contact sheets.
    """
    data = out if data is None else data
    write_sources(plan, out)
    if not plan.shards:
        return Totals(samples=0, frames=0, total_bytes=0)
    sizes: dict[str, int] = {}

    def measured() -> Iterator[ShardFile]:
        for file in ShardFiles(shard_places(data), most=1):
            sizes[file.path.name] = file.file_bytes
            yield file

    rows = write_manifest(out, measured())
    if rows.num_rows:
        in_turn: Any = map if workers is None else lambda work, tasks: _in_turn(work, tasks, workers)
        write_previews(out, data=data, in_turn=in_turn)
        write_card(out, data)
    return Totals(
        samples=rows.num_rows,
        frames=pc.sum(rows["frames"]).as_py() or 0,
        total_bytes=sum(sizes[name] for name in rows["shard"].unique().to_pylist()),
    )


def _in_turn(work: Callable[[Any], Any], tasks: list[Any], workers: Workers) -> Iterator[Any]:
    for outcome in run_tasks(work, tasks, workers):
        # one that died was too large for a worker beside others: once more, in this process
        yield work(tasks[outcome.index]) if outcome.died else outcome.result


def write_sources(plan: Plan, out: Path) -> None:
    """Write `OUT/sources.parquet`: every photograph that was kept, with licence, attribution, split and scores."""
    rows = []
    for source in plan.sources:
        row = asdict(source)
        row["scores"] = json.dumps(source.scores, sort_keys=True)
        row["sidecars"] = [{"name": name, "sha256": digest} for name, digest in source.sidecars]
        rows.append(row)
    text, whole = pa.string(), pa.int32()
    schema = pa.schema(
        [
            ("path", text),
            ("sha256", text),
            ("licence", text),
            ("author", text),
            ("url", text),
            ("height", whole),
            ("width", whole),
            ("group", text),
            ("split", text),
            ("subjects", whole),
            ("why_no_subject", text),
            ("has_depth", pa.bool_()),
            ("sidecars", pa.list_(pa.struct([("name", text), ("sha256", text)]))),
            ("scores", text),
            ("overruled", pa.bool_()),
        ]
    )
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), stream, compression="zstd")
    write_whole(out / SOURCES_FILE, stream.getvalue())
