"""A photograph file and its depth file, photographed again at another focus, as a file of the same kind.

The light stays in the photograph's own primaries; bits, profile and EXIF travel with it. A sweep of the focus becomes
an animation, evenly spaced in inverse distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mattingmfif.errors import EXIT_IO, Refused, UserError
from mattingmfif.matting.depth_model import check_depth_model, predicted_depth
from mattingmfif.optics import ThinLens, expand_highlights, render_stack, scene_from_depth
from mattingmfif.photo.depth import depth_from_numbers, read_depth
from mattingmfif.photo.images import EditablePhoto, read_image, write_image
from mattingmfif.pixels.colour import encode_srgb, linear_to_srgb
from mattingmfif.pixels.resample import fit_long_side, reduce_to
from mattingmfif.pixels.surfaces import sampled_at

Float32 = npt.NDArray[np.float32]

#: a larger blur than this share of the long side is an accident (units of the depth map, focus much too near)
LARGEST_BLUR_SHARE = 0.15
SWEEP_LONG_SIDE_PX = 960
PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
ANIMATIONS = (".webp", ".gif")
_FRAME_MS, _REST_MS = 80, 600


@dataclass(frozen=True, kw_only=True)
class DepthFile:
    """A depth map on disk, and how it is to be read (`photo.depth`); or a network that estimates one."""

    path: Path
    kind: str = "metres"
    near_m: float | None = None
    far_m: float | None = None
    is_model: bool = False  # an ONNX file (`matting.depth_model`)


@dataclass(frozen=True, kw_only=True)
class Refocusing:
    """How a photograph is to be taken again; `focus_at` (x, y in px of the upright photo) takes the distance there."""

    lens: ThinLens  # its sensor width spans the long side
    focus_distance_m: float | None = None
    focus_at: tuple[int, int] | None = None
    quality: str = "exact"
    highlights: float = 1.0  # linear light given to white before the lens; 1 leaves it


def blur_photo(
    photo: Path,
    depth: DepthFile,
    wanted: Refocusing,
    output: Path,
    *,
    strip_metadata: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Write `photo` as the lens sees it; `say` hears of the focus and the range of blur before the work begins.

    Raises UserError, one line, for anything that cannot be read, does not fit, or cannot be written.
    """
    _check_paths(output, photo, depth.path, PICTURES)
    picture, distance_m = _read(photo, depth, say)
    focus_m = _focus(wanted, distance_m)
    _say_blur(wanted.lens, distance_m, focus_m, say)
    width_px = float(max(distance_m.shape))
    scene = scene_from_depth(_light(picture.linear, wanted), distance_m, wanted.lens, width_px)
    frame = next(iter(render_stack(scene, wanted.lens, [focus_m], wanted.quality, width_px)))
    write_image(output, frame, picture, strip_metadata=strip_metadata)


