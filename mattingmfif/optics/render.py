"""A scene through the lens: frames, stacks, and what of each frame rests on photographed pixels.

    I(p) = mean over the aperture u of  sum_i  a_i C_i (p - r_i u)  *  prod_{j in front of i} (1 - a_j(p - r_j u))

`fast` blurs every layer by itself and lays them over one another, nearest first, which takes the product of the means;
`exact` adds what is missing where layers interact (`interaction`). Both are linear in light. A layer whose radius is
invisible (`lens.INVISIBLE_RADIUS_PX`) comes back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError
from mattingmfif.optics.aperture import Aperture
from mattingmfif.optics.field import fade_in, rows_of_cells
from mattingmfif.optics.interaction import NODES_BEYOND_PX, Blurred, add_correction, node_step, tolerance
from mattingmfif.optics.kernels import mark_varying, over_in_place
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX, ThinLens
from mattingmfif.optics.prepared import CellView, PreparedLayer, PreparedScene, Radius, Shared, surfaces_of
from mattingmfif.optics.psf import airy_kernel
from mattingmfif.optics.pyramid import Box, Placed
from mattingmfif.optics.scene import Scene, distance_ranges_m, matte_share, mean_light, premultiplied

Float32 = npt.NDArray[np.float32]

#: light [h,w,3], trust [h,w] and boundary [h,w]; the maps only where they were asked for
Maps = tuple[Float32, Float32 | None, npt.NDArray[np.bool_] | None]

QUALITIES = ("exact", "fast")
_NO_MAP = np.zeros((0, 0), np.float32)
#: a pixel belongs to a boundary where some layer's blurred alpha lies between these
BOUNDARY_ALPHA = (0.02, 0.98)
#: a blurred matte outside of these is constant within its disc, to 80 dB
VARYING_ALPHA = (1e-4, 1 - 1e-4)


@dataclass(frozen=True, eq=False, kw_only=True)
class Exposure:
    """One frame and its maps, all `[H,W]` of the scene."""

    colour_linear: Float32  # [H,W,3] linear light
    trust: Float32  # 0..1: share of the gathered light that comes from photographed pixels inside the frame
    boundary: npt.NDArray[np.bool_]  # some layer's blurred alpha is neither 0 nor 1
    focus_distance_m: float
    # breathing: pixel p of the frame shows the scene's pixel middle + (p - middle) / magnification
    magnification: float = 1.0


def render(
    scene: Scene,
    lens: ThinLens,
    focus_distance_m: float,
    quality: str = "exact",
    image_width_px: float | None = None,
) -> Float32:
    """The frame focused at `focus_distance_m`: float32 `[H,W,3]` linear light.

    `quality` is "exact" (the aperture integral) or "fast" (the layered product). `image_width_px` is the number of
    pixels that the lens's sensor width spans (default: the scene's width); a crop passes the full picture's. A focus
    distance that is not beyond the focal length is refused.
    """
    return next(iter(render_stack(scene, lens, [focus_distance_m], quality, image_width_px)))


def render_stack(
    scene: Scene,
    lens: ThinLens,
    focus_distances_m: Sequence[float],
    quality: str = "exact",
    image_width_px: float | None = None,
    registered: bool = False,
) -> Iterator[Float32]:
    """Frames as `render` makes them, one a focus distance, in the order given, made one by one as they are asked for.

    What belongs to the scene alone is computed once for all. `registered=True` scales the blur radii to the field of
    view of the farthest focus, as if the frames had been aligned (it matters in macro); by default every frame has the
    radii of its own sensor image.
    """
    stage = _Stage(scene, lens, focus_distances_m, quality, image_width_px, registered)
    return (stage.expose(s, with_maps=False).colour_linear for s in stage.focus_distances_m)


def expose_stack(
    scene: Scene,
    lens: ThinLens,
    focus_distances_m: Sequence[float],
    quality: str = "exact",
    image_width_px: float | None = None,
    registered: bool = False,
) -> Iterator[Exposure]:
    """As `render_stack`, but each frame with its trust and boundary maps; the colours are the same bits."""
    stage = _Stage(scene, lens, focus_distances_m, quality, image_width_px, registered)
    return (stage.expose(s, with_maps=True) for s in stage.focus_distances_m)


class _Stage:
    """A scene made ready for several focus distances of one lens."""

    def __init__(
        self,
        scene: Scene,
        lens: ThinLens,
        focus_distances_m: Sequence[float],
        quality: str,
        image_width_px: float | None,
        registered: bool,
    ) -> None:
        if quality not in QUALITIES:
            raise UserError(f"quality: {quality!r}; allowed: {', '.join(map(repr, QUALITIES))}")
        self.focus_distances_m = [lens.check_focus(s) for s in focus_distances_m]
        self.shape = scene.shape
        self.width_px = float(scene.shape[1] if image_width_px is None else image_width_px)
        if not self.width_px > 0:
            raise UserError(f"image_width_px: {image_width_px}; allowed: more than 0")
        self.lens, self.exact, self.registered = lens, quality == "exact", registered
        self.farthest_mm = lens.image_distance_mm(max(self.focus_distances_m, default=np.inf))
        self.split_channels = any(lens.axial_colour_dioptres)
        # a cat's eye is photographed in cells, which are cut out of the scene one after another
        self.uncut = scene if lens.aperture.cats_eye > 0.0 else None
        self.scene = PreparedScene(scene, self.split_channels) if self.uncut is None else None
        self.shared: Shared | None = None
        if self.scene is None:
            # of a window the planes are few enough to be kept for all cells and frames
            planes = None if scene.part_of is None else [premultiplied(layer) for layer in scene.ordered]
            self.shared = Shared(surfaces_of(scene), planes)
        elif scene.part_of is not None:
            self._expect(self.scene)
        self.tolerance_of_all = 0.0
        if self.uncut is not None and self.exact:
            self.tolerance_of_all = tolerance(mean_light(scene), matte_share(scene))

    def expose(self, focus_distance_m: float, with_maps: bool) -> Exposure:
        magnification, radius_scale = self._scales(focus_distance_m)
        if self.scene is not None:
            aperture = self.lens.aperture
            image, trust, boundary = self._photographed(self.scene, aperture, focus_distance_m, radius_scale, with_maps)
        else:
            image, trust, boundary = self._in_cells(focus_distance_m, radius_scale, with_maps)
        self._diffract(image)
        if magnification != 1.0:
            image = np.maximum(_zoomed(image, magnification, cv2.INTER_CUBIC), np.float32(0.0))
            if trust is not None:
                trust = _zoomed(trust, magnification, cv2.INTER_LINEAR)
            if boundary is not None:
                boundary = _zoomed(boundary.astype(np.float32), magnification, cv2.INTER_NEAREST) > 0
        return Exposure(
            colour_linear=image,
            trust=trust if trust is not None else _NO_MAP,
            boundary=boundary if boundary is not None else _NO_MAP > 0,
            focus_distance_m=focus_distance_m,
            magnification=magnification,
        )

    def _photographed(
        self, scene: PreparedScene, aperture: Aperture, focus_distance_m: float, radius_scale: float, with_maps: bool
    ) -> Maps:
        """Light `[h,w,3]` of the scene through one opening, and its trust and boundary where asked for."""
        image = np.zeros((*scene.shape, 3), np.float32)
        boundary = np.zeros(scene.shape, bool) if with_maps else None
        trust: Float32 | None = None
        if self.split_channels:
            for channel in range(3):
                part = np.zeros((*scene.shape, 1), np.float32)
                shift = self.lens.axial_colour_dioptres[channel]
                green = with_maps and channel == 1  # it stands for all three
                radii = self._radii(scene, focus_distance_m, shift, radius_scale)
                one = self._layered(scene, aperture, radii, part, channel, boundary, green)
                trust = one if one is not None else trust
                image[..., channel] = part[..., 0]
        else:
            radii = self._radii(scene, focus_distance_m, 0.0, radius_scale)
            trust = self._layered(scene, aperture, radii, image, None, boundary, with_maps)
        return image, trust, boundary

    def _in_cells(self, focus_distance_m: float, radius_scale: float, with_maps: bool) -> Maps:
        """As `_photographed`, cell by cell, each through the opening as it is seen from there."""
        assert self.uncut is not None
        image = np.zeros((*self.shape, 3), np.float32)
        trust = np.zeros(self.shape, np.float32) if with_maps else None
        boundary = np.zeros(self.shape, bool) if with_maps else None
        greatest = self._greatest_px(focus_distance_m, radius_scale)
        whole = self.uncut.part_of
        frame, corner = (self.shape, (0, 0)) if whole is None else (whole.shape, whole.corner)
        view = (0, self.shape[0], 0, self.shape[1]) if whole is None else whole.view
        aside = NODES_BEYOND_PX if self.exact else 0
        shown_rows = -corner[0]
        for cells in rows_of_cells(frame, self.width_px, self.lens.aperture, greatest):
            start, end = (row - corner[0] for row in cells[0].rows)
            top, bottom = max(start, view[0]), min(end, view[1])
            if top >= bottom:
                shown_rows = end
                continue
            band = np.zeros((bottom - top, self.shape[1], 3), np.float32)
            trust_band = np.zeros(band.shape[:2], np.float32)
            shown_columns = -corner[1]
            for cell in cells:
                first, last = (column - corner[1] for column in cell.columns)
                left, right = max(first, view[2]), min(last, view[3])
                if left >= right:
                    shown_columns = last
                    continue
                window = (
                    max(cell.window[0] - corner[0], 0),
                    min(cell.window[1] - corner[0], self.shape[0]),
                    max(cell.window[2] - corner[1], 0),
                    min(cell.window[3] - corner[1], self.shape[1]),
                )
                wanted = window  # of a whole frame's cell all is photographed, as its shards have it
                if whole is not None:
                    wanted = (top - aside, bottom + aside, left - aside, right + aside)
                scene = PreparedScene(
                    self.uncut, self.split_channels, CellView(window, wanted, cell.window), self.shared
                )
                scene.tolerance = self.tolerance_of_all
                aperture = cell.aperture(self.lens.aperture)
                light, trusted, edges = self._photographed(scene, aperture, focus_distance_m, radius_scale, with_maps)
                y, x = top - window[0], left - window[2]
                inner = (slice(y, y + bottom - top), slice(x, x + right - left))
                overlap, skipped = shown_columns - first, left - first
                fade_in(band, light[inner], left, overlap, axis=1, skipped=skipped)
                if trusted is not None and boundary is not None and edges is not None:
                    fade_in(trust_band, trusted[inner], left, overlap, axis=1, skipped=skipped)
                    boundary[top:bottom, left:right] |= edges[inner]
                shown_columns = last
            overlap, skipped = shown_rows - start, top - start
            fade_in(image, band, top, overlap, axis=0, skipped=skipped)
            if trust is not None:
                fade_in(trust, trust_band, top, overlap, axis=0, skipped=skipped)
            shown_rows = end
        return image, trust, boundary

    def _radii(
        self, scene: PreparedScene, focus_distance_m: float, shift_dioptres: float, radius_scale: float
    ) -> list[Radius]:
        return [
            layer.radius_px(self.lens, focus_distance_m, self.width_px, shift_dioptres, radius_scale)
            for layer in scene.layers
        ]

    def _expect(self, scene: PreparedScene) -> None:
        """Tell the flat layers of a window how far they are going to be blurred: they keep what all frames need.

        Whole frames are convolved in tiles, which take less memory, and lights keep their rounding to themselves.
        """
        shifts = self.lens.axial_colour_dioptres if self.split_channels else (0.0,)
        for layer in scene.layers:
            if isinstance(layer.distance_m, float) and self.lens.field_curvature_dioptres == 0.0:
                layer.expect(
                    max(
                        layer.radius_px(self.lens, s, self.width_px, shift, self._scales(s)[1]).greatest_px
                        for s in self.focus_distances_m
                        for shift in shifts
                    )
                )

    def _greatest_px(self, focus_distance_m: float, radius_scale: float) -> float:
        """The greatest blur radius of anything in the scene, without sign, axial colour and curvature included."""
        assert self.uncut is not None
        lens, greatest = self.lens, 0.0
        for range_m in distance_ranges_m(self.uncut):
            for distance in range_m:
                radius = lens.blur_radius_px(distance, focus_distance_m, self.width_px)
                greatest = max(greatest, abs(radius))
        shift = max(map(abs, lens.axial_colour_dioptres)) + abs(lens.field_curvature_dioptres)
        per_dioptre = lens.blur_per_dioptre_px(focus_distance_m, self.width_px)
        return (greatest + shift * per_dioptre) * radius_scale

    def _scales(self, focus_distance_m: float) -> tuple[float, float]:
        """Magnification of the frame, and the factor that carries sensor radii to the scene's pixels."""
        ratio = self.lens.image_distance_mm(focus_distance_m) / self.farthest_mm
        if self.registered:
            return 1.0, 1.0 / ratio
        magnification = float(ratio**self.lens.breathing)
        return magnification, 1.0 / magnification

    def _layered(
        self,
        scene: PreparedScene,
        aperture: Aperture,
        radii: list[Radius],
        image: Float32,
        channel: int | None,
        boundary: npt.NDArray[np.bool_] | None,
        with_trust: bool,
    ) -> Float32 | None:
        """Fill `image` `[h,w,C]` with the layers, nearest first; returns the trust map when asked for."""
        step = node_step([r.greatest_px for r in radii]) if self.exact else 0
        light = np.ones(scene.shape, np.float32)
        invented = np.zeros(scene.shape, np.float32) if with_trust else None
        seen: list[Blurred] = []
        seen_before = False
        # where no blurred matte varies the layered product is the integral, and sharp pixels stay bit for bit
        varies = np.zeros(scene.shape, bool) if step else None
        for layer, radius in zip(scene.layers, radii, strict=True):
            # the map of boundaries knows hidden edges too
            placed = layer.blurred(aperture, radius, channel, _lit(light) if seen_before and boundary is None else None)
            if placed is None:
                continue
            seen_before = True
            if invented is not None:
                layer.add_invented(invented, light, aperture, radius, placed)
            if boundary is not None:
                _mark_boundary(boundary, placed, layer, channel)
            if varies is not None and radius.greatest_px >= INVISIBLE_RADIUS_PX and not layer.is_opaque:
                mark_varying(varies, light, placed.planes[-1], placed.y0, placed.x0, *VARYING_ALPHA)
            over_in_place(image, light, placed.planes, placed.y0, placed.x0, layer.is_opaque)
            if step:
                seen.append(
                    Blurred(
                        pyramid=layer.pyramid(channel),
                        radius_px=radius.value,
                        slope_source_px=radius.slope_source,
                        node_alpha=_node_alpha(placed, layer, channel, scene.shape, step),
                        greatest_px=radius.greatest_px,
                    )
                )
            placed = None  # its planes are not needed while the next layer is blurred
        if varies is not None and len(seen) > 1:
            add_correction(image, seen, aperture, step, varies, scene.tolerance)
        return None if invented is None else np.clip(np.float32(1.0) - invented, 0.0, 1.0)

    def _diffract(self, image: Float32) -> None:
        if not self.lens.diffraction:
            return
        for channel in range(3):
            kernel = airy_kernel(self.lens, channel, self.width_px)
            if kernel is not None:
                plane = np.ascontiguousarray(image[..., channel])
                image[..., channel] = cv2.filter2D(plane, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)


