"""What surely is one thing, continued to where it is not: its colour, and how much that varies.

Such continuations are smooth, so they are made at a reduced size and sampled at the pixels that need them. A picture
reduced by s falls into cells of s x s pixels; a rectangle that begins at a multiple of s has the same cells by itself.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.matting.windows import Window
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.fill import push_pull

#: opacity up to which a pixel is surely background (and from 1 minus which on surely subject)
SURE = np.float32(0.02)
#: side of the cells in which variation is measured, in reduced pixels, and sigma of its neighbourhood in such cells
VARIATION_CELL_PX = 4
_NEIGHBOURHOOD_CELLS = 1.4


def reduced(plane: Float32, scale: int) -> Float32:
    """`plane` `[H,W]` or `[H,W,C]` averaged over cells of `scale` x `scale` pixels; the edge fills those at the end."""
    plane = np.asarray(plane, np.float32)
    if scale == 1 or not plane.size:
        return np.ascontiguousarray(plane)
    height, width = plane.shape[:2]
    size = (-(-width // scale), -(-height // scale))
    below, beside = size[1] * scale - height, size[0] * scale - width
    if below or beside:
        plane = cv2.copyMakeBorder(plane, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(size[1], size[0], *plane.shape[2:])


def cells_of(window: Window, scale: int) -> Window:
    """The cells of a rectangle of pixels that begins at multiples of `scale`."""
    rows, columns = (slice(side.start // scale, -(-side.stop // scale)) for side in window)
    return rows, columns


def continued(light: Float32, sure: npt.NDArray[np.bool_]) -> Float32:
    """The colour `[H,W,3]` of `light` where `sure`, continued everywhere else."""
    return push_pull(light, sure.astype(np.float32))


def variation(light: Float32, sure: npt.NDArray[np.bool_]) -> Float32:
    """How much `light` `[H,W,3]` varies where `sure`, continued: variance summed over channels.

    In cells of `VARIATION_CELL_PX`.
    """
    weight = sure.astype(np.float32)

    def smooth(plane: Float32) -> Float32:
        small = reduced(plane, VARIATION_CELL_PX)
        return np.asarray(cv2.GaussianBlur(small, (0, 0), _NEIGHBOURHOOD_CELLS), np.float32)

    masked = cv2.multiply(light, cv2.merge([weight] * 3)).reshape(light.shape)
    per = np.float32(1) / np.maximum(smooth(weight), np.float32(1e-4))
    mean = smooth(masked) * per[..., None]
    square = smooth(np.einsum("ijc,ijc->ij", masked, masked)) * per
    variance = np.maximum(square - np.einsum("ijc,ijc->ij", mean, mean), np.float32(0))
    return push_pull(variance, (reduced(weight, VARIATION_CELL_PX) > 0).astype(np.float32))


def spread_cells(
    cells: Float32, scale: int, wanted: npt.NDArray[np.uint8], out: Float32, corner: tuple[int, int] = (0, 0)
) -> None:
    """Write `cells` `[h,w,3]` of a rectangle into `out` `[H,W,3]`, bilinear, where `wanted` `[H',W']` is not 0.

    The rectangle has the size of `wanted` and begins at `corner` of `out`, at multiples of `scale`.
    """
    from mattingmfif.matting.colour_kernels import places_of, spread

    width = wanted.shape[1]
    first, second, share = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(width, np.float32)
    places_of(width, scale, cells.shape[1], first, second, share)
    spread(np.ascontiguousarray(cells), scale, np.ascontiguousarray(wanted), out, *corner, first, second, share)
