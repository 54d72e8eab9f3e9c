"""From a folder of photographs to a finished dataset folder: scan, plan, render, index; and what was done, told.

scan    every photograph is opened, gated and looked at for subjects, in parallel
plan    samples are numbered, split and cut into shards; written once to OUT/plan.json
render  shards that are not there yet (`build.py`)
index   manifest, sources, rejects, lock file of the recipe, previews and the dataset card, from the shards
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mattingmfif import __version__
from mattingmfif.dataset.build import ShardRecord, locked, render_missing, run_tasks, shard_rejects
from mattingmfif.dataset.index import write_index
from mattingmfif.dataset.intake import Inputs, ScanTask, input_files, scan_photo
from mattingmfif.dataset.plan import (
    PLAN_FILE,
    Plan,
    Reject,
    differences,
    plan_identity,
    plan_samples,
    plan_shards,
    read_plan,
    write_plan,
)
from mattingmfif.dataset.recipe import Recipe
from mattingmfif.dataset.scan import settle
from mattingmfif.dataset.whole_files import write_whole
from mattingmfif.errors import EXIT_FAULTS, EXIT_IO, UserError
from mattingmfif.matting.segment import choose_segmenter
from mattingmfif.photo.sources import find_photos, read_licences

RUN_LOG = "run.jsonl"
#: endings of files that say something about a photograph
SIDECAR_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".npy", ".pfm", ".txt"}
REJECTS_FILE = "rejects.jsonl"
LOCK_RECIPE = "recipe.lock.toml"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked `build` or `plan` for."""

    src: Path
    out: Path
    recipe: Recipe  # with the command line's overrides in it
    seed: int = 0
    codec: str = "tiff"
    store: str = "frames"
    jobs: int = 1
    limit: int | None = None
    mattes: Path | None = None
    depth: Path | None = None
    default_licence: str | None = None
    allow_licences: tuple[str, ...] = ()
    on_error: str = "skip"
    follow_links: bool = False


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One step of a long run, for whoever shows it."""

    stage: str  # scan or render
    done: int
    total: int
    unit: str
    samples: int = 0
    frames: int = 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a build made and cost."""

    out: Path
    samples: int
    frames: int
    total_bytes: int
    shards: int
    shards_before: int
    refused: dict[str, int]
    cpu_s: float
    wall_s: float


Tell = Callable[[Progress], None]


def resolved(request: Request) -> Request:
    """The request with `auto` decided: which segmenter finds subjects is settled once, for the whole build."""
    any_given = request.mattes is not None
    segmenter, _ = choose_segmenter(request.recipe.matting, any_given=any_given)
    return replace(request, recipe=request.recipe.replaced({"matting.segmenter": segmenter}))


def make_plan(request: Request, tell: Tell) -> tuple[Plan, float]:
    """The plan of a resolved request, scanned afresh, and the CPU-seconds that took. Writes nothing."""
    paths, inputs = _paths_and_inputs(request)
    files = input_files(paths, inputs)
    licences = read_licences(request.src)
    tasks = [
        ScanTask(
            path=path,
            recipe=request.recipe,
            inputs=inputs,
            licence=licences.get(path),
            default_licence=request.default_licence,
        )
        for path in paths
    ]
    results, cpu_s = [None] * len(tasks), 0.0
    for done, outcome in enumerate(run_tasks(scan_photo, tasks, request.jobs), start=1):
        cpu_s += outcome.cpu_s
        results[outcome.index] = outcome.result
        tell(Progress(stage="scan", done=done, total=len(tasks), unit="photos"))
    sources, rejects = settle(tasks, results, request.recipe, request.allow_licences)
    if request.on_error == "stop" and rejects:
        first = rejects[0]
        raise UserError(f"{first.path}: {first.reason}: {first.detail} (--on-error stop)", exit_code=EXIT_FAULTS)
    samples = plan_samples(request.recipe, request.seed, sources)
    plan = Plan(
        plan_id=plan_identity(request.recipe, request.seed, request.codec, request.store, files),
        recipe=request.recipe,
        seed=request.seed,
        codec=request.codec,
        store=request.store,
        inputs=files,
        sources=sources,
        samples=samples,
        shards=plan_shards(request.recipe, samples),
        rejects=rejects,
    )
    return plan, cpu_s


def _paths_and_inputs(request: Request) -> tuple[list[str], Inputs]:
    aside = [folder for folder in (request.mattes, request.depth, request.out) if folder is not None]
    paths = find_photos(request.src, request.follow_links, aside)[: request.limit]
    if not paths:
        raise UserError(
            f"--src {request.src}: no photographs in it (jpg, png, tif, webp); `mattingmfif samples DIR` writes some",
            exit_code=EXIT_FAULTS,
        )
    inputs = Inputs(src=request.src, mattes=request.mattes, depth=request.depth)
    refuse_strays(find_photos(request.src, request.follow_links, aside), inputs)
    return paths, inputs


