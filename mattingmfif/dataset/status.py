"""How far a dataset folder is, from what is on the disk alone; anybody may ask while a build runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mattingmfif.dataset.files import inside
from mattingmfif.dataset.manifest import MANIFEST_FILE
from mattingmfif.dataset.out_folder import DATA_FOLDER, Journal, RunNote, holders
from mattingmfif.dataset.plan import PLAN_FILE, Plan, Reject, read_plan
from mattingmfif.dataset.remote import Mirror, mirrored
from mattingmfif.dataset.run import RUN_LOG
from mattingmfif.dataset.shards import refused_in_shard, samples_in_shard, shard_is_complete
from mattingmfif.dataset.whole_files import is_temporary
from mattingmfif.errors import UserError

#: up to this many bytes of shards every page is read, unless something else is asked for
DEEP_UP_TO_BYTES = 4_000_000_000
_NAMES_SHOWN, _MAX_LOG_BYTES = 6, 1 << 26


@dataclass(frozen=True, kw_only=True)
class Status:
    """What was found."""

    plan: Plan
    whole: tuple[str, ...]
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    foreign: tuple[str, ...]  # in the folder of shards, and neither planned nor being written
    unfinished: int  # files that are being written, or that a killed run left
    samples: int  # in whole shards
    refused: tuple[Reject, ...]  # of whole shards
    total_bytes: int
    deep: bool
    held_by: str
    runners: tuple[RunNote, ...]
    last_run: dict[str, Any] | None
    indexed: bool

    @property
    def finished(self) -> bool:
        """Whether every planned shard is whole and the index is there."""
        return len(self.whole) == len(self.plan.shards) and self.indexed


def folder_status(out: Path | str, deep: bool | None = None) -> Status:
    """The state of a dataset folder; `deep` reads every page against its checksum (None: if that is soon done).

    Of a remote folder only footers are read unless `deep` is asked for, and who is at work cannot be seen.
    Raises UserError where there is no plan.
    """
    with mirrored(out) as mirror:
        return _status(mirror, deep)


def _status(mirror: Mirror, deep: bool | None) -> Status:
    out = mirror.folder
    plan = read_plan(out) if out.is_dir() else None
    if plan is None:
        raise UserError(f"{out}: no {PLAN_FILE} in it; {_why_no_plan(out)}")
    there = _places(mirror)
    planned = [shard.name for shard in plan.shards]
    total = sum(there[name][1] for name in planned if name in there)
    if deep is None:
        deep = mirror.address is None and total <= DEEP_UP_TO_BYTES
    whole: list[str] = []
    damaged, samples, refused = [], 0, []
    for name in planned:
        if name not in there:
            continue
        place = there[name][0]
        try:
            if not shard_is_complete(place, plan.plan_id, deep=deep):
                raise ValueError("not whole")
            samples += samples_in_shard(place)
            refused += [Reject(**item) for item in refused_in_shard(place)]
            whole.append(name)
        except (OSError, ValueError, TypeError, pa.ArrowException):
            damaged.append(name)
    runners = [note for note in Journal(out).runners() if note.running() is not False]
    return Status(
        plan=plan,
        whole=tuple(whole),
        missing=tuple(name for name in planned if name not in there),
        damaged=tuple(damaged),
        foreign=tuple(sorted(name for name in there if name not in set(planned) and not is_temporary(name))),
        unfinished=sum(is_temporary(name) for name in there),
        samples=samples,
        refused=tuple(refused),
        total_bytes=total,
        deep=deep,
        held_by=holders(out) if mirror.address is None else "unknown for a remote folder",
        runners=tuple(runners),
        last_run=_last_run(out / RUN_LOG),
        indexed=_indexed(out, [there[name][0] for name in whole]),
    )


def _why_no_plan(out: Path) -> str:
    """What happened where there is no plan, and what to do."""
    for note in Journal(out).runners():
        if note.running() is not False:
            return (
                f"process {note.pid} on {note.host} is still at it: {note.stage} {note.done}/{note.total} {note.unit}"
            )
    if (out / DATA_FOLDER).is_dir():
        return "a build was stopped while it scanned the photographs, nothing is made yet; run it again"
    return "`mattingmfif plan` or `build` writes one"


def _places(mirror: Mirror) -> dict[str, tuple[Path | str, int]]:
    """Everything in the folder of shards by name: where it is, and its size."""
    if mirror.address is not None:
        address = mirror.address
        return {name: (inside(address, DATA_FOLDER, name), size) for name, size in mirror.shards().items()}
    data = mirror.folder / DATA_FOLDER
    return {path.name: (path, path.stat().st_size) for path in data.iterdir()} if data.is_dir() else {}


def status_lines(status: Status, now_s: float | None = None) -> Iterator[str]:
    """The status for a person."""
    now_s = time.time() if now_s is None else now_s
    plan = status.plan
    yield f"plan      {plan.plan_id[:16]}, recipe {plan.recipe.name}, seed {plan.seed}"
    yield f"photos    {len(plan.sources)} kept, {_counted(plan.rejects) or 'none'} refused by the scan"
    how = "every page read" if status.deep else "by their footers; --deep reads every page"
    yield f"shards    {len(status.whole)} of {len(plan.shards)} whole ({how})"
    for word, names in (("missing", status.missing), ("damaged", status.damaged), ("foreign", status.foreign)):
        if names:
            shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
            yield f"{word:<10}{len(names)}: {shown}"
    if status.unfinished:
        yield f"unfinished {status.unfinished} files being written, or left by a killed run"
    whole = set(status.whole)
    to_go = sum(len(shard.samples) for shard in plan.shards if shard.name not in whole)
    yield f"samples   {status.samples} made, {_counted(status.refused) or 'none'} refused, {to_go} to go"
    yield f"bytes     {status.total_bytes:,}"
    for note in status.runners:
        task = f" --task {note.task}" if note.task else ""
        yield (
            f"running   build{task} on {note.host}, process {note.pid}, since {_ago(now_s - note.began_s)}: "
            f"{note.stage} {note.done}/{note.total} {note.unit}, said {_ago(now_s - note.said_s)} ago"
        )
    if not status.runners:
        yield f"running   {'nobody' if status.held_by == 'nobody' else status.held_by}"
    if status.last_run is not None:
        row = status.last_run
        yield (
            f"last run  {row.get('command', 'build')} ended {row.get('finished', '?')} on {row.get('host', '?')}: "
            f"{row.get('samples', '?')} samples, {row.get('cpu_s', '?')} CPU-s"
        )
    if status.finished:
        yield "state     finished"
    elif len(status.whole) == len(plan.shards):
        yield "state     all shards are whole; `mattingmfif index` makes the rest"
    else:
        yield "state     not finished; the same command again goes on"


def _indexed(out: Path, shards: list[Path | str]) -> bool:
    """Whether the manifest is there and no shard is younger."""
    try:
        made = (out / MANIFEST_FILE).stat().st_mtime_ns
        return all(place.stat().st_mtime_ns <= made for place in shards if isinstance(place, Path))
    except OSError:
        return not shards


def _last_run(log: Path) -> dict[str, Any] | None:
    try:
        if log.stat().st_size > _MAX_LOG_BYTES:
            return None
        for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()):
            row = json.loads(line)
            return row if isinstance(row, dict) else None
    except (OSError, ValueError):
        return None
    return None


def _counted(rejects: tuple[Reject, ...]) -> str:
    counts = Counter(item.reason for item in rejects)
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


def _ago(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
