"""A shot: the layered scene, the lens and the focus distances of one stack, with what is recorded about each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mattingmfif.matting.windows import window_of
from mattingmfif.optics import Layer, Scene, Sensor, ThinLens
from mattingmfif.pixels.codes import codes_of
from mattingmfif.pixels.colour import decode_srgb
from mattingmfif.pixels.planes import zeros_where_untouched
from mattingmfif.scene.focus import focus_for, held_to_limit
from mattingmfif.scene.sensor import draw_sensor, with_highlights
from mattingmfif.scene.settings import ShotSettings

Float32 = npt.NDArray[np.float32]
ALPHA_CODES = 65535
_STRIP_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """What is recorded of one layer, in the scene's occlusion order (nearest first)."""

    kind: str  # subject, wall, ground or depth-map
    source: int  # index into the sample's sources
    nearest_m: float
    farthest_m: float
    scores: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Everything needed to photograph one stack."""

    scene: Scene
    lens: ThinLens
    image_width_px: float  # the pixels that the sensor's width spans: the frame's long side, margins not counted
    focus_plan: str
    focus_distance_m: tuple[float, ...]
    layers: tuple[LayerFacts, ...]  # same order as scene.ordered
    sensor: Sensor  # what the stored codes have gone through; noise only where the recipe bakes it
    alphas: tuple[npt.NDArray[np.uint16], ...]  # stored mattes of the subjects, nearest first, with the margin
    margin_px: int  # cropped away on each side after rendering
    draws: dict[str, Any]  # every drawn value that the lens and the layers do not show


def quantised_alpha(alpha: Float32) -> tuple[npt.NDArray[np.uint16], Float32]:
    """16-bit codes of a matte, and the float32 matte that they stand for."""
    window = window_of(alpha > 0, 0)
    codes = np.zeros(alpha.shape, np.uint16)
    codes[window] = np.rint(np.clip(alpha[window], 0.0, 1.0) * ALPHA_CODES)
    matte = zeros_where_untouched(alpha.shape, window)
    np.divide(codes[window], np.float32(ALPHA_CODES), out=matte[window])
    return codes, matte


def quantised_colour(colour_linear: Float32, bits: int, *, mostly_black: bool = False) -> Float32:
    """Linear light of the sRGB codes nearest to `colour_linear`: what a shard can hold.

    `mostly_black`, as a cut-out's plane is: then black takes next to no memory.
    """
    shape = colour_linear.shape
    if not mostly_black:
        return _rounded(colour_linear, np.empty(shape, np.float32), bits)
    window = _lit(colour_linear)
    quantised = zeros_where_untouched(shape, window)
    _rounded(colour_linear[window], quantised[window], bits)
    return quantised


def _rounded(colour_linear: Float32, out: Float32, bits: int) -> Float32:
    """Write the light of the nearest codes into `out`, by strips that stay in the cache."""
    for top in range(0, len(colour_linear), _STRIP_ROWS):
        out[top : top + _STRIP_ROWS] = decode_srgb(codes_of(colour_linear[top : top + _STRIP_ROWS], bits))
    return out


def _lit(colour_linear: Float32) -> tuple[slice, slice]:
    """The rectangle outside of which a plane `[H,W,3]` is black; empty for a black one."""
    flat = colour_linear.reshape(len(colour_linear), -1)  # plain columns of numbers: fast
    rows = np.flatnonzero(flat.max(axis=1, initial=0.0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    lines = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(flat[lines].max(axis=0)) // 3
    return lines, slice(int(columns[0]), int(columns[-1]) + 1)


def order_layers(layers: list[Layer], facts: list[LayerFacts]) -> tuple[Scene, tuple[LayerFacts, ...]]:
    """The scene of `layers`, and their facts in its occlusion order."""
    scene = Scene(layers)
    place = {id(layer): fact for layer, fact in zip(layers, facts, strict=True)}
    return scene, tuple(place[id(layer)] for layer in scene.ordered)


def take_aim(
    layers: Sequence[Layer],
    facts: Sequence[LayerFacts],
    lens: ThinLens,
    image_width_px: float,
    settings: ShotSettings,
    streams: Callable[[str], np.random.Generator],
    *,
    alphas: Sequence[npt.NDArray[np.uint16]],
    margin_px: int,
    draws: Mapping[str, Any],
) -> Shot:
    """The shot of layers that have their distances: sensor, highlights and focus distances are drawn.

    The lens is stopped down where one of these focus distances would blur by more than the recipe's largest radius.
    """
    sensor, recorded = draw_sensor(settings, streams)
    lit = [with_highlights(layer, recorded.get("highlights")) for layer in layers]
    scene, ordered_facts = order_layers(lit, list(facts))
    plan, focus = focus_for(scene, lens, image_width_px, settings.focus, streams)
    limit_px = settings.lens.largest_blur_radius_share * image_width_px
    return Shot(
        scene=scene,
        lens=held_to_limit(lens, scene, focus, image_width_px, limit_px),
        image_width_px=image_width_px,
        focus_plan=plan,
        focus_distance_m=focus,
        layers=ordered_facts,
        sensor=sensor,
        alphas=tuple(alphas),
        margin_px=margin_px,
        draws={**draws, **recorded},
    )
