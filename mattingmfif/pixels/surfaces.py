"""Maps of surfaces at another size: smooth inside a surface, never mixed across the edge between two.

A mean of a near and a far value is a surface that floats in mid-air between them; so nothing here makes one.
"""

from __future__ import annotations

from typing import Any

import cv2
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
    values = np.where(known, values, np.float32(0))
    # not of the largest: one wild value must not make all others one surface
    step = EDGE_SHARE * float(np.percentile(np.abs(values[known]), 95)) if known.any() else 0.0
    out = np.array(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    out_known = np.ones((height, width), bool)
    rows, row_share = _positions(values.shape[0], height)
    columns, column_share = _positions(values.shape[1], width)
    four = _corners(values)
    apart = (four.max(axis=0) - four.min(axis=0) > step) | ~_corners(known).all(axis=0)
    y, x = np.nonzero(apart[np.ix_(rows, columns)])
    for start in range(0, y.size, 1 << 20):
        here = (y[start : start + (1 << 20)], x[start : start + (1 << 20)])
        out[here], out_known[here] = _without_mixing(
            values, known, (rows[here[0]], columns[here[1]]), (row_share[here[0]], column_share[here[1]]), step
        )
    return out, out_known


def _positions(count: int, wanted: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """For each wanted pixel the source pixel before it, and how far it is on the way to the next one, 0..1."""
    at = np.clip((np.arange(wanted) + 0.5) * count / wanted - 0.5, 0, count - 1)
    before = np.minimum(np.floor(at), max(count - 2, 0)).astype(np.intp)
    return before, at - before


def _corners(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`[4,h,w]`: each value, the one on its right, the one below it, and the one on the right of that."""
    padded = np.pad(plane, ((0, 1), (0, 1)), mode="edge")
    return np.stack([padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]])


def _without_mixing(
    values: Float32,
    known: Mask,
    before: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    share: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    step: float,
) -> tuple[Float32, Mask]:
    """(values, known) `[n]` of pixels between surfaces: weighted means of those of the four that are on their side."""
    corners, there, weights = [], [], []
    for down in (0, 1):
        for right in (0, 1):
            row = np.minimum(before[0] + down, values.shape[0] - 1)
            column = np.minimum(before[1] + right, values.shape[1] - 1)
            corners.append(values[row, column])
            there.append(known[row, column])
            weights.append(np.abs(1 - down - share[0]) * np.abs(1 - right - share[1]))
    corner, present, weight = np.stack(corners), np.stack(there), np.stack(weights)
    nearest_known = np.take_along_axis(present, weight.argmax(axis=0)[None], axis=0)[0]
    weight = weight * present
    total = weight.sum(axis=0)
    mean = (corner * weight).sum(axis=0) / np.where(total > 0, total, 1.0)
    high = np.where(present, corner, -np.inf).max(axis=0)
    low = np.where(present, corner, np.inf).min(axis=0)
    apart = high - low > step  # minus infinity where nothing is known
    middle = 0.5 * (np.where(apart, high, 0.0) + np.where(apart, low, 0.0))
    side = weight * ((corner > middle) == (mean > middle))
    side_total = side.sum(axis=0)
    own = (corner * side).sum(axis=0) / np.where(side_total > 0, side_total, 1.0)
    return np.asarray(np.where(apart & (side_total > 0), own, mean), np.float32), nearest_known
