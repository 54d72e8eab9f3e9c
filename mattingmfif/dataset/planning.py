"""What a person asked for, and the plan that follows from it: photographs scanned, samples numbered and sharded.

Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mattingmfif.dataset.engines import run_tasks
from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.files import is_remote, remote
from mattingmfif.dataset.inputs import Inputs, input_files, lists_at_hand
from mattingmfif.dataset.intake import ScanTask, scan_photo
from mattingmfif.dataset.plan import Plan, differences, plan_identity, plan_samples, plan_shards, read_plan
from mattingmfif.dataset.recipe import Recipe
from mattingmfif.dataset.remote import mirrored, walk
from mattingmfif.dataset.scan import homes_of, settle
from mattingmfif.dataset.strays import refuse_strays
from mattingmfif.dataset.workers import Engine, Workers
from mattingmfif.errors import EXIT_FAULTS, UserError
from mattingmfif.matting.depth_model import check_depth_model
from mattingmfif.matting.models import needed_model
from mattingmfif.matting.segment import choose_segmenter
from mattingmfif.photo.overrides import read_overrides, refuse_unknown_paths
from mattingmfif.photo.sources import find_photos, find_sidecars, names_photo, read_licences


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked `build` or `plan` for."""

    src: Path | str  # a folder here, or the address of a remote one
    out: Path | str
    recipe: Recipe  # with the command line's overrides in it
    seed: int = 0
    codec: str = "tiff"
    store: str = "frames"
    engine: Engine = field(default_factory=Engine)
    jobs_given: bool = False  # a person named the number of workers
    limit: int | None = None
    mattes: Path | str | None = None
    depth: Path | str | None = None
    depth_model: Path | None = None  # where the file that the recipe's depth.model names lies
    rembg_weights: Path | None = None  # the same of matting.rembg_model, where a person gave the file
    default_licence: str | None = None
    allow_licences: tuple[str, ...] = ()
    splits_of: Path | str | None = None  # an earlier dataset whose photographs keep their splits
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
class Cost:
    """CPU-seconds together, and the bytes of the worker that took most."""

    cpu_s: float = 0.0
    peak_bytes: int = 0

    def and_one(self, cpu_s: float, peak_bytes: int) -> Cost:
        """With another task's."""
        return Cost(cpu_s=self.cpu_s + cpu_s, peak_bytes=max(self.peak_bytes, peak_bytes))


Tell = Callable[[Progress], None]


def resolved(request: Request) -> Request:
    """The request with `auto` decided and models pinned to the files that lie here, once for the whole build.

    Raises UserError for a model that is not there, and for one of depth that gives none.
    """
    matting, depth = request.recipe.matting, request.recipe.depth
    segmenter, _ = choose_segmenter(matting, any_given=request.mattes is not None)
    keys = {"matting.segmenter": segmenter}
    if segmenter == "rembg":
        weights = needed_model(matting.rembg_model)
        _refuse_other_file("matting.rembg", weights.path, matting.rembg_sha256, weights.sha256)
        # the name and the content are the plan's, the place is this machine's
        keys |= {"matting.rembg_model": weights.name, "matting.rembg_sha256": weights.sha256}
        if "=" in matting.rembg_model:
            request = replace(request, rembg_weights=weights.path.absolute())
    if not depth.model:
        return replace(request, recipe=request.recipe.replaced(keys))
    file = (request.depth_model or Path(depth.model).expanduser()).absolute()
    digest = check_depth_model(file)
    _refuse_other_file("depth.model", file, depth.model_sha256, digest)
    keys |= {"depth.model": file.name, "depth.model_sha256": digest}
    return replace(request, recipe=request.recipe.replaced(keys), depth_model=file)


def _refuse_other_file(key: str, file: Path, wanted: str, found: str) -> None:
    """UserError where a recipe pins the file of a model to another content."""
    if wanted and wanted != found:
        raise UserError(f"{key}_sha256: the recipe wants {wanted[:16]}…, {file.name} has {found[:16]}…; give that file")


def make_plan(request: Request, workers: Workers, tell: Tell) -> tuple[Plan, Cost]:
    """The plan of a resolved request, scanned afresh, and what that took. Writes nothing."""
    paths, inputs = photos_and_inputs(request)
    files = planned_files(request, paths, inputs)
    earlier = earlier_plan(request)
    tasks = scan_tasks(request, paths, inputs)
    results, cost = [None] * len(tasks), Cost()
    for done, outcome in enumerate(run_tasks(scan_photo, tasks, workers), start=1):
        cost = cost.and_one(outcome.cpu_s, outcome.peak_bytes)
        results[outcome.index] = outcome.result
        tell(Progress(stage="scan", done=done, total=len(tasks), unit="photos"))
    sources, rejects = settle(
        tasks, results, request.recipe, request.allow_licences, {} if earlier is None else homes_of(earlier)
    )
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
    return plan, cost


