# mypy: allow-untyped-defs
"""All compiled loops of the lens: private loops over arrays that check nothing; their callers do.

Everything runs in one thread and releases the GIL, so that results cannot depend on the number of threads.
No `fastmath`: NaN must stay visible. Images are row-major float32, `packed` arrays hold premultiplied colour and, as
their last channel, alpha (or just colour where a layer is opaque everywhere).
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: alpha closer than this to 0 or 1 is taken as 0 or 1: the rounding of the Fourier transforms must not show
ROUNDING = 2e-6


@njit(cache=True, nogil=True)
def over_in_place(image, light, packed, y0, x0):
    """Lay `packed` behind what `image` holds, at offset (y0, x0): image += light * colour, light *= 1 - alpha."""
    height, width, channels = packed.shape
    colours = image.shape[2]
    opaque = channels == colours
    for y in range(height):
        for x in range(width):
            t = light[y0 + y, x0 + x]
            if t == 0.0:
                continue
            if opaque:
                for c in range(colours):
                    image[y0 + y, x0 + x, c] += t * packed[y, x, c]
                light[y0 + y, x0 + x] = 0.0
                continue
            a = packed[y, x, colours]
            if a < ROUNDING:
                continue
            for c in range(colours):
                value = packed[y, x, c]
                if value > 0.0:
                    image[y0 + y, x0 + x, c] += t * value
            light[y0 + y, x0 + x] = 0.0 if a > 1.0 - ROUNDING else t * (np.float32(1.0) - a)


@njit(cache=True, nogil=True)
def splat_tent(points, scale, slope_x, slope_y, kernel):
    """Add to `kernel` (odd size) each point's bilinear footprint, at scale * u / (1 + slope . u) from its middle."""
    middle = kernel.shape[0] // 2
    for i in range(points.shape[0]):
        u, v = points[i, 0], points[i, 1]
        reach = scale / (1.0 + slope_x * u + slope_y * v)
        fx = middle + reach * u
        fy = middle + reach * v
        x = int(np.floor(fx))
        y = int(np.floor(fy))
        fx -= x
        fy -= y
        kernel[y, x] += (1.0 - fy) * (1.0 - fx)
        kernel[y, x + 1] += (1.0 - fy) * fx
        kernel[y + 1, x] += fy * (1.0 - fx)
        kernel[y + 1, x + 1] += fy * fx


@njit(cache=True, nogil=True)
def add_level(total, blurred, radius, y0, x0, below, here, above):
    """Add `blurred`, placed at (y0, x0), where the radius is near `here`: weight 1 there, 0 at its neighbours."""
    height, width, channels = blurred.shape
    for y in range(height):
        for x in range(width):
            r = radius[y0 + y, x0 + x]
            if r <= below or r >= above:
                continue
            weight = (r - below) / (here - below) if r < here else (above - r) / (above - here)
            if r == here:
                weight = np.float32(1.0)
            for c in range(channels):
                total[y0 + y, x0 + x, c] += np.float32(weight) * blurred[y, x, c]


@njit(cache=True, nogil=True)
def copy_sharp(total, packed, radius, invisible):
    """Copy the layer's own pixels where the radius is too small to be seen."""
    height, width, channels = packed.shape
    for y in range(height):
        for x in range(width):
            if abs(radius[y, x]) < invisible:
                for c in range(channels):
                    total[y, x, c] = packed[y, x, c]


