"""From a folder of photographs to a finished dataset folder: scan, plan, render, index; and what was done, told.

scan    every photograph is opened, gated and looked at for subjects, in parallel (`planning.py`)
plan    samples are numbered, split and cut into shards; written once to OUT/plan.json
render  shards that are not there yet (`build.py`): all of them, or one task's share of them
index   manifest, sources, rejects, lock file of the recipe, previews and the dataset card, from the shards
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mattingmfif import __version__
from mattingmfif.dataset.build import Rendered, ShardRecord, render_missing, shard_rejects
from mattingmfif.dataset.engines import open_workers
from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.index import write_index
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.out_folder import DATA_FOLDER, Journal, Runner, locked, prepare_out
from mattingmfif.dataset.plan import PLAN_FILE, Plan, PlannedShard, Reject, read_plan, write_plan
from mattingmfif.dataset.planning import (
    Cost,
    Progress,
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
from mattingmfif.dataset.shards import remove_stale_temporaries
from mattingmfif.dataset.whole_files import write_whole
from mattingmfif.dataset.workers import Workers
from mattingmfif.errors import EXIT_FAULTS, EXIT_IO, UserError

RUN_LOG = "run.jsonl"
REJECTS_FILE = "rejects.jsonl"
LOCK_RECIPE = "recipe.lock.toml"
_NAMES_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run made and cost; of a task its own share, with what was there before."""

    out: str  # as it may be shown
    samples: int
    frames: int
    total_bytes: int
    shards: int
    shards_before: int
    refused: dict[str, int]
    workers: int
    peak_bytes: int  # of the worker that took the most memory; 0 where nothing was rendered
    cpu_s: float
    wall_s: float


def build(request: Request, tell: Tell) -> Summary:
    """Build the dataset of a request, or go on with it; the same request twice changes nothing.

    Raises UserError: exit code 2 for a folder of another plan, 3 for a disk error, 1 when no sample was made.
    """
    began = time.monotonic()
    request = resolved(request)
    with mirrored(request.out) as mirror:
        out = mirror.folder
        prepare_out(out)
        try:
            with locked(out) as alone, open_workers(request.engine) as workers:
                clean(out, alone)
                return _build_locked(replace(request, out=out), mirror, workers, tell, began)
        except OSError as error:
            raise UserError(
                f"--out {out}: {error.strerror or error}; run the same command to go on", EXIT_IO
            ) from error


def build_task(request: Request, number: int, count: int, tell: Tell) -> Summary:
    """Render the share of task `number` of `count` (counted from 1): every count-th shard of an existing plan.

    Tasks need not know of each other and may run at once, anywhere where OUT is to be seen. The index is made by
    `index_folder` when all have ended. Raises UserError as `build`, and where there is no plan.
    """
    began = time.monotonic()
    if not 1 <= number <= count:
        raise UserError(f"--task {number}/{count}: tasks are counted from 1/{count} to {count}/{count}")
    request = resolved(request)
    with mirrored(request.out) as mirror:
        out = mirror.folder
        plan = read_plan(out) if out.is_dir() else None
        if plan is None:
            raise UserError(f"--task: no {PLAN_FILE} in {out}; run `mattingmfif plan` with the same options first")
        refuse_other_plan(plan, request, plan.inputs)
        shards = plan.shards[number - 1 :: count]
        try:
            with locked(out, shared=True), open_workers(request.engine) as workers:
                clean(out, alone=False)
                run = _Run(mirror, tell, task=f"{number}/{count}")
                rendered = run.render(plan, shards, inputs_of(request), workers, request.on_error)
                summary = Summary(
                    out=redacted(str(request.out)),
                    samples=run.samples,
                    frames=run.frames,
                    total_bytes=run.total_bytes,
                    shards=len(shards),
                    shards_before=rendered.shards_before,
                    refused=dict(sorted(run.refused.items())),
                    workers=rendered.workers,
                    peak_bytes=rendered.peak_bytes,
                    cpu_s=run.cpu_s,
                    wall_s=time.monotonic() - began,
                )
                if mirror.address is None:  # objects cannot be appended to, and tasks end at once
                    log_run(out, f"build --task {number}/{count}", summary)
                return summary
        except OSError as error:
            raise UserError(
                f"--out {out}: {error.strerror or error}; run the same command to go on", EXIT_IO
            ) from error


def index_folder(out: Path | str) -> Summary:
    """Make manifest, sources, rejects, card and previews of a folder whose shards are all there.

    Raises UserError: exit code 2 where there is no plan or somebody is building, 1 where shards are missing or damaged.
    """
    began = time.monotonic()
    with mirrored(out) as mirror:
        folder = mirror.folder
        plan = read_plan(folder) if folder.is_dir() else None
        if plan is None:
            raise UserError(f"{folder}: no {PLAN_FILE} in it, so nothing to index")
        try:
            with locked(folder) as alone:
                missing = [shard.name for shard in plan.shards if not mirror.whole(shard.name, plan.plan_id)]
                if missing:
                    names = ", ".join(missing[:_NAMES_SHOWN]) + (", …" if len(missing) > _NAMES_SHOWN else "")
                    raise UserError(
                        f"{folder}: {len(missing)} of {len(plan.shards)} planned shards are missing or damaged "
                        f"({names}); build them first",
                        EXIT_FAULTS,
                    )
                clean(folder, alone)
                nothing = Rendered(shards_before=len(plan.shards), workers=0, peak_bytes=0)
                return _indexed(plan, mirror, "index", nothing, Cost(), began)
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror or error}; run the same command again", EXIT_IO) from error


