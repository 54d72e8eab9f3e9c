"""Making a dataset: `plan`, `build`, `index`, and `status` of one that is being made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mattingmfif.cli.group import DEFAULT_RECIPE, FILE, PLACE, cli, depth_model_keys
from mattingmfif.cli.progress import Shown, duration
from mattingmfif.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from mattingmfif.dataset.planning import Request
    from mattingmfif.dataset.run import Summary


def _build_options(command: Any) -> Any:
    options = [
        click.option("--src", type=PLACE, required=True, help="Folder of photographs, searched recursively; or s3://…"),
        click.option("--out", type=PLACE, required=True, help="Folder of the dataset; or s3://…"),
        click.option(
            "--recipe", default=DEFAULT_RECIPE, show_default=True, metavar="NAME|PATH", help="See `recipes list`."
        ),
        click.option("--mattes", type=PLACE, help="Folder of your alphas, masks, trimaps, boxes, scribbles; or s3://…"),
        click.option("--depth", type=PLACE, help="Folder of your depth maps, named as the photographs; or s3://…"),
        click.option("--depth-kind", type=click.Choice(["metres", "disparity"]), help="What the depth maps hold."),
        click.option("--depth-near", type=float, metavar="METRES", help="Distance of the largest disparity."),
        click.option("--depth-far", type=float, metavar="METRES", help="Distance of the smallest disparity."),
        click.option(
            "--depth-edges",
            type=click.Choice(["surface", "layers"]),
            help="A depth map without mattes: one receding surface, or cut into layers where it jumps.",
        ),
        click.option("--depth-model", type=FILE, help="ONNX file that estimates depth for photographs without a map."),
        click.option(
            "--depth-model-kind",
            type=click.Choice(["disparity", "metres"]),
            help="What it gives: disparity (Depth Anything V2), metres (V3).",
        ),
        click.option("--depth-model-licence", metavar="TEXT", help="Licence of the model, for the record."),
        click.option(
            "--segmenter", type=click.Choice(["auto", "given", "rembg", "classical"]), help="How subjects are found."
        ),
        click.option("--rembg-model", metavar="NAME[=FILE]", help="The rembg model, and where its weights lie."),
        click.option(
            "--allow-download", is_flag=True, help="Fetch the weights of --rembg-model where they are missing."
        ),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            help="Worker processes.  [default: all cores; fewer if memory is short]",
        ),
        click.option(
            "--engine",
            type=click.Choice(["loky", "dask", "ray"]),
            default="loky",
            show_default=True,
            help="loky: this machine. dask, ray: a cluster (extras of that name).",
        ),
        click.option("--address", metavar="ADDRESS", help="Of the dask or ray cluster.  [default: one started here]"),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
        click.option("--limit", type=click.IntRange(min=1), help="Use the first N photographs only."),
        click.option("--codec", type=click.Choice(["tiff", "png"]), default="tiff", show_default=True),
        click.option(
            "--store",
            type=click.Choice(["frames", "layers"]),
            default="frames",
            show_default=True,
            help="Keep the frames, or the layers they are photographed from when read.",
        ),
        click.option(
            "--licence", "default_licence", metavar="TEXT", help="Licence of photos that LICENSES.csv does not name."
        ),
        click.option(
            "--allow-licences",
            metavar="A,B,…",
            help="Refuse photographs under any other licence.",
        ),
        click.option("--allow-licenses", "allow_licences_alias", hidden=True),
        click.option("--splits-of", type=PLACE, help="An earlier dataset whose photographs keep their splits."),
        click.option("--on-error", type=click.Choice(["skip", "stop"]), default="skip", show_default=True),
        click.option("--follow-links", is_flag=True, help="Follow links that lead out of --src."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _request(words: dict[str, Any]) -> Request:
    """What the build options ask for."""
    import os
    from pathlib import Path

    from mattingmfif.dataset.layer_store import refuse_baked_noise
    from mattingmfif.dataset.planning import Request
    from mattingmfif.dataset.recipe import load_recipe
    from mattingmfif.dataset.workers import Engine
    from mattingmfif.matting.models import fetch_weights

    recipe = load_recipe(words["recipe"])
    overrides = {
        "depth.kind": words["depth_kind"],
        "depth.near_m": words["depth_near"],
        "depth.far_m": words["depth_far"],
        "depth.edges": words["depth_edges"],
        **depth_model_keys(words),
        "matting.segmenter": words["segmenter"],
        "matting.rembg_model": words["rembg_model"],
    }
    recipe = recipe.replaced({key: value for key, value in overrides.items() if value is not None})
    for name in ("src", "mattes", "depth"):
        if isinstance(words[name], Path) and not words[name].is_dir():
            raise UserError(f"--{name} {words[name]}: no such folder")
    if words["store"] == "layers":
        refuse_baked_noise(recipe)
    if words["allow_download"]:
        fetch_weights(recipe.matting)
    allowed = words["allow_licences"] or words["allow_licences_alias"] or ""
    return Request(
        src=words["src"],
        out=words["out"],
        recipe=recipe,
        seed=words["seed"],
        codec=words["codec"],
        store=words["store"],
        engine=Engine(
            name=words["engine"],
            jobs=words["jobs"] or len(os.sched_getaffinity(0)),
            address=words["address"],
        ),
        jobs_given=words["jobs"] is not None,
        limit=words["limit"],
        mattes=words["mattes"],
        depth=words["depth"],
        default_licence=words["default_licence"],
        allow_licences=tuple(item.strip() for item in allowed.split(",") if item.strip()),
        splits_of=words["splits_of"],
        on_error=words["on_error"],
        follow_links=words["follow_links"],
    )


@cli.command()
@_build_options
@click.option("--dry-run", is_flag=True, help="Print what `plan` prints and write nothing.")
@click.option("--task", metavar="I/N", help="Render the I-th of N shares of a plan that is there, from 1/N to N/N.")
def build(dry_run: bool, task: str | None, **words: Any) -> None:
    """Make verified shards from a folder of photographs; the same command again goes on where it stopped."""
    from mattingmfif.dataset import run

    request = _request(words)
    if dry_run:
        _print_plan(request, write=False)
        return
    shown = Shown()
    if task is None:
        summary = run.build(request, shown.tell)
    else:
        summary = run.build_task(request, *_task_numbers(task), shown.tell)
    shown.finish()
    _print_summary(summary)


@cli.command()
@_build_options
@click.option("--dry-run", is_flag=True, help="Write nothing.")
def plan(dry_run: bool, **words: Any) -> None:
    """Say what `build` would make and what it would take, and write OUT/plan.json for it and its tasks."""
    _print_plan(_request(words), write=not dry_run)


@cli.command()
@click.argument("out", type=PLACE)
def index(out: Path | str) -> None:
    """Make manifest, sources, rejects, card and previews when all tasks of a plan have ended."""
    from mattingmfif.dataset.run import index_folder

    _print_summary(index_folder(out))


@cli.command()
@click.argument("out", type=PLACE)
@click.option("--deep/--quick", default=None, help="Read every page of every shard, or footers only.")
def status(out: Path | str, deep: bool | None) -> None:
    """Say how far a build is: shards whole, missing and damaged, refused photographs, who is at work."""
    from mattingmfif.dataset.status import folder_status, status_lines

    for line in status_lines(folder_status(out, deep)):
        click.echo(line)


def _task_numbers(text: str) -> tuple[int, int]:
    number, mark, count = text.partition("/")
    if not (mark and number.isdecimal() and count.isdecimal()):
        raise UserError(f"--task {text}: give the number of the task and of all tasks, as in --task 3/8")
    return int(number), int(count)


def _print_plan(request: Request, write: bool) -> None:
    from mattingmfif.dataset.estimate import plan_report

    shown = Shown()
    for line in plan_report(request, shown.tell, write):
        shown.finish()
        click.echo(line)


def _print_summary(summary: Summary) -> None:
    refused = ", ".join(f"{reason} {count}" for reason, count in summary.refused.items()) or "none"
    made_before = f" ({summary.shards_before} were there)" if summary.shards_before else ""
    click.echo(f"samples   {summary.samples}")
    click.echo(f"frames    {summary.frames}")
    click.echo(f"shards    {summary.shards}{made_before}")
    click.echo(f"refused   {refused}")
    click.echo(f"bytes     {summary.total_bytes:,}")
    if summary.peak_bytes:
        click.echo(f"workers   {summary.workers}, up to {summary.peak_bytes / 1e9:.2f} GB each")
    click.echo(f"CPU       {summary.cpu_s:.1f} s in {duration(summary.wall_s)}")
    click.echo(f"out       {summary.out}")
