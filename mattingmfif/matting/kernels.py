# mypy: allow-untyped-defs
"""The compiled loops of matting: they check nothing; their caller does. One thread, the GIL is released.

L is kept as 25 numbers for each unknown pixel: entry 5 (dy + 2) + dx + 2 is L between the pixel and the one at (dy, dx)
from it. Planes are padded by two pixels on each side, so that every pixel has all those neighbours. `number` is the
place of a pixel in the list of the unknown ones, -1 for known pixels and for the padding.
"""

from __future__ import annotations

import numpy as np
from numba import njit

PAD_PX, REACH = 2, 25


@njit(cache=True, nogil=True)
def cofactors(a, b, c, d, e, f):
    """Of the symmetric matrix [[a, b, c], [b, d, e], [c, e, f]], in this order; over its determinant: the inverse."""
    return d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b


@njit(cache=True, nogil=True)
def add_windows(photo, number, rows, columns, epsilon, stencils):
    """Add to `stencils` `[n,25]` the 3 x 3 windows of `photo` `[H,W,3]` around the pixels (rows, columns)."""
    apart = np.empty((9, 3))
    solved = np.empty((9, 3))
    place = np.empty(9, np.int64)
    for w in range(rows.size):
        top, left = rows[w] - 1, columns[w] - 1
        m0 = m1 = m2 = 0.0
        for i in range(9):
            y, x = top + i // 3, left + i % 3
            m0 += photo[y, x, 0]
            m1 += photo[y, x, 1]
            m2 += photo[y, x, 2]
            place[i] = number[y + PAD_PX, x + PAD_PX]
        m0, m1, m2 = m0 / 9, m1 / 9, m2 / 9
        a = d = f = epsilon
        b = c = e = 0.0
        for i in range(9):
            y, x = top + i // 3, left + i % 3
            r, g, v = photo[y, x, 0] - m0, photo[y, x, 1] - m1, photo[y, x, 2] - m2
            apart[i, 0], apart[i, 1], apart[i, 2] = r, g, v
            a += r * r
            b += r * g
            c += r * v
            d += g * g
            e += g * v
            f += v * v
        # nine times the covariance, inverted by its cofactors
        aa, bb, cc, dd, ee, ff = cofactors(a, b, c, d, e, f)
        whole = 1.0 / (a * aa + b * bb + c * cc)
        for i in range(9):
            r, g, v = apart[i, 0] * whole, apart[i, 1] * whole, apart[i, 2] * whole
            solved[i, 0] = aa * r + bb * g + cc * v
            solved[i, 1] = bb * r + dd * g + ee * v
            solved[i, 2] = cc * r + ee * g + ff * v
        for i in range(9):
            n = place[i]
            if n < 0:
                continue
            for j in range(9):
                likeness = apart[j, 0] * solved[i, 0] + apart[j, 1] * solved[i, 1] + apart[j, 2] * solved[i, 2]
                stencils[n, 5 * (j // 3 - i // 3 + 2) + j % 3 - i % 3 + 2] -= 1.0 / 9 + likeness
            stencils[n, 12] += 1.0


@njit(cache=True, nogil=True)
def apply_stencils(stencils, position, width, plane, out):
    """`out` `[n]` becomes L `plane` at the pixels at `position`; `width` is that of the (padded) plane, which is flat.

    Rows of L sum to zero: with differences to the pixel itself that holds exactly, whatever the rounding.
    """
    for n in range(position.size):
        p = position[n]
        own = plane[p]
        total = np.float32(0)
        for dy in range(5):
            q = p + (dy - 2) * width - 2
            k = 5 * dy
            total += (
                stencils[n, k] * (plane[q] - own)
                + stencils[n, k + 1] * (plane[q + 1] - own)
                + stencils[n, k + 2] * (plane[q + 2] - own)
                + stencils[n, k + 3] * (plane[q + 3] - own)
                + stencils[n, k + 4] * (plane[q + 4] - own)
            )
        # what is next to nothing spreads as numbers too small for the processor to be quick with
        out[n] = total if abs(total) > 1e-12 else np.float32(0)


@njit(cache=True, nogil=True)
def conjugate_gradients(stencils, position, width, residual, x, plane, other, steps):
    """`steps` steps from `x` `[n]` with its `residual` `[n]` towards the solution, in place; `stencils` are used up.

    Symmetric Gauss-Seidel preconditions: with L scaled to a diagonal of ones, L = I + B + B' (B below the diagonal),
    the steps are taken for (I + B)^-1 L (I + B')^-1, of which a product costs no more than one with L, because

        (I + B)^-1 L (I + B')^-1 p  =  w + (I + B)^-1 (p - w),    w = (I + B')^-1 p .

    Source: S. C. Eisenstat, "Efficient implementation of a class of preconditioned conjugate gradient methods", SIAM
    J. Sci. Stat. Comput. 1981. `plane` and `other` are flat padded planes of zeros to work in; sums are in double
    precision.
    """
    count = position.size
    tiny, nothing = np.float32(1e-20), np.float32(0)  # smaller numbers are slow, and spread
    scale = np.empty(count, np.float32)
    for n in range(count):
        scale[n] = np.float32(1) / np.sqrt(max(stencils[n, 12], np.float32(1e-6)))
        plane[position[n]] = scale[n]
    for n in range(count):
        for k in range(REACH):
            stencils[n, k] *= scale[n] * plane[position[n] + (k // 5 - 2) * width + k % 5 - 2]
    for n in range(count):
        plane[position[n]] = nothing
    rr = 0.0
    for n in range(count):
        p = position[n]
        value = _lower(stencils, n, other, p, width, scale[n] * residual[n])
        other[p] = value if abs(value) > tiny else nothing
        residual[n] = other[p]
        rr += np.float64(residual[n]) * residual[n]
    direction, product = np.zeros(count, np.float32), np.empty(count, np.float32)
    turn = nothing
    for _ in range(steps):
        for m in range(count):
            n = count - 1 - m
            p = position[n]
            direction[n] = residual[n] + turn * direction[n]
            value = _upper(stencils, n, plane, p, width, direction[n])
            plane[p] = value if abs(value) > tiny else nothing
        curvature = 0.0
        for n in range(count):
            p = position[n]
            value = _lower(stencils, n, other, p, width, direction[n] - plane[p])
            other[p] = value if abs(value) > tiny else nothing
            product[n] = plane[p] + other[p]
            curvature += np.float64(direction[n]) * product[n]
        if not curvature > 0.0 or not rr > 0.0:  # rounding has used up what the matrix can tell
            break
        step = np.float32(rr / curvature)
        previous, rr = rr, 0.0
        for n in range(count):
            x[n] += step * scale[n] * plane[position[n]]
            residual[n] -= step * product[n]
            rr += np.float64(residual[n]) * residual[n]
        turn = np.float32(rr / previous)


@njit(cache=True, nogil=True, inline="always")
def _lower(stencils, n, plane, p, width, value):
    """`value` less what the pixels before pixel p add; the nearest last, because they were computed last."""
    for dy in range(2):
        q = p + (dy - 2) * width - 2
        k = 5 * dy
        value -= (
            stencils[n, k] * plane[q]
            + stencils[n, k + 1] * plane[q + 1]
            + stencils[n, k + 2] * plane[q + 2]
            + stencils[n, k + 3] * plane[q + 3]
            + stencils[n, k + 4] * plane[q + 4]
        )
    return value - stencils[n, 10] * plane[p - 2] - stencils[n, 11] * plane[p - 1]


@njit(cache=True, nogil=True, inline="always")
def _upper(stencils, n, plane, p, width, value):
    """The same with the pixels after it."""
    for dy in range(2):
        q = p + (2 - dy) * width - 2
        k = 20 - 5 * dy
        value -= (
            stencils[n, k] * plane[q]
            + stencils[n, k + 1] * plane[q + 1]
            + stencils[n, k + 2] * plane[q + 2]
            + stencils[n, k + 3] * plane[q + 3]
            + stencils[n, k + 4] * plane[q + 4]
        )
    return value - stencils[n, 14] * plane[p + 2] - stencils[n, 13] * plane[p + 1]


@njit(cache=True, nogil=True)
def system_of(stencils, position, number, width, counts, columns, values):
    """The rows of L over the unknown pixels, as compressed rows: `counts` `[n]`, and their `columns` and `values`."""
    at = 0
    for n in range(position.size):
        start = at
        for k in range(REACH):
            other = number[position[n] + (k // 5 - 2) * width + k % 5 - 2]
            if other >= 0 and stencils[n, k] != 0.0:
                columns[at], values[at] = other, stencils[n, k]
                at += 1
        counts[n] = at - start
    return at


@njit(cache=True, nogil=True)
def fit_lines(photo, target, rows, columns, epsilon, lines):
    """In the 3 x 3 window around each cell (rows, columns): `lines` `[h,w,4]`, target = factors . photo + constant.

    Outside the picture its edge repeats. `epsilon` is added to the variances of the photo.
    """
    height, width = target.shape
    for w in range(rows.size):
        m0 = m1 = m2 = mt = 0.0
        s00 = s01 = s02 = s11 = s12 = s22 = t0 = t1 = t2 = 0.0
        y0, x0 = rows[w], columns[w]
        r0, g0, v0, o0 = photo[y0, x0, 0], photo[y0, x0, 1], photo[y0, x0, 2], target[y0, x0]
        for i in range(9):
            y = min(max(y0 + i // 3 - 1, 0), height - 1)
            x = min(max(x0 + i % 3 - 1, 0), width - 1)
            # relative to the middle, so that squares lose no digits
            r, g, v = photo[y, x, 0] - r0, photo[y, x, 1] - g0, photo[y, x, 2] - v0
            t = target[y, x] - o0
            m0 += r
            m1 += g
            m2 += v
            mt += t
            s00 += r * r
            s01 += r * g
            s02 += r * v
            s11 += g * g
            s12 += g * v
            s22 += v * v
            t0 += r * t
            t1 += g * t
            t2 += v * t
        m0, m1, m2, mt = m0 / 9, m1 / 9, m2 / 9, mt / 9
        a, b, c = s00 / 9 - m0 * m0 + epsilon, s01 / 9 - m0 * m1, s02 / 9 - m0 * m2
        d, e, f = s11 / 9 - m1 * m1 + epsilon, s12 / 9 - m1 * m2, s22 / 9 - m2 * m2 + epsilon
        t0, t1, t2 = t0 / 9 - m0 * mt, t1 / 9 - m1 * mt, t2 / 9 - m2 * mt
        aa, bb, cc, dd, ee, ff = cofactors(a, b, c, d, e, f)
        whole = 1.0 / (a * aa + b * bb + c * cc)
        p0 = (aa * t0 + bb * t1 + cc * t2) * whole
        p1 = (bb * t0 + dd * t1 + ee * t2) * whole
        p2 = (cc * t0 + ee * t1 + ff * t2) * whole
        lines[y0, x0, 0], lines[y0, x0, 1], lines[y0, x0, 2] = p0, p1, p2
        lines[y0, x0, 3] = o0 + mt - p0 * (r0 + m0) - p1 * (g0 + m1) - p2 * (v0 + m2)


@njit(cache=True, nogil=True)
def mean_lines(lines, rows, columns, means):
    """`means` `[h,w,4]` at the cells (rows, columns): of the lines of the 3 x 3 windows that hold the cell."""
    height, width = lines.shape[:2]
    for w in range(rows.size):
        y0, x0 = rows[w], columns[w]
        p0 = p1 = p2 = p3 = np.float32(0)
        for i in range(9):
            y = min(max(y0 + i // 3 - 1, 0), height - 1)
            x = min(max(x0 + i % 3 - 1, 0), width - 1)
            p0 += lines[y, x, 0]
            p1 += lines[y, x, 1]
            p2 += lines[y, x, 2]
            p3 += lines[y, x, 3]
        ninth = np.float32(1 / 9)
        means[y0, x0, 0], means[y0, x0, 1] = p0 * ninth, p1 * ninth
        means[y0, x0, 2], means[y0, x0, 3] = p2 * ninth, p3 * ninth


@njit(cache=True, nogil=True)
def follow_lines(means, photo, rows, columns, out):
    """Write into `out` `[2h,2w]`, at its pixels (rows, columns), what the lines say of the colours of `photo` there.

    Between the cells, each of 2 x 2 pixels, the lines are interpolated.
    """
    height, width = means.shape[:2]
    for n in range(rows.size):
        y, x = rows[n], columns[n]
        # a pixel's centre lies a quarter of a cell from that of its own cell, towards the next
        y0, x0 = y // 2, x // 2
        y1 = min(max(y0 + 2 * (y % 2) - 1, 0), height - 1)
        x1 = min(max(x0 + 2 * (x % 2) - 1, 0), width - 1)
        near, far = np.float32(0.75), np.float32(0.25)
        value = np.float32(0)
        for c in range(4):
            own = near * (near * means[y0, x0, c] + far * means[y0, x1, c])
            own += far * (near * means[y1, x0, c] + far * means[y1, x1, c])
            value += own * (photo[y, x, c] if c < 3 else np.float32(1))
        out[y, x] = min(max(value, np.float32(0)), np.float32(1))
