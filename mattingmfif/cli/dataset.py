"""Commands about a finished dataset, and about recipes."""

from __future__ import annotations

from pathlib import Path

import click

from mattingmfif.cli.group import FOLDER, cli
from mattingmfif.errors import EXIT_FAULTS


@cli.command()
@click.argument("out", type=FOLDER)
@click.option(
    "--rerender", type=click.IntRange(min=0), default=0, metavar="N", help="Make N samples again and compare."
)
@click.option("--src", type=FOLDER, help="The photographs, for --rerender.")
@click.option("--mattes", type=FOLDER, help="As in `build`.")
@click.option("--depth", type=FOLDER, help="As in `build`.")
def verify(out: Path, rerender: int, src: Path | None, mattes: Path | None, depth: Path | None) -> None:
    """Check a dataset: schema, counts, checksums, physics, splits; exit code 1 when something is wrong."""
    from mattingmfif.dataset.check import check_folder

    report = check_folder(out, rerender=rerender, src=src, mattes=mattes, depth=depth)
    for fault in report.faults:
        click.echo(fault)
    click.echo(
        f"{report.samples} samples in {report.shards} shards, {report.images} images, {report.rerendered} made again: "
        + (f"{len(report.faults)} faults" if report.faults else "sound")
    )
    if not report.ok:
        raise click.exceptions.Exit(EXIT_FAULTS)


@cli.command()
@click.argument("out", type=FOLDER)
def preview(out: Path) -> None:
    """Write contact sheets of the samples into OUT/previews."""
    from mattingmfif.dataset.report import write_previews

    for path in write_previews(out):
        click.echo(path)


@cli.command()
@click.argument("out", type=FOLDER)
def card(out: Path) -> None:
    """Write the dataset card (OUT/README.md) with numbers counted from the shards."""
    from mattingmfif.dataset.card import write_card

    click.echo(write_card(out))


@cli.group()
def recipes() -> None:
    """The recipes that come with the package, and checks of your own."""


@recipes.command("list")
def recipes_list() -> None:
    """Names and descriptions."""
    from mattingmfif.dataset.recipe import load_recipe, published_recipes

    for name in published_recipes():
        click.echo(f"{name:<18}{load_recipe(name).description}")


@recipes.command("show")
@click.argument("recipe")
def recipes_show(recipe: str) -> None:
    """The recipe with every default written out."""
    from mattingmfif.dataset.recipe import load_recipe

    click.echo(load_recipe(recipe).to_toml(), nl=False)


@recipes.command("check")
@click.argument("recipe")
def recipes_check(recipe: str) -> None:
    """Say whether a recipe is sound, and its hash."""
    from mattingmfif.dataset.recipe import load_recipe

    checked = load_recipe(recipe)
    click.echo(f"{checked.name}: sound; recipe_hash {checked.recipe_hash}")
