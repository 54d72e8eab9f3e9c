"""Commands of the lens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from mattingmfif.cli.group import cli

_FILE = click.Path(dir_okay=False, path_type=Path)


class Length(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """A length with its unit (`1.8m`, `35mm`, `40cm`), in metres or millimetres; `inf` is infinitely far."""

    def __init__(self, unit: str) -> None:
        self.name, self.unit = f"length in {unit}", unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The length as a number of `unit`; a bare number is already in it."""
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        for suffix, metres in (("mm", 0.001), ("cm", 0.01), ("m", 1.0), ("", 1.0 if self.unit == "m" else 0.001)):
            if text.endswith(suffix):
                try:
                    number = float(text.removesuffix(suffix))
                except ValueError:
                    break
                if math.isnan(number) or number <= 0:
                    break
                return number * metres if self.unit == "m" else number * metres * 1000.0
        self.fail(f"{value!r} is not a length above 0, such as {'1.8m' if self.unit == 'm' else '50mm'}", param, ctx)


class Pixel(click.ParamType):  # type: ignore[type-arg]
    """`X,Y`: a pixel, counted from the upper left corner."""

    name = "X,Y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The two whole numbers."""
        try:
            x, y = (int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a pixel, such as 640,360", param, ctx)
        return x, y


@cli.command()
@click.argument("photo", type=_FILE)
@click.option("--depth", type=_FILE, help="Depth map of the photo's shape: .npy, .pfm, .exr, 16-bit .png, .heic.")
@click.option("--depth-kind", type=click.Choice(["metres", "disparity"]), help="What it holds.  [default: metres]")
@click.option("--depth-model", type=_FILE, help="ONNX file that estimates depth, instead of --depth.")
@click.option("--depth-model-kind", type=click.Choice(["disparity", "metres"]), help="What it gives, as in `build`.")
@click.option("--depth-near", type=Length("m"), metavar="METRES", help="Distance of the largest disparity.")
@click.option("--depth-far", type=Length("m"), metavar="METRES", help="Distance of the smallest disparity.")
@click.option("--focus", type=Length("m"), metavar="DISTANCE", help="Focus distance: 1.8m, 40cm, inf.")
@click.option("--focus-at", type=Pixel(), metavar="X,Y", help="Focus on what this pixel shows.")
@click.option("--sweep", type=click.IntRange(2, 200), metavar="N", help="Animated .webp or .gif of N focus distances.")
@click.option("--focal-length", type=Length("mm"), default="50mm", show_default=True)
@click.option("--f-number", type=float, default=1.8, show_default=True)
@click.option("--sensor-width", type=Length("mm"), default="36mm", show_default=True, help="Along the long side.")
@click.option("--blades", type=int, default=0, show_default=True, help="0: a round opening.")
@click.option("--roundness", type=float, default=0.0, show_default=True, help="Of the blades, 0 to 1.")
@click.option("--rotation-deg", type=float, default=0.0, show_default=True, help="Of the blades.")
@click.option("--cats-eye", type=float, default=0.0, show_default=True, help="Optical vignetting, 0 to 1.")
@click.option("--spherical", type=float, default=0.0, show_default=True, help="-1 to 1: soft or bright rims behind.")
@click.option("--highlights", type=float, default=1.0, show_default=True, help="Linear light given to clipped white.")
@click.option("--quality", type=click.Choice(["exact", "fast"]), default="exact", show_default=True)
@click.option("--strip-metadata", is_flag=True, help="Write no EXIF.")
@click.option("-o", "--output", required=True, type=_FILE)
def blur(photo: Path, output: Path, sweep: int | None, strip_metadata: bool, **words: Any) -> None:
    """Photograph PHOTO again by its depth map: focus and opening as you like. Bits, profile and EXIF are kept."""
    from mattingmfif.optics import Aperture, ThinLens
    from mattingmfif.scene.blur_photo import DepthFile, Refocusing, blur_photo, sweep_photo

    given = [name for name in ("focus", "focus_at") if words[name] is not None] + ["sweep"] * (sweep is not None)
    if len(given) != 1:
        raise click.UsageError("give one of --focus, --focus-at and --sweep")
    shape = {name: words[name] for name in ("blades", "roundness", "rotation_deg", "cats_eye", "spherical")}
    lens = ThinLens(words["focal_length"], words["f_number"], words["sensor_width"], Aperture(**shape))
    file, model = words["depth"], words["depth_model"]
    if (file is None) == (model is None):
        raise click.UsageError("give one of --depth and --depth-model")
    if (model is None) != (words["depth_model_kind"] is None):
        raise click.UsageError("--depth-model and --depth-model-kind go together: the kind is never guessed")
    depth = DepthFile(
        path=file or model,
        kind=words["depth_model_kind"] or words["depth_kind"] or "metres",
        near_m=words["depth_near"],
        far_m=words["depth_far"],
        is_model=model is not None,
    )
    wanted = Refocusing(
        lens=lens,
        focus_distance_m=words["focus"],
        focus_at=words["focus_at"],
        quality=words["quality"],
        highlights=words["highlights"],
    )
    if sweep is None:
        blur_photo(photo, depth, wanted, output, strip_metadata=strip_metadata, say=click.echo)
    else:
        sweep_photo(photo, depth, wanted, output, sweep, say=click.echo)
    click.echo(output)
