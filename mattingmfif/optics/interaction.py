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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.optics.aperture import Aperture, aperture_points
from mattingmfif.optics.blur import MOST_SLOPE
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX
from mattingmfif.optics.pyramid import RANGE_CELL, Pyramid
from mattingmfif.optics.ray_kernels import add_nodes, disagreeing, left_out_error, runs_of, trace_runs, trace_tilted

Float32 = npt.NDArray[np.float32]

#: the correction is left out where it provably stays below this (linear light, for colours up to 1)
NEGLIGIBLE = 8e-4
#: what `tolerance` is where mattes vary all over the frame, as a share of the picture's scale, and at most
TOLERANCE = 2.2e-3
MOST_TOLERANCE = 0.02
#: nodes get finer neighbours where leaving out every second one errs by more than so many tolerances
LEFT_OUT = 2.0
FEWEST_RAYS, MORE_RAYS, MOST_RAYS = 128, 4, 8192
COARSEST = 4
#: below this mean light accuracy is absolute
LEAST_SCALE = 0.25
#: so far beyond what is wanted nodes are looked at, besides the blur's reach: they decide about their neighbours
NODES_BEYOND_PX = 18
_LIGHTS_AT_ONCE = 1 << 19
#: runs of nodes go on over gaps of up to so many
_GAP = 7
_EVERYWHERE = np.zeros((0, 0), bool)


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


def tolerance(mean_light: float, matte_share: float) -> float:
    """The error (linear light) up to which nodes are left to interpolation and rays are taken as enough.

    Both arguments are of the whole scene, so that every window of it is photographed alike: its mean light (brighter
    scenes are sampled alike, so that frames are linear in light; in whole stops), and the share of it in which a matte
    varies: where little of the frame interacts more error is allowed there, since the mean square over the frame is
    what is promised.
    """
    scale = 2.0 ** round(math.log2(max(2.0 * mean_light, LEAST_SCALE)))
    return scale * min(MOST_TOLERANCE, TOLERANCE / max(matte_share, 1e-3) ** 0.85)


def node_step(greatest_radii_px: Sequence[float]) -> int:
    """On every how many pixels the correction is first computed, from each layer's greatest radius; 0: nowhere."""
    out_of_focus = [r for r in greatest_radii_px if r >= INVISIBLE_RADIUS_PX]
    if len(out_of_focus) < 2:
        return 0
    least = min(out_of_focus)
    return 1 if least < 2.0 else 2 if least < 6.0 else COARSEST


