# mypy: allow-untyped-defs
"""The compiled loop that encodes light: it checks nothing; its caller does. One thread, the GIL is released."""

from __future__ import annotations

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
