"""Sensor grain: how strong it is, and the picture without it.

Strength is the standard deviation in sRGB codes of 255. It is read where the picture is flattest, because elsewhere
texture cannot be told from noise; a JPEG encoder that has flattened those places leaves nothing to measure or to leak.
"""

from __future__ import annotations

import cv2
import numpy as np

from mattingmfif.pixels.colour import Float32

_TILE_PX = 16
_STRIP_ROWS = 16 * _TILE_PX
_FLATTEST_SHARE = 0.1
#: J. Immerkaer, "Fast noise variance estimation", CVIU 1996: blind to planes and to straight edges along the axes
_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def grain_sigma(photo_srgb: Float32) -> float:
    """The grain of a photo `[H,W,3]` (sRGB 0..1) in codes of 255; 0 where all is clipped or the photo is tiny."""
    height, width = photo_srgb.shape[0] // _TILE_PX * _TILE_PX, photo_srgb.shape[1] // _TILE_PX * _TILE_PX
    if not height or not width:
        return 0.0
    sigmas, open_tiles = [], []
    for top in range(0, height, _STRIP_ROWS):  # a strip stays in the cache
        bottom = min(top + _STRIP_ROWS, height)
        above, below = min(top, 1), min(photo_srgb.shape[0] - bottom, 1)  # the kernel reaches one row further
        green = np.ascontiguousarray(photo_srgb[top - above : bottom + below, :, 1], np.float32) * np.float32(255)
        response = np.abs(cv2.filter2D(green, cv2.CV_32F, _KERNEL, borderType=cv2.BORDER_REFLECT_101))
        clipped = ((green <= 2) | (green >= 253)).astype(np.float32)
        inside = slice(above, above + bottom - top), slice(0, width)
        cells = (width // _TILE_PX, (bottom - top) // _TILE_PX)
        sigmas.append(np.asarray(cv2.resize(response[inside], cells, interpolation=cv2.INTER_AREA)).reshape(-1))
        open_tiles.append(np.asarray(cv2.resize(clipped[inside], cells, interpolation=cv2.INTER_AREA)).reshape(-1))
    sigma = np.concatenate(sigmas) * np.sqrt(np.pi / 2)
    usable = np.sort(sigma[np.concatenate(open_tiles) < 0.01])
    if not usable.size:
        return 0.0
    return float(np.median(usable[: max(1, int(_FLATTEST_SHARE * usable.size))]))


def denoise(photo_srgb: Float32, sigma_codes: float, radius_px: int = 2) -> Float32:
    """The photo with variations of about `sigma_codes` smoothed and larger ones kept (a self-guided filter).

    Where the local variance is far above that of the grain the pixel stays, elsewhere the local mean takes its place.
    Source: K. He et al., "Guided image filtering", TPAMI 2013, section 3.2, guide = input.
    """
    if sigma_codes <= 0:
        return photo_srgb
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    noise = np.float32((2.0 * sigma_codes / 255) ** 2)
    mean = cv2.blur(photo_srgb, size, borderType=cv2.BORDER_REFLECT_101)
    variance = cv2.blur(cv2.multiply(photo_srgb, photo_srgb), size, borderType=cv2.BORDER_REFLECT_101) - mean * mean
    np.maximum(variance, np.float32(0), out=variance)
    keep = variance / (variance + noise)
    keep = cv2.blur(keep, size, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(mean + (photo_srgb - mean) * keep, np.float32)