def add_correction(
    image: Float32,
    layers: Sequence[Blurred],
    aperture: Aperture,
    step: int,
    varies: npt.NDArray[np.bool_],
    most_error: float,
) -> None:
    """Add to the layered `image` `[H,W,C]`, where `varies` `[H,W]`, what makes it the aperture integral.

    `layers` are nearest first; `most_error` is the scene's `tolerance`.
    """
    wanted = interaction_band(layers, step)
    if not wanted.any():
        return
    height, width, colours = image.shape
    tracer = _Tracer(layers, aperture, colours, most_error)
    nodes = np.zeros((*wanted.shape, colours), np.float32)
    tracer.fill(nodes, wanted, step)
    while step > 1:
        rough = _rough_cells(nodes, wanted, LEFT_OUT * most_error)
        if not rough.any():
            break
        shape = (-(-height * 2 // step), -(-width * 2 // step))
        finer = np.zeros((*shape, colours), np.float32)
        step //= 2
        add_nodes(finer, nodes, 2, varies if step == 1 else _EVERYWHERE, np.float32(-np.inf))
        wanted = _twice(rough, shape)
        tracer.fill(finer, wanted, step)
        nodes = finer
    add_nodes(image, nodes, step, varies, np.float32(0.0))


def interaction_band(layers: Sequence[Blurred], step: int) -> npt.NDArray[np.bool_]:
    """The nodes `[rows, columns]` where layers may interact by more than NEGLIGIBLE, with a margin of two nodes."""
    shape = layers[0].node_alpha.shape
    band = np.zeros(shape, bool)
    light = np.ones(shape, np.float32)
    in_front = np.zeros(shape, np.float32)  # the largest deviation of a nearer layer's alpha over the aperture
    for layer in layers:
        if not layer.is_sharp:
            widest, of_alpha = _ranges(layer, step, shape)
            if in_front.any():
                band |= in_front * np.minimum(0.5 * widest, 1.0) * light > NEGLIGIBLE
            if not layer.pyramid.is_opaque:
                alpha = layer.node_alpha
                deviation = np.minimum(0.5 * of_alpha, np.sqrt(np.maximum(alpha * (1.0 - alpha), 0.0)))
                np.maximum(in_front, deviation, out=in_front)
        light *= 1.0 - layer.node_alpha
    if band.any():
        band = cv2.dilate(band.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return band


def _ranges(layer: Blurred, step: int, shape: tuple[int, ...]) -> tuple[Float32, Float32]:
    """Per node, the range of the layer's values within reach of its blur, of its widest plane and of its last one."""
    low, high = layer.pyramid.extremes()
    height, width = layer.pyramid.frame_shape
    cells = (-(-height // RANGE_CELL), -(-width // RANGE_CELL))
    reach = math.ceil((layer.greatest_px + 1.0) / RANGE_CELL)
    oy, ox = layer.pyramid.y0 // RANGE_CELL, layer.pyramid.x0 // RANGE_CELL
    y0, y1 = max(0, oy - reach), min(cells[0], oy + low.shape[1] + reach)
    x0, x1 = max(0, ox - reach), min(cells[1], ox + low.shape[2] + reach)
    place = (slice(oy - y0, oy - y0 + low.shape[1]), slice(ox - x0, ox - x0 + low.shape[2]))
    box = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    widest = np.zeros(cells, np.float32)
    for c in range(low.shape[0]):
        least, most = np.zeros((y1 - y0, x1 - x0), np.float32), np.zeros((y1 - y0, x1 - x0), np.float32)
        least[place], most[place] = low[c], high[c]
        spread = cv2.dilate(most, box) - cv2.erode(least, box)
        np.maximum(widest[y0:y1, x0:x1], spread, out=widest[y0:y1, x0:x1])
    last = np.zeros(cells, np.float32)
    last[y0:y1, x0:x1] = spread
    if step == RANGE_CELL:
        return widest, last
    ys = np.minimum(np.arange(shape[0]) * step // RANGE_CELL, cells[0] - 1)
    xs = np.minimum(np.arange(shape[1]) * step // RANGE_CELL, cells[1] - 1)
    return widest[np.ix_(ys, xs)], last[np.ix_(ys, xs)]


def _rough_cells(nodes: Float32, traced: npt.NDArray[np.bool_], most: float) -> npt.NDArray[np.bool_]:
    """Nodes around which interpolation does not do: where leaving out every second node would be seen by far."""
    return cv2.dilate(left_out_error(nodes, traced, np.float32(most)), np.ones((5, 5), np.uint8)) > 0


def _twice(mask: npt.NDArray[np.bool_], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask on a grid twice as fine: every node stands for itself and its neighbours half-way."""
    fine = np.zeros(shape, np.uint8)
    rows, columns = mask[: -(-shape[0] // 2), : -(-shape[1] // 2)].shape
    fine[: 2 * rows : 2, : 2 * columns : 2] = mask[:rows, :columns]
    return cv2.dilate(fine, np.ones((3, 3), np.uint8)) > 0


class _Tracer:
    """Sends rays through the layers at chosen nodes, more of them where the first do not agree."""

    def __init__(self, layers: Sequence[Blurred], aperture: Aperture, colours: int, most_error: float) -> None:
        self.layers, self.aperture, self.colours, self.most_error = layers, aperture, colours, most_error

    def fill(self, nodes: Float32, wanted: npt.NDArray[np.bool_], step: int) -> None:
        """Set the wanted `nodes` `[rows, columns, C]` to rays taken together less means taken together."""
        rays = FEWEST_RAYS
        while wanted.any():
            error = np.zeros(wanted.shape, np.float32)
            for runs in _runs(wanted, max(64, _LIGHTS_AT_ONCE // rays)):
                self._trace(nodes, error, runs, step, rays)
            if rays >= MOST_RAYS:
                return
            rays *= MORE_RAYS
            wanted = disagreeing(error, wanted, np.float32(self.most_error))

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
            pyramid = layer.pyramid
            at, slope_x, slope_y = _at_nodes(layer, rows * step, columns * step)
            np.copyto(at, 0.0, where=np.abs(at) < INVISIBLE_RADIUS_PX)
            reduced = min(step, _reduction(float(np.median(np.abs(at))), rays))
            behind, ahead = (aperture_points(self.aperture, rays, side) for side in (1, -1))
            trace: Callable[..., None] = trace_tilted
            if _is_even(at, starts) and _is_even(slope_x, starts) and _is_even(slope_y, starts):
                trace, at, slope_x, slope_y = trace_runs, at[starts], slope_x[starts], slope_y[starts]
            trace(
                pyramid.reduced(reduced), pyramid.y0, pyramid.x0, reduced, ys, xs, runs.count, starts, step,
                at, slope_x, slope_y, behind, ahead, light, together, mean, place,
            )  # fmt: skip
            mean *= halves
            mean_all = 0.5 * (mean[0] + mean[1])
            if place > 0:
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


def _is_even(values: Float32, starts: npt.NDArray[np.int64]) -> bool:
    """True when the values of every run (which begin at `starts`) are the same within rounding."""
    spread = np.maximum.reduceat(values, starts) - np.minimum.reduceat(values, starts)
    return bool(spread.max() < 1e-4)


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
    rows, columns = np.flatnonzero(wanted.any(axis=1)), np.flatnonzero(wanted.any(axis=0))
    if not rows.size:
        return
    found = runs_of(wanted, rows, int(columns[0]), int(columns[-1]) + 1, _GAP, most)
    row, column, count = np.ascontiguousarray(found.T)
    batch = np.cumsum(count) // most
    cuts = [0, *(np.flatnonzero(np.diff(batch)) + 1), len(batch)]
    for first, end in pairwise(cuts):
        yield _Runs(row[first:end], column[first:end], count[first:end])


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
    size = np.maximum(np.hypot(slope_x, slope_y) / MOST_SLOPE, 1.0)
    return radius, (slope_x / size).astype(np.float32), (slope_y / size).astype(np.float32)
