"""A scene as it is stored instead of its photographs: cut-outs, plate and distances, from which frames can be taken.

`--store layers` keeps, for layer k (0 nearest, the last the opaque background), on the canvas, which is the picture
with `margin_px` more on each side where a composite scene has a margin:

    layer_colour_k    sRGB codes `[H,W,3]`, 0 where the matte is 0
    layer_alpha_k     uint16 matte where there is a margin; without one `alpha_k` is the canvas itself
    layer_known_k     uint8 share of the colour that was photographed, absent where all of it was
    layer_distance_k  uint16 inverse distance as `depth` is coded, going on where the matte is 0, absent where the layer
                      stands at one distance

and in the column `layer_store` margin, quality, the largest radius that the scene was made for, its mean light, and the
distance codes' scales and offsets. Colours and mattes are exactly what was photographed when the sample was made; a
distance map is rounded to 1/65535 of its range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.sample import MAX_ALPHAS, LayerStore, encode_depth
from mattingmfif.errors import UserError
from mattingmfif.pixels.colour import decode_srgb, encode_srgb

if TYPE_CHECKING:
    from mattingmfif.dataset.recipe import Recipe
    from mattingmfif.optics.scene import Layer

Array = npt.NDArray[Any]

MAX_LAYERS = MAX_ALPHAS + 1
COLOUR_COLUMNS = tuple(f"layer_colour_{k}" for k in range(MAX_LAYERS))
MATTE_COLUMNS = tuple(f"layer_alpha_{k}" for k in range(MAX_ALPHAS))
KNOWN_COLUMNS = tuple(f"layer_known_{k}" for k in range(MAX_LAYERS))
DISTANCE_COLUMNS = tuple(f"layer_distance_{k}" for k in range(MAX_LAYERS))
#: image columns that shards of this store have beyond the others
LAYER_COLUMNS = (*COLOUR_COLUMNS, *MATTE_COLUMNS, *KNOWN_COLUMNS, *DISTANCE_COLUMNS)
STORES = ("frames", "layers")


def expected_columns(record: dict[str, Any], count: int) -> tuple[set[str], set[str]]:
    """Columns that a store of `count` layers with this record must have, and those that it may have."""
    must = {*COLOUR_COLUMNS[:count], *(MATTE_COLUMNS[: count - 1] if record["margin_px"] else ())}
    must |= {name for name, scale in zip(DISTANCE_COLUMNS, record["distance_scale"], strict=False) if scale}
    return must, set(KNOWN_COLUMNS[:count])


def lowered(colour_linear: Array, highlights: Mapping[str, float], bits: int) -> Array:
    """The `bits`-bit colours of which `expand_highlights` made `colour_linear` `[H,W,3]`."""
    from mattingmfif.optics.sensor import expand_highlights

    codes = decode_srgb(np.arange(2**bits, dtype=f"u{bits // 8}"))
    raised = expand_highlights(np.repeat(codes[:, None], 3, axis=1), highlights["most"], highlights["threshold"])[:, 0]
    brightest = colour_linear.max(axis=-1)
    before = np.interp(brightest, raised, codes).astype(np.float32)
    gain = np.where(brightest > 0, before / np.maximum(brightest, np.float32(1e-9)), np.float32(1))
    return np.asarray(colour_linear * gain[..., None], np.float32)


def refuse_baked_noise(recipe: Recipe) -> None:
    """UserError for a recipe whose frames hold noise: of stored layers it is drawn when they are read."""
    if recipe.sensor.bake_noise:
        raise UserError(
            "--store layers: the recipe bakes noise into frames (sensor.bake_noise = true), and none are stored; "
            "leave it false and the noise is recorded for the loader"
        )


def store_layers(
    layers: tuple[Layer, ...],
    *,
    bits: int,
    margin_px: int,
    quality: str,
    largest_radius_px: float,
    mean_light: float,
    matte_share: float,
    highlights: Mapping[str, float] | None = None,
) -> LayerStore:
    """The store of a scene's layers, nearest first, whose colours are `bits`-bit sRGB codes and mattes 16-bit codes.

    `highlights` says how the colours were raised from these codes (`scene.sensor`); None: not at all.
    """
    from mattingmfif.optics.scene import surface_m

    images: dict[str, Array] = {}
    scales, offsets = [], []
    for k, layer in enumerate(layers):
        seen = layer.alpha > 0
        colour = layer.colour_linear if highlights is None else lowered(layer.colour_linear, highlights, bits)
        images[COLOUR_COLUMNS[k]] = encode_srgb(colour, bits) * seen[..., None].astype(np.uint8)
        if margin_px and k + 1 < len(layers):
            images[MATTE_COLUMNS[k]] = np.rint(layer.alpha * np.float32(65535)).astype(np.uint16)
        if layer.known is not None:
            images[KNOWN_COLUMNS[k]] = np.rint(layer.known * np.float32(255)).astype(np.uint8)
        scale = offset = 0.0
        if not isinstance(layer.distance_m, float):
            images[DISTANCE_COLUMNS[k]], scale, offset = encode_depth(np.asarray(surface_m(layer)))
        scales.append(scale)
        offsets.append(offset)
    return LayerStore(
        images=images,
        margin_px=margin_px,
        quality=quality,
        largest_radius_px=largest_radius_px,
        mean_light=mean_light,
        matte_share=matte_share,
        distance_scale=tuple(scales),
        distance_offset=tuple(offsets),
    )
