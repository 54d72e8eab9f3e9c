"""What the layered product misses: the correction where several layers out of focus interact.

The aperture integral is the mean over rays of a product, the layered image the product of means. Their difference, the
covariance of what is in front with what is behind over the aperture, is not zero only where a layer in front and one
behind it both vary within their blur discs. It is found by sending the same rays through the layers twice, once with
the product taken ray by ray and once with the means, and taking the difference: errors of the sampling that both share
cancel (a control variate). The difference is taken on every `step`-th pixel and interpolated cubically; the nodes are
made denser where leaving out every second one would be seen, and get more rays where two halves of them disagree.
Rays far apart look at reduced layers, so that they see what lies between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.optics.aperture import Aperture, aperture_points
from mattingmfif.optics.blur import RANGE_CELL, Pyramid
from mattingmfif.optics.kernels import add_nodes, trace_flat, trace_tilted
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX

Float32 = npt.NDArray[np.float32]

#: the correction is left out where it provably stays below this (linear light, for colours up to 1)
NEGLIGIBLE = 8e-4
#: nodes where leaving out every second one errs by more than this share of the picture's scale get finer neighbours
LEFT_OUT = 4e-3
#: nodes where two halves of the rays disagree by more than this share of it get more rays
DISAGREE = 4e-3
FEWEST_RAYS, MOST_RAYS = 64, 1024
COARSEST = 4
#: below this mean light accuracy is absolute
LEAST_SCALE = 0.25
_LIGHTS_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class Blurred:
    """A layer as one frame sees it: its pixels, its radius, and its blurred alpha on the nodes."""

    pyramid: Pyramid
    radius_px: float | Float32  # signed, a number or a map [H,W] of the frame
    slope_source_px: Float32 | None  # the map whose gradient tilts the discs
    node_alpha: Float32  # [rows, columns]
    greatest_px: float  # the greatest blur radius, without sign

    @property
    def is_sharp(self) -> bool:
        """True when the blur is nowhere visible."""
        return self.greatest_px < INVISIBLE_RADIUS_PX


def node_step(greatest_radii_px: Sequence[float]) -> int:
    """On every how many pixels the correction is first computed, from each layer's greatest radius; 0: nowhere."""
    out_of_focus = [r for r in greatest_radii_px if r >= INVISIBLE_RADIUS_PX]
    if len(out_of_focus) < 2:
        return 0
    least = min(out_of_focus)
    return 1 if least < 2.0 else 2 if least < 6.0 else COARSEST


