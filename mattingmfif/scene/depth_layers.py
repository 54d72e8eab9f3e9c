"""A photograph without mattes cut at the edges of its depth map, into the layers that a shard can hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mattingmfif.optics import Layer, ThinLens
from mattingmfif.optics.refocus import scene_from_depth
from mattingmfif.scene.shot import quantised_alpha, quantised_colour

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthLayer:
    """One layer as it is stored: the 16-bit codes of its matte beside it."""

    codes: npt.NDArray[np.uint16]
    layer: Layer


def cut_at_depth_edges(
    photo_linear: Float32, distance_m: Float32, lens: ThinLens, image_width_px: float, bits: int
) -> list[DepthLayer]:
    """The layers of a photo `[H,W,3]` with distances `[H,W]` in metres, nearest first, the last one opaque.

    Edges are steps of the blur radius of `lens`, as `refocus` finds them; each layer keeps its own distances and goes
    on behind nearer ones, where it is invented and `known` says so. At most six layers, quantised to `bits` and 16-bit
    mattes. Empty where the map has no edge: it is one receding surface.
    """
    cut = scene_from_depth(photo_linear, distance_m, lens, image_width_px).layers
    if len(cut) < 2:
        return []
    made = []
    for layer in cut:
        codes, alpha = quantised_alpha(layer.alpha)
        colour = quantised_colour(layer.colour_linear, bits)
        made.append(DepthLayer(codes=codes, layer=Layer(colour, alpha, layer.distance_m, known=layer.known)))
    return sorted(made, key=lambda piece: piece.layer.greatest_distance_m)
