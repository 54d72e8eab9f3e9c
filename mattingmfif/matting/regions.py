"""Regions of a photograph whose outline lies on edges, found without any learned weights.

The picture falls into small basins of its gradient; neighbouring basins are merged, the least different first, until
one is left. Every region that arises on the way is a proposal; what ranks it is how much of its outline is a real edge.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mattingmfif.matting.contours import (
    EDGE_CONTRAST,
    border_shares,
    pair_contrast,
    side_separation,
    surroundings_of,
)
from mattingmfif.matting.windows import window_of
from mattingmfif.pixels.colour import Float32

Mask = npt.NDArray[np.bool_]

_CELL_PX = 8
_MAX_LOOKED_AT = 40
_ALIKE = 0.85


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """A proposed subject: `mask` `[h,w]`, its scores as in `contours`, and its rank among the proposals."""

    mask: Mask
    contour: float
    separation: float
    rank: float


@dataclass(slots=True)
class _Border:
    """What two neighbouring regions share: pixel borders in all, strong ones, and their summed contrast."""

    length: float
    strong: float
    contrast: float


def propose_regions(
    lab: Float32, min_area_share: float, max_area_share: float, min_contour: float, min_separation: float
) -> list[Region]:
    """Proposed regions, best first, of a picture in L*a*b* `[h,w,3]` (about 512 px); none where no outline is true."""
    basins = _basins(lab)
    total = basins.size
    nodes = [
        node
        for node in _merge(lab, basins)
        if min_area_share <= node.area / total <= max_area_share and node.strong >= min_contour * max(node.length, 1.0)
    ]
    nodes.sort(key=lambda node: -node.strong / node.length)
    around = surroundings_of(lab)
    regions = []
    for node in _distinct(nodes)[:_MAX_LOOKED_AT]:
        member = np.zeros(int(basins.max()) + 1, bool)
        member[node.leaves] = True
        mask = _without_holes(member[basins])
        part = window_of(mask, 16)
        separation = side_separation(mask[part], lab[part], around[part])
        if separation >= min_separation and mask.mean() <= max_area_share:
            contour = node.strong / node.length
            rank = _rank(mask, contour * separation)
            regions.append(Region(mask=mask, contour=contour, separation=separation, rank=rank))
    regions.sort(key=lambda region: -region.rank)
    return regions


def _distinct(nodes: list[_Node]) -> list[_Node]:
    """The nodes without those that nearly repeat an earlier one (regions of a merge tree are nested or disjoint)."""
    kept: list[tuple[_Node, frozenset[int]]] = []
    for node in nodes:
        leaves = frozenset(node.leaves)
        if not any(
            min(node.area, other.area) > _ALIKE * max(node.area, other.area)
            and (node.leaves[0] in other_leaves or other.leaves[0] in leaves)
            for other, other_leaves in kept
        ):
            kept.append((node, leaves))
    return [node for node, _ in kept]


def _rank(mask: Mask, outline_score: float) -> float:
    """Outline first; then compact, not cut off by the picture's borders, and rather central."""
    top, bottom, left, right = border_shares(mask)
    touched = top + 0.3 * bottom + 0.6 * (left + right)
    outline = float(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).sum()) / 2
    area = float(mask.sum())
    compact = min(1.0, 4 * np.pi * area / max(outline, 1.0) ** 2 * 2)
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    off_centre = np.hypot(rows.mean() / height - 0.55, columns.mean() / width - 0.5)
    size = min(1.0, area / mask.size / 0.1)
    return float(outline_score + 0.25 * compact + 0.4 * size - 0.8 * touched - 0.3 * off_centre)


def _without_holes(mask: Mask) -> Mask:
    """The mask with small enclosed holes (under a tenth of its area) filled."""
    holes, count = ndimage.label(~mask)
    if count <= 1:
        return mask
    sizes = np.bincount(holes.ravel())
    sizes[0] = 0
    outside = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    small = sizes < 0.1 * mask.sum()
    small[outside] = False
    small[0] = False
    return mask | small[holes]


def _basins(lab: Float32) -> npt.NDArray[np.int32]:
    """Small basins of the gradient, numbered from 0: one for the flattest pixel of each cell."""
    dx = cv2.Sobel(lab, cv2.CV_32F, 1, 0, ksize=3)
    dy = cv2.Sobel(lab, cv2.CV_32F, 0, 1, ksize=3)
    gradient = np.sqrt((dx * dx + dy * dy).sum(axis=-1))
    height, width = gradient.shape
    markers = np.zeros((height, width), np.int32)
    number = 0
    for y in range(0, height, _CELL_PX):
        for x in range(0, width, _CELL_PX):
            cell = gradient[y : y + _CELL_PX, x : x + _CELL_PX]
            row, column = np.unravel_index(int(cell.argmin()), cell.shape)
            number += 1
            markers[y + row, x + column] = number
    codes = np.clip(gradient * (255 / max(float(np.percentile(gradient, 99.5)), 1e-6)), 0, 255).astype(np.uint8)
    found: npt.NDArray[np.int32] = ndimage.watershed_ift(codes, markers)
    return found - 1


