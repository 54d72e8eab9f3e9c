"""What the lens looks at: flat or receding layers of colour and opacity, at distances.

Colours are straight (not premultiplied), linear light. Order is from the camera: a layer's place is set by the greatest
distance at which it is not transparent, nearest first, so that a receding ground lies behind the subject on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError
from mattingmfif.optics.kernels import over_in_place
from mattingmfif.pixels.fill import push_pull
from mattingmfif.pixels.planes import extremes

Float32 = npt.NDArray[np.float32]

_MATTE_CELL_PX = 8
#: a share of the range of inverse distance within which an unseen value belongs to the seen surface
_SAME_SURFACE = 0.25


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: colour `[H,W,3]` linear light >= 0, alpha `[H,W]` 0..1, distance in metres (a number or `[H,W]`).

    `known` (`[H,W]`, 0..1) is the share of the colour that was photographed rather than invented; None is all of it.
    Outside its array a layer repeats its edge pixels. Where alpha is 0 the values of a distance map mean nothing.
    NaN, infinite colour or alpha, and distances that are not positive are refused.
    """

    colour_linear: Float32
    alpha: Float32
    distance_m: float | Float32
    known: Float32 | None = None

    def __post_init__(self) -> None:
        colour = _as_float32(self.colour_linear, "colour_linear", 0.0, np.inf)
        alpha = _as_float32(self.alpha, "alpha", 0.0, 1.0)
        if colour.ndim != 3 or colour.shape[2] != 3 or colour.size == 0:
            raise UserError(f"colour_linear: shape {colour.shape}; allowed: [height, width, 3]")
        _check_shape("alpha", alpha, colour.shape[:2])
        object.__setattr__(self, "colour_linear", colour)
        object.__setattr__(self, "alpha", alpha)
        distance: float | Float32
        if np.ndim(self.distance_m) == 0:
            distance = float(self.distance_m)
            bad = not distance > 0
        else:
            distance = np.ascontiguousarray(self.distance_m, np.float32)
            _check_shape("distance_m", distance, colour.shape[:2])
            bad = not distance.min() > 0
        if bad:
            raise UserError("distance_m: some values are not positive (or NaN); allowed: more than 0, up to infinity")
        object.__setattr__(self, "distance_m", distance)
        if self.known is not None:
            known = _as_float32(self.known, "known", 0.0, 1.0)
            _check_shape("known", known, colour.shape[:2])
            object.__setattr__(self, "known", known)

    @cached_property
    def greatest_distance_m(self) -> float:
        """The greatest distance at which the layer is not transparent (which sets its place in the scene)."""
        if isinstance(self.distance_m, float):
            return self.distance_m
        seen = self.distance_m[self.alpha > 0]
        return float(seen.max() if seen.size else self.distance_m.max())


