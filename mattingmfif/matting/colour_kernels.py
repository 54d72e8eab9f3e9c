# mypy: allow-untyped-defs
"""The compiled loops of colours: they check nothing; their caller does. One thread, the GIL is released.

Planes are whole and row-major; a rectangle of them is given by its corners y0, x0, y1, x1. `cells` are what `reduced`
made of a rectangle that begins at a multiple of `scale`: cells of `scale` x `scale` pixels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_NO, _YES = np.float32(0), np.float32(1)


@njit(cache=True, nogil=True, inline="always")
def place_of(pixel, scale, count):
    """(cell, next cell, weight of the next) where a pixel lies between the centres of `count` cells."""
    at = (np.float32(pixel) + np.float32(0.5)) / np.float32(scale) - np.float32(0.5)
    at = min(max(at, np.float32(0)), np.float32(count - 1))
    first = np.int64(at)
    return first, min(first + 1, count - 1), at - np.float32(first)


@njit(cache=True, nogil=True)
def places_of(pixels, scale, count, first, second, share):
    """`place_of` for pixels 0, 1, ... `pixels` - 1."""
    for pixel in range(pixels):
        first[pixel], second[pixel], share[pixel] = place_of(pixel, scale, count)


@njit(cache=True, nogil=True)
def spread(cells, scale, wanted, out, y0, x0, first, second, share):
    """Write `cells` `[h,w,3]`, bilinear, into `out` `[H,W,3]` from (y0, x0) on, where `wanted` `[H',W']` is not 0.

    `first`, `second`, `share` are the columns' places.
    """
    for y in range(wanted.shape[0]):
        above, below, low = place_of(y, scale, cells.shape[0])
        high = _YES - low
        for x in range(wanted.shape[1]):
            if wanted[y, x] == 0:
                continue
            left, right = first[x], second[x]
            a, b = high * (_YES - share[x]), high * share[x]
            c, d = low * (_YES - share[x]), low * share[x]
            for k in range(3):
                out[y0 + y, x0 + x, k] = (
                    a * cells[above, left, k]
                    + b * cells[above, right, k]
                    + c * cells[below, left, k]
                    + d * cells[below, right, k]
                )


@njit(cache=True, nogil=True)
def take_where_solid(fraction, photo, out, y0, x0, y1, x1):
    """Copy `photo` `[H,W,3]` into `out` in the rectangle where `fraction` `[H,W]` is 1."""
    for y in range(y0, y1):
        for x in range(x0, x1):
            if fraction[y, x] >= _YES:
                out[y, x, 0], out[y, x, 1], out[y, x, 2] = photo[y, x, 0], photo[y, x, 1], photo[y, x, 2]


@njit(cache=True, nogil=True, inline="always")
def encoded(light):
    """The sRGB value of linear light (IEC 61966-2-1)."""
    if light <= np.float32(0.0031308):
        return light * np.float32(12.92)
    return np.float32(1.055) * light ** np.float32(1 / 2.4) - np.float32(0.055)


@njit(cache=True, nogil=True, inline="always")
def decoded(code):
    """The linear light of an sRGB value 0..1."""
    if code <= np.float32(0.04045):
        return code / np.float32(12.92)
    return ((code + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)


@njit(cache=True, nogil=True)
def shares_of_light(photo, fraction, corners, cells, coarse, scale, step, constants):
    """Turn `fraction` `[H,W]`, where between 0 and 1 in a rectangle, from codes to light, in place (see `light`).

    `cells` `[2,h,w,3]` are the colours of subject and background, `coarse` `[2,h',w']` their variances in cells `step`
    times as large, `constants` what a variance counts, relative and least uncertainty, squared error of alpha, nothing.
    """
    y0, x0, y1, x1 = corners
    counts, relative, least, sigma2, nothing = constants
    front, back = np.empty(3, np.float32), np.empty(3, np.float32)
    for y in range(y0, y1):
        above, below, low = place_of(y - y0, scale, cells.shape[1])
        over, under, deep = place_of(y - y0, scale * step, coarse.shape[1])
        for x in range(x0, x1):
            a = fraction[y, x]
            if not (a > _NO and a < _YES):
                continue
            left, right, share = place_of(x - x0, scale, cells.shape[2])
            p, q = (_YES - low) * (_YES - share), (_YES - low) * share
            r, s = low * (_YES - share), low * share
            square = seen = stands = light = _NO
            for k in range(3):
                f = p * cells[0, above, left, k] + q * cells[0, above, right, k]
                f += r * cells[0, below, left, k] + s * cells[0, below, right, k]
                b = p * cells[1, above, left, k] + q * cells[1, above, right, k]
                b += r * cells[1, below, left, k] + s * cells[1, below, right, k]
                apart = f - b
                square += apart * apart
                seen += (photo[y, x, k] - b) * apart
                light += f + b
                front[k], back[k] = f, b
            own = a
            if square > np.float32(1e-6):
                for k in range(3):
                    code = encoded(back[k])
                    mixed = code + a * (encoded(front[k]) - code)
                    stands += (decoded(min(max(mixed, _NO), _YES)) - back[k]) * (front[k] - back[k])
                own = min(max(stands / square, _NO), _YES)
            left, right, share = place_of(x - x0, scale * step, coarse.shape[2])
            p, q = (_YES - deep) * (_YES - share), (_YES - deep) * share
            r, s = deep * (_YES - share), deep * share
            f = p * coarse[0, over, left] + q * coarse[0, over, right]
            f += r * coarse[0, under, left] + s * coarse[0, under, right]
            b = p * coarse[1, over, left] + q * coarse[1, over, right]
            b += r * coarse[1, under, left] + s * coarse[1, under, right]
            unsure = relative * light / np.float32(3) + least
            doubt = (counts * (a * a * f + (_YES - a) * (_YES - a) * b) + unsure * unsure) / sigma2
            own = min(max((seen + doubt * own) / (square + doubt), _NO), _YES)
            fraction[y, x] = _NO if own < nothing else (_YES if own > _YES - nothing else own)


@njit(cache=True, nogil=True, inline="always")
def settle(light, colours, weights, ease, free, passes, black):
    """Correct `colours` `[L]` in place so that the sum over `weights` `[L]` is `light`; what is left, in sRGB values.

    `ease` is how easily the last layer gives way, 0..1 (see `foreground.agree_with_photo`); `free` `[L]` is for work.
    """
    for _ in range(passes):
        missing = light
        for i in range(weights.size):
            missing -= weights[i] * colours[i]
        norm = _NO
        for i in range(weights.size):
            w, c = weights[i], colours[i]
            # a layer can take its share only where it is not yet at the end of its range in that direction
            room = c < _YES if missing > _NO else c > _NO
            free[i] = w * w * (c + black) * (ease if i + 1 == weights.size else _YES) if room else _NO
            norm += w * free[i]
        step = missing / max(norm, np.float32(1e-12))
        clipped = False
        for i in range(weights.size):
            c = colours[i] + free[i] * step
            clipped |= c < _NO or c > _YES
            colours[i] = min(max(c, _NO), _YES)
        if not clipped:
            break
    found = _NO
    for i in range(weights.size):
        found += weights[i] * colours[i]
    if abs(found - light) <= np.float32(2e-7):  # rounding, a thousandth of a code at most
        return _NO
    return abs(encoded(found) - encoded(light))


@njit(cache=True, nogil=True)
def agree(photo, colours, weights, ease, passes, black, apart):
    """Correct `colours` `[L,n,3]` in place so that the sum over weights `[L,n]` is `photo` `[n,3]`.

    `apart` `[n]` becomes what is left, the largest of the three in sRGB values.
    """
    layers = weights.shape[0]
    own, shares, free = np.empty(layers, np.float32), np.empty(layers, np.float32), np.empty(layers, np.float32)
    for n in range(photo.shape[0]):
        for i in range(layers):
            shares[i] = weights[i, n]
        most = _NO
        for k in range(3):
            for i in range(layers):
                own[i] = colours[i, n, k]
            most = max(most, settle(photo[n, k], own, shares, ease[n], free, passes, black))
            for i in range(layers):
                colours[i, n, k] = own[i]
        apart[n] = most


@njit(cache=True, nogil=True)
def agree_before(photo, colour, plate, alpha, layers, ease, scale, corners, passes, black, apart):
    """The same for the pixels of a rectangle at which `alpha` is between 0 and 1 and the only one of all `layers`.

    `photo`, `colour` and `plate` are `[H,W,3]`, `alpha` `[H,W]`; `layers` `[H,W]` counts the subjects at each pixel,
    `ease` `[h,w]` is reduced by `scale`. What is left goes into `apart`; returns of how many pixels.
    """
    y0, x0, y1, x1 = corners
    count = 0
    own, shares, free = np.empty(2, np.float32), np.empty(2, np.float32), np.empty(2, np.float32)
    for y in range(y0, y1):
        for x in range(x0, x1):
            a = alpha[y, x]
            if not (a > _NO and a < _YES) or layers[y, x] != 1:
                continue
            shares[0], shares[1] = a, _YES - a
            give = ease[y // scale, x // scale]
            most = _NO
            for k in range(3):
                own[0], own[1] = colour[y, x, k], plate[y, x, k]
                most = max(most, settle(photo[y, x, k], own, shares, give, free, passes, black))
                colour[y, x, k], plate[y, x, k] = own[0], own[1]
            apart[count] = most
            count += 1
    return count


@njit(cache=True, nogil=True)
def clear_specks(fraction, labels, count, strongest, y0, x0):
    """Set to 0 the pixels of `fraction` `[H,W]` in those of `count` parts whose every pixel is below `strongest`.

    `labels` `[H',W']` numbers the parts (0: none) of the rectangle that begins at (y0, x0).
    """
    strong = np.zeros(count, np.bool_)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            if fraction[y0 + y, x0 + x] >= strongest:
                strong[labels[y, x]] = True
    strong[0] = True
    if strong.all():
        return
    for y in range(height):
        for x in range(width):
            if not strong[labels[y, x]]:
                fraction[y0 + y, x0 + x] = _NO
