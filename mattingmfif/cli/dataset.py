"""Commands about a finished dataset, and about recipes."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import click

from mattingmfif.cli.group import FILE, FOLDER, PLACE, cli
from mattingmfif.errors import EXIT_FAULTS


@cli.command()
@click.argument("out", type=PLACE)
@click.option(
    "--rerender", type=click.IntRange(min=0), default=0, metavar="N", help="Make N samples again and compare."
)
@click.option("--src", type=PLACE, help="The photographs, for --rerender.")
@click.option("--mattes", type=PLACE, help="As in `build`.")
@click.option("--depth", type=PLACE, help="As in `build`.")
@click.option("--depth-model", type=FILE, help="As in `build`.")
@click.option("--rembg-model", metavar="NAME=FILE", help="As in `build`, where it was given with its file.")
@click.option("--splits-of", type=PLACE, help="An earlier dataset: none of its photographs may be in another split.")
def verify(
    out: Path | str,
    rerender: int,
    src: Path | str | None,
    mattes: Path | str | None,
    depth: Path | str | None,
    depth_model: Path | None,
    rembg_model: str | None,
    splits_of: Path | str | None,
) -> None:
    """Check a dataset: schema, counts, checksums, physics, splits; exit code 1 when something is wrong."""
    from mattingmfif.dataset.check import check_folder

    weights = (rembg_model or "").partition("=")[2]
    given = Path(weights) if weights else None
    report = check_folder(out, rerender, src, mattes, depth, depth_model, splits_of, given)
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
@click.option("--samples", type=click.IntRange(min=1), default=50, show_default=True, help="Look at so many at most.")
def audit(out: Path, samples: int) -> None:
    """Find out whether anything but focus tells which frame is sharp where; exit code 1 when something does."""
    from mattingmfif.dataset.audit import audit_folder

    report = audit_folder(out, samples)
    for line in report.lines():
        click.echo(line)
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


@cli.command()
@click.argument("out")
@click.option("--to", "kind", type=click.Choice(["folders", "webdataset"]), required=True)
@click.option("--dest", type=FOLDER, required=True, help="A new or empty folder.")
@click.option("--split", help="Only this split.")
@click.option("--limit", type=click.IntRange(min=1), help="The first N samples only.")
@click.option("--allow-licences", metavar="A,B,…", help="Only samples all of whose sources have one of these.")
@click.option("--allow-licenses", "allow_licences_alias", hidden=True)
@click.option("--all-maps", is_flag=True, help="Mattes, sharpest frame, boundary and trust as well.")
def export(out: str, allow_licences: str | None, allow_licences_alias: str | None, **words: Any) -> None:
    """Write the samples of OUT as folders of pictures, or as tar files of WebDataset."""
    from mattingmfif.dataset.export import export as export_dataset

    allowed = (item.strip() for item in (allow_licences or allow_licences_alias or "").split(","))
    done = export_dataset(out, allow_licences=tuple(item for item in allowed if item), **words)
    click.echo(f"samples   {done.samples}")
    click.echo(f"files     {done.files}")
    click.echo(f"bytes     {done.total_bytes:,}")
    click.echo("left out  " + (", ".join(f"{name} {count}" for name, count in done.left_out.items()) or "none"))


@cli.command()
@click.argument("out")
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page with plots as well.")
@click.option(
    "--samples", type=click.IntRange(min=1), default=200, show_default=True, help="Measure this many samples."
)
def stats(out: str, page: Path | None, samples: int) -> None:
    """Print how OUT is distributed: blur, depth, coverage, boundary, gap, sharpest frame, lens, licences."""
    from mattingmfif.dataset.reader import open_shards
    from mattingmfif.dataset.stats import as_text, measure
    from mattingmfif.dataset.stats_page import write_page

    shards = open_shards(out)
    measured = measure(shards, samples)
    click.echo(as_text(measured), nl=False)
    if page is not None:
        click.echo(write_page(page, shards, measured, PurePosixPath(out.partition("?")[0].rstrip("/")).name))


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
    if checked.matting.segmenter == "auto":
        click.echo(
            "a build records what `auto` chose as matting.segmenter, and every option: its lock has another hash"
        )
