"""A scene made ready for the lens: layers packed, cropped and reduced once, for all frames of a stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mattingmfif.optics.aperture import Aperture
from mattingmfif.optics.blur import SLOPE_STEP, Slopes, blur_flat, blur_receding
from mattingmfif.optics.interaction import tolerance
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX, ThinLens
from mattingmfif.optics.pyramid import Box, Placed, Pyramid
from mattingmfif.optics.scene import (
    Coarse,
    Layer,
    Scene,
    distance_ranges_m,
    matte_share,
    mean_light,
    premultiplied,
    surface_m,
)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Radius:
    """The signed blur radius of a layer in one frame, px: a number, or a map with the map that tilts its discs."""

    value: float | Float32
    slope_source: Float32 | None
    slopes: Slopes | None  # of the whole frame's layer, or of the whole cell's
    greatest_px: float  # without sign; of the whole scene's layer where this is a window of it


class Frame(NamedTuple):
    """The whole frame's height and width, and the pixel of it at which a window begins (row, column)."""

    shape: tuple[int, int]
    corner: tuple[int, int]


class PreparedLayer:
    """One layer: its packed pixels as pyramids, its distance, and what of it was invented."""

    def __init__(
        self,
        layer: Layer,
        box: tuple[slice, slice],
        planes: Float32,
        distance_m: float | Float32,
        coarse: Coarse | None,
        split_channels: bool,
        frame: Frame,
        range_m: tuple[float, float],
        view: Box,
    ) -> None:
        """A box of the layer, whose premultiplied planes are `planes`, its distances `surface_m`."""
        self._range_m, self._view = range_m, view
        alpha = layer.alpha[box]
        self.shape: tuple[int, int] = (alpha.shape[0], alpha.shape[1])
        self.frame = frame
        self.is_opaque = planes.shape[0] == 3
        if split_channels:
            picks = [[c] if self.is_opaque else [c, 3] for c in range(3)]
            self._pyramids = [
                Pyramid(np.ascontiguousarray(planes[pick]), self.shape, self.is_opaque, view=view) for pick in picks
            ]
        else:
            self._pyramids = [Pyramid(planes, self.shape, self.is_opaque, view=view)]
        self.distance_m, self._coarse = distance_m, coarse
        if not isinstance(distance_m, float):
            self.distance_m = np.ascontiguousarray(distance_m[box])
            if coarse is None:
                step = slice(None, None, SLOPE_STEP)
                seen = None if self.is_opaque else alpha[step, step] > 0
                self._coarse = Coarse(self.distance_m[step, step], seen)
        self._alpha, self._known = alpha, None if layer.known is None else layer.known[box]
        self._known_pyramid: Pyramid | None = None

    def pyramid(self, channel: int | None) -> Pyramid:
        """The packed pixels of all channels together, or of one channel where they are blurred one by one."""
        return self._pyramids[0 if channel is None else channel]

    def radius_px(
        self, lens: ThinLens, focus_distance_m: float, width_px: float, shift_dioptres: float, scale: float
    ) -> Radius:
        """The layer's radius at this focus; `shift_dioptres` is the channel's axial colour."""
        per_dioptre = lens.blur_per_dioptre_px(focus_distance_m, width_px)
        value = lens.blur_radius_px(self.distance_m, focus_distance_m, width_px)
        greatest = self._greatest_px(lens, focus_distance_m, width_px, shift_dioptres, scale)
        if isinstance(value, float):
            number = float((value + shift_dioptres * per_dioptre) * scale)
            if lens.field_curvature_dioptres == 0.0:
                return Radius(number, None, None, greatest)
            return Radius(number + self._curvature(lens, per_dioptre * scale, width_px), None, None, greatest)
        assert self._coarse is not None
        surface = value
        coarse_m, seen = self._coarse
        coarse = np.asarray(lens.blur_radius_px(coarse_m, focus_distance_m, width_px))
        for radii in (surface, coarse):
            radii += np.float32(shift_dioptres * per_dioptre)
            radii *= np.float32(scale)
        slopes = Slopes(coarse, seen)
        if lens.field_curvature_dioptres == 0.0:
            return Radius(surface, surface, slopes, greatest)
        bent = surface + self._curvature(lens, per_dioptre * scale, width_px)
        return Radius(bent, surface, slopes, greatest)

    def blurred(
        self, aperture: Aperture, radius: Radius, channel: int | None, seen: Box | None = None
    ) -> Placed | None:
        """The layer blurred and placed in the frame; None when it is transparent everywhere.

        What lies outside the box `seen` is hidden, and may be left out.
        """
        return _blurred(self.pyramid(channel), aperture, radius, seen)

    def expect(self, widest_px: float) -> None:
        """Say how large the radii are, without sign, that are going to be asked for."""
        for pyramid in self._pyramids:
            pyramid.widest_reach = math.ceil(widest_px) + 1

    def add_invented(
        self, invented: Float32, light: Float32, aperture: Aperture, radius: Radius, placed: Placed
    ) -> None:
        """Add to `invented` the light (of `light`) that this layer sends from pixels that nobody photographed.

        Pixels outside the frame count as invented: alpha repeats its edge there, `known` is zero.
        """
        height, width = placed.planes.shape[1:]
        alpha: Float32 | np.float32 = np.float32(1.0) if self.is_opaque else placed.planes[-1]
        box = (slice(placed.y0, placed.y0 + height), slice(placed.x0, placed.x0 + width))
        touches = height > 0 and (
            placed.y0 == 0 or placed.x0 == 0 or box[0].stop == self.shape[0] or box[1].stop == self.shape[1]
        )
        if self._known is None and not (touches and radius.greatest_px >= INVISIBLE_RADIUS_PX):
            return
        if self._known_pyramid is None:
            plane = self._alpha if self._known is None else self._alpha * self._known
            self._known_pyramid = Pyramid(plane[None], self.shape, is_opaque=False, repeat_edges=False, view=self._view)
        known = _blurred(self._known_pyramid, aperture, radius)
        lost = np.broadcast_to(alpha, (height, width)).copy()
        if known is not None:
            rows, columns = known.planes.shape[1:]
            top, left = known.y0 - placed.y0, known.x0 - placed.x0
            lost[top : top + rows, left : left + columns] -= known.planes[0]
        lost[lost < 1e-5] = 0.0
        invented[box] += light[box] * lost

    def _greatest_px(
        self, lens: ThinLens, focus_distance_m: float, width_px: float, shift_dioptres: float, scale: float
    ) -> float:
        """The greatest radius of the whole scene's layer, without sign: of its nearest or farthest point, px.

        The field's curvature is taken from the middle to the corner of the whole frame, wherever the point lies.
        """
        per_dioptre = lens.blur_per_dioptre_px(focus_distance_m, width_px)
        corner = lens.field_curvature_dioptres * (self.frame.shape[1] / width_px) ** 2
        return max(
            abs(lens.blur_radius_px(distance, focus_distance_m, width_px) + shift * per_dioptre) * scale
            for distance in self._range_m
            for shift in (shift_dioptres, shift_dioptres + corner)
        )

    def _curvature(self, lens: ThinLens, per_dioptre_px: float, width_px: float) -> Float32:
        """The radius, px, that field curvature adds, growing with the square of the distance from the middle."""
        (height, width), (top, left) = self.frame.shape, self.frame.corner
        x = np.linspace(-1.0, 1.0, 2 * width + 1)[1::2][left : left + self.shape[1]] * (width / width_px)
        y = np.linspace(-1.0, 1.0, 2 * height + 1)[1::2][top : top + self.shape[0]] * (width / width_px)
        bowl = (x[None, :] ** 2 + y[:, None] ** 2) / 2.0
        return np.asarray(lens.field_curvature_dioptres * per_dioptre_px * bowl, np.float32)