def refuse_strays(paths: list[str], inputs: Inputs) -> None:
    """UserError that names a file in --mattes or --depth which belongs to no photograph: a misspelt name is no wish."""
    used = {file.resolve() for path in paths for _, file in inputs.sidecars(path)}
    for option, folder in (("mattes", inputs.mattes), ("depth", inputs.depth)):
        if folder is None:
            continue
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in SIDECAR_SUFFIXES and file.resolve() not in used:
                raise UserError(
                    f"--{option} {folder}: {file.relative_to(folder).as_posix()} belongs to no photograph in --src; "
                    "name it after its photograph, or move it away"
                )


def prepare_out(out: Path) -> None:
    """Make the output folder; UserError when it is not ours to write in."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        foreign = [item.name for item in out.iterdir()] if not (out / PLAN_FILE).exists() else []
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--out {out}: is a file, not a folder") from None
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}", exit_code=EXIT_IO) from None
    foreign = [name for name in foreign if not (name.startswith(".plan.json.") and name.endswith(".part"))]
    if foreign:
        raise UserError(f"--out {out}: holds {sorted(foreign)[0]!r} but no {PLAN_FILE}; give a new or empty folder")


def build(request: Request, tell: Tell) -> Summary:
    """Build the dataset of a request, or go on with it; the same request twice changes nothing.

    Raises UserError: exit code 2 for a folder of another plan, 3 for a disk error, 1 when no sample was made.
    """
    began = time.monotonic()
    request = resolved(request)
    prepare_out(request.out)
    try:
        with locked(request.out):
            return _build_locked(request, tell, began)
    except OSError as error:
        raise UserError(
            f"--out {request.out}: {error.strerror or error}; run the same command to go on", EXIT_IO
        ) from error


def _build_locked(request: Request, tell: Tell, began: float) -> Summary:
    paths, inputs = _paths_and_inputs(request)
    plan = read_plan(request.out)
    cpu_s = 0.0
    if plan is None:
        plan, cpu_s = make_plan(request, tell)
        write_plan(plan, request.out)
    else:
        refuse_other_plan(plan, request, input_files(paths, inputs))
    for left_over in request.out.glob(".*.part"):
        left_over.unlink(missing_ok=True)
    write_whole(request.out / LOCK_RECIPE, plan.recipe.to_toml().encode())
    todo = {"samples": 0, "frames": 0}
    shards_left = [0]

    def on_progress(record: ShardRecord, shard_cpu_s: float) -> None:
        nonlocal cpu_s
        cpu_s += shard_cpu_s
        todo["samples"] += record.samples
        todo["frames"] += record.frames
        shards_left[0] += 1
        tell(
            Progress(
                stage="render",
                done=before + shards_left[0],
                total=len(plan.shards),
                unit="shards",
                samples=todo["samples"],
                frames=todo["frames"],
            )
        )

    before = 0

    def on_start(found: int) -> None:
        nonlocal before
        before = found

    render_missing(
        plan,
        inputs,
        request.out,
        jobs=request.jobs,
        on_error=request.on_error,
        on_start=on_start,
        on_progress=on_progress,
    )
    totals = write_index(plan, request.out)
    rejects = write_rejects(plan, request.out)
    summary = Summary(
        out=request.out,
        samples=totals.samples,
        frames=totals.frames,
        total_bytes=totals.total_bytes,
        shards=len(plan.shards),
        shards_before=before,
        refused=dict(sorted(Counter(item.reason for item in rejects).items())),
        cpu_s=cpu_s,
        wall_s=time.monotonic() - began,
    )
    log_run(request, summary)
    if not summary.samples:
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary.refused.items())
        raise UserError(
            f"no sample was made; refused: {reasons}; see {request.out / REJECTS_FILE}", exit_code=EXIT_FAULTS
        )
    return summary


def refuse_other_plan(plan: Plan, request: Request, files: tuple[tuple[str, str], ...]) -> None:
    """UserError (exit code 2) that names every difference when the folder's plan is not that of the request."""
    if plan.plan_id == plan_identity(request.recipe, request.seed, request.codec, request.store, files):
        return
    lines = differences(plan, request.recipe, request.seed, request.codec, request.store, files)
    shown = "; ".join(lines[:8]) + (f"; and {len(lines) - 8} more" if len(lines) > 8 else "")
    raise UserError(f"--out {request.out}: belongs to another plan ({shown}); give another --out")


def write_rejects(plan: Plan, out: Path) -> list[Reject]:
    """Write rejects.jsonl, one row a source, sorted: the scan's and those found while rendering."""
    rows = {(item.path, item.reason, item.detail): item for item in (*plan.rejects, *shard_rejects(plan, out))}
    rejects = [rows[key] for key in sorted(rows)]
    text = "".join(json.dumps(asdict(item), ensure_ascii=False, sort_keys=True) + "\n" for item in rejects)
    write_whole(out / REJECTS_FILE, text.encode())
    return rejects


def log_run(request: Request, summary: Summary) -> None:
    """Append this run to run.jsonl: the only place for times, hosts and costs."""
    row = {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": os.uname().nodename,
        "jobs": request.jobs,
        "toolkit_version": __version__,
        "samples": summary.samples,
        "frames": summary.frames,
        "bytes": summary.total_bytes,
        "shards": summary.shards,
        "shards_before": summary.shards_before,
        "cpu_s": round(summary.cpu_s, 2),
        "wall_s": round(summary.wall_s, 2),
    }
    with (request.out / RUN_LOG).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
