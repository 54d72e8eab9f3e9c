"""Building a dataset: scan and plan, then render shard by shard, on as many workers as asked; then the index.

A shard is the unit of work and of resume. Workers return records, never pixels. A worker that dies costs its task a
retry alone in a new pool; what dies twice is left out with its reason and the run goes on. The parent holds a lock on
the output folder, so that a second build into it is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from mattingmfif import __version__
from mattingmfif.dataset.intake import Inputs
from mattingmfif.dataset.make import make_sample
from mattingmfif.dataset.plan import Plan, PlannedSample, Reject
from mattingmfif.dataset.sample import SampleRecord
from mattingmfif.dataset.shards import (
    REFUSED_KEY,
    refused_in_shard,
    remove_stale_temporaries,
    shard_is_complete,
    write_shard,
)
from mattingmfif.dataset.threads import one_thread
from mattingmfif.errors import EXIT_FAULTS, EXIT_IO, Refused, UserError

Task = TypeVar("Task")
DATA_FOLDER = "data"
JOURNAL_FOLDER = ".work"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of the task at `index`: its result, or that its worker died over it; and the CPU-seconds it took."""

    index: int
    result: Any
    died: bool
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to render; `without` are samples that killed their worker before."""

    plan: Plan  # the part of it that this shard needs
    shard: str
    inputs: Inputs
    out: Path
    on_error: str
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What a worker says of a shard: samples written, frames, bytes, and samples left out."""

    name: str
    samples: int
    frames: int
    total_bytes: int
    refused: tuple[Reject, ...]
    error: str = ""  # a disk error that ends the run


def _guarded(work: Callable[[Any], Any], index: int, task: Any) -> Outcome:
    """Run one task in a worker: one thread, deaf to Ctrl-C (the parent answers for it), CPU time measured."""
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return _measured(work, index, task)


def _measured(work: Callable[[Any], Any], index: int, task: Any) -> Outcome:
    start = time.process_time()
    with one_thread():
        result = work(task)
    return Outcome(index=index, result=result, died=False, cpu_s=time.process_time() - start)