def sweep_photo(
    photo: Path,
    depth: DepthFile,
    wanted: Refocusing,
    output: Path,
    frames: int,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Write an animated WebP or GIF whose focus goes from the nearest to the farthest surface and back.

    The photo is reduced to SWEEP_LONG_SIDE_PX. Raises UserError as `blur_photo` does, and for another suffix.
    """
    _check_paths(output, photo, depth.path, ANIMATIONS)
    picture, distance_m = _read(photo, depth, say)
    height, width = fit_long_side(distance_m.shape[0], distance_m.shape[1], SWEEP_LONG_SIDE_PX)
    light = reduce_to(picture.linear, height, width)
    distance_m = np.asarray(sampled_at(distance_m, height, width), np.float32)
    nearest, farthest = (float(np.percentile(1.0 / distance_m, q)) for q in (99, 1))
    nearest = min(nearest, 0.9 * 1000.0 / wanted.lens.focal_length_mm)
    focuses = [math.inf if d <= 0.0 else 1.0 / d for d in np.linspace(nearest, farthest, frames).tolist()]
    for focus_m in (focuses[0], focuses[-1]):
        _say_blur(wanted.lens, distance_m, focus_m, say)
    width_px = float(max(height, width))
    scene = scene_from_depth(_light(light, wanted), distance_m, wanted.lens, width_px)
    profile = picture.profile
    images = [
        Image.fromarray(profile.encode(frame, 8) if profile else encode_srgb(frame))
        for frame in render_stack(scene, wanted.lens, focuses, wanted.quality, width_px)
    ]
    there_and_back = images + images[-2:0:-1]
    durations = [_REST_MS if image in (images[0], images[-1]) else _FRAME_MS for image in there_and_back]
    extra: dict[str, Any] = (
        {"icc_profile": picture.icc_profile} if picture.icc_profile and output.suffix.lower() == ".webp" else {}
    )
    try:
        there_and_back[0].save(
            output, save_all=True, append_images=there_and_back[1:], duration=durations, loop=0, quality=85, **extra
        )
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror or error}", EXIT_IO) from error


def _read(photo: Path, depth: DepthFile, say: Callable[[str], None]) -> tuple[EditablePhoto, Float32]:
    """The photograph and its distances in metres `[H,W]`."""
    picture = read_image(photo)
    height, width = picture.linear.shape[:2]
    try:
        if depth.is_model:
            seen = picture.profile.to_srgb_primaries(picture.linear) if picture.profile else picture.linear
            numbers = predicted_depth(linear_to_srgb(seen), depth.path, check_depth_model(depth.path))
            size = (height, width)
            found = depth_from_numbers(numbers, depth.kind, depth.near_m, depth.far_m, size, stretched=True)
        else:
            found = read_depth(depth.path, depth.kind, depth.near_m, depth.far_m, (height, width))
    except Refused as refusal:
        raise UserError(f"{depth.path}: {refusal}") from refusal
    if found.resized:
        say(f"depth: {found.map_shape[1]}x{found.map_shape[0]} brought to the photo's {width}x{height}")
    unknown = 1 - float(found.trusted.mean())
    if unknown:
        say(f"depth: {100 * unknown:.1f} % of the pixels are unknown and take the nearest known value")
    return picture, found.distance_m


def _light(photo_linear: Float32, wanted: Refocusing) -> Float32:
    return photo_linear if wanted.highlights == 1.0 else expand_highlights(photo_linear, wanted.highlights)


def _focus(wanted: Refocusing, distance_m: Float32) -> float:
    if (wanted.focus_distance_m is None) == (wanted.focus_at is None):
        raise UserError("focus: give either a distance or a pixel to focus at")
    if wanted.focus_distance_m is not None:
        return wanted.lens.check_focus(wanted.focus_distance_m)
    assert wanted.focus_at is not None
    x, y = wanted.focus_at
    height, width = distance_m.shape
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(f"focus at {x},{y}: outside of the photo of {width}x{height} px")
    return wanted.lens.check_focus(float(distance_m[y, x]))


def _say_blur(lens: ThinLens, distance_m: Float32, focus_m: float, say: Callable[[str], None]) -> None:
    """Say the range of signed blur radii, and refuse one that no photo needs."""
    width_px = max(distance_m.shape)
    ends = [(z, lens.blur_radius_px(z, focus_m, width_px)) for z in (float(distance_m.min()), float(distance_m.max()))]
    words = ", ".join(f"{radius:+.1f} px at {z:.3g} m" for z, radius in ends)
    say(f"focus {focus_m:.4g} m; blur radius {words}")
    largest = max(abs(radius) for _, radius in ends)
    if largest > LARGEST_BLUR_SHARE * width_px:
        raise UserError(
            f"a blur radius of {largest:.0f} px is more than {LARGEST_BLUR_SHARE:.0%} of the long side: stop the lens "
            "down, focus elsewhere, or check the unit of the depth map"
        )


def _check_paths(output: Path, photo: Path, depth: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse, before any work, files that are not there and an output that could not be written."""
    for path in (photo, depth):
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        if output.exists() and output.samefile(path):
            raise UserError(f"{output}: would overwrite what is read; give another name")
    if output.suffix.lower() not in suffixes:
        raise UserError(f"{output}: cannot write this kind of file; use {', '.join(suffixes)}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output.parent}: {error.strerror or error}", EXIT_IO) from None