class Shared(NamedTuple):
    """What all cells of a scene share."""

    surfaces_m: Sequence[float | Float32]  # of every layer, `scene.surface_m`
    planes: Sequence[Float32] | None  # of every layer, `scene.premultiplied`, where there is memory to keep them


class CellView(NamedTuple):
    """A cell of a scene that is photographed by itself, in boxes of that scene; `whole` in the whole frame."""

    window: Box  # what is looked at
    wanted: Box  # what is wanted of it
    whole: Box  # what would be looked at if the scene were the whole frame


def surfaces_of(scene: Scene) -> list[float | Float32]:
    """`surface_m` of every layer; the maps of a window are that already."""
    return [layer.distance_m if scene.part_of is not None else surface_m(layer) for layer in scene.ordered]


class PreparedScene:
    """The layers of a scene, or of a cell of it, nearest first, ready to be blurred."""

    def __init__(
        self, scene: Scene, split_channels: bool, cell: CellView | None = None, shared: Shared | None = None
    ) -> None:
        self.split_channels = split_channels
        self._scene = scene
        whole = scene.part_of
        shape, corner = (scene.shape, (0, 0)) if whole is None else (whole.shape, whole.corner)
        view = (0, scene.shape[0], 0, scene.shape[1]) if whole is None else whole.view
        layers = scene.ordered
        coarse: list[Coarse | None] = [None] * len(layers) if whole is None else list(whole.coarse)
        surfaces, planes = shared or Shared(surfaces_of(scene), None)
        self.shape = scene.shape
        box = (slice(None), slice(None))
        if cell is not None:
            window, wanted = cell.window, cell.wanted
            box = (slice(window[0], window[1]), slice(window[2], window[3]))
            self.shape = (window[1] - window[0], window[3] - window[2])
            corner = (corner[0] + window[0], corner[1] + window[2])
            view = (
                max(view[0], wanted[0], window[0]) - window[0],
                min(view[1], wanted[1], window[1]) - window[0],
                max(view[2], wanted[2], window[2]) - window[2],
                min(view[3], wanted[3], window[3]) - window[2],
            )
            coarse = [item if item is None else item.cut(cell.whole) for item in coarse]
        # all layers, also those that are not in the window: what is exact enough is decided for the whole picture
        self.layers = [
            PreparedLayer(
                layer,
                box,
                premultiplied(layer, box) if planes is None else _cut_planes(planes[number], box),
                surfaces[number],
                coarse[number],
                split_channels,
                Frame(shape, corner),
                range_m,
                view,
            )
            for number, (layer, range_m) in enumerate(zip(layers, distance_ranges_m(scene), strict=True))
        ]

    @cached_property
    def tolerance(self) -> float:
        """The error of single pixels that the exact picture of the whole scene may have, linear light."""
        return tolerance(mean_light(self._scene), matte_share(self._scene))


def _cut_planes(planes: Float32, box: tuple[slice, slice]) -> Float32:
    """A box of a layer's premultiplied planes, without alpha where it is opaque there."""
    cut = planes[(slice(None), *box)]
    opaque = len(cut) == 3 or cut[3].min() >= 1.0
    return np.ascontiguousarray(cut[:3]) if opaque else cut  # what is not opaque is going to be cropped first


def _blurred(pyramid: Pyramid, aperture: Aperture, radius: Radius, seen: Box | None = None) -> Placed | None:
    if pyramid.is_empty:
        return None
    if isinstance(radius.value, float):
        return blur_flat(pyramid, radius.value, aperture, seen=seen)
    if radius.greatest_px < INVISIBLE_RADIUS_PX:
        return Placed(pyramid.planes, pyramid.y0, pyramid.x0)
    return blur_receding(pyramid, radius.value, radius.slopes, aperture, seen=seen)
