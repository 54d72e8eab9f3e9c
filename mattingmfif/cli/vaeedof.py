"""Commands of the fuser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mattingmfif.cli.group import FOLDER, cli
from mattingmfif.errors import UserError

PRECISION = click.option(
    "--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True,
    help="auto: bfloat16 on CUDA, float32 on the CPU, where bfloat16 takes about half the time.",
)  # fmt: skip


@cli.command()
@click.argument("frames", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Weights that `train` wrote. Default: those of the package."
)
@click.option("--align", type=click.Choice(["none", "translation", "homography"]), default="none", show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@PRECISION
@click.option(
    "--tile", "tile_px", type=int, default=None, metavar="PX", help="Side of the tiles; smaller takes less memory."
)
@click.option(
    "--weights", "weights_folder", type=FOLDER, help="Write each frame's share as a picture into this folder."
)
@click.option(
    "--depth-order", "depth_file", type=click.Path(path_type=Path), help="Write which frame each pixel is from."
)
@click.option("--strip-metadata", is_flag=True, help="Write no EXIF.")
def fuse(frames: tuple[Path, ...], tile_px: int | None, **words: Any) -> None:
    """Fuse FRAMES (1 to 40 pictures, or a folder of them) into one image that is sharp all over."""
    _need_torch()
    from mattingmfif.vaeedof.fuse import fuse_files

    tiles: dict[str, Any] = {} if tile_px is None else {"tile_px": tile_px}
    click.echo(fuse_files(frames, words.pop("output"), report=_say, **tiles, **words))


@cli.command()
@click.argument("dataset", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder of checkpoints, logs and sample pictures.")
@click.option("--recipe", default="vaeedof-cpu", show_default=True, metavar="NAME|PATH")
@click.option("--stage", type=click.Choice(["all", "teacher", "distil", "fusion"]), default="all", show_default=True)
@click.option(
    "--teacher", type=click.Path(path_type=Path), help="A diffusers AutoencoderKL folder or a teacher checkpoint."
)
@click.option(
    "--degrade",
    type=click.Choice(["physical", "hard-mask", "gaussian-srgb"]),
    help="Learn from the shards' frames, or from frames remade from target and mattes by a simpler model.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option(
    "--workers", type=click.IntRange(min=0), help="Processes that read crops. Default: 8 with CUDA, 0 on the CPU."
)
def train(dataset: Path, out: Path, recipe: str, **words: Any) -> None:
    """Train VAEEDOF on the shards in DATASET; the same command again goes on from the last checkpoint."""
    _need_torch()
    from mattingmfif.vaeedof.settings import load_train_recipe
    from mattingmfif.vaeedof.train import train_from_recipe

    click.echo(train_from_recipe(load_train_recipe(recipe), dataset, out, report=_say, **words))


@cli.command()
@click.argument("dataset", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder of the trainings and the table.")
@click.option("--recipe", default="vaeedof-cpu", show_default=True, metavar="NAME|PATH")
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True, help="Steps of each training.")
@click.option("--distilled", type=click.Path(path_type=Path), help="What `train --stage distil` wrote by this recipe.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option("--limit", type=click.IntRange(min=1), help="Judge on N stacks only, spread over the split.")
def ablate(dataset: Path, recipe: str, **words: Any) -> None:
    """Train VAEEDOF with one part taken away at a time, equally long, and judge all in one table."""
    _need_torch()
    from mattingmfif.vaeedof.ablation import ablate as run
    from mattingmfif.vaeedof.settings import load_train_recipe

    run(load_train_recipe(recipe), dataset, report=_say, **words)


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder of the table, the figures and the pictures.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Weights that `train` wrote; several stand side by side. Default: those of the package.",
)
@click.option("--split", default="test", show_default=True)
@click.option("--align", type=click.Choice(["none", "translation", "homography"]), default="none", show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@PRECISION
@click.option("--limit", type=click.IntRange(min=1), help="Judge on N stacks only, spread over the split.")
def evaluate(folder: Path, out: Path, **words: Any) -> None:
    """Judge VAEEDOF beside classical fusion on a dataset's split, or on a folder of stacks."""
    _need_torch()
    from mattingmfif.vaeedof.evaluate import evaluate_folder

    evaluate_folder(folder, out, report=_say, **words)


def _need_torch() -> None:
    from importlib import import_module

    try:
        for name in ("torch", "safetensors"):
            import_module(name)
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) else f" that can be imported ({error})"
        raise UserError(
            f"this command needs PyTorch and safetensors{reason}; install them with: pip install 'mattingmfif[train]'"
        ) from None


def _say(line: object) -> None:
    click.echo(line, err=True)