def run_tasks(work: Callable[[Task], Any], tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """Outcomes of `work(task)` in the order in which they end; `work` must not raise.

    With one job everything runs in this process. With more, a worker that dies takes only its own task with it: tasks
    that were in flight are run again, each alone, and one over which the worker dies again comes back as `died`.
    """
    waiting = list(range(len(tasks)))
    if jobs <= 1:
        for index in waiting:
            yield _measured(work, index, tasks[index])
        return
    while waiting:
        suspects, waiting = yield from _pool(work, tasks, waiting, jobs)
        for index in suspects:
            died, _ = yield from _pool(work, tasks, [index], 1)
            if died:
                yield Outcome(index=index, result=None, died=True, cpu_s=0.0)


def run_alone(work: Callable[[Task], Any], task: Task) -> Outcome:
    """The outcome of one task in a process of its own."""
    for outcome in _pool(work, [task], [0], 1):
        return outcome
    return Outcome(index=0, result=None, died=True, cpu_s=0.0)


def _pool(
    work: Callable[[Any], Any], tasks: Sequence[Any], indices: list[int], jobs: int
) -> Generator[Outcome, None, tuple[list[int], list[int]]]:
    """Yield outcomes; return the tasks in flight when a worker died, and those not begun (both empty: done)."""
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    begun: list[int] = []

    def feed() -> Iterator[Any]:
        for index in indices:
            begun.append(index)
            yield delayed(_guarded)(work, index, tasks[index])

    done: set[int] = set()
    try:
        with parallel_config(backend="loky", inner_max_num_threads=1):
            # one job would run in this very process, which a dying task must not take with it
            results = Parallel(
                n_jobs=max(jobs, 2), return_as="generator_unordered", batch_size=1, pre_dispatch=jobs, max_nbytes=None
            )(feed())
            for outcome in results:
                done.add(outcome.index)
                yield outcome
    except TerminatedWorkerError:
        return [index for index in begun if index not in done], indices[len(begun) :]
    except BaseException:
        # Ctrl-C or a closed generator: workers ignore signals, so they are ended here
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise
    return [], []


def render_shard(task: ShardTask) -> ShardRecord:
    """Render one shard of the plan; photographs that cannot be used are left out with their reason."""
    plan = task.plan
    refused: list[Reject] = []
    counts = Counter[str]()

    def leave_out(sample: PlannedSample, reason: str, detail: str, stage: str) -> None:
        source = plan.sources[sample.sources[0]]
        refused.append(Reject(path=source.path, sha256=source.sha256, stage=stage, reason=reason, detail=detail))
        if task.on_error == "stop":
            raise _Stopped

    def records() -> Iterator[SampleRecord]:
        for sample in plan.samples:
            _journal(task, sample)
            if sample.sample_id in task.without:
                leave_out(sample, "crashed-worker", "its worker process died twice over it", "render")
                continue
            try:
                record = make_sample(plan, sample, task.inputs)
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

    error, total_bytes = "", 0
    try:
        total_bytes = write_shard(
            task.out / DATA_FOLDER / task.shard,
            records(),
            codec=plan.codec,
            plan_id=plan.plan_id,
            recipe_hash=plan.recipe.recipe_hash,
            toolkit_version=__version__,
            bits=plan.recipe.output.bits,
            store=plan.store,
            preview_long_side_px=plan.recipe.output.preview_long_side_px,
            closing_metadata=lambda: {REFUSED_KEY: json.dumps([asdict(item) for item in refused], sort_keys=True)},
        ).total_bytes
    except OSError as problem:
        error = f"{problem.strerror or problem}"
    except _Stopped:
        pass
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


def _journal(task: ShardTask, sample: PlannedSample) -> None:
    """Note which sample a worker is at, so that the parent knows which one killed it."""
    folder = task.out / JOURNAL_FOLDER
    (folder / f"{task.shard}.{os.getpid()}").write_text(sample.sample_id, encoding="utf-8")


def prepare_folders(out: Path) -> tuple[Path, Path]:
    """The folders of shards and of the workers' journal inside the output folder."""
    data, journal = out / DATA_FOLDER, out / JOURNAL_FOLDER
    data.mkdir(exist_ok=True)
    journal.mkdir(exist_ok=True)
    return data, journal


def render_missing(
    plan: Plan,
    inputs: Inputs,
    out: Path,
    *,
    jobs: int,
    on_error: str,
    on_start: Callable[[int], None],
    on_progress: Callable[[ShardRecord, float], None],
) -> None:
    """Render every shard of the plan that is not whole in `OUT/data`.

    `on_start` is told how many were whole, `on_progress` of each that is finished.
    Raises UserError with exit code 3 for a disk error and with exit code 1 under --on-error stop.
    """
    data, journal = prepare_folders(out)
    remove_stale_temporaries(data, lambda pid: False)  # the folder is locked: whoever wrote them is gone
    waiting = [
        ShardTask(plan=plan.part(shard), shard=shard.name, inputs=inputs, out=out, on_error=on_error)
        for shard in plan.shards
        if not shard_is_complete(data / shard.name, plan.plan_id, deep=True)
    ]
    on_start(len(plan.shards) - len(waiting))
    while waiting:
        again = []
        for outcome in run_tasks(render_shard, waiting, jobs):
            task = waiting[outcome.index]
            if outcome.died:
                killer = _last_journalled(journal, task)
                if killer is None or killer in task.without:
                    raise UserError(f"{task.shard}: its worker keeps dying; out of memory?", exit_code=EXIT_FAULTS)
                again.append(replace(task, without=(*task.without, killer)))
                continue
            record: ShardRecord = outcome.result
            if record.error:
                raise UserError(
                    f"{out / DATA_FOLDER / record.name}: {record.error}; run the same command to go on", EXIT_IO
                )
            if record.refused and on_error == "stop":
                first = record.refused[0]
                raise UserError(f"{first.path}: {first.reason}: {first.detail} (--on-error stop)", EXIT_FAULTS)
            on_progress(record, outcome.cpu_s)
        waiting = again
    for item in journal.iterdir():
        item.unlink()
    journal.rmdir()


def _last_journalled(journal: Path, task: ShardTask) -> str | None:
    notes = sorted(journal.glob(f"{task.shard}.*"), key=lambda path: path.stat().st_mtime_ns)
    return notes[-1].read_text(encoding="utf-8") or None if notes else None


def shard_rejects(plan: Plan, out: Path) -> list[Reject]:
    """Samples that the finished shards left out, read from the shards themselves."""
    rejects = []
    for shard in plan.shards:
        path = out / DATA_FOLDER / shard.name
        if path.is_file():
            rejects += [Reject(**item) for item in refused_in_shard(path)]
    return rejects


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the output folder; UserError when another build on this machine holds it."""
    import fcntl

    handle = os.open(out, os.O_RDONLY)  # the folder itself is locked: no file to forget, none to publish
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(f"{out}: another build is writing here; wait for it or give another --out") from None
    try:
        yield
    finally:
        os.close(handle)
