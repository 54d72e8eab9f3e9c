"""Push-pull filling: unknown pixels take a smooth blend of the known ones around them, near ones first.

Pull: weighted sums over 2 x 2 pixels, level by level, until one pixel is left. Push: back up, each level keeps what it
knows and takes the rest from the coarser level. Linear in the number of pixels; nothing is sampled from outside.
"""

from __future__ import annotations

import cv2
import numpy as np

from mattingmfif.pixels.colour import Float32

#: summed weight from which a coarser pixel counts as fully known
_FULL = np.float32(1.0)


def push_pull(image: Float32, weight: Float32) -> Float32:
    """`image` `[H,W]` or `[H,W,C]` where `weight` `[H,W]` (0..1) is 1, filled smoothly where it is 0.

    In between, the pixel's own value counts with its weight. Values of pixels of weight 0 are never looked at (they may
    be NaN). Where every weight is 0, the result is 0.
    """
    planes = image[..., None] if image.ndim == 2 else image
    w = np.clip(np.asarray(weight, np.float32), 0.0, 1.0)
    values = np.asarray(planes, np.float32)
    unseen = w <= 0
    if unseen.any():
        values = values.copy()
        values[unseen] = 0.0
    filled = _fill(values, w)
    return filled[..., 0] if image.ndim == 2 else filled


def _fill(values: Float32, w: Float32) -> Float32:
    """Filled `values` `[H,W,C]` given weights `w` in 0..1 (values of weight 0 must be finite)."""
    height, width = w.shape
    if height == 1 and width == 1:
        return values
    missing = w < 1
    if not missing.any():
        return values
    small_w = _halve(w)
    small = _halve(cv2.multiply(values, cv2.merge([w] * values.shape[2])).reshape(values.shape))
    small /= np.maximum(small_w, np.float32(1e-12))[..., None]
    coarse = _fill(small, np.minimum(small_w, _FULL))
    up = cv2.resize(coarse, (2 * coarse.shape[1], 2 * coarse.shape[0]), interpolation=cv2.INTER_LINEAR)
    up = up.reshape(2 * coarse.shape[0], 2 * coarse.shape[1], -1)[:height, :width]
    up = np.ascontiguousarray(up)
    out = cv2.multiply(cv2.subtract(values, up), cv2.merge([w] * values.shape[2])).reshape(values.shape)
    out += up
    np.copyto(out, values, where=~missing[..., None])  # bit for bit
    return out


def _halve(plane: Float32) -> Float32:
    """Sums over 2 x 2 pixels; an odd last row or column is summed with nothing."""
    height, width = plane.shape[:2]
    if height % 2 or width % 2:
        pad = ((0, height % 2), (0, width % 2)) + ((0, 0),) * (plane.ndim - 2)
        plane = np.pad(plane, pad)
    size = (plane.shape[1] // 2, plane.shape[0] // 2)
    halved = cv2.resize(plane, size, interpolation=cv2.INTER_AREA) * np.float32(4)
    return np.asarray(halved.reshape(size[1], size[0], *plane.shape[2:]), np.float32)
