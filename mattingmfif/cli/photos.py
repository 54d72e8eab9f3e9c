"""Commands about photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mattingmfif.cli.group import DEFAULT_RECIPE, FILE, FOLDER, cli, depth_model_keys
from mattingmfif.cli.progress import Shown
from mattingmfif.errors import UserError


@cli.command()
@click.argument("folder", type=FOLDER)
def samples(folder: Path) -> None:
    """Write scikit-image's photographs into FOLDER, for whoever has none at hand (one with a measured depth map)."""
    from mattingmfif.photo.samples import write_samples

    for path in write_samples(folder):
        click.echo(path)


@cli.command()
@click.argument("photos", type=FOLDER)
@click.option("--out", type=FOLDER, help="Write a page with pictures into this folder: open its index.html.")
@click.option("--layers", is_flag=True, help="Show every step on the page: trimap, alpha, layers, frames, target.")
@click.option("--recipe", default=DEFAULT_RECIPE, show_default=True, metavar="NAME|PATH", help="See `recipes list`.")
@click.option("--mattes", type=FOLDER, help="As in `build`.")
@click.option("--depth", type=FOLDER, help="As in `build`.")
@click.option("--depth-kind", type=click.Choice(["metres", "disparity"]), help="What the depth maps hold.")
@click.option("--depth-near", type=float, metavar="METRES", help="As in `build`.")
@click.option("--depth-far", type=float, metavar="METRES", help="As in `build`.")
@click.option("--depth-edges", type=click.Choice(["surface", "layers"]), help="As in `build`.")
@click.option("--depth-model", type=FILE, help="As in `build`.")
@click.option("--depth-model-kind", type=click.Choice(["disparity", "metres"]), help="As in `build`.")
@click.option("--depth-model-licence", metavar="TEXT", help="As in `build`.")
@click.option("--segmenter", type=click.Choice(["auto", "given", "rembg", "classical"]), help="How subjects are found.")
@click.option("--rembg-model", metavar="NAME[=FILE]", help="As in `build`.")
@click.option("--allow-download", is_flag=True, help="As in `build`.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Worker processes.")
@click.option("--limit", type=click.IntRange(min=1), help="Look at the first N photographs only.")
@click.option("--follow-links", is_flag=True, help="Follow links that lead out of PHOTOS.")
def scan(photos: Path, out: Path | None, layers: bool, jobs: int, allow_download: bool, **words: Any) -> None:
    """Say which photographs `build` would keep and why, those nearest to a threshold first."""
    from mattingmfif.dataset.engines import open_workers
    from mattingmfif.dataset.planning import Request
    from mattingmfif.dataset.recipe import load_recipe
    from mattingmfif.dataset.scan_page import lines, scan_photos, write_page
    from mattingmfif.dataset.workers import Engine
    from mattingmfif.matting.models import fetch_weights

    if out is not None and (out.suffix.lower() in (".html", ".htm") or out.is_file()):
        raise UserError(f"--out {out}: a folder is written, with index.html and pictures; give the name of a folder")
    keys = {
        "depth.kind": words.pop("depth_kind"),
        "depth.near_m": words.pop("depth_near"),
        "depth.far_m": words.pop("depth_far"),
        "depth.edges": words.pop("depth_edges"),
        **depth_model_keys(words),
        "matting.segmenter": words.pop("segmenter"),
        "matting.rembg_model": words.pop("rembg_model"),
    }
    recipe = load_recipe(words.pop("recipe")).replaced({key: value for key, value in keys.items() if value is not None})
    for name, folder in (("mattes", words["mattes"]), ("depth", words["depth"])):
        if folder is not None and not folder.is_dir():
            raise UserError(f"--{name} {folder}: no such folder")
    if allow_download:
        fetch_weights(recipe.matting)
    request = Request(src=photos, out=out or photos / ".mattingmfif-scan", recipe=recipe, **words)
    shown = Shown()
    with open_workers(Engine(jobs=jobs)) as workers:
        judgements = scan_photos(request, workers, shown.tell, layers=layers)
    shown.finish()
    for line in lines(judgements):
        click.echo(line)
    if out is not None:
        click.echo(write_page(judgements, out))
