"""What a build would make and take, from the plan and from two samples that are really made (in a temporary folder)."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mattingmfif.dataset.build import ShardRecord, ShardTask, render_shard
from mattingmfif.dataset.engines import open_workers, run_alone
from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.memory import SPREAD, available_bytes, fitting_workers
from mattingmfif.dataset.out_folder import DATA_FOLDER, locked, prepare_out
from mattingmfif.dataset.plan import PLAN_FILE, Plan, PlannedShard, read_plan, write_plan
from mattingmfif.dataset.planning import (
    Cost,
    Request,
    Tell,
    inputs_of,
    make_plan,
    photos_and_inputs,
    planned_files,
    refuse_other_plan,
    resolved,
)
from mattingmfif.dataset.remote import Mirror, mirrored
from mattingmfif.dataset.run import clean
from mattingmfif.dataset.shards import parse_shard_name, shard_name
from mattingmfif.errors import EXIT_FAULTS, EXIT_IO, UserError

#: room that is left free on the disk
DISK_RESERVE_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What two samples took, a sample."""

    samples: int
    frames: float
    total_bytes: float
    cpu_s: float
    peak_bytes: int
    compile_s: float = 0.0  # of all of them: taken once on a machine, and in none of the other numbers


def render_timed(task: ShardTask) -> tuple[ShardRecord, float]:
    """`render_shard`, and the CPU-seconds of it that went into compiling."""
    from mattingmfif.optics.kernels import compile_timer

    with compile_timer() as timer:
        record = render_shard(task)
    return record, timer.cpu_s


