"""What a build would make and take, from the plan and from two samples that are really made (in a temporary folder)."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mattingmfif.dataset.build import ShardTask, prepare_folders, render_shard, run_alone
from mattingmfif.dataset.intake import Inputs
from mattingmfif.dataset.plan import Plan, PlannedShard
from mattingmfif.dataset.run import Request, Tell, make_plan, resolved
from mattingmfif.dataset.shards import shard_name
from mattingmfif.errors import EXIT_FAULTS, EXIT_IO, UserError

#: room that is left free on the disk, and a factor for samples that differ from those measured
DISK_RESERVE_BYTES, SPREAD = 1 << 30, 1.15


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What two samples took, a sample."""

    samples: int
    frames: float
    total_bytes: float
    cpu_s: float
    peak_bytes: int


def measure(plan: Plan, inputs: Inputs) -> Measured:
    """Make up to two samples of the plan, those with the most pixels, in a temporary folder, and measure them."""
    by_size = sorted(
        range(len(plan.samples)),
        key=lambda index: (
            -plan.sources[plan.samples[index].sources[0]].height * plan.sources[plan.samples[index].sources[0]].width
        ),
    )
    picked = (by_size[0], by_size[len(by_size) // 2]) if len(by_size) > 1 else (by_size[0],)
    totals = {"samples": 0, "frames": 0, "bytes": 0, "cpu_s": 0.0, "peak": 0}
    with tempfile.TemporaryDirectory(prefix="mattingmfif-plan-") as folder:
        prepare_folders(Path(folder))
        for index in dict.fromkeys(picked):
            split = plan.samples[index].split
            shard = PlannedShard(name=shard_name(split, 0, 1), split=split, samples=(index,))
            task = ShardTask(plan=plan.part(shard), shard=shard.name, inputs=inputs, out=Path(folder), on_error="skip")
            outcome = run_alone(_render_measured, task)
            if outcome.died or outcome.result[0].error:
                continue
            record, peak = outcome.result
            totals["samples"] += record.samples
            totals["frames"] += record.frames
            totals["bytes"] += record.total_bytes
            totals["cpu_s"] += outcome.cpu_s
            totals["peak"] = max(totals["peak"], peak)
    count = totals["samples"]
    return Measured(
        samples=int(count),
        frames=totals["frames"] / max(count, 1),
        total_bytes=totals["bytes"] / max(count, 1),
        cpu_s=totals["cpu_s"] / max(count, 1),
        peak_bytes=int(totals["peak"]),
    )


def _render_measured(task: ShardTask) -> tuple[object, int]:
    record = render_shard(task)
    return record, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def plan_report(request: Request, tell: Tell) -> Iterator[str]:
    """Lines that say what `build` would make and take. Raises UserError when it cannot fit or would make nothing."""
    request = resolved(request)
    plan, scan_cpu_s = make_plan(request, tell)
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
    measured = measure(plan, Inputs(src=request.src, mattes=request.mattes, depth=request.depth))
    if not measured.samples:
        raise UserError(
            "none of the samples that were tried could be made; `build` would say why", exit_code=EXIT_FAULTS
        )
    total = len(plan.samples)
    needed = int(measured.total_bytes * total * SPREAD)
    free = shutil.disk_usage(_existing(request.out)).free
    memory = _available_memory()
    jobs = request.jobs
    yield f"measured  {measured.samples} samples in {time.monotonic() - begin:.0f} s"
    yield f"frames    about {measured.frames * total:.0f}"
    yield f"size      about {measured.total_bytes * total / 1e9:.2f} GB; free {free / 1e9:.0f} GB"
    yield f"CPU       about {(measured.cpu_s * total + scan_cpu_s) / 3600:.3f} h, {measured.cpu_s:.1f} s a sample"
    yield f"memory    {measured.peak_bytes / 1e9:.2f} GB a worker; {jobs} workers, {memory / 1e9:.1f} GB available"
    if needed + DISK_RESERVE_BYTES > free:
        raise UserError(
            f"--out {request.out}: needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free", EXIT_IO
        )
    if measured.peak_bytes * jobs > memory:
        fits = max(1, memory // max(measured.peak_bytes, 1))
        raise UserError(
            f"--jobs {jobs}: needs {measured.peak_bytes * jobs / 1e9:.1f} GB of memory; --jobs {fits} fits", EXIT_IO
        )


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _available_memory() -> int:
    """Bytes of memory that can be had without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
