"""Rendering shards: the work of one task, and all of a plan's shards that are not there yet.

A shard is the unit of work and of resume. Workers return records, never pixels. A sample over which two workers died is
left out with its reason, and the run goes on.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mattingmfif import __version__
from mattingmfif.dataset.engines import run_tasks
from mattingmfif.dataset.files import inside
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.make import make_sample
from mattingmfif.dataset.memory import SPREAD, assumed_bytes, available_bytes, fitting_workers
from mattingmfif.dataset.out_folder import DATA_FOLDER, Journal
from mattingmfif.dataset.plan import Plan, PlannedSample, PlannedShard, Reject
from mattingmfif.dataset.remote import Mirror, put_file
from mattingmfif.dataset.remote_journal import RemoteJournal
from mattingmfif.dataset.sample import SampleRecord
from mattingmfif.dataset.shards import REFUSED_KEY, refused_in_shard, write_shard
from mattingmfif.dataset.workers import MOST_DEATHS, Workers
from mattingmfif.errors import EXIT_FAULTS, EXIT_IO, Refused, UserError


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to render; `without` are samples that killed their workers before."""

    plan: Plan  # the part of it that this shard needs
    shard: str
    inputs: Inputs
    out: Path
    on_error: str
    upload_to: str | None = None  # the address of the remote folder for which `out` stands
    without: tuple[str, ...] = ()
    blind_deaths: int = 0  # rounds in which workers died before they said over which sample


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What a worker says of a shard: samples written, frames, bytes, and samples left out."""

    name: str
    samples: int
    frames: int
    total_bytes: int
    refused: tuple[Reject, ...]
    error: str = ""  # a disk error that ends the run


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """How a run over shards went: how many were whole before, the workers used, the most memory one of them took."""

    shards_before: int
    workers: int
    peak_bytes: int


def render_shard(task: ShardTask) -> ShardRecord:
    """Render one shard of the plan; photographs that cannot be used are left out with their reason."""
    plan, journal = task.plan, _journal(task.out, task.upload_to)
    refused: list[Reject] = []
    counts = Counter[str]()

    def leave_out(sample: PlannedSample, reason: str, detail: str, stage: str) -> None:
        source = plan.sources[sample.sources[0]]
        refused.append(Reject(path=source.path, sha256=source.sha256, stage=stage, reason=reason, detail=detail))
        if task.on_error == "stop":
            raise _Stopped

    def records() -> Iterator[SampleRecord]:
        for sample in plan.samples:
            if sample.sample_id in task.without:
                detail = f"its worker process died {MOST_DEATHS} times over it (killed, or out of memory)"
                leave_out(sample, "crashed-worker", detail, "render")
                continue
            journal.begin(task.shard, sample.sample_id)
            try:
                with task.inputs.at_hand(plan.sources[index].path for index in sample.sources) as inputs:
                    record = make_sample(plan, sample, inputs)
            except Refused as refusal:
                leave_out(sample, refusal.reason, refusal.detail, refusal.stage)
                continue
            except (OSError, MemoryError):
                raise
            except Exception as error:  # one photo must not end the run: the row says what happened
                leave_out(sample, "internal-error", f"{type(error).__name__}: {error}", "render")
                continue
            counts["samples"] += 1
            counts["frames"] += len(record.frames)
            yield record

    def write(folder: Path) -> int:
        written = write_shard(
            folder / task.shard,
            records(),
            codec=plan.codec,
            plan_id=plan.plan_id,
            recipe_hash=plan.recipe.recipe_hash,
            toolkit_version=__version__,
            bits=plan.recipe.output.bits,
            store=plan.store,
            preview_long_side_px=plan.recipe.output.preview_long_side_px,
            closing_metadata=lambda: {REFUSED_KEY: json.dumps([asdict(item) for item in refused], sort_keys=True)},
        )
        if task.upload_to is not None:
            put_file(written.path, inside(task.upload_to, DATA_FOLDER, task.shard))
            written.path.unlink()  # a remote dataset may be larger than this machine's disk
        return written.total_bytes

    error, total_bytes = "", 0
    try:
        if task.upload_to is None or (task.out / DATA_FOLDER).is_dir():
            total_bytes = write(task.out / DATA_FOLDER)
        else:  # on another machine than the one that keeps the mirror
            with tempfile.TemporaryDirectory(prefix="mattingmfif-") as folder:
                total_bytes = write(Path(folder))
    except OSError as problem:
        error = f"{problem.strerror or problem}"
    except MemoryError:
        error = "out of memory"
    except _Stopped:
        pass
    journal.end(task.shard)
    return ShardRecord(
        name=task.shard,
        samples=counts["samples"],
        frames=counts["frames"],
        total_bytes=total_bytes,
        refused=tuple(refused),
        error=error,
    )


class _Stopped(Exception):
    """A photograph was refused and the user asked to stop at the first."""


def render_missing(
    plan: Plan,
    shards: Sequence[PlannedShard],
    inputs: Inputs,
    mirror: Mirror,
    *,
    workers: Workers,
    on_error: str,
    on_progress: Callable[[int, ShardRecord | None, float], None],
) -> Rendered:
    """Render those of the plan's `shards` that are not whole in `OUT/data`.

    `on_progress` is told how many are whole: first without a record, then of each that is finished, with its CPU-s.
    Raises UserError with exit code 3 for a disk error and with exit code 1 under --on-error stop.
    """
    out = mirror.folder.absolute()
    Journal(out).open()
    journal = _journal(out, mirror.address)
    waiting = [
        ShardTask(
            plan=plan.part(shard),
            shard=shard.name,
            inputs=inputs,
            out=out,
            on_error=on_error,
            upload_to=mirror.address,
        )
        for shard in shards
        if not mirror.whole(shard.name, plan.plan_id)
    ]
    waiting.sort(key=_work, reverse=True)  # the long ones first, so that no worker ends long after the others
    before = done = len(shards) - len(waiting)
    on_progress(done, None, 0.0)
    size = _Size(workers, waiting)
    for task in waiting:
        journal.forget(task.shard)  # what an earlier run left: its workers did not die by these samples
    while waiting:
        again = []
        for outcome in run_tasks(render_shard, waiting, workers):
            task = waiting[outcome.index]
            if outcome.died:
                again.append(_without_killers(task, journal))
                continue
            record: ShardRecord = outcome.result
            if record.error:
                raise UserError(
                    f"{out / DATA_FOLDER / record.name}: {record.error}; run the same command to go on", EXIT_IO
                )
            if record.refused and on_error == "stop":
                first = record.refused[0]
                raise UserError(f"{first.path}: {first.reason}: {first.detail} (--on-error stop)", EXIT_FAULTS)
            done += 1
            journal.forget(task.shard)
            size.learn(outcome.peak_bytes)
            on_progress(done, record, outcome.cpu_s)
        waiting = again
    return Rendered(shards_before=before, workers=workers.jobs, peak_bytes=size.peak_bytes)


def _work(task: ShardTask) -> int:
    """How long a shard takes, roughly: the pixels of its samples."""
    plan = task.plan
    return sum(plan.sources[index].height * plan.sources[index].width for s in plan.samples for index in s.sources[:1])


class _Size:
    """Keeps the number of workers to what fits into the memory that was free at the start."""

    def __init__(self, workers: Workers, tasks: Sequence[ShardTask]) -> None:
        self.workers, self.asked, self.free = workers, workers.jobs, available_bytes()
        self.peak_bytes, self.heard = 0, 0
        pixels = max((source.height * source.width for task in tasks for source in task.plan.sources), default=0)
        if tasks and workers.jobs > 1:
            workers.resize(fitting_workers(self.asked, assumed_bytes(pixels), self.free))

    def learn(self, peak_bytes: int) -> None:
        """What a worker took; after one task of each, what they need is known."""
        self.peak_bytes, self.heard = max(self.peak_bytes, peak_bytes), self.heard + 1
        if self.heard >= self.workers.jobs:
            fits = fitting_workers(self.asked, int(self.peak_bytes * SPREAD), self.free)
            if fits != self.workers.jobs:
                self.workers.resize(fits)


def _journal(out: Path, address: str | None) -> Journal | RemoteJournal:
    """Where workers note what they are at, wherever they run."""
    return Journal(out) if address is None else RemoteJournal(address)


def _without_killers(task: ShardTask, journal: Journal | RemoteJournal) -> ShardTask:
    """The task again, without the samples over which two workers died. UserError where workers die before any."""
    deaths = journal.deaths(task.shard)
    killers = [sample for sample, count in deaths.items() if count >= MOST_DEATHS]
    if not deaths and task.blind_deaths:
        raise UserError(f"{task.shard}: its worker keeps dying before it begins; out of memory?", EXIT_FAULTS)
    return replace(task, without=(*task.without, *killers), blind_deaths=task.blind_deaths + (not deaths))


def shard_rejects(plan: Plan, mirror: Mirror) -> list[Reject]:
    """Samples that the finished shards left out, read from the shards themselves."""
    there, rejects = set(mirror.data_files()), []
    for shard in plan.shards:
        if shard.name in there:
            place: Path | str = mirror.folder / DATA_FOLDER / shard.name
            if mirror.address is not None:
                place = inside(mirror.address, DATA_FOLDER, shard.name)
            rejects += [Reject(**item) for item in refused_in_shard(place)]
    return rejects