class Coarse(NamedTuple):
    """A layer's distance map on every 8th pixel (`blur.SLOPE_STEP`) of the whole frame, for its radius' slopes."""

    distance_m: Float32  # [h,w]; one column where all are alike
    seen: npt.NDArray[np.bool_] | None  # where the layer is not transparent; None: everywhere

    def cut(self, box: tuple[int, int, int, int]) -> Coarse:
        """That of a box (rows y0..y1, columns x0..x1, from multiples of 8) of the frame."""
        columns = slice(None) if self.distance_m.shape[1] == 1 else slice(-(-box[2] // 8), -(-box[3] // 8))
        part = (slice(-(-box[0] // 8), -(-box[1] // 8)), columns)
        return Coarse(self.distance_m[part], None if self.seen is None else self.seen[part])


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What a window must know of the scene it is cut from, to be photographed as the whole would be.

    `view` is what of the window is wanted (rows y0..y1, columns x0..x1); the rest of a frame is left undefined.
    """

    shape: tuple[int, int]
    corner: tuple[int, int]  # row and column of the whole at which the window begins, multiples of 8
    view: tuple[int, int, int, int]
    mean_light: float  # of the pinhole image, linear
    matte_share: float  # of the frame, as `matte_share` counts it
    distance_ranges_m: tuple[tuple[float, float], ...]  # of every layer, nearest and farthest
    coarse: tuple[Coarse | None, ...]  # of every layer that has a distance map; maps of windows are `surface_m`


@dataclass(frozen=True, eq=False)
class Scene:
    """Layers of one size, in any order; `ordered` sorts them from the camera.

    A window of a larger scene says what it is `part_of`, so that it is photographed as the whole would be; its layers
    are listed nearest first.
    """

    layers: Sequence[Layer]
    part_of: Whole | None = None

    def __post_init__(self) -> None:
        layers = tuple(self.layers)
        if not layers:
            raise UserError("layers: the scene is empty; allowed: at least one Layer")
        for layer in layers[1:]:
            _check_shape("layers", layer.alpha, layers[0].alpha.shape)
        object.__setattr__(self, "layers", layers)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        height, width = self.layers[0].alpha.shape
        return int(height), int(width)

    @cached_property
    def ordered(self) -> tuple[Layer, ...]:
        """The layers nearest first; equal distances keep the order of the list."""
        if self.part_of is not None:
            return tuple(self.layers)  # a window may not see a layer's greatest distance
        return tuple(sorted(self.layers, key=lambda layer: layer.greatest_distance_m))


def surface_m(layer: Layer) -> float | Float32:
    """The layer's distance with its surface going on where alpha is 0, where its own value may mean nothing.

    Between seen pixels it goes on smoothly in inverse distance, in which planes and blur are affine. Where the map's
    own value is near to that, it is taken to be the surface's: it is truer than anything filled in.
    """
    seen = layer.alpha > 0
    if isinstance(layer.distance_m, float) or seen.all() or not seen.any():
        return layer.distance_m
    inverse = np.float32(1.0) / layer.distance_m
    filled = push_pull(np.where(seen, inverse, np.float32(0.0)), seen.astype(np.float32))
    least, most = inverse[seen].min(), inverse[seen].max()
    with np.errstate(divide="ignore"):
        carried = np.float32(1.0) / np.clip(filled, least, most)
    own = seen | (np.abs(inverse - filled) < _SAME_SURFACE * (most - least))
    return np.where(own, layer.distance_m, carried)


def distance_ranges_m(scene: Scene) -> tuple[tuple[float, float], ...]:
    """Nearest and farthest metres of every layer of `scene.ordered`; those of the whole for a window."""
    if scene.part_of is not None:
        return scene.part_of.distance_ranges_m
    return tuple((float(np.min(layer.distance_m)), float(np.max(layer.distance_m))) for layer in scene.ordered)


def mean_light(scene: Scene) -> float:
    """Mean of the pinhole image over channels and every 8th pixel each way, linear; that of the whole for a window."""
    if scene.part_of is not None:
        return scene.part_of.mean_light
    thin = [
        Layer(layer.colour_linear[::8, ::8], layer.alpha[::8, ::8], layer.greatest_distance_m)
        for layer in scene.ordered
    ]
    return float(composite(Scene(thin)).mean())


def matte_share(scene: Scene) -> float:
    """Share, 0..1, of the frame's cells of 8 x 8 px in which some matte varies; that of the whole for a window."""
    if scene.part_of is not None:
        return scene.part_of.matte_share
    rows, columns = (np.arange(0, size, _MATTE_CELL_PX) for size in scene.shape)
    varies = np.zeros((len(rows), len(columns)), bool)
    for layer in scene.layers:
        least = np.minimum.reduceat(np.minimum.reduceat(layer.alpha, rows, axis=0), columns, axis=1)
        most = np.maximum.reduceat(np.maximum.reduceat(layer.alpha, rows, axis=0), columns, axis=1)
        varies |= (least < 1.0) & (most > 0.0) & (least < most)
    return float(varies.mean())


def composite(scene: Scene) -> Float32:
    """The pinhole image of the scene, float32 `[H,W,3]` linear: every layer sharp, nearest over farther."""
    height, width = scene.shape
    image = np.zeros((height, width, 3), np.float32)
    light = np.ones((height, width), np.float32)
    for layer in scene.ordered:
        planes = premultiplied(layer)
        over_in_place(image, light, planes, 0, 0, planes.shape[0] == 3)
    return image


def visible_weights(scene: Scene) -> list[Float32]:
    """For each layer of `scene.ordered`, float32 `[H,W]` 0..1: how much of the pinhole pixel is that layer."""
    light = np.ones(scene.shape, np.float32)
    weights = []
    for layer in scene.ordered:
        weights.append(light * layer.alpha)
        light = light * (np.float32(1.0) - layer.alpha)
    return weights


def depth_m(scene: Scene) -> Float32:
    """Float32 `[H,W]`: distance in metres of the layer with the largest visible weight (ties: the nearest layer)."""
    best = np.full(scene.shape, -1.0, np.float32)
    depth = np.full(scene.shape, np.inf, np.float32)
    for layer, weight in zip(scene.ordered, visible_weights(scene), strict=True):
        more = weight > best
        np.copyto(best, weight, where=more)
        np.copyto(depth, np.broadcast_to(np.asarray(layer.distance_m, np.float32), depth.shape), where=more)
    return depth


def composite_trust(scene: Scene) -> Float32:
    """Float32 `[H,W]` 0..1: the share of the pinhole image that was photographed, not invented.

    Where nothing is seen at all the picture is black for certain and trusted.
    """
    invented = np.zeros(scene.shape, np.float32)
    for layer, weight in zip(scene.ordered, visible_weights(scene), strict=True):
        if layer.known is not None:
            invented += weight * (np.float32(1.0) - layer.known)
    return np.asarray(np.clip(np.float32(1.0) - invented, 0.0, 1.0), np.float32)


def premultiplied(layer: Layer, box: tuple[slice, slice] = (slice(None), slice(None))) -> Float32:
    """The layer (or a box of it) as planes `[4,H,W]`: colour times alpha, then alpha; `[3,H,W]` where all is opaque."""
    colour, alpha = layer.colour_linear[box], layer.alpha[box]
    opaque = alpha.min() >= 1.0
    planes = np.empty((3 if opaque else 4, *alpha.shape), np.float32)
    for c in range(3):
        if opaque:
            planes[c] = colour[..., c]
        else:
            np.multiply(colour[..., c], alpha, out=planes[c])
    if not opaque:
        planes[3] = alpha
    return planes


def _as_float32(values: npt.NDArray[Any], name: str, low: float, high: float) -> Float32:
    array = np.ascontiguousarray(values, np.float32)
    if array.size:
        least, most = extremes(array)
        if not (np.isfinite(least) and np.isfinite(most)):
            raise UserError(f"{name}: NaN or infinite values; allowed: finite numbers")
        if least < low or most > high:
            raise UserError(f"{name}: values from {least:g} to {most:g}; allowed: {low:g} to {high:g}")
    return array


def _check_shape(name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if tuple(array.shape) != tuple(shape):
        raise UserError(f"{name}: shape {array.shape} beside {tuple(shape)}; allowed: one size for the whole scene")
