"""What the layered product misses: the correction where several layers out of focus interact.

The aperture integral is the mean over rays of a product, the layered image the product of means. Their difference, the
covariance of what is in front with what is behind over the aperture, is not zero only where a layer in front and one
behind it both vary within their blur discs. It is found by sending the same rays through the layers twice, once with
the product taken ray by ray and once with the means, and taking the difference: errors of the sampling that both share
cancel (a control variate). The difference varies slowly, so it is taken on every `step`-th pixel and interpolated
cubically; rays far apart look at reduced layers, so that they see what lies between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.optics.aperture import Aperture, aperture_points
from mattingmfif.optics.blur import RANGE_CELL, Pyramid
from mattingmfif.optics.kernels import add_upsampled, trace_layer
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX

Float32 = npt.NDArray[np.float32]

#: the correction is left out where it provably stays below this (linear light, for colours up to 1)
NEGLIGIBLE = 8e-4
_NODES_AT_ONCE = 2048


@dataclass(frozen=True)
class Blurred:
    """A layer as one frame sees it: its pixels, its radius, and its blurred alpha on the nodes."""

    pyramid: Pyramid
    radius_px: float | Float32  # signed, a number or a map [H,W] of the frame
    slope_source_px: Float32 | None  # the map whose gradient tilts the discs
    node_alpha: Float32  # [rows, columns]

    @property
    def greatest_px(self) -> float:
        """The greatest blur radius, without sign."""
        if isinstance(self.radius_px, float):
            return abs(self.radius_px)
        return max(abs(float(self.radius_px.min())), abs(float(self.radius_px.max())))

    @property
    def is_sharp(self) -> bool:
        """True when the blur is nowhere visible."""
        return self.greatest_px < INVISIBLE_RADIUS_PX


def node_step(greatest_radii_px: Sequence[float]) -> int:
    """On every how many pixels the correction is computed, from the greatest radius of each layer; 0: nowhere.

    The correction is as fine as the least blurred of the layers that interact.
    """
    out_of_focus = [r for r in greatest_radii_px if r >= INVISIBLE_RADIUS_PX]
    if len(out_of_focus) < 2:
        return 0
    least = min(out_of_focus)
    return 1 if least < 5.0 else 2 if least < 16.0 else 4


def ray_count(greatest_px: float) -> int:
    """The number of rays for layers blurred by at most this radius."""
    return 64 if greatest_px < 3.0 else 128 if greatest_px < 24.0 else 192


def add_correction(image: Float32, layers: Sequence[Blurred], aperture: Aperture, step: int) -> None:
    """Add to the layered `image` `[H,W,C]` what makes it the aperture integral; `layers` nearest first."""
    band = interaction_band(layers, step)
    if not band.any():
        return
    colours = image.shape[2]
    rows, columns = np.nonzero(band)
    receding = [layer for layer in layers if not isinstance(layer.radius_px, float)]
    if receding:  # rays of like radius together, because they look at the same reduction
        radius = np.asarray(receding[0].radius_px)
        order = np.argsort(np.abs(radius[rows * step, columns * step]), kind="stable")
        rows, columns = rows[order], columns[order]
    nodes = np.zeros((*band.shape, colours), np.float32)
    rays = ray_count(max(layer.greatest_px for layer in layers))
    for start in range(0, len(rows), _NODES_AT_ONCE):
        part = slice(start, start + _NODES_AT_ONCE)
        nodes[rows[part], columns[part]] = _correction(
            layers,
            aperture,
            rays,
            (rows[part] * step).astype(np.float32),
            (columns[part] * step).astype(np.float32),
            colours,
        )
    add_upsampled(image, nodes, step)
    np.maximum(image, np.float32(0.0), out=image)


def interaction_band(layers: Sequence[Blurred], step: int) -> npt.NDArray[np.bool_]:
    """The nodes `[rows, columns]` where layers may interact by more than NEGLIGIBLE, with a margin of two nodes."""
    shape = layers[0].node_alpha.shape
    band = np.zeros(shape, bool)
    light = np.ones(shape, np.float32)
    in_front = np.zeros(shape, np.float32)  # the largest deviation of a nearer layer's alpha over the aperture
    for layer in layers:
        if not layer.is_sharp:
            spread = _ranges(layer, step, shape)
            if in_front.any():
                band |= in_front * np.minimum(spread.max(axis=2) / 2.0, 1.0) * light > NEGLIGIBLE
            if not layer.pyramid.is_opaque:
                alpha = layer.node_alpha
                deviation = np.minimum(spread[..., -1] / 2.0, np.sqrt(np.maximum(alpha * (1.0 - alpha), 0.0)))
                np.maximum(in_front, deviation, out=in_front)
        light *= 1.0 - layer.node_alpha
    if band.any():
        band = cv2.dilate(band.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return band


def _ranges(layer: Blurred, step: int, shape: tuple[int, ...]) -> Float32:
    """Per node and channel, the range of the layer's values within reach of its blur: float32 `[rows, columns, C]`."""
    low, high = layer.pyramid.extremes()
    height, width = layer.pyramid.frame_shape
    cells = (-(-height // RANGE_CELL), -(-width // RANGE_CELL))
    reach = math.ceil((layer.greatest_px + 1.0) / RANGE_CELL)
    box = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    oy, ox = layer.pyramid.y0 // RANGE_CELL, layer.pyramid.x0 // RANGE_CELL
    spread = np.empty((*shape, low.shape[2]), np.float32)
    ys = np.minimum(np.arange(shape[0]) * step // RANGE_CELL, cells[0] - 1)
    xs = np.minimum(np.arange(shape[1]) * step // RANGE_CELL, cells[1] - 1)
    for c in range(low.shape[2]):
        least, most = np.zeros(cells, np.float32), np.zeros(cells, np.float32)
        least[oy : oy + low.shape[0], ox : ox + low.shape[1]] = low[..., c]
        most[oy : oy + low.shape[0], ox : ox + low.shape[1]] = high[..., c]
        spread[..., c] = (cv2.dilate(most, box) - cv2.erode(least, box))[np.ix_(ys, xs)]
    return spread


def _correction(
    layers: Sequence[Blurred], aperture: Aperture, rays: int, ys: Float32, xs: Float32, colours: int
) -> Float32:
    """Rays taken together less means taken together, at nodes (ys, xs): float32 `[n, colours]`."""
    count = len(ys)
    light = np.ones((count, rays), np.float32)
    together = np.zeros((count, colours), np.float32)
    apart = np.zeros((count, colours), np.float32)
    left = np.ones((count, 1), np.float32)
    mean = np.empty((count, colours + 1), np.float32)
    behind = aperture_points(aperture, rays, 1)
    ahead = aperture_points(aperture, rays, -1)
    for number, layer in enumerate(layers):
        radius, slope_x, slope_y = _at_nodes(layer, ys, xs)
        np.copyto(radius, 0.0, where=np.abs(radius) < INVISIBLE_RADIUS_PX)
        between_rays = float(np.median(np.abs(radius))) * math.sqrt(math.pi / rays)
        reduced = _reduction(between_rays)
        pyramid = layer.pyramid
        trace_layer(
            pyramid.reduced(reduced),
            np.float32(pyramid.y0),
            np.float32(pyramid.x0),
            np.float32(reduced),
            ys,
            xs,
            radius,
            slope_x,
            slope_y,
            behind,
            ahead,
            light,
            together,
            mean,
            colours,
            number == len(layers) - 1,
        )
        apart += left * mean[:, :colours]
        left *= 1.0 - mean[:, colours:]
    return together - apart


def _reduction(between_rays_px: float) -> int:
    return 1 if between_rays_px < 2.5 else 2 if between_rays_px < 5.0 else 4


def _at_nodes(layer: Blurred, ys: Float32, xs: Float32) -> tuple[Float32, Float32, Float32]:
    """Radius and slopes (x, y) of the layer at the nodes."""
    flat = np.zeros(len(ys), np.float32)
    if isinstance(layer.radius_px, float):
        return np.full(len(ys), layer.radius_px, np.float32), flat, flat
    rows, columns = ys.astype(np.intp), xs.astype(np.intp)
    radius = layer.radius_px[rows, columns]
    source = layer.slope_source_px
    if source is None:
        return radius, flat, flat
    height, width = source.shape
    up, down = np.maximum(rows - 4, 0), np.minimum(rows + 4, height - 1)
    left, right = np.maximum(columns - 4, 0), np.minimum(columns + 4, width - 1)
    slope_x = (source[rows, right] - source[rows, left]) / np.maximum(right - left, 1)
    slope_y = (source[down, columns] - source[up, columns]) / np.maximum(down - up, 1)
    size = np.maximum(np.hypot(slope_x, slope_y) / 0.5, 1.0)
    return radius, (slope_x / size).astype(np.float32), (slope_y / size).astype(np.float32)