def add_correction(image: Float32, layers: Sequence[Blurred], aperture: Aperture, step: int, mean_light: float) -> None:
    """Add to the layered `image` `[H,W,C]` what makes it the aperture integral; `layers` nearest first.

    `mean_light` of the scene sets the scale of errors.
    """
    wanted = interaction_band(layers, step)
    if not wanted.any():
        return
    height, width, colours = image.shape
    # brighter scenes are sampled alike, so that the frame is linear in light; whole stops, so that a crop is too
    scale = 2.0 ** round(math.log2(max(2.0 * mean_light, LEAST_SCALE)))
    tracer = _Tracer(layers, aperture, colours, scale)
    nodes = np.zeros((*wanted.shape, colours), np.float32)
    tracer.fill(nodes, wanted, step)
    while step > 1:
        rough = _rough_cells(nodes, wanted, LEFT_OUT * scale)
        if not rough.any():
            break
        shape = (-(-height * 2 // step), -(-width * 2 // step))
        finer = np.zeros((*shape, colours), np.float32)
        add_nodes(finer, nodes, 2)
        step //= 2
        wanted = _twice(rough, shape)
        tracer.fill(finer, wanted, step)
        nodes = finer
    add_nodes(image, nodes, step)
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
    spread = np.empty((*shape, low.shape[0]), np.float32)
    ys = np.minimum(np.arange(shape[0]) * step // RANGE_CELL, cells[0] - 1)
    xs = np.minimum(np.arange(shape[1]) * step // RANGE_CELL, cells[1] - 1)
    for c in range(low.shape[0]):
        least, most = np.zeros(cells, np.float32), np.zeros(cells, np.float32)
        least[oy : oy + low.shape[1], ox : ox + low.shape[2]] = low[c]
        most[oy : oy + low.shape[1], ox : ox + low.shape[2]] = high[c]
        spread[..., c] = (cv2.dilate(most, box) - cv2.erode(least, box))[np.ix_(ys, xs)]
    return spread


def _rough_cells(nodes: Float32, traced: npt.NDArray[np.bool_], most: float) -> npt.NDArray[np.bool_]:
    """Nodes around which interpolation does not do: where leaving out every second node would be seen by far."""
    guess = np.zeros_like(nodes)
    add_nodes(guess, np.ascontiguousarray(nodes[::2, ::2]), 2)
    error = np.abs(guess - nodes).max(axis=2) * traced
    rough = (error > most).astype(np.uint8)
    return cv2.dilate(rough, np.ones((5, 5), np.uint8)) > 0


def _twice(mask: npt.NDArray[np.bool_], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask on a grid twice as fine: every node stands for itself and its neighbours half-way."""
    fine = np.zeros(shape, np.uint8)
    rows, columns = mask[: -(-shape[0] // 2), : -(-shape[1] // 2)].shape
    fine[: 2 * rows : 2, : 2 * columns : 2] = mask[:rows, :columns]
    return cv2.dilate(fine, np.ones((3, 3), np.uint8)) > 0


class _Tracer:
    """Sends rays through the layers at chosen nodes, more of them where the first do not agree."""

    def __init__(self, layers: Sequence[Blurred], aperture: Aperture, colours: int, scale: float) -> None:
        self.layers, self.aperture, self.colours, self.scale = layers, aperture, colours, scale

    def fill(self, nodes: Float32, wanted: npt.NDArray[np.bool_], step: int) -> None:
        """Set the wanted `nodes` `[rows, columns, C]` to rays taken together less means taken together."""
        rays = FEWEST_RAYS
        while wanted.any():
            error = np.zeros(wanted.shape, np.float32)
            for runs in _runs(wanted, max(64, _LIGHTS_AT_ONCE // rays)):
                self._trace(nodes, error, runs, step, rays)
            if rays >= MOST_RAYS:
                return
            rays *= 4
            spread = cv2.blur(error * error, (5, 5), borderType=cv2.BORDER_CONSTANT)
            wanted = wanted & (spread > (DISAGREE * self.scale) ** 2)

    def _trace(self, nodes: Float32, error: Float32, runs: _Runs, step: int, rays: int) -> None:
        starts = np.concatenate([[0], np.cumsum(runs.count)[:-1]])
        total = int(runs.count.sum())
        light = np.empty(total * rays, np.float32)
        together = np.zeros((2, self.colours, total), np.float32)
        apart = np.zeros((2, self.colours, total), np.float32)
        apart_all = np.zeros((self.colours, total), np.float32)
        left, left_all = np.ones((2, 1, total), np.float32), np.ones((1, total), np.float32)
        rows, columns = runs.nodes()
        ys, xs = runs.row * step, runs.column * step
        halves = np.float32(2.0 / rays)
        for number, layer in enumerate(self.layers):
            place = 0 if number == 0 else 2 if number == len(self.layers) - 1 else 1
            planes_seen = self.colours + (0 if layer.pyramid.is_opaque else 1)
            mean = np.zeros((2, planes_seen, total), np.float32)
            pyramid, radius = layer.pyramid, layer.radius_px
            if isinstance(radius, float):
                radius = 0.0 if abs(radius) < INVISIBLE_RADIUS_PX else radius
                reduced = min(step, _reduction(abs(radius), rays))
                points = aperture_points(self.aperture, rays, 1 if radius > 0 else -1)
                trace_flat(
                    pyramid.reduced(reduced), pyramid.y0, pyramid.x0, reduced, ys, xs, runs.count, starts, step,
                    radius, points, light, together, mean, place,
                )  # fmt: skip
                if place == 0:
                    together += mean[:, : self.colours]
            else:
                at, slope_x, slope_y = _at_nodes(layer, rows * step, columns * step)
                np.copyto(at, 0.0, where=np.abs(at) < INVISIBLE_RADIUS_PX)
                reduced = min(step, _reduction(float(np.median(np.abs(at))), rays))
                behind, ahead = (aperture_points(self.aperture, rays, side) for side in (1, -1))
                trace_tilted(
                    pyramid.reduced(reduced), pyramid.y0, pyramid.x0, reduced, ys, xs, runs.count, starts, step,
                    at, slope_x, slope_y, behind, ahead, light, together, mean, place,
                )  # fmt: skip
            mean *= halves
            mean_all = 0.5 * (mean[0] + mean[1])
            apart += left * mean[:, : self.colours]
            apart_all += left_all * mean_all[: self.colours]
            if layer.pyramid.is_opaque:
                break
            left *= 1.0 - mean[:, self.colours :]
            left_all *= 1.0 - mean_all[self.colours :]
        together *= halves
        nodes[rows, columns] = (0.5 * (together[0] + together[1]) - apart_all).T
        first, second = together - apart
        error[rows, columns] = np.abs(first - second).max(axis=0)


@dataclass(frozen=True)
class _Runs:
    """Runs of neighbouring nodes: row, first column, and number of nodes of each."""

    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]

    def nodes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Row and column of every node, run after run."""
        starts = np.repeat(np.cumsum(self.count) - self.count, self.count)
        return np.repeat(self.row, self.count), np.repeat(self.column, self.count) + np.arange(len(starts)) - starts


def _runs(wanted: npt.NDArray[np.bool_], most: int) -> Iterator[_Runs]:
    """The wanted nodes (and short gaps between them) as runs along rows, in batches of about `most` nodes."""
    bridged = cv2.morphologyEx(wanted.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((1, 15), np.uint8))
    edges = np.diff(np.pad(bridged.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, first = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]
    pieces = -(-(end - first) // most)  # long runs are cut
    piece = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    row, first, end = (np.repeat(a, pieces) for a in (row, first, end))
    first = first + piece * most
    count = np.minimum(end - first, most)
    batch = np.cumsum(count) // most
    for number in np.unique(batch):
        here = batch == number
        yield _Runs(row[here], first[here], count[here])


def _reduction(radius_px: float, rays: int) -> int:
    """How far a layer is reduced for this many rays: about to the distance between them."""
    between = radius_px * math.sqrt(math.pi / rays)
    return 1 if between < 2.5 else 2 if between < 5.0 else 4


def _at_nodes(
    layer: Blurred, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> tuple[Float32, Float32, Float32]:
    """Radius and slopes (x, y) of the layer at the nodes."""
    flat = np.zeros(len(rows), np.float32)
    if isinstance(layer.radius_px, float):
        return np.full(len(rows), layer.radius_px, np.float32), flat, flat
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
