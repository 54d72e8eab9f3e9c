"""The command line: each command parses its words, calls one function and prints. Everything heavy is imported inside.

Exit codes: 0 done (refused photographs allowed), 1 faults found or no sample made, 2 usage, recipe or a foreign output
folder, 3 input/output (can be resumed), 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mattingmfif import __version__
from mattingmfif.errors import EXIT_FAULTS, EXIT_INTERRUPTED, EXIT_IO, EXIT_USAGE, UserError

if TYPE_CHECKING:
    from mattingmfif.dataset.run import Progress, Request, Summary

FOLDER = click.Path(file_okay=False, path_type=Path)
DEFAULT_RECIPE = "mattingmfif-4k"


def main() -> None:
    """Run the command line and leave with its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except UserError as error:
        click.echo(f"mattingmfif: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("mattingmfif: interrupted; finished shards are kept, run the same command to go on", err=True)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; nothing is wrong
        code = 0
    except OSError as error:
        click.echo(f"mattingmfif: {error.filename or 'input/output'}: {error.strerror or error}", err=True)
        code = EXIT_IO
    sys.exit(code if isinstance(code, int) else 0)


def _terminated(*_: Any) -> None:
    raise KeyboardInterrupt


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mattingmfif")
def cli() -> None:
    """Training data for multi-focus image fusion, made from real photographs."""


@cli.command()
@click.argument("folder", type=FOLDER)
def samples(folder: Path) -> None:
    """Write scikit-image's photographs into FOLDER, for whoever has none at hand (one with a measured depth map)."""
    from mattingmfif.photo.samples import write_samples

    for path in write_samples(folder):
        click.echo(path)


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
    allowed = words["allow_licences"] or words["allow_licences_alias"] or ""
    return Request(
        src=words["src"],
        out=words["out"],
        recipe=recipe,
        seed=words["seed"],
        codec=words["codec"],
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
    shown = _Shown()
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

    shown = _Shown()
    for line in plan_report(request, shown.tell):
        shown.finish()
        click.echo(line)


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


@cli.command()
@click.argument("frames", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights that `train` wrote.")
@click.option("--align", type=click.Choice(["none", "translation", "homography"]), default="none", show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
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
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
def train(dataset: Path, out: Path, recipe: str, **words: Any) -> None:
    """Train VAEEDOF on the shards in DATASET; the same command again goes on from the last checkpoint."""
    _need_torch()
    from mattingmfif.vaeedof.settings import load_train_recipe
    from mattingmfif.vaeedof.train import train_from_recipe

    click.echo(train_from_recipe(load_train_recipe(recipe), dataset, out, report=_say, **words))


@cli.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder of the table, the figures and the pictures.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights that `train` wrote.")
@click.option("--split", default="test", show_default=True)
@click.option("--align", type=click.Choice(["none", "translation", "homography"]), default="none", show_default=True)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option("--limit", type=click.IntRange(min=1))
def evaluate(folder: Path, out: Path, **words: Any) -> None:
    """Judge VAEEDOF beside classical fusion on a dataset's split, or on a folder of stacks."""
    _need_torch()
    from mattingmfif.vaeedof.evaluate import evaluate_folder

    evaluate_folder(folder, out, report=_say, **words)


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise UserError("this command needs PyTorch; install it with: pip install 'mattingmfif[train]'")


def _say(line: object) -> None:
    click.echo(line, err=True)


class _Shown:
    """Progress on stderr: one line that renews itself on a terminal, plain lines every few seconds otherwise."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.began = self.last = time.monotonic()
        self.stage, self.open_line = "", False
        self.first_done = 0

    def tell(self, step: Progress) -> None:
        now = time.monotonic()
        if step.stage != self.stage:
            self.finish()
            self.stage, self.began, self.first_done = step.stage, now if step.done > 1 else self.began, step.done - 1
        final = step.done == step.total
        if not self.terminal and not final and now - self.last < 5:
            return
        self.last = now
        rate = (step.done - self.first_done) / max(now - self.began, 1e-3)
        left_s = (step.total - step.done) / max(rate, 1e-9)
        text = f"{step.stage} {step.done}/{step.total} {step.unit}"
        if step.samples:
            text += f", {step.samples} samples, {step.frames} frames"
        text += f", {rate:.2f}/s, {_duration(left_s)} left" if not final else f" in {_duration(now - self.began)}"
        click.echo(f"\r\x1b[K{text}" if self.terminal else text, nl=not self.terminal, err=True)
        self.open_line = self.terminal

    def finish(self) -> None:
        """Close the line that renews itself."""
        if self.open_line:
            click.echo("", err=True)
        self.open_line, self.stage = False, ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


def _print_summary(summary: Summary) -> None:
    refused = ", ".join(f"{reason} {count}" for reason, count in summary.refused.items()) or "none"
    made_before = f" ({summary.shards_before} were there)" if summary.shards_before else ""
    click.echo(f"samples   {summary.samples}")
    click.echo(f"frames    {summary.frames}")
    click.echo(f"shards    {summary.shards}{made_before}")
    click.echo(f"refused   {refused}")
    click.echo(f"bytes     {summary.total_bytes:,}")
    click.echo(f"CPU       {summary.cpu_s:.1f} s in {_duration(summary.wall_s)}")
    click.echo(f"out       {summary.out}")


if __name__ == "__main__":
    main()