def _lit(light: Float32) -> Box:
    """The box of what no nearer layer hides."""
    rows, columns = np.flatnonzero(light.any(axis=1)), np.flatnonzero(light.any(axis=0))
    if not rows.size:
        return 0, 0, 0, 0
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _mark_boundary(boundary: npt.NDArray[np.bool_], placed: Placed, layer: PreparedLayer, channel: int | None) -> None:
    if layer.pyramid(channel).is_opaque:
        return
    alpha = placed.planes[-1]
    height, width = alpha.shape
    boundary[placed.y0 : placed.y0 + height, placed.x0 : placed.x0 + width] |= (alpha > BOUNDARY_ALPHA[0]) & (
        alpha < BOUNDARY_ALPHA[1]
    )


def _node_alpha(
    placed: Placed, layer: PreparedLayer, channel: int | None, shape: tuple[int, int], step: int
) -> Float32:
    """The layer's blurred alpha on every `step`-th pixel, one node beyond the last pixel included."""
    rows, columns = -(-shape[0] // step), -(-shape[1] // step)
    if layer.pyramid(channel).is_opaque:
        return np.ones((rows, columns), np.float32)
    nodes = np.zeros((rows, columns), np.float32)
    alpha = placed.planes[-1]
    top, left = -(-placed.y0 // step), -(-placed.x0 // step)
    cut = alpha[top * step - placed.y0 :: step, left * step - placed.x0 :: step]
    nodes[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return nodes


def _zoomed(image: Float32, magnification: float, interpolation: int) -> Float32:
    """The picture enlarged about its middle, same size: pixel p shows middle + (p - middle) / magnification."""
    height, width = image.shape[:2]
    cx, cy = (width - 1) / 2.0, (height - 1) / 2.0
    scale = 1.0 / magnification
    to_scene = np.array([[scale, 0.0, cx - cx * scale], [0.0, scale, cy - cy * scale]])
    flags = interpolation | cv2.WARP_INVERSE_MAP
    zoomed = cv2.warpAffine(image, to_scene, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(zoomed, np.float32)