@njit(cache=True, nogil=True)
def trace_layer(
    packed, y0, x0, step, ys, xs, radius, slope_x, slope_y, behind, ahead, light, exact, mean, colours, last
):
    """Send the rays of every node through one layer, nearest layers first.

    `packed` is the layer reduced `step` times; its pixel [0, 0] covers the full-size pixels from (y0, x0). Node n is
    the full-size pixel (ys[n], xs[n]); `radius`, `slope_*` are its blur radius and the radius's gradient over r; rays
    are `behind` or `ahead` of the focus. `light[n, i]` is what of ray i is left, `exact[n]` the colour gathered so
    far, `mean[n]` the mean of colour and alpha of this layer. Outside `packed` its edge pixels repeat.
    """
    height, width, channels = packed.shape
    rays = light.shape[1]
    share = np.float32(1.0 / rays)
    opaque = channels == colours
    gathered = np.zeros(4, np.float32)
    plain = np.zeros(4, np.float32)
    for n in range(ys.shape[0]):
        for c in range(4):
            gathered[c] = 0.0
            plain[c] = 0.0
        r = radius[n]
        gx = slope_x[n]
        gy = slope_y[n]
        points = behind if r > 0.0 else ahead
        base_y = (ys[n] - y0 + np.float32(0.5)) / step - np.float32(0.5)
        base_x = (xs[n] - x0 + np.float32(0.5)) / step - np.float32(0.5)
        scale = r / step
        tilted = gx != 0.0 or gy != 0.0
        for i in range(rays):
            u = points[i, 0]
            v = points[i, 1]
            reach = scale
            if tilted:
                reach = scale / (np.float32(1.0) + gx * u + gy * v)
            fy = min(max(base_y - reach * v, np.float32(0.0)), np.float32(height - 1))
            fx = min(max(base_x - reach * u, np.float32(0.0)), np.float32(width - 1))
            y = int(fy)
            x = int(fx)
            fy -= np.float32(y)
            fx -= np.float32(x)
            yy = min(y + 1, height - 1)
            xx = min(x + 1, width - 1)
            w11 = fy * fx
            w10 = fy - w11
            w01 = fx - w11
            w00 = np.float32(1.0) - fy - w01
            t = light[n, i]
            for c in range(colours):
                upper = w00 * packed[y, x, c] + w01 * packed[y, xx, c]
                value = upper + w10 * packed[yy, x, c] + w11 * packed[yy, xx, c]
                plain[c] += value
                gathered[c] += t * value
            if not opaque:
                a = (
                    w00 * packed[y, x, colours]
                    + w01 * packed[y, xx, colours]
                    + w10 * packed[yy, x, colours]
                    + w11 * packed[yy, xx, colours]
                )
                plain[colours] += a
                if not last:
                    light[n, i] = t * (np.float32(1.0) - a)
            elif not last:
                light[n, i] = 0.0
        for c in range(colours):
            exact[n, c] += gathered[c] * share
            mean[n, c] = plain[c] * share
        mean[n, colours] = np.float32(1.0) if opaque else plain[colours] * share


@njit(cache=True, nogil=True)
def add_upsampled(image, nodes, step):
    """Add `nodes`, which stand on every `step`-th pixel each way, to `image`, by cubic (Catmull-Rom) interpolation."""
    rows, columns, channels = nodes.shape
    height, width = image.shape[:2]
    weights = np.empty((step, 4), np.float32)
    for k in range(step):
        t = k / step
        weights[k, 0] = -0.5 * t + t * t - 0.5 * t * t * t
        weights[k, 1] = 1.0 - 2.5 * t * t + 1.5 * t * t * t
        weights[k, 2] = 0.5 * t + 2.0 * t * t - 1.5 * t * t * t
        weights[k, 3] = -0.5 * t * t + 0.5 * t * t * t
    busy = np.zeros(columns, np.bool_)
    line = np.zeros((columns, channels), np.float32)
    for y in range(height):
        row = y // step
        wy = weights[y % step]
        busy[:] = False
        line[:] = 0.0
        some = False
        for j in range(4):
            yy = min(max(row - 1 + j, 0), rows - 1)
            for x in range(columns):
                for c in range(channels):
                    value = nodes[yy, x, c]
                    if value != 0.0:
                        line[x, c] += wy[j] * value
                        busy[x] = True
                        some = True
        if not some:
            continue
        for x in range(width):
            column = x // step
            first = max(column - 1, 0)
            second = min(column + 1, columns - 1)
            third = min(column + 2, columns - 1)
            if not (busy[first] or busy[column] or busy[second] or busy[third]):
                continue
            wx = weights[x % step]
            for c in range(channels):
                image[y, x, c] += (
                    wx[0] * line[first, c]
                    + wx[1] * line[column, c]
                    + wx[2] * line[second, c]
                    + wx[3] * line[third, c]
                )
