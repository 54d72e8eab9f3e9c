"""Maps of surfaces at another size: smooth inside a surface, never mixed across the edge between two.

A mean of a near and a far value is a surface that floats in mid-air between them; so nothing here makes one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: neighbours that differ by more than this share of what most values stay below belong to two surfaces
EDGE_SHARE = 0.02


def sampled_at(values: npt.NDArray[np.generic], height: int, width: int) -> npt.NDArray[np.generic]:
    """Single values of `[H,W]` at the middles of `height` x `width` pixels: for masks, and for reducing."""
    rows = (np.arange(height) * values.shape[0] + values.shape[0] // 2) // height
    columns = (np.arange(width) * values.shape[1] + values.shape[1] // 2) // width
    return values[np.ix_(rows, columns)]


def enlarged_surfaces(values: Float32, known: Mask, height: int, width: int) -> tuple[Float32, Mask]:
    """`values` `[h,w]` (finite where `known`) at (height, width), and where they are known.

    Bilinear where the four values around a pixel belong to one surface. Where they do not, the outline runs where
    bilinear values pass the middle between the greatest and the least, and each side is made of its own values alone.
    A pixel is known where the nearest value is.
    """
    rows, row_share = _positions(values.shape[0], height)
    columns, column_share = _positions(values.shape[1], width)
    # not of the largest: one wild value must not make all others one surface
    most = float(np.percentile(np.abs(values[known]), 95)) if known.any() else 0.0
    out = np.empty((height, width), np.float32)
    out_known = np.empty((height, width), bool)
    for start in range(0, height, 256):  # by bands of rows: eight planes of the whole size would not be small
        part = slice(start, start + 256)
        corners, weights, known_corners = [], [], []
        for down in (0, 1):
            for right in (0, 1):
                at = np.ix_(
                    np.minimum(rows[part] + down, values.shape[0] - 1), np.minimum(columns + right, values.shape[1] - 1)
                )
                share = np.abs(1 - down - row_share[part])[:, None] * np.abs(1 - right - column_share)[None]
                corners.append(values[at])
                known_corners.append(known[at])
                weights.append(np.asarray(share, np.float32))
        corner, weight, there = np.stack(corners), np.stack(weights), np.stack(known_corners)
        out_known[part] = np.take_along_axis(there, weight.argmax(axis=0)[None], axis=0)[0]
        out[part] = _without_mixing(corner, weight * there, there, EDGE_SHARE * most)
    return out, out_known


def _positions(count: int, wanted: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """For each wanted pixel the source pixel before it, and how far it is on the way to the next one, 0..1."""
    at = np.clip((np.arange(wanted) + 0.5) * count / wanted - 0.5, 0, count - 1)
    before = np.minimum(np.floor(at), max(count - 2, 0)).astype(np.intp)
    return before, at - before


def _without_mixing(corner: Float32, weight: Float32, there: Mask, step: float) -> Float32:
    """Weighted means `[H,W]` of four values `[4,H,W]` of which only those of the pixel's own side count."""
    high = np.where(there, corner, -np.inf).max(axis=0)
    low = np.where(there, corner, np.inf).min(axis=0)
    total = weight.sum(axis=0)
    some = total > 1e-6
    counted = np.where(there, corner, 0.0)
    mean = (counted * weight).sum(axis=0) / np.where(some, total, 1.0)
    with np.errstate(invalid="ignore"):  # nothing known: inf - inf
        edge = some & (high - low > step)
        middle = 0.5 * (high + low)
        own = (counted > middle) == (mean > middle)
    side = weight * own
    side_total = side.sum(axis=0)
    one_side = (counted * side).sum(axis=0) / np.where(side_total > 0, side_total, 1.0)
    return np.asarray(np.where(edge & (side_total > 0), one_side, mean), np.float32)