def measure(plan: Plan, inputs: Inputs) -> Measured:
    """Make up to two samples of the plan, those with the most pixels, in a temporary folder, and measure them."""
    by_size = sorted(
        range(len(plan.samples)),
        key=lambda index: (
            -plan.sources[plan.samples[index].sources[0]].height * plan.sources[plan.samples[index].sources[0]].width
        ),
    )
    picked = (by_size[0], by_size[len(by_size) // 2]) if len(by_size) > 1 else (by_size[0],)
    totals = {"samples": 0, "frames": 0, "bytes": 0, "cpu_s": 0.0, "peak": 0, "compile_s": 0.0}
    with tempfile.TemporaryDirectory(prefix="mattingmfif-plan-") as folder:
        (Path(folder) / DATA_FOLDER).mkdir()
        for index in dict.fromkeys(picked):
            split = plan.samples[index].split
            shard = PlannedShard(name=shard_name(split, 0, 1), split=split, samples=(index,))
            task = ShardTask(plan=plan.part(shard), shard=shard.name, inputs=inputs, out=Path(folder), on_error="skip")
            outcome = run_alone(render_timed, task)
            if outcome.died or outcome.result[0].error:
                continue
            record, compile_s = outcome.result
            totals["compile_s"] += compile_s
            totals["samples"] += record.samples
            totals["frames"] += record.frames
            totals["bytes"] += record.total_bytes
            totals["cpu_s"] += max(0.0, outcome.cpu_s - compile_s)
            totals["peak"] = max(totals["peak"], outcome.peak_bytes)
    count = totals["samples"]
    return Measured(
        samples=int(count),
        frames=totals["frames"] / max(count, 1),
        total_bytes=totals["bytes"] / max(count, 1),
        cpu_s=totals["cpu_s"] / max(count, 1),
        peak_bytes=int(totals["peak"]),
        compile_s=totals["compile_s"],
    )


def plan_report(request: Request, tell: Tell, write: bool = False) -> Iterator[str]:
    """Lines that say what `build` would make and take; `write` keeps the plan in OUT, for `build` and its tasks.

    A plan that is there is measured again, not scanned again; one of which no shard was made yet gives way to another.
    Raises UserError when it cannot fit or would make nothing; then nothing is written.
    """
    with mirrored(request.out) as mirror:
        yield from _report(resolved(request), mirror, tell, write)


def _report(request: Request, mirror: Mirror, tell: Tell, write: bool) -> Iterator[str]:
    out = mirror.folder
    plan, scan = _planned(request, mirror, tell)
    refused = Counter(item.reason for item in plan.rejects)
    kinds = Counter(item.kind for item in plan.samples)
    splits = Counter(item.split for item in plan.samples)
    yield f"plan_id   {plan.plan_id}"
    yield f"recipe    {plan.recipe.name} {plan.recipe.recipe_hash[:16]}"
    yield f"photos    {len(plan.sources)} kept, {_counted(refused) or 'none'} refused"
    with_subject = sum(1 for item in plan.sources if item.subjects)
    yield f"subjects  in {with_subject} of {len(plan.sources)} photos ({plan.recipe.matting.segmenter})"
    yield f"samples   {len(plan.samples)}: {_counted(splits)}; {_counted(kinds)}"
    yield f"shards    {len(plan.shards)} of up to {plan.recipe.output.samples_per_shard} samples"
    if not plan.samples:
        raise UserError(f"no sample can be made; refused: {_counted(refused)}", exit_code=EXIT_FAULTS)
    begin = time.monotonic()
    measured = measure(plan, inputs_of(request))
    if not measured.samples:
        raise UserError(
            "none of the samples that were tried could be made; `build` would say why", exit_code=EXIT_FAULTS
        )
    total = len(plan.samples)
    yield f"measured  {measured.samples} samples in {time.monotonic() - begin:.0f} s"
    yield f"frames    about {measured.frames * total:.0f}"
    free = shutil.disk_usage(_existing(out)).free
    size = measured.total_bytes * total
    here, where = size, "free"
    if mirror.address is not None:  # a shard lies here until it is sent
        here = measured.total_bytes * min(total, plan.recipe.output.samples_per_shard * request.engine.jobs)
        where = f"{here / 1e9:.2f} GB of it here at a time, free"
    yield f"size      about {size / 1e9:.2f} GB; {where} {free / 1e9:.0f} GB"
    yield f"CPU       about {(measured.cpu_s * total + scan.cpu_s) / 3600:.3f} h, {measured.cpu_s:.1f} s a sample"
    if measured.compile_s >= 1:
        yield f"compiling {measured.compile_s:.0f} CPU-s just now, once on a machine; not in the line above"
    need, memory = int(measured.peak_bytes * SPREAD), available_bytes()
    jobs = fitting_workers(request.engine.jobs, need, memory)
    yield f"memory    {measured.peak_bytes / 1e9:.2f} GB a worker; {jobs} workers, {memory / 1e9:.1f} GB available"
    _refuse_what_cannot_fit(request, int(here * SPREAD), free, need, memory)
    if write:
        _keep(plan, mirror)
        yield f"written   {redacted(str(mirror.address or out / PLAN_FILE))}"


def _refuse_what_cannot_fit(request: Request, size: int, free: int, need: int, memory: int) -> None:
    if size + DISK_RESERVE_BYTES > free:
        raise UserError(
            f"--out {redacted(str(request.out))}: needs about {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            EXIT_IO,
        )
    if request.engine.name != "loky":
        return  # whose memory it is, knows the cluster
    if need > memory:
        raise UserError(
            f"one worker needs {need / 1e9:.1f} GB of memory, {memory / 1e9:.1f} GB are available; "
            "a recipe with a smaller output.long_side_px needs less",
            EXIT_IO,
        )
    if request.jobs_given and need * request.engine.jobs > memory:
        raise UserError(
            f"--jobs {request.engine.jobs}: needs {need * request.engine.jobs / 1e9:.1f} GB of memory; "
            f"--jobs {memory // need} fits",
            EXIT_IO,
        )


def _planned(request: Request, mirror: Mirror, tell: Tell) -> tuple[Plan, Cost]:
    """The plan of the folder where it is that of the request, else a new one, and what its scan took."""
    found = read_plan(mirror.folder) if mirror.folder.is_dir() else None
    if found is not None:
        paths, inputs = photos_and_inputs(request)
        try:
            refuse_other_plan(found, request, planned_files(request, paths, inputs))
        except UserError:
            if _has_shards(mirror):
                raise
        else:
            return found, Cost()
    with open_workers(request.engine) as workers:
        return make_plan(request, workers, tell)


def _keep(plan: Plan, mirror: Mirror) -> None:
    out = mirror.folder
    prepare_out(out)
    with locked(out) as alone:
        found = read_plan(out)
        if found is not None and found.plan_id != plan.plan_id and _has_shards(mirror):
            raise UserError(f"--out {out}: a build of another plan has begun there meanwhile")
        clean(out, alone)
        write_plan(plan, out)
    mirror.push()


def _has_shards(mirror: Mirror) -> bool:
    if mirror.address is not None:
        return bool(mirror.shards())
    data = mirror.folder / DATA_FOLDER
    return data.is_dir() and any(parse_shard_name(path.name) for path in data.iterdir())


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