def clean(out: Path, alone: bool) -> None:
    """Make the folder of shards, and take away what killed runs left: all of it for the one who is alone in it."""
    (out / DATA_FOLDER).mkdir(exist_ok=True)
    for folder in (out, out / DATA_FOLDER):
        remove_stale_temporaries(folder, all_writers_are_gone=alone)
    if alone:
        Journal(out).clear()


class _Run:
    """Rendering told to a person and noted in the folder."""

    def __init__(self, mirror: Mirror, tell: Tell, task: str = "") -> None:
        self.mirror, self.tell = mirror, tell
        self.journal = Journal(mirror.folder)
        self.journal.open()
        self.runner = Runner(self.journal, task)
        self.samples = self.frames = self.total_bytes = 0
        self.refused = Counter[str]()
        self.cpu_s = 0.0

    def scanned(self, step: Progress) -> None:
        """One more photograph was looked at."""
        self.runner.at(step.stage, step.done, step.total, step.unit)
        self.tell(step)

    def render(
        self, plan: Plan, shards: tuple[PlannedShard, ...], inputs: Inputs, workers: Workers, on_error: str
    ) -> Rendered:
        """Render those of the shards that are not there."""

        def on_progress(done: int, record: ShardRecord | None, cpu_s: float) -> None:
            self.cpu_s += cpu_s
            self.runner.at("render", done, len(shards), "shards")
            if record is None:
                return
            self.samples += record.samples
            self.frames += record.frames
            self.total_bytes += record.total_bytes
            self.refused.update(item.reason for item in record.refused)
            self.tell(
                Progress(
                    stage="render",
                    done=done,
                    total=len(shards),
                    unit="shards",
                    samples=self.samples,
                    frames=self.frames,
                )
            )

        rendered = render_missing(
            plan, shards, inputs, self.mirror, workers=workers, on_error=on_error, on_progress=on_progress
        )
        self.journal.leave(self.runner.note)
        return rendered


def _build_locked(request: Request, mirror: Mirror, workers: Workers, tell: Tell, began: float) -> Summary:
    out = mirror.folder
    run = _Run(mirror, tell)
    plan = read_plan(out)
    scan = Cost()
    if plan is None:
        plan, scan = make_plan(request, workers, run.scanned)
        write_plan(plan, out)
        mirror.push()
    else:
        paths, inputs = photos_and_inputs(request)
        refuse_other_plan(plan, request, planned_files(request, paths, inputs))
    rendered = run.render(plan, plan.shards, inputs_of(request), workers, request.on_error)
    cost = scan.and_one(run.cpu_s, rendered.peak_bytes)
    here = workers if request.engine.name == "loky" else None  # others may not see this machine's files
    return _indexed(plan, mirror, "build", rendered, cost, began, here)


def _indexed(
    plan: Plan,
    mirror: Mirror,
    command: str,
    rendered: Rendered,
    cost: Cost,
    began: float,
    workers: Workers | None = None,
) -> Summary:
    out = mirror.folder
    write_whole(out / LOCK_RECIPE, plan.recipe.to_toml().encode())
    totals = write_index(plan, out, mirror.data, workers)
    rejects = write_rejects(plan, mirror)
    summary = Summary(
        out=redacted(str(mirror.address or out)),
        samples=totals.samples,
        frames=totals.frames,
        total_bytes=totals.total_bytes,
        shards=len(plan.shards),
        shards_before=rendered.shards_before,
        refused=dict(sorted(Counter(item.reason for item in rejects).items())),
        workers=rendered.workers,
        peak_bytes=cost.peak_bytes,
        cpu_s=cost.cpu_s,
        wall_s=time.monotonic() - began,
    )
    log_run(out, command, summary)
    mirror.push()
    if not summary.samples:
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary.refused.items())
        raise UserError(f"no sample was made; refused: {reasons}; see {out / REJECTS_FILE}", exit_code=EXIT_FAULTS)
    return summary


def write_rejects(plan: Plan, mirror: Mirror) -> list[Reject]:
    """Write rejects.jsonl, one row a source, sorted: the scan's and those found while rendering."""
    rows = {(item.path, item.reason, item.detail): item for item in (*plan.rejects, *shard_rejects(plan, mirror))}
    rejects = [rows[key] for key in sorted(rows)]
    text = "".join(json.dumps(asdict(item), ensure_ascii=False, sort_keys=True) + "\n" for item in rejects)
    write_whole(mirror.folder / REJECTS_FILE, text.encode())
    return rejects


def log_run(out: Path, command: str, summary: Summary) -> None:
    """Append this run to run.jsonl: the only place for times, hosts and costs."""
    row = {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": os.uname().nodename,
        "command": command,
        "toolkit_version": __version__,
        "samples": summary.samples,
        "frames": summary.frames,
        "bytes": summary.total_bytes,
        "shards": summary.shards,
        "shards_before": summary.shards_before,
        "workers": summary.workers,
        "peak_bytes": summary.peak_bytes,
        "cpu_s": round(summary.cpu_s, 2),
        "wall_s": round(summary.wall_s, 2),
    }
    with (out / RUN_LOG).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
