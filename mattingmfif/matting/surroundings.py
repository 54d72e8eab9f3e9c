"""What surely is one thing, continued to where it is not: its colour, and how much that varies.

Such continuations are smooth, so they are made at a reduced size and sampled at the pixels that need them.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.fill import push_pull

#: opacity up to which a pixel is surely background (and from 1 minus which on surely subject)
SURE = np.float32(0.02)
#: sigma, in reduced pixels, of the neighbourhood over which variation is measured
_NEIGHBOURHOOD_PX = 8.0
_REMAP_ROW = 8192

Points = tuple[Float32, Float32]


def reduced(plane: Float32, scale: int) -> Float32:
    """`plane` `[H,W]` or `[H,W,C]` averaged over `scale` x `scale` pixels (about: the size is rounded down)."""
    plane = np.ascontiguousarray(plane, np.float32)
    if scale == 1:
        return plane
    height, width = plane.shape[:2]
    size = (max(1, width // scale), max(1, height // scale))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def continued(light: Float32, sure: npt.NDArray[np.bool_]) -> tuple[Float32, Float32]:
    """(colour `[H,W,3]`, variance `[H,W]` summed over channels) of `light` where `sure`, continued everywhere else."""
    weight = sure.astype(np.float32)

    def smooth(plane: Float32) -> Float32:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), _NEIGHBOURHOOD_PX), np.float32)

    share = np.maximum(smooth(weight), np.float32(1e-4))
    mean = smooth(light * weight[..., None]) / share[..., None]
    square = smooth(np.einsum("ijc,ijc->ij", light, light) * weight) / share
    variance = np.maximum(square - np.einsum("ijc,ijc->ij", mean, mean), np.float32(0))
    return push_pull(light, weight), push_pull(variance, weight)


def points_of(
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, ...], small: tuple[int, ...]
) -> Points:
    """Where pixels of a picture of `shape` lie in one reduced to `small`, as `sampled` wants it."""
    y = (rows.astype(np.float32) + np.float32(0.5)) * np.float32(small[0] / shape[0]) - np.float32(0.5)
    x = (columns.astype(np.float32) + np.float32(0.5)) * np.float32(small[1] / shape[1]) - np.float32(0.5)
    return y, x


def sampled(plane: Float32, points: Points) -> Float32:
    """`plane` `[h,w]` or `[h,w,3]` at `points`, bilinear: `[n]` or `[n,3]`."""
    y, x = points
    count = y.size
    if not count:  # OpenCV crashes on empty maps
        return np.zeros((0, *plane.shape[2:]), np.float32)
    rows = -(-count // _REMAP_ROW)
    fill = ((0, rows * _REMAP_ROW - count),)
    map_x, map_y = (np.pad(part, fill).reshape(rows, _REMAP_ROW) for part in (x, y))
    found = cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(rows * _REMAP_ROW, *plane.shape[2:])[:count], np.float32)
