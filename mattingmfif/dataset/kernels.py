# mypy: allow-untyped-defs
"""The compiled loops of reading: they check nothing; their caller does. One thread, the GIL is released.

Sums of unsigned integers of one type, which wrap around (numpy's own running sum takes six times as long).
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def sum_up_colour(difference, left, result):
    """Running sums along the rows of `difference` `[rows, px, 3]`, from column `left` on, into `result`.

    Two rows at a time, so that one sum need not wait for another.
    """
    rows, width = difference.shape[:2]
    kept = result.dtype.type
    for y in range(0, rows - 1, 2):
        a = b = c = d = e = f = np.uint32(0)
        first, second = difference[y], difference[y + 1]
        for x in range(left):
            a += first[x, 0]
            b += first[x, 1]
            c += first[x, 2]
            d += second[x, 0]
            e += second[x, 1]
            f += second[x, 2]
        over, under = result[y], result[y + 1]
        rest, more = first[left:], second[left:]
        for x in range(width - left):
            a += rest[x, 0]
            b += rest[x, 1]
            c += rest[x, 2]
            d += more[x, 0]
            e += more[x, 1]
            f += more[x, 2]
            over[x, 0] = kept(a)
            over[x, 1] = kept(b)
            over[x, 2] = kept(c)
            under[x, 0] = kept(d)
            under[x, 1] = kept(e)
            under[x, 2] = kept(f)
    for y in range(rows - rows % 2, rows):
        a = b = c = np.uint32(0)
        for x in range(width):
            a += difference[y, x, 0]
            b += difference[y, x, 1]
            c += difference[y, x, 2]
            if x >= left:
                result[y, x - left, 0] = kept(a)
                result[y, x - left, 1] = kept(b)
                result[y, x - left, 2] = kept(c)


@njit(cache=True, nogil=True)
def sum_up_grey(difference, left, result):
    """The same for `[rows, px]`."""
    rows, width = difference.shape
    kept = result.dtype.type
    for y in range(rows):
        total = np.uint32(0)
        row, out = difference[y], result[y]
        for x in range(left):
            total += row[x]
        rest = row[left:]
        for x in range(width - left):
            total += rest[x]
            out[x] = kept(total)