@dataclass(slots=True)
class _Node:
    leaves: list[int]
    area: float
    colour_sum: tuple[float, float, float]  # plain numbers: hundreds of thousands of pairs are looked at
    length: float = 0.0
    strong: float = 0.0


def _merge(lab: Float32, basins: npt.NDArray[np.int32]) -> list[_Node]:
    """All regions that arise when the least different neighbours merge, one pair after another."""
    count = int(basins.max()) + 1
    area = np.bincount(basins.ravel(), minlength=count).astype(np.float64).tolist()
    sums = [np.bincount(basins.ravel(), lab[..., c].ravel(), count).tolist() for c in range(3)]
    nodes = [_Node(leaves=[i], area=area[i], colour_sum=(sums[0][i], sums[1][i], sums[2][i])) for i in range(count)]
    alive = dict(enumerate(_borders(lab, basins)))
    # a pair belongs to its younger region; of every region only its least different pair stands in the queue
    pairs = [
        [(_difference(nodes[i], nodes[j], border), i) for i, border in neighbours.items() if i < j]
        for j, neighbours in alive.items()
    ]
    queue: list[tuple[float, int, int]] = []

    def enqueue(owner: int) -> None:
        mine = pairs[owner]
        while mine and mine[0][1] not in alive:
            heapq.heappop(mine)
        if mine:
            heapq.heappush(queue, (*mine[0], owner))

    for owner, mine in enumerate(pairs):
        heapq.heapify(mine)
        enqueue(owner)
    finished: list[_Node] = []
    while queue:
        _, i, j = heapq.heappop(queue)
        if j not in alive:
            continue
        if i not in alive:
            enqueue(j)
            continue
        a, b = alive.pop(i), alive.pop(j)
        new = len(nodes)
        node = _Node(
            leaves=nodes[i].leaves + nodes[j].leaves,
            area=nodes[i].area + nodes[j].area,
            colour_sum=_added(nodes[i].colour_sum, nodes[j].colour_sum),
        )
        del a[j], b[i]
        joined = a
        for k, border in b.items():
            if k in joined:
                first = joined[k]
                border = _Border(
                    first.length + border.length, first.strong + border.strong, first.contrast + border.contrast
                )
            joined[k] = border
        nodes.append(node)
        alive[new] = joined
        mine = []
        for k, border in joined.items():
            other = alive[k]
            other.pop(i, None)
            other.pop(j, None)
            other[new] = border
            node.length += border.length
            node.strong += border.strong
            mine.append((_difference(nodes[k], node, border), k))
        heapq.heapify(mine)
        pairs.append(mine)
        pairs[i] = pairs[j] = []
        enqueue(new)
        finished.append(node)
    return finished


def _added(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _difference(a: _Node, b: _Node, border: _Border) -> float:
    """How unlike two neighbours are: contrast across their border and of their mean colours; small regions give way."""
    p, q, m, n = a.colour_sum, b.colour_sum, a.area, b.area
    red, green, blue = p[0] / m - q[0] / n, p[1] / m - q[1] / n, p[2] / m - q[2] / n
    colours = math.sqrt(red * red + green * green + blue * blue)
    return (border.contrast / border.length + 0.5 * colours) * (m if m < n else n) ** 0.2


def _borders(lab: Float32, basins: npt.NDArray[np.int32]) -> list[dict[int, _Border]]:
    across_x, across_y = pair_contrast(lab)
    first = np.concatenate([basins[:, :-1].ravel(), basins[:-1].ravel()])
    second = np.concatenate([basins[:, 1:].ravel(), basins[1:].ravel()])
    contrast = np.concatenate([across_x.ravel(), across_y.ravel()])
    apart = first != second
    low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
    contrast = contrast[apart]
    count = int(basins.max()) + 1
    pairs, inverse = np.unique(low.astype(np.int64) * count + high, return_inverse=True)
    length = np.bincount(inverse).astype(np.float64)
    strong = np.bincount(inverse, contrast > EDGE_CONTRAST)
    summed = np.bincount(inverse, contrast)
    borders: list[dict[int, _Border]] = [{} for _ in range(count)]
    for pair, n, s, c in zip(pairs.tolist(), length.tolist(), strong.tolist(), summed.tolist(), strict=True):
        i, j = divmod(pair, count)
        borders[i][j] = borders[j][i] = _Border(n, s, c)
    return borders