def planned_files(request: Request, paths: list[str], inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """(name, sha256) of everything that a plan is made from, the earlier dataset (by its plan_id) among it."""
    files = input_files(paths, inputs)
    earlier = earlier_plan(request)
    return files if earlier is None else tuple(sorted((*files, ("splits of an earlier plan", earlier.plan_id))))


def earlier_plan(request: Request) -> Plan | None:
    """The plan of the dataset whose splits are kept; UserError where there is none in that folder."""
    return None if request.splits_of is None else plan_of(request.splits_of)


def plan_of(folder: Path | str) -> Plan:
    """The plan of an earlier dataset; UserError where there is none."""
    with mirrored(folder) as mirror:
        plan = read_plan(mirror.folder) if mirror.folder.is_dir() else None
    if plan is None:
        raise UserError(f"--splits-of {redacted(str(folder))}: no plan.json there; give the folder of a dataset")
    return plan


def scan_tasks(request: Request, paths: list[str], inputs: Inputs) -> list[ScanTask]:
    """One task a photograph, with what a person says about it."""
    with lists_at_hand(request.src) as lists:
        licences, overrides = read_licences(lists), read_overrides(lists)
    return [
        ScanTask(
            path=path,
            recipe=request.recipe,
            inputs=inputs,
            licence=licences.get(path),
            default_licence=request.default_licence,
            override=overrides.get(path),
        )
        for path in paths
    ]


def photos_and_inputs(request: Request) -> tuple[list[str], Inputs]:
    """Relative paths of the photographs asked for, and where they and what belongs to them lie.

    Raises UserError where there are none, or a file beside them, in --mattes or in --depth belongs to none.
    """
    found = _photos(request)
    paths = found[: request.limit]
    if not paths:
        raise UserError(
            f"--src {redacted(str(request.src))}: no photographs in it (jpg, png, tif, webp, heic); "
            "`mattingmfif samples DIR` writes some",
            exit_code=EXIT_FAULTS,
        )
    inputs = inputs_of(request)
    beside = [] if is_remote(request.src) else find_sidecars(request.src, request.follow_links, _folders_aside(request))
    refuse_strays(found, inputs, beside)
    with lists_at_hand(request.src) as lists:
        refuse_unknown_paths(read_overrides(lists), found)
    return paths, inputs


def _photos(request: Request) -> list[str]:
    if is_remote(request.src):
        own = _inside_source(request)
        return [name for name in walk(str(request.src)) if names_photo(name) and not (own and name.startswith(own))]
    return find_photos(request.src, request.follow_links, _folders_aside(request))


def _folders_aside(request: Request) -> list[Path]:
    return [folder for folder in (request.mattes, request.depth, request.out) if isinstance(folder, Path)]


def _inside_source(request: Request) -> str:
    """Where a remote output folder lies inside the remote folder of photographs, "" where it does not."""
    if not is_remote(request.out):
        return ""
    src, out = (remote(str(place))[1].rstrip("/") + "/" for place in (request.src, request.out))
    return out.removeprefix(src) if out.startswith(src) else ""


def inputs_of(request: Request) -> Inputs:
    """Where a request's files lie, as workers elsewhere find them."""

    def known(place: Path | str | None) -> Path | str | None:
        return place.absolute() if isinstance(place, Path) else place

    src = known(request.src)
    assert src is not None
    return Inputs(
        src=src,
        mattes=known(request.mattes),
        depth=known(request.depth),
        depth_model=request.depth_model,
        rembg_weights=request.rembg_weights,
    )


def refuse_other_plan(plan: Plan, request: Request, files: tuple[tuple[str, str], ...]) -> None:
    """UserError (exit code 2) that names every difference when the folder's plan is not that of the request.

    `files` are those that are there now; tasks of an array give the plan's own, and find changed ones as they come.
    """
    if plan.plan_id == plan_identity(request.recipe, request.seed, request.codec, request.store, files):
        return
    lines = differences(plan, request.recipe, request.seed, request.codec, request.store, files)
    shown = "; ".join(lines[:8]) + (f"; and {len(lines) - 8} more" if len(lines) > 8 else "")
    kept = " (--splits-of this one keeps its splits)" if any(line.startswith("file ") for line in lines) else ""
    raise UserError(f"--out {request.out}: belongs to another plan ({shown}); give another --out{kept}")
