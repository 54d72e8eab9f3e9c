# mypy: allow-untyped-defs
"""The compiled loops of encoding and filling: they check nothing; their callers do. One thread, the GIL is released."""

from __future__ import annotations

import numpy as np
from numba import njit

#: low bits of a float32 that a cell of `codes_of_light` leaves open: cells are at most 0.8 % wide, 8-bit codes 0.9 %
CELL_SHIFT = 15


@njit(cache=True, nogil=True)
def codes_of_light(bits, lowest, base, threshold, codes):
    """Look up the code of every float32 of a flat run, given as its `bits` (int32), in cells of equal leading bits.

    Cell k is bits >> CELL_SHIFT == lowest + k: its numbers have the code `base[k]`, and from the bits `threshold[k]` on
    the next one. What lies below the first cell has its base, what lies above the last cell that one's and one more.
    Negative numbers have negative bits. False where a NaN is.
    """
    most = base.shape[0] - 1
    sound = True
    for i in range(bits.shape[0]):
        b = bits[i]
        k = min(max((b >> CELL_SHIFT) - lowest, 0), most)
        codes[i] = base[k] + (b >= threshold[k])
        sound &= (b & 0x7FFFFFFF) <= 0x7F800000
    return sound


@njit(cache=True, nogil=True)
def pull(values, weight, small, small_weight):
    """Weighted means of `values` `[H,W,C]` over cells of 2 x 2 into `small` `[h,w,C]`, and their summed weights.

    A sum counts as 1 at most. Values of weight 0 are not looked at.
    """
    height, width, colours = values.shape
    nothing = np.float32(0)
    for y in range(small.shape[0]):
        above, below = 2 * y, min(2 * y + 1, height - 1)
        odd_row = 2 * y + 1 == height
        for x in range(small.shape[1]):
            left, right = 2 * x, min(2 * x + 1, width - 1)
            odd = 2 * x + 1 == width
            a = weight[above, left]
            b = nothing if odd else weight[above, right]
            c = nothing if odd_row else weight[below, left]
            d = nothing if odd or odd_row else weight[below, right]
            total = a + b + c + d
            per = np.float32(1) / max(total, np.float32(1e-12))
            for k in range(colours):
                light = a * values[above, left, k] if a > 0 else nothing
                light += b * values[above, right, k] if b > 0 else nothing
                light += c * values[below, left, k] if c > 0 else nothing
                light += d * values[below, right, k] if d > 0 else nothing
                small[y, x, k] = light * per
            small_weight[y, x] = min(total, np.float32(1))


@njit(cache=True, nogil=True)
def push(values, weight, small, out):
    """Into `out` `[H,W,C]`: `values` by their weight, the rest from `small` `[h,w,C]`, interpolated between cells."""
    height, width, colours = values.shape
    rows, columns = small.shape[:2]
    near, far = np.float32(0.75), np.float32(0.25)
    line = np.empty((columns, colours), np.float32)
    for y in range(height):
        y0 = y // 2
        y1 = min(max(y0 + 2 * (y % 2) - 1, 0), rows - 1)
        for x in range(columns):
            for c in range(colours):
                line[x, c] = near * small[y0, x, c] + far * small[y1, x, c]
        for x in range(width):
            w = weight[y, x]
            if w >= 1:
                for c in range(colours):
                    out[y, x, c] = values[y, x, c]
                continue
            x0 = x // 2
            x1 = min(max(x0 + 2 * (x % 2) - 1, 0), columns - 1)
            for c in range(colours):
                rest = near * line[x0, c] + far * line[x1, c]
                out[y, x, c] = rest + (values[y, x, c] - rest) * w if w > 0 else rest
