"""Making a dataset: `build` and `plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mattingmfif.cli.group import FOLDER, cli
from mattingmfif.cli.progress import Shown, duration
from mattingmfif.errors import UserError

if TYPE_CHECKING:
    from mattingmfif.dataset.run import Request, Summary

DEFAULT_RECIPE = "mattingmfif-4k"


def _build_options(command: Any) -> Any:
    options = [
        click.option("--src", type=FOLDER, required=True, help="Folder of photographs, searched recursively."),
        click.option("--out", type=FOLDER, required=True, help="Folder of the dataset."),
        click.option(
            "--recipe", default=DEFAULT_RECIPE, show_default=True, metavar="NAME|PATH", help="See `recipes list`."
        ),
        click.option("--mattes", type=FOLDER, help="Folder of your alphas, masks, trimaps, boxes or scribbles."),
        click.option("--depth", type=FOLDER, help="Folder of your depth maps, named as the photographs."),
        click.option("--depth-kind", type=click.Choice(["metres", "disparity"]), help="What the depth maps hold."),
        click.option("--depth-near", type=float, metavar="METRES", help="Distance of the largest disparity."),
        click.option("--depth-far", type=float, metavar="METRES", help="Distance of the smallest disparity."),
        click.option(
            "--segmenter", type=click.Choice(["auto", "given", "rembg", "classical"]), help="How subjects are found."
        ),
        click.option("--jobs", type=click.IntRange(min=1), help="Worker processes.  [default: all cores]"),
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
        click.option("--on-error", type=click.Choice(["skip", "stop"]), default="skip", show_default=True),
        click.option("--follow-links", is_flag=True, help="Follow links that lead out of --src."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _request(words: dict[str, Any]) -> Request:
    """What the build options ask for."""
    import os

    from mattingmfif.dataset.layer_store import refuse_baked_noise
    from mattingmfif.dataset.recipe import load_recipe
    from mattingmfif.dataset.run import Request

    recipe = load_recipe(words["recipe"])
    overrides = {
        "depth.kind": words["depth_kind"],
        "depth.near_m": words["depth_near"],
        "depth.far_m": words["depth_far"],
        "matting.segmenter": words["segmenter"],
    }
    recipe = recipe.replaced({key: value for key, value in overrides.items() if value is not None})
    for name in ("src", "mattes", "depth"):
        if words[name] is not None and not words[name].is_dir():
            raise UserError(f"--{name} {words[name]}: no such folder")
    if words["store"] == "layers":
        refuse_baked_noise(recipe)
    allowed = words["allow_licences"] or words["allow_licences_alias"] or ""
    return Request(
        src=words["src"],
        out=words["out"],
        recipe=recipe,
        seed=words["seed"],
        codec=words["codec"],
        store=words["store"],
        jobs=words["jobs"] or len(os.sched_getaffinity(0)),
        limit=words["limit"],
        mattes=words["mattes"],
        depth=words["depth"],
        default_licence=words["default_licence"],
        allow_licences=tuple(item.strip() for item in allowed.split(",") if item.strip()),
        on_error=words["on_error"],
        follow_links=words["follow_links"],
    )


@cli.command()
@_build_options
@click.option("--dry-run", is_flag=True, help="Print what `plan` prints and write nothing.")
def build(dry_run: bool, **words: Any) -> None:
    """Make verified shards from a folder of photographs; the same command again goes on where it stopped."""
    from mattingmfif.dataset import run

    request = _request(words)
    if dry_run:
        _print_plan(request)
        return
    shown = Shown()
    summary = run.build(request, shown.tell)
    shown.finish()
    _print_summary(summary)


@cli.command()
@_build_options
def plan(**words: Any) -> None:
    """Say what `build` would make and what it would take, and write nothing."""
    _print_plan(_request(words))


def _print_plan(request: Request) -> None:
    from mattingmfif.dataset.estimate import plan_report

    shown = Shown()
    for line in plan_report(request, shown.tell):
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
    click.echo(f"CPU       {summary.cpu_s:.1f} s in {duration(summary.wall_s)}")
    click.echo(f"out       {summary.out}")
